"""The table: aligned by date, fair to every method, and clear about what cannot be compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from s2koop import scores
from s2koop.errors import InputError, ReflectanceWarning, UnscoredDatesWarning

DATES = pd.date_range("2020-01-01", periods=8, freq="5D")


@pytest.fixture
def observed(rng) -> xr.DataArray:
    values = rng.uniform(0.1, 0.4, (8, 2, 3, 4)).astype("float32")
    values[rng.random(values.shape) < 0.2] = np.nan
    return xr.DataArray(
        values,
        dims=("time", "band", "y", "x"),
        coords={
            "time": DATES, "band": ["B04", "B08"], "y": 100.0 - 20 * np.arange(3), "x": 20.0 * np.arange(4),
            "cloud_cover": ("time", rng.uniform(0, 90, 8)),
        },
    )  # fmt: skip


def forecast(observed: xr.DataArray, shift: float, spread: float = 0.05) -> xr.Dataset:
    mean = observed.fillna(0.2).drop_vars("cloud_cover") + shift
    return xr.Dataset({"mean": mean, "spread": xr.full_like(mean, spread)})


def test_one_row_per_method_and_band_in_the_order_given(observed):
    table = scores.evaluate({"b": forecast(observed, 0.1), "a": forecast(observed, -0.02)}, observed)
    assert list(table.index) == [("b", "B04"), ("b", "B08"), ("a", "B04"), ("a", "B08")]
    assert table.index.names == ["method", "band"]
    assert list(table.columns) == ["n", *scores.SCORES]
    np.testing.assert_allclose(table["bias"], [0.1, 0.1, -0.02, -0.02], rtol=1e-5)
    np.testing.assert_allclose(table["rmse"], [0.1, 0.1, 0.02, 0.02], rtol=1e-5)
    expected = observed.notnull().sum(["time", "y", "x"]).values
    assert table["n"].tolist() == [*expected, *expected]


def test_scores_of_the_table_are_those_of_the_functions(observed, rng):
    result = forecast(observed, 0.0)
    result["mean"] = result["mean"] + rng.normal(0, 0.05, result["mean"].shape)
    table = scores.evaluate({"m": result}, observed)
    for name, score in scores.SCORES.items():
        np.testing.assert_allclose(table[name], score(result, observed, dim=["time", "y", "x"]), rtol=1e-6)


def test_only_pairs_that_every_method_has_are_compared(observed):
    steady, patchy = forecast(observed, 0.1), forecast(observed, 0.1)
    patchy["mean"][:, :, 0] = np.nan
    patchy["spread"][0] = np.nan
    # the pixels that only `steady` has are spoiled: they must not count against it
    steady["mean"][:, :, 0] = 9.0
    table = scores.evaluate({"steady": steady, "patchy": patchy}, observed)
    there = observed.isel(time=slice(1, None), y=slice(1, None)).notnull().sum(["time", "y", "x"]).values
    assert table["n"].tolist() == [*there, *there]
    np.testing.assert_allclose(table["rmse"], 0.1, rtol=1e-5)


def test_dates_are_matched_exactly_and_extra_ones_ignored(observed):
    longer = forecast(observed, 0.1)
    shifted = longer.isel(time=[0]).assign_coords(time=[DATES[0] + pd.Timedelta("1h")])
    longer = xr.concat([longer.isel(time=slice(None, None, -1)), shifted], "time")
    table = scores.evaluate({"long": longer, "short": forecast(observed, 0.0).isel(time=[2, 5])}, observed)
    assert (
        table["n"].loc["long"].tolist() == observed.isel(time=[2, 5]).notnull().sum(["time", "y", "x"]).values.tolist()
    )
    np.testing.assert_allclose(table["bias"].loc["long"], 0.1, rtol=1e-5)
    np.testing.assert_allclose(table["bias"].loc["short"], 0.0, atol=1e-7)


def test_each_of_two_observations_of_a_date_counts(observed):
    twice = xr.concat([observed, observed.isel(time=[3]) + 0.2], "time").sortby("time")
    result = forecast(observed, 0.0)
    table = scores.evaluate({"once": result}, twice, by=None)
    extra = int(observed.isel(time=3).notnull().sum())
    assert table.loc["once", "n"] == int(observed.notnull().sum()) + extra
    assert table.loc["once", "bias"] == pytest.approx(-0.2 * extra / table.loc["once", "n"], rel=1e-4)
    doubled = result.isel(time=[0, 1, 2, 3, 3, 4, 5, 6, 7])
    pd.testing.assert_frame_equal(scores.evaluate({"once": doubled}, twice, by=None), table)


def test_rows_by_several_dims_and_by_none(observed):
    result = forecast(observed, 0.1)
    table = scores.evaluate({"m": result}, observed, by=["time", "band"], scores=["mae"])
    assert table.index.names == ["method", "time", "band"]
    assert len(table) == 16
    assert table["n"].sum() == int(observed.notnull().sum())
    pooled = scores.evaluate({"m": result}, observed, by=None)
    assert pooled.index.tolist() == ["m"]
    assert pooled.index.name == "method"
    twice = observed.isel(time=[0, 0, 1])
    assert len(scores.evaluate({"m": result}, twice, by="time")) == 3


def test_lazy_input_gives_the_same_table(observed):
    results = {"a": forecast(observed, 0.1), "b": forecast(observed, -0.02)}
    lazy = {name: result.chunk({"time": 3, "x": 2}) for name, result in results.items()}
    pd.testing.assert_frame_equal(
        scores.evaluate(lazy, observed.chunk({"time": 5, "y": 1})), scores.evaluate(results, observed)
    )


def test_every_block_of_lazy_input_is_read_once(observed):
    reads = []

    def read(block: np.ndarray) -> np.ndarray:
        reads.append(1)
        return block

    def watched(array: xr.DataArray) -> xr.DataArray:
        chunked = array.chunk({"time": 4})
        return chunked.copy(data=chunked.data.map_blocks(read, dtype=array.dtype, meta=np.empty((0,) * 4, array.dtype)))

    result = forecast(observed, 0.1)
    scores.evaluate({"m": result.map(watched)}, watched(observed))
    assert len(reads) == 3 * 2


def test_a_single_result_and_a_bare_point_forecast(observed):
    alone = scores.evaluate(forecast(observed, 0.1), observed)
    assert alone.index.get_level_values("method").unique().tolist() == ["result"]
    mixed = scores.evaluate({"full": forecast(observed, 0.1), "point": forecast(observed, 0.0)["mean"]}, observed)
    assert mixed.loc["point", ["crps", "coverage", "spread_skill"]].isna().all(axis=None)
    assert mixed.loc["full"].notna().all(axis=None)


def test_more_bands_than_observed_are_fine_and_fewer_are_not(observed):
    result = forecast(observed, 0.1)
    table = scores.evaluate(result, observed.sel(band=["B08"]))
    assert table.index.get_level_values("band").tolist() == ["B08"]
    with pytest.raises(InputError, match=r"'m' has no band \['B04'\].*B08"):
        scores.evaluate({"m": result.sel(band=["B08"])}, observed)


def test_a_grid_that_differs_by_rounding_is_the_same_grid(observed):
    result = forecast(observed, 0.1)
    moved = result.assign_coords(x=result.x + 1e-6)
    pd.testing.assert_frame_equal(scores.evaluate(moved, observed), scores.evaluate(result, observed))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda r: r.assign_coords(x=r.x + 10), "another grid along x: 4 from 10 to 70, observed 4 from 0 to 60"),
        (lambda r: r.isel(y=slice(2)), "another grid along y: 2 from 100"),
        (lambda r: r.assign_coords(time=r.time + np.timedelta64(1, "D")), "no date that all share.*2020-01-02"),
        (lambda r: r.isel(x=0), "has dims"),
        (lambda r: r.drop_vars("x").isel(x=slice(3)), "has sizes"),
        (lambda r: r * np.nan, "every method has a value; usable pairs per method: m 0"),
        (lambda r: r.rename(mean="forecast"), "mean and spread"),
    ],
)
def test_what_cannot_be_compared_is_said(observed, spoil, words):
    with pytest.raises(InputError, match=words):
        scores.evaluate({"m": spoil(forecast(observed, 0.1))}, observed)


def test_dates_that_are_left_out_are_counted_and_losing_most_is_said(observed):
    result = forecast(observed, 0.1)
    everywhere = result.reindex(time=pd.date_range("2019-12-01", "2020-03-01"), method="nearest")
    table = scores.evaluate({"m": everywhere}, observed)
    assert table.attrs == {"dates_scored": 8, "dates_left_out": 0}
    # half of those between the first and the last of the result; what lies outside was never asked for
    half = scores.evaluate({"m": result.isel(time=[1, 3])}, observed)
    assert half.attrs == {"dates_scored": 2, "dates_left_out": 6}
    with pytest.warns(UnscoredDatesWarning, match="4 of the 7 observed dates from 2020-01-01 to 2020-01-31") as caught:
        few = scores.evaluate({"all": result, "few": result.isel(time=[0, 3, 6])}, observed)
    assert few.attrs == {"dates_scored": 3, "dates_left_out": 5}
    assert "'all' lacks 0, 'few' lacks 4" in str(caught[0].message)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("digital", ["the observations", "'m'"])
def test_digital_numbers_are_pointed_out(observed, digital):
    result = forecast(observed, 0.1)
    given = (result * 1e4, observed) if digital == "'m'" else (result, observed * 1e4)
    with pytest.warns(ReflectanceWarning, match=f"median of {digital} is"):
        scores.evaluate({"m": given[0]}, given[1])


def test_one_score_needs_no_list(observed):
    result = forecast(observed, 0.1)
    for one in ("rmse", scores.SCORES["rmse"]):
        pd.testing.assert_frame_equal(
            scores.evaluate({"m": result}, observed, scores=one),
            scores.evaluate({"m": result}, observed, scores=["rmse"]),
        )


def test_the_module_shows_what_there_is_to_use():
    assert dir(scores) == sorted(scores.__all__)
    assert {"evaluate", "rmse", "mark_best", "SCORES"} <= set(dir(scores))
    assert not {"np", "pd", "partial"} & set(dir(scores))


def test_arguments_are_checked(observed):
    result = forecast(observed, 0.1)
    for arguments, words in (
        ({"scores": ["r2"]}, "unknown score 'r2'; known are rmse"),
        ({"scores": []}, "no score"),
        ({"by": "season"}, "no rows by"),
    ):
        with pytest.raises(InputError, match=words):
            scores.evaluate({"m": result}, observed, **arguments)
    with pytest.raises(InputError, match="no result"):
        scores.evaluate({}, observed)
    with pytest.raises(InputError, match="observations must be"):
        scores.evaluate({"m": result}, observed.to_dataset(name="reflectance"))


def test_the_best_of_each_column_and_band_is_marked():
    index = pd.MultiIndex.from_product([["a", "b"], ["B04", "B08"]], names=["method", "band"])
    half = scores.coverage_score(0.5)
    table = pd.DataFrame(
        {
            "n": [10, 12, 10, 12],
            "rmse": [0.2, 0.1, 0.1, 0.3],
            "bias": [-0.01, 0.2, 0.02, -0.3],
            "coverage": [0.99, 0.85, 0.88, np.nan],
            "coverage_50": [0.5, 0.9, 0.6, 0.2],
        },
        index=index,
    )
    marked = scores.mark_best(table, scores=[half], digits=2)
    stars = marked.apply(lambda column: column.str.endswith("*"))
    assert stars["rmse"].tolist() == [False, True, True, False]
    assert stars["bias"].tolist() == [True, True, False, False]
    assert stars["coverage"].tolist() == [False, True, True, False]
    assert stars["coverage_50"].tolist() == [True, False, False, True]
    assert marked["n"].tolist() == ["10", "12", "10", "12"]
    assert marked.loc[("a", "B04"), "rmse"].strip() == "0.20"
    assert table["rmse"].dtype == float
    with pytest.raises(InputError, match="indexed by method"):
        scores.mark_best(table.reset_index())
