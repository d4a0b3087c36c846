"""What a probe puts on frozen features: a linear head for each kind of label, and how it is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.preprocessing import StandardScaler

from s2koop.errors import InputError

Array = npt.NDArray[Any]

#: Ridge penalties to choose from, for standardised features.
_PENALTIES = np.logspace(-2, 5, 15)
#: Deviations of the training samples beyond which a feature says nothing more.
_FURTHEST = 10.0
#: Inverse penalty of the logistic heads: features of an embedding are many and alike.
_INVERSE_PENALTY = 0.1
#: No class is held impossible because few labels never showed it.
_LEAST_PROBABILITY = 1e-6


@dataclass(frozen=True)
class Metric:
    """A score: what to call it, which way is better, and whether it only ranks within a fold.

    Attributes
    ----------
    label : str
    higher : bool
        Whether more is better.
    ranks : bool
        Ranks are comparable among predictions of one model only, so such a score is the mean over folds; the others
        are taken over all held-out samples at once.
    """

    label: str
    higher: bool
    ranks: bool = False


METRICS = {
    "rmse": Metric("RMSE", False),
    "r2": Metric("R²", True),
    "median_error": Metric("median error (°)", False),
    "mean_error": Metric("mean error (°)", False),
    "auroc_micro": Metric("micro AUROC", True, ranks=True),
    "auroc_macro": Metric("macro AUROC", True, ranks=True),
    "ap_micro": Metric("micro average precision", True, ranks=True),
    "ap_macro": Metric("macro average precision", True, ranks=True),
    "accuracy": Metric("accuracy", True),
    "balanced_accuracy": Metric("balanced accuracy", True),
    "f1_macro": Metric("macro F1", True),
    "log_loss": Metric("log loss", False),
}


@dataclass(frozen=True)
class Regression:
    """Numbers by ridge regression, its penalty by generalised cross-validation for each target.

    Attributes
    ----------
    targets : tuple of str
    """

    targets: tuple[str, ...]
    name: str = field(default="regression", init=False)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the columns of a prediction."""
        return self.targets

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores, the deciding one first; the name of a target follows where there are several."""
        return tuple(f"{metric}{tail}" for tail in self._tails() for metric in ("rmse", "r2"))

    def _tails(self) -> list[str]:
        return [""] if len(self.targets) == 1 else [f" {target}" for target in self.targets]

    def fit(self, features: Array, labels: Array, asked: Array) -> Array:
        """Predictions (asked, target) of a head trained on labels (sample, target)."""
        head = RidgeCV(alphas=_PENALTIES, alpha_per_target=labels.shape[1] > 1)
        known, unknown = _scaled(features, asked)
        target = labels[:, 0] if labels.shape[1] == 1 else labels
        return np.asarray(head.fit(known, target).predict(unknown)).reshape(len(asked), -1)

    def constant(self, labels: Array, number: int) -> Array:
        """Predictions (number, target) that know labels only: their mean."""
        return np.repeat(labels.mean(axis=0, keepdims=True), number, axis=0)

    def measure(self, labels: Array, found: Array) -> dict[str, float]:
        """Scores of predictions (sample, target)."""
        power = ((found - labels) ** 2).mean(axis=0)
        variance = labels.var(axis=0)
        explained = np.where(variance > 0, 1 - power / np.where(variance > 0, variance, 1), np.nan)
        pairs = zip(self._tails(), np.sqrt(power), explained, strict=True)
        return {
            f"{key}{tail}": float(value)
            for tail, *both in pairs
            for key, value in zip(("rmse", "r2"), both, strict=True)
        }

    def refuse(self, labels: Array) -> str | None:
        """Why labels cannot be learned at all, if they cannot."""
        flat = [name for name, spread in zip(self.targets, np.ptp(labels, axis=0), strict=True) if spread == 0]
        return f"labels {', '.join(flat)} have one value only" if flat else None

    def choose(self, labels: Array, number: int, rng: np.random.Generator) -> Array:
        """Positions of so many labels, at random."""
        return rng.choice(len(labels), number, replace=False)


@dataclass(frozen=True)
class Direction(Regression):
    """Directions modulo 180 degrees, by ridge regression of cosine and sine of twice the angle."""

    name: str = field(default="direction", init=False)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Cosine and sine of twice the angle."""
        return ("cosine", "sine")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores, the deciding one first."""
        return ("median_error", "mean_error")

    def measure(self, labels: Array, found: Array) -> dict[str, float]:
        """Scores of cosine and sine (sample, 2)."""
        turned, truth = (np.degrees(np.arctan2(part[:, 1], part[:, 0])) for part in (found, labels))
        error = np.abs((turned - truth + 180) % 360 - 180) / 2
        return {"median_error": float(np.median(error)), "mean_error": float(error.mean())}

    def refuse(self, labels: Array) -> str | None:
        """Why labels cannot be learned at all, if they cannot."""
        return "all directions are the same" if np.ptp(labels, axis=0).max() < 1e-12 else None


@dataclass(frozen=True)
class Multilabel:
    """Tags that may occur together, by a logistic regression each.

    Attributes
    ----------
    tags : tuple of str
    """

    tags: tuple[str, ...]
    name: str = field(default="multilabel", init=False)
    metrics: tuple[str, ...] = field(default=("auroc_micro", "auroc_macro", "ap_micro", "ap_macro"), init=False)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the columns of a prediction."""
        return self.tags

    def fit(self, features: Array, labels: Array, asked: Array) -> Array:
        """Probabilities (asked, tag) of heads trained on labels (sample, tag) of 0 and 1."""
        known, unknown = _scaled(features, asked)
        found = self.constant(labels, len(asked))
        for tag in np.flatnonzero(np.ptp(labels, axis=0) > 0):  # the others have one value: their share
            found[:, tag] = _logistic().fit(known, labels[:, tag]).predict_proba(unknown)[:, 1]
        return found

    def constant(self, labels: Array, number: int) -> Array:
        """Probabilities (number, tag) that know labels only: their shares."""
        return np.repeat(labels.mean(axis=0, keepdims=True), number, axis=0)

    def measure(self, labels: Array, found: Array) -> dict[str, float]:
        """Scores of probabilities (sample, tag); macro over tags that are both there and not."""
        both = np.ptp(labels, axis=0) > 0
        if not both.any():
            return dict.fromkeys(self.metrics, np.nan)
        single = [(labels[:, tag], found[:, tag]) for tag in np.flatnonzero(both)]
        joint = (labels.ravel(), found.ravel())
        return {
            "auroc_micro": float(metrics.roc_auc_score(*joint)),
            "auroc_macro": float(np.mean([metrics.roc_auc_score(*pair) for pair in single])),
            "ap_micro": float(metrics.average_precision_score(*joint)),
            "ap_macro": float(np.mean([metrics.average_precision_score(*pair) for pair in single])),
        }

    def refuse(self, labels: Array) -> str | None:
        """Why labels cannot be learned at all, if they cannot."""
        return None if np.ptp(labels, axis=0).any() else "every tag is always there or never"

    def choose(self, labels: Array, number: int, rng: np.random.Generator) -> Array:
        """Positions of so many labels, at random."""
        return rng.choice(len(labels), number, replace=False)


