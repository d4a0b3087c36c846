"""Our look-up table of the atmosphere: from aerosol, gases, angles and altitude to three numbers for any band.

The table is computed with 6S (scripts/make_atmosphere_table.py) and shipped; 6S is not needed to use it. It knows no
bands. At the 19 wavelengths where 6S solves scattering it holds transmittances, the spherical albedo and the path's
reflectance; every 2.5 nm, the two parameters of 6S's own band model of each absorber. Both are put together at the
wavelengths a response covers, and weighted by response and sunlight, as 6S does (Vermote et al. 1997):

    toa = T_dry * (path_R + (path - path_R) * T_w(W m / 2) + T_down * T_up * T_w(W m) * rho / (1 - albedo * rho))

with ``path_R`` of molecules alone, ``m`` the air mass of both ways, and half of the water vapour W above the aerosol.

Every interpolation is of what is left once the physics is taken out that is known in closed form: single scattering
from the path, the exponential from transmittances, 6S's power law in wavelength. `atmosphere.md` beside the file says
how near to 6S that comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from s2koop._file_checks import as_model_error, check_finite, expect_names, strict_json
from s2koop.ac.transfer import Coefficients
from s2koop.errors import InputError

#: The table; scripts/make_atmosphere_table.py makes it.
TABLE = Path(__file__).with_name("atmosphere.safetensors")
#: Aerosol models of 6S that were run.
AEROSOLS = ("continental", "maritime", "urban", "desert")
#: Least and most of each quantity of an `Atmosphere` that the table covers.
LIMITS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "aot": (0.0, 0.9),
        "water_vapour": (0.0, 6.0),
        "ozone": (0.0, 0.6),
        "sza": (0.0, 75.0),
        "vza": (0.0, 24.0),
        "raa": (-360.0, 360.0),
        "altitude": (-50.0, 3000.0),  # below the sea as at the sea: 0.6 % of the pressure
    }
)
#: A sensor that answers to another's name: PROBA-V's centre camera; the spare imager of PROBA-V on PV-CC, whose own
#: response has not been published.
ALIASES: Mapping[str, str] = MappingProxyType({"PROBAV": "PROBAV2", "PVCC": "PROBAV2"})
#: First wavelength and step (nm) of the tables of gases, responses and sunlight: the grid on which 6S integrates.
FIRST, STEP = 400.0, 2.5
#: Step of the phase functions, degrees.
PHASE_STEP = 0.5
#: Gauss's places and weights from 0 to 1: layers in which single scattering is added up.
_LAYERS = tuple(((float(x) + 1) / 2, float(w) / 2) for x, w in zip(*np.polynomial.legendre.leggauss(7), strict=True))
#: A sensor of one's own: wavelengths (nm) and response of each band.
Sensor = Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]
#: States computed at once: more would only grow the memory in use.
_TILE = 4096


class Atmosphere(NamedTuple):
    """The state of the atmosphere and the geometry in which it is seen; arrays that broadcast to one shape (...).

    Attributes
    ----------
    aot : float or array
        Aerosol optical thickness at 550 nm, above the surface.
    water_vapour : float or array
        Column above the surface, g/cm² (the same as cm; kg/m² times 0.1).
    ozone : float or array
        Column above the surface, cm-atm (Dobson units divided by 1000).
    sza, vza : float or array
        Zenith angles of sun and view, degrees.
    raa : float or array
        Azimuth between sun and view, degrees: 0 with the sun behind the sensor, 180 with the sensor looking towards it.
    altitude : float or array
        Of the surface above the sea, m.

    Examples
    --------
    >>> summer = Atmosphere(aot=0.15, water_vapour=2.0, ozone=0.3, sza=35.0, vza=5.0, raa=100.0, altitude=200.0)
    >>> summer._replace(aot=np.array([0.1, 0.4])).aot.shape
    (2,)
    """

    aot: Any
    water_vapour: Any
    ozone: Any
    sza: Any
    vza: Any
    raa: Any
    altitude: Any


@dataclass(frozen=True, eq=False)
class Table:
    """The table: `Table.load()` gives the shipped one.

    Attributes
    ----------
    tensors : mapping of str to Tensor
        What the file holds; `atmosphere.md` beside it says what each is.
    names : mapping of str to tuple of str
        The bands of each sensor, in the order of its responses.

    Examples
    --------
    >>> table = Table.load()
    >>> state = Atmosphere(aot=0.15, water_vapour=2.0, ozone=0.3, sza=35.0, vza=5.0, raa=100.0, altitude=200.0)
    >>> c = table.coefficients("S2A", state, bands=["B02", "B04", "B8A"])
    >>> bool(c.path[0] > c.path[1] > c.path[2])
    True
    >>> table.coefficients("PROBAV", state._replace(aot=np.linspace(0, 0.5, 7))).gain.shape
    (7, 4)
    """

    tensors: Mapping[str, Tensor]
    names: Mapping[str, tuple[str, ...]]

    @classmethod
    @cache
    def load(cls, path: Path = TABLE) -> Table:
        """Read a table; the same file is read once only.

        Raises
        ------
        ModelError
            If the file is none.
        """
        from safetensors import safe_open

        cure = "take the shipped one, or make it anew: scripts/make_atmosphere_table.py"
        with as_model_error(f"{path} is no table of the atmosphere", cure):
            with safe_open(path, framework="pt") as file:
                card = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
            check_finite(tensors)
            sensors = strict_json(card["bands"]).items()
            return cls(tensors, {sensor: expect_names(bands, "its bands") for sensor, bands in sensors})

    @property
    def limits(self) -> Mapping[str, tuple[float, float]]:
        """Least and most of each quantity that the table covers, by the names of `Atmosphere`."""
        return LIMITS

    @property
    def sensors(self) -> tuple[str, ...]:
        """The names of all sensors that are built in."""
        return (*self.names, *ALIASES)

    def bands(self, sensor: str | Sensor) -> tuple[str, ...]:
        """The names of a sensor's bands, in the order in which `coefficients` gives them.

        Parameters
        ----------
        sensor : str or mapping
            As for `coefficients`.
        """
        if isinstance(sensor, str):
            return self.names[self.built_in(sensor)]
        return tuple(sensor)

    def outside(self, atmosphere: Atmosphere) -> Any:
        """Where a state lies outside of the table, or is missing: bool, in the kind and shape of the state (...).

        `coefficients` takes such a state at the nearest limit, so that nothing is extrapolated; who uses them has to
        say so with this mask.

        Examples
        --------
        >>> low_sun = Atmosphere(0.1, 2.0, 0.3, sza=np.array([40.0, 78.0]), vza=5.0, raa=100.0, altitude=0.0)
        >>> Table.load().outside(low_sun)
        array([False,  True])
        """
        state, _, back = as_tensors(atmosphere)
        inside = [(value >= low) & (value <= high) for value, (low, high) in zip(state, LIMITS.values(), strict=True)]
        return back(~torch.stack(inside).all(0))

    def coefficients(
        self,
        sensor: str | Sensor,
        atmosphere: Atmosphere,
        aerosol: str = "continental",
        bands: Sequence[str] | None = None,
    ) -> Coefficients:
        """The three numbers of each band under each state.

        Parameters
        ----------
        sensor : str or mapping
            "S2A", "S2B", "S2C", "PROBAV" (centre camera; "PROBAV1" to "PROBAV3" for each), "PVCC" (with PROBA-V's
            response, which stands in), or for any other sensor a mapping from band to (wavelengths in nm, response):
            rising wavelengths, at most 2.5 nm apart or nearly so, within 400 to 2400 nm.
        atmosphere : Atmosphere
            States that broadcast to one shape (...); beyond `limits` they are taken at the limit, see `outside`.
        aerosol : {"continental", "maritime", "urban", "desert"}
            The aerosol model of 6S.
        bands : sequence of str, optional
            Only these bands, in this order; all by default.

        Returns
        -------
        Coefficients
            Arrays (..., band): torch if any of the state is, and differentiable; NumPy otherwise. They are float32
            where all arrays of the state are, float64 otherwise.

        Raises
        ------
        InputError
            If sensor, band or aerosol are unknown, a response is malformed, or states do not broadcast.

        References
        ----------
        Vermote et al. (1997), IEEE TGRS 35; Kotchenova et al. (2006, 2007), Applied Optics 45 and 46: 6S and 6SV.
        """
        model = _model(aerosol)
        state, shape, back = as_tensors(atmosphere)
        weights, at = self._weights(sensor, bands)
        flat = [value.reshape(-1) for value in state]
        parts = [
            self._tile([value[start : start + _TILE] for value in flat], model, weights, at)
            for start in range(0, max(flat[0].numel(), 1), _TILE)
        ]
        return Coefficients(*(back(torch.cat(values).reshape(*shape, -1)) for values in zip(*parts, strict=True)))

    def _tile(self, state: list[Tensor], model: int, weights: Tensor, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Path, gain and albedo (state, band) of states (state,), with the `weights` (wavelength, band) of `at`."""
        aot, water, ozone, sza, vza, raa, altitude = _held(state)
        scattering = self._scattering(aot, sza, vza, raa, altitude, model)
        path_rayleigh, path, both_ways, albedo = torch.exp(scattering @ self._spread(at).to(aot)).unbind(0)
        air_mass = 1 / _cos(sza) + 1 / _cos(vza)
        dry, wet, half_wet = self._gases(water, ozone, air_mass, altitude, at)
        weights = weights.to(aot)
        gain = dry * wet * both_ways
        band_gain = gain @ weights
        band_path = (dry * (path_rayleigh + (path - path_rayleigh) * half_wet)) @ weights
        return band_path, band_gain, (gain * albedo) @ weights / band_gain

    def _scattering(self, aot: Tensor, sza: Tensor, vza: Tensor, raa: Tensor, altitude: Tensor, model: int) -> Tensor:
        """Logarithms (4, state, node) of the path of molecules, the whole path, the transmittance, the albedo."""
        t, axes = self._of_kind(aot), self._axes
        height = pressure(altitude)
        place = {
            "height": axes["height"](height),
            "aot": axes["aot"](aot),
            "sun": axes["angle"](1 / _cos(sza)),
            "view": axes["angle"](1 / _cos(vza)),
        }
        level = _outer(place["height"], place["aot"])
        down = _outer(level, place["sun"]) @ t["transmittance"][model].flatten(0, 2)
        up = _outer(level, place["view"]) @ t["transmittance"][model].flatten(0, 2)
        albedo = torch.log((level @ t["albedo"][model].flatten(0, 1)).clamp_min(1e-6))
        height_slant = axes["height_slant"](height)
        tilt = _outer(axes["sun_slant"](sza), slant_weights(vza, raa))
        paths = []
        for thickness, place_aot, place_slant in (
            (torch.zeros_like(aot), axes["aot"](torch.zeros_like(aot)), axes["aot_slant"](torch.zeros_like(aot))),
            (aot, place["aot"], axes["aot_slant"](aot)),
        ):
            vertical = _outer(_outer(place["height"], place_aot), place["sun"]) @ t["vertical"][model].flatten(0, 2)
            aside = _outer(_outer(height_slant, place_slant), tilt) @ t["slant"][model].flatten(0, 3)
            single = self.single_scattering(thickness, sza, vza, raa, height, model)
            paths.append(torch.log((single + (vertical + aside) / _cos(sza)[:, None]).clamp_min(1e-6)))
        return torch.stack([*paths, down + up, albedo])

    def single_scattering(
        self, aot: Tensor, sza: Tensor, vza: Tensor, raa: Tensor, height: Tensor, model: int
    ) -> Tensor:
        """Reflectance (state, node) of a path in which light is scattered once, by aerosol that lies below molecules.

        Arguments are tensors (state,), `height` the pressure over that at the sea. As in 6S, molecules thin out with
        height e-fold in 8 km and aerosol in 2 km. The angles are right with that, and what is left is smooth.
        """
        t = self._of_kind(aot)
        sun, view = _cos(sza), _cos(vza)
        # cosine of the angle between the backward direction and that of scattering
        cosine = sun * view + _sin(sza) * _sin(vza) * _cos(raa)
        molecules = height[:, None] * t["rayleigh_depth"]
        aerosol = aot[:, None] * t["depth"][model]
        # not differentiable at exactly 0, where the phase function is level
        back = torch.rad2deg(torch.arccos(cosine.clamp(-1, 1 - 1e-6)))
        by_molecules = molecules * (0.7190443 * (1 + cosine**2) + 0.0412742)[:, None]
        by_aerosol = aerosol * t["single"][model] * self._phase(back, model)
        both_ways = (1 / sun + 1 / view)[:, None]
        total = torch.zeros_like(molecules)
        for x, share in _LAYERS:  # x is the share of the molecules above, so x**4 that of the aerosol
            seen = torch.exp(-both_ways * (molecules * x + aerosol * x**4))
            total = total + share * seen * (by_molecules + by_aerosol * 4 * x**3)
        return total / (4 * sun * view)[:, None]

    def _phase(self, back: Tensor, model: int) -> Tensor:
        """Phase function of the aerosol (state, node), linear between the fine steps of the table."""
        t = self._of_kind(back)["phase"][model]  # (angle, node)
        place = (back / PHASE_STEP).clamp(0, len(t) - 1 - 1e-3)
        low = place.detach().nan_to_num().long()  # a missing angle stays missing by its share
        return torch.lerp(t[low], t[low + 1], (place - low)[:, None])

    def _gases(
        self, water: Tensor, ozone: Tensor, air_mass: Tensor, altitude: Tensor, at: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Transmittance (state, wavelength) of both ways: gases but water, water, and half of the water."""
        t = self._of_kind(water)
        height = self._axes["height_gas"](pressure(altitude))
        line, line_growth, other, other_growth = torch.einsum("sh,hpw->psw", height, t["gas"][..., at])
        m = air_mass[:, None]
        dry = ozone[:, None] * t["ozone"][at] * m + dry_depth(m, other, other_growth)
        amount = water[:, None] * m
        wet, half = (water_depth(x, line, line_growth) for x in (amount, amount / 2))
        return torch.exp(-dry), torch.exp(-wet), torch.exp(-half)

    def optics(
        self, sensor: str | Sensor, aerosol: str = "continental", bands: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[np.float64]]:
        """What scatters in each band: depths of molecules at the sea and of aerosol per unit at 550 nm, and its optics.

        Returns
        -------
        dict of str to array
            "rayleigh_depth", "depth" and "single" (the share that is scattered) are (band,), "phase" is (angle, band)
            in steps of `PHASE_STEP` degrees from the backward direction on.
        """
        weights, at = self._weights(sensor, bands)
        share = self._spread(at) @ weights  # (node, band)
        model = _model(aerosol)
        logarithms = {name: torch.log(self.tensors[name].double()) for name in ("rayleigh_depth", "depth", "single")}
        out = {
            "rayleigh_depth": torch.exp(logarithms["rayleigh_depth"] @ share),
            "depth": torch.exp(logarithms["depth"][model] @ share),
            "single": torch.exp(logarithms["single"][model] @ share),
            "phase": self.tensors["phase"][model].double() @ share,
        }
        return {name: value.numpy() for name, value in out.items()}

    def mixed_gases(self, sensor: str | Sensor, atmosphere: Atmosphere, bands: Sequence[str] | None = None) -> Any:
        """Transmittance (..., band) of both ways of all gases but water vapour and ozone."""
        state, shape, back = as_tensors(atmosphere)
        weights, at = self._weights(sensor, bands)
        sza, vza, altitude = (state[place].reshape(-1) for place in (3, 4, 6))
        none = torch.zeros_like(sza)
        dry, _, _ = self._gases(none, none, 1 / _cos(sza) + 1 / _cos(vza), altitude, at)
        return back((dry @ weights.to(dry)).reshape(*shape, -1))

    def diffuse_share(
        self,
        sensor: str | Sensor,
        atmosphere: Atmosphere,
        aerosol: str = "continental",
        bands: Sequence[str] | None = None,
    ) -> Any:
        """Share (..., band) of the light from the surface that reaches the sensor scattered, so from its neighbourhood.

        That light blurs edges (adjacency): a pixel is seen by the rest only, ``exp(-depth / cos(vza))`` of the whole.
        Arguments are those of `coefficients`, as are the kind and shape of the result.

        Examples
        --------
        >>> state = Atmosphere(aot=0.2, water_vapour=2.0, ozone=0.3, sza=35.0, vza=5.0, raa=100.0, altitude=0.0)
        >>> blue, swir = Table.load().diffuse_share("S2A", state, bands=["B02", "B11"])
        >>> bool(0 < swir < blue < 0.5)
        True
        """
        model = _model(aerosol)
        state, shape, back = as_tensors(atmosphere)
        weights, at = self._weights(sensor, bands)
        aot, _, _, _, vza, _, altitude = (value.reshape(-1) for value in _held(state))
        t, axes = self._of_kind(aot), self._axes
        level = _outer(axes["height"](pressure(altitude)), axes["aot"](aot))
        up = _outer(level, axes["angle"](1 / _cos(vza))) @ t["transmittance"][model].flatten(0, 2)
        depth = pressure(altitude)[:, None] * t["rayleigh_depth"] + aot[:, None] * t["depth"][model]
        spread, weights = self._spread(at).to(aot), weights.to(aot)
        direct = torch.exp(-(depth / _cos(vza)[:, None]) @ spread) @ weights
        return back((1 - direct / (torch.exp(up @ spread) @ weights)).reshape(*shape, -1))

    def _weights(self, sensor: str | Sensor, bands: Sequence[str] | None) -> tuple[Tensor, Tensor]:
        """Share (wavelength, band) of each wavelength in a band's sunlight, and the index of those that have any."""
        if not isinstance(sensor, str):
            return self._weighed(sensor, bands)
        key = (sensor, None if bands is None else tuple(bands))
        if key not in self._known_weights:  # a training asks for the same bands some hundred times a second
            self._known_weights[key] = self._weighed(sensor, bands)
        return self._known_weights[key]

    @cached_property
    def _known_weights(self) -> dict[tuple[str, tuple[str, ...] | None], tuple[Tensor, Tensor]]:
        return {}

    def _weighed(self, sensor: str | Sensor, bands: Sequence[str] | None) -> tuple[Tensor, Tensor]:
        names = self.bands(sensor)
        chosen = list(names if bands is None else bands)
        unknown = [band for band in chosen if band not in names]
        if unknown or not chosen:
            raise InputError(f"bands {unknown} are unknown; the sensor has {', '.join(names)}")
        if isinstance(sensor, str):
            responses = self.tensors[f"response.{self.built_in(sensor)}"].double()
        else:
            grid = FIRST + STEP * np.arange(len(self.tensors["solar"]), dtype=np.float64)
            responses = torch.from_numpy(np.stack([on_grid(name, *sensor[name], grid) for name in names]))
        rows = responses[[names.index(band) for band in chosen]] * self.tensors["solar"].double()
        at = torch.nonzero(rows.any(0))[:, 0]
        return (rows / rows.sum(1, keepdim=True)).T[at], at

    def built_in(self, sensor: str) -> str:
        name = ALIASES.get(sensor, sensor)
        if name not in self.names:
            raise InputError(
                f"sensor {sensor!r} is unknown; built in are {', '.join(self.sensors)}. "
                "For any other, give a mapping from band to (wavelengths in nm, response)"
            )
        return name

    def _spread(self, at: Tensor) -> Tensor:
        """6S's interpolation of logarithms (node, wavelength): straight over the logarithm of the wavelength."""
        nodes = self.tensors["node"].double()
        wavelength = FIRST + STEP * at.double()
        low = (torch.searchsorted(nodes, wavelength) - 1).clamp(0, len(nodes) - 2)
        share = torch.log(wavelength / nodes[low]) / torch.log(nodes[low + 1] / nodes[low])
        out = torch.zeros(len(nodes), len(at), dtype=torch.float64)
        each = torch.arange(len(at))
        out[low, each], out[low + 1, each] = 1 - share, share
        return out

    @cached_property
    def _axes(self) -> dict[str, Axis]:
        return {name.removeprefix("axis."): Axis(t) for name, t in self.tensors.items() if name.startswith("axis.")}

    def _of_kind(self, like: Tensor) -> Mapping[str, Tensor]:
        """The tensors in the precision and on the device of `like`."""
        key = (like.dtype, like.device)
        if key not in self._kinds:
            self._kinds[key] = {name: t.to(like) for name, t in self.tensors.items()}
        return self._kinds[key]

    @cached_property
    def _kinds(self) -> dict[tuple[torch.dtype, torch.device], Mapping[str, Tensor]]:
        return {}


def water_depth(amount: Tensor, reference: Tensor, growth: Tensor) -> Tensor:
    """6S's band model of water vapour (Goody): optical depth of an amount (g/cm², times the air mass).

    `reference` is the depth of 6 g/cm²; `growth` the logarithm of how soon lines saturate.
    """
    b = torch.exp(growth)
    return reference * (amount / 6) * torch.sqrt((1 + 6 * b) / (1 + amount * b))


def dry_depth(air_mass: Tensor, reference: Tensor, growth: Tensor) -> Tensor:
    """6S's band model of well-mixed gases (Malkmus): optical depth of an air mass; `reference` is that of 3."""
    b = torch.exp(growth)
    return reference * (air_mass / 3) * (1 + torch.sqrt(1 + 3 * b)) / (1 + torch.sqrt(1 + air_mass * b))


class Axis:
    """Cubic spline through values on fixed knots, as weights of those values: smooth, and differentiable by torch.

    Called with places (...), it gives weights (..., knot). Three knots make a parabola, two a line; beyond the ends the
    first and last piece go on.
    """

    def __init__(self, knots: Tensor) -> None:
        from scipy.interpolate import CubicSpline

        self.knots = knots.double()
        pieces = CubicSpline(self.knots.numpy(), np.eye(len(knots))).c  # (power, piece, knot); highest power first
        self._pieces = torch.from_numpy(np.ascontiguousarray(pieces.transpose(1, 0, 2)))

    def __call__(self, x: Tensor) -> Tensor:
        knots, pieces = self.knots.to(x), self._pieces.to(x)
        piece = torch.searchsorted(knots[1:-1], x.detach().contiguous())
        t = x - knots[piece]
        values = torch.zeros(*x.shape, len(knots), dtype=x.dtype, device=x.device)
        for power in range(pieces.shape[1]):
            values = values * t[..., None] + pieces[piece, power]
        return values


def slant_weights(vza: Tensor, raa: Tensor) -> Tensor:
    """Weights (state, geometry) of what five slanted views differ from the vertical one.

    The views are 24 degrees with azimuth 0, 90 and 180, and 12 degrees with azimuth 0 and 180. By symmetry, the part
    odd in the view angle goes with the cosine of the azimuth, and the even part with its square and the sine's.
    """
    full, half = np.sin(np.deg2rad(24.0)), np.sin(np.deg2rad(12.0))
    part = float(half / full)
    s, cosine = _sin(vza) / float(full), _cos(raa)
    # s and s**3 (or their squares) that are 1 in one of the two views and 0 in the other
    odd_half, even_half = (s - s**3) / (part - part**3), (s**2 - s**4) / (part**2 - part**4)
    odd, even = s - part * odd_half, s**2 - part**2 * even_half
    across = s**2 * (1 - cosine**2)
    along = even * cosine**2 / 2, odd * cosine / 2
    along_half = even_half * cosine**2 / 2, odd_half * cosine / 2
    return torch.stack(
        [
            along[0] + along[1],
            across,
            along[0] - along[1],
            along_half[0] + along_half[1],
            along_half[0] - along_half[1],
        ],
        -1,
    )


def on_grid(
    band: str, wavelength: npt.ArrayLike, response: npt.ArrayLike, grid: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """A response at the wavelengths of 6S: samples are shared among their neighbours, which keeps area and centroid."""
    nm, values = np.asarray(wavelength, float), np.asarray(response, float)
    if nm.ndim != 1 or nm.shape != values.shape or len(nm) < 2:
        raise InputError(f"band {band!r} has wavelengths {nm.shape} and response {values.shape}; give two 1-D arrays")
    if not (np.isfinite(values).all() and (np.diff(nm) > 0).all()):
        raise InputError(f"band {band!r} needs rising wavelengths and finite responses")
    used = np.nonzero(values > 0)[0]
    if not len(used):
        raise InputError(f"band {band!r} has no positive response")
    first, last = nm[used[0]], nm[used[-1]]
    if first < grid[0] or last > grid[-1]:
        raise InputError(
            f"band {band!r} reaches from {first:g} to {last:g} nm; the table covers {grid[0]:g} to {grid[-1]:g} nm"
        )
    fine = np.arange(first - STEP, last + STEP, 0.1)
    fine_values = np.interp(fine, nm, values, left=0, right=0)
    place = (fine - grid[0]) / STEP
    low = np.clip(np.floor(place).astype(int), 0, len(grid) - 2)
    share = np.clip(place - low, 0, 1)
    out = np.zeros(len(grid))
    np.add.at(out, low, fine_values * (1 - share))
    np.add.at(out, low + 1, fine_values * share)
    return out


def as_tensors(atmosphere: Atmosphere) -> tuple[list[Tensor], tuple[int, ...], Callable[[Tensor], Any]]:
    """The state as tensors of one shape and kind, that shape, and what turns a result into the kind of array given."""
    given = list(atmosphere)
    tensors = [value for value in given if isinstance(value, Tensor)]
    back: Callable[[Tensor], Any]
    if tensors:
        dtype = torch.float64 if any(value.dtype == torch.float64 for value in tensors) else torch.float32
        values = [torch.as_tensor(value, dtype=dtype, device=tensors[0].device) for value in given]
        back = _same
    else:
        arrays = [np.asarray(value) for value in given]
        single = all(array.dtype == np.float32 for array in arrays if array.ndim) and any(
            array.ndim for array in arrays
        )
        values = [torch.from_numpy(np.array(array, np.float32 if single else np.float64)) for array in arrays]
        back = _to_numpy
    try:
        state = list(torch.broadcast_tensors(*values))
    except RuntimeError as error:
        shapes = {name: tuple(value.shape) for name, value in zip(Atmosphere._fields, values, strict=True)}
        raise InputError(f"states of shapes {shapes} do not broadcast") from error
    return state, tuple(state[0].shape), back


def _same(values: Tensor) -> Tensor:
    return values


def _held(state: list[Tensor]) -> list[Tensor]:
    """The state, at the nearest limit where it is beyond."""
    return [value.clamp(low, high) for value, (low, high) in zip(state, LIMITS.values(), strict=True)]


def _model(aerosol: str) -> int:
    if aerosol not in AEROSOLS:
        raise InputError(f"aerosol {aerosol!r} is unknown; the table holds {', '.join(AEROSOLS)}")
    return AEROSOLS.index(aerosol)


def _to_numpy(values: Tensor) -> npt.NDArray[Any]:
    return values.numpy()


def _outer(a: Tensor, b: Tensor) -> Tensor:
    """All products of two sets of weights (state, i) and (state, j): (state, i * j)."""
    return (a[:, :, None] * b[:, None, :]).flatten(1)


def pressure(altitude: Tensor) -> Tensor:
    """Pressure over that at the sea, of a standard atmosphere; altitude in m."""
    return (1 - 0.0065 * altitude.clamp_min(0) / 288.15) ** 5.31


def _cos(degrees: Tensor) -> Tensor:
    return torch.cos(torch.deg2rad(degrees))


def _sin(degrees: Tensor) -> Tensor:
    return torch.sin(torch.deg2rad(degrees))
