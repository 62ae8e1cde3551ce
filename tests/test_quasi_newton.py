from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from downslope.network import BuiltNetwork
from downslope.parts import Network
from downslope.quasi_newton import minimize
from downslope.stepper import Targets

X = np.random.default_rng(0).normal(size=(80, 3))
Y = X @ [1.0, -2.0, 0.5] + 0.3 + np.random.default_rng(1).normal(0, 0.1, 80)
OPTIONS: dict[str, Any] = {"maxiter": 500, "gtol": 1e-12, "ftol": 0.0}


def built(network: Network, dtype: str = "float64") -> BuiltNetwork:
    return BuiltNetwork(network, 3, 1, "regression", dtype)


def targets(dtype: Any = np.float64, weights: Any = None) -> Targets:
    return Targets.of(Y[:, None], weights, 1, dtype)


@pytest.mark.parametrize(("dtype", "atol"), [("float64", 1e-9), ("float32", 1e-4)])
def test_a_linear_network_ends_at_the_least_squares(dtype: str, atol: float) -> None:
    network = built(Network([]), dtype)
    features = np.ascontiguousarray(X, dtype)
    result = minimize(network, features, targets(dtype), (0.0, 0.0), OPTIONS)
    exact, *_ = np.linalg.lstsq(np.column_stack([X, np.ones(80)]), Y, rcond=None)
    np.testing.assert_allclose(network.theta, exact, atol=atol)
    assert result.fun == pytest.approx(((X @ exact[:3] + exact[3] - Y) ** 2).mean() / 2, rel=1e-4)


def test_penalties_and_weights_count() -> None:
    weights = np.linspace(0, 2, 80)
    network = built(Network([]))
    minimize(network, X, targets(weights=weights), (0.0, 5.0), OPTIONS)
    A = np.column_stack([X, np.ones(80)])
    normal = A.T @ (A * weights[:, None]) + np.diag([5.0, 5.0, 5.0, 0.0])
    np.testing.assert_allclose(network.theta, np.linalg.solve(normal, A.T @ (weights * Y)))


def test_running_statistics_become_those_of_all_rows() -> None:
    network = built(Network([4], "tanh", normalize="batch"))
    minimize(network, X, targets(), (0.0, 0.0), {"maxiter": 5})
    u = X @ network.parts()["layer1.weight"]
    expected = np.concatenate([u.mean(0), u.var(0, ddof=1)])
    np.testing.assert_allclose(network.statistics, expected, rtol=1e-10)


def test_the_watcher_sees_every_iteration_and_may_end_it() -> None:
    seen: list[float] = []

    def watch(iteration: int, loss: float) -> bool:
        seen.append(loss)
        assert iteration == len(seen)
        return iteration == 3

    network = built(Network([8], "tanh", "glorot_normal"))
    result = minimize(network, X, targets(), (0.0, 0.0), OPTIONS, watcher=watch)
    assert result.nit == len(seen) == 3
    assert seen == sorted(seen, reverse=True)
    assert network.loss_and_gradient(X, Y[:, None])[0] == pytest.approx(seen[-1], rel=1e-12)
