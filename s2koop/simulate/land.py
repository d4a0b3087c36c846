"""Sentinel-2 series over land whose truth is known: a scene of parcels, or separate sites of one land cover."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from s2koop._dates import asked_dates
from s2koop._numbers import real, sequence, whole
from s2koop._time import from_days, to_days
from s2koop.errors import InputError
from s2koop.simulate.canopy import BANDS
from s2koop.simulate.covers import COVERS, SHARES
from s2koop.simulate.growth import Surface, grow
from s2koop.simulate.parcels import ParcelMap, scattered, separate
from s2koop.simulate.sky import NOISE, STATES, Sky, acquisitions, draw_sky, observe
from s2koop.simulate.weather import draw_weather

#: Land covers that can be simulated.
LAND_COVERS: tuple[str, ...] = tuple(COVERS)


@dataclass(frozen=True, kw_only=True)
class _Options:
    """What `land_cube` and `land_series` share, checked."""

    start: Any
    years: float
    dates: Any
    revisit: float
    orbits: int
    lost: float
    clear_share: float
    cloud_share: float
    missed: float
    haze: float
    noise: float
    snow_days: float
    latitude: float
    seed: int

    def __post_init__(self) -> None:
        for name in ("lost", "clear_share", "cloud_share", "missed"):
            most = 0.8 if name == "cloud_share" else 1.0
            if real(name, getattr(self, name), least=0) > most:
                raise InputError(f"{name}={getattr(self, name)} is a share; give 0 to {most:g}")
        for name in ("haze", "noise"):
            if real(name, getattr(self, name), least=0) > 0.5:
                raise InputError(f"{name}={getattr(self, name)} is in reflectance; give 0 to 0.5, such as 0.01")
        if real("snow_days", self.snow_days, least=0) > 300:
            raise InputError(f"snow_days={self.snow_days} is a number of days a year; give 0 to 300")
        if not abs(real("latitude", self.latitude, least=-90)) <= 60:
            raise InputError(
                f"latitude={self.latitude} must be -60 to 60 degrees; nearer to the poles winters have no sun"
            )
        if real("years", self.years, least=0) == 0 or real("revisit", self.revisit, least=0) == 0:
            raise InputError("years and revisit must be greater than 0, such as years=4 and revisit=5")
        whole("orbits", self.orbits, least=1)
        whole("seed", self.seed, least=0)

    def acquisitions(self, rng: np.random.Generator) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Days and orbits of the dates."""
        if self.dates is not None:
            days = to_days(asked_dates(self.dates, name="dates"))
            if (np.diff(days) < 0).any():
                raise InputError("dates are not sorted; give them in order, such as sorted(dates)")
            return days, np.arange(len(days)) % self.orbits
        start = asked_dates(self.start, name="start")[0]
        days, orbit = acquisitions(rng, start, self.years, self.revisit, self.orbits, self.lost)
        if not days.size:
            raise InputError(
                f"years={self.years} with revisit={self.revisit} and lost={self.lost} leave no date; ask for more years"
            )
        return days, orbit


