"""The runs of a comparison: in parallel, over data that are prepared once and shared.

Kernels hold no interpreter lock, so the workers are threads and nothing is copied between them. A
run takes one thread, which is the best use of the cores while there are as many runs as cores.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from downslope.course import Course
from downslope.data import Data
from downslope.descent import identify, prepare
from downslope.errors import InvalidTypeError, InvalidValueError, NonFiniteError
from downslope.history import Reason
from downslope.model import Model
from downslope.network import BuiltNetwork
from downslope.outcome import Ledger, Outcome
from downslope.preparation import Preparation
from downslope.recipe import Recipe
from downslope.storage import digest
from downslope.table import Table
from downslope.task import infer_task
from downslope.vary import Variant
from downslope.workers import check_threads, one_blas_thread

GRID: Final = 60
"""Points along a side of the grid that a decision boundary is drawn from: 3600 outputs."""

SHORT_EPOCH: Final = 1e-4
"""Seconds of an epoch in kernels below which runs take turns. Python needs about as long for the
rest of an epoch and holds the interpreter lock meanwhile: side by side two such runs wait for each
other, so that all take as long as in turns (0.31 s for 24 on iris), and each seems to take twice
its time."""

MARGIN: Final = 0.08
"""Of the data's extent, on each side of the grid."""


@dataclass(frozen=True)
class Trial:
    """One run that a comparison wants.

    Attributes
    ----------
    dataset
        The table's name.
    variant
        Its label.
    recipe
        With the seed, and the epochs of the rung.
    """

    dataset: str
    variant: str
    recipe: Recipe

    @classmethod
    def of(cls, dataset: str, variant: Variant, seed: int, epochs: int | None = None) -> Trial:
        """Give the run of a variant with a seed; `epochs` takes the place of the recipe's."""
        changes = {"seed": seed} if epochs is None else {"seed": seed, "epochs": epochs}
        return cls(dataset, variant.label, variant.recipe.edit(**changes))

    @property
    def seed(self) -> int:
        """The recipe's seed."""
        return self.recipe.descent.seed

    @property
    def split(self) -> tuple[Any, ...]:
        """All that the prepared data depend on."""
        descent, network = self.recipe.descent, self.recipe.network
        shaping = (descent.validation, descent.dtype, network.scaling, network.task, network.counts)
        return (self.dataset, self.seed, *shaping)


@dataclass(frozen=True)
class _Prepared:
    """Data of one split, shared by all runs that want it."""

    data: Data
    preparation: Preparation
    inputs: int
    columns: int
    digest: str


