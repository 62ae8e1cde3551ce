"""Files and data frames become features and a target, checked."""

from __future__ import annotations

import csv
import math
import os
import sys
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from downslope.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingFileError,
    TableError,
    nearest,
)

if TYPE_CHECKING:
    import polars as pl

Array = npt.NDArray[Any]

FORMATS: Final = MappingProxyType(
    {".csv": "csv", ".tsv": "csv", ".tab": "csv", ".parquet": "parquet", ".pq": "parquet",
     ".arrow": "ipc", ".feather": "ipc", ".ipc": "ipc", ".jsonl": "ndjson", ".ndjson": "ndjson",
     ".npz": "npz"}
)  # fmt: skip
"""What a file's extension says about its format."""

NULL_MARKERS: Final = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "?")
"""What stands for a missing value in CSV and TSV."""

TASKS: Final = ("regression", "binary", "multiclass", "multilabel")

FEW_CLASSES: Final = 20
"""Whole numbers of more distinct values than this are quantities. Digits and grades (10), star
ratings, months (12) and hours of a half day stay below; counts, years and prices lie above."""

_NO_TARGET: Final = "there is no target: say which column is to be predicted"

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

    def __len__(self) -> int:
        return int(self.features.shape[0])

    def __repr__(self) -> str:
        names = ", ".join(repr(each) for each in self.target_names) or None
        size = f"{len(self)} rows, {len(self.feature_names)} columns"
        return f"Table({self.name!r}: {size}, target {names})"


