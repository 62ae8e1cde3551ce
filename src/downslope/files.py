"""Files that are read: whole, or as tables, unless damaged or too large; data frames as files."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

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

NULL_MARKERS: Final = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "?")
"""What stands for a missing value in CSV and TSV."""

SAMPLED_LINES: Final = 20
"""Lines of a CSV file that are looked at for what stands between its fields. Few, for what is right
shows at once; more than one, for a header may hold another mark within a name."""

DAMAGED_ZIP: Final = (
    zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, RuntimeError, OSError,
)  # fmt: skip
"""What reading a ZIP archive raises where it is damaged, or lacks what is looked for."""

_PANDAS_INDEX: Final = re.compile(r"__index_level_\d+__$")
_QUOTED: Final = re.compile(r'"[^"]*"')
_GROUPS: Final = r"[1-9]\d{0,2}(\.\d{3})+"
_WHOLE_OR_GROUPED: Final = rf"^[+-]?(\d+|{_GROUPS})$"
_GERMAN: Final = rf"^[+-]?((\d+|{_GROUPS})(,\d+)?|,\d+)([eE][+-]?\d+)?$"


def refuse_twice(names: Sequence[str], where: str) -> None:
    """Raise TableError where a column name occurs twice."""
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise TableError(f"{where}: every column takes a name of its own; twice there: {twice}")


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
    except (PolarsError, PanicException, csv.Error, *DAMAGED_ZIP) as error:
        if kind in ("csv", "ndjson"):
            _refuse_other_encoding(path)
        raise TableError(
            f"{str(path)!r} is damaged, or no {kind} file as its extension says: {error}"
        ) from error


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    """Let csv take fields of more than its 131,072 characters, as polars does."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@_long_fields()
def _read_frame(path: Path, kind: str) -> pl.DataFrame:
    """Read a file of columns."""
    import polars as pl

    if kind == "parquet":
        frame = pl.read_parquet(path)
        return frame.drop([each for each in frame.columns if _PANDAS_INDEX.match(each)])
    if kind == "ipc":
        return pl.read_ipc(path)
    if kind == "ndjson":
        return pl.read_ndjson(path, infer_schema_length=None)
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = [line for line in islice(file, SAMPLED_LINES) if line.strip()]
    separator = _separator_of(lines) if path.suffix.lower() == ".csv" else "\t"
    refuse_twice(next(csv.reader(lines[:1], delimiter=separator), []), repr(str(path)))
    try:
        frame = pl.read_csv(
            path,
            separator=separator,
            null_values=list(NULL_MARKERS),
            try_parse_dates=True,
            infer_schema_length=None,
        )
    except pl.exceptions.ComputeError:
        _check_rows(path, separator)
        raise
    if separator == ";":
        frame = _read_decimal_commas(frame, lines, path)
    if frame.width > 1 and len(frame) and frame.to_series(-1).null_count():
        # polars fills a row that is too short with missing values, and takes a blank line for one.
        frame = frame.filter(~_check_rows(path, separator))
    return frame


def _separator_of(lines: Sequence[str]) -> str:
    """Say what stands between the fields of a CSV file, by its first lines.

    It is what every line has equally often, else what the header has most often; quotes aside. Of
    two that do, the semicolon: it is there because the comma is the decimal mark. Of none, a comma.
    """
    bare = [_QUOTED.sub("", line) for line in lines]

    def fit(separator: str) -> tuple[bool, int]:
        counts = [line.count(separator) for line in bare] or [0]
        return counts[0] > 0 and len(set(counts)) == 1, counts[0]

    found = max(";,\t|", key=fit)
    return found if fit(found)[1] else ","


def _read_decimal_commas(frame: pl.DataFrame, lines: Sequence[str], path: Path) -> pl.DataFrame:
    """Turn columns of texts such as 1.234,5 into numbers, in a file with semicolons between fields.

    Semicolons are there because the comma is the decimal mark: spreadsheets in much of Europe write
    so. Where some column has such commas, points stand between thousands: 86.940 is a whole number
    there. A column stays as it is where one value is no such number or the file has it in quotes;
    all do where points of another column can only be decimal ones, for then commas are something
    else, such as those of a list.
    """
    import polars as pl

    texts = frame.select(pl.col(pl.String)).select(pl.all().str.strip_chars())
    quoted = _quoted_columns(lines)
    numbers = [
        each for each in texts
        if each.count() and each.str.contains(_GERMAN).all() and each.name not in quoted
    ]  # fmt: skip
    with_commas = [each for each in numbers if each.str.contains(",", literal=True).any()]
    if not with_commas:
        return frame
    # With points and no comma it may be an address: those have as many points everywhere.
    uneven = [
        each for each in numbers
        if each.drop_nulls().str.count_matches(".", literal=True).n_unique() > 1
    ]  # fmt: skip
    raw = pl.read_csv(path, separator=";", infer_schema=False, null_values=list(NULL_MARKERS))
    floats = [raw[each].str.strip_chars() for each in frame.select(pl.col(pl.Float64)).columns]
    pointed = [each for each in floats if each.str.contains(".", literal=True).any()]
    if not all(each.str.contains(_WHOLE_OR_GROUPED).all() for each in pointed):
        return frame
    german = {each.name: each for each in (*with_commas, *uneven, *pointed)}
    plain = [
        each.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
        for each in german.values()
    ]
    return frame.with_columns([each.cast(pl.Float64) for each in plain])


def _quoted_columns(lines: Sequence[str]) -> set[str]:
    """Say in which columns the first lines of a file with semicolons have values in quotes."""
    header, *rows = csv.reader(lines, delimiter=";", quoting=csv.QUOTE_NONE)
    return {
        name.strip('"')
        for row in rows
        for name, field in zip(header, row, strict=False)
        if field.startswith('"') and len(row) == len(header)
    }


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


def _check_rows(path: Path, separator: str) -> npt.NDArray[np.bool_]:
    """Say which rows are blank lines; raise `TableError` where others are too short or too long."""
    blank = bytearray()
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        # To polars a carriage return alone ends no line; to csv it does.
        lines = csv.reader((line.replace("\r", "") for line in file), delimiter=separator)
        width = len(next(fields for fields in lines if fields))
        for fields in lines:
            blank.append(not fields)
            if fields and len(fields) != width:
                raise TableError(
                    f"{str(path)!r}, line {lines.line_num}: every row takes as many fields as the "
                    f"header, {width}; got {len(fields)}: look for a missing or a stray "
                    f"{separator!r}, or put a field that holds one in quotes"
                )
    return np.frombuffer(blank, np.bool_)


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
