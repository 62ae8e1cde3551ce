"""minimize(): gradient descent on a function, by the rules that move a network's theta."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from downslope.catalogue import RULES, choose
from downslope.counts import real_number, whole_number
from downslope.errors import InvalidTypeError, InvalidValueError, nearest
from downslope.function_run import LBFGS, PLAIN, FunctionRun, ended_run
from downslope.functions import Bounds, Function, finite_everywhere, refuse_wrong_gradient, resolve
from downslope.interrupt import interruptible
from downslope.kernels.jit import Doubles
from downslope.lbfgs import descend_by_lbfgs
from downslope.parts import Descent, Rule
from downslope.sweep import sweep
from downslope.together import Together

SETTINGS: Final = (
    "learning_rate", "schedule", "warmup", "clip_norm", "clip_value", "weight_decay", "steps",
    "seconds", "gradient_tolerance", "target_loss", "seed",
)  # fmt: skip
"""The fields of a `Descent` that mean something without rows and epochs."""

LARGEST = 50_000_000
"""Numbers that may be written down of the descents of one call: 400 MB."""


@dataclass
class _Watch:
    """Whether Ctrl-C was pressed."""

    interrupted: bool = False


def minimize(
    function: str | Function | Callable[[Doubles], float],
    start: Sequence[float] | Doubles | float | None = None,
    rule: str | Rule = "gd",
    *,
    gradient: Callable[[Doubles], Any] | None = None,
    noise: float | None = None,
    **settings: Any,
) -> FunctionRun:
    """Descend a function from one start.

    Parameters
    ----------
    function
        A formula, as "x**4 - 3*x**3 + 2"; a name of the gallery, as "rosenbrock"; or a Python
        function of theta (variables,) that gives a real number.
    start : (variables,)
        One number for each variable, in the order of their names. A function of the gallery has
        one of its own.
    rule
        As in a recipe (see `catalogue.RULES`), or "lbfgs", or a function of one's own.
    gradient
        Of a Python function: theta (variables,) -> (variables,). Without it, central differences.
    noise
        Standard deviation of normal noise on each entry of every step's gradient.
    settings
        Fields of `Descent`: learning_rate, schedule, warmup, clip_norm, clip_value, weight_decay,
        steps (1000), seconds, gradient_tolerance (1e-8), target_loss, seed. Without a
        learning_rate the best of a sweep from 1e-6 to 10 is taken.

    Returns
    -------
    FunctionRun

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For a function, a start or a setting that cannot be.

    Examples
    --------
    >>> run = minimize("x**4 - 3*x**3 + 2", 4, learning_rate=0.01)
    >>> run.theta.round(6), run.ending.kind
    (array([2.25]), 'minimum')
    >>> minimize("himmelblau", (0, 0), "lbfgs").at_known
    ((3.0, 2.0), 0.0)
    """
    found = resolve(function, None if start is None else np.size(start), gradient)
    place = found.start if start is None else start
    if not len(np.atleast_1d(place)):
        raise InvalidValueError(
            f"function {found.name!r} needs a start: {len(found.variables)} numbers, for "
            f"{', '.join(found.variables)}"
        )
    return minimize_from(found, [place], rule, noise=noise, **settings)[0]


def minimize_from(
    function: str | Function | Callable[[Doubles], float],
    starts: Any,
    rule: str | Rule = "gd",
    *,
    gradient: Callable[[Doubles], Any] | None = None,
    noise: float | None = None,
    **settings: Any,
) -> list[FunctionRun]:
    """Descend a function from many starts: all together, where the rule works entry by entry.

    Parameters
    ----------
    function, rule, gradient, noise, settings
        As in `minimize`. Without a learning_rate, the one that is best from the first start.
    starts : (points, variables)

    Examples
    --------
    >>> runs = minimize_from("himmelblau", [(4, 4), (-4, -4)], "adam", learning_rate=0.1)
    >>> [tuple(run.theta.round(3).tolist()) for run in runs]
    [(3.0, 2.0), (-3.779, -3.283)]
    """
    points = _points(starts)
    found = _with_noise(resolve(function, points.shape[1], gradient), noise)
    _check_starts(found, points)
    refuse_wrong_gradient(found, points[0])
    descent, named = _descent(rule, settings), _name(rule)
    if points.size * (descent.steps or 0) > LARGEST:
        raise InvalidValueError(
            f"function {found.name!r}: {len(points)} starts of {points.shape[1]} variables for "
            f"{descent.steps:,} steps are too much to write down; take fewer steps or starts"
        )
    watch, swept, begun = _Watch(), None, time.perf_counter()
    is_stopped = partial(getattr, watch, "interrupted")
    with interruptible(watch):
        if rule == LBFGS:
            ends = descend_by_lbfgs(found, descent, points, is_stopped)
        else:
            if descent.learning_rate is None and not callable(descent.schedule):
                swept = sweep(found, points[0], descent, is_interrupted=is_stopped)
                descent = dataclasses.replace(descent, learning_rate=swept.best)
            together = Together(found, descent, points, keeps=True, is_interrupted=is_stopped)
            ends = together.run()
    seconds = (time.perf_counter() - begun) / len(points)
    rate = math.nan if rule == LBFGS else descent.rate
    return [
        ended_run(found, descent, named, rate, ends, point, seconds, swept)
        for point in range(len(points))
    ]


def random_starts(
    function: Function, count: int, seed: int = 0, domain: Bounds | None = None
) -> Doubles:
    """Draw starts evenly from a function's domain, where it and its gradient are finite.

    Parameters
    ----------
    function
    count
    seed
    domain
        By default the function's own; -5 to 5 for each variable where it has none.

    Returns
    -------
    (count, variables) float64

    Raises
    ------
    InvalidValueError
        If hardly any place of the domain will do.
    """
    low, high = np.array(domain or function.domain or [(-5.0, 5.0)] * len(function.variables)).T
    whole_number("random_starts: count", count, 1)
    whole_number("random_starts: seed", seed)
    generator = np.random.default_rng([seed, 3])
    found = np.empty((0, len(low)))
    for _ in range(100):
        drawn = generator.uniform(low, high, size=(count, len(low)))
        found = np.concatenate([found, drawn[finite_everywhere(function, drawn)]])
        if len(found) >= count:
            return found[:count]
    raise InvalidValueError(
        f"function {function.name!r}: {count} random starts between {low.tolist()} and "
        f"{high.tolist()} gave finite values only {len(found)} times in {100 * count}; give a start"
    )


def check_rule(rule: object) -> None:
    """Raise InvalidValueError for a rule that does not exist.

    >>> check_rule("lbgfs")
    Traceback (most recent call last):
    downslope.errors.InvalidValueError: unknown rule 'lbgfs': did you mean 'lbfgs'? Known are ...
    """
    if rule == LBFGS or callable(rule):
        return
    word = str(rule).partition("(")[0].strip().lower().replace("-", "_")
    if word not in RULES:
        raise InvalidValueError(f"unknown rule {rule!r}: {nearest(word, [*RULES, LBFGS])}")
    choose("rule", rule)


def _name(rule: str | Rule) -> str:
    return getattr(rule, "__name__", type(rule).__name__) if callable(rule) else rule


def _descent(rule: str | Rule, settings: dict[str, Any]) -> Descent:
    """Make the descent of these settings, checked."""
    check_rule(rule)
    for name in settings:
        if name not in SETTINGS:
            raise InvalidValueError(f"minimize: no setting {name!r}: {nearest(name, SETTINGS)}")
    descent = dataclasses.replace(PLAIN, rule="gd" if rule == LBFGS else rule, **settings)
    if descent.steps is None:
        raise InvalidValueError("minimize: steps takes a whole number; got None")
    schedule = descent.chosen_schedule
    if not callable(schedule) and choose("schedule", schedule).name == "plateau":
        raise InvalidValueError(
            "minimize: schedule 'plateau' looks at losses by epoch, and a function has no epochs; "
            "take 'cosine' or 'exponential'"
        )
    if rule == LBFGS:
        for name in ("learning_rate", "schedule", "warmup", "clip_norm", "clip_value"):
            if getattr(descent, name) != getattr(PLAIN, name):
                raise InvalidValueError(
                    f"rule 'lbfgs' searches for the length of its steps, so it takes no {name}; "
                    "leave it out"
                )
    return descent


def _points(starts: Any) -> Doubles:
    """Check starts: (points, variables) real, finite numbers."""
    try:
        rows = [np.atleast_1d(np.asarray(each)) for each in starts]
        points = np.array(rows)
    except (TypeError, ValueError):
        raise InvalidValueError(
            f"start: takes one number for each variable; got {starts!r}"
        ) from None
    if points.ndim != 2 or points.size == 0 or points.dtype.kind not in "fiu":
        raise InvalidTypeError(f"start: takes one real number for each variable; got {starts!r}")
    if not np.isfinite(points).all():
        raise InvalidValueError(f"start: takes finite numbers; got {points.tolist()}")
    return points.astype(np.float64)


def _check_starts(function: Function, points: Doubles) -> None:
    """Refuse a start where f or its gradient is not finite: outside of a logarithm, for one."""
    for point in points[~finite_everywhere(function, points)]:
        value, gradient = function.value(point), function.gradient(point)
        what = f"f is {value:g}" if not math.isfinite(value) else f"its gradient is {gradient}"
        raise InvalidValueError(
            f"function {function.name!r} has no finite real value and gradient at the start "
            f"{point.tolist()}: {what}; start elsewhere"
        )


def _with_noise(function: Function, noise: float | None) -> Function:
    if noise is None:
        return function
    deviation = real_number("minimize: noise", noise, "[0, inf)")
    return dataclasses.replace(function, noise=deviation)
