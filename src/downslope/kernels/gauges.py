"""What the X-ray measures inside a step: sums in float64, of which trace.py makes the figures.

A recorded step computes what every step computes, with the same code; the gauges only read. While
the threads go over their blocks of rows, each block's sums are noted in `Gauges.rows`, those of a
piece of theta in `Gauges.pieces`; when all have met, the first thread adds them up in the order of
the blocks, so the figures are the same on any number of threads.

Places in a record: `NOT` for a step that is not recorded, `KEPT` for one whose gradient and move
are kept because the next step is to be compared with them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from downslope.catalogue import Choice
from downslope.kernels import dropout
from downslope.kernels.activations import SOFTMAX, backpropagate, sigmoid_slope
from downslope.kernels.elementary import ordered
from downslope.kernels.gradients import input_of
from downslope.kernels.jit import Doubles, Floats, Integers, inner
from downslope.kernels.losses import loss_and_derivative
from downslope.kernels.passes import rows_of, slopes_of, weights_of
from downslope.kernels.plan import PROJECTION_RESIDUAL, WEIGHT
from downslope.kernels.views import copy_elements, elements, matrix, piece, pointer

NOT, KEPT = -2, -1

BINS = 64
"""Bins of a histogram between its two open ones."""

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
            "row_square", "row_norm",  # of the rows' gradients: sum of squares of norms, of norms
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
            "final", "along", "before",  # of what the rule gets; its product with the step before's
            "w", "move", "move_along", "move_before",
        )
    ]
)  # fmt: skip
"""What is measured of one piece of theta: sums of squares and of products."""

MOVES = np.dtype([*PIECE_SUMS.descr, ("dw", np.float64), ("move_w", np.float64)])
"""The same of one layer, w being of W alone; and squares of W's gradient and of W's move."""


class Gauges(NamedTuple):
    """Room for measuring, one for a descent; empty where nothing is recorded."""

    gradient: Floats  # (parameters,): what the rule got in the step before
    move: Floats  # (parameters,): how the step before moved theta
    before: Floats  # (threads x PART,): a part of theta before its move
    room: Floats  # (threads, ROOM or the widest layer)
    limits: Doubles  # (layers,): |phi'| below it is flat
    strides: Integers  # (layers, 2): every how manyth row of z, entry of dL/dW is counted
    rows: np.ndarray  # (blocks, layers) of ROWS
    terms: Doubles  # (layers, rows): of a row's squared gradient, the part of gamma, beta, slopes
    alive: Floats  # (threads, units of all layers): sum of |phi|
    pieces: np.ndarray  # (pieces,) of PIECE_SUMS
    norms: Doubles  # (blocks of theta,): sum of squares before clipping
    counts: Integers  # (threads, layers, 2, BINS + 2): of z and of dL/dW


class Record(NamedTuple):
    """What the steps of a chunk leave behind, zeros at first; empty where none is recorded."""

    places: Integers  # (steps,): a row of what follows, or KEPT, or NOT
    rows: np.ndarray  # (records, layers) of ROWS
    moves: np.ndarray  # (records, layers) of MOVES
    norms: Doubles  # (records,): sum of squares of the gradient before clipping
    counts: npt.NDArray[np.int32]  # (records, layers, 2, BINS + 2)
    row_squares: Doubles  # (records, batch): squared norm of each row's share of the gradient


def empty_record() -> Record:
    """Make the record of a chunk of which nothing is recorded."""
    return new_record(0, 0, 0)


def new_record(count: int, layers: int, batch: int) -> Record:
    """Make room for the records of `count` steps, with no places in it yet."""
    return Record(
        np.empty(0, np.int64),
        np.zeros((count, layers), ROWS),
        np.zeros((count, layers), MOVES),
        np.zeros(count),
        np.zeros((count, layers, 2, BINS + 2), np.int32),
        np.zeros((count, batch)),
    )


def empty_gauges(dtype: np.dtype) -> Gauges:
    """Make gauges that measure nothing."""
    floats, doubles = np.empty(0, dtype), np.empty((0, 0))
    return Gauges(
        floats, floats, floats, np.empty((0, 0), dtype), np.empty(0), np.empty((0, 0), np.int64),
        np.empty((0, 0), ROWS), doubles, np.empty((0, 0), dtype), np.empty(0, PIECE_SUMS),
        np.empty(0), np.empty((0, 0, 0, 0), np.int64),
    )  # fmt: skip


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
def place_of(record, k):
    """Where the record of the chunk's step k goes."""
    return record.places[k] if k < record.places.shape[0] else np.int64(NOT)


