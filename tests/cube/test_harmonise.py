"""Right scale and offset for every provider and baseline, stated item by item, and what else an item says."""

import json
import math

import numpy as np
import pystac
import pytest

from s2koop.cube._items import plain_items
from s2koop.cube.harmonise import (
    choose_offset,
    harmonise,
    item_level,
    missing_pixels,
    processing_baseline,
    to_reflectance,
)
from s2koop.errors import InputError, ReflectanceError
from tests.support import items as make

# name of the case, what the provider says of the product, its baseline, what its pixels carry, the offset to
# add
PROVIDERS = [
    (
        "earth-search-v1, corrected, offset still listed",
        lambda p: make.earth_search_v1(p, applied=True),
        "05.09",
        0,
        0.0,
    ),
    ("earth-search-v1, not corrected", lambda p: make.earth_search_v1(p, applied=False), "05.09", 1000, -0.1),
    ("earth-search-v1, old", lambda p: make.earth_search_v1(p, applied=False, listed=0), "02.14", 0, 0.0),
    ("earth-search-c1", make.earth_search_c1, "05.00", 1000, -0.1),
    ("planetary-computer, before 04.00", make.planetary_computer, "03.01", 0, 0.0),
    ("planetary-computer, 04.00", make.planetary_computer, "04.00", 1000, -0.1),
    ("planetary-computer, 05.10", make.planetary_computer, "05.10", 1000, -0.1),
    ("planetary-computer, N9999", make.planetary_computer, "99.99", 1000, -0.1),
    ("cdse, collection 1", make.cdse, "05.00", 1000, -0.1),
    ("cdse, 05.12", make.cdse, "05.12", 1000, -0.1),
    ("stactools, old", make.stactools, "02.11", 0, 0.0),
    ("stactools, new", make.stactools, "05.09", 1000, -0.1),
    ("earth-search-v0, baseline in the name only", make.earth_search_v0, "02.14", 0, 0.0),
]
LEVEL_1C = [
    ("l1c, 03.01", "03.01", 0, 0.0),
    ("l1c, 05.11", "05.11", 1000, -0.1),
]

# recorded item -> (offset, level, baseline)
RECORDED = {
    "cdse_sentinel-2-l2a__S2A_MSIL2A_20200301T090901_N0500_R050_T35UPU_20230630T033416": (
        -0.1,
        "BOA",
        "05.00",
    ),
    "cdse_sentinel-2-l2a__S2B_MSIL2A_20200705T101559_N0500_R065_T32TMT_20230530T175912": (
        -0.1,
        "BOA",
        "05.00",
    ),
    "earthsearch-v0_sentinel-s2-l2a-cogs__S2A_28QCH_20200714_0_L2A": (0.0, "BOA", "02.14"),
    "earthsearch-v1_sentinel-2-l1c__S2B_20EPT_20250731_0_L1C": (-0.1, "TOA", "05.11"),
    "earthsearch-v1_sentinel-2-l2a__S2A_13TDE_20231008_0_L2A": (0.0, "BOA", "05.09"),
    "earthsearch-v1_sentinel-2-l2a__S2A_29RKH_20200219_0_L2A": (0.0, "BOA", "02.14"),
    "earthsearch-v1_sentinel-2-l2a__S2A_32TMT_20200302_0_L2A": (0.0, "BOA", "02.14"),
    "planetary-computer_sentinel-2-l2a__S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531": (
        0.0,
        "BOA",
        "02.12",
    ),
    "planetary-computer_sentinel-2-l2a__S2B_MSIL2A_20200705T101559_R065_T32TMT_20200825T083452": (
        0.0,
        "BOA",
        "02.12",
    ),
    "planetary-computer_sentinel-2-l2a__S2B_MSIL2A_20220612T182919_R027_T24XWR_20220613T123251": (
        -0.1,
        "BOA",
        "04.00",
    ),
    "planetary-computer_sentinel-2-l2a__S2B_MSIL2A_20240419T095549_R122_T46XER_20240419T124342": (
        -0.1,
        "BOA",
        "05.10",
    ),
    "sinergise-aws_sentinel-s2-l2a__S2A_OPER_MSI_L2A_TL_2APS_20230602T025701_A041483_T01WCQ": (
        -0.1,
        "BOA",
        "05.09",
    ),
    "stactools__S2A_OPER_MSI_L1C_TL_SGS__20181231T203637_A018414_T10SDG": (0.0, "TOA", "02.07"),
    "stactools__S2A_OPER_MSI_L2A_TL_SGS__20181231T210250_A018414_T10SDG": (0.0, "BOA", "02.11"),
    "stactools__S2A_T01KAB_20230821T221944_L2A": (-0.1, "BOA", "05.09"),
    "stactools__S2A_T46RER_20210908T043714_L1C": (0.0, "TOA", "03.01"),
}


