"""From the surface through an atmosphere, its correction and the assimilation, and back to the surface."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

import s2koop  # noqa: F401  registers .ac and .koopman
from benchmarks.ac_circle import scored
from s2koop.errors import ModelError
from s2koop.simulate import land_cube
from s2koop.simulate.atmosphere import draw_atmospheres

BANDS = ["B02", "B04", "B08", "B11"]
ALTITUDE = 300.0


@pytest.fixture(scope="module")
def boa() -> xr.DataArray:
    """Simulated land under clouds with sharp edges, and no haze of its own."""
    land = land_cube(
        shape=(24, 24), years=1, revisit=18, clear_share=1.0, haze=0.0, missed=0.0, lost=0.0, snow_days=0, seed=5,
        truth=True,
    )  # fmt: skip
    truth = land["truth"].where(land["observed"].notnull()).sel(band=BANDS)
    truth = truth.drop_vars([name for name in truth.coords if name not in truth.dims])
    return truth.assign_attrs(level="BOA", sensor="S2A")


@pytest.fixture(scope="module")
def air(boa: xr.DataArray) -> dict[str, np.ndarray]:
    """Another atmosphere on each date."""
    return draw_atmospheres(boa.sizes["time"], np.random.default_rng(7))._asdict() | {"altitude": ALTITUDE}


@pytest.fixture(scope="module")
def angles(air: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: air[name] for name in ("sza", "vza", "raa")}


@pytest.fixture(scope="module")
def known(air: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: air[name] for name in ("aot", "water_vapour", "ozone", "altitude")}


@pytest.fixture(scope="module")
def toa(boa: xr.DataArray, known: dict[str, np.ndarray], angles: dict[str, np.ndarray]) -> xr.DataArray:
    return boa.ac.simulate(angles=angles, **known)


@pytest.fixture(scope="module")
def emulated(toa: xr.DataArray, angles: dict[str, np.ndarray]) -> xr.DataArray:
    return toa.ac.emulate("four-hybrid", angles=angles, altitude=ALTITUDE)["mean"]


@pytest.fixture(scope="module")
def analysis(emulated: xr.DataArray) -> xr.DataArray:
    return analysed(emulated)


def shared(found: xr.DataArray, boa: xr.DataArray) -> xr.DataArray:
    """Root mean square (band,) of what the errors of a date have in common."""
    return ((found - boa).mean(("y", "x")) ** 2).mean("time") ** 0.5


def analysed(cube: xr.DataArray) -> xr.DataArray:
    """The surface on the dates of a corrected cube, thinned, by the shipped prior."""
    few = cube[..., ::4, ::4]
    return few.koopman.assimilate(times=few.time.values, spread=False, progress=False)["mean"].sel(band=BANDS)


def test_the_true_atmosphere_closes_the_circle(
    toa: xr.DataArray, boa: xr.DataArray, known: dict[str, np.ndarray], angles: dict[str, np.ndarray]
) -> None:
    back = toa.ac.invert(angles=angles, spread=False, **known)["mean"]
    np.testing.assert_allclose(back.values, boa.values, atol=2e-6)


def test_emulation_takes_off_most_of_what_a_date_shares(
    toa: xr.DataArray, boa: xr.DataArray, emulated: xr.DataArray
) -> None:
    assert bool((shared(emulated, boa) < shared(toa, boa) / 3).sel(band=["B02", "B04"]).all())
    np.testing.assert_array_equal(emulated.isnull().values, boa.isnull().values)


def test_the_better_the_correction_the_better_the_analysis(
    toa: xr.DataArray, boa: xr.DataArray, analysis: xr.DataArray
) -> None:
    truth = boa[..., ::4, ::4]
    with pytest.raises(ModelError, match="correct the cube first"):
        analysed(toa)
    results = analysed(toa.assign_attrs(level="BOA")), analysis, analysed(boa)
    worst, middle, best = (float((shared(result.where(truth.notnull()), truth) ** 2).mean()) for result in results)
    assert best < middle < worst / 4


def test_the_whole_road_is_lazy_and_gives_the_same_numbers(
    toa: xr.DataArray, emulated: xr.DataArray, analysis: xr.DataArray, angles: dict[str, np.ndarray]
) -> None:
    chunked = toa.chunk({"time": 7, "y": 12, "x": 24})
    corrected = chunked.ac.emulate("four-hybrid", angles=angles, altitude=ALTITUDE)["mean"]
    lazy = analysed(corrected)
    assert lazy.chunks is not None
    np.testing.assert_allclose(corrected.values, emulated.values, atol=1e-6)
    # an analysis chooses among sizes of departures, and rounding may choose another one in a pixel
    assert float(np.abs(lazy - analysis).mean()) < 1e-4


@pytest.mark.parametrize("part", ["level", "passing", "own"])
def test_an_error_is_found_in_its_part(part: str, rng: np.random.Generator) -> None:
    pattern: dict[str, Callable[[], np.ndarray]] = {
        "level": lambda: np.full((6, 2, 5, 5), 0.02),
        "passing": lambda: np.broadcast_to(_centred(rng, (6, 2, 1, 1), axis=0), (6, 2, 5, 5)),
        "own": lambda: _centred(rng, (6, 2, 5, 5), axis=(2, 3)),
    }
    error = pattern[part]()
    truth = _cube(rng.uniform(0.1, 0.4, error.shape))
    found = scored(xr.Dataset({"mean": truth + error}), truth)
    for name in ("level", "passing", "own"):
        expected = (error**2).mean((0, 2, 3)) if name == part else np.zeros(2)
        np.testing.assert_allclose(getattr(found, name), expected, atol=1e-12)


def test_parts_of_an_error_add_up_where_pixels_are_missing(rng: np.random.Generator) -> None:
    truth = _cube(rng.uniform(0.1, 0.4, (8, 2, 6, 6))).where(_cube(rng.random((8, 2, 6, 6))) > 0.4)
    truth[3] = np.nan
    result = xr.Dataset({"mean": truth.fillna(0.2) + rng.normal(0.01, 0.02, truth.shape)})
    found = scored(result, truth)
    np.testing.assert_allclose(found.level + found.passing + found.own, found.total)
    np.testing.assert_allclose(found.total, ((result["mean"] - truth) ** 2).mean(("time", "y", "x")))
    assert np.isnan(found.crps).all()


def _centred(rng: np.random.Generator, shape: tuple[int, ...], axis: int | tuple[int, ...]) -> np.ndarray:
    values = rng.normal(0, 0.02, shape)
    return values - values.mean(axis=axis, keepdims=True)


def _cube(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=("time", "band", "y", "x"))
