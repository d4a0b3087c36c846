"""The Romanian Sentinel-2 series inside the PyPI package ``nrt``: found, checked byte by byte, read; never imported."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import numpy.typing as npt

from s2koop.errors import CacheError

CURE = "pip install --no-deps nrt==0.2.0"
ATTRIBUTION = "Contains modified Copernicus Sentinel data 2015-2021; prepared by the JRC for the Python package nrt"
LICENSE = "EUPL-1.2"
HOMEPAGE = "https://github.com/ec-jrc/nrt"

_WHEEL_SHA256 = "3e94a675e1862e9402fb45a806dc8e37994a6729fadb6b4aebc2147b6685aca0"
_MEMBERS = {
    "nrt/data/sentinel2_cube_subset_romania_10m.nc": "10165376979ed20f988bef09bf79135ea415e741256ba50fd4fef679b1c1fa9d",
    "nrt/data/sentinel2_cube_subset_romania_20m.nc": "e22c3545dea25c93b31dea017fb70ba18578c1a6c954bf1040e58218b9fa28ca",
    "nrt/data/tree_cover_density_2018_romania.tif": "9e3798baaa7f52e6b9b27bf7f0a81b321a45afa3c83f04dded8a608199f86201",
}
#: ESA band -> resolution in metres and name in the file.
_LAYERS = {
    "B02": (10, "B2"), "B03": (10, "B3"), "B04": (10, "B4"), "B08": (10, "B8"),
    "B8A": (20, "B8A"), "B11": (20, "B11"), "SCL": (20, "SCL"),
}  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """One band through time: ``values`` (time, y, x), the upper left corner (EPSG:3035, metres), the pixel size."""

    values: npt.NDArray[np.uint16]
    corner: tuple[float, float]
    resolution: int


@dataclass(frozen=True)
class Series:
    """The whole series: dates, raw layers by ESA name, and the tree cover density of 2018 in percent."""

    dates: npt.NDArray[np.datetime64]
    layers: Mapping[str, Layer]
    tree_cover: Layer


def read_series() -> Series:
    """Read the series from the installed package, or from its wheel where it is not installed.

    Raises
    ------
    CacheError
        If neither is to be had, or the bytes are not those of nrt 0.2.0.
    """
    ten, twenty, tree = (_checked(name, content) for name, content in _contents().items())
    return _parse(ten, twenty, tree)


def _contents() -> dict[str, bytes]:
    try:
        package = distribution("nrt")
    except PackageNotFoundError:
        return _from_wheel()
    try:
        return {name: Path(str(package.locate_file(name))).read_bytes() for name in _MEMBERS}
    except OSError as error:
        raise CacheError(
            f"the installed package nrt {package.version} lacks {error.filename}; expected nrt 0.2.0, whose data "
            f"the sample catalogue is made of. Run: {CURE}"
        ) from error


def _checked(name: str, content: bytes) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != _MEMBERS[name]:
        raise CacheError(
            f"{name} is not the file of nrt 0.2.0: its sha256 is {found[:12]}..., expected {_MEMBERS[name][:12]}...; "
            f"it is damaged or of another version. Run: {CURE} --force-reinstall"
        )
    return content


def _from_wheel() -> dict[str, bytes]:
    """Fetch the wheel with pip and read its members without installing it."""
    with tempfile.TemporaryDirectory(prefix="s2koop-nrt-") as folder:
        _download(folder)
        wheels = list(Path(folder).glob("nrt-0.2.0-*.whl"))
        if len(wheels) != 1 or hashlib.sha256(wheels[0].read_bytes()).hexdigest() != _WHEEL_SHA256:
            raise CacheError(f"pip did not bring the known wheel of nrt 0.2.0. Run: {CURE}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            return {name: wheel.read(name) for name in _MEMBERS}


def _download(folder: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", folder, "nrt==0.2.0"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        raise CacheError(
            "the sample catalogue is made of data in the Python package nrt 0.2.0, which is not installed, and pip "
            f"could not fetch it (no network?). Run once with network: {CURE}"
        ) from error


def _parse(ten: bytes, twenty: bytes, tree: bytes) -> Series:
    import rasterio
    import xarray as xr

    layers = {}
    with (
        xr.open_dataset(io.BytesIO(ten), engine="h5netcdf", mask_and_scale=False) as fine,
        xr.open_dataset(io.BytesIO(twenty), engine="h5netcdf", mask_and_scale=False) as coarse,
        rasterio.MemoryFile(tree) as memory,
        memory.open() as cover,
    ):
        dates = fine["time"].values
        if not np.array_equal(dates, coarse["time"].values):
            raise CacheError(f"the two files of nrt hold different dates. Run: {CURE} --force-reinstall")
        for band, (resolution, name) in _LAYERS.items():
            source = {10: fine, 20: coarse}[resolution]
            # coordinates are pixel centres
            corner = (float(source.x[0]) - resolution / 2, float(source.y[0]) + resolution / 2)
            layers[band] = Layer(source[name].values, corner, resolution)
        tree_cover = Layer(cover.read(1), layers["SCL"].corner, 20)
    return Series(dates, layers, tree_cover)
