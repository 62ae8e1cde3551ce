"""The three products of training against NumPy in float64, surrounded by NaN on all sides."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from downslope.kernels import product, tiles
from downslope.kernels.jit import kernel
from downslope.kernels.product import (
    CACHED_BYTES,
    COPIED_COLUMNS,
    COPIED_ROWS,
    NARROW,
    PACKED_DEPTH,
    PANEL_WIDTH,
    TURNED_DEPTH,
    scratch_floats,
)
from downslope.kernels.views import pointer

Array = npt.NDArray[Any]


@kernel
def affine(x, x_at, theta, weight, bias, z, z_at, rows, inputs, units, first, last,  # type: ignore[no-untyped-def]
           scratch):  # fmt: skip
    product.affine(theta, weight, bias, pointer(x, x_at), pointer(z, z_at), rows, inputs, units,
                   first, last, pointer(scratch, 0))  # fmt: skip


@kernel
def input_gradient(d, d_at, theta, weight, dx, dx_at, rows, inputs, units,  # type: ignore[no-untyped-def]
                   first, last, scratch, accumulate):  # fmt: skip
    product.input_gradient(pointer(d, d_at), pointer(theta, weight), pointer(dx, dx_at), rows,
                           inputs, units, first, last, pointer(scratch, 0),
                           int(accumulate))  # fmt: skip


@kernel
def weight_gradient(x, x_at, d, d_at, gradient, gradient_at, rows, inputs,  # type: ignore[no-untyped-def]
                    units, first, last, scratch, accumulate):  # fmt: skip
    product.weight_gradient(pointer(x, x_at + first), inputs, pointer(d, d_at),
                            pointer(gradient, gradient_at), rows, last - first, units,
                            pointer(scratch, 0), int(accumulate))  # fmt: skip


@kernel
def gradient_by_panels(x, x_at, d, d_at, panels, height, row, gradient, gradient_at,  # type: ignore[no-untyped-def]
                       rows, inputs, units, first, last, scratch, accumulate):  # fmt: skip
    """For rows `row` on of panels `height` rows long, those rows copied in two goes."""
    wide = 2 * tiles.lanes_of(pointer(d, 0))
    here, half = pointer(panels, row * wide), rows // 2
    product.copy_panels(pointer(d, d_at), here, height, half, units)
    product.copy_panels(pointer(d, d_at + half * units), pointer(here, half * wide), height,
                        rows - half, units)  # fmt: skip
    product.gradient_by_panels(pointer(x, x_at + first), inputs, here, height,
                               pointer(gradient, gradient_at), rows, last - first, units,
                               pointer(scratch, 0), int(accumulate))  # fmt: skip


DTYPES = [np.float32, np.float64]
GUARD = 67
"""NaN before and after each operand: more than a vector, so that no lane may reach beyond."""

TAILS = range(1, 41)


def guarded(values: Array) -> Array:
    """Put an array, flat, between NaN; it begins at GUARD."""
    whole = np.full(values.size + 2 * GUARD, np.nan, values.dtype)
    whole[GUARD:-GUARD] = values.reshape(-1)
    return whole


def inside(whole: Array, shape: tuple[int, int]) -> Array:
    """Give what lies between the guards, which must be untouched."""
    assert np.isnan(whole[:GUARD]).all()
    assert np.isnan(whole[-GUARD:]).all()
    return whole[GUARD:-GUARD].reshape(shape)


def draw(*shapes: tuple[int, ...], dtype: Any) -> list[Array]:
    generator = np.random.default_rng(sum(sum(shape) for shape in shapes))
    return [generator.normal(size=shape).astype(dtype) for shape in shapes]


def check(got: Array, a: Array, b: Array, plus: Array | float = 0.0) -> None:
    """Hold an a b + plus against its rounding: depth units in the last place of |a| |b|."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    allowed = (a.shape[1] + 2) * np.finfo(got.dtype).eps * (abs(a) @ abs(b) + abs(plus))
    assert (abs(got - (a @ b + plus)) <= allowed).all()


def scratch_for(depth: int, dtype: Any) -> Array:
    """Give scratch of just the size that a product of some depth may use, filled with NaN."""
    whole = guarded(np.full(scratch_floats(depth), np.nan, dtype))
    return whole[GUARD:-GUARD]


def check_affine(
    rows: int, inputs: int, units: int, dtype: Any, bias: bool = True, first: int = 0,
    last: int | None = None,
) -> None:  # fmt: skip
    last = inputs if last is None else last
    x, w, b = draw((rows, inputs), (inputs, units), (units,), dtype=dtype)
    theta = np.concatenate([guarded(w), b])
    z = guarded(np.full((rows, units), np.nan, dtype))
    place = len(theta) - units if bias else -1
    affine(guarded(x), GUARD, theta, GUARD, place, z, GUARD, rows, inputs, units, first, last,
           scratch_for(inputs, dtype))  # fmt: skip
    check(inside(z, (rows, units)), x[:, first:last], w[first:last], b.astype(float) * bias)


