"""From files and data frames to checked features and targets."""

from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from downslope import files, memory
from downslope.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingFileError,
    TableError,
    UnreadableError,
)
from downslope.preparation import Preparation
from downslope.table import read
from downslope.target import read_target
from downslope.task import infer_task, split

FRAME = pl.DataFrame({"size": [1.5, None, 3.0], "color": ["red", "blue", None], "y": [0, 1, 1]})

WRITERS: dict[str, Any] = {
    "t.csv": lambda path: FRAME.write_csv(path),
    "t.tsv": lambda path: FRAME.write_csv(path, separator="\t"),
    "t.parquet": lambda path: FRAME.write_parquet(path),
    "t.arrow": lambda path: FRAME.write_ipc(path),
    "t.feather": lambda path: FRAME.write_ipc(path),
    "t.jsonl": lambda path: FRAME.write_ndjson(path),
}


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_table(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    for source in (tmp_path / name, str(tmp_path / name)):
        got = read(source, "y")
        assert isinstance(got.features, pl.DataFrame)
        assert got.features.equals(FRAME.drop("y"))
        np.testing.assert_array_equal(got.target, [0, 1, 1])
        assert (got.name, got.feature_names, got.target_names) == (name, ("size", "color"), ("y",))


@pytest.mark.parametrize(("features", "target"), [("X", "y"), ("data", "target")])
def test_npz_holds_features_and_target(features: str, target: str, tmp_path: Path) -> None:
    X = np.arange(6.0).reshape(3, 2)
    path = tmp_path / "t.npz"
    arrays: dict[str, Any] = {features: X, target: [0, 1, 0], "other": [5, 6, 7]}
    np.savez(path, **arrays)
    got = read(path)
    np.testing.assert_array_equal(got.features, X)
    np.testing.assert_array_equal(got.target, [0, 1, 0])
    np.testing.assert_array_equal(read(path, "other").target, [5, 6, 7])
    with pytest.raises(TableError, match=r"has no array 'othr': did you mean 'other'"):
        read(path, "othr")


def test_npz_without_features_or_with_pickles_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "none.npz", Z=np.ones(3))
    with pytest.raises(TableError, match=r"takes an array 'X' or 'data'; it holds \['Z'\]"):
        read(tmp_path / "none.npz")
    np.savez(tmp_path / "pickle.npz", X=np.array([[1, "a"]], dtype=object))
    with pytest.raises(TableError, match=r"'X' holds Python objects, .* X\.astype\(str\)"):
        read(tmp_path / "pickle.npz")


def test_csv_dates_missing_values_and_separators(tmp_path: Path) -> None:
    text = "day;when;n;s\n2024-01-02;2024-01-02 10:00:00;NA;?\n2024-01-03;;2;null\n;NaN;3;x\n"
    got = read(write(tmp_path, "t.csv", text)).features
    assert isinstance(got, pl.DataFrame)
    assert got.dtypes == [pl.Date, pl.Datetime("us"), pl.Int64, pl.String]
    assert got.null_count().row(0) == (1, 2, 1, 2)


