"""A vector of numbers as a value in kernels: what is written for a number is done in every lane.

A loop over elements goes vector by vector, the last one masked. So an element's result cannot
depend on where it stands: there is no remainder that is computed in another way.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel, register_default
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic

from downslope.kernels.vectors import VECTOR_BYTES, Vectors, pick, spread


class Lanes(types.Type):  # type: ignore[misc]
    """The type of a vector of numbers."""

    def __init__(self, dtype: Any, count: int) -> None:
        self.dtype, self.count = dtype, count
        super().__init__(name=f"Lanes({dtype} x {count})")


class Mask(types.Type):  # type: ignore[misc]
    """The type of a yes or no for every lane."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(name=f"Mask({count})")


@register_default(Lanes)
class LanesModel(PrimitiveModel):  # type: ignore[misc]
    """LLVM's vector."""

    def __init__(self, models: Any, lanes: Lanes) -> None:
        element = models.lookup(lanes.dtype).get_value_type()
        super().__init__(models, lanes, ir.VectorType(element, lanes.count))


@register_default(Mask)
class MaskModel(PrimitiveModel):  # type: ignore[misc]
    """A vector of bits."""

    def __init__(self, models: Any, mask: Mask) -> None:
        super().__init__(models, mask, ir.VectorType(ir.IntType(1), mask.count))


