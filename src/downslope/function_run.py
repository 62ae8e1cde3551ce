"""A descent on a function that has ended: its steps, why it ended, and what that place is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from downslope.ending import Ending, classify
from downslope.functions import Function
from downslope.gallery import Minimum
from downslope.kernels.jit import Doubles
from downslope.parts import Descent
from downslope.sweep import Sweep
from downslope.together import (
    DIVERGED,
    INTERRUPTED,
    OPTIMUM,
    SECONDS,
    STEPS,
    STUCK,
    TARGET,
    Ends,
)

LBFGS: Final = "lbfgs"
"""SciPy's L-BFGS-B, to compare with: it searches along lines and has no learning rate."""

PLAIN: Final = Descent(
    batch="full", rule="gd", schedule="constant", epochs=None, steps=1000, validation=0.0,
    gradient_tolerance=1e-8, dtype="float64", shuffle=False,
)  # fmt: skip
"""What holds for a descent on a function where nothing else is said."""

SAME = 1e-6
"""Values of f that differ by no more, as a share of 1 + |f|, are called equally low."""


@dataclass(frozen=True)
class FunctionRun:
    """A descent on a function that has ended.

    Attributes
    ----------
    function
    rule
        As it was named, or the function's name.
    learning_rate
        NaN for L-BFGS, which has none.
    descent
        What it was run by; of L-BFGS, without the rule.
    thetas : (steps + 1, variables) float64
        The start, and where each step led.
    values : (steps + 1,) float64
        f there.
    gradients : (steps + 1, variables) float64
        The gradient there as the rule was given it: with its noise, before clipping.
    rates : (steps,) float64
        Each step's learning rate.
    reason
        Why it ended.
    ending
        What the last theta is.
    seconds
        Shared evenly by descents that ran together.
    sweep
        The learning rates that were tried to choose this one; None where it was given.
    """

    function: Function
    rule: str
    learning_rate: float
    descent: Descent
    thetas: Doubles
    values: Doubles
    gradients: Doubles
    rates: Doubles
    reason: str
    ending: Ending
    seconds: float
    sweep: Sweep | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return (
            f"FunctionRun({self.function.name!r}, {self.rule!r}, {self.steps} steps to "
            f"{self.value:.6g}; {self.reason})"
        )

    @property
    def theta(self) -> Doubles:
        """Where it ended, (variables,)."""
        return np.asarray(self.thetas[-1])

    @property
    def value(self) -> float:
        """The value there."""
        return float(self.values[-1])

    @property
    def steps(self) -> int:
        """Steps done."""
        return len(self.thetas) - 1

    @property
    def moves(self) -> Doubles:
        """What each step added to theta, (steps, variables)."""
        return np.diff(self.thetas, axis=0)

    @property
    def norms(self) -> Doubles:
        """Norms of the gradients, (steps + 1,)."""
        return np.asarray(np.linalg.norm(self.gradients, axis=1))

    @property
    def at_known(self) -> Minimum | None:
        """The known minimum where it ended; None if it is at none."""
        for place, value in self.function.minima:
            distance = np.linalg.norm(self.theta - place)
            if distance <= 1e-3 * (1 + np.linalg.norm(place)):
                return place, value
        return None

    @property
    def lower_known(self) -> Minimum | None:
        """A known minimum that is lower than where it ended; None if none is known."""
        for place, value in self.function.minima[:1]:
            if value < self.value - SAME * (1 + abs(self.value)):
                return place, value
        return None


def descent_of(run: FunctionRun) -> Descent | None:
    """Give the descent of a run by a rule of the engine; None for L-BFGS."""
    return None if run.rule == LBFGS else run.descent


def lowest_minimum(runs: Sequence[FunctionRun]) -> FunctionRun | None:
    """Give the run that ended at the lowest minimum; None if none ended at one."""
    at_minima = [run for run in runs if run.ending.kind == "minimum"]
    return min(at_minima, key=lambda run: run.value, default=None)


def is_lower(run: FunctionRun, other: FunctionRun) -> bool:
    """Say whether a run ended lower than another by more than rounding and the last steps."""
    return run.value < other.value - SAME * (1 + abs(other.value))


def ended_run(
    function: Function, descent: Descent, rule: str, rate: float, ends: Ends, point: int,
    seconds: float, swept: Sweep | None,
) -> FunctionRun:  # fmt: skip
    """Give one of the descents that ran together."""
    trail = ends.trail
    assert trail is not None
    count = int(ends.steps[point])
    theta, code = ends.thetas[point].copy(), int(ends.reasons[point])
    tolerance = descent.gradient_tolerance or PLAIN.gradient_tolerance or 0.0
    ending = classify(function, theta, tolerance)
    values = trail.values[: count + 1, point].copy()
    if code == DIVERGED:
        remark = "f(w) left the finite numbers; lower the learning rate"
        ending = dataclasses.replace(ending, kind="diverged", remark=remark)
    elif ending.kind == "not converged":
        ending = dataclasses.replace(ending, remark=_remark(function, theta, values, ending))
    return FunctionRun(
        function, rule, rate, descent, trail.thetas[: count + 1, point].copy(), values,
        trail.gradients[: count + 1, point].copy(), trail.rates[:count].copy(),
        _reason(code, descent, float(ends.norms[point]), values), ending, seconds, swept,
    )  # fmt: skip


def _remark(function: Function, theta: Doubles, values: Doubles, ending: Ending) -> str:
    """Say more of a descent that has not converged than its last point does."""
    if function.noise:
        return f"the noise keeps it moving; {ending.remark}".rstrip("; ")
    if values[-1] > values[0]:
        return f"f rose from {values[0]:.4g} to {values[-1]:.4g}: the learning rate is too large"
    bounds = np.array(function.domain or [(0.0, 0.0)] * len(theta))
    width = float(np.ptp(bounds, axis=1).max()) or math.inf
    if np.abs(theta - bounds.mean(axis=1)).max() > 2 * width:
        return "far outside of the domain: f may go down without end"
    return ending.remark


def _reason(code: int, descent: Descent, norm: float, values: Doubles) -> str:
    return {
        OPTIMUM: f"optimum: the gradient's norm {norm:.3g} fell below the tolerance "
        f"{descent.gradient_tolerance or 0:g}",
        STEPS: f"steps: all {descent.steps:,} done",
        DIVERGED: f"diverged: after step {len(values) - 1:,} f(w), its gradient or w is not finite",
        TARGET: f"target: f(w) = {values[-1]:.4g} reached {descent.target_loss or 0:g}",
        SECONDS: f"seconds: {descent.seconds or 0:g} are over",
        INTERRUPTED: "interrupted: the steps so far are kept",
        STUCK: "line search: no lower point was found along the direction",
    }[code]
