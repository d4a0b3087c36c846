"""Ensembles of Koopman models: trained apart, together, or on one trunk; one file, and one result of all members.

What analyses of the members say together is worked out on their Datasets, hence lazily where these are lazy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
import xarray as xr
from torch import Tensor

from s2koop._file_checks import as_model_error, strict_json
from s2koop._model_file import ModelFile, load_content, safetensors_header, to_content
from s2koop._numbers import real, whole
from s2koop._version import __version__
from s2koop.errors import InputError, ModelError
from s2koop.koopman.assimilation import Window
from s2koop.koopman.background import ROUGH
from s2koop.koopman.losses import almost_fair_crps, variance_promoting
from s2koop.koopman.model import FORMAT as MODEL_FORMAT
from s2koop.koopman.model import KoopmanModel, assemble
from s2koop.koopman.settings import KoopmanSettings
from s2koop.koopman.shared import SharedTrunk
from s2koop.koopman.solvers import minimise
from s2koop.koopman.training import Fitted, train_members, with_common_error
from s2koop.koopman.uncertainty import Uncertainty
from s2koop.koopman.weak import predict, refine

FORMAT = "s2koop-koopman-ensemble-1"
KINDS = ("independent", "variance", "crps", "shared")
#: Variance between members per mean square error that `"variance"` trains for, unless told otherwise.
DIVERSITY = 0.5
#: Training pixels whose analyses tell how far members lie apart.
COMPARED_PIXELS = 128
#: Share of the variance of an observation that members' disagreement never explains.
LEAST_SHARE = 0.25
_SPREADS = ("spread", "spread_state")


@dataclass(frozen=True, eq=False)
class KoopmanEnsemble(ModelFile):
    """What ``fit(members=...)`` returns. It goes wherever a model goes: `forecast`, `assimilate`, `interpolate`.

    Attributes
    ----------
    models : tuple of KoopmanModel
        One a member; or a single one whose network has a last layer for each member (``kind="shared"``).
    kind : {"independent", "variance", "crps", "shared"}
    card : mapping
        JSON-ready; each model has a card of its own.

    Examples
    --------
    >>> from s2koop.simulate import seasonal_cube
    >>> cube = seasonal_cube(seed=0, every_days=30)
    >>> ensemble = cube.koopman.fit(members=3, ensemble="shared", steps=20, hidden=(16,), latent=8, progress=False)
    >>> ensemble.size
    3
    >>> cube.koopman.forecast(ensemble, steps=2, members=True, progress=False)["members"].dims
    ('member', 'time', 'band', 'y', 'x')
    """

    models: tuple[KoopmanModel, ...]
    kind: str
    card: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.models:
            raise ModelError("an ensemble needs at least one model; give those of fit(...)")
        bands = self.models[0].bands
        strange = [list(model.bands) for model in self.models if model.bands != bands]
        if strange:
            raise ModelError(f"the members of an ensemble share their bands; found {list(bands)} and {strange[0]}")

    @property
    def size(self) -> int:
        """Number of members."""
        return self.models[0].settings.heads if self.kind == "shared" else len(self.models)

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands that all members know."""
        return self.models[0].bands

    @cached_property
    def content(self) -> bytes:
        """The bytes of the ensemble's file: the tensors of each model under its number, and their headers."""
        tensors = {
            f"{number}.{name}": tensor
            for number, model in enumerate(self.models)
            for name, tensor in safetensors.torch.load(model.content).items()
        }
        header = {
            "format": FORMAT, "s2koop": __version__, "kind": self.kind, "card": dict(self.card),
            "models": [strict_json(safetensors_header(model.content)) for model in self.models],
        }  # fmt: skip
        return to_content(tensors, header)

    @staticmethod
    def load(path: str | Path) -> KoopmanModel | KoopmanEnsemble:
        """As `s2koop.koopman.load`."""
        return load(path)

    def __repr__(self) -> str:
        first, *rest = repr(self.models[0]).splitlines()
        return "\n".join([f"<KoopmanEnsemble {self.kind}, {self.size} members of {first[1:]}", *rest])


