"""The losses: L and its derivative side by side.

Of one row, L is a sum over its outputs; of rows, the weighted sum, in float64. Every loss takes
outputs and targets, numbers or vectors of `lanes`, and gives L's terms and their derivatives. The
usual pairs of output activation and loss have a fused form: it goes from z to dL/dz in one step,
and no probability is ever too close to 0 for its logarithm. Other pairs go through dL/dy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from downslope.catalogue import code
from downslope.kernels.activations import (
    IDENTITY,
    SIGMOID,
    SOFTMAX,
    activate,
    exponentials,
    rows_together,
    wide_exponentials,
)
from downslope.kernels.elementary import clamp, exp, log, log1p, sigmoid_sides
from downslope.kernels.jit import apart, exact, kernel
from downslope.kernels.lanes import (
    all_lanes,
    before,
    double,
    lane_sum,
    like,
    load,
    magnitude,
    row_sum,
    select,
    store,
)
from downslope.kernels.lanes import fused as multiply_add
from downslope.kernels.tiles import lanes_of

CROSS_ENTROPY = code("loss", "cross_entropy")
BINARY_CROSS_ENTROPY = code("loss", "binary_cross_entropy")
SQUARED_ERROR = code("loss", "squared_error")
ABSOLUTE_ERROR = code("loss", "absolute_error")
HUBER = code("loss", "huber")
POISSON = code("loss", "poisson")

EPSILON = 1e-7
"""How near to 0 and 1 an unfused cross-entropy lets a probability come; Keras's value."""


@kernel
def fused(loss, activation):
    """Say whether `fused_loss` knows this loss after this output activation."""
    if loss == CROSS_ENTROPY:
        return activation == SOFTMAX
    if loss == BINARY_CROSS_ENTROPY:
        return activation == SIGMOID
    return activation == IDENTITY


@exact
def cross_entropy(y, t, _):
    """-t log y, y clipped; -t / y, 0 where y was clipped."""
    return -t * log(clamp(y, EPSILON, 1.0 - EPSILON)), unless_clipped(y, -t / y)


@exact
def binary_cross_entropy(y, t, _):
    """-t log y - (1-t) log(1-y), y clipped; (y - t) / (y (1 - y)), 0 where y was clipped."""
    one = like(y, 1.0)
    clipped = clamp(y, EPSILON, 1.0 - EPSILON)
    term = -t * log(clipped) - (one - t) * log(one - clipped)
    return term, unless_clipped(y, (y - t) / (y * (one - y)))


@exact
def unless_clipped(y, derivative):
    """Give the derivative, 0 where y lies outside of [EPSILON, 1 - EPSILON]."""
    zero = like(y, 0.0)
    derivative = select(y < like(y, EPSILON), zero, derivative)
    return select(y > like(y, 1.0 - EPSILON), zero, derivative)


@exact
def squared_error(y, t, _):
    """r^2 / 2 and r, r = y - t."""
    return like(y, 0.5) * (y - t) * (y - t), y - t


@exact
def absolute_error(y, t, _):
    """|r| and -1, 0 or 1 by its sign, r = y - t; NaN stays."""
    r, zero = y - t, like(y, 0.0)
    below = select(r < zero, like(r, -1.0), r)
    return magnitude(r), select(r > zero, like(r, 1.0), below)


@exact
def huber(y, t, delta):
    """c (r - c / 2) and c, r = y - t, c = r within [-delta, delta]."""
    c = clamp(y - t, -delta, delta)
    return c * (y - t - like(y, 0.5) * c), c


@exact
def poisson(y, t, _):
    """exp(y) - t y + t log t - t, the last two 0 for t = 0; exp(y) - t.

    exp(y) is infinite where it is no number of its type.
    """
    e, zero = exp(-magnitude(y)), like(y, 0.0)
    count = select(y > zero, like(y, 1.0) / e, e)
    constant = select(t > zero, t * log(t) - t, zero)
    return count - t * y + constant, count - t


