"""The one bridge between torch and dask: kernels run over pixels or patches, block by block, tile by tile.

The model itself never enters a dask graph: a block carries the path and the digest of a file, which is sent to
each worker of a cluster once, and loaded once. Blocks hold all dates and bands of a patch of pixels; inside, tiles
bound the memory of a kernel. A NumPy-backed cube takes the same code at once and gives the same numbers.
"""

from s2koop.engine.common import ModelReference, Output, check_device, in_worker
from s2koop.engine.patches import PatchKernel, map_patches
from s2koop.engine.pixels import PixelKernel, map_pixels, whole_series

__all__ = [
    "ModelReference",
    "Output",
    "PatchKernel",
    "PixelKernel",
    "check_device",
    "in_worker",
    "map_patches",
    "map_pixels",
    "whole_series",
]