def load(path: str | Path) -> KoopmanModel | KoopmanEnsemble:
    """Read a model or an ensemble that ``.save`` wrote. Nothing in the file is executed.

    Parameters
    ----------
    path : str or Path
        A file, or the name of a shipped model (`s2koop.zoo`), such as ``"land"``.

    Returns
    -------
    KoopmanModel or KoopmanEnsemble

    Raises
    ------
    ModelError
        If the file is not there, is no safetensors file, or was not written by s2koop.
    """
    header, tensors = load_content(path, formats=(MODEL_FORMAT, FORMAT))
    path = Path(path)
    if header["format"] == MODEL_FORMAT:
        return assemble(header, tensors, path)
    with as_model_error(f"{path} is damaged: it is no whole ensemble"):
        if header["kind"] not in KINDS or (header["kind"] == "shared") != (len(header["models"]) == 1):
            raise ValueError(f"kind {header['kind']!r} of {len(header['models'])} model(s)")
        parts: dict[str, dict[str, Tensor]] = {str(number): {} for number in range(len(header["models"]))}
        for name, tensor in tensors.items():
            number, _, own = name.partition(".")
            parts[number][own] = tensor
        models = tuple(assemble(inner, own, path) for inner, own in zip(header["models"], parts.values(), strict=True))
        return KoopmanEnsemble(models, header["kind"], header["card"])


def check_options(members: Any, ensemble: Any, diversity: Any) -> tuple[int, str, float | None]:
    """How many members of which kind, and how diverse; refused before any work where they do not go together."""
    count = whole("members", members, least=1)
    if ensemble is None:
        ensemble = "independent"
    elif count == 1:
        raise InputError(f"ensemble={ensemble!r} needs members=, such as members=8")
    if ensemble not in KINDS:
        raise InputError(f"ensemble={ensemble!r} is unknown; choose one of {KINDS}")
    if diversity is None:
        return count, ensemble, DIVERSITY if ensemble == "variance" else None
    if ensemble not in ("variance", "shared"):
        raise InputError(
            f"diversity={diversity!r} belongs to ensemble='variance' or 'shared', not to ensemble={ensemble!r}"
        )
    diversity = real("diversity", diversity, least=0)
    if diversity > 1:
        raise InputError(
            f"diversity={diversity} must lie between 0 and 1; at 1 only the mean of the members is trained"
        )
    return count, ensemble, diversity


def fit_ensemble(
    values: npt.NDArray[np.float32],
    days: npt.NDArray[np.float64],
    bands: Sequence[str],
    settings: KoopmanSettings,
    *,
    members: int,
    kind: str,
    diversity: float | None = None,
    device: str = "cpu",
    progress: bool = True,
    card: Mapping[str, Any] | None = None,
    checkpoint: Path | None = None,
) -> KoopmanEnsemble:
    """Train an ensemble on pixel series; parameters as `s2koop.koopman.training.train`.

    Parameters
    ----------
    settings : KoopmanSettings
        With as many `heads` as members, where they share a trunk.
    members : int
    kind : {"independent", "variance", "crps", "shared"}
        ``"independent"``: one after the other, with seeds that follow each other. ``"variance"``: together, with the
        loss of Frion et al. that promotes the variance between members. ``"crps"``: together, with the almost fair
        CRPS. ``"shared"``: one network whose decoder has a last layer for each, with the same score or, where
        `diversity` is given, the variance-promoting loss.
    diversity : float, optional
        Weight of the variance between members, 0 to 1.
    checkpoint : Path, optional
        As for `train`; independent members keep their states in files of their own beside it.

    Returns
    -------
    KoopmanEnsemble
    """
    common: dict[str, Any] = {"device": device, "progress": progress, "card": card, "compare": True}
    if kind == "independent":
        paths = [None if checkpoint is None else _member_path(checkpoint, number) for number in range(members)]
        fitted: list[Fitted] = []
        for number, path in enumerate(paths):
            own, label = replace(settings, seed=settings.seed + number), f"member {number + 1}/{members} "
            fitted += train_members(values, days, bands, own, label=label, checkpoint=path, **common)
    else:
        paths = [checkpoint]
        if diversity is None:
            score, loss = almost_fair_crps, "crps"
        else:
            score = partial(variance_promoting, diversity=diversity, robust=settings.robust)
            loss = f"variance, diversity {diversity:g}"
        joint: dict[str, Any] = {"members": 1 if kind == "shared" else members, "score": score, "loss": loss}
        fitted = train_members(values, days, bands, settings, checkpoint=checkpoint, **joint, **common)
    for path in paths:
        if path is not None:
            path.unlink(missing_ok=True)
    described = {"members": members} | ({} if diversity is None else {"diversity": diversity})
    models = less_between(with_common_error(fitted), values, days)
    return KoopmanEnsemble(tuple(models), kind, described)


