"""The move by a single row's gradient, measured as it is made: in a recorded step of batch 1.

To the bits of `gradients.descend_by_one_row`. Theta is read and written once, where
`theta_gauges.note_move` would read it and the moves from memory again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from downslope.kernels.adam import ENLARGED, SUMS, noted_adam_of_one_row
from downslope.kernels.gauges import PART
from downslope.kernels.gradients import factors_of, input_of, piece_gradient
from downslope.kernels.jit import inner
from downslope.kernels.plan import BIAS, PROJECTION, WEIGHT
from downslope.kernels.rules import GD, NARROW, gd_of_one_row
from downslope.kernels.vectors import VECTOR_BYTES, Vectors
from downslope.kernels.views import elements, piece, pointer

IN_TURN = 4
"""Sums that the rows of W are added to in turn: a sum waits for what was added to it before."""


@intrinsic
def _noted_gd_of_one_row(typing, w, x, d, units, rate, sums):
    """w = w - rate x d, to the bits of `gd_of_one_row`; add |w|^2 before to sums (lanes,).

    All pointers but x and rate.
    """
    signature = types.void(w, x, d, types.intp, rate, sums)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        w, x, d, units, rate, sums = arguments
        many = Vectors(context, builder, signature.args[0].dtype)
        factor, back, totals = many.spread(x), many.spread(rate), many.totals(sums, 1)
        back = builder.fneg(back)

        def move(at: Any, mask: Any) -> None:
            begin = builder.gep(w, [at])
            before = many.load(begin, mask)
            totals.add(0, before, before)
            gradient = builder.fmul(factor, many.load(builder.gep(d, [at]), mask))
            many.store(many.multiply_add(back, gradient, before), begin, mask)

        many.each(units, move)
        totals.store()
        return context.get_dummy_value()

    return signature, generate


@inner
def noted_gd(theta, x, d, count, units, row, sums):
    """Move `count` rows of W by gradient descent; give |w|^2 before.

    theta, x, d: pointers; sums (`IN_TURN` vectors,): zeros.
    """
    some, total = elements(x, count), 0.0
    lanes, together = VECTOR_BYTES // some.itemsize, max(1, PART // units)
    rate = some.dtype.type(row[0])
    for begin in range(0, count, together):
        for i in range(begin, min(begin + together, count)):
            _noted_gd_of_one_row(pointer(theta, i * units), some[i], d, units, rate,
                                 pointer(sums, i % IN_TURN * lanes))  # fmt: skip
        total += take_sum(piece(sums, 0, IN_TURN * lanes))
    return total


@inner
def noted_adam(theta, x, d, state, start, moves, count, units, row, decay, sums):
    """Move `count` rows of W by Adam; give |w|^2, |move|^2 and move * last move.

    theta, x, d, moves: pointers, the moves' to the last ones, whose places the new ones take, all
    of them `ENLARGED`; start: where this part of theta begins in the state; sums (`SUMS` vectors,):
    zeros.
    """
    some = elements(x, count)
    length, together = state.shape[1], max(1, PART // units)
    lanes = VECTOR_BYTES // some.itemsize
    w = own = product = 0.0
    for begin in range(0, count, together):
        for i in range(begin, min(begin + together, count)):
            at = i * units
            noted_adam_of_one_row(
                pointer(theta, at), some[i], d, pointer(state, start + at),
                pointer(state, length + start + at), pointer(moves, at), units, row,
                some.dtype.type(decay), pointer(sums, 0))  # fmt: skip
        w += take_sum(piece(sums, 0, lanes))
        own += take_sum(piece(sums, lanes, lanes))
        product += take_sum(piece(sums, 2 * lanes, lanes))
    back = ENLARGED**-2
    return w, own * back, product * back


@inner
def take_sum(lanes):
    """Add up some numbers, and make them zeros."""
    total = lanes.dtype.type(0)
    for i in range(lanes.shape[0]):
        total += lanes[i]
        lanes[i] = 0
    return total


@inner
def descend_and_note(job, block, out, x, scratch, rule, coefficients, decay, thread):
    """Move a block by a step on a single row, and note how its pieces moved."""
    gauges = job.gauges
    lanes = VECTOR_BYTES // gauges.before.itemsize
    room = piece(gauges.before, thread * PART, max(SUMS, IN_TURN) * lanes)
    room[:] = 0
    for p in range(block.first, block.last):
        part, sums = job.pieces[p], gauges.pieces[p]
        layer, kind = job.plan[part.layer], part.kind
        units, size, own = layer.units, part.stop - part.start, input_of(job, part.layer, x)
        some, d = factors_of(job, part, layer, own, np.int64(0))
        if kind != BIAS and (kind not in (WEIGHT, PROJECTION) or units < NARROW):
            # One long row, and of x a 1.
            some, d, units = pointer(job.workspace, job.frame[0].one), out, size
            piece_gradient(job, part, layer, own, np.int64(0), np.int64(1), out, scratch,
                           np.int64(0))  # fmt: skip
        theta, count = pointer(job.theta, part.start), size // units
        if rule == GD:
            sums.move = sums.move_along = 0.0
            if kind == WEIGHT:
                sums.w = noted_gd(theta, some, d, count, units, coefficients, room)
            else:
                gd_of_one_row(theta, some, d, count, units, coefficients)
        else:
            by = decay if kind in (WEIGHT, PROJECTION) else 1.0
            sums.w, sums.move, sums.move_along = noted_adam(
                theta, some, d, job.state, part.start, pointer(gauges.move, part.start), count,
                units, coefficients, by, room)  # fmt: skip
