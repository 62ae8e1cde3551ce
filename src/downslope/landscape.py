"""Pictures of the loss around theta: along a line between two networks, and over planes.

A plane lies along two random directions that are scaled as the network's own weights are (Li et
al. 2018), or along the two in which the descent itself moved most, with its path drawn on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope.counts import whole_number
from downslope.errors import InvalidValueError
from downslope.kernels import plan as kinds
from downslope.network import BuiltNetwork
from downslope.surface import RowSet, Surface

Array = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]

WORK = 1e12
"""Floating point operations of a picture: some ten seconds on two cores. Where all rows would take
more, it is drawn from some of them."""

FEWEST_ROWS = 256
"""Rows that are used however large the network: the loss is then known to some hundredths."""

MARGIN = 0.25
"""Share of the path's extent that a plane reaches beyond it, at each side."""


@dataclass(frozen=True)
class Line:
    """The loss along the straight line between two networks.

    Attributes
    ----------
    places : (points,) float64
        0 is the first network, 1 the second.
    losses : (points,) float64
    barrier
        How far the loss between the two rises above the straight line between their losses, at
        most; 0 where it does not (Frankle et al. 2020, section 2).
    rows, of_rows
        How many rows the losses were taken over, of how many.
    """

    places: Doubles
    losses: Doubles
    barrier: float
    rows: int
    of_rows: int


@dataclass(frozen=True)
class Plane:
    """The loss over a plane through theta.

    Attributes
    ----------
    x, y : (points,) float64
        How far along the two directions.
    losses : (points, points) float64
        losses[j, i] is at (x[i], y[j]).
    directions : (2, parameters) float64
    path : (snapshots, 2) float64
        Where the descent went, projected onto the plane; theta itself is (0, 0). Empty where the
        plane knows no path.
    path_losses : (snapshots,) float64
        At the thetas themselves, which lie beside the plane.
    explained : (2,) float64
        Shares of the path's variance along the two directions; empty without a path.
    rows, of_rows
        How many rows the losses were taken over, of how many.
    """

    x: Doubles
    y: Doubles
    losses: Doubles
    directions: Doubles
    path: Doubles
    path_losses: Doubles
    explained: Doubles
    rows: int
    of_rows: int


def line(
    first: BuiltNetwork,
    second: BuiltNetwork,
    rows: RowSet,
    *,
    points: int = 61,
    reach: tuple[float, float] = (-0.25, 1.25),
    seed: int = 0,
    threads: int | None = None,
) -> Line:
    """Take the loss along the line between two networks (Goodfellow, Vinyals and Saxe 2015).

    theta = (1 - a) theta_1 + a theta_2. Networks that differ only in the order of their units have
    a barrier between them all the same: units are taken as they are numbered.

    Parameters
    ----------
    first, second
        Networks of the same layers.
    rows
    points
        Along the line, at least 3.
    reach
        From which a to which.
    seed
        Of the rows that are drawn where all would take too long.
    threads
        None takes the available cores.

    Raises
    ------
    InvalidValueError
        For networks of different layers, too few points, values that are not finite.

    Examples
    --------
    >>> from downslope import Network
    >>> one, two = (BuiltNetwork(Network([]), 1, 1, "regression") for _ in range(2))
    >>> two.theta[:] = (1, 0)
    >>> rows = RowSet(np.array([[1.0], [3.0]]), np.array([0.0, 1.0]))
    >>> line(one, two, rows, points=3, reach=(0, 1)).losses
    array([0.25 , 0.125, 1.25 ])
    """
    _check_points(points, seed)
    differs = _difference(first, second)
    if differs:
        raise InvalidValueError(f"a line takes two networks of the same layers; {differs}")
    low, high = _check_reach(reach)
    places = np.linspace(low, high, points)
    some = _affordable(first, rows, points, seed)
    start = _finite_theta(first)
    direction = _finite_theta(second) - start
    with Surface(first, some, threads) as surface:
        losses = surface.along(start, direction[None], places[:, None])
        ends = surface.along(start, direction[None], [[0.0], [1.0]])
    between = (places >= 0) & (places <= 1)
    above = losses - ((1 - places) * ends[0] + places * ends[1])
    barrier = float(max(above[between].max(initial=0.0), 0.0))
    return Line(places, losses, barrier, len(some), len(rows))