def test_csv_ignores_empty_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    got = read(write(tmp_path, "t.csv", b"\xef\xbb\xbfa,b\n1,2\n\n3,\n\n"), "a")
    np.testing.assert_array_equal(got.target, [1, 3])
    assert got.feature_names == ("b",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "is empty: it has no columns and no rows"),
        ("t.csv", "a,b\n", "has 2 columns but no rows"),
        (
            "t.csv",
            "a,b\n1,2\n3\n",
            "line 3: every row takes as many fields as the header, 2; got 1",
        ),
        ("t.csv", "a,b\n1,2\n3,4,5\n", "line 3: .* the header, 2; got 3"),
        ("t.csv", "a,b,a\n1,2,3\n", r"name of its own; twice there: \['a'\]"),
        (
            "t.csv",
            b"a,b\n\xe9,2\n",
            "line 2: a text file takes UTF-8, which its byte 0xe9 is not; .*Latin-1",
        ),
        (
            "t.csv",
            b"caf\xe9,b\n1,2\n",
            "line 1: a text file takes UTF-8, which its byte 0xe9 is not",
        ),
        ("t.csv", b"a,b\nx,1\n" * 9000 + b"\xe9,2\n", "line 18001: a text file takes UTF-8"),
        ("t.csv", "a,b\n1,2\n".encode("utf-16"), "line 1: a text file takes UTF-8"),
        ("t.jsonl", b'{"a": "\xe9"}\n', "line 1: a text file takes UTF-8, which its byte 0xe9"),
        ("t.parquet", "no parquet", "damaged, or no parquet file as its extension says"),
        ("t.arrow", "no arrow file", "damaged, or no ipc file as its extension says"),
        ("t.jsonl", '{"a": 1}\n{"a":', "damaged, or no ndjson file as its extension says"),
        ("t.npz", "no npz", "damaged, or no npz file as its extension says"),
        ("t.xls", "x", r"told by its extension; got '.xls'; known: .csv, .tsv"),
    ],
)
def test_bad_files(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=message):
        read(write(tmp_path, name, content))


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.npz"])
def test_half_a_file_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "t.npz":
        np.savez(path, X=np.ones((50, 3)))
    else:
        WRITERS[name](path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(TableError, match="is damaged"):
        read(path)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"there is no file '.*nowhere\.csv'"):
        read(tmp_path / "nowhere.csv")
    with pytest.raises(TableError, match="is a folder"):
        read(tmp_path)


@pytest.mark.parametrize("ending", ["csv", "parquet", "arrow", "jsonl", "npz"])
def test_a_file_that_may_not_be_read(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"locked.{ending}"
    path.write_text("x")
    locked = PermissionError(13, "Permission denied", str(path))
    for reader in ("_estimate_memory", "_read_frame", "_read_npz"):
        monkeypatch.setattr(files, reader, Mock(side_effect=locked))
    with pytest.raises(UnreadableError, match=r"^cannot read '.*locked.*': Permission denied; see"):
        read(path)
    monkeypatch.setattr(Path, "exists", Mock(side_effect=locked))
    with pytest.raises(UnreadableError, match=r"^cannot read '.*locked.*': Permission denied; see"):
        read(path)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.npz"])
def test_a_table_larger_than_memory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, X = tmp_path / name, np.ones((1000, 100))
    frame = pl.DataFrame(X)
    if name == "t.npz":
        np.savez_compressed(path, X=X)
    else:
        (frame.write_csv if name == "t.csv" else frame.write_parquet)(path)
    monkeypatch.setattr(files, "available_memory", lambda: 100_000)
    with pytest.raises(TableError, match="a table larger than memory cannot be trained on yet"):
        read(path)
    # 800,000 bytes, and 400,000 as float32; as text some 4 bytes a number.
    monkeypatch.setattr(files, "available_memory", lambda: 1_500_000)
    assert len(read(path)) == 1000
    monkeypatch.setattr(files, "available_memory", lambda: None)
    assert len(read(path)) == 1000


def test_free_memory_is_told() -> None:
    free = memory.available_memory()
    assert free is None or free > 1 << 20


def test_the_target_by_name_or_by_values() -> None:
    frame = pl.DataFrame({"a": [1, 2], "b": [3, 4], "c,d": [5, 6], "e": ["u", "v"]})
    several = read(frame, "a, b")
    np.testing.assert_array_equal(several.target, [[1, 3], [2, 4]])
    assert several.feature_names == ("c,d", "e")
    assert read(frame, ["b", "a"]).target_names == ("b", "a")
    assert read(frame, "c,d").target_names == ("c,d",)
    assert read(frame, ["yes", "no"]).feature_names == tuple(frame.columns)
    assert read(frame, pl.Series([1.5, 2.5])).target_names == ("target",)
    assert read(frame, pd.Series([1.5, 2.5])).target_names == ("target",)
    assert read(frame, np.eye(2)).target_names == ("target0", "target1")
    assert read(frame).target is None


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("survive", "has no target column 'survive': did you mean 'survived'"),
        ("survived,agee", "no target column 'agee': did you mean 'age'"),
        (["age", "age"], "named once each"),
        ("age,name", "mix text and numbers"),
        ("when", "takes numbers, booleans or texts; got Date"),
        (
            "holes",
            r"'holes' is missing in 2 of 3 rows \(counted from 1: 1, 3\).*drop these rows",
        ),
        ("nans", r"'nans' is missing in 1 of 3 rows \(counted from 1: 2\)"),
        ("endless", "target holds infinite values: 1 in 'endless'"),
    ],
)
def test_bad_targets(target: Any, message: str) -> None:
    frame = pl.DataFrame(
        {
            "survived": [0, 1, 1],
            "age": [1, 2, 3],
            "name": ["a", "b", "c"],
            "when": pl.Series(["2024-01-01"] * 3).str.to_date(),
            "holes": [None, 1, None],
            "nans": [1.0, float("nan"), 2.0],
            "endless": [1.0, 2.0, float("inf")],
        }
    )
    with pytest.raises(TableError, match=message):
        read(frame, target)


