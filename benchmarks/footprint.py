"""What Downslope needs besides time: memory of a full-batch descent, and time to start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

EPOCHS: Final = 20
"""Of each run."""

ROUNDS: Final = 3
"""Runs of each batch, in turns; of each epoch the best time counts."""

RECORDED: Final = 10
"""Of a run's steps the first, which are all recorded: with a full batch, so many epochs."""

_MEMORY: Final = """
import json, re, sys
import numpy as np
from downslope import Descent, Network, Recipe, descend

EPOCHS, ROUNDS, RECORDED = map(int, sys.argv[1:])

def run(batch, epochs, X, labels):
    recipe = Recipe(
        Network([64], activation="relu"),
        Descent(batch=batch, epochs=epochs, validation=0.0, patience=None),
    )
    return np.diff([0.0, *descend(recipe, X, labels, threads=2).history.elapsed])

def resident(which):
    with open("/proc/self/status") as file:
        return int(re.search(which + r":\\s*(\\d+) kB", file.read())[1]) * 1024

generator = np.random.default_rng(0)
# Compiling, or loading what was compiled, must not count as memory of the descent.
for batch in ("full", 1024):
    run(batch, 1, generator.standard_normal((4096, 100), dtype=np.float32), np.arange(4096) % 10)
X = generator.standard_normal((1_000_000, 100), dtype=np.float32)
labels = np.arange(1_000_000) % 10
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the highest mark starts anew from here: it is not that of compiling
before = resident("VmRSS")
full = run("full", EPOCHS, X, labels)
peak = resident("VmHWM")
mini = run(1024, EPOCHS, X, labels)
for _ in range(ROUNDS - 1):
    full = np.minimum(full, run("full", EPOCHS, X, labels))
    mini = np.minimum(mini, run(1024, EPOCHS, X, labels))
print(json.dumps({
    "above": peak - before,
    "recorded": full[:RECORDED].mean(),
    "full": full[RECORDED:].mean(),
    "mini": mini.mean(),
}))
"""

_COMPILE: Final = """
import json, time
import numpy as np
from downslope import Descent, Network, Recipe, descend
X = np.random.default_rng(0).standard_normal((64, 4), dtype=np.float32)
started = time.perf_counter()
descend(
    Recipe(Network([8], activation="relu"), Descent(batch=16, epochs=2, validation=0.0)),
    X,
    np.arange(64) % 3,
)
print(json.dumps({"seconds": time.perf_counter() - started}))
"""


@dataclass(frozen=True)
class Memory:
    """Of full-batch descent on 1,000,000 x 100 float32 rows."""

    mebibytes: float
    recorded_seconds: float
    full_seconds: float
    mini_seconds: float

    def __str__(self) -> str:
        return (
            f"full-batch descent on 1,000,000 x 100 float32 rows: peak {self.mebibytes:.1f} MiB"
            f" above the data, which the default recipe scales; an epoch {self.full_seconds:.3f} s"
            f" ({self.recorded_seconds:.3f} s in the first {RECORDED}, whose steps are recorded),"
            f" in batches of 1024 {self.mini_seconds:.3f} s"
        )


@dataclass(frozen=True)
class Startup:
    """Wall seconds until something has been trained."""

    fit_iris: float
    first_compile: float

    def __str__(self) -> str:
        return (
            f"`downslope fit iris`, compiled before: {self.fit_iris:.2f} s wall, imports included;"
            f" first descend() on an empty cache: {self.first_compile:.1f} s"
        )


def _last_line(program: str, *arguments: object, **variables: str) -> dict[str, Any]:
    """Run a program in a process of its own; read the JSON in its last line."""
    finished = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, **variables},
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    answer: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return answer


def memory() -> Memory:
    """Measure peak memory and time of full-batch descent (Linux: it reads /proc)."""
    answer = _last_line(_MEMORY, EPOCHS, ROUNDS, RECORDED)
    return Memory(answer["above"] / 2**20, answer["recorded"], answer["full"], answer["mini"])


def startup() -> Startup:
    """Measure a warm `downslope fit iris`, best of three, and the first compile of all."""
    command = Path(sys.executable).with_name("downslope")
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(4):  # the first one warms the cache
            started = time.perf_counter()
            subprocess.run(
                [command, "fit", "iris", "--out", Path(folder) / str(number)],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            seconds.append(time.perf_counter() - started)
        compiled = _last_line(_COMPILE, NUMBA_CACHE_DIR=str(Path(folder) / "cache"))
    return Startup(min(seconds[1:]), compiled["seconds"])
