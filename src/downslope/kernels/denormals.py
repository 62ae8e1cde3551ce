"""Numbers below the smallest normal one, taken as 0 while a kernel runs.

The moments of a dead unit, or of one behind a vanished gradient, decay into denormal numbers and
stay there, where a processor takes a hundred times as long for each: Adam 17 ns a parameter in the
place of 0.35. What is lost lies below 1.2e-38 (float32) or 2.2e-308 (float64).
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_IS_X86 = platform.machine().lower() in ("x86_64", "amd64")

_FLUSH_TO_ZERO, _DENORMALS_ARE_ZERO = 0x8000, 0x0040


def _control(context: Any, builder: Any, name: str, slot: Any) -> None:
    """Load or store the register that controls floating point."""
    pointer = ir.IntType(8).as_pointer()
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), [pointer]), f"llvm.x86.sse.{name}"
    )
    builder.call(function, [builder.bitcast(slot, pointer)])


@intrinsic
def flush_denormals(typing):
    """Take denormal numbers as 0 in this thread; give what `restore_denormals` needs."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        slot = cgutils.alloca_once_value(builder, word(0))
        if _IS_X86:
            _control(context, builder, "stmxcsr", slot)
        before = builder.load(slot)
        if _IS_X86:
            builder.store(builder.or_(before, word(_FLUSH_TO_ZERO | _DENORMALS_ARE_ZERO)), slot)
            _control(context, builder, "ldmxcsr", slot)
        return builder.zext(before, ir.IntType(64))

    return types.int64(), generate


@intrinsic
def restore_denormals(typing, before):
    """Treat denormal numbers as before."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        slot = cgutils.alloca_once_value(builder, builder.trunc(arguments[0], word))
        if _IS_X86:
            _control(context, builder, "ldmxcsr", slot)
        return context.get_dummy_value()

    return types.void(types.int64), generate
