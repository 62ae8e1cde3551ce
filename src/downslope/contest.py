"""compare(): many descents side by side, over seeds, in parallel."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from downslope import table as tables
from downslope.comparison import OTHER_LOSS, Comparison, default_target
from downslope.counts import whole_number
from downslope.descent import descend
from downslope.errors import InvalidValueError, NonFiniteError, nearest
from downslope.halving import Rung, bracket, choose_bracket, most_halvings, read_budget
from downslope.interrupt import interruptible
from downslope.outcome import METRICS, Ledger, Outcome
from downslope.recipe import Recipe, check_recipe
from downslope.trials import Sweep, Trial
from downslope.vary import Variant, combine

RUNS_FILE: Final = "runs.jsonl"

MOST_SEEDS: Final = 10_000
"""Runs of each variant, at most: all of them stand in a list before the first begins, and the mean
of so many is known to a hundredth of their spread."""

NOISE_ROWS: Final = 64
"""Rows of the batches in which the gradient's noise is measured, at least: its variance is then
known to a fifth from a single step."""


@dataclass(frozen=True)
class Progress:
    """What is shown while a comparison runs.

    Attributes
    ----------
    outcome
        Of the run that has just ended.
    done, total
        Runs, of the rung under way.
    rung
        Its number from 1, how many there are, and its epochs; None without a budget.
    reused
        How many runs so far were found on disk.
    """

    outcome: Outcome
    done: int
    total: int
    rung: tuple[int, int, int] | None
    reused: int


def compare(
    recipe: Recipe,
    source: Any,
    target: Any = None,
    *,
    vary: Mapping[str, Any],
    seeds: int = 5,
    metric: str = "auto",
    budget: float | str | None = None,
    workers: int | None = None,
    out: str | Path | None = None,
    watch: Callable[[Progress], object] | None = None,
) -> Comparison:
    """Run every variant of a recipe over several seeds, and say which differences are real.

    For one seed all variants get the same split of the rows and the same starting weights, so that
    they are compared in pairs. With a budget, all begin with few epochs and the better ones are
    run for more (successive halving).

    Parameters
    ----------
    recipe
        What the variants share; its seed is the first one.
    source, target
        As in `descend`; or several data sets: a mapping from names to tables.
    vary
        By field of the recipe: its values, as a sequence or as text ("1,32,full",
        "log:1e-4:1:9"; see `vary.read_vary`). All combinations are run.
    seeds
        How many runs each variant gets.
    metric
        What variants are ranked by, a name of `outcome.METRICS`; "auto" takes the held-out score,
        or the best training loss where nothing is held out.
    budget
        Seconds for all runs, or text as "20s", "5min"; None runs all to their end.
    workers
        Runs at a time; None takes the available cores. No result but the times depends on it.
    out
        A directory where each finished run is kept at once; a second start, with more variants or
        seeds or after an interruption, goes on from there.
    watch
        Called after every run with a `Progress`.

    Returns
    -------
    Comparison

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For an unknown field or metric, a variant that its recipe or the data refuse, fewer than
        one seed, or a budget in which not one run of every variant ends.
    TableError, MissingFileError
        For data that cannot be trained on.
    UnwritableError
        If `out` is no place for files.

    Examples
    --------
    >>> from downslope import Descent, Network, datasets
    >>> recipe = Recipe(Network([8]), Descent(epochs=20, rule="adam"))
    >>> iris = datasets.load("iris")
    >>> found = compare(recipe, iris, vary={"batch": [8, "full"]}, seeds=3, metric="best_loss")
    >>> found.best.label
    'batch=8'
    >>> found.frame.shape[0]
    6
    """
    variants = combine(check_recipe("compare", recipe), vary)
    seeds = whole_number("compare: seeds", seeds, 1, MOST_SEEDS)
    metric = _check_metric(metric, variants)
    read = _read(source, target)
    seconds = None if budget is None else read_budget(budget)
    first = recipe.descent.seed
    ledger = None if out is None else Ledger(Path(out) / RUNS_FILE)
    sweep = Sweep(read, workers=workers, ledger=ledger, boundary_seed=first)
    rounds = _Rounds(recipe, sweep, variants, range(first, first + seeds), metric, watch)
    try:
        sweep.check(variants, first)
        with interruptible(rounds):
            if seconds is None:
                rounds.run_all()
            else:
                rounds.run_within(seconds, _budget_epochs(recipe, vary))
    finally:
        if ledger is not None:
            ledger.close()
    return rounds.result()


def _check_metric(metric: str, variants: Sequence[Variant]) -> str:
    """Check a metric against what the variants hold out."""
    held_out = all(variant.recipe.descent.validation > 0 for variant in variants)
    if metric == "auto":
        return "score" if held_out else "best_loss"
    if metric not in METRICS:
        raise InvalidValueError(f"compare: unknown metric {metric!r}: {nearest(metric, METRICS)}")
    if metric in ("score", "validation_loss") and not held_out:
        raise InvalidValueError(
            f"compare: metric {metric!r} is about held-out rows; set validation above 0"
        )
    return metric


def _read(source: Any, target: Any) -> dict[str, tables.Table]:
    """Read the data sets, by name."""
    several = source if isinstance(source, Mapping) else None
    if several is not None and not several:
        raise InvalidValueError("compare needs data: the mapping of data sets is empty")
    read = {
        str(name): each if isinstance(each, tables.Table) else tables.read(each, target, str(name))
        for name, each in (several or {"": source}).items()
    }
    for table in read.values():
        if table.target is None:
            raise InvalidValueError(
                f"compare needs a target for {table.name}: the values, or the name of a column"
            )
    return read if several is not None else {table.name: table for table in read.values()}


def _budget_epochs(recipe: Recipe, vary: Mapping[str, Any]) -> int:
    """Give the epochs that a budget deals out."""
    if "epochs" in vary:
        raise InvalidValueError(
            "compare: a budget deals out the epochs itself; take epochs out of what varies"
        )
    if recipe.descent.epochs is None:
        raise InvalidValueError(
            "compare: a budget is dealt out in epochs; set the recipe's epochs, the most that a "
            "variant may get"
        )
    return recipe.descent.epochs


def _noise_scale(recipe: Recipe, table: tables.Table) -> float:
    """Measure the batch size that the gradient's noise suggests: the median along a run.

    A run of its own, recorded; batches that are too small to show their noise are made larger.
    """
    batch = recipe.descent.batch
    if batch != "full" and batch < NOISE_ROWS:
        recipe = recipe.edit(batch=NOISE_ROWS)
    try:
        run = descend(recipe, table)
    except NonFiniteError:
        return math.nan
    suggested = run.trace.steps["suggested_batch"].to_numpy()
    known = suggested[np.isfinite(suggested)]
    return float(np.median(known)) if len(known) else math.nan


class _Rounds:
    """The rungs of a comparison, one after another, and what counts at the end."""

    def __init__(
        self,
        recipe: Recipe,
        sweep: Sweep,
        variants: Sequence[Variant],
        seeds: range,
        metric: str,
        watch: Callable[[Progress], object] | None,
    ) -> None:
        self.recipe, self.sweep, self.variants = recipe, sweep, variants
        self.seeds, self.metric, self._watch = seeds, metric, watch
        self._interrupted, self._late = False, False
        self._counted: dict[str, list[Outcome]] = {}
        self._ended, self._wanted = 0, 0

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C came."""
        return self._interrupted

    @interrupted.setter
    def interrupted(self, value: bool) -> None:
        self._interrupted = value
        self.sweep.stop()

    def _expire(self) -> None:
        """Stop because the time is over."""
        self._late = True
        self.sweep.stop()

    def run_all(self) -> None:
        """Run every variant to its end."""
        self._rung(self.variants, None, None)

    def run_within(self, seconds: float, epochs: int) -> None:
        """Run rungs until the time is over; the first one tells how many there is time for."""
        begun = time.monotonic()
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        timer.start()
        count = len(self.variants)
        keenest = most_halvings(count, epochs)
        try:
            shortest = bracket(count, epochs, keenest)[0]
            self._rung(self.variants, shortest.epochs, (1, keenest + 1, shortest.epochs))
            taken = time.monotonic() - begun
            # Runs found on disk took their time before.
            needed = max(taken, self._run_seconds() / self.sweep.workers)
            per_epoch = needed / (count * shortest.epochs)
            halvings = choose_bracket(count, epochs, per_epoch, seconds - taken)
            rungs = bracket(count, epochs, halvings)
            if rungs[0] == shortest:
                rungs = rungs[1:]
            self._climb(rungs)
        finally:
            timer.cancel()

    def _run_seconds(self) -> float:
        return sum(outcome.seconds for found in self._counted.values() for outcome in found)

    def _climb(self, rungs: Sequence[Rung]) -> None:
        """Run the rungs after the first, each with the best of the one before."""
        for number, rung in enumerate(rungs, 2):
            if self.sweep.stopped:
                return
            chosen = [self.variants[each] for each in self._standing().order[: rung.variants]]
            self._rung(chosen, rung.epochs, (number, 1 + len(rungs), rung.epochs))

    def _rung(
        self, variants: Sequence[Variant], epochs: int | None, rung: tuple[int, int, int] | None
    ) -> None:
        """Run some variants over all data sets and seeds; what every variant finished counts."""
        trials = [
            Trial.of(name, variant, seed, epochs)
            for seed in self.seeds
            for name in self.sweep.tables
            for variant in variants
        ]
        done = 0

        def note(outcome: Outcome) -> None:
            nonlocal done
            done += 1
            if self._watch is not None:
                self._watch(Progress(outcome, done, len(trials), rung, self.sweep.reused))

        outcomes = self.sweep.run(trials, note)
        self._ended, self._wanted = len(outcomes), len(trials)
        self._count(variants, outcomes)

    def _count(self, variants: Sequence[Variant], outcomes: list[Outcome]) -> None:
        """Let the seeds count that all the variants have finished, on all data sets.

        Of the first rung, if there is no such seed, whatever was finished.
        """
        runs = len(variants) * len(self.sweep.tables)
        by_seed: dict[int, list[Outcome]] = defaultdict(list)
        for outcome in outcomes:
            by_seed[outcome.seed].append(outcome)
        whole = [each for found in by_seed.values() if len(found) == runs for each in found]
        if not whole and self._counted:
            return
        for variant in variants:
            mine = [each for each in whole or outcomes if each.variant == variant.label]
            if mine:
                self._counted[variant.label] = mine

    def _standing(self, notes: Sequence[str] = ()) -> Comparison:
        """Give what was found so far."""
        outcomes = [outcome for found in self._counted.values() for outcome in found]
        targets = {
            name: self._target([each for each in outcomes if each.dataset == name])
            for name in dict.fromkeys(outcome.dataset for outcome in outcomes)
        }
        variants, metric = tuple(self.variants), self.metric
        return Comparison(
            self.recipe, variants, metric, tuple(outcomes), targets, tuple(notes), self.sweep.tables
        )

    def _target(self, outcomes: list[Outcome]) -> float:
        """Give the loss to count epochs to; NaN where training losses are not of one kind."""
        if set(self.variants[0].settings) & set(OTHER_LOSS):
            return math.nan
        given = self.recipe.descent.target_loss
        if given is not None:
            return float(given)
        longest = max(each.epochs or 0 for each in outcomes)
        return default_target([each for each in outcomes if (each.epochs or 0) == longest])

    def result(self) -> Comparison:
        """Give what was found.

        Raises
        ------
        InvalidValueError
            If the time was over before a run of every variant had ended, or Ctrl-C came before any
            had.
        """
        ran, kept = len(self._counted), "; they are kept on disk" if self.sweep.keeps else ""
        if self._interrupted and not ran:
            raise InvalidValueError("compare: interrupted before any run had ended")
        if not self._interrupted and ran < len(self.variants):
            raise InvalidValueError(
                f"compare: the budget is too small: when it was over, {ran} of "
                f"{len(self.variants)} variants had ended a run of their first rung{kept}; give "
                "more time, fewer variants or fewer seeds"
            )
        found = self._standing([*self._notes(ran)])
        if "batch" not in found.varied or self.sweep.stopped:
            return found
        read = self.sweep.tables
        scales = {name: _noise_scale(found.winner, table) for name, table in read.items()}
        return dataclasses.replace(found, noise_scales=scales)

    def _notes(self, ran: int) -> Iterator[str]:
        """Say what a reader has to know beside the numbers."""
        if self._interrupted:
            yield (
                f"Interrupted: {self._ended} of {self._wanted} runs had ended; what stands here is "
                f"of the seeds that all variants had ended, {self._shown_seeds()}."
                if ran == len(self.variants)
                else f"Interrupted: only {ran} of {len(self.variants)} variants had ended a run."
            )
        elif self._late:
            yield (
                f"The budget was over within a rung, after {self._ended} of its {self._wanted} "
                "runs; what stands here is of the seeds that all of a rung's variants had ended."
            )
        varied = [name for name in self.variants[0].settings if name in OTHER_LOSS]
        if varied:
            yield (
                f"Training losses are not of one kind where {' and '.join(varied)} varies: no "
                "target is set; go by the held-out score."
            )
        if "validation" in self.variants[0].settings:
            yield "Splits differ where validation varies: pairs share the seed, not the rows."

    def _shown_seeds(self) -> str:
        seeds = sorted({each.seed for found in self._counted.values() for each in found})
        return f"{len(seeds)} of {len(self.seeds)}"