def plane(
    network: BuiltNetwork,
    rows: RowSet,
    *,
    points: int = 51,
    reach: float = 1.0,
    seed: int = 0,
    threads: int | None = None,
) -> Plane:
    """Take the loss over a plane along two random directions, normalized filter by filter.

    A filter is a column of W, the weights into one unit; each column of a direction is as long as
    the same column of theta (Li et al. 2018, section 4), so that planes of different networks
    compare. Biases, normalization and the slopes of PReLU stay as they are, as in the authors'
    code.

    Parameters
    ----------
    network
    rows
    points
        Along each direction, at least 3.
    reach
        How far it goes to each side; at 1 every filter is replaced by one as long at random.
    seed
        Of the directions, and of the rows that are drawn where all would take too long.
    threads
        None takes the available cores.

    Raises
    ------
    InvalidValueError
        For too few points, values that are not finite, a reach that is not positive.

    Examples
    --------
    >>> from downslope import Network
    >>> built = BuiltNetwork(Network([4], "tanh"), inputs=1, columns=1, task="regression")
    >>> rows = RowSet(np.array([[1.0], [3.0]]), np.array([0.0, 1.0]))
    >>> plane(built, rows, points=5).losses.shape
    (5, 5)
    """
    _check_points(points, seed)
    low, high = _check_reach((-reach, reach))
    generator = np.random.default_rng([seed, 7])
    directions = np.array([filter_normalized(network, generator) for _ in range(2)])
    at = np.linspace(low, high, points)
    return _plane(network, rows, directions, (at, at), seed, threads)


def path_plane(
    network: BuiltNetwork,
    thetas: Sequence[Array],
    rows: RowSet,
    *,
    points: int = 51,
    seed: int = 0,
    threads: int | None = None,
) -> Plane:
    """Take the loss over the plane of the two main components of a descent's path.

    The directions are the first two principal components of the thetas (Li et al. 2018, section
    7), of length 1; the plane goes through the network's theta, and the path is projected onto it.

    Parameters
    ----------
    network
        As the descent left it: the plane's origin.
    thetas : each (parameters,)
        From along the path, in its order; at least 3.
    rows
    points
        Along each direction, at least 3.
    seed
        Of the rows that are drawn where all would take too long.
    threads
        None takes the available cores.

    Raises
    ------
    InvalidValueError
        For too few points or thetas, thetas of another length, that are not finite, or that lie on
        one line.
    """
    _check_points(points, seed)
    origin = _finite_theta(network)
    path, directions, explained = principal_plane(origin, thetas)
    low, high = path.min(axis=0, initial=0.0), path.max(axis=0, initial=0.0)
    # A component along which little happens still gets a tenth of the other's width.
    width = np.maximum(high - low, 0.1 * (high - low).max())
    low, high = low - MARGIN * width, high + MARGIN * width
    axes = (np.linspace(low[0], high[0], points), np.linspace(low[1], high[1], points))
    found = _plane(network, rows, directions, axes, seed, threads)
    some = _affordable(network, rows, points**2, seed)
    with Surface(network, some, threads) as surface:
        shifts = np.array([theta - origin for theta in thetas])
        losses = surface.along(origin, shifts, np.eye(len(shifts)))
    return replace(found, path=path, path_losses=losses, explained=explained)


def filter_normalized(network: BuiltNetwork, generator: np.random.Generator) -> Doubles:
    """Draw a direction (parameters,) whose every column of W is as long as theta's."""
    direction = np.zeros(network.theta.size)
    for part in network.layout.parts:
        if part.kind in (kinds.WEIGHT, kinds.PROJECTION):
            span = slice(part.start, part.stop)
            w = network.theta[span].reshape(part.shape).astype(np.float64)
            drawn = generator.normal(size=part.shape)
            lengths = np.linalg.norm(w, axis=0) / np.linalg.norm(drawn, axis=0)
            direction[span] = (drawn * lengths).reshape(-1)
    return direction


