"""Many steps of descent in one compiled call, by several threads side by side.

Every thread runs `descend` with its own number. In a step the threads first share out the rows:
forward pass, loss, backward pass, down to dL/du of every layer (to the gradient of their own rows,
where theta is smaller than what the rows hold). They meet. Then they share out
theta: gradient, clipping, rule. They meet again. Where a batch has few rows against a layer's W,
its products are shared out by halves of W instead, each half always to the same threads, who also
move it: so it stays in their cores' caches. What each computes does not depend on how many they
are, so the bits do not either.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from downslope.kernels import dropout, gauges, row_gauges, theta_gauges
from downslope.kernels.blocks import (
    ADD,
    ALONE,
    BEGIN,
    BOUNDED,
    FINISH,
    LOSS,
    MOVE,
    PENALTY,
    SQUARES,
    known_rate,
    own_theta_is_finite,
    share_theta,
    sum_over_blocks,
)
from downslope.kernels.denormals import flush_denormals, restore_denormals
from downslope.kernels.gradients import input_of, keep_panels, rows_gradient
from downslope.kernels.held import address_of, held_at, hold
from downslope.kernels.jit import Doubles, Floats, Integers, inner, kernel
from downslope.kernels.joint import (
    affine_by_halves,
    dy_by_halves,
    normalize_batch,
    normalize_batch_backward,
)
from downslope.kernels.passes import (
    add_shortcut_dy,
    affine_part,
    gather,
    gather_targets,
    hidden_du,
    hidden_dy,
    hidden_dz,
    in_place,
    loss_and_dz,
    normalize_row_by_row,
    output,
    scratch_of,
)
from downslope.kernels.plan import BATCH_NORMALIZATION
from downslope.kernels.threads import (
    await_call,
    call_others,
    lower_flag,
    offer,
    raise_flag,
    read_flag,
    share,
    side_of,
    wait,
)
from downslope.kernels.views import borrowed, copy_elements, piece, pointer


class Job(NamedTuple):
    """The arrays of one descent; all floats are of one type."""

    plan: np.ndarray
    frame: np.ndarray
    pieces: np.ndarray
    blocks: np.ndarray
    theta: Floats
    gradient: Floats  # theta's length, then room for one block for each thread
    state: Floats  # (moments, theta's length)
    statistics: Floats
    workspace: Floats
    features: Floats  # (rows x inputs,), read-only
    centers: Doubles  # (inputs,): rows are scaled as they are fetched; empty: they are ready
    factors: Doubles  # (inputs,), or empty
    squashes: Doubles  # (inputs,): 1 / B in the columns that are squashed; empty: in none
    labels: Integers  # (rows,), or empty
    targets: Floats  # (rows x outputs,), or empty
    weights: Floats  # (rows,), or empty
    sums: Doubles  # (4, most blocks): of a block of rows or of theta, see `blocks.LOSS`
    barrier: Integers
    gauges: gauges.Gauges


class Chunk(NamedTuple):
    """What a call of `descend` is to do."""

    order: Integers  # the rows of an epoch, or of some, in their order; then it begins anew
    in_order: int  # 1: order is first, first + 1, ...: rows may be read where they lie
    first: int  # position in order where the first step begins
    batch: int  # rows of a step
    steps: int
    step: int  # number of the first step within the run, for dropout
    seed: int
    rule: int  # -1: the gradient only
    coefficients: Doubles  # (steps, columns)
    decays: Doubles  # (steps,): factor on weights
    penalties: Doubles  # l1, l2, clip_norm, clip_value (0: none)
    losses: Doubles  # (steps,), written: nats or squared units, with the penalty
    norms: Doubles  # (steps,), written: norm of the gradient before clipping; or empty
    record: gauges.Record = gauges.empty_record()  # written: what the X-ray measures
    epochs: int = 1  # whose rows order holds, one epoch's after the other's


@inner
def prepare_rows(job, chunk, begin, rows, mine, end, thread, threads):
    """Fetch features, targets and weights of the micro-batch into the workspace.

    Of the features each thread fetches what it works on: its blocks of rows, or of all rows the
    columns that meet its half of W, as `affine_by_halves` shares them out.
    """
    frame, bottom = job.frame[0], job.plan[0]
    first, last = mine * frame.block, min(end * frame.block, rows)
    gather_targets(job, chunk.order, begin, first, last)
    if in_place(job, chunk.in_order):
        return
    low, high = np.int64(0), bottom.inputs
    if bottom.half > 0 and threads > 1:
        side, _, member, members = side_of(thread, threads)
        first, last = share(member, members, (rows + frame.block - 1) // frame.block)
        first, last = first * frame.block, min(last * frame.block, rows)
        low, high = (low, bottom.half) if side == 0 else (bottom.half, high)
    gather(job, chunk.order, begin, first, last, low, high)


@inner
def losses_and_dz(job, chunk, x, begin, row, rows, scale, step, place, thread, threads):
    """Forward, loss and backward over a micro-batch, each thread with its blocks of rows.

    Threads meet only where batch normalization needs the statistics of all rows. begin: position
    in the order of the micro-batch's first row; row: its number in the batch; place: of the step's
    record, or that there is none.
    """
    frame, plan = job.frame[0], job.plan
    layers = plan.shape[0]
    blocks = (rows + frame.block - 1) // frame.block
    mine, end = share(thread, threads, blocks)
    scratch = scratch_of(job, thread)
    prepare_rows(job, chunk, begin, rows, mine, end, thread, threads)
    for number in range(layers):
        layer = plan[number]
        reads = input_of(job, number, x)
        if layer.half > 0:
            if number > 0:
                # For the values below; of the first layer's x each has fetched its own.
                wait(job.barrier, thread, threads)
            affine_by_halves(job, layer, reads, rows, mine, end, thread, threads)
        for b in range(mine, end):
            first, last = b * frame.block, min((b + 1) * frame.block, rows)
            if layer.half == 0:
                affine_part(job, layer, reads, first, last, scratch)
            normalize_row_by_row(job, layer, first, last, np.int64(1))
        if layer.normalization == BATCH_NORMALIZATION:
            normalize_batch(job, layer, rows, mine, end, thread, threads)
        if number < layers - 1:
            for b in range(mine, end):
                first, last = b * frame.block, min((b + 1) * frame.block, rows)
                output(job, layer, number, reads, first, last, row, chunk.seed, step, scratch,
                       np.int64(1))  # fmt: skip
    if frame.batchwise:
        wait(job.barrier, thread, threads)
    for b in range(mine, end):
        first, last = b * frame.block, min((b + 1) * frame.block, rows)
        sums = frame.sums + b * frame.sums_size
        piece(job.workspace, sums, frame.sums_size)[:] = 0
        top = plan[layers - 1]
        job.sums[LOSS, b] = loss_and_dz(job, top, first, last, scale, sums + top.sums)
        if place >= 0:
            row_gauges.note_output_dy(job, b, first, last, scale, thread)
    for number in range(layers - 2, -1, -1):
        layer, above = plan[number], plan[number + 1]
        if above.half > 0:
            dy_by_halves(job, layer, above, rows, thread, threads)
        for b in range(mine, end):
            first, last = b * frame.block, min((b + 1) * frame.block, rows)
            if above.half == 0:
                hidden_dy(job, layer, above, first, last, np.int64(0), layer.units, scratch)
            add_shortcut_dy(job, layer, above, first, last, scratch)
            if place >= 0:
                key = dropout.stream(chunk.seed, step, number)
                row_gauges.note_dy(job, layer, number, b, first, last, key,
                               (row + first) * layer.units, thread)  # fmt: skip
            hidden_dz(job, layer, number, first, last, row, chunk.seed, step,
                      frame.sums + b * frame.sums_size + layer.sums)  # fmt: skip
            if place >= 0 and layer.gamma >= 0:
                row_gauges.note_dz(job, layer, number, b, first, last)
            hidden_du(job, layer, first, last)
        if layer.normalization == BATCH_NORMALIZATION:
            normalize_batch_backward(job, layer, rows, mine, end, thread, threads)
    keep_panels(job, mine * frame.block, min(end * frame.block, rows))
    if frame.partials >= 0:
        for b in range(mine, end):
            rows_gradient(job, b, b * frame.block, min((b + 1) * frame.block, rows), x, scratch)
    if place >= 0:
        for b in range(mine, end):
            first, last = b * frame.block, min((b + 1) * frame.block, rows)
            row_gauges.note_rows(job, chunk.record, place, x, row, b, first, last, thread)


@inner
def may_go_alone(job, chunk, count, place):
    """Whether a step that is taken at once is by a single row's gradient, as it is.

    Recorded steps are compared with the step before, which must have been one of those too.
    """
    if count > 1:
        return False
    for penalty in chunk.penalties:
        if penalty != 0:
            return False
    return place == gauges.NOT or (chunk.batch == 1 and job.frame[0].batchwise == 0)


@inner
def row_scale(job, chunk, begin, count):
    """One over the weight of the batch's rows; 0 where they weigh nothing."""
    if job.weights.shape[0] == 0:
        return 1.0 / count
    total = 0.0
    for r in range(begin, begin + count):
        total += job.weights[chunk.order[r]]
    return 1.0 / total if total > 0 else 0.0


