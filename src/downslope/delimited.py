"""CSV and TSV files: what stands between fields, decimal commas, blank and ragged lines."""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Iterator, Sequence
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


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    """Let csv take fields of more than its 131,072 characters, as polars does."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@_long_fields()
def read_csv(path: Path) -> pl.DataFrame:
    """Read a file of texts as columns."""
    import polars as pl

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
