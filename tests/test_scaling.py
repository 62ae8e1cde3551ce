"""Large features are not copied to be scaled, and no bit of a run shows it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from polars.testing import assert_frame_equal

import naive
from compiled import compiled
from downslope import Descent, Network, Recipe, Run, descend, scaling
from downslope.descent import identify
from downslope.errors import NonFiniteError, TableError
from downslope.kernels import loop, passes
from downslope.quantities import FRAMES
from downslope.scaling import SQUASH_LIMIT, ScaledRows, Scaling, as_matrix
from downslope.trials import Sweep, Trial
from downslope.vary import combine

Array = npt.NDArray[Any]


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any features count as large in these tests."""
    monkeypatch.setattr(scaling, "LARGE", 0)


def matrix(rows: int = 300, columns: int = 7, dtype: npt.DTypeLike = np.float32) -> Array:
    """Draw columns of several sizes; one is constant, one reaches far out."""
    generator = np.random.default_rng(0)
    X = generator.normal(size=(rows, columns)) * 10.0 ** generator.integers(-3, 4, columns)
    X += generator.normal(size=columns) * 100
    X[:, 1], X[5, 2] = 3.0, 1e6
    X[:20, 3] = 0.0
    return np.ascontiguousarray(X, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["standard", "auto", "squash"])
def test_rows_scaled_when_read_are_rows_of_the_copy(method: str, dtype: Any) -> None:
    X = matrix(dtype=dtype)
    fitted = Scaling.fit(X, np.arange(250), method)
    copy, rows = fitted.apply(X, dtype), fitted.when_read(X, dtype)
    assert isinstance(rows, ScaledRows)
    assert rows.values is X
    assert (rows.shape, rows.ndim, rows.dtype, len(rows)) == (X.shape, 2, dtype, 300)
    for some in (slice(None), slice(3, 90), np.array([4, 299, 4]), [7], 7, np.arange(300) % 3 == 0):
        np.testing.assert_array_equal(rows[some], copy[some])
    np.testing.assert_array_equal(np.asarray(rows), copy)
    assert np.asarray(rows, np.float16).dtype == np.float16
    assert as_matrix(rows) is rows
    np.testing.assert_array_equal(X, matrix(dtype=dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 3, 8, 17, 100])
def test_kernels_scale_as_one_number_is_scaled(width: int, dtype: Any) -> None:
    generator = np.random.default_rng(width)
    row = generator.normal(size=width).astype(dtype)
    centers, factors = generator.normal(size=width), generator.exponential(size=width)
    squashes = np.where(np.arange(width) % 2, 1 / SQUASH_LIMIT, 0.0)
    x = np.empty(width, dtype)
    compiled(passes.scale)(row, centers, factors, x)
    np.testing.assert_array_equal(x, naive.scale_row(row, centers, factors))
    compiled(passes.squash)(row, centers, factors, squashes, x)
    np.testing.assert_array_equal(x, naive.scale_row(row, centers, factors, squashes))


def with_value(value: float) -> Array:
    X = matrix()
    X[17, 4] = value
    return X


@pytest.mark.parametrize(
    ("X", "method"),
    [
        (np.asfortranarray(matrix()), "standard"),
        (matrix()[::2], "standard"),
        (matrix(dtype=np.float64), "standard"),
        (matrix().astype(np.int64), "standard"),
        (with_value(np.nan), "standard"),
        (with_value(np.nan), "auto"),
        (with_value(1e-40), "standard"),  # kernels would take it as 0
        (matrix(), "none"),
    ],
)
def test_what_is_copied_or_left_all_the_same(X: Array, method: str) -> None:
    assert Scaling.fit(X, np.arange(10), method).when_read(X, np.float32) is None


def test_small_features_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    X = matrix()
    fitted = Scaling.fit(X, None, "standard")
    monkeypatch.setattr(scaling, "LARGE", X.nbytes)
    assert fitted.when_read(X) is None
    monkeypatch.setattr(scaling, "LARGE", X.nbytes - 1)
    assert fitted.when_read(X) is not None


def test_values_too_large_once_scaled_are_refused() -> None:
    X = matrix()
    preparation = run_of(X).model.preparation
    assert isinstance(preparation.inputs(X), ScaledRows)
    with pytest.raises(TableError, match="too large for float32, even scaled"):
        preparation.inputs(with_value(3e38))
    with pytest.raises(TableError, match="infinite values: 1 in 'x4'"):
        preparation.inputs(with_value(np.inf))
    filled = preparation.inputs(with_value(np.nan))  # a missing value has its place in a copy
    assert isinstance(filled, np.ndarray)
    assert np.isfinite(filled).all()


