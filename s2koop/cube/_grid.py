"""The pixel grid of a cube: aligned with the files, exact to the last digit, clipped to what was asked.

The grid is ours rather than stackstac's, whose snapping to multiples of the resolution adds a row and a
column wherever the origin of the files is no such multiple.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from s2koop._warn import warn_user
from s2koop.catalog._checks import is_number
from s2koop.cube.harmonise import Bounds, Layer, Scene
from s2koop.errors import InputError, NoItemsError, SparseCubeWarning

#: A part of a pixel by which two grids may differ and still be the same.
_TOLERANCE = 1e-3
#: Pixels of a grid to one of the files, beyond which the resolution or the items must be a mistake.
_MOST_PIXELS = 100
#: Pixels of a whole tile at 10 m; the empty pixels of smaller grids cost too little to speak of.
_TILE_PIXELS = 10980**2


@dataclass(frozen=True)
class Grid:
    """North-up pixels: EPSG code, pixel size, west and north edge, size."""

    epsg: int
    resolution: float
    west: float
    north: float
    width: int
    height: int

    @property
    def bounds(self) -> Bounds:
        east = self.west + self.width * self.resolution
        return self.west, self.north - self.height * self.resolution, east, self.north

    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the x and the y coordinates of the pixel centres."""
        x = self.west + (np.arange(self.width) + 0.5) * self.resolution
        y = self.north - (np.arange(self.height) + 0.5) * self.resolution
        return x, y


def common_crs(scenes: Iterable[Scene]) -> int:
    """Return the one EPSG code of the scenes, or say which there are."""
    count = Counter(_footprint(scene).epsg for scene in scenes)
    if len(count) > 1:
        listed = ", ".join(f"EPSG:{epsg} ({n} items)" for epsg, n in count.most_common())
        best = count.most_common(1)[0][0]
        raise InputError(
            f"the items lie in {len(count)} coordinate systems: {listed}; name the one to warp to, for "
            f"instance crs={best} (the CRS of most items), or load them one by one"
        )
    return next(iter(count))


def parse_crs(crs: Any) -> int:
    """Return the EPSG code of anything pyproj understands."""
    import pyproj

    try:
        epsg = pyproj.CRS.from_user_input(crs).to_epsg()
    except (pyproj.exceptions.CRSError, UnicodeEncodeError):
        raise InputError(
            f"crs={crs!r} is not understood; expected an EPSG code such as 32633 or 'EPSG:32633'"
        ) from None
    if epsg is None:
        raise InputError(f"crs={crs!r} has no EPSG code; stackstac needs one, such as 32633 or 'EPSG:3035'")
    return int(epsg)


def make_grid(
    scenes: Sequence[Scene], bands: Sequence[str], epsg: int, resolution: float | None, bbox: Bounds | None
) -> Grid:
    """Lay out a grid, aligned with the finest asked band, or with multiples of its pixel in another CRS."""
    layers = _distinct([scene.layers[band] for scene in scenes for band in bands if band in scene.layers])
    finest = min(layers, key=lambda layer: layer.resolution)
    native = finest.epsg == epsg
    if resolution is None:
        resolution = _default_resolution(finest, epsg)
    if not is_number(resolution) or not (math.isfinite(resolution) and resolution > 0):
        raise InputError(f"resolution={resolution!r} must be a positive number, in the units of the CRS")
    origin = (finest.transform[2], finest.transform[5]) if native else (0.0, 0.0)
    boxes = list(dict.fromkeys(warp_bounds(layer.bounds, layer.epsg, epsg) for layer in layers))
    area = union(boxes)
    _check_coarse(resolution, area, finest, epsg)
    if bbox is not None:
        area = _clip(area, warp_bounds(bbox, 4326, epsg), bbox, epsg)
    grid = _snap(area, epsg, float(resolution), origin)
    _check_size(grid, layers, finest)
    _tell_if_sparse(grid, boxes)
    return grid


def touching(scenes: Sequence[Scene], bbox: Bounds) -> list[Scene]:
    """Keep the scenes whose pixels touch a lon/lat box; none is an error that shows both extents."""
    kept = [
        scene for scene in scenes if overlap(_footprint(scene).bounds, warp_bounds(bbox, 4326, _footprint(scene).epsg))
    ]
    if not kept:
        boxes = [warp_bounds(layer.bounds, layer.epsg, 4326) for layer in _distinct(map(_footprint, scenes))]
        extent = tuple(round(value, 4) for value in union(boxes))
        raise NoItemsError(
            f"bbox={bbox} lies outside the items, which cover {extent} (west, south, east, north in degrees); "
            "search with the same bbox, or check that longitude comes first"
        )
    return kept


def middle_longitude(grid: Grid) -> float:
    """Return the longitude of the middle of a grid, in degrees."""
    west, _, east, _ = warp_bounds(grid.bounds, grid.epsg, 4326)
    return (west + east + (360 if east < west else 0)) / 2  # a grid over the date line ends west of its start


def _footprint(scene: Scene) -> Layer:
    """Any layer stands for its scene: all cover the same ground."""
    return next(iter(scene.layers.values()))