@inner
def spread(values):
    """Mean, and sum of squares about it, of values (size,)."""
    size, pivot = values.shape[0], float(values[0])
    total = squares = 0.0
    for i in range(size):
        apart = float(values[i]) - pivot
        total += apart
        squares += apart * apart
    mean = total / size
    return pivot + mean, squares - total * mean


@inner
def merged(mean, squares, seen, other_mean, other_squares, count):
    """Join two `spread`s, of `seen` and of `count` values (Chan et al. 1983, equation 2.1)."""
    share = count / (seen + count)
    apart = other_mean - mean
    return mean + apart * share, squares + other_squares + apart * apart * seen * share


@inner
def sum_of_squares(values):
    """Sum of squares of values (size,)."""
    total = 0.0
    for i in range(values.shape[0]):
        value = float(values[i])
        total += value * value
    return total


@inner
def compare(values, previous):
    """|v|^2, v p and |p|^2; then p becomes v. values, previous (size,), at most PART."""
    own = product = other = values.dtype.type(0)
    for i in range(values.shape[0]):
        v, p = values[i], previous[i]
        own += v * v
        product += v * p
        other += p * p
        previous[i] = v
    return float(own), float(product), float(other)


@inner
def compare_moves(before, theta, previous):
    """|before|^2, and as `compare` of theta - before with the move before; all (size,)."""
    w = own = product = other = theta.dtype.type(0)
    for i in range(theta.shape[0]):
        start, p = before[i], previous[i]
        move = theta[i] - start
        w += start * start
        own += move * move
        product += move * p
        other += p * p
        previous[i] = move
    return float(w), float(own), float(product), float(other)


@inner
def count_z(values, counts):
    """Count z by its bins, NaN in the last; values (size,), counts (BINS + 2,)."""
    edge = values.dtype.type(Z_EDGE)
    by = values.dtype.type(BINS / (2 * Z_EDGE))
    first, last = values.dtype.type(0), values.dtype.type(BINS + 1)
    for i in range(values.shape[0]):
        place = (values[i] + edge) * by + values.dtype.type(1)
        place = place if place < last else last
        counts[int(place if place > first else first)] += 1


@inner
def count_magnitudes(values, first, stride, counts):
    """Count |v| of every stride-th value from `first` on by powers of two, NaN in the last."""
    shift, bias = (23, 127) if values.itemsize == 4 else (52, 1023)
    for i in range(first, values.shape[0], stride):
        power = np.int64(ordered(abs(values[i]))) >> shift
        place = power - bias - LOWEST_POWER + 1
        counts[min(max(place, 0), BINS + 1)] += 1


@inner
def begin_record(job, thread):
    """Let a thread forget what it has counted of the step before."""
    gauges = job.gauges
    for i in range(gauges.alive.shape[1]):
        gauges.alive[thread, i] = 0
    for number in range(gauges.counts.shape[1]):
        for i in range(BINS + 2):
            gauges.counts[thread, number, 0, i] = 0


@inner
def begin_gradient(job, thread):
    """Let a thread forget the gradients that it has counted.

    Later than `begin_record`, when the first thread has surely added up those of the step before.
    """
    gauges = job.gauges
    for number in range(gauges.counts.shape[1]):
        for i in range(BINS + 2):
            gauges.counts[thread, number, 1, i] = 0


@inner
def slope_term(z, d):
    """|(d_j min(z_j, 0))_j|^2: a row's gradient of PReLU's slopes; z, d (units,)."""
    total = 0.0
    for j in range(z.shape[0]):
        part = float(d[j]) * min(float(z[j]), 0.0)
        total += part * part
    return total


