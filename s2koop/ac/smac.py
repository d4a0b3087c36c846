"""SMAC: the atmosphere of a band as 49 numbers in closed form (Rahman and Dedieu 1994), in its vectorised equations.

It is what much of operational processing uses, and what our table is compared with. Coefficients are fitted by us to
our table (`fitted`; scripts/fit_smac.py), or read from files in the layout of CNES that a user has (`read_smac`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from s2koop.ac.lut import AEROSOLS, Atmosphere, Table, as_tensors
from s2koop.ac.lut import pressure as standard_pressure
from s2koop.ac.transfer import Coefficients
from s2koop.errors import InputError

#: Pressure at the sea, hPa.
SEA_LEVEL = 1013.25


class SmacCoefficients(NamedTuple):
    """The 49 coefficients in the order of the published files, each a number or an array (band,).

    Attributes
    ----------
    ah2o, nh2o, ao3, no3 : float or array
        Of water vapour and ozone: ``T = exp(a (u m)**n)``.
    ao2, no2, po2, aco2, nco2, pco2, ach4, nch4, pch4, ano2, nno2, pno2, aco, nco, pco : float or array
        Of gases whose column follows the pressure: ``u = P**p``.
    a0s, a1s, a2s, a3s : float or array
        Of the spherical albedo.
    a0t, a1t, a2t, a3t : float or array
        Of the transmittance by scattering along one path.
    taur, sr : float or array
        Optical depth of molecules at the sea; the second is carried by the files but not used.
    a0taup, a1taup, wo, gc : float or array
        Of the aerosol: depth in the band from that at 550 nm, share scattered, asymmetry.
    a0p, a1p, a2p, a3p, a4p : float or array
        Phase function of the aerosol, a polynomial of the scattering angle in degrees.
    rest1, rest2, rest3, rest4, resr1, resr2, resr3, resa1, resa2, resa3, resa4 : float or array
        What the closed forms leave: of the coupling, of molecules, of the aerosol.
    """

    ah2o: Any
    nh2o: Any
    ao3: Any
    no3: Any
    ao2: Any
    no2: Any
    po2: Any
    aco2: Any
    nco2: Any
    pco2: Any
    ach4: Any
    nch4: Any
    pch4: Any
    ano2: Any
    nno2: Any
    pno2: Any
    aco: Any
    nco: Any
    pco: Any
    a0s: Any
    a1s: Any
    a2s: Any
    a3s: Any
    a0t: Any
    a1t: Any
    a2t: Any
    a3t: Any
    taur: Any
    sr: Any
    a0taup: Any
    a1taup: Any
    wo: Any
    gc: Any
    a0p: Any
    a1p: Any
    a2p: Any
    a3p: Any
    a4p: Any
    rest1: Any
    rest2: Any
    rest3: Any
    rest4: Any
    resr1: Any
    resr2: Any
    resr3: Any
    resa1: Any
    resa2: Any
    resa3: Any
    resa4: Any


def read_smac(path: str | Path) -> SmacCoefficients:
    r"""Read coefficients from a file as published: 49 numbers of a band, or 49 rows with a column per band.

    Parameters
    ----------
    path : str or Path
        A text file. Lines without numbers are left out, as is anything after the 49th coefficient.

    Returns
    -------
    SmacCoefficients
        Numbers for the file of a band, arrays (band,) for a file with a column per band.

    Raises
    ------
    InputError
        If the file holds neither.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "Coef_band.dat")
    ...     _ = file.write_text("-0.0058 0.9985\n" + "0.1 " * 47)
    ...     read_smac(file).ah2o
    -0.0058
    """
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a text of coefficients: {error}") from error
    rows = [row for row in map(_numbers, text.splitlines()) if row]
    size = len(SmacCoefficients._fields)
    widths = {len(row) for row in rows[:size]}
    if len(rows) >= size and len(widths) == 1:
        columns = np.array(rows[:size])
        return SmacCoefficients(*(columns[:, 0] if columns.shape[1] == 1 else columns))
    values = [value for row in rows for value in row]
    if len(values) != size:
        raise InputError(
            f"{path} holds {len(values)} numbers; SMAC has {size} for a band, or {size} rows, a column per band"
        )
    return SmacCoefficients(*values)


def _numbers(text: str) -> list[float]:
    """The numbers of a line that holds nothing else."""
    words = re.split(r"[\s,;]+", text.strip())
    try:
        return [float(word) for word in words if word]
    except ValueError:
        return []


def fitted(
    sensor: str, aerosol: str = "continental", bands: Sequence[str] | None = None, table: Table | None = None
) -> SmacCoefficients:
    """Our own coefficients, fitted to our table: arrays (band,).

    They are not those of CNES. All gases but water and ozone are in the term of oxygen: their columns are constant.

    Parameters
    ----------
    sensor : {"S2A", "S2B", "S2C", "PROBAV"}
        "PVCC" answers as "PROBAV".
    aerosol : {"continental", "maritime", "urban", "desert"}
        The aerosol model they were fitted to.
    bands : sequence of str, optional
        Only these, in this order; all by default.
    table : Table, optional
        The shipped one by default.

    Raises
    ------
    InputError
        If there is no fit for the sensor, or a band or the aerosol is unknown.

    Examples
    --------
    >>> fitted("S2A", bands=["B02", "B8A"]).taur.shape
    (2,)
    """
    table = table or Table.load()
    name = table.built_in(sensor)
    if f"smac.{name}" not in table.tensors:
        raise InputError(f"there is no fit of SMAC for {sensor!r}; there is for S2A, S2B, S2C and PROBAV")
    if aerosol not in AEROSOLS:
        raise InputError(f"aerosol {aerosol!r} is unknown; fits are for {', '.join(AEROSOLS)}")
    names = table.bands(sensor)
    unknown = [band for band in bands or () if band not in names]
    if unknown:
        raise InputError(f"bands {unknown} are unknown; {sensor} has {', '.join(names)}")
    rows = [names.index(band) for band in (names if bands is None else bands)]
    values = table.tensors[f"smac.{name}"][AEROSOLS.index(aerosol), rows].double().numpy()
    return SmacCoefficients(*values.T)


def smac(coefficients: SmacCoefficients, atmosphere: Atmosphere, pressure: Any = None) -> Coefficients:
    """The three numbers of each band under each state, by SMAC.

    Parameters
    ----------
    coefficients : SmacCoefficients
        Numbers for one band or arrays (band,).
    atmosphere : Atmosphere
        States that broadcast to one shape (...).
    pressure : float or array, optional
        Pressure at the surface; by default that of a standard atmosphere at the altitude.

    Returns
    -------
    Coefficients
        Arrays (..., band), or (...) for the coefficients of one band; of the kind of the state.

    Notes
    -----
    Its authors state 2 to 3 %, and more beyond 70 degrees or where absorption is strong.

    References
    ----------
    Rahman, H. and Dedieu, G. (1994), SMAC: a simplified method for the atmospheric correction of satellite
    measurements in the solar spectrum, International Journal of Remote Sensing 15(1), 123-143.

    Examples
    --------
    >>> state = Atmosphere(aot=0.15, water_vapour=2.0, ozone=0.3, sza=35.0, vza=5.0, raa=100.0, altitude=200.0)
    >>> c = smac(fitted("S2A", bands=["B02", "B04"]), state)
    >>> bool(c.path[0] > c.path[1])
    True
    """
    state, shape, back = as_tensors(atmosphere)
    bands = [torch.as_tensor(np.asarray(value)).to(state[0]) for value in coefficients]
    single = bands[0].ndim == 0
    level = standard_pressure(state[-1]) if pressure is None else torch.as_tensor(pressure).to(state[0]) / SEA_LEVEL
    columns = [value[..., None] for value in (*state[:-1], level.expand(shape))]
    path, gain, albedo = _equations(SmacCoefficients(*bands), *columns)
    numbers = (value[..., 0] if single else value for value in torch.broadcast_tensors(path, gain, albedo))
    return Coefficients(*(back(value) for value in numbers))


def _equations(
    c: SmacCoefficients,
    aot: torch.Tensor,
    water: torch.Tensor,
    ozone: torch.Tensor,
    sza: torch.Tensor,
    vza: torch.Tensor,
    raa: torch.Tensor,
    level: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Path, gain and albedo; `level` is the pressure over that at the sea. Names are those of the equations."""
    sun, view, azimuth = (torch.deg2rad(angle) for angle in (sza, vza, raa))
    us, uv = torch.cos(sun), torch.cos(view)
    m = 1 / us + 1 / uv
    gases = _absorbed(c.ah2o, c.nh2o, water * m) * _absorbed(c.ao3, c.no3, ozone * m)
    for a, n, p in (
        (c.ao2, c.no2, c.po2),
        (c.aco2, c.nco2, c.pco2),
        (c.ach4, c.nch4, c.pch4),
        (c.ano2, c.nno2, c.pno2),
        (c.aco, c.nco, c.pco),
    ):
        gases = gases * _absorbed(a, n, level**p * m)
    albedo = c.a0s * level + c.a3s + c.a1s * aot + c.a2s * aot**2
    down, up = (c.a0t + c.a1t * aot / u + (c.a2t * level + c.a3t) / (1 + u) for u in (us, uv))

    cosine = (-us * uv - torch.sin(sun) * torch.sin(view) * torch.cos(azimuth)).clamp(-1, 1)
    molecules = c.taur * (0.7190443 * (1 + cosine**2) + 0.0412742) / (us * uv)
    residual_molecules = c.resr1 + c.resr2 * molecules + c.resr3 * molecules**2
    depth = c.a0taup + c.a1taup * aot
    x = depth * m * cosine
    residual_aerosol = c.resa1 + c.resa2 * x + c.resa3 * x**2 + c.resa4 * x**3
    x = (depth + c.taur * level) * m * cosine
    residual_coupling = c.rest1 + c.rest2 * x + c.rest3 * x**2 + c.rest4 * x**3
    path = molecules * level / 4 - residual_molecules + _aerosol(c, depth, us, uv, cosine)
    return (path - residual_aerosol + residual_coupling) * gases, gases * down * up, albedo


