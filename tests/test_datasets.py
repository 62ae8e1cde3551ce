"""The built-in data sets: the same numbers as scikit-learn's, and shapes that can be learned."""

import subprocess
import sys

import numpy as np
import pytest

from downslope import datasets
from downslope.errors import InvalidTypeError, InvalidValueError
from downslope.task import infer_task

REAL = ("digits", "iris", "wine", "breast_cancer", "diabetes")
GENERATED = ("moons", "circles", "blobs", "spirals", "xor", "sine")


@pytest.mark.parametrize("name", REAL)
def test_real_data_is_scikit_learns(name: str) -> None:
    features, target = datasets._read_through_scikit_learn(name)
    table = datasets.load(name)
    np.testing.assert_array_equal(table.features, features.astype(np.float32))
    np.testing.assert_array_equal(table.target, target)


@pytest.mark.parametrize("name", REAL)
def test_moved_files_are_read_through_scikit_learn(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = datasets.load(name)
    monkeypatch.setattr(datasets, "find_spec", lambda _: None)
    there = datasets.load(name)
    np.testing.assert_array_equal(there.features, here.features)
    np.testing.assert_array_equal(there.target, here.target)


@pytest.mark.parametrize("name", [*REAL, *GENERATED])
def test_a_table_is_what_its_entry_says(name: str) -> None:
    table, entry = datasets.load(name), datasets.DATASETS[name]
    features = np.asarray(table.features)
    assert features.shape == (entry.rows, len(entry.columns))
    assert features.dtype == np.float32
    assert features.flags.c_contiguous
    assert table.feature_names == entry.columns
    assert infer_task(table.target) == entry.task
    assert entry.line in datasets.names()[name]


@pytest.mark.parametrize("name", GENERATED)
def test_the_seed_decides_what_is_drawn(name: str) -> None:
    one, same, other = (datasets.load(name, rows=60, noise=0.1, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.features, same.features)
    np.testing.assert_array_equal(one.target, same.target)
    assert not np.array_equal(np.asarray(one.features), np.asarray(other.features))


def test_shapes_without_noise() -> None:
    circles = datasets.load("circles", noise=0)
    radius = np.hypot(*np.asarray(circles.features).T)
    np.testing.assert_allclose(radius, np.where(circles.target == 1, 0.5, 1.0), rtol=1e-6)

    moons = datasets.load("moons", noise=0)
    points, lower = np.asarray(moons.features), np.asarray(moons.target) == 1
    centers = np.where(lower[:, None], [[1.0, 0.5]], [[0.0, 0.0]])
    np.testing.assert_allclose(np.hypot(*(points - centers).T), 1.0, rtol=1e-6)

    sine = datasets.load("sine", noise=0)
    np.testing.assert_allclose(
        np.asarray(sine.target), np.sin(np.asarray(sine.features)[:, 0]), atol=1e-6
    )

    xor = datasets.load("xor")
    x, y = np.asarray(xor.features).T
    np.testing.assert_array_equal(xor.target, (x * y < 0).astype(int))
    assert np.abs(xor.features).min() >= 0.0499


def test_spirals_can_be_told_apart() -> None:
    table = datasets.load("spirals", noise=0)
    points, arm = np.asarray(table.features, dtype=np.float64), np.asarray(table.target)
    between = np.hypot(*(points[arm == 0][:, None] - points[arm == 1]).transpose(2, 0, 1))
    assert between.min() > 0.19  # 0.2 at the innermost points


@pytest.mark.parametrize("name", ["moons", "circles", "xor", "spirals"])
def test_classes_are_of_one_size(name: str) -> None:
    counts = np.bincount(np.asarray(datasets.load(name, rows=101).target))
    assert abs(int(counts[0]) - int(counts[1])) <= 1


def test_what_cannot_be_loaded() -> None:
    with pytest.raises(InvalidValueError, match=r"'iriss': did you mean 'iris'"):
        datasets.load("iriss")
    with pytest.raises(InvalidValueError, match="'iris' has rows of its own, 150"):
        datasets.load("iris", rows=50)
    with pytest.raises(InvalidValueError, match="'wine' has rows of its own"):
        datasets.load("wine", noise=0.1)
    with pytest.raises(InvalidValueError, match="rows must be at least 10; got 3"):
        datasets.load("moons", rows=3)
    with pytest.raises(InvalidValueError, match=r"noise must be 0 or more, and finite; got -1"):
        datasets.load("moons", noise=-1)
    with pytest.raises(InvalidValueError, match=r"finite; got nan"):
        datasets.load("moons", noise=float("nan"))
    with pytest.raises(InvalidTypeError, match=r"rows takes a whole number; got 20\.5"):
        datasets.load("moons", rows=20.5)  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="noise takes a number; got '1'"):
        datasets.load("moons", noise="1")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="seed must be at least 0; got -1"):
        datasets.load("moons", seed=-1)


def test_numbers_alone_import_no_heavy_library() -> None:
    code = """
import sys
import numpy as np
from downslope import datasets, task
from downslope.preparation import Preparation
iris = datasets.load("iris")
training, held_out = task.split(iris.target, "multiclass", 0.2, np.random.default_rng(0))
preparation = Preparation.fit(iris, "multiclass", training)
preparation.transform(iris), preparation.encode_target(iris.target), preparation.to_parts()
heavy = {"sklearn", "skrub", "skops", "polars", "pandas", "pyarrow", "scipy"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
