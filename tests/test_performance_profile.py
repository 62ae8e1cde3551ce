"""Performance profiles, against counting by hand."""

from __future__ import annotations

import numpy as np

from downslope.performance_profile import profile, ratios


def test_profiles_are_shares_counted_one_by_one() -> None:
    generator = np.random.default_rng(0)
    costs = generator.lognormal(size=(7, 3))
    costs[2, 1], costs[5] = np.inf, np.nan
    tau, rho = profile(costs)
    for point, at in enumerate(tau):
        for variant in range(3):
            near = 0
            for problem in range(7):
                best = min((each for each in costs[problem] if np.isfinite(each)), default=None)
                near += best is not None and costs[problem, variant] <= at * best * (1 + 1e-15)
            assert rho[point, variant] == near / 7
    assert tau[0] == 1
    assert (np.diff(rho, axis=0) >= 0).all()
    np.testing.assert_allclose(rho[-1], [6 / 7, 5 / 7, 6 / 7])
    # Where nobody solves a problem nobody is near.
    assert np.isinf(ratios(costs)[5]).all()


def test_the_best_on_every_problem_is_at_one_from_the_start() -> None:
    tau, rho = profile(np.array([[1.0, 3.0], [2.0, 4.0]]))
    np.testing.assert_array_equal(tau, [1, 2, 3])
    np.testing.assert_array_equal(rho, [[1, 0], [1, 0.5], [1, 1]])
