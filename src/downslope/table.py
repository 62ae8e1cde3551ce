"""Files and data frames become features and a target, checked."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from downslope.delimited import Schema
from downslope.errors import (
    InvalidTypeError,
    TableError,
    nearest,
    refuse_infinite,
    refuse_twice,
)
from downslope.files import read_file
from downslope.frames import from_pandas, is_missing, names_in, values_of_categories
from downslope.target import column_values, read_target

if TYPE_CHECKING:
    import polars as pl

Array = npt.NDArray[Any]

BLOCK: Final = 1 << 17
"""Numbers looked at in one go: a block's float64 copy (1 MiB) stays in cache."""


@dataclass(frozen=True, eq=False)
class Table:
    """Features and what is to be predicted from them, row by row.

    Parameters
    ----------
    features
        A polars data frame, or (rows, columns) numbers; NaN and null are missing values.
    target
        (rows,) or (rows, outputs) numbers, booleans or texts; None where nothing is to be learned.
    feature_names, target_names
        The columns' names.
    name
        What the table is called in messages.
    decimal_commas
        Whether its file had decimal commas in its numbers, or points; None where none was seen.

    Examples
    --------
    >>> Table(np.zeros((3, 2)), np.array([0, 1, 1]), ("a", "b"), ("y",), "tiny")
    Table('tiny': 3 rows, 2 columns, target 'y')
    """

    features: pl.DataFrame | Array
    target: Array | None
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...] = ()
    name: str = "table"
    decimal_commas: bool | None = None

    def __len__(self) -> int:
        return int(self.features.shape[0])

    @property
    def target_title(self) -> str:
        """What the target is called in messages."""
        return " and ".join(self.target_names) or "target"

    def __repr__(self) -> str:
        names = ", ".join(repr(each) for each in self.target_names) or None
        size = f"{len(self)} rows, {len(self.feature_names)} columns"
        return f"Table({self.name!r}: {size}, target {names})"


