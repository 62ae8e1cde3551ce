"""Scaling of numbers: by mean and deviation, or squashed by quantiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from downslope.errors import TableError
from downslope.table import (
    Array,
    blocks,
)

if TYPE_CHECKING:
    pass

SCALINGS: Final = ("auto", "standard", "squash", "none")

SQUASH_LIMIT: Final = 3.0
"""The largest value of a squashed column, B (Holzmüller et al. 2024, and skrub's default)."""

OUTLYING: Final = 8.0
"""With scaling "auto", a column that reaches further than this many standard deviations is
squashed. A value of a normal column does so with a chance of 10^-15, so that it is outliers, or a
column that is nearly always the same, that are squashed. On digits, whose edge pixels reach 42,
scikit-learn's MLPClassifier did as well with this as with "standard" (5 splits)."""


@dataclass(frozen=True, eq=False)
class Scaling:
    """How columns of numbers are centred and scaled, and what stands for a missing one.

    z = (x - center) factor, and in a squashed column z / sqrt(1 + (z / B)^2), B = `SQUASH_LIMIT`.

    Parameters
    ----------
    center, factor, fill
        (columns,) float64 each; a missing value counts as `fill`. The factor of a column that was
        constant in training is 0, so that it stays without effect.
    squashed
        (columns,) booleans.
    indicators
        (flagged,) int64: the columns with values missing in training; each adds an input that is
        1 where its value is missing and 0 elsewhere.

    Examples
    --------
    >>> scaling = Scaling.fit(np.array([[1.0], [3.0], [np.nan]]), None, "standard")
    >>> scaling.apply(np.array([[5.0], [np.nan]]))
    array([[3., 0.],
           [0., 1.]], dtype=float32)
    """

    center: npt.NDArray[np.float64]
    factor: npt.NDArray[np.float64]
    fill: npt.NDArray[np.float64]
    squashed: npt.NDArray[np.bool_]
    indicators: npt.NDArray[np.int64]

    @classmethod
    def fit(cls, matrix: Array, rows: npt.NDArray[np.int64] | None, method: str) -> Scaling:
        """Learn from the given rows of a matrix, (rows, columns) with NaN for missing values."""
        count, mean, deviation, low, high = _statistics(matrix, rows)
        seen = len(matrix) if rows is None else len(rows)
        partly = np.flatnonzero((count < seen) & (count > 0))
        columns = matrix.shape[1]
        center, factor, fill = mean.copy(), np.ones(columns), mean.copy()
        squashed = np.full(columns, method == "squash")
        if method == "none":
            return cls(np.zeros(columns), factor, fill, squashed, partly)
        varies = deviation > 0
        factor = np.divide(1.0, deviation, out=np.zeros(columns), where=varies)
        if method == "auto":
            squashed = np.maximum(high - mean, mean - low) * factor > OUTLYING
        for index in np.flatnonzero(squashed & (count > 0)):
            column = matrix[:, index] if rows is None else matrix[rows, index]
            first, center[index], third = np.nanpercentile(column.astype(np.float64), (25, 50, 75))
            fill[index] = center[index]
            spread = third - first if third > first else (high[index] - low[index]) / 2
            factor[index] = 1 / spread if spread > 0 and varies[index] else 0.0
        return cls(center, factor, fill, squashed, partly)

    def apply(self, matrix: Array, dtype: npt.DTypeLike = np.float32) -> Array:
        """Scale a matrix, (rows, columns), to (rows, columns + flagged), C-contiguous.

        A matrix with nothing to do is returned itself, not a copy.

        Raises
        ------
        TableError
            If a scaled value is too large for the number type.
        """
        plain = not self.indicators.size and not self.squashed.any()
        plain = plain and bool((self.center == 0).all() and (self.factor == 1).all())
        plain = plain and matrix.dtype == dtype and matrix.flags.c_contiguous
        if plain and all(np.isfinite(matrix[rows]).all() for rows in blocks(matrix.shape)):
            return matrix
        columns = matrix.shape[1]
        result = np.empty((len(matrix), columns + self.indicators.size), dtype=dtype)
        for rows in blocks(matrix.shape):
            values = matrix[rows].astype(np.float64)
            missing = np.isnan(values)
            values = np.where(missing, self.fill, values)
            values -= self.center
            values *= self.factor
            if self.squashed.any():
                with np.errstate(over="ignore"):
                    scale = np.hypot(1.0, values[:, self.squashed] / SQUASH_LIMIT)
                values[:, self.squashed] /= scale
            if np.abs(values).max(initial=0.0) > np.finfo(dtype).max:
                raise TableError(
                    f"a value is too large for {np.dtype(dtype).name}, even scaled: "
                    "divide the column by a power of 10, or scale it (scaling='squash')"
                )
            result[rows, :columns] = values
            result[rows, columns:] = missing[:, self.indicators]
        return result


def _statistics(
    matrix: Array, rows: npt.NDArray[np.int64] | None
) -> tuple[Array, Array, Array, Array, Array]:
    """Give each column's count, mean, standard deviation, least and largest, missing ones apart.

    The deviation of a column that only rounding tells from a constant one is 0 (the bound is
    scikit-learn's, `_is_constant_feature`); so are all figures of a column without values.
    """
    columns, seen = matrix.shape[1], len(matrix) if rows is None else len(rows)

    def parts() -> Iterator[Array]:
        for block in blocks((seen, columns)):
            yield (matrix[block] if rows is None else matrix[rows[block]]).astype(np.float64)

    count, total = np.zeros(columns), np.zeros(columns)
    low, high = np.full(columns, np.inf), np.full(columns, -np.inf)
    for values in parts():
        known = ~np.isnan(values)
        count += known.sum(axis=0)
        total += np.where(known, values, 0.0).sum(axis=0)
        low, high = np.fmin(low, np.fmin.reduce(values)), np.fmax(high, np.fmax.reduce(values))
    several = np.maximum(count, 1)
    mean = total / several
    squares = np.zeros(columns)
    for values in parts():
        squares += np.where(np.isnan(values), 0.0, (values - mean) ** 2).sum(axis=0)
    variance = squares / several
    epsilon = np.finfo(np.float64).eps
    constant = variance <= several * epsilon * variance + (several * mean * epsilon) ** 2
    empty = count == 0
    deviation = np.where(constant | (low == high) | empty, 0.0, np.sqrt(variance))
    return count, mean, deviation, np.where(empty, 0.0, low), np.where(empty, 0.0, high)
