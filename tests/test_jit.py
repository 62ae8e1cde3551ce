"""How kernels are compiled: what is remembered of types is what Numba says of them."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from numba import types
from numba.core import compiler
from numba.core.registry import cpu_target

from downslope.kernels import jit

NUMBERS = types.int64, types.float32, types.float64, types.boolean


@pytest.mark.parametrize("operation", [operator.add, operator.truediv, operator.lt, min])
def test_calls_are_resolved_as_by_numba(operation: Any) -> None:
    rules = cpu_target.typing_context
    rules.refresh()
    remembering = jit._typing(rules)
    assert jit._typing(rules) is remembering
    function = rules.resolve_value_type(operation)
    for a in NUMBERS:
        for b in NUMBERS:
            expected = rules.resolve_function_type(function, (a, b), {})
            first = remembering.resolve_function_type(function, (a, b), {})
            assert first == expected
            assert remembering.resolve_function_type(function, (a, b), {}) is first
            own = remembering.resolve_value_type(operation)
            known = own.get_call_type(remembering, (a, b), {})
            assert known == expected
            assert callable(own.get_impl_key(known))  # compiled anew for other rules, as min is
            assert own.get_call_type(remembering, (a, b), {}) is known


def test_options_are_those_of_numba() -> None:
    plain = compiler.Flags()
    plain.error_model, plain.release_gil = "numpy", True
    own = jit._Flags(plain)
    assert own.values() == plain.values()
    assert own == plain
    assert hash(own) == hash(plain)
    assert own.copy().error_model == plain.error_model
