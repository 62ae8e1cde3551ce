"""Schedules: the learning rate as a pure function of the step.

A step's rate depends on its number and the length of the run alone, never on the call before, so
that a resumed run goes on with the same rates. `plateau` reads the losses of the epochs so far
instead, all of them each time, for the same reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np

from downslope.catalogue import Choice
from downslope.errors import InvalidTypeError, InvalidValueError
from downslope.kernels.jit import Doubles, Integers
from downslope.parts import Schedule

Options: TypeAlias = Mapping[str, float]


@dataclass(frozen=True)
class Span:
    """How long a run is, in the units that schedules count in.

    Parameters
    ----------
    steps_per_epoch
        The last, partial batch counted.
    rows
        Rows of an epoch.
    total_steps
        None where only the clock or a stopping rule ends the run.
    """

    steps_per_epoch: int
    rows: int
    total_steps: int | None = None


def rates(
    schedule: Choice | Schedule, learning_rate: float, warmup: int, steps: Integers, span: Span
) -> Doubles:
    """Give the learning rate of each step.

    With a warm-up of n steps, the first n are those of the schedule times (t + 1) / (n + 1): a
    straight line from 0, which it leaves out, to the schedule.

    Parameters
    ----------
    schedule
        A choice from `catalogue.SCHEDULES` or a function of the step; a function gives the rate
        itself and the learning rate is not used. ``plateau`` is constant here: hand in what
        `Plateau` gives.
    learning_rate
        The rate that the schedule starts from or, for ``one_cycle``, rises to.
    warmup
        In steps; 0 for none.
    steps
        (steps,) int64: step numbers, 0 for the first of the run.
    span
        How long the run is.

    Returns
    -------
    (steps,) float64

    Raises
    ------
    InvalidValueError
        If the schedule needs a total number of steps and there is none, or if a function gives a
        rate that is negative or not finite.
    InvalidTypeError
        If a function gives anything but a number.

    Examples
    --------
    >>> from downslope.catalogue import choose
    >>> span = Span(steps_per_epoch=2, rows=64, total_steps=4)
    >>> rates(choose("schedule", "cosine"), 0.1, 0, np.arange(4), span).round(3)
    array([0.1  , 0.085, 0.05 , 0.015])
    >>> rates(lambda step: 0.1 / (step + 1), 0.1, 1, np.arange(3), span).round(3)
    array([0.05 , 0.05 , 0.033])
    """
    if isinstance(schedule, Choice):
        check(schedule, span.total_steps)
        scheduled = learning_rate * _FACTORS[schedule.name](schedule.options, steps, span)
    else:
        scheduled = np.array([_own(schedule, int(step)) for step in steps], dtype=np.float64)
    if warmup > 0:
        scheduled = scheduled * np.minimum((steps + 1) / (warmup + 1), 1.0)
    return scheduled


class Plateau:
    """The learning rate that ``plateau`` has come down to, going on with the losses that are new.

    An epoch is better if loss < best - tolerance * |best|. After more than `patience` epochs in a
    row that are not, eta = max(low, factor eta) and counting starts anew.

    Parameters
    ----------
    choice
        The schedule ``plateau``.
    learning_rate
        The rate of the first epoch.

    Examples
    --------
    >>> from downslope.catalogue import choose
    >>> patient = Plateau(choose("schedule", "plateau(patience=1)"), learning_rate=0.5)
    >>> patient.rate([1.0, 1.0]), patient.rate([1.0, 1.0, 1.0])
    (0.5, 0.05)

    Notes
    -----
    As PyTorch's ReduceLROnPlateau, relative to |best| so that negative losses count too.
    """

    def __init__(self, choice: Choice, learning_rate: float) -> None:
        self._factor, self._patience, self._tolerance, self._low = choice.values()
        self.learning_rate = self._rate = learning_rate
        self._best, self._waited, self._seen = math.inf, 0, 0

    def rate(self, losses: Sequence[float]) -> float:
        """Give the rate after some epochs.

        losses: at the end of every epoch so far: validation where there is one, else training.
        """
        for loss in losses[self._seen :]:
            best = self._best
            needed = best - self._tolerance * abs(best) if math.isfinite(best) else best
            self._best, self._waited = (loss, 0) if loss < needed else (best, self._waited + 1)
            if self._waited > self._patience:
                lower = max(self._low, self._factor * self._rate)
                self._rate, self._waited = min(self._rate, lower), 0
        self._seen = len(losses)
        return self._rate


def _constant(options: Options, t: Integers, span: Span) -> Doubles:
    return np.ones(len(t))


def _step(options: Options, t: Integers, span: Span) -> Doubles:
    """Give factor^floor(epoch / every)."""
    epochs = t // span.steps_per_epoch
    return np.asarray(options["factor"] ** (epochs // options["every"]), dtype=np.float64)


def _exponential(options: Options, t: Integers, span: Span) -> Doubles:
    """Give factor^(t / steps of an epoch)."""
    return np.asarray(options["factor"] ** (t / span.steps_per_epoch), dtype=np.float64)


def _inverse_scaling(options: Options, t: Integers, span: Span) -> Doubles:
    """Give 1 / (rows seen + 1)^power, the rows counted at an epoch's end, as scikit-learn does."""
    seen = t // span.steps_per_epoch * span.rows
    return 1 / (seen + 1.0) ** options["power"]


