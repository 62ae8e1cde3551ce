"""Files that are read: whole, or as tables, unless damaged or too large; data frames as files."""

from __future__ import annotations

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from downslope.delimited import Schema, read_csv
from downslope.errors import (
    InvalidTypeError,
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

DAMAGED_ZIP: Final = (
    zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, RuntimeError, OSError,
)  # fmt: skip
"""What reading a ZIP archive raises where it is damaged, or lacks what is looked for."""

_PANDAS_INDEX: Final = re.compile(r"__index_level_\d+__$")


def as_path(owner: str, given: Any) -> Path:
    """Give what is to be the name of a file or a folder as a path; owner: whom it was given to.

    Raises
    ------
    InvalidTypeError
        If it is no text and no path.

    Examples
    --------
    >>> as_path("save", 3)
    Traceback (most recent call last):
    downslope.errors.InvalidTypeError: save takes a path, as 'runs/first'; got 3
    """
    if not isinstance(given, str | PathLike):
        raise InvalidTypeError(f"{owner} takes a path, as 'runs/first'; got {given!r}")
    return Path(given)


def is_there(path: str | Path) -> bool:
    """Say whether there is a file or a folder of that name.

    Raises
    ------
    UnreadableError
        If that cannot be looked up.
    """
    with reading(path):
        return Path(path).exists()


def read_bytes(path: str | Path, ending: str = "") -> bytes:
    """Read a file whole; ending: what its name may lack.

    Raises
    ------
    MissingFileError
        If there is no such file.
    UnreadableError
        If it cannot be read.
    """
    path = Path(path)
    with reading(path):
        if not path.is_file():
            raise _missing(path, ending)
        return path.read_bytes()


def _missing(path: Path, ending: str = "") -> MissingFileError:
    near = path.with_name(path.name + ending) if path.name else path
    hint = f"did you mean {str(near)!r}?" if near.is_file() else "check its name and folder"
    hint = "it is a folder: name a file in it" if path.is_dir() else hint
    return MissingFileError(f"there is no file {str(path)!r}; {hint}")


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
        raise _missing(path)
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


def kind_written(path: Path) -> str:
    """Give the format in which a data frame is written to a file: CSV where it has no ending.

    Raises
    ------
    TableError
        For an ending of which no data frame can be written.
    """
    kind = FORMATS.get(path.suffix.lower(), "csv" if not path.suffix else None)
    if kind in ("csv", "parquet", "ipc", "ndjson"):
        return "tsv" if path.suffix.lower() in (".tsv", ".tab") else kind
    known = ", ".join(ending for ending, kind in FORMATS.items() if kind != "npz")
    raise TableError(
        f"cannot write {str(path)!r}: its format is told by its extension; got {path.suffix!r}; "
        f"known: {known}"
    )


def pack_frame(frame: pl.DataFrame, kind: str) -> bytes:
    """Give a data frame as the bytes of a file, in a format that `kind_written` gives."""
    buffer = io.BytesIO()
    write: dict[str, Callable[[io.BytesIO], Any]] = {
        "csv": frame.write_csv,
        "tsv": partial(frame.write_csv, separator="\t"),
        "parquet": frame.write_parquet,
        "ipc": frame.write_ipc,
        "ndjson": frame.write_ndjson,
    }
    write[kind](buffer)
    return buffer.getvalue()


def read_file(
    path: Path, target: Any, schema: Schema | None = None
) -> tuple[Any, Any, bool | None]:
    """Read a file: a data frame, or the arrays of an .npz with its target; its decimal commas.

    The third says whether numbers had decimal commas, or points; None where none was seen.

    Raises
    ------
    MissingFileError, TableError, UnreadableError
        If it is not there, damaged or larger than memory, or cannot be read.
    """
    kind = check_file(path)
    with reading(path):
        return _read_checked(path, kind, target, schema)


def _read_checked(
    path: Path, kind: str, target: Any, schema: Schema | None
) -> tuple[Any, Any, bool | None]:
    """Read a file of a format that is known."""
    from polars.exceptions import PanicException, PolarsError

    try:
        _refuse_larger_than_memory(path, _estimate_memory(path, kind))
        if kind == "npz":
            return *_read_npz(path, target), None
        if kind == "csv":
            frame, decimal_commas = read_csv(path, schema)
            return frame, None, decimal_commas
        return _read_frame(path, kind), None, None
    except (TableError, PermissionError):
        raise
    except (PolarsError, PanicException, csv.Error, *DAMAGED_ZIP) as error:
        if kind in ("csv", "ndjson"):
            _refuse_other_encoding(path)
        # After a blank line polars goes on with advice on arguments of its own.
        said = " ".join(str(error).partition("\n\n")[0].split())
        raise TableError(
            f"{str(path)!r} is damaged, or no {kind} file as its extension says: {said}"
        ) from error


def _read_frame(path: Path, kind: str) -> pl.DataFrame:
    """Read a file of columns that have types."""
    import polars as pl

    if kind == "parquet":
        frame = pl.read_parquet(path)
        return frame.drop([each for each in frame.columns if _PANDAS_INDEX.match(each)])
    if kind == "ipc":
        return pl.read_ipc(path)
    return pl.read_ndjson(path, infer_schema_length=None)


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
            return _array(arrays, features, path), _array(arrays, target, path)
        default = next((each for each in ("y", "target") if each in known), None)
        values = _array(arrays, default, path) if target is None and default else target
        return _array(arrays, features, path), values


def _array(arrays: Any, name: str, path: Path) -> Array:
    """Read one array of an open .npz; never a pickle, which could run anything."""
    try:
        array: Array = arrays[name]
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise
        raise TableError(
            f"{str(path)!r}: array {name!r} holds Python objects, which are not read, for they may "
            f"run any code: save it as texts, {name}.astype(str), or as numbers"
        ) from None
    return array


def arrays_in(path: Path) -> list[str]:
    """Give the names of the arrays in an .npz file."""
    with np.load(path, allow_pickle=False) as arrays:
        return list(arrays.files)


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