def check_input_gradient(
    rows: int, inputs: int, units: int, dtype: Any, accumulate: bool = False, first: int = 0,
    last: int | None = None,
) -> None:  # fmt: skip
    last = inputs if last is None else last
    d, w, before = draw((rows, units), (inputs, units), (rows, inputs), dtype=dtype)
    dx = guarded(before)
    input_gradient(guarded(d), GUARD, guarded(w), GUARD, dx, GUARD, rows, inputs, units,
                   first, last, scratch_for(units, dtype), accumulate)  # fmt: skip
    got = inside(dx, (rows, inputs))
    check(got[:, first:last], d, w[first:last].T, before[:, first:last].astype(float) * accumulate)
    np.testing.assert_array_equal(np.delete(got, np.s_[first:last], 1),
                                  np.delete(before, np.s_[first:last], 1))  # fmt: skip


def check_weight_gradient(
    rows: int, inputs: int, units: int, dtype: Any, first: int = 0, last: int | None = None,
    accumulate: bool = False,
) -> None:  # fmt: skip
    last = inputs if last is None else last
    x, d, before = draw((rows, inputs), (rows, units), (last - first, units), dtype=dtype)
    gradient = guarded(before if accumulate else np.full_like(before, np.nan))
    weight_gradient(guarded(x), GUARD, guarded(d), GUARD, gradient, GUARD, rows, inputs, units,
                    first, last, scratch_for(max(rows, inputs), dtype), accumulate)  # fmt: skip
    got = inside(gradient, (last - first, units))
    check(got, x[:, first:last].T, d, before.astype(np.float64) * accumulate)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("rows", [1, 31, COPIED_ROWS, 2 * COPIED_ROWS + 1])
@pytest.mark.parametrize("units", [NARROW + 1, PANEL_WIDTH, 2 * PANEL_WIDTH + 3])
def test_gradient_by_panels_has_the_bits_of_the_other(
    units: int, rows: int, accumulate: bool, dtype: Any
) -> None:
    inputs, height, row = COPIED_COLUMNS + 40, rows + 9, 5
    for first, last in (0, inputs), (7, 8), (3, 3 + COPIED_COLUMNS), (19, inputs - 2):
        count = last - first
        x, d, before = draw((rows, inputs), (rows, units), (count, units), dtype=dtype)
        expected = guarded(before)
        weight_gradient(guarded(x), GUARD, guarded(d), GUARD, expected, GUARD, rows, inputs, units,
                        first, last, scratch_for(max(rows, inputs), dtype), accumulate)  # fmt: skip
        panels = np.full(height * -(-units // PANEL_WIDTH) * PANEL_WIDTH, np.nan, dtype)
        got = guarded(before)
        gradient_by_panels(guarded(x), GUARD, guarded(d), GUARD, panels, height, row, got, GUARD,
                           rows, inputs, units, first, last, scratch_for(rows, dtype),
                           accumulate)  # fmt: skip
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_tail(dtype: Any) -> None:
    for rows in TAILS:
        for units in TAILS:
            inputs = 1 + (7 * rows + units) % 40
            some = inputs // 3, inputs - inputs // 5
            check_affine(rows, inputs, units, dtype, (rows + units) % 3 > 0, *some)
            check_input_gradient(rows, inputs, units, dtype, (rows + units) % 2 == 0, *some)
            check_weight_gradient(
                rows, inputs, units, dtype, inputs // 3, inputs, (rows + units) % 2 == 0
            )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 5, 64, 131])
def test_affine_where_W_is_large(rows: int, bias: bool, dtype: Any) -> None:
    inputs, units = 457, CACHED_BYTES // np.dtype(dtype).itemsize // 457 + 3
    check_affine(rows, inputs, units, dtype, bias)
    check_affine(rows, inputs, units, dtype, bias, 100, 420)
    check_affine(rows, 211, 157, dtype, bias)


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_deeper_than_a_panel(dtype: Any) -> None:
    deep = PACKED_DEPTH + 5
    check_affine(67, deep, 263, dtype)
    check_input_gradient(9, 37, deep, dtype, accumulate=True)
    check_weight_gradient(deep, 80, 263, dtype, 3, 79, accumulate=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 4, 64, 131])
def test_input_gradient_where_W_is_large(rows: int, accumulate: bool, dtype: Any) -> None:
    inputs, units = 301, CACHED_BYTES // np.dtype(dtype).itemsize // 301 + 3
    check_input_gradient(rows, inputs, units, dtype, accumulate)
    check_input_gradient(rows, 101, 61, dtype, accumulate)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize(("first", "last"), [(0, 203), (64, 128), (200, 203), (17, 18)])
