"""The air that a dashboard takes off a scene anew whenever a hand moves it: all that stays is solved once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from s2koop.ac.angles import scene_geometry
from s2koop.ac.inputs import as_field, check_range, check_scene
from s2koop.ac.inversion import CLIMATOLOGY
from s2koop.ac.lut import AEROSOLS, LIMITS, Table
from s2koop.errors import InputError

#: What a hand can move: the quantities, and their names and units for people.
MOVED: Mapping[str, str] = {"aot": "aerosol optical thickness at 550 nm", "water_vapour": "water vapour (g/cm²)"}


@dataclass(frozen=True, eq=False)
class Sky:
    """Geometry, gases and ground under which a scene is inverted, apart from aerosol and water vapour.

    Attributes
    ----------
    fields : mapping of str to DataArray, dims among (time, y, x)
        ``sza``, ``vza``, ``raa`` in degrees, ozone in cm-atm and altitude in m, without coordinates.
    sensor : str, mapping or None
        As for ``.ac.invert``; None where the scene says it.
    aerosol : str
    table : Table or None
    """

    fields: Mapping[str, xr.DataArray]
    sensor: Any
    aerosol: str
    table: Table | None

    @classmethod
    def over(
        cls, toa: xr.DataArray, *, angles: Any, sensor: Any, ozone: Any, altitude: Any, aerosol: str,
        table: Table | None,
    ) -> Sky:  # fmt: skip
        """Check and solve all that stays; parameters as of ``.ac.invert``, `toa` as (time, band, y, x)."""
        if aerosol not in AEROSOLS:
            raise InputError(f"aerosol={aerosol!r} is unknown; choose one of {', '.join(AEROSOLS)}")
        scene = check_scene(toa, "TOA", sensor).values
        geometry = scene_geometry(scene, angles)
        fields = {"sza": geometry.sza, "vza": geometry.vza, "raa": geometry.raa}
        for name, value in {"ozone": ozone, "altitude": altitude}.items():
            fields[name] = as_field(name, CLIMATOLOGY[name] if value is None else value, scene)
            check_range(name, fields[name])
        return cls(fields, sensor, aerosol, table)

    def invert(
        self, toa: xr.DataArray, at: Mapping[str, Any], air: Mapping[str, npt.ArrayLike], *, spread: bool
    ) -> xr.Dataset:
        """Correct a part of the scene by ``.ac.invert``.

        Parameters
        ----------
        toa : DataArray (time, band, y, x)
            The part, with the coordinates that the scene has there.
        at : mapping of dim to indexer
            Where it lies in the scene, as for ``isel``.
        air : mapping
            ``aot`` and ``water_vapour``, a number for each date of the part.
        spread : bool
        """
        here = {
            name: field.isel({dim: index for dim, index in at.items() if dim in field.dims})
            for name, field in self.fields.items()
        }
        angles = {name: here[name] for name in ("sza", "vza", "raa")}
        return toa.ac.invert(
            **{name: np.asarray(values, float) for name, values in air.items()}, angles=angles, ozone=here["ozone"],
            altitude=here["altitude"], aerosol=self.aerosol, sensor=self.sensor, table=self.table, spread=spread,
        )  # fmt: skip


def within(name: str, value: float) -> float:
    """A number that the table can answer."""
    low, high = LIMITS[name]
    if not low <= value <= high:
        raise InputError(f"{name}={value:g} lies outside of the table; expected {low:g} to {high:g}")
    return float(value)


@dataclass(frozen=True)
class Begin:
    """Where a quantity begins: numbers (time,), their standard deviations (NaN: not known), and where they are from."""

    values: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]
    origin: tuple[str, ...]

    def text(self, date: int, digits: int) -> str:
        """The number of a date in words."""
        about = f" ± {self.spread[date]:.{digits}f}" if np.isfinite(self.spread[date]) else ""
        return f"{self.values[date]:.{digits}f}{about} ({self.origin[date]})"


def begins(name: str, given: Any, result: xr.Dataset, dates: int) -> Begin:
    """Aerosol or water vapour where a hand begins: as given, as the result retrieved it, or of the climate."""
    # Among variables alone: as a coordinate, it is what somebody knew of the scene before.
    retrieved = given is None and name in result.data_vars
    values = result[name].values if retrieved else np.asarray(np.nan if given is None else given, float)
    if values.shape not in ((), (dates,)):
        raise InputError(f"{name} has shape {values.shape}; expected a number, or one for each of {dates} dates")
    values = np.broadcast_to(values.astype(float), (dates,))
    if given is not None:
        for one in values:
            within(name, float(one))
    known = np.isfinite(values)
    spread = np.full(dates, np.nan)
    if retrieved and f"{name}_spread" in result.data_vars:
        spread = np.where(known, np.broadcast_to(result[f"{name}_spread"].values.astype(float), (dates,)), np.nan)
    origin = "retrieved" if retrieved else "given"
    return Begin(
        np.clip(np.where(known, values, CLIMATOLOGY[name]), *LIMITS[name]),
        spread,
        tuple(origin if there else "climatology" for there in known),
    )
