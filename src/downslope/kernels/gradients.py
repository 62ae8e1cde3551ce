"""The gradient of theta, piece by piece, from x and dL/du; and the move of theta by the rule.

Theta is cut into blocks. A thread takes a block, computes its gradient and, where nothing needs the
whole gradient first, moves the block at once while both are still in its cache.
"""

from __future__ import annotations

import numpy as np

from downslope.kernels.elementary import add, fused
from downslope.kernels.jit import exact, inner, merged
from downslope.kernels.plan import BIAS, GAMMA, PROJECTION, SLOPE, WEIGHT
from downslope.kernels.product import tile_product, weight_gradient
from downslope.kernels.rules import gd, update_block
from downslope.kernels.views import piece


@merged
def piece_gradient(part, layer, frame, source, x, workspace, rows, out, out_at, scratch,
                   accumulate):  # fmt: skip
    """Gradient of one piece of theta over a micro-batch of `rows` rows.

    source, x: the array that holds the layer's input, and where.
    """
    units = layer.units
    if part.kind == WEIGHT or part.kind == PROJECTION:
        d = layer.dz if part.kind == WEIGHT else layer.dy
        weight_gradient(source, x, workspace, d, out, out_at, rows, layer.inputs, units,
                        part.first, part.last, scratch, accumulate)  # fmt: skip
    elif part.kind == BIAS:
        # The sum over the rows: a row of ones times dL/du.
        tile_product(workspace, frame.one, np.int64(0), np.int64(0), workspace, layer.dz, units,
                     out, out_at, units, out, out_at, units, int(accumulate),
                     np.int64(1), rows, units, scratch)  # fmt: skip
    else:
        at = frame.sums + layer.sums
        if part.kind == SLOPE:
            at += 2 * units * (layer.gamma >= 0)
        elif part.kind != GAMMA:
            at += units
        blocks = (rows + frame.block - 1) // frame.block
        total = piece(out, out_at, units)
        if not accumulate:
            total[:] = 0
        for b in range(blocks):
            add(total, piece(workspace, at + b * frame.sums_size, units))


@merged
def block_gradient(job, block, out, out_at, source, x, rows, scratch, accumulate):
    """Gradient of a block of theta over a micro-batch; out from out_at on.

    source, x: where the first layer's input is; the others' are in the workspace.
    """
    frame = job.frame[0]
    for p in range(block.first, block.last):
        part = job.pieces[p]
        layer = job.plan[part.layer]
        at = out_at + part.start - block.start
        if part.layer == 0:
            piece_gradient(part, layer, frame, source, x, job.workspace, rows, out, at, scratch,
                           accumulate)  # fmt: skip
        else:
            piece_gradient(part, layer, frame, job.reading, layer.x, job.workspace, rows, out, at,
                           scratch, accumulate)  # fmt: skip


@inner
def penalize_weights(w, gradient, l1, l2):
    """Add l1 sign(w) + l2 w to a gradient; give sum |w|, 0 where l1 is, and sum w^2; all (size,).

    Each loop has one thing to do, so that it runs in vectors.
    """
    zero, one = w.dtype.type(0), w.dtype.type(1)
    absolute, squares = zero, zero
    for k in range(w.shape[0]):
        gradient[k] += l2 * w[k]
    for k in range(w.shape[0]):
        squares += w[k] * w[k]
    if l1 > zero:
        for k in range(w.shape[0]):
            gradient[k] += l1 * (one if w[k] > zero else (-one if w[k] < zero else zero))
        for k in range(w.shape[0]):
            absolute += abs(w[k])
    return absolute, squares


@merged
def penalize(job, block, out, out_at, l1, l2):
    """Add l1 sign(w) + l2 w to the gradient of weights; give l1 |w| + l2 w^2 / 2, summed."""
    theta = job.theta
    total = 0.0
    strength1, strength2 = theta.dtype.type(l1), theta.dtype.type(l2)
    for p in range(block.first, block.last):
        part = job.pieces[p]
        if part.kind != WEIGHT and part.kind != PROJECTION:
            continue
        at, size = out_at + part.start - block.start, part.stop - part.start
        absolute, squares = penalize_weights(
            piece(theta, part.start, size), piece(out, at, size), strength1, strength2
        )
        total += l1 * absolute + l2 * squares / 2
    return total


