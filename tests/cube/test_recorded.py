"""Every recorded item of a provider takes the road of search and load, as far as it goes without its pixels."""

from __future__ import annotations

import numpy as np
import pytest

import s2koop
from s2koop.errors import InputError
from tests.cube.test_harmonise import RECORDED

L2A = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
L1C = [*L2A[:-2], "B10", *L2A[-2:]]
#: Recorded item -> platform, day, EPSG code, tile where it is named.
FACTS = {
    "cdse_sentinel-2-l2a__S2A_MSIL2A_20200301T090901_N0500_R050_T35UPU_20230630T033416": (
        "sentinel-2a",
        "2020-03-01",
        32635,
        "35UPU",
    ),
    "cdse_sentinel-2-l2a__S2B_MSIL2A_20200705T101559_N0500_R065_T32TMT_20230530T175912": (
        "sentinel-2b",
        "2020-07-05",
        32632,
        "32TMT",
    ),
    "earthsearch-v0_sentinel-s2-l2a-cogs__S2A_28QCH_20200714_0_L2A": ("sentinel-2a", "2020-07-14", 32628, None),
    "earthsearch-v1_sentinel-2-l1c__S2B_20EPT_20250731_0_L1C": ("sentinel-2b", "2025-07-31", 32720, "20EPT"),
    "earthsearch-v1_sentinel-2-l2a__S2A_13TDE_20231008_0_L2A": ("sentinel-2a", "2023-10-08", 32613, "13TDE"),
    "earthsearch-v1_sentinel-2-l2a__S2A_29RKH_20200219_0_L2A": ("sentinel-2a", "2020-02-19", 32629, "29RKH"),
    "earthsearch-v1_sentinel-2-l2a__S2A_32TMT_20200302_0_L2A": ("sentinel-2a", "2020-03-02", 32632, "32TMT"),
    "planetary-computer_sentinel-2-l2a__S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531": (
        "sentinel-2b",
        "2019-06-29",
        32606,
        "06VVN",
    ),
    "planetary-computer_sentinel-2-l2a__S2B_MSIL2A_20200705T101559_R065_T32TMT_20200825T083452": (
        "sentinel-2b",
        "2020-07-05",
        32632,
        "32TMT",
    ),
    "planetary-computer_sentinel-2-l2a__S2B_MSIL2A_20220612T182919_R027_T24XWR_20220613T123251": (
        "sentinel-2b",
        "2022-06-12",
        32624,
        "24XWR",
    ),
    "planetary-computer_sentinel-2-l2a__S2B_MSIL2A_20240419T095549_R122_T46XER_20240419T124342": (
        "sentinel-2b",
        "2024-04-19",
        32646,
        "46XER",
    ),
    "sinergise-aws_sentinel-s2-l2a__S2A_OPER_MSI_L2A_TL_2APS_20230602T025701_A041483_T01WCQ": (
        "sentinel-2a",
        "2023-06-02",
        32601,
        None,
    ),
    "stactools__S2A_OPER_MSI_L1C_TL_SGS__20181231T203637_A018414_T10SDG": ("sentinel-2a", "2018-12-31", 32610, None),
    "stactools__S2A_OPER_MSI_L2A_TL_SGS__20181231T210250_A018414_T10SDG": ("sentinel-2a", "2018-12-31", 32610, None),
    "stactools__S2A_T01KAB_20230821T221944_L2A": ("sentinel-2a", "2023-08-21", 32701, None),
    "stactools__S2A_T46RER_20210908T043714_L1C": ("sentinel-2a", "2021-09-08", 32646, None),
}


@pytest.mark.parametrize("name", FACTS)
def test_search_and_plan(shared_data, socket_disabled, name):
    platform, day, epsg, tile = FACTS[name]
    offset, level, baseline = RECORDED[name]
    items = s2koop.search(shared_data(f"stac_items/{name}.json"), level={"BOA": "L2A", "TOA": "L1C"}[level])
    [row] = items.to_dataframe().to_dict("records")
    assert (row["platform"], row["crs"], str(row["time"].date())) == (platform, f"EPSG:{epsg}", day)
    assert tile is None or row["tile"] == tile
    assert items.attribution == f"Contains modified Copernicus Sentinel data {day[:4]}"
    cube = s2koop.load(items)
    assert cube.band.values.tolist() == (L1C if level == "TOA" else L2A)
    assert dict(cube.sizes) | {"band": 0} == {"time": 1, "band": 0, "y": 10980, "x": 10980}
    assert np.diff(cube.x.values)[:1].tolist() == [10]
    assert cube.rio.crs.to_epsg() == epsg
    assert cube.time.values.astype("datetime64[D]").astype(str).tolist() == [day]
    assert (cube.boa_offset.item(), cube.processing_baseline.item(), cube.platform.item()) == (
        offset, baseline, platform,
    )  # fmt: skip
    assert (cube.attrs["level"], cube.attrs["sensor"]) == (level, "Sentinel-2 MSI")
    assert "skipped" not in cube.attrs


def test_an_item_without_assets_is_found_and_cannot_be_loaded(shared_data):
    name = "cdse_sentinel-2-l2a__S2C_MSIL2A_20260713_properties-only"
    items = s2koop.search(shared_data(f"stac_items/{name}.json"))
    assert items.to_dataframe()["platform"].tolist() == ["sentinel-2c"]
    with pytest.raises(InputError, match="hold no band"):
        s2koop.load(items)


def test_all_at_once_and_each_once(shared_data):
    folder = shared_data("stac_items")
    found = [*s2koop.search(folder), *s2koop.search(folder, level="L1C")]
    assert len(found) == len({item.id for item in found}) == 17
