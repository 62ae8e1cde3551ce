"""The innermost loops of products as vector instructions: tiles, packing, transposition, dots."""

from __future__ import annotations

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from downslope.kernels.views import fetch_ahead

WIDE = "+avx512f" in llvmlite.binding.get_host_cpu_features().flatten()
VECTOR_BYTES = 64 if WIDE else 32
"""Bytes of one vector of C's tile; two such vectors are a tile's width."""

TILE_ROWS = 8 if WIDE else 6
"""Rows of C's tile: with two vectors each they fill the registers and leave room for A and B."""


@intrinsic
def lanes_of(typing, where):
    """Elements of one vector at a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        size = signature.args[0].dtype.bitwidth // 8
        return context.get_constant(types.intp, VECTOR_BYTES // size)

    return types.intp(where), generate


def tile(rows: int, vectors: int) -> Any:
    """Make the innermost product: a tile of C, rows x vectors, in registers.

    C[r, :] = start[r, :] + sum_k A[r, k] B[k, :]; all operands are pointers, with strides in
    elements; B's and C's columns are contiguous. `width` columns are read and written; what lies
    beyond in the last vector is masked. A start of width 0 stands for zeros.
    """

    @intrinsic
    def tile(typing, a, a_row, a_col, b, b_row, c, c_row, start, start_row, start_width, depth,
             width):  # fmt: skip
        i = types.intp
        signature = types.void(a, i, i, b, i, c, i, start, i, i, i, i)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            (a, a_row, a_col, b, b_row, c, c_row, start, start_row, start_width, depth,
             width) = arguments  # fmt: skip
            element = context.get_data_type(c_type := signature.args[5].dtype)
            lanes = VECTOR_BYTES // (c_type.bitwidth // 8)
            vector = ir.VectorType(element, lanes)
            word = ir.IntType(64)
            masks = _masks(builder, width, lanes, vectors)
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
                        row = builder.gep(start, [builder.mul(word(r), start_row)])
                        for v in range(vectors):
                            begin = builder.gep(row, [offsets[v]])
                            builder.store(access.load(begin, masks[v]), sums[r][v])
                with other:
                    for r in range(rows):
                        for v in range(vectors):
                            builder.store(zero, sums[r][v])
            with cgutils.for_range(builder, depth) as loop:
                b_begin = builder.gep(b, [builder.mul(loop.index, b_row)])
                b_row_now = [
                    access.load(builder.gep(b_begin, [offsets[v]]), masks[v])
                    for v in range(vectors)
                ]
                a_begin = builder.gep(a, [builder.mul(loop.index, a_col)])
                for r in range(rows):
                    scalar = builder.load(builder.gep(a_begin, [builder.mul(word(r), a_row)]))
                    spread = _spread(builder, scalar, vector)
                    for v in range(vectors):
                        total = builder.load(sums[r][v])
                        builder.store(
                            builder.call(fused, [spread, b_row_now[v], total]), sums[r][v]
                        )
            for r in range(rows):
                row = builder.gep(c, [builder.mul(word(r), c_row)])
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
    return [None] * (vectors - 1) + [_mask(builder, width, lanes, vectors - 1)]


def _mask(builder: Any, width: Any, lanes: int, number: int) -> Any:
    """Say which lanes of a panel's vector of that number hold columns."""
    numbers = ir.VectorType(ir.IntType(64), lanes)
    columns = ir.Constant(numbers, [number * lanes + lane for lane in range(lanes)])
    return builder.icmp_signed("<", columns, _spread(builder, width, numbers))


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


