"""Linear dynamics of the latent state: row vectors, ``z(t + days) = z(t) @ power(days)``.

Two parametrisations share one contract, `LatentOperator`. Neither ever backpropagates through an
eigendecomposition, whose gradient blows up where eigenvalues meet.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.linalg
import torch
from torch import Tensor, nn

from s2koop._time import YEAR_DAYS
from s2koop.errors import ModelError
from s2koop.koopman.settings import KoopmanSettings

#: A spectral radius beyond one by no more than this is rounding of float32 weights.
GROWTH_TOLERANCE = 1e-6

_NO_FRACTIONS = (
    "fractional or backward steps are not defined. Train with a larger orthogonality=, or with operator='modal'."
)


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of an operator over one step, with left coordinates of each mode.

    Attributes
    ----------
    eigenvalue : ndarray of complex128, shape (mode,)
        Over `step_days`; one of each conjugate pair, slowest decay first.
    coordinates : ndarray of complex128, shape (latent, mode)
        ``z @ coordinates`` are the complex mode amplitudes of row vectors ``z``.
    step_days : float
    """

    eigenvalue: npt.NDArray[np.complex128]
    coordinates: npt.NDArray[np.complex128]
    step_days: float

    @property
    def period_days(self) -> npt.NDArray[np.float64]:
        """Period of each mode; infinite where it does not oscillate."""
        angle = np.abs(np.angle(self.eigenvalue))
        with np.errstate(divide="ignore"):
            return np.where(angle > 1e-12, 2 * np.pi * self.step_days / angle, np.inf)

    @property
    def decay_days(self) -> npt.NDArray[np.float64]:
        """Days until a mode has fallen to 1/e; negative where it grows, infinite where it does neither."""
        rate = -np.log(np.maximum(np.abs(self.eigenvalue), 1e-300)) / self.step_days
        with np.errstate(divide="ignore"):
            return np.where(np.abs(rate) > 1e-12, 1 / rate, np.inf)


class LatentOperator(nn.Module, ABC):
    """What every operator offers; a parametrisation adds its `powers`."""

    def __init__(self, latent: int, step_days: float) -> None:
        super().__init__()
        self.latent = latent
        self.step_days = step_days

    @abstractmethod
    def powers(self, days: Tensor) -> Tensor:
        """Matrices (n, latent, latent) that advance row vectors by each of `days` (n,)."""

    def advance(self, z: Tensor, days: Tensor) -> Tensor:
        """Latents (..., latent) advanced by each of `days` (n,): (..., n, latent)."""
        return torch.einsum("...i,nij->...nj", z, self.powers(days))

    def orthogonality(self) -> Tensor:
        """``||K K^T - I||_F^2 / latent`` over one step (Frion et al. 2024, their orthogonality loss)."""
        step = self.powers(self._reference().new_tensor([self.step_days]))[0]
        eye = torch.eye(self.latent, dtype=step.dtype, device=step.device)
        return ((step @ step.T - eye) ** 2).sum() / self.latent

    @property
    def spectral_radius(self) -> float:
        """Largest modulus of an eigenvalue over one step: above one, some latents grow without end."""
        return float(np.abs(self.spectrum().eigenvalue).max())

    @property
    def grows(self) -> bool:
        """Whether the spectral radius is above one by more than rounding."""
        return self.spectral_radius > 1 + GROWTH_TOLERANCE

    def stability(self) -> str:
        """The spectral radius for people, and what it does to a year where it is above one.

        Examples
        --------
        >>> DenseOperator(2, step_days=5.0).stability()
        'spectral radius 1.000000 over 5 days'
        """
        radius = f"spectral radius {self.spectral_radius:.6f} over {self.step_days:g} days"
        return f"{radius}: grows by a factor of {self.growth(YEAR_DAYS):.3g} a year" if self.grows else radius

    def growth(self, days: float) -> float:
        """Factor by which the fastest mode grows over so many days; at most one where none does.

        Examples
        --------
        >>> operator = DenseOperator(2, step_days=5.0)
        >>> _ = operator.matrix.data.mul_(1.01)
        >>> round(operator.growth(365.0), 2)
        2.07
        """
        return self.spectral_radius ** (days / self.step_days)

    def _reference(self) -> Tensor:
        return next(self.parameters())

    def spectrum(self) -> Spectrum:
        """Eigenvalues over one step, and the coordinates of the modes."""
        days = self._reference().new_tensor([self.step_days])
        step = self.powers(days)[0].detach().double().cpu().numpy()
        values, right = np.linalg.eig(step)
        keep = values.imag >= -1e-12
        order = np.argsort(-np.abs(values[keep]), kind="stable")
        return Spectrum(
            values[keep][order].astype(np.complex128),
            right[:, keep][:, order].astype(np.complex128),
            self.step_days,
        )


