"""Analytic gradients against central differences of the loss, in float64.

The loss itself is held against a naive forward pass, which also tells how far every pre-activation
stays from a kink: data that come near one are drawn anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import naive
from downslope.catalogue import ACTIVATIONS, LOSSES
from downslope.kernels.loop import Chunk
from downslope.network import BuiltNetwork
from downslope.parts import Network
from downslope.stepper import Stepper, Targets

Array = npt.NDArray[Any]

H = 3e-6
"""Half the step of a difference: rounding costs some 1e-10 of a loss, the cubic term less."""

TOLERANCE = 1e-6
MARGIN = 1e-3
KINKED = ("relu", "leaky_relu", "prelu", "elu", "selu")
HIDDEN = [name for name in ACTIVATIONS if name != "softmax"]
WIDTHS = (4, 4, 5, 5)
"""With 3 inputs a residual layer is now projected, now not."""

OUTPUTS = {
    "cross_entropy": ("softmax", "sigmoid"),
    "binary_cross_entropy": ("sigmoid", "softmax"),
    "squared_error": ("identity", "softmax"),
    "absolute_error": ("identity", "tanh"),
    "huber": ("identity", "prelu"),
    "poisson": ("identity", "tanh"),
}
"""By loss: the output activation that is fused with it, and one that is not."""

TASKS = {"cross_entropy": "multiclass", "binary_cross_entropy": "multilabel"}


@dataclass
class Case:
    """A network with rows to take the gradient of."""

    built: BuiltNetwork
    features: Array
    target: Array
    weights: Array | None = None
    penalties: tuple[float, float] = (0.0, 0.0)

    def loss_and_gradient(self) -> tuple[float, Array]:
        return self.built.loss_and_gradient(
            self.features, self.target, self.weights, self.penalties, threads=1
        )


def draw(network: Network, outputs: int, task: str, rows: int, seed: int) -> Case:
    """Draw theta, features and target; none of the parameters is at its usual first value."""
    generator = np.random.default_rng([seed, rows, outputs])
    built = BuiltNetwork(network, 3, outputs, task, "float64", seed)
    built.theta[:] += generator.normal(0, 0.3, built.theta.size)
    features = generator.normal(size=(rows, 3))
    if task == "multiclass":
        target: Array = generator.integers(0, max(outputs, 2), rows)
    elif task == "binary":
        target = generator.integers(0, 2, rows)
    elif task == "multilabel":
        target = generator.integers(0, 2, (rows, outputs)).astype(float)
    else:
        target = generator.normal(0, 2, (rows, outputs))
    return Case(built, features, target)


def smooth(
    network: Network, outputs: int, task: str, rows: int = 6, margin: float = MARGIN
) -> Case:
    """Draw until every value is `margin` away from the kinks."""
    for seed in range(200):
        case = draw(network, outputs, task, rows, seed)
        if forward(case)[1] > margin and np.any(case.loss_and_gradient()[1]):
            return case
    raise AssertionError(f"no draw of {network} stays away from its kinks")


def forward(case: Case) -> tuple[float, float]:
    """Run the forward pass naively; give the mean loss and the distance to the nearest kink."""
    built, y, distances = case.built, case.features, [np.inf]
    parts, layers = built.parts(), len(built.layout.plan)
    activations = [*built.network.activations(), built.output_activation]
    for number, activation in enumerate(activations, start=1):
        x, part = (
            y,
            {k.split(".")[1]: v for k, v in parts.items() if k[5:].startswith(f"{number}.")},
        )
        z = x @ part["weight"] + part.get("bias", 0.0)
        if number < layers and built.network.normalize != "none":
            axis = 0 if built.network.normalize == "batch" else 1
            shares = None if axis == 1 or case.weights is None else case.weights
            z = z - np.expand_dims(np.average(z, axis, shares), axis)
            variance = np.expand_dims(np.average(z**2, axis, shares), axis)
            deviation = np.sqrt(variance + 1e-5)
            distances.append(float(deviation.min()) / 50)
            z = z / deviation * part["gamma"] + part["beta"]
        parameter: Any = part.get("slope", (*activation.values(), 0.0)[0])
        y = naive.activate_naively(activation.name, z, parameter)
        if activation.name in KINKED:
            distances.append(float(abs(z).min()))
        if number < layers and built.network.residual:
            y = y + (x @ part["projection"] if "projection" in part else x)
    t = dense(case, y.shape[1])
    distances.append(from_loss_kinks(built, y, t))
    # the fused forms do not clip
    clip = 1e-300 if built.output_activation.name == OUTPUTS[built.loss.name][0] else 1e-7
    with np.errstate(divide="ignore", invalid="ignore"):  # it works out every loss
        rows = naive.loss_naively(built.loss.name, y, t, (*built.loss.values(), 1.0)[0], clip)
    return float(np.average(rows, weights=case.weights)), min(distances)


def dense(case: Case, outputs: int) -> Array:
    """Give the target as (rows, outputs), smoothed."""
    share = case.built.network.label_smoothing
    if case.target.ndim == 2:
        return case.target * (1 - share) + share / 2
    t = np.eye(outputs)[case.target] if outputs > 1 else case.target[:, None].astype(float)
    return t * (1 - share) + share / max(outputs, 2)


def from_loss_kinks(built: BuiltNetwork, y: Array, t: Array) -> float:
    """Give how far outputs are from where the loss bends; clipped probabilities bend sharply."""
    if built.loss.name == "absolute_error":
        return float(abs(y - t).min())
    if built.loss.name == "huber":
        return float(abs(abs(y - t) - built.loss.options["delta"]).min())
    if built.loss.name.endswith("cross_entropy"):
        # between 0 and 1 the logarithm bends; outside the loss is constant, and ReLU's 0 stays 0
        bent = np.minimum(y, 1 - y) / 20
        outside = np.where(y == 0, np.inf, np.maximum(-y, y - 1))
        return float(np.where((y > 0) & (y < 1), bent, outside).min())
    return np.inf


def error(case: Case, gradient: Array, loss: Any = None) -> float:
    """Give the largest relative error, in random directions, one through each part of theta.

    A direction goes one step up or down in every entry of its part. The error is relative to the
    part's largest entry, or to a thousandth of the largest of all where that is more.
    """
    if loss is None:

        def loss() -> float:
            return case.loss_and_gradient()[0]

    theta, worst = case.built.theta, 0.0
    generator = np.random.default_rng(5)
    kept = theta.copy()
    for part in case.built.layout.parts:
        span = slice(part.start, part.stop)
        sign = generator.choice([-1.0, 1.0], part.stop - part.start)
        theta[span] = kept[span] + H * sign
        above = loss()
        theta[span] = kept[span] - H * sign
        below = loss()
        theta[span] = kept[span]
        apart = abs((above - below) / (2 * H) - gradient[span] @ sign)
        worst = max(worst, apart / max(abs(gradient[span]).max(), 1e-3 * abs(gradient).max()))
    return float(worst)


def check(case: Case) -> None:
    loss, gradient = case.loss_and_gradient()
    assert error(case, gradient) < TOLERANCE, case.built.network
    l1, l2 = case.penalties
    weights = [part for name, part in case.built.parts().items() if "bias" not in name]
    weights = [part for part in weights if part.ndim == 2]
    penalty = sum(float(l1 * abs(w).sum() + l2 * (w**2).sum() / 2) for w in weights)
    total = len(case.features) if case.weights is None else case.weights.sum()
    np.testing.assert_allclose(loss, forward(case)[0] + penalty / total, rtol=1e-10)


@pytest.mark.parametrize("normalize", ["none", "batch", "layer"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", HIDDEN)
def test_activation_by_loss_by_normalization(activation: str, loss: str, normalize: str) -> None:
    for output in OUTPUTS[loss]:
        for residual in (False, True):
            for depth in (1, 2, 3, 4):
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


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_every_single_parameter(depth: int) -> None:
    network = Network(WIDTHS[:depth], "prelu", "he_normal", "layer", residual=True)
    case = smooth(network, 2, "regression")
    gradient, theta = case.loss_and_gradient()[1], case.built.theta
    numeric = np.empty_like(theta)
    for k, kept in enumerate(theta.copy()):
        theta[k] = kept + H
        above = case.loss_and_gradient()[0]
        theta[k] = kept - H
        numeric[k] = (above - case.loss_and_gradient()[0]) / (2 * H)
        theta[k] = kept
    assert abs(numeric - gradient).max() <= TOLERANCE * abs(gradient).max()


@pytest.mark.parametrize("normalize", ["none", "batch", "layer"])
@pytest.mark.parametrize("task", ["regression", "multiclass", "multilabel", "binary"])
def test_row_weights(task: str, normalize: str) -> None:
    network = Network([5, 4], "silu", "glorot_normal", normalize)
    case = smooth(network, 2, task, rows=9)
    case.weights = np.array([1.0, 0.0, 2.5, 0.3, 0.0, 1.0, 7.0, 0.1, 1.0])
    check(case)


def test_a_row_of_weight_0_counts_for_nothing() -> None:
    case = smooth(Network([5], "tanh", "glorot_normal"), 3, "multiclass", rows=8)
    case.weights = np.array([1.0, 0, 2, 1, 0, 3, 1, 1])
    kept = case.weights > 0
    fewer = Case(case.built, case.features[kept], case.target[kept], case.weights[kept])
    (loss, gradient), (expected, fewer_gradient) = (
        each.loss_and_gradient() for each in (case, fewer)
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, fewer_gradient, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("penalties", [(0.3, 0.0), (0.0, 0.7), (0.2, 0.5)])
def test_penalties(penalties: tuple[float, float], weighted: bool) -> None:
    network = Network([4, 5], "tanh", "glorot_normal", "layer", residual=True)
    for seed in range(100):
        case = draw(network, 3, "multiclass", 6, seed)
        # |w| has its kink at 0
        weights = [part for part in case.built.parts().values() if part.ndim == 2]
        if min(float(abs(w).min()) for w in weights) > MARGIN:
            break
    case.penalties = penalties
    case.weights = np.arange(6) / 4 if weighted else None
    check(case)


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "binary"])
@pytest.mark.parametrize("output", ["auto", "sigmoid", "softplus"])
def test_label_smoothing(task: str, output: str) -> None:
    network = Network([4], "gelu", "glorot_normal", output_activation=output, label_smoothing=0.2)
    check(smooth(network, 2, task))


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy", "squared_error"])
def test_a_softmax_of_one_unit_is_1_and_learns_nothing(loss: str) -> None:
    network = Network([4], "tanh", "glorot_normal", output_activation="softmax", loss=loss)
    case = draw(network, 1, "multilabel", 6, 0)
    loss_found, gradient = case.loss_and_gradient()
    assert not gradient.any()
    assert np.isfinite(loss_found)
    np.testing.assert_array_equal(case.built.output(case.features), np.ones((6, 1)))


@pytest.mark.parametrize("columns", [1, 2, 7])
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber(delta=0.5)"])
def test_several_regression_outputs(loss: str, columns: int) -> None:
    check(smooth(Network([5], "mish", "glorot_normal", loss=loss), columns, "regression"))


@pytest.mark.parametrize("normalize", ["none", "batch", "layer"])
def test_several_blocks_and_micro_batches(normalize: str) -> None:
    """1,300 rows: micro-batches of 1,024 in blocks of 128, or the whole batch at once.

    Nothing has a kink here.
    """
    for residual in (False, True):
        network = Network([6, 6], "softplus", "glorot_normal", normalize, residual)
        check(smooth(network, 3, "multiclass", rows=1300, margin=0.0))


def dropout_step(case: Case, step: int, seed: int) -> tuple[float, Array]:
    """Give loss and gradient as of one step of a descent, with that step's mask."""
    built, rows = case.built, len(case.features)
    chunk = Chunk(
        order=np.arange(rows), in_order=1, first=0, batch=rows, steps=1, step=step, seed=seed,
        rule=-1, coefficients=np.zeros((1, 1)), decays=np.ones(1), penalties=np.zeros(4),
        losses=np.zeros(1), norms=np.empty(0),
    )  # fmt: skip
    targets = Targets.of(case.target, None, built.outputs, built.theta.dtype)
    with Stepper(built.parameters, case.features, targets, rows, None, 1) as stepper:
        assert stepper.run(chunk) == 1
        return float(chunk.losses[0]), stepper.gradient().copy()


