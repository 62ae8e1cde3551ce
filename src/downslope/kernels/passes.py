"""The forward and the backward pass over some rows of a micro-batch.

A layer: u = x W + b; z = u, or u normalized; y = phi(z), some units dropped, plus the shortcut
(x itself, or x P) of a residual layer. Backward, from the last layer to the first:
dL/dz = dL/dy phi'(z), dL/dx = dL/du W^T (plus the shortcut's share), dL/dx being the dL/dy of the
layer before. The gradient of theta is taken from x and dL/du afterwards (gradients.py).

`first` and `last` count rows within the workspace; `row` is the number in the batch of the
workspace's first row. x points to a layer's input of the first row, scratch to the thread's own.
"""

from __future__ import annotations

import math

import numpy as np

from downslope.kernels import dropout, normalize
from downslope.kernels.activations import activate, backpropagate, slope_gradient
from downslope.kernels.elementary import add, copy
from downslope.kernels.jit import apart, exact, inner
from downslope.kernels.lanes import all_lanes, copy_row, store
from downslope.kernels.losses import fused_loss, loss_and_derivative
from downslope.kernels.plan import (
    ALIGNMENT,
    IDENTITY_RESIDUAL,
    LAYER_NORMALIZATION,
    NO_NORMALIZATION,
    NO_RESIDUAL,
    PROJECTION_RESIDUAL,
)
from downslope.kernels.product import affine, input_gradient
from downslope.kernels.tiles import lanes_of
from downslope.kernels.views import elements, matrix, piece, pointer, prefetch

FAR = 512
"""Bytes of a row from which it pays to fetch rows ahead: the processor guesses short ones."""


@inner
def scratch_of(job, thread):
    """Point to a thread's own part of the scratch."""
    frame = job.frame[0]
    return pointer(job.workspace, frame.scratch + thread * frame.scratch_size)


@inner
def rows_of(workspace, at, first, last, width):
    """View rows first:last of a (rows, width) matrix in the workspace."""
    return matrix(workspace, at + first * width, last - first, width)


