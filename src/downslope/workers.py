"""The threads of a descent: a kernel run by all of them at once, BLAS kept to one thread each."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

# The BLAS that kernels call is SciPy's, not NumPy's: it must be loaded before it can be limited.
import scipy.linalg.cython_blas  # noqa: F401

from downslope.counts import whole_number
from downslope.kernels.threads import AWAY, RUNNING, state_word


def available_threads() -> int:
    """Count the cores this process may use; OMP_NUM_THREADS bounds it, as it does elsewhere.

    Process pools such as joblib's set that variable, so that their processes share the cores.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    bound = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return max(1, min(cores, int(bound))) if bound.isdigit() else cores


def check_threads(threads: object, name: str = "threads") -> int:
    """Check a number of threads, named as its owner calls it; None takes what is available."""
    if threads is None:
        return available_threads()
    return whole_number(name, threads, 1, takes="a whole number or None")


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

    def run(self, kernel: Callable[..., Any], *arguments: Any, count: int | None = None) -> Any:
        """Run ``kernel(*arguments, number, count)`` on all threads, or on the first `count`.

        Returns the first one's result.
        """
        count = self.count if count is None else count
        if self._pool is None or count == 1:
            return kernel(*arguments, 0, 1)
        others = [
            self._pool.submit(kernel, *arguments, number, count) for number in range(1, count)
        ]
        result = kernel(*arguments, 0, count)
        for other in others:
            other.result()
        return result

    def call(self, kernel: Callable[..., int], job: Any, chunk: Any, count: int) -> int:
        """Run ``kernel(job, chunk, number, count)``, in which the others wait for the next call.

        Threads that are not in the kernel are started; `job.barrier` says which. The chunk must
        have a step, where all meet: a thread that was just started could else be done, and be
        called again, before the first one has begun. Gives the first one's result.
        """
        states = [state_word(number) for number in range(1, count)]
        done = -1
        while done < 0:
            for number, word in enumerate(states, 1):
                if self._pool is not None and job.barrier[word] == AWAY:
                    job.barrier[word] = RUNNING
                    self._pool.submit(kernel, job, chunk, number, count)
            done = int(kernel(job, chunk, 0, count))
        return done

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()


class FastestCount:
    """Finds out, while the work goes on, whether it runs faster on one thread or on all.

    Threads that meet every few microseconds stand still whenever another process takes one of
    their cores. What is computed does not depend on their number, so it may change at any time.

    Parameters
    ----------
    most
        The number of threads there are.
    """

    AGAIN = 50
    """The next trial of the slower number comes after this many times the duration of the last:
    trials then take two hundredths of the time at most."""

    LONG = 5e-4
    """Seconds of a unit from which all threads are taken for the better for so many calls: they
    meet too seldom to be held up, and one thread takes nearly twice as long."""

    def __init__(self, most: int) -> None:
        self._seconds = dict.fromkeys(sorted({1, most}, reverse=True), 0.0)
        self._calls, self._trial, self._since, self._tries = 0, 0.0, 0.0, False

    @property
    def to_try(self) -> int | None:
        """The number of threads that the next call is to try; None where it takes the fastest."""
        most, seconds = max(self._seconds), self._seconds
        if most == 1:
            return None
        if seconds[1] == 0 and self._calls > 0:
            return None if seconds[most] > self.LONG and self._calls < self.AGAIN else 1
        if self._calls in (0, 2):  # the first call finds everything cold
            return most
        slower = max(seconds, key=seconds.__getitem__)
        return slower if self._since >= self.AGAIN * self._trial else None

    def choose(self) -> int:
        """Give the number of threads for the next call."""
        if len(self._seconds) == 1:
            return 1
        tried = self.to_try
        self._calls, self._tries = self._calls + 1, tried is not None
        known = {count: seconds for count, seconds in self._seconds.items() if seconds > 0}
        return tried or min(known or self._seconds, key=self._seconds.__getitem__)

    def note(self, count: int, seconds: float, units: int = 1) -> None:
        """Note how long some units of the work took on some threads."""
        self._seconds[count] = seconds / units
        if self._tries:
            self._trial, self._since = seconds, 0.0
        else:
            self._since += seconds


@cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


class _OneBlasThread:
    """A limit for the whole process: the first to enter sets it, the last to leave takes it off.

    Descents run side by side. If each put back what it had found, one would find another's limit,
    and leave it for good.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._within, self._limit = 0, contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._within == 0:
                limit = _blas().limit(limits=1, user_api="blas")
                self._limit.callback(limit.restore_original_limits)
            self._within += 1

    def __exit__(self, *failure: object) -> None:
        with self._lock:
            self._within -= 1
            if self._within == 0:
                self._limit.close()


_ONE_BLAS_THREAD = _OneBlasThread()


def one_blas_thread() -> contextlib.AbstractContextManager[None]:
    """Keep BLAS to one thread: its sums, and so their bits, depend on how many it has.

    It may be entered any number of times, by several threads at once.
    """
    return _ONE_BLAS_THREAD
