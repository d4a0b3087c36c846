"""The accessor on cubes: labels, laziness, bounds, missing bands, odd dates, wrong input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import rioxarray  # noqa: F401
import xarray as xr

import s2koop
from s2koop.errors import InputError, ModelError


@pytest.fixture(scope="module")
def past(cube):
    return cube.sel(time=slice(None, "2019-12-31"))


@pytest.fixture(scope="module")
def brief(past):
    """Its last year: enough where no number is asked for but to be the same twice."""
    return past.sel(time=slice("2019-01-01", None))


def test_result_keeps_grid_crs_and_says_how_it_was_made(brief, model):
    placed = brief.rio.write_crs("EPSG:32634").assign_coords(platform=("time", ["sentinel-2a"] * brief.sizes["time"]))
    result = placed.koopman.assimilate(model, progress=False)
    assert result["mean"].dims == ("time", "band", "y", "x")
    assert result["mean"].dtype == np.float32
    xr.testing.assert_equal(result["x"].variable, brief["x"].variable)
    assert result.rio.crs == placed.rio.crs
    assert result["mean"].rio.transform() == placed.rio.transform()
    assert model.digest[:12] in result.attrs["source"]
    assert result.attrs["level"] == "BOA"
    assert result["spread"].attrs["units"] == "1"


def test_survives_netcdf_and_zarr(brief, model, tmp_path):
    result = brief.rio.write_crs("EPSG:32634").koopman.assimilate(model, times=["2019-05-01"], progress=False)
    result.to_netcdf(tmp_path / "r.nc", engine="h5netcdf")
    result.to_zarr(tmp_path / "r.zarr", consolidated=False)
    for name, options in (("r.nc", {"engine": "h5netcdf"}), ("r.zarr", {"engine": "zarr", "consolidated": False})):
        with xr.open_dataset(tmp_path / name, decode_coords="all", **options) as back:
            xr.testing.assert_allclose(back.load(), result)
            assert back.rio.crs == result.rio.crs


@pytest.mark.parametrize("call", ["assimilate", "forecast", "interpolate", "spectrum"])
def test_lazy_until_asked_and_the_same_numbers(brief, model, call):
    options = {"forecast": {"steps": 4}, "interpolate": {"freq": "20D"}}.get(call, {})
    eager = getattr(brief.koopman, call)(model, progress=False, **options)
    lazy = getattr(brief.chunk({"time": 7, "band": 1, "y": 5, "x": 5}).koopman, call)(model, progress=False, **options)
    assert all(v.chunks is not None for v in lazy.data_vars.values())
    assert all(v.chunks is None for v in eager.data_vars.values())
    computed = lazy.compute()
    for name in eager.data_vars:  # a pixel may stop one iteration sooner in another tile, where sums round differently
        if name != "iterations":
            np.testing.assert_allclose(eager[name], computed[name], rtol=2e-3, atol=2e-4)


def test_analysis_is_closer_to_the_truth_than_the_observations(past, truth, model):
    result = past.koopman.assimilate(model, progress=False)
    clean = truth.sel(time=past.time)
    noise = float(np.sqrt(((past - clean) ** 2).mean()))
    assert float(np.sqrt(((result["mean"] - clean) ** 2).mean())) < 0.6 * noise


def test_spread_of_observations_is_calibrated_on_held_out_dates(cube, past, model):
    future = cube.sel(time=slice("2020-01-01", None))
    result = past.koopman.forecast(model, times=future.time, progress=False)
    inside = (np.abs(future - result["mean"]) <= 1.645 * result["spread"]).where(future.notnull())
    assert 0.82 < float(inside.mean()) < 0.97


def test_bands_the_cube_lacks_are_returned_with_a_wider_spread(brief, model):
    whole = brief.koopman.assimilate(model, progress=False)
    part = brief.sel(band=["B08"]).koopman.assimilate(model, progress=False)
    assert list(part.band.values) == ["B04", "B08"]
    assert bool(part["mean"].notnull().all())
    assert float(part["spread_state"].sel(band="B04").mean()) > float(whole["spread_state"].sel(band="B04").mean())


def test_pixels_without_observations_are_nan_and_change_nobody_else(brief, model):
    holes = brief.copy()
    holes[:, :, 2, 3] = np.nan
    left, right = (c.koopman.forecast(model, steps=2, scene=False, progress=False) for c in (brief, holes))
    assert bool(right["mean"][:, :, 2, 3].isnull().all())
    assert bool(right["spread"][:, :, 2, 3].isnull().all())
    assert int(right["iterations"][2, 3]) == 0
    keep = np.ones((8, 8), bool)
    keep[2, 3] = False
    np.testing.assert_allclose(left["mean"].values[:, :, keep], right["mean"].values[:, :, keep], rtol=1e-4, atol=1e-5)


def test_one_date_repeated_dates_and_backward_windows(past, model):
    single = past.isel(time=[20])
    assert bool(np.isfinite(single.koopman.forecast(model, steps=1, progress=False)["mean"]).any())
    twice = xr.concat([single, single], "time")
    once_spread, twice_spread = (
        c.koopman.assimilate(model, times=single.time, progress=False)["spread_state"].mean() for c in (single, twice)
    )
    assert float(twice_spread) < float(once_spread)
    before = past.sel(time=slice("2018-06-01", None)).koopman.assimilate(model, times=["2018-01-01"], progress=False)
    assert bool(before["mean"].notnull().all())


def test_result_lies_on_the_very_dates_of_the_cube(brief, model):
    odd = brief.assign_coords(time=brief.time + np.timedelta64(34_680_123_456_789, "ns"))
    result = odd.koopman.assimilate(model, progress=False)
    np.testing.assert_array_equal(result.time.values, odd.time.values)
    assert (result["mean"] - odd).sizes["time"] == odd.sizes["time"]


def test_digital_numbers_are_refused_inside_lazy_blocks(past, model):
    lazy = (past * 10000).chunk({"y": 4}).koopman.assimilate(model)
    with pytest.raises(InputError, match="divide digital numbers by 10000"):
        lazy.compute()


def test_labels_of_bands_and_history_are_kept(brief, model):
    named = brief.assign_coords(common_name=("band", ["red", "nir08"])).assign_attrs(history="loaded")
    result = named.isel(band=[1, 0]).koopman.assimilate(model, progress=False)
    assert result.common_name.sel(band="B04").item() == "red"
    assert result.attrs["history"].startswith("loaded; s2koop")
    assert result.band.dtype == object


def test_the_accessor_says_what_it_offers(past):
    assert "forecast" in repr(past.koopman)


def test_many_asked_dates_take_smaller_tiles(brief, model, monkeypatch):
    """The memory of a tile is bounded by pixels times dates, not by pixels alone."""
    import s2koop.koopman.analysis as module

    sizes = []
    plain = module.analysis_kernel
    monkeypatch.setattr(module, "TILE_DERIVATIVES", 16_000)
    monkeypatch.setattr(module, "analysis_kernel", lambda m, v, **o: sizes.append(len(v)) or plain(m, v, **o))
    brief.koopman.interpolate(model, freq="1D", progress=False)
    assert max(sizes) == 16


def test_attrs_of_the_cube_do_not_ride_on_the_variables(brief, model, tmp_path):
    result = brief.assign_attrs(scale_factor=1e-4, _FillValue=-9999).koopman.assimilate(model, progress=False)
    assert set(result["mean"].attrs) == {"long_name", "units"}
    assert set(result["iterations"].attrs) == {"long_name", "units"}


def test_asking_for_earlier_dates_does_not_move_the_others(past, model):
    late = past.sel(time=slice("2018-06-01", None))
    alone = late.koopman.assimilate(model, times=["2019-05-01"], progress=False)
    beside = late.koopman.assimilate(model, times=["2016-05-01", "2019-05-01"], progress=False)
    np.testing.assert_allclose(alone["mean"][0], beside["mean"][1], rtol=1e-4, atol=1e-5)


def test_the_error_beyond_counts_from_what_a_pixel_was_seen_on(past, model):
    blind = past.where(past.time < np.datetime64("2019-06-01"))
    blind[0:20] = np.nan
    result = blind.koopman.assimilate(model, constraint="strong", scene=False, progress=False)
    observation = np.sqrt(result["spread"] ** 2 - result["spread_state"] ** 2).sel(band="B08")
    inside, outside = (float((e * model.scale)[1]) for e in (model.window_error, model.forecast_error))
    np.testing.assert_allclose(observation.sel(time="2018-07"), inside, rtol=1e-2)
    for part in (slice("2019-07", None), slice(None, "2017-05")):
        np.testing.assert_allclose(observation.sel(time=part), outside, rtol=1e-2)


def test_coords_named_like_outputs_do_not_swallow_them(brief, model):
    odd = brief.assign_coords(mean=3.0, mode="x")
    assert "mean" in odd.koopman.assimilate(model, progress=False)
    assert odd.koopman.spectrum(model, progress=False)["amplitude"].dims == ("mode", "y", "x")


def test_a_damaged_model_in_the_cache_is_written_anew(brief, model):
    from pathlib import Path

    path = Path(model.reference().path)
    path.write_bytes(b"junk")
    result = brief.chunk({"y": 4}).koopman.forecast(model, steps=1).compute()
    assert bool(result["mean"].notnull().all())


def test_a_loaded_model_does_not_change_with_its_file(model, tmp_path):
    path = model.save(tmp_path / "m.safetensors")
    back = s2koop.koopman.load(path)
    center = back.center.clone()
    with path.open("r+b") as file:
        file.write(b"\0" * path.stat().st_size)
    assert bool((back.center == center).all())


def test_forecast_steps_are_those_of_the_model(brief, model):
    result = brief.koopman.forecast(model, steps=3, progress=False)
    gaps = np.diff(np.concatenate([brief.time.values[-1:], result.time.values])) / np.timedelta64(1, "D")
    assert set(gaps) == {model.settings.step_days}


def test_asked_dates_come_sorted_and_once(past, model):
    result = past.koopman.assimilate(model, times=["2018-07-01", "2018-03-01", "2018-07-01"], progress=False)
    assert [str(t)[:10] for t in result.time.values] == ["2018-03-01", "2018-07-01"]
    by_index = past.koopman.assimilate(
        model, times=pd.DatetimeIndex(["2018-03-01", "2018-07-01"], tz="UTC"), progress=False
    )
    xr.testing.assert_allclose(result, by_index)


STRONG = {"constraint": "strong", "scene": False, "progress": False}


def test_spread_is_that_of_the_state_and_of_the_observation(past, model):
    for result, noise in (
        (past.koopman.assimilate(model, **STRONG), model.window_error),
        (past.koopman.forecast(model, steps=20, **STRONG), model.forecast_error),
    ):
        observation = np.sqrt(result["spread"] ** 2 - result["spread_state"] ** 2)
        for band, expected in zip(model.bands, (noise * model.scale).tolist(), strict=True):
            np.testing.assert_allclose(observation.sel(band=band), expected, rtol=1e-2)
    assert bool((model.forecast_error >= model.window_error).all())


@pytest.mark.parametrize(
    ("call", "options", "message"),
    [
        ("forecast", {}, "either times= .* or steps="),
        ("forecast", {"steps": 0}, "at least 1"),
        ("forecast", {"steps": 2, "times": ["2030-01-01"]}, "only one"),
        ("forecast", {"times": ["2018-01-01"]}, "not after 2019-12-27"),
        ("forecast", {"times": ["soon"]}, "soon"),
        ("forecast", {"times": []}, "times"),
        ("interpolate", {}, "either freq="),
        ("interpolate", {"freq": "five"}, "not a pandas frequency"),
        ("interpolate", {"freq": "-5D"}, "does not go forward"),
        ("assimilate", {"times": 2019}, "numbers"),
        ("assimilate", {"tolerance": "x"}, "tolerance"),
        ("assimilate", {"device": "gpu"}, "cannot be used here"),
        ("interpolate", {"times": ["2030-01-01"]}, "use .forecast"),
        ("assimilate", {"max_iterations": 0}, "at least 1"),
        ("assimilate", {"solver": "newton"}, "choose one of"),
        ("assimilate", {"precision": "float16"}, "choose one of"),
    ],
)
def test_wrong_calls_say_what_to_do(past, model, call, options, message):
    with pytest.raises(InputError, match=message):
        getattr(past.koopman, call)(model, progress=False, **options)


def test_frequency_coarser_than_the_cube(past, model):
    with pytest.raises(InputError, match="finer"):
        past.isel(time=slice(5, 9)).koopman.interpolate(model, freq="YE")


def test_models_that_do_not_fit_are_refused(past, model, tmp_path):
    with pytest.raises(ModelError, match=r"not \['B11'\]"):
        past.assign_coords(band=["B11", "B08"]).koopman.assimilate(model)
    with pytest.raises(ModelError, match="or fit one"):
        past.assign_coords(band=["B11", "B12"]).koopman.assimilate(model)
    with pytest.raises(ModelError, match="trained on BOA"):
        past.assign_attrs(level="TOA").koopman.assimilate(model)
    with pytest.raises(InputError, match="KoopmanModel"):
        past.koopman.assimilate(3)
    with pytest.raises(ModelError, match="no model file"):
        past.koopman.assimilate(tmp_path / "none.safetensors")


def test_save_load_round_trip_and_use_by_path(brief, model, tmp_path):
    path = model.save(tmp_path / "seasons.safetensors")
    back = s2koop.koopman.load(path)
    assert back.digest == model.digest
    assert back.card == model.card
    xr.testing.assert_identical(
        brief.koopman.forecast(path, steps=1, progress=False),
        brief.koopman.forecast(model, steps=1, progress=False),
    )
    assert (tmp_path / "seasons.json").read_text().startswith("{")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["seasons.json", "seasons.safetensors"]


def test_files_that_are_no_models_are_refused(model, tmp_path):
    import safetensors.numpy

    (tmp_path / "junk.safetensors").write_bytes(b"\x00" * 64)
    safetensors.numpy.save_file({"a": np.zeros(2)}, tmp_path / "other.safetensors")
    for name in ("junk", "other"):
        with pytest.raises(ModelError, match="not a model that s2koop wrote"):
            s2koop.koopman.load(tmp_path / f"{name}.safetensors")
    with pytest.raises(ModelError, match="safetensors"):
        model.save(tmp_path / "model.pt")
    with pytest.raises(ModelError, match="create it first"):
        model.save(tmp_path / "nowhere" / "model.safetensors")
    later = model.content.replace(b"s2koop-koopman-2", b"s2koop-koopman-9")
    (tmp_path / "later.safetensors").write_bytes(later)
    with pytest.raises(ModelError, match="format 's2koop-koopman-9'"):
        s2koop.koopman.load(tmp_path / "later.safetensors")


def test_repr_shows_bands_and_period(model):
    assert "B04 B08" in repr(model)
    assert "2019" in model._repr_html_()


@pytest.mark.parametrize("constraint", ["weak", "strong"])
def test_bfloat16_decodes_nearly_the_same(brief, model, constraint):
    exact, rough = (
        brief.koopman.assimilate(model, constraint=constraint, precision=precision, progress=False)
        for precision in ("float32", "bfloat16")
    )
    difference = (rough["mean"] - exact["mean"]).to_numpy()
    assert 0 < np.nanmax(np.abs(difference)) < 0.02
    np.testing.assert_array_equal(rough["iterations"], exact["iterations"])