def read(source: Any, target: Any = None, name: str | None = None) -> Table:
    """Read a file, a data frame or an array as a checked table.

    Parameters
    ----------
    source
        A path to a file of `FORMATS` (of an .npz, the arrays X and y, or data and target); a
        polars or pandas data frame or anything that speaks the Arrow protocol; a NumPy array or
        nested list, (rows, columns). Arrays of numbers are kept as they are, not copied.
    target
        What to predict: the name of a column, several names ("a,b" or a sequence), or the values,
        (rows,) or (rows, outputs). None reads features only (of an .npz: its y, if there is one).
    name
        What to call the table in messages; by default the file's name.

    Returns
    -------
    Table
        With a target: without infinite values, and without missing ones in the target. (Without
        one, for prediction, `Preparation.transform` looks at the columns that it uses.)

    Raises
    ------
    MissingFileError
        If there is no such file.
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
        source, default = _read_file(path, target)
        target = default if target is None or isinstance(source, np.ndarray) else target
    features = as_features(source)
    if not isinstance(features, np.ndarray):
        return _from_frame(features, target, name or "data frame")
    name = name or "array"
    if isinstance(target, str):
        raise TableError(f"{name} has no named columns: give the target's values, not {target!r}")
    names = tuple(f"x{index}" for index in range(features.shape[1]))
    return _checked(features, target, names, ("target",), name)


def _from_frame(frame: pl.DataFrame, target: Any, name: str) -> Table:
    """Take the target out of a data frame, or beside it."""
    names = _column_names(frame, target, name)
    if names is None:
        return _checked(frame, target, tuple(frame.columns), ("target",), name)
    columns = [_column_values(frame.get_column(each), each) for each in names]
    kinds = {values.dtype.kind in "U" for values in columns}
    if len(kinds) > 1:
        raise TableError(f"{name}: targets {names} mix text and numbers; give them one kind")
    values = columns[0] if len(columns) == 1 else np.column_stack(columns)
    features = frame.drop(names)
    return _checked(features, values, tuple(features.columns), tuple(names), name)


def _column_names(frame: pl.DataFrame, target: Any, name: str) -> list[str] | None:
    """Say which columns the target names; None if it is no name but values."""
    known = frame.columns
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
        raise TableError(f"{name} has no columns{left}: there is nothing to learn from")
    if not rows:
        raise TableError(
            f"{name} has {columns} columns but no rows: there is nothing to learn from"
        )
    if target is None:
        return Table(features, None, names, (), name)
    check_finite(features, names, name)
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
    """Raise `TableError` if a column holds infinite values; missing ones are well."""
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
    _refuse_infinite(counts, names, name)


def _refuse_infinite(counts: Iterable[int], names: Sequence[str], name: str) -> None:
    found = [f"{n} in {each!r}" for n, each in zip(counts, names, strict=True) if n]
    if found:
        raise TableError(
            f"{name} holds infinite values: {', '.join(found[:10])}; "
            "make them missing (leave them empty) or replace them by a finite number"
        )


def read_target(values: Any, names: Sequence[str] = ("target",)) -> Array:
    """Give target values as a plain array without missing or infinite ones.

    Parameters
    ----------
    values
        (rows,) or (rows, outputs): an array, a list, or a series of polars or pandas.
    names
        The outputs' names.

    Returns
    -------
    array, (rows,) or (rows, outputs)
        Numbers, booleans or texts; one column of two dimensions becomes one dimension.

    Raises
    ------
    TableError
        If there are missing or infinite values, or they are neither numbers nor texts.

    Examples
    --------
    >>> read_target([[1], [2]])
    array([1, 2])
    """
    target = np.asarray(values)
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    title = " and ".join(repr(each) for each in names)
    if target.ndim not in (1, 2):
        raise TableError(f"target {title} takes (rows,) or (rows, outputs); got {target.shape}")
    if target.dtype.kind == "O" or target.dtype.kind == "T":
        # Only a missing value differs from itself (NaN, NaT); pandas.NA compares to neither.
        missing = np.array([_is_missing(each) for each in target.ravel()]).reshape(target.shape)
        _refuse_missing(missing, title)
        plain = all(isinstance(each, bool | int | float | np.number) for each in target.ravel())
        target = np.array(target.tolist(), dtype=None if plain else np.str_)
    if target.dtype.kind not in "biufU":
        raise TableError(
            f"target {title} takes numbers, booleans or texts; got {target.dtype.name}: "
            "turn it into a number first"
        )
    if target.dtype.kind == "f":
        _refuse_missing(np.isnan(target), title)
        _refuse_infinite([int(np.isinf(target).sum())], [", ".join(names)], "the target")
    return target


def _is_missing(value: object) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType") or value != value


def _refuse_missing(missing: Array, title: str) -> None:
    rows = np.flatnonzero(missing if missing.ndim == 1 else missing.any(axis=1))
    if rows.size:
        first = ", ".join(str(row + 1) for row in rows[:5]) + (", ..." if rows.size > 5 else "")
        raise TableError(
            f"target {title} is missing in {rows.size} of {len(missing)} rows (counted from 1: "
            f"{first}); a row without a target teaches nothing: drop these rows or fill them in"
        )


def _column_values(column: pl.Series, name: str) -> Array:
    """Give a target column of a data frame as an array."""
    if column.null_count():
        _refuse_missing(column.is_null().to_numpy(), repr(name))
    if column.dtype.is_temporal() or column.dtype.is_nested():
        raise TableError(
            f"target {name!r} takes numbers, booleans or texts; got {column.dtype}: "
            "turn it into a number first"
        )
    if column.dtype.is_decimal():
        return np.array(column.to_list(), dtype=np.float64)
    return read_target(column.to_numpy(), [name])


def _as_frame(source: Any) -> pl.DataFrame | None:
    """Give a data frame of any kind as polars'; None for what is no data frame."""
    polars, pandas = sys.modules.get("polars"), sys.modules.get("pandas")
    if polars is not None and isinstance(source, polars.LazyFrame):
        source = source.collect()
    if polars is not None and isinstance(source, polars.DataFrame):
        return source  # type: ignore[no-any-return]
    if pandas is not None and isinstance(source, pandas.DataFrame):
        return _from_pandas(source)
    if hasattr(source, "__arrow_c_stream__"):
        import polars as pl

        try:
            return pl.DataFrame(source)
        except pl.exceptions.PolarsError as error:
            raise TableError(f"this {type(source).__name__} is no table: {error}") from error
    return None


def _from_pandas(source: Any) -> pl.DataFrame:
    """Give a pandas data frame as polars', without its index; columns of mixed objects as text."""
    import polars as pl

    names = [str(each) for each in source.columns]
    _refuse_twice(names, "data frame")
    columns = []
    for position, name in enumerate(names):
        series = source.iloc[:, position]
        mixed = series.dtype.name in ("object", "category", "str", "string")
        if not mixed:
            columns.append(pl.Series(name, pl.from_pandas(series)))
            continue
        values = [None if _is_missing(each) else each for each in series]
        if series.dtype.name == "category":
            texts = [None if each is None else str(each) for each in values]
            columns.append(pl.Series(name, texts, dtype=pl.Categorical))
        else:
            columns.append(pl.Series(name, values, strict=False))
    return pl.DataFrame(columns)


def _refuse_twice(names: Sequence[str], where: str) -> None:
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise TableError(f"{where}: every column takes a name of its own; twice there: {twice}")


