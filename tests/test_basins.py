"""Basins of attraction: each start's label is where a descent of its own ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from downslope.basins import AWAY, NOWHERE, basins
from downslope.errors import InvalidValueError
from downslope.function_run import PLAIN
from downslope.functions import resolve
from downslope.minimization import minimize
from downslope.parts import Descent


def descent(rule: Any = "gd", steps: int = 200) -> Descent:
    return Descent(
        batch="full", rule=rule, schedule="constant", epochs=None, steps=steps, validation=0.0,
        gradient_tolerance=PLAIN.gradient_tolerance, dtype="float64",
    )  # fmt: skip


def test_the_labels_are_where_descents_of_their_own_end() -> None:
    function = resolve("himmelblau")
    places = np.array([theta for theta, _ in function.minima])
    found = basins(function, descent("momentum"), [0.002, 0.005], function.domain, side=5,
                   places=places)  # fmt: skip
    assert found.labels.shape == found.steps.shape == (2, 25)
    for row, rate in enumerate(found.learning_rates):
        for point in range(25):
            start = found.axes[0][point % 5], found.axes[1][point // 5]
            run = minimize(function, start, "momentum", learning_rate=rate, steps=200)
            label = found.labels[row, point]
            assert found.steps[row, point] == run.steps
            if label >= 0:
                assert np.linalg.norm(run.theta - places[label]) <= 0.2


def test_minima_that_nobody_named_are_found() -> None:
    found = basins(resolve("x**4 - 2*x**2 + y**2"), descent(), [0.05], ((-2, 2), (-1, 1)), side=6)
    np.testing.assert_allclose(np.sort(found.places[:, 0]), [-1, 1], atol=1e-6)
    left = found.labels[0].reshape(6, 6)[:, :3]
    assert len(np.unique(left)) == 1
    assert found.labels.min() >= 0


def test_a_saddle_is_no_place_to_stay_and_running_off_is_told() -> None:
    found = basins(resolve("x**2 - y**2"), descent(), [0.1], ((-1, 1), (-1, 1)), side=5)
    labels = found.labels[0].reshape(5, 5)
    assert len(found.places) == 0
    assert (labels[2] == NOWHERE).all()
    assert (np.delete(labels, 2, axis=0) == AWAY).all()


def test_too_few_steps_lead_nowhere_and_too_large_rates_away() -> None:
    found = basins(resolve("x**2"), descent(steps=5), [1e-4, 0.35, 30.0], ((1, 2),), side=4,
                   places=np.zeros((1, 1)))  # fmt: skip
    assert (found.labels[0] == NOWHERE).all()
    assert (found.labels[1] == 0).all()
    assert (found.labels[2] == AWAY).all()


@pytest.mark.parametrize("rule", ["muon", lambda theta, gradient, state, rate, step: None])
def test_rules_that_move_a_point_whole_are_refused(rule: Any) -> None:
    with pytest.raises(InvalidValueError, match="moves each point whole"):
        basins(resolve("x**2"), descent(rule), [0.1], ((-1, 1),))


def test_more_than_two_variables_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="1 or 2 variables; got 3"):
        basins(resolve("rosenbrock", 3), descent(), [0.1], ((-1, 1),) * 3)
