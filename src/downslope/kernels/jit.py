"""The project's only compile options, and the types that kernels work on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
"""A float32 or float64 array; all floats of one kernel call are of one type."""

Doubles = npt.NDArray[np.float64]
"""A float64 array: sums over rows, coefficients of a step."""

Integers = npt.NDArray[np.int64]
"""Indices, counts, offsets."""

Function = TypeVar("Function", bound=Callable[..., Any])


def _source_digest() -> str:
    """Digest the source that any kernel may include: a kernel is compiled with those it calls."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*package.glob("*.py"), package.parent / "catalogue.py"]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_DIGEST = _source_digest()


_OPTIONS = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "arcp", "nsz", "afn"},
}
"""The flags leave out ``nnan`` and ``ninf``, so NaN and infinity stay what they are; division by
zero gives them."""


_INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def kernel(function: Function) -> Function:
    """Compile a kernel: arrays in, arrays written; no interpreter lock; cached on disk.

    Shapes are not checked in here: the caller has done so.
    """
    return cast(Function, _stamped(numba.njit(**_OPTIONS)(function)))


def inner(function: Function) -> Function:
    """Compile a kernel that only kernels call: what Python would need to call it is left out.

    That shortens the first compile.
    """
    return cast(Function, _stamped(numba.njit(**_INNER, **_OPTIONS)(function)))


def exact(function: Function) -> Function:
    """Compile an elementwise kernel that only kernels call, for exactly the operations written.

    Free to reassociate, LLVM chooses differently for a vector, for a loop's remainder and for a
    single element: then a row's result would hang on its place in the block and on the number of
    threads. Where two roundings are too many, `fused` says so.
    """
    options = {**_OPTIONS, "fastmath": False}
    return cast(Function, _stamped(numba.njit(**_INNER, **options)(function)))


def _stamped(compiled: Any) -> Any:
    """Let the cache of a kernel hang on the source of all kernels, as it includes those it calls.

    Numba by itself looks at the kernel's own file only, and would keep a stale kernel.
    """
    compiled._cache._cache_file._source_stamp = _DIGEST
    return compiled


def is_cached(compiled: Any) -> bool:
    """Say whether a kernel lies compiled on disk already."""
    return bool(compiled._cache._cache_file._load_index())