@inner
def record_rows(job, chunk, place, row, rows, count, threads):
    """Put what was noted of a micro-batch into the step's record, when the threads have met."""
    row_gauges.merge_rows(job, chunk.record, place, row, rows)
    if row + rows >= count:
        row_gauges.finish_rows(job, chunk.record, place, threads)


@kernel
def descend(job, chunk, thread, threads):
    """Run some steps; give how many were done before something was not finite.

    Either they are of one epoch, or they begin with one. One more than there are: all were done,
    but then theta is not finite. -1: nothing was done, for another thread is out of here and first
    must be started. Those others stay for the next calls, as long as these come soon.
    """
    before = flush_denormals()
    job, chunk = hold(job), hold(chunk)
    barrier, done = job.barrier, np.int64(-1)
    going = thread > 0 or call_others(barrier, threads, address_of(job), address_of(chunk))
    while going:
        done = steps(job, chunk, thread, threads)
        wait(barrier, thread, threads)  # until each has read the flag of the last step
        if done == chunk.steps and not own_theta_is_finite(job, thread, threads):
            raise_flag(barrier)
        if thread > 0:
            offer(barrier, thread)
        wait(barrier, thread, threads)
        if thread == 0:
            if done == chunk.steps and read_flag(barrier):
                done += 1
            lower_flag(barrier)
            going = False
        else:
            next_job, next_chunk = await_call(barrier, thread)
            going = next_job != 0
            job, chunk = held_at(job, next_job), held_at(chunk, next_chunk)
    restore_denormals(before)
    return done


