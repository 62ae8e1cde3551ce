"""Hessian-vector products against central differences of the gradient, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from downslope.catalogue import ACTIVATIONS, LOSSES, choose
from downslope.derivatives import activate, loss_derivatives
from downslope.errors import InvalidValueError
from downslope.hessian import Hessian, floats_a_row
from downslope.network import BuiltNetwork
from downslope.parts import Network
from test_gradients import (
    HIDDEN,
    MARGIN,
    OUTPUTS,
    TASKS,
    TOLERANCE,
    WIDTHS,
    Case,
    draw,
    dropout_step,
    smooth,
)

Array = npt.NDArray[Any]

H = 3e-6
"""Half the step of a difference, as for gradients."""


def difference(case: Case, direction: Array, gradient: Any = None) -> Array:
    """Give H d as (gradient(theta + h d) - gradient(theta - h d)) / (2 h)."""
    if gradient is None:

        def gradient() -> Array:
            return case.loss_and_gradient()[1]

    theta = case.built.theta
    kept = theta.copy()
    theta[:] = kept + H * direction
    above = gradient()
    theta[:] = kept - H * direction
    below = gradient()
    theta[:] = kept
    return np.asarray((above - below) / (2 * H))


def hessian_of(case: Case, masks: tuple[int, int] | None = None) -> Hessian:
    return Hessian(case.built, case.features, case.target, case.weights, case.penalties, masks)


def check(case: Case, masks: tuple[int, int] | None = None, gradient: Any = None) -> None:
    """Hold gradient and products to the kernels' gradient; u.Hv = v.Hu."""
    hessian = hessian_of(case, masks)
    first = case.loss_and_gradient()[1] if gradient is None else gradient()
    np.testing.assert_allclose(hessian.gradient, first, rtol=1e-9, atol=1e-12 * abs(first).max())
    generator = np.random.default_rng(3)
    u, v = generator.choice([-1.0, 1.0], (2, len(hessian)))
    product = hessian.product(v)
    expected = difference(case, v, gradient)
    scale = max(float(abs(expected).max()), 1e-3 * float(abs(first).max()))
    assert abs(product - expected).max() < TOLERANCE * scale, case.built.network
    size = float(np.abs(u * product).sum())
    assert abs(u @ product - v @ hessian.product(u)) <= 1e-11 * size


@pytest.mark.parametrize("normalize", ["none", "batch", "layer"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", HIDDEN)
def test_activation_by_loss_by_normalization(activation: str, loss: str, normalize: str) -> None:
    for output in OUTPUTS[loss]:
        for residual in (False, True):
            for depth in (1, 3):
                network = Network(
                    WIDTHS[:depth], activation, "glorot_normal", normalize, residual,
                    output_activation=output, loss=loss,
                )  # fmt: skip
                check(smooth(network, 3, TASKS.get(loss, "regression")))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("output", ACTIVATIONS)
def test_any_output_activation_with_any_loss(output: str, loss: str) -> None:
    for layers in ((), (4,)):
        network = Network(layers, "tanh", "glorot_normal", output_activation=output, loss=loss)
        check(smooth(network, 3, TASKS.get(loss, "regression"), rows=4))


def test_the_whole_hessian_entry_by_entry() -> None:
    case = smooth(Network([4, 5], "prelu", "he_normal", "layer", residual=True), 2, "regression")
    hessian, size = hessian_of(case), case.built.theta.size
    numeric = np.array([difference(case, unit) for unit in np.eye(size)])
    exact = np.array([hessian.product(unit) for unit in np.eye(size)])
    assert abs(exact - numeric).max() < TOLERANCE * abs(exact).max()
    np.testing.assert_allclose(exact, exact.T, atol=1e-12 * abs(exact).max())


@pytest.mark.parametrize("normalize", ["none", "batch", "layer"])
@pytest.mark.parametrize("task", ["regression", "multiclass", "multilabel", "binary"])
def test_row_weights(task: str, normalize: str) -> None:
    case = smooth(Network([5, 4], "silu", "glorot_normal", normalize), 2, task, rows=9)
    case.weights = np.array([1.0, 0.0, 2.5, 0.3, 0.0, 1.0, 7.0, 0.1, 1.0])
    check(case)


@pytest.mark.parametrize("penalties", [(0.3, 0.0), (0.0, 0.7), (0.2, 0.5)])
def test_penalties(penalties: tuple[float, float]) -> None:
    for seed in range(100):
        case = draw(Network([4, 5], "tanh", residual=True), 3, "multiclass", 6, seed)
        weights = [part for part in case.built.parts().values() if part.ndim == 2]
        if min(float(abs(w).min()) for w in weights) > MARGIN:
            break
    case.penalties, case.weights = penalties, np.arange(6) / 4
    check(case)


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "binary"])
@pytest.mark.parametrize("output", ["auto", "sigmoid", "softplus"])
def test_label_smoothing(task: str, output: str) -> None:
    network = Network([4], "gelu", "glorot_normal", output_activation=output, label_smoothing=0.2)
    check(smooth(network, 2, task))


