"""The innermost loops of products as vector instructions: tiles, packing, transposition, dots."""

from __future__ import annotations

from functools import reduce
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from downslope.kernels.vectors import VECTOR_BYTES, WIDE, Vectors, pick
from downslope.kernels.views import fetch_ahead

TILE_ROWS = 8 if WIDE else 6
"""Rows of C's tile: with two vectors each they fill the registers and leave room for A and B."""


@intrinsic
def lanes_of(typing, where):
    """Elements of one vector at a pointer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        size = signature.args[0].dtype.bitwidth // 8
        return context.get_constant(types.intp, VECTOR_BYTES // size)

    return types.intp(where), generate


def tile(rows: int, vectors: int, vector_bytes: int = VECTOR_BYTES, partial: bool = False) -> Any:
    """Make the innermost product: a tile of C, rows x vectors, in registers.

    C[r, :] = start[r, :] + sum_k A[r, k] B[k, :]; all operands are pointers, with strides in
    elements; B's and C's columns are contiguous. `width` columns are read and written; what lies
    beyond in the last vector is masked, but for B's columns up to `b_width`, which are there to be
    read. A start of width 0 stands for zeros. Of a partial tile there are `height` rows, the last
    of which is computed again in the place of those that are not.
    """

    @intrinsic
    def tile(typing, a, a_row, a_col, b, b_row, b_width, c, c_row, start, start_row, start_width,
             height, depth, width):  # fmt: skip
        i = types.intp
        signature = types.void(a, i, i, b, i, i, c, i, start, i, i, i, i, i)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            many = Vectors(context, builder, signature.args[6].dtype, vector_bytes)
            (a, a_row, a_col, b, b_row, b_width, c, c_row, start, start_row, start_width, height,
             depth, width) = arguments  # fmt: skip
            word = ir.IntType(64)
            numbers = [word(r) for r in range(rows)]
            if partial:
                last = builder.sub(height, word(1))
                fits = [builder.icmp_signed("<", number, height) for number in numbers]
                numbers = [
                    builder.select(fit, r, last) for fit, r in zip(fits, numbers, strict=True)
                ]
            sums = [
                [cgutils.alloca_once(builder, many.kind) for _ in range(vectors)]
                for _ in range(rows)
            ]

            def places(begin: Any, row: Any, mask: Any) -> list[tuple[Any, Any]]:
                """Give where a row's vectors begin, and their masks: of the last one only."""
                row = builder.gep(begin, [row])
                begins = [builder.gep(row, [word(v * many.lanes)]) for v in range(vectors)]
                return list(zip(begins, [None] * (vectors - 1) + [mask], strict=True))

            def begin(mask: Any) -> None:
                for r in range(rows):
                    now = places(start, builder.mul(numbers[r], start_row), mask)
                    for v, place in enumerate(now):
                        builder.store(many.load(*place), sums[r][v])

            def multiply(mask: Any) -> None:
                with cgutils.for_range(builder, depth) as loop:
                    line = places(b, builder.mul(loop.index, b_row), mask)
                    now = [many.load(*place) for place in line]
                    a_begin = builder.gep(a, [builder.mul(loop.index, a_col)])
                    for r in range(rows):
                        here = builder.gep(a_begin, [builder.mul(numbers[r], a_row)])
                        factor = many.spread(builder.load(here))
                        for v in range(vectors):
                            total = many.multiply_add(factor, now[v], builder.load(sums[r][v]))
                            builder.store(total, sums[r][v])

            def end(mask: Any) -> None:
                for r in range(rows):
                    now = places(c, builder.mul(numbers[r], c_row), mask)
                    for v, place in enumerate(now):
                        many.store(builder.load(sums[r][v]), *place)

            with builder.if_else(builder.icmp_signed("!=", start_width, word(0))) as (then, other):
                with then:
                    many.at_edge(width, vectors - 1, begin)
                with other:
                    for r in range(rows):
                        for v in range(vectors):
                            builder.store(many.zero, sums[r][v])
            many.at_edge(b_width, vectors - 1, multiply)
            many.at_edge(width, vectors - 1, end)
            return context.get_dummy_value()

        return signature, generate

    return tile


