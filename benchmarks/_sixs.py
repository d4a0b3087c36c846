"""Runs of 6S itself on random states, as they are kept, and how far the table and SMAC are from them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from s2koop.ac import AEROSOLS, Atmosphere, Coefficients, Table, smac, to_boa
from s2koop.ac.smac import fitted

#: Made by scripts/judge_atmosphere_table.py once grid and interpolation were fixed.
DRAW = Path(__file__).with_name("data") / "atmosphere_6s.csv"
#: States for which the stricter targets hold.
STEEPEST, HAZIEST = 65.0, 0.45


class Draw:
    """One row per state and band: the state, the surface, and the reflectance at the top by 6S."""

    def __init__(self, path: Path = DRAW) -> None:
        with path.open() as file:
            rows = list(csv.DictReader(file))
        self.text = {name: np.array([row[name] for row in rows]) for name in ("sensor", "band", "aerosol")}
        self.state = np.array([int(row["state"]) for row in rows])
        self.atmosphere = Atmosphere(*(np.array([float(row[name]) for row in rows]) for name in Atmosphere._fields))
        self.rho = np.array([float(row["rho"]) for row in rows])
        self.toa = np.array([float(row["toa"]) for row in rows])

    @property
    def easy(self) -> npt.NDArray[np.bool_]:
        """Rows of a high sun and little aerosol."""
        return (self.atmosphere.sza <= STEEPEST) & (self.atmosphere.aot <= HAZIEST)

    def errors(self, method: str = "lut") -> npt.NDArray[np.float64]:
        """Surface reflectance found less the true one, of each row, by "lut" or "smac"."""
        found = np.empty_like(self.toa)
        for sensor in np.unique(self.text["sensor"]):
            for aerosol in AEROSOLS:
                for band in Table.load().bands(str(sensor)):
                    at = np.nonzero(
                        (self.text["sensor"] == sensor)
                        & (self.text["aerosol"] == aerosol)
                        & (self.text["band"] == band)
                    )[0]
                    if len(at):
                        numbers = self._numbers(method, str(sensor), aerosol, band, at)
                        found[at] = to_boa(self.toa[at], Coefficients(*(value[:, 0] for value in numbers)))
        return found - self.rho

    def _numbers(self, method: str, sensor: str, aerosol: str, band: str, at: npt.NDArray[np.intp]) -> Coefficients:
        state = Atmosphere(*(value[at] for value in self.atmosphere))
        if method == "lut":
            return Table.load().coefficients(sensor, state, aerosol, [band])
        return smac(fitted(sensor, aerosol, [band]), state)


def summary(errors: npt.NDArray[np.float64]) -> dict[str, float]:
    """Mean, 95th percentile and maximum of the absolute error."""
    size = np.abs(errors)
    return {"mae": float(size.mean()), "p95": float(np.percentile(size, 95)), "max": float(size.max())}