@pytest.mark.parametrize("power", [500, 1020, -700, -900])
def test_columns_of_any_size_are_scaled_alike(power: int) -> None:
    X = matrix(dtype=np.float64)
    X[7, 3], X[:, 1] = np.nan, 0.0
    small = Scaling.fit(np.ldexp(X, -30), np.arange(250), "auto")
    X, expected = np.ldexp(X, power - 30), small.apply(np.ldexp(X, -30))
    fitted = Scaling.fit(X, np.arange(250), "auto")
    np.testing.assert_array_equal(fitted.squashed, small.squashed)
    np.testing.assert_allclose(fitted.apply(X), expected, rtol=1e-6)


def test_values_further_apart_than_numbers_go_are_refused() -> None:
    with pytest.raises(TableError, match=r"reaches from -1\.7e\+308 to 1\.7e\+308, further"):
        Scaling.fit(np.array([[-1.7e308], [1.7e308]]), None, "auto")


def test_squashing_has_an_end_however_far_out() -> None:
    X = np.array([[0.0], [1.0], [2.0], [3.0], [1e300], [-1e308]])
    fitted = Scaling.fit(X[:4], None, "squash")
    assert fitted.apply(X, np.float64)[4:, 0].tolist() == [SQUASH_LIMIT, -SQUASH_LIMIT]
    assert fitted.when_read(X, np.float64) is None
    assert fitted.when_read(X[:4], np.float64) is not None


def labels(X: Array) -> Array:
    return np.asarray(X[:, 0] > np.median(X[:, 0]), np.int64)


def run_of(X: Array, y: Array | None = None, recipe: Recipe | None = None, **options: Any) -> Run:
    recipe = recipe or Recipe(Network([8]), Descent(batch=32, epochs=3))
    return descend(recipe, X, labels(X) if y is None else y, **options)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "mini-batches": ({}, {}, {}),
    "in order": ({"shuffle": False, "validation": 0.0}, {}, {}),
    "full batch": ({"batch": "full", "validation": 0.0}, {}, {}),
    "full batch, rows held out": ({"batch": "full"}, {}, {"threads": 2}),
    "row by row, no penalty": ({"batch": 1, "rule": "gd"}, {}, {}),
    "squashed": ({}, {"scaling": "squash"}, {}),
    "standard": ({}, {"scaling": "standard"}, {}),
    "double": ({"dtype": "float64", "batch": "full"}, {}, {}),
    "clipped, penalized": ({"clip_norm": 0.1, "l2": 0.1}, {}, {}),
    "residual, batch": ({}, {"layers": [7, 7], "normalize": "batch", "residual": True}, {}),
    "layers": ({}, {"layers": [9, 9], "normalize": "layer", "dropout": 0.3}, {}),
    "muon": ({"rule": "muon"}, {}, {}),
    "weights": ({}, {}, {"weights": np.arange(300) % 4}),
    "numbers": ({"batch": "full"}, {"task": "regression"}, {}),
    "halves of W": ({"batch": 16}, {"layers": [300]}, {"threads": 2}),
}


def both(
    monkeypatch: pytest.MonkeyPatch, X: Array, y: Array, recipe: Recipe, **options: Any
) -> tuple[Run, Run]:
    """Descend with features read where they lie, and with a scaled copy of them."""
    read = run_of(X, y, recipe, **options)
    monkeypatch.setattr(scaling, "LARGE", 1 << 60)
    copied = run_of(X, y, recipe, **options)
    monkeypatch.setattr(scaling, "LARGE", 0)
    assert isinstance(read.data.features, ScaledRows)
    assert isinstance(copied.data.features, np.ndarray)
    assert np.shares_memory(read.data.features.values, X)
    return read, copied


def assert_same(one: Run, other: Run) -> None:
    np.testing.assert_array_equal(one.network.theta, other.network.theta)
    np.testing.assert_array_equal(one.network.statistics, other.network.statistics)
    mine, others = one.history.to_dict(), other.history.to_dict()
    for name in mine.keys() - {"seconds", "elapsed"}:
        np.testing.assert_array_equal(mine[name], others[name], name)
    assert one.scores == other.scores
    for name in FRAMES:
        assert_frame_equal(getattr(one.trace, name), getattr(other.trace, name), check_exact=True)


