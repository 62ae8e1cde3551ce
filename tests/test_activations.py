from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
import numpy.typing as npt
import pytest

import naive
from compiled import activate, backpropagate, slope_gradient
from downslope.catalogue import ACTIVATIONS, code
from downslope.kernels import elementary

Array = npt.NDArray[Any]

Real = type[np.float32 | np.float64]

DTYPES: list[Real] = [np.float32, np.float64]
PARAMETERS = {"leaky_relu": 0.2, "prelu": 0.3, "elu": 1.5}
ELEMENTWISE = [name for name in ACTIVATIONS if name != "softmax"]


def epsilon(dtype: Real) -> float:
    return float(np.finfo(dtype).eps)


def forward(name: str, z: Array, y: Array | None = None) -> Array:
    """y = phi(z) by the kernel; into y if given."""
    y = np.full_like(z, np.nan) if y is None else y
    activate(code("activation", name), PARAMETERS.get(name, 0.0), slopes(name, z), z, y)
    return y


def backward(name: str, z: Array, y: Array, d: Array) -> Array:
    """dL/dz by the kernel from dL/dy, which stays as it was."""
    d = d.copy()
    backpropagate(code("activation", name), PARAMETERS.get(name, 0.0), slopes(name, z), z, y, d)
    return d


def slopes(name: str, z: Array) -> Array:
    length = z.shape[1] if name == "prelu" else 0
    return np.full(length, PARAMETERS["prelu"], z.dtype)


