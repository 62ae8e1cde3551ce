"""What is measured of theta: its gradient and its move, beside those of the step before."""

from __future__ import annotations

import numpy as np

from downslope.kernels.elementary import is_sound
from downslope.kernels.gauges import OF_GRADIENT, PART, find_bins_of_magnitudes
from downslope.kernels.gradients import input_of, square_sum
from downslope.kernels.jit import inner
from downslope.kernels.lanes import like
from downslope.kernels.plan import PROJECTION_RESIDUAL, WEIGHT
from downslope.kernels.tiles import outer
from downslope.kernels.views import copy_elements, elements, piece, pointer


@inner
def products(values, previous, zero):
    """|v|^2, v p and |p|^2, of zero's number type on the way; values, previous (size,)."""
    own = product = other = zero
    for i in range(values.shape[0]):
        v, p = like(zero, values[i]), like(zero, previous[i])
        own += v * v
        product += v * p
        other += p * p
    return np.float64(own), np.float64(product), np.float64(other)


@inner
def compare(values, previous):
    """|v|^2, v p and |p|^2; then p becomes v. values, previous (size,), at most PART."""
    own, product, other = products(values, previous, values.dtype.type(0))
    if not (is_sound(values, own) and is_sound(values, other)):
        own, product, other = products(values, previous, 0.0)
    # Apart from the reads, as in `normalize_rows_backward`: else bits would hang on addresses.
    for i in range(values.shape[0]):
        previous[i] = values[i]
    return own, product, other


@inner
def products_of_moves(before, theta, previous, zero):
    """|before|^2, and `products` of theta - before with the move before; all (size,)."""
    w = own = product = other = zero
    for i in range(theta.shape[0]):
        start, p = like(zero, before[i]), like(zero, previous[i])
        move = like(zero, theta[i] - before[i])
        w += start * start
        own += move * move
        product += move * p
        other += p * p
    return np.float64(w), np.float64(own), np.float64(product), np.float64(other)


@inner
def compare_moves(before, theta, previous):
    """|before|^2, and as `compare` of theta - before with the move before; all (size,)."""
    w, own, product, other = products_of_moves(before, theta, previous, theta.dtype.type(0))
    if not (is_sound(theta, w) and is_sound(theta, own) and is_sound(theta, other)):
        w, own, product, other = products_of_moves(before, theta, previous, 0.0)
    for i in range(theta.shape[0]):
        previous[i] = theta[i] - before[i]
    return w, own, product, other


