"""Maps side by side, divider, details, questions, modes and files: what the dashboard sends, without a browser."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

import s2koop
from s2koop.errors import InputError
from s2koop.live.assimilation import Dashboard
from s2koop.live.export import KINDS, Export, save
from s2koop.live.modes import ModesView
from s2koop.session import Session
from tests.support.counted import counted
from tests.support.simulated import Simulated, simulated


@pytest.fixture
def view(scene: Simulated) -> Dashboard:
    harmonic = s2koop.baselines.harmonic(scene.cube, times=scene.result["time"])
    return s2koop.dashboard(scene.cube, scene.result, harmonic, later=scene.later, band="B8A", date="2019-06-14")


def settle(view: Dashboard) -> None:
    assert view.wait(60)
    assert view.errors == []


def titles(view: Dashboard) -> list[str]:
    return [view.picture.panel(slot).get("title", "") for slot in (1, 2, 3, 4)]


def test_side_by_side_are_observation_mean_spread_and_residual(view: Dashboard) -> None:
    view.session.mode = "grid"
    settle(view)
    assert titles(view) == ["observed, B8A", "koopman mean, B8A", "koopman spread, B8A", "koopman residual, B8A"]
    assert view.picture.mode == "grid"
    view.session.product = "harmonic spread"
    settle(view)
    assert titles(view)[1:] == ["observed, B8A", "harmonic mean, B8A", "harmonic residual, B8A"]
    view.session.mode = "one"
    settle(view)
    assert titles(view)[1:] == ["", "", ""]


def test_a_residual_is_observation_minus_mean_where_both_are(view: Dashboard, scene: Simulated) -> None:
    session = view.session
    frames = session.frames(product="koopman residual")
    common = np.isin(scene.result["time"].values, [*scene.cube["time"].values, *scene.later["time"].values])
    np.testing.assert_array_equal(frames.dates, scene.result["time"].values[common])
    assert frames.low == -frames.high
    at = 10
    day = frames.dates[at]
    truth = (scene.cube.sel(band="B8A", time=day) - scene.result["mean"].sel(band="B8A", time=day)).values
    shown = session.frame(at, product="koopman residual").values
    inside = np.abs(truth) < frames.high
    np.testing.assert_allclose(shown[inside], truth[inside], atol=(frames.high - frames.low) / 254)
    assert np.array_equal(np.isnan(shown), np.isnan(truth))


def test_the_divider_has_the_product_to_its_right(view: Dashboard) -> None:
    view.session.mode, view.session.beside = "swipe", "koopman mean"
    settle(view)
    assert titles(view) == ["observed, B8A", "koopman mean, B8A", "", ""]
    days = view.picture.panel(2)["days"]
    assert days == sorted(days)
    assert view.picture.panel(1)["days"] != days


def test_a_change_of_one_map_sends_no_other(view: Dashboard) -> None:
    view.session.mode = "swipe"
    settle(view)
    sent = []
    view.picture.observe(lambda change: sent.append(change["name"]), [f"panel_{slot}" for slot in (1, 2, 3, 4)])
    view.session.beside = "koopman spread"
    settle(view)
    assert sent == ["panel_2"]


def test_true_colour_has_three_channels_and_one_range(scene: Simulated) -> None:
    scene = simulated(size=(12, 16), bands=("B04", "B8A", "B11"))
    named = scene.cube.assign_coords(band=["B04", "B03", "B02"])
    view = s2koop.dashboard(named, band="B04")
    view.session.colour = True
    settle(view)
    panel = view.picture.panel(1)
    assert panel["channels"] == 3
    levels = np.frombuffer(panel["levels"], np.uint8).reshape(*panel["size"], 3)
    missing = np.isnan(named).any("band").values
    assert not levels[missing].any()
    assert (levels[~missing] > 0).all()


def test_a_colour_of_bands_that_are_not_there_is_not_offered(view: Dashboard) -> None:
    assert not view.session.has_colour()
    view.session.colour = True
    settle(view)
    assert view.picture.panel(1)["channels"] == 1


def test_a_magnified_part_of_a_thinned_map_gets_its_own_pixels(scene: Simulated) -> None:
    session = Session(scene.cube, band="B8A")
    whole = session.frames(budget=73 * 4 * 6)
    assert whole.stride == 3
    part = session.frames(box=(3, 6, 9, 12), time=5)
    np.testing.assert_array_equal(part.levels[0], session.frames().levels[5, 3:9, 6:12])


def test_the_view_answers_a_magnified_part(view: Dashboard) -> None:
    view.picture.view = [2, 3, 8, 10]
    settle(view)
    (detail,) = view.picture.details
    assert detail["origin"] == [2, 3]
    assert detail["size"] == [1, 6, 7]
    assert detail["index"] == view.session.time


def test_very_much_is_read_only_after_a_yes(scene: Simulated, monkeypatch) -> None:
    monkeypatch.setattr("s2koop.live.assimilation.ASK_BYTES", 40_000)
    cube, reads = counted(scene.cube)
    view = s2koop.dashboard(cube, band="B8A", date="2019-06-14")
    assert not reads
    assert view._question.layout.display == "flex"
    assert "are read" in view._question.children[0].value
    assert view.picture.panel(1) == {}
    view._allow.click()
    settle(view)
    assert view._question.layout.display == "none"
    assert view.picture.panel(1)["title"] == "observed, B8A"
    assert set(reads.values()) == {1}
    assert view.chart._parts[("Observed", "observed")].handles["source"].data["value"].size


def test_a_read_can_be_stopped_and_asked_for_again(scene: Simulated) -> None:
    cube, reads = counted(scene.cube)
    session = Session(cube, limits={"B8A": (0, 0.5)}, band="B8A")
    shares = []

    def stop_soon(change: dict) -> None:
        shares.append(change["new"])
        if change["new"] > 0.2:
            session.cancel()

    session.observe(stop_soon, "progress")
    session.request("picture", lambda: session.frames())
    assert session.wait(30)
    assert session.errors == []
    assert 0 < reads.total() < 73
    assert session.status == ""
    session.unobserve(stop_soon, "progress")
    assert session.frames().levels.shape == (73, 12, 16)
    assert max(shares) < 1


def test_breaks_are_marked_from_their_day_on_and_drawn_in_the_chart(scene: Simulated) -> None:
    dates = np.full((12, 16), "NaT", "datetime64[ns]")
    dates[3, 4] = np.datetime64("2019-03-01")
    breaks = xr.Dataset({"break_date": (("y", "x"), dates)}, coords={"y": scene.cube["y"], "x": scene.cube["x"]})
    view = s2koop.dashboard(scene.cube, breaks=breaks, band="B8A", pixel=(3, 4))
    marks = np.frombuffer(view.picture.marks, "<i4").reshape(-1, 3)
    assert marks.tolist() == [[3, 4, (np.datetime64("2019-03-01") - np.datetime64("1970-01-01")).astype(int)]]
    assert view.chart.line("Broken").visible
    view.session.pixel = (0, 0)
    settle(view)
    assert not view.chart.line("Broken").visible
    with pytest.raises(InputError, match="break_date"):
        s2koop.dashboard(scene.cube, breaks=breaks.rename(break_date="when"))


def test_framing_observations_in_the_chart_withholds_them_and_framing_again_gives_back(view: Dashboard) -> None:
    source = view.chart._parts[("Observed", "observed")].handles["source"]
    days = np.asarray(source.data["time"])[[4, 5]].astype("datetime64[ns]")
    source.selected.indices = [4, 5]
    settle(view)
    assert view.session.withheld == tuple(days)
    assert source.selected.indices == []
    shown = view.chart._parts[("Withheld", "withheld")].handles["source"]
    np.testing.assert_array_equal(np.asarray(shown.data["time"]).astype("datetime64[ns]"), days)
    assert "harmonic" in view.scores.value
    assert "saw them" in view.scores.value, "the simulated result cannot be asked again"
    shown.selected.indices = [0, 1]
    settle(view)
    assert view.session.withheld == ()


def test_the_key_for_withholding_takes_the_date_that_is_shown(view: Dashboard) -> None:
    view.picture._handle_custom_msg({"kind": "withhold"}, [])
    settle(view)
    assert view.session.withheld == (view.session.date,)
    assert view.picture.note == "withheld"
    view.picture._handle_custom_msg({"kind": "withhold"}, [])
    settle(view)
    assert view.session.withheld == ()


def test_a_drawn_region_is_a_mean_and_a_pick_ends_it(view: Dashboard) -> None:
    view.picture.region = [2, 3, 8, 9]
    settle(view)
    assert view.session.region == (2, 3, 8, 9)
    assert "mean of 36 pixels" in view.chart.figure.title.text
    view.picture.pixel = [1, 1]
    settle(view)
    assert view.session.region is None
    assert view.picture.region == []
    assert "row 1, column 1" in view.chart.figure.title.text


def test_a_forecast_starts_where_the_slider_says(view: Dashboard) -> None:
    start, ahead, row = view.children[3].children[1].children[1].children
    assert ahead.disabled
    start.value = 40
    settle(view)
    assert view.session.cut == view.session.cube["time"].values[40]
    assert not ahead.disabled
    assert "forecast from" in view.chart.figure.title.text
    ahead.value = 90
    settle(view)
    assert view.session.horizon == 90
    assert view.chart.line("Cut").visible
    row.children[0].click()
    settle(view)
    assert view.session.cut is None
    assert start.value == 73


@pytest.fixture(scope="module")
def model(scene: Simulated):
    return scene.cube.koopman.fit(steps=2, hidden=(8,), latent=6, max_pixels=40, progress=False)


def test_modes_can_be_picked_and_mapped(scene: Simulated, model) -> None:
    session = Session(scene.cube, model=model, band="B8A")
    modes = ModesView(session)
    assert modes.choice.label.startswith("Mode 0")
    modes.circle.source("Eigenvalues", "").selected.indices = [1]
    assert modes.choice.label.startswith("Mode 1")
    modes._work.click()
    assert session.wait(120)
    assert session.errors == []
    panel = modes.picture.panel(1)
    assert panel["size"] == [model.spectrum().eigenvalue.size, 12, 16]
    assert panel["labels"][1].startswith("Mode 1")
    levels = np.frombuffer(panel["levels"], np.uint8).reshape(panel["size"])
    direct = scene.cube.koopman.spectrum(model, progress=False)["amplitude"].values
    for mode in range(len(levels)):
        rank = np.corrcoef(levels[mode].ravel(), direct[mode].ravel())[0, 1]
        assert rank > 0.98
    modes.picture.pixel = [3, 5]
    assert session.pixel == (3, 5)
    assert modes.picture.readout.startswith("Row 3, column 5")
    modes.picture.index = 2
    assert modes.choice.label.startswith("Mode 2")


def test_every_file_can_be_made_and_read_again(view: Dashboard, tmp_path) -> None:
    session = view.session
    session.withhold(session.series(again=False).observed.time[:2])
    written = {ending: view.save(tmp_path / f"view{ending}") for ending in KINDS}
    assert Image.open(written[".png"]).size[0] > 1000
    film = Image.open(written[".gif"])
    assert film.n_frames == 73
    table = pd.read_csv(written[".csv"], parse_dates=["time"])
    found = session.series()
    assert set(table["what"]) == {"observed", "withheld", "came later", "koopman", "harmonic"}
    np.testing.assert_allclose(table.loc[table["what"] == "observed", "value"], found.observed.value, rtol=1e-6)
    assert (table["what"] == "withheld").sum() == 2
    with xr.open_dataset(written[".nc"]) as held:
        np.testing.assert_allclose(held["harmonic"], found.again["harmonic"].mean)
        assert json.loads(held.attrs["view"]) == session.state()
    page = written[".html"].read_text()
    assert "http://" not in page.split("<main>")[1].split("<script")[0]
    assert len(page) < 8_000_000


def test_the_code_of_a_view_makes_the_view(view: Dashboard, scene: Simulated) -> None:
    from s2koop.plots.export import code

    view.session.pixel, view.session.product = (2, 3), "koopman mean"
    view.session.withhold(view.session.series(again=False).observed.time[:1])
    text = code(view.session)
    names = {"cube": scene.cube, "later": scene.later, **view.session.results}
    lines = text.split("# the same")[0].replace("\nview\n", "\n")
    exec(lines, names)
    assert names["view"].session.state() == view.session.state()


def test_a_file_of_another_kind_or_in_no_folder_is_refused(view: Dashboard, tmp_path) -> None:
    with pytest.raises(InputError, match=r"expected one of \.png"):
        save(view.session, tmp_path / "view.tiff")
    with pytest.raises(InputError, match="no folder"):
        save(view.session, tmp_path / "nowhere" / "view.png")


def test_the_browser_is_offered_what_was_made(view: Dashboard) -> None:
    export = Export(view.session)
    content = export.make(".csv")
    assert pd.read_csv(io.BytesIO(content)).shape[0] > 100
    assert 'download="s2koop-view.csv"' in export.offer.value


def test_what_is_opened_later_is_built_later(view: Dashboard, scene: Simulated, model) -> None:
    more = s2koop.dashboard(scene.cube, model=model, band="B8A").children[4]
    assert more.titles == ("Modes of the model", "Take it along")
    assert not more.children[0].children
    more.selected_index = 0
    assert isinstance(more.children[0].children[0], ModesView)


def test_the_list_takes_what_a_program_chooses_beside_it(view: Dashboard) -> None:
    view.session.level = 0.8
    view.session.beside = ""
    settle(view)
    assert "80% interval" in view.chart.figure.title.text


def test_a_cut_between_two_dates_stays_where_it_is(view: Dashboard) -> None:
    cut = view.session.cube["time"].values[40] + np.timedelta64(3, "D")
    view.session.cut = cut
    settle(view)
    assert view.session.cut == cut
    view.session.cut = view.session.cube["time"].values[-1]
    settle(view)
    assert view.session.cut == view.session.cube["time"].values[-1]


def test_a_magnified_part_stays_fine_when_the_product_changes(view: Dashboard) -> None:
    view.picture.view = [2, 3, 8, 10]
    settle(view)
    view.session.product = "koopman mean"
    settle(view)
    assert len(view.picture.details) == 1


def test_showing_the_view_reads_nothing_that_was_not_allowed(scene: Simulated, monkeypatch) -> None:
    monkeypatch.setattr("s2koop.live.assimilation.ASK_BYTES", 40_000)
    cube, reads = counted(scene.cube)
    view = s2koop.dashboard(cube, band="B8A", date="2019-06-14")
    assert "follows" in view._repr_mimebundle_()["text/html"]
    assert not reads
    view.session.band = "B04"
    assert view.wait(20)
    assert view._question.layout.display == "flex"


def test_the_still_twin_shows_what_methods_say_again(view: Dashboard) -> None:
    from s2koop.plots import session_figure

    view.session.withhold(view.session.series(again=False).observed.time[:3])
    labels = [line.get_label() for line in session_figure(view.session).axes[1].get_lines()]
    assert "withheld" in labels
    assert "harmonic, as given" in labels


def test_a_plot_holds_true_values_and_leaves_the_session_as_it_is(view: Dashboard, scene: Simulated) -> None:
    from s2koop import plots

    session, before = view.session, view.session.state()
    picture = plots.map(session, date="2019-01-05")
    day = scene.cube["time"].values[np.abs(scene.cube["time"].values - np.datetime64("2019-01-05")).argmin()]
    truth = scene.cube.sel(band="B8A", time=day)
    np.testing.assert_allclose(picture.dimension_values("value", flat=False)[::-1], truth, rtol=1e-6)
    assert session.state() == before
    column = plots.map(scene.cube.isel(x=[3]), band="B8A")
    assert column.bounds.lbrt()[2] > column.bounds.lbrt()[0]