@pytest.mark.parametrize("normalize", ["none", "batch", "layer"])
@pytest.mark.parametrize("residual", [False, True])
def test_dropout_by_the_masks_of_a_step(normalize: str, residual: bool) -> None:
    network = Network([6, 6, 5], "tanh", "glorot_normal", normalize, residual, (0.5, 0.0, 0.3))
    case = draw(network, 2, "multiclass", 9, 1)
    for step, seed in ((0, 0), (7, 3)):

        def gradient(step: int = step, seed: int = seed) -> Array:
            return dropout_step(case, step, seed)[1]

        check(case, (seed, step), gradient)


@pytest.mark.parametrize("normalize", ["none", "batch", "layer"])
def test_several_blocks_of_rows(normalize: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 7 rows, kept or computed anew, give what all rows at once do."""
    network = Network([6, 6], "softplus", "glorot_normal", normalize, residual=True)
    case = draw(network, 3, "multiclass", 40, 0)
    case.weights = np.linspace(0, 2, 40)
    direction = np.random.default_rng(0).normal(size=case.built.theta.size)
    whole = hessian_of(case)
    monkeypatch.setattr("downslope.hessian.BLOCK_FLOATS", 7 * floats_a_row(case.built.layout))
    for kept in (1 << 25, 0):
        monkeypatch.setattr("downslope.hessian.KEPT_FLOATS", kept)
        cut = hessian_of(case)
        np.testing.assert_allclose(cut.gradient, whole.gradient, rtol=1e-10, atol=1e-14)
        for _again in range(2):
            np.testing.assert_allclose(
                cut.product(direction), whole.product(direction), rtol=1e-10, atol=1e-13
            )


def test_float32_networks_are_worked_out_in_float64() -> None:
    single = BuiltNetwork(Network([5], "tanh", "glorot_normal"), 3, 2, "multiclass", "float32")
    double = BuiltNetwork(Network([5], "tanh", "glorot_normal"), 3, 2, "multiclass", "float64")
    double.theta[:] = single.theta
    features = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    target = np.arange(8) % 2
    direction = np.ones(single.theta.size)
    np.testing.assert_array_equal(
        Hessian(single, features, target).product(direction),
        Hessian(double, features, target).product(direction),
    )


def test_theta_may_move_on_afterwards() -> None:
    case = draw(Network([5], "tanh"), 2, "regression", 6, 0)
    hessian = hessian_of(case)
    before = hessian.product(np.ones(len(hessian)))
    case.built.theta[:] = 0
    np.testing.assert_array_equal(hessian.product(np.ones(len(hessian))), before)


@pytest.mark.parametrize("name", [name for name in HIDDEN if name != "prelu"])
def test_second_derivatives_of_activations(name: str) -> None:
    z = np.linspace(-6, 6, 241) + 0.01
    h = 1e-5
    above, here, below = (activate(choose("activation", name), z + d) for d in (h, 0, -h))
    np.testing.assert_allclose(here[1], (above[0] - below[0]) / (2 * h), atol=1e-9)
    np.testing.assert_allclose(here[2], (above[1] - below[1]) / (2 * h), atol=1e-9)


@pytest.mark.parametrize("name", HIDDEN)
def test_at_a_kink_the_slope_is_the_left_one_and_nothing_bends_twice(name: str) -> None:
    if name in ("relu", "leaky_relu", "prelu"):
        y, slope, bend = activate(choose("activation", name), np.zeros(1), np.array([0.25]))
        left = {"relu": 0.0, "leaky_relu": 0.01, "prelu": 0.25}[name]
        assert (y[0], slope[0], bend[0]) == (0.0, left, 0.0)
    far = activate(choose("activation", name), np.array([-800.0, 800.0]), np.array([0.25]))
    assert all(np.isfinite(values).all() for values in far)
    assert abs(far[2]).max() == 0


def test_a_cross_entropy_that_clips_does_not_bend() -> None:
    y, t = np.array([[1e-9, 0.5, 1.0]]), np.ones((1, 3))
    for name in ("cross_entropy", "binary_cross_entropy"):
        first, second = loss_derivatives(choose("loss", name), y, t)
        assert first.tolist() == [[0.0, -2.0, 0.0]]
        assert second.tolist() == [[0.0, 4.0, 0.0]]


@pytest.mark.parametrize("direction", [[1.0], [np.nan] * 20, [[1.0] * 20]])
def test_bad_directions(direction: Any) -> None:
    case = draw(Network([3]), 2, "multilabel", 4, 0)
    hessian = hessian_of(case)
    assert len(hessian) == 3 * 3 + 3 + 3 * 2 + 2
    with pytest.raises(InvalidValueError, match="must be 20 finite numbers"):
        hessian.product(direction)


@pytest.mark.parametrize("rows", [0, 3])
def test_rows_without_a_target(rows: int) -> None:
    case = draw(Network([3]), 2, "multiclass", 4, 0)
    with pytest.raises(InvalidValueError, match=f"got {rows} rows of features and"):
        Hessian(case.built, case.features[:rows], case.target[: rows and 4])
