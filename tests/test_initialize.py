from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from downslope.catalogue import ACTIVATIONS, INITIALIZERS, choose
from downslope.errors import InvalidValueError
from downslope.initialize import weights

INPUTS, OUTPUTS = 400, 250
"""100 000 weights: their standard deviation is known to 0.25 %, so 1 % is four of its errors."""


def draw(
    text: str, activation: str = "relu", seed: int = 0, dtype: Any = np.float64
) -> npt.NDArray[Any]:
    generator = np.random.default_rng(seed)
    return weights(choose("initializer", text), INPUTS, OUTPUTS, activation, generator, dtype)


def test_zeros_and_constant() -> None:
    assert not draw("zeros").any()
    assert (draw("constant(0.3)") == 0.3).all()


NORMAL = {
    "normal(std=0.2)": 0.2**2,
    "glorot_normal": 2 / (INPUTS + OUTPUTS),
    "he_normal": 2 / INPUTS,
    "lecun_normal": 1 / INPUTS,
}
UNIFORM = {
    "uniform(limit=0.2)": 0.2,
    "glorot_uniform": math.sqrt(6 / (INPUTS + OUTPUTS)),
    "he_uniform": math.sqrt(6 / INPUTS),
    "lecun_uniform": math.sqrt(3 / INPUTS),
}


def check_normal(drawn: npt.NDArray[Any], variance: float) -> None:
    assert drawn.var() == pytest.approx(variance, rel=0.02)
    assert abs(drawn.mean()) < 4 * math.sqrt(variance / drawn.size)
    assert np.mean(np.abs(drawn) < math.sqrt(variance)) == pytest.approx(0.6827, abs=0.01)


def check_uniform(drawn: npt.NDArray[Any], limit: float) -> None:
    assert np.abs(drawn).max() <= limit
    assert drawn.max() > 0.999 * limit
    assert drawn.min() < -0.999 * limit
    assert drawn.var() == pytest.approx(limit**2 / 3, rel=0.02)


@pytest.mark.parametrize("text", NORMAL)
def test_normal_initializers_have_their_variance(text: str) -> None:
    check_normal(draw(text), NORMAL[text])


@pytest.mark.parametrize("text", UNIFORM)
def test_uniform_initializers_fill_their_limits(text: str) -> None:
    check_uniform(draw(text), UNIFORM[text])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_auto_goes_by_the_activation(activation: str) -> None:
    drawn = draw("auto", activation)
    slope = {"leaky_relu": 0.01, "prelu": 0.25}.get(activation, 0.0)
    if activation in ("identity", "sigmoid", "tanh", "softmax"):
        check_uniform(drawn, math.sqrt(6 / (INPUTS + OUTPUTS)))
    elif activation == "selu":
        check_normal(drawn, 1 / INPUTS)
    else:
        check_normal(drawn, 2 / (1 + slope**2) / INPUTS)


def test_auto_takes_the_slope_that_the_recipe_gives() -> None:
    assert draw("auto", "leaky_relu(slope=0.5)").var() == pytest.approx(1.6 / INPUTS, rel=0.02)


def test_auto_keeps_a_signals_size_through_ten_layers_of_relu() -> None:
    generator = np.random.default_rng(1)
    x = generator.normal(size=(200, 300))
    for _ in range(10):
        drawn = weights(choose("initializer", "auto"), 300, 300, "relu", generator, np.float64)
        x = np.maximum(x @ drawn, 0)
    assert np.mean(x**2) == pytest.approx(1, rel=0.3)


@pytest.mark.parametrize("shape", [(8, 8), (20, 6), (6, 20), (1, 5), (5, 1)])
def test_orthogonal_has_orthonormal_rows_or_columns(shape: tuple[int, int]) -> None:
    choice = choose("initializer", "orthogonal(gain=1.5)")
    drawn = weights(choice, *shape, "tanh", np.random.default_rng(0), np.float64) / 1.5
    assert drawn.shape == shape
    product = drawn.T @ drawn if shape[0] >= shape[1] else drawn @ drawn.T
    np.testing.assert_allclose(product, np.eye(min(shape)), atol=1e-12)


def test_orthogonal_prefers_no_sign() -> None:
    # Without the correction of signs the diagonal of Q would be mostly negative.
    generator, choice = np.random.default_rng(0), choose("initializer", "orthogonal")
    corners = [
        weights(choice, 3, 3, "tanh", generator, np.float64).diagonal() > 0 for _ in range(600)
    ]
    np.testing.assert_allclose(np.mean(corners, axis=0), 0.5, atol=0.08)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_draws_are_reproducible_and_alike_in_both_number_types(name: str) -> None:
    double, single = draw(name), draw(name, dtype=np.float32)
    assert double.shape == single.shape == (INPUTS, OUTPUTS)
    assert double.dtype == np.float64
    assert single.dtype == np.float32
    np.testing.assert_array_equal(double, draw(name))
    np.testing.assert_array_equal(double.astype(np.float32), single)
    if name not in ("zeros", "constant"):
        assert not np.array_equal(double, draw(name, seed=1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("normal(std=-0.1)", "initializer 'normal': std must be at least 0; got -0.1"),
        ("uniform(limit=-2)", "initializer 'uniform': limit must be at least 0; got -2"),
    ],
)
def test_an_option_out_of_range_is_named(text: str, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        draw(text)