def test_weight_gradient_of_some_rows_of_W(
    first: int, last: int, accumulate: bool, dtype: Any
) -> None:
    rows, units = 301, CACHED_BYTES // np.dtype(dtype).itemsize // 301 + 3
    check_weight_gradient(rows, 203, units, dtype, first, last, accumulate)
    check_weight_gradient(37, 203, units, dtype, first, last, accumulate)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("units", [1, 2, 4, 5])
@pytest.mark.parametrize("rows", [1, 7, 8, 67])
def test_few_units(rows: int, units: int, accumulate: bool, dtype: Any) -> None:
    check_affine(rows, 111, units, dtype, accumulate)
    check_affine(rows, 111, units, dtype, accumulate, 16, 101)
    check_weight_gradient(rows, 111, units, dtype, 0, 111, accumulate)
    check_weight_gradient(rows, 111, units, dtype, 13, 90, accumulate)
    check_affine(rows, TURNED_DEPTH, units, dtype)
    check_affine(rows, TURNED_DEPTH + 1, units, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", [2, 45])
def test_bits_do_not_hang_on_how_rows_are_shared_out(units: int, dtype: Any) -> None:
    """By tiles, every element is one chain over k: a row has the same bits alone or among others.

    So has a row of the weights' gradient, whatever the piece it is computed in.
    """
    rows, inputs = 29, 37
    x, w, d = draw((rows, inputs), (inputs, units), (rows, units), dtype=dtype)
    theta = np.concatenate([w.reshape(-1), w[0]])
    scratch = scratch_for(inputs, dtype)
    whole, cut = np.empty((rows, units), dtype), np.empty((rows, units), dtype)
    affine(x.reshape(-1), 0, theta, 0, w.size, whole.reshape(-1), 0, rows, inputs, units,
           0, inputs, scratch)  # fmt: skip
    whole_dw, cut_dw = np.empty((inputs, units), dtype), np.empty((inputs, units), dtype)
    weight_gradient(x.reshape(-1), 0, d.reshape(-1), 0, whole_dw.reshape(-1), 0, rows, inputs,
                    units, 0, inputs, scratch, False)  # fmt: skip
    for height in (1, 3, 8, 13):
        for r in range(0, rows, height):
            affine(x.reshape(-1), r * inputs, theta, 0, w.size, cut.reshape(-1), r * units,
                   min(height, rows - r), inputs, units, 0, inputs, scratch)  # fmt: skip
        for i in range(0, inputs, height):
            weight_gradient(x.reshape(-1), 0, d.reshape(-1), 0, cut_dw.reshape(-1), i * units,
                            rows, inputs, units, i, min(i + height, inputs), scratch,
                            False)  # fmt: skip
        np.testing.assert_array_equal(cut, whole)
        np.testing.assert_array_equal(cut_dw, whole_dw)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_so(value: float) -> None:
    x, w = draw((9, 5), (5, 20), dtype=np.float32)
    x[4, 2] = value
    z = np.zeros(180, np.float32)
    affine(x.reshape(-1), 0, w.reshape(-1), 0, -1, z, 0, 9, 5, 20, 0, 5, scratch_for(5, np.float32))
    bad = ~np.isfinite(z.reshape(9, 20))
    assert bad[4].all()
    assert bad.sum() == 20


@kernel
def row_squares(values, at, out, out_at, rows, units):  # type: ignore[no-untyped-def]
    tiles.row_squares(pointer(values, at), pointer(out, out_at), rows, units)


@kernel
def magnitude_sums(values, at, out, out_at, rows, units):  # type: ignore[no-untyped-def]
    tiles.magnitude_sums(pointer(values, at), pointer(out, out_at), rows, units, 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_squares_of_rows_and_of_magnitudes_of_columns(dtype: Any) -> None:
    generator = np.random.default_rng(0)
    for rows in (1, 2, 5, 8, 9, 31, 32):
        for units in (1, 2, 7, 8, 9, 16, 33):
            values = generator.standard_normal((rows, units)).astype(dtype)
            squares = guarded(np.zeros(rows))
            row_squares(guarded(values), GUARD, squares, GUARD, rows, units)
            expected = (values.astype(np.float64) ** 2).sum(1)
            np.testing.assert_allclose(inside(squares, (1, rows))[0], expected, rtol=1e-14)
            sums = guarded(np.ones(units, dtype))
            magnitude_sums(guarded(values), GUARD, sums, GUARD, rows, units)
            expected = 1 + abs(values.astype(np.float64)).sum(0)
            tolerance = 100 * np.finfo(dtype).eps
            np.testing.assert_allclose(inside(sums, (1, units))[0], expected, rtol=tolerance)