@inner
def room_of(frame, first, last, units):
    """Elements that may be written from row `first` of a (rows, units) matrix on.

    They are the block's own, and what lies behind the last row of all: matrices begin at multiples
    of `ALIGNMENT`. So the last vector of few rows need not be masked.
    """
    if last == frame.rows:
        return (last * units + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT - first * units
    return max(frame.block, last - first) * units


@inner
def weights_of(frame, workspace, first, last):
    """View the weights of rows first:last of the micro-batch; empty where all weigh the same."""
    if frame.weight < 0:
        return piece(workspace, 0, 0)
    return piece(workspace, frame.weight + first, last - first)


@exact
def scale(row, centers, factors, x):
    """x = (row - center) factor in float64, rounded once: the very bits of a scaled copy."""
    for j in range(x.shape[0]):
        x[j] = (row[j] - centers[j]) * factors[j]


@exact
def squash(row, centers, factors, squashes, x):
    """x = z / sqrt(1 + (s z)^2), z as in `scale`; s is 0 in columns that are scaled only."""
    for j in range(x.shape[0]):
        z = (row[j] - centers[j]) * factors[j]
        q = z * squashes[j]
        x[j] = z / math.sqrt(1.0 + q * q)


@inner
def in_place(job, in_order):
    """Whether rows are read where they lie: they come in order, and are not to be scaled."""
    return in_order and job.centers.shape[0] == 0


@inner
def gather(job, order, begin, first, last, low, high):
    """Fetch columns low:high of the batch's rows order[begin + first : begin + last], scaled."""
    if job.centers.shape[0] > 0:
        gather_scaled(job, order, begin, first, last, low, high)
        return
    features, workspace, inputs, x = job.features, job.workspace, job.plan[0].inputs, job.plan[0].x
    width = high - low
    numbers = pointer(order, begin)
    ahead = np.int64(2) if width * workspace.itemsize >= FAR else order.shape[0]
    for r in range(first, last):
        if begin + r + ahead < order.shape[0]:
            prefetch(features, order[begin + r + ahead] * inputs + low, width)
        copy_row(pointer(features, numbers[r] * inputs + low),
                 pointer(workspace, x + r * inputs + low), width)  # fmt: skip


@apart
def gather_scaled(job, order, begin, first, last, low, high):
    """The same for rows that are not scaled yet; apart, so as not to slow down those that are."""
    inputs, width, squashed = job.plan[0].inputs, high - low, job.squashes.shape[0] > 0
    centers, factors = piece(job.centers, low, width), piece(job.factors, low, width)
    squashes = piece(job.squashes, low, width)
    for r in range(first, last):
        if begin + r + 2 < order.shape[0]:
            prefetch(job.features, order[begin + r + 2] * inputs + low, width)
        row = piece(job.features, order[begin + r] * inputs + low, width)
        x = piece(job.workspace, job.plan[0].x + r * inputs + low, width)
        if squashed:
            squash(row, centers, factors, squashes, x)
        else:
            scale(row, centers, factors, x)


@inner
def gather_targets(job, order, begin, first, last):
    """Fetch the rows' targets, dense and smoothed, and their weights.

    Label smoothing s (Szegedy et al. 2016, section 7): t (1 - s) + s / classes; a yes or no of its
    own has two classes.
    """
    frame, workspace, labels = job.frame[0], job.workspace, job.labels
    outputs = job.plan[job.plan.shape[0] - 1].units
    smooth, base = workspace.dtype.type(frame.smoothing), workspace.dtype.type(0)
    if smooth != base:
        base = smooth / workspace.dtype.type(max(outputs, 2))
    keep = workspace.dtype.type(1) - smooth
    target, rows = pointer(workspace, frame.target + first * outputs), last - first
    label, numbers = pointer(labels, np.int64(0)), pointer(order, begin + first)
    if labels.shape[0] > 0 and outputs > 1:
        room = room_of(frame, first, last, outputs)
        for i in range(0, rows * outputs, lanes_of(target)):
            store(all_lanes(target, base), target, i, room)
        for r in range(rows):
            target[r * outputs + label[numbers[r]]] = base + keep
    elif labels.shape[0] > 0:
        for r in range(rows):
            target[r] = keep * workspace.dtype.type(label[numbers[r]]) + base
    else:
        for r in range(rows):
            copy_row(pointer(job.targets, numbers[r] * outputs), pointer(target, r * outputs),
                     outputs)  # fmt: skip
        if smooth != workspace.dtype.type(0):
            half = smooth / workspace.dtype.type(2)
            for k in range(rows * outputs):
                target[k] = keep * target[k] + half
    if frame.weight >= 0:
        for r in range(first, last):
            workspace[frame.weight + r] = job.weights[order[begin + r]]


@inner
def affine_part(job, layer, x, first, last, scratch):
    """u = x W + b for rows first:last."""
    affine(job.theta, layer.weight, layer.bias, pointer(x, first * layer.inputs),
           pointer(job.workspace, layer.affine + first * layer.units), last - first, layer.inputs,
           layer.units, np.int64(0), layer.inputs, scratch)  # fmt: skip


@inner
def half_affine(job, layer, side, x, first, last, scratch):
    """The lower half of x times that of W, plus b, in u's place; the upper halves in a place apart.

    A core that has moved half of W has it in its cache; were all of W read by all cores, each line
    would travel twice a step.
    """
    out, bias, begin, end = layer.affine, layer.bias, np.int64(0), layer.half
    if side == 1:
        out, bias, begin, end = job.frame[0].half, np.int64(-1), layer.half, layer.inputs
    affine(job.theta, layer.weight, bias, pointer(x, first * layer.inputs),
           pointer(job.workspace, out + first * layer.units), last - first, layer.inputs,
           layer.units, begin, end, scratch)  # fmt: skip


@inner
def join_halves(job, layer, first, last):
    """u += the product of the upper halves."""
    begin, count = first * layer.units, (last - first) * layer.units
    add(piece(job.workspace, layer.affine + begin, count),
        piece(job.workspace, job.frame[0].half + begin, count))  # fmt: skip


@inner
def normalize_row_by_row(job, layer, first, last, training):
    """Normalize u, unless that needs the whole batch first."""
    if layer.normalization != NO_NORMALIZATION:
        normalize_block(job, layer, first, last, training)


@apart
def normalize_block(job, layer, first, last, training):
    """The same of a layer that is normalized; apart, as most are not."""
    if layer.normalization == LAYER_NORMALIZATION:
        u = rows_of(job.workspace, layer.affine, first, last, layer.units)
        normalize.normalize_rows(u, piece(job.workspace, layer.deviation + first, last - first))
    elif not training:
        u = rows_of(job.workspace, layer.affine, first, last, layer.units)
        normalize.normalize_by_running(u, job.statistics, layer.statistics)


@inner
def output(job, layer, number, x, first, last, row, seed, step, scratch, training):
    """y = phi(z), dropped out when training, plus the shortcut."""
    units, workspace = layer.units, job.workspace
    begin = first * units
    if layer.affine != layer.z:
        shift_and_scale(job, layer, first, last)
    activate(layer.activation, layer.parameter, pointer(job.theta, layer.slope),
             pointer(workspace, layer.z + begin), pointer(workspace, layer.phi + begin),
             last - first, units, room_of(job.frame[0], first, last, units))  # fmt: skip
    if layer.phi != layer.y:
        mix(job, layer, number, x, first, last, row, seed, step, scratch, training)


@apart
def shift_and_scale(job, layer, first, last):
    """z = gamma v + beta; apart, as are the next, since most layers have none."""
    v = rows_of(job.workspace, layer.affine, first, last, layer.units)
    z = rows_of(job.workspace, layer.z, first, last, layer.units)
    normalize.scale_and_shift(v, job.theta, layer.gamma, layer.beta, z)


@apart
def mix(job, layer, number, x, first, last, row, seed, step, scratch, training):
    """y = phi, dropped out when training, plus the shortcut."""
    units, workspace = layer.units, job.workspace
    begin, count = first * units, (last - first) * units
    y = piece(workspace, layer.y + begin, count)
    copy(piece(workspace, layer.phi + begin, count), y)
    if training and layer.dropout > 0:
        key = dropout.stream(seed, step, number)
        dropout.drop(y, layer.dropout, key, (row + first) * units)
    if layer.residual == IDENTITY_RESIDUAL:
        add(y, elements(pointer(x, begin), count))
    elif layer.residual == PROJECTION_RESIDUAL:
        project(job, layer, x, first, last, scratch)


@inner
def project(job, layer, x, first, last, scratch):
    """y += x P, row by row through the place of dL/dy, which is free until the backward pass."""
    begin, count = first * layer.units, (last - first) * layer.units
    affine(job.theta, layer.projection, np.int64(-1), pointer(x, first * layer.inputs),
           pointer(job.workspace, layer.dy + begin), last - first, layer.inputs, layer.units,
           np.int64(0), layer.inputs, scratch)  # fmt: skip
    add(piece(job.workspace, layer.y + begin, count), piece(job.workspace, layer.dy + begin, count))


@inner
def loss_and_dz(job, layer, first, last, scale, sums):
    """Loss summed over the rows, and dL/dz of the output layer, both with the rows' weights."""
    units, frame, workspace, rows = layer.units, job.frame[0], job.workspace, last - first
    z, y = pointer(workspace, layer.z + first * units), pointer(workspace, layer.y + first * units)
    dz, target = (
        pointer(workspace, layer.dz + first * units),
        pointer(workspace, frame.target + first * units),
    )
    weight, weighted = pointer(workspace, frame.weight + first), frame.weight >= 0
    room = room_of(frame, first, last, units)
    if frame.fused:
        return fused_loss(frame.loss, frame.loss_parameter, layer.activation, z, y, target,
                          weight, weighted, scale, dz, rows, units, room)  # fmt: skip
    slope = pointer(job.theta, layer.slope)
    activate(layer.activation, layer.parameter, slope, z, y, rows, units, room)
    loss = loss_and_derivative(frame.loss, frame.loss_parameter, y, target, weight, weighted,
                               scale, dz, rows, units, room)  # fmt: skip
    if layer.slope >= 0:
        slope_gradient(z, dz, rows, units, pointer(workspace, sums))
    backpropagate(layer.activation, layer.parameter, slope, z, y, dz, rows, units, room)
    return loss


@inner
def hidden_dy(job, layer, above, first, last, begin, end, scratch):
    """Columns begin:end of a hidden layer's dL/dy = dL/du W^T, from dL/du of the layer above."""
    input_gradient(pointer(job.workspace, above.dz + first * above.units),
                   pointer(job.theta, above.weight),
                   pointer(job.workspace, layer.dy + first * layer.units), last - first,
                   layer.units, above.units, begin, end, scratch, np.int64(0))  # fmt: skip


@inner
def add_shortcut_dy(job, layer, above, first, last, scratch):
    """dL/dy of a hidden layer += the share that came through the shortcut of the layer above."""
    if above.residual != NO_RESIDUAL:
        shortcut_dy(job, layer, above, first, last, scratch)


@apart
def shortcut_dy(job, layer, above, first, last, scratch):
    """The same where there is a shortcut."""
    rows, units, workspace = last - first, layer.units, job.workspace
    begin, above_begin = layer.dy + first * units, above.dy + first * above.units
    if above.residual == IDENTITY_RESIDUAL:
        count = rows * units
        add(piece(workspace, begin, count), piece(workspace, above_begin, count))
    else:
        input_gradient(pointer(workspace, above_begin), pointer(job.theta, above.projection),
                       pointer(workspace, begin), rows, units, above.units, np.int64(0), units,
                       scratch, np.int64(1))  # fmt: skip


@inner
def hidden_dz(job, layer, number, first, last, row, seed, step, sums):
    """dL/dz of a hidden layer from its dL/dy, with the sums for gamma, beta and the slopes.

    sums: where this block's sums of this layer lie in the workspace.
    """
    units, workspace = layer.units, job.workspace
    begin = first * units
    if layer.dz != layer.dy or layer.dropout > 0 or layer.slope >= 0:
        hidden_dphi(job, layer, number, first, last, row, seed, step, sums)
    backpropagate(layer.activation, layer.parameter, pointer(job.theta, layer.slope),
                  pointer(workspace, layer.z + begin), pointer(workspace, layer.phi + begin),
                  pointer(workspace, layer.dz + begin), last - first, units,
                  room_of(job.frame[0], first, last, units))  # fmt: skip
    if layer.gamma >= 0:
        sum_affine(job, layer, first, last, sums)


@apart
def hidden_dphi(job, layer, number, first, last, row, seed, step, sums):
    """dL/dphi, in the place of dL/dz, with the sums for PReLU's slopes."""
    units, workspace, rows = layer.units, job.workspace, last - first
    begin, count = first * units, rows * units
    d = piece(workspace, layer.dz + begin, count)
    if layer.dz != layer.dy:
        copy(piece(workspace, layer.dy + begin, count), d)
    if layer.dropout > 0:
        key = dropout.stream(seed, step, number)
        dropout.drop(d, layer.dropout, key, (row + first) * units)
    if layer.slope >= 0:
        out = pointer(workspace, sums + 2 * units * (layer.gamma >= 0))
        slope_gradient(pointer(workspace, layer.z + begin), pointer(d, np.int64(0)), rows, units,
                       out)  # fmt: skip


@apart
def sum_affine(job, layer, first, last, sums):
    """The sums for gamma and beta."""
    units, workspace = layer.units, job.workspace
    v = rows_of(workspace, layer.affine, first, last, units)
    dz = rows_of(workspace, layer.dz, first, last, units)
    normalize.affine_sums(v, dz, piece(workspace, sums, units),
                          piece(workspace, sums + units, units))  # fmt: skip


@inner
def hidden_du(job, layer, first, last):
    """dL/du from dL/dz; with batch normalization that needs the sums of all blocks first."""
    if layer.normalization == LAYER_NORMALIZATION:
        normalized_du(job, layer, first, last)


@apart
def normalized_du(job, layer, first, last):
    """The same of a layer whose rows are normalized."""
    v = rows_of(job.workspace, layer.affine, first, last, layer.units)
    dz = rows_of(job.workspace, layer.dz, first, last, layer.units)
    deviation = piece(job.workspace, layer.deviation + first, last - first)
    normalize.normalize_rows_backward(v, deviation, job.theta, layer.gamma, dz)
