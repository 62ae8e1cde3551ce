"""What the X-ray measures inside a step: sums in float64, of which trace.py makes the figures.

A recorded step computes what every step computes, with the same code; the gauges only read. While
the threads go over their blocks of rows, each block's sums are noted in `Gauges.rows`
(row_gauges.py), those of a piece of theta in `Gauges.pieces` (theta_gauges.py); when all have met,
the first thread adds them up in the order of the blocks, so the figures are the same on any number
of threads.

Places in a record: `NOT` for a step that is not recorded, `KEPT` for one whose gradient and move
are kept because the next step is to be compared with them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from downslope.catalogue import Choice
from downslope.kernels.elementary import ordered
from downslope.kernels.jit import Doubles, Floats, Integers, inner

NOT, KEPT = -2, -1

BINS = 64
"""Bins of a histogram between its two open ones."""

OF_Z, OF_GRADIENT = np.int64(0), np.int64(1)
"""Places of a layer's two histograms."""

COUNTED = 256
"""Entries of z, and of dL/dW, that a histogram of a layer counts, about: the share of a bin is then
known to 3 % in a single step, far better over the steps that a picture shows. Of a wide layer's z
it is a whole row, up to `WIDEST` units of it."""

WIDEST = 4096
"""Bytes of a record that one row of z may take: it holds one for each entry."""

Z_EDGE = 8.0
"""z is counted from -Z_EDGE to Z_EDGE: beyond 8 every squashing activation is flat."""

LOWEST_POWER = -48
"""Gradients are counted by powers of two, from 2^-48 to 2^16."""

ROOM = 4096
"""Floats of a thread's room for phi': they stay in its first-level cache."""

PART = 2048
"""Entries of theta measured at a time, while theta, gradient and moments lie in the first-level
cache; sums over so few may be of the number type itself. Whole vectors, however far unrolled."""

FLAT = 1e-3
"""Share of the steepest slope below which an activation counts as flat."""

ROWS = np.dtype(
    [
        (name, np.float64)
        for name in (
            "x_mean", "x_spread",  # mean, sum of squares about it; of the first layer's x only
            "z_mean", "z_spread",
            "y_mean", "y_spread",
            "flat",  # entries with |phi'| below FLAT of its most
            "slope", "dy", "dz", "x",  # sums of squares
            "row_mean", "row_spread",  # of the norms of the rows' gradients
            "dead",  # units that gave 0 for every row
        )
    ]
)  # fmt: skip
"""What is measured of one layer over rows."""

PIECE_SUMS = np.dtype(
    [
        (name, np.float64)
        for name in (
            "gradient",  # sum of squares of dL/dtheta, without penalties
            "final", "along",  # of what the rule gets; its product with the step before's
            "w", "move", "move_along",
        )
    ]
)  # fmt: skip
"""What is measured of one piece of theta: sums of squares and of products."""

MOVES = np.dtype(
    [*PIECE_SUMS.descr, *((name, np.float64) for name in ("before", "move_before", "dw", "move_w"))]
)
"""The same of one layer, w being of W alone; "final" and "move" of the step before; and squares of
W's gradient and of W's move."""

PLAIN, BIN = np.dtype(np.float64), np.dtype(np.uint8)
"""What is measured of a whole step, and of an entry that a histogram counts."""


class Gauges(NamedTuple):
    """Room for measuring, one for a descent; empty where nothing is recorded."""

    gradient: Floats  # (parameters,): what the rule got in the step before
    move: Floats  # (parameters,): how the step before moved theta; see also `noted_adam`
    before: Floats  # (threads x PART,): a part of theta before its move
    room: Floats  # (threads, ROOM or the widest layer)
    limits: Doubles  # (layers,): |phi'| below it is flat
    strides: Integers  # (layers, 2): of the rows of z, of the entries of dL/dW that are counted
    starts: Integers  # (2 * layers + 1,): where their bins begin in a record, see `drawing`
    rows: np.ndarray  # (blocks, layers) of ROWS
    terms: Doubles  # (layers, rows): of a row's squared gradient, the part of gamma, beta, slopes
    squares: Doubles  # (3, rows): sums of squares of each row's x, dL/du and dL/dy
    alive: Floats  # (threads, units of all layers): sum of |phi|
    pieces: np.ndarray  # (pieces,) of PIECE_SUMS
    moves: np.ndarray  # (layers,) of MOVES: of the last step that was measured
    norms: Doubles  # (blocks of theta,): sum of squares before clipping
    factors: npt.NDArray[np.uint32]  # (layers, 2, COUNTED): the x and dL/du of those of dL/dW


class Record(NamedTuple):
    """What the steps of a chunk leave behind, zeros at first; empty where none is recorded."""

    first: int  # the row of what follows that the first recorded step is to fill
    at: Integers  # the recorded steps by their number in the chunk; the last may be one beyond it
    rows: np.ndarray  # (records, layers) of ROWS
    moves: np.ndarray  # (records, layers) of MOVES
    norms: Doubles  # (records,): sum of squares of the gradient before clipping
    bins: npt.NDArray[np.uint8]  # (records, entries): from 1 on, of each entry that is counted
    row_squares: Doubles  # (records, batch): squared norm of each row's share of the gradient


def empty_record() -> Record:
    """Make the record of a chunk of which nothing is recorded."""
    return new_record(0, 0, 0, np.empty((0, 0)))


