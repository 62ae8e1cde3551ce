"""CSV files read for a network: as in training, however few rows they have."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from downslope.delimited import Schema, read_csv
from downslope.errors import TableError
from downslope.preparation import Preparation
from downslope.table import read

ROWS = 48


def written(path: Path, rows: list[dict[str, str]], **form: Any) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n", **form)
        writer.writeheader()
        writer.writerows(rows)
    return path


def drifting_rows(decimal: str) -> list[dict[str, str]]:
    """Give rows of every kind of column that may be taken for another kind in a smaller file."""
    thousands = {",": ".", ".": ""}[decimal]
    return [
        {
            "zip": ["01067", "04103", "20095", "D-100"][k % 4],
            "far": f"{k:05d}" if k % 5 else f"D-{k}",
            "flag": ["True", "False", "Unknown"][k % 3],
            "truth": ["True", "False"][k % 2],
            "version": ["1.10", "1.2", "2.0", "beta"][k % 4],
            "code": ["1", "2", "X", ""][k % 4],
            "american": f"07/{k % 28 + 1:02d}/2020",
            "european": f"{k % 28 + 1:02d}/07/2020",
            "day": f"2020-07-{k % 28 + 1:02d}",
            "stamp": "unknown" if k % 7 == 3 else f"2020-07-{k % 28 + 1:02d}T10:00:00",
            "clock": f"{k % 24:02d}:30:00",
            "price": f"{1 + k % 9}{thousands}{k * 37 % 1000:03d}{'' if k % 3 else f'{decimal}5'}",
            "count": "" if k % 5 == 2 else str(k),
            "word": ["red", "null ", "blue, or not"][k % 3],
            "y": ["01", "2", "no"][k % 3],
        }
        for k in range(ROWS)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "decimal", "form"),
    [
        ("t.csv", ".", {}),
        ("t.csv", ".", {"quoting": csv.QUOTE_ALL}),
        ("t.tsv", ".", {"delimiter": "\t"}),
        ("t.csv", ".", {"delimiter": ";"}),
        ("t.csv", ",", {"delimiter": ";"}),
        ("t.csv", ",", {"delimiter": ";", "quoting": csv.QUOTE_ALL}),
    ],
)
def test_a_row_alone_is_read_as_among_many(
    name: str, decimal: str, form: dict[str, Any], tmp_path: Path
) -> None:
    rows = drifting_rows(decimal)
    whole = written(tmp_path / name, rows, **form)
    preparation = Preparation.fit(read(whole, "y"))
    kinds = dict(zip(preparation.feature_names, preparation.kinds, strict=True))
    numbers = {"truth", "clock", "price", "count"}
    assert {each for each, kind in kinds.items() if kind == "number"} == numbers
    assert {each for each, kind in kinds.items() if kind == "date"} == {"european", "day"}
    assert preparation.decimal_commas is (decimal == ",")
    inputs = preparation.transform(whole)
    assert len(np.unique(inputs, axis=0)) == ROWS
    for k, row in enumerate(rows):
        alone = read(
            written(tmp_path / f"alone_{name}", [row], **form), "y", None, preparation.schema()
        )
        np.testing.assert_array_equal(preparation.transform(alone), inputs[[k]], err_msg=str(row))
        np.testing.assert_array_equal(
            preparation.transform(tmp_path / f"alone_{name}"), inputs[[k]]
        )
        assert preparation.decode(preparation.encode_target(alone.target)) == [row["y"]]


def test_points_are_as_in_training_where_a_file_does_not_say(tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("price;n\n1.965;1\n2.100;2\n")
    (tmp_path / "tells.csv").write_text("price;n\n1.965;1\n2.100,5;2\n")
    (tmp_path / "points.csv").write_text("price;n\n1.965;1\n2.1;2\n")

    def prices(name: str, decimal_commas: bool | None) -> list[float]:
        kinds = {"price": "number", "n": "number"}
        frame, _ = read_csv(tmp_path / name, Schema(kinds, decimal_commas))
        return frame["price"].to_list()

    assert prices("few.csv", True) == [1965, 2100]
    assert prices("few.csv", False) == [1.965, 2.1]
    with pytest.raises(
        TableError, match=r"'price' holds numbers such as 1\.965, .* write 1965 for"
    ):
        prices("few.csv", None)
    (tmp_path / "twice.csv").write_text("price;n\n1.234.567;1\n2.100;2\n")
    for trained in (True, False, None):
        assert prices("tells.csv", trained) == [1965, 2100.5]
        assert prices("twice.csv", trained) == [1234567, 2100]
        assert prices("points.csv", trained) == [1.965, 2.1]


def test_whether_numbers_have_decimal_commas_is_told(tmp_path: Path) -> None:
    for text, told in (
        ("a,b\n1.5,2\n", False),
        ("a,b\n1,2\n", None),
        ("a;b\n1.5;2\n", False),
        ("a;b\n1,5;2\n", True),
        ('"a";"b"\n"1,5";"2"\n"";"3"\n', True),
    ):
        (tmp_path / "t.csv").write_text(text)
        assert read(tmp_path / "t.csv").decimal_commas is told
    assert read(pl.DataFrame({"a": [1.5]})).decimal_commas is None


def test_a_value_with_two_points_tells_thousands_unless_all_have_as_many(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("price;address;n\n1.234.567;1.100.200;1.965\n950;1.100.300;2.100\n")
    frame, decimal_commas = read_csv(path)
    assert frame.rows() == [(1234567, "1.100.200", 1965), (950, "1.100.300", 2100)]
    assert decimal_commas is True


def test_texts_that_look_like_dates_to_polars_alone_are_read(tmp_path: Path) -> None:
    times = [f"8/1/20 {k % 24}:01" for k in range(40)]
    path = written(tmp_path / "t.csv", [{"when": each, "x": "1"} for each in times])
    frame, _ = read_csv(path)
    assert frame["when"].to_list() == times
    assert frame["x"].dtype == pl.Int64


def test_dates_beside_texts_that_only_look_like_dates_stay_dates(tmp_path: Path) -> None:
    rows = [
        {"": str(k), "when": f"8/1/20 {k % 24}:01", "day": f"2020-07-{k % 28 + 1:02d}",
         "stamp": f"2020-07-{k % 28 + 1:02d}T10:00:00", "version": f"2020-07-{k % 28 + 1:02d}"}
        for k in range(40)
    ]  # fmt: skip
    frame, _ = read_csv(written(tmp_path / "t.csv", rows))
    as_trained, _ = read_csv(tmp_path / "t.csv", Schema({"version": "text"}, None))
    assert frame.dtypes == [pl.String, pl.Date, pl.Datetime("us"), pl.Date]
    assert as_trained.dtypes == [pl.String, pl.Date, pl.Datetime("us"), pl.String]
    assert frame["day"].to_list() == pl.Series([row["day"] for row in rows]).str.to_date().to_list()


def test_what_is_said_of_a_damaged_file_is_one_line_without_advice_on_polars(
    tmp_path: Path,
) -> None:
    (tmp_path / "t.csv").write_text('a,b\n1,2\n3,"4\n5,6\n')
    with pytest.raises(TableError, match=r"^'.*t\.csv' is damaged, .* at column 'b'.*$") as got:
        read(tmp_path / "t.csv")
    assert "\n" not in str(got.value)
    assert "infer_schema_length" not in str(got.value)


def test_columns_without_a_name(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("a,b,, \n1,x,,\n2,y,,\n")
    frame, _ = read_csv(tmp_path / "empty.csv")
    assert frame.equals(pl.DataFrame({"a": [1, 2], "b": ["x", "y"]}))
    known = Schema({"a": "number", "b": "text"}, None)
    for number, text in (
        (1, ",a,b\n0.5,1,x\n0.25,2,y\n"),
        (1, ",a,b\n2020-07-01,1,x\n2020-07-02,2,y\n"),
        (1, ",a,b\nAnn,1,x\nAnn,2,y\n"),
        (2, "a,,b\n1,0,x\n2,1,y\n"),
        (2, ",,a,b\n0,1,1,x\n1,2,2,y\n"),
    ):
        (tmp_path / "held.csv").write_text(text)
        with pytest.raises(TableError, match=f"takes a name; column {number} has none: name it"):
            read(tmp_path / "held.csv")
        assert read_csv(tmp_path / "held.csv", known)[0].columns == ["a", "b"]


@pytest.mark.parametrize("text", ['""\n0\n1\n', '""\n\n', ",\n0,\n1,\n", ",,\n,,\n"])
def test_a_file_without_any_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    for schema in (None, Schema({"a": "number"}, None)):
        with pytest.raises(TableError, match="takes a name; column 1 has none: name it"):
            read_csv(tmp_path / "t.csv", schema)


def test_a_column_without_a_name_that_was_there_in_training_stays(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(",a,b,\n0,1,x,7.5\n1,5,y,8.5\n2,3,x,9.5\n")
    frame = pl.read_csv(path)
    preparation = Preparation.fit(read(frame, "b"))
    np.testing.assert_array_equal(preparation.transform(path), preparation.transform(frame))


def test_a_name_with_a_line_break_does_not_hide_those_after_it(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for header, says in (("b,", "column 3 has none"), ("b,b", r"twice there: \['b'\]")):
        path.write_text(f'"a\n1",{header}\n1,2,0.5\n')
        with pytest.raises(TableError, match=says):
            read_csv(path)
    path.write_text('"a\n1",b,c\n1,2,0.5\n')
    assert read_csv(path)[0].columns == ["a\n1", "b", "c"]


@pytest.mark.parametrize(
    "names", [[0, 1, 2], [7, 3, 9], [0, 0, 1], ["Ann", "Bob", "Cleo"], ["1", "2", "3"]]
)
def test_names_of_rows_are_no_column(names: list[object], tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "x"]}, index=names)
    frame.to_csv(tmp_path / "t.csv")
    assert read_csv(tmp_path / "t.csv")[0].equals(pl.DataFrame(frame.to_dict("list")))


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_lines_may_end_in_carriage_returns(name: str, tmp_path: Path) -> None:
    mark = "," if name == "t.csv" else "\t"
    text = "a,b,c\r1,x,\r\r2,y,0.5\r".replace(",", mark)
    for ending in ("\r", "\r\n"):
        (tmp_path / name).write_bytes(text.replace("\r", ending).encode())
        assert read_csv(tmp_path / name)[0].rows() == [(1, "x", None), (2, "y", 0.5)]
    (tmp_path / name).write_bytes(f"a{mark}b\r1\r2{mark}3\r".encode())
    with pytest.raises(TableError, match="line 2: every row takes as many fields as the header, 2"):
        read(tmp_path / name)


def test_the_same_table_by_another_reader_is_prepared_alike(tmp_path: Path) -> None:
    rows = drifting_rows(".")
    path = written(tmp_path / "t.csv", rows)
    preparation = Preparation.fit(read(path, "y"))
    inputs = preparation.transform(path)
    pd.read_csv(path, dtype={"y": str}).to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    for source in (tmp_path / "t.jsonl", pd.read_csv(path), pl.read_csv(path)):
        np.testing.assert_array_equal(preparation.transform(source), inputs)


def test_a_target_of_another_name_is_read_as_in_training(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": range(6), "kind": ["01", "02", "X"] * 2})
    preparation = Preparation.fit(read(frame, "kind"))
    path = tmp_path / "t.csv"
    path.write_text("x,label\n1,01\n4,02\n")
    table = read(path, "label", schema=preparation.schema("label"))
    np.testing.assert_array_equal(preparation.encode_target(table.target), [0, 1])
    several = preparation.schema("label, other")
    assert several.kinds["label"] == several.kinds["other"] == "text"
