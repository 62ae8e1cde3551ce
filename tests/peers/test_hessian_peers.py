"""PyTorch's double backward: the same products, to more digits than differences can tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from downslope.catalogue import ACTIVATIONS
from downslope.curvature import measure
from downslope.hessian import Hessian
from downslope.parts import Network
from test_gradients import Case, draw
from test_surface import rows_of

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.peers

Array = npt.NDArray[Any]


def activate(name: str, z: Any, slope: Any) -> Any:
    functional = torch.nn.functional
    return {
        "identity": lambda: z * 1,
        "leaky_relu": lambda: functional.leaky_relu(z, 0.01),
        "prelu": lambda: functional.prelu(z, slope),
        "gelu_tanh": lambda: functional.gelu(z, approximate="tanh"),
        "sigmoid": lambda: torch.sigmoid(z),
        "tanh": lambda: torch.tanh(z),
    }.get(name, lambda: getattr(functional, name)(z))()


def their_loss(case: Case) -> Any:
    """Give the mean cross-entropy as a function of theta, in PyTorch's operations."""
    built, features = case.built, torch.tensor(case.features)
    network, layers = built.network, len(built.layout.plan)

    def loss(theta: Any) -> Any:
        part = {p.name: theta[p.start : p.stop].reshape(p.shape) for p in built.layout.parts}
        y = features
        for number in range(1, layers + 1):
            x, at = y, f"layer{number}."
            z = x @ part[at + "weight"] + part.get(at + "bias", 0.0)
            if number == layers:
                return torch.nn.functional.cross_entropy(z, torch.tensor(case.target))
            if network.normalize != "none":
                axis = 0 if network.normalize == "batch" else 1
                mean, variance = (
                    z.mean(axis, keepdim=True), z.var(axis, correction=0, keepdim=True)
                )  # fmt: skip
                z = (z - mean) / torch.sqrt(variance + 1e-5)
                z = part[at + "gamma"] * z + part[at + "beta"]
            y = activate(str(network.activations()[0].name), z, part.get(at + "slope"))
            if network.residual:
                y = y + (x @ part[at + "projection"] if at + "projection" in part else x)
        return y

    return loss


def their_product(loss: Any, theta: Array, direction: Array) -> Array:
    at = torch.tensor(theta, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(at), at, create_graph=True)
    (product,) = torch.autograd.grad(gradient @ torch.tensor(direction), at)
    return np.asarray(product.numpy())


@pytest.mark.parametrize("normalize", ["none", "batch", "layer"])
@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "softmax"])
def test_products(activation: str, normalize: str) -> None:
    for residual in (False, True):
        network = Network([4, 4, 5], activation, "glorot_normal", normalize, residual)
        case = draw(network, 3, "multiclass", 12, 0)
        direction = np.random.default_rng(1).normal(size=case.built.theta.size)
        expected = their_product(their_loss(case), case.built.theta, direction)
        found = Hessian(case.built, case.features, case.target).product(direction)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * abs(expected).max())


def test_the_ends_of_the_spectrum() -> None:
    case = draw(Network([9, 9], "tanh", "glorot_normal", "batch"), 3, "multiclass", 30, 0)
    loss, theta = their_loss(case), case.built.theta
    matrix = np.array([their_product(loss, theta, unit) for unit in np.eye(theta.size)])
    eigenvalues, found = np.linalg.eigvalsh(matrix), measure(case.built, rows_of(case))
    assert case.built.theta.size > 100
    assert found.largest == pytest.approx(eigenvalues[-1], rel=1e-10)
    assert found.smallest == pytest.approx(eigenvalues[0], rel=1e-9)