def transposition(masked: bool, vector_bytes: int = VECTOR_BYTES) -> Any:
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
            many = Vectors(context, builder, signature.args[2].dtype, vector_bytes)
            lanes = many.lanes

            def line(begin: Any, stride: Any, row: int) -> Any:
                return builder.gep(begin, [builder.mul(ir.IntType(64)(row), stride)])

            def mask(width: Any, row: int, height: Any) -> Any:
                if not masked:
                    return None
                inside = builder.icmp_signed("<", ir.IntType(64)(row), height)
                return builder.select(inside, many.mask(width), many.nothing())

            block = [
                many.load(line(source, source_row, r), mask(columns, r, rows)) for r in range(lanes)
            ]
            for size in (1 << k for k in range(lanes.bit_length() - 1)):
                for r in (r for r in range(lanes) if not r & size):
                    block[r], block[r + size] = _exchange(builder, block[r], block[r + size], size)
            for r in range(lanes):
                many.store(block[r], line(target, target_row, r), mask(rows, r, columns))
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
            many, word = Vectors(context, builder, signature.args[2].dtype), ir.IntType(64)
            lanes = many.lanes
            masks = [many.mask(width, v) if masked else None for v in range(2)]
            with cgutils.for_range(builder, depth) as loop:
                here = builder.gep(source, [builder.mul(loop.index, source_row)])
                there = builder.gep(target, [builder.mul(loop.index, word(2 * lanes))])
                for v, mask in enumerate(masks):
                    offset = word(v * lanes)
                    value = many.load(builder.gep(here, [offset]), mask)
                    many.store(value, builder.gep(there, [offset]))
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

    c[k] = start c[k] + sum_j a[j] b[k, j], c's elements `c_step` apart; the last vector of the sum
    is masked.
    """

    @intrinsic
    def dots(typing, a, b, b_row, c, c_step, depth, accumulate):
        i = types.intp
        signature = types.void(a, b, i, c, i, i, i)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            a, b, b_row, c, c_step, depth, accumulate = arguments
            many, word = Vectors(context, builder, signature.args[3].dtype), ir.IntType(64)
            rows = [builder.gep(b, [builder.mul(word(k), b_row)]) for k in range(columns)]
            sums = [cgutils.alloca_once_value(builder, many.zero) for _ in range(columns)]

            def add(at: Any, mask: Any) -> None:
                left = many.load(builder.gep(a, [at]), mask)
                for k in range(columns):
                    right = many.load(builder.gep(rows[k], [at]), mask)
                    total = many.multiply_add(left, right, builder.load(sums[k]))
                    builder.store(total, sums[k])

            many.each(depth, add)
            adds = builder.icmp_signed("!=", accumulate, word(0))
            for k in range(0, columns, many.lanes):
                totals = _lane_sums(builder, [builder.load(s) for s in sums[k : k + many.lanes]])
                begin = builder.gep(c, [builder.mul(word(k), c_step)])
                together = builder.icmp_signed("==", c_step, word(1))
                with builder.if_else(together) as (then, other):
                    with then:
                        many.add_to(begin, totals, adds)
                    with other:
                        for n in range(totals.type.count):
                            place = builder.gep(begin, [builder.mul(word(n), c_step)])
                            many.add_to(place, pick(builder, totals, [n]), adds)
            return context.get_dummy_value()

        return signature, generate

    return dots


def _lane_sums(builder: Any, vectors: list[Any]) -> Any:
    """Add up the lanes of some vectors, 1, 2, 4, ... of at most as many lanes; all in one vector.

    Halves of lanes are added to each other, then quarters and so on: those of two vectors at a time
    while there are two, so that each sum is the same bits however many are taken together.
    """
    lanes, count = vectors[0].type.count, len(vectors)
    size = lanes // 2
    while size:
        half = max(len(vectors) // 2, 1)
        pairs = zip(vectors[:half], vectors[-half:], strict=True)
        vectors = [builder.fadd(*_exchange(builder, *pair, size)) for pair in pairs]
        size //= 2
    return pick(builder, vectors[0], range(0, lanes, lanes // count))


@intrinsic
def outer(typing, x, d, out, count, units):
    """out = x^T d; pointers to x (count,), d (units,) and out (count, units)."""
    i = types.intp
    signature = types.void(x, d, out, i, i)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, d, out, count, units = arguments
        many = Vectors(context, builder, signature.args[2].dtype)
        with cgutils.for_range(builder, count) as loop:
            factor = many.spread(builder.load(builder.gep(x, [loop.index])))
            row = builder.gep(out, [builder.mul(loop.index, units)])

            def write(at: Any, mask: Any) -> None:
                product = builder.fmul(factor, many.load(builder.gep(d, [at]), mask))
                many.store(product, builder.gep(row, [at]), mask)

            many.each(units, write)
        return context.get_dummy_value()

    return signature, generate


CHAINS = 4
"""Sums of one vector side by side: each addition waits for the one before in its own."""


def _column_sums(magnitudes: bool) -> Any:
    """Make the sum of d's rows, or of their magnitudes, for few columns: added to total or not.

    Pointers to d (rows, units) and total (units,). Rows go to `CHAINS` sums in turn.
    """

    @intrinsic
    def column_sums(typing, d, total, rows, units, accumulate):
        i = types.intp
        signature = types.void(d, total, i, i, i)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            d, total, rows, units, accumulate = arguments
            many, word = Vectors(context, builder, signature.args[0].dtype), ir.IntType(64)
            adds = builder.icmp_signed("!=", accumulate, word(0))

            def sum_up(at: Any, mask: Any) -> None:
                first, result = builder.gep(d, [at]), builder.gep(total, [at])
                sums = [cgutils.alloca_once(builder, many.kind) for _ in range(CHAINS)]
                for k in range(CHAINS):
                    builder.store(many.zero, sums[k])
                before = builder.select(adds, many.load(result, mask), many.zero)
                builder.store(before, sums[0])

                def add(row: Any, k: int) -> None:
                    value = many.load(builder.gep(first, [builder.mul(row, units)]), mask)
                    if magnitudes:
                        value = many.magnitude(value)
                    builder.store(builder.fadd(builder.load(sums[k]), value), sums[k])

                whole = builder.mul(builder.udiv(rows, word(CHAINS)), word(CHAINS))
                with cgutils.for_range_slice(builder, word(0), whole, word(CHAINS)) as (row, _):
                    for k in range(CHAINS):
                        add(builder.add(row, word(k)), k)
                with cgutils.for_range(builder, builder.sub(rows, whole)) as loop:
                    add(builder.add(whole, loop.index), 0)
                whole_sum = reduce(builder.fadd, [builder.load(each) for each in sums])
                many.store(whole_sum, result, mask)

            many.each(units, sum_up)
            return context.get_dummy_value()

        return signature, generate

    return column_sums


column_sums, magnitude_sums = _column_sums(False), _column_sums(True)


@intrinsic
def row_squares(typing, values, out, rows, units):
    """out[r] = sum_j values[r, j]^2 in float64; pointers to values (rows, units) and out (rows,).

    As many rows go together as a vector has lanes for their sums.
    """
    i = types.intp
    signature = types.void(values, out, i, i)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, out, rows, units = arguments
        kind, word = signature.args[0].dtype, ir.IntType(64)
        sums = Vectors(context, builder, types.float64)
        many = Vectors(context, builder, kind, sums.lanes * kind.bitwidth // 8)
        totals = [cgutils.alloca_once(builder, sums.kind) for _ in range(sums.lanes)]
        step = word(sums.lanes)
        with cgutils.for_range_slice(builder, word(0), rows, step) as (row, _):
            left = builder.sub(rows, row)
            begins = []
            for k, total in enumerate(totals):
                builder.store(sums.zero, total)
                inside = builder.icmp_signed("<", word(k), left)  # else the first row once more
                at = builder.select(inside, builder.add(row, word(k)), row)
                begins.append(builder.gep(values, [builder.mul(at, units)]))

            def add(at: Any, mask: Any, begins: list[Any] = begins) -> None:
                for begin, total in zip(begins, totals, strict=True):
                    value = many.load(builder.gep(begin, [at]), mask)
                    if many.size < sums.size:
                        value = builder.fpext(value, sums.kind)
                    builder.store(sums.multiply_add(value, value, builder.load(total)), total)

            many.each(units, add)
            together = _lane_sums(builder, [builder.load(total) for total in totals])
            sums.store(together, builder.gep(out, [row]), sums.mask(left))
        return context.get_dummy_value()

    return signature, generate
