"""Where a descent on a function ended, and what that is: minimum, saddle, plateau or none yet.

The gradient's norm says whether it is a stationary point, the eigenvalues of the Hessian which
kind. Where curvatures are 0 the function is looked at itself, a little way off on all sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from downslope.functions import Function
from downslope.kernels.jit import Doubles

FLAT = 1e-7
"""A curvature below this share of the largest one counts as 0: differences of gradients are not
exact to more."""

NEGLIGIBLE = 1e-9
"""What f could still fall by, as a share of 1 + |f|, for a point to be called a minimum although
the gradient's norm is above the tolerance."""

NEAR = 1e-3
"""Distance from a known minimum, as a share of 1 + its distance from 0, to be called that one."""

SLOPED = 4
"""A fall of f by less than so many times gradient times distance is the gradient's."""

DIRECTIONS, RADII = 64, (1e-2, 1e-3)
"""Where the neighborhood is looked at when curvatures say nothing: so many random directions, so
far off, as shares of 1 + |theta|."""

CLOSEST = 1e-4
"""How far off f must not be lower where all curvatures are positive, likewise."""


@dataclass(frozen=True)
class Ending:
    """What a point is.

    Attributes
    ----------
    kind
        "minimum", "saddle", "maximum", "plateau", "kink", "not converged" or "diverged".
    gradient_norm
    eigenvalues : (variables,)
        Of the Hessian, ascending; NaN where it is not finite.
    hessian
        How they are known: "exact" or "differences".
    could_fall
        What f could still fall by according to the Hessian (half of g H^-1 g); NaN unless all its
        eigenvalues are positive.
    remark
        One sentence more, or "".
    """

    kind: str
    gradient_norm: float
    eigenvalues: Doubles
    hessian: str
    could_fall: float = float("nan")
    remark: str = ""


def classify(function: Function, theta: Doubles, tolerance: float = 1e-8) -> Ending:
    """Say what a point is.

    Parameters
    ----------
    function
    theta : (variables,) float64
    tolerance
        On the norm of the gradient.

    Examples
    --------
    >>> from downslope.functions import resolve
    >>> [classify(resolve(text), np.zeros(2)).kind for text in ("x**2 + y**4", "x**2 - y**2")]
    ['minimum', 'saddle']
    """
    with np.errstate(all="ignore"):
        gradient = function.gradient(theta)
        hessian = function.hessian(theta)
        value = function.value(theta)
    norm = float(np.sqrt(gradient @ gradient))
    how = "exact" if function.has_exact_hessian else "differences"
    if not np.isfinite(hessian).all() or not np.isfinite(norm):
        return _without_curvature(function, theta, value, norm, how)
    values, vectors = np.linalg.eigh(hessian)
    flat = FLAT * max(float(np.abs(values).max()), FLAT)
    could_fall = np.nan
    if values[0] > flat:
        could_fall = float(np.sum((vectors.T @ gradient) ** 2 / values) / 2)
    known = (norm, values, how, could_fall)
    if norm > tolerance and not could_fall <= NEGLIGIBLE * (1 + abs(value)):
        return Ending("not converged", *known, _where_it_heads(function, theta, values, could_fall))
    # Where the gradient that is left weighs more a little way off, a curvature says nothing.
    bent = max(flat, 2 * SLOPED * norm / (RADII[0] * (1 + float(np.linalg.norm(theta)))))
    if values[0] > flat and _rises_around(function, theta, vectors, value, could_fall):
        return Ending("minimum", *known)
    if values[-1] < -bent:
        return Ending("maximum", *known)
    if values[0] < -bent:
        down = int(np.sum(values < -bent))
        ways = f"{down} of {len(values)} directions curve down"
        return Ending("saddle", *known, ways)
    return _by_neighbors(function, theta, value, vectors, known)


def _where_it_heads(
    function: Function, theta: Doubles, eigenvalues: Doubles, could_fall: float
) -> str:
    near = _kinked_minimum(function, theta)
    if near:
        return near
    if could_fall == could_fall:
        return f"by its curvatures f could fall by {could_fall:.1g} more"
    if eigenvalues[0] < 0:
        return "still going down; one curvature is negative"
    return "still going down"


def _kinked_minimum(function: Function, theta: Doubles) -> str:
    """Say if a known minimum is close by at which the function has no gradient."""
    for place, _ in function.minima:
        there = np.array(place)
        close = float(np.linalg.norm(theta - there)) <= NEAR * (1 + float(np.linalg.norm(there)))
        with np.errstate(all="ignore"):
            if close and not np.isfinite(function.gradient(there)).all():
                return "at a known minimum with a kink, where no gradient is 0"
    return ""


def _without_curvature(
    function: Function, theta: Doubles, value: float, norm: float, how: str
) -> Ending:
    """Judge a point whose Hessian is not finite by its neighbors alone."""
    nothing = np.full(len(theta), np.nan)
    lower = _lowest_nearby(function, theta, np.eye(len(theta))) < value
    if not np.isfinite(value) or lower:
        return Ending("not converged", norm, nothing, how, remark="second derivatives fail here")
    remark = "lower than all around, though its derivatives fail"
    return Ending("kink", norm, nothing, how, remark=remark)


def _by_neighbors(
    function: Function, theta: Doubles, value: float, vectors: Doubles,
    known: tuple[float, Doubles, str, float],
) -> Ending:  # fmt: skip
    """Tell minimum, saddle and plateau apart where some curvature is 0 and none negative."""
    around = _values_nearby(function, theta, vectors)
    rounding = 64 * np.finfo(np.float64).eps * (1 + abs(value))
    far = np.repeat(RADII, len(around) // len(RADII)) * (1 + float(np.linalg.norm(theta)))
    fall = value - around
    if (fall > rounding).any():
        # As far as the gradient that is left explains it, the place is flat, not a saddle.
        if (fall <= SLOPED * known[0] * far + rounding).all():
            return Ending("plateau", *known, "f falls, but as good as not at all")
        return Ending("saddle", *known, "curvature 0 one way, and f is lower a little way off")
    level = np.abs(fall) <= rounding
    if level.any():
        remark = "f is the same a little way off" + (" on all sides" if level.all() else " one way")
        return Ending("plateau", *known, remark)
    return Ending("minimum", *known, "curvature 0 one way, but f rises on all sides")


def _rises_around(
    function: Function, theta: Doubles, vectors: Doubles, value: float, could_fall: float
) -> bool:
    """Say whether f close by is no lower than curvatures allow: beside an inflection it is."""
    rounding = 64 * np.finfo(np.float64).eps * (1 + abs(value))
    around = _values_nearby(function, theta, vectors, (CLOSEST,))
    return not bool((around < value - 4 * could_fall - rounding).any())


def _values_nearby(
    function: Function, theta: Doubles, vectors: Doubles, radii: tuple[float, ...] = RADII
) -> Doubles:
    generator = np.random.default_rng(0)
    random = generator.normal(size=(DIRECTIONS, len(theta)))
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    directions = np.concatenate([random, vectors.T, -vectors.T])
    scale = 1 + float(np.linalg.norm(theta))
    places = [theta + radius * scale * directions for radius in radii]
    with np.errstate(all="ignore"):
        return function.values(np.concatenate(places))


def _lowest_nearby(function: Function, theta: Doubles, vectors: Doubles) -> float:
    found = _values_nearby(function, theta, vectors)
    found = found[np.isfinite(found)]
    return float(found.min()) if found.size else np.inf