def land_cube(
    *,
    shape: tuple[int, int] = (50, 50),
    start: Any = "2018-01-01",
    years: float = 4,
    dates: Any = None,
    covers: Mapping[str, float] | None = None,
    parcel: float = 9.0,
    revisit: float = 5.0,
    orbits: int = 1,
    lost: float = 0.03,
    clear_share: float = 0.5,
    cloud_share: float = 0.2,
    missed: float = 0.02,
    haze: float = 0.01,
    noise: float = 0.003,
    snow_days: float = 15.0,
    latitude: float = 46.0,
    seed: int = 0,
    truth: bool = False,
) -> xr.DataArray | xr.Dataset:
    """A simulated Sentinel-2 scene: parcels of different land covers over years, in ten bands.

    Leaf area, chlorophyll, brown pigment and moisture follow double logistic seasons that come earlier or later and
    stronger or weaker from year to year, crop rotations, mowing, and anomalies that forget within weeks to months;
    PROSAIL turns them into reflectance. Part of every anomaly is common to the scene. The sky adds whole cloudy
    dates, patchy clouds, what a mask misses of them, haze that is common to a date, and noise.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns, of 20 m.
    start : date
        First overpass.
    years : float
        Length of the series.
    dates : datetimes, optional
        The dates themselves, sorted; then start, years, revisit and lost do not count.
    covers : mapping of str to float, optional
        Land covers (`LAND_COVERS`) and their shares in any unit; a mixed scene of the temperate zone by default.
    parcel : float
        Pixels across a parcel.
    revisit : float
        Days between overpasses of two satellites; before July 2017 there is one.
    orbits : int
        Relative orbits that see the scene, each from its own angle.
    lost : float
        Share of overpasses without a product.
    clear_share : float
        Share of dates that are not wholly cloudy; the others are in the cube as NaN.
    cloud_share : float
        Mean share of a not wholly cloudy date that clouds and their shadows hide (0 to 0.8).
    missed : float
        Share of a partly cloudy date that is cloud or shadow and not masked.
    haze : float
        Scale of the haze in reflectance at 490 nm, common to the bands and pixels of a date, heavy-tailed.
    noise : float
        Standard deviation of the noise in reflectance; bands differ (`NOISE`).
    snow_days : float
        Days with snow in the middle of the scene, in a mean year.
    latitude : float
        Degrees north; says how high the sun stands, not when the season is.
    seed : int
        The same seed gives the same numbers; weather and surface do not depend on the options of the sky.
    truth : bool
        Return a Dataset with the truth beside the observations.

    Returns
    -------
    DataArray, dims (time, band, y, x), float32
        Observed reflectance, NaN where hidden; or with ``truth=True``
    Dataset
        ``observed`` and ``truth`` (the surface without noise and sky) and ``haze`` (time, band, y, x), ``cloud``
        (time, y, x; flags), ``snow`` and ``lai`` (time, y, x), ``land_cover`` (y, x; flags) and ``noise`` (band).

    Raises
    ------
    InputError
        If an option is out of its range or a land cover is unknown.

    References
    ----------
    Féret et al. (2017), PROSPECT-D; Verhoef et al. (2007), 4SAIL; Beck et al. (2006), the double logistic.

    Examples
    --------
    >>> scene = land_cube(shape=(6, 8), years=1, seed=1, truth=True)
    >>> scene["observed"].dims
    ('time', 'band', 'y', 'x')
    >>> bool(scene["truth"].isnull().any())
    False
    """
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        raise InputError(f"shape={shape!r} must be two numbers, rows and columns, such as (50, 50)")
    size = sequence("shape", shape, whole, least=1)
    if real("parcel", parcel, least=0) < 1:
        raise InputError(f"parcel={parcel} must be at least 1 pixel across")
    weights = _weights(SHARES if covers is None else covers)
    options = _Options(
        start=start, years=years, dates=dates, revisit=revisit, orbits=orbits, lost=lost, clear_share=clear_share,
        cloud_share=cloud_share, missed=missed, haze=haze, noise=noise, snow_days=snow_days, latitude=latitude,
        seed=seed,
    )  # fmt: skip
    rng = np.random.default_rng([seed, 0])
    parcels = scattered(rng, (size[0], size[1]), parcel, weights)
    return _simulate(parcels, options, truth=truth, length=max(2.0, parcel / 2))


def land_series(
    cover: str,
    *,
    pixels: int = 16,
    start: Any = "2018-01-01",
    years: float = 4,
    dates: Any = None,
    revisit: float = 5.0,
    orbits: int = 1,
    lost: float = 0.03,
    clear_share: float = 0.5,
    cloud_share: float = 0.2,
    missed: float = 0.02,
    haze: float = 0.01,
    noise: float = 0.003,
    snow_days: float = 15.0,
    latitude: float = 46.0,
    seed: int = 0,
    truth: bool = False,
) -> xr.DataArray | xr.Dataset:
    """Simulated Sentinel-2 series of separate sites of one land cover, under the same weather.

    Parameters
    ----------
    cover : str
        One of `LAND_COVERS`, such as ``"grass"``.
    pixels : int
        Sites; each draws its own traits, and shares only the weather with the others.
    start, years, dates, revisit, orbits, lost, clear_share, cloud_share, missed, haze, noise, snow_days, latitude, \
seed, truth
        As for `land_cube`.

    Returns
    -------
    DataArray or Dataset
        As from `land_cube`, with one row: dims (time, band, y, x) and sites along x.

    Raises
    ------
    InputError
        If the land cover is unknown or an option is out of its range.

    Examples
    --------
    >>> cube = land_series("deciduous forest", pixels=3, years=1, clear_share=1, cloud_share=0, snow_days=0)
    >>> ndvi = (cube.sel(band="B08") - cube.sel(band="B04")) / (cube.sel(band="B08") + cube.sel(band="B04"))
    >>> bool(ndvi.sel(time="2018-07").mean() > ndvi.sel(time="2018-02").mean() + 0.2)
    True
    """
    number = LAND_COVERS.index(_known(cover))
    count = whole("pixels", pixels, least=1)
    options = _Options(
        start=start, years=years, dates=dates, revisit=revisit, orbits=orbits, lost=lost, clear_share=clear_share,
        cloud_share=cloud_share, missed=missed, haze=haze, noise=noise, snow_days=snow_days, latitude=latitude,
        seed=seed,
    )  # fmt: skip
    return _simulate(separate((1, count), number), options, truth=truth, length=0.0)


