"""Whole networks in PyTorch and here: the same outputs, losses, gradients, and training."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from downslope.catalogue import ACTIVATIONS
from downslope.course import Course
from downslope.data import Data
from downslope.network import BuiltNetwork
from downslope.parts import Descent, Network
from downslope.stepper import Targets

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.peers

Array = npt.NDArray[Any]

ROWS = 40
HIDDEN = [name for name in ACTIVATIONS if name != "softmax"]


def functional(name: str, slope: Any) -> Any:
    """Give PyTorch's activation; slope: PReLU's."""
    f = torch.nn.functional
    return {
        "identity": lambda z: z, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": f.relu,
        "leaky_relu": f.leaky_relu, "prelu": lambda z: f.prelu(z, slope), "elu": f.elu,
        "selu": f.selu, "gelu": f.gelu, "gelu_tanh": lambda z: f.gelu(z, approximate="tanh"),
        "silu": f.silu, "softplus": f.softplus, "mish": f.mish,
    }[name]  # fmt: skip


class Twin:
    """A built network in PyTorch, with copies of its parameters and running statistics."""

    def __init__(self, built: BuiltNetwork) -> None:
        self.built = built
        self.parts = {
            name: torch.tensor(part.copy(), requires_grad=True)
            for name, part in built.parts().items()
        }
        self.running = {}
        for number, layer in enumerate(built.layout.plan, start=1):
            if layer["statistics"] >= 0:
                at, units = int(layer["statistics"]), int(layer["units"])
                moments = built.statistics[at : at + 2 * units].reshape(2, units)
                self.running[number] = [torch.tensor(each.copy()) for each in moments]

    def __call__(self, x: Any, training: bool = True) -> Any:
        """Run up to the output layer's z."""
        f, last = torch.nn.functional, len(self.built.layout.plan)
        for number, activation in enumerate(self.built.network.activations(), start=1):
            part = {
                name.split(".")[1]: value
                for name, value in self.parts.items()
                if name.startswith(f"layer{number}.")
            }
            z = f.linear(x, part["weight"].T, part.get("bias"))
            if self.built.network.normalize == "batch":
                z = f.batch_norm(z, *self.running[number], part["gamma"], part["beta"], training)
            elif self.built.network.normalize == "layer":
                z = f.layer_norm(z, z.shape[1:], part["gamma"], part["beta"])
            y = functional(activation.name, part.get("slope"))(z)
            if self.built.network.residual:
                y = y + (x @ part["projection"] if "projection" in part else x)
            x = y
        return x @ self.parts[f"layer{last}.weight"] + self.parts[f"layer{last}.bias"]

    def theta(self) -> Array:
        packed = torch.cat([part.reshape(-1) for part in self.parts.values()])
        return np.asarray(packed.detach().numpy())

    def gradient(self) -> Array:
        packed = torch.cat([part.grad.reshape(-1) for part in self.parts.values()])
        return np.asarray(packed.numpy())

    def statistics(self) -> Array:
        return np.concatenate([each.numpy() for pair in self.running.values() for each in pair])


def loss_of(built: BuiltNetwork, z: Any, target: Array, weights: Array | None = None) -> Any:
    """Give PyTorch's loss, summed over outputs and averaged over rows by weight."""
    f, t = torch.nn.functional, torch.tensor(target)
    share = built.network.label_smoothing
    match built.loss.name:
        case "cross_entropy":
            rows = f.cross_entropy(z, t, reduction="none", label_smoothing=share)
        case "binary_cross_entropy":
            t = t.reshape(z.shape).to(z.dtype) * (1 - share) + share / 2
            rows = f.binary_cross_entropy_with_logits(z, t, reduction="none").sum(1)
        case "squared_error":
            rows = f.mse_loss(z, t, reduction="none").sum(1) / 2
        case "absolute_error":
            rows = f.l1_loss(z, t, reduction="none").sum(1)
        case _:
            delta = built.loss.options["delta"]
            rows = f.huber_loss(z, t, reduction="none", delta=delta).sum(1)
    if weights is None:
        return rows.mean()
    w = torch.tensor(weights)
    return (rows * w).sum() / w.sum()


def draw(network: Network, task: str) -> tuple[BuiltNetwork, Array, Array]:
    """Draw theta, features and target, the rows more than one block of them."""
    generator = np.random.default_rng(3)
    columns = 2 if task == "binary" else 3
    built = BuiltNetwork(network, 5, columns, task, "float64")
    built.theta[:] += generator.normal(0, 0.2, built.theta.size)
    x = generator.normal(size=(ROWS, 5))
    if task in ("binary", "multiclass"):
        return built, x, generator.integers(0, columns, ROWS)
    target = generator.normal(0, 2, (ROWS, columns))
    return built, x, target if task == "regression" else (target > 0).astype(np.float64)


