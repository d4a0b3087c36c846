"""The modes of a Koopman model: eigenvalues on the unit circle, periods against memory, and where a mode is strong."""

from __future__ import annotations

from typing import Any

import holoviews as hv
import holoviews.plotting.bokeh  # registers the backend without writing into a notebook
import numpy as np
import xarray as xr

from s2koop._crs import axis_label
from s2koop._frames import robust_range
from s2koop.errors import InputError
from s2koop.plots._style import METHOD_COLOURS, OBSERVED_COLOUR, missing_colour, palette

_SIDE = 330
_FONTS = {"title": "11pt", "labels": "10pt", "ticks": "9pt"}

#: Modes that do not oscillate, and those that hardly fade, are drawn at the edge of the plot.
_LONGEST = 36_500.0


def eigenvalues(modes: xr.Dataset, *, chosen: int | None = None) -> hv.Overlay:
    """Draw the eigenvalues of a model on the unit circle.

    Parameters
    ----------
    modes : Dataset
        What ``cube.koopman.spectrum(model)`` returns; its coordinates on ``mode`` are used.
    chosen : int, optional
        A mode to stress.

    Returns
    -------
    holoviews.Overlay
        A circle, and points with number, period and decay in days. The angle of a point says how far its mode turns in
        a step of the operator, the distance from the centre how much of it is left.

    Raises
    ------
    InputError
        If `modes` holds no eigenvalues.

    References
    ----------
    Frion et al. (2024), Neural Koopman prior for data assimilation, section III.
    """
    table = mode_table(modes)
    above = bool(table["imag"].min() >= -0.08)  # one of each conjugate pair
    angle = np.linspace(0, 2 * np.pi, 361)
    circle = hv.Path([np.column_stack([np.cos(angle), np.sin(angle)])], ["real", "imag"])
    points = hv.Points(
        (table["real"], table["imag"], table["mode"], table["period"], table["decay"]),
        ["real", "imag"], ["mode", "period (days)", "decay (days)"], group="Eigenvalues",
    )  # fmt: skip
    return hv.Overlay(
        [
            circle.opts(color="#8a8a8a", line_width=1, backend="bokeh"),
            points.opts(color=METHOD_COLOURS[0], size=8, alpha=0.7, tools=["hover", "tap"], nonselection_alpha=0.7,
                        backend="bokeh"),
            chosen_ring(table, "real", "imag", chosen),
        ]
    ).opts(
        title="Eigenvalues of a step", xlabel="real", ylabel="imaginary", frame_width=_SIDE,
        frame_height=round(_SIDE * (1.16 if above else 2.16) / 2.16), xlim=(-1.08, 1.08),
        ylim=(-0.08 if above else -1.08, 1.08), toolbar="right", default_tools=["pan", "wheel_zoom", "save", "reset"],
        active_tools=["wheel_zoom"], fontsize=_FONTS, show_grid=True, gridstyle={"grid_line_alpha": 0.35},
        backend_opts={"plot.toolbar.logo": None}, backend="bokeh",
    )  # fmt: skip


def periods(modes: xr.Dataset, *, chosen: int | None = None) -> hv.Overlay:
    """Draw what the modes mean: period against memory, both in days.

    Parameters
    ----------
    modes, chosen
        As for `eigenvalues`.

    Returns
    -------
    holoviews.Overlay
        On logarithmic axes. Modes that do not oscillate stand at a period of a hundred years, those that do not fade
        at a memory of as long.
    """
    table = mode_table(modes)
    drawn = on_paper(table)
    points = hv.Points((drawn["period"], drawn["decay"], table["mode"]), ["period", "decay"], ["mode"], group="Periods")
    year = hv.VLine(365.25).opts(color="#8a8a8a", line_width=1, line_dash="dashed", backend="bokeh")
    return hv.Overlay(
        [
            year,
            points.opts(color=METHOD_COLOURS[0], size=8, alpha=0.7, tools=["hover"], backend="bokeh"),
            chosen_ring(drawn, "period", "decay", chosen),
        ]
    ).opts(
        title="Period and memory; dashed: a year", xlabel="period (days)",
        ylabel="days until 1/e is left",
        logx=True, logy=True, frame_width=_SIDE, frame_height=round(_SIDE * 1.16 / 2.16), toolbar="right",
        show_grid=True,
        default_tools=["pan", "wheel_zoom", "save", "reset"], fontsize=_FONTS, gridstyle={"grid_line_alpha": 0.35},
        backend_opts={"plot.toolbar.logo": None}, backend="bokeh",
    )  # fmt: skip


