"""How it is measured: a process for each contender, and rounds in which they take turns.

A process of its own keeps a contender's thread pools and BLAS apart from everybody else's. Only
one process works at a time. Every figure is the best over the rounds, which lie far enough apart
that a slow spell of the machine does not decide a row.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final

from contenders import CONTENDERS, Steps
from limit import PAUSE, Limits, measured
from rows import Row

PATIENCE: Final = 200.0
"""Seconds after which no further round begins: a busy machine gets fewer rounds, not more time."""

LEAST_GRAINS: Final = 5
"""Epochs by which a longer run from scratch exceeds a short one: what a run does once, at its start
and end, is then not taken for the work of its epochs."""

MARGIN: Final = 1.5
"""A peer's variant this far behind its best after the first round is not measured again."""


@dataclass
class Timing:
    """The best seconds so far of one contender's variant on one row."""

    steps: int
    short: float = float("inf")
    long: float = float("inf")
    compile_seconds: float = 0.0

    @property
    def microseconds(self) -> float:
        """Of a step; for a contender that starts from scratch, without its set-up."""
        return (self.long - self.short) / self.steps * 1e6

    def keep_best(self, other: Timing) -> None:
        self.short, self.long = min(self.short, other.short), min(self.long, other.long)


@dataclass
class Measurements:
    """All that the rounds gave."""

    timings: dict[Row, dict[str, dict[str, Timing]]] = field(default_factory=dict)
    rounds: int = 0
    limits: Limits | None = None
    releases: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def best(self, row: Row, contender: str) -> tuple[str, Timing] | None:
        """Give a contender's best variant on a row, None where it was not measured."""
        variants = self.timings.get(row, {}).get(contender)
        if not variants:
            return None
        return min(variants.items(), key=lambda item: item[1].microseconds)

    def ratio(self, row: Row, peer: str) -> float | None:
        """Give the peer's time over Downslope's."""
        ours, theirs = self.best(row, "Downslope"), self.best(row, peer)
        if ours is None or theirs is None:
            return None
        return theirs[1].microseconds / ours[1].microseconds


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class _Turns:
    """One contender in its process: keeps each row's descent ready between turns."""

    def __init__(self, kind: type[Steps], budget: float) -> None:
        self._kind, self._budget = kind, budget
        self._ready: dict[tuple[Row, str], tuple[Steps, int]] = {}

    def take(self, row: Row, variant: str) -> Timing:
        if (row, variant) not in self._ready:
            steps = self._kind(row, variant)
            self._ready[row, variant] = steps, self._grains(steps)
        steps, grains = self._ready[row, variant]
        steps.warm_up()
        short = 0.0
        if self._kind.from_scratch:
            short = _seconds(lambda: steps.train(1))
            long = _seconds(lambda: steps.train(1 + grains))
        else:
            long = _seconds(lambda: steps.train(grains))
        return Timing(grains * steps.grain, short, long, steps.compile_seconds)

    def _grains(self, steps: Steps) -> int:
        """How many grains fill the budget, set-up apart; from scratch at least `LEAST_GRAINS`."""
        steps.warm_up()
        first = _seconds(lambda: steps.train(1))
        count = int(self._budget / first)
        if not self._kind.from_scratch:
            return max(1, count)
        if count < 1:
            return LEAST_GRAINS
        more = _seconds(lambda: steps.train(1 + count))
        return max(LEAST_GRAINS, int(self._budget / max(more - first, 1e-6) * count))


def _serve(connection: Connection, name: str, budget: float) -> None:
    """Run a contender's process: answer each turn asked for until there is no more."""
    try:
        kind = CONTENDERS[name]
        connection.send(kind.release())
        turns = _Turns(kind, budget)
        while (turn := connection.recv()) is not None:
            connection.send(turns.take(*turn))
    except ImportError as error:
        connection.send(error)
    except Exception:
        connection.send(RuntimeError(f"{name}:\n{traceback.format_exc()}"))


@contextmanager
def _process(name: str, budget: float) -> Iterator[Callable[[Any], Any]]:
    """Start a contender's process; give the function that asks it for a turn."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, name, budget), daemon=True)
    process.start()
    theirs.close()

    def ask(turn: Any) -> Any:
        if turn is not None:
            ours.send(turn)
        answer = ours.recv()
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    try:
        yield ask
    finally:
        if process.is_alive():
            try:
                ours.send(None)
            except BrokenPipeError:
                process.terminate()
        process.join(5)


def _without_path(error: ImportError) -> str:
    """Say what could not be imported, without where on this machine it was looked for."""
    return str(error).partition(" (")[0]


def _variants(name: str, so_far: dict[str, Timing]) -> Sequence[str]:
    """Give the variants still worth a turn; of Downslope all, for its scaling with threads."""
    every = CONTENDERS[name].variants
    if name == "Downslope" or not so_far:
        return every
    best = min(timing.microseconds for timing in so_far.values())
    return [each for each in every if so_far[each].microseconds <= MARGIN * best]


def measure(
    rows: Sequence[Row], rounds: int, budget: float, tell: Callable[[str], None]
) -> Measurements:
    """Measure all contenders on all rows in turns of about `budget` seconds each."""
    found, started = Measurements(), time.perf_counter()
    with ExitStack() as stack:
        asks: dict[str, Callable[[Any], Any]] = {}
        for name in CONTENDERS:
            ask = stack.enter_context(_process(name, budget))
            release = ask(None)
            if isinstance(release, ImportError):
                found.absent[name] = _without_path(release)
            else:
                asks[name], found.releases[name] = ask, release
        for number in range(1, rounds + 1):
            if time.perf_counter() - started > PATIENCE:
                break
            tell(f"round {number}/{rounds}: the machine's limit")
            limits = measured(rows)
            found.limits = limits if found.limits is None else found.limits.best(limits)
            for row in rows:
                tell(f"round {number}/{rounds}: {row}")
                _one_row(found, row, asks)
            found.rounds = number
    return found


def _one_row(found: Measurements, row: Row, asks: dict[str, Callable[[Any], Any]]) -> None:
    for name in [each for each in asks if each not in found.absent]:
        timings = found.timings.setdefault(row, {}).setdefault(name, {})
        for variant in _variants(name, timings):
            time.sleep(PAUSE)
            answer = asks[name]((row, variant))
            if isinstance(answer, ImportError):
                found.absent[name] = _without_path(answer)
                found.releases.pop(name)
                break
            if variant in timings:
                timings[variant].keep_best(answer)
            else:
                timings[variant] = answer
