"""The assimilation dashboard: maps, series and choices on one session, with one place where failures are seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import traitlets as tl

from s2koop._crs import pixel_metres
from s2koop._views import Reading, Series
from s2koop.live.chart import Chart
from s2koop.live.cube import SLOTS, CubeView
from s2koop.live.export import Export, save
from s2koop.live.modes import ModesView
from s2koop.live.parts import (
    NARROW,
    ROW,
    View,
    dropdown,
    failures,
    grid_text,
    guarded,
    heading,
    kept,
    size_text,
    still_tag,
    table,
    text,
    waiting,
)
from s2koop.live.slider import Slider
from s2koop.plots._style import date_text
from s2koop.plots.elements import quantity_name
from s2koop.plots.figures import session_figure
from s2koop.session import Session

_LEVELS = (0.5, 0.68, 0.9, 0.95)
_PRODUCT_NAMES = {"later": "came later"}
_MODES = {"one": "One map", "swipe": "Divider", "grid": "Side by side"}

#: Products beyond so many are chosen from a list.
_MOST_BUTTONS = 6

#: A look that reads more is asked for first.
ASK_BYTES = 1_000_000_000


class Dashboard(View[Session]):
    """The widget that `s2koop.dashboard` returns.

    Attributes
    ----------
    session : Session
        The state; set its traits and the view follows.
    picture : CubeView
        The maps.
    chart : Chart
        The series.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        tools = ["region", "withhold"] if self._can() else ["region"]
        self.picture = CubeView(
            pixel_size=pixel_metres(session.cube), pixel=list(session.pixel), mode=session.mode, tools=tools
        )
        self.picture.mark(session.broken())
        self.scores = ipywidgets.HTML()
        self._filled: dict[int, tuple[str, str, bool]] = {}
        self._allowed = 0
        self._asking: dict[str, tuple[str, int]] = {}
        self._question, self._allow = _question()
        asks = self._must_ask("series", f"the series of {session.band}", session.series_cost())
        found = session.no_series() if asks else session.series(again=False)
        self.chart = Chart(found, session.date, on_select=self._picked_in_chart if self._can() else None)
        if not asks:
            self._draw_pictures()
        super().__init__(self._parts())
        self.add_class("s2koop-dashboard")
        self._follow_session()
        self._follow_browser()
        self._draw_scores(found)

    def save(self, path: str | Path) -> Path:
        """Write the view to a file, by the ending of its name.

        Parameters
        ----------
        path : str or Path
            ``.png``, ``.gif``, ``.html``, ``.csv``, ``.nc`` or ``.py``; its folder must exist.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        InputError
            If the ending is another, or there is no such folder.
        """
        return save(self.session, path)

    def _can(self) -> bool:
        """Tell whether a method can be asked again."""
        return bool(self.session.methods)

    def _parts(self) -> list[ipywidgets.Widget]:
        session = self.session
        self.picture.layout.flex = "1 1 380px"
        self.picture.layout.max_width = "620px" if session.mode == "grid" else "480px"
        chart = [self.chart, *([_withholding(session)] if self._can() else []), self.scores]
        body = ipywidgets.HBox(
            [self.picture, ipywidgets.VBox(chart, layout={"flex": "1 1 560px", "min_width": "0"})],
            layout={"flex_flow": "row wrap", "grid_gap": "8px 24px", "align_items": "flex-start"},
        )
        return [
            text(_heading(session), "header"), _choices(session), self._question, body, _more(session),
            failures(session),
        ]  # fmt: skip

    def _follow_session(self) -> None:
        session = self.session
        watch = {
            ("product", "band", "colour", "mode", "beside"): lambda: session.request("picture", self._draw_pictures),
            ("time",): self._time_changed,
            ("pixel",): self._pixel_changed,
            ("region",): self._region_changed,
            ("withheld", "cut", "horizon"): self._request_series,
            ("band", "level"): self._request_series,
        }
        for traits, react in watch.items():
            session.observe(guarded(session, react), list(traits))
        tl.dlink((session, "status"), (self.picture, "status"))
        tl.dlink((session, "mode"), (self.picture, "mode"))
        tl.dlink((session, "mode"), (self.picture.layout, "max_width"), lambda m: "620px" if m == "grid" else "480px")

    def _follow_browser(self) -> None:
        reactions = {
            "index": self._index_picked,
            "pixel": self._pixel_picked,
            "region": self._region_picked,
            "view": lambda: self.session.request("detail", self._draw_details),
        }
        for trait, react in reactions.items():
            self.picture.observe(guarded(self.session, react), trait)
        self.picture.on_withhold(guarded(self.session, self._withhold_shown))
        self._allow.on_click(guarded(self.session, self._allowed_to_read))

    def _time_changed(self) -> None:
        if self._in_step():
            self.picture.index = self.session.time
        self.session.request("reading", self._draw_reading)
        if self.picture.view:
            self.session.request("detail", self._draw_details)

    def _pixel_changed(self) -> None:
        self.picture.pixel = list(self.session.pixel)
        if self.session.region is not None:
            self.session.region = None  # a pick is of a pixel
        else:
            self._request_series()

    def _region_changed(self) -> None:
        self.picture.region = list(self.session.region or ())
        self._request_series()

    def _request_series(self) -> None:
        self.session.request("series", self._draw_series)

    def _index_picked(self) -> None:
        # While other frames are on their way, a number from the browser still counts the old dates.
        if self._in_step():
            self.session.time = self.picture.index

    def _pixel_picked(self) -> None:
        self.session.pixel = tuple(self.picture.pixel)

    def _region_picked(self) -> None:
        self.session.region = tuple(self.picture.region) or None

    def _picked_in_chart(self, dates: np.ndarray) -> None:
        kept(self.session, lambda: self.session.toggle(dates))

    def _withhold_shown(self) -> None:
        """Withhold the observation of the date that is shown, or give it back."""
        if self._can():
            self.session.toggle([self.session.date])

    def _in_step(self) -> bool:
        return self._filled.get(1) == self._wanted(self.session.product)

    def _wanted(self, product: str) -> tuple[str, str, bool]:
        return product, self.session.band, self.session.in_colour(product)

    def _draw_pictures(self) -> None:
        """Fill the maps that are seen with what they do not hold yet."""
        session = self.session
        for slot, product in zip(SLOTS, session.shown(), strict=False):
            wanted = self._wanted(product)
            if self._filled.get(slot) == wanted:
                continue
            if self._must_ask("picture", f"{product}, {session.band}", session.cost(product)):
                return
            frames = session.frames(product=product)
            if wanted != self._wanted(product) or product not in session.shown():
                return  # another choice was made meanwhile, and its request waits
            self._fill(slot, product, frames)
            self._filled[slot] = wanted
        for slot in SLOTS[len(session.shown()) :]:
            if self._filled.pop(slot, None):
                self.picture.clear(slot)
        if self.picture.view:
            self._draw_details()
        self._draw_reading()

    def _fill(self, slot: int, product: str, frames: Any) -> None:
        session = self.session
        quantity = "colour" if session.in_colour(product) else session.quantity(product)
        thinned = f" (1 pixel of {frames.stride} × {frames.stride})" if frames.stride > 1 else ""
        self.picture.show(
            frames,
            slot=slot,
            index=session.time if slot == 1 else None,
            shape=session.shape,
            quantity=quantity,
            label=quantity_name(session, session.quantity(product)),
            title=f"{_PRODUCT_NAMES.get(product, product)}, {frames.band}{thinned}",
        )

    def _must_ask(self, look: str, what: str, cost: int) -> bool:
        """Ask before a look that reads very much, and tell that it is not allowed yet."""
        self._asking.pop(look, None)
        if cost > max(ASK_BYTES, self._allowed):
            self._asking[look] = (what, cost)
        words = [
            f"To show {what}, {size_text(cost)} are read and computed first." for what, cost in self._asking.values()
        ]
        self._question.children[0].value = " ".join(words)
        self._question.layout.display = "flex" if words else "none"
        return look in self._asking

    def _allowed_to_read(self) -> None:
        self._allowed = max((cost for _, cost in self._asking.values()), default=0)
        self.session.request("picture", self._draw_pictures)
        self._request_series()

    def _draw_details(self) -> None:
        """Send the pixels of a magnified part that were left out, of the date that is shown."""
        session, box = self.session, self.picture.box
        at = {product: session.time_of(product) for product in session.shown()} if box else {}
        found = [(session.frames(product=product, box=box, time=index), index) for product, index in at.items()]
        self.picture.show_details(found, box)

    def _draw_series(self) -> None:
        """Show what the methods say again; of a region, which takes longer, what is known first."""
        session = self.session
        if self._must_ask("series", f"the series of {session.band}", session.series_cost()):
            return
        if session.region is not None and session.methods and session.hidden().any() and not session.has_answers():
            self._show(session.series(again=False))
        self._show(session.series())

    def _show(self, found: Series) -> None:
        self.chart.show(found)
        self._draw_scores(found)
        self._draw_reading(found)

    def _draw_scores(self, found: Series) -> None:
        self.scores.value = scores_html(found)

    def _draw_reading(self, found: Series | None = None) -> None:
        session = self.session
        self.chart.mark(session.date)
        if found is None and session.series_cost() > max(ASK_BYTES, self._allowed):
            return
        reading = session.reading(of=found)
        self.picture.note = "withheld" if reading.withheld is not None else ""
        self.picture.readout = reading_text(reading)

    def _still(self) -> str:
        if self._asking:
            return "<p>A picture follows once its data are read.</p>"
        return still_tag(lambda: session_figure(self.session), alt=reading_text(self.session.reading()))


