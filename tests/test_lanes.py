from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from downslope.kernels.jit import kernel
from downslope.kernels.lanes import (
    all_lanes,
    before,
    copy_row,
    double,
    fused,
    lane_sum,
    like,
    load,
    magnitude,
    nearest,
    row_maximum,
    row_sum,
    select,
    store,
)
from downslope.kernels.vectors import VECTOR_BYTES
from downslope.kernels.views import pointer

Array = npt.NDArray[Any]
Real = type[np.float32 | np.float64]

DTYPES: list[Real] = [np.float32, np.float64]


@kernel
def compute(x, y, end):  # type: ignore[no-untyped-def]
    """Of the first vector: y (8, lanes) from x; lanes from `end` on are left out."""
    lanes = y.shape[1]
    v = load(pointer(x, 0), 0, end)
    one = like(v, 1.0)
    results = (v + one, v - one, v * v, one / v, -v, magnitude(v), nearest(v), fused(v, v, one))
    for k in range(8):
        store(results[k], pointer(y, 0), k * lanes, k * lanes + end)


@kernel
def compare(x, y):  # type: ignore[no-untyped-def]
    """Which of -1, 0 and 1 the first vector's elements are less than, at most, above, equal."""
    lanes = y.shape[1]
    where, out = pointer(x, 0), pointer(y, 0)
    v, one, zero = load(where, 0, lanes), all_lanes(where, 1.0), all_lanes(where, 0.0)
    holds = (v < zero, v <= zero, v > zero, v == zero)
    for k in range(4):
        store(select(holds[k], one, zero), out, k * lanes, (k + 1) * lanes)


@kernel
def rows(x, y, units, end):  # type: ignore[no-untyped-def]
    """The sum and the largest of each row in the first vector, in all lanes of the row."""
    lanes = y.shape[1]
    where, out = pointer(x, 0), pointer(y, 0)
    v = load(where, 0, end)
    store(row_sum(v, units), out, 0, lanes)
    store(row_maximum(select(before(where, 0, end), v, like(v, -np.inf)), units), out, lanes,
          2 * lanes)  # fmt: skip


@kernel
def total(x):  # type: ignore[no-untyped-def]
    """The sum of the first vector in float64."""
    return lane_sum(double(load(pointer(x, 0), 0, x.shape[0])))


@kernel
def copy(x, y, width):  # type: ignore[no-untyped-def]
    copy_row(pointer(x, 1), pointer(y, 2), width)


def lanes_of(dtype: Real) -> int:
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def numbers(dtype: Real, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 3, lanes_of(dtype)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic_is_done_in_every_lane_before_the_end(dtype: Real) -> None:
    x, lanes = numbers(dtype), lanes_of(dtype)
    one = dtype(1)
    expected = np.array([x + one, x - one, x * x, one / x, -x, abs(x), np.rint(x), x * x + one])
    for end in range(1, lanes + 1):
        y = np.full((8, lanes), 7, dtype)
        compute(x, y, end)
        np.testing.assert_allclose(
            y[:, :end], expected[:, :end], rtol=2 * float(np.finfo(dtype).eps)
        )
        np.testing.assert_array_equal(y[:, end:], 7)


@pytest.mark.parametrize("dtype", DTYPES)
def test_comparisons_know_nan(dtype: Real) -> None:
    x = np.resize(np.array([-1, 0, 1, np.nan, np.inf, -np.inf], dtype), lanes_of(dtype))
    y = np.full((4, len(x)), 7, dtype)
    compare(x, y)
    np.testing.assert_array_equal(y, [x < 0, x <= 0, x > 0, x == 0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_row_of_a_vector_is_reduced_in_its_own_lanes(dtype: Real) -> None:
    lanes, x = lanes_of(dtype), numbers(dtype)
    for units in range(1, lanes + 1):
        together = lanes // units if units & (units - 1) == 0 else 1
        for count in range(1, together + 1):
            y = np.empty((2, lanes), dtype)
            rows(x, y, units, count * units)
            got = y[:, : count * units].reshape(2, count, units)
            block = x[: count * units].reshape(count, units)
            rtol = units * float(np.finfo(dtype).eps)
            expected = np.repeat(block.astype(float).sum(axis=1)[:, None], units, axis=1)
            np.testing.assert_allclose(got[0], expected, rtol=rtol, atol=rtol)
            largest = np.repeat(block.max(axis=1)[:, None], units, axis=1)
            np.testing.assert_array_equal(got[1], largest)


@pytest.mark.parametrize("dtype", DTYPES)
def test_lanes_are_summed_in_float64(dtype: Real) -> None:
    x = numbers(dtype)
    x[0] = 2**20
    np.testing.assert_allclose(total(x), x.astype(float).sum(), rtol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_of_any_width_is_copied_and_nothing_beside_it(dtype: Real) -> None:
    for width in range(1, 3 * lanes_of(dtype) + 2):
        x, y = np.arange(width + 3).astype(dtype), np.full(width + 4, 7, dtype)
        copy(x, y, width)
        np.testing.assert_array_equal(y, [7, 7, *x[1 : width + 1], 7, 7])
