"""The Koopman view: the modes of a model on the unit circle, and where in the scene each of them is strong."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import xarray as xr

from s2koop._crs import pixel_metres
from s2koop._frames import encode, robust_range
from s2koop._views import Frames
from s2koop.live.cube import CubeView
from s2koop.live.figure import LiveFigure
from s2koop.live.parts import ROW, guarded
from s2koop.plots.modes import chosen_ring, eigenvalues, mode_name, mode_table, on_paper, periods
from s2koop.session import Session

#: Pixels of the maps of modes: as many as take some ten seconds.
_PIXELS = 1024
_ROWS_AT_ONCE = 4


class ModesView(ipywidgets.VBox):
    """Pick a mode on the circle or with the slider: see its period and memory, and its map once that is worked out.

    Parameters
    ----------
    session : Session
        With a model.
    """

    def __init__(self, session: Session) -> None:
        from s2koop import koopman

        model: Any = session.model
        self.session = session
        model = koopman.load(model) if isinstance(model, (str, Path)) else model
        # The members of an ensemble have modes of their own: those of the first are shown.
        self.model = model.models[0] if isinstance(model, koopman.KoopmanEnsemble) else model
        self.modes = _eigenvalues_of(self.model)
        self.table = mode_table(self.modes)
        self.chosen = 0
        self.picture = CubeView(pixel_size=pixel_metres(session.cube), pixel=list(session.pixel), tools=[])
        self._shares: np.ndarray = np.zeros((0, 0, 0), np.float32)
        self.picture.layout.display = "none"
        names = [mode_name(self.table, mode) for mode in self.table["mode"]]
        self.choice = ipywidgets.Dropdown(options=list(zip(names, range(len(names)), strict=True)), description="Show")
        self.choice.layout.width = "auto"
        self.choice.observe(guarded(session, lambda: self.choose(self.choice.value)), "value")
        self.circle, self.periods = LiveFigure(eigenvalues(self.modes)), LiveFigure(periods(self.modes))
        self.circle.source("Eigenvalues", "").selected.on_change("indices", self._tapped)
        charts = ipywidgets.HBox([self.circle, self.periods], layout=ROW)
        self._work = ipywidgets.Button(layout={"width": "auto", "align_self": "flex-start"})
        self._work.description = f"Map the modes ({self._lattice().sizes['y'] * self._lattice().sizes['x']} pixels)"
        self._work.on_click(lambda _button: session.request("modes", self._map))
        self.picture.observe(guarded(session, lambda: self.choose(self.picture.index)), "index")
        self.picture.observe(guarded(session, self._picked), "pixel")
        session.observe(guarded(session, self._follow), "pixel")
        self.choice.layout.align_self = "flex-start"
        super().__init__([self.choice, charts, self._work, self.picture])
        self.choose(0)

    def choose(self, mode: int) -> None:
        """Stress a mode, say what it is, and show its map where there is one."""
        self.chosen = self.choice.value = mode
        self.circle.update([chosen_ring(self.table, "real", "imag", mode)])
        self.periods.update([chosen_ring(on_paper(self.table), "period", "decay", mode)])
        if self.picture.panel(1):
            self.picture.index = mode
            self._read()

    def _picked(self) -> None:
        self.session.pixel = tuple(self.picture.pixel)

    def _follow(self) -> None:
        self.picture.pixel = list(self.session.pixel)
        self._read()

    def _read(self) -> None:
        """Say how strong the mode is at the pixel."""
        if self._shares.size:
            row, col = self.session.pixel
            share = self._shares[self.chosen, row // self._step, col // self._step]
            self.picture.readout = f"Row {row}, column {col}: {share:.2f} of the largest amplitude of this mode"

    def _tapped(self, _name: str, _old: list[int], new: list[int]) -> None:
        if new:
            self.choose(int(new[0]))

    @property
    def _step(self) -> int:
        rows, cols = self.session.shape
        return max(1, math.ceil(math.sqrt(rows * cols / _PIXELS)))

    def _lattice(self) -> xr.DataArray:
        every = slice(0, None, self._step)
        return self.session.cube.isel(y=every, x=every)

    def _map(self) -> None:
        """Work out the amplitudes strip by strip, so that the work can be seen and stopped."""
        some, found = self._lattice(), []
        with self.session.waiting_for("Mapping the modes"):
            for start in range(0, some.sizes["y"], _ROWS_AT_ONCE):
                strip = some.isel(y=slice(start, start + _ROWS_AT_ONCE))
                found.append(strip.koopman.spectrum(self.model, progress=False)["amplitude"].compute())
                self.session.report((start + _ROWS_AT_ONCE) / some.sizes["y"])
        self._show(xr.concat(found, "y"))

    def _show(self, amplitude: xr.DataArray) -> None:
        """Show each mode as a share of its own largest amplitude: the mean would outshine all others."""
        ranges = [robust_range(field, from_zero=True) for field in amplitude.values]
        most = np.array([1.0 if found is None else found[1] for found in ranges], np.float32)
        self._shares = amplitude.values / most[:, None, None]
        levels = encode(self._shares, 0.0, 1.0)
        none = np.zeros(len(levels), "datetime64[ns]")
        names = [mode_name(self.table, mode) for mode in range(len(levels))]
        frames = Frames("modes", "", none, levels, 0.0, 1.0, self._step)
        self.picture.layout.display = None
        self.picture.show(
            frames, index=self.chosen, shape=self.session.shape, quantity="amplitude",
            label="share of the largest amplitude", title="Where the mode is strong", labels=names,
        )  # fmt: skip
        self._read()


def _eigenvalues_of(model: Any) -> xr.Dataset:
    """The modes of a model without maps."""
    found = model.spectrum()
    columns = {
        "eigenvalue_real": found.eigenvalue.real, "eigenvalue_imag": found.eigenvalue.imag,
        "period": found.period_days, "decay": found.decay_days,
    }  # fmt: skip
    return xr.Dataset(coords={name: ("mode", values) for name, values in columns.items()})
