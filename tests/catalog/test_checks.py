"""What a user may ask of a search, and what is told to those who ask something else."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
import shapely

import s2koop
from s2koop.catalog._checks import check_bbox, check_datetime, check_geometry, check_limit, check_max_cloud
from s2koop.errors import InputError

SQUARE = shapely.box(22.14, 45.19, 22.17, 45.22)


@pytest.fixture(autouse=True)
def _no_request(monkeypatch):
    """Every check comes before the catalogue is opened."""
    monkeypatch.setattr("s2koop.catalog._open.open_source", lambda _: pytest.fail("the catalogue was opened"))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"bbox": [1, 2, 3]}, "bbox has 3 numbers, expected four: the order is west, south, east, north"),
        ({"bbox": "here"}, "expected four numbers"),
        ({"bbox": 5}, "expected four numbers"),
        ({"bbox": [23, 45, 22, 46]}, "west 23 east of its east 22.*antimeridian takes two boxes"),
        ({"bbox": [22, 46, 23, 45]}, "south 46 north of its north 45"),
        ({"bbox": [52, 120, 53, 121]}, "latitude and longitude look exchanged"),
        ({"bbox": [-200, 0, -190, 1]}, "projected"),
        ({"bbox": [5271982, 2532004, 5272982, 2533004]}, "projected coordinates.*EPSG:4326"),
        ({"bbox": [float("nan"), 0, 1, 1]}, "not on earth"),
        ({"bbox": [0, 0, 1, 1], "intersects": SQUARE}, "both given"),
        ({"intersects": "POINT (1 2)"}, "intersects is a str, expected a GeoJSON dict"),
        ({"intersects": {"type": "Polygon"}}, "cannot be read as GeoJSON"),
        ({"intersects": {"type": "Circle", "coordinates": [0, 0]}}, "cannot be read as GeoJSON"),
        ({"intersects": shapely.Polygon()}, "empty geometry"),
        ({"intersects": shapely.box(5271982, 2532004, 5272982, 2533004)}, "projected coordinates"),
        ({"intersects": shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])}, "Self-intersection.*make_valid"),
        ({"datetime": "2020-06-01/2019-06-01"}, "ends .2019-06-01. before it starts .2020-06-01."),
        ({"datetime": ("2020-06-01", dt.date(2020, 5, 1))}, "before it starts"),
        ({"datetime": "June 2020"}, "cannot be read; expected such as '2020'"),
        ({"datetime": "2020-13"}, "cannot be read"),
        ({"datetime": "2020-02-30"}, "cannot be read"),
        ({"datetime": 2020}, "cannot be read"),
        ({"datetime": pd.NaT}, "cannot be read"),
        ({"datetime": np.datetime64("NaT")}, "cannot be read"),
        ({"datetime": "2020/2021/2022"}, "a start and an end"),
        ({"datetime": []}, "a start and an end"),
        ({"datetime": pd.date_range("2020", "2021", periods=3)}, "a start and an end"),
        ({"datetime": "../.."}, "at least one end"),
        ({"datetime": (None, None)}, "at least one end"),
        ({"level": "L3"}, "level is 'L3', expected 'L2A'"),
        ({"level": None}, "expected 'L2A'"),
        ({"max_cloud": 120}, "max_cloud is 120, expected percent from 0 to 100"),
        ({"max_cloud": -1}, "from 0 to 100"),
        ({"max_cloud": "10"}, "from 0 to 100"),
        ({"max_cloud": float("nan")}, "from 0 to 100"),
        ({"max_cloud": True}, "from 0 to 100"),
        ({"max_cloud": np.float32(101)}, "from 0 to 100"),
        ({"limit": 0}, "limit=0 must be a whole number of at least 1"),
        ({"limit": True}, "limit=True"),
        ({"limit": 2.5}, "whole number"),
        ({"collection": ""}, "expected one name"),
        ({"collection": ["a", "b"]}, "expected one name"),
        ({"filter": ""}, "expected CQL2"),
        ({"filter": 3}, "expected CQL2"),
    ],
)
def test_bad_input_is_told_before_any_request(asked, words):
    with pytest.raises(InputError, match=words):
        s2koop.search("sample", **asked)


@pytest.mark.parametrize(
    ("argument", "number", "same"),
    [
        ("max_cloud", np.int64(10), 10.0),
        ("max_cloud", np.float32(10), 10.0),
        ("limit", np.int64(3), 3),
        ("limit", np.uint8(3), 3),
    ],
)
def test_numbers_of_numpy_become_those_of_python(argument, number, same):
    """What was asked travels in JSON, which knows no others."""
    check = {"max_cloud": check_max_cloud, "limit": check_limit}[argument]
    assert check(number) == same
    assert type(check(number)) is type(same)


def test_positional_filters_are_refused():
    with pytest.raises(TypeError):
        s2koop.search("sample", [0, 0, 1, 1])  # type: ignore[misc]


@pytest.mark.parametrize("bbox", [(22, 45, 23, 46), [22.0, 45.0, 23.0, 46.0], np.array([22, 45, 23, 46])])
def test_bbox_of_any_sequence(bbox):
    assert check_bbox(bbox) == [22.0, 45.0, 23.0, 46.0]


@pytest.mark.parametrize(
    ("value", "interval"),
    [
        ("2020", "2020-01-01T00:00:00Z/2020-12-31T23:59:59Z"),
        ("2020-02", "2020-02-01T00:00:00Z/2020-02-29T23:59:59Z"),
        ("2020-12", "2020-12-01T00:00:00Z/2020-12-31T23:59:59Z"),
        ("2020-06-01", "2020-06-01T00:00:00Z/2020-06-01T23:59:59Z"),
        ("2019-12-31/2020-01", "2019-12-31T00:00:00Z/2020-01-31T23:59:59Z"),
        ("2020-06-01/..", "2020-06-01T00:00:00Z/.."),
        ("/2020", "../2020-12-31T23:59:59Z"),
        ("2020-06-01T10:00:00+02:00", "2020-06-01T08:00:00Z/2020-06-01T08:00:00Z"),
        (dt.date(2020, 6, 1), "2020-06-01T00:00:00Z/2020-06-01T23:59:59Z"),
        (dt.datetime(2020, 6, 1), "2020-06-01T00:00:00Z/2020-06-01T23:59:59Z"),
        (dt.datetime(2020, 6, 1, tzinfo=dt.UTC), "2020-06-01T00:00:00Z/2020-06-01T00:00:00Z"),
        (pd.Timestamp("2020-06-01"), "2020-06-01T00:00:00Z/2020-06-01T23:59:59Z"),
        ((pd.Timestamp("2020-06-01"), pd.Timestamp("2020-06-30")), "2020-06-01T00:00:00Z/2020-06-30T23:59:59Z"),
        (pd.date_range("2020-06-01", "2020-06-30", periods=2), "2020-06-01T00:00:00Z/2020-06-30T23:59:59Z"),
        (np.array(["2020-06-01", "2020-06-30"], "datetime64[ns]"), "2020-06-01T00:00:00Z/2020-06-30T23:59:59Z"),
        (np.datetime64("2020-06-01", "ns"), "2020-06-01T00:00:00Z/2020-06-01T23:59:59Z"),
        (dt.datetime(2020, 6, 1, 12), "2020-06-01T12:00:00Z/2020-06-01T12:00:00Z"),
        (np.datetime64("2020-06-01"), "2020-06-01T00:00:00Z/2020-06-01T23:59:59Z"),
        (np.datetime64("2020-06"), "2020-06-01T00:00:00Z/2020-06-30T23:59:59Z"),
        (np.datetime64("2020-06-01T12", "ns"), "2020-06-01T12:00:00Z/2020-06-01T12:00:00Z"),
        ((pd.Timestamp("2020-06-01"), None), "2020-06-01T00:00:00Z/.."),
        (["2020-06-01", dt.date(2020, 6, 3)], "2020-06-01T00:00:00Z/2020-06-03T23:59:59Z"),
    ],
)
def test_dates_of_every_kind(value, interval):
    assert check_datetime(value) == interval


class HasInterface:
    __geo_interface__ = SQUARE.__geo_interface__


@pytest.mark.parametrize(
    "value",
    [
        SQUARE,
        SQUARE.__geo_interface__,
        {"type": "Feature", "properties": {}, "geometry": SQUARE.__geo_interface__},
        {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": SQUARE.__geo_interface__}]},
        HasInterface(),
    ],
)
def test_areas_of_every_kind(value):
    geometry = check_geometry(value)
    assert geometry["type"] == "Polygon"
    assert shapely.geometry.shape(geometry).equals(SQUARE)
