"""Views of arrays that cost nothing: no reference count, no check.

Numba counts the references to every array that a kernel slices or hands on, by an atomic operation
of some 5 nanoseconds each: hundreds of them in a step of a small network. A kernel that borrows its
arrays from its caller, who keeps them alive, needs none.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj

CACHE_LINE = 64
"""Bytes."""


@intrinsic
def borrowed(typing, array):
    """The same array as a view that owns nothing and must not outlive it.

    A kernel with branches counts the references to each of its arrays up and down again, and so
    do `reshape` and slices: atomic operations, two of which cost more than eight activations. None
    are counted for arrays that a kernel borrows before it does anything else.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        view.meminfo = cgutils.get_null_value(view.meminfo.type)
        view.parent = cgutils.get_null_value(view.parent.type)
        return view._getvalue()

    return array(array), generate


@intrinsic
def piece(typing, array, begin, count):
    """`count` elements from the flat position `begin` of a C-contiguous array, borrowed."""
    view = types.Array(array.dtype, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        whole = context.make_array(signature.args[0])(context, builder, arguments[0])
        part = context.make_array(view)(context, builder)
        size = context.get_constant(types.intp, context.get_abi_sizeof(whole.data.type.pointee))
        arrayobj.populate_array(
            part,
            data=builder.gep(whole.data, [arguments[1]]),
            shape=[arguments[2]],
            strides=[size],
            itemsize=size,
            meminfo=None,
        )
        return part._getvalue()

    return view(array, types.intp, types.intp), generate


@intrinsic
def pointer(typing, where, offset):
    """The address of an element of a flat array, or of one that far behind another address.

    One word to hand on, where an array is seven.
    """
    element = where.dtype

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        where, offset = arguments
        if isinstance(signature.args[0], types.Array):
            where = context.make_array(signature.args[0])(context, builder, where).data
        return builder.gep(where, [offset])

    return types.CPointer(element)(where, types.intp), generate


@intrinsic
def elements(typing, begin, count):
    """View `count` elements from a pointer on."""
    view = types.Array(begin.dtype, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        begin, count = arguments
        part = context.make_array(view)(context, builder)
        size = context.get_constant(types.intp, view.dtype.bitwidth // 8)
        arrayobj.populate_array(
            part, data=begin, shape=[count], strides=[size], itemsize=size, meminfo=None
        )
        return part._getvalue()

    return view(begin, types.intp), generate


@intrinsic
def matrix(typing, array, at, rows, columns):
    """View array[at : at + rows * columns], flat and borrowed, as (rows, columns)."""
    view_type = types.Array(array.dtype, 2, "C", readonly=not array.mutable)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, at, rows, columns = arguments
        source = context.make_array(signature.args[0])(context, builder, array)
        view = context.make_array(view_type)(context, builder)
        size = context.get_constant(types.intp, view_type.dtype.bitwidth // 8)
        arrayobj.populate_array(
            view,
            data=builder.gep(source.data, [at]),
            shape=cgutils.pack_array(builder, [rows, columns]),
            strides=cgutils.pack_array(builder, [builder.mul(columns, size), size]),
            itemsize=size,
            meminfo=None,
        )
        return view._getvalue()

    return view_type(array, types.intp, types.intp, types.intp), generate


@intrinsic
def address(typing, array):
    """Where an array begins; its `ctypes` would count references."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        whole = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.ptrtoint(whole.data, context.get_value_type(types.intp))

    return types.intp(array), generate


@intrinsic
def copy_elements(typing, source, source_at, target, target_at, count):
    """target[target_at : target_at + count] = source[source_at : ...]; both flat, of one type."""
    i = types.intp
    signature = types.void(source, i, target, i, i)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, source_at, target, target_at, count = arguments
        begin = context.make_array(signature.args[0])(context, builder, source).data
        end = context.make_array(signature.args[2])(context, builder, target).data
        cgutils.raw_memcpy(
            builder,
            builder.gep(end, [target_at]),
            builder.gep(begin, [source_at]),
            count,
            context.get_abi_sizeof(end.type.pointee),
        )
        return context.get_dummy_value()

    return signature, generate


def fetch_ahead(builder: Any, place: Any) -> None:
    """Ask for the cache line at a pointer; nothing waits for it, and any address will do."""
    pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    # To be read (0), kept in the second-level cache (2), as data (1).
    builder.call(function, [builder.bitcast(place, pointer), number(0), number(2), number(1)])


@intrinsic
def prefetch(typing, array, at, count):
    """Ask for array[at : at + count] to be brought into the cache; nothing waits for it."""
    i = types.intp

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, at, count = arguments
        data = context.make_array(signature.args[0])(context, builder, array).data
        begin = builder.gep(data, [at])
        line = CACHE_LINE // context.get_abi_sizeof(data.type.pointee)
        with cgutils.for_range_slice(builder, count.type(0), count, count.type(line)) as (k, _):
            fetch_ahead(builder, builder.gep(begin, [k]))
        return context.get_dummy_value()

    return types.void(array, i, i), generate
