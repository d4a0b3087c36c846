"""The dashboard: picture, chart and choices on one session, with one place where failures are seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets
import numpy as np
import traitlets as tl
import xarray as xr

from s2koop._crs import crs_of, pixel_metres
from s2koop._session_input import known_level
from s2koop._views import Reading
from s2koop.errors import MissingDependencyError
from s2koop.live.chart import Chart
from s2koop.live.cube import CubeView
from s2koop.plots._style import SPREAD_NAME, date_text
from s2koop.plots.figures import session_figure
from s2koop.plots.report import image_tag
from s2koop.session import Session

_LEVELS = (0.5, 0.68, 0.9, 0.95)
_PRODUCT_NAMES = {"later": "came later"}
_NARROW: dict[str, Any] = {"layout": {"width": "auto"}, "style": {"description_width": "auto"}}


def dashboard(
    cube: xr.DataArray,
    *results: xr.Dataset,
    names: Sequence[str] | None = None,
    later: xr.DataArray | None = None,
    band: str | None = None,
    pixel: tuple[int, int] | None = None,
    product: str = "observed",
    date: str | None = None,
    level: float = 0.9,
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> Dashboard:
    """Look at a cube and at what methods made of it: maps by date, and the series of any pixel.

    Slide or play the date, choose what the map shows, click a pixel or walk there with the arrow keys: the
    chart shows its observations, each result's mean and interval, and what came later.

    Parameters
    ----------
    cube : xarray.DataArray
        Observations, dims ``(time, band, y, x)``, reflectance 0..1, NaN = missing. Lazy chunks are read once
        and kept, up to 256 MB together with the results'; beyond that each click reads anew, and a warning
        says so: call ``.load()`` first if it fits into memory.
    *results : xarray.Dataset
        Up to four, with ``mean`` and ``spread`` on the same grid; their dates may differ from the cube's.
    names : sequence of str, optional
        Names of the results; by default what their attributes call the method.
    later : xarray.DataArray, optional
        Observations held out, drawn as "came later".
    band, pixel, product, date, level
        Where to begin: a band name, (row, column), one of the session's products, the nearest date, and the
        coverage of the interval. By default the first band, the centre, the observations, the latest of the
        clearest dates, and 0.9.
    limits : mapping of str to (float, float), optional
        Fixed colour range per band.

    Returns
    -------
    Dashboard
        A widget; `Dashboard.session` holds its state. Where widgets cannot be shown (a built page) the still
        picture appears.

    Raises
    ------
    InputError
        If a cube or result has another shape than described, the grids differ, or a choice does not exist.

    Examples
    --------
    >>> import numpy as np, pandas as pd, xarray as xr
    >>> cube = xr.DataArray(
    ...     np.full((3, 1, 4, 5), 0.25, "float32"),
    ...     dims=("time", "band", "y", "x"),
    ...     coords={"time": pd.date_range("2020-01-01", periods=3), "band": ["B8A"],
    ...             "y": np.arange(4) * -20.0, "x": np.arange(5) * 20.0},
    ... )
    >>> view = dashboard(cube, pixel=(1, 2))
    >>> view.session.time = 1
    >>> view.wait()
    True
    """
    session = Session(cube, *results, names=names, later=later, band=band, pixel=pixel, limits=limits)
    session.level = known_level(level)
    session.product = product
    if date is None:
        session.time = session.frames().clearest()
    else:
        session.go_to(date)
    return Dashboard(session)


class Dashboard(ipywidgets.VBox):
    """The widget that `dashboard` returns.

    Attributes
    ----------
    session : Session
        The state; set its traits and the view follows.
    picture : CubeView
        The canvas.
    chart : Chart
        The series.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.picture = CubeView(pixel_size=pixel_metres(session.cube), pixel=list(session.pixel))
        self.chart = Chart(session.series(), session.date)
        self._shown: tuple[str, str] | None = None
        self._draw_picture()
        super().__init__([_header(session), _choices(session), _body(self.picture, self.chart), _failure(session)])
        self.add_class("s2koop-dashboard")
        self._follow_session()
        self._follow_browser()

    @property
    def errors(self) -> list[Exception]:
        """Everything that failed in a callback; the newest is also shown below the view."""
        return self.session.errors

    def wait(self, timeout: float = 60.0) -> bool:
        """Wait until the view has caught up; False if it took longer than `timeout` seconds."""
        return self.session.wait(timeout)

    def _follow_session(self) -> None:
        watch = {
            ("product", "band"): lambda: self.session.request("picture", self._draw_picture),
            ("time",): self._time_changed,
            ("pixel",): self._pixel_changed,
            ("band", "level"): lambda: self.session.request("series", self._draw_series),
        }
        for traits, react in watch.items():
            self.session.observe(self._guarded(react), list(traits))
        tl.dlink((self.session, "status"), (self.picture, "status"))

    def _follow_browser(self) -> None:
        self.picture.observe(self._guarded(self._index_picked), "index")
        self.picture.observe(self._guarded(self._pixel_picked), "pixel")

    def _guarded(self, react: Callable[[], object]) -> Callable[[Any], None]:
        """Make an observer whose failure is kept and shown: a widget would lose it."""

        def observer(_change: Any) -> None:
            try:
                react()
            except Exception as error:
                self.session.fail(error)

        return observer

    def _time_changed(self) -> None:
        if self._in_step():
            self.picture.index = self.session.time
        self.session.request("reading", self._draw_reading)

    def _pixel_changed(self) -> None:
        self.picture.pixel = list(self.session.pixel)
        self.session.request("series", self._draw_series)

    def _index_picked(self) -> None:
        # While other frames are on their way, a number from the browser still counts the old dates.
        if self._in_step():
            self.session.time = self.picture.index

    def _pixel_picked(self) -> None:
        self.session.pixel = tuple(self.picture.pixel)

    def _in_step(self) -> bool:
        return self._shown == (self.session.product, self.session.band)

    def _draw_picture(self) -> None:
        session = self.session
        frames = session.frames()
        if (frames.product, frames.band) != (session.product, session.band):
            return  # another choice was made meanwhile, and its request waits
        quantity = session.quantity(frames.product)
        self.picture.show(
            frames,
            index=session.time,
            shape=session.shape,
            quantity=quantity,
            label=SPREAD_NAME if quantity == "spread" else session.value_name,
        )
        thinned = f" (1 pixel of {frames.stride} × {frames.stride})" if frames.stride > 1 else ""
        self.picture.title = f"{_PRODUCT_NAMES.get(frames.product, frames.product)}, {frames.band}{thinned}"
        self._shown = (frames.product, frames.band)
        self._draw_reading()

    def _draw_series(self) -> None:
        self.chart.update(self.session.series())
        self._draw_reading()

    def _draw_reading(self) -> None:
        self.chart.mark(self.session.date)
        self.picture.readout = reading_text(self.session.reading())

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """Add the still picture to what a notebook keeps: it is shown where widgets are not."""
        return super()._repr_mimebundle_(**options) | {"text/html": _still(self.session)}


