"""Surface reflectance as another sensor sees it: in its bands, through its point spread, on its pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.ndimage import correlate1d

from s2koop.ac.inputs import SENSOR_NAMES, Scene, check_scene, sensor_title
from s2koop.ac.lut import FIRST, STEP, Table, on_grid
from s2koop.errors import InputError

Array = npt.NDArray[Any]

#: Bands that are not adjusted: of the first the surface is not seen, of the second only through water vapour.
_NOT_USED = ("B10", "B09")
#: Error of a source band that the fit reckons with: it keeps weights small where bands say the same.
_BAND_ERROR = 0.002
#: Share of a footprint that has to be seen.
_SEEN = 0.5
#: Standard deviations after which the point spread is cut.
_REACH = 4.0
#: Pixel size in m of sensors of which we know the point spread.
_PROBAV_RESOLUTION = 100.0


class Adjustment(NamedTuple):
    """A linear spectral band adjustment: ``target = weights @ source + offset``.

    Attributes
    ----------
    bands : tuple of str
        Of the target.
    weights : float64 (target, source)
    offset : float64 (target,)
    residual : float64 (target,)
        Root mean square error on spectra that the fit has not seen, kinds of surface counting alike.
    """

    bands: tuple[str, ...]
    weights: Array
    offset: Array
    residual: Array


def to_sensor(
    scene: xr.DataArray | xr.Dataset,
    sensor: Any,
    *,
    resolution: float | None = None,
    source: Any = None,
    table: Table | None = None,
) -> xr.Dataset:
    """Adapt a scene to another sensor; parameters as `s2koop.ac.accessor.AtmosphereAccessor.to_sensor`."""
    result = isinstance(scene, xr.Dataset) and "mean" in scene
    mean = scene["mean"] if result else scene
    checked = check_scene(mean, "BOA", source)
    if not isinstance(sensor, Mapping) and sensor not in SENSOR_NAMES:
        raise InputError(
            f"sensor={sensor!r} is unknown; choose one of {', '.join(SENSOR_NAMES)}, or give a mapping from band to "
            "(wavelengths in nm, response)"
        )
    factor = _factor(checked.values, sensor, resolution)
    doubt = scene["spread"] if result and "spread" in scene else xr.zeros_like(checked.values)
    adapted = _in_bands(checked, doubt, sensor, table or Table.load())
    width = _point_spread(sensor, list(adapted["band"].values)) if factor > 1 else None
    if factor > 1:
        adapted = xr.Dataset({name: _on_pixels(values, factor, width) for name, values in adapted.items()})
    title = sensor_title([sensor])
    attrs = {**mean.attrs, "units": "1", "level": "BOA", "sensor": title, "long_name": "surface reflectance"}
    adapted["mean"] = adapted["mean"].assign_attrs(attrs)
    adapted["spread"].attrs = {
        "long_name": "standard deviation of the surface reflectance (with that of the band adjustment)",
        "units": "1",
    }
    return adapted.assign_attrs(
        {**scene.attrs, "band_adjustment": f"linear, {sensor_title(checked.sensors)} to {title}", "sensor": title}
    )


def adjustment(source: Any, bands: Sequence[str], target: Any, table: Table | None = None) -> Adjustment:
    """Fit a target's bands as linear combinations of source bands, on the library of simulated spectra.

    Parameters
    ----------
    source, target : str or mapping
        Sensors, as for `s2koop.ac.Table.coefficients`.
    bands : sequence of str
        Bands of the source at hand.
    table : Table, optional
        Where responses are taken from; the shipped one by default.

    Returns
    -------
    Adjustment
        Fitted to the training spectra with every kind of surface counting alike, the residual from the validation
        spectra. Sentinel-2's B09 and B10 are neither used nor made. To its own sensor a scene stays as it is.

    Raises
    ------
    InputError
        If a sensor or band is unknown.

    Examples
    --------
    >>> adjustment("S2A", ["B02", "B04", "B08", "B11"], "PROBAV").bands
    ('BLUE', 'RED', 'NIR', 'SWIR')
    """
    found = table or Table.load()
    if isinstance(source, str) and isinstance(target, str):
        return _fitted_once(source, tuple(bands), target, found)
    return _fitted(source, tuple(bands), target, found)


def _fitted(source: Any, bands: tuple[str, ...], target: Any, table: Table) -> Adjustment:
    if isinstance(target, str) and target == source:
        return Adjustment(bands, np.eye(len(bands)), np.zeros(len(bands)), np.zeros(len(bands)))
    wanted = tuple(band for band in table.bands(target) if band not in _NOT_USED)
    used = np.array([band not in _NOT_USED for band in bands])
    if not used.any():
        raise InputError(f"the scene has only {', '.join(bands)}, from which no other band follows")
    seen_by = band_weights(table, source, bands)[used]
    made_for = band_weights(table, target, wanted)
    x, y, share = _spectra("train", seen_by, made_for)
    middle_x, middle_y = share @ x, share @ y
    x, y = x - middle_x, y - middle_y
    normal = (x * share[:, None]).T @ x + _BAND_ERROR**2 * np.eye(x.shape[1])
    fit = np.linalg.solve(normal, (x * share[:, None]).T @ y).T
    offset = middle_y - fit @ middle_x
    x, y, share = _spectra("validation", seen_by, made_for)
    residual = np.sqrt(share @ (x @ fit.T + offset - y) ** 2)
    weights = np.zeros((len(wanted), len(bands)))
    weights[:, used] = fit
    return Adjustment(wanted, weights, offset, residual)


_fitted_once = lru_cache(maxsize=32)(_fitted)


def _spectra(split: str, *weights: Array) -> tuple[Array, ...]:
    """Reflectance (spectrum, band) under each set of weights, and the share of each spectrum: kinds count alike."""
    from s2koop.simulate.spectra import KINDS, surface_spectra

    kinds = [surface_spectra(kind, split).astype(np.float64) for kind in KINDS]
    share = np.concatenate([np.full(len(each), 1 / (len(KINDS) * len(each))) for each in kinds])
    every = np.concatenate(kinds)
    return (*(every @ rows.T for rows in weights), share)


def band_weights(table: Table, sensor: Any, bands: Sequence[str]) -> Array:
    """Share of each wavelength in the sunlight that a band sees: (band, wavelength)."""
    sun = np.asarray(table.tensors["solar"], np.float64)
    if isinstance(sensor, str):
        names = table.bands(sensor)
        response = np.asarray(table.tensors[f"response.{table.built_in(sensor)}"], np.float64)
        rows = response[[names.index(band) for band in bands]] * sun
    else:
        grid = FIRST + STEP * np.arange(len(sun), dtype=np.float64)
        rows = np.stack([on_grid(band, sensor[band][0], sensor[band][1], grid) for band in bands]) * sun
    return rows / rows.sum(axis=1, keepdims=True)


def _in_bands(scene: Scene, doubt: xr.DataArray, sensor: Any, table: Table) -> xr.Dataset:
    """The target's bands; a scene of several sensors has an adjustment for each date."""
    fits = [adjustment(own, scene.bands, sensor, table) for own in scene.sensors]
    bands = fits[0].bands
    lead = ("time",) if len(fits) > 1 else ()
    kept = [np.stack(part) if lead else part[0] for part in zip(*(fit[1:] for fit in fits), strict=True)]
    weights = xr.DataArray(kept[0], dims=(*lead, "target", "band"))
    offset, residual = (xr.DataArray(part, dims=(*lead, "target")) for part in kept[1:])
    order = [*(dim for dim in scene.values.dims if dim not in ("band", "y", "x")), "band", "y", "x"]
    sources = [values.transpose(*order) for values in (scene.values, doubt)]
    if any(values.chunks is not None for values in sources):
        sources = [values.chunk({"band": -1}) for values in sources]
    mean, spread = xr.apply_ufunc(
        _combine,
        *sources,
        weights,
        offset,
        residual,
        input_core_dims=[["band"], ["band"], ["target", "band"], ["target"], ["target"]],
        output_core_dims=[["target"], ["target"]],
        dask="parallelized",
        output_dtypes=[scene.values.dtype] * 2,
        dask_gufunc_kwargs={"output_sizes": {"target": len(bands)}},
        keep_attrs="override",  # of coordinates too, such as the CRS
    )
    result = xr.Dataset({"mean": mean, "spread": spread}).rename(target="band")
    return result.transpose(*scene.values.dims).assign_coords(band=np.array(bands, dtype=object))