def principal_plane(origin: Doubles, thetas: Sequence[Array]) -> tuple[Doubles, Doubles, Doubles]:
    """Give the path (snapshots, 2) seen from the origin, its two main directions, their shares.

    Directions (2, parameters) have length 1; the first points from the path's beginning to its
    end, the second to the side where its beginning does not lie.
    """
    if len(thetas) < 3:
        raise InvalidValueError(f"the plane of a path takes at least 3 thetas; got {len(thetas)}")
    for number, theta in enumerate(thetas):
        if np.shape(theta) != origin.shape or not np.isfinite(theta).all():
            raise InvalidValueError(
                f"the thetas of a path must be {origin.size} finite numbers each; theta {number} "
                f"is of shape {np.shape(theta)}"
                + ("" if np.shape(theta) != origin.shape else " and not finite")
            )
    moved = np.array([theta - origin for theta in thetas])
    _left, sizes, directions = np.linalg.svd(moved - moved.mean(axis=0), full_matrices=False)
    # A share below float32's rounding of the thetas is no direction.
    if sizes[1] <= 1e-6 * sizes[0]:
        raise InvalidValueError(
            "the thetas of a path must not lie on one line: it has no plane; take the loss along "
            "the line instead"
        )
    directions = directions[:2]
    path = moved @ directions.T
    turned = np.where(path[0] > 0, -1.0, 1.0)
    return path * turned, directions * turned[:, None], (sizes**2 / (sizes**2).sum())[:2]


def _plane(
    network: BuiltNetwork,
    rows: RowSet,
    directions: Doubles,
    axes: tuple[Doubles, Doubles],
    seed: int,
    threads: int | None,
) -> Plane:
    """Take the loss at every point of a grid."""
    x, y = axes
    some = _affordable(network, rows, len(x) * len(y), seed)
    places = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    with Surface(network, some, threads) as surface:
        losses = surface.along(_finite_theta(network), directions, places)
    none = np.empty(0)
    return Plane(
        x, y, losses.reshape(len(y), len(x)), directions, np.empty((0, 2)), none, none,
        len(some), len(rows),
    )  # fmt: skip


def _affordable(network: BuiltNetwork, rows: RowSet, points: int, seed: int) -> RowSet:
    """Draw so many rows that a picture of `points` losses takes no more than `WORK`."""
    passes = 2 if network.layout.batchwise else 1
    work = 2 * passes * points * max(network.theta.size, 1)
    return rows.draw(max(FEWEST_ROWS, int(WORK / work)), seed)


def _difference(first: BuiltNetwork, second: BuiltNetwork) -> str:
    """Say how two networks' layers differ; "" if they do not."""
    a, b = first.layout, second.layout
    if a.parts != b.parts:
        return f"got {first!r} and {second!r}"
    for name in ("activation", "parameter", "normalization", "residual"):
        if not np.array_equal(a.plan[name], b.plan[name]):
            return f"they differ in {name}"
    return "" if first.loss == second.loss else f"got losses {first.loss} and {second.loss}"


def _finite_theta(network: BuiltNetwork) -> Doubles:
    """Give theta in float64."""
    theta = network.theta.astype(np.float64)
    if not np.isfinite(theta).all():
        raise InvalidValueError(
            f"theta must be finite; {int((~np.isfinite(theta)).sum())} of {theta.size} values of "
            f"{network!r} are not"
        )
    return theta


def _check_points(points: object, seed: object) -> None:
    whole_number("a landscape: points", points, 3)
    whole_number("a landscape: seed", seed)


def _check_reach(reach: tuple[float, float]) -> tuple[float, float]:
    low, high = reach
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise InvalidValueError(
            f"a landscape: reach must go from a finite number up to a larger one; got {low:g} to "
            f"{high:g}"
        )
    return float(low), float(high)
