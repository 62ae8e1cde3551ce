"""Eigenvalues and trace against a dense Hessian; what a point is, judged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from downslope.curvature import Curvature, extremes, judge, measure
from downslope.errors import InvalidTypeError, InvalidValueError
from downslope.network import BuiltNetwork
from downslope.parts import Network
from downslope.surface import RowSet
from test_gradients import Case, draw
from test_hessian import difference
from test_surface import rows_of

Array = npt.NDArray[Any]

NETWORKS = {
    "plain": Network([8, 7], "tanh", "glorot_normal"),
    "batch-normalized": Network([8, 7], "silu", "glorot_normal", "batch"),
    "layer-normalized residual": Network([8, 8], "gelu", "glorot_normal", "layer", True),
    "dropout": Network([8, 7], "softplus", "glorot_normal", dropout=0.3),
}


def eigenvalues_naively(case: Case) -> Array:
    """Form the Hessian column by column from differences of the gradient."""
    plain = case.built.network
    if plain.dropout:  # loss_and_gradient would drop units; curvature does not
        network = Network(plain.layers, plain.activation, plain.initializer)
        whole = BuiltNetwork(network, 3, 3, "multiclass", "float64")
        whole.theta[:] = case.built.theta
        case = Case(whole, case.features, case.target, case.weights, case.penalties)
    matrix = np.array([difference(case, unit) for unit in np.eye(case.built.theta.size)])
    return np.asarray(np.linalg.eigvalsh((matrix + matrix.T) / 2))


@pytest.mark.parametrize("name", NETWORKS)
def test_eigenvalues_and_trace_by_lanczos_and_hutchinson(name: str) -> None:
    case = draw(NETWORKS[name], 3, "multiclass", 40, 2)
    case.penalties = (0.0, 0.4)
    found = measure(case.built, rows_of(case), vectors=400)
    expected = eigenvalues_naively(case)
    assert case.built.theta.size > 100
    assert found.largest == pytest.approx(expected[-1], rel=1e-6)
    assert found.smallest == pytest.approx(expected[0], rel=1e-5)
    assert found.stable_rate == 2 / found.largest
    assert 0 < found.trace_error < 0.2 * abs(found.trace)
    assert abs(found.trace - expected.sum()) < 4 * found.trace_error
    assert (found.rows, found.of_rows) == (40, 40)


def test_a_small_network_has_its_whole_spectrum() -> None:
    case = draw(Network([4], "tanh", "glorot_normal"), 2, "regression", 12, 0)
    found, expected = measure(case.built, rows_of(case)), eigenvalues_naively(case)
    assert found.largest == pytest.approx(expected[-1], rel=1e-7)
    assert found.smallest == pytest.approx(expected[0], rel=1e-6, abs=1e-8)
    assert found.trace == pytest.approx(expected.sum(), rel=1e-8)
    assert found.trace_error == 0
    loss, gradient = case.loss_and_gradient()
    assert found.loss == loss
    assert found.gradient_norm == pytest.approx(np.linalg.norm(gradient))


def test_the_standard_error_is_right() -> None:
    """Over 60 seeds the estimates lie within two standard errors about as often as they should."""
    case = draw(NETWORKS["plain"], 3, "multiclass", 20, 2)
    exact = eigenvalues_naively(case).sum()
    found = [measure(case.built, rows_of(case), seed=seed) for seed in range(60)]
    inside = sum(abs(each.trace - exact) < 2 * each.trace_error for each in found)
    assert 50 <= inside <= 60
    assert len({each.trace for each in found}) == 60
    assert np.ptp([each.largest for each in found]) < 1e-6 * found[0].largest


def test_gradient_descent_diverges_just_above_the_stable_rate() -> None:
    generator = np.random.default_rng(0)
    built = BuiltNetwork(Network([]), 30, 5, "regression", "float64")
    features, target = generator.normal(size=(60, 30)), generator.normal(size=(60, 5))
    rate = measure(built, RowSet(features, target)).stable_rate
    assert built.theta.size > 100
    for factor, grows in ((0.99, False), (1.01, True)):
        built.theta[:] = generator.normal(size=built.theta.size)
        losses = []
        for _step in range(2000):
            loss, gradient = built.loss_and_gradient(features, target, threads=1)
            losses.append(loss)
            built.theta[:] -= factor * rate * gradient
        assert (losses[-1] > 10 * losses[0]) == grows


def test_many_rows_are_drawn_from_and_that_is_said() -> None:
    case = draw(NETWORKS["batch-normalized"], 3, "multiclass", 300, 0)
    weights = np.ones(300)
    some = measure(case.built, RowSet(case.features, case.target, weights), most=50)
    again = measure(case.built, RowSet(case.features, case.target, weights), most=50)
    assert some == again
    assert (some.rows, some.of_rows) == (50, 300)
    assert "on 50 of 300 rows" in some.sentence()
    other = measure(case.built, RowSet(case.features, case.target, weights), most=50, seed=1)
    assert other.largest != some.largest
    all_of_them = measure(case.built, rows_of(case), most=300)
    assert "rows" not in all_of_them.sentence()


def test_batch_normalization_keeps_to_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("downslope.curvature.KEPT_FLOATS", 10_000)
    case = draw(NETWORKS["batch-normalized"], 3, "multiclass", 300, 0)
    found = measure(case.built, rows_of(case))
    assert 2 <= found.rows < 40


@pytest.mark.parametrize(
    ("norm", "smallest", "largest", "verdict"),
    [
        (1e-5, 0.5, 2.0, "minimum"),
        (1e-5, -1e-5, 2.0, "minimum"),
        (1e-5, -0.1, 2.0, "saddle"),
        (1e-5, -3.0, -1.0, "saddle"),
        (1e-5, -1e-4, 1e-4, "plateau"),
        (0.1, -1e-4, 1e-4, "not converged"),
        (0.1, 0.5, 2.0, "not converged"),
        (math.nan, 0.5, 2.0, "not converged"),
        (1e-5, math.nan, 2.0, "not converged"),
        (1e-5, math.nan, math.nan, "not converged"),
    ],
)
def test_verdicts(norm: float, smallest: float, largest: float, verdict: str) -> None:
    assert judge(norm, smallest, largest) == verdict
    found = Curvature(0.3, norm, largest, smallest, 1.0, 0.1, 9, 9)
    assert found.verdict == verdict
    assert verdict.split()[-1] in found.sentence()


def test_where_networks_stand_that_are_known() -> None:
    generator = np.random.default_rng(1)
    features = generator.normal(size=(50, 2))
    target = (features @ [[1.0], [2.0]]).astype(float)
    linear = BuiltNetwork(Network([]), 2, 1, "regression", "float64")
    assert measure(linear, RowSet(features, target)).verdict == "not converged"
    linear.parts()["layer1.weight"][:] = [[1.0], [2.0]]
    assert measure(linear, RowSet(features, target)).verdict == "minimum"
    # all weights at 0: no gradient where the target has mean 0, and the layers' product bends both
    # ways (Baldi and Hornik 1989)
    deep = BuiltNetwork(Network([30], "identity", "zeros"), 2, 1, "regression", "float64")
    assert deep.theta.size > 100
    centered = target - target.mean()
    found = measure(deep, RowSet(features, centered))
    assert found.verdict == "saddle"
    assert found.smallest == pytest.approx(-np.linalg.norm(features.T @ centered / 50), rel=1e-6)
    # sigmoids driven far out: nothing moves
    flat = BuiltNetwork(Network([30], "sigmoid", "zeros"), 2, 1, "regression", "float64")
    flat.parts()["layer1.bias"][:] = -40.0
    found = measure(flat, RowSet(features, centered))
    assert found.smallest == pytest.approx(0.0, abs=1e-9)
    assert found.largest == pytest.approx(1.0)  # the output's bias alone


def test_dead_units_bend_nothing() -> None:
    """Every unit dead and the outputs' weights at 0: the Hessian is that of the output's biases."""
    built = BuiltNetwork(Network([40], "relu"), 3, 2, "multiclass", "float64")
    built.parts()["layer1.bias"][:] = -100.0
    features, target = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    found = measure(built, RowSet(features, target))
    assert (found.largest, found.smallest) == pytest.approx((0.5, 0.0), abs=1e-9)
    # one class of one: the softmax is 1 and nothing depends on theta at all
    single = BuiltNetwork(
        Network([40], "tanh", output_activation="softmax", loss="squared_error"), 3, 1,
        "regression", "float64",
    )  # fmt: skip
    found = measure(single, RowSet(features, np.ones(20)))
    assert (found.largest, found.smallest, found.trace) == (0.0, 0.0, 0.0)
    assert found.verdict == "plateau"
    assert found.stable_rate == math.inf


def test_bad_input() -> None:
    case = draw(Network([3]), 2, "multiclass", 6, 0)
    built, features, target = case.built, case.features, case.target
    rows = rows_of(case)
    with pytest.raises(InvalidValueError, match="features must have 3 columns"):
        measure(built, RowSet(features[:, :2], target))
    with pytest.raises(InvalidValueError, match="row weights must be finite"):
        measure(built, RowSet(features, target, -np.ones(6)))
    with pytest.raises(InvalidValueError, match="most must be at least 2; got 1"):
        measure(built, rows, most=1)
    with pytest.raises(InvalidTypeError, match=r"vectors takes a whole number; got 2\.5"):
        measure(built, rows, vectors=2.5)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="curvature: seed must be at least 0; got -1"):
        measure(built, rows, seed=-1)
    built.theta[0] = np.nan
    with pytest.raises(InvalidValueError, match="the gradient must be finite; its norm is nan"):
        measure(built, RowSet(features, target))


@pytest.mark.parametrize("size", [1, 2, 30, 400])
def test_lanczos_finds_the_ends_of_any_spectrum(size: int) -> None:
    generator = np.random.default_rng(size)
    turn = np.linalg.qr(generator.normal(size=(size, size)))[0]
    start = generator.normal(size=size)
    for spectrum in (
        generator.normal(size=size),
        generator.normal(size=size) ** 4 - 0.01,
        np.full(size, 2.5),
        np.linspace(-1, 1, size) * 1e-7,
        np.where(np.arange(size) < size / 2, 0.0, 3.0),
        np.where(np.arange(size) == 0, -1e-3, generator.uniform(0, 1e3, size)),
        np.zeros(size),
    ):
        matrix = turn @ (spectrum[:, None] * turn.T)
        largest, smallest = extremes(matrix.__matmul__, start)
        # The matrix has the spectrum to some roundings only, and which ones depends on the BLAS.
        rounding = 8 * np.finfo(float).eps * abs(spectrum).max()
        allowed = 2e-6 * np.ptp(spectrum) + rounding
        assert largest == pytest.approx(spectrum.max(), rel=0, abs=allowed)
        assert smallest == pytest.approx(spectrum.min(), rel=0, abs=allowed)
