"""Learning rates from one start: what converges, swings, and diverges, as theory has it."""

from __future__ import annotations

import numpy as np
import pytest

from downslope.errors import InvalidValueError
from downslope.functions import resolve
from downslope.minimization import minimize
from downslope.parts import Descent
from downslope.sweep import CONVERGED, DIVERGING, DOWNWARD, OSCILLATING, SWUNG, sweep

USUAL = Descent(
    batch="full", rule="gd", schedule="constant", epochs=None, steps=400, validation=0.0,
    gradient_tolerance=1e-8, dtype="float64",
)  # fmt: skip


def test_on_a_quadratic_the_behavior_is_that_of_its_closed_form() -> None:
    # f = x^2: w is scaled by 1 - 2 eta. Below 0 it swings, below -1 it diverges.
    rates = np.array([1e-4, 0.1, 0.4, 0.9, 0.99, 1.01, 2.0])
    found = sweep(resolve("x**2"), np.array([1.0]), USUAL, rates)
    assert found.behaviors == (
        DOWNWARD, CONVERGED, CONVERGED, SWUNG, DOWNWARD, DIVERGING, DIVERGING,
    )  # fmt: skip
    assert found.best == 0.4
    assert np.isfinite(found.values[:6]).all()
    exact = ((1 - 2 * rates[:1]) ** 400) ** 2
    np.testing.assert_allclose(found.values[:1], exact, rtol=1e-9)


def test_a_rule_that_circles_is_said_to_oscillate() -> None:
    found = sweep(resolve("abs(x)"), np.array([1.0]), USUAL, np.array([0.3, 1e-4]))
    assert found.behaviors == (OSCILLATING, DOWNWARD)


@pytest.mark.parametrize("rule", ["momentum", "adam", "rprop"])
def test_rates_together_are_what_each_is_alone(rule: str) -> None:
    descent = Descent(
        batch="full", rule=rule, schedule="cosine", epochs=None, steps=60, validation=0.0,
        gradient_tolerance=1e-8, dtype="float64",
    )  # fmt: skip
    function, start = resolve("rosenbrock"), np.array([-1.0, 1.5])
    rates = np.array([1e-4, 5e-4, 1e-3])
    found = sweep(function, start, descent, rates)
    for rate, value in zip(rates, found.values, strict=True):
        run = minimize(function, start, rule, learning_rate=rate, steps=60, schedule="cosine")
        assert run.value == value


def test_a_rate_that_runs_off_is_not_chosen() -> None:
    # x^2 - y^2 falls without end: the largest rate falls fastest, and says nothing.
    found = sweep(resolve("saddle"), np.array([-1.8, 0.001]), USUAL)
    run = minimize("saddle", (-1.8, 0.001), learning_rate=found.best, steps=400)
    assert np.abs(run.thetas).max() < 30
    assert run.value < 0


def test_a_schedule_of_ones_own_has_no_learning_rate_to_sweep() -> None:
    descent = Descent(batch="full", rule="gd", schedule=lambda step: 0.1, epochs=None, steps=5)
    with pytest.raises(InvalidValueError, match="takes no learning rate"):
        sweep(resolve("x**2"), np.ones(1), descent)
    assert minimize("x**2", 1, schedule=lambda step: 0.1, steps=3).sweep is None