def _heading(session: Session) -> str:
    dates = session.cube["time"].values
    parts = [
        f"{dates.size} dates, {date_text(dates[0])} to {date_text(dates[-1])}",
        f"{session.cube.sizes['band']} bands",
        grid_text(session.cube, session.shape),
    ]
    return heading(session.cube.attrs.get("sensor") or "Cube", parts)


def scores_html(found: Series) -> str:
    """Return the table of scores on what the methods have not seen; nothing where all was seen."""
    scores = found.scores()
    if not scores:
        return ""
    count = next(iter(scores.values())).count
    best = min(scores, key=lambda name: scores[name].rmse)
    rows = {
        f"{name}{' ★' if name == best and len(scores) > 1 else ''}": [
            f"{s.rmse:.4f}", f"{s.bias:+.4f}",
            "" if np.isnan(s.crps) else f"{s.crps:.4f}", "" if np.isnan(s.coverage) else f"{s.coverage:.0%}",
        ]
        for name, s in scores.items()
    }  # fmt: skip
    for name in found.estimates:
        if name not in scores and found.again:
            rows[name] = ["saw them", "", "", ""]
    what = "value" if count == 1 else "values"
    caption = f"On {count} {what} kept from the methods" if found.again else f"On {count} {what} that came later"
    return table(caption, ("RMSE", "bias", "CRPS", f"in {found.level:.0%}"), rows)


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
    seen = "not observed" if reading.observed is None else f"observed {reading.observed:.3f}"
    if reading.later is not None:
        seen = f"came later {reading.later:.3f}"
    if reading.withheld is not None:
        seen = f"withheld {reading.withheld:.3f}"
    values = [f"{name} {_estimate_text(estimate, reading.level)}" for name, estimate in reading.estimates.items()]
    ahead = "" if reading.lead is None else f", {reading.lead} days ahead"
    when = f"{date_text(reading.date)}{ahead}"
    return "\n".join([f"{_place_text(reading)}, {when}", f"{reading.band} {seen}", *values])


