"""How a probe's score grows with the number of labels: few labels drawn inside the training folds, many times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from s2koop.ssl.folds import Fold
from s2koop.ssl.heads import Task, metric_of

Array = npt.NDArray[Any]
#: The row that knows labels only.
MEAN = "mean"


def evaluate(task: Task, labels: Array, found: Array, fold: Array) -> tuple[dict[str, float], dict[str, float]]:
    """Score of held-out predictions, and its standard deviation over folds.

    Parameters
    ----------
    task : Task
    labels : array (sample, column)
    found : array (sample, output)
        Predictions by models that had not seen the sample.
    fold : int array (sample,)

    Returns
    -------
    dict, dict
        Errors and shares are those of all samples together; ranks are means over folds, see `Metric`. The deviation is
        NaN where there is one fold.
    """
    together = task.measure(labels, found)
    parts = [task.measure(labels[fold == one], found[fold == one]) for one in np.unique(fold)]
    values, spreads = {}, {}
    for name in task.metrics:
        known = np.array([part[name] for part in parts])
        known = known[np.isfinite(known)]
        ranked = float(known.mean()) if known.size else np.nan
        values[name] = ranked if metric_of(name).ranks else together[name]
        spreads[name] = float(known.std(ddof=1)) if known.size > 1 else np.nan
    return values, spreads


def predict(
    task: Task, rows: Mapping[str, Array | None], labels: Array, folds: Sequence[Fold], kept: Sequence[Array]
) -> dict[str, Array]:
    """Held-out predictions of each row, fold after fold.

    Parameters
    ----------
    task : Task
    rows : mapping of str to array (sample, feature)
        None stands for the row that knows labels only.
    labels : array (sample, column)
    folds : sequence of (train, test)
    kept : sequence of int arrays
        For each fold, which of its training positions have a label.

    Returns
    -------
    dict of arrays (held out, output)
    """
    found: dict[str, Array] = {}
    for name, features in rows.items():
        parts = []
        for (train, test), chosen in zip(folds, kept, strict=True):
            known = train[chosen]
            if features is None:
                parts.append(task.constant(labels[known], len(test)))
            else:
                parts.append(task.fit(features[known], labels[known], features[test]))
        found[name] = np.concatenate(parts)
    return found


def learning_curve(
    task: Task,
    rows: Mapping[str, Array | None],
    labels: Array,
    folds: Sequence[Fold],
    *,
    budgets: Sequence[int],
    draws: int,
    seed: int,
) -> dict[str, Array]:
    """Scores with few labels: every row gets the same labels, and is judged on the same held-out samples.

    Parameters
    ----------
    task, rows, labels, folds
        As in `predict`.
    budgets : sequence of int
        Numbers of labels, each below the size of every training fold.
    draws : int
        How often labels are drawn anew.
    seed : int

    Returns
    -------
    dict of arrays (row, budget, draw)
        By metric.
    """
    scores = {name: np.full((len(rows), len(budgets), draws), np.nan) for name in task.metrics}
    held_out = np.concatenate([test for _, test in folds])
    fold = np.repeat(np.arange(len(folds)), [len(test) for _, test in folds])
    for at, budget in enumerate(budgets):
        for draw in range(draws):
            kept = [
                task.choose(labels[train], budget, np.random.default_rng([seed, draw, number, budget]))
                for number, (train, _) in enumerate(folds)
            ]
            for row, found in enumerate(predict(task, rows, labels, folds, kept).values()):
                values, _ = evaluate(task, labels[held_out], found, fold)
                for name, value in values.items():
                    scores[name][row, at, draw] = value
    return scores