@inner
def note_dy(job, layer, number, b, first, last, key, position, thread):
    """Note dL/dy of a hidden layer, before it becomes dL/dz in the same place.

    key, position: the dropout's stream, and the place of the block's first entry in it.
    """
    gauges, units = job.gauges, layer.units
    at = layer.dy + first * units
    gauges.rows[b, number].dy = sum_of_squares(piece(job.workspace, at, (last - first) * units))
    for r in range(first, last):
        gauges.terms[number, r] = 0
        if layer.slope >= 0:
            d = gauges.room[thread, :units]
            for j in range(units):
                d[j] = job.workspace[layer.dy + r * units + j]
            if layer.dropout > 0:
                dropout.drop(d, layer.dropout, key, position + (r - first) * units)
            gauges.terms[number, r] = slope_term(
                piece(job.workspace, layer.z + r * units, units), d
            )


@inner
def note_dz(job, layer, number, b, first, last):
    """Note dL/dz of a normalized layer, and the rows' gradients of gamma and beta."""
    gauges, units = job.gauges, layer.units
    total = 0.0
    for r in range(first, last):
        dz = piece(job.workspace, layer.dz + r * units, units)
        v = piece(job.workspace, layer.affine + r * units, units)
        beta = gamma = 0.0
        for j in range(units):
            d = float(dz[j])
            beta += d * d
            gamma += d * d * float(v[j]) * float(v[j])
        gauges.terms[number, r] += gamma + beta
        total += beta
    gauges.rows[b, number].dz = total


@inner
def note_output_dy(job, b, first, last, scale, thread):
    """Note dL/dy of the output layer, which a fused loss does without; some rows at a time."""
    gauges, frame, workspace = job.gauges, job.frame[0], job.workspace
    number = job.plan.shape[0] - 1
    layer = job.plan[number]
    units, total = layer.units, 0.0
    height = gauges.room.shape[1] // units
    for begin in range(first, last, height):
        end = min(begin + height, last)
        d = matrix(gauges.room, thread * gauges.room.shape[1], end - begin, units)
        weight = weights_of(frame, workspace, begin, end)
        loss_and_derivative(frame.loss, frame.loss_parameter,
                            rows_of(workspace, layer.y, begin, end, units),
                            rows_of(workspace, frame.target, begin, end, units),
                            weight, scale, d)  # fmt: skip
        total += sum_of_squares(piece(gauges.room, thread * gauges.room.shape[1], d.size))
        for r in range(begin, end):
            gauges.terms[number, r] = 0
            if layer.slope >= 0:
                z = piece(workspace, layer.z + r * units, units)
                at = thread * gauges.room.shape[1] + (r - begin) * units
                gauges.terms[number, r] = slope_term(z, piece(gauges.room, at, units))
    gauges.rows[b, number].dy = total


@inner
def note_slopes(job, layer, number, b, first, last, thread):
    """Note phi' of some rows: its squares, and how often it is flat."""
    gauges, workspace, units = job.gauges, job.workspace, layer.units
    room_at, height = thread * gauges.room.shape[1], gauges.room.shape[1] // units
    limit = workspace.dtype.type(gauges.limits[number])
    one, zero = workspace.dtype.type(1), workspace.dtype.type(0)
    squares = flat = 0.0
    for begin in range(first, last, height):
        rows = min(height, last - begin)
        d = piece(gauges.room, room_at, rows * units)
        if layer.activation == SOFTMAX:
            y = piece(workspace, layer.y + begin * units, rows * units)
            for i in range(rows * units):
                d[i] = sigmoid_slope(y[i])
        else:
            for i in range(rows * units):
                d[i] = one
            backpropagate(layer.activation, layer.parameter, slopes_of(layer, job.theta),
                          rows_of(workspace, layer.z, begin, begin + rows, units),
                          rows_of(workspace, layer.phi, begin, begin + rows, units),
                          matrix(gauges.room, room_at, rows, units))  # fmt: skip
        squares += sum_of_squares(d)
        few = zero
        for i in range(rows * units):
            few += one if abs(d[i]) < limit else zero
        flat += few
    gauges.rows[b, number].slope = squares
    gauges.rows[b, number].flat = flat


