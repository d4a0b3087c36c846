"""The state of a dashboard of atmospheric corrections, and the numbers behind it, with no widget and no plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import traitlets as tl
import xarray as xr

from s2koop._atmosphere_air import MOVED, Sky, begins, within
from s2koop._atmosphere_layers import LIVE, REFERENCE, TOA, aerosol_of, layers
from s2koop._atmosphere_sources import AirOf, Corrections
from s2koop._dates import asked_dates
from s2koop._frames import NO_DATA, encode, stride_for
from s2koop._requests import Recent, Requests
from s2koop._session_input import known_level, known_pixel, known_region
from s2koop._views import Box, Frames
from s2koop.cube.sensors import SENSORS
from s2koop.errors import InputError

Array = npt.NDArray[Any]

#: Largest stack of pictures handed out at once, and that of pictures that follow a hand.
MESSAGE_BYTES, LIVE_BYTES = 10_000_000, 1_500_000
#: Most values of a comparison: more is thinned, so that it follows a hand as well.
COMPARED = 200_000
#: Ratios that are mapped, and the least reflectance of the reference that one is taken over.
RATIOS, LEAST = (0.8, 1.2), 0.02

#: Bands as red, green and blue, the first that a result has, and what people call such a picture.
_COLOURS = (
    (("B04", "B03", "B02"), "true colour"),
    (("B11", "B08", "B04"), "false colour (B11, B08, B04)"),
    (("NIR", "RED", "BLUE"), "false colour (NIR, RED, BLUE)"),
)
_WAVELENGTHS = {band.name: band.wavelength for sensor in ("PROBAV", "S2A") for band in SENSORS[sensor].bands.values()}


@dataclass(frozen=True)
class Line:
    """Reflectance by band of one layer: `mean`, and the interval `low` to `high` (NaN without spread), all (band,)."""

    mean: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class Spectrum:
    """All layers at one pixel on one date.

    Bands are in the order of their wavelength (nm, NaN where it is not known: then in that of the result); lines hold
    NaN where a layer lacks a band.
    """

    pixel: tuple[int, int]
    x: float
    y: float
    date: str
    level: float
    bands: tuple[str, ...]
    wavelengths: Array
    lines: Mapping[str, Line]


@dataclass(frozen=True)
class Judged:
    """A layer against the reference on one date, by band as `.ac.compare` has it; None where no pixel has both.

    Every `step`-th pixel of the scene was compared; of a region, which is smaller, more of them or all.
    """

    name: str
    date: str
    step: int
    scene: pd.DataFrame | None
    region: pd.DataFrame | None


class AtmosphereSession(Requests):
    """What a dashboard of corrections shows, and the arrays behind it.

    Lazy data are read as in `s2koop.session.Session`: block by block, the newest up to 256 MB kept.

    Parameters
    ----------
    result : Dataset
        From ``.ac.emulate`` or ``.ac.invert``: ``mean``, ``spread``; of an emulation also ``aot`` and ``water_vapour``.
    toa : DataArray, optional
        What was corrected. With it a result of `.ac.invert` follows aerosol and water vapour as they are moved, each
        pixel taken as part of a uniform surface.
    reference : DataArray or Dataset, optional
        What results are judged against, such as the truth of a simulated scene, or another agency's product.
    others : mapping of str to Dataset or DataArray, optional
        Up to two more results.
    name : str, optional
        What `result` is called; by default how it was made.
    band : str, optional
        The band to begin with; by default pictures are in colours, and the red one is compared.
    pixel : (int, int), optional
        Row and column to begin with; by default the centre.
    aot, water_vapour : float or sequence (time,), optional
        Where the live inversion begins; by default what the result retrieved, else the climatology of ``.ac.invert``.
    angles, sensor, ozone, altitude, aerosol, table
        As for ``.ac.invert``; the aerosol's model by default that of the result.

    Attributes
    ----------
    left, right : str
        The layers that are compared by the eye; some of `products`.
    colour : bool
        Three bands as red, green and blue, or `band` alone.
    band : str
        Of single pictures and of the ratio.
    time : int
    pixel : (int, int)
    region : () or (int, int, int, int)
        First row and column, and the row and column behind the last, of a part that is judged by itself.
    aot, water_vapour : float
        Of the live inversion on the date that is shown.
    level : float
        Coverage of the intervals of a spectrum.

    Raises
    ------
    InputError
        If grids, dates, bands or names do not fit, or a choice does not exist.

    Examples
    --------
    >>> from s2koop.simulate import toa_scenes
    >>> scene = toa_scenes("test", scenes=1, size=24).isel(scene=0)
    >>> angles = {name: float(scene[name]) for name in ("sza", "vza", "raa")}
    >>> result = scene["toa"].ac.invert(aot=0.1, angles=angles)
    >>> session = AtmosphereSession(result, toa=scene["toa"], reference=scene["boa"], angles=angles, aot=0.1)
    >>> session.products
    ('TOA', 'inverted (lut)', 'inverted live', 'reference')
    >>> found = session.spectrum().lines
    >>> bool(np.allclose(found["inverted live"].mean, found["inverted (lut)"].mean))
    True
    """

    left = tl.Unicode()
    right = tl.Unicode()
    colour = tl.Bool(False)
    band = tl.Unicode()
    time = tl.Int(0)
    pixel = tl.Tuple(tl.Int(), tl.Int())
    region = tl.Tuple(())
    aot = tl.Float()
    water_vapour = tl.Float()
    level = tl.Float(0.9)

    def __init__(
        self,
        result: xr.Dataset,
        *,
        toa: xr.DataArray | None = None,
        reference: Any = None,
        others: Mapping[str, Any] | None = None,
        name: str | None = None,
        band: str | None = None,
        pixel: tuple[int, int] | None = None,
        aot: Any = None,
        water_vapour: Any = None,
        angles: Any = None,
        sensor: Any = None,
        ozone: Any = None,
        altitude: Any = None,
        aerosol: str | None = None,
        table: Any = None,
    ) -> None:
        super().__init__()
        found = layers(result, toa, reference, others, name)
        sky = None
        if toa is not None:
            sky = Sky.over(
                found[TOA].data["mean"], angles=angles, sensor=sensor, ozone=ozone, altitude=altitude, table=table,
                aerosol=aerosol or aerosol_of(result),
            )  # fmt: skip
        self._sources = Corrections(found, sky, lambda text: self.waiting_for(text, lazy=bool(text)))
        self._data = self._sources.result.data
        given = {"aot": aot, "water_vapour": water_vapour}
        self.begin = {key: begins(key, value, result, self._data.sizes["time"]) for key, value in given.items()}
        # Never changed in place: what runs in the background goes on with the air that it began with.
        self._air = {key: begin.values for key, begin in self.begin.items()}
        self._stacks: Recent[Frames] = Recent(6)
        self._spectra: Recent[Spectrum] = Recent(64)
        self._tables: Recent[Judged] = Recent(8)
        self.band = (self.colours or self.bands)[0] if band is None else self._known_band(band)
        self.pixel = (self.shape[0] // 2, self.shape[1] // 2) if pixel is None else known_pixel(pixel, self.shape)
        self.colour = self.colours is not None and band is None
        self.left = self.products[0]
        self.right = self._sources.result.name if toa is not None else self.products[-1]
        self._follow_date()

    def __repr__(self) -> str:
        rows, cols = self.shape
        return (
            f"<AtmosphereSession: {', '.join(self.products)}; {len(self.labels)} dates, {len(self.bands)} bands, "
            f"{rows} x {cols} pixels; shows {self.left!r} and {self.right!r}>"
        )

    # What can be chosen

    @property
    def products(self) -> tuple[str, ...]:
        """Names of all that can be shown as a map."""
        return self._sources.products

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of the result, then bands that only others know."""
        return self._sources.bands

    @property
    def colours(self) -> tuple[str, ...] | None:
        """Bands as red, green and blue; None where the result has no such three."""
        return next((bands for bands, _ in _COLOURS if set(bands) <= set(self._sources.result.bands)), None)

    @property
    def shown(self) -> str:
        """What the maps show, for people."""
        return next(words for bands, words in _COLOURS if bands == self.colours) if self.colour else self.band

    @property
    def dates(self) -> Array:
        """Dates of the result, datetime64 (time,); NaT where it does not know."""
        if "time" in self._data.coords:
            return np.asarray(self._data["time"].values)
        return np.full(self._data.sizes["time"], np.datetime64("NaT", "ns"))

    @property
    def labels(self) -> tuple[str, ...]:
        """What the dates are called."""
        days = self.dates
        if np.isnat(days).all():
            return ("one scene",) if days.size == 1 else tuple(f"scene {n}" for n in range(days.size))
        return tuple(str(np.datetime64(day, "D")) for day in days)

    def go_to(self, date: str | np.datetime64) -> None:
        """Choose the date that is nearest to `date`."""
        if np.isnat(self.dates).all():
            raise InputError("the result has no dates to choose from")
        self.time = int(np.abs(self.dates - asked_dates(date, name="date")[0]).argmin())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        return self._data.sizes["y"], self._data.sizes["x"]

    @property
    def cube(self) -> xr.DataArray:
        """The result's mean, (time, band, y, x)."""
        return self._data["mean"]

    @property
    def live(self) -> bool:
        """Whether aerosol and water vapour can be moved."""
        return self._sources.sky is not None

    @property
    def lazy(self) -> bool:
        """Whether something has to be read or computed before it is seen."""
        return any(layer.lazy for layer in self._sources.layers.values())

    @property
    def aerosol(self) -> str:
        """The aerosol's model of the live inversion."""
        return "" if self._sources.sky is None else self._sources.sky.aerosol

    @property
    def judged(self) -> str | None:
        """The layer that is compared with the reference: what stands right, else what stands left; None if nothing."""
        if REFERENCE not in self.products:
            return None
        return next((name for name in (self.right, self.left) if name not in (TOA, REFERENCE)), None)

    @tl.validate("left", "right")
    def _valid_product(self, proposal: Mapping[str, Any]) -> str:
        if proposal["value"] not in self.products:
            raise InputError(f"there is no {proposal['value']!r} to show; choose one of {', '.join(self.products)}")
        return str(proposal["value"])

    @tl.validate("band")
    def _valid_band(self, proposal: Mapping[str, Any]) -> str:
        return self._known_band(proposal["value"])

    @tl.validate("colour")
    def _valid_colour(self, proposal: Mapping[str, Any]) -> bool:
        if proposal["value"] and self.colours is None:
            raise InputError(f"the bands {', '.join(self._sources.result.bands)} make no picture in colours")
        return bool(proposal["value"])

    @tl.validate("time")
    def _valid_time(self, proposal: Mapping[str, Any]) -> int:
        if not 0 <= proposal["value"] < len(self.labels):
            raise InputError(f"date number {proposal['value']} does not exist; there are {len(self.labels)}")
        return int(proposal["value"])

    @tl.validate("pixel")
    def _valid_pixel(self, proposal: Mapping[str, Any]) -> tuple[int, int]:
        return known_pixel(proposal["value"], self.shape)

    @tl.validate("region")
    def _valid_region(self, proposal: Mapping[str, Any]) -> tuple[int, ...]:
        return known_region(proposal["value"], self.shape) if proposal["value"] else ()

    @tl.validate("aot", "water_vapour")
    def _valid_air(self, proposal: Mapping[str, Any]) -> float:
        return within(proposal["trait"].name, proposal["value"])

    @tl.validate("level")
    def _valid_level(self, proposal: Mapping[str, Any]) -> float:
        return known_level(proposal["value"])

    @tl.observe("time")
    def _follow_date(self, _change: Any = None) -> None:
        for name in MOVED:
            self.set_trait(name, float(self._air[name][self.time]))

    @tl.observe("aot", "water_vapour")
    def _remember_air(self, change: Any) -> None:
        values = self._air[change["name"]].copy()
        values[self.time] = change["new"]
        self._air = {**self._air, change["name"]: values}

    def reset(self) -> None:
        """Put aerosol and water vapour of the date that is shown back to where they began."""
        for name in MOVED:
            self.set_trait(name, float(self.begin[name].values[self.time]))

    def _known_band(self, band: str) -> str:
        if band not in self.bands:
            raise InputError(f"there is no band {band!r}; choose one of {', '.join(self.bands)}")
        return band

    # The numbers behind the view

    def limits(self, band: str) -> tuple[float, float]:
        """Value range of a band: one for all layers, so that haze looks like haze."""
        return self._sources.limits(band)

    def frames(self, product: str, *, budget: int = MESSAGE_BYTES) -> Frames:
        """All dates of one product as it is shown, thinned in space to fit into `budget` bytes.

        Returns
        -------
        Frames
            Levels (time, y, x) of `band`; or colours (time, y, x, 3), 0 where there is no data.
        """
        bands = self.colours if self.colour and self.colours else (self.band,)
        air, stride = self._air, self._stride(len(bands), budget)
        key = (product, bands, stride, *_depends(product, air))
        return self._stacks.get_or(key, lambda: self._read_frames(product, bands, stride, air))

    def _read_frames(self, product: str, bands: tuple[str, ...], stride: int, air: AirOf) -> Frames:
        maps = self._sources.maps(product, bands, stride, air)
        ranges = [self.limits(band) for band in bands]
        levels = [encode(values, *ends) for values, ends in zip(maps, ranges, strict=True)]
        name = bands[0] if len(bands) == 1 else self.shown
        return Frames(product, name, self.dates, _picture(levels), *ranges[0], stride)

    def detail(self, product: str, box: Box, *, budget: int = LIVE_BYTES) -> Frames:
        """A part of one product as it is shown, on the current date alone, with as many pixels as fit into `budget`.

        Parameters
        ----------
        product : str
            One of `products`, or ``"ratio"``.
        box : (int, int, int, int)
            First row and column, and the row and column behind the last.
        budget : int
        """
        air, time = self._air, self.time
        bands = self.colours if self.colour and self.colours and product != "ratio" else (self.band,)
        rows, cols = box[2] - box[0], box[3] - box[1]
        stride = stride_for((len(bands), rows, cols), budget)
        at = {"y": slice(box[0], box[2], stride), "x": slice(box[1], box[3], stride)}
        dates = self.dates[time : time + 1]
        if product == "ratio":
            ours, theirs = (self._part(name, bands, at, time, air)[0] for name in (self.judged or TOA, REFERENCE))
            return Frames(product, self.band, dates, encode(_ratio(ours, theirs), *RATIOS)[None], *RATIOS, stride)
        levels = [
            encode(values, *self.limits(band))
            for band, values in zip(bands, self._part(product, bands, at, time, air), strict=True)
        ]
        return Frames(product, self.shown, dates, _picture(levels)[None], *self.limits(bands[0]), stride)

    def _part(self, product: str, bands: Sequence[str], at: Mapping[str, slice], time: int, air: AirOf) -> Array:
        """Values (band, y, x) of a part; NaN where the product lacks a band."""
        known = [band for band in bands if self._sources.has(product, band)]
        shape = tuple(len(range(*part.indices(size))) for part, size in zip(at.values(), self.shape, strict=True))
        found = np.full((len(bands), *shape), np.nan)
        if known:
            found[[band in known for band in bands]] = self._sources.window(product, known, at, time, air).values
        return found

    def ratio_frames(self, *, budget: int = MESSAGE_BYTES) -> Frames | None:
        """All dates of the judged product over the reference, in `band`; None where nothing is judged."""
        name = self.judged
        if name is None:
            return None
        air, band, stride = self._air, self.band, self._stride(1, budget)
        key = ("ratio", name, band, stride, *_depends(name, air))
        return self._stacks.get_or(key, lambda: self._read_ratio(name, band, stride, air))

    def _read_ratio(self, name: str, band: str, stride: int, air: AirOf) -> Frames:
        (ours,), (theirs,) = (self._sources.maps(product, (band,), stride, air) for product in (name, REFERENCE))
        levels = encode(_ratio(ours, theirs), *RATIOS)
        return Frames(f"{name} / reference", band, self.dates, levels, *RATIOS, stride)

    def _stride(self, bands: int, budget: int) -> int:
        pictures = len(self.labels) * bands
        stride = stride_for((pictures, *self.shape), budget)
        if pictures * math.prod(-(-n // stride) for n in self.shape) > budget:
            raise InputError(f"{pictures} pictures do not fit into {budget} bytes; select fewer dates")
        return stride

    def spectrum(self, pixel: tuple[int, int] | None = None) -> Spectrum:
        """All layers by band at a pixel (by default the current one), on the date that is shown."""
        pixel = known_pixel(self.pixel if pixel is None else pixel, self.shape)
        air, time, level = self._air, self.time, self.level
        key = (pixel, time, level, *_depends(LIVE, air))
        return self._spectra.get_or(key, lambda: self._read_spectrum(pixel, time, level, air))

    def _read_spectrum(self, pixel: tuple[int, int], time: int, level: float, air: AirOf) -> Spectrum:
        width = NormalDist().inv_cdf((1 + level) / 2)
        order, _ = self._order()
        lines = {}
        for name in self.products:
            mean, spread = (part[order] for part in self._sources.line(name, pixel, time, air))
            lines[name] = Line(mean, mean - width * spread, mean + width * spread)
        return self._spectrum_of(lines, pixel, time, level)

    def blank_spectrum(self) -> Spectrum:
        """What `spectrum` returns, with no value: nothing is read."""
        nothing = np.full(len(self.bands), np.nan)
        return self._spectrum_of(
            dict.fromkeys(self.products, Line(nothing, nothing, nothing)), self.pixel, self.time, self.level
        )

    def _order(self) -> tuple[Array, Array]:
        """Bands in the order of their wavelengths, and these; in their own where one is not known."""
        known = np.array([_WAVELENGTHS.get(band, np.nan) for band in self.bands])
        order = np.argsort(known, kind="stable") if np.isfinite(known).all() else np.arange(known.size)
        return order, known[order]

    def _spectrum_of(self, lines: Mapping[str, Line], pixel: tuple[int, int], time: int, level: float) -> Spectrum:
        order, wavelengths = self._order()
        return Spectrum(
            pixel=pixel,
            x=float(self.cube["x"][pixel[1]]),
            y=float(self.cube["y"][pixel[0]]),
            date=self.labels[time],
            level=level,
            bands=tuple(self.bands[at] for at in order),
            wavelengths=wavelengths,
            lines=lines,
        )

    def reading(self) -> dict[str, tuple[float, float]]:
        """Value and half width of the interval of every layer at the pixel, in `band`; NaN where there is none."""
        found = self.spectrum()
        at = found.bands.index(self.band)
        return {
            name: (float(line.mean[at]), float(line.high[at] - line.mean[at])) for name, line in found.lines.items()
        }

    def statistics(self) -> Judged | None:
        """Compare what is judged with the reference on the date that is shown: the scene, and the region if any.

        Returns
        -------
        Judged or None
            None where there is no reference, or neither map is a surface of its own.
        """
        name = self.judged
        if name is None:
            return None
        air, time, region = self._air, self.time, self.region
        key = (name, time, region, *_depends(name, air))
        return self._tables.get_or(key, lambda: self._judge(name, time, region, air))

    def _judge(self, name: str, time: int, region: tuple[int, ...], air: AirOf) -> Judged:
        bands = [b for b in self.bands if all(self._sources.has(product, b) for product in (name, REFERENCE))]
        if not bands:
            raise InputError(f"{name!r} and the reference have no band in common")
        step = _step(len(bands), self.shape)
        tables: list[pd.DataFrame | None] = []
        for box in ((0, 0, *self.shape), region):
            if not box:
                tables.append(None)
                continue
            every = _step(len(bands), (box[2] - box[0], box[3] - box[1]))
            at = {"y": slice(box[0], box[2], every), "x": slice(box[1], box[3], every)}
            tables.append(self._table(name, bands, at, time, air))
        return Judged(name, self.labels[time], step, *tables)

    def _table(
        self, name: str, bands: list[str], at: Mapping[str, slice], time: int, air: AirOf
    ) -> pd.DataFrame | None:
        """Numbers by band; None where no pixel has both."""
        from s2koop.ac.compare import compare

        ours, theirs = (self._sources.window(product, bands, at, time, air) for product in (name, REFERENCE))
        if not (ours.notnull() & theirs.notnull()).any():
            return None
        return compare(ours, theirs, minimum=LEAST).table


def _step(bands: int, shape: tuple[int, int]) -> int:
    """Every how many-th pixel is compared, so that the numbers follow the hand."""
    step = 1
    while bands * math.prod(-(-n // step) for n in shape) > COMPARED:
        step += 1
    return step


def _picture(levels: Sequence[Array]) -> Array:
    """Levels of one band as they are; of three as colours (..., 3), without data where one of them has none."""
    if len(levels) == 1:
        return levels[0]
    picture = np.stack(levels, axis=-1)
    picture[(picture == NO_DATA).any(axis=-1)] = NO_DATA
    return picture


def _ratio(ours: Array, theirs: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(theirs > LEAST, ours / theirs, np.nan)


def _depends(product: str, air: AirOf) -> tuple[float, ...]:
    """What a product depends on beside its name: the air, where it is inverted live."""
    return tuple(float(v) for values in air.values() for v in values) if product == LIVE else ()