@pytest.mark.parametrize("normalize", ["none", "batch", "layer"])
@pytest.mark.parametrize("residual", [False, True])
def test_dropout(normalize: str, residual: bool) -> None:
    network = Network([6, 6, 5], "tanh", "glorot_normal", normalize, residual, (0.5, 0.0, 0.3))
    case = draw(network, 2, "multiclass", 9, 1)
    for step, seed in ((0, 0), (7, 0), (7, 3)):
        gradient = dropout_step(case, step, seed)[1]

        def loss(step: int = step, seed: int = seed) -> float:
            return dropout_step(case, step, seed)[0]

        assert error(case, gradient, loss) < TOLERANCE


def test_masks_of_dropout_hang_on_seed_and_step_alone() -> None:
    case = draw(Network([32], "tanh", "glorot_normal", dropout=0.5), 2, "multiclass", 9, 1)
    losses = {(step, seed): dropout_step(case, step, seed)[0] for step in (0, 1) for seed in (0, 1)}
    assert len(set(losses.values())) == 4
    assert all(dropout_step(case, *at)[0] == loss for at, loss in losses.items())


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    """By the gradient of the output layer's weights: an identity layer of 200 units on ones."""
    network = Network([200], "identity", "zeros", dropout=0.3, task="regression")
    built = BuiltNetwork(network, 1, 1, "regression", "float64")
    built.parts()["layer1.bias"][:] = 1.0
    case = Case(built, np.zeros((1, 1)), np.ones((1, 1)))
    shares = []
    for step in range(50):
        gradient = dropout_step(case, step, 0)[1]
        part = next(each for each in built.layout.parts if each.name == "layer2.weight")
        kept = -gradient[part.start : part.stop]
        assert set(np.unique(kept)) <= {0.0, 1 / 0.7}
        shares.append(float((kept == 0).mean()))
    # 10,000 draws: a standard deviation of 0.0046
    assert abs(np.mean(shares) - 0.3) < 0.02
    assert len(set(shares)) > 5


def test_nothing_is_dropped_when_predicting() -> None:
    plain = draw(Network([8], "tanh", "glorot_normal"), 2, "regression", 5, 0)
    dropping = draw(Network([8], "tanh", "glorot_normal", dropout=0.5), 2, "regression", 5, 0)
    np.testing.assert_array_equal(
        plain.built.output(plain.features), dropping.built.output(plain.features)
    )


def test_the_batch_gradient_is_the_mean_over_single_rows() -> None:
    case = draw(Network([7, 4], "gelu", "glorot_normal", "layer"), 3, "multiclass", 11, 0)
    singles = [
        Case(case.built, case.features[[n]], case.target[[n]]).loss_and_gradient()[1]
        for n in range(11)
    ]
    np.testing.assert_allclose(case.loss_and_gradient()[1], np.mean(singles, 0), atol=1e-14)
