"""Mixed columns become numbers, the target too, and the network's outputs go back.

Numbers are scaled right here, in NumPy, by the formulas of scikit-learn's StandardScaler and
skrub's SquashingScaler: importing either library takes seconds, more than many a whole descent.
Texts, categories and dates go through skrub's TableVectorizer, which is imported for them only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from downslope.errors import (
    TableError,
)
from downslope.table import Array, blocks

if TYPE_CHECKING:
    import polars as pl

SCALINGS: Final = ("auto", "standard", "squash", "none")

SQUASH_LIMIT: Final = 3.0
"""The largest value of a squashed column, B (Holzmüller et al. 2024, and skrub's default)."""

OUTLYING: Final = 8.0
"""With scaling "auto", a column that reaches further than this many standard deviations is
squashed. A normal column does so once in 10^15 values; on the digits data, where edge pixels reach
42, this scores 0.978 and "standard" alone 0.977 (mean of 5 splits, standard error 0.002)."""

TRUSTED_TYPES: Final = (
    "polars.datatypes.classes.Categorical",
    "polars.datatypes.classes.Datetime",
    "skrub._apply_to_each_col.ApplyToEachCol",
    "skrub._check_input.CheckInputDataFrame",
    "skrub._clean_categories.CleanCategories",
    "skrub._clean_null_strings.CleanNullStrings",
    "skrub._dataframe._common.is_any_date",
    "skrub._dataframe._common.is_categorical",
    "skrub._dataframe._common.is_numeric",
    "skrub._datetime_encoder.DatetimeEncoder",
    "skrub._drop_uninformative.DropUninformative",
    "skrub._duration_to_float.DurationToFloat",
    "skrub._string_encoder.StringEncoder",
    "skrub._table_vectorizer.PassThrough",
    "skrub._table_vectorizer.ShortReprDict",
    "skrub._table_vectorizer.TableVectorizer",
    "skrub._table_vectorizer._created_by_predicate",
    "skrub._to_datetime.ToDatetime",
    "skrub._to_float.ToFloat",
    "skrub._to_str.ToStr",
    "skrub.selectors._base.All",
    "skrub.selectors._base.And",
    "skrub.selectors._base.Cols",
    "skrub.selectors._base.Filter",
    "skrub.selectors._base.Sub",
    "skrub.selectors._selectors._cardinality_below",
)
"""The only types that a model file's vectorizer may hold, besides skops' own NumPy and
scikit-learn ones."""


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
        if plain and matrix.dtype == dtype and matrix.flags.c_contiguous:
            if all(np.isfinite(matrix[rows]).all() for rows in blocks(matrix)):
                return matrix
        columns = matrix.shape[1]
        result = np.empty((len(matrix), columns + self.indicators.size), dtype=dtype)
        for rows in blocks(matrix):
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
    index = np.broadcast_to(np.empty(1), (seen, columns))  # only its shape is used

    def parts() -> Any:
        for block in blocks(index):
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


def _kind(column: pl.Series) -> str:
    """Say what a column holds: "number", "text", "category" or "date"."""
    import polars as pl

    kind = column.dtype
    if kind.is_numeric() or kind in (pl.Boolean, pl.Null, pl.Time, pl.Duration):
        return "number"
    if kind == pl.String:
        texts = column.drop_nulls()
        numbers = texts.str.strip_chars().cast(pl.Float64, strict=False)
        return "number" if len(texts) and not numbers.null_count() else "text"
    if kind in (pl.Categorical, pl.Enum):
        return "category"
    if kind in (pl.Date, pl.Datetime):
        return "date"
    raise TableError(
        f"column {column.name!r} takes numbers, texts, categories or dates; got {kind}: "
        "spread it over plain columns, or drop it"
    )


def _refuse_stray(column: pl.Series, converted: pl.Series, was: str) -> None:
    """Raise `TableError` if a value was lost when a column became what it was in training."""
    lost = (converted.is_null() & column.is_not_null()).arg_true()
    if len(lost):
        raise TableError(
            f"column {column.name!r} held {was}s in training and holds others now, such as "
            f"{column[lost[0]]!r} (row {lost[0] + 1}; {len(lost)} in all): mend them, or leave "
            "them empty"
        )


def _as_kind(column: pl.Series, kind: str) -> pl.Series:
    """Convert a column to what it held in training."""
    import polars as pl

    dtype = column.dtype
    if dtype == pl.Null:
        targets = {"number": pl.Float64, "date": pl.Datetime("us"), "category": pl.Categorical}
        return column.cast(targets.get(kind, pl.String))
    if kind in ("text", "category"):
        if _kind(column) == "date" or not dtype.is_nested():
            column = column.cast(pl.String)
        return column.cast(pl.Categorical) if kind == "category" else column
    converted = column
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        texts = column.cast(pl.String).str.strip_chars()
        if kind == "number":
            converted = texts.cast(pl.Float64, strict=False)
        else:
            try:
                converted = texts.str.to_datetime(strict=False)
            except pl.exceptions.PolarsError:  # not one of the texts has the form of a date
                converted = pl.Series([None] * len(texts), dtype=pl.Datetime("us"))
        _refuse_stray(column, converted, kind)
    elif (_kind(column) == "date") != (kind == "date"):
        raise TableError(
            f"column {column.name!r} held {kind}s in training; got {dtype}: give {kind}s"
        )
    if kind == "date":
        if getattr(converted.dtype, "time_zone", None):
            converted = converted.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return converted.cast(pl.Datetime("us"))
    if dtype == pl.Duration:
        return column.dt.total_microseconds().cast(pl.Float64) / 1e6  # seconds
    if dtype == pl.Time:
        return column.cast(pl.Int64).cast(pl.Float64) / 1e9  # nanoseconds to seconds
    return converted.cast(pl.Float64)
