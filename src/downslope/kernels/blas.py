"""SciPy's BLAS from inside kernels, with strides, so that a part of a matrix can be an operand."""

from __future__ import annotations

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic

from downslope.kernels.jit import inner

_SYMBOLS = {32: "downslope_sgemm", 64: "downslope_dgemm"}
for _bits, _name in ((32, "sgemm"), (64, "dgemm")):
    llvmlite.binding.add_symbol(
        _SYMBOLS[_bits], get_cython_function_address("scipy.linalg.cython_blas", _name)
    )


@intrinsic
def _call_gemm(typing, transpose_a, transpose_b, m, n, k, a, a_at, a_ld, b, b_at, b_ld,
               beta, c, c_at, c_ld):  # fmt: skip
    """Fortran's GEMM: column-major C (m, n) = op(A) op(B) + beta C."""
    i = types.intp
    signature = types.void(i, i, i, i, i, a, i, i, b, i, i, i, c, i, i)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (transpose_a, transpose_b, m, n, k, a, a_at, a_ld, b, b_at, b_ld,
         beta, c, c_at, c_ld) = arguments  # fmt: skip
        element_type = signature.args[12].dtype
        element = context.get_data_type(element_type)
        letter, number = ir.IntType(8), ir.IntType(32)

        def place(value: Any) -> Any:
            slot = cgutils.alloca_once(builder, value.type)
            builder.store(value, slot)
            return slot

        def integer(value: Any) -> Any:
            return place(builder.trunc(value, number))

        def transposition(flag: Any) -> Any:
            is_set = builder.icmp_signed("!=", flag, flag.type(0))
            return place(builder.select(is_set, letter(ord("T")), letter(ord("N"))))

        def data(position: int, value: Any, offset: Any) -> Any:
            array = context.make_array(signature.args[position])(context, builder, value)
            return builder.gep(array.data, [offset])

        operands = [
            transposition(transpose_a), transposition(transpose_b),
            integer(m), integer(n), integer(k),
            place(element(1.0)), data(5, a, a_at), integer(a_ld),
            data(8, b, b_at), integer(b_ld),
            place(builder.sitofp(beta, element)), data(12, c, c_at), integer(c_ld),
        ]  # fmt: skip
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [operand.type for operand in operands]),
            _SYMBOLS[element_type.bitwidth],
        )
        builder.call(function, operands)
        return context.get_dummy_value()

    return signature, generate


@inner
def gemm(a, a_at, a_row, a_transposed, b, b_at, b_row, b_transposed, c, c_at, c_row,
         rows, columns, depth, accumulate):  # fmt: skip
    """Row-major C (rows, columns) = op(A) op(B), added to C where `accumulate`.

    To Fortran a row-major matrix is its transpose, so it is asked for C^T = op(B)^T op(A)^T.
    """
    _call_gemm(b_transposed, a_transposed, columns, rows, depth, b, b_at, b_row, a, a_at, a_row,
               int(accumulate), c, c_at, c_row)  # fmt: skip
