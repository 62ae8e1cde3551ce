"""CSV and TSV files: what stands between fields, decimal commas, blank and ragged lines."""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from downslope.errors import TableError, refuse_twice

if TYPE_CHECKING:
    import polars as pl

NULL_MARKERS: Final = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "?")
"""What stands for a missing value in CSV and TSV."""

SAMPLED_LINES: Final = 20
"""Lines of a CSV file that are looked at for what stands between its fields. Few, for what is right
shows at once; more than one, for a header may hold another mark within a name."""

_QUOTED: Final = re.compile(r'"[^"]*"')
_GROUPS: Final = r"[1-9]\d{0,2}(\.\d{3})+"
_WHOLE_OR_GROUPED: Final = rf"^[+-]?(\d+|{_GROUPS})$"
_GERMAN: Final = rf"^[+-]?((\d+|{_GROUPS})(,\d+)?|,\d+)([eE][+-]?\d+)?$"
_COMMA_OR_TWO_POINTS: Final = r",|\..*\."


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    """Let csv take fields of more than its 131,072 characters, as polars does."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@dataclass(frozen=True)
class Schema:
    """What training tells of a file's columns before the file is read.

    CSV has no types: they are inferred from the values, and few rows may be taken for something
    else than many were, such as the postal code 01067 for a number.

    Parameters
    ----------
    kinds
        What each column held, by its name: "number", "text", "category" or "date".
    decimal_commas
        Whether numbers had decimal commas, or points; None where none was seen.
    """

    kinds: Mapping[str, str]
    decimal_commas: bool | None


@_long_fields()
def read_csv(path: Path, schema: Schema | None = None) -> tuple[pl.DataFrame, bool | None]:
    """Read a file of texts as columns, and say whether its numbers have decimal commas.

    Parameters
    ----------
    path
    schema
        What training tells of the columns; None infers what they hold from their values.

    Returns
    -------
    frame
    decimal_commas
        False for decimal points, None where there are neither.

    Raises
    ------
    TableError
        If lines have too many or too few fields, a column has no name or that of another, or it
        cannot be told whether points are decimal marks.
    """
    import polars as pl

    with path.open(encoding="utf-8-sig", newline="") as file:
        first = list(islice(file, SAMPLED_LINES))
    lines = [line for line in first if line.strip()]
    end = "\n" if any(line.endswith("\n") for line in first) else "\r"
    separator = _separator_of(lines) if path.suffix.lower() == ".csv" else "\t"
    header = next(csv.reader(lines, delimiter=separator), [])
    refuse_twice([each for each in header if each.strip()], repr(str(path)))
    kinds = {} if schema is None else schema.kinds
    read = partial(
        pl.read_csv, path, separator=separator, eol_char=end, null_values=list(NULL_MARKERS)
    )
    texts = {name: pl.String for name, kind in kinds.items() if kind in ("text", "category")}
    infer = partial(read, schema_overrides=texts, infer_schema_length=None)
    try:
        frame = infer(try_parse_dates=True)
    except pl.exceptions.ComputeError:
        _check_rows(path, separator, end)
        frame = _with_dates(infer(), infer)
    german = _german_columns(frame, read, lines, schema) if separator == ";" else []
    decimal_commas = bool(german) or (False if pl.Float64 in frame.dtypes else None)
    frame = frame.with_columns(german)
    if frame.width > 1 and len(frame) and frame.to_series(-1).null_count():
        # polars fills a row that is too short with missing values, and takes a blank line for one.
        frame = frame.filter(~_check_rows(path, separator, end))
    return _drop_unnamed(frame, header, path, schema), decimal_commas


def _with_dates(frame: pl.DataFrame, infer: Callable[..., pl.DataFrame]) -> pl.DataFrame:
    """Read columns of texts as dates, each alone, but those that polars cannot read as such.

    It takes 8/1/20 0:01 for a date by its form, and then fails to read it.
    """
    import polars as pl

    for name in frame.select(pl.col(pl.String)).columns:
        with contextlib.suppress(pl.exceptions.ComputeError):
            frame = frame.with_columns(infer(columns=[name], try_parse_dates=True))
    return frame


def _drop_unnamed(
    frame: pl.DataFrame, header: Sequence[str], path: Path, schema: Schema | None
) -> pl.DataFrame:
    """Leave out columns without a name: those of separators at the lines' ends, names of rows.

    Any other cannot be learned from: no other file could be asked for it. Where training knows a
    column of no name, it stays.
    """
    known = () if schema is None else schema.kinds
    unnamed = [
        place for place, name in enumerate(header)
        if not name.strip() and frame.columns[place] not in known
    ]  # fmt: skip
    named = len(unnamed) < frame.width
    held = [place for place in unnamed if frame.to_series(place).count() or not named]
    if named and held[:1] == [0] and _may_name_rows(frame.to_series(0)):
        held = held[1:]
    if held and (schema is None or not named):
        raise TableError(
            f"{str(path)!r}: every column takes a name; column {held[0] + 1} has none: name it in "
            "the header, or leave it out"
        )
    return frame.drop([frame.columns[place] for place in unnamed])


def _may_name_rows(column: pl.Series) -> bool:
    """Say whether a column holds what pandas and R call rows: whole numbers, or texts each once."""
    import polars as pl

    return column.dtype.is_integer() or (column.dtype == pl.String and column.is_unique().all())


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


def _german_columns(
    frame: pl.DataFrame,
    read: Callable[..., pl.DataFrame],
    lines: Sequence[str],
    schema: Schema | None,
) -> list[pl.Series]:
    """Give the columns of numbers such as 1.234,5, as numbers, of a file with semicolons.

    Semicolons are there because the comma is the decimal mark: spreadsheets in much of Europe write
    so. Where some column has such commas, or a value with two points, points stand between
    thousands: 86.940 is a whole number there. A column stays as it is where one value is no such
    number or the file has it in quotes; all do where points of another column can only be decimal
    ones, for then commas are something else, such as those of a list. Where the file tells nothing,
    training does.
    """
    import polars as pl

    quoted = _quoted_columns(lines) if schema is None else set()
    if schema is not None:
        frame = frame.select(each for each in frame.columns if schema.kinds.get(each) == "number")
    texts = frame.select(pl.col(pl.String)).select(pl.all().str.strip_chars())
    numbers = [
        each for each in texts
        if each.count() and each.str.contains(_GERMAN).all() and each.name not in quoted
    ]  # fmt: skip
    if schema is None:
        # With points and no comma it may be an address: those have as many points everywhere.
        numbers = [
            each for each in numbers
            if _holds(each, ",")
            or each.drop_nulls().str.count_matches(".", literal=True).n_unique() > 1
        ]  # fmt: skip
    german: bool | None = any(each.str.contains(_COMMA_OR_TWO_POINTS).any() for each in numbers)
    if schema is not None and not german:
        german = schema.decimal_commas
    if german is False:
        return []
    raw = read(infer_schema=False)
    floats = [raw[each].str.strip_chars() for each in frame.select(pl.col(pl.Float64)).columns]
    pointed = [each for each in floats if _holds(each, ".")]
    if not all(each.str.contains(_WHOLE_OR_GROUPED).all() for each in pointed):
        return []
    if german is None:
        _refuse_points([*numbers, *pointed])
        return []
    return [
        each.str.replace_all(".", "", literal=True)
        .str.replace(",", ".", literal=True)
        .cast(pl.Float64)
        for each in (*numbers, *pointed)
    ]


def _holds(texts: pl.Series, mark: str) -> bool:
    """Say whether one of the texts holds a mark."""
    return bool(texts.str.contains(mark, literal=True).any())


def _refuse_points(columns: Sequence[pl.Series]) -> None:
    """Raise `TableError` for numbers whose points may be decimal or stand between thousands."""
    for column in columns:
        for value in column.filter(column.str.contains(".", literal=True)).head(1):
            raise TableError(
                f"column {column.name!r} holds numbers such as {value}, and neither the file nor "
                "the model tells whether points are decimal or stand between thousands, as they "
                f"may beside semicolons: write {value.replace('.', '')} for thousands, or put "
                "commas between the fields for decimal points"
            )


def _quoted_columns(lines: Sequence[str]) -> set[str]:
    """Say in which columns the first lines of a file with semicolons have values in quotes.

    None where all values are: then quotes do not tell texts from numbers.
    """
    header, *rows = csv.reader(lines, delimiter=";", quoting=csv.QUOTE_NONE)
    fields = [
        (name.strip('"'), field)
        for row in rows
        if len(row) == len(header)
        for name, field in zip(header, row, strict=True)
    ]
    bare = any(field and not field.startswith('"') for _, field in fields)
    return {name for name, field in fields if field.startswith('"') and bare}


def _check_rows(path: Path, separator: str, end: str) -> npt.NDArray[np.bool_]:
    """Say which rows are blank lines; raise `TableError` where others are too short or too long."""
    blank = bytearray()
    with path.open(encoding="utf-8-sig", newline=end) as file:
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
