"""Scaling of numbers: by mean and deviation, or squashed by quantiles.

Where a scaled copy would be large, rows are scaled as they are read instead, to the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from downslope.errors import TableError
from downslope.table import (
    Array,
    blocks,
)

SCALINGS: Final = ("auto", "standard", "squash", "none")

SQUASH_LIMIT: Final = 3.0
"""The largest value of a squashed column, B (Holzmüller et al. 2024, and skrub's default)."""

OUTLYING: Final = 8.0
"""With scaling "auto", a column that reaches further than this many standard deviations is
squashed. A value of a normal column does so with a chance of 10^-15, so that it is outliers, or a
column that is nearly always the same, that are squashed. On digits, whose edge pixels reach 42,
scikit-learn's MLPClassifier did as well with this as with "standard" (5 splits)."""

FAR_OUT: Final = 1e150
"""Where squared spreads are still finite; squashed, that is `SQUASH_LIMIT` to the last bit. Its
inverse's square is still more than 0."""

LARGE: Final = 1 << 26
"""Bytes (64 MiB) beyond which features are not copied to be scaled, where that can be helped. Less
is copied in a tenth of a second, and rows that are ready are fetched a little faster."""


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
        count, mean, deviation, low, high = column_statistics(matrix, rows)
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
        plain = not self.indicators.size and self.leaves
        plain = plain and matrix.dtype == dtype and matrix.flags.c_contiguous
        if plain and all(np.isfinite(matrix[rows]).all() for rows in blocks(matrix.shape)):
            return matrix
        columns = matrix.shape[1]
        result = np.empty((len(matrix), columns + self.indicators.size), dtype=dtype)
        for rows in blocks(matrix.shape):
            values = matrix[rows].astype(np.float64)
            missing = np.isnan(values)
            values = self.scale(np.where(missing, self.fill, values))
            check_size(values, dtype, "a value", "the column", "squash")
            result[rows, :columns] = values
            result[rows, columns:] = missing[:, self.indicators]
        return result

    def scale(self, values: Array) -> Array:
        """Scale float64 values, (..., columns), in place, by the operations of the kernels.

        What lies beyond `FAR_OUT` spreads is taken to lie there before it is squashed.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            values -= self.center
            values *= self.factor
        if self.squashed.any():
            z = np.clip(values[..., self.squashed], -FAR_OUT, FAR_OUT)
            q = z * (1 / SQUASH_LIMIT)
            values[..., self.squashed] = z / np.sqrt(1 + q * q)
        return values

    def when_read(self, matrix: Array, dtype: npt.DTypeLike = np.float32) -> ScaledRows | None:
        """Scale a large matrix where its rows are read; None where `apply` is to scale it.

        That is where a copy takes no more than `LARGE` bytes or no copy is needed, and for what
        kernels cannot read as it lies or do not scale to the same bits: another number type or
        order in memory, values that are missing, too large, or so small that they take them as 0.
        """
        lies = matrix.flags.c_contiguous and matrix.flags.aligned and matrix.dtype == dtype
        if not lies or matrix.nbytes <= LARGE or self.indicators.size or self.leaves:
            return None
        low, high = np.full(matrix.shape[1], np.inf), np.full(matrix.shape[1], -np.inf)
        for rows in blocks(matrix.shape):
            size = np.abs(matrix[rows])
            if np.count_nonzero(size < np.finfo(np.float32).tiny) > np.count_nonzero(size == 0):
                return None
            low = np.minimum(low, matrix[rows].min(axis=0))
            high = np.maximum(high, matrix[rows].max(axis=0))
        with np.errstate(over="ignore", invalid="ignore"):
            ends = (np.stack([low, high]) - self.center) * self.factor
        most = np.where(self.squashed, FAR_OUT, float(np.finfo(dtype).max))
        return ScaledRows(matrix, self) if (np.abs(ends) <= most).all() else None

    @property
    def leaves(self) -> bool:
        """Whether it leaves numbers as they are."""
        moves = (self.center != 0).any() or (self.factor != 1).any() or self.squashed.any()
        return not moves


@dataclass(frozen=True, eq=False)
class ScaledRows:
    """A matrix that is scaled wherever rows of it are read, so that no scaled copy is kept.

    An index gives the same bits as that of a scaled copy would, and so do the kernels.

    Parameters
    ----------
    values : (rows, columns)
        As they lie, float32 or float64, C-contiguous, finite; not copied.
    scaling
        Without indicators.

    Examples
    --------
    >>> matrix = np.array([[1.0], [3.0], [7.0]])
    >>> rows = ScaledRows(matrix, Scaling.fit(matrix[:2], None, "standard"))
    >>> len(rows), rows.shape, rows[[2, 0]].tolist()
    (3, (3, 1), [[5.0], [-1.0]])
    """

    values: Array
    scaling: Scaling

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return self.values.shape

    @property
    def ndim(self) -> int:
        """Give 2, as of any matrix."""
        return self.values.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        """The number type."""
        return self.values.dtype

    def __getitem__(self, rows: Any) -> Array:
        """Give some rows, by a slice or their numbers, scaled: a new array (some rows, columns)."""
        slices = isinstance(rows, slice)
        found: Array = self.values[rows].copy() if slices else self.values[np.asarray(rows)]
        for some in blocks(found.shape):
            found[some] = self.scaling.scale(found[some].astype(np.float64))
        return found

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        """Give all rows, scaled: a copy."""
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)


def check_size(values: Array, dtype: npt.DTypeLike, what: str, whole: str, scaling: str) -> None:
    """Raise TableError for a scaled value that is too large for a number type.

    what, whole, scaling: what the value is, what it is part of and how to scale that, as the
    message has it.
    """
    if not np.abs(values).max(initial=0.0) <= np.finfo(dtype).max:
        raise TableError(
            f"{what} is too large for {np.dtype(dtype).name}, even scaled: "
            f"divide {whole} by a power of 10, or scale it (scaling={scaling!r})"
        )


Features = Array | ScaledRows
"""Features as a network takes them: (rows, inputs), ready, or to be scaled where they are read."""


def as_matrix(features: Any) -> Features:
    """Give features as an array, but those that are scaled where they are read as they are."""
    return features if isinstance(features, ScaledRows) else np.asarray(features)


def column_statistics(
    matrix: Array, rows: npt.NDArray[np.int64] | None
) -> tuple[Array, Array, Array, Array, Array]:
    """Give each column's count, mean, standard deviation, least and largest, missing ones apart.

    The deviation of a column that only rounding tells from a constant one is 0 (the bound is
    scikit-learn's, `_is_constant_feature`); so are all figures of a column without values.

    Raises
    ------
    TableError
        If values lie further apart than float64 holds.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        count, mean, deviation, low, high = _statistics(matrix, rows)
    size = np.maximum(-low, high)
    extreme = (size > FAR_OUT) | ((size > 0) & (size < 1 / FAR_OUT))
    if extreme.any():
        _check_range(low[extreme], high[extreme])
        power = np.frexp(size[extreme])[1]
        part = (matrix if rows is None else matrix[rows])[:, extreme].astype(np.float64)
        _, near, spread, _, _ = _statistics(np.ldexp(part, -power), None)
        mean[extreme], deviation[extreme] = np.ldexp(near, power), np.ldexp(spread, power)
        deviation[deviation < np.finfo(np.float64).tiny] = 0.0
    return count, mean, deviation, low, high


def _statistics(
    matrix: Array, rows: npt.NDArray[np.int64] | None
) -> tuple[Array, Array, Array, Array, Array]:
    """Give `column_statistics` where squares neither overflow nor vanish."""
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


def _check_range(low: Array, high: Array) -> None:
    """Raise TableError for a column whose ends lie further apart than float64 holds."""
    wide = np.flatnonzero(high / 2 - low / 2 > np.finfo(np.float64).max / 2)
    if wide.size:
        raise TableError(
            f"a column reaches from {low[wide[0]]:g} to {high[wide[0]]:g}, further than float64 "
            "holds: leave values empty that stand for missing ones, or divide the column by 10"
        )
