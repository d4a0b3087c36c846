"""A real surface under simulated skies: what Sentinel-2 would have seen of it at the top of the atmosphere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

import s2koop
from s2koop import baselines
from s2koop.ac.inversion import CLIMATOLOGY
from s2koop.ac.lut import LIMITS, Atmosphere
from s2koop.cube.quality import flag_haze
from s2koop.simulate.atmosphere import aerosol_shares, draw_aerosols, draw_atmospheres
from s2koop.simulate.toa import sensor_noise

#: Those that shipped emulators of few bands take.
BANDS = ["B02", "B04", "B08", "B11"]
SMOOTHED, CLOUDY, MEASURED = "smoothed", "smoothed, cloudy dates too", "as measured"
INDEPENDENT, SEASONAL = "independent", "seasonal"
#: Height of the ground in m, of the order of the site's; every correction is told it.
ALTITUDE = 1000.0
MIXED = {"continental": 0.6, "maritime": 0.2, "desert": 0.2}
#: Logarithm of aerosol and water vapour in the middle of July over that of a mean day, such that their summer has 2.2
#: and 3.3 times as much as their winter, as in the temperate zone; and the standard deviation of all days.
_SEASON = {"aot": (0.4, 0.75), "water_vapour": (0.6, 0.6)}


def surface(kind: str, every: int = 1) -> xr.DataArray:
    """Surface reflectance (time, band, y, x) of the sample catalogue, on dates that are more than half clear.

    Parameters
    ----------
    kind : {"smoothed", "smoothed, cloudy dates too", "as measured"}
        The measured one is Sen2Cor's, with the haze that it left and the cloud that its classes missed: a sky of its
        own. For the smoothed one, hazy values are dropped, and each pixel is smoothed over some four months; it is
        seen where the measured one is, also on the dates of which little is seen if asked so.
    every : int
        Keep each so many-th pixel in both directions.
    """
    cube = s2koop.sample(resampling="average").load().sel(band=BANDS)[..., ::every, ::every]
    cube = cube.where(cube.notnull().all("band")).dropna("time", how="all")
    clear = cube.isel(time=cube.notnull().all("band").mean(("y", "x")) > 0.5)
    if kind == MEASURED:
        return clear
    asked = cube if kind == CLOUDY else clear
    smooth = baselines.whittaker(clear.where(~flag_haze(clear)), times=asked.time.values)["mean"]
    return asked.copy(data=smooth.transpose(*asked.dims).values.clip(min=0)).where(asked.notnull())


def under_sky(truth: xr.DataArray, kind: str, seed: int) -> xr.Dataset:
    """The surface as ``boa`` and what is seen of it as ``toa``, in the form that `benchmarks._corrections` takes.

    The sun stands where it stood; the one orbit that passes here looks from the same side on all dates.

    Parameters
    ----------
    truth : DataArray
        From `surface`, or some of its dates.
    kind : {"independent", "seasonal"}
        Each date has an aerosol, its model, water vapour and ozone of its own, whatever the date; or those of usual
        dates vary as much, but aerosol and water vapour follow the season in part.
    seed : int
    """
    rng = np.random.default_rng([seed, 41])
    dates = truth.sizes["time"]
    drawn = draw_atmospheres(dates, rng)
    if kind == SEASONAL:
        drawn = _with_season(drawn, truth.time.dt.dayofyear.values)
    view = rng.uniform(0, 360)
    air = drawn._replace(
        sza=truth["sun_zenith"].values,
        vza=np.full(dates, drawn.vza[0]),
        raa=np.abs((truth["sun_azimuth"].values - view + 180) % 360 - 180),
        altitude=np.full(dates, ALTITUDE),
    )
    models = draw_aerosols(aerosol_shares(MIXED), rng.random(dates))
    bare = truth.drop_vars([name for name in truth.coords if name not in ("time", "band", "y", "x", "platform")])
    toa = _seen(bare, air, models)
    noise = sensor_noise("S2A", BANDS, air.sza)[:, :, None, None] * np.sqrt(np.abs(toa))
    known = {name: np.asarray(values, np.float32) for name, values in air._asdict().items()}
    measured = toa + noise * rng.standard_normal(toa.shape, dtype=np.float32)
    return xr.Dataset(
        {"toa": measured.assign_attrs(toa.attrs), "boa": bare}, attrs={"truth": known | {"aerosol": models}}
    )


def _with_season(drawn: Atmosphere, day_of_year: npt.NDArray[np.int64]) -> Atmosphere:
    """The same variation over all dates, of which the season takes its part."""
    season = -np.cos(2 * np.pi * (day_of_year - 15) / 365.25)
    changed = {}
    for name, (summer, spread) in _SEASON.items():
        left = np.sqrt(1 - summer**2 / 2 / spread**2)
        departure = np.log(getattr(drawn, name) / CLIMATOLOGY[name])
        changed[name] = CLIMATOLOGY[name] * np.exp(left * departure + summer * season)
    return drawn._replace(**{name: np.clip(values, *LIMITS[name]) for name, values in changed.items()})


def _seen(boa: xr.DataArray, air: Atmosphere, models: npt.NDArray[np.str_]) -> xr.DataArray:
    """The top of the atmosphere without noise; dates of one aerosol model at a time."""
    parts = []
    for model in np.unique(models):
        rows = np.flatnonzero(models == model)
        state = {name: values[rows] for name, values in air._asdict().items()}
        angles = {name: state.pop(name) for name in ("sza", "vza", "raa")}
        parts.append(boa.isel(time=rows).ac.simulate(aerosol=str(model), angles=angles, **state))
    return xr.concat(parts, "time").sortby("time")