@torch.no_grad()
def less_between(
    models: Sequence[KoopmanModel], values: npt.NDArray[np.float32], days: npt.NDArray[np.float64]
) -> list[KoopmanModel]:
    """The models with a `passing` part that holds nothing of what members disagree about under the weak constraint.

    The spread of the mixture adds the variance between members. The errors that `passing` was taken from hold it too:
    those of a shared trunk are those of the mean, so that it is taken off once; those of single models exceed the ones
    of their mean by it, so that it is taken off twice. A part always stays, since some pixels tell only roughly.

    Parameters
    ----------
    models : sequence of KoopmanModel
        One a member, or a single one with a shared trunk.
    values : ndarray of float32, shape (pixel, time, band)
        Reflectance that they were trained on.
    days : ndarray, shape (time,)
        Days since the epoch.
    """
    some = torch.from_numpy(values[:: max(1, len(values) // COMPARED_PIXELS)][:COMPARED_PIXELS])
    each = torch.cat([_weak_means(model, some, days) for model in models])
    seen = torch.isfinite(some)
    variance = torch.where(seen, each.var(0, correction=0), 0.0).sum((0, 1)) / seen.sum((0, 1)).clamp(min=1)
    counted = (1 if len(models) == 1 else 2) * variance
    return [replace(model, uncertainty=_passing_less(model.uncertainty, counted)) for model in models]


def _weak_means(model: KoopmanModel, values: Tensor, days: npt.NDArray[np.float64]) -> Tensor:
    """Standardised analyses (member, pixel, time, band) on the very dates of some pixels (pixel, time, band)."""
    assert isinstance(model.uncertainty, Uncertainty)
    network, background, robust = model.network, model.background, model.settings.robust
    since = torch.as_tensor(days - model.anchor(float(days[0])), dtype=torch.float32)
    window = Window(network, model.standardise(values), since, background, model.noise, robust)
    error = model.uncertainty.local + model.uncertainty.scene
    weak = refine(window, minimise(window, tolerance=ROUGH), error, robust=robust is not None)
    if isinstance(network, SharedTrunk):  # anomalies are the same for all members
        return network.observe_members(network.operator.advance(background.latent(weak.u), since))
    return predict(weak, since)[0][None]


def _passing_less(uncertainty: Any, counted: Tensor) -> Uncertainty:
    """An uncertainty without a variance (band,) that is counted elsewhere."""
    assert isinstance(uncertainty, Uncertainty)
    own = uncertainty.passing.square()
    return replace(uncertainty, passing=torch.maximum(own - counted, LEAST_SHARE * own).sqrt())


def combine(results: Sequence[xr.Dataset], *, members: bool = False) -> xr.Dataset:
    """The result of an ensemble from those of its members, lazily where they are lazy.

    The mean is that of the members. A spread is that of their mixture: the root of the mean of their variances plus
    the variance between their means. Other numbers are averaged, and whole ones take their maximum.

    Parameters
    ----------
    results : sequence of Dataset
        Results of `assimilate` and its like, on the same dates, bands and pixels.
    members : bool
        Keep the means of the members, as a variable ``members`` with the dim ``member``. Scores take them for what the
        ensemble says, so compare spreads with observations without it (``result.drop_vars("members")``).

    Returns
    -------
    Dataset

    Examples
    --------
    >>> one = xr.Dataset({"mean": ("time", [1.0]), "spread": ("time", [3.0])})
    >>> other = xr.Dataset({"mean": ("time", [9.0]), "spread": ("time", [3.0])})
    >>> combine([one, other])["spread"].item()
    5.0
    """
    stacked = xr.concat(
        results, "member", data_vars="all", coords="minimal", compat="override", join="exact",
        combine_attrs="override",
    )  # fmt: skip
    between = stacked["mean"].var("member", skipna=False)
    out = {}
    for name, each in stacked.data_vars.items():
        if name in _SPREADS:
            value = ((each**2).mean("member", skipna=False) + between) ** 0.5
        elif each.dtype.kind == "f":
            value = each.mean("member", skipna=False)
        else:
            value = each.max("member")
        out[name] = value.astype(each.dtype).assign_attrs(results[0][name].attrs)
        out[name].encoding = results[0][name].encoding
    if members:
        about = dict(results[0]["mean"].attrs) | {"long_name": "means of the members"}
        out["members"] = stacked["mean"].assign_attrs(about).assign_coords(member=np.arange(len(results)))
    return xr.Dataset(out, attrs=results[0].attrs)


def with_quantiles(result: xr.Dataset, quantiles: Any) -> xr.Dataset:
    """A result with ``quantiles`` (quantile, ...): those of the Gaussian of its mean and spread.

    The spread is what has been calibrated, so quantiles are taken from it and not counted among a few members.

    Parameters
    ----------
    result : Dataset
        With ``mean`` and ``spread``.
    quantiles : float or sequence of float
        Probabilities between 0 and 1, such as ``[0.05, 0.5, 0.95]``.

    Returns
    -------
    Dataset

    Examples
    --------
    >>> result = xr.Dataset({"mean": ("time", [0.5]), "spread": ("time", [0.1])})
    >>> with_quantiles(result, [0.05, 0.5, 0.95])["quantiles"].values.round(3).ravel()
    array([0.336, 0.5  , 0.664])
    """
    asked = _probabilities(quantiles)
    deviates = [NormalDist().inv_cdf(p) for p in asked]
    away = xr.DataArray(np.array(deviates, dtype=np.float32), dims="quantile", coords={"quantile": asked})
    value = (result["mean"] + away * result["spread"]).transpose("quantile", ...)
    about = dict(result["mean"].attrs) | {"long_name": "quantiles of an observation"}
    return result.assign(quantiles=value.astype(result["mean"].dtype).assign_attrs(about))


Analyse = Callable[..., xr.Dataset]


def for_ensembles(analyse: Analyse) -> Analyse:
    """Let an analysis of one model take an ensemble or a file too, and give members and quantiles where asked."""

    @functools.wraps(analyse)
    def call(cube: xr.DataArray, model: Any, *, members: bool = False, quantiles: Any = None, **how: Any) -> xr.Dataset:
        asked = None if quantiles is None else _probabilities(quantiles)
        if asked is not None and not how["options"].spread:
            raise InputError(f"quantiles={quantiles!r} are taken from the spread; leave spread=False out")
        model = load(model) if isinstance(model, str | Path) else model
        if isinstance(model, KoopmanEnsemble):
            result = _analyse_members(analyse, cube, model, members, how)
        elif members:
            raise InputError("members=True needs an ensemble; fit one: cube.koopman.fit(members=8)")
        else:
            result = analyse(cube, model, **how)
        return result if asked is None else with_quantiles(result, asked)

    return call


def _analyse_members(
    analyse: Analyse, cube: xr.DataArray, ensemble: KoopmanEnsemble, members: bool, how: Mapping[str, Any]
) -> xr.Dataset:
    if ensemble.kind == "shared":
        result = analyse(cube, ensemble.models[0], **{**how, "options": replace(how["options"], members=members)})
    else:
        result = combine([analyse(cube, model, **how) for model in ensemble.models], members=members)
    source = f"s2koop {__version__}, {ensemble.kind} ensemble {ensemble.digest[:12]} of {ensemble.size} members"
    return result.assign_attrs(source=source)


def _probabilities(quantiles: Any) -> npt.NDArray[np.float64]:
    try:
        asked = np.atleast_1d(np.asarray(quantiles, dtype=float))
    except (TypeError, ValueError):
        asked = np.empty(0)
    if asked.ndim != 1 or not len(asked) or not ((asked > 0) & (asked < 1)).all():
        raise InputError(f"quantiles={quantiles!r} must be probabilities between 0 and 1, such as [0.05, 0.5, 0.95]")
    return asked


def _member_path(checkpoint: Path, number: int) -> Path:
    return checkpoint.with_name(f"{checkpoint.stem}.member-{number}{checkpoint.suffix}")
