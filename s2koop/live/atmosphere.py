"""The dashboard of atmospheric corrections: maps swiped, a spectrum, numbers by band, and air that a hand moves."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from html import escape
from typing import Any

import ipywidgets
import numpy as np
import traitlets as tl
import xarray as xr

from s2koop._atmosphere_air import MOVED
from s2koop._atmosphere_layers import LIVE
from s2koop._atmosphere_session import LIVE_BYTES, MESSAGE_BYTES, AtmosphereSession
from s2koop._crs import pixel_metres
from s2koop._session_input import known_level
from s2koop._views import Frames
from s2koop.ac.lut import LIMITS
from s2koop.live.cube import CubeView
from s2koop.live.figure import LiveFigure
from s2koop.live.parts import NARROW, ROW, View, failures, grid_text, guarded, heading, still_tag, text, waiting
from s2koop.live.slider import Slider
from s2koop.plots.atmosphere import (
    atmosphere_figure,
    judged_table,
    spectrum_elements,
    spectrum_overlay,
    spectrum_range,
    spectrum_title,
)

#: Seconds without a move after which a hand is taken to rest.
_REST = 0.35

_MODES = {"swipe": "Divider", "grid": "Side by side, with the ratio", "one": "Left map alone"}
_STEPS = {"aot": 0.005, "water_vapour": 0.05}
_NAMES = {"aot": "Aerosol (AOT 550)", "water_vapour": "Water vapour"}
_UNITS = {"aot": "", "water_vapour": "g/cm²"}


def atmosphere_dashboard(
    result: xr.Dataset,
    *,
    toa: xr.DataArray | None = None,
    reference: xr.DataArray | xr.Dataset | None = None,
    others: Mapping[str, xr.Dataset | xr.DataArray] | None = None,
    name: str | None = None,
    band: str | None = None,
    pixel: tuple[int, int] | None = None,
    date: str | None = None,
    level: float = 0.9,
    **air: Any,
) -> AtmosphereDashboard:
    """Look at a corrected scene beside what was measured, other corrections and a reference.

    Swipe two maps, click a pixel for its spectrum, draw a region for its numbers, and move aerosol and water vapour:
    the scene is inverted again while the hand moves, first at the pixel, then the picture.

    Parameters
    ----------
    result, toa, reference, others, name, band, pixel
        As of `s2koop._atmosphere_session.AtmosphereSession`.
    date : str, optional
        The nearest date is shown; by default the first.
    level : float
        Coverage of the intervals of the spectrum.
    **air
        ``aot``, ``water_vapour``: where the live inversion begins; ``angles``, ``sensor``, ``ozone``, ``altitude``,
        ``aerosol`` and ``table`` as for ``.ac.invert``.

    Returns
    -------
    AtmosphereDashboard
        A widget; its ``session`` holds the state.

    Raises
    ------
    InputError
        If grids, dates, bands or names do not fit, or a choice does not exist.

    Examples
    --------
    >>> from s2koop.simulate import toa_scenes
    >>> scene = toa_scenes("test", scenes=1, size=16).isel(scene=0)
    >>> angles = {"sza": 40.0, "vza": 5.0, "raa": 100.0}
    >>> view = atmosphere_dashboard(scene["toa"].ac.invert(angles=angles), toa=scene["toa"], angles=angles)
    >>> view.session.aot = 0.3
    >>> view.wait()
    True
    """
    session = AtmosphereSession(
        result, toa=toa, reference=reference, others=others, name=name, band=band, pixel=pixel, **air
    )
    session.level = known_level(level)
    if date is not None:
        session.go_to(date)
    return AtmosphereDashboard(session)


class AtmosphereDashboard(View[AtmosphereSession]):
    """The widget that `atmosphere_dashboard` returns.

    Attributes
    ----------
    session : AtmosphereSession
        The state; set its traits and the view follows.
    picture : CubeView
        The maps: left, right, and the ratio to the reference.
    chart : LiveFigure
        The spectrum.
    """

    def __init__(self, session: AtmosphereSession) -> None:
        self.session = session
        self.picture = CubeView(pixel_size=pixel_metres(session.cube), pixel=list(session.pixel), mode="swipe")
        self.chart = LiveFigure(spectrum_overlay(session.blank_spectrum()))
        self.numbers = ipywidgets.HTML()
        self._held: dict[int, Frames] = {}
        self._hand = threading.Event()
        if not session.lazy:
            self._draw_all()
        super().__init__(self._parts())
        self.add_class("s2koop-dashboard")
        self._follow_session()
        self._follow_browser()
        if session.lazy:
            # What takes long is drawn when it is there: the view is seen at once, and says what is read.
            session.request("all", self._draw_all)

    def _parts(self) -> list[ipywidgets.Widget]:
        session = self.session
        self.picture.layout.flex = "1 1 420px"
        self.picture.layout.max_width = "560px"
        side = [*([air_controls(session)] if session.live else []), self.chart, self.numbers]
        body = ipywidgets.HBox(
            [self.picture, ipywidgets.VBox(side, layout={"flex": "1 1 580px", "min_width": "0"})],
            layout={"flex_flow": "row wrap", "grid_gap": "8px 24px", "align_items": "flex-start"},
        )
        return [text(_heading(session), "header"), self._choices(), body, failures(session)]

    def _choices(self) -> ipywidgets.HBox:
        session = self.session
        left, right = (
            ipywidgets.Dropdown(
                options=session.products, value=getattr(session, side), description=side.title(), **NARROW
            )
            for side in ("left", "right")
        )
        band = ipywidgets.Dropdown(options=session.bands, value=session.band, description="Band", **NARROW)
        mode = ipywidgets.Dropdown(
            options=[(words, mode) for mode, words in _MODES.items()], value="swipe", description="Maps", **NARROW
        )
        for trait, control in {"left": left, "right": right, "band": band}.items():
            tl.link((session, trait), (control, "value"))
        tl.link((self.picture, "mode"), (mode, "value"))
        choices = [left, right, mode, band]
        if session.colours is not None:
            colour = ipywidgets.Checkbox(
                value=session.colour, description="In colours", indent=False, layout={"width": "auto"}
            )
            tl.link((session, "colour"), (colour, "value"))
            choices.append(colour)
        return ipywidgets.HBox([*choices, waiting(session)], layout=ROW)

    def _follow_session(self) -> None:
        session = self.session
        reactions = {
            ("left", "right", "colour", "band"): self._choice_changed,
            ("time",): self._time_changed,
            ("pixel",): self._pixel_changed,
            ("region",): self._region_changed,
            ("aot", "water_vapour"): self._air_changed,
            ("level",): lambda: session.request("spectrum", self._draw_spectrum),
        }
        for traits, react in reactions.items():
            session.observe(guarded(session, react), list(traits))
        tl.dlink((session, "status"), (self.picture, "status"))

    def _follow_browser(self) -> None:
        session, picture = self.session, self.picture
        picture.observe(guarded(session, lambda: session.set_trait("time", picture.index)), "index")
        picture.observe(guarded(session, lambda: session.set_trait("pixel", tuple(picture.pixel))), "pixel")
        picture.observe(guarded(session, lambda: session.set_trait("region", tuple(picture.region))), "region")
        picture.observe(guarded(session, lambda: session.request("details", self._draw_details)), "view")

    def _choice_changed(self) -> None:
        session = self.session
        session.request("pictures", lambda: self._draw_pictures(MESSAGE_BYTES))
        session.request("numbers", self._draw_numbers)
        session.request("reading", self._draw_reading)

    def _time_changed(self) -> None:
        self.picture.index = self.session.time
        self.session.request("spectrum", self._draw_spectrum)
        self.session.request("numbers", self._draw_numbers)
        if self.picture.view:
            self.session.request("details", self._draw_details)

    def _pixel_changed(self) -> None:
        self.picture.pixel = list(self.session.pixel)
        self.session.request("spectrum", self._draw_spectrum)

    def _region_changed(self) -> None:
        self.picture.region = list(self.session.region)
        self.session.request("numbers", self._draw_numbers)

    def _air_changed(self) -> None:
        """Follow the hand: the pixel at once, a picture that is small to send, and all of it when the hand rests."""
        session = self.session
        self._hand.set()
        session.request("spectrum", self._draw_spectrum)
        if LIVE not in (session.left, session.right):
            return
        session.request("pictures", lambda: self._draw_pictures(LIVE_BYTES))
        session.request("numbers", self._draw_numbers)
        session.request("fine pictures", self._draw_when_at_rest)

    def _draw_when_at_rest(self) -> None:
        """Draw in full, unless the hand goes on: what it asks for next must not wait behind a large picture."""
        self._hand.clear()
        if not self._hand.wait(_REST):
            self._draw_pictures(MESSAGE_BYTES)

    def _draw_all(self) -> None:
        self._draw_spectrum()
        self._draw_pictures(MESSAGE_BYTES)
        self._draw_numbers()

    def _draw_details(self) -> None:
        """Send the pixels of a magnified part that were left out, of the date that is shown."""
        session, box = self.session, self.picture.box
        names = [session.left, session.right, *(["ratio"] if session.judged else [])]
        found = [(session.detail(name, box), session.time) for name in names] if box else []
        self.picture.show_details(found, box)

    def _draw_pictures(self, budget: int) -> None:
        """Fill the maps, the live ones alone where little is to be sent."""
        session, picture = self.session, self.picture
        sides = ((1, session.left), (2, session.right))
        for slot, name in sides:
            own = budget if name == LIVE else MESSAGE_BYTES
            self._show(slot, session.frames(name, budget=own), "colour" if session.colour else "reflectance")
        own = budget if session.judged == LIVE else MESSAGE_BYTES
        ratio = session.ratio_frames(budget=own)
        if ratio is not None:
            self._show(3, ratio, "ratio")
        elif picture.panel(3):
            picture.clear(3)
            self._held.pop(3, None)
        if picture.view:
            self._draw_details()

    def _show(self, slot: int, frames: Frames, quantity: Any) -> None:
        if self._held.get(slot) is frames:
            return
        session = self.session
        thinned = f" (1 pixel of {frames.stride} × {frames.stride})" if frames.stride > 1 else ""
        self.picture.show(
            frames,
            slot=slot,
            index=session.time if slot == 1 else None,
            shape=session.shape,
            quantity=quantity,
            label="ratio" if quantity == "ratio" else "reflectance",
            title=f"{frames.product}, {frames.band}{thinned}",
            labels=session.labels,
        )
        self._held[slot] = frames

    def _draw_spectrum(self) -> None:
        found = self.session.spectrum()
        self.chart.update(spectrum_elements(found))
        self.chart.frame(title=spectrum_title(found), y=spectrum_range(found))
        self._draw_reading()

    def _draw_numbers(self) -> None:
        judged = self.session.statistics()
        self.numbers.value = "" if judged is None else text(judged_table(judged), "numbers").value

    def _draw_reading(self) -> None:
        self.picture.readout = reading_text(self.session)

    def _still(self) -> str:
        session = self.session
        if session.lazy and not self._held:
            return f"<p>{_heading(session)}</p>"
        judged = session.statistics()
        table = "" if judged is None else judged_table(judged)
        return still_tag(lambda: atmosphere_figure(session), alt=reading_text(session)) + table


def reading_text(session: AtmosphereSession) -> str:
    """Put the pixel into words: where, when, and the value of every layer in the band."""
    found = session.spectrum()
    row, col = found.pixel
    words = [f"Row {row}, column {col} (x {found.x:.0f}, y {found.y:.0f}), {found.date}, {session.band}"]
    for name, (value, half) in session.reading().items():
        if np.isfinite(value):
            words.append(f"{name} {value:.3f}" + (f" ± {half:.3f} ({found.level:.0%})" if np.isfinite(half) else ""))
    return "\n".join(words if len(words) > 1 else [*words, "no data"])


def air_controls(session: AtmosphereSession) -> ipywidgets.VBox:
    """Sliders of aerosol and water vapour, marked where they began, and a button that puts them back there."""
    sliders = []
    for name in MOVED:
        low, high = LIMITS[name]
        slider = Slider(
            name=_NAMES[name], low=low, high=high, step=_STEPS[name], unit=_UNITS[name], value=getattr(session, name)
        )
        tl.link((session, name), (slider, "value"))
        sliders.append(slider)
    back = ipywidgets.Button(
        description="Back to where it began", tooltip="Put aerosol and water vapour of this date back",
        layout={"width": "auto"},
    )  # fmt: skip
    back.on_click(lambda _button: session.reset())
    note = ipywidgets.HTML()

    def follow(_change: Any = None) -> None:
        date = session.time
        began = {name: float(session.begin[name].values[date]) for name in MOVED}
        for slider, value in zip(sliders, began.values(), strict=True):
            slider.marks = [value]
        moved = any(abs(getattr(session, name) - value) > 1e-9 for name, value in began.items())
        back.disabled = not moved
        texts = session.begin["aot"].text(date, 3), session.begin["water_vapour"].text(date, 2)
        words = f"▲ {texts[0]}; {texts[1]}; {session.aerosol} aerosol"
        note.value = text(escape(words), "hint").value

    session.observe(follow, ["time", *MOVED])
    follow()
    rest = ipywidgets.HBox([back, note], layout=ROW)
    return ipywidgets.VBox([*sliders, rest])


def _heading(session: AtmosphereSession) -> str:
    dates = "one scene" if session.labels == ("one scene",) else f"{len(session.labels)} dates"
    parts = [dates, f"{len(session.bands)} bands", grid_text(session.cube, session.shape)]
    if str(session.cube.attrs.get("simulated", "")).lower() == "true":
        parts.append("simulated, not measured")
    return heading(session.cube.attrs.get("sensor") or "Scene", parts)
