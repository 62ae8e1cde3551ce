"""What a comparison keeps of each run, and the numbers it compares."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import statistics as middle
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from downslope.errors import ModelFileError
from downslope.files import is_there, read_bytes
from downslope.history import lowest
from downslope.storage import writing

FORMAT: Final = "downslope runs 1"


@dataclass(frozen=True)
class Outcome:
    """What is kept of one run.

    Attributes
    ----------
    dataset, variant, seed
        Which run: the table's name, the variant's label, the recipe's seed.
    epochs
        What the recipe allows; less than the comparison's in a rung of a budget.
    reason
        Why it stopped.
    diverged
        Whether it left the finite numbers.
    losses, validation_losses, validation_scores, elapsed, steps, seconds, spread
        As in `History`.
    steps_per_epoch
    memory
        Bytes that the run allocated for itself (see `Course.memory`).
    parameters
        How many theta has.
    held_out
        Rows that the score is taken of.
    task
    boundary
        For two inputs, the first seed only: the outputs over a grid, row by row; else empty.
    """

    dataset: str
    variant: str
    seed: int
    epochs: int | None
    reason: str
    diverged: bool
    losses: list[float]
    validation_losses: list[float]
    validation_scores: list[float]
    elapsed: list[float]
    steps: int
    seconds: float
    spread: float
    steps_per_epoch: int
    memory: int
    parameters: int
    held_out: int
    task: str
    boundary: list[float]

    @property
    def kept(self) -> int:
        """The place, from 0, of the epoch whose theta is kept: the best by held-out loss."""
        return lowest(self.validation_losses)

    def epochs_to(self, target: float) -> float:
        """Count the epochs until the training loss has come down to a target; infinite if never."""
        if math.isnan(target):
            return math.nan
        reached = (number for number, loss in enumerate(self.losses, 1) if loss <= target)
        return next(reached, math.inf)


@dataclass(frozen=True)
class Metric:
    """A number of a run that variants are compared by.

    Attributes
    ----------
    line
        What it is.
    measure
        From an outcome and the target loss; NaN where the run has none.
    rises
        Whether more is better.
    unit
    """

    line: str
    measure: Callable[[Outcome, float], float]
    rises: bool = False
    unit: str = ""


def _score(outcome: Outcome, _: float) -> float:
    return outcome.validation_scores[outcome.kept] if outcome.validation_scores else math.nan


def _steps_to(outcome: Outcome, target: float) -> float:
    return outcome.epochs_to(target) * outcome.steps_per_epoch


def _seconds_to(outcome: Outcome, target: float) -> float:
    epochs = outcome.epochs_to(target)
    return outcome.elapsed[int(epochs) - 1] if math.isfinite(epochs) else epochs


def _epoch_seconds(outcome: Outcome, _: float) -> float:
    passed = [after - before for before, after in pairwise([0.0, *outcome.elapsed])]
    return middle.median(passed) if passed else math.nan


def _least(losses: list[float]) -> float:
    return losses[lowest(losses)] if losses else math.nan


METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    {
        "score": Metric("held-out score (accuracy or R2) of the theta kept", _score, rises=True),
        "validation_loss": Metric(
            "held-out loss (the least)", lambda outcome, _: _least(outcome.validation_losses)
        ),
        "final_loss": Metric(
            "training loss of the last epoch",
            lambda outcome, _: outcome.losses[-1] if outcome.losses else math.nan,
        ),
        "best_loss": Metric("training loss (the least)", lambda outcome, _: _least(outcome.losses)),
        "epochs_to_target": Metric(
            "epochs until the training loss is down to the target",
            lambda outcome, target: outcome.epochs_to(target),
            unit="epochs",
        ),
        "steps_to_target": Metric("steps until then", _steps_to, unit="steps"),
        "seconds_to_target": Metric("seconds until then", _seconds_to, unit="seconds"),
        "epoch_seconds": Metric("seconds of an epoch (median)", _epoch_seconds, unit="seconds"),
        "memory": Metric(
            "memory of the run", lambda outcome, _: float(outcome.memory), unit="bytes"
        ),
        "spread": Metric(
            "spread of the loss over the last steps", lambda outcome, _: outcome.spread
        ),
    }
)
"""Every metric by its name."""


def measure(outcome: Outcome, metric: str, target: float) -> float:
    """Give a metric of an outcome: the worst there is, infinite, where the run diverged.

    What a run costs (``epoch_seconds``, ``memory``) it costs whether it diverged or not.
    """
    one = METRICS[metric]
    if outcome.diverged and metric not in ("epoch_seconds", "memory"):
        return -math.inf if one.rises else math.inf
    return float(one.measure(outcome, target))


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


class Ledger:
    """The outcomes of finished runs on disk, a line each, from which a comparison goes on.

    A process killed at any moment leaves whole lines, and at most a torn last one, which is
    dropped.

    Parameters
    ----------
    path
        The file; made if it is not there.

    Raises
    ------
    ModelFileError
        If the file is something else.
    UnreadableError, UnwritableError
        If it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._found: dict[str, Outcome] = {}
        self._lock, self._path = threading.Lock(), path
        whole = self._read(path) if is_there(path) else 0
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")
            self._file.truncate(whole)
        if whole == 0:
            self._append({"format": FORMAT})

    def _read(self, path: Path) -> int:
        """Read all whole lines; give the place where they end."""
        content = read_bytes(path)
        whole = content.rfind(b"\n") + 1
        try:
            lines = [json.loads(line) for line in content[:whole].splitlines()]
            begun = not lines and _line({"format": FORMAT}).startswith(content)
            if not begun and lines[:1] != [{"format": FORMAT}]:
                raise ValueError(f"it does not begin with {FORMAT!r}")
            for line in lines[1:]:
                self._found[line["id"]] = Outcome(**line["outcome"])
        except (ValueError, KeyError, TypeError) as error:
            raise ModelFileError(
                f"{path} does not hold the runs of a comparison ({error}); choose another "
                "directory, or remove the file"
            ) from error
        return whole

    def find(self, identity: str) -> Outcome | None:
        """Give the outcome of a run that was finished before."""
        return self._found.get(identity)

    def add(self, identity: str, outcome: Outcome) -> None:
        """Keep an outcome."""
        self._append({"id": identity, "outcome": dataclasses.asdict(outcome)})

    def _append(self, line: Any) -> None:
        with self._lock, writing(self._path):
            self._file.write(_line(line))
            self._file.flush()

    def close(self) -> None:
        """Close the file, once it lies on the disk."""
        os.fsync(self._file.fileno())
        self._file.close()
