"""What a point is: by its gradient, its curvatures and, where those are 0, its neighbors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from downslope.ending import classify
from downslope.functions import of_python, resolve


@pytest.mark.parametrize(
    ("function", "theta", "kind"),
    [
        ("x**2 + 3*y**2", (0, 0), "minimum"),
        ("x**2 + 3*y**2", (1e-3, 0), "not converged"),
        ("1e-3*x**2", (1e-3,), "minimum"),
        ("-x**2 - y**2", (0, 0), "maximum"),
        ("x**2 - y**2", (0, 0), "saddle"),
        ("x**3 - 3*x*y**2", (0, 0), "saddle"),
        ("x**3", (0,), "saddle"),
        ("x**4 - 3*x**3 + 2", (0,), "saddle"),
        ("x**4", (0,), "minimum"),
        ("x**2 + y**4", (0, 0), "minimum"),
        ("x**2 + 0*y", (0, 1), "plateau"),
        ("0*x", (3,), "plateau"),
        ("1 - exp(-(x**2 + y**2)/2)", (9, 9), "plateau"),
        ("tanh(x)**2", (25,), "plateau"),
        ("plateau", (7, 0), "plateau"),
        ("x**3", (1e-5,), "saddle"),
        ("ackley", (0, 0), "kink"),
        ("x", (0,), "not converged"),
        ("himmelblau", (-0.270844590665, -0.923038522181), "maximum"),
        ("himmelblau", (0.086677504555, 2.884254701175), "saddle"),
    ],
)
def test_each_kind_of_point_is_told(function: str, theta: tuple[float, ...], kind: str) -> None:
    point = np.array(theta, dtype=float)
    assert classify(resolve(function, len(theta)), point, tolerance=1e-6).kind == kind


@pytest.mark.parametrize(("sign", "kind"), [(1, "minimum"), (-1, "saddle")])
def test_a_python_function_is_judged_by_differences(sign: int, kind: str) -> None:
    def f(theta: Any) -> float:
        return float(theta[0] ** 2 + sign * 2 * theta[1] ** 2)

    found = classify(of_python(f, 2), np.zeros(2), tolerance=1e-6)
    assert found.kind == kind
    assert found.hessian == "differences"
    np.testing.assert_allclose(found.eigenvalues, sorted([2, 4 * sign]), rtol=1e-5)


def test_what_f_could_still_fall_by_is_exact_on_a_quadratic() -> None:
    function = resolve("x**2 + 3*y**2 - x*y")
    theta = np.array([0.3, -0.2])
    assert classify(function, theta).could_fall == pytest.approx(function.value(theta))


def test_a_saddle_says_how_many_ways_lead_down() -> None:
    found = classify(resolve("x1**2 - x2**2 - x3**2"), np.zeros(3))
    assert found.remark == "2 of 3 directions curve down"


def test_near_a_kinked_minimum_no_gradient_is_0_and_that_is_said() -> None:
    found = classify(resolve("ackley"), np.array([1e-5, -2e-5]))
    assert found.kind == "not converged"
    assert "kink" in found.remark