def grid(dtype: Real) -> Array:
    """Dense near 0, then out to where each function has met its limit; (rows, 7)."""
    tiny = np.concatenate([-np.logspace(-30, -1, 300), np.logspace(-30, -1, 300)])
    far = [-1e4, -1e3, -710.0, -104.0, -88.0, -87.0, 88.0, 710.0, 1e3, 1e4, -0.0, 0.0]
    z = np.concatenate([np.linspace(-12, 12, 5001), np.linspace(-110, 110, 1001), tiny, far])
    return cast(Array, z[: len(z) // 7 * 7].reshape(-1, 7).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_values(name: str, dtype: Real) -> None:
    """Within 6 ulp, and 1 ulp of z times how steeply phi's size changes (gelu's tail)."""
    z = grid(dtype)
    exact = z.astype(np.float64)
    phi, phi_slope = naive.NAIVE_ACTIVATIONS[name]
    parameter = PARAMETERS.get(name, 0.0)
    expected = phi(exact, parameter)
    allowed = 6 * abs(expected) + abs(exact * phi_slope(exact, parameter))
    allowed = epsilon(dtype) * allowed + 200 * float(np.finfo(dtype).tiny)
    np.testing.assert_array_less(abs(forward(name, z) - expected), allowed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_derivatives(name: str, dtype: Real) -> None:
    z = grid(dtype)
    d: Array = np.linspace(-2, 2, z.size).astype(dtype).reshape(z.shape)
    expected = naive.NAIVE_ACTIVATIONS[name][1](z.astype(float), PARAMETERS.get(name, 0.0)) * d
    got = backward(name, z, forward(name, z), d)
    np.testing.assert_allclose(got, expected, rtol=0, atol=12 * epsilon(dtype))


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_derivatives_are_the_differences_of_values(name: str) -> None:
    z = np.random.default_rng(3).normal(0, 2, (40, 5))
    z[abs(z) < 1e-3] = 1.0  # kinks
    h = 1e-6
    difference = (forward(name, z + h) - forward(name, z - h)) / (2 * h)
    got = backward(name, z, forward(name, z), np.ones_like(z))
    np.testing.assert_allclose(got, difference, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", [1, 2, 7, 10, 100])
def test_softmax(units: int, dtype: Real) -> None:
    rng = np.random.default_rng(units)
    z = rng.normal(0, 5, (33, units)).astype(dtype)
    z[0] += 1e4 if dtype is np.float64 else 1e3
    z[1, 0] = -1e4
    y = forward("softmax", z)
    expected = naive.activate_naively("softmax", z.astype(float))
    spread = z.astype(float).max(axis=1, keepdims=True) - z  # its rounding is a relative error of y
    np.testing.assert_array_less(
        abs(y - expected), epsilon(dtype) * expected * (10 + np.minimum(spread, 100)) + 2e-38
    )
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=10 * epsilon(dtype))

    d: Array = rng.normal(size=z.shape).astype(dtype)
    jacobians = np.einsum("nj,jk->njk", expected, np.eye(units)) - np.einsum(
        "nj,nk->njk", expected, expected
    )
    product = np.einsum("nj,njk->nk", d, jacobians)
    got = backward("softmax", z, y, d)
    np.testing.assert_allclose(got, product, rtol=0, atol=20 * epsilon(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_stays_visible(name: str, dtype: Real) -> None:
    z = np.ones((3, 40), dtype)
    z[1, 3] = z[1, 38] = np.nan
    y = forward(name, z)
    assert np.isnan(y[1, [3, 38]]).all()
    assert np.isfinite(y[[0, 2]]).all()
    slope = backward(name, z, y, np.ones_like(z))
    if name not in ("identity", "relu", "leaky_relu", "prelu"):  # their slope is NaN-free or 1
        assert np.isnan(slope[1, [3, 38]]).all()
    d = np.full_like(z, np.nan)
    ones = np.ones_like(z)
    assert np.isnan(backward(name, ones, forward(name, ones), d)).all()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_a_row_with_nan_or_infinity_is_nan(dtype: Real, sign: int) -> None:
    z = np.zeros((4, 9), dtype)
    z[1, 2], z[2, 5] = math.copysign(math.nan, sign), math.inf
    assert np.isnan(forward("softmax", z)).all(axis=1).tolist() == [False, True, True, False]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_limits(name: str, dtype: Real) -> None:
    """At infinity and far out: the limits, never NaN."""
    a = PARAMETERS.get(name, 0.0)
    selu = 1.0507009873554805
    unbounded = {"identity": (-np.inf, 1.0), "leaky_relu": (-np.inf, a), "prelu": (-np.inf, a)}
    left = {"tanh": -1.0, "elu": -a, "selu": -selu * 1.6732632423543772}
    value, slope = unbounded.get(name, (left.get(name, 0.0), 0.0))
    bounded = name in ("sigmoid", "tanh")
    top, top_slope = (1.0, 0.0) if bounded else (np.inf, selu if name == "selu" else 1.0)

    z = np.array([[-np.inf, np.inf]] * 20, dtype)
    y = forward(name, z)
    np.testing.assert_allclose(y, [[value, top]] * 20, rtol=1e-6)
    got = backward(name, z, y, np.ones_like(z))
    np.testing.assert_allclose(got, [[slope, top_slope]] * 20, rtol=1e-6, atol=1e-6)

    z = np.array([[-1e4, 1e4]] * 20, dtype)
    y = forward(name, z)
    slope_far = backward(name, z, y, np.ones_like(z))
    np.testing.assert_allclose(slope_far, [[slope, top_slope]] * 20, rtol=1e-6, atol=1e-6)
    if np.isfinite(value):
        np.testing.assert_allclose(y[:, 0], value, rtol=1e-6)


def test_slopes_at_the_kink_are_those_from_the_left() -> None:
    z = np.zeros((1, 3))
    at_zero = {"relu": 0.0, "leaky_relu": 0.2, "prelu": 0.3, "elu": 1.5}
    for name, slope in at_zero.items():
        got = backward(name, z, forward(name, z), np.full_like(z, 2.0))
        np.testing.assert_array_equal(got, 2 * slope, err_msg=name)


def test_small_tails_keep_their_digits() -> None:
    """A unit far below 0 is nearly dead, not dead: its slope is small, not 0."""
    z = np.array([[-20.0, -60.0]], np.float32)
    for name in ("sigmoid", "softplus"):
        got = backward(name, z, forward(name, z), np.ones_like(z))
        np.testing.assert_allclose(got, np.exp(z.astype(float)), rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_in_place_and_row_by_row_give_the_same_bits(name: str, dtype: Real) -> None:
    """Whatever the rows of a block, vectors and remainders compute alike."""
    rng = np.random.default_rng(5)
    z, d = rng.normal(0, 3, (2, 61, 37)).astype(dtype)
    y = forward(name, z)
    dz = backward(name, z, y, d)

    in_place = z.copy()
    forward(name, in_place, in_place)
    np.testing.assert_array_equal(in_place, y)
    for n in range(len(z)):
        row = slice(n, n + 1)
        np.testing.assert_array_equal(forward(name, z[row]), y[row])
        np.testing.assert_array_equal(backward(name, z[row], y[row], d[row]), dz[row])


@pytest.mark.parametrize("dtype", DTYPES)
def test_prelu_has_a_slope_for_every_unit(dtype: Real) -> None:
    rng = np.random.default_rng(6)
    z, d = rng.normal(size=(2, 33, 9)).astype(dtype)
    slope = np.linspace(-0.5, 0.5, 9).astype(dtype)
    y, dz, unused = np.empty_like(z), d.copy(), 0.0
    activate(code("activation", "prelu"), unused, slope, z, y)
    np.testing.assert_array_equal(y, np.where(z > 0, z, slope * z))
    backpropagate(code("activation", "prelu"), unused, slope, z, y, dz)
    np.testing.assert_array_equal(dz, np.where(z > 0, d, slope * d))

    out = np.ones(9, dtype)
    slope_gradient(z, d, out)
    expected = 1 + (d.astype(float) * np.minimum(z, 0)).sum(axis=0)
    np.testing.assert_allclose(out, expected, rtol=40 * epsilon(dtype))


def test_no_rows_is_no_work() -> None:
    for name in ACTIVATIONS:
        empty = np.empty((0, 4))
        assert backward(name, empty, forward(name, empty), empty).shape == (0, 4)


def test_other_shapes_and_names_compile_nothing() -> None:
    z = np.ones((2, 3), np.float32)
    forward("sigmoid", z)
    backward("sigmoid", z, z, z)
    kernels: list[Any] = [activate, backpropagate]
    before = [len(each.signatures) for each in kernels]
    for name in ACTIVATIONS:
        for shape in ((1, 1), (5, 1), (1, 9), (40, 60)):
            z = np.ones(shape, np.float32)
            backward(name, z, forward(name, z), z)
    assert [len(each.signatures) for each in kernels] == before


Function = Callable[[Array], Array]


def over(ours: Callable[[Any], Any]) -> Function:
    """Apply an elementary function to every element of an array."""

    @numba.njit  # type: ignore[untyped-decorator]
    def each(x: Array, y: Array) -> None:
        for i in range(x.shape[0]):
            y[i] = ours(x[i])

    def apply(x: Array) -> Array:
        y = np.empty_like(x)
        each(x, y)
        return y

    return apply


ELEMENTARY: dict[str, tuple[Function, Function, Array]] = {
    "exp": (over(elementary.exp), np.exp, -np.linspace(0, 87, 3001)),
    "expm1": (over(elementary.expm1), np.expm1, -np.logspace(-20, 1.9, 3001)),
    "log1p": (over(elementary.log1p), np.log1p, np.logspace(-20, 0, 3001)),
    "log": (over(elementary.log), np.log, np.logspace(-30, 30, 3002)),
    "tanh": (over(elementary.tanh), np.tanh, np.linspace(-12, 12, 3002)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTARY)
def test_elementary_functions(name: str, dtype: Real) -> None:
    ours, reference, points = ELEMENTARY[name]
    x = points.astype(dtype)
    np.testing.assert_allclose(ours(x), reference(x.astype(float)), rtol=4 * epsilon(dtype))
    nan, alone = np.array([np.nan] * 30, dtype), x[:1]
    assert np.isnan(ours(nan)).all()
    assert ours(alone)[0] == ours(np.repeat(alone, 30))[17]


@pytest.mark.parametrize("dtype", DTYPES)
def test_elementary_limits(dtype: Real) -> None:
    x = np.array([-np.inf, -1e4, 0.0], dtype)
    np.testing.assert_array_equal(ELEMENTARY["exp"][0](x), [0, 0, 1])
    np.testing.assert_array_equal(ELEMENTARY["expm1"][0](x), [-1, -1, 0])
    np.testing.assert_array_equal(ELEMENTARY["tanh"][0](x), [-1, -1, 0])
    np.testing.assert_array_equal(ELEMENTARY["log"][0](np.ones(9, dtype)), 0)
