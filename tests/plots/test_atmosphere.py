"""Plots of corrections as data: what is drawn is what the session holds."""

from __future__ import annotations

import struct

import holoviews as hv
import numpy as np
import pytest

from s2koop import plots
from s2koop._atmosphere_session import AtmosphereSession
from s2koop.plots.atmosphere import atmosphere_figure, corrections, judged_table, ratios, spectrum, style_of
from s2koop.plots.report import png
from tests.live.corrected import Corrected, corrected


@pytest.fixture(scope="module")
def made() -> Corrected:
    return corrected(emulated=False)


@pytest.fixture
def session(made: Corrected) -> AtmosphereSession:
    return AtmosphereSession(
        made.result, toa=made.toa, reference=made.truth, others={"climatology": made.other}, aot=0.2, **made.told
    )


def test_a_spectrum_is_drawn_with_intervals_in_the_order_of_wavelengths(session) -> None:
    found = session.spectrum((4, 7))
    drawn = {(e.group, e.label): e for e in spectrum(session, pixel=(4, 7))}
    results = ["inverted (lut)", "climatology", "inverted live"]
    assert [label for group, label in drawn if group == "Interval"] == results
    assert [label for group, label in drawn if group == "Line"] == ["TOA", *results, "reference"]
    for name in results:
        np.testing.assert_allclose(drawn["Line", name]["reflectance"], found.lines[name].mean)
        np.testing.assert_allclose(drawn["Interval", name]["high"], found.lines[name].high)
    ticks = spectrum(session).opts.get("plot").kwargs["xticks"]
    assert ticks[0] == (1.0, "B01\n443")
    hv.renderer("bokeh").get_plot(spectrum(session))


def test_a_missing_band_leaves_no_point(made, session) -> None:
    few = AtmosphereSession(made.result, reference=made.truth.sel(band=["B04", "B8A"]))
    points = next(e for e in spectrum(few) if (e.group, e.label) == ("Points", "reference"))
    assert list(points["band"]) == ["B04", "B8A"]
    assert points["place"].tolist() == [4.0, 9.0]


def test_layers_differ_in_colour_or_dash_and_in_marker(session) -> None:
    looks = [style_of(name, session.products) for name in session.products]
    assert len({look[:2] for look in looks}) == len(looks)
    assert len({look[2] for look in looks}) == len(looks)


def test_maps_are_those_of_the_session(made, session) -> None:
    left, _right, ratio = corrections(session)
    assert isinstance(left, hv.RGB)
    assert left.kdims[0].label == "easting (m, EPSG:32633)"
    assert isinstance(ratio, hv.Image)
    ours, theirs = (v.sel(band="B04").isel(time=0) for v in (made.result["mean"], made.truth))
    at = {"x": float(ours["x"][9]), "y": float(ours["y"][3])}
    expected = float((ours / theirs)[3, 9].clip(0.8, 1.2))
    assert float(ratio[at["x"], at["y"]]) == pytest.approx(expected, abs=0.4 / 254)
    session.colour = False
    assert isinstance(next(iter(corrections(session))), hv.Image)
    assert len(corrections(AtmosphereSession(made.result))) == 2


def test_ratios_are_drawn_for_scene_and_region(session) -> None:
    session.region = (0, 0, 12, 12)
    judged = session.statistics()
    drawn = {(e.group, e.label): e for e in ratios(session)}
    for label, table in {"scene": judged.scene, "region": judged.region}.items():
        rows = table.drop("all")
        np.testing.assert_allclose(drawn["Median", label]["ratio"], rows["ratio_median"])
        np.testing.assert_allclose(drawn["Most", label]["above"], rows["ratio_p95"] - rows["ratio_median"])
    hv.renderer("bokeh").get_plot(ratios(session))


def test_the_table_has_a_row_per_band_and_says_what_is_compared(session) -> None:
    page = judged_table(session.statistics())
    table = session.statistics().scene
    assert page.count('<th scope="row">') == len(table)
    assert f"{table.loc['B04', 'ratio_median']:.3f}" in page
    assert "inverted (lut) / reference, 2024-05-01" in page
    assert "region" not in page
    session.left = session.right = "TOA"
    assert "nothing to compare" in judged_table(session.statistics())


def test_names_are_escaped(made) -> None:
    session = AtmosphereSession(made.result, reference=made.truth, name="<b>ours</b>")
    assert "<b>ours" not in judged_table(session.statistics())
    assert "&lt;b&gt;ours" in judged_table(session.statistics())


@pytest.mark.parametrize("with_reference", [True, False])
def test_the_still_twin_is_a_picture(made, with_reference) -> None:
    session = AtmosphereSession(made.result, **({"reference": made.truth} if with_reference else {}))
    width, height = struct.unpack(">II", png(atmosphere_figure(session), dpi=50)[16:24])
    assert (width, height) == (550, 320)


def test_plots_are_found_by_name_and_saved_as_a_page(tmp_path, session) -> None:
    page = plots.save_html(plots.spectrum(session), plots.corrections(session), path=tmp_path / "page.html")
    assert len(page.read_text()) > 1_000_000