def _combine(mean: Array, spread: Array, weights: Array, offset: Array, residual: Array) -> tuple[Array, Array]:
    """Bands (..., target) from bands (..., source). Errors of a correction are common to bands, so they add up."""
    shape = (*mean.shape[:-1], offset.shape[-1])
    value = np.broadcast_to(offset, shape).astype(mean.dtype)
    doubt = np.zeros(shape, mean.dtype)
    for at in range(mean.shape[-1]):
        weight = weights[..., at].astype(mean.dtype)
        if weight.any():  # a band that is not used may be missing
            value += weight * mean[..., at, None]
            doubt += abs(weight) * spread[..., at, None]
    return value, np.sqrt(doubt**2 + residual.astype(mean.dtype) ** 2) + 0 * value


def _factor(scene: xr.DataArray, sensor: Any, resolution: float | None) -> int:
    """How many pixels make up one of the target along a side."""
    asked = resolution
    if asked is None:
        asked = _PROBAV_RESOLUTION if _is_probav(sensor) else None
    if asked is None:
        return 1
    own = pixel_size(scene)
    factor = round(asked / own)
    if factor < 1 or abs(factor * own - asked) > 1e-3 * asked:
        raise InputError(
            f"pixels of {own:g} m do not make up {asked:g} m; say a whole multiple as resolution=, or load the scene "
            "with a divisor of it, such as s2koop.load(..., resolution=20)"
        )
    small = [dim for dim in ("y", "x") if scene.sizes[dim] < factor]
    if small:
        raise InputError(
            f"the scene has {scene.sizes[small[0]]} pixels along {small[0]}; one of {asked:g} m takes {factor}"
        )
    return factor