@inner
def clip_values(gradient, limit):
    """Bound every entry to [-limit, limit]; NaN stays."""
    high = gradient.dtype.type(limit)
    for k in range(gradient.shape[0]):
        g = gradient[k]
        gradient[k] = high if g > high else (-high if g < -high else g)


@inner
def square_sum(gradient):
    """Sum of squares of one block, in float64 from runs short enough for the number type."""
    total = 0.0
    for begin in range(0, gradient.shape[0], 4096):
        part = gradient.dtype.type(0)
        for k in range(begin, min(begin + 4096, gradient.shape[0])):
            part += gradient[k] * gradient[k]
        total += part
    return total


@inner
def all_finite(values):
    """Say whether no entry is NaN or infinite: 0 times one of those is NaN, and NaN stays."""
    trace = values.dtype.type(0)
    zero = values.dtype.type(0)
    for k in range(values.shape[0]):
        trace += values[k] * zero
    return trace == zero


@merged
def decay_weights(job, block, begin, end, decay):
    """Decoupled weight decay (Loshchilov and Hutter 2019): w = decay w, for weights only."""
    factor = job.theta.dtype.type(decay)
    for p in range(block.first, block.last):
        part = job.pieces[p]
        if part.kind == WEIGHT or part.kind == PROJECTION:
            for k in range(max(part.start, begin), min(part.stop, end)):
                job.theta[k] *= factor


@inner
def scale_values(gradient, factor):
    """Multiply every entry by one factor."""
    by = gradient.dtype.type(factor)
    for k in range(gradient.shape[0]):
        gradient[k] *= by


@merged
def move_part(job, block, begin, end, gradient, rule, coefficients, decay):
    """Move the part begin:end of a block of theta by the rule; gradient (end - begin,) is its."""
    if decay != 1.0:
        decay_weights(job, block, begin, end, decay)
    update_block(rule, job.theta[begin:end], gradient, job.state, begin, coefficients)


@exact
def move_by_one_row(theta, begin, x, x_at, count, d, d_at, units, rate):
    """w = w - rate g for `count` rows of W, whose gradient g = x d is that of a single row."""
    row = piece(d, d_at, units)
    for i in range(count):
        w, x_i = piece(theta, begin + i * units, units), x[x_at + i]
        for j in range(units):
            w[j] = fused(-rate, x_i * row[j], w[j])


@merged
def descend_by_one_row(job, block, out, out_at, source, x, scratch, row):
    """Move a block by gradient descent on a single row: its gradient need not be stored.

    To the same bits as `block_gradient` and the rule `gd`.
    """
    rate = job.theta.dtype.type(row[0])
    for p in range(block.first, block.last):
        part = job.pieces[p]
        layer = job.plan[part.layer]
        units, start = layer.units, part.start
        if part.kind == BIAS:
            move_by_one_row(job.theta, start, job.reading, job.frame[0].one, np.int64(1),
                            job.workspace, layer.dz, units, rate)  # fmt: skip
        elif part.kind == WEIGHT or part.kind == PROJECTION:
            d, count = layer.dz if part.kind == WEIGHT else layer.dy, part.last - part.first
            if part.layer == 0:
                move_by_one_row(job.theta, start, source, x + part.first, count,
                                job.workspace, d, units, rate)  # fmt: skip
            else:
                move_by_one_row(job.theta, start, job.reading, layer.x + part.first, count,
                                job.workspace, d, units, rate)  # fmt: skip
        else:
            piece_gradient(part, layer, job.frame[0], job.reading, layer.x, job.workspace,
                           np.int64(1), out, out_at, scratch, False)  # fmt: skip
            gd(job.theta[start : part.stop], out[out_at : out_at + part.stop - start], row)
