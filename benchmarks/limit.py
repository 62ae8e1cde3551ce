"""The least time that a step can take on this machine.

Its matrix products at the best rate that any BLAS at hand sustains with all cores, plus the bytes
that its rule must move at the bandwidth of the memory, or the cache, that holds theta and the
rule's moments. Run by itself, it prints both for every row.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numba
import numpy as np
import scipy.linalg.blas

from rows import ROWS, Row

CORES: Final = os.cpu_count() or 1

SHAPES: Final = ((512, 512, 512), (1024, 1024, 1024), (2048, 2048, 2048), (256, 1024, 1024))
"""m, k and n of the products; the last is that of the largest row."""

WINDOW: Final = 0.05
"""Seconds that a rate must be sustained for."""

PAUSE: Final = 0.06
"""Seconds between two libraries: OpenBLAS's workers spin for 2^26 cycles after their last task."""


@dataclass(frozen=True)
class Limits:
    """The machine's measured rates: operations a second, and bytes a second for each row."""

    products: float
    library: str
    bytes: dict[Row, float]

    def best(self, other: Limits) -> Limits:
        """Take the better of each rate of two measurements."""
        faster = max(self, other, key=lambda limits: limits.products)
        rates = {row: max(rate, other.bytes[row]) for row, rate in self.bytes.items()}
        return Limits(faster.products, faster.library, rates)

    def microseconds(self, row: Row) -> float:
        """Give the least time of one step of a row."""
        moved = 4 * row.parameters * sum(row.streams)
        return (row.products / self.products + moved / self.bytes[row]) * 1e6


def _rate(work: Callable[[], object]) -> float:
    """Give calls a second over a window, after one call to warm up."""
    work()
    calls, started = 0, time.perf_counter()
    while True:
        work()
        calls += 1
        spent = time.perf_counter() - started
        if spent >= WINDOW:
            return calls / spent


def _libraries() -> Iterator[tuple[str, Callable[[Any, Any, Any], Callable[[], object]]]]:
    """Give each BLAS at hand: a function of A, B and a place for A B that makes the product."""
    yield "NumPy", lambda a, b, out: lambda: np.dot(a, b, out)

    def scipys(a: Any, b: Any, out: Any) -> Callable[[], object]:
        # In BLAS's order of columns: (A B)^T = B^T A^T, without a copy.
        return lambda: scipy.linalg.blas.sgemm(1.0, b.T, a.T, c=out.T, overwrite_c=True)

    yield "SciPy", scipys
    try:
        import torch
    except ImportError:
        return

    def torchs(a: Any, b: Any, out: Any) -> Callable[[], object]:
        tensors = [torch.from_numpy(each) for each in (a, b, out)]
        return lambda: torch.mm(tensors[0], tensors[1], out=tensors[2])

    torch.set_num_threads(CORES)
    yield "PyTorch", torchs


def peak_products() -> tuple[float, str]:
    """Measure the best sustained float32 products: operations a second, and whose they were."""
    generator = np.random.default_rng(0)
    best, whose = 0.0, ""
    for name, product in _libraries():
        time.sleep(PAUSE)
        for m, k, n in SHAPES:
            a = generator.standard_normal((m, k), dtype=np.float32)
            b = generator.standard_normal((k, n), dtype=np.float32)
            work = product(a, b, np.empty((m, n), np.float32))
            rate = 2 * m * k * n * max(_rate(work), _rate(work))
            if rate > best:
                best, whose = rate, f"{name}, {m} x {k} x {n}"
    return best, whose


@numba.njit(nogil=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _sgd_streams(theta: Any, g: Any, repeats: int) -> None:
    """Move what plain SGD moves: read theta and g, write theta."""
    scale = np.float32(1e-9)
    for _ in range(repeats):
        for i in range(theta.size):
            theta[i] += scale * g[i]


@numba.njit(nogil=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _adam_streams(theta: Any, m: Any, v: Any, g: Any, repeats: int) -> None:
    """Move what Adam moves: read theta, m, v and g, write theta, m and v."""
    scale = np.float32(1e-9)
    for _ in range(repeats):
        for i in range(theta.size):
            step = scale * g[i]
            theta[i] += step
            m[i] += step
            v[i] += step


def bandwidth(parameters: int, rule: str) -> float:
    """Measure bytes a second of a rule's streams over its state, shared among all cores.

    Each core goes over its own share again and again, so that what fits a cache stays there as it
    would from step to step; the cores are not made to wait for one another.
    """
    streams, arrays, moved = {
        "adam": (_adam_streams, 4, 7),
        "sgd": (_sgd_streams, 2, 3),
    }[rule]
    edges = np.linspace(0, parameters, CORES + 1).astype(int)
    shares = [
        [np.ones(max(stop - start, 1), np.float32) for _ in range(arrays)]
        for start, stop in pairwise(edges)
    ]
    with ThreadPoolExecutor(CORES) as cores:

        def go(repeats: int) -> float:
            started = time.perf_counter()
            list(cores.map(lambda share: streams(*share, repeats), shares))
            return time.perf_counter() - started

        go(1)
        repeats = 1
        while (spent := go(repeats)) < WINDOW / 4:
            repeats *= 2 if spent > WINDOW / 40 else 8
        best = min(go(repeats), go(repeats), spent)
    return 4 * parameters * moved * repeats / best


def measured(rows: Sequence[Row]) -> Limits:
    """Measure this machine's rates for the rows."""
    products, library = peak_products()
    return Limits(products, library, {row: bandwidth(row.parameters, row.rule) for row in rows})


def main() -> None:
    limits = measured(ROWS)
    print(f"products: {limits.products / 1e9:.0f} GFLOP/s ({limits.library})")
    for row in ROWS:
        print(
            f"{row!s:32} state {4 * row.parameters * row.streams[0] / 1024:9.1f} KiB"
            f" {limits.bytes[row] / 1e9:6.0f} GB/s   limit {limits.microseconds(row):10.3f} µs"
        )


if __name__ == "__main__":
    main()