@dataclass(frozen=True)
class Classification:
    """One class of several, by multinomial logistic regression.

    Attributes
    ----------
    classes : tuple of str
        Labels are positions in it.
    """

    classes: tuple[str, ...]
    name: str = field(default="classification", init=False)
    metrics: tuple[str, ...] = field(default=("balanced_accuracy", "accuracy", "f1_macro", "log_loss"), init=False)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the columns of a prediction."""
        return self.classes

    def fit(self, features: Array, labels: Array, asked: Array) -> Array:
        """Probabilities (asked, class) of a head trained on labels (sample, 1)."""
        codes = labels[:, 0].astype(int)
        if np.ptp(codes) == 0:
            return self.constant(labels, len(asked))
        known, unknown = _scaled(features, asked)
        model = _logistic().fit(known, codes)
        found = np.zeros((len(asked), len(self.classes)))
        found[:, model.classes_] = model.predict_proba(unknown)
        return found

    def constant(self, labels: Array, number: int) -> Array:
        """Probabilities (number, class) that know labels only: shares of the classes."""
        counts = np.bincount(labels[:, 0].astype(int), minlength=len(self.classes))
        return np.repeat(counts[None] / counts.sum(), number, axis=0)

    def measure(self, labels: Array, found: Array) -> dict[str, float]:
        """Scores of probabilities (sample, class); means over the classes that occur."""
        truth, guess = labels[:, 0].astype(int), found.argmax(axis=1)
        there = np.unique(truth)
        likely = np.clip(found[np.arange(len(truth)), truth], _LEAST_PROBABILITY, 1)
        return {
            "balanced_accuracy": float(np.mean([(guess[truth == one] == one).mean() for one in there])),
            "accuracy": float((guess == truth).mean()),
            "f1_macro": float(metrics.f1_score(truth, guess, labels=there, average="macro", zero_division=0.0)),
            "log_loss": float(-np.log(likely).mean()),
        }

    def refuse(self, labels: Array) -> str | None:
        """Why labels cannot be learned at all, if they cannot."""
        return None if len(np.unique(labels)) > 1 else f"all labels are {self.classes[int(labels[0, 0])]!r}, one class"

    def choose(self, labels: Array, number: int, rng: np.random.Generator) -> Array:
        """Positions of so many labels: one of every class as far as they go, the others at random."""
        order = rng.permutation(len(labels))
        _, first = np.unique(labels[order, 0], return_index=True)
        first = rng.permutation(first)[:number]
        rest = np.delete(np.arange(len(order)), first)
        return order[np.concatenate([first, rest[: number - len(first)]])]


Task = Regression | Multilabel | Classification


def make_task(kind: str, labels: Array, names: Sequence[str] | None) -> tuple[Task, Array]:
    """The task of that name, and its labels as numbers (sample, column).

    Parameters
    ----------
    kind : str
        ``"regression"``, ``"direction"`` (degrees), ``"multilabel"`` or ``"classification"``.
    labels : array (sample,) or (sample, column)
        Without missing ones.
    names : sequence of str, optional
        Of the columns.

    Returns
    -------
    Task, float64 array (sample, column)

    Raises
    ------
    InputError
        If labels are of another kind than the task.

    Examples
    --------
    >>> task, numbers = make_task("classification", np.array(["sea", "ice", "sea"]), None)
    >>> task.classes, numbers[:, 0].tolist()
    (('ice', 'sea'), [1.0, 0.0, 1.0])
    """
    table = labels.reshape(len(labels), -1)
    if kind in ("classification", "direction") and table.shape[1] != 1:
        raise InputError(f"labels have {table.shape[1]} columns; task={kind!r} takes one. Probe them one by one")
    if kind == "classification":
        classes, codes = np.unique(
            table[:, 0].astype(str) if table.dtype == object else table[:, 0], return_inverse=True
        )
        if table.dtype.kind == "f" and len(classes) > max(20, len(table) // 2):
            raise InputError(f"labels are {len(classes)} different numbers; for numbers use task='regression'")
        return Classification(tuple(str(one) for one in classes)), codes.reshape(-1, 1).astype(np.float64)
    try:
        numbers = table.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"labels such as {table[0, 0]!r} are no numbers; use task='classification'") from error
    columns = tuple(map(str, names)) if names is not None else tuple(map(str, range(table.shape[1])))
    if len(columns) != table.shape[1]:
        raise InputError(f"there are {len(columns)} names for {table.shape[1]} columns of labels")
    if kind == "regression":
        return Regression(columns), numbers
    if kind == "direction":
        turned = np.radians(2 * numbers[:, 0])
        return Direction(columns), np.stack([np.cos(turned), np.sin(turned)], axis=1)
    if kind == "multilabel":
        if not np.isin(numbers, (0, 1)).all():
            raise InputError("tags must be 0 or 1 (or False and True); for classes use task='classification'")
        return Multilabel(columns), numbers
    raise InputError(f"task={kind!r} must be 'regression', 'direction', 'multilabel' or 'classification'")


def metric_of(name: str) -> Metric:
    """The metric of a name, which the name of a target may follow."""
    key, _, target = name.partition(" ")
    known = METRICS[key]
    return Metric(f"{known.label} {target}".strip(), known.higher, known.ranks)


def _scaled(features: Array, asked: Array) -> tuple[Array, Array]:
    """Both in standard deviations of the training samples, within bounds.

    A feature that hardly changes among few training samples, such as a filter that is nearly always off, may be
    thousands of deviations away in the next sample, which would then ruin the score of all.
    """
    scaler = StandardScaler().fit(features)
    known, unknown = (np.clip(scaler.transform(part), -_FURTHEST, _FURTHEST) for part in (features, asked))
    return known, unknown


def _logistic() -> LogisticRegression:
    return LogisticRegression(C=_INVERSE_PENALTY, tol=1e-3, max_iter=5000)
