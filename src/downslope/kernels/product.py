"""Matrix products C = A B, written for the shapes of training.

A general BLAS packs its operands at every call, which costs as much as the product itself when a
batch has few rows; and its sums depend on how the work is cut. Here a tile of C stays in registers
while one row of A's tile meets one row of B after the other, in the order of k. So every element of
C is one chain of fused multiply-adds over k, the same bits however rows and columns are shared out
among threads or tiles.

On a 2.6 GHz core with AVX-512, one thread, float32 (GFLOP/s, tiles / OpenBLAS 0.3.31): 16x784x128
145/69, 32x784x128 144/82, 64x784x256 168/120, 128x784x1024 58/137. So a product whose B fits in the
second-level cache goes by tiles, a larger one to BLAS, which packs B first. Which one is taken
hangs on the layer alone, and BLAS is given the same cuts for any number of threads.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from downslope.kernels.blas import gemm
from downslope.kernels.jit import inner

WIDE = "+avx512f" in llvmlite.binding.get_host_cpu_features().flatten()
VECTOR_BYTES = 64 if WIDE else 32
"""Bytes of one vector of C's tile; two such vectors are a tile's width."""

TILE_ROWS = 8 if WIDE else 6
"""Rows of C's tile: with two vectors each they fill the registers and leave room for A and B."""

CACHED_BYTES = 1 << 20
"""A product by tiles pays while B fits in the second-level cache."""

TRANSPOSED_BYTES = 1 << 19
"""W is transposed by ourselves while the copy fits well into the second-level cache."""

FEW_ROWS = 4
"""With fewer rows than this, d W^T is taken as dot products along W's rows."""


def _tile(rows: int, vectors: int) -> Any:
    """Make the innermost product: a tile of C, rows x vectors, in registers.

    C[r, :] = start[r, :] + sum_k A[r, k] B[k, :]; all operands are flat arrays with an offset and
    strides in elements, B's and C's columns are contiguous. `width` columns are read and written;
    what lies beyond in the last vector is masked. A start of width 0 stands for zeros.
    """

    @intrinsic
    def tile(typing, a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, c_row,
             start, start_at, start_row, start_width, depth, width):  # fmt: skip
        index = types.intp
        signature = types.void(a, index, index, index, b, index, index, c, index, index,
                               start, index, index, index, index, index)  # fmt: skip

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            (a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, c_row,
             start, start_at, start_row, start_width, depth, width) = arguments  # fmt: skip
            element = context.get_data_type(c_type := signature.args[7].dtype)
            lanes = VECTOR_BYTES // (c_type.bitwidth // 8)
            vector = ir.VectorType(element, lanes)
            word = ir.IntType(64)
            masks = _masks(builder, width, lanes, vectors)

            def data(position: int, value: Any, offset: Any) -> Any:
                array = context.make_array(signature.args[position])(context, builder, value)
                return builder.gep(array.data, [offset])

            a_data, b_data = data(0, a, a_at), data(4, b, b_at)
            c_data, start_data = data(7, c, c_at), data(10, start, start_at)
            suffix = f"v{lanes}f{c_type.bitwidth}"
            access = _Access(builder, vector, suffix, c_type.bitwidth // 8)
            fused = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.{suffix}"
            )
            sums = [
                [cgutils.alloca_once(builder, vector) for _ in range(vectors)] for _ in range(rows)
            ]
            offsets = [word(v * lanes) for v in range(vectors)]
            zero = ir.Constant(vector, [0.0] * lanes)
            with builder.if_else(builder.icmp_signed("!=", start_width, word(0))) as (then, other):
                with then:
                    for r in range(rows):
                        row = builder.gep(start_data, [builder.mul(word(r), start_row)])
                        for v in range(vectors):
                            begin = builder.gep(row, [offsets[v]])
                            builder.store(access.load(begin, masks[v]), sums[r][v])
                with other:
                    for r in range(rows):
                        for v in range(vectors):
                            builder.store(zero, sums[r][v])
            with cgutils.for_range(builder, depth) as loop:
                b_begin = builder.gep(b_data, [builder.mul(loop.index, b_row)])
                b_row_now = [
                    access.load(builder.gep(b_begin, [offsets[v]]), masks[v])
                    for v in range(vectors)
                ]
                a_begin = builder.gep(a_data, [builder.mul(loop.index, a_col)])
                for r in range(rows):
                    scalar = builder.load(builder.gep(a_begin, [builder.mul(word(r), a_row)]))
                    spread = _spread(builder, scalar, vector)
                    for v in range(vectors):
                        total = builder.load(sums[r][v])
                        builder.store(
                            builder.call(fused, [spread, b_row_now[v], total]), sums[r][v]
                        )
            for r in range(rows):
                row = builder.gep(c_data, [builder.mul(word(r), c_row)])
                for v in range(vectors):
                    access.store(builder.load(sums[r][v]), builder.gep(row, [offsets[v]]), masks[v])
            return context.get_dummy_value()

        return signature, generate

    return tile


