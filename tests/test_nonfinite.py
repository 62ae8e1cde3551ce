"""Where the first value that is not finite arose: layer, pass, and factor of the chain rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from downslope.course import Course
from downslope.data import Data
from downslope.errors import NonFiniteError
from downslope.network import BuiltNetwork
from downslope.parts import Descent, Network
from downslope.stepper import Targets


def message(
    change: Any, target: float = 1.0, feature: float = 1.0, rows: int = 4, **network: Any
) -> str:
    """Run one step of a regression from a theta that was changed; give the error."""
    built = BuiltNetwork(Network([3, 3], "identity", "zeros", **network), 2, 1, "regression")
    parts = built.parts()
    for layer in (1, 2, 3):
        parts[f"layer{layer}.weight"][:] = 0.1
    change(parts)
    features = np.full((rows, 2), feature, np.float32)
    targets = Targets.of(np.full((rows, 1), target), None, 1, np.float32)
    data = Data(features, targets, np.arange(rows), np.arange(0))
    descent = Descent(batch="full", steps=1, rule="gd", learning_rate=1e-3, validation=0.0)
    with pytest.raises(NonFiniteError) as failure:
        Course(built, data, descent, 1).run()
    return str(failure.value)


def test_forward() -> None:
    def second(parts: Any) -> None:
        parts["layer2.weight"][:] = 3e38
        parts["layer1.bias"][:] = 10

    assert "first in x W + b of layer 2, forward pass" in message(second)


def test_loss() -> None:
    assert "first in the loss" in message(lambda parts: None, target=1e30)


def test_backward_through_the_weights() -> None:
    """x is 0, so y stays small; dL/dz of layer 3 is some -1e10, and W of layer 3 is 1e35."""

    def third(parts: Any) -> None:
        parts["layer3.weight"][:] = 1e35

    text = message(third, target=1e10, feature=0.0)
    assert "first in dL/dy of layer 2 (dL/dz of layer 3 times W), backward pass" in text


@pytest.mark.parametrize("rows", [4, 1])
def test_gradient_of_theta(rows: int) -> None:
    """dL/dz is some -1e18 and x 1e25: the product overflows, neither of them does."""

    def none(parts: Any) -> None:
        parts["layer1.weight"][:] = 0

    text = message(none, target=1e18, feature=1e25, rows=rows)
    assert "first in dL/dw of layer 1 (dL/dz times dz/dw), backward pass" in text