def as_features(source: Any) -> pl.DataFrame | Array:
    """Give a data frame of any kind as polars', anything else as an array, (rows, columns).

    Arrays of texts or mixed objects become a data frame with the columns x0, x1, ...; nothing
    about the values is checked yet.

    Raises
    ------
    InvalidTypeError
        If it is neither.
    TableError
        If an array has not two dimensions, or two columns of a data frame have one name.

    Examples
    --------
    >>> as_features([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    frame = _as_frame(source)
    if frame is not None:
        return frame
    try:
        features = np.asarray(source)
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


def _object_frame(features: Array) -> pl.DataFrame:
    """Give an array of texts or mixed objects as a data frame, column by column."""
    import polars as pl

    columns = {
        f"x{index}": pl.Series(
            [None if _is_missing(each) else each for each in column.tolist()], strict=False
        )
        for index, column in enumerate(features.T)
    }
    return pl.DataFrame(columns)


def _read_file(path: Path, target: Any) -> tuple[Any, Any]:
    """Read a file: a data frame, or the arrays of an .npz with its target."""
    if not path.exists():
        raise MissingFileError(f"there is no file {str(path)!r}; check its name and folder")
    kind = FORMATS.get(path.suffix.lower())
    if path.is_dir():
        raise TableError(f"{str(path)!r} is a folder: name one file in it")
    if kind is None:
        raise TableError(
            f"{str(path)!r}: a table's format is told by its extension; "
            f"got {path.suffix or 'none'!r}; known: {', '.join(FORMATS)}"
        )
    if not path.stat().st_size:
        raise TableError(f"{str(path)!r} is empty: it has no columns and no rows")
    from polars.exceptions import PanicException, PolarsError

    try:
        _refuse_larger_than_memory(path, _estimate_memory(path, kind))
        if kind == "npz":
            return _read_npz(path, target)
        return _read_frame(path, kind), None
    except (TableError, PermissionError):
        raise
    except (PolarsError, PanicException, zipfile.BadZipFile, zlib.error, EOFError, KeyError,
            ValueError, OSError) as error:  # fmt: skip
        raise TableError(
            f"{str(path)!r} is damaged, or no {kind} file as its extension says: {error}"
        ) from error


def _read_frame(path: Path, kind: str) -> pl.DataFrame:
    """Read a file of columns."""
    import polars as pl

    if kind == "parquet":
        return pl.read_parquet(path)
    if kind == "ipc":
        return pl.read_ipc(path)
    if kind == "ndjson":
        return pl.read_ndjson(path, infer_schema_length=None)
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
    separator = "," if path.suffix.lower() == ".csv" else "\t"
    if separator not in header and path.suffix.lower() == ".csv":
        separator = max(",;\t|", key=header.count)
    _refuse_twice(next(csv.reader([header], delimiter=separator), []), repr(str(path)))
    try:
        frame = pl.read_csv(
            path,
            separator=separator,
            null_values=list(NULL_MARKERS),
            try_parse_dates=True,
            infer_schema_length=None,
        )
    except pl.exceptions.ComputeError:
        _refuse_ragged(path, separator)
        raise
    if frame.width > 1 and len(frame) and frame.to_series(-1).null_count():
        # polars fills a row that is too short with missing values, and takes an empty line for one.
        _refuse_ragged(path, separator)
        frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    return frame


def _refuse_ragged(path: Path, separator: str) -> None:
    """Raise `TableError` for the first line that has not as many fields as the header."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, delimiter=separator)
        width = len(next(lines))
        for fields in lines:
            if fields and len(fields) != width:
                raise TableError(
                    f"{str(path)!r}, line {lines.line_num}: every row takes as many fields as the "
                    f"header, {width}; got {len(fields)}: look for a missing or a stray "
                    f"{separator!r}, or put a field that holds one in quotes"
                )


def _read_npz(path: Path, target: Any) -> tuple[Array, Any]:
    """Read X and y, or data and target, of an .npz file; another target by its name."""
    with np.load(path, allow_pickle=False) as arrays:
        known = list(arrays.files)
        features = next((each for each in ("X", "data") if each in known), None)
        if features is None:
            raise TableError(f"{str(path)!r} takes an array 'X' or 'data'; it holds {known}")
        if isinstance(target, str):
            if target not in known:
                raise TableError(f"{str(path)!r} has no array {target!r}: {nearest(target, known)}")
            return arrays[features], arrays[target]
        default = next((each for each in ("y", "target") if each in known), None)
        values = arrays[default] if target is None and default else target
        return arrays[features], values


