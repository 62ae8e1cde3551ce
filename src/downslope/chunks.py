"""How many steps, or whole epochs, go into one call of the compiled loop."""

from __future__ import annotations

from downslope.batches import Batches
from downslope.epoch import Watcher, asked_for
from downslope.history import History, epochs_to_a_reason
from downslope.pace import AHEAD
from downslope.parts import Descent
from downslope.recording import Recorder
from downslope.stepper import Stepper

CHUNK_SECONDS = 0.1
"""How long the compiled loop runs before Python looks at progress, time and Ctrl-C."""

TRIAL_SECONDS = 0.002
"""How long a number of threads is tried: waking them is then a small part of it."""

UNTIMED = 16
"""Steps of the first chunk, before it is known how long they take."""


class Chunks:
    """The sizes of a descent's chunks. The bits, and where the run ends, do not depend on them.

    Parameters
    ----------
    descent, batches, stepper, recorder
    by_step
        Whether Python has something to do after every step.
    by_epoch
        Whether it has something to do after every epoch.
    """

    def __init__(
        self,
        descent: Descent,
        batches: Batches,
        stepper: Stepper,
        recorder: Recorder,
        by_step: bool,
        by_epoch: bool,
    ) -> None:
        self._descent, self._batches, self._stepper = descent, batches, stepper
        self._recorder = recorder
        self._by_step, self._by_epoch = by_step, by_step or by_epoch
        self._seconds_per_step = 0.0

    def note(self, steps: int, seconds: float) -> None:
        """Note how long the steps of the last chunk took."""
        self._seconds_per_step = seconds / steps

    def steps(self, history: History, position: int) -> int:
        """Give how many steps come next, `position` steps of the epoch having been done."""
        left = self._batches.steps - position
        if self._descent.steps is not None:
            left = min(left, self._descent.steps - history.steps)
        for step in self._recorder.recording.curvature:
            if step - 1 > history.steps:
                left = min(left, step - 1 - history.steps)
        if self._by_step:
            return 1
        if not self._seconds_per_step:
            return min(left, UNTIMED)
        seconds = TRIAL_SECONDS if self._stepper.is_trying else CHUNK_SECONDS
        return max(1, min(left, int(seconds / self._seconds_per_step)))

    def epochs(self, history: History, stagnant: int, watchers: tuple[Watcher, ...]) -> int:
        """Give how many epochs come next in one chunk: as many as need nothing of Python between.

        stagnant: epochs without improvement.
        """
        if self._by_epoch or not self._seconds_per_step or self._stepper.is_trying:
            return 1
        descent, done, seconds, steps = self._descent, history.epochs, CHUNK_SECONDS, AHEAD
        if descent.seconds is not None:
            seconds = min(seconds, descent.seconds - history.seconds)
        if descent.steps is not None:
            steps = min(steps, descent.steps - history.steps)
        steps = min(steps, int(seconds / self._seconds_per_step))
        bounds = [
            steps // self._batches.steps,
            self._batches.most,
            epochs_to_a_reason(descent, done, stagnant),
            self._recorder.epochs_ahead(history.steps, done),
            *(asked_for(watcher, done) - done for watcher in watchers),
        ]
        return max(1, min(bounds))