def pixel_size(scene: xr.DataArray) -> float:
    if "spatial_ref" in scene.coords:
        import rioxarray  # noqa: F401  registers .rio

        if scene.rio.crs is not None and not scene.rio.crs.is_projected:
            raise InputError(f"the scene is in {scene.rio.crs}, whose units are degrees; reproject it to metres first")
    sizes = []
    for dim in ("y", "x"):
        if dim not in scene.coords or scene.sizes[dim] < 2:
            raise InputError(f"the size of a pixel does not follow from the coordinate {dim!r}; give coordinates in m")
        sizes.append(float(np.abs(np.diff(scene[dim].values)).mean()))
    if abs(sizes[0] - sizes[1]) > 1e-3 * sizes[0]:
        raise InputError(f"pixels are {sizes[1]:g} by {sizes[0]:g} m; they have to be square")
    return sizes[0]


def _is_probav(sensor: Any) -> bool:
    return isinstance(sensor, str) and sensor.startswith(("PROBAV", "PVCC"))


def _point_spread(sensor: Any, bands: Sequence[str]) -> list[float] | None:
    """Standard deviation in m of the point spread of each band, None where it is not known."""
    if not _is_probav(sensor):
        return None
    from s2koop.simulate.toa import PROBAV_SPREAD

    return [PROBAV_SPREAD[band] for band in bands]


def _on_pixels(values: xr.DataArray, factor: int, width: Sequence[float] | None) -> xr.DataArray:
    """Blur, and average to larger pixels; rows and columns that do not fill a pixel are left off."""
    own = pixel_size(values)
    kernels = None if width is None else [_kernel(sigma / own) for sigma in width]
    ordered = values.transpose(..., "band", "y", "x")
    lazy = isinstance(ordered.data, da.Array)
    found = (_lazily if lazy else _at_once)(ordered.data, kernels, factor)
    coords: dict[Any, Any] = {name: at for name, at in values.coords.items() if not {"y", "x"} & set(at.dims)}
    for dim in ("y", "x"):
        whole = values.sizes[dim] // factor * factor
        coords[dim] = values[dim].values[:whole].reshape(-1, factor).mean(axis=1)
    out = xr.DataArray(found, dims=ordered.dims, coords=coords, attrs=values.attrs).transpose(*values.dims)
    if "spatial_ref" in out.coords:
        out = out.rio.write_transform(out.rio.transform(recalc=True))
    return out