def test_targets_need_features_beside_them() -> None:
    with pytest.raises(TableError, match="array has 3 rows of features and 2 of the target"):
        read(np.ones((3, 2)), [1, 2])
    with pytest.raises(TableError, match="no columns besides the target"):
        read(pl.DataFrame({"a": [1, 2]}), "a")
    with pytest.raises(TableError, match="has no named columns: give the target's values"):
        read(np.ones((2, 2)), "a")


def test_infinite_features_are_counted_by_column() -> None:
    X = np.zeros((300_000, 2), dtype=np.float32)
    X[[0, 299_999], 1] = np.inf, -np.inf
    with pytest.raises(TableError, match="infinite values: 2 in 'x1'; make them missing"):
        read(X, np.arange(300_000))
    frame = pl.DataFrame({"a": [1.0, 2.0], "b": [float("inf"), None], "y": [0, 1]})
    with pytest.raises(TableError, match="infinite values: 1 in 'b'"):
        read(frame, "y")


def test_every_data_frame_is_read_alike() -> None:
    index = [7, 8, 9]
    frames = [
        FRAME,
        FRAME.lazy(),
        FRAME.to_arrow(),
        pd.DataFrame(FRAME.to_dict(as_series=False), index=index),
    ]
    for frame in frames:
        got = read(frame, "y")
        assert isinstance(got.features, pl.DataFrame)
        assert got.features.equals(FRAME.drop("y")), type(frame)
        np.testing.assert_array_equal(got.target, [0, 1, 1])