@inner
def note_alive(job, layer, unit, first, last, thread):
    """Add |phi| to what each unit has given so far; unit: number of the layer's first unit."""
    units = layer.units
    alive = piece(job.gauges.alive, thread * job.gauges.alive.shape[1] + unit, units)
    for r in range(first, last):
        phi = piece(job.workspace, layer.phi + r * units, units)
        for j in range(units):
            alive[j] += abs(phi[j])


@inner
def note_row_squares(job, layer, number, b, row_squares, x, first, last):
    """Note the squared norm of what each row adds to the layer's gradient.

    Of W that is |x_n|^2 |dL/du_n|^2, of b |dL/du_n|^2, of P |x_n|^2 |dL/dy_n|^2: exact where rows
    do not share statistics. row_squares (rows of the block,) sum up all layers.
    """
    gauges, units = job.gauges, layer.units
    x_total = d_total = total = norms = 0.0
    for r in range(first, last):
        own = sum_of_squares(elements(pointer(x, r * layer.inputs), layer.inputs))
        d = sum_of_squares(piece(job.workspace, layer.dz + r * units, units))
        term = gauges.terms[number, r] + own * d
        if layer.bias >= 0:
            term += d
        if layer.residual == PROJECTION_RESIDUAL:
            term += own * sum_of_squares(piece(job.workspace, layer.dy + r * units, units))
        x_total += own
        d_total += d
        total += term
        norms += np.sqrt(term)
        row_squares[r - first] += term
    sums = gauges.rows[b, number]
    sums.x, sums.row_square, sums.row_norm = x_total, total, norms
    if layer.gamma < 0:
        sums.dz = d_total


@inner
def note_rows(job, record, place, x, row, b, first, last, thread):
    """Note all that lies in the workspace of a block of rows when its backward pass is done.

    x points to the first layer's input; row: the number of the workspace's first row.
    """
    gauges, workspace, unit = job.gauges, job.workspace, np.int64(0)
    row_squares = piece(
        record.row_squares, place * record.row_squares.shape[1] + row + first, last - first
    )
    for number in range(job.plan.shape[0]):
        layer = job.plan[number]
        units, sums = layer.units, gauges.rows[b, number]
        reads = input_of(job, number, x)
        size = (last - first) * units
        if number == 0:
            at = first * layer.inputs
            values = elements(pointer(x, at), (last - first) * layer.inputs)
            sums.x_mean, sums.x_spread = spread(values)
        sums.z_mean, sums.z_spread = spread(piece(workspace, layer.z + first * units, size))
        sums.y_mean, sums.y_spread = spread(piece(workspace, layer.y + first * units, size))
        note_slopes(job, layer, number, b, first, last, thread)
        note_alive(job, layer, unit, first, last, thread)
        unit += units
        stride = gauges.strides[number, 0]
        for r in range(first + (-(row + first)) % stride, last, stride):
            count_z(piece(workspace, layer.z + r * units, units), gauges.counts[thread, number, 0])
        note_row_squares(job, layer, number, b, row_squares, reads, first, last)


