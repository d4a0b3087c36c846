"""The session: what can be chosen, what the numbers are, and how little is read for them."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
import xarray as xr

import s2koop
from s2koop._frames import decode, encode
from s2koop.errors import InputError
from s2koop.session import Session
from tests.support.counted import counted
from tests.support.simulated import Simulated


def test_products_bands_and_dates_are_those_of_cube_results_and_later(session: Session, scene: Simulated) -> None:
    assert session.products == ("observed", "koopman mean", "koopman spread", "koopman residual", "later")
    assert session.bands == ("B04", "B8A", "B11", "NDVI", "NDMI")
    assert session.dates("koopman mean").size == scene.result.sizes["time"]
    assert session.pixel == (6, 8)
    assert session.date == scene.cube["time"].values[-1]


def test_uint8_coding_is_exact_to_half_a_step_and_keeps_missing(rng: np.random.Generator) -> None:
    values = rng.uniform(0.02, 0.4, (30, 30)).astype("float32")
    values[3, 4] = np.nan
    levels = encode(values, 0.02, 0.4)
    assert levels.dtype == np.uint8
    assert levels[3, 4] == 0
    assert (levels == 0).sum() == 1
    assert np.nanmax(np.abs(decode(levels, 0.02, 0.4) - values)) <= 0.38 / 254 / 2 * 1.01
    assert encode(np.array([-1.0, 9.0]), 0.0, 1.0).tolist() == [1, 255]


def test_frame_shows_the_date_and_band_asked_for(session: Session, scene: Simulated) -> None:
    frame = session.frame(2, product="observed", band="B04")
    truth = scene.cube.sel(band="B04").isel(time=2).values
    assert frame.date == scene.cube["time"].values[2]
    assert np.array_equal(frame.levels == 0, np.isnan(truth))
    inside = (truth > frame.low) & (truth < frame.high)
    assert inside.sum() > 50
    assert np.abs(frame.values - truth)[inside].max() < (frame.high - frame.low) / 254


def test_one_range_for_everything_that_is_reflectance(session: Session) -> None:
    ranges = {session.limits(product=p, band="B8A") for p in ("observed", "koopman mean", "later")}
    assert len(ranges) == 1
    assert session.limits(product="koopman spread", band="B8A")[0] == 0.0
    given = Session(session.cube, limits={"B8A": (0.0, 0.5)})
    assert given.limits(band="B8A") == (0.0, 0.5)


def test_series_has_the_true_values_and_the_interval(session: Session, scene: Simulated) -> None:
    found = session.series((2, 3), band="B11", level=0.8)
    line = scene.cube.sel(band="B11")[:, 2, 3]
    seen = np.isfinite(line.values)
    assert 0 < seen.sum() < seen.size
    np.testing.assert_array_equal(found.observed.value, line.values[seen])
    np.testing.assert_array_equal(found.observed.time, line["time"].values[seen])
    at = scene.result.sel(band="B11")[["mean", "spread"]].isel(y=2, x=3)
    z = NormalDist().inv_cdf(0.9)
    np.testing.assert_allclose(found.estimates["koopman"].high, at["mean"] + z * at["spread"], rtol=1e-6)
    np.testing.assert_allclose(found.estimates["koopman"].low, at["mean"] - z * at["spread"], rtol=1e-6)
    assert found.later is not None
    assert found.later.time.min() > found.observed.time.max()
    assert (found.x, found.y) == (float(scene.cube["x"][3]), float(scene.cube["y"][2]))


def test_reading_is_the_true_value_of_the_day_or_none(session: Session, scene: Simulated) -> None:
    line = scene.cube.sel(band="B8A")[:, 6, 8]
    seen = int(np.flatnonzero(np.isfinite(line))[0])
    hidden = int(np.flatnonzero(np.isnan(line))[0])
    session.time = seen
    assert session.reading().observed == pytest.approx(float(line[seen]))
    session.time = hidden
    assert session.reading().observed is None
    estimate = session.reading().estimates["koopman"]
    assert estimate is not None
    mean, half = estimate
    truth = scene.result["mean"].sel(band="B8A", time=session.date)[6, 8]
    assert mean == pytest.approx(float(truth))
    assert half > 0
    assert session.reading(date=np.datetime64("1999-01-01")).estimates["koopman"] is None


def test_a_change_of_product_keeps_the_date(session: Session) -> None:
    session.go_to("2019-03-01")
    asked = session.date
    session.product = "later"
    assert session.time == 0
    session.product = "koopman mean"
    assert abs(session.date - asked) <= np.timedelta64(5, "D")
    session.product = "observed"
    assert session.date == asked


def test_a_band_only_the_result_knows_is_offered_and_empty_in_the_cube(scene: Simulated) -> None:
    session = Session(scene.cube.sel(band=["B04"]), scene.result.sel(band=["B8A"]))
    assert session.bands == ("B04", "B8A", "NDVI")
    assert not session.frame(product="observed", band="B8A").levels.any()
    assert session.frame(product="koopman mean", band="B8A").levels.all()
    assert session.series(band="B8A").observed.time.size == 0
    assert session.series(band="B04").estimates["koopman"].time.size == 0


def test_one_frame_reads_one_date_once_the_range_is_known(scene: Simulated) -> None:
    cube, reads = counted(scene.cube)
    session = Session(cube, limits={"B8A": (0.0, 0.5)})
    assert not reads
    session.frame(3, band="B8A")
    assert reads == {(3, 1): 1}


def test_the_range_reads_a_dozen_dates_of_one_band(scene: Simulated) -> None:
    cube, reads = counted(scene.cube)
    Session(cube).limits(band="B8A")
    assert len(reads) == 12
    assert {band for _, band in reads} == {1}


def test_the_range_prefers_dates_that_are_known_to_be_clear(scene: Simulated) -> None:
    cover = np.where(np.arange(scene.cube.sizes["time"]) < 12, 0.0, 90.0)
    cube, reads = counted(scene.cube.assign_coords(cloud_cover=("time", cover)))
    Session(cube).limits(band="B04")
    assert {date for date, _ in reads} == set(range(12))


@pytest.mark.parametrize("time", [1, 10, 73])
def test_all_frames_read_each_chunk_of_one_band_once(scene: Simulated, time: int) -> None:
    cube, reads = counted(scene.cube, time=time)
    session = Session(cube, limits={"B8A": (0.0, 0.5)})
    frames = session.frames(band="B8A")
    assert set(reads.values()) == {1}
    assert {band for _, band in reads} == {1}
    assert frames.levels.shape == (73, 12, 16)
    session.frames(band="B8A")
    assert set(reads.values()) == {1}, "looking back reads nothing"


def test_a_series_reads_one_band_once(scene: Simulated) -> None:
    cube, reads = counted(scene.cube, time=73)
    session = Session(cube)
    session.series((1, 1), band="B11")
    session.series((1, 1), band="B11")
    assert reads == {(0, 2): 1}


def test_lazy_and_loaded_give_the_same(scene: Simulated) -> None:
    lazy, loaded = Session(counted(scene.cube, time=7)[0]), Session(scene.cube)
    np.testing.assert_array_equal(lazy.frames().levels, loaded.frames().levels)
    np.testing.assert_array_equal(lazy.series().observed.value, loaded.series().observed.value)


def test_frames_are_thinned_to_the_budget(session: Session) -> None:
    whole, thin = session.frames(), session.frames(budget=73 * 4 * 6)
    assert (whole.stride, thin.stride) == (1, 3)
    assert thin.levels.nbytes <= 73 * 4 * 6
    np.testing.assert_array_equal(thin.levels, whole.levels[:, ::3, ::3])
    with pytest.raises(InputError, match="select fewer dates"):
        session.frames(budget=72)


def test_the_clearest_date_has_the_fewest_pixels_missing(session: Session, scene: Simulated) -> None:
    missing = np.isnan(scene.cube.sel(band="B8A")).sum(("y", "x")).values
    chosen = session.frames().clearest()
    assert missing[chosen] == missing.min()
    assert (missing[chosen + 1 :] > missing.min()).all()


@pytest.mark.parametrize(
    ("trait", "value", "words"),
    [
        ("band", "B99", "choose one of B04, B8A, B11"),
        ("product", "lstm mean", "choose one of observed"),
        ("pixel", (12, 0), "rows run from 0 to 11"),
        ("pixel", (0, -1), "columns from 0 to 15"),
        ("time", 73, "numbered 0 to 72"),
        ("level", 1.5, "between 0 and 1"),
    ],
)
def test_a_choice_that_does_not_exist_is_refused_and_changes_nothing(session: Session, trait, value, words) -> None:
    before = getattr(session, trait)
    with pytest.raises(InputError, match=words):
        setattr(session, trait, value)
    assert getattr(session, trait) == before


def test_grids_and_inputs_that_do_not_fit_are_refused(scene: Simulated) -> None:
    shifted = scene.result.assign_coords(x=scene.result["x"] + 10)
    with pytest.raises(InputError, match="no common grid"):
        Session(scene.cube, shifted)
    with pytest.raises(InputError, match="no common grid"):
        Session(scene.cube, later=scene.later.isel(y=slice(5)))
    with pytest.raises(InputError, match="transpose"):
        Session(scene.cube.transpose("band", "time", "y", "x"))
    with pytest.raises(InputError, match="at most 4"):
        Session(scene.cube, *[scene.result] * 5)
    with pytest.raises(InputError, match="'mean'"):
        Session(scene.cube, xr.Dataset({"value": scene.cube}))
    with pytest.raises(InputError, match="does not name 1"):
        Session(scene.cube, scene.result, names=["a", "b"])
    with pytest.raises(InputError, match="no coordinate"):
        Session(scene.cube.drop_vars("x"))
    with pytest.raises(InputError, match="lower value first"):
        Session(scene.cube, limits={"B04": (0.4, 0.1)})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda s: s.cube.to_dataset(name="mean"), r"found a Dataset with mean.*dataset\['mean'\]; results follow"),
        (lambda s: s.cube.values, "of type ndarray. s2koop.load returns such a cube"),
        (lambda s: s.cube.isel(band=0), r"expand_dims\(\['band'\]\)"),
        (lambda s: s.cube.expand_dims("member"), r"Choose along \['member'\]"),
        (lambda s: s.cube.transpose(..., "time"), "transpose"),
    ],
)
def test_what_is_no_cube_is_refused_with_the_cure_that_fits(scene: Simulated, given, words) -> None:
    with pytest.raises(InputError, match=words) as caught:
        Session(given(scene))
    assert ("transpose" in str(caught.value)) is (words == "transpose")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"limits": (0, 1)}, r"limits is \(0, 1\); expected a range per band, such as {'B8A'"),
        ({"limits": {"B04": 0.5}}, "expected two numbers"),
        ({"limits": {"B04": (0, np.nan)}}, "two finite numbers"),
        ({"pixel": 5}, "pixel is 5; expected row and column"),
        ({"pixel": (1.5, 2)}, "whole numbers"),
        ({"pixel": (1, 2, 3)}, "expected row and column"),
        ({"band": 5}, "choose one of B04, B8A, B11"),
        ({"level": "high"}, "level is 'high'"),
        ({"date": "soon"}, "date holds 'soon'"),
    ],
)
def test_options_of_another_kind_are_refused_by_name(scene: Simulated, options, words) -> None:
    with pytest.raises(InputError, match=words):
        s2koop.dashboard(scene.cube, **options)


def test_a_pixel_may_be_counted_by_numpy(scene: Simulated) -> None:
    assert Session(scene.cube, pixel=tuple(np.argwhere(np.ones((2, 3)))[-1])).pixel == (1, 2)


def test_a_session_says_in_a_line_what_it_holds(session: Session) -> None:
    assert repr(session) == (
        "<Session: 73 dates, B04, B8A, B11, NDVI, NDMI, 12 x 16 pixels; koopman, later; "
        "shows 'observed', B8A, 2019-12-26>"
    )


def test_results_of_one_name_are_told_apart(scene: Simulated) -> None:
    assert list(Session(scene.cube, scene.result, scene.result).results) == ["koopman", "koopman (2)"]
    kinds = [scene.result.assign_attrs(title=f"Koopman {kind}") for kind in ("analysis", "forecast", "forecast")]
    mean = s2koop.baselines.pixel_mean(scene.cube, times=scene.later.time)
    found = list(Session(scene.cube, *kinds, mean).results)
    assert found == ["Koopman analysis", "Koopman forecast", "Koopman forecast (3)", "pixel_mean"]
    assert list(Session(scene.cube, kinds[0]).results) == ["koopman"]
    assert list(Session(scene.cube, scene.result, names=["prior"]).results) == ["prior"]


def test_dates_that_repeat_keep_their_own_frames(scene: Simulated) -> None:
    twice = scene.cube.isel(time=[0, 1, 1, 2])
    twice[2] = 0.3
    session = Session(twice, limits={"B04": (0.0, 0.6)})
    session.time = 2
    assert set(np.unique(session.frame().levels)) == {128}
    assert session.time == 2


def test_a_result_without_spread_has_a_mean_and_no_interval(scene: Simulated) -> None:
    session = Session(scene.cube, scene.result.drop_vars("spread"))
    assert session.products == ("observed", "koopman mean", "koopman residual")
    estimate = session.series().estimates["koopman"]
    assert np.isfinite(estimate.mean).all()
    assert np.isnan(estimate.low).all()


def test_a_failure_is_kept_and_shown_without_its_signature(session: Session) -> None:
    def work() -> None:
        raise OSError("cannot read https://host.example/B04.tif?sv=1&sig=abc%3D")

    session.request("series", work)
    assert session.wait(10)
    assert len(session.errors) == 1
    assert session.error == "cannot read https://host.example/B04.tif"
