"""The rows that are held out: loss, score, and the best theta so far."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from downslope.data import Data
from downslope.held_out import HeldOut
from downslope.network import BuiltNetwork
from downslope.parts import Network
from downslope.score import score
from downslope.stepper import Targets

Array = npt.NDArray[Any]


def make(task: str, smoothing: float = 0.0) -> tuple[HeldOut, BuiltNetwork, Array, Array]:
    """Give a network, 20 of 50 rows that are held out, and their features and target."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(50, 3)).astype(np.float32)
    target: Array = generator.integers(0, 3, 50)
    if task != "multiclass":
        target = generator.normal(size=(50, 2))
    network = BuiltNetwork(Network([4], "tanh", label_smoothing=smoothing), 3,
                           3 if task == "multiclass" else 2, task)  # fmt: skip
    targets = Targets.of(target, None, network.outputs, np.float32)
    rows = np.arange(0, 40, 2)
    data = Data(features, targets, np.setdiff1d(np.arange(50), rows), rows)
    return HeldOut(network, data, 1), network, features[rows], target[rows]


@pytest.mark.parametrize(
    ("task", "smoothing"), [("multiclass", 0.0), ("multiclass", 0.3), ("regression", 0.0)]
)
def test_loss_and_score_are_those_of_the_held_out_rows(task: str, smoothing: float) -> None:
    held_out, network, features, target = make(task, smoothing)
    with held_out:
        held_out.warm_up()
        loss, found = held_out.measure()
    assert len(held_out) == 20
    assert loss == pytest.approx(network.loss_and_gradient(features, target)[0], rel=1e-5)
    assert found == pytest.approx(score(task, network.output(features), target), rel=1e-5)


def test_r2_is_taken_of_what_varies() -> None:
    target, outputs = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]]), np.full((3, 2), 2.0)
    outputs[0] = 1.0
    assert score("regression", outputs, target) == pytest.approx(1 - 1 / 2)
    assert math.isnan(score("regression", outputs[:, 1:], target[:, 1:]))
    assert math.isnan(score("regression", outputs[:1], target[:1]))


@pytest.mark.parametrize("scale", [2.0**-1070, 1e-170, 1.0, 1e170, 1e307])
def test_r2_is_the_same_in_any_unit(scale: float) -> None:
    target, outputs = np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [2.0], [2.0]])
    assert score("regression", scale * outputs, scale * target) == pytest.approx(1 - 1 / 2)


def test_outputs_out_of_range_have_an_infinite_r2() -> None:
    target = np.array([[1.0], [2.0], [3.0]])
    assert score("regression", 1e200 * target, target) == -math.inf
    assert score("regression", 1e200 * target, 1e-200 * target) == -math.inf
    assert score("regression", np.inf * target, target) == -math.inf


def test_the_best_theta_is_kept() -> None:
    held_out, network, *_ = make("multiclass")
    losses, thetas = [], []
    generator = np.random.default_rng(2)
    with held_out:
        for _ in range(12):
            network.theta[:] = generator.normal(size=network.theta.size)
            thetas.append(network.theta.copy())
            losses.append(held_out.measure()[0])
            assert held_out.best is not None
            np.testing.assert_array_equal(held_out.best[0], thetas[int(np.argmin(losses))])
            assert held_out.lowest == min(losses)
    assert 0 < np.argmin(losses) < 11


def test_a_loss_that_is_no_number_is_the_best_only_until_another_comes() -> None:
    held_out, network, *_ = make("multiclass")
    theta = network.theta.copy()
    with held_out:
        network.theta[:] = np.nan
        assert math.isnan(held_out.measure()[0])
        network.theta[:] = theta
        loss, _ = held_out.measure()
        assert held_out.best is not None
        np.testing.assert_array_equal(held_out.best[0], theta)
        network.theta[:] = np.nan
        held_out.measure()
        np.testing.assert_array_equal(held_out.best[0], theta)
        held_out.go_on_from(held_out.best, [math.nan, loss, math.nan])
        assert held_out.lowest == loss


def test_it_goes_on_from_the_best_of_an_earlier_run() -> None:
    held_out, network, *_ = make("multiclass")
    before = np.zeros_like(network.theta), network.statistics
    with held_out:
        loss, _ = held_out.measure()
        held_out.go_on_from(before, [9.0, loss / 2])
        held_out.measure()
        assert held_out.best is before
        held_out.go_on_from(before, [9.0, 2 * loss])
        held_out.measure()
        assert held_out.best is not before


def test_without_such_rows_there_is_no_best() -> None:
    _, network, features, target = make("multiclass")
    targets = Targets.of(target, None, 3, np.float32)
    rows = np.arange(len(features))
    nothing = HeldOut(network, Data(features, targets, rows, rows[:0]), 1)
    assert (len(nothing), nothing.best, nothing.lowest) == (0, None, math.inf)