def new_record(count: int, layers: int, entries: int, row_squares: Doubles) -> Record:
    """Make room for the records of `count` steps, none of which is said to be recorded yet.

    It is one array cut in parts: NumPy asks for large pages where an array takes 4 MiB or more, and
    to get one page after the other would take longer than to fill them.
    """
    shapes = [((layers,), ROWS), ((layers,), MOVES), ((), PLAIN), ((entries,), BIN)]
    sizes = [count * math.prod(shape) * kind.itemsize for shape, kind in shapes]
    room, end, parts = np.zeros(sum(sizes), np.uint8), 0, []
    for (shape, kind), size in zip(shapes, sizes, strict=True):
        parts.append(room[end : end + size].view(kind).reshape(count, *shape))
        end += size
    rows, moves, norms, bins = parts
    return Record(0, np.empty(0, np.int64), rows, moves, norms, bins, row_squares)


def empty_gauges(dtype: np.dtype) -> Gauges:
    """Make gauges that measure nothing."""
    floats, doubles = np.empty(0, dtype), np.empty((0, 0))
    return Gauges(
        floats, floats, floats, np.empty((0, 0), dtype), np.empty(0), np.empty((0, 0), np.int64),
        np.empty(0, np.int64), np.empty((0, 0), ROWS), doubles, doubles,
        np.empty((0, 0), dtype), np.empty(0, PIECE_SUMS), np.empty(0, MOVES), np.empty(0),
        np.empty((0, 0, 0), np.uint32),
    )  # fmt: skip


def drawing(plan: np.ndarray, batch: int) -> tuple[Integers, Integers]:
    """Say which entries of every layer's z and dL/dW are counted, in steps of so many rows.

    Gives the strides in rows of z and in entries of dL/dW (layers, 2), and where their bins begin
    in a record (2 * layers + 1,): z's, then dL/dW's, layer by layer; last, how many there are.
    """
    units, weights = plan["units"], plan["inputs"] * plan["units"]
    strides = np.stack([-(-batch // np.maximum(COUNTED // units, 1)), -(-weights // COUNTED)], 1)
    # One that shares a divisor with the units would count some of them only, over and over.
    while (shared := np.gcd(strides[:, 1], units) > 1).any():
        strides[:, 1] += shared
    sizes = np.stack([-(-batch // strides[:, 0]) * np.minimum(units, WIDEST),
                      -(-weights // strides[:, 1])], 1)  # fmt: skip
    return strides, np.concatenate([[0], np.cumsum(sizes)])


_STEEPEST = {
    "sigmoid": 0.25, "softmax": 0.25, "gelu": 1.128904145, "gelu_tanh": 1.128994,
    "silu": 1.099839320, "mish": 1.088498, "selu": 1.758099341,
}  # fmt: skip


def steepest(activation: Choice) -> float:
    """Give the maximum of |phi'|; for PReLU 1, as long as no learned slope is steeper.

    For softmax that of dy_j/dz_j.

    >>> from downslope.catalogue import choose
    >>> steepest(choose("activation", "tanh"))
    1.0
    """
    if activation.name in ("leaky_relu", "elu"):
        return max(1.0, *map(abs, activation.values()))
    return _STEEPEST.get(activation.name, 1.0)


def bin_edges(quantity: str) -> Doubles:
    """Give the edges (BINS + 3,) of the bins of "z" or "gradient" (|dL/dw|)."""
    if quantity == "z":
        inside = np.linspace(-Z_EDGE, Z_EDGE, BINS + 1)
        return np.concatenate([[-np.inf], inside, [np.inf]])
    inside = np.ldexp(1.0, np.arange(LOWEST_POWER, LOWEST_POWER + BINS + 1))
    return np.concatenate([[0.0], inside, [np.inf]])


@inner
def place_of(record, recorded, k):
    """Where the record of the chunk's step k goes; `recorded`: how many steps before have one."""
    if recorded < record.at.shape[0]:
        if record.at[recorded] == k:
            return record.first + recorded
        if record.at[recorded] == k + 1:
            return np.int64(KEPT)
    return np.int64(NOT)


@inner
def sum_of_squares(values):
    """Sum of squares of values (size,), each of them in float64."""
    total = 0.0
    for i in range(values.shape[0]):
        value = np.float64(values[i])
        total += value * value
    return total


@inner
def find_bins_of_z(values, bins):
    """Find the bins of z, from 1 on, NaN in the last; values, bins (size,)."""
    edge = values.dtype.type(Z_EDGE)
    by = values.dtype.type(BINS / (2 * Z_EDGE))
    first, last = values.dtype.type(1), values.dtype.type(BINS + 2)
    for i in range(values.shape[0]):
        place = (values[i] + edge) * by + values.dtype.type(2)
        place = place if place < last else last
        bins[i] = np.int32(place if place > first else first)


@inner
def find_bins_of_magnitudes(values, bins):
    """Find the bins of |v|, powers of two, from 1 on, NaN in the last; values, bins (size,)."""
    shift, bias = (23, 127) if values.itemsize == 4 else (52, 1023)
    first = np.int32(bias + LOWEST_POWER - 1)
    last = np.int32(first + BINS + 1)
    for i in range(values.shape[0]):
        power = np.int32(ordered(abs(values[i])) >> shift)
        power = power if power > first else first
        bins[i] = np.uint8((power if power < last else last) - (first - 1))