class Sweep:
    """Runs trials side by side.

    Parameters
    ----------
    tables
        By name, each with a target.
    workers
        Runs at a time; None takes the available cores. No result but the times depends on it.
    ledger
        Where finished runs are kept and looked up; None keeps none.
    boundary_seed
        The seed whose runs note their outputs over a grid, where there are two inputs.

    Attributes
    ----------
    reused
        How many outcomes were found in the ledger.
    """

    def __init__(
        self,
        tables: Mapping[str, Table],
        *,
        workers: int | None = None,
        ledger: Ledger | None = None,
        boundary_seed: int = 0,
    ) -> None:
        self.tables = tables
        self.workers = check_threads(workers, "compare: workers")
        self.reused = 0
        self._ledger, self._boundary_seed = ledger, boundary_seed
        self._prepared: dict[tuple[Any, ...], _Prepared] = {}
        self._waiting: Counter[tuple[Any, ...]] = Counter()
        self._preparing, self._noting = threading.Lock(), threading.Lock()
        self._taking_turns = threading.Lock()
        self._running: set[Course] = set()
        self._stopped = threading.Event()

    @property
    def keeps(self) -> bool:
        """Whether finished runs are kept on disk."""
        return self._ledger is not None

    def stop(self) -> None:
        """End all runs at their next look around; those cut short are not kept."""
        self._stopped.set()
        for course in tuple(self._running):
            course.interrupted = True

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    def check(self, variants: Sequence[Variant], seed: int) -> None:
        """Build every variant's network once, so that what cannot be built is found at once.

        Raises
        ------
        InvalidValueError, InvalidTypeError, TableError
            The first one that a variant meets, with its name.
        """
        for name in self.tables:
            for variant in variants:
                trial = Trial.of(name, variant, seed)
                with _named(trial):
                    self._build(trial.recipe, self._prepare(trial))

    def run(
        self, trials: Sequence[Trial], watch: Callable[[Outcome], object] = lambda outcome: None
    ) -> list[Outcome]:
        """Run trials; give the outcomes of those that were finished, in the order of the trials.

        Runs of the same split come one after another, the longest first. `watch` is called with
        each outcome as it comes, one at a time, from any thread.
        """
        self._waiting = Counter(trial.split for trial in trials)
        queue = sorted(range(len(trials)), key=lambda each: self._turn(trials[each]))
        with one_blas_thread(), ThreadPoolExecutor(self.workers, "downslope-run") as pool:
            jobs = {each: pool.submit(self._outcome, trials[each], watch) for each in queue}
            done, _ = wait(jobs.values(), return_when=FIRST_EXCEPTION)
            if any(job.exception() for job in done):
                self.stop()
        found = [jobs[each].result() for each in range(len(trials))]
        return [outcome for outcome in found if outcome is not None]

    def _turn(self, trial: Trial) -> tuple[Any, ...]:
        """Give a trial's place in the queue; the longest first, as far as its steps tell."""
        descent, rows = trial.recipe.descent, len(self.tables[trial.dataset])
        batch = rows if descent.batch == "full" else descent.batch
        steps = (descent.epochs or 1) * -(-rows // batch)
        return (trial.seed, trial.dataset, -min(steps, descent.steps or steps))

    def _prepare(self, trial: Trial) -> _Prepared:
        """Prepare the data of a trial, or find them prepared."""
        key = trial.split
        with self._preparing:
            found = self._prepared.get(key)
            if found is None:
                table, recipe = self.tables[trial.dataset], trial.recipe
                task = infer_task(table.target, recipe.network.task, table.target_title)
                data, preparation, built = prepare(recipe, table, task, None)
                known = "" if self._ledger is None else str(identify(Recipe(), data)["data"])
                found = _Prepared(data, preparation, built.inputs, built.columns, known)
                self._prepared[key] = found
        return found

    def _release(self, trial: Trial) -> None:
        """Let go of a split that no other trial waits for: there is a copy of the data in each."""
        key = trial.split
        with self._preparing:
            self._waiting[key] -= 1
            if self._waiting[key] == 0:
                self._prepared.pop(key, None)

    def _build(self, recipe: Recipe, prepared: _Prepared) -> BuiltNetwork:
        descent, task = recipe.descent, prepared.preparation.task
        return BuiltNetwork(
            recipe.network, prepared.inputs, prepared.columns, task, descent.dtype, descent.seed
        )

    def _outcome(self, trial: Trial, watch: Callable[[Outcome], object]) -> Outcome | None:
        """Run a trial, or find that it was run before; None if it was cut short."""
        if self.stopped:
            return None
        prepared = self._prepare(trial)
        identity = self._identity(trial.recipe, prepared)
        outcome = None
        if self._ledger is not None and identity is not None:
            outcome = self._ledger.find(identity)
        if outcome is not None:
            self.reused += 1
            outcome = dataclasses.replace(outcome, dataset=trial.dataset, variant=trial.variant)
        else:
            with _named(trial):
                outcome = self._descend(trial, prepared)
            if outcome is not None and self._ledger is not None and identity is not None:
                self._ledger.add(identity, outcome)
        self._release(trial)
        if outcome is not None:
            with self._noting:
                watch(outcome)
        return outcome

    def _identity(self, recipe: Recipe, prepared: _Prepared) -> str | None:
        """Say which run this is, by recipe and data; None if a function of one's own is in it."""
        if self._ledger is None or any(
            callable(each) for each in (recipe.descent.rule, recipe.descent.schedule)
        ):
            return None
        return digest({}, json.dumps([recipe.to_dict(), prepared.digest]))

    def _descend(self, trial: Trial, prepared: _Prepared) -> Outcome | None:
        """Run one descent on one thread."""
        recipe = trial.recipe
        network = self._build(recipe, prepared)
        course = Course(network, prepared.data, recipe.descent, threads=1)
        self._running.add(course)
        if self.stopped:
            course.interrupted = True
        try:
            with self._taking_turns if _is_short(course) else contextlib.nullcontext():
                course.run()
        except NonFiniteError as error:
            course.ending = Reason("not finite", str(error))
        finally:
            self._running.discard(course)
        assert course.ending is not None
        if course.ending.kind == "interrupted":
            return None
        history = course.history
        return Outcome(
            dataset=trial.dataset,
            variant=trial.variant,
            seed=trial.seed,
            epochs=recipe.descent.epochs,
            reason=course.reason,
            diverged=course.ending.kind == "not finite",
            losses=history.losses,
            validation_losses=history.validation_losses,
            validation_scores=history.validation_scores,
            elapsed=history.elapsed,
            steps=history.steps,
            seconds=history.seconds,
            spread=history.spread,
            steps_per_epoch=course.steps_per_epoch,
            memory=course.memory,
            parameters=int(network.theta.size),
            held_out=len(prepared.data.held_out),
            task=network.task,
            boundary=self._boundary(trial, network, prepared.preparation),
        )

    def _boundary(
        self, trial: Trial, network: BuiltNetwork, preparation: Preparation
    ) -> list[float]:
        """Give what the network says over a grid: its one output, or the place of the largest."""
        features = self.tables[trial.dataset].features
        if trial.seed != self._boundary_seed or not is_plane(features):
            return []
        across, along = grid(np.asarray(features))
        points = np.stack(np.meshgrid(across, along), axis=-1).reshape(-1, 2)
        outputs = Model(network, preparation, None, {}).output(points, threads=1)
        if outputs.shape[1] > 1:
            return [float(each) for each in outputs.argmax(1)]
        return [round(float(each), 3) for each in outputs[:, 0]]


def _is_short(course: Course) -> bool:
    """Guess whether an epoch's kernels take less than `SHORT_EPOCH`.

    By 6 operations for each weight and row at 20 GFLOP/s, and a microsecond a step: half of what
    small networks are measured at.
    """
    rows, parameters = len(course.data.training), course.network.theta.size
    return 6 * rows * parameters / 20e9 + 1e-6 * course.steps_per_epoch < SHORT_EPOCH


@contextlib.contextmanager
def _named(trial: Trial) -> Iterator[None]:
    """Let an error about a variant's settings say whose they are."""
    try:
        yield
    except (InvalidValueError, InvalidTypeError) as error:
        raise type(error)(f"variant {trial.variant!r} on {trial.dataset}: {error}") from None


def is_plane(features: Any) -> bool:
    """Say whether features are two columns of numbers, so that a boundary can be drawn."""
    return isinstance(features, np.ndarray) and features.shape[1] == 2


def grid(features: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Give the places of a grid over a plane of features: (GRID,) across and along."""
    low, high = np.nanmin(features, axis=0), np.nanmax(features, axis=0)
    low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
    return np.linspace(low[0], high[0], GRID), np.linspace(low[1], high[1], GRID)
