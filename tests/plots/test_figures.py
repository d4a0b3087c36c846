"""Still figures and the page that holds them."""

from __future__ import annotations

import re
import struct
import sys

import numpy as np
import pandas as pd
import pytest

from s2koop import plots
from s2koop.errors import InputError, MissingDependencyError
from s2koop.plots.report import png
from s2koop.session import Session
from tests.support.simulated import Simulated


@pytest.fixture
def maps(scene: Simulated):
    date = scene.cube["time"].values[5]
    at = {"band": "B8A", "time": date}
    return scene.cube.sel(at), scene.result["mean"].sel(at), scene.result["spread"].sel(at)


def test_maps_share_one_range_and_lie_in_their_crs(maps) -> None:
    figure = plots.maps_figure(*maps)
    observed, analysis, spread = (ax.images[0] for ax in figure.axes[:3])
    assert observed.get_clim() == analysis.get_clim()
    assert spread.get_clim()[0] == 0.0
    left, right, bottom, top = observed.get_extent()
    assert (left, right) == pytest.approx((411.99, 412.31))
    assert (bottom, top) == pytest.approx((5214.77, 5215.01))
    np.testing.assert_array_equal(observed.get_array().filled(np.nan), maps[0].values)
    assert "EPSG:32635" in figure.axes[0].get_ylabel()
    assert figure.axes[0].get_title() == f"Observation, {str(maps[0]['time'].values)[:10]}"


def test_maps_that_do_not_fit_are_refused(maps) -> None:
    with pytest.raises(InputError, match="Analysis has dims"):
        plots.maps_figure(maps[0], maps[1][:3], maps[2])
    with pytest.raises(InputError, match="Select one date and band"):
        plots.maps_figure(*(m.expand_dims("time") for m in maps))


def test_maps_of_nothing_but_cloud_are_drawn(maps) -> None:
    assert png(plots.maps_figure(*(m.where(False) for m in maps)), dpi=40).startswith(b"\x89PNG")


def test_series_figure_has_a_panel_per_band_with_all_sources(scene: Simulated) -> None:
    figure = plots.series_figure(scene.cube, scene.result, later=scene.later, bands=["B04", "B8A"], pixel=(2, 3))
    assert [ax.get_ylabel() for ax in figure.axes] == ["B04\nsurface reflectance", "B8A\nsurface reflectance"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["koopman, 90% interval", "koopman, mean", "observed", "came later"]
    line = next(line for line in figure.axes[1].lines if line.get_label() == "observed")
    seen = scene.cube.sel(band="B8A")[:, 2, 3].dropna("time")
    np.testing.assert_array_equal(line.get_ydata(), seen.values)


def test_the_still_twin_of_a_session_is_a_picture(session: Session) -> None:
    session.product = "koopman spread"
    data = png(plots.session_figure(session), dpi=50)
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height) == (550, 200)


@pytest.mark.parametrize("days", [1, 3, 10, 40, 120, 365, 800, 1800, 3650])
def test_dates_are_ticked_over_any_span(scene: Simulated, days: int) -> None:
    dates = scene.cube["time"].values[0] + np.linspace(0, days, 73) * np.timedelta64(86_400_000_000_000, "ns")
    session = Session(scene.cube.assign_coords(time=dates), band="B8A")
    figure = plots.session_figure(session)
    png(figure, dpi=50)  # a warning of the locator is an error here
    chart = next(ax for ax in figure.axes if ax.get_ylabel().startswith("B8A"))
    low, high = chart.get_xlim()
    assert 2 <= sum(low <= tick <= high for tick in chart.get_xticks()) <= 8


def test_without_matplotlib_the_message_names_the_cure(session: Session, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"s2koop\[notebook\]"):
        plots.session_figure(session)


def test_report_is_one_page_with_everything_inside_and_escaped(tmp_path, maps) -> None:
    scores = pd.DataFrame({"RMSE": [0.01234, np.nan]}, index=["<script>alert(1)</script>", "mean"])
    path = plots.write_report(
        tmp_path / "report.html",
        title="A & B <i>",
        text=["1 < 2"],
        figures={'Maps "today"': plots.maps_figure(*maps)},
        tables={"Scores": scores},
        attribution="contains modified <Copernicus> data",
        dpi=50,
    )
    page = path.read_text()
    assert "<script" not in page
    assert "http" not in page
    assert page.count("data:image/png;base64,") == 1
    assert "<h1>A &amp; B &lt;i&gt;</h1>" in page
    assert "<p>1 &lt; 2</p>" in page
    assert 'alt="Maps &quot;today&quot;"' in page
    assert "&lt;Copernicus&gt;" in page
    assert re.findall(r"<td>(.*?)</td>", page) == ["0.0123", "–"]


def test_a_series_of_three_years_has_ticks_that_fit(session: Session) -> None:
    # with fewer ticks Matplotlib finds no interval between half a year and a year, and warns
    cube = session.cube.isel(time=slice(0, 28)).assign_coords(time=pd.date_range("2018-01-05", periods=28, freq="36D"))
    figure = plots.session_figure(Session(cube))
    assert png(figure).startswith(b"\x89PNG")