def _place_text(reading: Reading) -> str:
    if reading.region is not None:
        r0, c0, r1, c1 = reading.region
        return f"Mean of rows {r0} to {r1 - 1}, columns {c0} to {c1 - 1}"
    row, col = reading.pixel
    return f"Row {row}, column {col} (x {reading.x:.0f}, y {reading.y:.0f})"


def _estimate_text(estimate: tuple[float, float] | None, level: float) -> str:
    if estimate is None:
        return "none"
    mean, half_width = estimate
    return f"{mean:.3f}" if np.isnan(half_width) else f"{mean:.3f} ± {half_width:.3f} ({level:.0%})"


def _choices(session: Session) -> ipywidgets.VBox:
    named = [(_PRODUCT_NAMES.get(name, name), name) for name in session.products]
    if len(named) > _MOST_BUTTONS:
        product = ipywidgets.Dropdown(options=named, value=session.product, description="Show", **NARROW)
    else:
        product = ipywidgets.ToggleButtons(
            options=named,
            value=session.product,
            tooltips=[f"Show {name} on the map" for name in session.products],
            style={"button_width": "auto"},
        )
    band = ipywidgets.Dropdown(options=session.bands, value=session.band, description="Band", **NARROW)
    mode = ipywidgets.Dropdown(
        options=[(name, mode) for mode, name in _MODES.items()], value=session.mode, description="Maps", **NARROW
    )
    tl.link((session, "product"), (product, "value"))
    tl.link((session, "band"), (band, "value"))
    tl.link((session, "mode"), (mode, "value"))
    choices = [band, mode]
    if len(named) > 1:
        beside = dropdown(session, "beside", named, "Right of it")
        tl.dlink((session, "mode"), (beside.layout, "display"), lambda m: "flex" if m == "swipe" else "none")
        choices.append(beside)
    if session.has_colour("observed"):
        colour = ipywidgets.Checkbox(
            value=session.colour, description="True colour", indent=False, layout={"width": "auto"}
        )
        tl.link((session, "colour"), (colour, "value"))
        choices.append(colour)
    if session.results:
        choices.append(dropdown(session, "level", [(f"{level:.0%}", level) for level in _LEVELS], "Interval"))
    choices.append(waiting(session))
    if isinstance(product, ipywidgets.Dropdown):
        return ipywidgets.VBox([ipywidgets.HBox([product, *choices], layout=ROW)])
    return ipywidgets.VBox([product, ipywidgets.HBox(choices, layout=ROW)])