def _spread(builder: Any, scalar: Any, vector: Any) -> Any:
    """Put one scalar into every lane."""
    lane = ir.IntType(32)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, lane(0))
    everywhere = ir.Constant(ir.VectorType(lane, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, everywhere)


def _masks(builder: Any, width: Any, lanes: int, vectors: int) -> list[Any]:
    """Say for each vector which lanes hold columns; whole vectors but the last need none."""
    numbers = ir.VectorType(ir.IntType(64), lanes)
    columns = ir.Constant(numbers, [(vectors - 1) * lanes + lane for lane in range(lanes)])
    last = builder.icmp_signed("<", columns, _spread(builder, width, numbers))
    return [None] * (vectors - 1) + [last]


class _Access:
    """Loads and stores one vector, whole or masked."""

    def __init__(self, builder: Any, vector: Any, suffix: str, alignment: int) -> None:
        self.builder, self.vector, self.alignment = builder, vector, alignment
        self.pointer = vector.as_pointer()
        mask, number = ir.VectorType(ir.IntType(1), vector.count), ir.IntType(32)
        self.number = number(alignment)
        self.zero = ir.Constant(vector, [0.0] * vector.count)
        self.masked_load = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(vector, [self.pointer, number, mask, vector]),
            f"llvm.masked.load.{suffix}.p0",
        )
        self.masked_store = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [vector, self.pointer, number, mask]),
            f"llvm.masked.store.{suffix}.p0",
        )

    def load(self, begin: Any, mask: Any) -> Any:
        begin = self.builder.bitcast(begin, self.pointer)
        if mask is None:
            value = self.builder.load(begin)
            value.align = self.alignment
            return value
        return self.builder.call(self.masked_load, [begin, self.number, mask, self.zero])

    def store(self, value: Any, begin: Any, mask: Any) -> None:
        begin = self.builder.bitcast(begin, self.pointer)
        if mask is None:
            self.builder.store(value, begin).align = self.alignment
        else:
            self.builder.call(self.masked_store, [value, begin, self.number, mask])


