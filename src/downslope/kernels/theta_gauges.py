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
    """|v|^2 and v p, of zero's number type on the way; values, previous (size,)."""
    own = product = zero
    for i in range(values.shape[0]):
        v = like(zero, values[i])
        own += v * v
        product += v * like(zero, previous[i])
    return np.float64(own), np.float64(product)


@inner
def compare(values, previous):
    """|v|^2 and v p; then p becomes v. values, previous (size,), at most PART."""
    own, product = products(values, previous, values.dtype.type(0))
    # One by one: |v|^2 must not depend on p, for it is to be that of the step before in the next.
    if not is_sound(values, own):
        own = products(values, previous, 0.0)[0]
    if not is_sound(values, abs(product)):
        product = products(values, previous, 0.0)[1]
    # Apart from the reads, as in `normalize_rows_backward`: else bits would depend on addresses.
    for i in range(values.shape[0]):
        previous[i] = values[i]
    return own, product


@inner
def products_of_moves(before, theta, previous, zero):
    """|before|^2, and `products` of theta - before with the move before; all (size,)."""
    w = own = product = zero
    for i in range(theta.shape[0]):
        start, move = like(zero, before[i]), like(zero, theta[i] - before[i])
        w += start * start
        own += move * move
        product += move * like(zero, previous[i])
    return np.float64(w), np.float64(own), np.float64(product)


@inner
def compare_moves(before, theta, previous):
    """|before|^2, and as `compare` of theta - before with the move before; all (size,)."""
    w, own, product = products_of_moves(before, theta, previous, theta.dtype.type(0))
    if not (is_sound(theta, w) and is_sound(theta, own)):
        w, own, _ = products_of_moves(before, theta, previous, 0.0)
    if not is_sound(theta, abs(product)):
        product = products_of_moves(before, theta, previous, 0.0)[2]
    for i in range(theta.shape[0]):
        previous[i] = theta[i] - before[i]
    return w, own, product


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
            sums.final = sums.along = sums.w = sums.move = sums.move_along = 0.0
        low, high = max(begin, part.start), min(end, part.stop)
        if low >= high:
            continue
        if not alone:
            own, product = compare(
                piece(job.gradient, first + low - begin, high - low),
                piece(gauges.gradient, low, high - low),
            )
            sums.final += own
            sums.along += product
        w, own, product = compare_moves(
            piece(gauges.before, thread * PART + low - begin, high - low),
            piece(job.theta, low, high - low),
            piece(gauges.move, low, high - low),
        )
        sums.w += w
        sums.move += own
        sums.move_along += product


@inner
def compare_long(values, previous):
    """`compare` of vectors of any length."""
    own = product = 0.0
    for begin in range(0, values.shape[0], PART):
        size = min(PART, values.shape[0] - begin)
        vv, vp = compare(piece(values, begin, size), piece(previous, begin, size))
        own, product = own + vv, product + vp
    return own, product


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
def begin_moves(total):
    """Let a layer's sums be those of a new step, beside the one before."""
    total.before, total.move_before = total.final, total.move
    total.gradient = total.final = total.along = total.dw = 0.0
    total.w = total.move = total.move_along = total.move_w = 0.0


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
        xx, xp = compare_long(elements(own, inputs), piece(gauges.gradient, layer.weight, inputs))
        final, along = compare_long(d, piece(gauges.gradient, layer.bias, units))
        w_final, w_along = xx * final, xp * along
        final, along = final + w_final, along + w_along
        if layer.residual == PROJECTION_RESIDUAL:
            dy = piece(workspace, layer.dy, units)
            dd, dp = compare_long(dy, piece(gauges.gradient, layer.projection, units))
            final, along = final + xx * dd, along + xp * dp
        at = job.frame[0].sums + layer.sums
        for start in (layer.gamma, layer.beta, layer.slope):
            if start >= 0:
                dd, dp = compare_long(
                    piece(workspace, at, units), piece(gauges.gradient, start, units)
                )
                final, along = final + dd, along + dp
                at += units
        total = gauges.moves[number]
        begin_moves(total)
        total.gradient, total.final, total.along, total.dw = final, final, along, w_final
        total.move, total.move_along = rate * rate * final, rate * rate_before * along
        total.move_w = rate * rate * w_final
        if place >= 0:
            record.norms[place] += final
    if place >= 0:
        note_overflow(job, record, place)


@inner
def note_overflow(job, record, place):
    """Note, for whoever asks where it arose, whether a product of x and d may be no number."""
    gauges = job.gauges
    most = 2.0**256 if gauges.gradient.itemsize == 4 else np.inf
    for p in range(job.pieces.shape[0]):
        total = gauges.moves[job.pieces[p].layer].gradient
        gauges.pieces[p].gradient = total if total < most else total * np.inf


@inner
def merge_pieces(job, record, place, moves, alone):
    """Add up what was noted of the pieces of theta, in their order.

    moves: whether the loop has moved theta; else whoever does so notes it. alone: whether
    `note_one_row` has noted the gradient.
    """
    gauges = job.gauges
    for number in range(job.plan.shape[0]):
        if not alone:
            begin_moves(gauges.moves[number])
    for p in range(job.pieces.shape[0]):
        part, sums = job.pieces[p], gauges.pieces[p]
        total = gauges.moves[part.layer]
        if not alone:
            total.gradient += sums.gradient
            if part.kind == WEIGHT:
                total.dw += sums.gradient
        if moves:
            if not alone:
                total.final += sums.final
                total.along += sums.along
            total.move += sums.move
            total.move_along += sums.move_along
            if part.kind == WEIGHT:
                total.w += sums.w
                total.move_w += sums.move
    if place < 0:
        return
    for number in range(job.plan.shape[0]):
        record.moves[place, number] = gauges.moves[number]
    if not alone:
        for b in range(job.blocks.shape[0]):
            record.norms[place] += gauges.norms[b]
