"""Everything that shapes a Koopman model before it is trained: one frozen dataclass, checked when made."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from s2koop._numbers import real, sequence, whole
from s2koop.errors import InputError

OPERATORS = ("modal", "dense")


@dataclass(frozen=True, kw_only=True)
class KoopmanSettings:
    """Settings of a Koopman autoencoder and of its training.

    The defaults are those that win on the sample catalogue on two cores; ``KoopmanSettings.paper()`` gives
    those of Frion et al. (2024).

    Attributes
    ----------
    latent : int
        Size of the latent state. Even for the modal operator.
    hidden : tuple of int
        Widths of the encoder's hidden layers; the decoder mirrors them. ``()`` makes both linear, which
        makes the analysis exact.
    operator : {"modal", "dense"}
        ``"modal"``: 2x2 rotation-and-decay blocks in continuous time, stable by construction.
        ``"dense"``: the papers' matrix K over `step_days`, with soft orthogonality.
    derivative : bool
        Whether the state holds the time derivative beside the reflectance, as in the papers.
    step_days : float
        The step of the dense operator, and the unit of the derivative (change per step), in days.
    cycles_per_year : tuple of float
        Modal operator: frequencies that its blocks start from, in turn; 0 is the mean. The default is the year and its
        first overtone, which land surfaces follow; training bends them.
    orthogonality, linearity, autoencoding, trajectory : float
        Weights of the losses beside the prediction loss; ``trajectory`` is ours, the others are
        the papers' (see `s2koop.koopman.losses`).
    robust : float or None
        Residuals beyond so many standard deviations count linearly, not squared (Huber), in training and in
        assimilation: scene classes let haze through. None gives least squares, as in the papers.
    learning_rate, weight_decay : float
        Of Adam; the rate decays along a cosine.
    batch_pixels, batch_dates : int
        Series per step, and random dates per step on which the losses are evaluated.
    steps : int
        Most optimiser steps.
    validate_every, patience : int
        A validation every so many steps; stop after so many without gain.
    holdout : float
        Last part of the period, as a fraction, held out for early stopping and for the error of an observation.
    seed : int
        Of weights, batches and pixel choice.
    """

    latent: int = 32
    hidden: tuple[int, ...] = (128, 64)
    operator: str = "modal"
    derivative: bool = True
    step_days: float = 5.0
    cycles_per_year: tuple[float, ...] = (0.0, 1.0, 1.0, 2.0)
    orthogonality: float = 1e-2
    linearity: float = 1.0
    autoencoding: float = 1.0
    trajectory: float = 1.0
    robust: float | None = 1.0
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    batch_pixels: int = 256
    batch_dates: int = 16
    steps: int = 400
    validate_every: int = 100
    patience: int = 3
    holdout: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        self._set("hidden", sequence("hidden", self.hidden, whole, least=1))
        self._set("cycles_per_year", sequence("cycles_per_year", self.cycles_per_year, real, least=0))
        for name in ("latent", "batch_pixels", "batch_dates", "steps", "validate_every", "patience"):
            self._set(name, whole(name, getattr(self, name), least=1))
        self._set("seed", whole("seed", self.seed, least=0))
        for name in ("orthogonality", "linearity", "autoencoding", "trajectory", "weight_decay"):
            self._set(name, real(name, getattr(self, name), least=0))
        for name in ("step_days", "learning_rate", "robust"):
            if name == "robust" and self.robust is None:
                continue
            self._set(name, real(name, getattr(self, name), least=0))
            if not getattr(self, name):
                raise InputError(f"{name}=0 must be greater than 0")
        self._set("holdout", real("holdout", self.holdout, least=0))
        if not 0 < self.holdout < 0.9:
            raise InputError(f"holdout={self.holdout} must lie between 0 and 0.9, a fraction of the dates")
        if not self.cycles_per_year:
            raise InputError("cycles_per_year is empty; give at least one frequency, such as 1.0")
        if self.operator not in OPERATORS:
            raise InputError(f"operator={self.operator!r} is unknown; choose one of {OPERATORS}")
        if self.operator == "modal" and self.latent % 2:
            raise InputError(f"latent={self.latent} is odd; the modal operator needs an even number (pairs of latents)")

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # frozen for everyone else

    @classmethod
    def paper(cls, **changes: Any) -> KoopmanSettings:
        """Architecture and loss weights of Frion et al. (2024): 512-256-32, dense K, orthogonality 100."""
        published: dict[str, Any] = {
            "hidden": (512, 256), "latent": 32, "operator": "dense", "orthogonality": 100.0, "learning_rate": 1e-3,
            "weight_decay": 0.0, "trajectory": 0.0, "robust": None, "batch_pixels": 512, "batch_dates": 100,
        }  # fmt: skip
        return cls(**(published | changes))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KoopmanSettings:
        """Settings from a plain mapping, such as a model card; an unknown name is an error."""
        known = sorted(f.name for f in fields(cls))
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"settings are {', '.join(known)}"
                raise InputError(f"unknown setting {name!r}; {hint}")
        return cls(**dict(values))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        return asdict(self)