def _at_once(array: Array, kernels: Sequence[Array] | None, factor: int) -> Array:
    """Larger pixels of (..., band, y, x)."""
    return _ratio(_averaged(_trimmed(_blurred(_with_weight(array), kernels), factor), factor))


def _lazily(array: da.Array, kernels: Sequence[Array] | None, factor: int) -> da.Array:
    """As `_at_once`, block by block, with as wide a margin as the kernels reach."""
    reach = max((len(kernel) // 2 for kernel in kernels or ()), default=0)
    chunks: dict[int, tuple[int, ...]] = {array.ndim - 3: (array.shape[-3],)}
    for axis in (array.ndim - 2, array.ndim - 1):
        chunks[axis] = _sizes(array.shape[axis], max(array.chunks[axis]), reach + 1, factor)
    array = array.rechunk(chunks)
    weighted = da.map_blocks(_with_weight, array, new_axis=0, chunks=((3,), *array.chunks), dtype=array.dtype)
    margin = {axis + 1: reach if len(sizes) > 1 else 0 for axis, sizes in chunks.items()}
    if any(margin.values()):
        blurred = da.map_overlap(
            partial(_blurred, kernels=kernels), weighted, depth=margin, boundary=0.0, allow_rechunk=False,
            dtype=array.dtype, meta=weighted._meta,
        )  # fmt: skip
    else:
        blurred = da.map_blocks(_blurred, weighted, kernels, dtype=array.dtype)
    cut = _trimmed(blurred, factor)
    coarse = (*cut.chunks[:-2], *(tuple(size // factor for size in sizes) for sizes in cut.chunks[-2:]))
    means = da.map_blocks(_averaged, cut, factor, chunks=coarse, dtype=array.dtype)
    return da.map_blocks(_ratio, means, drop_axis=0, dtype=array.dtype)


def _sizes(total: int, wanted: int, least: int, factor: int) -> tuple[int, ...]:
    """Chunks of whole target pixels, none narrower than a margin."""
    size = -(-max(wanted, least) // factor) * factor
    sizes = [size] * (total // size)
    rest = total - sum(sizes)
    if rest and sizes and rest < max(least, factor):
        sizes[-1] += rest
    elif rest:
        sizes.append(rest)
    return tuple(sizes)


def _trimmed(array: Any, factor: int) -> Any:
    rows, columns = (size // factor * factor for size in array.shape[-2:])
    return array[..., :rows, :columns]


def _with_weight(array: Array) -> Array:
    """In front of an array: its values without gaps, where there are any, and ones."""
    there = np.isfinite(array)
    return np.stack([np.where(there, array, 0), there, np.ones_like(array)]).astype(array.dtype)


def _ratio(array: Array) -> Array:
    """Mean of what was seen, NaN where that is too little of the footprint inside the scene."""
    total, seen, inside = array
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(seen >= _SEEN * inside, total / seen, np.nan).astype(array.dtype)


def _kernel(sigma: float) -> Array:
    """Weights of a Gaussian with `sigma` in pixels."""
    places = np.arange(-int(np.ceil(_REACH * sigma)), int(np.ceil(_REACH * sigma)) + 1)
    weights = np.exp(-0.5 * (places / sigma) ** 2)
    return weights / weights.sum()


def _blurred(array: Array, kernels: Sequence[Array] | None) -> Array:
    """Blur each band of (..., band, y, x); outside of the array there is nothing."""
    if kernels is None:
        return array
    out = np.empty_like(array)
    for band, kernel in enumerate(kernels):
        rows = correlate1d(array[..., band, :, :], kernel, axis=-2, mode="constant")
        out[..., band, :, :] = correlate1d(rows, kernel, axis=-1, mode="constant")
    return out


def _averaged(array: Array, factor: int) -> Array:
    """Means over squares of pixels, summed in an order that does not depend on the shape of the array."""
    out = np.zeros((*array.shape[:-2], array.shape[-2] // factor, array.shape[-1] // factor), array.dtype)
    for row in range(factor):
        for column in range(factor):
            out += array[..., row::factor, column::factor]
    return out / array.dtype.type(factor**2)
