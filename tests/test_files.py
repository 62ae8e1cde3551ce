"""Files of tables: what stands between fields, which mark is the decimal one, what is written."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from downslope import Model, Recipe, table
from downslope.account import Account
from downslope.errors import MissingFileError, TableError
from downslope.files import kind_written, pack_frame, read_bytes, read_file
from downslope.trace import Trace


def frame_of(folder: Path, text: str, name: str = "t.csv") -> pl.DataFrame:
    (folder / name).write_text(text, encoding="utf-8")
    found = read_file(folder / name, None)[0]
    assert isinstance(found, pl.DataFrame)
    return found


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ('a;"name, first";y\n1;x;2\n3;y;4\n', ["a", "name, first", "y"]),
        ('a;"b, c, d, e";y\n1;x;2\n', ["a", "b, c, d, e", "y"]),
        ("a;name, first, last;y\n1;x;2\n3;z;4\n", ["a", "name, first, last", "y"]),
        ('"a;b;c",y\n1,2\n', ["a;b;c", "y"]),
        ("a;b,y\n1,2\n", ["a;b", "y"]),
        ("a|b\n1|2,5\n", ["a", "b"]),
        ("a,b\tc\n1\t2\n", ["a,b", "c"]),
        ("a\n1;2\n", ["a"]),
        ("height, cm;weight\n1,5;2\n2,5;3\n", ["height, cm", "weight"]),
        ("height, cm;weight\n1;2\n", ["height, cm", "weight"]),
    ],
)
def test_what_stands_between_fields_is_seen_by_the_first_lines(
    text: str, columns: list[str], tmp_path: Path
) -> None:
    assert frame_of(tmp_path, text).columns == columns


def test_decimal_commas_between_semicolons_are_read(tmp_path: Path) -> None:
    text = (
        "a;b;c;word;two;y\n"
        "0,5;1.234,5;-1;3,4 cm;1,2;ja\n"
        ";12;2,5e-3;7;1,2,3;nein\n"
        "-,25;1.234.567,25;+3,0;1,5;2;ja\n"
    )
    got = frame_of(tmp_path, text)
    assert got["a"].to_list() == [0.5, None, -0.25]
    assert got["b"].to_list() == [1234.5, 12.0, 1234567.25]
    assert got["c"].to_list() == [-1.0, 0.0025, 3.0]
    assert got["word"].to_list() == ["3,4 cm", "7", "1,5"]
    assert got["two"].to_list() == ["1,2", "1,2,3", "2"]
    assert got["y"].to_list() == ["ja", "nein", "ja"]


def test_commas_in_quotes_between_commas_stay_texts(tmp_path: Path) -> None:
    assert frame_of(tmp_path, 'a,y\n"1,5",1\n"2,5",2\n')["a"].to_list() == ["1,5", "2,5"]
    assert frame_of(tmp_path, 'a\n"1,5"\n"2,5"\n')["a"].to_list() == ["1,5", "2,5"]


def test_points_stand_between_thousands_where_a_column_has_decimal_commas(tmp_path: Path) -> None:
    text = (
        "area;people;many;day;phone;host;price\n"
        "134,65;86.940;12.345.678;17.03.2020;030.123.456;192.168.100.101;356.246,21\n"
        "95;999;1.000;18.03.2020;040.456.789;192.168.100.102;99\n"
        "120,5;1.234;;19.03.2020;089.111.222;192.168.100.103;1.200\n"
    )
    got = frame_of(tmp_path, text)
    assert got["area"].to_list() == [134.65, 95.0, 120.5]
    assert got["people"].to_list() == [86940.0, 999.0, 1234.0]
    assert got["many"].to_list() == [12345678.0, 1000.0, None]
    assert got["price"].to_list() == [356246.21, 99.0, 1200.0]
    assert got["phone"].to_list() == ["030.123.456", "040.456.789", "089.111.222"]
    assert got["host"].dtype == pl.String


@pytest.mark.parametrize(
    "text",
    [
        'labels;x\n"1,2";3\n"1,3";4\n"2,4";5\n',  # in quotes: no numbers
        "labels;x\n1,2;0.5\n1,3;1.5\n2,4;2.25\n",  # decimal points elsewhere: lists
        "labels;time\n1,2;12.30\n1,3;9.15\n2,4;10.45\n",
    ],
)
def test_commas_that_are_no_decimal_marks_stay_texts(text: str, tmp_path: Path) -> None:
    got = frame_of(tmp_path, text)
    assert got["labels"].to_list() == ["1,2", "1,3", "2,4"]
    assert got.to_series(1).dtype.is_numeric()


def test_empty_lines_between_decimal_commas_are_no_rows(tmp_path: Path) -> None:
    got = frame_of(tmp_path, "a;b;y\n0,5;1.234;1\n\n1,5;2.345;\n")
    assert got["b"].to_list() == [1234.0, 2345.0]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a,b\n1,2\n,\n3,4\n", [(1, 2), (None, None), (3, 4)]),
        ("\n\na,b\n\n1,2\r\n\r\nNA,?\n3,\n\n", [(1, 2), (None, None), (3, None)]),
        ('a,b\n"x\n\ny",1\n\n\n"",""\n', [("x\n\ny", 1), (None, None)]),
        ("a,b\n1,2\n\rx,\n", [("1", 2), ("\rx", None)]),
        ("a;b\n0,5;1,5\n;\n\n2,5;\n", [(0.5, 1.5), (None, None), (2.5, None)]),
        ("a\n1\n\n3\n\n", [(1,), (None,), (3,), (None,)]),  # of one column it is a missing value
        ('a\n1\n""\nNA\n', [(1,), (None,), (None,)]),
    ],
)
def test_a_row_without_values_is_a_row_and_a_blank_line_is_none(
    text: str, rows: list[tuple[object, ...]], tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode())
    assert read_file(tmp_path / "t.csv", None)[0].rows() == rows


def test_fields_and_names_of_any_length_are_read(tmp_path: Path) -> None:
    long, limit = "x" * 200_000, csv.field_size_limit()
    assert frame_of(tmp_path, f"a,b\n{long},\nz,1\n").rows() == [(long, None), ("z", 1)]
    assert frame_of(tmp_path, f"a;b;{long}\n{long};1,5;\n")["b"].to_list() == [1.5]
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("values", [{"a": [1, None, 3, None]}, {"a": [1, None], "b": [2, None]}])
def test_missing_values_come_back_from_csv(
    values: dict[str, list[int | None]], tmp_path: Path
) -> None:
    frame = pl.DataFrame(values)
    frame.write_csv(tmp_path / "polars.csv")
    frame.to_pandas().to_csv(tmp_path / "pandas.csv", index=False)
    for name in ("polars", "pandas"):
        assert frame.equals(read_file(tmp_path / f"{name}.csv", None)[0].cast(pl.Int64))


def test_points_of_addresses_stay_where_one_is_missing(tmp_path: Path) -> None:
    got = frame_of(tmp_path, "area;host\n1,5;192.168.100.101\n2,5;\n3,5;192.168.100.103\n")
    assert got["host"].to_list() == ["192.168.100.101", None, "192.168.100.103"]


def test_the_index_that_pandas_writes_is_no_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0]}).sample(3, random_state=1)
    frame.to_parquet(tmp_path / "t.parquet")
    assert "__index_level_0__" in pl.read_parquet(tmp_path / "t.parquet").columns
    assert read_file(tmp_path / "t.parquet", None)[0].columns == ["a"]


def test_an_array_of_python_objects_is_refused_and_not_called_damaged(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", X=np.ones((2, 1)), y=np.array(["u", "v"], dtype=object))
    with pytest.raises(
        TableError, match=r"array 'y' holds Python objects.*y\.astype\(str\)"
    ) as got:
        read_file(tmp_path / "t.npz", None)
    assert "damaged" not in str(got.value)


@pytest.mark.parametrize(("byte", "bit"), [(8, 0), (10, 2), (10, 4)])
def test_an_archive_said_to_be_packed_otherwise_is_damaged(
    byte: int, bit: int, tmp_path: Path
) -> None:
    """Encrypted, by bzip2, or in a way that is not known."""
    np.savez_compressed(tmp_path / "t.npz", X=np.ones((50, 3)))
    content = bytearray((tmp_path / "t.npz").read_bytes())
    content[content.rindex(b"PK\x01\x02") + byte] ^= 1 << bit
    (tmp_path / "t.npz").write_bytes(content)
    with pytest.raises(TableError, match="is damaged"):
        read_file(tmp_path / "t.npz", None)


@pytest.mark.parametrize(
    "name", ["t.csv", "t.tsv", "t.TAB", "t.parquet", "t.arrow", "t.feather", "t.jsonl", "t.ndjson"]
)
def test_a_frame_is_written_in_the_format_of_the_ending(name: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({"prediction": ["a", "b"], "p(a)": [0.75, 0.25]})
    path = tmp_path / name
    path.write_bytes(pack_frame(frame, kind_written(path)))
    assert read_file(path, None)[0].equals(frame)


def test_an_ending_that_cannot_be_written_is_refused() -> None:
    assert kind_written(Path("/dev/stdout")) == "csv"
    for name in ("p.npz", "p.xlsx", "p.csv.gz"):
        with pytest.raises(TableError, match=r"told by its extension; got '\.\w+'; known: \.csv,"):
            kind_written(Path(name))


def test_a_file_that_is_not_there_is_said_in_one_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "titanic.downslope").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(MissingFileError, match=r"'titanic'; did you mean 'titanic.downslope'"):
        read_bytes("titanic", ".downslope")
    with pytest.raises(MissingFileError, match=r"'folder'; it is a folder: name a file in it$"):
        read_bytes("folder")
    says = "^there is no file 'other.csv'; check its name and folder$"
    readers: tuple[Callable[[str], object], ...] = (
        read_bytes, Recipe.read, Trace.load, Model.load, Account.read, table.read,
    )  # fmt: skip
    for give in readers:
        with pytest.raises(MissingFileError, match=says):
            give("other.csv")
