"""A fitted Koopman model: network, scaling, background and errors; saved as one safetensors file with its card."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from s2koop._file_checks import as_model_error, expect, expect_names, filled
from s2koop._model_file import ModelFile, beside, load_content, to_content, under
from s2koop._numbers import real
from s2koop._time import YEAR_DAYS
from s2koop._version import __version__
from s2koop.koopman.assimilation import Background
from s2koop.koopman.network import KoopmanNetwork, make_network
from s2koop.koopman.operator import Spectrum
from s2koop.koopman.settings import KoopmanSettings
from s2koop.koopman.uncertainty import Uncertainty, shapes_of_errors

FORMAT = "s2koop-koopman-2"
_PER_BAND = ("center", "scale", "slope_scale", "noise", "window_error", "forecast_error")
_POSITIVE = ("scale", "slope_scale", "noise")


@dataclass(frozen=True, eq=False)
class KoopmanModel(ModelFile):
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
        >>> cube = seasonal_cube(seed=0, every_days=30)
        >>> model = cube.koopman.fit(steps=20, hidden=(16,), latent=8, progress=False)
        >>> model.embed(cube, progress=False).dims
        ('y', 'x', 'feature')
        """
        from s2koop.koopman._checks import check_cube, check_model
        from s2koop.koopman.embedding import embed

        check_cube(cube)
        check_model(self, cube)
        self.reference()  # in the cache, where probes find it again
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
        return to_content(tensors, header)

    @staticmethod
    def load(path: Path) -> KoopmanModel:
        """As `s2koop.koopman.model.load`."""
        return load(path)

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


def assemble(header: Mapping[str, Any], tensors: dict[str, Tensor], path: Path) -> KoopmanModel:
    """The model that header and tensors of a file describe."""
    with as_model_error(f"{path} is damaged: its tensors do not fit its settings"):
        settings = KoopmanSettings.from_card(header["settings"])
        bands = expect_names(header["bands"], "its bands")
        network = filled(lambda: make_network(len(bands), settings), under("network.", tensors))
        errors = under("uncertainty.", tensors)
        own = beside(tensors, "network.", "uncertainty.")
        expect(own, _shapes(network.latent, len(bands)))
        if errors:
            expect(errors, shapes_of_errors(errors, len(bands)))
        if min(float(own[name].min()) for name in _POSITIVE) <= 0:
            raise ValueError(f"one of {', '.join(_POSITIVE)} is not greater than 0")
        return KoopmanModel(
            settings=settings,
            network=network,
            bands=bands,
            background=Background(own["background.mean"], own["background.factor"]),
            anchor_day=real("anchor_day", header["anchor_day"], least=0),
            card=header["card"],
            uncertainty=Uncertainty.from_tensors(errors) if errors else None,
            **{name: own[name] for name in _PER_BAND},
        )


def _shapes(latent: int, bands: int) -> dict[str, tuple[int, ...]]:
    """Tensors of a file beside those of its network and its uncertainty."""
    return dict.fromkeys(_PER_BAND, (bands,)) | {
        "background.mean": (latent,),
        "background.factor": (latent, latent),
    }
