"""How far each of the next steps goes: learning rate, the rule's coefficients, decay of weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope.catalogue import Choice, choose
from downslope.kernels import rules
from downslope.parts import Descent
from downslope.schedules import Plateau, Span, rates

Array = npt.NDArray[Any]

AHEAD = 8192
"""Steps whose learning rates are computed at once."""


class Pace:
    """The pace of a descent, step by step.

    Parameters
    ----------
    descent
    rule
        None for one of the caller's own.
    span
        How long the descent is.
    """

    def __init__(self, descent: Descent, rule: Choice | None, span: Span) -> None:
        self._rule, self._span, self._warmup = rule, span, descent.warmup
        schedule = descent.chosen_schedule
        self._schedule: Choice | Any = (
            schedule if callable(schedule) else choose("schedule", schedule)
        )
        named = rule is not None and rule.name == "adamw"
        self.weight_decay = (
            float(rule.options["weight_decay"]) if named and rule else descent.weight_decay
        )
        self._plateau: Plateau | None = None
        self._computed: tuple[int, int, float] = (0, 0, math.nan)

    @property
    def foreseen(self) -> bool:
        """Whether all rates are known before the run."""
        return isinstance(self._schedule, Choice) and self._schedule.name != "plateau"

    def base(self, rate: float, losses: Sequence[float]) -> float:
        """Give what the schedule starts from now: `rate`, or what ``plateau`` has made of it."""
        if callable(self._schedule) or self._schedule.name != "plateau":
            return rate
        if self._plateau is None or self._plateau.learning_rate != rate:
            self._plateau = Plateau(self._schedule, rate)
        return self._plateau.rate(losses)

    def rates(self, base: float, first: int, steps: int) -> Array:
        """Give the learning rates (steps,) of some steps, `first` steps having been done."""
        numbers = np.arange(first, first + steps)
        return rates(self._schedule, base, self._warmup, numbers, self._span)

    def ahead(self, base: float, first: int, steps: int) -> tuple[Array, Array, Array]:
        """Give learning rates, the rule's coefficients and decays of some steps, by step.

        They come from a stretch of steps computed at once, since computing them by epoch would take
        longer than the epochs of a small network. A schedule of one's own is not asked before its
        time.
        """
        begin, end, before = self._computed
        if not (begin <= first and first + steps <= end and base == before):
            count = steps
            if isinstance(self._schedule, Choice):
                count = max(steps, min(AHEAD, (self._span.total_steps or first + AHEAD) - first))
            rate = self.rates(base, first, count)
            table = (
                np.zeros((1, 1))
                if self._rule is None
                else rules.coefficients(self._rule, rate, first + 1)
            )
            self._tables = rate, table, 1.0 - rate * self.weight_decay
            begin, self._computed = first, (first, first + count, base)
        rate, table, decays = self._tables
        part = slice(first - begin, first - begin + steps)
        return rate[part], table if self._rule is None else table[part], decays[part]
