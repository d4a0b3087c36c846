"""Trained translators between two sensors: images in, images out, lazily and the same for any tiling; one file each."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import nn

from s2koop._file_checks import as_model_error, expect, expect_names, filled
from s2koop._model_file import ModelFile, beside, load_content, to_content, under
from s2koop._version import __version__
from s2koop.ac.adaptation.networks import RADIUS, Translator, make_translators
from s2koop.ac.adaptation.settings import AdaptationSettings
from s2koop.ac.adaptation.sides import Side, as_images, level_of, select
from s2koop.ac.networks import count_weights
from s2koop.engine import ModelReference, check_device, in_worker
from s2koop.errors import InputError, ModelError

Array = npt.NDArray[np.float32]

FORMAT = "s2koop-adaptation-1"
#: Translated pixels at a time: the layers between take some hundred bytes for each.
_PIXELS = 2**17
#: Attributes that describe the numbers or the sensor of an image as it was.
_OF_BEFORE = ("sensor", "scale_factor", "add_offset")


@dataclass(frozen=True, eq=False)
class Adapter(ModelFile):
    """Translators between two sensors. It holds results and does not change.

    Attributes
    ----------
    settings : AdaptationSettings
    translators : ModuleList
        To the source, and to the target, in evaluation mode.
    source, target : Side
    card : mapping
        Data and distances; JSON-ready.
    """

    settings: AdaptationSettings
    translators: nn.ModuleList
    source: Side
    target: Side
    card: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.translators.eval().requires_grad_(False)

    @property
    def radius(self) -> int:
        """Pixels on each side that a translated pixel depends on."""
        return RADIUS

    def to_source(self, cube: xr.DataArray, *, device: str = "cpu") -> xr.DataArray:
        """Images of the target as the source would show them.

        Parameters
        ----------
        cube : DataArray, dims ([time | scene], band, y, x)
            Reflectance, with the bands that the adapter was trained with, in any order; others are left out.
        device : str
            Where it is computed.

        Returns
        -------
        DataArray
            float32, with the dims, coordinates and CRS of the cube, and names of bands and sensor of the source; NaN
            where a band is missing. Lazy where the cube is, and the same for any tiling.

        Raises
        ------
        InputError
            If dims, bands or level do not fit.

        Examples
        --------
        >>> from s2koop.ac.adaptation import fit
        >>> source = xr.DataArray(
        ...     np.random.default_rng(0).uniform(0.1, 0.3, (2, 30, 30)), dims=("band", "y", "x"),
        ...     coords={"band": ["B04", "B08"]},
        ... )
        >>> target = (1.1 * source[:, ::-1]).assign_coords(band=["RED", "NIR"])
        >>> adapter = fit(source, target, settings=AdaptationSettings(steps=0, patches=9), progress=False)
        >>> adapter.to_source(target).band.values.tolist()
        ['B04', 'B08']
        """
        return self._translated(cube, 0, self.target, self.source, device)

    def to_target(self, cube: xr.DataArray, *, device: str = "cpu") -> xr.DataArray:
        """Images of the source as the target would show them; as `to_source` in the other direction."""
        return self._translated(cube, 1, self.source, self.target, device)

    def _translated(self, cube: xr.DataArray, which: int, own: Side, other: Side, device: str) -> xr.DataArray:
        images, lead = as_images(cube, "cube")
        images = select(images, own.bands, "cube")
        if own.level and level_of(cube) not in ("", own.level):
            raise InputError(f"the cube has level {level_of(cube)}, the adapter was trained on {own.level}")
        device = check_device(device)
        found = xr.DataArray(_on_images(images.data, self, which, device), dims=images.dims)
        found = found.isel(image=0) if lead is None else found.rename(image=lead)
        kept = {name: values for name, values in cube.coords.items() if "band" not in values.dims}
        found = found.transpose(*cube.dims).assign_coords(kept | {"band": np.array(other.bands, dtype=object)})
        title = own.sensor or ("source" if which else "target")
        attrs = {name: value for name, value in cube.attrs.items() if name not in _OF_BEFORE}
        attrs |= {"sensor": other.sensor} if other.sensor else {}
        attrs |= {"adapted_from": title, "adaptation_model": self.digest}
        return found.assign_attrs(attrs).rename(cube.name)

    @cached_property
    def content(self) -> bytes:
        """The bytes of the model file."""
        tensors = {f"translators.{name}": value for name, value in self.translators.state_dict().items()}
        header = {
            "format": FORMAT, "s2koop": __version__, "settings": self.settings.to_dict(), "card": dict(self.card),
            "source": self.source._asdict(), "target": self.target._asdict(),
        }  # fmt: skip
        return to_content(tensors, header)

    @staticmethod
    def load(path: str | Path) -> Adapter:
        """As `s2koop.ac.adaptation.load`."""
        return load(path)

    def to(self, device: str) -> Adapter:
        """The adapter on another device; itself where it is there already."""
        if next(self.translators.parameters()).device == torch.device(device):
            return self
        return replace(self, translators=deepcopy(self.translators).to(device))

    def __repr__(self) -> str:
        sides = [f"{side.sensor or name} ({' '.join(side.bands)})"
                 for name, side in (("source", self.source), ("target", self.target))]  # fmt: skip
        lines = [f"<Adapter {' and '.join(sides)}>"]
        lines += [f"    {count_weights(list(self.translators)):,} weights, {self.settings.steps} steps"]
        lines += [f"    {name}: {value}" for name, value in self.card.items()]
        return "\n".join(lines)


def load(path: str | Path) -> Adapter:
    """Read an adapter that `Adapter.save` wrote. Nothing in the file is executed.

    Raises
    ------
    ModelError
        If there is no such file, or it was not written by s2koop.
    """
    if not Path(path).is_file():
        raise ModelError(f"there is no adapter {str(path)!r}; give the path of a file that adapter.save() wrote")
    header, tensors = load_content(Path(path), formats=(FORMAT,))
    with as_model_error(f"{path} is damaged: its tensors do not fit its settings"):
        settings = AdaptationSettings.from_card(header["settings"])
        source, target = (_side(header[name]) for name in ("source", "target"))
        if len(source.bands) != len(target.bands):
            raise ValueError(f"{len(source.bands)} and {len(target.bands)} bands")
        expect(beside(tensors, "translators."), {})
        blank = torch.zeros(len(source.bands))
        translators = filled(lambda: make_translators(blank, blank, settings.width), under("translators.", tensors))
        return Adapter(settings, translators, source, target, header["card"])


def _side(stored: Mapping[str, Any]) -> Side:
    """A side as a file holds it."""
    side = Side(expect_names(stored["bands"], "its bands"), stored["sensor"], stored["level"])
    if not isinstance(side.sensor, str) or side.level not in ("", "TOA", "BOA"):
        raise ValueError(f"a side of sensor {side.sensor!r} and level {side.level!r}")
    return side


def _on_images(images: Any, adapter: Adapter, which: int, device: str) -> Any:
    """Images (image, band, y, x), NumPy or dask, through a translator."""
    if isinstance(images, np.ndarray):
        return translate_block(images, adapter=adapter, which=which, margin=0, device=device)
    import dask.array as da

    data = images.rechunk({1: -1})
    margin = RADIUS if min(data.shape[2:]) >= RADIUS else 0
    if margin:
        data = da.overlap.overlap(data, {0: 0, 1: 0, 2: margin, 3: margin}, {2: "reflect", 3: "reflect"})
    else:  # smaller than what a pixel depends on: one block, which mirrors for itself
        data = data.rechunk({2: -1, 3: -1})
    chunks = (*data.chunks[:2], *(tuple(size - 2 * margin for size in sizes) for sizes in data.chunks[2:]))
    return da.map_blocks(
        translate_block, data, adapter=adapter.reference(), which=which, margin=margin, device=device, chunks=chunks,
        dtype=np.float32, meta=np.empty((0, 0, 0, 0), np.float32),
    )  # fmt: skip


def translate_block(images: Array, *, adapter: Adapter | ModelReference, which: int, margin: int, device: str) -> Array:
    """A block (image, band, y, x) with a margin of neighbours, or none of them, through a translator."""
    found = adapter.load(device) if isinstance(adapter, ModelReference) else adapter.to(device)
    translator = found.translators[which]
    wide = RADIUS - margin
    out = np.empty((*images.shape[:2], *(size - 2 * margin for size in images.shape[2:])), np.float32)
    rows = max(1, _PIXELS // out.shape[3])
    with in_worker(), torch.no_grad():
        for image, result in zip(images, out, strict=True):
            padded = np.pad(image, ((0, 0), (wide, wide), (wide, wide)), mode="symmetric") if wide else image
            for start in range(0, result.shape[1], rows):
                part = padded[:, start : start + rows + 2 * RADIUS]
                result[:, start : start + rows] = _translate(part, translator, device)
    return out


def _translate(image: Array, translator: nn.Module, device: str) -> Array:
    """One image (band, y + 2 radius, x + 2 radius); what is missing counts as the mean, and stays missing."""
    assert isinstance(translator, Translator)
    values = torch.from_numpy(np.ascontiguousarray(image, np.float32)).to(device)
    seen = torch.isfinite(values).all(0)
    filled = torch.where(seen, values, translator.center[:, None, None])
    found = translator(filled[None])[0]
    inner = seen[RADIUS : seen.shape[0] - RADIUS, RADIUS : seen.shape[1] - RADIUS]
    return torch.where(inner, found, torch.nan).cpu().numpy()