@pytest.mark.parametrize(
    ("describe", "baseline", "carried", "offset"),
    [case[1:] for case in PROVIDERS],
    ids=[c[0] for c in PROVIDERS],
)
@pytest.mark.parametrize("through_pystac", [False, True])
def test_scale_and_offset_of_every_provider(tmp_path, describe, baseline, carried, offset, through_pystac):
    item = describe(make.make_product(tmp_path, baseline=baseline, carried=carried, bands=("B02", "B8A")))
    [plain] = plain_items([pystac.Item.from_dict(item) if through_pystac else item])
    scene = harmonise(plain)
    assert scene.boa_offset == offset
    assert scene.baseline == baseline
    assert scene.level == "BOA"
    assert {band: (layer.scale, layer.offset) for band, layer in scene.layers.items()} == {
        "B02": (0.0001, offset),
        "B8A": (0.0001, offset),
        "SCL": (1.0, 0.0),
    }
    assert [scene.layers[band].resolution for band in ("B02", "B8A", "SCL")] == [10, 20, 20]
    assert {layer.epsg for layer in scene.layers.values()} == {32632}
    assert scene.sun_zenith == 30.0
    assert scene.platform == "sentinel-2b"


@pytest.mark.parametrize(
    ("baseline", "carried", "offset"), [case[1:] for case in LEVEL_1C], ids=[c[0] for c in LEVEL_1C]
)
def test_offset_of_level_1c(tmp_path, baseline, carried, offset):
    product = make.make_product(tmp_path, baseline=baseline, carried=carried, level="L1C", bands=("B02", "B10"))
    scene = harmonise(make.l1c(product))
    assert (scene.level, scene.boa_offset, set(scene.layers)) == ("TOA", offset, {"B02", "B10"})
    bare = make.planetary_computer(product)  # a provider that lists nothing: the baseline decides for L1C too
    assert harmonise(bare).boa_offset == offset


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("through_pystac", [False, True])
def test_scale_and_offset_of_recorded_items(shared_data, name, through_pystac):
    path = shared_data(f"stac_items/{name}.json")
    item = json.loads(path.read_text())
    [plain] = plain_items([pystac.Item.from_dict(item) if through_pystac else item])
    offset, level, baseline = RECORDED[name]
    scene = harmonise(plain)
    assert (scene.boa_offset, scene.level, scene.baseline) == (offset, level, baseline)
    spectral = {band: layer for band, layer in scene.layers.items() if band[0] == "B"}
    assert len(spectral) == (13 if level == "TOA" else 12)
    assert {layer.scale for layer in spectral.values()} == {0.0001}
    assert [spectral[band].resolution for band in ("B02", "B05", "B09")] == [10, 20, 60]
    assert len({layer.epsg for layer in scene.layers.values()}) == 1
    if not name.startswith("earthsearch-v0"):  # v0 gives no sun angles
        assert 0 < scene.sun_zenith < 90
    if level == "BOA":
        assert scene.layers["SCL"].scale == 1.0


def test_metadata_and_number_overrule(tmp_path):
    item = make.earth_search_v1(make.make_product(tmp_path, bands=("B04",)), applied=True)
    assert choose_offset(item, "red") == 0.0
    assert choose_offset(item, "red", offset="metadata") == -0.1
    assert choose_offset(item, "red", offset=-0.05) == -0.05
    bare = make.planetary_computer(make.make_product(tmp_path, bands=("B04",)))
    assert choose_offset(bare, "B04", offset="metadata") == 0.0