def test_pandas_categories_mixed_objects_and_missing_marks() -> None:
    frame = pd.DataFrame(
        {
            "c": pd.Categorical([1, 2, None]),
            "m": [1, "x", None],
            "n": pd.array([1, None, 3], dtype="Int64"),
            "b": [True, False, True],
        }
    )
    got = read(frame).features
    assert isinstance(got, pl.DataFrame)
    assert got.dtypes == [pl.Categorical, pl.String, pl.Int64, pl.Boolean]
    assert got.rows() == [("1", "1", 1, True), ("2", "x", None, False), (None, None, 3, True)]
    with pytest.raises(TableError, match="twice there"):
        read(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_arrays_of_numbers_are_not_copied() -> None:
    X, y = np.ones((3, 2), dtype=np.float32), np.array([0, 1, 0])
    got = read(X, y)
    assert got.features is X
    assert got.target is y
    assert got.feature_names == ("x0", "x1")


def test_arrays_of_texts_become_columns() -> None:
    got = read(np.array([["a", 1], ["b", None]], dtype=object), [0, 1])
    assert isinstance(got.features, pl.DataFrame)
    assert got.features.to_dict(as_series=False) == {"x0": ["a", "b"], "x1": [1, None]}


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ([1, 2, 3], TableError, r"got shape \(3,\): reshape them, such as X.reshape\(-1, 1\)"),
        (np.ones((2, 3, 4)), TableError, r"got shape \(2, 3, 4\).*X.reshape\(2, -1\)"),
        ([[1], [1, 2]], TableError, "rows of features take the same number of columns"),
        (np.ones((0, 2)), TableError, "has 2 columns but no rows"),
        (np.ones((2, 0)), TableError, "has no columns"),
        (7, InvalidTypeError, "takes a path, a data frame or an array .* got int"),
        (np.ones((2, 2), dtype=complex), InvalidTypeError, "takes a path"),
    ],
)
def test_bad_arrays(source: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        read(source)


@pytest.mark.parametrize("values", [[1, None], ["a", None], [1.0, np.nan], [1, pd.NA], [pd.NaT, 1]])
def test_every_mark_of_a_missing_target(values: list[Any]) -> None:
    with pytest.raises(TableError, match="missing in 1 of 2 rows"):
        read_target(values)


def test_targets_of_other_kinds() -> None:
    assert read_target(np.array(["a", "b"], dtype=object)).dtype.kind == "U"
    assert read_target(np.array([1, 2.5], dtype=object)).dtype == np.float64
    assert read_target(np.array([True, False], dtype=object)).dtype == np.bool_
    booleans = np.empty(2, dtype=object)
    booleans[:] = np.True_, np.False_
    assert read_target(booleans).dtype == np.bool_
    assert read_target([[1.5], [2.5]]).shape == (2,)
    with pytest.raises(TableError, match="got datetime64"):
        read_target(np.array(["2024-01-01"], dtype="datetime64[D]"))
    with pytest.raises(TableError, match=r"takes \(rows,\) or \(rows, outputs\)"):
        read_target(np.ones((2, 2, 2)))
    with pytest.raises(TableError, match=r"'target' takes the same number of values in every row"):
        read_target([[1], [1, 2]])


@pytest.mark.parametrize("value", [[1, 2], (1,), np.ones(2), {"a": 1}, pl.Series([1, 2])])
def test_a_target_of_objects_that_hold_several_is_refused(value: Any) -> None:
    values = np.empty((2, 2), dtype=object)
    values[:] = 1.5
    values[1, 0] = value
    for target in (values, values[:, 0]):
        with pytest.raises(TableError, match=rf"row 2 has one of type {type(value).__name__}: "):
            read_target(target)


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (["no", "yes", "no"], "binary"),
        ([True, False], "binary"),
        ([0, 0, 0, 1], "binary"),
        ([-1.0, 1.0], "binary"),
        (["a", "b", "c"], "multiclass"),
        ([0, 1, 2, 0, 1, 2], "multiclass"),
        ([1.0, 2.0, 3.0] * 2, "multiclass"),
        ([1, 2, 3, 4, 5], "regression"),  # fewer than two rows a value
        ([4, 7, 7, 8, 9, 9, 9, 9, 4, 8, 10], "regression"),  # one row of 10
        (list(range(20)) * 2, "multiclass"),
        (list(range(21)) * 2, "regression"),
        ([0.5, 1.5], "regression"),
        ([[0, 1], [1, 1]], "multilabel"),
        ([[0.0, 2.0], [1.0, 1.0]], "regression"),
    ],
)
def test_the_task_follows_from_the_target(target: Any, task: str) -> None:
    values = read_target(target)
    assert infer_task(values) == task
    assert infer_task(values, task) == task


@pytest.mark.parametrize(
    ("target", "task"),
    [
        ([0, 1, 1], "regression"),
        ([True, False], "regression"),
        (list(range(30)), "multiclass"),
        ([0, 1], "multiclass"),
        ([[0, 1], [1, 1]], "regression"),
    ],
)
def test_another_task_may_be_asked_for(target: Any, task: str) -> None:
    assert infer_task(read_target(target), task) == task