def _cosine(options: Options, t: Integers, span: Span) -> Doubles:
    """Go down to ``final``: final + (1 - final) (1 + cos(pi t / T)) / 2."""
    final = options["final"]
    return final + (1 - final) * (1 + np.cos(np.pi * _within(t, span) / _total(span))) / 2


def _one_cycle(options: Options, steps: Integers, span: Span) -> Doubles:
    """Go from 1/start to 1 to 1/(start end), by half a cosine each; the last step has the last."""
    start, end = 1 / options["start"], 1 / (options["start"] * options["end"])
    last = _total(span) - 1
    peak = options["peak_at"] * _total(span) - 1
    t = np.asarray(_within(steps, span), dtype=np.float64)
    up = _half_cosine(start, 1.0, t / peak) if peak > 0 else np.ones_like(t)
    down = _half_cosine(1.0, end, (t - peak) / (last - peak)) if last > peak else up
    return np.where(t <= peak, up, down)


def _half_cosine(first: float, last: float, share: Doubles) -> Doubles:
    halved: Doubles = (1 + np.cos(np.pi * share)) / 2
    return last + (first - last) * halved


def _total(span: Span) -> int:
    return span.total_steps or 1


def _within(t: Integers, span: Span) -> Integers:
    """Give the last step for those after it: what spans a run stays at its end."""
    return np.minimum(t, _total(span) - 1)


_FACTORS: Final[Mapping[str, Callable[[Options, Integers, Span], Doubles]]] = MappingProxyType(
    {
        "constant": _constant, "step": _step, "exponential": _exponential,
        "inverse_scaling": _inverse_scaling, "cosine": _cosine, "one_cycle": _one_cycle,
        "plateau": _constant,
    }
)  # fmt: skip
"""By schedule: (options, step numbers (steps,), span) -> rates over the learning rate (steps,)."""


def _own(schedule: Schedule, step: int) -> float:
    """Ask a schedule of the caller's own for the rate of a step; check what it says."""
    rate: Any = schedule(step)
    name = getattr(schedule, "__name__", repr(schedule))
    if isinstance(rate, bool) or not isinstance(rate, (int, float, np.integer, np.floating)):
        raise InvalidTypeError(
            f"schedule {name!r} must give a number for every step; step {step} got {rate!r}"
        )
    if not (math.isfinite(rate) and rate >= 0):
        raise InvalidValueError(
            f"schedule {name!r} must give a finite learning rate of at least 0 for every step; "
            f"step {step} got {float(rate)!r}"
        )
    return float(rate)


def check(choice: Choice, total_steps: int | None) -> None:
    """Raise InvalidValueError where a schedule cannot be followed in so many steps, None: unknown.

    >>> from downslope.catalogue import choose
    >>> check(choose("schedule", "cosine"), total_steps=None)
    Traceback (most recent call last):
    downslope.errors.InvalidValueError: schedule 'cosine' spans the whole run and must know its ...
    """
    if choice.name in ("cosine", "one_cycle") and total_steps is None:
        raise InvalidValueError(
            f"schedule {choice.name!r} spans the whole run and must know its length; got neither "
            f"epochs nor steps: set one of them, or take the schedule 'constant'"
        )
