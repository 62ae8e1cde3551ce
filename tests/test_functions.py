"""Functions from formulas, the gallery and Python, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from downslope.errors import InvalidTypeError, InvalidValueError
from downslope.formula import read
from downslope.functions import (
    check_gradient,
    finite_everywhere,
    of_formula,
    of_python,
    refuse_wrong_gradient,
    resolve,
)


def valley(theta: Any) -> float:
    return float((1 - theta[0]) ** 2 + 100 * (theta[1] - theta[0] ** 2) ** 2)


def valleys_slope(theta: Any) -> Any:
    inner = theta[1] - theta[0] ** 2
    return np.array([-2 * (1 - theta[0]) - 400 * theta[0] * inner, 200 * inner])


PLACES = np.array([[-1.5, 2.0], [0.3, -0.4], [1.0, 1.0]])


def test_many_points_are_looked_at_in_one_call() -> None:
    function = resolve("x**2*y + 3")
    values, gradients = function.values_and_gradients(PLACES)
    np.testing.assert_allclose(values, PLACES[:, 0] ** 2 * PLACES[:, 1] + 3)
    np.testing.assert_allclose(gradients[:, 0], 2 * PLACES[:, 0] * PLACES[:, 1])
    np.testing.assert_allclose(gradients[:, 1], PLACES[:, 0] ** 2)
    np.testing.assert_array_equal(function.values(PLACES), values)


def test_a_derivative_that_is_a_constant_is_given_for_every_point() -> None:
    values, gradients = resolve("3*x - y").values_and_gradients(PLACES)
    np.testing.assert_array_equal(gradients, [[3, -1]] * 3)
    assert values.shape == (3,)


@pytest.mark.parametrize("gradient", [None, valleys_slope])
def test_a_python_function_agrees_with_its_formula(gradient: Any) -> None:
    exact, mine = resolve("rosenbrock"), of_python(valley, 2, gradient)
    for place in PLACES:
        assert mine.value(place) == pytest.approx(exact.value(place))
        np.testing.assert_allclose(mine.gradient(place), exact.gradient(place), atol=1e-5)
        np.testing.assert_allclose(mine.hessian(place), exact.hessian(place), rtol=1e-3, atol=1e-2)
    assert mine.derivatives == ("given" if gradient else "central differences")
    assert exact.has_exact_hessian
    assert not mine.has_exact_hessian


def test_a_hessian_too_long_to_write_out_is_by_differences_of_the_exact_gradient() -> None:
    function = resolve("levy", 12)
    assert not function.has_exact_hessian
    theta = np.linspace(-1, 1, 12)
    short = resolve("levy", 2)
    assert short.has_exact_hessian
    np.testing.assert_allclose(function.hessian(theta), function.hessian(theta).T)
    # Levy's variables meet nowhere: each diagonal entry is that of one variable.
    np.testing.assert_allclose(
        function.hessian(theta)[0, 0], short.hessian(theta[:2])[0, 0], rtol=1e-6
    )


def test_the_formula_comes_back_as_it_was_written() -> None:
    function = of_formula(read("e**x + abs(y)"))
    assert function.name == "e**x + abs(y)"
    assert function.derivative_texts() == ["exp(x)", "sign(y)"]
    assert of_formula(read("e*x + x**2")).derivative_texts() == ["2*x + e"]


def test_places_outside_of_what_is_defined_are_not_finite() -> None:
    function = resolve("log(x) + sqrt(y)")
    places = np.array([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 0.0]])
    np.testing.assert_array_equal(finite_everywhere(function, places), [True, False, False, False])


@pytest.mark.parametrize(
    ("source", "variables", "error", "said"),
    [
        ("rosenbrok", 2, InvalidValueError, "did you mean 'rosenbrock'"),
        ("himmelblau", 3, InvalidValueError, "has 2 variables; got a start of 3"),
        ("rosenbrock", 1, InvalidValueError, "at least 2 variables; got 1"),
        ("x + y", 3, InvalidValueError, r"has 2 variables \(x, y\); the start has 3"),
        ("x**2", 2, InvalidValueError, r"has 1 variable \(x\); the start has 2"),
        (3.0, 1, InvalidTypeError, "got 3.0"),
        (valley, None, InvalidValueError, "needs a start"),
        ("(x - x - 2)**y + x", 2, InvalidValueError, "derivative is no real number"),
        ("rastrigin", 40, InvalidValueError, "operations"),
    ],
)
def test_what_is_no_function_is_refused(
    source: Any, variables: int | None, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        resolve(source, variables)


def test_a_formula_takes_no_gradient() -> None:
    with pytest.raises(InvalidTypeError, match="leave it out"):
        resolve("x**2", 1, gradient=valleys_slope)
    with pytest.raises(InvalidTypeError, match="leave it out"):
        resolve(valley, 2, gradient="2*x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda theta: theta, "one real number for theta; got array"),
        (lambda theta: "low", "got 'low'"),
        (lambda theta: 1j, "got 1j"),
        (lambda theta: None, "got None"),
    ],
)
def test_a_python_function_must_give_one_real_number(function: Any, said: str) -> None:
    with pytest.raises(InvalidTypeError, match=said):
        of_python(function, 2).value([1, 2])


@pytest.mark.parametrize("gradient", [lambda theta: 1.0, lambda theta: theta * 1j])
def test_a_python_gradient_must_be_one_real_number_a_variable(gradient: Any) -> None:
    with pytest.raises(InvalidTypeError, match="2 real numbers, one a variable"):
        of_python(valley, 2, gradient).gradient([1, 2])


def test_a_function_may_not_change_the_theta_it_is_shown() -> None:
    def careless(theta: Any) -> float:
        theta *= 2
        return float(theta @ theta)

    places = PLACES.copy()
    of_python(careless, 2).values_and_gradients(places)
    np.testing.assert_array_equal(places, PLACES)


def test_a_wrong_gradient_is_found() -> None:
    wrong = of_python(valley, 2, lambda theta: -valleys_slope(theta))
    assert check_gradient(wrong, PLACES[0]) > 1
    with pytest.raises(InvalidValueError, match="central differences of its values give"):
        refuse_wrong_gradient(wrong, PLACES[0])
    refuse_wrong_gradient(of_python(valley, 2, valleys_slope), PLACES[0])
