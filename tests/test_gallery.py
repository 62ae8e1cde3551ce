"""The gallery: values and minima as published, gradients as differences say."""

from __future__ import annotations

import numpy as np
import pytest

from downslope.ending import classify
from downslope.errors import InvalidValueError
from downslope.functions import check_gradient, of_gallery
from downslope.gallery import GALLERY, specimen

NAMED = (
    "rosenbrock beale himmelblau rastrigin ackley goldstein_price styblinski_tang levy "
    "three_hump_camel saddle monkey_saddle ravine plateau noisy_quadratic"
).split()
SIZES = [
    (name, count)
    for name, each in GALLERY.items()
    for count in ([each.variables] if each.variables else [2, 3, 5])
]


def test_all_the_hard_functions_are_there() -> None:
    assert set(NAMED) <= set(GALLERY)
    assert all(each.source and each.line for each in GALLERY.values())


@pytest.mark.parametrize(("name", "variables"), SIZES)
def test_the_gradient_is_that_of_central_differences(name: str, variables: int) -> None:
    function = of_gallery(name, variables)
    low, high = np.array(function.domain).T
    for theta in np.random.default_rng(3).uniform(low, high, size=(5, variables)):
        assert check_gradient(function, theta) < 1e-5


@pytest.mark.parametrize(("name", "variables"), SIZES)
def test_known_minima_are_minima_and_the_first_is_the_lowest(name: str, variables: int) -> None:
    function = of_gallery(name, variables)
    values = [value for _, value in function.minima]
    assert values == sorted(values)
    low, high = np.array(function.domain).T
    drawn = np.random.default_rng(4).uniform(low, high, size=(20_000, variables))
    for theta, value in function.minima:
        place = np.array(theta)
        assert ((low <= place) & (place <= high)).all()
        assert function.value(place) == pytest.approx(value, abs=1e-9)
        expected = "kink" if name == "ackley" else "minimum"
        assert classify(function, place, tolerance=1e-6).kind == expected
        if value == values[0]:
            assert function.values(drawn).min() >= value
        near = place + np.random.default_rng(5).normal(scale=1e-3, size=(200, variables))
        assert function.values(near).min() > function.value(place)


def test_values_at_places_of_the_literature() -> None:
    # Worked by hand from the published formulas.
    assert of_gallery("rosenbrock").value([-1.2, 1.0]) == pytest.approx(24.2)
    assert of_gallery("beale").value([0, 0]) == pytest.approx(1.5**2 + 2.25**2 + 2.625**2)
    assert of_gallery("himmelblau").value([0, 0]) == pytest.approx(170)
    assert of_gallery("himmelblau").value([-0.270845, -0.923039]) == pytest.approx(
        181.617, abs=1e-3
    )
    assert of_gallery("rastrigin", 3).value([1, 1, 1]) == pytest.approx(3)
    assert of_gallery("goldstein_price").value([0, 0]) == pytest.approx(600)
    assert of_gallery("levy").value([-3, 1]) == pytest.approx(1 + 10 * np.sin(1) ** 2)
    assert of_gallery("ackley").value([1, 1]) == pytest.approx(20 * (1 - np.exp(-0.2)))
    assert of_gallery("styblinski_tang", 4).value([1] * 4) == pytest.approx(-20)


@pytest.mark.parametrize("name", [name for name, each in GALLERY.items() if each.is_convex])
def test_what_is_called_convex_has_no_negative_curvature(name: str) -> None:
    function = of_gallery(name)
    low, high = np.array(function.domain).T
    for theta in np.random.default_rng(6).uniform(low, high, size=(20, len(low))):
        assert np.linalg.eigvalsh(function.hessian(theta)).min() > 0


@pytest.mark.parametrize(("name", "variables"), SIZES)
def test_starts_lie_in_the_domain(name: str, variables: int) -> None:
    function = of_gallery(name, variables)
    low, high = np.array(function.domain).T
    assert ((low <= function.start) & (function.start <= high)).all()


def test_names_are_read_kindly_and_unknown_ones_refused() -> None:
    assert specimen(" Goldstein-Price ").name == "goldstein_price"
    with pytest.raises(InvalidValueError, match="did you mean 'rosenbrock'"):
        specimen("rosenbruck")
