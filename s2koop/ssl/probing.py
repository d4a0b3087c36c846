"""Linear probes: what frozen features know of labels, beside what simpler features and the mean know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from s2koop._numbers import sequence, whole
from s2koop.errors import InputError
from s2koop.ssl._samples import as_groups, as_labels, as_mask, default_groups, gather
from s2koop.ssl.folds import Fold, make_folds, spatial_blocks
from s2koop.ssl.heads import Classification, Task, make_task, metric_of
from s2koop.ssl.label_curve import MEAN, evaluate, learning_curve, predict

if TYPE_CHECKING:
    import holoviews as hv

__all__ = ["BUDGETS", "ProbeResult", "probe", "probe_embedding", "spatial_blocks"]

Array = npt.NDArray[Any]

#: Numbers of labels of a curve; those that exceed the training folds are left out.
BUDGETS = (10, 25, 50, 100, 250, 1000)


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """What probes found. The first row is the subject, the others are what it is judged against.

    Attributes
    ----------
    task : str
    scores : Dataset (features, metric)
        ``score``, and ``spread``, its standard deviation over folds; coordinates ``label`` and ``higher`` (whether more
        is better) of each metric. Errors and shares are those of all held-out samples together, ranks (AUROC, average
        precision) means over folds.
    curve : Dataset (features, labels, draw)
        A variable for each metric. The last number of labels is that of the smallest training fold: all of them, where
        nothing is drawn.
    predictions : Dataset
        ``prediction`` (features, sample, output) of models that had not seen the sample; ``label`` (sample, column);
        ``fold`` (sample). ``sample`` is the position among what was given. Outputs are targets, probabilities of tags
        or classes, or cosine and sine of twice a direction.
    scheme : str
        How samples were held out.
    left_out : int
        Samples without a label, or with NaN features in any row.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> features = rng.normal(size=(60, 4))
    >>> found = probe({"features": features}, features[:, 0] + 0.1 * rng.normal(size=60), budgets=(10,))
    >>> found.best("rmse"), found.scores.features.values.tolist()
    ('features', ['features', 'mean'])
    """

    task: str
    scores: xr.Dataset
    curve: xr.Dataset
    predictions: xr.Dataset
    scheme: str
    left_out: int

    @property
    def subject(self) -> str:
        """Name of the first row."""
        return str(self.scores["features"].values[0])

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, the deciding one first."""
        return [str(name) for name in self.scores["metric"].values]

    def best(self, metric: str | None = None) -> str | None:
        """Name of the row with the best score.

        Parameters
        ----------
        metric : str, optional
            The deciding one by default.

        Returns
        -------
        str or None
            None where no row has a score. Of equal rows the simpler one wins: that which stands later.

        Raises
        ------
        InputError
            If there is no such metric.
        """
        name = self._metric(metric)
        scores = self.scores["score"].sel(metric=name).values
        ranked = scores if metric_of(name).higher else -scores
        if not np.isfinite(ranked).any():
            return None
        return str(self.scores["features"].values[np.flatnonzero(ranked == np.nanmax(ranked))[-1]])

    @property
    def verdict(self) -> str:
        """One sentence: whether the subject is better than all that it is judged against."""
        name = self.metrics[0]
        best, label = self.best(name), metric_of(name).label
        if best is None:
            return f"No row has a {label}."
        subject, winner = (float(self.scores["score"].sel(metric=name, features=row)) for row in (self.subject, best))
        if best != self.subject:
            return f"{best} is better than {self.subject}: {label} {winner:.3g} against {subject:.3g}."
        others = self.scores["score"].sel(metric=name).isel(features=slice(1, None))
        second = float(others.max() if metric_of(name).higher else others.min())
        return f"{best} is the best row: {label} {winner:.3g}, the next has {second:.3g}."

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each set of features: columns ``<metric>`` and ``<metric>_spread``.

        Returns
        -------
        DataFrame
        """
        columns = {}
        for name in self.metrics:
            columns[name] = self.scores["score"].sel(metric=name).values
            columns[f"{name}_spread"] = self.scores["spread"].sel(metric=name).values
        return pd.DataFrame(columns, index=pd.Index(self.scores["features"].values, name="features"))

    def plot(self, metric: str | None = None) -> hv.Overlay:
        """Draw the score against the number of labels, with its spread over draws.

        Parameters
        ----------
        metric : str, optional
            The deciding one by default.

        Returns
        -------
        holoviews.Overlay

        Raises
        ------
        InputError
            If there is no such metric.
        """
        from s2koop.plots.embeddings import label_curve

        return label_curve(self, metric=self._metric(metric))

    def __repr__(self) -> str:
        return f"<ProbeResult: {self.summary}>\n{self.to_dataframe().round(4).to_string()}\n{self.verdict}"

    @property
    def summary(self) -> str:
        """What was probed, how samples were held out, and how many were left out."""
        return f"{self.task} of {self.predictions.sizes['sample']} samples, {self.scheme}, {self.left_out} left out"

    def _repr_html_(self) -> str:
        heads = "".join(
            f'<th style="{_CELL}">{escape(metric_of(name).label)}<br><small style="font-weight:400">'
            f"{'↑ more is better' if metric_of(name).higher else '↓ less is better'}</small></th>"
            for name in self.metrics
        )
        winners = {name: self.best(name) for name in self.metrics}
        rows = "".join(
            f'<tr><th style="{_CELL};text-align:left">{escape(str(row))}</th>'
            + "".join(self._cell(str(row), name, winners[name]) for name in self.metrics)
            + "</tr>"
            for row in self.scores["features"].values
        )
        return (
            f'<div><div style="margin:.2em 0">Linear probe: {escape(self.summary)}</div>'
            f'<table style="border-collapse:collapse"><thead><tr><th style="{_CELL};text-align:left">features</th>'
            f"{heads}</tr></thead><tbody>{rows}</tbody></table>"
            f'<div style="margin:.4em 0">★ best of its column. ± is the standard deviation over folds. '
            f"<b>{escape(self.verdict)}</b></div></div>"
        )

    def _cell(self, row: str, metric: str, winner: str | None) -> str:
        score, spread = (float(self.scores[name].sel(features=row, metric=metric)) for name in ("score", "spread"))
        text = f"{score:.3f}" if np.isfinite(score) else "–"
        text += f' <small style="opacity:.7">± {spread:.3f}</small>' if np.isfinite(spread) else ""
        if row == winner:
            return f'<td style="{_CELL};font-weight:700;background:rgba(0,114,178,.16)">★ {text}</td>'
        return f'<td style="{_CELL}">{text}</td>'

    def _metric(self, metric: str | None) -> str:
        if metric is not None and metric not in self.metrics:
            raise InputError(f"there is no metric {metric!r}; choose one of {', '.join(self.metrics)}")
        return metric or self.metrics[0]


_CELL = "padding:.25em .8em;text-align:right;border-bottom:1px solid rgba(128,128,128,.35);white-space:nowrap"


def probe(
    features: Mapping[str, Any],
    labels: Any,
    *,
    task: str = "regression",
    groups: Any = None,
    train: Any = None,
    folds: int = 5,
    seed: int = 0,
    budgets: Sequence[int] = BUDGETS,
    draws: int = 5,
    names: Sequence[str] | None = None,
) -> ProbeResult:
    """Train a linear head on each set of features and judge it on samples that it has not seen.

    Features are standardised by the training samples. Numbers and directions get a ridge regression whose penalty
    minimises the generalised cross-validation error; tags and classes a logistic regression. All rows have the same
    samples, folds and draws of labels. The row ``"mean"``, which knows labels only, is always added.

    Parameters
    ----------
    features : mapping of str to array (sample, feature)
        Rows of the result, the subject first.
    labels : array, Series or DataFrame (sample,) or (sample, column)
        Numbers; directions in degrees, where those 180 apart are the same; tags of 0 and 1; or classes.
    task : str
        ``"regression"``, ``"direction"``, ``"multilabel"`` or ``"classification"``.
    groups : array (sample,), optional
        Samples of one group, such as an image or a site, are never in training and held out at once.
    train : bool array (sample,), optional
        A fixed split, as benchmarks have one: True trains, False is held out.
    folds : int
        Number of folds.
    seed : int
        Of random folds and of draws.
    budgets : sequence of int
        Numbers of labels of the curve. Those beyond the smallest training fold are left out.
    draws : int
        How often few labels are drawn.
    names : sequence of str, optional
        Of the columns of labels; by default those of a DataFrame.

    Returns
    -------
    ProbeResult

    Raises
    ------
    InputError
        If labels have another length than features, have one value or class only, or are of another kind than the task;
        if features are constant or NaN throughout; if there are fewer samples or groups than folds ask for.

    References
    ----------
    Golub, Heath and Wahba (1979), Generalized cross-validation as a method for choosing a good ridge parameter,
    Technometrics 21(2), 215-223; Alain and Bengio (2016), Understanding intermediate layers using linear classifier
    probes, arXiv:1610.01644.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> classes = rng.choice(["ice", "sea"], 80)
    >>> good = rng.normal(size=(80, 3)) + 3 * (classes == "sea")[:, None]
    >>> found = probe({"good": good, "noise": rng.normal(size=(80, 3))}, classes, task="classification", budgets=(10,))
    >>> found.best(), bool(found.scores.score.sel(features="good", metric="accuracy") > 0.9)
    ('good', True)
    """
    rows, table, columns = _checked(features, labels, names)
    size = len(table)
    whole("draws", draws, least=1)
    wanted = sorted(set(sequence("budgets", budgets, whole, least=2)))
    split = None if train is None else _per_sample("train", train, size)
    parts = None if groups is None else _per_sample("groups", groups, size)
    there = ~pd.isna(table).any(axis=1)
    if not there.any():
        raise InputError("no sample has a label: all of them are missing")
    used = there & np.all([np.isfinite(row).all(axis=1) for row in rows.values()], axis=0)
    if parts is not None:
        used &= ~pd.isna(parts)
    if not used.any():
        raise InputError(f"none of {size} samples has a label and finite features in all of {', '.join(rows)}")
    kind, numbers = make_task(task, table[used], columns)
    reason = kind.refuse(numbers)
    if reason:
        raise InputError(f"{reason} ({int(used.sum())} samples); a probe needs labels that differ")
    chosen, scheme = make_folds(
        int(used.sum()), folds=folds, seed=seed, groups=None if parts is None else parts[used],
        classes=np.array(kind.classes)[numbers[:, 0].astype(int)] if isinstance(kind, Classification) else None,
        train=None if split is None else split[used],
    )  # fmt: skip
    for train_at, _ in chosen:
        if kind.refuse(numbers[train_at]):
            raise InputError(f"in a training fold {kind.refuse(numbers[train_at])}; use other groups or fewer folds")
    kept = {name: row[used] for name, row in rows.items()}
    _refuse_constant(kept)
    return _run(kind, kept, numbers, chosen, scheme, np.flatnonzero(used), wanted, draws, seed, size)


def probe_embedding(
    embedding: xr.DataArray,
    labels: Any,
    *,
    others: Mapping[str, xr.DataArray] | None = None,
    task: str = "regression",
    groups: Any = None,
    train: Any = None,
    name: str = "embedding",
    folds: int = 5,
    seed: int = 0,
    budgets: Sequence[int] = BUDGETS,
    draws: int = 5,
) -> ProbeResult:
    """Probe an embedding and what it is judged against; samples are all dims but ``feature``, in their order.

    Parameters
    ----------
    embedding : DataArray (..., feature)
        Lazy ones are computed once, together with `others` and lazy labels.
    labels : DataArray, Dataset, array, Series or DataFrame
        A DataArray may have some of the dims of samples (one label an image holds for all of its patches), and one more
        dim, for tags or targets. It is put into the order of the embedding; what it lacks is left out. Variables of a
        Dataset are targets. Anything else has one row a sample.
    others : mapping of str to DataArray (..., feature), optional
        More rows, such as raw statistics, the image spectrum, an untrained encoder.
    task : str
        As in `probe`.
    groups : str, float, array or DataArray, optional
        Name of a dim or coordinate; side of square blocks of ground, in the unit of y and x; or a group a sample.
        By default, where patches have neighbours: the other dim if labels hold for its images as a whole, else blocks
        of ground, some four a fold.
    train : bool array or DataArray, optional
        A fixed split, aligned as labels are.
    name : str
        Name of the row of the embedding.
    folds, seed, budgets, draws
        As in `probe`.

    Returns
    -------
    ProbeResult
        ``predictions`` carry the coordinates of samples.

    Raises
    ------
    InputError
        As `probe`, and if dims, coordinates or lengths do not fit the embedding.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = xr.DataArray(rng.normal(size=(20, 2, 2, 3)), dims=("image", "y", "x", "feature"))
    >>> height = values.isel(feature=0).mean(("y", "x"))  # one label an image
    >>> probe_embedding(values, height, budgets=()).scheme
    '5 folds of 20 groups'
    """
    if name in (others or {}):
        raise InputError(f"others already has a row {name!r}; give the embedding another name")
    table = gather(embedding, {name: embedding, **(others or {})}, labels)
    columns, values = as_labels(table)
    if groups is None and train is None:
        parts = default_groups(table, values, folds)
    else:
        parts = as_groups(table, groups)
    found = probe(
        table.rows, values, task=task, groups=parts, train=as_mask(table, train), folds=folds, seed=seed,
        budgets=budgets, draws=draws, names=columns,
    )  # fmt: skip
    at = found.predictions["sample"].values
    coords = {
        key: ("sample", coordinate[at])
        for key, coordinate in table.coordinates.items()
        if key not in found.predictions.variables
    }
    return ProbeResult(
        found.task, found.scores, found.curve, found.predictions.assign_coords(coords), found.scheme, found.left_out
    )


def _checked(
    features: Mapping[str, Any], labels: Any, names: Sequence[str] | None
) -> tuple[dict[str, Array], Array, Sequence[str] | None]:
    """Rows as float64, labels (sample, column), and names of columns."""
    if not isinstance(features, Mapping) or not features:
        raise InputError("features must be a mapping of names to arrays (sample, feature), such as {'mine': array}")
    if MEAN in features:
        raise InputError(f"the row {MEAN!r} is added by itself; give yours another name")
    rows = {str(name): np.asarray(row, np.float64) for name, row in features.items()}
    columns = names if names is not None else (list(labels.columns) if isinstance(labels, pd.DataFrame) else None)
    table = np.asarray(labels)
    if table.ndim not in (1, 2) or table.size == 0:
        raise InputError(f"labels have shape {table.shape}; expected (sample,) or (sample, column)")
    for name, row in rows.items():
        if row.ndim != 2 or row.shape[1] == 0:
            raise InputError(f"features {name!r} have shape {row.shape}; expected (sample, feature)")
        if len(row) != len(table):
            raise InputError(f"there are {len(table)} labels for {len(row)} samples of features {name!r}")
        if not np.isfinite(row).all(axis=1).any():
            raise InputError(f"features {name!r} have no sample without NaN")
    return rows, table.reshape(len(table), -1), columns


def _per_sample(name: str, values: Any, size: int) -> Array:
    found = np.asarray(values)
    if found.shape != (size,):
        raise InputError(f"{name} has shape {found.shape}; expected one for each of {size} samples")
    return found


def _refuse_constant(rows: Mapping[str, Array]) -> None:
    for name, row in rows.items():
        if (np.ptp(row, axis=0) == 0).all():
            raise InputError(f"features {name!r} are the same for all samples; are the images constant, or masked?")


def _run(
    task: Task, rows: Mapping[str, Array], labels: Array, folds: Sequence[Fold], scheme: str, places: Array,
    budgets: Sequence[int], draws: int, seed: int, given: int,
) -> ProbeResult:  # fmt: skip
    """All probes, after all checks."""
    all_rows: dict[str, Array | None] = {**rows, MEAN: None}
    held_out = np.concatenate([test for _, test in folds])
    fold = np.repeat(np.arange(len(folds)), [len(test) for _, test in folds])
    found = predict(task, all_rows, labels, folds, [np.arange(len(train)) for train, _ in folds])
    judged = [evaluate(task, labels[held_out], part, fold) for part in found.values()]
    score, spread = (np.array([[part[which][name] for name in task.metrics] for part in judged]) for which in (0, 1))
    scores = xr.Dataset(
        {"score": (("features", "metric"), score), "spread": (("features", "metric"), spread)},
        coords={
            "features": list(all_rows), "metric": list(task.metrics),
            "label": ("metric", [metric_of(name).label for name in task.metrics]),
            "higher": ("metric", [metric_of(name).higher for name in task.metrics]),
        },
    )  # fmt: skip
    full = min(len(train) for train, _ in folds)
    counts = [budget for budget in budgets if budget < full]
    few = learning_curve(task, all_rows, labels, folds, budgets=counts, draws=draws, seed=seed)
    dims = ("features", "labels", "draw")
    curves = {
        name: (dims, np.concatenate([few[name], np.repeat(score[:, at, None, None], draws, axis=2)], axis=1))
        for at, name in enumerate(task.metrics)
    }
    curve = xr.Dataset(curves, coords={"features": list(all_rows), "labels": [*counts, full], "draw": np.arange(draws)})
    order = np.argsort(held_out, kind="stable")
    predictions = xr.Dataset(
        {
            "prediction": (("features", "sample", "output"), np.stack(list(found.values()))[:, order]),
            "label": (("sample", "column"), labels[held_out][order]),
            "fold": ("sample", fold[order]),
        },
        coords={"features": list(all_rows), "sample": places[held_out][order], "output": list(task.outputs)},
    )
    return ProbeResult(task.name, scores, curve, predictions, scheme, given - len(labels))
