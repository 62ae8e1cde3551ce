"""A named tuple handed on by its address: its fields are the tuple's own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, NamedTuple

import numba
import numpy as np

from downslope.kernels.held import Held, hold
from downslope.kernels.jit import Floats


class Inner(NamedTuple):
    values: Floats
    factor: float


class Outer(NamedTuple):
    values: Floats
    number: int
    inner: Inner


def outer(dtype: Any) -> Outer:
    return Outer(np.arange(5, dtype=dtype), 7, Inner(np.arange(3, dtype=dtype), 0.5))


@numba.njit  # type: ignore[untyped-decorator]
def apart(held: Any) -> Any:
    """Read and write through the address, one call further down."""
    held.values[1] += held.number
    held.inner.values[2] *= held.inner.factor
    return held.number + held.values.shape[0] + held.inner.values.shape[0]


@numba.njit  # type: ignore[untyped-decorator]
def through(whole: Any) -> Any:
    return apart(hold(whole))


def test_fields_are_read_and_arrays_written_in_place() -> None:
    for dtype in (np.float32, np.float64):
        given = outer(dtype)
        assert through(given) == 7 + 5 + 3
        assert given.values.tolist() == [0, 8, 2, 3, 4]
        assert given.inner.values.tolist() == [0, 1, 1]


def test_arrays_that_are_read_are_not_counted() -> None:
    given = outer(np.float64)
    before = sys.getrefcount(given.values), sys.getrefcount(given.inner.values)
    through(given)
    assert (sys.getrefcount(given.values), sys.getrefcount(given.inner.values)) == before


def test_a_type_is_named_by_its_content_in_every_process() -> None:
    narrow, wide = (Held(numba.typeof(outer(dtype))) for dtype in (np.float32, np.float64))
    assert narrow.name != wide.name
    assert narrow == Held(numba.typeof(outer(np.float32)))
    program = (
        "import numba, numpy as np; from test_held import Held, outer;"
        "print(Held(numba.typeof(outer(np.float32))).name)"
    )
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    found = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            check=True, text=True, capture_output=True,
        ).stdout.strip()
        for seed in ("1", "2")
    ]  # fmt: skip
    assert found == [narrow.name, narrow.name]
