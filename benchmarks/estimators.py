"""`MLPClassifier` against scikit-learn's: whole calls of `fit` and `predict`, the same work."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

ROWS, FEATURES, HIDDEN = 20_000, 32, (64, 64)
ROUNDS: Final = 4
"""In every other one scikit-learn's BLAS has one thread: the better counts."""
DTYPES: Final = ("float32", "float64")

FITS: Final = (("1", 1, 1, 20.0), ("32", 32, 1, 8.0), ("256", 256, 3, 4.0), ("all", ROWS, 6, 1.0))
"""Name of a batch, its rows, epochs of a call, and how many times faster the project aims to be."""

PREDICTIONS: Final = ((1, 400, 3.0), (1000, 40, 1.0))
"""Rows of a call, calls, aim."""


def _best(call: Callable[[], object], blas_threads: int | None = None, times: int = 1) -> float:
    """Give the least seconds of a call, BLAS bound to so many threads; None: not bound."""
    from threadpoolctl import threadpool_limits

    seconds = []
    with threadpool_limits(blas_threads, user_api="blas"):
        for _ in range(times):
            begun = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - begun)
    return min(seconds)


def _measure() -> dict[str, list[float]]:
    """Give seconds by what was measured: ours, scikit-learn's."""
    import numpy as np
    import sklearn.neural_network as theirs

    from downslope import MLPClassifier

    warnings.simplefilter("ignore")
    found: dict[str, list[float]] = {}
    for dtype in DTYPES:
        generator = np.random.default_rng(0)
        X = generator.standard_normal((ROWS, FEATURES)).astype(dtype)
        y = (X[:, 0] * X[:, 1] > 0).astype(int)
        kinds: list[Any] = [MLPClassifier, theirs.MLPClassifier]

        def fitted(kind: Any, rows: int, batch: int, epochs: int, X: Any = X, y: Any = y) -> Any:
            return kind(
                HIDDEN, solver="sgd", batch_size=batch, max_iter=epochs, n_iter_no_change=1000,
                random_state=0,
            ).fit(X[:rows], y[:rows])  # fmt: skip

        both = [fitted(kind, ROWS, 200, 1) for kind in kinds]
        for name, batch, epochs, _ in FITS:
            # At batch 1 scikit-learn gets an eighth of the rows: its time goes by the step.
            rows = [ROWS, ROWS // 8 if batch == 1 else ROWS]
            turns = [
                [
                    _best(partial(fitted, kind, n, batch, epochs), bound) / (n * epochs)
                    for kind, n, bound in zip(kinds, rows, (None, turn % 2 or None), strict=True)
                ]
                for turn in range(ROUNDS)
            ]
            found[f"fit {name} {dtype}"] = [min(each) for each in zip(*turns, strict=True)]
        for rows_of_call, calls, _ in PREDICTIONS:
            part = X[:rows_of_call].copy()
            found[f"predict {rows_of_call} {dtype}"] = [
                min(_best(partial(each.predict, part), bound, calls) for bound in (None, 1))
                for each in both
            ]
    return found


@dataclass(frozen=True)
class Estimators:
    """Seconds by what was measured: ours and scikit-learn's; of a fit for each row."""

    seconds: dict[str, list[float]]

    def lines(self) -> list[str]:
        """Say each in one line, with the ratio and what was aimed at."""
        lines = []
        for dtype in DTYPES:
            for name, _, _, aim in FITS:
                ours, theirs = self.seconds[f"fit {name} {dtype}"]
                what = f"fit, {dtype}, batch {name}: {1 / ours:,.0f} rows a second"
                lines.append(f"{what}, scikit-learn {1 / theirs:,.0f}: {_ratio(ours, theirs, aim)}")
            for rows, _, aim in PREDICTIONS:
                ours, theirs = self.seconds[f"predict {rows} {dtype}"]
                what = f"predict, {dtype}, {rows} row{'s' * (rows > 1)}: {ours * 1e6:,.0f} µs"
                lines.append(
                    f"{what}, scikit-learn {theirs * 1e6:,.0f} µs: {_ratio(ours, theirs, aim)}"
                )
        return lines


def _ratio(ours: float, theirs: float, aim: float) -> str:
    reached = "reached" if theirs / ours >= aim else "missed"
    return f"{theirs / ours:.1f} x (aimed at {aim:g}: {reached})"


def estimators() -> Estimators:
    """Measure in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__], capture_output=True, text=True, check=True, timeout=600
    )
    return Estimators(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    print(json.dumps(_measure()))
