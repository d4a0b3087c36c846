"""Everything that shapes a Koopman model before it is trained: one frozen dataclass, checked when made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from s2koop._numbers import real, sequence, whole
from s2koop._settings import Settings
from s2koop.errors import InputError

OPERATORS = ("modal", "dense")
ARCHITECTURES = ("mlp", "ikae", "ikae-zp", "aikae")
COUPLINGS = ("nice", "realnvp")
PRECISIONS = ("float32", "bfloat16")
#: Layers of a network: more than any trains, and few enough to be laid out at once.
MOST_LAYERS = 256
#: Latents of a network: the covariance of a pixel's takes their square.
MOST_LATENTS = 4096


@dataclass(frozen=True, kw_only=True)
class KoopmanSettings(Settings):
    """Settings of a Koopman network and of its training.

    The defaults are those that win on the sample catalogue on two cores; ``KoopmanSettings.paper()`` gives
    those of Frion et al. (2024).

    Attributes
    ----------
    architecture : {"mlp", "ikae", "ikae-zp", "aikae"}
        ``"mlp"``: the papers' autoencoder (KAE), an encoder and a decoder of their own.
        ``"ikae"``: one invertible network of coupling layers, whose inverse decodes; as many latents as states.
        ``"ikae-zp"``: the same on a state padded with zeros, hence with more latents.
        ``"aikae"``: the same, beside an encoder of further latents that the decoder does not see: they act on the
        future through the operator alone.
    latent : int or None
        Size of the latent state; even for the modal operator. None: 32 for ``"mlp"``; for the others it follows from
        the state, and a number is only checked.
    hidden : tuple of int
        ``"mlp"``: widths of the encoder's hidden layers; the decoder mirrors them. ``()`` makes both linear, which
        makes the analysis exact.
    linear_path : bool
        ``"mlp"``: a linear map beside the decoder's hidden layers, started (with the modal operator) from a harmonic
        regression, so that the layers only learn what that cannot say. Not in the papers.
    coupling : {"nice", "realnvp"}
        What a coupling layer does to one half of its input: add to it, or scale it and add.
    couplings, coupling_width : int
        Number of coupling layers, and the width of each one's hidden layer. Halves take turns; the first holds the
        reflectances and the second their slopes, or the first and the last bands where there is no `derivative`
        (the first is the smaller one, where bands are odd).
    padding : int
        ``"ikae-zp"``: zeros after the state.
    augmentation : tuple of int
        ``"aikae"``: hidden widths of the further encoder, and its number of latents.
    heads : int
        Last layers of the decoder that share the rest: the members of ``fit(ensemble="shared")``; 1 for a single model.
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
    short_term, short_days : float
        Weight of the prediction loss from every encoded date to one at most so many days later (0: none). The
        prediction loss proper looks as far ahead as the series goes, or `long_days`.
    long_days : float or None
        Longest horizon of the prediction loss; None for the whole series.
    robust : float or None
        Residuals beyond so many standard deviations count linearly, not squared (Huber), in training and in
        assimilation: scene classes let haze through. None gives least squares, as in the papers.
    learning_rate, weight_decay : float
        Of Adam; the rate decays along a cosine.
    batch_pixels, batch_dates : int
        Series per step, and random dates per step on which the losses are evaluated.
    steps : int
        Most optimiser steps. As many are kept as clearly gain on the held-out dates; none, where the linear path
        starts well and the series is too short to teach more.
    validate_every, patience : int
        A validation every so many steps; stop after so many without gain.
    precision : {"float32", "bfloat16"}
        Of the networks' products in training. Weights, dynamics and losses stay float32.
    holdout : float
        Last part of the period, as a fraction, held out for early stopping and for the error of an observation.
    seed : int
        Of weights, batches and pixel choice.
    """

    architecture: str = "mlp"
    latent: int | None = None
    hidden: tuple[int, ...] = (128, 64)
    coupling: str = "nice"
    linear_path: bool = True
    couplings: int = 6
    coupling_width: int = 256
    padding: int = 16
    augmentation: tuple[int, ...] = (512, 512, 16)
    heads: int = 1
    operator: str = "modal"
    derivative: bool = True
    step_days: float = 5.0
    cycles_per_year: tuple[float, ...] = (0.0, 1.0, 1.0, 2.0)
    orthogonality: float = 1e-2
    linearity: float = 1.0
    autoencoding: float = 1.0
    trajectory: float = 1.0
    short_term: float = 0.0
    short_days: float = 30.0
    long_days: float | None = None
    robust: float | None = 1.0
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    batch_pixels: int = 256
    batch_dates: int = 16
    steps: int = 400
    validate_every: int = 100
    patience: int = 3
    precision: str = "float32"
    holdout: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        self._set("hidden", sequence("hidden", self.hidden, whole, least=1))
        self._set("cycles_per_year", sequence("cycles_per_year", self.cycles_per_year, real, least=0))
        self._check_architecture()
        for name in ("heads", "batch_pixels", "batch_dates", "steps", "validate_every", "patience"):
            self._set(name, whole(name, getattr(self, name), least=1))
        self._set("seed", whole("seed", self.seed, least=0))
        for name in ("orthogonality", "linearity", "autoencoding", "trajectory", "short_term", "weight_decay"):
            self._set(name, real(name, getattr(self, name), least=0))
        for name in ("step_days", "learning_rate", "robust", "short_days", "long_days"):
            if name in ("robust", "long_days") and getattr(self, name) is None:
                continue
            self._set(name, real(name, getattr(self, name), least=0))
            if not getattr(self, name):
                raise InputError(f"{name}=0 must be greater than 0")
        self._set("holdout", real("holdout", self.holdout, least=0))
        if not 0 < self.holdout < 0.9:
            raise InputError(f"holdout={self.holdout} must lie between 0 and 0.9, a fraction of the dates")
        if not self.cycles_per_year:
            raise InputError("cycles_per_year is empty; give at least one frequency, such as 1.0")
        if self.heads > 1 and self.architecture != "mlp":
            raise InputError(f"heads={self.heads} needs architecture='mlp': an inverse has no last layer to repeat")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision={self.precision!r} is unknown; choose one of {PRECISIONS}")
        if self.operator not in OPERATORS:
            raise InputError(f"operator={self.operator!r} is unknown; choose one of {OPERATORS}")
        if self.operator == "modal" and self.latent is not None and self.latent % 2:
            raise InputError(f"latent={self.latent} is odd; the modal operator needs an even number (pairs of latents)")

    def _check_architecture(self) -> None:
        for name, known in (("architecture", ARCHITECTURES), ("coupling", COUPLINGS)):
            if getattr(self, name) not in known:
                raise InputError(f"{name}={getattr(self, name)!r} is unknown; choose one of {known}")
        if self.latent is None and self.architecture == "mlp":
            self._set("latent", 32)
        if self.latent is not None:
            self._set("latent", whole("latent", self.latent, least=1))
        self._set("couplings", whole("couplings", self.couplings, least=1, most=MOST_LAYERS))
        for name in ("coupling_width", "padding"):
            self._set(name, whole(name, getattr(self, name), least=1))
        self._set("augmentation", sequence("augmentation", self.augmentation, whole, least=1))
        for name in ("hidden", "augmentation"):
            whole(f"number of layers in {name}", len(getattr(self, name)), least=0, most=MOST_LAYERS)
        if not self.augmentation:
            raise InputError("augmentation is empty; give at least the number of further latents, such as (16,)")

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # frozen for everyone else

    def state_size(self, bands: int) -> int:
        """Size of the state of so many bands: reflectances, and their slopes with `derivative`."""
        return 2 * bands if self.derivative else bands

    def latent_size(self, bands: int) -> int:
        """Size of the latent state of a network for so many bands.

        Raises
        ------
        InputError
            If the architecture does not allow the `latent` that was asked for, an even number that the modal operator
            needs, or a state of one number.

        Examples
        --------
        >>> KoopmanSettings(architecture="ikae-zp").latent_size(bands=10)
        36
        """
        if self.architecture == "mlp":
            assert self.latent is not None  # set by __post_init__
            return whole("latent", self.latent, least=1, most=MOST_LATENTS)
        state = self.state_size(bands)
        more = {"ikae": 0, "ikae-zp": self.padding, "aikae": self.augmentation[-1]}[self.architecture]
        what = f"architecture={self.architecture!r} with {bands} band(s) and derivative={self.derivative}"
        if state < 2 and self.architecture != "ikae-zp":
            raise InputError(f"{what} has a state of one number, which has no halves; use 'ikae-zp' or derivative=True")
        if self.latent not in (None, state + more):
            raise InputError(f"{what} has {state + more} latents, not latent={self.latent}; leave latent out")
        if self.operator == "modal" and (state + more) % 2:
            cures = {"ikae": "derivative=True", "ikae-zp": "another padding=", "aikae": "another end of augmentation="}
            cure = f"the modal operator needs an even number: use {cures[self.architecture]}"
            raise InputError(f"{what} has {state + more} latents; {cure}")
        return whole("number of latents", state + more, least=1, most=MOST_LATENTS)

    @classmethod
    def paper(cls, architecture: str = "mlp", **changes: Any) -> KoopmanSettings:
        """Architecture and loss weights of the papers: dense K, orthogonality 100, no robust loss.

        Parameters
        ----------
        architecture : {"mlp", "ikae", "ikae-zp", "aikae"}
            ``"mlp"`` is the autoencoder of Frion et al. (2024), 512-256-32; the others are those of Frion et al. (2025,
            TMLR), six NICE couplings of width 256 without an auto-encoding loss.
        **changes
            Settings that shall differ.

        Examples
        --------
        >>> KoopmanSettings.paper("aikae").latent_size(bands=10)
        36
        """
        flow = architecture != "mlp"
        published: dict[str, Any] = {
            "architecture": architecture, "hidden": (512, 256), "operator": "dense", "orthogonality": 100.0,
            "linear_path": False,
            "autoencoding": 0.0 if flow else 1.0, "trajectory": 0.0, "robust": None, "learning_rate": 1e-3,
            "weight_decay": 1e-6 if architecture in ("ikae-zp", "aikae") else 0.0, "batch_pixels": 512,
            "batch_dates": 100, "long_days": 500.0,
        }  # fmt: skip
        return cls(**(published | changes))

    def describe(self) -> str:
        """The architecture in a few words.

        Examples
        --------
        >>> KoopmanSettings(architecture="ikae-zp").describe()
        'ikae-zp of 6 nice couplings, width 256'
        """
        if self.architecture == "mlp":
            return f"mlp, hidden {self.hidden}"
        return f"{self.architecture} of {self.couplings} {self.coupling} couplings, width {self.coupling_width}"
