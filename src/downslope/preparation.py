"""Mixed columns become numbers, the target too, and the network's outputs go back.

Numbers are scaled right here, in NumPy, by the formulas of scikit-learn's StandardScaler and
skrub's SquashingScaler: importing either library takes seconds, more than many a whole descent.
Texts, categories and dates go through skrub's TableVectorizer, which is imported for them only.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from downslope.errors import InvalidValueError, ModelFileError, TableError, nearest
from downslope.table import (
    TASKS,
    Array,
    Table,
    as_features,
    blocks,
    check_finite,
    infer_task,
    read_target,
)

if TYPE_CHECKING:
    import polars as pl

SCALINGS: Final = ("auto", "standard", "squash", "none")

SQUASH_LIMIT: Final = 3.0
"""The largest value of a squashed column, B (Holzmüller et al. 2024, and skrub's default)."""

OUTLYING: Final = 8.0
"""With scaling "auto", a column that reaches further than this many standard deviations is
squashed. A value of a normal column does so with a chance of 10^-15, so that it is outliers, or a
column that is nearly always the same, that are squashed. On digits, whose edge pixels reach 42,
scikit-learn's MLPClassifier did as well with this as with "standard" (5 splits)."""

TRUSTED_TYPES: Final = (
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

    dtype, now = column.dtype, _kind(column)
    if dtype == pl.Null:
        return pl.Series(column.name, [None] * len(column), dtype={
            "number": pl.Float64(), "date": pl.Datetime("us"), "category": pl.Categorical()
        }.get(kind, pl.String()))  # fmt: skip
    if kind in ("text", "category"):
        texts = column.cast(pl.String)
        return texts.cast(pl.Categorical) if kind == "category" else texts
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
    elif now != kind:
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


@dataclass(frozen=True, eq=False)
class Preparation:
    """What turns a table into a network's inputs and target, learned from the training rows.

    Inputs are, in this order: the columns of numbers, what skrub's TableVectorizer makes of texts,
    categories and dates, and an indicator for each of these that had missing values in training.
    A value that is missing counts as its column's mean (its median, where it is squashed).

    Parameters
    ----------
    task
        "regression", "binary", "multiclass" or "multilabel".
    feature_names, kinds
        The columns' names, and what each held: "number", "text", "category" or "date".
    input_names
        The inputs' names.
    scaling
        How the inputs are scaled.
    vectorizer
        The fitted TableVectorizer; None where all columns are numbers.
    target_names
        The outputs' names.
    classes
        Sorted, for the tasks "binary" and "multiclass"; empty for others.
    target_mean, target_scale
        (outputs,) float64, in the target's units, for regression; empty for others.

    Examples
    --------
    >>> from downslope.table import read
    >>> table = read([[1.0, 5.0], [3.0, 5.0]], ["no", "yes"])
    >>> preparation = Preparation.fit(table, "binary")
    >>> preparation.transform([[2.0, 5.0], [3.0, 7.0]])
    array([[0., 0.],
           [1., 0.]], dtype=float32)
    >>> preparation.encode_target(["yes", "no"])
    array([1, 0])
    """

    task: str
    feature_names: tuple[str, ...]
    kinds: tuple[str, ...]
    input_names: tuple[str, ...]
    scaling: Scaling
    vectorizer: Any
    target_names: tuple[str, ...]
    classes: tuple[Any, ...]
    target_mean: npt.NDArray[np.float64]
    target_scale: npt.NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        table: Table,
        task: str = "auto",
        rows: npt.NDArray[np.int64] | None = None,
        scaling: str = "auto",
    ) -> Preparation:
        """Learn from the training rows of a table.

        Parameters
        ----------
        table
            As `downslope.table.read` gives it, with a target.
        task
            One of the tasks, or "auto" to infer it.
        rows
            (training rows,) int64: nothing is learned from the others, but which classes there
            are. None takes all.
        scaling
            "standard": mean 0, variance 1. "squash": median 0, the middle half of the values 1
            wide, softly cut off at `SQUASH_LIMIT`. "auto": squashed where values reach further
            than `OUTLYING` standard deviations, standard elsewhere. "none": as they are. The
            target of a regression is scaled to mean 0 and variance 1 per output, but for "none".

        Raises
        ------
        InvalidValueError
            For an unknown scaling or task.
        TableError
            If the target does not fit the task, or no column holds anything.
        """
        if scaling not in SCALINGS:
            raise InvalidValueError(f"unknown scaling {scaling!r}: {nearest(scaling, SCALINGS)}")
        task = infer_task(table.target, task, " and ".join(table.target_names) or "target")
        features: pl.DataFrame | Array = table.features
        kinds: tuple[str, ...] = ("number",) * len(table.feature_names)
        vectorizer, left = None, rows
        if not isinstance(features, np.ndarray):
            kinds = tuple(_kind(column) for column in features.iter_columns())
            features, left = (features if rows is None else features[rows]), None
            vectorizer = _fit_vectorizer(features, kinds)
        matrix = _matrix(features, table.feature_names, kinds, vectorizer)
        if not matrix.shape[1]:
            raise TableError(f"{table.name}: its columns hold no values: nothing to learn from")
        scaler = Scaling.fit(matrix, left, scaling)
        names = [each for each, kind in zip(table.feature_names, kinds, strict=True)
                 if kind == "number"]  # fmt: skip
        names += [] if vectorizer is None else [str(each) for each in vectorizer.all_outputs_]
        names += [f"{names[index]} is missing" for index in scaler.indicators]
        target = np.asarray(table.target)
        classes: tuple[Any, ...] = ()
        if task in ("binary", "multiclass"):
            classes = tuple(np.unique(target).tolist())
        mean = deviation = np.empty(0)
        if task == "regression":
            mean, deviation = _spread(target if rows is None else target[rows], scaling)
        return cls(task, table.feature_names, kinds, tuple(names), scaler, vectorizer,
                   table.target_names, classes, mean, deviation)  # fmt: skip

    def transform(self, features: Any, dtype: npt.DTypeLike = np.float32) -> Array:
        """Give a network's inputs for a table's features.

        Columns of a data frame are found by name, in any order; others are ignored, a target
        among them. Of an array, which has no names, every column is taken by its place.

        Parameters
        ----------
        features
            A table, a data frame, or an array, (rows, columns).
        dtype
            The number type of the inputs.

        Returns
        -------
        array, (rows, inputs), C-contiguous
            Finite. An array with nothing to do (scaling "none") is returned itself.

        Raises
        ------
        TableError
            If columns are missing, hold something else than in training, or infinite values.
        """
        source = features.features if isinstance(features, Table) else as_features(features)
        matrix = _matrix(source, self.feature_names, self.kinds, self.vectorizer)
        return self.scaling.apply(matrix, dtype)

    def encode_target(self, target: Any, dtype: npt.DTypeLike = np.float32) -> Array:
        """Give target values as a network takes them.

        Parameters
        ----------
        target
            (rows,) or (rows, outputs).
        dtype
            The number type for regression and multi-label.

        Returns
        -------
        array
            (rows,) int64, places in `classes`, for binary and multiclass; (rows, outputs) scaled
            for regression, 0 and 1 for multi-label.

        Raises
        ------
        TableError
            If a class is unknown, or values are missing, infinite or of another kind.
        """
        values = read_target(target, self.target_names or ("target",))
        title = ", ".join(self.target_names) or "target"
        if self.classes:
            return _labels(values, np.array(self.classes), title)
        if values.dtype.kind == "U":
            raise TableError(
                f"target {title!r} takes numbers; got texts such as {values.flat[0].item()!r}"
            )
        values = values.reshape(len(values), -1)
        outputs = len(self.target_mean) or len(self.target_names)
        if values.shape[1] != outputs:
            raise TableError(f"target takes {outputs} columns, {title!r}; got {values.shape[1]}")
        if self.task == "multilabel":
            if not ((values == 0) | (values == 1)).all():
                raise TableError(f"a multi-label target takes 0 and 1; {title!r} holds others")
            return np.ascontiguousarray(values, dtype=dtype)
        scaled = (values.astype(np.float64) - self.target_mean) / self.target_scale
        return np.ascontiguousarray(scaled, dtype=dtype)

    def decode(self, predicted: Array) -> Array:
        """Give predictions in the target's own terms.

        Parameters
        ----------
        predicted
            For binary and multiclass, (rows,) places in `classes`; for multi-label, (rows,
            outputs) of 0 and 1; for regression, (rows, outputs) or (rows,) scaled outputs.

        Returns
        -------
        array
            (rows,) classes; (rows, outputs) int64; (rows,) or, for several outputs, (rows,
            outputs) float64 in the target's units.

        Examples
        --------
        >>> from downslope.table import read
        >>> preparation = Preparation.fit(read([[0], [1]], [10.0, 20.5]))
        >>> preparation.decode(np.array([[0.0], [1.0]]))
        array([15.25, 20.5 ])
        """
        if self.classes:
            return np.array(self.classes)[np.asarray(predicted, dtype=np.int64)]
        if self.task == "multilabel":
            return np.asarray(predicted).astype(np.int64)
        outputs = np.asarray(predicted, dtype=np.float64).reshape(-1, len(self.target_mean))
        values: Array = outputs * self.target_scale + self.target_mean
        return values[:, 0] if values.shape[1] == 1 else values

    def to_parts(self) -> tuple[dict[str, Any], bytes | None]:
        """Give a description that JSON can hold, and the vectorizer's bytes (None without one)."""
        description = {
            "task": self.task,
            "feature_names": list(self.feature_names),
            "kinds": list(self.kinds),
            "input_names": list(self.input_names),
            "scaling": {key: getattr(self.scaling, key).tolist() for key in _SCALING_TYPES},
            "target_names": list(self.target_names),
            "classes": list(self.classes),
            "target_mean": self.target_mean.tolist(),
            "target_scale": self.target_scale.tolist(),
        }
        if self.vectorizer is None:
            return description, None
        from skops.io import dumps

        # The dictionary of a column of texts takes megabytes unpacked.
        packed = bytes(dumps(self.vectorizer, compression=zipfile.ZIP_DEFLATED))
        return description, packed

    @classmethod
    def from_parts(cls, description: Mapping[str, Any], packed: bytes | None) -> Preparation:
        """Read what `to_parts` gave.

        Raises
        ------
        ModelFileError
            If it is damaged, or the vectorizer holds a type that is not in `TRUSTED_TYPES`.
        """
        try:
            scaling = Scaling(**{
                key: np.array(description["scaling"][key], dtype=dtype)
                for key, dtype in _SCALING_TYPES.items()
            })  # fmt: skip
            mean, deviation = (
                np.array(description[key], dtype=np.float64)
                for key in ("target_mean", "target_scale")
            )
            classes = tuple(description["classes"])
            names, kinds, inputs, targets = (
                tuple(str(each) for each in description[key])
                for key in ("feature_names", "kinds", "input_names", "target_names")
            )
            task = str(description["task"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelFileError(f"the preparation is damaged: {error!r}") from error
        sizes = {len(getattr(scaling, key)) for key in ("center", "factor", "fill", "squashed")}
        whole = len(names) == len(kinds) and len(inputs) == len(scaling.indicators) + max(sizes)
        if not whole or len(sizes) > 1 or task not in TASKS:
            raise ModelFileError("the preparation is damaged: its parts do not fit one another")
        if (packed is None) != (set(kinds) <= {"number"}):
            raise ModelFileError("the preparation is damaged: its vectorizer is missing or foreign")
        vectorizer = None if packed is None else _load_vectorizer(packed)
        return cls(task, names, kinds, inputs, scaling, vectorizer, targets, classes,
                   mean, deviation)  # fmt: skip


_SCALING_TYPES: Final = MappingProxyType(
    {"center": np.float64, "factor": np.float64, "fill": np.float64, "squashed": np.bool_,
     "indicators": np.int64}
)  # fmt: skip


def _spread(target: Array, scaling: str) -> tuple[Array, Array]:
    """Give the mean and the standard deviation of each output, (outputs,); 0 and 1 for "none"."""
    outputs = target.reshape(len(target), -1)
    if scaling == "none":
        return np.zeros(outputs.shape[1]), np.ones(outputs.shape[1])
    deviation = outputs.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1.0  # an output that is constant in training stays what it is
    return outputs.mean(axis=0, dtype=np.float64), deviation


def _labels(values: Array, classes: Array, title: str) -> npt.NDArray[np.int64]:
    """Give each value's place among the sorted classes."""
    if values.ndim != 1:
        raise TableError(f"target {title!r} takes one column of classes; got {values.shape[1]}")
    same_kind = (values.dtype.kind == "U") == (classes.dtype.kind == "U")
    places = np.searchsorted(classes, values) if same_kind else np.zeros(len(values), np.int64)
    places = np.minimum(places, len(classes) - 1).astype(np.int64)
    unknown = np.flatnonzero(classes[places] != values) if same_kind else np.arange(len(values))
    if unknown.size:
        first = unknown[0]
        raise TableError(
            f"target {title!r} holds a class that was not there in training: "
            f"{values[first].item()!r} (row {first + 1}); "
            f"{nearest(values[first], map(str, classes))}"
        )
    return places


def _matrix(
    features: pl.DataFrame | Array, names: tuple[str, ...], kinds: tuple[str, ...], vectorizer: Any
) -> Array:
    """Give all columns as one matrix, (rows, columns), NaN for missing values, none infinite."""
    if isinstance(features, np.ndarray):
        if features.shape[1] != len(names):
            raise TableError(
                f"{len(names)} columns were trained on; got {features.shape[1]}: an array takes "
                "the same columns in the same order (a data frame may hold others, in any order)"
            )
        if vectorizer is None:
            check_finite(features, names, "the table")
            return features
        import polars as pl

        features = pl.DataFrame(features, schema=list(names))
    missing = [each for each in names if each not in features.columns]
    if missing:
        hints = "; ".join(f"{each!r}: {nearest(each, features.columns)}" for each in missing[:3])
        raise TableError(f"columns {missing} were trained on and are missing here ({hints})")
    pairs = list(zip(names, kinds, strict=True))
    numbers = [name for name, kind in pairs if kind == "number"]
    others = [_as_kind(features[name], kind) for name, kind in pairs if kind != "number"]
    matrix = np.empty((len(features), len(numbers)))
    for index, name in enumerate(numbers):
        matrix[:, index] = _as_kind(features[name], "number").to_numpy()
    check_finite(matrix, numbers, "the table")
    return matrix if vectorizer is None else np.hstack([matrix, _vectorize(vectorizer, others)])


def _fit_vectorizer(features: pl.DataFrame, kinds: tuple[str, ...]) -> Any:
    """Fit skrub's TableVectorizer to the columns that are no numbers; None if all are."""
    columns = zip(features.iter_columns(), kinds, strict=True)
    others = [_as_kind(column, kind) for column, kind in columns if kind != "number"]
    if not others:
        return None
    import polars as pl
    from skrub import DatetimeEncoder, StringEncoder, TableVectorizer

    vectorizer = TableVectorizer(
        high_cardinality=StringEncoder(random_state=0),
        datetime=DatetimeEncoder(add_weekday=True),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return vectorizer.fit(pl.DataFrame(others))


def _vectorize(vectorizer: Any, columns: list[pl.Series]) -> Array:
    """Give what a fitted vectorizer makes of its columns, (rows, outputs) float32."""
    import polars as pl

    frame = pl.DataFrame(columns)
    if not (len(frame) and vectorizer.all_outputs_):
        return np.empty((len(frame), len(vectorizer.all_outputs_)), dtype=np.float32)
    with warnings.catch_warnings():
        # scikit-learn warns of each unseen category; here it simply sets no input to 1.
        warnings.simplefilter("ignore")
        return np.asarray(vectorizer.transform(frame).to_numpy(), dtype=np.float32)


def _load_vectorizer(packed: bytes) -> Any:
    """Read a vectorizer of trusted types only."""
    from skops.io import get_untrusted_types, loads

    try:
        foreign = sorted(set(get_untrusted_types(data=packed)) - set(TRUSTED_TYPES))
        if foreign:
            raise ModelFileError(
                f"the preparation holds types that are not trusted, {foreign}: the file is "
                "foreign, or of another version of skrub than the one installed"
            )
        return loads(packed, trusted=list(TRUSTED_TYPES))
    except ModelFileError:
        raise
    except Exception as error:  # damaged bytes can make skops fail in any way
        raise ModelFileError(f"the preparation's vectorizer is damaged: {error!r}") from error