def overlap(one: Bounds, other: Bounds) -> bool:
    """Tell whether two boxes share more than an edge."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def union(boxes: Sequence[Bounds]) -> Bounds:
    """Return the box around all boxes."""
    west, south, east, north = zip(*boxes, strict=True)
    return min(west), min(south), max(east), max(north)


@lru_cache(maxsize=4096)
def warp_bounds(bounds: Bounds, source: int, target: int) -> Bounds:
    """Return the box around a box in another CRS; edges are densified, since straight lines bend."""
    if source == target:
        return bounds
    from pyproj import Transformer

    west, south, east, north = Transformer.from_crs(source, target, always_xy=True).transform_bounds(*bounds)
    if not all(math.isfinite(value) for value in (west, south, east, north)):
        raise InputError(f"the area {bounds} of EPSG:{source} has no image in EPSG:{target}; choose another crs")
    return west, south, east, north


def _distinct(layers: Iterable[Layer]) -> list[Layer]:
    """One layer per grid: a thousand items of a tile have the bounds of one."""
    return list({(layer.epsg, layer.transform, layer.shape): layer for layer in layers}.values())


def _default_resolution(finest: Layer, epsg: int) -> float:
    if finest.epsg == epsg:
        return finest.resolution
    if _unit(finest.epsg) == _unit(epsg):
        return finest.resolution
    raise InputError(
        f"resolution is needed: the files have pixels of {finest.resolution:g} {_unit(finest.epsg)}, and "
        f"EPSG:{epsg} counts in {_unit(epsg)}; say for instance resolution=0.0001"
    )


def _check_coarse(resolution: float, area: Bounds, finest: Layer, epsg: int) -> None:
    """A pixel larger than all items is a number of another unit, such as metres where degrees count."""
    width, height = area[2] - area[0], area[3] - area[1]
    if resolution > max(width, height):
        raise InputError(
            f"resolution={resolution:g} is larger than the items, which cover {width:.3g} x {height:.3g} in "
            f"EPSG:{epsg} (unit: {_unit(epsg)}); give the size of a pixel in that unit, or say crs={finest.epsg}, that "
            f"of the files (unit: {_unit(finest.epsg)})"
        )


def _check_size(grid: Grid, layers: Sequence[Layer], finest: Layer) -> None:
    """Refuse a grid of far more pixels than there are to read: its graph alone would fill the memory."""
    held = sum(math.prod(layer.shape) for layer in layers)
    if grid.width * grid.height > _MOST_PIXELS * held:
        raise InputError(
            f"resolution={grid.resolution:g} (unit: {_unit(grid.epsg)}) makes {grid.width:,} x {grid.height:,} pixels "
            f"for each date and band, more than {_MOST_PIXELS} times those of the files, whose resolution is "
            f"{finest.resolution:g} (unit: {_unit(finest.epsg)}); give a coarser one, or a bbox, or load items that "
            "lie far apart one by one"
        )


def _tell_if_sparse(grid: Grid, boxes: Sequence[Bounds]) -> None:
    """Warn of a cube that is mostly empty between its items, and say how large it is."""
    whole = grid.bounds
    filled = sum(_size(_common(box, whole)) for box in boxes if overlap(box, whole)) / _size(whole)
    if filled < 0.5 and grid.width * grid.height > _TILE_PIXELS:
        warn_user(
            SparseCubeWarning(
                f"the items fill only {filled:.0%} of the cube, which takes "
                f"{grid.width * grid.height * 4 / 1e9:.2g} GB for each date and band ({grid.width:,} x {grid.height:,} "
                "pixels); give a bbox, or load items that lie far apart one by one"
            )
        )


def _common(one: Bounds, other: Bounds) -> Bounds:
    return max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])


def _size(box: Bounds) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


@lru_cache(maxsize=64)
def _unit(epsg: int) -> str:
    import pyproj

    return str(pyproj.CRS.from_epsg(epsg).axis_info[0].unit_name)


def _clip(area: Bounds, box: Bounds, bbox: Bounds, epsg: int) -> Bounds:
    if not overlap(area, box):
        raise NoItemsError(f"bbox={bbox} does not touch the items, which cover {area} in EPSG:{epsg}")
    return _common(area, box)


def _snap(area: Bounds, epsg: int, resolution: float, origin: tuple[float, float]) -> Grid:
    """Widen an area to whole pixels of the grid that passes through ``origin``."""
    if not all(math.isfinite(part / resolution) for part in (*area, *origin)):
        raise InputError(
            f"pixels of {resolution:g} over {area} of EPSG:{epsg} cannot be counted; give a larger resolution, or look "
            "at the grids of the items"
        )
    column, row = (area[0] - origin[0]) / resolution, (origin[1] - area[3]) / resolution
    left, top = math.floor(column + _TOLERANCE), math.floor(row + _TOLERANCE)
    right = math.ceil((area[2] - origin[0]) / resolution - _TOLERANCE)
    bottom = math.ceil((origin[1] - area[1]) / resolution - _TOLERANCE)
    return Grid(
        epsg,
        resolution,
        origin[0] + left * resolution,
        origin[1] - top * resolution,
        max(right - left, 1),
        max(bottom - top, 1),
    )
