"""Catalogues small enough to reason about, in the process and over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from pystac_client import Client

from s2koop.catalog._api import LocalApi, connect
from tests.support.provider import LoopbackProvider, provider  # noqa: F401


def make_item(number: int, **properties: Any) -> dict[str, Any]:
    """Item ``number`` of a row of squares, one degree wide and one apart, one per day from 2020-01-01."""
    west = 2.0 * number
    ring = [[west, 40.0], [west + 1, 40.0], [west + 1, 41.0], [west, 41.0], [west, 40.0]]
    asset = {
        "href": f"https://files.example.org/{number}/B04.tif",
        "type": "image/tiff",
        "proj:shape": [100, 50],
        "roles": ["data"],
    }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": f"item-{number:02d}",
        "collection": "sentinel-2-l1c" if number % 5 == 4 else "sentinel-2-l2a",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, 40.0, west + 1, 41.0],
        "properties": {
            "datetime": f"2020-01-{number + 1:02d}T10:00:00Z",
            "eo:cloud_cover": float(number * 7 % 100),
            "platform": "sentinel-2a" if number % 2 else "sentinel-2b",
            **properties,
        },
        "assets": {"B04": asset},
        "links": [],
    }


@pytest.fixture(scope="session")
def documents() -> list[dict[str, Any]]:
    """25 items; number 3 does not know its cloud cover, number 6 has a null, number 7 spans five days."""
    items = [make_item(number) for number in range(25)]
    del items[3]["properties"]["eo:cloud_cover"]
    items[6]["properties"]["eo:cloud_cover"] = None
    items[7]["properties"] |= {
        "datetime": None, "start_datetime": "2020-01-08T00:00:00Z", "end_datetime": "2020-01-12T00:00:00Z",
    }  # fmt: skip
    return items


@pytest.fixture(scope="session")
def loopback(documents):
    """The same 25 items over HTTP; do not break it."""
    with LoopbackProvider(documents) as served:
        yield served


@pytest.fixture(params=["in process", "http"], scope="session")
def client(request, documents, loopback) -> Client:
    """A real pystac-client on both fronts of the engine."""
    if request.param == "in process":
        return connect(LocalApi(documents))
    return Client.open(loopback.api_url)
