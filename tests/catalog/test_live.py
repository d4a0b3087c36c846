"""Real providers, when asked for (``pytest -m network``): one search and one window of each, against what is known."""

from __future__ import annotations

import numpy as np
import pytest

import s2koop
from s2koop.catalog import open_client
from s2koop.catalog._credentials import find_keys
from s2koop.catalog.providers import PROVIDERS

pytestmark = [pytest.mark.network, pytest.mark.enable_socket, pytest.mark.timeout(180)]

#: Fields and wood in Lower Austria, about 500 m wide; a summer long archived.
PLACE = [15.400, 48.200, 15.407, 48.205]
SUMMER = "2023-07-01/2023-08-31"

ROADS = {
    "earth-search": {},
    "earth-search L1C": {"level": "L1C"},
    "earth-search-c1": {},
    "planetary-computer": {},
    "planetary-computer landsat": {"sensor": "landsat"},
    "cdse": {},
    "cdse L1C": {"level": "L1C"},
}
#: Files of these need keys that belong to a person.
KEYS_NEEDED = ("earth-search L1C", "cdse", "cdse L1C")


def found(road: str):
    return s2koop.search(road.split()[0], bbox=PLACE, datetime=SUMMER, max_cloud=20, limit=1, **ROADS[road])


@pytest.mark.parametrize("name", PROVIDERS)
def test_collections_of_the_table_are_there(name):
    held = {collection.id for collection in open_client(name).get_collections()}
    assert {wanted for levels in PROVIDERS[name].collections.values() for wanted in levels.values()} <= held


@pytest.mark.parametrize("road", ROADS)
def test_first_item(road):
    items = found(road)
    assert len(items) == 1
    [row] = items.to_dataframe().to_dict("records")
    assert row["cloud_cover"] <= 20
    assert {"NIR", "RED"} <= set(row["bands"]) or {"B04", "B08"} <= set(row["bands"])
    assert items.skipped == []


@pytest.mark.parametrize("road", [road for road in ROADS if road not in KEYS_NEEDED])
def test_one_window(road):
    """Vegetation in summer: dark in red, bright in near infrared; an offset taken twice, or not at all, shows."""
    cube = s2koop.load(found(road), bands=["red", "nir08"], bbox=PLACE, mask=None)
    assert 10 < cube.sizes["x"] < 100
    values = cube.compute()
    red, nir = (float(np.nanmedian(values.isel(band=number))) for number in range(2))
    assert 0.005 < red < 0.15
    assert 0.15 < nir < 0.6


@pytest.mark.parametrize("road", ["cdse", "cdse L1C"])
def test_one_window_behind_keys(road):
    if find_keys(PROVIDERS["cdse"]) is None:
        pytest.skip("no S3 keys of CDSE on this machine")
    cube = s2koop.load(found(road), bands=["red", "nir08"], bbox=PLACE, mask=None).compute()
    assert 0.005 < float(np.nanmedian(cube.isel(band=0))) < 0.25


def test_pages_are_followed():
    """More items than a page holds, each once."""
    items = s2koop.search("earth-search", bbox=PLACE, datetime="2019/2021")
    assert len(items) > 150
    assert len({item.id for item in items}) == len(items)


def test_both_collections_of_earth_search_agree():
    """The same product, once with its offset taken off and once with it: one reflectance."""
    days = []
    for name in ("earth-search", "earth-search-c1"):
        items = s2koop.search(name, bbox=PLACE, datetime=SUMMER, max_cloud=20)
        days.append({item.datetime.date(): item for item in items})
    day = min(days[0].keys() & days[1].keys())
    one, other = (s2koop.load(held[day], bands=["red"], bbox=PLACE, mask=None).compute() for held in days)
    assert float(abs(one.median() - other.median())) < 0.01
