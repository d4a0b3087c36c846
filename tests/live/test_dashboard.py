"""The dashboard without a browser: what it would send, and how it follows hand and program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import s2koop
from s2koop.errors import InputError, SlowReadWarning
from s2koop.live.app import Dashboard
from s2koop.session import Session
from tests.support.counted import counted
from tests.support.simulated import Simulated


@pytest.fixture
def view(scene: Simulated) -> Dashboard:
    return s2koop.dashboard(scene.cube, scene.result, later=scene.later, band="B8A")


def settle(view: Dashboard) -> None:
    assert view.wait(30)
    assert view.errors == []


def column(view: Dashboard, role: tuple[str, str], name: str) -> np.ndarray:
    return view.chart._parts[role].handles["source"].data[name]


def test_it_opens_on_the_clearest_date_with_all_frames_as_bytes(view: Dashboard, scene: Simulated) -> None:
    picture = view.picture.panel(1)
    assert picture["size"] == [73, 12, 16]
    assert len(picture["levels"]) == 73 * 12 * 16
    assert len(picture["colours"]) == 256 * 3
    assert picture["labels"][0] == "2018-01-05"
    assert picture["metres"] == 20
    assert view.picture.index == view.session.frames().clearest()
    assert view.picture.panel(1)["title"] == "observed, B8A"
    assert "Row 6, column 8" in view.picture.readout


def test_a_click_in_the_browser_draws_the_series_of_that_pixel(view: Dashboard, scene: Simulated) -> None:
    view.picture.pixel = [2, 5]
    settle(view)
    assert view.session.pixel == (2, 5)
    line = scene.cube.sel(band="B8A")[:, 2, 5].values
    np.testing.assert_array_equal(column(view, ("Observed", "observed"), "value"), line[np.isfinite(line)])
    mean = scene.result["mean"].sel(band="B8A")[:, 2, 5]
    np.testing.assert_allclose(column(view, ("Mean", "koopman"), "value"), mean)
    assert "row 2, column 5" in view.chart.figure.title.text
    assert "Row 2, column 5" in view.picture.readout


def test_the_slider_in_the_browser_moves_date_line_and_read_out(view: Dashboard) -> None:
    view.picture.index = 7
    settle(view)
    assert view.session.time == 7
    milliseconds = view.session.dates()[7].astype("datetime64[ms]").astype(int)
    assert view.chart.line("Cursor").location == milliseconds
    assert str(view.session.dates()[7])[:10] in view.picture.readout


def test_the_program_can_do_what_the_hand_can(view: Dashboard) -> None:
    view.session.pixel = (1, 1)
    view.session.time = 3
    settle(view)
    assert view.picture.pixel == [1, 1]
    assert view.picture.index == 3


def test_a_change_of_band_changes_picture_and_chart(view: Dashboard, scene: Simulated) -> None:
    before = view.picture.panel(1)["levels"]
    view.session.band = "B04"
    settle(view)
    assert view.picture.panel(1)["levels"] != before
    assert view.picture.panel(1)["title"] == "observed, B04"
    assert view.chart.figure.left[0].axis_label == "B04 surface reflectance"
    line = scene.cube.sel(band="B04")[:, 6, 8].values
    drawn = column(view, ("Observed", "observed"), "value")
    np.testing.assert_array_equal(drawn, line[np.isfinite(line)])
    low, high = view.chart.figure.y_range.start, view.chart.figure.y_range.end
    assert low < drawn.min() < drawn.max() < high


def test_a_change_of_product_keeps_the_date_and_sends_frames_and_index_together(view: Dashboard) -> None:
    view.session.go_to("2019-07-05")
    view.session.product = "koopman spread"
    settle(view)
    picture = view.picture.panel(1)
    assert picture["size"][0] == view.session.dates().size
    assert picture["labels"][view.picture.index] == str(view.session.date)[:10]
    assert picture["range"][0] == 0.0
    assert "standard deviation" in picture["label"]


def test_a_wider_interval_is_drawn_wider(view: Dashboard) -> None:
    narrow = np.nanmax(column(view, ("Interval", "koopman"), "y"))
    view.session.level = 0.95
    settle(view)
    assert np.nanmax(column(view, ("Interval", "koopman"), "y")) > narrow
    assert "95% interval" in view.chart.figure.title.text


def test_the_controls_hold_the_choices_and_follow(view: Dashboard) -> None:
    product, row = view.children[1].children
    band, *_, level, _ = row.children
    product.value = "koopman mean"
    band.value = "B11"
    level.value = 0.5
    settle(view)
    session = view.session
    assert (session.product, session.band, session.level) == ("koopman mean", "B11", 0.5)
    session.band = "B04"
    assert band.value == "B04"
    settle(view)


def test_a_failure_in_a_callback_is_seen_and_can_be_dismissed(view: Dashboard, monkeypatch) -> None:
    def broken(*_args, **_options):
        raise OSError("the disk is <gone>")

    monkeypatch.setattr(Session, "series", broken)
    view.picture.pixel = [0, 0]
    assert view.wait(10)
    box = view.children[-1]
    assert [str(e) for e in view.errors] == ["the disk is <gone>"]
    assert box.layout.display == "flex"
    assert "the disk is &lt;gone&gt;" in box.children[0].value
    box.children[1].click()
    assert box.layout.display == "none"


def test_a_pixel_that_the_browser_makes_up_is_shown_as_an_error(view: Dashboard) -> None:
    view.picture.pixel = [99, 99]
    assert view.wait(10)
    assert [type(e) for e in view.errors] == [InputError]
    assert view.session.pixel == (6, 8)


def test_lazy_data_are_read_once_for_pictures_and_pixels(scene: Simulated) -> None:
    cube, reads = counted(scene.cube)
    mean, computed = counted(scene.result["mean"], time=-1)
    view = s2koop.dashboard(cube, scene.result.assign(mean=mean), band="B8A")
    assert set(reads.values()) == {1}
    assert computed == {(0, 1): 1}
    view.picture.index = 5
    view.picture.pixel = [0, 0]
    view.session.level = 0.5
    for product in ("koopman mean", "koopman spread"):
        view.session.product = product
        settle(view)
    view._repr_mimebundle_()
    assert len(reads) == reads.total() == scene.cube.sizes["time"]
    assert computed == {(0, 1): 1}


def test_it_tells_what_is_being_read(scene: Simulated) -> None:
    cube, _ = counted(scene.cube, time=30)
    view = s2koop.dashboard(cube, band="B8A")
    said = []
    view.picture.observe(lambda change: said.append(change["new"]), "status")
    view.session.band = "B04"
    settle(view)
    assert "Reading observed, B04: 73 dates" in said
    assert said[-1] == ""


def test_beyond_what_is_kept_it_tells_how_far_it_has_read(scene: Simulated, monkeypatch) -> None:
    monkeypatch.setattr("s2koop._sources.KEPT_BYTES", 0)
    cube, _ = counted(scene.cube, time=30)
    with pytest.warns(SlowReadWarning, match=r"\.load\(\)"):
        view = s2koop.dashboard(cube, band="B8A")
    said = []
    view.picture.observe(lambda change: said.append(change["new"]), "status")
    view.session.band = "B04"
    settle(view)
    assert "Reading observed, B04: date 31 of 73" in said
    assert said[-1] == ""


def test_the_chart_is_placed_only_after_the_page_has_bokeh(view: Dashboard) -> None:
    chart, sent = view.chart, []
    loader = chart.children[0]
    assert len(chart.children) == 1
    loader.send = lambda content: sent.append(content)
    loader._answer(loader, {"kind": "missing"}, [])
    assert sent[0]["kind"] == "source"
    assert "Bokeh" in sent[0]["source"]
    assert len(chart.children) == 1
    loader._answer(loader, {"kind": "ready"}, [])
    assert [type(c).__name__ for c in chart.children] == ["BokehJS", "BokehModel"]
    first = chart.children[1]
    loader._answer(loader, {"kind": "ready"}, [])
    assert chart.children[1] is not first, "a reloaded page needs a new view"


def test_the_still_twin_is_there_for_places_without_widgets(view: Dashboard) -> None:
    bundle = view._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/html"].startswith("<img alt=")
    assert len(bundle["text/html"]) < 150_000


def test_it_begins_where_it_is_told(scene: Simulated) -> None:
    view = s2koop.dashboard(
        scene.cube, scene.result, band="B11", pixel=(0, 3), product="koopman mean", date="2020-02-01", level=0.68
    )
    assert view.picture.panel(1)["title"] == "koopman mean, B11"
    assert view.picture.pixel == [0, 3]
    assert view.picture.panel(1)["labels"][view.picture.index] == str(view.session.date)[:10]
    assert abs(view.session.date - np.datetime64("2020-02-01")) <= np.timedelta64(3, "D")
    assert "68% interval" in view.chart.figure.title.text


def test_a_wrong_choice_is_refused_before_anything_is_drawn(scene: Simulated) -> None:
    with pytest.raises(InputError, match="choose one of"):
        s2koop.dashboard(scene.cube, band="B99")
    with pytest.raises(InputError, match="between 0 and 1"):
        s2koop.dashboard(scene.cube, level=90)


def test_script_and_style_are_shipped_and_ask_for_nothing_outside() -> None:
    folder = Path(s2koop.live.__file__).parent
    shipped = [*folder.rglob("*.js"), *folder.rglob("*.css")]
    assert {"view.js", "canvas.css", "slider.js", "bokehjs.js"} <= {f.name for f in shipped}
    for text in (f.read_text() for f in shipped):
        assert "http" not in text
        assert "import " not in text
        assert "url(" not in text