@inner
def merge_rows(job, record, place, row, rows):
    """Add up what the blocks of a micro-batch have noted, in their order.

    row: rows of the batch seen before.
    """
    frame, gauges = job.frame[0], job.gauges
    for number in range(job.plan.shape[0]):
        layer, total = job.plan[number], record.rows[place, number]
        seen = row
        for b in range((rows + frame.block - 1) // frame.block):
            sums = gauges.rows[b, number]
            n = min(frame.block, rows - b * frame.block)
            if number == 0:
                total.x_mean, total.x_spread = merged(
                    total.x_mean, total.x_spread, seen * layer.inputs,
                    sums.x_mean, sums.x_spread, n * layer.inputs)  # fmt: skip
            total.z_mean, total.z_spread = merged(
                total.z_mean, total.z_spread, seen * layer.units,
                sums.z_mean, sums.z_spread, n * layer.units)  # fmt: skip
            total.y_mean, total.y_spread = merged(
                total.y_mean, total.y_spread, seen * layer.units,
                sums.y_mean, sums.y_spread, n * layer.units)  # fmt: skip
            total.flat += sums.flat
            total.slope += sums.slope
            total.dy += sums.dy
            total.dz += sums.dz
            total.x += sums.x
            total.row_square += sums.row_square
            total.row_norm += sums.row_norm
            seen += n


@inner
def finish_rows(job, record, place, threads):
    """Say which units are dead and what z was counted, when all rows of the batch are through."""
    gauges, unit = job.gauges, 0
    for number in range(job.plan.shape[0]):
        units, dead = job.plan[number].units, 0.0
        for j in range(unit, unit + units):
            given = gauges.alive[0, j]
            for thread in range(1, threads):
                given += gauges.alive[thread, j]
            dead += 1.0 if given == 0 else 0.0
        record.rows[place, number].dead = dead
        unit += units
        for thread in range(threads):
            for i in range(BINS + 2):
                record.counts[place, number, 0, i] += gauges.counts[thread, number, 0, i]


@inner
def note_gradient(job, b, at, thread):
    """Note the gradient of block b of theta, without penalties; it begins at `at`."""
    gauges, block, whole = job.gauges, job.blocks[b], 0.0
    for p in range(block.first, block.last):
        part = job.pieces[p]
        values = piece(job.gradient, at + part.start - block.start, part.stop - part.start)
        total = sum_of_squares(values)
        gauges.pieces[p].gradient = total
        whole += total
        if part.kind == WEIGHT:
            stride = gauges.strides[part.layer, 1]
            first = (job.plan[part.layer].weight - part.start) % stride
            count_magnitudes(values, first, stride, gauges.counts[thread, part.layer, 1])
    gauges.norms[b] = whole


@inner
def keep_theta(job, begin, end, thread):
    """Copy the part begin:end of theta before it is moved."""
    copy_elements(job.theta, begin, job.gauges.before, thread * PART, end - begin)


@inner
def note_move(job, block, begin, end, first, thread):
    """Note what the rule got of a part of a block and how it moved it, beside the step before.

    first: where the part's gradient begins.
    """
    gauges = job.gauges
    for p in range(block.first, block.last):
        part, sums = job.pieces[p], gauges.pieces[p]
        if begin == block.start:
            sums.final = sums.along = sums.before = sums.w = 0.0
            sums.move = sums.move_along = sums.move_before = 0.0
        low, high = max(begin, part.start), min(end, part.stop)
        if low >= high:
            continue
        own, product, other = compare(
            piece(job.gradient, first + low - begin, high - low),
            piece(gauges.gradient, low, high - low),
        )
        sums.final += own
        sums.along += product
        sums.before += other
        w, own, product, other = compare_moves(
            piece(gauges.before, thread * PART + low - begin, high - low),
            piece(job.theta, low, high - low),
            piece(gauges.move, low, high - low),
        )
        sums.w += w
        sums.move += own
        sums.move_along += product
        sums.move_before += other


@inner
def merge_pieces(job, record, place, moves, threads):
    """Add up what was noted of the pieces of theta, in their order.

    moves: whether the loop has moved theta; else whoever does so notes it.
    """
    gauges = job.gauges
    for b in range(job.blocks.shape[0]):
        record.norms[place] += gauges.norms[b]
    for p in range(job.pieces.shape[0]):
        part, sums = job.pieces[p], gauges.pieces[p]
        total = record.moves[place, part.layer]
        total.gradient += sums.gradient
        if part.kind == WEIGHT:
            total.dw += sums.gradient
        if moves:
            total.final += sums.final
            total.along += sums.along
            total.before += sums.before
            total.move += sums.move
            total.move_along += sums.move_along
            total.move_before += sums.move_before
            if part.kind == WEIGHT:
                total.w += sums.w
                total.move_w += sums.move
    for number in range(job.plan.shape[0]):
        for thread in range(threads):
            for i in range(BINS + 2):
                record.counts[place, number, 1, i] += gauges.counts[thread, number, 1, i]