def transposition(masked: bool) -> Any:
    """Make the transposition of one square block, a vector wide, in registers.

    Row after row is loaded; then blocks of 1, 2, 4, ... lanes change places between rows (Eklundh
    1972). Masked: a block of `rows` x `columns` at the edge of the matrix.
    """

    @intrinsic
    def transposition(typing, source, source_row, target, target_row, rows, columns):
        i = types.intp
        signature = types.void(source, i, target, i, i, i)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            source, source_row, target, target_row, rows, columns = arguments
            number = signature.args[2].dtype
            lanes = VECTOR_BYTES // (number.bitwidth // 8)
            vector = ir.VectorType(context.get_data_type(number), lanes)
            access = _Access(builder, vector, f"v{lanes}f{number.bitwidth}", number.bitwidth // 8)

            def line(begin: Any, stride: Any, row: int) -> Any:
                return builder.gep(begin, [builder.mul(ir.IntType(64)(row), stride)])

            def mask(width: Any, row: int, height: Any) -> Any:
                if not masked:
                    return None
                inside = builder.icmp_signed("<", ir.IntType(64)(row), height)
                here = _masks(builder, width, lanes, 1)[0]
                return builder.select(inside, here, ir.Constant(here.type, [0] * lanes))

            block = [
                access.load(line(source, source_row, r), mask(columns, r, rows))
                for r in range(lanes)
            ]
            for size in (1 << k for k in range(lanes.bit_length() - 1)):
                for r in (r for r in range(lanes) if not r & size):
                    block[r], block[r + size] = _exchange(builder, block[r], block[r + size], size)
            for r in range(lanes):
                access.store(block[r], line(target, target_row, r), mask(rows, r, columns))
            return context.get_dummy_value()

        return signature, generate

    return transposition


def packing(masked: bool) -> Any:
    """Make the copy of a panel of B, at most two vectors wide, into rows that follow each other."""

    @intrinsic
    def packing(typing, source, source_row, target, depth, width):
        i = types.intp
        signature = types.void(source, i, target, i, i)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            source, source_row, target, depth, width = arguments
            number = signature.args[2].dtype
            lanes, word = VECTOR_BYTES // (number.bitwidth // 8), ir.IntType(64)
            vector = ir.VectorType(context.get_data_type(number), lanes)
            access = _Access(builder, vector, f"v{lanes}f{number.bitwidth}", number.bitwidth // 8)
            masks = [_mask(builder, width, lanes, v) if masked else None for v in range(2)]
            with cgutils.for_range(builder, depth) as loop:
                here = builder.gep(source, [builder.mul(loop.index, source_row)])
                there = builder.gep(target, [builder.mul(loop.index, word(2 * lanes))])
                for v, mask in enumerate(masks):
                    offset = word(v * lanes)
                    value = access.load(builder.gep(here, [offset]), mask)
                    access.store(value, builder.gep(there, [offset]), None)
                    if not masked:
                        next_panel = builder.gep(here, [word((2 + v) * lanes)])
                        fetch_ahead(builder, next_panel)
            return context.get_dummy_value()

        return signature, generate

    return packing


def _exchange(builder: Any, upper: Any, lower: Any, size: int) -> tuple[Any, Any]:
    """Exchange the upper row's odd blocks of `size` lanes for the lower row's even ones."""
    lanes = upper.type.count
    first = [lane if not lane & size else lanes + lane - size for lane in range(lanes)]
    second = [lane + size if not lane & size else lanes + lane for lane in range(lanes)]
    kind = ir.VectorType(ir.IntType(32), lanes)
    return tuple(
        builder.shuffle_vector(upper, lower, ir.Constant(kind, order)) for order in (first, second)
    )


def dots(columns: int) -> Any:
    """Make some dot products of one row of A with rows of B, both contiguous.

    c[k] = start c[k] + sum_j a[j] b[k, j]; the last vector of the sum is masked.
    """

    @intrinsic
    def dots(typing, a, b, b_row, c, depth, accumulate):
        i = types.intp
        signature = types.void(a, b, i, c, i, i)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            a, b, b_row, c, depth, accumulate = arguments
            number = signature.args[3].dtype
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

            rows = [builder.gep(b, [builder.mul(word(k), b_row)]) for k in range(columns)]
            zero = ir.Constant(vector, [0.0] * lanes)
            sums = [cgutils.alloca_once_value(builder, zero) for _ in range(columns)]

            def add(at: Any, mask: Any) -> None:
                left = access.load(builder.gep(a, [at]), mask)
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
                result = builder.gep(c, [word(k)])
                before = builder.select(adds, builder.load(result), element(0.0))
                builder.store(builder.fadd(call, before), result)
            return context.get_dummy_value()

        return signature, generate

    return dots
