"""dL/dtheta against central differences, in float64: relative error at most 1e-6."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from downslope.catalogue import ACTIVATIONS, LOSSES
from downslope.kernels.loop import Chunk
from downslope.network import BuiltNetwork
from downslope.recipe import Network
from downslope.stepper import Stepper, Targets

Array = npt.NDArray[Any]

ROWS, INPUTS, STEP = 11, 3, 1e-5
KINKED = ("relu", "leaky_relu", "prelu", "elu", "selu")
HIDDEN = [name for name in ACTIVATIONS if name != "softmax"]
FUSED = {
    "cross_entropy": "softmax",
    "binary_cross_entropy": "sigmoid",
    "squared_error": "identity",
    "absolute_error": "identity",
    "huber": "identity",
}


def build(seed: int, task: str = "regression", columns: int = 2, **settings: Any) -> BuiltNetwork:
    """Build a network whose every parameter is random: biases, scales and output weights too."""
    network = Network(**settings)
    built = BuiltNetwork(network, INPUTS, columns, task, "float64")
    rng = np.random.default_rng(seed)
    built.theta[:] += rng.normal(0, 0.6, built.theta.size)
    return built


def data(seed: int, outputs: int, loss: str) -> tuple[Array, Array]:
    """Draw features and a target fit for the loss, off the kinks of absolute error and Huber."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(ROWS, INPUTS))
    if loss == "cross_entropy":
        return features, rng.integers(0, max(outputs, 2), ROWS)
    if loss == "binary_cross_entropy":
        return features, rng.integers(0, 2, (ROWS, outputs)).astype(float)
    return features, rng.normal(size=(ROWS, outputs)) * 3


def worst_error(built: BuiltNetwork, features: Array, target: Array, **settings: Any) -> float:
    """Compare every entry of the gradient with a central difference, over the largest one."""

    def loss() -> float:
        return built.loss_and_gradient(features, target, threads=1, **settings)[0]

    analytic = built.loss_and_gradient(features, target, threads=1, **settings)[1]
    numeric = np.empty_like(analytic)
    for k, at in enumerate(built.theta.copy()):
        built.theta[k] = at + STEP
        above = loss()
        built.theta[k] = at - STEP
        numeric[k] = (above - loss()) / (2 * STEP)
        built.theta[k] = at
    scale = max(np.abs(analytic).max(), 1e-3)
    return float(np.abs(numeric - analytic).max() / scale)


def off_the_kinks(seed: int, loss: str, **settings: Any) -> float:
    """Take the error at a point where no kink lies within a difference's reach.

    A kink that does spoils a difference by far more than 1e-6: then the next seed is taken, and of
    five seeds one at least must do.
    """
    errors = []
    for attempt in range(5):
        built = build(seed + 100 * attempt, loss=loss, **settings)
        features, target = data(seed + 100 * attempt, built.outputs, loss)
        errors.append(worst_error(built, features, target))
        if errors[-1] <= 1e-6:
            break
    return min(errors)


@pytest.mark.parametrize("activation", HIDDEN)
@pytest.mark.parametrize("loss", LOSSES)
def test_activation_by_loss_by_normalization_by_residual_by_depth(
    activation: str, loss: str
) -> None:
    cases = itertools.product(("none", "batch", "layer"), (False, True), (1, 2, 3, 4))
    for seed, (normalize, residual, depth) in enumerate(cases):
        widths = (3, 4, 3, 3)[: depth - 1]
        error = off_the_kinks(
            seed,
            loss,
            layers=widths,
            activation=activation,
            normalize=normalize,
            residual=residual,
            output_activation=FUSED[loss],
        )
        assert error <= 1e-6, (activation, loss, normalize, residual, depth, error)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_any_output_activation_under_any_loss(activation: str, loss: str) -> None:
    error = off_the_kinks(
        3, loss, layers=(4,), activation="tanh", output_activation=activation, columns=3
    )
    assert error <= 1e-6


