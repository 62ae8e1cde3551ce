"""Central differences of a function's values: its gradient and its Hessian, without a formula."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from downslope.kernels.jit import Doubles

WIDTH = float(np.finfo(np.float64).eps) ** (1 / 3)
"""Step of a first central difference for a variable of about 1: errors of cutting and of rounding
are then about alike (Press et al. 2007, section 5.7)."""

CURVATURE_WIDTH = float(np.finfo(np.float64).eps) ** (1 / 4)
"""The same of a second difference of values."""


def differences(values: Callable[[Doubles], Doubles], theta: Doubles) -> Doubles:
    """Give (f(w + h) - f(w - h)) / 2h by each variable, at one point (variables,).

    values: of points (points, variables).
    """
    steps = WIDTH * np.maximum(1.0, np.abs(theta))
    ahead, behind = theta + np.diag(steps), theta - np.diag(steps)
    # What lies between the two as they are stored, not what was asked for.
    widths = np.diag(ahead) - np.diag(behind)
    with np.errstate(all="ignore"):
        return np.asarray((values(ahead) - values(behind)) / widths)


def second_differences(values: Callable[[Doubles], Doubles], theta: Doubles) -> Doubles:
    """Give the matrix of second differences at one point, (variables, variables)."""
    steps = np.diag(CURVATURE_WIDTH * np.maximum(1.0, np.abs(theta)))
    count = len(theta)
    corners = [
        theta + a * steps[i] + b * steps[j]
        for i in range(count)
        for j in range(count)
        for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))
    ]
    found = values(np.array(corners)).reshape(count, count, 4)
    with np.errstate(all="ignore"):
        sums = found[..., 0] - found[..., 1] - found[..., 2] + found[..., 3]
        return np.asarray(sums / (4 * np.outer(np.diag(steps), np.diag(steps))))