def _transposition(masked: bool) -> Any:
    """Make the transposition of one square block, a vector wide, in registers.

    Row after row is loaded; then blocks of 1, 2, 4, ... lanes change places between rows (Eklundh
    1972). Masked: a block of `rows` x `columns` at the edge of the matrix.
    """

    @intrinsic
    def transposition(typing, source, source_at, source_row, target, target_at, target_row, rows,
                      columns):  # fmt: skip
        i = types.intp
        signature = types.void(source, i, i, target, i, i, i, i)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            source, source_at, source_row, target, target_at, target_row, rows, columns = arguments
            number = signature.args[3].dtype
            lanes = VECTOR_BYTES // (number.bitwidth // 8)
            vector = ir.VectorType(context.get_data_type(number), lanes)
            access = _Access(builder, vector, f"v{lanes}f{number.bitwidth}", number.bitwidth // 8)

            def place(position: int, array: Any, at: Any, stride: Any, row: int) -> Any:
                data = context.make_array(signature.args[position])(context, builder, array).data
                return builder.gep(
                    data, [builder.add(at, builder.mul(ir.IntType(64)(row), stride))]
                )

            def mask(width: Any, row: int, height: Any) -> Any:
                if not masked:
                    return None
                inside = builder.icmp_signed("<", ir.IntType(64)(row), height)
                here = _masks(builder, width, lanes, 1)[0]
                return builder.select(inside, here, ir.Constant(here.type, [0] * lanes))

            block = [
                access.load(place(0, source, source_at, source_row, r), mask(columns, r, rows))
                for r in range(lanes)
            ]
            for size in (1 << k for k in range(lanes.bit_length() - 1)):
                for r in (r for r in range(lanes) if not r & size):
                    block[r], block[r + size] = _exchange(builder, block[r], block[r + size], size)
            for r in range(lanes):
                begin = place(3, target, target_at, target_row, r)
                access.store(block[r], begin, mask(rows, r, columns))
            return context.get_dummy_value()

        return signature, generate

    return transposition


def _exchange(builder: Any, upper: Any, lower: Any, size: int) -> tuple[Any, Any]:
    """Exchange the upper row's odd blocks of `size` lanes for the lower row's even ones."""
    lanes = upper.type.count
    first = [lane if not lane & size else lanes + lane - size for lane in range(lanes)]
    second = [lane + size if not lane & size else lanes + lane for lane in range(lanes)]
    kind = ir.VectorType(ir.IntType(32), lanes)
    return tuple(
        builder.shuffle_vector(upper, lower, ir.Constant(kind, order)) for order in (first, second)
    )


def _dots(columns: int) -> Any:
    """Make some dot products of one row of A with rows of B, both contiguous.

    c[k] = start c[k] + sum_j a[j] b[k, j]; the last vector of the sum is masked.
    """

    @intrinsic
    def dots(typing, a, a_at, b, b_at, b_row, c, c_at, depth, accumulate):
        i = types.intp
        signature = types.void(a, i, b, i, i, c, i, i, i)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            a, a_at, b, b_at, b_row, c, c_at, depth, accumulate = arguments
            number = signature.args[5].dtype
            element = context.get_data_type(number)
            lanes = VECTOR_BYTES // (number.bitwidth // 8)
            vector, word = ir.VectorType(element, lanes), ir.IntType(64)
            suffix = f"v{lanes}f{number.bitwidth}"
            access = _Access(builder, vector, suffix, number.bitwidth // 8)
            fused = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.{suffix}"
            )
            reduce = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(element, [element, vector]),
                f"llvm.vector.reduce.fadd.{suffix}",
            )

            def data(position: int, array: Any, at: Any) -> Any:
                view = context.make_array(signature.args[position])(context, builder, array)
                return builder.gep(view.data, [at])

            a_data, b_data, c_data = data(0, a, a_at), data(2, b, b_at), data(5, c, c_at)
            rows = [builder.gep(b_data, [builder.mul(word(k), b_row)]) for k in range(columns)]
            zero = ir.Constant(vector, [0.0] * lanes)
            sums = [cgutils.alloca_once_value(builder, zero) for _ in range(columns)]

            def add(at: Any, mask: Any) -> None:
                left = access.load(builder.gep(a_data, [at]), mask)
                for k in range(columns):
                    right = access.load(builder.gep(rows[k], [at]), mask)
                    total = builder.call(fused, [left, right, builder.load(sums[k])])
                    builder.store(total, sums[k])

            whole = builder.sdiv(depth, word(lanes))
            with cgutils.for_range(builder, whole) as loop:
                add(builder.mul(loop.index, word(lanes)), None)
            rest = builder.srem(depth, word(lanes))
            with builder.if_then(builder.icmp_signed(">", rest, word(0))):
                add(builder.mul(whole, word(lanes)), _masks(builder, rest, lanes, 1)[0])
            adds = builder.icmp_signed("!=", accumulate, word(0))
            for k in range(columns):
                call = builder.call(
                    reduce, [element(0.0), builder.load(sums[k])], fastmath=["reassoc"]
                )
                place = builder.gep(c_data, [word(k)])
                before = builder.select(adds, builder.load(place), element(0.0))
                builder.store(builder.fadd(call, before), place)
            return context.get_dummy_value()

        return signature, generate

    return dots