def _simulate(parcels: ParcelMap, options: _Options, *, truth: bool, length: float) -> xr.DataArray | xr.Dataset:
    # a stream for each part: another sky leaves the surface as it is
    dates, weather, ground, sky, sensor = (np.random.default_rng([options.seed, 1 + n]) for n in range(5))
    days, orbit = options.acquisitions(dates)
    shared = draw_weather(weather, days, orbit, latitude=options.latitude, snow_days=options.snow_days)
    surface = grow(ground, parcels, shared, length=length)
    above = draw_sky(
        sky, days, parcels.first.shape, clear_share=options.clear_share, cloud_share=options.cloud_share,
        missed=options.missed, haze=options.haze, length=max(length, 1.0),
    )  # fmt: skip
    noise = (options.noise * NOISE).astype(np.float32)
    observed = observe(sensor, surface.reflectance, above, noise)
    return _labelled(parcels, days, observed, surface, above, noise, truth)


def _labelled(
    parcels: ParcelMap, days: npt.NDArray[np.float64], observed: npt.NDArray[np.float32], surface: Surface, sky: Sky,
    noise: npt.NDArray[np.float32], truth: bool,
) -> xr.DataArray | xr.Dataset:  # fmt: skip
    rows, columns = parcels.first.shape
    coords = {
        "time": from_days(days),
        "band": np.array(BANDS, dtype=object),
        "y": 5_000_000.0 - 20.0 * np.arange(rows),
        "x": 500_000.0 + 20.0 * np.arange(columns),
    }
    about = {"level": "BOA", "sensor": "simulated", "units": "1"}
    spectral, plane = ("time", "band", "y", "x"), ("time", "y", "x")
    title = "simulated Sentinel-2 reflectance of land"
    cube = xr.DataArray(observed, coords, spectral, name="reflectance", attrs={"title": title} | about)
    if not truth:
        return cube
    flags = {"flag_values": np.arange(len(STATES), dtype=np.int8), "flag_meanings": " ".join(STATES)}
    kinds = {
        "flag_values": np.arange(1, len(LAND_COVERS) + 1, dtype=np.int8),
        "flag_meanings": " ".join(name.replace(" ", "_") for name in LAND_COVERS),
    }
    codes = (parcels.cover[parcels.first] + 1).astype(np.int8)
    return xr.Dataset(
        {
            "observed": cube,
            "truth": (
                spectral,
                surface.reflectance,
                {"long_name": "surface reflectance without sky and noise"} | about,
            ),
            "haze": (spectral, sky.haze, {"long_name": "what haze adds to reflectance", "units": "1"}),
            "cloud": (plane, sky.state, {"long_name": "state of the observation"} | flags),
            "snow": (plane, surface.snow, {"long_name": "share of the ground under snow", "units": "1"}),
            "lai": (plane, surface.lai, {"long_name": "leaf area index", "units": "1"}),
            "land_cover": (("y", "x"), codes, {"long_name": "land cover of most of the pixel"} | kinds),
            "noise": ("band", noise, {"long_name": "standard deviation of the noise", "units": "1"}),
        },
        attrs={"title": title},
    )


def _known(cover: Any) -> str:
    if cover not in COVERS:
        raise InputError(f"land cover {cover!r} is unknown; choose among {', '.join(LAND_COVERS)}")
    return str(cover)


def _weights(covers: Mapping[str, float]) -> list[float]:
    if not isinstance(covers, Mapping) or not covers:
        raise InputError(f"covers={covers!r} must map land covers to shares, such as {{'grass': 0.6, 'water': 0.4}}")
    shares = {_known(name): real(f"covers[{name!r}]", share, least=0) for name, share in covers.items()}
    if not sum(shares.values()):
        raise InputError("covers sum to 0; give at least one a share above 0")
    return [shares.get(name, 0.0) for name in LAND_COVERS]