@inner
def steps(job, chunk, thread, threads):
    """The steps themselves."""
    frame, inputs = job.frame[0], job.plan[0].inputs
    clip_norm, penalized = chunk.penalties[2], chunk.penalties[0] > 0 or chunk.penalties[1] > 0
    watched = clip_norm > 0 or chunk.norms.shape[0] > 0
    epoch = chunk.order.shape[0] // chunk.epochs
    begin, end, recorded = chunk.first, epoch, 0
    for k in range(chunk.steps):
        count = min(chunk.batch, end - begin)
        scale = row_scale(job, chunk, begin, count)
        at_once = count <= frame.rows and not watched and chunk.rule >= 0
        loss, place = 0.0, gauges.place_of(chunk.record, recorded, k)
        recorded += 1 if place >= 0 else 0
        alone = at_once and may_go_alone(job, chunk, count, place)
        if place >= 0:
            row_gauges.begin_rows(job, thread)
        row, rows, x = np.int64(0), np.int64(0), pointer(job.workspace, job.plan[0].x)
        task, factor, going = BEGIN + 0, 1.0, True
        while going:
            if row < count:
                rows = min(frame.rows, count - row)
                if in_place(job, chunk.in_order):
                    x = pointer(job.features, chunk.order[begin + row] * inputs)
                losses_and_dz(job, chunk, x, begin + row, row, rows, scale, chunk.step + k, place,
                              thread, threads)  # fmt: skip
                wait(job.barrier, thread, threads)
                if place >= 0 and thread == 0:
                    record_rows(job, chunk, place, row, rows, count, threads)
                # By the last thread: the first has the rows' sums to merge meanwhile.
                if place != gauges.NOT and alone and thread == threads - 1:
                    theta_gauges.note_one_row(job, chunk.record, place, x, known_rate(chunk, k),
                                              thread)  # fmt: skip
                for b in range((rows + frame.block - 1) // frame.block):
                    loss += job.sums[LOSS, b]
                if not math.isfinite(loss):
                    chunk.losses[k] = loss
                    return k
                task = (BEGIN if row == 0 else ADD) + (FINISH if row + rows >= count else 0)
                task += (MOVE if at_once else 0) + (ALONE if alone else 0)
            else:
                if thread == 0 and chunk.norms.shape[0] > 0:
                    chunk.norms[k] = math.sqrt(sum_over_blocks(job, SQUARES))
                if chunk.rule < 0:
                    break
                norm = math.sqrt(sum_over_blocks(job, BOUNDED)) if clip_norm > 0 else 0.0
                task, factor = MOVE + 0, clip_norm / norm if 0 < clip_norm < norm else 1.0
            share_theta(job, chunk, k, x, rows, task, factor, scale, place, thread, threads)
            wait(job.barrier, thread, threads)
            going = row + rows < count or (row < count and not at_once)
            row += rows
        if place != gauges.NOT and thread == 0:
            theta_gauges.merge_pieces(job, chunk.record, place, chunk.rule >= 0, alone)
        loss *= scale
        if penalized:
            loss += sum_over_blocks(job, PENALTY)
        if thread == 0:
            chunk.losses[k] = loss
        if read_flag(job.barrier) or not math.isfinite(loss):
            return k
        begin += count
        if begin == end:
            begin = end if end < chunk.order.shape[0] else np.int64(0)
            end = begin + epoch
    return chunk.steps


@kernel
def predict(job, order, in_order, out, losses, thread, threads):
    """Outputs of rows order[:] and the sum of their weighted losses.

    out (rows x outputs,): the outputs, or empty; losses (blocks,): the sum of each block's losses,
    or empty. `job.frame` holds one block for each thread.
    """
    job = hold(job)
    order, out, losses = borrowed(order), borrowed(out), borrowed(losses)
    frame, plan = job.frame[0], job.plan
    layers, outputs = plan.shape[0], plan[plan.shape[0] - 1].units
    top = plan[layers - 1]
    count = order.shape[0]
    blocks = (count + frame.block - 1) // frame.block
    mine, end = share(thread, threads, blocks)
    place = thread * frame.block
    scratch = scratch_of(job, thread)
    for b in range(mine, end):
        begin = b * frame.block
        rows = min(frame.block, count - begin)
        first, last = place, place + rows
        x = pointer(job.workspace, plan[0].x)
        if in_place(job, in_order):
            x = pointer(job.features, (order[begin] - place) * plan[0].inputs)
        else:
            gather(job, order, begin - place, first, last, np.int64(0), plan[0].inputs)
        for number in range(layers):
            layer, reads = plan[number], input_of(job, number, x)
            affine_part(job, layer, reads, first, last, scratch)
            normalize_row_by_row(job, layer, first, last, np.int64(0))
            if number < layers - 1 or losses.shape[0] == 0:
                output(job, layer, number, reads, first, last, place, place, place, scratch,
                       np.int64(0))  # fmt: skip
        if losses.shape[0] > 0:
            gather_targets(job, order, begin - place, first, last)
            losses[b] = loss_and_dz(job, top, first, last, 1.0,
                                    frame.sums + thread * frame.sums_size + top.sums)  # fmt: skip
        if out.shape[0] > 0:
            y = top.y + first * outputs
            copy_elements(job.workspace, y, out, begin * outputs, rows * outputs)
