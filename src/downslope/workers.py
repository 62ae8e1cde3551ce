"""The threads of a descent: a kernel run by all of them at once, BLAS kept to one thread each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import TracebackType
from typing import Any

# The BLAS that kernels call is SciPy's, not NumPy's: it must be loaded before it can be limited.
import scipy.linalg.cython_blas  # noqa: F401

from downslope.errors import InvalidTypeError, InvalidValueError


def available_threads() -> int:
    """Count the cores this process may use; OMP_NUM_THREADS bounds it, as it does elsewhere.

    Process pools such as joblib's set that variable, so that their processes share the cores.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    bound = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return max(1, min(cores, int(bound))) if bound.isdigit() else cores


def check_threads(threads: object) -> int:
    """Check a number of threads; None takes what is available."""
    if threads is None:
        return available_threads()
    if isinstance(threads, bool) or not isinstance(threads, int):
        raise InvalidTypeError(f"threads takes a whole number or None; got {threads!r}")
    if threads < 1:
        raise InvalidValueError(f"threads must be at least 1; got {threads}")
    return threads


class Workers:
    """Some threads that run one kernel together, each with its number.

    Parameters
    ----------
    count
        How many; the caller's own thread is the first of them.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count - 1, "downslope") if count > 1 else None

    def run(self, kernel: Callable[..., Any], *arguments: Any) -> Any:
        """Run ``kernel(*arguments, number, count)`` on all threads; give the first one's result."""
        if self._pool is None:
            return kernel(*arguments, 0, 1)
        others = [
            self._pool.submit(kernel, *arguments, number, self.count)
            for number in range(1, self.count)
        ]
        result = kernel(*arguments, 0, self.count)
        for other in others:
            other.result()
        return result

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()


@cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread for each of ours: two of ours times two of BLAS stand in the way."""
    with _blas().limit(limits=1, user_api="blas"):
        yield