def check(network: Network, task: str, weights: Array | None = None) -> None:
    built, x, target = draw(network, task)
    twin = Twin(built)
    expected = loss_of(built, twin(torch.tensor(x)), target, weights)
    expected.backward()
    loss, gradient = built.loss_and_gradient(x, target, weights)
    theirs = twin.gradient()
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-9)
    np.testing.assert_allclose(gradient, theirs, rtol=1e-9, atol=1e-9 * abs(theirs).max())
    twin = Twin(built)
    with torch.no_grad():
        z = twin(torch.tensor(x), training=False)
    y = {"softmax": lambda z: z.softmax(1), "sigmoid": torch.sigmoid}.get(
        built.output_activation.name, lambda z: z
    )(z)
    np.testing.assert_allclose(built.output(x), y.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("normalize", ["none", "batch", "layer"])
@pytest.mark.parametrize("activation", HIDDEN)
def test_activations_and_normalization(activation: str, normalize: str) -> None:
    for residual in (False, True):
        network = Network([7, 7, 6], activation, "glorot_normal", normalize, residual)
        check(network, "multiclass")


LOSSES = [
    ("regression", "squared_error"),
    ("regression", "absolute_error"),
    ("regression", "huber(delta=0.7)"),
    ("binary", "binary_cross_entropy"),
    ("binary", "cross_entropy"),
    ("multiclass", "cross_entropy"),
    ("multilabel", "binary_cross_entropy"),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("task", "loss"), LOSSES)
def test_losses(task: str, loss: str, weighted: bool) -> None:
    weights = np.random.default_rng(1).integers(0, 4, ROWS) / 2 if weighted else None
    smoothing = (0.0,) if task == "regression" else (0.0, 0.1)
    for share in smoothing:
        network = Network([8], "tanh", "glorot_normal", loss=loss, label_smoothing=share)
        check(network, task, weights)


TRAININGS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("gd", "SGD", {}, {}),
    ("momentum", "SGD", {"momentum": 0.9}, {}),
    ("nesterov", "SGD", {"momentum": 0.9, "nesterov": True}, {}),
    ("adam", "Adam", {}, {}),
    ("adam", "Adam", {}, {"clip_norm": 0.3}),
    ("rmsprop", "RMSprop", {}, {"clip_value": 0.02}),
]


@pytest.mark.parametrize("normalize", ["none", "batch", "layer"])
@pytest.mark.parametrize(
    ("rule", "optimizer", "options", "clipping"), TRAININGS, ids=lambda value: str(value)
)
def test_a_hundred_steps_of_training(
    rule: str, optimizer: str, options: Any, clipping: Any, normalize: str
) -> None:
    """10 epochs of 10 steps, the last batch of each partial; running statistics included."""
    network = Network([8, 8, 6], "silu", "glorot_normal", normalize, residual=True)
    built, x, target = draw(network, "multiclass")
    x, target = np.resize(x, (98, 5)), np.resize(target, 98)
    x = x + np.random.default_rng(0).normal(size=x.shape)
    twin = Twin(built)
    parameters = list(twin.parts.values())
    mover = getattr(torch.optim, optimizer)(parameters, lr=0.01, **options)
    losses = []
    for _ in range(10):
        total = 0.0
        for first in range(0, 98, 10):
            mover.zero_grad()
            loss = loss_of(built, twin(torch.tensor(x[first : first + 10])), target[first:][:10])
            loss.backward()
            if "clip_value" in clipping:
                torch.nn.utils.clip_grad_value_(parameters, clipping["clip_value"])
            if "clip_norm" in clipping:
                torch.nn.utils.clip_grad_norm_(parameters, clipping["clip_norm"])
            mover.step()
            total += loss.item() * min(10, 98 - first)
        losses.append(total / 98)
    data = Data(x, Targets.of(target, None, 3, np.float64), np.arange(98), np.arange(0))
    descent = Descent(
        batch=10, rule=rule, learning_rate=0.01, schedule="constant", epochs=10, validation=0,
        shuffle=False, dtype="float64", **clipping,
    )  # fmt: skip
    running = Course(built, data, descent, 1)
    running.run()
    assert running.history.steps == 100
    # clip_grad_norm_ divides by the norm + 1e-6
    tolerance = 2e-5 if "clip_norm" in clipping else 1e-8
    np.testing.assert_allclose(running.history.losses, losses, rtol=tolerance)
    np.testing.assert_allclose(built.theta, twin.theta(), rtol=0, atol=tolerance)
    if normalize == "batch":
        np.testing.assert_allclose(built.statistics, twin.statistics(), rtol=0, atol=tolerance)
