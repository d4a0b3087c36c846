"""A fitted Koopman model: network, scaling, background and errors; saved as one safetensors file with its card."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
import xarray as xr
from torch import Tensor

from s2koop import zoo
from s2koop._cache import cache_dir, write_once
from s2koop._time import YEAR_DAYS
from s2koop._version import __version__
from s2koop.engine import ModelReference
from s2koop.errors import ModelError
from s2koop.koopman.assimilation import Background
from s2koop.koopman.network import KoopmanNetwork, make_network
from s2koop.koopman.operator import Spectrum
from s2koop.koopman.settings import KoopmanSettings
from s2koop.koopman.uncertainty import Uncertainty

FORMAT = "s2koop-koopman-2"
_PER_BAND = ("center", "scale", "slope_scale", "noise", "window_error", "forecast_error")


@dataclass(frozen=True, eq=False)
class KoopmanModel:
    """What `fit` returns. It holds results and does not change.

    Attributes
    ----------
    settings : KoopmanSettings
    network : KoopmanNetwork
        In evaluation mode, without gradients; works on standardised states.
    bands : tuple of str
    center, scale : Tensor, shape (band,)
        ``reflectance = center + scale * standardised``.
    slope_scale : Tensor, shape (band,)
        Standard deviation of the standardised change per step; ones where the state has no derivative.
    background : Background
        Of the latent on the `anchor_day` of a year.
    noise : Tensor, shape (band,)
        Standard deviation of a usual observation, standardised: what the assimilation weighs with.
    window_error, forecast_error : Tensor, shape (band,)
        Standard deviation of all observations, haze included, around the trajectory: inside the window, and
        beyond it (from the held-out period of the training). What the spread of an observation holds.
    anchor_day : float
        Day of the year (0 to 365) on which the background holds.
    card : mapping
        Data, period, losses and scores of the training; JSON-ready.
    uncertainty : Uncertainty, optional
        Errors with a memory, for the weak constraint; None where they are not known (imported models).
    """

    settings: KoopmanSettings
    network: KoopmanNetwork
    bands: tuple[str, ...]
    center: Tensor
    scale: Tensor
    slope_scale: Tensor
    background: Background
    noise: Tensor
    window_error: Tensor
    forecast_error: Tensor
    anchor_day: float
    card: Mapping[str, Any] = field(default_factory=dict)
    uncertainty: Uncertainty | None = None

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(False)

    def to(self, device: str) -> KoopmanModel:
        """The model on another device; itself where it is there already."""
        if self.center.device == torch.device(device):
            return self
        moved = {name: getattr(self, name).to(device) for name in _PER_BAND}
        background = Background(self.background.mean.to(device), self.background.factor.to(device))
        network = make_network(len(self.bands), self.settings)
        network.load_state_dict(self.network.state_dict())
        uncertainty = None if self.uncertainty is None else self.uncertainty.to(device)
        return replace(self, network=network.to(device), background=background, uncertainty=uncertainty, **moved)

    def standardise(self, reflectance: Tensor) -> Tensor:
        """Reflectance (..., band) from the band's median, in units of half its 16 to 84 % range."""
        return (reflectance - self.center) / self.scale

    def reflectance(self, standardised: Tensor) -> Tensor:
        """The inverse of `standardise`."""
        return self.center + self.scale * standardised

    def anchor(self, first_day: float) -> float:
        """The last anchor date (days since the epoch) on or before a day: there the window starts."""
        year_start = first_day - self.anchor_day
        return float(np.floor(year_start / YEAR_DAYS + 1e-9) * YEAR_DAYS + self.anchor_day)

    def spectrum(self) -> Spectrum:
        """Eigenvalues of the operator."""
        return self.network.operator.spectrum()

    def embed(self, cube: xr.DataArray, *, device: str = "cpu", progress: bool = True) -> xr.DataArray:
        """Embed the series of each pixel: its latent, given all that was seen of it.

        Parameters
        ----------
        cube : DataArray, dims (time, band, y, x)
            Surface reflectance, lazy or not; bands that it lacks are taken for missing.
        device : str
        progress : bool
            Show a bar; cubes in memory only.

        Returns
        -------
        DataArray, dims (y, x, feature)
            float32, in standard deviations of the prior, for ``.ssl.probe`` and ``.ssl.search``. Embeddings of windows
            of other years are comparable: the latent is that of an anniversary. A pixel that was never seen is NaN.

        Raises
        ------
        InputError, ModelError
            If the cube is none, or has bands that the model does not know.

        Examples
        --------
        >>> from s2koop.simulate import seasonal_cube
        >>> cube = seasonal_cube(seed=0)
        >>> model = cube.koopman.fit(steps=20, hidden=(16,), latent=8, progress=False)
        >>> model.embed(cube, progress=False).dims
        ('y', 'x', 'feature')
        """
        from s2koop.koopman._checks import check_model
        from s2koop.koopman.embedding import embed

        check_model(self, cube)
        return embed(cube, self, device=device, progress=progress)

    @cached_property
    def content(self) -> bytes:
        """The bytes of the model file."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {name: getattr(self, name) for name in _PER_BAND}
        tensors |= {"background.mean": self.background.mean, "background.factor": self.background.factor}
        if self.uncertainty is not None:
            tensors |= {f"uncertainty.{name}": value for name, value in self.uncertainty.tensors().items()}
        header = {
            "format": FORMAT, "s2koop": __version__, "settings": self.settings.to_dict(), "bands": list(self.bands),
            "anchor_day": self.anchor_day, "card": dict(self.card),
            "spectral_radius": round(self.network.operator.spectral_radius, 7),
        }  # fmt: skip
        return safetensors.torch.save(
            {k: v.cpu().contiguous() for k, v in tensors.items()},
            {"s2koop": json.dumps(header, sort_keys=True)},
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the model file."""
        return hashlib.sha256(self.content).hexdigest()

    def save(self, path: str | Path) -> Path:
        """Write the model as one safetensors file, with a JSON card beside it.

        The file is complete or not there at all. The card repeats what the header of the file says, for people.
        """
        return save_content(self.content, path)

    def reference(self) -> ModelReference:
        """The model as a worker finds it: a content-addressed file in the cache folder."""
        path = cache_dir() / "models" / f"{self.digest}.safetensors"
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != self.digest:
            path.unlink()  # damaged: write it anew
        write_once(path, self.content)
        return ModelReference(str(path), self.digest, load)

    def __repr__(self) -> str:
        size = sum(p.numel() for p in self.network.parameters())
        lines = [f"<KoopmanModel {self.settings.operator}, {len(self.bands)} bands {' '.join(self.bands)}>"]
        lines += [f"    {self.settings.describe()}, latent {self.network.latent}, {size:,} weights"]
        lines += [f"    {self.network.operator.stability()}"]
        lines += [f"    {name}: {value}" for name, value in self.card.items() if isinstance(value, str | int | float)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        first, *rest = repr(self).splitlines()
        rows = "".join(f"<li>{html.escape(line.strip())}</li>" for line in rest)
        return f"<div><b>{html.escape(first.strip('<>'))}</b><ul>{rows}</ul></div>"


def safetensors_header(content: bytes) -> str:
    """The JSON text that s2koop put into a safetensors header."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length])["__metadata__"]["s2koop"]


def save_content(content: bytes, path: str | Path) -> Path:
    """Write the bytes of a safetensors file, and the JSON card of its header beside it, each in one step."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ModelError(f"{path.name!r} does not end in '.safetensors'; name the file such as 'forest.safetensors'")
    if not path.parent.is_dir():
        raise ModelError(f"the folder {path.parent} does not exist; create it first")
    header = json.loads(safetensors_header(content))
    for target, data in ((path, content), (path.with_suffix(".json"), json.dumps(header, indent=2).encode())):
        temporary = target.with_name(f".{target.name}.part")
        temporary.write_bytes(data)
        temporary.replace(target)
    return path


def load(path: str | Path) -> KoopmanModel:
    """Read a model that `KoopmanModel.save` wrote. Nothing in the file is executed.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    KoopmanModel

    Raises
    ------
    ModelError
        If the file is not there, is no safetensors file, or was not written by s2koop.
    """
    header, tensors = load_content(path, formats=(FORMAT,))
    return assemble(header, tensors, Path(path))


def load_content(path: str | Path, *, formats: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a file in one of some formats of s2koop, refused where it is anything else.

    A name of the zoo stands for its file.
    """
    path = zoo.path(path) if isinstance(path, str) and path in zoo.names() else Path(path)
    if not path.is_file():
        shipped = " or ".join(repr(name) for name in zoo.names()) or "none yet"
        raise ModelError(
            f"there is no model file {path}; give the path of a file that model.save() wrote, or the name of a "
            f"shipped model ({shipped})"
        )
    try:
        content = path.read_bytes()  # not mapped: a file that changes later must not change the model
        tensors = safetensors.torch.load(content)
        header = json.loads(safetensors_header(content))
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ModelError(
            f"{path} is not a model that s2koop wrote ({type(error).__name__}); use a file from model.save()"
        ) from error
    if header.get("format") not in formats:
        known = " or ".join(repr(known) for known in formats)
        raise ModelError(
            f"{path} has format {header.get('format')!r}, this version reads {known} here; "
            f"use the s2koop that wrote it ({header.get('s2koop')})"
        )
    return header, tensors


def assemble(header: Mapping[str, Any], tensors: dict[str, Tensor], path: Path) -> KoopmanModel:
    """The model that header and tensors of a file describe."""
    try:
        settings = KoopmanSettings.from_dict(header["settings"])
        network = make_network(len(header["bands"]), settings)
        network.load_state_dict(_under("network.", tensors))
        errors = _under("uncertainty.", tensors)
        return KoopmanModel(
            settings=settings,
            network=network,
            bands=tuple(header["bands"]),
            background=Background(tensors["background.mean"], tensors["background.factor"]),
            anchor_day=float(header["anchor_day"]),
            card=header["card"],
            uncertainty=Uncertainty.from_tensors(errors) if errors else None,
            **{name: tensors[name] for name in _PER_BAND},
        )
    except (KeyError, RuntimeError, TypeError) as error:
        raise ModelError(f"{path} is damaged: its tensors do not fit its settings ({error})") from error


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
