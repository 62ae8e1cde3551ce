"""What the threads work on together within a pass: halves of W, the statistics of a whole batch.

They meet before one uses what another has made. mine, end: a thread's own blocks of rows.
"""

from __future__ import annotations

import numpy as np

from downslope.kernels import normalize
from downslope.kernels.elementary import add
from downslope.kernels.jit import inner
from downslope.kernels.passes import (
    half_affine,
    hidden_dy,
    join_halves,
    rows_of,
    scratch_of,
    weights_of,
)
from downslope.kernels.threads import share, side_of, wait
from downslope.kernels.views import elements, piece, pointer


@inner
def affine_by_halves(job, layer, x, rows, mine, end, thread, threads):
    """u = x W + b, where each thread keeps to its half of W, for all rows that it is for."""
    frame, scratch = job.frame[0], scratch_of(job, thread)
    side, sides, member, members = side_of(thread, threads)
    begin, stop = share(member, members, (rows + frame.block - 1) // frame.block)
    while side < sides:
        half_affine(job, layer, side, x, begin * frame.block, min(stop * frame.block, rows),
                    scratch)  # fmt: skip
        side += 1
    wait(job.barrier, thread, threads)
    for b in range(mine, end):
        join_halves(job, layer, b * frame.block, min((b + 1) * frame.block, rows))


@inner
def dy_by_halves(job, layer, above, rows, thread, threads):
    """dL/dy = dL/du W^T, where each thread keeps to its half of W: to half of the columns."""
    frame, scratch = job.frame[0], scratch_of(job, thread)
    side, sides, member, members = side_of(thread, threads)
    begin, stop = share(member, members, (rows + frame.block - 1) // frame.block)
    wait(job.barrier, thread, threads)
    while side < sides:
        low, high = (0, above.half) if side == 0 else (above.half, above.inputs)
        hidden_dy(job, layer, above, begin * frame.block, min(stop * frame.block, rows), low,
                  high, scratch)  # fmt: skip
        side += 1
    wait(job.barrier, thread, threads)


@inner
def normalize_batch(job, layer, rows, mine, end, thread, threads):
    """Batch normalization forward; the threads meet before they use each other's statistics."""
    frame, workspace, units = job.frame[0], job.workspace, layer.units
    for b in range(mine, end):
        u = rows_of(
            workspace, layer.affine, b * frame.block, min((b + 1) * frame.block, rows), units
        )
        at = frame.sums + b * frame.sums_size + layer.sums
        weight = weights_of(frame, workspace, b * frame.block, min((b + 1) * frame.block, rows))
        normalize.block_statistics(
            u, weight, piece(workspace, at, units), piece(workspace, at + units, units)
        )
    wait(job.barrier, thread, threads)
    moments = pointer(scratch_of(job, thread), layer.moments)
    mean, squares = elements(moments, units), elements(pointer(moments, units), units)
    count = normalize.merge_statistics(
        workspace, frame.sums + layer.sums, frame.sums_size, frame.block, rows,
        weights_of(frame, workspace, np.int64(0), rows), mean, squares,
    )  # fmt: skip
    if thread == 0:
        normalize.update_running(mean, squares, count, job.statistics, layer.statistics)
    normalize.invert_deviation(squares, count)
    for b in range(mine, end):
        u = rows_of(
            workspace, layer.affine, b * frame.block, min((b + 1) * frame.block, rows), units
        )
        normalize.normalize_units(u, mean, squares)


@inner
def normalize_batch_backward(job, layer, rows, mine, end, thread, threads):
    """Batch normalization backward, after the threads have met over their blocks' sums."""
    frame, workspace, units = job.frame[0], job.workspace, layer.units
    wait(job.barrier, thread, threads)
    moments = pointer(scratch_of(job, thread), layer.moments)
    inverse = elements(pointer(moments, units), units)
    both = elements(pointer(moments, 2 * units), 2 * units)
    both[:] = 0
    for b in range((rows + frame.block - 1) // frame.block):
        at = frame.sums + b * frame.sums_size + layer.sums
        add(both, piece(workspace, at, 2 * units))
    count = normalize.count_of(weights_of(frame, workspace, np.int64(0), rows), rows)
    for b in range(mine, end):
        first, last = b * frame.block, min((b + 1) * frame.block, rows)
        v = rows_of(workspace, layer.affine, first, last, units)
        dz = rows_of(workspace, layer.dz, first, last, units)
        normalize.normalize_units_backward(v, inverse, job.theta, layer.gamma,
                                           piece(both, 0, units), piece(both, units, units),
                                           weights_of(frame, workspace, first, last), count,
                                           dz)  # fmt: skip
