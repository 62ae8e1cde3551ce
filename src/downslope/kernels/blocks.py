"""Theta's blocks, shared out among the threads: gradient, penalties, clipping, move."""

from __future__ import annotations

from downslope.kernels import gauges, noted_moves, theta_gauges
from downslope.kernels.gradients import (
    block_gradient,
    clip_values,
    descend_by_one_row,
    move_part,
    penalize,
    scale_values,
    square_sum,
)
from downslope.kernels.jit import inner
from downslope.kernels.passes import scratch_of
from downslope.kernels.rules import GD, takes_one_row
from downslope.kernels.threads import raise_flag, share, side_of
from downslope.kernels.vectors import all_finite
from downslope.kernels.views import elements, piece, pointer

BEGIN, ADD, FINISH, MOVE, ALONE = 1, 2, 4, 8, 16
"""What is done to a block of theta: its gradient begun or added to, penalties and bounds put on the
finished gradient, the block moved by the rule; all but ADD at once by that of a row alone."""

LOSS, SQUARES, BOUNDED, PENALTY = range(4)
"""Rows of `job.sums`: the loss of each block of rows; of each block of theta the sum of squares of
its gradient, before clipping and with its entries bounded by clip_value, and its penalty."""


@inner
def own_blocks(job, thread, threads):
    """The blocks of theta, first:last, that are a thread's own: its share of a half of them."""
    middle, count = job.frame[0].middle, job.blocks.shape[0]
    if threads == 1:
        return 0, count
    side, _, member, members = side_of(thread, threads)
    if side == 0:
        return share(member, members, middle)
    first, last = share(member, members, count - middle)
    return middle + first, middle + last


@inner
def finish_gradient(job, chunk, b, out, scale, recorded):
    """Add the penalties to a block's gradient, bound its entries; note its sums of squares."""
    block = job.blocks[b]
    limits = chunk.penalties
    l1, l2, clip_norm, clip_value = limits[0], limits[1], limits[2], limits[3]
    penalized, watched = l1 > 0 or l2 > 0, clip_norm > 0 or chunk.norms.shape[0] > 0
    if penalized:
        job.sums[PENALTY, b] = penalize(job, block, out, l1 * scale, l2 * scale)
    gradient = elements(out, block.stop - block.start)
    if watched or (recorded and penalized):
        job.sums[SQUARES, b] = job.sums[BOUNDED, b] = square_sum(gradient)
    if recorded and penalized:  # what `note_gradient` has noted is without the penalties
        job.gauges.norms[b] = job.sums[SQUARES, b]
    if clip_value > 0:
        clip_values(gradient, clip_value)
        if clip_norm > 0:
            job.sums[BOUNDED, b] = square_sum(gradient)


@inner
def move_block(job, chunk, k, block, at, place, alone, thread):
    """Move a block of theta, whose gradient begins at `at`, by the rule.

    alone: whether the gradient has been noted as a single row's.
    In a recorded step it goes part by part, each measured while it is in the cache. A part is whole
    vectors, so the rule's loop takes every element as it does in a block taken at once.
    """
    size = block.stop - block.start if place == gauges.NOT else gauges.PART
    for begin in range(block.start, block.stop, size):
        end = min(begin + size, block.stop)
        first = at + begin - block.start
        if place != gauges.NOT:
            theta_gauges.keep_theta(job, begin, end, thread)
        gradient = piece(job.gradient, first, end - begin)
        move_part(job, block, begin, end, gradient, chunk.rule, chunk.coefficients[k],
                  chunk.decays[k])  # fmt: skip
        if place != gauges.NOT:
            theta_gauges.note_move(job, block, begin, end, first, alone, thread)


@inner
def known_rate(chunk, k):
    """The learning rate of a step that is nothing but -rate g; else 0."""
    return chunk.coefficients[k, 0] if chunk.rule == GD and chunk.decays[k] == 1.0 else 0.0


@inner
def one_block(job, chunk, k, b, x, rows, task, factor, scale, place, thread, threads):
    """Compute the gradient of one block, or move it, or both.

    task: the sum of BEGIN, ADD (to the gradient of earlier micro-batches), FINISH, MOVE, ALONE;
    factor: on the whole gradient, for clipping; place: of the step's record. A block that is moved
    at once has its gradient in the thread's own room, which stays in its cache.
    """
    own = (job.theta.shape[0] + 15) // 16 * 16
    room = (job.gradient.shape[0] - own) // threads // 16 * 16
    computes, moves, alone = (task & (BEGIN | ADD)) != 0, (task & MOVE) != 0, (task & ALONE) != 0
    block = job.blocks[b]
    at = own + thread * room if computes and moves else block.start
    out, scratch = pointer(job.gradient, at), scratch_of(job, thread)
    if alone and takes_one_row(chunk.rule, block.stop - block.start):
        if place == gauges.NOT:
            descend_by_one_row(job, block, out, x, scratch, chunk.rule, chunk.coefficients[k],
                               chunk.decays[k])  # fmt: skip
            return
        if chunk.rule != GD or known_rate(chunk, k) != 0:
            noted_moves.descend_and_note(job, block, out, x, scratch, chunk.rule,
                                           chunk.coefficients[k], chunk.decays[k],
                                           thread)  # fmt: skip
            return
    if computes:
        block_gradient(job, block, out, x, rows, scratch, task & ADD)
    if (task & FINISH) != 0:
        if place >= 0 and not alone:
            theta_gauges.note_gradient(job, chunk.record, place, b, at, thread)
        finish_gradient(job, chunk, b, out, scale, place >= 0)
    if moves:
        gradient = elements(out, block.stop - block.start)
        if factor != 1.0:
            scale_values(gradient, factor)
        if all_finite(gradient):
            move_block(job, chunk, k, block, at, place, alone, thread)
        else:
            raise_flag(job.barrier)


@inner
def share_theta(job, chunk, k, x, rows, task, factor, scale, place, thread, threads):
    """Compute the gradient of the blocks that this thread takes, or move them, or both.

    They are the same at every step: their parameters and moments lie in its core's cache.
    """
    begin, end = own_blocks(job, thread, threads)
    for b in range(begin, end):
        one_block(job, chunk, k, b, x, rows, task, factor, scale, place, thread, threads)


@inner
def sum_over_blocks(job, of):
    """Sum up what was noted of theta's blocks, in their order; of: PENALTY, SQUARES or BOUNDED."""
    total = 0.0
    for b in range(job.blocks.shape[0]):
        total += job.sums[of, b]
    return total


@inner
def own_theta_is_finite(job, thread, threads):
    """Say whether a thread's own blocks of theta hold no NaN and no infinity."""
    first, last = own_blocks(job, thread, threads)
    for b in range(first, last):
        block = job.blocks[b]
        if not all_finite(piece(job.theta, block.start, block.stop - block.start)):
            return False
    return True