def test_undecidable_offset_is_refused(tmp_path):
    item = make.planetary_computer(make.make_product(tmp_path, bands=("B04",)))
    del item["properties"]["s2:processing_baseline"], item["properties"]["s2:product_uri"]
    with pytest.raises(ReflectanceError, match=r"'scene'.*offset=0\.0.*offset=-0\.1"):
        harmonise(item)
    assert harmonise(item, offset=-0.1).boa_offset == -0.1


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("05.09", (5, 9)), ("N0400", (4, 0)), ("4.00", (4, 0)), ("99.99", (99, 99)), ("N9999", (99, 99))],
)
def test_spellings_of_the_baseline(text, numbers):
    assert processing_baseline({"id": "x", "properties": {"s2:processing_baseline": text}}) == numbers


def test_no_baseline():
    assert processing_baseline({"id": "x", "properties": {"processing:version": "1.2.3"}}) is None


def test_level_that_nobody_says():
    item = {"id": "x", "properties": {}, "assets": {"B04": {}}}
    with pytest.raises(InputError, match="level='L2A'"):
        item_level(item)


def test_scale_in_stac_1_1_bands():
    item = {
        "id": "x",
        "properties": {"datetime": "2024-01-01T00:00:00Z", "proj:code": "EPSG:32631"},
        "assets": {
            "B04": {
                "href": "a.tif",
                "proj:shape": [4, 4],
                "proj:transform": [10, 0, 0, 0, -10, 0],
                "bands": [{"name": "B04", "raster:scale": 0.0002, "raster:offset": -0.2, "nodata": 7}],
            }
        },
    }
    layer = harmonise(item, level="L2A").layers["B04"]
    assert (layer.scale, layer.offset, layer.nodata) == (0.0002, -0.2, 7.0)


def test_grid_from_a_box_only():
    item = {
        "id": "x",
        "properties": {"datetime": "2024-01-01T00:00:00Z", "proj:epsg": 32631, "proj:bbox": [0, 0, 120, 60]},
        "assets": {"B05": {"href": "a.tif", "raster:bands": [{"offset": 0}]}},
    }
    layer = harmonise(item, level="L2A").layers["B05"]
    assert (layer.transform, layer.shape) == ((20.0, 0.0, 0.0, 0.0, -20.0, 60.0), (3, 6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"proj:epsg": None}, "no EPSG code"),
        ({"datetime": None}, "no datetime"),
    ],
)
def test_items_that_say_too_little(tmp_path, change, message):
    item = make.planetary_computer(make.make_product(tmp_path, bands=("B04",)))
    item["properties"] |= change
    with pytest.raises(InputError, match=message):
        harmonise(item)


def test_rotated_item_is_refused(tmp_path):
    item = make.planetary_computer(make.make_product(tmp_path, bands=("B04",)))
    item["assets"]["B04"]["proj:transform"] = [10, 1, 0, 1, -10, 0]
    with pytest.raises(InputError, match="north-up"):
        harmonise(item)


def test_reflectance_is_correctly_rounded():
    numbers = np.arange(0, 20000, dtype=np.uint16)
    for offset, carried in ((0.0, 0), (-0.1, 1000)):
        expected = ((numbers.astype(np.float64) - carried) / 10000).astype(np.float32)
        np.testing.assert_array_equal(to_reflectance(numbers, 1e-4, offset), expected)


@pytest.mark.parametrize(
    ("numbers", "declared", "missing"),
    [
        (np.array([0, 1, 500], "uint16"), None, [True, False, False]),
        (np.array([0, 1, 65535], "uint16"), 65535.0, [True, False, True]),
        (np.array([-10000, -9999, -20, 0], "int16"), None, [True, True, False, False]),
        (np.array([-10000, 0], "int16"), 0.0, [True, True]),
        (np.array([np.nan, 1e20, -9999, 0.0, 0.3], "float32"), math.nan, [True, True, True, False, False]),
    ],
)
def test_missing_pixels(numbers, declared, missing):
    assert missing_pixels(numbers, declared).tolist() == missing