def _lower(function: Any, operands: int, compares: bool, write: Callable[..., Any]) -> None:
    """Teach Numba one operator on vectors of one type."""

    @infer_global(function)
    class Typing(AbstractTemplate):  # type: ignore[misc]
        def generic(self, arguments: Any, _: Any) -> Any:
            first = arguments[0]
            if not isinstance(first, Lanes) or any(each != first for each in arguments):
                return None
            return signature(Mask(first.count) if compares else first, *arguments)

    @lower_builtin(function, *[Lanes] * operands)  # type: ignore[untyped-decorator]
    def lowered(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return write(builder, *arguments)


for _function, _name in {
    operator.add: "fadd", operator.iadd: "fadd", operator.sub: "fsub", operator.mul: "fmul",
    operator.truediv: "fdiv",
}.items():  # fmt: skip
    _lower(_function, 2, False, lambda b, x, y, name=_name: getattr(b, name)(x, y))
for _function, _sign in {
    operator.lt: "<", operator.le: "<=", operator.gt: ">", operator.eq: "==",
}.items():  # fmt: skip
    _lower(_function, 2, True, lambda b, x, y, sign=_sign: b.fcmp_ordered(sign, x, y))
_lower(operator.neg, 1, False, lambda b, x: b.fneg(x))


def constant(kind: Any, value: float) -> Any:
    """Give a constant number, or a vector of it."""
    count = kind.count if isinstance(kind, ir.VectorType) else 0
    return ir.Constant(kind, [value] * count if count else value)


def words_of(kind: Any) -> Any:
    """Give the type of the bits of a number, or of each in a vector."""
    if isinstance(kind, ir.VectorType):
        return ir.VectorType(words_of(kind.element), kind.count)
    return ir.IntType(32 if kind == ir.FloatType() else 64)


def call(builder: Any, name: str, *operands: Any) -> Any:
    """Call one of LLVM's own functions of numbers, or of vectors; all operands of one type."""
    kind = operands[0].type
    suffix = f"v{kind.count}" if isinstance(kind, ir.VectorType) else ""
    suffix += "f32" if getattr(kind, "element", kind) == ir.FloatType() else "f64"
    function = ir.FunctionType(kind, [kind] * len(operands))
    return builder.call(
        cgutils.get_or_insert_function(builder.module, function, f"llvm.{name}.{suffix}"), operands
    )


def _lanes_at(where: Any) -> Lanes:
    """Give the type of one vector at a pointer."""
    return Lanes(where.dtype, VECTOR_BYTES * 8 // where.dtype.bitwidth)


@intrinsic
def load(typing, where, at, end):
    """The vector that begins at element `at` behind a pointer; 0 from element `end` on."""
    kind = _lanes_at(where)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        where, at, end = arguments
        many = Vectors(context, builder, kind.dtype)
        value, place = cgutils.alloca_once(builder, many.kind), builder.gep(where, [at])
        many.at_edge(builder.sub(end, at), 0,
                     lambda mask: builder.store(many.load(place, mask), value))  # fmt: skip
        return builder.load(value)

    return kind(where, types.intp, types.intp), generate


@intrinsic
def store(typing, value, where, at, end):
    """Write a vector from element `at` behind a pointer on, but nothing from element `end` on.

    What is loaded soon after a whole vector was stored comes from the processor's own buffer; a
    masked store has to reach the cache first, which takes 11 cycles more.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, where, at, end = arguments
        many = Vectors(context, builder, signature.args[0].dtype)
        place, width = builder.gep(where, [at]), builder.sub(end, at)
        whole = builder.icmp_signed(">=", width, width.type(many.lanes))
        with builder.if_else(whole, likely=True) as (then, other):
            with then:
                many.store(value, place)
            with other:
                many.store(value, place, many.mask(width))
        return context.get_dummy_value()

    return types.void(value, where, types.intp, types.intp), generate


@intrinsic
def copy_row(typing, source, target, width):
    """Copy `width` elements; both are pointers.

    In vectors, the last of which overlaps the one before; a row narrower than a vector in halves of
    one, or in quarters, and so on: nothing is masked.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, target, width = arguments
        kind, word = Vectors(context, builder, signature.args[1].dtype).kind, width.type

        def copy(at: Any, lanes: int) -> None:
            part = ir.VectorType(kind.element, lanes).as_pointer()
            begin, end = (builder.bitcast(builder.gep(p, [at]), part) for p in (source, target))
            value = builder.load(begin)
            value.align = 1
            builder.store(value, end).align = 1

        def copy_from(lanes: int) -> None:
            enough = builder.icmp_signed(">=", width, word(lanes))
            with builder.if_else(enough) as (then, other):
                with then:
                    last = builder.sub(width, word(lanes))
                    with cgutils.for_range_slice(builder, word(0), last, word(lanes)) as (at, _):
                        copy(at, lanes)
                    copy(last, lanes)
                with other:
                    if lanes > 1:
                        copy_from(lanes // 2)

        copy_from(kind.count)
        return context.get_dummy_value()

    return types.void(source, target, types.intp), generate


@intrinsic
def before(typing, where, at, end):
    """Whether a lane's element lies before `end`, if the first one's is `at`."""
    kind = _lanes_at(where)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, at, end = arguments
        return Vectors(context, builder, kind.dtype).mask(builder.sub(end, at))

    return Mask(kind.count)(where, types.intp, types.intp), generate


@intrinsic
def all_lanes(typing, where, value):
    """A vector of one number, of the type at a pointer."""
    kind = _lanes_at(where)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = context.cast(builder, arguments[1], signature.args[1], kind.dtype)
        return spread(builder, number, kind.count)

    return kind(where, value), generate


@intrinsic
def like(typing, x, value):
    """Cast a number to the type of x, into every lane; for a constant this costs nothing."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = context.cast(builder, arguments[1], signature.args[1], getattr(x, "dtype", x))
        return spread(builder, number, x.count) if isinstance(x, Lanes) else number

    return x(x, value), generate


@intrinsic
def select(typing, condition, a, b):
    """a where the condition holds, else b; both are computed."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(*arguments)

    return (a(condition, a, a), generate) if a == b else None


@intrinsic
def magnitude(typing, x):
    """|x|."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return call(builder, "fabs", *arguments)

    return x(x), generate


@intrinsic
def root(typing, x):
    """The square root."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return call(builder, "sqrt", *arguments)

    return x(x), generate


@intrinsic
def nearest(typing, x):
    """The whole number nearest to x, of two the even one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return call(builder, "rint", *arguments)

    return x(x), generate


@intrinsic
def fused(typing, a, b, c):
    """a b + c, in one rounding where the processor can.

    One call: reassociation does not reach into it, as it does into a sum.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return call(builder, "fmuladd", *arguments)

    return a(a, a, a), generate


def _across(write: Callable[..., Any]) -> Any:
    """Make the reduction of each row in a vector, which ends in all lanes of the row.

    A row of more than half of the lanes is folded to one number, which is spread again; of narrower
    ones, blocks of 1, 2, 4, ... lanes change places with their neighbors until a row is one block.
    """

    @intrinsic
    def across(typing, x, units):
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            (value, units), half, word = arguments, x.count // 2, ir.IntType(64)
            result = cgutils.alloca_once_value(builder, value)
            with builder.if_else(builder.icmp_signed(">", units, word(half))) as (wide, narrow):
                with wide:
                    builder.store(spread(builder, fold(builder, value, write), x.count), result)
                with narrow:
                    for size in (1 << k for k in range(half.bit_length() - 1)):
                        with builder.if_then(builder.icmp_signed(">", units, word(size))):
                            value = builder.load(result)
                            other = pick(builder, value, [i ^ size for i in range(x.count)])
                            builder.store(write(builder, value, other), result)
            return builder.load(result)

        return x(x, types.intp), generate

    return across


def fold(builder: Any, value: Any, write: Callable[..., Any]) -> Any:
    """Fold a vector's upper half onto its lower one until one number is left."""
    count = value.type.count
    while count > 1:
        count //= 2
        upper = pick(builder, value, list(range(count, 2 * count)))
        value = write(builder, pick(builder, value, list(range(count))), upper)
    return builder.extract_element(value, ir.IntType(32)(0))


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _sum(builder: Any, a: Any, b: Any) -> Any:
    return builder.fadd(a, b)


row_sum = _across(_sum)
row_maximum = _across(_larger)


@intrinsic
def double(typing, x):
    """The same numbers in float64."""
    kind = Lanes(types.float64, x.count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = context.get_value_type(kind)
        return arguments[0] if x == kind else builder.fpext(arguments[0], wide)

    return kind(x), generate


@intrinsic
def lane_sum(typing, x):
    """The sum of all lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return fold(builder, arguments[0], _sum)

    return x.dtype(x), generate