def read(
    source: Any, target: Any = None, name: str | None = None, schema: Schema | None = None
) -> Table:
    """Read a file, a data frame or an array as a checked table.

    Parameters
    ----------
    source
        A path to a file of `FORMATS` (of an .npz, the arrays X and y, or data and target); a
        polars or pandas data frame or anything that speaks the Arrow protocol; a NumPy array or
        nested list, (rows, columns). Arrays of numbers are kept as they are, not copied. In CSV and
        TSV a blank line is no row, and a line of separators alone is one whose values are missing;
        in a table of one column a blank line is a missing value, as polars writes it. A first
        column without a name, as pandas and R write the names of rows, is left out where it holds
        whole numbers, or texts each once; any other column of values takes a name.
    target
        What to predict: the name of a column (a whole number, too, where one is called that),
        several names ("a,b" or a sequence), or the values, (rows,) or (rows, outputs). None reads
        features only (of an .npz: its y, if there is one).
    name
        What to call the table in messages; by default the file's name.
    schema
        How the columns of a file are read for a network that was trained on such
        (`Preparation.schema`); None infers them from the values.

    Returns
    -------
    Table
        With a target: without infinite values, and without missing ones in the target. (Without
        one, for prediction, `Preparation.transform` looks at the columns that it uses.)

    Raises
    ------
    MissingFileError
        If there is no such file.
    UnreadableError
        If it cannot be read.
    TableError
        If the file is damaged or larger than memory, the table is empty, a name is unknown or
        twice there, values are infinite, or the target is missing in some rows.
    InvalidTypeError
        If `source` is none of the above.

    Examples
    --------
    >>> read([[1.0, 2.0], [3.0, 4.0]], ["no", "yes"])
    Table('array': 2 rows, 2 columns, target 'target')
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        name = name or path.name
        source, default, decimal_commas = read_file(path, target, schema)
        target = default if target is None or isinstance(source, np.ndarray) else target
        return replace(read(source, target, name), decimal_commas=decimal_commas)
    features = as_features(source)
    if not isinstance(features, np.ndarray):
        return _from_frame(features, target, name or "data frame", source)
    name = name or "array"
    if isinstance(target, str):
        raise TableError(f"{name} has no named columns: give the target's values, not {target!r}")
    names = places(features.shape[1])
    return _checked(features, target, names, _names_of(target, names), name)


def places(columns: int) -> tuple[str, ...]:
    """Give the names of columns that have none of their own: x0, x1 and so on.

    >>> places(2)
    ('x0', 'x1')
    """
    return tuple(f"x{index}" for index in range(columns))


def _names_of(target: Any, features: Sequence[str]) -> tuple[str, ...]:
    """Give the names that a data frame or a series of target values brings along.

    Not where one is a feature's: pandas calls df["age"] > 0 "age" too.
    """
    columns = getattr(target, "columns", None)
    names: list[Any] = [getattr(target, "name", None)] if columns is None else list(columns)
    if not all(isinstance(each, str) and each and each not in features for each in names):
        return ("target",)
    refuse_twice(names, "target")
    return tuple(names)


def _from_frame(frame: pl.DataFrame, target: Any, name: str, source: Any) -> Table:
    """Take the target out of a data frame, or beside it; categories from where the frame is of."""
    names = _column_names(frame, target, name)
    if names is None:
        known = tuple(frame.columns)
        return _checked(frame, target, known, _names_of(target, known), name)
    categories = [values_of_categories(source, each) for each in names]
    columns = [
        column_values(frame.get_column(each), each) if own is None else read_target(own, [each])
        for each, own in zip(names, categories, strict=True)
    ]
    kinds = {values.dtype.kind in "U" for values in columns}
    if len(kinds) > 1:
        raise TableError(f"{name}: targets {names} mix text and numbers; give them one kind")
    values = columns[0] if len(columns) == 1 else np.column_stack(columns)
    features = frame.drop(names)
    return _checked(features, values, tuple(features.columns), tuple(names), name)


def _column_names(frame: pl.DataFrame, target: Any, name: str) -> list[str] | None:
    """Say which columns the target names; None if it is no name but values."""
    known = frame.columns
    if isinstance(target, int | np.integer) and str(target) in known:
        return [str(target)]
    if isinstance(target, str):
        names = [target] if target in known else [part.strip() for part in target.split(",")]
    elif isinstance(target, list | tuple) and all(isinstance(each, str) for each in target):
        names = list(target)
        if len(names) == len(frame) and not set(names) & set(known):
            return None
    else:
        return None
    for each in names:
        if each not in known:
            raise TableError(f"{name} has no target column {each!r}: {nearest(each, known)}")
    if len(set(names)) < len(names) or not names:
        raise TableError(f"a target is named once each; got {target!r}")
    return names


def _checked(
    features: pl.DataFrame | Array, target: Any, names: tuple[str, ...], targets: tuple[str, ...],
    name: str,
) -> Table:  # fmt: skip
    """Build a table, or say what is wrong with it."""
    rows, columns = features.shape
    if not columns:
        left = " besides the target" if target is not None else ""
        raise TableError(f"{name} has no columns{left}: give it a column for each feature")
    if not rows:
        use = "predict" if target is None else "learn from"
        raise TableError(
            f"{name} has {columns} columns but no rows: there are no rows to {use}; add some "
            "below the header"
        )
    if target is None:
        return Table(features, None, names, (), name)
    check_finite(features, names, name)
    if not _holds_values(features):
        raise TableError(f"{name}: its columns hold no values: nothing to learn from")
    values = read_target(target, targets)
    if len(values) != rows:
        raise TableError(f"{name} has {rows} rows of features and {len(values)} of the target")
    if values.ndim == 2 and len(targets) != values.shape[1]:
        targets = tuple(f"target{index}" for index in range(values.shape[1]))
    return Table(features, values, names, targets, name)


def blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Cut the rows of a shape into slices of at most `BLOCK` numbers, to work without copies."""
    rows = max(1, BLOCK // max(1, math.prod(shape[1:])))
    return (slice(start, start + rows) for start in range(0, shape[0], rows))


def check_finite(features: pl.DataFrame | Array, names: Sequence[str], name: str) -> None:
    """Raise `TableError` if a column holds infinite values; missing ones are allowed."""
    counts: list[int] = [0] * len(names)
    if not isinstance(features, np.ndarray):
        for index, column in enumerate(features.iter_columns()):
            if column.dtype.is_float():
                counts[index] = int(column.is_infinite().sum() or 0)
    elif features.dtype.kind == "f":
        for rows in blocks(features.shape):
            if not np.isfinite(features[rows]).all():
                found = np.isinf(features[rows]).sum(axis=0)
                counts = [int(a + b) for a, b in zip(counts, found, strict=True)]
    refuse_infinite(counts, names, name)


def _holds_values(features: pl.DataFrame | Array) -> bool:
    """Say whether anything is known of any row."""
    if not isinstance(features, np.ndarray):
        known = (column.drop_nans() if column.dtype.is_float() else column
                 for column in features.iter_columns())  # fmt: skip
        return any(column.count() for column in known)
    if features.dtype.kind != "f":
        return True
    return not all(np.isnan(features[rows]).all() for rows in blocks(features.shape))


def _as_frame(source: Any) -> pl.DataFrame | None:
    """Give a data frame of any kind as polars'; None for what is no data frame."""
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(source, polars.LazyFrame):
        source = source.collect()
    if polars is not None and isinstance(source, polars.DataFrame):
        return source  # type: ignore[no-any-return]
    names = names_in(source)
    if names is not None:
        return from_pandas(source, names)
    if hasattr(source, "__arrow_c_stream__"):
        import polars as pl

        try:
            return pl.DataFrame(source)
        except pl.exceptions.PolarsError as error:
            raise TableError(f"this {type(source).__name__} is no table: {error}") from error
    return None


def as_features(source: Any) -> pl.DataFrame | Array:
    """Give a data frame of any kind as polars', anything else as an array, (rows, columns).

    Arrays of texts or mixed objects become a data frame with the columns x0, x1, ...; nothing
    about the values is checked yet.

    Raises
    ------
    InvalidTypeError
        If it is neither.
    TableError
        If an array does not have two dimensions, or two columns of a data frame have one name.

    Examples
    --------
    >>> as_features([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    frame = _as_frame(source)
    if frame is not None:
        return frame
    try:
        features = np.asarray(_without_mask(source))
    except ValueError as error:
        raise TableError(f"rows of features take the same number of columns: {error}") from error
    if features.ndim == 0 or features.dtype.kind in "cV":
        raise InvalidTypeError(
            "a table takes a path, a data frame or an array of numbers (rows, columns); "
            f"got {type(source).__name__}"
        )
    if features.ndim != 2:
        shape = "(-1, 1)" if features.ndim == 1 else f"({len(features)}, -1)"
        raise TableError(
            f"features take two dimensions, (rows, columns); got shape {features.shape}: "
            f"reshape them, such as X.reshape{shape}"
        )
    return features if features.dtype.kind in "biuf" else _object_frame(features)


def _without_mask(source: Any) -> Any:
    """Let the masked values of a NumPy array be missing ones."""
    if not isinstance(source, np.ma.MaskedArray) or not np.ma.is_masked(source):
        return source
    kind = source.dtype.kind
    plain = source.data.astype(
        source.dtype if kind == "f" else np.float64 if kind in "biu" else "O"
    )
    plain[np.ma.getmaskarray(source)] = np.nan if plain.dtype.kind == "f" else None
    return plain


def _object_frame(features: Array) -> pl.DataFrame:
    """Give an array of texts or mixed objects as a data frame, column by column."""
    import polars as pl

    columns = {
        name: pl.Series(
            [None if is_missing(each) else each for each in column.tolist()], strict=False
        )
        for name, column in zip(places(features.shape[1]), features.T, strict=True)
    }
    return pl.DataFrame(columns)
