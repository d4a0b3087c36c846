"""Two real records of forest in Slovenia: Sentinel-2 scenes at the top of the atmosphere, and PROBA-V's surface series.

They share neither place nor date: one square kilometre at 660 to 800 m, seen by Sentinel-2A between July 2015 and
February 2017, and four forest sites elsewhere in the country, seen by PROBA-V from March 2014 to January 2017 and
corrected by its own processor.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from benchmarks._series import DATA
from s2koop.catalog._sun import sun_position

SCENES = DATA / "s2_l1c_toa_scenes_si_eolearn.npz"
PIXELS = DATA / "probav_toc_slovenia_pixels.npz"
#: Metres of a pixel: the file says "about 10", and its 101 by 100 pixels make up a square kilometre.
PIXEL = 10.0
#: What forest is at the top of the atmosphere on every clear date of summer: green, dark in the red and the infrared.
FOREST_NDVI, FOREST_RED, FOREST_SWIR = 0.6, 0.045, 0.16
#: Where the sensor stood, degrees, which the file does not say. All dates are whole tens of days apart, so that they
#: share one relative orbit: R122, 20 km west of here, since a product of R065 says where that passes (tile 32TMT: 8.36
#: degrees from the vertical, azimuth 105.4) and R122 passes 5.03 degrees east of it. Good to some tenths of a degree.
VIEW = {"vza": 1.6, "vaa": 285.0}
SUMMER, WINTER = (7, 8, 9), (12, 1, 2)


class Record(NamedTuple):
    """The scenes of Sentinel-2.

    Attributes
    ----------
    toa : DataArray (time, band, y, x)
        All dates of which something is left; NaN where the file's mask says cloud, or the file holds 0.
    angles : dict of str to number or array (time,)
        The sun's by date, time and place, and those of `VIEW`.
    altitude : float
        Mean of the terrain model, m.
    forest : DataArray (y, x) of bool
        `FOREST_NDVI` and what follows it.
    """

    toa: xr.DataArray
    angles: dict[str, Any]
    altitude: float
    forest: xr.DataArray


def scenes() -> Record:
    """Read the scenes of Sentinel-2."""
    with np.load(SCENES) as data:
        numbers, cloudy = data["toa"], data["cloud_mask"] > 0
        bands, times = [str(band) for band in data["bands"]], [str(time) for time in data["time"]]
        longitude, latitude = (float(value) for value in data["lonlat"])
        altitude = float(data["dem"].mean())
    values = np.where((numbers > 0).all(-1, keepdims=True) & ~cloudy[..., None], numbers / 1e4, np.nan)
    rows, columns = values.shape[1:3]
    toa = xr.DataArray(
        values.astype(np.float32).transpose(0, 3, 1, 2),
        dims=("time", "band", "y", "x"),
        coords={
            "time": pd.to_datetime(times), "band": bands, "y": -PIXEL * np.arange(rows), "x": PIXEL * np.arange(columns)
        },
        attrs={"level": "TOA", "sensor": "S2A", "units": "1"},
    )  # fmt: skip
    kept = toa.notnull().any(("band", "y", "x")).values
    sun = np.array([sun_position(datetime.fromisoformat(t).replace(tzinfo=UTC), longitude, latitude) for t in times])
    angles = {"sza": 90 - sun[kept, 0], "saa": sun[kept, 1]} | VIEW
    toa = toa.isel(time=kept)
    return Record(toa, angles, altitude, _forest(toa))


def clear_share(toa: xr.DataArray) -> xr.DataArray:
    """Share (time,) of the pixels that were seen."""
    return toa.notnull().all("band").mean(("y", "x"))


def _forest(toa: xr.DataArray) -> xr.DataArray:
    summer = toa.sel(time=toa["time"].dt.month.isin(SUMMER).values & (clear_share(toa) == 1).values)
    green = ndvi(summer.sel(band="B04"), summer.sel(band="B08")) > FOREST_NDVI
    dark = (summer.sel(band="B04") < FOREST_RED) & (summer.sel(band="B11") < FOREST_SWIR)
    return (green & dark).all("time").drop_vars("band", errors="ignore")


def ndvi(red: Any, infrared: Any) -> Any:
    """Normalised difference."""
    return (infrared - red) / (infrared + red)


def probav(months: tuple[int, ...]) -> xr.DataArray:
    """Surface reflectance (site, sample, band) of PROBA-V on clear days of some months, NaN where a site has fewer.

    Clear is what the status byte of the product says: no cloud, shadow, ice or snow, and all bands good. The product
    is never negative: zeros are what its own correction took too much of.
    """
    with np.load(PIXELS) as data:
        toc, clear = data["toc"], data["clear"]
        wanted = np.isin(pd.to_datetime(data["time"]).month, months)
        sites, bands = [str(site) for site in data["sites"]], [str(band) for band in data["bands"]]
    found = [toc[at][:, clear[at] & wanted].reshape(-1, len(bands)) for at in range(len(sites))]
    longest = max(len(each) for each in found)
    padded = [np.pad(each, ((0, longest - len(each)), (0, 0)), constant_values=np.nan) for each in found]
    return xr.DataArray(np.stack(padded), dims=("site", "sample", "band"), coords={"site": sites, "band": bands})