@pytest.mark.parametrize(
    ("target", "task", "message"),
    [
        (["a", "b"], "regression", "regression takes numbers, and it holds texts such as 'a'"),
        ([0, 1, 2, 0, 1, 2], "binary", "it holds 3 different values"),
        (["a", "b", "c"], "binary", "it holds 3 classes"),
        ([0.5, 1.0, 2.0], "multiclass", "classes take whole numbers or texts"),
        ([0, 1], "multilabel", "it takes several columns of 0 and 1"),
        ([[0, 2], [1, 1]], "multilabel", "it takes several columns of 0 and 1"),
        ([[0, 1], [1, 0]], "multiclass", r"take target.argmax\(axis=1\)"),
        ([0, 1], "binery", "unknown task 'binery': did you mean 'binary'"),
    ],
)
def test_a_task_that_the_target_cannot_have(target: Any, task: str, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        infer_task(read_target(target), task, "y")


def test_nothing_to_learn() -> None:
    with pytest.raises(TableError, match="'y' holds only 'a': learning takes two different"):
        infer_task(np.array(["a", "a"]), name="y")
    with pytest.raises(TableError, match=r"holds only 2\.5"):
        infer_task(np.array([2.5, 2.5]))
    with pytest.raises(TableError, match="there is no target"):
        infer_task(None)
    with pytest.raises(TableError, match="several columns take numbers"):
        infer_task(np.array([["a", "b"], ["c", "d"]]))


def test_a_few_texts_among_numbers_are_no_classes() -> None:
    prices = np.array([str(each) for each in range(100)] + ["n/a"])
    with pytest.raises(TableError, match=r"numbers but for texts such as 'n/a' \(row 101\)"):
        infer_task(prices)
    assert infer_task(prices, "multiclass") == "multiclass"


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ("{}.50", r"numbers stored as texts, such as '0.50' \(row 1\): cast them to numbers"),
        ("${},000.50", r"numbers with signs .*, such as '\$0,000.50' \(row 1\): leave these away"),
        ("{}.5%", r"numbers with signs .*, such as '0.5%' \(row 1\)"),
        ("{} kg", r"numbers with signs .*, such as '0 kg' \(row 1\)"),
        (
            "2024-01-{:02}",
            r"dates as texts, such as '2024-01-00' \(row 1\): turn them into numbers",
        ),
        ("{}.1.2024 12:30", r"dates as texts, such as '0.1.2024 12:30'"),
        ("Mrs {}", r"30 different texts in 30 rows, such as 'Mrs 0' \(row 1\): names or ids"),
    ],
)
def test_many_different_texts_are_hardly_classes(form: str, says: str) -> None:
    texts = np.array([form.format(each) for each in range(30)])
    with pytest.raises(TableError, match=f"target 'y' holds {says}.*, or say task='multiclass'"):
        infer_task(texts, name="y")
    assert infer_task(texts, "multiclass") == "multiclass"
    assert infer_task(np.tile(texts[:20], 2)) == "multiclass"


def test_many_texts_of_two_rows_each_are_classes() -> None:
    assert infer_task(np.repeat([f"Mrs {each}" for each in range(30)], 2)) == "multiclass"


def test_codes_of_several_rows_are_classes_and_prices_are_not() -> None:
    codes = np.array([f"{each}A" for each in range(25)])
    assert infer_task(np.repeat(codes, 4)) == "multiclass"
    houses = np.append(codes, [str(each) for each in range(25)])
    assert infer_task(np.repeat(houses, 4)) == "multiclass"
    with pytest.raises(TableError, match="numbers with signs"):
        infer_task(codes)
    prices = np.repeat([f"${each},000.50" for each in range(25)], 4)
    with pytest.raises(TableError, match="numbers with signs"):
        infer_task(prices)


def test_numbers_stored_as_texts_are_no_regression_and_the_message_says_why() -> None:
    with pytest.raises(InvalidValueError, match=r"stored as texts, such as '0\.5': cast"):
        infer_task(np.array(["0.5", "1.5"]), "regression")
    with pytest.raises(InvalidValueError, match="it holds texts such as 'n/a'"):
        infer_task(np.array(["0.5", "n/a"]), "regression")


def test_text_for_regression_is_refused_from_a_file(tmp_path: Path) -> None:
    got = read(write(tmp_path, "t.csv", "a,y\n1,low\n2,high\n"), "y")
    with pytest.raises(InvalidValueError, match="regression takes numbers"):
        infer_task(got.target, "regression", "y")


