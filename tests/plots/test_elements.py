"""HoloViews elements as data: what is drawn is what the session holds."""

from __future__ import annotations

import re

import holoviews as hv
import numpy as np
import pytest

from s2koop import plots
from s2koop.errors import InputError
from s2koop.plots.elements import series_overlay
from s2koop.session import Session
from tests.support.simulated import Simulated


def test_series_holds_observations_mean_interval_and_what_came_later(session: Session) -> None:
    found = session.series()
    drawn = {(e.group, e.label): e for e in plots.series(session)}
    assert list(drawn) == [
        ("Interval", "koopman"), ("Mean", "koopman"), ("Observed", "observed"), ("Later", "came later"),
    ]  # fmt: skip
    np.testing.assert_array_equal(drawn["Observed", "observed"]["value"], found.observed.value)
    np.testing.assert_array_equal(drawn["Mean", "koopman"]["value"], found.estimates["koopman"].mean)
    np.testing.assert_array_equal(drawn["Interval", "koopman"]["high"], found.estimates["koopman"].high)
    assert found.later is not None
    np.testing.assert_array_equal(drawn["Later", "came later"]["value"], found.later.value)


def test_map_is_one_date_in_the_coordinates_of_the_cube(scene: Simulated) -> None:
    picture = plots.map(scene.cube, scene.result, product="koopman mean", band="B8A", date="2019-07-01")
    truth = scene.result["mean"].sel(band="B8A").sel(time="2019-07-01", method="nearest")
    x, y = float(truth["x"][3]), float(truth["y"][2])
    low, high = picture.opts.get("plot").kwargs["clim"]
    expected = float(truth[2, 3].clip(low, high))
    assert float(picture[x, y]) == pytest.approx(expected, abs=(high - low) / 254)
    assert picture.kdims[0].label == "easting (m, EPSG:32635)"
    assert picture.vdims[0].label == "surface reflectance"
    spread = plots.map(scene.cube, scene.result, product="koopman spread", band="B8A", date="2019-07-01")
    assert "standard deviation" in spread.vdims[0].label


def test_four_methods_differ_in_colour_and_in_dash(scene: Simulated) -> None:
    overlay = plots.series(scene.cube, *[scene.result] * 4, names=list("abcd"), band="B8A")
    looks = [e.opts.get("style").kwargs for e in overlay if e.group == "Mean"]
    assert len({look["color"] for look in looks}) == 4
    assert len({look["line_dash"] for look in looks}) == 4


def test_a_method_keeps_its_colour_where_another_lacks_the_band(scene: Simulated) -> None:
    first, second = scene.result.sel(band=["B04"]), scene.result
    colours = set()
    for band in ("B04", "B8A"):
        overlay = plots.series(scene.cube, first, second, names=["a", "b"], band=band)
        colours |= {e.opts.get("style").kwargs["color"] for e in overlay if (e.group, e.label) == ("Mean", "b")}
    assert len(colours) == 1


def test_a_pixel_without_any_observation_is_still_drawn(scene: Simulated) -> None:
    cube = scene.cube.copy()
    cube[:, :, 0, 0] = np.nan
    hv.renderer("bokeh").get_plot(plots.series(cube, scene.result, pixel=(0, 0)))
    hv.renderer("bokeh").get_plot(plots.series(cube, pixel=(0, 0)))


def test_a_line_marks_the_date_where_one_is_given(session: Session) -> None:
    overlay = series_overlay(session.series(), date=np.datetime64("2019-01-01"))
    assert next(e.group for e in overlay) == "Cursor"


def test_a_session_takes_no_second_set_of_choices(session: Session, scene: Simulated) -> None:
    with pytest.raises(TypeError, match="instead of results, band"):
        plots.series(session, scene.result, band="B04")
    with pytest.raises(InputError, match="choose one of"):
        plots.map(scene.cube, product="koopman mean")


def test_saved_page_holds_its_script_and_asks_for_nothing(tmp_path, session: Session) -> None:
    path = plots.save_html(plots.series(session), plots.map(session), path=tmp_path / "page.html", title="A <b>")
    page = path.read_text()
    assert "<title>A &lt;b&gt;</title>" in page
    assert re.findall("<(?:script|link|img)[^>]*(?:src|href)=", page.partition("<script>")[0]) == []
    assert re.findall("<script[^>]+src=", page) == []
    assert "cdn.bokeh.org" not in page.rpartition("<body>")[2]
    assert len(page) > 1_000_000