@exact
def sigmoid_binary_cross_entropy(z, t, _):
    """log(1 + exp(z)) - t z and y - t, y the sigmoid of z.

    The first is taken as log(1 + exp(-|z|)) + z (s - t), s = 1 if z > 0 else 0, so nothing is lost
    where z is large and right.
    """
    s = select(z > like(z, 0.0), like(z, 1.0), like(z, 0.0))
    y, _ = sigmoid_sides(z)
    return log1p(exp(-magnitude(z))) + z * (s - t), y - t


@exact
def weight_of(weight, weighted, n):
    """Give row n's weight; 1 if no weights are given."""
    return float(weight[n]) if weighted else 1.0


def _over_rows(parts: Callable[..., Any]) -> Any:
    """Make the loop over rows for a loss: d becomes scale weight_n dL_n/dy, the sum of L is given.

    Where all rows weigh the same they are one long row. Each lane's sum is its own, in float64.
    """

    @exact
    def over_rows(parameter, y, target, weight, weighted, scale, d, rows, outputs, room):
        total, lanes = double(all_lanes(y, 0.0)), lanes_of(y)
        together = 1 if weighted else rows
        n = np.int64(0)
        while n < rows:
            w, end = weight_of(weight, weighted, n), (n + together) * outputs
            for i in range(n * outputs, end, lanes):
                term, derivative = parts(load(y, i, end), load(target, i, end), parameter)
                term = select(before(y, i, end), term, like(term, 0.0))
                total = multiply_add(like(total, w), double(term), total)
                store(like(derivative, scale * w) * derivative, d, i, room)
            n += together
        return lane_sum(total)

    return over_rows


_cross_entropy = _over_rows(cross_entropy)
_binary_cross_entropy = _over_rows(binary_cross_entropy)
_squared_error = _over_rows(squared_error)
_absolute_error = _over_rows(absolute_error)
_huber = _over_rows(huber)
_poisson = _over_rows(poisson)
_sigmoid_binary_cross_entropy = _over_rows(sigmoid_binary_cross_entropy)


@apart
def loss_and_derivative(
    loss, parameter, y, target, weight, weighted, scale, d, rows, outputs, room
):
    """L from the outputs y, and dL/dy: the form for any output activation.

    Parameters
    ----------
    loss : int
        The code of its name, such as `HUBER`.
    parameter : float
        Huber's delta; other losses ignore it.
    y, target : pointers, (rows, outputs)
        A class is a target of 1 among 0s, or shares that may add up to anything.
    weight : pointer, (rows,)
        Read if rows are `weighted`; otherwise every row weighs 1.
    scale : float
        What d is multiplied by, usually 1 over the batch's sum of weights.
    d : pointer, (rows, outputs)
        Written: scale weight_n dL_n/dy. Shares no memory with the others.
    rows, outputs : int
    room : int
        Elements from d's first on that may be written over, and read of the others, in whole
        vectors; at least d's own.

    Returns
    -------
    float64
        sum_n weight_n L_n; not scaled.
    """
    if loss == CROSS_ENTROPY:
        return _cross_entropy(parameter, y, target, weight, weighted, scale, d, rows, outputs, room)
    if loss == BINARY_CROSS_ENTROPY:
        return _binary_cross_entropy(
            parameter, y, target, weight, weighted, scale, d, rows, outputs, room
        )
    if loss == SQUARED_ERROR:
        return _squared_error(parameter, y, target, weight, weighted, scale, d, rows, outputs, room)
    if loss == ABSOLUTE_ERROR:
        return _absolute_error(
            parameter, y, target, weight, weighted, scale, d, rows, outputs, room
        )
    if loss == POISSON:
        return _poisson(parameter, y, target, weight, weighted, scale, d, rows, outputs, room)
    return _huber(parameter, y, target, weight, weighted, scale, d, rows, outputs, room)


