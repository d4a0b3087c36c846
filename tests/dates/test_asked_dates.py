"""Dates that are asked for: every form of the same dates is one array, and all else is refused in a sentence."""

from __future__ import annotations

import datetime as dt

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from s2koop._dates import asked_dates
from s2koop.errors import InputError

DAYS = pd.date_range("2020-01-01", periods=3, freq="5D")
ALONG = xr.DataArray(DAYS, dims="time", coords={"time": DAYS})


def pixels() -> xr.DataArray:
    """A lazy cube that cannot be read."""

    def refuse(block: np.ndarray) -> np.ndarray:
        raise AssertionError("a pixel was read")

    values = da.zeros((3, 2), chunks=1).map_blocks(refuse, dtype=float, meta=np.empty((0, 0)))
    return xr.DataArray(values, dims=("time", "x"), coords={"time": DAYS})


@pytest.mark.parametrize(
    "times",
    [
        DAYS,
        DAYS.as_unit("s"),
        DAYS.values,
        DAYS.to_series(),
        list(DAYS),
        tuple(DAYS.to_pydatetime()),
        list(DAYS.strftime("%Y-%m-%d")),
        np.array(DAYS.strftime("%Y-%m-%d"), dtype="U10"),
        [day.date() for day in DAYS],
        ["2020-01-01", dt.datetime(2020, 1, 6), np.datetime64("2020-01-11")],
        ["2020-01-01T02:00+02:00", "2020-01-05T22:00-02:00", "2020-01-11T00:00Z"],
        DAYS.tz_localize("UTC").tz_convert("Europe/Helsinki"),
        list(DAYS.tz_localize("UTC").tz_convert("America/Lima")),
        ALONG,
        list(ALONG),
    ],
    ids=str,
)
def test_every_form_of_the_same_dates_is_the_same(times):
    dates = asked_dates(times)
    assert dates.dtype == np.dtype("datetime64[ns]")
    np.testing.assert_array_equal(dates, DAYS.values)


@pytest.mark.parametrize("time", ["2020-01-01", DAYS[0], ALONG[0], DAYS.values[0], dt.date(2020, 1, 1)], ids=str)
def test_one_date_is_a_row_of_one(time):
    np.testing.assert_array_equal(asked_dates(time), DAYS.values[:1])


def test_order_and_repeats_stay():
    assert asked_dates(["2020-01-06", "2020-01-01", "2020-01-06"]).tolist() == DAYS.values[[1, 0, 1]].tolist()


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (2020, "numbers"),
        (True, "numbers"),
        (np.array([1.5]), "numbers"),
        ([2020, "2021"], "the number 2020"),
        ("2019-01-01/2019-03-01", "a period"),
        (["01/02/2020"], "no ISO date"),
        ("today", "no ISO date"),
        ("2020-13-01", "cannot be read as dates: '2020-13-01'"),
        (np.datetime64("1500-01-01"), "cannot be read"),
        (slice("2019", "2020"), "cannot be read"),
        ({"2020-01-01"}, "cannot be read"),
        (None, "1 NaT of 1"),
        (["2020-01-01", None, pd.NaT], "2 NaT of 3"),
        ([], "no date"),
        (DAYS.values.reshape(1, 3), r"shape \(1, 3\)"),
        (xr.DataArray(np.zeros(3), dims="x"), "date_range"),
    ],
    ids=str,
)
def test_what_is_no_date_is_refused_in_a_sentence(times, words):
    with pytest.raises(InputError, match=words) as caught:
        asked_dates(times)
    assert len(str(caught.value)) < 200
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("times", [pixels(), pixels().to_dataset(name="mean")], ids=["cube", "dataset"])
def test_a_cube_is_refused_unread_and_its_time_is_welcome(times):
    with pytest.raises(InputError, match="give its .time"):
        asked_dates(times)
    np.testing.assert_array_equal(asked_dates(times.time), DAYS.values)