@pytest.mark.parametrize("task", ["regression", "multiclass"])
@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.9])
def test_a_split_takes_every_row_once(task: str, fraction: float) -> None:
    target = np.repeat([3, 5, 9], [10, 91, 4])
    training, held_out = split(target, task, fraction, np.random.default_rng(0))
    assert training.dtype == held_out.dtype == np.int64
    np.testing.assert_array_equal(np.sort(np.concatenate([training, held_out])), np.arange(105))
    assert (np.diff(training) > 0).all()
    assert (np.diff(held_out) > 0).all()
    assert len(held_out) == int(105 * fraction + 0.5)
    again = split(target, task, fraction, np.random.default_rng(0))
    np.testing.assert_array_equal(held_out, again[1])
    other = split(target, task, fraction, np.random.default_rng(1))
    assert not np.array_equal(held_out, other[1])


def test_a_stratified_split_keeps_the_classes_shares() -> None:
    target = np.array(["b"] * 10 + ["a"] * 90 + ["c"] * 4)
    training, held_out = split(target, "multiclass", 0.25, np.random.default_rng(0))
    # 26 of 104: 22.5, 2.5 and 1 are due; the one left goes to the first of the largest remainders.
    classes, counts = np.unique(target[held_out], return_counts=True)
    assert dict(zip(classes.tolist(), counts.tolist(), strict=True)) == {"a": 23, "b": 2, "c": 1}
    assert set(target[training]) == {"a", "b", "c"}


@pytest.mark.parametrize(("counts", "held"), [([5, 7, 4], [1, 2, 1]), ([3, 6, 7], [1, 1, 2])])
def test_the_largest_remainders_are_held_out(counts: list[int], held: list[int]) -> None:
    target = np.repeat(np.arange(3), counts)
    _, held_out = split(target, "multiclass", 0.25, np.random.default_rng(0))
    # 4 of 16: 1.25, 1.75 and 1 are due, or 0.75, 1.5 and 1.75.
    assert np.bincount(target[held_out]).tolist() == held


@pytest.mark.parametrize("more", [0, 1000])
def test_every_class_stays_in_training(more: int) -> None:
    target = np.append(np.repeat(np.arange(100), 2), np.full(more, 100))
    training, held_out = split(target, "multiclass", 0.9, np.random.default_rng(0))
    assert len(held_out) == (1080 if more else 100)
    np.testing.assert_array_equal(np.unique(target[training]), np.unique(target))


def test_nothing_held_out() -> None:
    training, held_out = split(np.array([0, 0, 0, 1]), "binary", 0, np.random.default_rng(0))
    np.testing.assert_array_equal(training, np.arange(4))
    assert held_out.size == 0


