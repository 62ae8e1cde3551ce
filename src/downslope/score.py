"""How good outputs are: accuracy or R2, and what the trivial predictor would give."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def score(task: str, outputs: Array, target: Array) -> float:
    """Give the accuracy of classes (of single labels: the mean over them), or R2 of numbers.

    R2 is the mean over the outputs whose target varies in these rows. Where none does, as in a
    single row, there is nothing to explain, and it is NaN. Each output is divided by a power of two
    near the target's largest magnitude, so that no square of the target's leaves the range.

    Parameters
    ----------
    outputs : (rows, outputs)
    target : (rows,) class numbers, or (rows, outputs)
    """
    if task in ("binary", "multiclass"):
        right = classes_of(outputs) == target
        return float(np.count_nonzero(right) / right.size)
    if task == "multilabel":
        return float(np.mean((outputs > 0.5) == (target > 0.5)))
    target = target.astype(np.float64)
    varies = (target != target[0]).any(0)
    if not varies.any():
        return math.nan
    _, exponents = np.frexp(np.abs(target).max(0))
    scaled = np.ldexp(target, -exponents)
    spread = ((scaled - scaled.mean(0)) ** 2).sum(0)
    with np.errstate(over="ignore"):  # outputs that far off give -inf
        residual = (np.ldexp(target - outputs, -exponents) ** 2).sum(0)
        return float(np.mean(1 - residual[varies] / spread[varies]))


def why_undefined(rows: int, trivial: float) -> str:
    """Say why R2 is not finite on so many rows, where the trivial predictor has that R2."""
    if rows == 1:
        return "not defined for one row"
    if math.isnan(trivial):
        return "not defined where the target is constant"
    return "not finite: the outputs are too large, or no numbers"


def name_of(task: str) -> str:
    """Name the score of a task."""
    return "R2" if task == "regression" else "accuracy"


def trivial_name(task: str) -> str:
    """Name what the trivial predictor of a task always says."""
    return "the mean" if task == "regression" else "the most frequent class"


def classes_of(outputs: Array) -> Array:
    """Give the class number that outputs speak for: of one output, whether it exceeds 1/2."""
    if outputs.shape[1] == 1:
        return (outputs[:, 0] > 0.5).astype(np.int64)
    return np.asarray(outputs.argmax(1))


def trivial_outputs(target: Array, task: str) -> Array:
    """Give the outputs of the predictor that knows only the target: (outputs,)."""
    if task in ("binary", "multiclass"):
        counts = np.bincount(target, minlength=2)
        return np.asarray(counts == counts.max(), float)
    return np.asarray(target.astype(np.float64).mean(0))
