"""How translators between two sensors are trained: frozen settings that are checked when made."""

from __future__ import annotations

from dataclasses import dataclass

from s2koop._numbers import real, whole
from s2koop._settings import Settings
from s2koop.ac.adaptation.networks import LEAST_SEEN, RADIUS
from s2koop.errors import InputError

#: Linear maps that translators may begin as.
STARTS = ("transport", "moments", "identity")


@dataclass(frozen=True, kw_only=True)
class AdaptationSettings(Settings):
    """How translators are trained; checked when made.

    Attributes
    ----------
    steps : int
        Steps of Adam of translators and critics; 0 leaves the start as it is.
    batch : int
        Patches of each side in a step.
    patch : int
        Rows and columns of patches. Translated ones lose 6 pixels on each side, and judged ones have at least 16.
    patches : int
        Patches of each side that are cut out before, and learned from.
    width : int
        Channels of the translators' layers.
    learning_rate : float
        Of Adam; over the second half of the steps it falls to 0.
    start : {"transport", "moments", "identity"}
        Linear map that translators begin as: ``"transport"`` gives pixels mean and covariance of the other side and
        moves them least, ``"moments"`` gives each band the mean and standard deviation of the other side.
    identity : float
        Weight of the change that a translator makes to what is of its own side already, beside the adversarial loss.
    cycle : float
        Weight of what is lost there and back.
    tolerance : float
        Reflectance below which both losses are smooth; 0 for the mean absolute difference.
    penalty : float
        Weight of half of the squared slope of critics at true images, bands in standard deviations.
    average : float
        Share of the averaged weights that each step keeps: averages are the result.
    seed : int
        Of weights, patches and batches.

    References
    ----------
    Mateo-García et al. (2020), IEEE JSTARS 13, have batches of 48 patches of 64 x 64, a width of 64, a rate of 1e-4, a
    penalty of 10, identity and cycle of 5 without tolerance, and start from the mean.
    """

    steps: int = 600
    batch: int = 16
    patch: int = 28
    patches: int = 2400
    width: int = 32
    learning_rate: float = 1e-3
    start: str = "transport"
    identity: float = 5.0
    cycle: float = 25.0
    tolerance: float = 0.01
    penalty: float = 1.0
    average: float = 0.99
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch", "patches", "width"):
            whole(name, getattr(self, name), least=1)
        whole("patch", self.patch, least=2 * RADIUS + LEAST_SEEN)
        for name in ("steps", "seed"):
            whole(name, getattr(self, name), least=0)
        for name in ("learning_rate", "identity", "cycle", "tolerance", "penalty", "average"):
            real(name, getattr(self, name), least=0)
        if not self.learning_rate:
            raise InputError("learning_rate=0 must be greater than 0")
        if self.average >= 1:
            raise InputError(f"average={self.average} must be below 1, such as 0.99")
        if self.start not in STARTS:
            raise InputError(f"start={self.start!r} is unknown; choose one of {', '.join(STARTS)}")