def _withholding(session: Session) -> ipywidgets.VBox:
    """What the methods must do without: framed observations, and all that follows the start of a forecast."""
    times = session.cube["time"].values
    off = times.size  # one step behind the last date
    start = Slider(
        name="Forecast from", low=0, high=off, value=off, texts=[*(date_text(t) for t in times), "off"],
    )  # fmt: skip
    ahead = Slider(name="Days ahead", low=5, high=730, step=5, value=session.horizon, unit="d", disabled=True)
    clear = ipywidgets.Button(description="Give all back", layout={"width": "auto"}, disabled=True)
    hint = text("", "hint")

    def position() -> int:
        return off if session.cut is None else max(0, int(np.searchsorted(times, session.cut, "right")) - 1)

    def started() -> None:
        if start.value != position():  # a cut between two dates is not moved by its own slider
            session.cut = None if start.value >= off else times[int(start.value)]

    def follow(_change: Any = None) -> None:
        ahead.disabled = session.cut is None
        start.value = position()
        clear.disabled = not session.withheld and session.cut is None
        count = len(session.withheld)
        hint.value = text(
            f"{count} withheld."
            if count
            else "Frame observations in the chart, or press W on the map, to withhold them.",
            "hint",
        ).value

    def give_back(_button: Any) -> None:
        session.withheld, session.cut = (), None

    start.observe(guarded(session, started), "value")
    session.observe(follow, ["withheld", "cut"])
    tl.link((session, "horizon"), (ahead, "value"), (float, int))
    clear.on_click(give_back)
    follow()
    return ipywidgets.VBox([start, ahead, ipywidgets.HBox([clear, hint], layout=ROW)])


def _more(session: Session) -> ipywidgets.Accordion:
    """What is not always wanted, built when it is opened."""
    makers = {"Take it along": Export}
    if session.model is not None:
        makers = {"Modes of the model": ModesView, **makers}
    more = ipywidgets.Accordion([ipywidgets.VBox() for _ in makers], titles=tuple(makers), selected_index=None)

    def opened(change: Any) -> None:
        if change["new"] is not None and not more.children[change["new"]].children:
            more.children[change["new"]].children = [list(makers.values())[change["new"]](session)]

    more.observe(lambda change: kept(session, lambda: opened(change)), "selected_index")
    return more


def _question() -> tuple[ipywidgets.HBox, ipywidgets.Button]:
    """A row that asks before very much is read."""
    allow = ipywidgets.Button(description="Read it", layout={"width": "auto"})
    return ipywidgets.HBox([ipywidgets.HTML(), allow], layout={"display": "none", **ROW}), allow
