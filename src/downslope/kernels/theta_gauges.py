"""What is measured of theta: its gradient and its move, beside those of the step before."""

from __future__ import annotations

from downslope.kernels.gauges import (
    OF_GRADIENT,
    PART,
    add_counts,
    count_magnitudes,
    forget_counts,
    sum_of_squares,
)
from downslope.kernels.jit import inner
from downslope.kernels.plan import WEIGHT
from downslope.kernels.views import copy_elements, piece


@inner
def begin_gradient(job, thread):
    """Let a thread forget the gradients that it has counted.

    Later than `begin_rows`, when the first thread has surely added up those of the step before.
    """
    forget_counts(job, OF_GRADIENT, thread)


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
            count_magnitudes(values, first, stride, gauges.counts[thread, part.layer, OF_GRADIENT])
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
    add_counts(job, record, place, OF_GRADIENT, threads)
