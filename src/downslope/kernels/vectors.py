"""Vectors of numbers in instructions that LLVM is given as such, not left to find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WIDE = "+avx512f" in llvmlite.binding.get_host_cpu_features().flatten()
VECTOR_BYTES = 64 if WIDE else 32
"""Bytes of one vector."""

LARGEST = 2.0**125
"""What a divisor of `quotient` counts for at most: the reciprocal is a normal number then."""


class Vectors:
    """Instructions on vectors of one type of number, written by one builder."""

    def __init__(
        self, context: Any, builder: Any, number: Any, vector_bytes: int = VECTOR_BYTES
    ) -> None:
        self.builder, self.size = builder, number.bitwidth // 8
        self.lanes = vector_bytes // self.size
        self.element = context.get_data_type(number)
        self.kind = ir.VectorType(self.element, self.lanes)
        self._suffix = f"v{self.lanes}f{number.bitwidth}"
        self._pointer, self._number = self.kind.as_pointer(), ir.IntType(32)
        self._mask = ir.VectorType(ir.IntType(1), self.lanes)
        self.zero, self.one = self.constant(0.0), self.constant(1.0)

    def constant(self, value: float) -> Any:
        """Give a vector of one constant."""
        return ir.Constant(self.kind, [value] * self.lanes)

    def call(self, name: str, result: Any, *operands: Any) -> Any:
        """Call one of LLVM's own functions."""
        kind = ir.FunctionType(result, [operand.type for operand in operands])
        return self.builder.call(
            cgutils.get_or_insert_function(self.builder.module, kind, name), operands
        )

    def load(self, begin: Any, mask: Any = None) -> Any:
        """Load a vector, or 0 in the lanes that the mask leaves out."""
        begin = self.builder.bitcast(begin, self._pointer)
        if mask is None:
            value = self.builder.load(begin)
            value.align = self.size
            return value
        name = f"llvm.masked.load.{self._suffix}.p0"
        return self.call(name, self.kind, begin, self._number(self.size), mask, self.zero)

    def store(self, value: Any, begin: Any, mask: Any = None) -> None:
        """Store a vector, but for the lanes that the mask leaves out."""
        begin = self.builder.bitcast(begin, self._pointer)
        if mask is None:
            self.builder.store(value, begin).align = self.size
        else:
            name = f"llvm.masked.store.{self._suffix}.p0"
            self.call(name, ir.VoidType(), value, begin, self._number(self.size), mask)

    def add_to(self, begin: Any, values: Any, adds: Any) -> None:
        """Store some lanes, added to what is there where `adds` says so."""
        builder, kind = self.builder, values.type
        begin = builder.bitcast(begin, kind.as_pointer())
        total = cgutils.alloca_once_value(builder, values)
        with builder.if_then(adds):
            before = builder.load(begin)
            before.align = self.size
            builder.store(builder.fadd(values, before), total)
        builder.store(builder.load(total), begin).align = self.size

    def spread(self, scalar: Any) -> Any:
        """Put one scalar into every lane."""
        return spread(self.builder, scalar, self.lanes)

    def mask(self, width: Any, number: int = 0) -> Any:
        """Say which lanes of the vector of that number lie within `width` < 2^31 elements."""
        columns = ir.VectorType(self._number, self.lanes)
        numbers = ir.Constant(columns, [number * self.lanes + lane for lane in range(self.lanes)])
        width = self.builder.trunc(width, self._number)
        return self.builder.icmp_signed("<", numbers, spread(self.builder, width, self.lanes))

    def nothing(self) -> Any:
        """Give the mask that leaves out all lanes."""
        return ir.Constant(self._mask, [0] * self.lanes)

    def at_edge(self, width: Any, number: int, work: Callable[[Any], None]) -> None:
        """Do work(mask) on the vector of that number, which may end beyond `width` elements.

        With no mask where it does not: on a Zen 1 a masked load takes 10 cycles, a masked store
        11, nearly as much as a tile's whole line of products. AVX-512's masks cost nothing.
        """
        if WIDE:
            work(self.mask(width, number))
            return
        end = width.type((number + 1) * self.lanes)
        whole = self.builder.icmp_signed(">=", width, end)
        with self.builder.if_else(whole, likely=True) as (then, other):
            with then:
                work(None)
            with other:
                work(self.mask(width, number))

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """a b + c, in one rounding where the processor can."""
        return self.call(f"llvm.fmuladd.{self._suffix}", self.kind, a, b, c)

    def rounded(self, value: Any) -> Any:
        """The same value, rounded before it goes into a sum: not joined with that in one step."""
        return self.call(f"llvm.arithmetic.fence.{self._suffix}", self.kind, value)

    def root(self, value: Any) -> Any:
        """Take the square root."""
        return self.call(f"llvm.sqrt.{self._suffix}", self.kind, value)

    def magnitude(self, value: Any) -> Any:
        """Take the absolute value."""
        return self.call(f"llvm.fabs.{self._suffix}", self.kind, value)

    def quotient(self, a: Any, b: Any) -> Any:
        """a / b for positive b, in float32 to 2 units in the last place; b above `LARGEST` as that.

        Square roots and divisions share one unit, which takes some ten cycles for either; by an
        estimate of the reciprocal and one step of Newton's method the two run side by side.
        """
        if not WIDE or self.size != 4:
            return self.builder.fdiv(a, b)
        bound = self.constant(LARGEST)
        b = self.builder.select(self.builder.fcmp_ordered("<", b, bound), b, bound)
        every = ir.IntType(16)(0xFFFF)
        estimate = self.call("llvm.x86.avx512.rcp14.ps.512", self.kind, b, self.zero, every)
        error = self.multiply_add(self.builder.fneg(b), estimate, self.one)
        return self.builder.fmul(a, self.multiply_add(estimate, error, estimate))

    def each(self, count: Any, work: Callable[[Any, Any], None]) -> None:
        """Do work(begin, mask) for one vector after the other of `count` elements."""
        word, builder = ir.IntType(64), self.builder
        whole = builder.sdiv(count, word(self.lanes))
        with cgutils.for_range(builder, whole) as loop:
            work(builder.mul(loop.index, word(self.lanes)), None)
        rest = builder.srem(count, word(self.lanes))
        with builder.if_then(builder.icmp_signed(">", rest, word(0))):
            work(builder.mul(whole, word(self.lanes)), self.mask(rest))

    def totals(self, begin: Any, count: int) -> Totals:
        """Take up sums that lie in memory, a vector each."""
        return Totals(self, begin, count)


