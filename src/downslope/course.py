"""The course of one descent over arrays: epochs, validation, stopping, checkpoints."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope.batches import Batches, Order
from downslope.catalogue import Choice, choose
from downslope.checkpoint import SNAPSHOTS, Checkpoint, named, of_name, records, take_up_records
from downslope.chunks import Chunks
from downslope.data import Data
from downslope.epoch import Epoch, Watcher, asks_to_stop
from downslope.errors import NonFiniteError
from downslope.held_out import HeldOut
from downslope.history import History, Reason, Stagnation, bound_reached, reason_to_stop
from downslope.inspection import Inspection
from downslope.kernels import plan as kinds
from downslope.kernels.loop import Chunk
from downslope.network import BuiltNetwork
from downslope.pace import Pace
from downslope.parts import Descent
from downslope.recording import DEAD_EPOCHS, Recorder, Recording, limits, note_move
from downslope.schedules import Span
from downslope.snapshots import Snapshots
from downslope.stepper import Stepper
from downslope.stretch import Failure, State, Stretch, is_finite
from downslope.whole_rules import WholeRule, whole_rule

Array = npt.NDArray[Any]

SAVE_SECONDS = 1.0
"""Seconds from one checkpoint to the next, at least."""

SAVES_APART = 20
"""How many times as long as a checkpoint took to write the next one comes later, at least: writing
then takes a twentieth of the time at most."""

UNRECORDED = Recording("none")


class Course:
    """A descent under way.

    Parameters
    ----------
    network
        What is trained, in place.
    data
    descent
    threads
        None takes the available cores.
    checkpoint
        None keeps nothing on disk.
    order
        Gives the training rows of an epoch as they are to come (see `Batches`).
    recording
        Which steps are recorded.

    Attributes
    ----------
    rate
        The learning rate that the schedule starts from; a watcher may change it.
    ending
        Why it has ended; None while it goes on.
    snapshots
        The watcher that keeps some epochs' thetas, in the checkpoint too; None: nothing does.
    """

    def __init__(
        self,
        network: BuiltNetwork,
        data: Data,
        descent: Descent,
        threads: int | None = None,
        checkpoint: Checkpoint | None = None,
        order: Order | None = None,
        recording: Recording = UNRECORDED,
    ) -> None:
        self.network, self.data, self.descent = network, data, descent
        self.checkpoint, self.rate = checkpoint, descent.rate
        self.history = History()
        self.ending: Reason | None = None
        self.interrupted = False
        self.snapshots: Snapshots | None = None
        self.batches = Batches(data.training, descent, order)
        self.steps_per_epoch = self.batches.steps
        self._rule: Choice | None = None if callable(descent.rule) else choose("rule", descent.rule)
        batch = self.batches.size
        self._pace = Pace(
            descent, self._rule, Span(self.steps_per_epoch, batch, self._total_steps())
        )
        self._stepper = Stepper(
            network.parameters, data.features, data.targets, batch, self._rule, threads
        )
        self._held_out = HeldOut(network, data, threads)
        self.recorder = Recorder(recording, network.layout, self.batches.rows, batch)
        if recording.steps != "none":
            self._stepper.watch(limits(network))
        self._inspection = Inspection(network, data, descent, self.recorder, threads)
        self._stretch = Stretch(network, self._stepper, self.batches, self.recorder)
        self._whole_rule = whole_rule(descent, network.layout, self.state)
        self._limits = self._whole_rule.limits if self._whole_rule else nullcontext()
        self._penalties = np.array(
            [descent.l1, descent.l2, descent.clip_norm or 0.0, descent.clip_value or 0.0]
        )
        self._chunks = Chunks(
            descent, self.batches, self._stepper, self.recorder,
            by_step=self._whole_rule is not None,
            by_epoch=len(self._held_out) > 0 or not self._pace.foreseen,
        )  # fmt: skip
        self._stagnation = Stagnation(descent.tolerance)
        self._position, self._loss_sum = 0, 0.0
        self._next_save = time.monotonic() + SAVE_SECONDS
        self._begun = time.perf_counter()

    @property
    def reason(self) -> str:
        """Why it has ended, as a sentence; empty while it goes on."""
        return str(self.ending or "")

    @property
    def threads(self) -> int:
        """How many threads run the steps."""
        return self._stepper.threads

    @property
    def memory(self) -> int:
        """Bytes that the run takes for itself, by the sizes of its arrays.

        Theta, gradient, state and workspaces, the order of the rows, and the copies of theta that
        it keeps: the last finite one and the best. Features and target are shared and left out.
        """
        theta = self.network.theta.nbytes + self.network.statistics.nbytes
        parts = (self._stretch, self._held_out, self._stepper, self.batches)
        return theta + sum(part.memory for part in parts)

    @property
    def kept(self) -> State:
        """The last state that was kept."""
        return self._stretch.kept

    @property
    def state(self) -> Array:
        """What the rule keeps from step to step, (vectors, parameters) in theta's type."""
        return self._stepper.job.state

    def go_on_from(self, state: Array, steps: int) -> None:
        """Begin with the state that another descent's rule had after so many steps."""
        self.state[:] = state
        self.history.steps = steps
        self._stretch.keep(self.history.steps)

    def _total_steps(self) -> int | None:
        descent = self.descent
        by_epochs = None if descent.epochs is None else descent.epochs * self.steps_per_epoch
        bounds = [bound for bound in (by_epochs, descent.steps) if bound is not None]
        return min(bounds) if bounds else None

    def run(self, watchers: tuple[Watcher, ...] = ()) -> None:
        """Descend until a reason to stop; then theta is the best one where rows are held out.

        Raises
        ------
        NonFiniteError
            If the loss, the gradient or theta becomes NaN or infinite. Theta is then the best one
            too; where no rows are held out, or no epoch has ended, the last finite one.
        """
        if self.snapshots is not None:
            watchers = (self.snapshots, *watchers)
        try:
            with self._stepper, self._held_out, self._limits:
                self._descend(watchers)
        finally:
            if self._held_out.best is not None:
                self.network.theta[:], self.network.statistics[:] = self._held_out.best

    def _descend(self, watchers: tuple[Watcher, ...]) -> None:
        """Run epoch after epoch until a reason to stop."""
        self._stepper.warm_up()
        if len(self._held_out) or self.recorder.recording.steps != "none":
            self._held_out.warm_up()
        self._begun = time.perf_counter() - self.history.seconds
        try:
            while self.ending is None:
                self._epochs(self._at_once(watchers))
                if self._position == 0:
                    self.ending = self.ending or self._reason_to_stop()
                    self._show(watchers)
                self._look_at_clock()
                self._save(at_end=self.ending is not None)
            self._inspection.look_for_dead_units(self.history.steps)
        finally:
            self._look_at_clock()

    def _look_at_clock(self) -> float:
        """Write down how long the run has gone on, and give it."""
        self.history.seconds = time.perf_counter() - self._begun
        return self.history.seconds

    def _reason_to_stop(self) -> Reason | None:
        """Say why the run ends with this epoch; None while it goes on."""
        stagnant = self._stagnation.epochs(self.history.watched)
        return reason_to_stop(self.descent, self.history, stagnant)

    def _epochs(self, count: int) -> None:
        """Run an epoch from where it stands, chunk after chunk; or some epochs in one chunk."""
        self.batches.arrange(self.history.epochs, count)
        while self._position < self.steps_per_epoch and self.ending is None:
            self._inspection.measure_curvature(self.history.steps + 1)
            steps = count * self.steps_per_epoch
            if count == 1:
                steps = self._chunks.steps(self.history, self._position)
            begun = self._look_at_clock()
            self._steps(steps)
            self._chunks.note(steps, self._look_at_clock() - begun)
            if self._position < self.steps_per_epoch:
                self._save(at_end=False)
            self.ending = bound_reached(self.descent, self.history)
            if self.interrupted:
                self.ending = Reason("interrupted", "the best network so far is kept")
        if self._position == self.steps_per_epoch:
            self._finish_epoch()
            self.history.elapsed.append(self._look_at_clock())

    def _at_once(self, watchers: tuple[Watcher, ...]) -> int:
        """Choose how many epochs to run in one chunk; 1 within an epoch."""
        if self._position:
            return 1
        stagnant = self._stagnation.epochs(self.history.watched)
        return self._chunks.epochs(self.history, stagnant, watchers)

    def _steps(self, steps: int) -> None:
        """Run some steps of the epoch; or those of some epochs from their beginning."""
        begun, history = time.perf_counter(), self.history
        chunk, rates = self._chunk(steps)
        failure = self._stretch.run(chunk, rates)
        last = (steps if failure is None else failure.step - chunk.step) - 1
        # The steps of the epochs that ended before the one that the last step belongs to.
        ended = (self._position + last) // self.steps_per_epoch * self.steps_per_epoch
        if ended:
            passed = time.perf_counter() - begun
            self._write_down(chunk.losses[:ended], rates[:ended], passed * ended / steps)
        if failure is not None:
            history.add_last(chunk.losses[:last])
            self._leave(failure)
        if self._whole_rule is not None:
            try:
                self._move(self._whole_rule, float(rates[0]), chunk)
            except BaseException:
                self._stretch.restore(self.kept)
                raise
            self._stretch.keep(history.steps + 1)
        if self.descent.gradient_tolerance is not None:
            history.gradient_norm = float(chunk.norms[-1])
        counts = self.batches.counts[self._position : self._position + steps - ended]
        # One after another, so that the sum does not depend on how the steps were cut into chunks.
        sums = chunk.losses[ended:] * counts
        sums[0] += self._loss_sum
        self._loss_sum = float(np.add.accumulate(sums)[-1])
        history.add_last(chunk.losses)
        self._position += steps - ended
        history.steps += steps
        self._last_rate = float(rates[-1])

    def _chunk(self, steps: int) -> tuple[Chunk, Array]:
        """Make the chunk of the next steps; give it and their learning rates."""
        descent, batches, first = self.descent, self.batches, self.history.steps
        whole = self._whole_rule is not None
        rates, coefficients, decays = self._pace.ahead(self._base_rate(), first, steps)
        chunk = Chunk(
            order=batches.order,
            in_order=int(batches.in_order),
            first=self._position * batches.size,
            batch=batches.size,
            steps=steps,
            step=first,
            seed=descent.seed,
            rule=-1 if self._rule is None or whole else self._rule.code,
            coefficients=coefficients,
            decays=decays,
            penalties=self._penalties,
            losses=np.empty(steps),
            norms=np.empty(0 if descent.gradient_tolerance is None else steps),
            record=self.recorder.begin(first, steps),
            epochs=batches.epochs,
        )
        return chunk, rates

    def _write_down(self, losses: Array, rates: Array, seconds: float) -> None:
        """Write down whole epochs by the losses and rates of their steps, and what they took."""
        sums = losses.reshape(-1, self.steps_per_epoch) * self.batches.counts
        means = np.add.accumulate(sums, axis=1)[:, -1] / self.batches.rows
        self.history.add_epochs(
            means, rates[self.steps_per_epoch - 1 :: self.steps_per_epoch], seconds
        )

    def _base_rate(self) -> float:
        return self._pace.base(self.rate, self.history.watched)

    def _move(self, rule: WholeRule, rate: float, chunk: Chunk) -> None:
        """Move theta by a rule that wants the whole gradient."""
        gradient, theta = self._stepper.gradient(), self.network.theta
        clip_norm = self.descent.clip_norm
        if clip_norm is not None and (norm := self._stepper.bounded_norm()) > clip_norm:
            gradient *= theta.dtype.type(clip_norm / norm)
        recorded = len(chunk.record.at) > 0
        before, seen = (theta.copy(), gradient.copy()) if recorded else (theta, gradient)
        decay = 1 - rate * self._pace.weight_decay
        for part in self.network.layout.parts:
            if decay != 1 and part.kind in (kinds.WEIGHT, kinds.PROJECTION):
                theta[part.start : part.stop] *= theta.dtype.type(decay)
        rule.move(theta, gradient, rate, self.history.steps + 1)
        if recorded:
            note_move(chunk.record, self._stepper.job, self.network.layout, before, seen)
        if not is_finite(theta):
            self._leave(Failure(self.history.steps + 1, "theta", float(chunk.losses[0]), rate))

    def retrace(self, state: State, last: int, past: History) -> None:
        """Run from a state to step `last` as a run went before, its scores and losses being known.

        past: the run's history, which plateaus and the order of rows depend on.
        """
        epochs, self._position = divmod(state.steps, self.steps_per_epoch)
        self.history = History(
            losses=past.losses[:epochs],
            validation_losses=past.validation_losses[:epochs],
            steps=state.steps,
        )
        with self._stepper, self._held_out, self._limits:
            self._stepper.warm_up()
            self._stretch.restore(state)
            self._stretch.keep(state.steps)
            while self.history.steps < last:
                self.batches.arrange(self.history.epochs)
                steps = self._chunks.steps(self.history, self._position)
                self._steps(min(steps, last - self.history.steps))
                if self._position == self.steps_per_epoch:
                    epoch, self._position = self.history.epochs, 0
                    self.history.losses += past.losses[epoch : epoch + 1]
                    self.history.validation_losses += past.validation_losses[epoch : epoch + 1]

    def _leave(self, failure: Failure) -> None:
        """End the run for what is not finite."""
        self.history.steps = failure.step - 1
        kept = "as it was before that step"
        if self._held_out.best is not None:
            kept = f"as it was after epoch {self.history.best_epoch}, best on held-out rows"
        raise NonFiniteError(
            f"the descent left the finite numbers in step {failure.step} (epoch "
            f"{1 + (failure.step - 1) // self.steps_per_epoch}): first in {failure.place} (loss "
            f"{failure.loss:g}). theta is kept {kept}; lower the learning rate "
            f"(now {failure.rate:g}), clip the gradient (clip_norm=1), or normalize"
        )

    def _finish_epoch(self) -> None:
        """Write down the epoch's losses and score; keep theta if it is the best so far."""
        history = self.history
        if history.epochs + 1 in DEAD_EPOCHS:
            self._inspection.look_for_dead_units(history.steps)
        if len(self._held_out):
            loss, score = self._held_out.measure()
            history.validation_losses.append(loss)
            history.validation_scores.append(score)
        history.losses.append(self._loss_sum / self.batches.rows)
        history.learning_rates.append(self._last_rate)
        self._position, self._loss_sum = 0, 0.0

    def _show(self, watchers: tuple[Watcher, ...]) -> None:
        """Tell the watchers of the epoch; one of them may end the run."""
        if not watchers:
            return
        epoch = Epoch.last(self.history, self.network, self.batches.rows, self.descent)
        answers = [asks_to_stop(watcher, epoch) for watcher in watchers]
        if any(answers) and self.ending is None:
            self.ending = Reason("callback", "it asked to stop")

    def _save(self, at_end: bool) -> None:
        """Write a checkpoint, unless the last one is fresh."""
        begun = time.monotonic()
        if self.checkpoint is None or self._rule is None:
            return
        if not at_end and begun < self._next_save:
            return
        arrays = {
            "theta": self.network.theta,
            "statistics": self.network.statistics,
            "state": self._stepper.job.state,
        }
        if self._held_out.best is not None:
            arrays["best_theta"], arrays["best_statistics"] = self._held_out.best
        if self.snapshots is not None:
            arrays |= named(SNAPSHOTS, self.snapshots.arrays())
        arrays |= records(self.recorder, self._stepper.job.gauges, self.history.steps)
        progress = {
            "history": self.history.to_dict(),
            "position": self._position,
            "loss_sum": self._loss_sum,
            "dead_units": self.recorder.dead_units,
            "curvature": self.recorder.curvature,
        }
        self.checkpoint.write(arrays, progress)
        written = time.monotonic()
        self._next_save = written + max(SAVE_SECONDS, SAVES_APART * (written - begun))

    def resume(self) -> bool:
        """Go on from the checkpoint; False where there is none yet."""
        found = self.checkpoint.read() if self.checkpoint is not None else None
        if found is None:
            return False
        arrays, progress = found
        self.network.theta[:] = arrays["theta"]
        self.network.statistics[:] = arrays["statistics"]
        self._stepper.job.state[:] = arrays["state"]
        take_up_records(self.recorder, self._stepper.job.gauges, arrays, progress)
        snapshots = of_name(SNAPSHOTS, arrays)
        if self.snapshots is not None and snapshots:
            self.snapshots.restore(snapshots)
        self.history = History(**progress["history"])
        if "best_theta" in arrays:
            best = arrays["best_theta"], arrays["best_statistics"]
            self._held_out.go_on_from(best, self.history.validation_losses)
        self._position = int(progress["position"])
        self._loss_sum = float(progress["loss_sum"])
        self.ending = bound_reached(self.descent, self.history)
        if self._position == 0 and self.history.epochs:
            self.ending = self.ending or self._reason_to_stop()
        self._stretch.keep(self.history.steps)
        return True