def mode_map(modes: xr.Dataset, mode: int) -> hv.Image:
    """Draw where a mode is strong.

    Parameters
    ----------
    modes : Dataset
        What ``cube.koopman.spectrum(model)`` returns; one mode is computed where it is lazy.
    mode : int
        Its number, from zero.

    Returns
    -------
    holoviews.Image
        Amplitude in latent units.

    Raises
    ------
    InputError
        If there is no such mode.
    """
    count = modes.sizes.get("mode", 0)
    if "amplitude" not in modes or not 0 <= mode < count:
        raise InputError(f"Mode {mode} is not there; expected one of 0 to {count - 1} of cube.koopman.spectrum(model).")
    field = modes["amplitude"].isel(mode=mode).compute()
    axes = [hv.Dimension(dim, label=axis_label(field, dim)) for dim in ("x", "y")]
    return hv.Image((field["x"].values, field["y"].values, field.values), axes, "amplitude").opts(
        cmap=palette("amplitude"), clim=robust_range(field.values, from_zero=True) or (0, 1), colorbar=True,
        clipping_colors={"NaN": missing_colour("amplitude")}, frame_width=_SIDE, aspect="equal", tools=["hover"],
        title=mode_name(mode_table(modes), mode), fontsize=_FONTS, xformatter="%d", yformatter="%d", xticks=4,
        yticks=4, backend_opts={"plot.toolbar.logo": None}, backend="bokeh",
    )  # fmt: skip


def mode_table(modes: xr.Dataset) -> dict[str, np.ndarray]:
    """Return number, real and imaginary part, period and decay of each mode as columns."""
    names = {"real": "eigenvalue_real", "imag": "eigenvalue_imag", "period": "period", "decay": "decay"}
    missing = [name for name in names.values() if name not in modes.coords]
    if missing:
        raise InputError(f"The modes lack {', '.join(missing)}; give what cube.koopman.spectrum(model) returns.")
    columns = {short: np.atleast_1d(modes[name].values) for short, name in names.items()}
    return {"mode": np.arange(columns["real"].size)} | columns


def mode_name(table: dict[str, np.ndarray], mode: int) -> str:
    """Say what a mode is: its period, and how long it lasts.

    >>> mode_name({"period": np.array([365.25]), "decay": np.array([1200.0])}, 0)
    'Mode 0: 365 days, fades in 3.3 years'
    """
    period, decay = float(table["period"][mode]), float(table["decay"][mode])
    turns = f"{period:.0f} days" if period < _LONGEST else "no oscillation"
    years = abs(decay) / 365.25
    fades = "lasts" if years > 100 else f"{'fades' if decay > 0 else 'grows'} in {years:.1f} years"
    return f"Mode {mode}: {turns}, {fades}"


def on_paper(table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return periods and decays where they are drawn: what is endless at the edge."""
    return {name: np.clip(np.abs(table[name]), 1, _LONGEST) for name in ("period", "decay")}


def chosen_ring(table: dict[str, np.ndarray], x: str, y: str, chosen: int | None) -> hv.Points:
    """Return a ring around the mode that is meant; empty where none is."""
    at = slice(0, 0) if chosen is None else slice(chosen, chosen + 1)
    look: dict[str, Any] = {"fill_alpha": 0, "line_color": OBSERVED_COLOUR, "line_width": 2, "size": 15}
    return hv.Points((table[x][at], table[y][at]), [x, y], group="Chosen").opts(**look, backend="bokeh")
