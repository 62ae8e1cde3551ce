"""Files of tables: what is in them, unless they are damaged or too large."""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from downslope.errors import (
    MissingFileError,
    TableError,
    nearest,
    reading,
)
from downslope.memory import available_memory

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


def refuse_twice(names: Sequence[str], where: str) -> None:
    """Raise TableError where a column name occurs twice."""
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise TableError(f"{where}: every column takes a name of its own; twice there: {twice}")


def is_there(path: str | Path) -> bool:
    """Say whether there is a file or a folder of that name.

    Raises
    ------
    UnreadableError
        If that cannot be looked up.
    """
    with reading(path):
        return Path(path).exists()


def check_file(path: Path) -> str:
    """Look at a file before it is read; give its format.

    Raises
    ------
    MissingFileError
        If there is no such file.
    TableError
        If it is a folder, has no ending that is known, or is empty.
    UnreadableError
        If its folder cannot be looked into.
    """
    if not is_there(path):
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
    return kind


def read_file(path: Path, target: Any) -> tuple[Any, Any]:
    """Read a file: a data frame, or the arrays of an .npz with its target.

    Raises
    ------
    MissingFileError, TableError, UnreadableError
        If it is not there, damaged or larger than memory, or cannot be read.
    """
    kind = check_file(path)
    with reading(path):
        return _read_checked(path, kind, target)


def _read_checked(path: Path, kind: str, target: Any) -> tuple[Any, Any]:
    """Read a file of a format that is known."""
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
        if kind in ("csv", "ndjson"):
            _refuse_other_encoding(path)
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
    refuse_twice(next(csv.reader([header], delimiter=separator), []), repr(str(path)))
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


def _refuse_other_encoding(path: Path) -> None:
    """Raise `TableError` for the first line whose bytes are not UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = line[error.start]
                raise TableError(
                    f"{str(path)!r}, line {number}: a text file takes UTF-8, which its byte "
                    f"0x{byte:02x} is not; it may be Latin-1, Windows-1252 or UTF-16: save it as "
                    "UTF-8"
                ) from None


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
