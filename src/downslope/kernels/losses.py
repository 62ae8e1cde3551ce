"""The losses: L and its derivative side by side.

Of one row, L is a sum over its outputs; of rows, the weighted sum, in float64, row after row. The
usual pairs of output activation and loss have a fused form: it goes from z to dL/dz in one step,
and no probability is ever too close to 0 for its logarithm. Other pairs go through dL/dy.
"""

from __future__ import annotations

import math

from downslope.catalogue import code
from downslope.kernels.activations import IDENTITY, SIGMOID, SOFTMAX, shift, sigmoid
from downslope.kernels.elementary import clamp, copy, each_exp, exp, like, log, log1p
from downslope.kernels.jit import apart, exact, inner, kernel
from downslope.kernels.views import borrowed, piece

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
def cross_entropy_term(y, t):
    """-t log y, y clipped."""
    return -t * log(clamp(y, EPSILON, 1.0 - EPSILON))


@exact
def cross_entropy_derivative(y, t):
    """-t / y; 0 where y was clipped."""
    return unless_clipped(y, -t / y)


@exact
def binary_cross_entropy_term(y, t):
    """-t log y - (1-t) log(1-y), y clipped."""
    one = like(y, 1.0)
    clipped = clamp(y, EPSILON, 1.0 - EPSILON)
    return -t * log(clipped) - (one - t) * log(one - clipped)


@exact
def binary_cross_entropy_derivative(y, t):
    """(y - t) / (y (1 - y)); 0 where y was clipped."""
    return unless_clipped(y, (y - t) / (y * (like(y, 1.0) - y)))


@exact
def unless_clipped(y, derivative):
    """Give the derivative, 0 where y lies outside of [EPSILON, 1 - EPSILON]."""
    derivative = like(y, 0.0) if y < like(y, EPSILON) else derivative
    return like(y, 0.0) if y > like(y, 1.0 - EPSILON) else derivative


@exact
def squared_error_term(y, t):
    """r^2 / 2, r = y - t; its derivative is r."""
    return like(y, 0.5) * (y - t) * (y - t)


@exact
def huber_term(y, t, delta):
    """c (r - c / 2), r = y - t; its derivative is c = r within [-delta, delta]."""
    c = clamp(y - t, -delta, delta)
    return c * (y - t - like(y, 0.5) * c)


@exact
def expected_count(y):
    """exp(y), its derivative too; infinity where that is no number of its type."""
    e = exp(-math.fabs(y))
    return like(y, 1.0) / e if y > like(y, 0.0) else e


@exact
def poisson_term(y, t):
    """exp(y) - t y + t log t - t, the last two 0 for t = 0; its derivative is exp(y) - t."""
    constant = t * log(t) - t if t > like(t, 0.0) else like(t, 0.0)
    return expected_count(y) - t * y + constant


@exact
def sign(r):
    """-1, 0 or 1, the derivative of |r|; NaN stays."""
    below = like(r, -1.0) if r < like(r, 0.0) else r
    return like(r, 1.0) if r > like(r, 0.0) else below


@exact
def each_term(loss, parameter, y, target, terms):
    """Write the loss's term of every element; all (size,)."""
    size = y.shape[0]
    if loss == CROSS_ENTROPY:
        for i in range(size):
            terms[i] = cross_entropy_term(y[i], target[i])
    elif loss == BINARY_CROSS_ENTROPY:
        for i in range(size):
            terms[i] = binary_cross_entropy_term(y[i], target[i])
    elif loss == SQUARED_ERROR:
        for i in range(size):
            terms[i] = squared_error_term(y[i], target[i])
    elif loss == ABSOLUTE_ERROR:
        for i in range(size):
            terms[i] = math.fabs(y[i] - target[i])
    elif loss == POISSON:
        for i in range(size):
            terms[i] = poisson_term(y[i], target[i])
    else:
        for i in range(size):
            terms[i] = huber_term(y[i], target[i], parameter)


@exact
def each_derivative(loss, parameter, y, target, d):
    """Write the derivative of every element's term; all (size,)."""
    size = y.shape[0]
    if loss == CROSS_ENTROPY:
        for i in range(size):
            d[i] = cross_entropy_derivative(y[i], target[i])
    elif loss == BINARY_CROSS_ENTROPY:
        for i in range(size):
            d[i] = binary_cross_entropy_derivative(y[i], target[i])
    elif loss == SQUARED_ERROR:
        for i in range(size):
            d[i] = y[i] - target[i]
    elif loss == ABSOLUTE_ERROR:
        for i in range(size):
            d[i] = sign(y[i] - target[i])
    elif loss == POISSON:
        for i in range(size):
            d[i] = expected_count(y[i]) - target[i]
    else:
        for i in range(size):
            d[i] = clamp(y[i] - target[i], -parameter, parameter)


@exact
def weight_of(weight, n):
    """Give row n's weight; 1 if no weights are given."""
    return 1.0 if weight.shape[0] == 0 else float(weight[n])


@inner
def weighted_sum(terms, weight):
    """sum_n weight_n sum_j terms_nj: a row in its own type, the rows in float64."""
    rows, outputs = terms.shape
    total = 0.0
    for n in range(rows):
        row = like(terms[n, 0], 0.0)
        for j in range(outputs):
            row += terms[n, j]
        total += weight_of(weight, n) * row
    return total


