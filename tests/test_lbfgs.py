"""L-BFGS is SciPy's, written down step by step."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.optimize

from downslope.function_run import PLAIN
from downslope.functions import resolve
from downslope.lbfgs import descend_by_lbfgs
from downslope.together import DIVERGED, OPTIMUM, STEPS, STUCK, TARGET


def test_the_steps_are_scipys() -> None:
    function, start = resolve("rosenbrock"), np.array([[-1.5, 2.0]])
    ends = descend_by_lbfgs(function, PLAIN, start)
    seen = [start[0]]
    scipy.optimize.minimize(
        scipy.optimize.rosen, start[0], jac=scipy.optimize.rosen_der, method="L-BFGS-B",
        callback=lambda theta: seen.append(theta.copy()), options={"ftol": 0.0, "gtol": 1e-9},
    )  # fmt: skip
    assert ends.trail is not None
    count = min(len(seen), 20)
    np.testing.assert_allclose(ends.trail.thetas[:count, 0], seen[:count], rtol=1e-6, atol=1e-6)
    assert ends.reasons.tolist() == [OPTIMUM]
    np.testing.assert_allclose(ends.thetas, [[1, 1]], atol=1e-6)


def test_each_start_has_its_own_length_and_reason() -> None:
    function = resolve("x**2 + y**2")
    ends = descend_by_lbfgs(function, PLAIN, np.array([[0.0, 0.0], [3.0, 4.0]]))
    assert ends.steps.tolist()[0] == 0
    assert ends.steps[1] > 0
    assert ends.trail is not None
    assert np.isnan(ends.trail.values[1:, 0]).all()
    assert (ends.norms <= 1e-8).all()


def test_it_stops_at_the_bound_and_at_the_target() -> None:
    function, start = resolve("rosenbrock"), np.array([[-1.5, 2.0]])
    ends = descend_by_lbfgs(function, dataclasses.replace(PLAIN, steps=3), start)
    assert ends.steps.tolist() == [3]
    assert ends.reasons.tolist() == [STEPS]
    ends = descend_by_lbfgs(function, dataclasses.replace(PLAIN, target_loss=1.0), start)
    assert ends.reasons.tolist() == [TARGET]
    assert ends.values[0] <= 1.0


def test_a_kink_and_a_fall_without_end_have_their_reasons() -> None:
    ends = descend_by_lbfgs(resolve("abs(x) + y**2"), PLAIN, np.array([[1.0, 1.0]]))
    assert ends.reasons[0] in (STUCK, STEPS)
    ends = descend_by_lbfgs(resolve("x**3"), PLAIN, np.array([[-1.0]]))
    assert ends.reasons[0] in (DIVERGED, STUCK)
    assert np.isfinite(ends.values).all()
