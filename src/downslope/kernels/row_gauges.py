"""What is measured of a batch's rows: values, derivatives, each row's share of the gradient."""

from __future__ import annotations

import numpy as np

from downslope.kernels import dropout
from downslope.kernels.activations import SOFTMAX, backpropagate, sigmoid_slope
from downslope.kernels.elementary import add
from downslope.kernels.gauges import OF_Z, WIDEST, find_bins_of_z, sum_of_squares
from downslope.kernels.gradients import input_of
from downslope.kernels.jit import inner
from downslope.kernels.losses import loss_and_derivative
from downslope.kernels.plan import PROJECTION_RESIDUAL
from downslope.kernels.product import FEW_ROWS
from downslope.kernels.tiles import lanes_of, magnitude_sums, row_squares
from downslope.kernels.views import elements, piece, pointer


@inner
def begin_rows(job, thread):
    """Let a thread forget what the units gave it in the step before."""
    gauges = job.gauges
    for i in range(gauges.alive.shape[1]):
        gauges.alive[thread, i] = 0


@inner
def spread(values):
    """Mean, and sum of squares about it, of values (size,)."""
    size, pivot = values.shape[0], np.float64(values[0])
    total = squares = 0.0
    for i in range(size):
        apart = np.float64(values[i]) - pivot
        total += apart
        squares += apart * apart
    mean = total / size
    return pivot + mean, squares - total * mean


@inner
def merged(mean, squares, seen, other_mean, other_squares, count):
    """Join two `spread`s, of `seen` and of `count` values (Chan et al. 1983, equation 2.1)."""
    if seen == 0:
        return other_mean, other_squares
    share = count / (seen + count)
    apart = other_mean - mean
    return mean + apart * share, squares + other_squares + apart * apart * seen * share


@inner
def slope_term(z, d):
    """|(d_j min(z_j, 0))_j|^2: a row's gradient of PReLU's slopes; z, d (units,)."""
    total = 0.0
    for j in range(z.shape[0]):
        part = np.float64(d[j]) * min(np.float64(z[j]), 0.0)
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
            d = np.float64(dz[j])
            beta += d * d
            gamma += d * d * np.float64(v[j]) * np.float64(v[j])
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
        d = piece(gauges.room, thread * gauges.room.shape[1], (end - begin) * units)
        loss_and_derivative(frame.loss, frame.loss_parameter,
                            pointer(workspace, layer.y + begin * units),
                            pointer(workspace, frame.target + begin * units),
                            pointer(workspace, frame.weight + begin), frame.weight >= 0, scale,
                            pointer(d, np.int64(0)), end - begin, units, d.size)  # fmt: skip
        total += sum_of_squares(d)
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
            backpropagate(layer.activation, layer.parameter, pointer(job.theta, layer.slope),
                          pointer(workspace, layer.z + begin * units),
                          pointer(workspace, layer.phi + begin * units),
                          pointer(d, np.int64(0)), rows, units, d.size)  # fmt: skip
        squares += sum_of_squares(d)
        few = zero
        for i in range(rows * units):
            few += one if abs(d[i]) < limit else zero
        flat += few
    gauges.rows[b, number].slope = squares
    gauges.rows[b, number].flat = flat


@inner
def note_alive(job, layer, unit, first, last, thread):
    """Add |phi| to what each unit has given so far; unit: number of the layer's first unit.

    Where units are many, four rows at a time: a sum in memory waits for the one before.
    """
    units, width = layer.units, job.gauges.alive.shape[1]
    alive = piece(job.gauges.alive, thread * width + unit, units)
    phi = pointer(job.workspace, layer.phi + first * units)
    if units <= 2 * lanes_of(phi):
        magnitude_sums(phi, pointer(alive, np.int64(0)), last - first, units, np.int64(1))
        return
    whole = first + (last - first) // 4 * 4
    for r in range(first, whole, 4):
        at = layer.phi + r * units
        one, two = piece(job.workspace, at, units), piece(job.workspace, at + units, units)
        at += 2 * units
        three, four = piece(job.workspace, at, units), piece(job.workspace, at + units, units)
        for j in range(units):
            alive[j] += abs(one[j]) + abs(two[j]) + abs(three[j]) + abs(four[j])
    for r in range(whole, last):
        one = piece(job.workspace, layer.phi + r * units, units)
        for j in range(units):
            alive[j] += abs(one[j])