@inner
def draw_entries(gauges, number, bins, begin, values, thread):
    """Draw every stride-th entry of a layer's dL/dW; values (size,) are those from `begin` on."""
    stride = gauges.strides[number, OF_GRADIENT]
    before = (begin + stride - 1) // stride
    first = before * stride - begin
    count = max((values.shape[0] - first + stride - 1) // stride, 0)
    start = gauges.starts[2 * number + OF_GRADIENT] + before
    if stride == 1:  # all of them
        find_bins_of_magnitudes(values, piece(bins, start, count))
        return
    drawn = piece(gauges.room, thread * gauges.room.shape[1], count)
    for i in range(count):
        drawn[i] = values[first + i * stride]
    find_bins_of_magnitudes(drawn, piece(bins, start, count))


@inner
def note_gradient(job, record, place, b, at, thread):
    """Note the gradient of block b of theta, without penalties; it begins at `at`."""
    gauges, block, whole = job.gauges, job.blocks[b], 0.0
    for p in range(block.first, block.last):
        part = job.pieces[p]
        values = piece(job.gradient, at + part.start - block.start, part.stop - part.start)
        total = square_sum(values)
        gauges.pieces[p].gradient = total
        whole += total
        if part.kind == WEIGHT:
            begin = part.start - job.plan[part.layer].weight
            draw_entries(gauges, part.layer, record.bins[place], begin, values, thread)
    gauges.norms[b] = whole


@inner
def keep_theta(job, begin, end, thread):
    """Copy the part begin:end of theta before it is moved."""
    copy_elements(job.theta, begin, job.gauges.before, thread * PART, end - begin)


@inner
def note_move(job, block, begin, end, first, alone, thread):
    """Note what the rule got of a part of a block and how it moved it, beside the step before.

    first: where the part's gradient begins; alone: whether `note_one_row` has noted the gradient.
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
        if not alone:
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
def compare_long(values, previous):
    """`compare` of vectors of any length."""
    own = product = other = 0.0
    for begin in range(0, values.shape[0], PART):
        size = min(PART, values.shape[0] - begin)
        vv, vp, pp = compare(piece(values, begin, size), piece(previous, begin, size))
        own, product, other = own + vv, product + vp, other + pp
    return own, product, other


@inner
def draw_one_row(job, layer, number, bins, x, d, thread):
    """Draw entries of dL/dW = x^T d of a single row, which is not stored; x, d: pointers."""
    gauges, place = job.gauges, 2 * number + OF_GRADIENT
    count = gauges.starts[place + 1] - gauges.starts[place]
    drawn = piece(gauges.room, thread * gauges.room.shape[1], count)
    if gauges.strides[number, OF_GRADIENT] == 1:
        outer(x, d, pointer(drawn, np.int64(0)), layer.inputs, layer.units)
    else:
        some, other = elements(x, layer.inputs), elements(d, layer.units)
        inputs, units = gauges.factors[number, 0], gauges.factors[number, 1]
        for n in range(count):
            drawn[n] = some[inputs[n]] * other[units[n]]
    find_bins_of_magnitudes(drawn, piece(bins, gauges.starts[place], count))


@inner
def note_one_row(job, record, place, x, rate, thread):
    """Note the gradient of a batch of one row beside that of the step before; keep it for the next.

    Of W it is x^T d, d = dL/du, so that |g|^2 = |x|^2 |d|^2 and g g' = (x x') (d d'), prime for the
    step before: x and d are kept instead, in the places of W and b in `Gauges.gradient`.
    rate: learning rate where the step is -rate g, so that all of it is known; else 0. It is kept in
    the first place of `Gauges.move`.
    """
    gauges, workspace = job.gauges, job.workspace
    rate_before = np.float64(0)
    if rate != 0:
        rate_before = np.float64(gauges.move[0])
        gauges.move[0] = rate
        rate = np.float64(gauges.move[0])
    for number in range(job.plan.shape[0]):
        layer = job.plan[number]
        inputs, units = layer.inputs, layer.units
        own = input_of(job, number, x)
        d = piece(workspace, layer.dz, units)
        if place >= 0:
            draw_one_row(job, layer, number, record.bins[place], own, pointer(workspace, layer.dz),
                         thread)  # fmt: skip
        xx, xp, pp = compare_long(
            elements(own, inputs), piece(gauges.gradient, layer.weight, inputs)
        )
        final, along, before = compare_long(d, piece(gauges.gradient, layer.bias, units))
        w_final, w_along, w_before = xx * final, xp * along, pp * before
        final, along, before = final + w_final, along + w_along, before + w_before
        if layer.residual == PROJECTION_RESIDUAL:
            dy = piece(workspace, layer.dy, units)
            dd, dp, pd = compare_long(dy, piece(gauges.gradient, layer.projection, units))
            final, along, before = final + xx * dd, along + xp * dp, before + pp * pd
        at = job.frame[0].sums + layer.sums
        for start in (layer.gamma, layer.beta, layer.slope):
            if start >= 0:
                dd, dp, pd = compare_long(
                    piece(workspace, at, units), piece(gauges.gradient, start, units)
                )
                final, along, before = final + dd, along + dp, before + pd
                at += units
        if place >= 0:
            total = record.moves[place, number]
            record.norms[place] += final
            total.gradient, total.final, total.along, total.before = final, final, along, before
            total.dw = w_final
            total.move, total.move_along = rate * rate * final, rate * rate_before * along
            total.move_before, total.move_w = (
                rate_before * rate_before * before,
                rate * rate * w_final,
            )
    if place >= 0:
        note_overflow(job, record, place)


@inner
def note_overflow(job, record, place):
    """Note, for whoever asks where it arose, whether a product of x and d may be no number."""
    gauges = job.gauges
    most = 2.0**256 if gauges.gradient.itemsize == 4 else np.inf
    for p in range(job.pieces.shape[0]):
        total = record.moves[place, job.pieces[p].layer].gradient
        gauges.pieces[p].gradient = total if total < most else total * np.inf


@inner
def merge_pieces(job, record, place, moves, alone):
    """Add up what was noted of the pieces of theta, in their order.

    moves: whether the loop has moved theta; else whoever does so notes it. alone: whether
    `note_one_row` has noted the gradient.
    """
    gauges = job.gauges
    if not alone:
        for b in range(job.blocks.shape[0]):
            record.norms[place] += gauges.norms[b]
    for p in range(job.pieces.shape[0]):
        part, sums = job.pieces[p], gauges.pieces[p]
        total = record.moves[place, part.layer]
        if not alone:
            total.gradient += sums.gradient
            if part.kind == WEIGHT:
                total.dw += sums.gradient
        if moves:
            if not alone:
                total.final += sums.final
                total.along += sums.along
                total.before += sums.before
            total.move += sums.move
            total.move_along += sums.move_along
            total.move_before += sums.move_before
            if part.kind == WEIGHT:
                total.w += sums.w
                total.move_w += sums.move
