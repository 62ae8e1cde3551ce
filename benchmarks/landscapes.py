"""How long a landscape and the curvature at one theta take, for a network on all digits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

POINTS: Final = 51
AIM: Final = 5.0
"""Seconds for the plane on two cores that the project set itself."""


@dataclass(frozen=True)
class Landscapes:
    """Best seconds of three, by what was worked out."""

    weights: int
    plane: float
    one_thread: float
    normalized: float
    curvature: float

    def __str__(self) -> str:
        word = "reached" if self.plane <= AIM else "missed"
        return (
            f"loss over a {POINTS} x {POINTS} plane, {self.weights:,} weights, all 1,797 digits: "
            f"{self.plane:.2f} s on all cores (aimed at {AIM:g}: {word}), {self.one_thread:.2f} s "
            f"on one; with batch normalization {self.normalized:.2f} s; the ends of the Hessian's "
            f"spectrum and its trace {self.curvature:.2f} s"
        )


def landscapes() -> Landscapes:
    """Measure a plane on one core and on all, with batch normalization, and curvature."""
    from downslope import Descent, Network, Recipe, datasets, descend

    digits = datasets.load("digits")
    runs = [
        descend(
            Recipe(Network([128, 64], normalize=normalize), Descent(epochs=10, validation=0.0)),
            digits,
        )
        for normalize in ("none", "batch")
    ]
    plain, normalized = runs
    return Landscapes(
        int(plain.network.theta.size),
        _best(lambda: plain.landscape(points=POINTS)),
        _best(lambda: plain.landscape(points=POINTS, threads=1)),
        _best(lambda: normalized.landscape(points=POINTS)),
        _best(plain.curvature),
    )


def _best(work: Callable[[], Any]) -> float:
    """Time some work three times."""
    seconds = []
    for _turn in range(3):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


if __name__ == "__main__":
    print(landscapes())
