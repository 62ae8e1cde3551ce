"""The steps since the last state that was kept: they can be run again, the same bits."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope.batches import Batches
from downslope.data import Rows
from downslope.kernels import gauges
from downslope.kernels.loop import Chunk
from downslope.network import BuiltNetwork
from downslope.nonfinite import first_non_finite
from downslope.recording import Recorder, Recording, limits
from downslope.stepper import Stepper

Array = npt.NDArray[Any]

COPIES_APART = 250
"""The next copy of the state is taken after this many times the duration of the last: copies then
take 0.4 % of the time at most, and what is run again, half a second for two million parameters."""

RECORDED = 20
"""Steps before a failure that are recorded one and all."""


@dataclass(frozen=True)
class State:
    """What a descent goes on from, after some steps.

    Attributes
    ----------
    steps
        How many.
    theta : (parameters,)
    statistics
        Of batch normalization.
    vectors : (moments, parameters)
        The rule's.
    """

    steps: int
    theta: Array
    statistics: Array
    vectors: Array


@dataclass(frozen=True)
class Failure:
    """A step that left the finite numbers; theta is as it was before.

    Attributes
    ----------
    step
        Its number, from 1.
    place
        Where in it the first value that is not finite arose.
    loss, rate
        Its own.
    """

    step: int
    place: str
    loss: float
    rate: float


def is_finite(values: Array) -> bool:
    """Say whether no value is NaN or infinite."""
    return bool(np.isfinite(values).all())


class Stretch:
    """The steps since the last kept state, as they are run and as they are run again.

    Parameters
    ----------
    network
    stepper
    batches
    recorder

    Attributes
    ----------
    kept
        The state that the stretch begins with; its arrays are written over when another is kept.
    """

    def __init__(
        self, network: BuiltNetwork, stepper: Stepper, batches: Batches, recorder: Recorder
    ) -> None:
        self._network, self._stepper, self._batches = network, stepper, batches
        self._recorder = recorder
        self._room = [np.empty_like(each) for each in self._now()]
        self.keep(0)

    def _now(self) -> tuple[Array, Array, Array]:
        return self._network.theta, self._network.statistics, self._stepper.job.state

    @property
    def memory(self) -> int:
        """Bytes of the state that is kept."""
        return sum(each.nbytes for each in self._room)

    def keep(self, steps: int) -> None:
        """Remember the state, `steps` having been done, in the place of the one before."""
        begun = time.perf_counter()
        for room, now in zip(self._room, self._now(), strict=True):
            room[:] = now
        theta, statistics, vectors = self._room
        self.kept = State(steps, theta, statistics, vectors)
        self._since: list[tuple[Chunk, Array, Callable[[], Rows]]] = []
        self._taken = time.perf_counter()
        self._cost = self._taken - begun

    def run(self, chunk: Chunk, rates: Array) -> Failure | None:
        """Run a chunk; where something is not finite, go back to the state before and say so."""
        done = self._stepper.run(chunk)
        self._recorder.note(chunk.record, chunk.step, done, chunk.losses, rates)
        self._since.append((chunk, rates, self._batches.again()))
        if done != chunk.steps:
            return self._fail(chunk.step + min(done, chunk.steps))
        # By a rule that Python moves theta by, the step is not done yet.
        if chunk.rule >= 0 and time.perf_counter() - self._taken > COPIES_APART * self._cost:
            self.keep(chunk.step + done)
        return None

    def _fail(self, last: int) -> Failure:
        """Go back to the last finite theta and find where the first value not finite arose.

        last: how many steps may be good; theta itself may have overflown before any loss shows it.
        """
        if not self._run_to(last):
            good = self._since[-1][0].step
            between = range(good + 1, last)
            last = good + bisect_left(between, True, key=lambda step: not self._run_to(step))
        self._stepper.watch(limits(self._network))
        stretch = Recording(range(max(last + 2 - RECORDED, 1), last + 2))
        batches = self._batches
        recorder = Recorder(stretch, self._network.layout, batches.rows, batches.size)
        self._run_to(last + 1, recorder)
        chunk, rates, _ = next(each for each in reversed(self._since) if each[0].step <= last)
        loss, rate = (float(each[last - chunk.step]) for each in (chunk.losses, rates))
        place = first_non_finite(self._stepper.job, loss)
        if self._recorder.recording.steps == "default":
            self._recorder.add(recorder)
        self._run_to(last)
        return Failure(last + 1, place, loss, rate)

    def _run_to(self, last: int, recorder: Recorder | None = None) -> bool:
        """Run again from the kept state to step `last`; say whether theta is finite."""
        self.restore(self.kept)
        for chunk, rates, order in self._since:
            steps = min(chunk.steps, last - chunk.step)
            if steps > 0:
                record = recorder.begin(chunk.step, steps) if recorder else gauges.empty_record()
                part = chunk._replace(order=order(), steps=steps, record=record)
                done = self._stepper.run(part)
                if recorder:
                    recorder.note(record, chunk.step, done, chunk.losses, rates)
        return is_finite(self._network.theta)

    def restore(self, state: State) -> None:
        """Put theta and all that moves with it back to an earlier state."""
        self._network.theta[:], self._network.statistics[:] = state.theta, state.statistics
        self._stepper.job.state[:] = state.vectors
        room = self._stepper.job.gauges
        for each in (room.gradient, room.move, room.moves):
            each[:] = 0  # gradient and move of the step before are not known