def available_memory() -> int | None:
    """Give the bytes of memory that are free; None where the system does not say."""
    free: list[int] = []
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            free += [int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvail")]
        group = Path("/sys/fs/cgroup")  # a container's own limit
        limit, used = (group / "memory.max").read_text(), (group / "memory.current").read_text()
        free.append(int(limit) - int(used))
    except (OSError, ValueError):
        pass
    if not free and hasattr(os, "sysconf"):
        for pages in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"):
            if pages in os.sysconf_names and not free:
                free.append(os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE"))
    return min(free, default=None)


def _estimate_memory(path: Path, kind: str) -> int:
    """Estimate the bytes of a file's table in memory and of its float32 features beside it."""
    size = path.stat().st_size  # in text, a number takes about the 8 bytes that it takes in memory
    if kind == "npz":
        with zipfile.ZipFile(path) as members:
            size = sum(member.file_size for member in members.infolist())
    elif kind == "parquet":
        from pyarrow.parquet import read_metadata

        about = read_metadata(path)
        groups = [about.row_group(index) for index in range(about.num_row_groups)]
        size = sum(group.total_byte_size for group in groups)
        size = max(size, 8 * about.num_rows * about.num_columns)
    return size + size // 2


def _refuse_larger_than_memory(path: Path, needed: int) -> None:
    free = available_memory()
    if free is not None and needed > free:
        raise TableError(
            f"{str(path)!r} needs about {needed / 2**30:.1f} GiB of memory and "
            f"{free / 2**30:.1f} GiB are free: a table larger than memory cannot be trained on "
            "yet; take fewer rows or columns of it"
        )


def infer_task(target: Array | None, task: str = "auto", name: str = "target") -> str:
    """Say what kind of task a target asks for, or check the one that was asked for.

    Texts and booleans are classes. Whole numbers are classes if they take two values, or at most
    `FEW_CLASSES` with two rows or more for each on average; otherwise, and with a number that is
    not whole, it is regression. A target of several columns is multi-label if all are 0 or 1,
    otherwise regression with several outputs.

    Parameters
    ----------
    target
        (rows,) or (rows, outputs), as `read_target` gives it.
    task
        "auto", or one of "regression", "binary", "multiclass", "multilabel".
    name
        What to call the target in messages.

    Returns
    -------
    str
        The task.

    Raises
    ------
    InvalidValueError
        For an unknown task, or one that the target cannot have.
    TableError
        If there is no target, or the same one in every row.

    Examples
    --------
    >>> infer_task(np.array(["cat", "dog", "eel", "cat"]))
    'multiclass'
    >>> infer_task(np.array([0.5, 1.5, 1.0]))
    'regression'
    """
    if task not in ("auto", *TASKS):
        raise InvalidValueError(f"unknown task {task!r}: {nearest(task, TASKS)}")
    if target is None:
        raise TableError(_NO_TARGET)
    values = np.unique(target) if target.ndim == 1 else target
    if target.ndim == 1 and len(values) < 2:
        seen = f"only {values[0].item()!r}" if len(values) else "no value"
        raise TableError(f"target {name!r} holds {seen}: learning takes two different values")
    inferred = _natural_task(values, len(target))
    if task in ("auto", inferred):
        if target.ndim == 2 and target.dtype.kind == "U":
            raise TableError(f"target {name!r}: several columns take numbers; got texts")
        if task == "auto" and target.dtype.kind == "U":
            _refuse_stray_text(target, values, name)
        return inferred
    reason = _contradiction(values, task, target.ndim)
    if reason:
        raise InvalidValueError(
            f"target {name!r} cannot be for the task {task!r}: {reason}; "
            f"by its values it is {inferred!r}"
        )
    return task


def _natural_task(values: Array, rows: int) -> str:
    """Say the task by a target's distinct values, or by its columns."""
    if values.ndim == 2:
        flags = values.dtype.kind in "biuf" and bool(((values == 0) | (values == 1)).all())
        return "multilabel" if flags else "regression"
    if values.dtype.kind in "Ub":
        return "binary" if len(values) == 2 else "multiclass"
    whole = values.dtype.kind in "iu" or bool((values == np.floor(values)).all())
    if whole and len(values) == 2:
        return "binary"
    few = len(values) <= FEW_CLASSES and 2 * len(values) <= rows
    return "multiclass" if whole and few else "regression"


def _contradiction(values: Array, task: str, dimensions: int) -> str:
    """Say why a target cannot have a task; empty if it can."""
    several = dimensions == 2
    if task == "multilabel":
        return "it takes several columns of 0 and 1"
    if values.dtype.kind == "U":
        example = f"regression takes numbers, and it holds texts such as {values.flat[0].item()!r}"
        return example if task == "regression" else f"it holds {len(values)} classes"
    if task == "regression":
        return ""
    if several:
        return "classes take one column (of one-hot rows, take target.argmax(axis=1))"
    if task == "binary":
        return f"it holds {len(values)} different values, and a binary target two"
    if values.dtype.kind == "f" and not (values == np.floor(values)).all():
        return "classes take whole numbers or texts"
    return "" if len(values) > 2 or task == "multiclass" else "it holds two classes"


def _refuse_stray_text(target: Array, values: Array, name: str) -> None:
    """Raise `TableError` for a column of numbers that a few texts made a column of classes."""

    def is_number(text: str) -> bool:
        try:
            return math.isfinite(float(text))
        except ValueError:
            return False

    texts = [each for each in values.tolist() if not is_number(each)]
    if len(values) > FEW_CLASSES and len(texts) <= len(values) // 10:
        stray = texts[0] if texts else values[0].item()
        row = int(np.flatnonzero(target == stray)[0]) + 1
        raise TableError(
            f"target {name!r} holds numbers but for texts such as {stray!r} (row {row}): "
            "drop or mend these rows, or say task='multiclass' if they are classes"
        )


def split(
    target: Array | None, task: str, fraction: float, generator: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Part the rows at random into those to train on and those held out.

    Of n rows, floor(fraction n + 1/2) are held out. Of the n_c rows of a class, floor(fraction
    n_c), and one more for the classes with the largest remainders until the sum is reached; every
    class keeps at least one row for training, so that fewer are held out if it must be.

    Parameters
    ----------
    target
        (rows,) or (rows, outputs).
    task
        "binary" and "multiclass" keep the classes' shares (stratified); others do not.
    fraction
        In [0, 1): the share of rows to hold out; 0 trains on all.
    generator
        The source of randomness; the same state gives the same rows.

    Returns
    -------
    training_rows, held_out_rows : arrays, int64
        Indices of rows, rising.

    Raises
    ------
    InvalidValueError
        If `fraction` lies outside [0, 1), or holds out no row or all.
    TableError
        If a class has one row, while some are to be held out.

    Examples
    --------
    >>> training, held_out = split(np.array([0, 0, 1, 1]), "binary", 0.5, np.random.default_rng(0))
    >>> len(training), len(held_out)
    (2, 2)
    """
    if target is None:
        raise TableError(_NO_TARGET)
    rows = len(target)
    if isinstance(fraction, bool) or not isinstance(fraction, int | float | np.number):
        raise InvalidTypeError(f"the fraction to hold out takes a number; got {fraction!r}")
    if not 0 <= fraction < 1:
        raise InvalidValueError(f"the fraction to hold out must lie in [0, 1); got {fraction}")
    if fraction == 0:
        return np.arange(rows), np.empty(0, dtype=np.int64)
    wanted = math.floor(fraction * rows + 0.5)
    order = generator.permutation(rows)
    if task in ("binary", "multiclass"):
        held_out = _stratify(target, fraction, wanted, order)
    else:
        held_out = order[:wanted]
    if not 0 < len(held_out) < rows:
        raise InvalidValueError(
            f"a fraction of {fraction} holds out {len(held_out)} of {rows} rows and leaves "
            f"{rows - len(held_out)} to train on; give another one, or 0 to train on all"
        )
    kept = np.ones(rows, dtype=np.bool_)
    kept[held_out] = False
    return np.flatnonzero(kept), np.flatnonzero(~kept)


def _stratify(target: Array, fraction: float, wanted: int, order: Array) -> Array:
    """Choose the rows to hold out class by class, in the given random order."""
    classes, labels, counts = np.unique(target, return_inverse=True, return_counts=True)
    if counts.min() == 1:
        label = int(np.argmin(counts))
        row = int(np.argmax(labels == label)) + 1
        raise TableError(
            f"class {classes[label].item()!r} has one row (row {row}): it can be trained on or "
            "held out, not both; add rows, merge the class with another, drop it, or hold out "
            "nothing (fraction 0)"
        )
    share = counts * fraction
    held = np.minimum(np.floor(share).astype(np.int64), counts - 1)
    for _ in range(min(wanted, len(target) - len(classes)) - int(held.sum())):
        held[np.argmax(np.where(held < counts - 1, share - held, -1.0))] += 1
    grouped = order[np.argsort(labels[order], kind="stable")]
    starts = np.cumsum(counts) - counts
    place = np.arange(len(target)) - np.repeat(starts, counts)
    return grouped[place < np.repeat(held, counts)]
