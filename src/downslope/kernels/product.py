"""Matrix products C = A B, written for the shapes of training.

A general BLAS packs its operands at every call, which costs as much as the product itself when a
batch has few rows; and its sums depend on how the work is cut. Here a tile of C stays in registers
while one row of A's tile meets one row of B after the other, in the order of k. So every element of
C is one chain of fused multiply-adds over k, the same bits however rows and columns are shared out
among threads or tiles. Where a tile would be mostly empty, of one row or of few units, dot products
take its place: they depend on their own row and column alone.

On one core of a Zen 4 (at most 115 GFLOP/s in float32) the tiles reach 105 to 114 from 32x784x128
to 128x1024x1024, where OpenBLAS 0.3.31 reached 80 to 95 within a step; on a 2.6 GHz Xeon 145 to 168
on shapes from 16x784x128 to 64x784x256, where OpenBLAS reached 69 to 120. For x^T d of wide layers
both operands must be copied: on one core of a Zen 3 256x1024x1024 reached 54 where they lie, 68
with one of them copied and 83 with both, which is OpenBLAS' rate there. On one core of a Zen 1 most
shapes reach 31 to 38, OpenBLAS at most 36.
"""

from __future__ import annotations

import numpy as np

from downslope.kernels import tiles
from downslope.kernels.jit import apart, inner
from downslope.kernels.lanes import copy_row
from downslope.kernels.tiles import TILE_ROWS, column_sums, lanes_of
from downslope.kernels.vectors import VECTOR_BYTES, WIDE
from downslope.kernels.views import elements, pointer

CACHED_BYTES = 1 << 18
"""While B fits in half of a small second-level cache it is read where it lies."""

PACKED_ROWS = 64
"""Rows of C from which a panel of B is packed: fewer do not repay the copy."""

RAGGED_ROWS = 24
"""The same where a panel ends within a vector and masks are slow: the copy needs none."""

PACKED_DEPTH = 2048
"""Rows of B packed at a time."""

LAST_ROWS = 4
"""Rows of the tiles for what is left below the others: with two vectors each, as few as take no
longer than any fewer, for every sum waits for the one before."""

FEW_ROWS = 4
"""With fewer rows than this no tile is filled; d W^T is taken as dot products along W's rows."""

NARROW, DEEP, MANY_ROWS = 4, 16, 8
"""Up to so many units most lanes of a tile stand empty. Dot products pay then from so many inputs a
unit, a gradient computed the other way round from so many rows."""

PANEL_WIDTH = 2 * VECTOR_BYTES // 4
"""Elements of a row of a packed panel at most."""

TURNED_DEPTH = PACKED_DEPTH * PANEL_WIDTH // NARROW
"""Inputs up to which W^T of so few units has room in the scratch."""


COPIED_ROWS, COPIED_COLUMNS = 256, 96
"""Of x at a time for a gradient by panels: some whole tiles, each used for every panel."""


def scratch_floats(depth: int) -> int:
    """Count the floats of scratch that a product of some depth may use, in either number type."""
    panel = min(depth, PACKED_DEPTH) * PANEL_WIDTH
    return max(panel, min(depth, COPIED_ROWS) * COPIED_COLUMNS)