@exact
def softmax_cross_entropy(z, y, target, weight, weighted, scale, d, rows, outputs, room):
    """L = sum_j t_j (log sum_k exp(z_k) - z_j) and dL/dz_j = y_j sum_k t_k - t_j, y the softmax.

    Arguments as in `fused_loss`; rows that one vector takes. Terms are added a turn later: a
    logarithm takes long, and nothing else waits for it.
    """
    total = double(all_lanes(z, 0.0))
    t = x = all_lanes(z, 0.0)
    mass, w, n = all_lanes(z, 1.0), 1.0, np.int64(0)
    together = 1 if weighted else rows_together(z, outputs)
    while n < rows:
        total = multiply_add(like(total, w), double(t * (log(mass) - x)), total)
        begin, end = n * outputs, min(n + together, rows) * outputs
        w, inside = weight_of(weight, weighted, n), before(z, begin, end)
        t = select(inside, load(target, begin, room), like(mass, 0.0))
        x, e, mass = exponentials(load(z, begin, room), inside, outputs)
        probability = e * (like(mass, 1.0) / mass)
        store(probability, y, begin, room)
        store(like(t, scale * w) * (probability * row_sum(t, outputs) - t), d, begin, room)
        n += together
    return lane_sum(multiply_add(like(total, w), double(t * (log(mass) - x)), total))


@exact
def wide_softmax_cross_entropy(z, y, target, weight, weighted, scale, d, rows, outputs, room):
    """The same for rows wider than a vector."""
    total, lanes = double(all_lanes(z, 0.0)), lanes_of(z)
    for n in range(rows):
        w, begin, end = weight_of(weight, weighted, n), n * outputs, (n + 1) * outputs
        top, mass = wide_exponentials(z, y, begin, end, outputs, room)
        shares = all_lanes(z, 0.0)
        for j in range(begin, end, lanes):
            shares += select(before(z, j, end), load(target, j, room), like(top, 0.0))
        shares = row_sum(shares, outputs)
        logarithm, inverse, factor = log(mass), like(mass, 1.0) / mass, like(mass, scale * w)
        for j in range(begin, end, lanes):
            t, probability = load(target, j, room), load(y, j, room) * inverse
            term = t * (logarithm - (load(z, j, room) - top))
            term = select(before(z, j, end), term, like(term, 0.0))
            total = multiply_add(like(total, w), double(term), total)
            store(probability, y, j, room)
            store(factor * (probability * shares - t), d, j, room)
    return lane_sum(total)


@apart
def fused_loss(loss, parameter, activation, z, y, target, weight, weighted, scale, d, rows,
               outputs, room):  # fmt: skip
    """L and dL/dz from the pre-activations z, for the pairs that are `fused`.

    Parameters
    ----------
    loss, parameter, target, weight, weighted, scale, rows, outputs, room
        As in `loss_and_derivative`.
    activation : int
        The output layer's; `fused` knows it together with the loss.
    z : pointer, (rows, outputs)
        Pre-activations of the output layer.
    y : pointer, (rows, outputs)
        Written, as d: the outputs, probabilities for a cross-entropy.
    d : pointer, (rows, outputs)
        Written: scale weight_n dL_n/dz. z, y, target and d share no memory.

    Returns
    -------
    float64
        sum_n weight_n L_n; not scaled.
    """
    if activation == SOFTMAX and outputs > lanes_of(z):
        return wide_softmax_cross_entropy(
            z, y, target, weight, weighted, scale, d, rows, outputs, room
        )
    if activation == SOFTMAX:
        return softmax_cross_entropy(z, y, target, weight, weighted, scale, d, rows, outputs, room)
    activate(activation, 0.0, z, z, y, rows, outputs, room)
    if activation == SIGMOID:
        return _sigmoid_binary_cross_entropy(parameter, z, target, weight, weighted, scale, d, rows,
                                             outputs, room)  # fmt: skip
    return loss_and_derivative(loss, parameter, z, target, weight, weighted, scale, d, rows,
                               outputs, room)  # fmt: skip
