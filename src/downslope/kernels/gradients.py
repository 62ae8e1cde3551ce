"""The gradient of theta, piece by piece, from x and dL/du; and the move of theta by the rule.

Theta is cut into blocks. A thread takes a block, computes its gradient and, where nothing needs the
whole gradient first, moves the block at once while both are still in its cache.
"""

from __future__ import annotations

import numpy as np

from downslope.kernels.elementary import add, copy, is_sound
from downslope.kernels.jit import inner
from downslope.kernels.lanes import like
from downslope.kernels.plan import BIAS, GAMMA, PROJECTION, SLOPE, WEIGHT
from downslope.kernels.product import copy_panels, gradient_by_panels, row_sum, weight_gradient
from downslope.kernels.rules import update_block, update_by_one_row
from downslope.kernels.tiles import lanes_of, outer
from downslope.kernels.views import elements, piece, pointer


@inner
def factors_of(job, part, layer, x, row):
    """Point to what a row's gradient of a piece is the product of: the layer's input, dL/du.

    x: points to the layer's input. A matrix's piece takes a part of it, a bias a 1.
    """
    units, workspace, one = layer.units, job.workspace, job.frame[0].one
    d = pointer(workspace, (layer.dy if part.kind == PROJECTION else layer.dz) + row * units)
    if part.kind == BIAS:
        return pointer(workspace, one), d
    return pointer(x, row * layer.inputs + part.first), d


