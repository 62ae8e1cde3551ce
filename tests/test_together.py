"""Many descents moved as one: each is, bit for bit, what it is alone."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest

from downslope.catalogue import RULES
from downslope.function_run import PLAIN
from downslope.functions import resolve
from downslope.parts import Descent
from downslope.together import (
    DIVERGED,
    INTERRUPTED,
    LOOK,
    OPTIMUM,
    STEPS,
    Together,
    is_elementwise,
)

STARTS = np.array([[-1.5, 2.0], [0.2, 0.1], [1.1, 1.2], [-0.5, -0.5], [1.0, 1.0]])


def descent(rule: Any, **settings: Any) -> Descent:
    return dataclasses.replace(PLAIN, rule=rule, steps=120, **settings)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "settings", [{}, {"clip_norm": 0.7, "clip_value": 0.5, "schedule": "exponential", "warmup": 9}]
)
def test_each_start_and_rate_goes_as_it_does_alone(rule: str, settings: dict[str, Any]) -> None:
    # The last start is a minimum: it leaves at once, and the others' state moves up.
    function, rates = resolve("rosenbrock"), np.array([1e-3, 1e-3, 2e-3, 2e-3, 5e-4])
    ends = Together(function, descent(rule, **settings), STARTS, rates, keeps=True).run()
    for point in range(len(STARTS)):
        alone = Together(
            function, descent(rule, learning_rate=rates[point], **settings),
            STARTS[point : point + 1], keeps=True,
        ).run()  # fmt: skip
        assert ends.trail is not None
        assert alone.trail is not None
        count = int(ends.steps[point])
        assert count == alone.steps[0]
        np.testing.assert_array_equal(
            ends.trail.thetas[: count + 1, point], alone.trail.thetas[:, 0]
        )
        np.testing.assert_array_equal(ends.thetas[point], alone.thetas[0])
        assert ends.reasons[point] == alone.reasons[0]
        assert ends.turns[point] == alone.turns[0]
        assert ends.rises[point] == alone.rises[0]
    assert ends.steps[4] == 0
    assert ends.reasons[4] == OPTIMUM


def test_entries_are_clipped_before_the_norm_of_each_point_by_itself() -> None:
    function = resolve("3*x + 4*y")
    usual = descent("gd", learning_rate=1.0, clip_value=3.5, clip_norm=2.0)
    ends = Together(function, dataclasses.replace(usual, steps=1), np.zeros((3, 2))).run()
    expected = -2 * np.array([3, 3.5]) / np.hypot(3, 3.5)
    np.testing.assert_allclose(ends.thetas, [expected] * 3, rtol=1e-14)


def test_one_that_diverges_ends_at_its_last_finite_theta_and_disturbs_no_other() -> None:
    function = resolve("x**4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ends = Together(
            function, descent("gd"), np.array([[0.5], [3.0]]), np.array([0.1, 1.0]), keeps=True
        ).run()
    assert ends.reasons.tolist() == [STEPS, DIVERGED]
    assert ends.trail is not None
    assert np.isfinite(ends.thetas).all()
    assert np.isfinite(ends.trail.values[: ends.steps[1] + 1, 1]).all()
    assert np.isnan(ends.trail.values[ends.steps[1] + 1 :, 1]).all()
    assert ends.steps[1] < 10
    assert abs(ends.thetas[0, 0]) < 0.2


def test_noise_is_drawn_for_each_point() -> None:
    function = dataclasses.replace(resolve("0*x"), noise=1.0)
    ends = Together(function, descent("gd", learning_rate=1.0), np.zeros((4, 1)), keeps=True).run()
    assert len(np.unique(ends.thetas)) == 4


def test_whoever_asks_to_stop_is_heard_within_a_few_steps() -> None:
    ends = Together(
        resolve("rosenbrock"), descent("gd", learning_rate=1e-4), STARTS[:2],
        is_interrupted=lambda: True,
    ).run()  # fmt: skip
    assert ends.reasons.tolist() == [INTERRUPTED] * 2
    assert (ends.steps <= LOOK).all()


def test_rules_that_move_a_point_whole_are_known() -> None:
    whole = {rule for rule in RULES if not is_elementwise(descent(rule))}
    assert whole == {"muon"}
    assert not is_elementwise(descent(lambda theta, gradient, state, rate, step: None))
