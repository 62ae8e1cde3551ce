"""PyTorch's activations and losses: the same values and derivatives, at the kinks too."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from compiled import activate, backpropagate, fused_loss, slope_gradient
from downslope.catalogue import ACTIVATIONS, code

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.peers


Doubles = npt.NDArray[np.float64]

PARAMETERS = {"leaky_relu": 0.2, "elu": 1.5}
SLOPE = np.array([0.25, -0.1, 0.0])


def theirs(name: str, z: Any) -> Any:
    functional = torch.nn.functional
    return {
        "identity": lambda: z * 1,
        "leaky_relu": lambda: functional.leaky_relu(z, PARAMETERS["leaky_relu"]),
        "prelu": lambda: functional.prelu(z, torch.tensor(SLOPE)),
        "elu": lambda: functional.elu(z, PARAMETERS["elu"]),
        "gelu_tanh": lambda: functional.gelu(z, approximate="tanh"),
        "softmax": lambda: torch.softmax(z, dim=1),
        "sigmoid": lambda: torch.sigmoid(z),
        "tanh": lambda: torch.tanh(z),
    }.get(name, lambda: getattr(functional, name)(z))()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name: str) -> None:
    z: Doubles = np.linspace(-15, 15, 303).reshape(-1, 3)
    z[7] = 0.0
    d: Doubles = np.random.default_rng(1).normal(size=z.shape)
    their_z = torch.tensor(z, requires_grad=True)
    their_y = theirs(name, their_z)
    their_y.backward(torch.tensor(d))
    slope, y = SLOPE if name == "prelu" else np.empty(0), np.empty_like(z)
    phi = code("activation", name), PARAMETERS.get(name, 0.0), slope
    activate(*phi, z, y)
    backpropagate(*phi, z, y, d)
    # PyTorch's softplus is z itself above 20; within 15 it is exact.
    np.testing.assert_allclose(y, their_y.detach().numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(d, their_z.grad.numpy(), rtol=1e-12, atol=1e-13)


def test_slope_gradient() -> None:
    rng = np.random.default_rng(2)
    z, d, out = rng.normal(size=(50, 3)), rng.normal(size=(50, 3)), np.zeros(3)
    slope = torch.tensor(SLOPE, requires_grad=True)
    torch.nn.functional.prelu(torch.tensor(z), slope).backward(torch.tensor(d))
    slope_gradient(z, d, out)
    np.testing.assert_allclose(out, slope.grad.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    ("loss", "activation", "factor"),
    [
        ("cross_entropy", "softmax", 1.0),
        ("binary_cross_entropy_with_logits", "sigmoid", 1.0),
        ("mse_loss", "identity", 0.5),
        ("l1_loss", "identity", 1.0),
        ("huber_loss", "identity", 1.0),
    ],
)
def test_fused_loss(loss: str, activation: str, factor: float) -> None:
    ours = {
        "binary_cross_entropy_with_logits": "binary_cross_entropy", "mse_loss": "squared_error",
        "l1_loss": "absolute_error", "huber_loss": "huber",
    }.get(loss, loss)  # fmt: skip
    rng = np.random.default_rng(3)
    z, t = rng.normal(0, 3, (40, 4)), rng.uniform(0, 1, (40, 4))
    their_z = torch.tensor(z, requires_grad=True)
    their = factor * getattr(torch.nn.functional, loss)(their_z, torch.tensor(t), reduction="sum")
    their.backward()
    y, d, weight = np.empty_like(z), np.empty_like(z), np.empty(0)
    names = code("loss", ours), code("activation", activation)
    total = fused_loss(names[0], 1.0, names[1], z, y, t, weight, 1.0, d)
    np.testing.assert_allclose(total, their.item(), rtol=1e-12)
    np.testing.assert_allclose(d, their_z.grad.numpy(), rtol=1e-12, atol=1e-14)