class Totals:
    """Sums in vectors, that are in registers until they are stored again."""

    def __init__(self, many: Vectors, begin: Any, count: int) -> None:
        self._many, builder = many, many.builder
        lanes = ir.IntType(64)(many.lanes)
        self._places = [
            builder.gep(begin, [builder.mul(lanes, lanes.type(i))]) for i in range(count)
        ]
        self._totals = [
            cgutils.alloca_once_value(builder, many.load(place)) for place in self._places
        ]

    def add(self, number: int, a: Any, b: Any) -> None:
        """Add a b to one of them."""
        builder, total = self._many.builder, self._totals[number]
        builder.store(self._many.multiply_add(a, b, builder.load(total)), total)

    def store(self) -> None:
        """Put them back into memory."""
        for place, total in zip(self._places, self._totals, strict=True):
            self._many.store(self._many.builder.load(total), place)


@intrinsic
def all_finite(typing, values):
    """Say whether no entry of a flat array is NaN or infinite."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        begin, (count,) = array.data, cgutils.unpack_tuple(builder, array.shape)
        many = Vectors(context, builder, signature.args[0].dtype)
        bad = cgutils.alloca_once_value(builder, many.nothing())

        def look(at: Any, mask: Any) -> None:
            # 0 times one of those is NaN.
            zero = builder.fmul(many.load(builder.gep(begin, [at]), mask), many.zero)
            here = builder.fcmp_unordered("uno", zero, zero)
            builder.store(builder.or_(builder.load(bad), here), bad)

        many.each(count, look)
        bits = builder.bitcast(builder.load(bad), ir.IntType(many.lanes))
        return builder.icmp_unsigned("==", bits, ir.IntType(many.lanes)(0))

    return types.boolean(values), generate


def spread(builder: Any, scalar: Any, lanes: int) -> Any:
    """Put one scalar into every lane of a vector."""
    lane = ir.IntType(32)
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, scalar, lane(0))
    everywhere = ir.Constant(ir.VectorType(lane, lanes), [0] * lanes)
    return builder.shuffle_vector(first, undefined, everywhere)


def pick(builder: Any, vector: Any, lanes: Sequence[int]) -> Any:
    """Make a vector of some lanes of another."""
    order = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes))
    return builder.shuffle_vector(vector, vector, order)