def reading_text(reading: Reading) -> str:
    """Put a read-out into words: where, when, and every source's value.

    Examples
    --------
    >>> import numpy as np
    >>> from s2koop.session import Reading
    >>> day = np.datetime64("2020-06-01")
    >>> estimates = {"koopman": (0.31, 0.02)}
    >>> print(reading_text(Reading("B8A", (1, 2), 40.0, -20.0, day, 0.9, None, estimates, None)))
    Row 1, column 2 (x 40, y -20), 2020-06-01
    B8A not observed
    koopman 0.310 ± 0.020 (90%)
    """
    values = ["not observed" if reading.observed is None else f"observed {reading.observed:.3f}"]
    for name, estimate in reading.estimates.items():
        values.append(f"{name} {_estimate_text(estimate, reading.level)}")
    if reading.later is not None:
        values[0] = f"came later {reading.later:.3f}"
    row, col = reading.pixel
    place = f"Row {row}, column {col} (x {reading.x:.0f}, y {reading.y:.0f}), {date_text(reading.date)}"
    return "\n".join([place, f"{reading.band} {values[0]}", *values[1:]])


def _estimate_text(estimate: tuple[float, float] | None, level: float) -> str:
    if estimate is None:
        return "none"
    mean, half_width = estimate
    return f"{mean:.3f}" if np.isnan(half_width) else f"{mean:.3f} ± {half_width:.3f} ({level:.0%})"


def _header(session: Session) -> ipywidgets.HTML:
    rows, cols = session.shape
    dates = session.cube["time"].values
    parts = [
        f"{dates.size} dates, {date_text(dates[0])} to {date_text(dates[-1])}",
        f"{len(session.bands)} bands",
        f"{rows} × {cols} pixels",
    ]
    if (metres := pixel_metres(session.cube)) is not None:
        parts[-1] += f" of {metres:g} m, {crs_of(session.cube)}"
    sensor = str(session.cube.attrs.get("sensor") or "Cube")
    return ipywidgets.HTML(
        f'<div class="s2koop-header"><strong>{escape(sensor)}</strong> {escape(" · ".join(parts))}</div>'
    )


def _choices(session: Session) -> ipywidgets.HBox:
    product = ipywidgets.ToggleButtons(
        options=[(_PRODUCT_NAMES.get(name, name), name) for name in session.products],
        value=session.product,
        tooltips=[f"Show {name} on the map" for name in session.products],
        style={"button_width": "auto"},
    )
    band = ipywidgets.Dropdown(options=session.bands, value=session.band, description="Band", **_NARROW)
    tl.link((session, "product"), (product, "value"))
    tl.link((session, "band"), (band, "value"))
    choices = [product, band]
    if session.results:
        levels = sorted({*_LEVELS, session.level})
        level = ipywidgets.Dropdown(
            options=[(f"{level:.0%}", level) for level in levels],
            value=session.level,
            description="Interval",
            **_NARROW,
        )
        tl.link((session, "level"), (level, "value"))
        choices.append(level)
    return ipywidgets.HBox(choices, layout={"flex_flow": "row wrap", "align_items": "center", "grid_gap": "4px 16px"})


def _body(picture: CubeView, chart: Chart) -> ipywidgets.HBox:
    picture.layout.flex = "1 1 360px"
    picture.layout.max_width = "480px"
    return ipywidgets.HBox(
        [picture, chart],
        layout={"flex_flow": "row wrap", "grid_gap": "8px 24px", "align_items": "flex-start"},
    )


def _failure(session: Session) -> ipywidgets.HBox:
    """Show the newest failure until it is dismissed."""
    text = ipywidgets.HTML()
    dismiss = ipywidgets.Button(description="Dismiss", layout={"width": "auto"})
    box = ipywidgets.HBox([text, dismiss], layout={"display": "none", "align_items": "center", "grid_gap": "12px"})

    def show(_change: Any) -> None:
        text.value = f'<div role="alert" class="s2koop-alert">{escape(session.error)}</div>'
        box.layout.display = "flex" if session.error else "none"

    session.observe(show, "error")
    dismiss.on_click(lambda _button: session.set_trait("error", ""))
    return box


def _still(session: Session) -> str:
    """Return the static twin as an ``<img>``, or a sentence where Matplotlib is not installed."""
    try:
        figure = session_figure(session)
    except MissingDependencyError as error:
        return f"<p>{escape(str(error))}</p>"
    return image_tag(figure, alt=reading_text(session.reading()), dpi=80)
