"""Which libraries are installed, by their metadata: nothing is imported."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

from s2koop._doctor.report import Finding

#: In the order of the road: arrays, rasters, learning, what is seen.
_NEEDED = (
    "numpy", "xarray", "dask", "rasterio", "rioxarray", "stackstac", "pystac", "pystac-client", "torch",
    "holoviews", "bokeh", "jupyter_bokeh", "anywidget", "ipywidgets",
)  # fmt: skip
_OPTIONAL: Mapping[str, str] = {
    "jupyterlab": "s2koop[notebook]",
    "voila": "s2koop[notebook]",
    "matplotlib": "s2koop[notebook]",
    "distributed": "s2koop[cluster]",
    "odc-stac": "s2koop[odc]",
    "cql2": "s2koop[cql2]",
}


def library_findings() -> list[Finding]:
    """Version of each library, and how to install one that is needed and absent."""
    needed = [_library(name, "s2koop") for name in _NEEDED]
    return needed + [_library(name, extra, optional=True) for name, extra in _OPTIONAL.items()]


def _library(name: str, source: str, *, optional: bool = False) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        remedy = f"python -m pip install '{source}'"
        return Finding(name, "not installed (optional)") if optional else Finding(name, "not installed", remedy)
    if name == "torch":
        version = version.replace("+cpu", ", CPU build").replace("+cu", ", CUDA build ")
    return Finding(name, version)
