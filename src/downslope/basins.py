"""Basins of attraction: from a grid of starts, which minimum each one is led to.

All starts and learning rates of a rule move together, in one call of the rule a step. So rules that
move a point whole (Muon, L-BFGS, a function of one's own) have no basins here: each start would be
a descent of its own, some thousand times as slow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from downslope.ending import classify
from downslope.errors import InvalidValueError
from downslope.functions import Bounds, Function
from downslope.kernels.jit import Doubles
from downslope.parts import Descent
from downslope.together import DIVERGED, OPTIMUM, Ends, Together, is_elementwise

SIDE = 61
"""Starts along each of two variables."""

STEPS = 1000
"""Steps of each descent, at most."""

CLOSE = 0.02
"""An end this near to a minimum has reached it; as a share of the domain's width."""

PLACES = 8
"""Places that are told apart."""

NOWHERE, AWAY = -1, -2
"""Labels: not at a minimum after all steps; left the finite numbers, or the domain for good."""


@dataclass(frozen=True)
class Basins:
    """Where the starts of a grid lead by one rule, by some learning rates.

    Attributes
    ----------
    rule
    learning_rates : (rates,) float64
    axes
        The grid's coordinates, an array for each variable, the first varying fastest.
    labels : (rates, points) int64
        Index into `places`, `NOWHERE` or `AWAY`.
    steps : (rates, points) int64
    places : (places, variables) float64
        The known minima, then others that descents ended at.
    """

    rule: str
    learning_rates: Doubles
    axes: tuple[Doubles, ...]
    labels: Any
    steps: Any
    places: Doubles


def basins(
    function: Function,
    descent: Descent,
    learning_rates: Sequence[float] | Doubles,
    domain: Bounds,
    *,
    side: int = SIDE,
    places: Doubles | None = None,
    is_interrupted: Callable[[], bool] = lambda: False,
) -> Basins:
    """Descend from a grid of starts over the domain of one or two variables.

    Parameters
    ----------
    function
    descent
        Its learning rate is not used.
    learning_rates : (rates,)
    domain
        (low, high) of each variable.
    side
        Starts along each variable.
    places : (places, variables)
        Minima that are known; more are added as they are found.

    Raises
    ------
    InvalidValueError
        For a rule that moves a point whole, or more than two variables.

    Examples
    --------
    >>> from downslope.functions import resolve
    >>> descent = Descent(
    ...     batch="full", schedule="constant", rule="gd", steps=200, gradient_tolerance=1e-8
    ... )
    >>> found = basins(resolve("x**4 - 2*x**2"), descent, [0.05], ((-2, 2),), side=4)
    >>> found.places[found.labels[0], 0].round(4)
    array([-1., -1.,  1.,  1.])
    """
    if not is_elementwise(descent):
        raise InvalidValueError(
            "basins: this rule moves each point whole, so a grid of starts cannot move together; "
            "take a rule that works entry by entry, as 'gd' or 'adam'"
        )
    if len(domain) not in (1, 2):
        raise InvalidValueError(f"basins: are drawn of 1 or 2 variables; got {len(domain)}")
    axes = tuple(np.linspace(low, high, side) for low, high in domain)
    grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, len(domain))
    rates = np.asarray(learning_rates, dtype=np.float64)
    starts, each = np.tile(grid, (len(rates), 1)), np.repeat(rates, len(grid))
    plain = dataclasses.replace(descent, learning_rate=None)
    ends = Together(function, plain, starts, each, is_interrupted=is_interrupted).run()
    known = np.empty((0, len(domain))) if places is None else places
    labels, found = label(function, ends, known, domain)
    shape = (len(rates), len(grid))
    rule = descent.rule if isinstance(descent.rule, str) else "own"
    return Basins(rule, rates, axes, labels.reshape(shape), ends.steps.reshape(shape), found)


def label(function: Function, ends: Ends, known: Doubles, domain: Bounds) -> tuple[Any, Doubles]:
    """Say which minimum each descent reached; add those that were not known.

    A new place is one where the gradient is as good as 0 and that is no saddle.
    """
    low, high = np.array(domain).T
    near = CLOSE * float((high - low).max())
    labels = np.full(len(ends.thetas), NOWHERE)
    outside = (ends.thetas < 2 * low - high) | (ends.thetas > 2 * high - low)
    labels[(ends.reasons == DIVERGED) | outside.any(axis=1)] = AWAY
    places = list(known)
    for number, place in enumerate(places):
        labels[_within(ends.thetas, place, near) & (labels == NOWHERE)] = number
    settled = np.flatnonzero((labels == NOWHERE) & (ends.reasons == OPTIMUM))
    while settled.size and len(places) < PLACES:
        place = ends.thetas[settled[np.argmin(ends.values[settled])]]
        here = _within(ends.thetas, place, near) & (labels == NOWHERE)
        if _is_minimum(function, place):
            labels[here] = len(places)
            places.append(place)
        settled = settled[~here[settled]]
    return labels, np.array(places).reshape(-1, len(low))


def _within(thetas: Doubles, place: Doubles, radius: float) -> Any:
    return np.linalg.norm(thetas - place, axis=1) <= radius


def _is_minimum(function: Function, place: Doubles) -> bool:
    return classify(function, place).kind in ("minimum", "kink")