def test_one_unit_softmax_learns_nothing() -> None:
    built = build(
        0, "binary", loss="binary_cross_entropy", output_activation="softmax", layers=(4,)
    )
    features, _ = data(0, 1, "binary_cross_entropy")
    _, gradient = built.loss_and_gradient(features, np.arange(ROWS) % 2)
    assert np.all(gradient == 0)


@pytest.mark.parametrize("normalize", ["none", "batch", "layer"])
def test_weights_penalties_and_smoothing(normalize: str) -> None:
    rng = np.random.default_rng(1)
    built = build(
        1, "multiclass", 3, layers=(4, 4), activation="prelu", normalize=normalize,
        residual=True, label_smoothing=0.1,
    )  # fmt: skip
    features, target = data(1, 3, "cross_entropy")
    weights = rng.random(ROWS)
    weights[2] = 0
    error = worst_error(built, features, target, weights=weights, penalties=(0.02, 0.3))
    assert error <= 1e-6


def test_rows_of_weight_nothing_are_as_if_absent() -> None:
    built = build(2, layers=(4,))
    features, target = data(2, 2, "squared_error")
    weights = np.ones(ROWS)
    weights[7:] = 0
    loss, gradient = built.loss_and_gradient(features, target, weights)
    without, expected = built.loss_and_gradient(features[:7], target[:7])
    assert loss == pytest.approx(without, rel=1e-14)
    np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("residual", [False, True])
def test_dropout_under_one_mask(residual: bool) -> None:
    built = build(4, layers=(6, 5), activation="silu", dropout=0.4, residual=residual)
    features, target = data(4, 2, "squared_error")
    targets = Targets.of(target, None, 2, np.float64)

    def loss_and_gradient() -> tuple[float, Array]:
        chunk = Chunk(
            order=np.arange(ROWS), in_order=1, first=0, batch=ROWS, steps=1, step=9, seed=7,
            rule=-1, coefficients=np.zeros((1, 1)), decays=np.ones(1), penalties=np.zeros(4),
            losses=np.zeros(1), norms=np.empty(0),
        )  # fmt: skip
        with Stepper(built.parameters, features, targets, ROWS, None, 1) as stepper:
            stepper.run(chunk)
            return float(chunk.losses[0]), stepper.gradient().copy()

    _, analytic = loss_and_gradient()
    numeric = np.empty_like(analytic)
    for k, at in enumerate(built.theta.copy()):
        built.theta[k] = at + STEP
        above = loss_and_gradient()[0]
        built.theta[k] = at - STEP
        numeric[k] = (above - loss_and_gradient()[0]) / (2 * STEP)
        built.theta[k] = at
    assert np.abs(numeric - analytic).max() <= 1e-6 * np.abs(analytic).max()


def test_mean_of_single_rows_gradients_is_the_batch_gradient() -> None:
    built = build(5, layers=(6, 5), activation="gelu", normalize="layer", residual=True)
    features, target = data(5, 2, "squared_error")
    _, whole = built.loss_and_gradient(features, target)
    rows = [built.loss_and_gradient(features[k : k + 1], target[k : k + 1])[1] for k in range(ROWS)]
    np.testing.assert_allclose(np.mean(rows, 0), whole, rtol=1e-11, atol=1e-14)


def test_thread_counts_and_micro_batches_give_the_same_gradient() -> None:
    rng = np.random.default_rng(6)
    built = BuiltNetwork(Network((64, 48)), 40, 5, "multiclass")
    built.theta[:] += rng.normal(0, 0.1, built.theta.size).astype(np.float32)
    features = rng.normal(size=(5000, 40)).astype(np.float32)
    target = rng.integers(0, 5, 5000)
    one, first = built.loss_and_gradient(features, target, threads=1)
    two, second = built.loss_and_gradient(features, target, threads=2)
    three, third = built.loss_and_gradient(features, target, threads=3)
    assert one == two == three
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, third)
