"""A named tuple of arrays handed on by its address.

Numba passes a tuple by value: a job of forty arrays is three hundred words, put on the stack at
every call, and as many values for the compiler to follow through every function. A kernel that
holds it passes one address; what a callee reads of it is all that is loaded there.
"""

from __future__ import annotations

import hashlib
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel, register_default
from numba.core.imputils import lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import intrinsic


class Held(types.Type):  # type: ignore[misc]
    """The type of a held tuple; its fields are read as those of the tuple are."""

    def __init__(self, content: Any) -> None:
        self.content = content
        # Short, for it becomes a part of the name of every function that takes it; not by `hash`,
        # so that a kernel compiled anew is the same to the last byte.
        digest = hashlib.sha256(str(content).encode()).hexdigest()[:12]
        super().__init__(name=f"{content.instance_class.__name__}#{digest}")

    @property
    def key(self) -> Any:
        """What tells it from other types."""
        return self.content


@register_default(Held)
class HeldModel(PrimitiveModel):  # type: ignore[misc]
    """The address of the tuple's value."""

    def __init__(self, models: Any, held: Held) -> None:
        value = models.lookup(held.content).get_value_type()
        super().__init__(models, held, value.as_pointer())


@infer_getattr
class HeldFields(AttributeTemplate):  # type: ignore[misc]
    """A field has the type that it has in the tuple; a tuple within a tuple is held too."""

    key = Held

    def generic_resolve(self, held: Held, name: str) -> Any:
        """Give the type of a field."""
        if name not in held.content.fields:
            return None
        field = held.content.types[held.content.fields.index(name)]
        return Held(field) if isinstance(field, types.NamedTuple) else field


@lower_getattr_generic(Held)  # type: ignore[untyped-decorator]
def read_field(context: Any, builder: Any, held: Held, address: Any, name: str) -> Any:
    """Load a field; an array as a view that owns nothing, a tuple by its address."""
    number = held.content.fields.index(name)
    place, kind = cgutils.gep_inbounds(builder, address, 0, number), held.content.types[number]
    if isinstance(kind, types.NamedTuple):
        return place
    value = _load(builder, place)
    if isinstance(kind, types.Array):
        view = context.make_array(kind)(context, builder, value)
        view.meminfo = cgutils.get_null_value(view.meminfo.type)
        view.parent = cgutils.get_null_value(view.parent.type)
        value = view._getvalue()
    return value


def _load(builder: Any, place: Any) -> Any:
    """Load a value word by word; it never changes, so no store is a reason to load it anew."""
    kind = place.type.pointee
    if isinstance(kind, ir.Aggregate):
        whole = ir.Constant(kind, ir.Undefined)
        for number in range(len(kind)):
            part = _load(builder, cgutils.gep_inbounds(builder, place, 0, number))
            whole = builder.insert_value(whole, part, number)
        return whole
    value = builder.load(place)
    value.set_metadata("invariant.load", builder.module.add_metadata([]))
    return value


@intrinsic
def hold(typing, content):
    """Keep a named tuple in this kernel's frame; give its address, good until the kernel ends."""
    held = Held(content)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _opaque(builder, cgutils.alloca_once_value(builder, arguments[0]))

    return held(content), generate


def _opaque(builder: Any, address: Any) -> Any:
    """Hand an address through assembly that does nothing.

    What is read there counts as never changing; were LLVM to see where the address comes from, it
    might read before the value is there.
    """
    kind = ir.FunctionType(address.type, [address.type])
    return builder.asm(kind, "", "=r,0,~{memory}", [address], side_effect=True)


@intrinsic
def address_of(typing, held):
    """Give the address of a held tuple as a number, to hand it to another thread."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ptrtoint(arguments[0], ir.IntType(64))

    return types.int64(held), generate


@intrinsic
def held_at(typing, like, address):
    """Take up a tuple of the type of `like` that another thread holds at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _opaque(builder, builder.inttoptr(arguments[1], arguments[0].type))

    return like(like, types.int64), generate
