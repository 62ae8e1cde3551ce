"""Whole networks against PyTorch, in float64: forward, loss, gradients, statistics, descents."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from downslope.course import Course, Data
from downslope.network import BuiltNetwork
from downslope.recipe import Descent, Network
from downslope.stepper import Targets

Array = npt.NDArray[Any]

pytestmark = pytest.mark.peers

torch = pytest.importorskip("torch")

ACTIVATIONS: dict[str, Any] = {
    "relu": torch.nn.ReLU(), "leaky_relu": torch.nn.LeakyReLU(0.01), "elu": torch.nn.ELU(),
    "selu": torch.nn.SELU(), "tanh": torch.nn.Tanh(), "sigmoid": torch.nn.Sigmoid(),
    "gelu": torch.nn.GELU(), "gelu_tanh": torch.nn.GELU(approximate="tanh"),
    "silu": torch.nn.SiLU(), "softplus": torch.nn.Softplus(), "mish": torch.nn.Mish(),
}  # fmt: skip


class Twin(torch.nn.Module):  # type: ignore[misc]
    """The same network in PyTorch, with our parameters."""

    def __init__(self, built: BuiltNetwork) -> None:
        super().__init__()
        self.network = built.network
        self.linear, self.projection, self.norm = (torch.nn.ModuleList() for _ in range(3))
        parts = built.parts()
        for number, layer in enumerate(built.layout.plan):
            inputs, units = int(layer["inputs"]), int(layer["units"])
            name = f"layer{number + 1}."
            self.linear.append(self._linear(parts, name + "weight", name + "bias", inputs, units))
            projection = torch.nn.Identity()
            if name + "projection" in parts:
                projection = self._linear(parts, name + "projection", "", inputs, units)
            self.projection.append(projection)
            kinds = {"batch": torch.nn.BatchNorm1d, "layer": torch.nn.LayerNorm}
            hidden = number < len(built.layout.plan) - 1
            norm = torch.nn.Identity()
            if hidden and built.network.normalize != "none":
                norm = kinds[built.network.normalize](units, dtype=torch.float64)
                norm.weight.data[:] = torch.tensor(parts[name + "gamma"])
                norm.bias.data[:] = torch.tensor(parts[name + "beta"])
            self.norm.append(norm)

    @staticmethod
    def _linear(parts: dict[str, Array], weight: str, bias: str, inputs: int, units: int) -> Any:
        layer = torch.nn.Linear(inputs, units, bias=bias in parts, dtype=torch.float64)
        layer.weight.data[:] = torch.tensor(parts[weight].T.copy())
        if bias in parts:
            layer.bias.data[:] = torch.tensor(parts[bias])
        return layer

    def forward(self, x: Any) -> Any:
        phi = ACTIVATIONS[str(self.network.activation)]
        for number in range(len(self.linear) - 1):
            y = phi(self.norm[number](self.linear[number](x)))
            x = y + self.projection[number](x) if self.network.residual else y
        return self.linear[-1](x)

    def gradient(self, built: BuiltNetwork) -> Array:
        """Collect PyTorch's gradients in the order of theta."""
        pieces = []
        for part in built.layout.parts:
            kind = part.name.split(".")[1]
            number = part.layer
            source = {
                "weight": lambda n: self.linear[n].weight.grad.T,
                "bias": lambda n: self.linear[n].bias.grad,
                "projection": lambda n: self.projection[n].weight.grad.T,
                "gamma": lambda n: self.norm[n].weight.grad,
                "beta": lambda n: self.norm[n].bias.grad,
            }[kind](number)
            pieces.append(source.detach().numpy().reshape(-1))
        return np.concatenate(pieces)


def build(task: str, columns: int, **settings: Any) -> tuple[BuiltNetwork, Array]:
    rng = np.random.default_rng(len(settings))
    built = BuiltNetwork(Network((7, 7, 5), **settings), 4, columns, task, "float64")
    built.theta[:] += rng.normal(0, 0.4, built.theta.size)
    return built, rng.normal(size=(33, 4))