# Below, np.int64(0) in the place of 0: for a literal the callee would be compiled once more.
_tall_wide, _tall_narrow = _tile(TILE_ROWS, 2), _tile(TILE_ROWS, 1)
_half_wide, _half_narrow = _tile(TILE_ROWS // 2, 2), _tile(TILE_ROWS // 2, 1)
_row_wide, _row_narrow = _tile(1, 2), _tile(1, 1)


@inner
def _panel(a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, c_row,
           start, start_at, start_row, start_width, rows, depth, width):  # fmt: skip
    """One panel of at most two vectors' width, tile after tile down the rows."""
    lanes = VECTOR_BYTES // c.itemsize
    r = 0
    while r < rows:
        left = rows - r
        a_now, c_now, start_now = a_at + r * a_row, c_at + r * c_row, start_at + r * start_row
        if left >= TILE_ROWS:
            if width > lanes:
                _tall_wide(a, a_now, a_row, a_col, b, b_at, b_row, c, c_now, c_row,
                           start, start_now, start_row, start_width, depth, width)  # fmt: skip
            else:
                _tall_narrow(a, a_now, a_row, a_col, b, b_at, b_row, c, c_now, c_row,
                             start, start_now, start_row, start_width, depth, width)  # fmt: skip
            r += TILE_ROWS
        elif left >= TILE_ROWS // 2:
            if width > lanes:
                _half_wide(a, a_now, a_row, a_col, b, b_at, b_row, c, c_now, c_row,
                           start, start_now, start_row, start_width, depth, width)  # fmt: skip
            else:
                _half_narrow(a, a_now, a_row, a_col, b, b_at, b_row, c, c_now, c_row,
                             start, start_now, start_row, start_width, depth, width)  # fmt: skip
            r += TILE_ROWS // 2
        else:
            if width > lanes:
                _row_wide(a, a_now, a_row, a_col, b, b_at, b_row, c, c_now, c_row,
                          start, start_now, start_row, start_width, depth, width)  # fmt: skip
            else:
                _row_narrow(a, a_now, a_row, a_col, b, b_at, b_row, c, c_now, c_row,
                            start, start_now, start_row, start_width, depth, width)  # fmt: skip
            r += 1


@inner
def tile_product(a, a_at, a_row, a_col, b, b_at, b_row, c, c_at, c_row,
                 start, start_at, start_row, start_width, rows, depth, columns):  # fmt: skip
    """C = start + A B, tile by tile straight from where the operands lie."""
    wide = 2 * VECTOR_BYTES // c.itemsize
    for j in range(0, columns, wide):
        width = min(wide, columns - j)
        _panel(a, a_at, a_row, a_col, b, b_at + j, b_row, c, c_at + j, c_row,
               start, start_at + j, start_row, start_width, rows, depth, width)  # fmt: skip


_transpose_whole, _transpose_edge = _transposition(False), _transposition(True)
_eight_dots, _one_dot = _dots(8), _dots(1)


@inner
def transpose(source, source_at, rows, columns, target, target_at):
    """target (columns, rows) = source (rows, columns), transposed block by block."""
    lanes = VECTOR_BYTES // target.itemsize
    for i in range(0, rows, lanes):
        height = min(lanes, rows - i)
        for j in range(0, columns, lanes):
            width = min(lanes, columns - j)
            begin, end = source_at + i * columns + j, target_at + j * rows + i
            if height == lanes and width == lanes:
                _transpose_whole(source, begin, columns, target, end, rows, height, width)
            else:
                _transpose_edge(source, begin, columns, target, end, rows, height, width)


@inner
def dot_rows(d, d_at, theta, weight, dx, dx_at, rows, inputs, units, accumulate):
    """dx = d W^T row by row, as dot products along the rows of W."""
    for r in range(rows):
        a, c = d_at + r * units, dx_at + r * inputs
        i = 0
        while i + 8 <= inputs:
            _eight_dots(d, a, theta, weight + i * units, units, dx, c + i, units, accumulate)
            i += 8
        while i < inputs:
            _one_dot(d, a, theta, weight + i * units, units, dx, c + i, units, accumulate)
            i += 1


@inner
def affine(x, x_at, theta, weight, bias, z, z_at, rows, inputs, units):
    """z = x W + b for some rows; x (rows, inputs), W (inputs, units); no b where bias < 0."""
    if inputs * units * z.itemsize <= CACHED_BYTES:
        tile_product(x, x_at, inputs, np.int64(1), theta, weight, units, z, z_at, units,
                     theta, bias, np.int64(0), bias + 1, rows, inputs, units)  # fmt: skip
        return
    if bias >= 0:
        for r in range(rows):
            for j in range(units):
                z[z_at + r * units + j] = theta[bias + j]
    gemm(x, x_at, inputs, np.int64(0), theta, weight, units, np.int64(0), z, z_at, units,
         rows, units, inputs, bias >= 0)  # fmt: skip


@inner
def input_gradient(d, d_at, theta, weight, dx, dx_at, rows, inputs, units, scratch, accumulate):
    """dx = d W^T (added to dx where `accumulate`) for some rows; d (rows, units).

    scratch: (threads, `TRANSPOSED_BYTES` of floats), this thread's row of it.
    """
    size = inputs * units
    if rows < FEW_ROWS:
        dot_rows(d, d_at, theta, weight, dx, dx_at, rows, inputs, units, int(accumulate))
    elif size * dx.itemsize <= TRANSPOSED_BYTES:
        transpose(theta, weight, inputs, units, scratch, np.int64(0))
        tile_product(d, d_at, units, np.int64(1), scratch, np.int64(0), inputs, dx, dx_at, inputs,
                     dx, dx_at, inputs, int(accumulate), rows, units, inputs)  # fmt: skip
    else:
        gemm(d, d_at, units, np.int64(0), theta, weight, units, np.int64(1), dx, dx_at, inputs,
             rows, inputs, units, accumulate)  # fmt: skip


@inner
def weight_gradient(x, x_at, d, d_at, gradient, gradient_at, rows, inputs, units,
                    first, last, accumulate):  # fmt: skip
    """dL/dW = x^T d for the rows first:last of W (added to gradient where `accumulate`).

    x (rows, inputs), d (rows, units), gradient (last - first, units).
    """
    if rows * units * d.itemsize <= CACHED_BYTES // 8:
        tile_product(x, x_at + first, np.int64(1), inputs, d, d_at, units,
                     gradient, gradient_at, units, gradient, gradient_at, units, int(accumulate),
                     last - first, rows, units)  # fmt: skip
    else:
        gemm(x, x_at + first, inputs, np.int64(1), d, d_at, units, np.int64(0),
             gradient, gradient_at, units,
             last - first, units, rows, accumulate)  # fmt: skip
