"""The gradient of theta, piece by piece, from x and dL/du; and the move of theta by the rule.

Theta is cut into blocks. A thread takes a block, computes its gradient and, where nothing needs the
whole gradient first, moves the block at once while both are still in its cache.
"""

from __future__ import annotations

import numpy as np

from downslope.kernels.jit import inner, merged
from downslope.kernels.plan import BIAS, GAMMA, PROJECTION, SLOPE, WEIGHT
from downslope.kernels.product import tile_product, weight_gradient
from downslope.kernels.rules import update
from downslope.kernels.views import piece


@inner
def piece_gradient(piece, layer, frame, source, x, workspace, rows, out, out_at, scratch,
                   accumulate):  # fmt: skip
    """Gradient of one piece of theta over a micro-batch of `rows` rows.

    source, x: the array that holds the layer's input, and where.
    """
    units = layer.units
    if piece.kind == WEIGHT or piece.kind == PROJECTION:
        d = layer.dz if piece.kind == WEIGHT else layer.dy
        weight_gradient(source, x, workspace, d, out, out_at, rows, layer.inputs, units,
                        piece.first, piece.last, scratch, accumulate)  # fmt: skip
    elif piece.kind == BIAS:
        # The sum over the rows: a row of ones times dL/du.
        tile_product(workspace, frame.one, np.int64(0), np.int64(0), workspace, layer.dz, units,
                     out, out_at, units, out, out_at, units, int(accumulate),
                     np.int64(1), rows, units, scratch)  # fmt: skip
    else:
        at = frame.sums + layer.sums
        if piece.kind == SLOPE:
            at += 2 * units * (layer.gamma >= 0)
        elif piece.kind != GAMMA:
            at += units
        blocks = (rows + frame.block - 1) // frame.block
        if not accumulate:
            for j in range(units):
                out[out_at + j] = 0
        for b in range(blocks):
            begin = at + b * frame.sums_size
            for j in range(units):
                out[out_at + j] += workspace[begin + j]


@merged
def block_gradient(job, block, out, out_at, source, x, rows, scratch, accumulate):
    """Gradient of a block of theta over a micro-batch; out from out_at on.

    source, x: where the first layer's input is; the others' are in the workspace.
    """
    frame = job.frame[0]
    for p in range(block.first, block.last):
        piece = job.pieces[p]
        layer = job.plan[piece.layer]
        at = out_at + piece.start - block.start
        if piece.layer == 0:
            piece_gradient(piece, layer, frame, source, x, job.workspace, rows, out, at, scratch,
                           accumulate)  # fmt: skip
        else:
            piece_gradient(piece, layer, frame, job.reading, layer.x, job.workspace, rows, out, at,
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
        piece = job.pieces[p]
        if piece.kind == WEIGHT or piece.kind == PROJECTION:
            for k in range(max(piece.start, begin), min(piece.stop, end)):
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
    update(rule, job.theta[begin:end], gradient, job.state, begin, coefficients)