@pytest.mark.parametrize(
    ("target", "task", "fraction", "kind", "message"),
    [
        ([0, 1, 1], "binary", 0.5, TableError, r"class 0 has one row \(row 1\)"),
        (["ox", "ox", "elk"], "binary", 0.5, TableError, r"class 'elk' has one row \(row 3\)"),
        (
            list("abc"),
            "multiclass",
            0.5,
            TableError,
            r"3 of 3 classes have one row each, such as 'a' \(row 1\): .* or set validation to 0",
        ),
        ([4, 7, 7, 8], "multiclass", 0.5, TableError, r"2 of 3 .* predict a number \(task='regr"),
        ([1.0, 2.0], "regression", 1.0, InvalidValueError, r"must lie in \[0, 1\); got 1.0"),
        ([1.0, 2.0], "regression", -0.1, InvalidValueError, r"must lie in \[0, 1\); got -0.1"),
        ([1.0, 2.0], "regression", np.nan, InvalidValueError, r"must lie in \[0, 1\); got nan"),
        ([1.0, 2.0], "regression", 0.1, InvalidValueError, "holds out 0 of 2 rows"),
        ([1.0, 2.0], "regression", 0.9, InvalidValueError, "leaves 0 to train on"),
        ([1.0, 2.0], "regression", "0.5", InvalidTypeError, "takes a number; got '0.5'"),
        (None, "regression", 0.5, TableError, "there is no target"),
    ],
)
def test_bad_splits(
    target: Any, task: str, fraction: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        split(
            None if target is None else np.array(target), task, fraction, np.random.default_rng(0)
        )


def test_arrow_tables_with_the_same_name_twice_are_refused() -> None:
    doubled = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(TableError, match="appears more than once"):
        read(doubled)


@pytest.mark.parametrize("kind", [np.float32, np.int64, np.bool_, np.str_, np.object_])
def test_masked_values_are_missing(kind: Any) -> None:
    X = np.ma.masked_array(np.ones((3, 2)).astype(kind), mask=[[False, True]] * 3)
    got = read(X).features
    if isinstance(got, np.ndarray):
        np.testing.assert_array_equal(np.isnan(got), X.mask)
        assert got.dtype == (np.float32 if kind is np.float32 else np.float64)
    else:
        assert got.null_count().row(0) == (0, 3)
    np.testing.assert_array_equal(read(np.ma.masked_array([[1.5]])).features, [[1.5]])


@pytest.mark.parametrize("kinds", [[1, 2, 10], [0.5, 1.5, 2.5], [False, True], ["b", "a"]])
def test_a_target_of_categories_keeps_their_type(kinds: list[Any]) -> None:
    values = pd.Series(pd.Categorical([kinds[row % len(kinds)] for row in range(12)]))
    frame = pd.DataFrame({"a": range(12), "y": values})
    beside, inside = read(frame[["a"]], values).target, read(frame, "y").target
    assert beside is not None
    assert inside is not None
    assert inside.dtype == beside.dtype == np.array(kinds).dtype
    assert inside.tolist() == values.tolist()
    assert read(frame, "a").features["y"].dtype == pl.Categorical
    values[3] = None
    with pytest.raises(TableError, match=r"target 'y' is missing in 1 of 12 rows .* 4\)"):
        read(frame.assign(y=values), "y")


def test_a_column_may_have_a_number_for_its_name() -> None:
    for frame in (pd.DataFrame({0: range(4), 1: [1, 0, 1, 0]}), pl.DataFrame({"0": [7], "1": [8]})):
        for name in (1, np.int64(1), "1"):
            got = read(frame, name)
            assert (got.feature_names, got.target_names) == (("0",), ("1",))
        with pytest.raises(TableError, match="takes the name of a column, or its values; got 2"):
            read(frame, 2)


def test_bytes_are_no_target() -> None:
    raw = [b"\xff", b"b"] * 15
    frame = pl.DataFrame({"x": range(30), "y": raw})
    for source, target in ((frame, "y"), (frame.to_pandas(), "y"), (frame[["x"]], raw)):
        with pytest.raises(TableError, match=r"takes numbers, booleans or texts; got byte"):
            read(source, target)


def test_a_target_that_is_missing_everywhere_is_the_wrong_column() -> None:
    frame = pl.DataFrame({"x": range(30), "y": pl.Series([None] * 30, dtype=pl.Float64)})
    with pytest.raises(TableError, match="'y' is missing in every row: name another column"):
        read(frame, "y")


def test_a_masked_target_is_refused() -> None:
    masked = np.ma.masked_array([0, 1, 0, 1], mask=[False, True, False, True])
    for values in (masked, masked[:, None], np.ma.column_stack([masked, masked])):
        with pytest.raises(TableError, match=r"missing in 2 of 4 rows \(counted from 1: 2, 4\)"):
            read_target(values)


def test_decimals_are_numbers_wherever_they_come_from() -> None:
    values = [Decimal(each) / 8 for each in range(40)]
    inside = read(pd.DataFrame({"a": range(40), "y": values}), "y").target
    beside = pd.Series(values)
    for target in (values, beside, pl.Series(values)):
        got = read_target(target)
        assert got.dtype == np.float64
        np.testing.assert_array_equal(got, inside)
    assert isinstance(beside[0], Decimal)


def test_a_table_without_any_value_teaches_nothing() -> None:
    nothing: list[Any] = [
        np.full((20, 2), np.nan), pd.DataFrame({"a": np.full(20, np.nan)}),
        pl.DataFrame({"a": [None] * 20}), pl.DataFrame({"a": [None] * 20}, schema={"a": pl.String}),
        pl.DataFrame({"a": [np.nan] * 20}),
    ]  # fmt: skip
    for source in nothing:
        with pytest.raises(TableError, match="its columns hold no values: nothing to learn from"):
            read(source, np.arange(20) % 2)


def test_sparse_columns_of_pandas_are_filled() -> None:
    frame = pd.get_dummies(pd.Series(list("aba")), sparse=True, dtype=float)
    got = read(frame).features
    assert isinstance(got, pl.DataFrame)
    assert got.rows() == [(1.0, 0.0), (0.0, 1.0), (1.0, 0.0)]


def test_times_of_several_zones_are_brought_to_one() -> None:
    zones = [pd.Timestamp("2020", tz="UTC"), pd.Timestamp("2020", tz="Asia/Tokyo"), None]
    got = read(pd.DataFrame({"t": pd.Series(zones, dtype=object)})).features
    assert isinstance(got, pl.DataFrame)
    assert got["t"].dtype == pl.Datetime("us", "UTC")
    assert [each and each.hour for each in got["t"]] == [0, 15, None]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([np.ones(2)] * 20, r"column 'z' takes numbers, texts, categories or dates; got Array"),
        ([np.ones(2), 1] * 10, r"column 'z' takes .* and cannot be read \(object: "),
        (np.ones(20) * 1j, r"column 'z' takes .* and cannot be read \(complex128: "),
        (
            pd.Series([1j, 2] * 10, dtype=object),
            "column 'z' takes numbers, texts, categories or dates; got Object",
        ),
        (
            [pd.Timestamp("2020"), pd.Timestamp("2020", tz="UTC")] * 10,
            r"column 'z' takes .* and cannot be read \(object: ",
        ),
    ],
)
def test_columns_of_pandas_that_cannot_be_read_are_named(values: Any, says: str) -> None:
    with pytest.raises(TableError, match=says):
        Preparation.fit(read(pd.DataFrame({"z": values}), np.arange(20) % 2))


