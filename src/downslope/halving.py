"""Successive halving: many variants for few epochs, the better ones for more.

Li et al. 2018, "Hyperband", algorithm 1, for a given set of variants instead of drawn ones. A
bracket s begins with all n variants at R eta^-s epochs, and keeps the best n eta^-i of them for R
eta^(i-s): its last rung runs the whole R. Every rung is a descent of its own from the start, so
that a schedule ends where the rung does and a rung's results are those of `fit` with its epochs.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from numbers import Real
from typing import Final

from downslope.errors import InvalidTypeError, InvalidValueError

FACTOR: Final = 3
"""Li et al. 2018, section 3.6: 3 or 4 in practice."""

FINALISTS: Final = 2
"""The last rung compares two at least: a winner without a second has nothing to be held against."""


@dataclass(frozen=True)
class Rung:
    """How many variants run, and for how many epochs."""

    variants: int
    epochs: int


def bracket(variants: int, epochs: int, halvings: int) -> list[Rung]:
    """Give the rungs of one bracket; the last one has all the epochs.

    Examples
    --------
    >>> bracket(27, 81, 2)
    [Rung(variants=27, epochs=9), Rung(variants=9, epochs=27), Rung(variants=3, epochs=81)]
    """
    return [
        Rung(
            max(min(variants, FINALISTS), variants // FACTOR**rung),
            max(1, round(epochs / FACTOR ** (halvings - rung))),
        )
        for rung in range(halvings + 1)
    ]


def most_halvings(variants: int, epochs: int) -> int:
    """Give s of the keenest bracket: it starts at an epoch or more and ends with two or more.

    >>> most_halvings(27, 81), most_halvings(100, 30), most_halvings(3, 100)
    (2, 3, 0)
    """
    halvings = 0
    while FACTOR ** (halvings + 1) <= epochs and FINALISTS * FACTOR ** (halvings + 1) <= variants:
        halvings += 1
    return halvings


def choose_bracket(variants: int, epochs: int, epoch_seconds: float, seconds: float) -> int:
    """Choose the least keen bracket that fits the time: 0 runs every variant to its end.

    Parameters
    ----------
    variants, epochs
    epoch_seconds
        What an epoch of one variant takes, all seeds together, over the cores: the mean.
    seconds
        The time there is.

    Examples
    --------
    >>> [choose_bracket(27, 81, 0.01, seconds) for seconds in (60, 15, 8, 1)]
    [0, 1, 2, 2]
    """
    most = most_halvings(variants, epochs)
    for halvings in range(most + 1):
        rungs = bracket(variants, epochs, halvings)
        if sum(rung.variants * rung.epochs for rung in rungs) * epoch_seconds <= seconds:
            return halvings
    return most


def read_budget(budget: object) -> float:
    """Read a time: seconds as a number, or text as 20s, 1.5min, 1h.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For anything else, and for no time at all.

    Examples
    --------
    >>> read_budget("20s"), read_budget("1.5 min"), read_budget(3)
    (20.0, 90.0, 3.0)
    """
    if isinstance(budget, str):
        found = re.fullmatch(r"\s*([0-9.]+(?:e-?[0-9]+)?)\s*(s|sec|min|m|h)?\s*", budget)
        try:
            number = float(found[1]) if found else math.nan
        except ValueError:
            number = math.nan
        seconds = number * {"m": 60, "h": 3600}.get((found[2] or "s")[0] if found else "s", 1)
    elif isinstance(budget, bool) or not isinstance(budget, Real):
        raise InvalidTypeError(f"budget takes a time, as 20s or 5min; got {budget!r}")
    else:
        seconds = float(budget)
    if not 0 < seconds < math.inf:
        raise InvalidValueError(f"budget takes a time above 0, as 20s, 5min or 1h; got {budget!r}")
    return seconds
