"""Mixed columns become numbers, the target too, and the network's outputs go back.

Numbers are scaled right here, in NumPy, by the formulas of scikit-learn's StandardScaler and
skrub's SquashingScaler: importing either library takes seconds, more than many a whole descent.
Texts, categories and dates go through skrub's TableVectorizer, which is imported for them only.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from downslope.columns import (
    check_texts,
    fit_vectorizer,
    kind_of,
    load_vectorizer,
    matrix_of,
    select,
)
from downslope.delimited import Schema
from downslope.errors import InvalidValueError, ModelFileError, TableError, nearest
from downslope.scaling import SCALINGS, Features, Scaling, check_size, column_statistics
from downslope.table import Array, Table, as_features, blocks, read
from downslope.target import read_target
from downslope.task import TASKS, infer_task

if TYPE_CHECKING:
    import polars as pl


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
    decimal_commas
        Whether the file trained on had decimal commas, or points; None where none was seen.

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
    decimal_commas: bool | None

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
        task = infer_task(table.target, task, table.target_title)
        features: pl.DataFrame | Array = table.features
        kinds: tuple[str, ...] = ("number",) * len(table.feature_names)
        vectorizer, left = None, rows
        if not isinstance(features, np.ndarray):
            kinds = tuple(kind_of(column) for column in features.iter_columns())
            check_texts(features, kinds, table.name)
            features, left = (features if rows is None else features[rows]), None
            vectorizer = fit_vectorizer(features, kinds)
        matrix = matrix_of(features, table.feature_names, kinds, vectorizer)
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
            outputs = target.reshape(len(target), -1)
            mean, deviation = _spread(outputs, rows, scaling, table.target_title)
        return cls(task, table.feature_names, kinds, tuple(names), scaler, vectorizer,
                   table.target_names, classes, mean, deviation, table.decimal_commas)  # fmt: skip

    def schema(self, target: str | None = None) -> Schema:
        """Say how the columns of a file are read: as in training.

        Parameters
        ----------
        target
            The target's name in that file, several with commas; None where it is as in training.
        """
        texts = bool(self.classes) and isinstance(self.classes[0], str)
        names = self.target_names
        if target is not None:
            names = (target, *(each.strip() for each in target.split(",")))
        kinds = dict.fromkeys(names, "text" if texts else "number")
        kinds |= zip(self.feature_names, self.kinds, strict=True)
        return Schema(kinds, self.decimal_commas)

    def transform(self, features: Any, dtype: npt.DTypeLike = np.float32) -> Array:
        """Give a network's inputs for a table's features.

        Columns of a data frame or a table are found by name, in any order; others are ignored, a
        target among them. Of an array, which has no names, every column is taken by its place.

        Parameters
        ----------
        features
            A table, a data frame, an array, (rows, columns), or the path of a file.
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
        return self.scaling.apply(self._matrix(features), dtype)

    def inputs(self, features: Any, dtype: npt.DTypeLike = np.float32) -> Features:
        """Give a network's inputs as `transform` does, but large ones without a copy.

        An array of this number type, of more than `LARGE` bytes and without missing values, is
        not copied: its rows are scaled where they are read, to the same bits.

        Raises
        ------
        TableError
            As `transform`.
        """
        matrix = self._matrix(features)
        rows = self.scaling.when_read(matrix, dtype)
        return self.scaling.apply(matrix, dtype) if rows is None else rows

    def _matrix(self, features: Any) -> Array:
        """Give a table's features as one matrix, not scaled yet."""
        if isinstance(features, str | os.PathLike):
            features = read(features, schema=self.schema())
        chosen = select(features, self.feature_names)
        source = chosen.features if isinstance(chosen, Table) else as_features(chosen)
        return matrix_of(source, self.feature_names, self.kinds, self.vectorizer, self.target_names)

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
        check_size(scaled, dtype, f"a value of the target {title!r}", "it", "standard")
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
            "decimal_commas": self.decimal_commas,
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
            decimal_commas = description["decimal_commas"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelFileError(f"the preparation is damaged: {error!r}") from error
        sizes = {len(getattr(scaling, key)) for key in ("center", "factor", "fill", "squashed")}
        whole = len(names) == len(kinds) and len(inputs) == len(scaling.indicators) + max(sizes)
        if not whole or len(sizes) > 1 or task not in TASKS:
            raise ModelFileError("the preparation is damaged: its parts do not fit one another")
        if (packed is None) != (set(kinds) <= {"number"}):
            raise ModelFileError("the preparation is damaged: its vectorizer is missing or foreign")
        vectorizer = None if packed is None else load_vectorizer(packed)
        return cls(task, names, kinds, inputs, scaling, vectorizer, targets, classes,
                   mean, deviation, decimal_commas)  # fmt: skip


_SCALING_TYPES: Final = MappingProxyType(
    {"center": np.float64, "factor": np.float64, "fill": np.float64, "squashed": np.bool_,
     "indicators": np.int64}
)  # fmt: skip


def _spread(
    target: Array, rows: npt.NDArray[np.int64] | None, scaling: str, title: str
) -> tuple[Array, Array]:
    """Give mean and scale of each output, (outputs,), by some rows; 0 and 1 for "none"."""
    if scaling == "none":
        return np.zeros(target.shape[1]), np.ones(target.shape[1])
    _, mean, deviation, _, _ = column_statistics(target, rows)
    if not deviation.any():
        chosen = target if rows is None else target[rows]
        low, high = chosen.min(), chosen.max()
        if (chosen != chosen[0]).any():
            raise TableError(
                f"target {title!r} varies too little for its size to be told from rounding, "
                f"between {low} and {high}: subtract {low} from it"
            )
    # An output that is constant in training stays what it is.
    return mean, np.where(deviation > 0, deviation, 1.0)


def _labels(values: Array, classes: Array, title: str) -> npt.NDArray[np.int64]:
    """Give each value's place among the sorted classes."""
    if values.ndim != 1:
        raise TableError(f"target {title!r} takes one column of classes; got {values.shape[1]}")
    places = np.zeros(len(values), np.int64)
    differs = np.ones(len(values), np.bool_)
    if (values.dtype.kind == "U") == (classes.dtype.kind == "U"):
        for rows in blocks(values.shape):
            found = np.minimum(np.searchsorted(classes, values[rows]), len(classes) - 1)
            places[rows], differs[rows] = found, classes[found] != values[rows]
    unknown = np.flatnonzero(differs)
    if unknown.size:
        first = unknown[0]
        raise TableError(
            f"target {title!r} holds a class that was not there in training: "
            f"{values[first].item()!r} (row {first + 1}); "
            f"{nearest(values[first], map(str, classes))}"
        )
    return places