# Below, np.int64(0) in the place of 0: for a literal the callee would be compiled once more.
_tall_wide, _tall_narrow = tiles.tile(TILE_ROWS, 2), tiles.tile(TILE_ROWS, 1)
_last_wide, _last_narrow = (tiles.tile(LAST_ROWS, v, partial=True) for v in (2, 1))
_tall_thin = tiles.tile(TILE_ROWS, 1, VECTOR_BYTES // 2)  # two such take the time of a whole one
_row_widest, _row_wider = tiles.tile(1, 8), tiles.tile(1, 4)
_row_wide, _row_narrow = tiles.tile(1, 2), tiles.tile(1, 1)
_two_rows = tiles.tile(2, 1)


@apart
def _few_rows(a, a_row, a_col, b, b_row, c, c_row, start, start_row, start_width, rows, depth,
              columns):  # fmt: skip
    """Rows too few for a tile of several, each in tiles as wide as the registers allow.

    A sum waits for the one before: eight vectors of them side by side keep the units busy; of
    narrow rows two go together.
    """
    lanes, first = lanes_of(c), 0
    if rows >= 2 and columns <= lanes:
        _two_rows(a, a_row, a_col, b, b_row, columns, c, c_row, start, start_row, start_width,
                  np.int64(2), depth, columns)  # fmt: skip
        first = 2
    for r in range(first, rows):
        a_now, c_now = pointer(a, r * a_row), pointer(c, r * c_row)
        start_now, j = pointer(start, r * start_row), 0
        while j < columns:
            left = columns - j
            b_j, c_j, start_j = pointer(b, j), pointer(c_now, j), pointer(start_now, j)
            if left >= 8 * lanes:
                _row_widest(a_now, a_row, a_col, b_j, b_row, 8 * lanes, c_j, c_row, start_j,
                            start_row, start_width, np.int64(1), depth, 8 * lanes)  # fmt: skip
                j += 8 * lanes
            elif left >= 4 * lanes:
                _row_wider(a_now, a_row, a_col, b_j, b_row, 4 * lanes, c_j, c_row, start_j,
                           start_row, start_width, np.int64(1), depth, 4 * lanes)  # fmt: skip
                j += 4 * lanes
            elif left > lanes:
                width = min(left, 2 * lanes)
                _row_wide(a_now, a_row, a_col, b_j, b_row, width, c_j, c_row, start_j, start_row,
                          start_width, np.int64(1), depth, width)  # fmt: skip
                j += 2 * lanes
            else:
                _row_narrow(a_now, a_row, a_col, b_j, b_row, left, c_j, c_row, start_j, start_row,
                            start_width, np.int64(1), depth, left)  # fmt: skip
                j += lanes


@apart
def _panel(a, a_row, a_col, b, b_row, b_width, c, c_row, start, start_row, start_width, rows, depth,
           width):  # fmt: skip
    """One panel of at most two vectors' width, tile after tile down the rows.

    b_width: columns of B that may be read, of which `width` count.
    """
    wide = width > lanes_of(c)
    r = 0
    while r < rows:
        left = rows - r
        a_now, c_now = pointer(a, r * a_row), pointer(c, r * c_row)
        start_now = pointer(start, r * start_row)
        if left >= TILE_ROWS:
            if wide:
                _tall_wide(a_now, a_row, a_col, b, b_row, b_width, c_now, c_row, start_now,
                           start_row, start_width, left, depth, width)  # fmt: skip
            elif 2 * width <= lanes_of(c):
                _tall_thin(a_now, a_row, a_col, b, b_row, b_width, c_now, c_row, start_now,
                           start_row, start_width, left, depth, width)  # fmt: skip
            else:
                _tall_narrow(a_now, a_row, a_col, b, b_row, b_width, c_now, c_row, start_now,
                             start_row, start_width, left, depth, width)  # fmt: skip
            r += TILE_ROWS
        else:
            if wide:
                _last_wide(a_now, a_row, a_col, b, b_row, b_width, c_now, c_row, start_now,
                           start_row, start_width, left, depth, width)  # fmt: skip
            else:
                _last_narrow(a_now, a_row, a_col, b, b_row, b_width, c_now, c_row, start_now,
                             start_row, start_width, left, depth, width)  # fmt: skip
            r += LAST_ROWS


_pack_whole, _pack_edge = tiles.packing(False), tiles.packing(True)


@apart
def tile_product(a, a_row, a_col, b, b_row, c, c_row, start, start_row, start_width, rows, depth,
                 columns, scratch):  # fmt: skip
    """C = start + A B, tile by tile, with B where it lies or packed panel by panel.

    The rows of a large B lie so far apart that they drive each other out of the cache; copied once,
    one after another, they serve all tiles of the panel. scratch: `scratch_floats`.
    """
    lanes = lanes_of(c)
    if rows < TILE_ROWS // 2:
        _few_rows(a, a_row, a_col, b, b_row, c, c_row, start, start_row, start_width, rows, depth,
                  columns)  # fmt: skip
        return
    wide = 2 * lanes
    far = rows >= PACKED_ROWS and depth * b_row > CACHED_BYTES // VECTOR_BYTES * lanes
    for j in range(0, columns, wide):
        width, k, c_now = min(wide, columns - j), np.int64(0), pointer(c, j)
        packs = far or (not WIDE and rows >= RAGGED_ROWS and width % lanes > 0)
        height = min(PACKED_DEPTH, depth) if packs else depth
        before, before_row, before_width = pointer(start, j), start_row, start_width
        while True:
            panel, panel_row, panel_width = pointer(b, j), b_row, width
            deep = min(height, depth - k)
            if packs:
                pack(pointer(b, k * b_row + j), b_row, scratch, deep, width)
                panel, panel_row, panel_width = scratch, wide, wide
            _panel(pointer(a, k * a_col), a_row, a_col, panel, panel_row, panel_width, c_now,
                   c_row, before, before_row, before_width, rows, deep, width)  # fmt: skip
            k += height
            if k >= depth:
                break
            before, before_row, before_width = c_now, c_row, np.int64(1)


@inner
def pack(b, b_row, scratch, depth, width):
    """Copy a panel of B, row after row, to where they follow each other."""
    if width == 2 * lanes_of(b):
        _pack_whole(b, b_row, scratch, depth, width)
    else:
        _pack_edge(b, b_row, scratch, depth, width)


_transpose_whole, _transpose_edge = tiles.transposition(False), tiles.transposition(True)
_transpose_small = tiles.transposition(True, VECTOR_BYTES // 2)
_eight_dots, _one_dot = tiles.dots(8), tiles.dots(1)


@apart
def transposed_product(a, b, c, c_row, rows, depth, columns, scratch, accumulate):
    """C = A B^T, B^T packed panel by panel; B (columns, depth).

    Added to C where `accumulate` is not 0.
    """
    wide = 2 * lanes_of(c)
    for j in range(0, columns, wide):
        width, c_now = min(wide, columns - j), pointer(c, j)
        for k in range(0, depth, PACKED_DEPTH):
            height = min(PACKED_DEPTH, depth - k)
            transpose(pointer(b, j * depth + k), depth, width, height, scratch, wide)
            _panel(pointer(a, k), depth, np.int64(1), scratch, wide, wide, c_now, c_row, c_now,
                   c_row, int(accumulate != 0 or k > 0), rows, height, width)  # fmt: skip


@inner
def transpose(source, source_row, rows, columns, target, target_row):
    """target[:, :rows] = source (rows, columns), transposed block by block."""
    lanes = lanes_of(target)
    for i in range(0, rows, lanes):
        height = min(lanes, rows - i)
        for j in range(0, columns, lanes):
            width = min(lanes, columns - j)
            begin, end = pointer(source, i * source_row + j), pointer(target, j * target_row + i)
            if height == lanes and width == lanes:
                _transpose_whole(begin, source_row, end, target_row, height, width)
            elif 2 * max(height, width) <= lanes:
                _transpose_small(begin, source_row, end, target_row, height, width)
            else:
                _transpose_edge(begin, source_row, end, target_row, height, width)


@apart
def dot_rows(a, b, b_row, c, c_row, c_step, rows, depth, columns, accumulate):
    """C = A B^T as dot products of rows; A (rows, depth), B (columns, depth).

    Added to C where `accumulate` is not 0. c_row, c_step: from one row and column of C to the next.
    """
    for r in range(rows):
        a_now, c_now = pointer(a, r * depth), pointer(c, r * c_row)
        j = 0
        while j < columns:
            b_j, c_j = pointer(b, j * b_row), pointer(c_now, j * c_step)
            if j + 8 <= columns:
                _eight_dots(a_now, b_j, b_row, c_j, c_step, depth, accumulate)
                j += 8
            else:
                _one_dot(a_now, b_j, b_row, c_j, c_step, depth, accumulate)
                j += 1


@inner
def turn(narrow, rows, columns, turned):
    """turned = narrow^T; narrow (rows, columns) of few columns."""
    source, target = elements(narrow, rows * columns), elements(turned, rows * columns)
    for j in range(columns):
        for i in range(rows):
            target[j * rows + i] = source[i * columns + j]


@apart
def narrow_affine(x, x_row, w, bias, biased, z, rows, depth, units, scratch):
    """z = x W + b for few units, by dot products: a tile of them would be mostly empty.

    bias: a pointer, to be read where `biased` is not 0.
    """
    turn(w, depth, units, scratch)
    outputs, b = elements(z, rows * units), elements(bias, units)
    zero = b.dtype.type(0)
    for r in range(rows):
        for j in range(units):
            outputs[r * units + j] = b[j] if biased != 0 else zero
    dot_rows(scratch, x, x_row, z, np.int64(1), units, units, depth, rows, np.int64(1))


@apart
def narrow_gradient(x, x_row, d, gradient, rows, inputs, units, scratch, accumulate):
    """dL/dW = x^T d for few units, as (d^T x)^T: the tiles are then as wide as W has rows."""
    tile_product(d, np.int64(1), units, x, x_row, scratch, inputs, scratch, inputs, np.int64(0),
                 units, rows, inputs, scratch)  # fmt: skip
    turned, out = elements(scratch, units * inputs), elements(gradient, units * inputs)
    zero = out.dtype.type(0)
    for i in range(inputs):
        for j in range(units):
            before = out[i * units + j] if accumulate != 0 else zero
            out[i * units + j] = before + turned[j * inputs + i]


# scratch, below: `scratch_floats` of the rows, the inputs and the units, whichever gives most.


@inner
def affine(theta, weight, bias, x, z, rows, inputs, units, first, last, scratch):
    """z = x W + b for some rows; x (rows, inputs), W (inputs, units); no b where bias < 0.

    Only columns first:last of x and those rows of W are taken. weight, bias: where in theta.
    """
    some, w, depth = pointer(x, first), pointer(theta, weight + first * units), last - first
    b, biased = pointer(theta, max(bias, 0)), bias + 1
    if units <= NARROW and DEEP * units <= depth <= TURNED_DEPTH:
        narrow_affine(some, inputs, w, b, biased, z, rows, depth, units, scratch)
    elif rows < FEW_ROWS:
        _few_rows(some, inputs, np.int64(1), w, units, z, units, b, np.int64(0), biased, rows,
                  depth, units)  # fmt: skip
    else:
        tile_product(some, inputs, np.int64(1), w, units, z, units, b, np.int64(0), biased, rows,
                     depth, units, scratch)  # fmt: skip


@inner
def input_gradient(d, w, dx, rows, inputs, units, first, last, scratch, accumulate):
    """Columns first:last of dx = d W^T (added to dx where `accumulate` is not 0) for some rows.

    d (rows, units), W (inputs, units), dx (rows, inputs).
    """
    some, out = pointer(w, first * units), pointer(dx, first)
    if rows < FEW_ROWS:
        dot_rows(d, some, units, out, inputs, np.int64(1), rows, units, last - first,
                 accumulate)  # fmt: skip
    else:
        transposed_product(d, some, out, inputs, rows, units, last - first, scratch,
                           accumulate)  # fmt: skip


@inner
def weight_gradient(x, inputs, d, gradient, rows, count, units, scratch, accumulate):
    """dL/dW = x^T d for `count` columns from x on (added to gradient where `accumulate` is not 0).

    x (rows, inputs), d (rows, units), gradient (count, units). A single row's is `tiles.outer`.
    """
    if units <= NARROW and rows >= MANY_ROWS:
        narrow_gradient(x, inputs, d, gradient, rows, count, units, scratch, accumulate)
    else:
        tile_product(x, np.int64(1), inputs, d, units, gradient, units, gradient, units,
                     accumulate, count, rows, units, scratch)  # fmt: skip


@inner
def copy_panels(d, panels, height, rows, units):
    """Copy some rows of d (rows, units) to panels as wide as a tile, each `height` rows long."""
    wide = 2 * lanes_of(d)
    for j in range(0, units, wide):
        pack(pointer(d, j), units, pointer(panels, j * height), rows, min(wide, units - j))


@apart
def gradient_by_panels(x, inputs, panels, height, gradient, rows, count, units, scratch,
                       accumulate):  # fmt: skip
    """`weight_gradient`, to the same bits, with d in panels.

    For more than `NARROW` units. The rows of wide layers lie so far apart that the cache has but a
    few places for a column of them. So d is copied to panels once a step, by whoever has computed
    it, and x here.
    """
    wide = 2 * lanes_of(gradient)
    for k in range(0, rows, COPIED_ROWS):
        deep, adds = min(COPIED_ROWS, rows - k), int(accumulate != 0 or k > 0)
        for i in range(0, count, COPIED_COLUMNS):
            width = min(COPIED_COLUMNS, count - i)
            for r in range(deep):
                copy_row(pointer(x, (k + r) * inputs + i), pointer(scratch, r * COPIED_COLUMNS),
                         width)  # fmt: skip
            for j in range(0, units, wide):
                out = pointer(gradient, i * units + j)
                _panel(scratch, np.int64(1), np.int64(COPIED_COLUMNS),
                       pointer(panels, j * height + k * wide), wide, wide, out, units, out, units,
                       adds, width, deep, min(wide, units - j))  # fmt: skip


@inner
def row_sum(one, d, total, rows, units, scratch, accumulate):
    """The sum of d's rows, as a row of ones times d (added to total where `accumulate` is not 0).

    one: points to a 1; d (rows, units), total (units,).
    """
    if units <= 2 * lanes_of(d):
        column_sums(d, total, rows, units, accumulate)
    else:
        tile_product(one, np.int64(0), np.int64(0), d, units, total, units, total, units,
                     accumulate, np.int64(1), rows, units, scratch)  # fmt: skip
