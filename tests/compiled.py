"""Kernels that only kernels call, compiled so that a test can call them."""

from __future__ import annotations

from functools import cache
from typing import Any

from downslope.kernels.jit import kernel


@cache
def compiled(inner: Any) -> Any:
    """Compile an inner kernel once more, as one that Python calls."""
    return kernel(inner.py_func)