class ModalOperator(LatentOperator):
    """Rotation-and-decay blocks in continuous time: any real number of days, spectral radius at most one.

    Block j turns by ``frequency[j] * days`` and shrinks by ``exp(-rate[j] * days)`` with ``rate = softplus(.) >= 0``.
    Training bends a frequency slowly (one unit of ``bend`` is one cycle a century): a scene has few years, and
    frequencies left free fit its weather instead of its seasons.

    Parameters
    ----------
    latent : int
        Even: two latents a block.
    step_days : float
    cycles_per_year : sequence of float
        Frequencies that blocks start from, taken in turn; 0 for the mean.
    """

    base: Tensor

    def __init__(self, latent: int, step_days: float, cycles_per_year: Sequence[float]) -> None:
        super().__init__(latent, step_days)
        blocks = latent // 2
        cycles = [cycles_per_year[j % len(cycles_per_year)] for j in range(blocks)]
        self.register_buffer("base", 2 * math.pi / YEAR_DAYS * torch.tensor(cycles, dtype=torch.float32))
        self.bend = nn.Parameter(torch.zeros(blocks))
        slow = 1 / (50 * YEAR_DAYS)  # a decay so slow that ten years keep four fifths
        self.rate = nn.Parameter(torch.full((blocks,), math.log(math.expm1(slow * 1000))))

    def _turn(self, days: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine of each block's turn, shrunk: both of shape (n, block)."""
        # angles in double: a century is a thousand radians, of which float32 keeps four decimals
        days = days.to(self.base.device, torch.float64)[:, None]
        angle = days * (self.base.double() + self.bend.double() * (2 * math.pi / (100 * YEAR_DAYS)))
        shrink = torch.exp(-days / 1000 * nn.functional.softplus(self.rate.double()))
        return (shrink * angle.cos()).to(self.base), (shrink * angle.sin()).to(self.base)

    @property
    def spectral_radius(self) -> float:
        # not from computed powers, whose rounding could read as growth
        slowest = float(nn.functional.softplus(self.rate.detach().double()).min())
        return math.exp(-self.step_days / 1000 * slowest)

    def powers(self, days: Tensor) -> Tensor:
        cos, sin = self._turn(days)
        blocks = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)  # (n, block, 2, 2)
        out = blocks.new_zeros(len(days), self.latent // 2, 2, self.latent // 2, 2)
        index = torch.arange(self.latent // 2, device=blocks.device)
        out[:, index, :, index, :] = blocks.transpose(0, 1)
        return out.reshape(len(days), self.latent, self.latent)

    def advance(self, z: Tensor, days: Tensor) -> Tensor:
        # the blocks applied one by one: a dense product would cost `latent` times more
        cos, sin = self._turn(days)
        even, odd = z[..., None, 0::2], z[..., None, 1::2]
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


class DenseOperator(LatentOperator):
    """The papers' matrix K over one step, started at the identity.

    In training, dates are whole steps. A fitted K also takes fractional and backward steps through its real
    logarithm, where it has one.
    """

    def __init__(self, latent: int, step_days: float) -> None:
        super().__init__(latent, step_days)
        self.matrix = nn.Parameter(torch.eye(latent))

    def powers(self, days: Tensor) -> Tensor:
        steps = days.to(torch.float64) / self.step_days
        whole = steps.round()
        if bool(((steps - whole).abs() < 1e-6).all()) and bool((whole >= 0).all()):
            return self._whole_powers(whole.long())
        return self._real_powers(steps)

    def _whole_powers(self, steps: Tensor) -> Tensor:
        """Differentiable powers: squares by doubling, then each exponent's binary digits.

        In double, as errors grow with the exponent; the matrices are small beside what they advance.
        """
        square = self.matrix.double()
        result = torch.eye(self.latent, dtype=square.dtype, device=square.device).expand(len(steps), -1, -1)
        remaining = steps.to(self.matrix.device)
        while bool((remaining > 0).any()):
            odd = (remaining % 2 == 1)[:, None, None]
            result = torch.where(odd, result @ square, result)
            square = square @ square
            remaining = remaining // 2
        return result.to(self.matrix)

    def _real_powers(self, steps: Tensor) -> Tensor:
        if torch.is_grad_enabled() and self.matrix.requires_grad:
            raise ModelError(
                f"the dense operator trains on whole steps of {self.step_days:g} days only; "
                "use operator='modal' for irregular dates, or snap the dates to the step"
            )
        generator = torch.from_numpy(real_logarithm(self.matrix.detach().double().cpu().numpy()))
        return torch.linalg.matrix_exp(steps.cpu()[:, None, None] * generator).to(self.matrix)


def real_logarithm(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Principal logarithm of a real matrix, refused where it is not real or cannot be computed.

    Parameters
    ----------
    matrix : ndarray of float64, shape (n, n)

    Returns
    -------
    ndarray of float64, shape (n, n)

    Raises
    ------
    ModelError
        If an eigenvalue is negative or zero, or so near that the logarithm is lost in rounding: fractional and
        backward steps are then not defined.

    Examples
    --------
    >>> import numpy as np
    >>> real_logarithm(np.diag([1.0, np.e]))
    array([[0., 0.],
           [0., 1.]])
    """
    if not np.isfinite(matrix).all():
        raise ModelError("K holds values that are not finite; the training diverged, or the file is damaged")
    values = np.linalg.eigvals(matrix)
    bad = values[(np.abs(values.imag) < 1e-9 * np.abs(values).max()) & (values.real <= 0)]
    if bad.size:
        raise ModelError(
            f"K has {bad.size} eigenvalue(s) on the negative real axis or at zero (such as {bad[0].real:.3g}), "
            f"hence no real logarithm: {_NO_FRACTIONS}"
        )
    log, error = _checked_logarithm(matrix)
    if not error <= 1e-7 * max(1.0, np.abs(matrix).max()):
        raise ModelError(
            f"the real logarithm of K is lost in rounding (its exponential is off by {error:.2g}), as some eigenvalue "
            f"is nearly zero, nearly negative or nearly shared: {_NO_FRACTIONS}"
        )
    return log


def _checked_logarithm(matrix: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], float]:
    """Real part of the principal logarithm, and by how much its exponential misses the matrix."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy doubts its result in several words; the error says it in one
        try:
            log = np.ascontiguousarray(scipy.linalg.logm(matrix).real) + 0.0
            return log, float(np.abs(scipy.linalg.expm(log) - matrix).max())
        except (ValueError, np.linalg.LinAlgError):
            return np.zeros_like(matrix), math.inf


def make_operator(latent: int, settings: KoopmanSettings) -> ModalOperator | DenseOperator:
    """The operator that the settings name, of so many latents."""
    if settings.operator == "modal":
        return ModalOperator(latent, settings.step_days, settings.cycles_per_year)
    return DenseOperator(latent, settings.step_days)