@inner
def piece_gradient(job, part, layer, x, first, last, out, scratch, accumulate):
    """Gradient of one piece of theta over the rows first:last of a micro-batch.

    x, out, scratch: pointers to the layer's input, to the gradient's place, to the thread's own.
    """
    units, frame, workspace, rows = layer.units, job.frame[0], job.workspace, last - first
    kind, count = part.kind, part.last - part.first
    some, d = factors_of(job, part, layer, x, first)
    if rows == 1 and accumulate == 0 and kind in (WEIGHT, PROJECTION, BIAS):
        outer(some, d, out, count, units)
    elif kind == WEIGHT and layer.panels >= 0:
        panels = pointer(workspace, layer.panels + 2 * first * lanes_of(out))
        gradient_by_panels(some, layer.inputs, panels, frame.rows, out, rows, count, units, scratch,
                           accumulate)  # fmt: skip
    elif kind in (WEIGHT, PROJECTION):
        weight_gradient(some, layer.inputs, d, out, rows, count, units, scratch, accumulate)
    elif kind == BIAS:
        row_sum(some, d, out, rows, units, scratch, accumulate)
    else:
        at = frame.sums + layer.sums
        if kind == SLOPE:
            at += 2 * units * (layer.gamma >= 0)
        elif kind != GAMMA:
            at += units
        total = elements(out, units)
        if not accumulate:
            total[:] = 0
        for b in range(first // frame.block, (last + frame.block - 1) // frame.block):
            add(total, piece(workspace, at + b * frame.sums_size, units))


@inner
def keep_panels(job, first, last):
    """Copy dL/du of the rows first:last to panels, of the layers that have some."""
    workspace = job.workspace
    for number in range(job.plan.shape[0]):
        layer = job.plan[number]
        if layer.panels >= 0:
            d = pointer(workspace, layer.dz + first * layer.units)
            panels = pointer(workspace, layer.panels + 2 * first * lanes_of(d))
            copy_panels(d, panels, job.frame[0].rows, last - first, layer.units)


@inner
def input_of(job, number, x):
    """Point to a layer's input: x is the first one's, the others' lie in the workspace."""
    return x if number == 0 else pointer(job.workspace, job.plan[number].x)


@inner
def block_gradient(job, block, out, x, rows, scratch, accumulate):
    """Gradient of a block of theta over a micro-batch, to `out`; x: the first layer's input.

    Where each block of rows has left its own, it is their sum, in the order of the rows.
    """
    frame = job.frame[0]
    if frame.partials >= 0:
        total = elements(out, block.stop - block.start)
        for b in range((rows + frame.block - 1) // frame.block):
            at = frame.partials + b * frame.partial_size + block.start
            if b > 0 or accumulate:
                add(total, piece(job.workspace, at, total.shape[0]))
            else:
                copy(piece(job.workspace, at, total.shape[0]), total)
        return
    for p in range(block.first, block.last):
        part = job.pieces[p]
        piece_gradient(job, part, job.plan[part.layer], input_of(job, part.layer, x), np.int64(0),
                       rows, pointer(out, part.start - block.start), scratch,
                       accumulate)  # fmt: skip


@inner
def rows_gradient(job, b, first, last, x, scratch):
    """The gradient that one block of rows gives, to a place of its own."""
    frame = job.frame[0]
    begin = pointer(job.workspace, frame.partials + b * frame.partial_size)
    for p in range(job.pieces.shape[0]):
        part = job.pieces[p]
        piece_gradient(job, part, job.plan[part.layer], input_of(job, part.layer, x), first, last,
                       pointer(begin, part.start), scratch, np.int64(0))  # fmt: skip


@inner
def short_square_sum(values, zero):
    """Sum of squares in zero's number type."""
    total = zero
    for k in range(values.shape[0]):
        value = like(zero, values[k])
        total += value * value
    return np.float64(total)


@inner
def square_sum(values):
    """Sum of squares, in float64 from runs short enough for the number type, if it holds them."""
    size, total = values.shape[0], 0.0
    for begin in range(0, size, 4096):
        some = piece(values, begin, min(4096, size - begin))
        part = short_square_sum(some, values.dtype.type(0))
        total += part if is_sound(values, part) else short_square_sum(some, 0.0)
    return total


@inner
def penalize_weights(w, gradient, l1, l2):
    """Add l1 sign(w) + l2 w to a gradient; give sum |w|, 0 where l1 is, and sum w^2; all (size,).

    The sums are float64, which holds the squares of any float32. Each loop has one thing to do, so
    that it runs in vectors.
    """
    zero, one = w.dtype.type(0), w.dtype.type(1)
    absolute = 0.0
    for k in range(w.shape[0]):
        gradient[k] += l2 * w[k]
    if l1 > zero:
        for k in range(w.shape[0]):
            gradient[k] += l1 * (one if w[k] > zero else (-one if w[k] < zero else zero))
        for k in range(w.shape[0]):
            absolute += abs(w[k])
    return absolute, square_sum(w)


@inner
def penalize(job, block, out, l1, l2):
    """Add l1 sign(w) + l2 w to the gradient of weights; give l1 |w| + l2 w^2 / 2, summed."""
    theta = job.theta
    total = 0.0
    strength1, strength2 = theta.dtype.type(l1), theta.dtype.type(l2)
    for p in range(block.first, block.last):
        part = job.pieces[p]
        if part.kind != WEIGHT and part.kind != PROJECTION:
            continue
        size = part.stop - part.start
        gradient = elements(pointer(out, part.start - block.start), size)
        absolute, squares = penalize_weights(
            piece(theta, part.start, size), gradient, strength1, strength2
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
def scale_values(values, factor):
    """Multiply every entry by one factor."""
    by = values.dtype.type(factor)
    for k in range(values.shape[0]):
        values[k] *= by


@inner
def decay_weights(job, block, begin, end, decay):
    """Decoupled weight decay (Loshchilov and Hutter 2019): w = decay w, for weights only."""
    for p in range(block.first, block.last):
        part = job.pieces[p]
        if part.kind == WEIGHT or part.kind == PROJECTION:
            first, last = max(part.start, begin), min(part.stop, end)
            scale_values(piece(job.theta, first, max(last - first, 0)), decay)


@inner
def move_part(job, block, begin, end, gradient, rule, coefficients, decay):
    """Move the part begin:end of a block of theta by the rule; gradient (end - begin,) is its."""
    if decay != 1.0:
        decay_weights(job, block, begin, end, decay)
    update_block(rule, piece(job.theta, begin, end - begin), gradient, job.state, begin,
                 coefficients)  # fmt: skip


@inner
def descend_by_one_row(job, block, out, x, scratch, rule, coefficients, decay):
    """Move a block by a step on a single row: the gradient of its matrices need not be stored.

    To the same bits as `block_gradient` and `update_block`.
    """
    for p in range(block.first, block.last):
        part = job.pieces[p]
        layer, kind = job.plan[part.layer], part.kind
        units, size, own = layer.units, part.stop - part.start, input_of(job, part.layer, x)
        moved = False
        if decay != 1.0 and kind in (WEIGHT, PROJECTION):
            scale_values(piece(job.theta, part.start, size), decay)
        if kind in (WEIGHT, PROJECTION, BIAS):
            some, d = factors_of(job, part, layer, own, np.int64(0))
            moved = update_by_one_row(rule, pointer(job.theta, part.start), some, d, job.state,
                                      part.start, part.last - part.first, units,
                                      coefficients)  # fmt: skip
        if not moved:
            piece_gradient(job, part, layer, own, np.int64(0), np.int64(1), out, scratch,
                           np.int64(0))  # fmt: skip
            update_block(rule, piece(job.theta, part.start, size), elements(out, size), job.state,
                         part.start, coefficients)  # fmt: skip