@exact
def scale_rows(d, weight, scale):
    """Multiply row n of d by scale weight_n."""
    units = d.shape[1]
    if weight.shape[0] == 0:
        scale_all(piece(d, 0, d.size), scale)
    else:
        for n in range(d.shape[0]):
            scale_all(piece(d, n * units, units), scale * weight[n])


@exact
def scale_all(d, factor):
    """Multiply every element of d (size,) by one factor."""
    for i in range(d.shape[0]):
        d[i] *= like(d[i], factor)


@apart
def loss_and_derivative(loss, parameter, y, target, weight, scale, d):
    """L from the outputs y, and dL/dy: the form for any output activation.

    Parameters
    ----------
    loss : int
        The code of its name, such as `HUBER`.
    parameter : float
        Huber's delta; other losses ignore it.
    y, target : (rows, outputs)
        C-contiguous; a class is a target of 1 among 0s, or shares that may add up to anything.
    weight : (rows,)
        Or of length 0: every row weighs 1.
    scale : float
        What d is multiplied by, usually 1 over the batch's sum of weights.
    d : (rows, outputs)
        Written: scale weight_n dL_n/dy. Shares no memory with the others.

    Returns
    -------
    float64
        sum_n weight_n L_n; not scaled.
    """
    y, target, weight, d = borrowed(y), borrowed(target), borrowed(weight), borrowed(d)
    size = y.size
    flat, t, each = piece(y, 0, size), piece(target, 0, size), piece(d, 0, size)
    each_term(loss, parameter, flat, t, each)
    total = weighted_sum(d, weight)
    each_derivative(loss, parameter, flat, t, each)
    scale_rows(d, weight, scale)
    return total


@inner
def softmax_cross_entropy(z, y, target, weight, scale, d):
    """L = sum_j t_j (log sum_k exp(z_k) - z_j) and dL/dz_j = y_j sum_k t_k - t_j, y the softmax.

    Arguments as in `fused_loss`. d holds z_j - max z, and y its exp, until a row's sums are known.
    """
    size, outputs = z.size, z.shape[1]
    copy(piece(z, 0, size), piece(d, 0, size))
    shift(d)
    copy(piece(d, 0, size), piece(y, 0, size))
    each_exp(piece(y, 0, size))
    total = 0.0
    for n in range(z.shape[0]):
        at, w = n * outputs, weight_of(weight, n)
        row, t, derivative = (
            piece(y, at, outputs),
            piece(target, at, outputs),
            piece(d, at, outputs),
        )
        exponentials = shares = product = like(row[0], 0.0)
        for j in range(outputs):
            exponentials += row[j]
            shares += t[j]
            product += t[j] * derivative[j]
        total += w * (shares * log(exponentials) - product)
        inverse, factor = like(row[0], 1.0) / exponentials, like(row[0], scale * w)
        for j in range(outputs):
            row[j] *= inverse
            derivative[j] = factor * (row[j] * shares - t[j])
    return total


@exact
def sigmoid_binary_cross_entropy(z, y, target, weight, scale, d):
    """L = sum_j log(1 + exp(z_j)) - t_j z_j and dL/dz_j = y_j - t_j, y the sigmoid.

    Arguments as in `fused_loss`. log(1 + exp(z)) - t z is taken as log(1 + exp(-|z|)) + z (s - t),
    s = 1 if z > 0 else 0, so nothing is lost where z is large and right.
    """
    size = z.size
    flat, probability, t = piece(z, 0, size), piece(y, 0, size), piece(target, 0, size)
    each = piece(d, 0, size)
    for i in range(size):
        s = like(t[i], 1.0) if flat[i] > like(t[i], 0.0) else like(t[i], 0.0)
        each[i] = log1p(exp(-math.fabs(flat[i]))) + flat[i] * (s - t[i])
        probability[i] = sigmoid(flat[i])
    total = weighted_sum(d, weight)
    for i in range(size):
        each[i] = probability[i] - t[i]
    scale_rows(d, weight, scale)
    return total


@apart
def fused_loss(loss, parameter, activation, z, y, target, weight, scale, d):
    """L and dL/dz from the pre-activations z, for the pairs that are `fused`.

    Parameters
    ----------
    loss, parameter, target, weight, scale
        As in `loss_and_derivative`.
    activation : int
        The output layer's; `fused` knows it together with the loss.
    z : (rows, outputs)
        Pre-activations of the output layer.
    y : (rows, outputs)
        Written: the outputs, probabilities for a cross-entropy.
    d : (rows, outputs)
        Written: scale weight_n dL_n/dz. z, y, target and d share no memory.

    Returns
    -------
    float64
        sum_n weight_n L_n; not scaled.
    """
    z, y, target = borrowed(z), borrowed(y), borrowed(target)
    weight, d = borrowed(weight), borrowed(d)
    if activation == SOFTMAX:
        return softmax_cross_entropy(z, y, target, weight, scale, d)
    if activation == SIGMOID:
        return sigmoid_binary_cross_entropy(z, y, target, weight, scale, d)
    copy(piece(z, 0, z.size), piece(y, 0, z.size))
    return loss_and_derivative(loss, parameter, y, target, weight, scale, d)