@inner
def squares_of_rows(values, rows, units, squares):
    """Take the sum of squares of each row; values: a pointer to (rows, units), squares (rows,)."""
    if rows < FEW_ROWS:
        for r in range(rows):
            squares[r] = sum_of_squares(elements(pointer(values, r * units), units))
    else:
        row_squares(values, pointer(squares, np.int64(0)), rows, units)


@inner
def note_row_squares(job, layer, number, b, squares, x, first, last):
    """Note the squared norm of what each row adds to the layer's gradient.

    Of W that is |x_n|^2 |dL/du_n|^2, of b |dL/du_n|^2, of P |x_n|^2 |dL/dy_n|^2: exact where rows
    do not share statistics. squares (rows of the block,) sum up all layers.
    """
    gauges, units, rows = job.gauges, layer.units, last - first
    own = piece(gauges.squares, first, rows)
    d = piece(gauges.squares, gauges.squares.shape[1] + first, rows)
    dy = piece(gauges.squares, 2 * gauges.squares.shape[1] + first, rows)
    terms = piece(gauges.terms, number * gauges.terms.shape[1] + first, rows)
    squares_of_rows(pointer(x, first * layer.inputs), rows, layer.inputs, own)
    squares_of_rows(pointer(job.workspace, layer.dz + first * units), rows, units, d)
    for r in range(rows):
        terms[r] += own[r] * d[r] + (d[r] if layer.bias >= 0 else 0.0)
    if layer.residual == PROJECTION_RESIDUAL:
        squares_of_rows(pointer(job.workspace, layer.dy + first * units), rows, units, dy)
        for r in range(rows):
            terms[r] += own[r] * dy[r]
    for r in range(rows):
        squares[r] = terms[r] + (squares[r] if number > 0 else 0.0)
    x_total = d_total = 0.0
    for r in range(rows):
        x_total += own[r]
        d_total += d[r]
        terms[r] = np.sqrt(terms[r])
    sums = gauges.rows[b, number]
    sums.x, (sums.row_mean, sums.row_spread) = x_total, spread(terms)
    if layer.gamma < 0:
        sums.dz = d_total


@inner
def note_rows(job, record, place, x, row, b, first, last, thread):
    """Note all that lies in the workspace of a block of rows when its backward pass is done.

    x points to the first layer's input; row: the number of the workspace's first row.
    """
    gauges, workspace, unit = job.gauges, job.workspace, np.int64(0)
    squares = piece(
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
        draw_z(job, layer, number, record.bins[place], row, first, last)
        note_row_squares(job, layer, number, b, squares, reads, first, last)


@inner
def draw_z(job, layer, number, bins, row, first, last):
    """Draw every stride-th row of the batch's z, of which first:last are here; row: as above."""
    gauges, units = job.gauges, layer.units
    stride, width = gauges.strides[number, OF_Z], min(units, WIDEST)
    at = gauges.starts[2 * number + OF_Z]
    if stride == 1 and width == units:  # all rows, which lie one after another
        size = (last - first) * units
        find_bins_of_z(piece(job.workspace, layer.z + first * units, size),
                       piece(bins, at + (row + first) * units, size))  # fmt: skip
        return
    for r in range(first + (-(row + first)) % stride, last, stride):
        find_bins_of_z(piece(job.workspace, layer.z + r * units, width),
                       piece(bins, at + (row + r) // stride * width, width))  # fmt: skip


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
            total.row_mean, total.row_spread = merged(
                total.row_mean, total.row_spread, seen, sums.row_mean, sums.row_spread, n
            )
            seen += n


@inner
def finish_rows(job, record, place, threads):
    """Say which units are dead, when all rows of the batch are through."""
    alive, width, unit = job.gauges.alive, job.gauges.alive.shape[1], np.int64(0)
    for thread in range(1, threads):
        add(piece(alive, 0, width), piece(alive, thread * width, width))
    one, zero = alive.dtype.type(1), alive.dtype.type(0)
    for number in range(job.plan.shape[0]):
        units, dead = job.plan[number].units, zero
        given = piece(alive, unit, units)
        for j in range(units):
            dead += one if given[j] == zero else zero
        record.rows[place, number].dead = dead
        unit += units