@pytest.mark.parametrize("case", CASES)
def test_a_run_without_the_copy_is_the_run_with_it(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    descent, network, options = CASES[case]
    recipe = Recipe(
        Network(**{"layers": [8], **network}), Descent(**{"batch": 32, "epochs": 12, **descent})
    )
    X = matrix(columns=64 if case == "halves of W" else 7, dtype=recipe.descent.dtype)
    y = X[:, 4] if network.get("task") == "regression" else labels(X)
    read, copied = both(monkeypatch, X, y, recipe, **options)
    assert_same(read, copied)
    np.testing.assert_array_equal(read.network.output(read.data.features),
                                  copied.network.output(copied.data.features))  # fmt: skip
    np.testing.assert_array_equal(read.predict(X), copied.predict(X))


AROUND: tuple[Literal["random", "path"], ...] = ("random", "path")


def test_all_that_is_asked_of_a_run_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    X = matrix()
    recipe = Recipe(Network([6], activation="tanh"), Descent(batch=32, epochs=8))
    read, copied = both(monkeypatch, X, labels(X), recipe, path=True)
    assert_frame_equal(read.replay(20, 30).steps, copied.replay(20, 30).steps, check_exact=True)
    assert read.curvature(most=200).largest == copied.curvature(most=200).largest
    for along in AROUND:
        planes = [run.landscape(along, points=5) for run in (read, copied)]
        np.testing.assert_array_equal(planes[0].losses, planes[1].losses)
    rows = [0, 5, 299]
    assert read.explain(1, 2, 3, rows).gradient == copied.explain(1, 2, 3, rows).gradient
    assert_frame_equal(read.explain_layer(1), copied.explain_layer(1), check_exact=True)
    outputs = [run.network.layer_outputs(run.data.features) for run in (read, copied)]
    for one, other in zip(*outputs, strict=True):
        np.testing.assert_array_equal(one, other)
    sets = [run.training_rows() for run in (read, copied)]
    losses = [run.network.loss_and_gradient(each.features, each.target)
              for run, each in zip((read, copied), sets, strict=True)]  # fmt: skip
    assert losses[0][0] == losses[1][0]
    np.testing.assert_array_equal(losses[0][1], losses[1][1])


def test_a_checkpoint_of_either_is_gone_on_from_by_the_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    X = matrix()
    recipe = Recipe(Network([8]), Descent(batch=32, epochs=6))
    read, copied = both(monkeypatch, X, labels(X), recipe)
    assert identify(recipe, read.data) == identify(recipe, copied.data)
    for first, second in ((0, 1 << 60), (1 << 60, 0)):
        folder = tmp_path / str(first)
        monkeypatch.setattr(scaling, "LARGE", first)
        stopped = run_of(X, None, recipe, checkpoint=folder, watchers=[lambda epoch: True])
        assert stopped.history.epochs == 1
        monkeypatch.setattr(scaling, "LARGE", second)
        assert_same(read, run_of(X, None, recipe, checkpoint=folder, resume=True))


def test_a_run_that_leaves_the_finite_numbers_says_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = Recipe(
        Network([8], activation="identity", task="regression"),
        Descent(batch=32, rule="gd", learning_rate=1e3, validation=0.0),
    )
    said = []
    for large in (0, 1 << 60):
        monkeypatch.setattr(scaling, "LARGE", large)
        with pytest.raises(NonFiniteError) as failure:
            run_of(matrix(), matrix()[:, 4], recipe)
        said.append(str(failure.value))
    assert said[0] == said[1]


def test_a_comparison_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from downslope.table import read

    X = matrix()
    table = read(X, labels(X))
    variant = combine(Recipe(Network([8]), Descent(epochs=2)), {"batch": [32, 64]})[0]
    found = []
    for large in (0, 1 << 60):
        monkeypatch.setattr(scaling, "LARGE", large)
        (outcome,) = Sweep({"table": table}).run([Trial.of("table", variant, 0)])
        found.append((outcome.losses, outcome.validation_scores, outcome.memory))
    assert found[0] == found[1]


def test_nothing_as_large_as_the_features_is_made() -> None:
    generator = np.random.default_rng(0)
    X = generator.standard_normal((60_000, 100), dtype=np.float32)
    recipe = Recipe(Network([8]), Descent(batch="full", epochs=2))
    run = run_of(X[:4000], None, recipe)
    y = labels(X)
    tracemalloc.start()
    try:
        run = run_of(X, y, recipe)
        run.predict(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(run.data.features, ScaledRows)
    assert peak < X.nbytes / 2


def test_scaling_while_reading_compiles_nothing() -> None:
    X = matrix()
    descent = Descent(batch=32, epochs=1)
    kernels: list[Any] = [loop.descend, loop.predict]
    run_of(X, None, Recipe(Network([8], scaling="none"), descent))
    known = [len(kernel.signatures) for kernel in kernels]
    for method in ("standard", "squash"):
        run_of(X, None, Recipe(Network([8], scaling=method), descent))
    assert [len(kernel.signatures) for kernel in kernels] == known


def test_a_model_in_double_predicts_from_features_in_double() -> None:
    X = matrix(dtype=np.float64)
    recipe = Recipe(Network([8]), Descent(dtype="float64", epochs=2, validation=0.0))
    run = run_of(X, None, recipe)
    np.testing.assert_array_equal(run.model.output(X), run.network.output(run.data.features))
