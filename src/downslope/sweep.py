"""One start under many learning rates: which converge, which swing, which diverge."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from downslope.errors import InvalidValueError
from downslope.functions import Function
from downslope.kernels.jit import Doubles
from downslope.parts import Descent
from downslope.together import DIVERGED, OPTIMUM, TARGET, Ends, Together

RATES: Doubles = np.logspace(-6, 1, 43)
"""The learning rates that are tried: six a decade."""

SWINGING = 0.3
"""Share of steps at which the gradient turned round, from which on a descent is said to swing."""

CONVERGED, SWUNG, DOWNWARD, OSCILLATING, DIVERGING = (
    "converges", "converges, swinging", "still going down", "oscillates", "diverges",
)  # fmt: skip
BEHAVIORS = (CONVERGED, SWUNG, DOWNWARD, OSCILLATING, DIVERGING)


@dataclass(frozen=True)
class Sweep:
    """What each learning rate led to.

    Attributes
    ----------
    learning_rates, values : (rates,) float64
        The rates, and f where they ended; NaN where that is not finite.
    steps : (rates,) int64
    behaviors
        One of `BEHAVIORS` each.
    best
        The learning rate that came lowest; of those about as low, the one with the fewest steps.
    """

    learning_rates: Doubles
    values: Doubles
    steps: Doubles
    behaviors: tuple[str, ...]
    best: float


def sweep(
    function: Function,
    start: Doubles,
    descent: Descent,
    learning_rates: Doubles | None = None,
    *,
    is_interrupted: Callable[[], bool] = lambda: False,
) -> Sweep:
    """Descend from one start (variables,) by many learning rates, all together.

    Parameters
    ----------
    function, start, descent
        The descent's own learning rate is not used.
    learning_rates : (rates,)
        By default `RATES`.

    Raises
    ------
    InvalidValueError
        If the schedule is a function, which takes no learning rate.

    Examples
    --------
    >>> from downslope.functions import resolve
    >>> descent = Descent(batch="full", rule="gd", schedule="constant", epochs=None, steps=50)
    >>> rates = np.array([0.01, 0.3, 0.8, 1.1])
    >>> sweep(resolve("x**2"), np.array([1.0]), descent, rates).behaviors[1:]
    ('still going down', 'still going down', 'diverges')
    """
    if callable(descent.schedule):
        raise InvalidValueError("sweep: a schedule that is a function takes no learning rate")
    tried = RATES if learning_rates is None else np.asarray(learning_rates, np.float64)
    plain = dataclasses.replace(descent, learning_rate=None)
    starts = np.repeat(start[None], len(tried), axis=0)
    ends = Together(function, plain, starts, tried, is_interrupted=is_interrupted).run()
    first = function.value(start)
    first_norm = float(np.linalg.norm(function.gradient(start)))
    behaviors = tuple(_behavior(ends, k, first, first_norm) for k in range(len(tried)))
    values = np.where(ends.reasons == DIVERGED, np.nan, ends.values)
    best = float(tried[_best(function, start, ends, values)])
    return Sweep(tried, values, ends.steps, behaviors, best)


def _behavior(ends: Ends, k: int, first: float, first_norm: float) -> str:
    """Say how one learning rate behaved."""
    steps = max(int(ends.steps[k]), 1)
    swings = float(ends.turns[k]) / steps > SWINGING
    if ends.reasons[k] == DIVERGED:
        return DIVERGING
    if ends.reasons[k] in (OPTIMUM, TARGET):
        return SWUNG if swings else CONVERGED
    if ends.values[k] > first:
        return DIVERGING if ends.norms[k] > first_norm else OSCILLATING
    rises = float(ends.rises[k]) / steps > 0.1 or ends.values[k] == first
    return OSCILLATING if swings and rises else DOWNWARD


def _best(function: Function, start: Doubles, ends: Ends, values: Doubles) -> int:
    """Choose the learning rate: the lowest f among those that did not run off."""
    bounds = np.array(function.domain or [(-1.0, 1.0)] * len(start))
    reach = 2 * float(np.ptp(bounds, axis=1).max()) + 10 * float(np.linalg.norm(start))
    away = np.linalg.norm(ends.thetas - start, axis=1) > reach
    usable = np.where(away | np.isnan(values), math.inf, values)
    if not np.isfinite(usable).any():
        return 0
    low = float(usable.min())
    close = usable <= low + 1e-9 * (1 + abs(low))
    return int(np.argmin(np.where(close, ends.steps, np.iinfo(np.int64).max)))
