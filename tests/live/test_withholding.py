"""What is withheld is really withheld: methods are asked again without it, and judged on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import s2koop
from s2koop.errors import InputError
from s2koop.session import REGION_PIXELS, Session
from tests.support.counted import counted
from tests.support.simulated import Simulated

PIXEL = (6, 8)


@pytest.fixture
def asked() -> list[xr.DataArray]:
    return []


@pytest.fixture
def session(scene: Simulated, asked: list[xr.DataArray]) -> Session:
    """A result of a method that keeps what it was given, and a harmonic that is asked again by itself."""

    def spy(cube: xr.DataArray, times: np.ndarray) -> xr.Dataset:
        asked.append(cube)
        return s2koop.baselines.pixel_mean(cube, times=times)

    harmonic = s2koop.baselines.harmonic(scene.cube, times=scene.result["time"], harmonics=1)
    return Session(
        scene.cube, scene.result, harmonic, names=["spied", "harmonic"], later=scene.later, band="B8A", pixel=PIXEL,
        methods={"spied": spy},
    )  # fmt: skip


def seen_dates(session: Session) -> np.ndarray:
    return session.series(again=False).observed.time


def test_nothing_is_asked_while_nothing_is_withheld(session: Session, asked: list) -> None:
    found = session.series()
    assert not asked
    assert found.again == {}
    assert found.withheld.time.size == 0


def test_a_withheld_date_reaches_no_method_and_alone_is_judged_beside_what_came_later(session, asked, scene) -> None:
    days = seen_dates(session)[[3, 10]]
    session.withhold(days)
    found = session.series()
    assert not np.isin(days, asked[0]["time"].values).any()
    assert np.isfinite(asked[0].values).any(axis=(1, 2, 3)).all(), "dates without any value are left out"
    np.testing.assert_array_equal(found.withheld.time, days)
    assert not np.isin(days, found.observed.time).any()
    truth = scene.cube.sel(band="B8A", time=days)[:, *PIXEL]
    np.testing.assert_array_equal(found.withheld.value, truth)
    assert set(found.again) == {"spied", "harmonic"}
    assert found.scores()["harmonic"].count == 2 + found.later.time.size
    # what the estimates say is what the baseline says of the cube without these dates
    left = scene.cube.sel(time=~scene.cube["time"].isin(days))[:, :, [PIXEL[0]], [PIXEL[1]]]
    directly = s2koop.baselines.harmonic(left, times=days, harmonics=1)["mean"].sel(band="B8A")[:, 0, 0]
    np.testing.assert_allclose([found.again["harmonic"].on(d)[0] for d in days], directly, rtol=1e-5)
    assert found.estimates["harmonic"].on(days[0])[0] != pytest.approx(float(directly[0]), abs=1e-7)


def test_all_bands_are_withheld_and_a_change_of_band_asks_nobody(session, asked) -> None:
    session.withhold(seen_dates(session)[:1])
    session.series()
    session.band = "B04"
    session.series()
    session.band = "NDVI"
    assert session.series().again["harmonic"].mean.size
    assert len(asked) == 1


def test_toggling_gives_back_and_what_was_asked_before_is_remembered(session, asked) -> None:
    day = seen_dates(session)[5]
    session.toggle([day])
    assert session.withheld == (day,)
    session.series()
    session.toggle([day])
    assert session.withheld == ()
    session.toggle([day])
    session.series()
    assert len(asked) == 1


def test_a_cut_makes_all_that_follows_a_forecast_up_to_the_horizon(session, asked) -> None:
    cut = session.cube["time"].values[40]
    session.cut, session.horizon = cut, 60
    found = session.series()
    assert asked[0]["time"].values.max() <= cut
    assert found.observed.time.max() <= cut
    end = cut + np.timedelta64(60, "D")
    assert found.later.time.min() > cut
    assert found.later.time.max() <= end
    assert found.again["harmonic"].time.max() <= end
    assert found.scores()["harmonic"].count == found.later.time.size
    session.go_to(found.later.time[0])
    reading = session.reading()
    assert reading.lead == (found.later.time[0] - cut) / np.timedelta64(1, "D")
    assert reading.later == pytest.approx(float(found.later.value[0]))


def test_results_that_cannot_be_asked_again_are_not_judged_on_what_they_saw(scene: Simulated) -> None:
    harmonic = s2koop.baselines.harmonic(scene.cube, times=scene.result["time"])
    session = Session(scene.cube, scene.result, harmonic, names=["fixed", "harmonic"], band="B8A", pixel=PIXEL)
    assert set(session.methods) == {"harmonic"}
    assert session.series().scores() == {}
    session.withhold(seen_dates(session)[:2])
    assert set(session.series().scores()) == {"harmonic"}
    alone = Session(scene.cube, scene.result, band="B8A", pixel=PIXEL)
    alone.withhold(seen_dates(alone)[:2])
    assert alone.series().scores() == {}


def test_scores_are_those_of_the_scores_module(session: Session, scene: Simulated) -> None:
    found = session.series()
    part = {"band": "B8A", "y": scene.cube["y"][PIXEL[0]], "x": scene.cube["x"][PIXEL[1]]}
    truth, result = scene.later.sel(part), scene.result.sel(part).sel(time=scene.later["time"])
    score = found.scores()["spied"]
    assert score.rmse == pytest.approx(float(s2koop.scores.rmse(result, truth)), rel=1e-5)
    assert score.bias == pytest.approx(float(s2koop.scores.bias(result, truth)), rel=1e-4)
    assert score.crps == pytest.approx(float(s2koop.scores.crps(result, truth)), rel=1e-4)
    assert score.coverage == pytest.approx(float(s2koop.scores.coverage(result, truth)))


def test_the_koopman_result_is_asked_again_with_its_model(scene: Simulated) -> None:
    model = scene.cube.koopman.fit(steps=2, hidden=(8,), latent=6, max_pixels=40, progress=False)
    analysis = scene.cube.isel(y=slice(0, 3), x=slice(0, 3)).koopman.assimilate(model, progress=False)
    session = Session(scene.cube.isel(y=slice(0, 3), x=slice(0, 3)), analysis, model=model, band="B8A", pixel=(1, 1))
    days = seen_dates(session)[20:24]
    session.withhold(days)
    found = session.series()
    kept = scene.cube.sel(time=~scene.cube["time"].isin(days))[:, :, 1:2, 1:2]
    directly = kept.koopman.assimilate(model, times=days, scene=False, progress=False)["mean"].sel(band="B8A")[:, 0, 0]
    np.testing.assert_allclose([found.again["koopman"].on(d)[0] for d in days], directly, atol=2e-4)


def test_a_region_is_a_mean_over_a_lattice_of_its_pixels(session, asked, scene) -> None:
    session.region = (1, 2, 11, 14)
    found = session.series()
    assert found.pixels <= REGION_PIXELS < 10 * 12
    session.region = (2, 3, 5, 6)
    found = session.series()
    assert found.pixels == 9
    block = scene.cube.sel(band="B8A")[:, 2:5, 3:6].values.reshape(-1, 9)
    enough = np.isfinite(block).mean(1) >= 0.9
    np.testing.assert_array_equal(found.observed.time, scene.cube["time"].values[enough])
    np.testing.assert_allclose(found.observed.value, np.nanmean(block[enough], axis=1), rtol=1e-5)
    mean = scene.result["mean"].sel(band="B8A")[:, 2:5, 3:6].mean(("y", "x"))
    np.testing.assert_allclose(found.estimates["spied"].mean, mean, rtol=1e-5)
    session.withhold(found.observed.time[:1])
    session.series()
    assert asked[-1].sizes["y"] == 9


def test_a_withheld_observation_reads_nothing_again(scene: Simulated) -> None:
    cube, reads = counted(scene.cube, time=73)
    harmonic = s2koop.baselines.harmonic(scene.cube, times=scene.result["time"])
    session = Session(cube, harmonic, band="B8A", pixel=PIXEL)
    session.withhold(seen_dates(session)[:3])
    session.series()
    count = reads.total()
    session.withhold(seen_dates(session)[3:5])
    session.series()
    assert reads.total() == count


def test_one_pixel_and_all_dates_withheld_leave_no_answer(session: Session, asked: list) -> None:
    session.withhold(session.cube["time"].values)
    found = session.series()
    assert found.again == {}
    assert found.observed.time.size == 0
    assert not asked


@pytest.mark.parametrize(
    ("trait", "value", "words"),
    [
        ("withheld", ("1999-01-01",), "choose among cube.time"),
        ("cut", "1999-01-01", "among them"),
        ("horizon", 0, "give 1 or more"),
        ("region", (0, 0, 0, 5), "empty or lies outside"),
        ("region", (0, 0, 99, 5), "lies outside the cube of 12 rows"),
        ("region", "all", "expected first row"),
        ("beside", "nobody mean", "choose one of"),
    ],
)
def test_what_cannot_be_chosen_is_refused_with_words(session: Session, trait: str, value, words: str) -> None:
    before = getattr(session, trait)
    with pytest.raises(InputError, match=words):
        setattr(session, trait, value)
    assert getattr(session, trait) == before


def test_the_state_is_small_plain_and_opens_the_same_view(session: Session, scene: Simulated) -> None:
    import json

    session.withhold(seen_dates(session)[:2])
    session.cut, session.region, session.mode = session.cube["time"].values[50], (1, 1, 4, 4), "grid"
    session.product, session.colour = "harmonic spread", True
    session.go_to("2019-03-01")
    text = json.dumps(session.state())
    assert len(text) < 600
    other = Session(
        scene.cube, scene.result, session.results["harmonic"], names=["spied", "harmonic"], later=scene.later
    )
    other.restore(json.loads(text))
    assert other.state() == session.state()
    with pytest.raises(InputError, match="no choices"):
        other.restore({"colour_of_the_sky": "blue"})


def test_methods_must_have_the_names_of_results(scene: Simulated) -> None:
    with pytest.raises(InputError, match="use their names"):
        Session(scene.cube, scene.result, methods={"lstm": lambda cube, times: cube})


def test_a_change_while_something_is_read_is_not_kept_under_what_was_asked(scene: Simulated) -> None:
    cube, _ = counted(scene.cube, time=73)
    session = Session(cube, band="B8A", pixel=PIXEL)
    day = Session(scene.cube, band="B8A", pixel=PIXEL).series().observed.time[4]

    def meddle(change: dict) -> None:
        if change["new"].startswith("Reading"):
            session.withheld = (day,)

    session.observe(meddle, "status")
    session.series()
    session.unobserve(meddle, "status")
    session.withheld = ()
    assert session.series().withheld.time.size == 0


def test_a_result_of_another_model_is_not_asked_of_this_one(scene: Simulated) -> None:
    small = scene.cube.isel(y=slice(0, 3), x=slice(0, 3))
    options = {"steps": 2, "hidden": (8,), "latent": 6, "max_pixels": 9, "progress": False}
    one, other = small.koopman.fit(seed=1, **options), small.koopman.fit(seed=2, **options)
    result = small.koopman.assimilate(one, times=small["time"][:4], progress=False)
    assert set(Session(small, result, model=one).methods) == {"koopman"}
    assert Session(small, result, model=other).methods == {}


def test_the_state_keeps_milliseconds(scene: Simulated) -> None:
    times = scene.cube["time"].values + np.timedelta64(24, "ms")
    session = Session(scene.cube.assign_coords(time=times), band="B8A")
    session.cut = times[0]
    other = Session(session.cube, band="B8A")
    other.restore(session.state())
    np.testing.assert_array_equal(other.hidden(), session.hidden())


def test_a_region_has_no_interval_to_be_judged_by(session: Session) -> None:
    session.region = (1, 1, 6, 6)
    score = session.series().scores()["harmonic"]
    assert np.isfinite(score.rmse)
    assert np.isnan(score.coverage)
    assert np.isnan(score.crps)


def test_a_method_without_spread_can_be_asked(scene: Simulated) -> None:
    def bare(cube: xr.DataArray, times: np.ndarray) -> xr.Dataset:
        return s2koop.baselines.pixel_mean(cube, times=times)[["mean"]]

    session = Session(scene.cube, scene.result, methods={"koopman": bare}, band="B8A", pixel=PIXEL)
    session.withhold(seen_dates(session)[:1])
    assert np.isfinite(session.series().scores()["koopman"].rmse)


def test_results_in_any_order_of_dates_are_put_into_order(scene: Simulated) -> None:
    mixed = scene.result.isel(time=[20, 4, 12])
    session = Session(scene.cube, mixed, band="B8A")
    dates = session.dates("koopman residual")
    assert (np.diff(dates) > np.timedelta64(0)).all()
    at = int(np.flatnonzero(dates == mixed["time"].values[0])[0])
    day = {"band": "B8A", "time": dates[at]}
    truth = scene.cube.sel(day) - scene.result["mean"].sel(day)
    np.testing.assert_allclose(session.field("koopman residual", time=at), truth, rtol=1e-6)
    with pytest.raises(InputError, match="sortby"):
        Session(scene.cube.isel(time=slice(None, None, -1)))
    with pytest.raises(InputError, match="to_datetime"):
        Session(scene.cube.assign_coords(time=np.arange(73)))


@pytest.mark.parametrize(
    ("options", "words"),
    [({"names": ["observed"]}, "other names"), ({"limits": {"B8": (0, 1)}}, "choose one of")],
)
def test_names_and_limits_that_cannot_be_are_refused(scene: Simulated, options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Session(scene.cube, scene.result, **options)


def test_a_residual_has_no_data_where_the_later_cube_lacks_the_band(scene: Simulated) -> None:
    session = Session(scene.cube, scene.result, later=scene.later.sel(band=["B04"]), band="B8A")
    frames = session.frames(product="koopman residual")
    beyond = frames.dates > scene.cube["time"].values[-1]
    assert beyond.any()
    assert not frames.levels[beyond].any()
    assert frames.levels[~beyond].any()