def _absorbed(a: torch.Tensor, n: torch.Tensor, amount: torch.Tensor) -> torch.Tensor:
    """``exp(a amount**n)``; files give 0 for both where a gas does not absorb."""
    return torch.exp(a * amount.clamp_min(1e-9) ** n)


def _aerosol(
    c: SmacCoefficients, depth: torch.Tensor, us: torch.Tensor, uv: torch.Tensor, cosine: torch.Tensor
) -> torch.Tensor:
    """Reflectance of the aerosol: two streams for light scattered often, the phase function for once."""
    angle = torch.rad2deg(torch.arccos(cosine.clamp(-1 + 1e-6, 1 - 1e-6)))
    phase = c.a0p + angle * (c.a1p + angle * (c.a2p + angle * (c.a3p + angle * c.a4p)))
    absorbed = 1 - c.wo
    spread = 3 - 3 * c.wo * c.gc
    ak2 = absorbed * spread
    ak = torch.sqrt(ak2)
    resonance = 1 - ak2 * us**2
    e = -3 * us**2 * c.wo / (4 * resonance)
    f = -absorbed * 3 * c.gc * us**2 * c.wo / (4 * resonance)
    b = 2 * ak / spread
    grow, fall = torch.exp(ak * depth), torch.exp(-ak * depth)
    scale = c.wo / 4 * us / resonance / (grow * (1 + b) ** 2 - fall * (1 - b) ** 2)
    q1 = 2 + 3 * us + absorbed * 3 * c.gc * us * (1 + 2 * us)
    q3 = (2 - 3 * us - absorbed * 3 * c.gc * us * (1 - 2 * us)) * torch.exp(-depth / us)
    c1 = scale * (q1 * grow * (1 + b) + q3 * (1 - b))
    c2 = -scale * (q1 * fall * (1 - b) + q3 * (1 + b))
    forward = 3 * c.wo * c.gc * uv
    once = e + f - forward * (e / (3 * us) + us * f) + c.wo * phase / 4
    streams = (
        (c1 * (1 - forward * ak / spread), uv / (1 + ak * uv)),
        (c2 * (1 + forward * ak / spread), uv / (1 - ak * uv)),
        (once, us * uv / (us + uv)),
    )
    return sum((part * u * -torch.expm1(-depth / u) for part, u in streams), torch.zeros_like(us)) / (us * uv)