def test_a_targets_own_names_are_taken() -> None:
    X, one, two = np.ones((4, 1)), [0, 1, 0, 1], [1, 1, 0, 0]
    for frame in (pd.DataFrame({"u": one, "v": two}), pl.DataFrame({"u": one, "v": two})):
        assert read(X, frame).target_names == ("u", "v")
        assert read(frame[["u"]], frame["v"]).target_names == ("v",)
    with pytest.raises(TableError, match="target 'u' is missing in 2 of 4 rows"):
        read(X, pd.Series([1, None, 1, None], name="u"))
    for unnamed in (pd.Series(one), pl.Series(one), np.array(one), one):
        assert read(X, unnamed).target_names == ("target",)
    assert read(X, pd.DataFrame(np.array([one, two]).T)).target_names == ("target0", "target1")


def test_a_target_takes_no_features_name() -> None:
    """What pandas makes of a column keeps its name, a comparison too."""
    frame = pd.DataFrame({"age": [1, 2, 3, 4], "debt": [4, 3, 2, 1]})
    assert (frame["age"] > 2).name == "age"
    found = read(frame, frame["age"] > 2)
    assert found.feature_names == ("age", "debt")
    assert found.target_names == ("target",)
    assert read(frame, frame["age"].rename("years") > 2).target_names == ("years",)
    assert read(frame, frame > 2).target_names == ("target0", "target1")
    assert read(np.ones((4, 2)), pd.Series([0, 1, 0, 1], name="x1")).target_names == ("target",)


def test_names_come_nearest_whatever_their_case() -> None:
    with pytest.raises(TableError, match=r"no target column 'Y': did you mean 'y'\?"):
        read(FRAME, "Y")
