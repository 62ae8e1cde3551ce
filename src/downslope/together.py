"""Many descents of one function by one rule, all moved in one call of the rule a step.

The rules work entry by entry, so theta may hold many points, one after another: a grid of starts,
or one start under many learning rates, moves as one. The rules, their coefficients, the schedules
are the engine's own; so is the order of a step: clip each entry, clip the norm, decay, move.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from downslope.catalogue import choose
from downslope.functions import Function
from downslope.kernels.jit import Doubles
from downslope.kernels.muon import muon, muon_scratch
from downslope.kernels.rules import coefficients, moments, update
from downslope.parts import Descent
from downslope.schedules import Span, rates
from downslope.whole_rules import Own

AHEAD = 256
"""Steps whose coefficients are computed at a time."""

LOOK = 32
"""Steps between two looks at the clock and at Ctrl-C: some milliseconds."""

OPTIMUM, STEPS, DIVERGED, TARGET, SECONDS, INTERRUPTED, STUCK = range(7)
"""Why a descent ended."""


@dataclass
class Trail:
    """What was written down at every step, of every point.

    Attributes
    ----------
    thetas : (steps + 1, points, variables)
    values : (steps + 1, points)
    gradients : (steps + 1, points, variables)
        As the rule was given them, with the noise and before clipping. NaN after a point's end, as
        in the others.
    rates : (steps,)
        The learning rate of each step.
    """

    thetas: Doubles
    values: Doubles
    gradients: Doubles
    rates: Doubles


@dataclass
class Ends:
    """Where the descents ended.

    Attributes
    ----------
    thetas : (points, variables)
        The last finite ones.
    values, norms : (points,)
        Of f and of its gradient there.
    steps : (points,) int64
    reasons : (points,) int64
        One of `OPTIMUM`, `STEPS`, ...
    rises, turns : (points,) int64
        Steps in which f rose; in which the gradient pointed back along the one before.
    trail
        None unless it was asked for.
    """

    thetas: Doubles
    values: Doubles
    norms: Doubles
    steps: Any
    reasons: Any
    rises: Any
    turns: Any
    trail: Trail | None = None


class Together:
    """Descents under way.

    Parameters
    ----------
    function
    descent
        The rule, the schedule, clipping, and when to stop; of its batching nothing is used.
    starts : (points, variables)
    learning_rates : (points,) or None
        Each point's own; points of one learning rate stand next to each other. None takes the
        descent's for all.
    keeps
        Write down every step.
    is_interrupted
        Asked now and then; True ends all.
    """

    def __init__(
        self,
        function: Function,
        descent: Descent,
        starts: Doubles,
        learning_rates: Doubles | None = None,
        *,
        keeps: bool = False,
        is_interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        points, variables = starts.shape
        self.function, self.descent = function, descent
        self._keeps, self._is_interrupted = keeps, is_interrupted
        self._limit = descent.steps if descent.steps is not None else 1 << 62
        self._own = learning_rates if learning_rates is not None else np.full(points, descent.rate)
        self._choice = None if callable(descent.rule) else choose("rule", descent.rule)
        rule = descent.rule
        self._owns = [Own(rule) for _ in range(points)] if callable(rule) else []
        self._scratch = np.empty(muon_scratch(variables, 1))
        self._rows: dict[float, tuple[int, Doubles, Doubles]] = {}
        self._theta = np.ascontiguousarray(starts, dtype=np.float64).copy()
        kept = 0 if self._choice is None else moments(self._choice)
        self._state = np.zeros((kept, points * variables))
        self._index = np.arange(points)
        self._edges = self._groups()
        self._generator = np.random.default_rng([descent.seed, 2])
        self._noise = function.noise
        zeros = np.zeros(points, dtype=np.int64)
        nans = np.full(points, np.nan)
        self.ends = Ends(
            starts.astype(np.float64), nans, nans.copy(), zeros, np.full(points, -1), zeros.copy(),
            zeros.copy(),
        )  # fmt: skip
        self._before: tuple[Doubles, Doubles] | None = None
        self._written: list[tuple[Any, Doubles, Doubles, Doubles, float]] = []

    def run(self) -> Ends:
        """Descend until every point has its reason to end."""
        begun, step = time.monotonic(), 0
        with np.errstate(all="ignore"):
            while self._index.size:
                values, gradients = self.function.values_and_gradients(self._theta)
                late = step % LOOK == 0 and self._stops(time.monotonic() - begun)
                reasons = self._reasons(step, values, gradients)
                if late:
                    reasons[reasons < 0] = late
                seen = gradients
                if self._noise:
                    seen = gradients + self._noise * self._generator.normal(size=gradients.shape)
                self._compare(values, seen)
                rate = self._row(step, self._own[self._index[0]])[2]
                if self._keeps:
                    self._write(values, np.where(reasons[:, None] < 0, seen, gradients), rate)
                if (reasons >= 0).any():
                    seen = self._leave(step, reasons, values, gradients, seen)
                if self._index.size:
                    self._move(step, seen)
                step += 1
        if self._keeps:
            self.ends.trail = self._trail()
        return self.ends

    def _groups(self) -> list[int]:
        """Give where the points of one learning rate begin, and where the last ones end."""
        own = self._own[self._index]
        return [0, *(np.flatnonzero(np.diff(own)) + 1).tolist(), len(own)]

    def _stops(self, seconds: float) -> int:
        """Say whether the clock or the user ends all; 0 if neither."""
        if self._is_interrupted():
            return INTERRUPTED
        limit = self.descent.seconds
        return SECONDS if limit is not None and seconds >= limit else 0

    def _reasons(self, step: int, values: Doubles, gradients: Doubles) -> Any:
        """Give for each point why it ends here; -1 where it goes on."""
        descent = self.descent
        squares = np.einsum("ij,ij->i", gradients, gradients)
        reasons = np.full(len(values), STEPS if step >= self._limit else -1)
        if descent.gradient_tolerance is not None and not self._noise:
            reasons[squares <= descent.gradient_tolerance**2] = OPTIMUM
        if descent.target_loss is not None:
            reasons[values <= descent.target_loss] = TARGET
        finite = np.isfinite(values) & np.isfinite(squares)
        reasons[~finite] = DIVERGED
        self.ends.thetas[self._index[finite]] = self._theta[finite]
        self.ends.values[self._index[finite]] = values[finite]
        self.ends.norms[self._index[finite]] = np.sqrt(squares[finite])
        self.ends.steps[self._index] = np.where(finite, step, max(step - 1, 0))
        return reasons

    def _compare(self, values: Doubles, gradients: Doubles) -> None:
        """Count where f rose and where the gradient turned round."""
        if self._before is not None:
            before, past = self._before
            self.ends.rises[self._index] += values > before
            self.ends.turns[self._index] += np.einsum("ij,ij->i", gradients, past) < 0
        self._before = values, gradients

    def _write(self, values: Doubles, gradients: Doubles, rate: float) -> None:
        self._written.append((self._index, self._theta.copy(), values, gradients, rate))

    def _leave(
        self, step: int, reasons: Any, values: Doubles, gradients: Doubles, seen: Doubles
    ) -> Doubles:
        """Take out the points that have ended; give the gradients of the others."""
        ended, goes_on = reasons >= 0, reasons < 0
        self.ends.reasons[self._index[ended]] = reasons[ended]
        self._index = self._index[goes_on]
        self._edges = self._groups()
        self._theta = np.ascontiguousarray(self._theta[goes_on])
        shape = (self._state.shape[0], len(goes_on), self._theta.shape[1])
        state = self._state.reshape(shape)[:, goes_on]
        self._state = np.ascontiguousarray(state).reshape(shape[0], self._theta.size)
        self._before = values[goes_on], seen[goes_on]
        return np.ascontiguousarray(seen[goes_on])

    def _row(self, step: int, learning_rate: float) -> tuple[int, Doubles, float]:
        """Give a rule's coefficients for a step: (first of those computed, all, this rate)."""
        first, table, by_step = self._rows.get(learning_rate, (-AHEAD, None, None))
        if table is None or step >= first + AHEAD or by_step is None:
            first = step - step % AHEAD
            numbers = np.arange(first, min(first + AHEAD, self._limit + 1))
            schedule: Any = self.descent.chosen_schedule
            if not callable(schedule):
                schedule = choose("schedule", schedule)
            total = self.descent.steps
            by_step = rates(
                schedule, learning_rate, self.descent.warmup, numbers, Span(1, 1, total)
            )
            table = (
                np.zeros((len(numbers), 1))
                if self._choice is None
                else coefficients(self._choice, by_step, first + 1)
            )
            self._rows[learning_rate] = first, table, by_step
        return first, table, float(by_step[step - first])

    def _clip(self, gradients: Doubles) -> Doubles:
        """Bound each entry, then each point's norm; a copy, as rules may overwrite it."""
        value, norm = self.descent.clip_value, self.descent.clip_norm
        clipped = gradients.copy() if value is None else np.clip(gradients, -value, value)
        if norm is not None:
            norms = np.sqrt(np.einsum("ij,ij->i", clipped, clipped))
            clipped *= np.where(norms > norm, norm / np.maximum(norms, norm), 1.0)[:, None]
        return np.ascontiguousarray(clipped)

    def _move(self, step: int, gradients: Doubles) -> None:
        """Take the step: all points of one learning rate in one call."""
        gradients = self._clip(gradients)
        flat, slopes = self._theta.reshape(-1), gradients.reshape(-1)
        variables = gradients.shape[1]
        decay = self._weight_decay()
        for first, last in pairwise(self._edges):
            begun, table, rate = self._row(step, float(self._own[self._index[first]]))
            if decay:
                self._theta[first:last] *= 1 - rate * decay
            span = slice(first * variables, last * variables)
            row = table[step - begun]
            if self._choice is None or self._choice.name == "muon":
                for point in range(first, last):
                    self._move_whole(point, gradients[point], row, rate, step)
            else:
                code = self._choice.code
                update(code, flat[span], slopes[span], self._state, span.start, row)

    def _move_whole(
        self, point: int, gradient: Doubles, row: Doubles, rate: float, step: int
    ) -> None:
        """Move one point by a rule that wants it whole.

        Muon takes theta as a weight matrix of one column, whose orthogonal form is its direction.
        """
        theta = self._theta[point]
        if self._owns:
            self._owns[self._index[point]].move(theta, gradient, rate, step + 1)
            return
        momentum = self._state[0].reshape(self._theta.shape)[point]
        muon(theta[:, None], gradient[:, None], momentum[:, None], self._scratch, row)

    def _weight_decay(self) -> float:
        if self._choice is not None and self._choice.name == "adamw":
            return float(self._choice.options["weight_decay"])
        return self.descent.weight_decay

    def _trail(self) -> Trail:
        """Put together what was written; NaN where a point had ended."""
        points, variables = self.ends.thetas.shape
        length = int(self.ends.steps.max()) + 1
        trail = Trail(
            np.full((length, points, variables), np.nan), np.full((length, points), np.nan),
            np.full((length, points, variables), np.nan),
            np.array([rate for *_, rate in self._written[: length - 1]]),
        )  # fmt: skip
        for step, (index, theta, values, gradients, _) in enumerate(self._written[:length]):
            stays = self.ends.steps[index] >= step
            kept = index[stays]
            trail.thetas[step, kept], trail.values[step, kept] = theta[stays], values[stays]
            trail.gradients[step, kept] = gradients[stays]
        return trail


def is_elementwise(descent: Descent) -> bool:
    """Say whether a rule works entry by entry, so that many points may move in one call."""
    return not callable(descent.rule) and choose("rule", descent.rule).name != "muon"
