"""What the X-ray costs: whole runs that record nothing, the default steps, and every step."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any, Final

from rows import ROWS, Row

MODES: Final = ("none", "default", "all")
ROUNDS: Final = 5
SECONDS: Final = 0.3
LEAST_STEPS: Final = 200
"""A run is as long as it must be to last `SECONDS`, and at least so many steps: the first ten are
recorded in any run, however short."""

DEFAULT_AIM: Final = 1.05
TINY: Final = 70
"""Widths up to which a network counts as tiny, but for its classes and features."""


def aim(row: Row) -> float:
    """Give what recording every step may cost at most, as a ratio."""
    return 3.0 if max(row.hidden) < TINY else 1.5


def _run(row: Row, record: str, epochs: int) -> float:
    """Give the seconds of a step of one run, without its set-up."""
    import numpy as np

    from downslope.course import Course
    from downslope.data import Data
    from downslope.network import BuiltNetwork
    from downslope.parts import Descent, Network
    from downslope.recording import Recording
    from downslope.stepper import Targets

    features, labels = row.data()
    rule = {"adam": "adam", "sgd": "gd"}[row.rule]
    descent = Descent(row.batch, rule, row.learning_rate, "constant", epochs=epochs, validation=0.0)
    network = Network(row.hidden, "relu", "he_normal")
    built = BuiltNetwork(network, row.widths[0], row.widths[-1], "multiclass")
    targets = Targets.of(labels, None, built.outputs, np.float32)
    rows = np.arange(len(features))
    data = Data(features, targets, rows, rows[:0])
    course = Course(built, data, descent, recording=Recording(record))
    begun = time.perf_counter()
    course.run()
    return (time.perf_counter() - begun) / course.history.steps


def _measure(pattern: str) -> dict[str, dict[str, float]]:
    """Give the least seconds of a step by row and mode; the modes take turns."""
    found: dict[str, dict[str, float]] = {}
    for row in ROWS:
        if not re.search(pattern, str(row)):
            continue
        _run(row, "none", 1)
        step = _run(row, "none", 2)
        epochs = max(2, round(max(SECONDS / step, LEAST_STEPS) / row.steps))
        best = dict.fromkeys(MODES, float("inf"))
        for _ in range(ROUNDS):
            for mode in MODES:
                # Where every step is recorded, a third of them is enough.
                length = max(2, epochs // 3) if mode == "all" else epochs
                best[mode] = min(best[mode], _run(row, mode, length))
        found[str(row)] = best
    return found


@dataclass(frozen=True)
class Recordings:
    """Seconds of a step by row and mode."""

    seconds: dict[str, dict[str, float]]

    def lines(self) -> list[str]:
        """Say each row in one line, and which ones miss what was aimed at."""
        lines = []
        aims = {str(row): aim(row) for row in ROWS}
        for row, seconds in self.seconds.items():
            plain = seconds["none"]
            default, every = seconds["default"] / plain, seconds["all"] / plain
            missed = [
                name for name, ratio, most in (("default", default, DEFAULT_AIM),
                                               ("every step", every, aims[row])) if ratio > most
            ]  # fmt: skip
            end = f"; missed: {', '.join(missed)}" if missed else ""
            lines.append(
                f"{row}: {plain * 1e6:,.2f} µs a step, default {default:.3f} x, every step "
                f"{every:.2f} x (at most {aims[row]:g}){end}"
            )
        return lines


def recording(pattern: str = "") -> Recordings:
    """Measure in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, pattern], capture_output=True, text=True, check=True,
        timeout=900,
    )  # fmt: skip
    parsed: Any = json.loads(done.stdout.splitlines()[-1])
    return Recordings(parsed)


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1] if len(sys.argv) > 1 else "")))