def agree(built: BuiltNetwork, features: Array, target: Array, loss: Any) -> None:
    """Compare outputs' loss and gradient with PyTorch's."""
    twin = Twin(built)
    total = loss(twin(torch.tensor(features)))
    total.backward()
    ours, gradient = built.loss_and_gradient(features, target)
    assert ours == pytest.approx(float(total), rel=1e-11)
    theirs = twin.gradient(built)
    assert np.abs(gradient - theirs).max() <= 1e-10 * np.abs(theirs).max()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("normalize", ["none", "batch", "layer"])
@pytest.mark.parametrize("residual", [False, True])
def test_classes(activation: str, normalize: str, residual: bool) -> None:
    built, features = build(
        "multiclass", 3, activation=activation, normalize=normalize, residual=residual,
        label_smoothing=0.1,
    )  # fmt: skip
    target = np.random.default_rng(0).integers(0, 3, len(features))
    loss = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    agree(built, features, target, lambda z: loss(z, torch.tensor(target)))


def test_losses_of_numbers_and_of_yes_or_no() -> None:
    rng = np.random.default_rng(1)
    for name, theirs, factor in (
        ("squared_error", torch.nn.MSELoss(), 0.5 * 2),
        ("absolute_error", torch.nn.L1Loss(), 2),
        ("huber", torch.nn.HuberLoss(), 2),
    ):
        built, features = build("regression", 2, loss=name)
        target = rng.normal(size=(len(features), 2)) * 2
        agree(
            built, features, target,
            lambda z, f=factor, t=theirs, y=target: f * t(z, torch.tensor(y)),
        )  # fmt: skip
    built, features = build("multilabel", 3)
    answers = rng.integers(0, 2, (len(features), 3)).astype(float)
    loss = torch.nn.BCEWithLogitsLoss()
    agree(built, features, answers, lambda z: 3 * loss(z, torch.tensor(answers)))


def test_row_weights() -> None:
    built, features = build("multiclass", 3)
    rng = np.random.default_rng(2)
    target, weights = rng.integers(0, 3, len(features)), rng.random(len(features))
    each = torch.nn.CrossEntropyLoss(reduction="none")(
        Twin(built)(torch.tensor(features)), torch.tensor(target)
    )
    ours, _ = built.loss_and_gradient(features, target, weights)
    assert ours == pytest.approx(float((each.detach().numpy() * weights).sum() / weights.sum()))


@pytest.mark.parametrize("rule", ["gd", "momentum", "adam", "rmsprop"])
@pytest.mark.parametrize("normalize", ["none", "batch"])
def test_a_hundred_steps_and_running_statistics(rule: str, normalize: str) -> None:
    built, features = build("multiclass", 3, activation="tanh", normalize=normalize, residual=True)
    target = np.random.default_rng(3).integers(0, 3, len(features))
    twin = Twin(built).train()
    optimizer = {
        "gd": lambda p: torch.optim.SGD(p, 0.05),
        "momentum": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9),
        "adam": lambda p: torch.optim.Adam(p, 0.05),
        "rmsprop": lambda p: torch.optim.RMSprop(p, 0.002),
    }[rule](twin.parameters())
    for epoch in range(100):
        begin = (epoch % 3) * 11
        optimizer.zero_grad()
        part = slice(begin, begin + 11)
        loss = torch.nn.CrossEntropyLoss()(
            twin(torch.tensor(features[part])), torch.tensor(target[part])
        )
        loss.backward()
        optimizer.step()
    rows = np.arange(len(features))
    data = Data(features, Targets.of(target, None, 3, np.float64), rows, rows[:0])
    descent = Descent(
        batch=11, rule=rule, learning_rate=0.002 if rule == "rmsprop" else 0.05, schedule="constant", shuffle=False,
        epochs=None, steps=100,
    )  # fmt: skip
    Course(built, data, descent).run()
    twin.eval()
    theirs = twin(torch.tensor(features)).softmax(1).detach().numpy()
    np.testing.assert_allclose(built.output(features), theirs, rtol=1e-5, atol=1e-6)
    if normalize == "batch":
        for number in range(3):
            layer = built.layout.plan[number]
            at, units = int(layer["statistics"]), int(layer["units"])
            norm = twin.norm[number]
            mean, variance = norm.running_mean.numpy(), norm.running_var.numpy()
            np.testing.assert_allclose(
                built.statistics[at : at + units], mean, rtol=1e-5, atol=1e-6
            )
            ours = built.statistics[at + units : at + 2 * units]
            np.testing.assert_allclose(ours, variance, rtol=1e-5)
