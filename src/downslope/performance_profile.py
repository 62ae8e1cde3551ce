"""Performance profiles: how often each variant comes how near to the best one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def ratios(costs: Array) -> Array:
    """Give each variant's cost on each problem, as a ratio to the least one there.

    Parameters
    ----------
    costs : (problems, variants)
        Above 0; not finite where a variant did not solve the problem.

    Returns
    -------
    (problems, variants) float64
        At least 1; infinite where it was not solved.

    Examples
    --------
    >>> ratios(np.array([[2.0, 1.0], [3.0, np.nan], [np.inf, np.inf]]))
    array([[ 2.,  1.],
           [ 1., inf],
           [inf, inf]])
    """
    costs = np.where(np.isfinite(costs), costs, np.inf).astype(np.float64)
    least = costs.min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(costs), costs / least, np.inf)


def profile(costs: Array) -> tuple[Array, Array]:
    """Give the performance profile rho_v(tau) = share of problems with ratio r_pv <= tau.

    Parameters
    ----------
    costs : (problems, variants)
        As `ratios` takes them.

    Returns
    -------
    tau : (points,) float64
        From 1, every ratio at which some profile rises.
    rho : (points, variants) float64
        rho(1) is how often a variant is the best; the last row, how often it solves a problem.

    References
    ----------
    Dolan and More 2002, "Benchmarking optimization software with performance profiles", eq. 2.

    Examples
    --------
    >>> tau, rho = profile(np.array([[2.0, 1.0], [3.0, np.nan]]))
    >>> tau, rho[:, 0], rho[:, 1]
    (array([1., 2.]), array([0.5, 1. ]), array([0.5, 0.5]))
    """
    found = ratios(costs)
    tau = np.unique(np.concatenate([[1.0], found[np.isfinite(found)]]))
    return tau, (found[None] <= tau[:, None, None]).mean(axis=1)
