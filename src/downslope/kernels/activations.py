"""The activations: phi and its derivative side by side, and the loops over a block of rows.

A slope (the derivative of phi) is named for its activation: ``sigmoid`` and ``sigmoid_slope``.
At a kink it is the one from the left, as in PyTorch: relu'(0) = 0, leaky_relu'(0) = slope.
NaN stays NaN; infinity gives the limit of phi and of its slope.
"""

from __future__ import annotations

import math

import numpy as np

from downslope.catalogue import code
from downslope.kernels.elementary import (
    clamp,
    exp,
    expm1,
    log1p,
    normal,
    sigmoid_sides,
    tanh,
)
from downslope.kernels.jit import apart, exact
from downslope.kernels.lanes import (
    all_lanes,
    before,
    fused,
    like,
    load,
    magnitude,
    row_maximum,
    row_sum,
    select,
    store,
)
from downslope.kernels.tiles import lanes_of

IDENTITY = code("activation", "identity")
SIGMOID = code("activation", "sigmoid")
TANH = code("activation", "tanh")
RELU = code("activation", "relu")
LEAKY_RELU = code("activation", "leaky_relu")
PRELU = code("activation", "prelu")
ELU = code("activation", "elu")
SELU = code("activation", "selu")
GELU = code("activation", "gelu")
GELU_TANH = code("activation", "gelu_tanh")
SILU = code("activation", "silu")
SOFTPLUS = code("activation", "softplus")
MISH = code("activation", "mish")
SOFTMAX = code("activation", "softmax")

SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717
GELU_SCALE = math.sqrt(2.0 / math.pi)
GELU_CUBE = 0.044715
FAR = 1000.0
"""|z| from which every smooth activation equals its limit, in either number type."""


@exact
def sigmoid(z):
    """phi(z) = 1 / (1 + exp(-z)) = sigma(z)."""
    y, _ = sigmoid_sides(z)
    return y


@exact
def sigmoid_slope(y):
    """phi'(z) = y (1 - y)."""
    return y * (like(y, 1.0) - y)


@exact
def tanh_slope(y):
    """phi'(z) = 1 - y^2."""
    return (like(y, 1.0) - y) * (like(y, 1.0) + y)


@exact
def relu(z):
    """phi(z) = 0 if z < 0 else z, which lets NaN through."""
    return select(z < like(z, 0.0), like(z, 0.0), z)


@exact
def relu_product(z, d):
    """d phi'(z) = 0 if z <= 0 else d, which lets NaN through, and infinity only where z > 0."""
    return select(z <= like(z, 0.0), like(z, 0.0), d)


@exact
def leaky_relu(z, slope):
    """phi(z) = slope z if z < 0 else z."""
    return select(z < like(z, 0.0), slope * z, z)


@exact
def leaky_relu_slope(z, slope):
    """phi'(z) = slope if z <= 0 else 1."""
    return select(z <= like(z, 0.0), slope, like(z, 1.0))


@exact
def elu(z, scale, alpha):
    """phi(z) = scale z if z > 0 else scale alpha (exp(z) - 1)."""
    e = expm1(-magnitude(z))
    return select(z > like(z, 0.0), scale * z, scale * alpha * e)


@exact
def elu_slope(z, y, scale, alpha):
    """phi'(z) = scale if z > 0 else scale alpha exp(z) = y + scale alpha."""
    return select(z > like(z, 0.0), scale, y + scale * alpha)


@exact
def gelu(z):
    """phi(z) = z Phi(z), Phi the normal distribution function."""
    above = select(z < like(z, -FAR), like(z, -FAR), z)
    share, _ = normal(above)
    return above * share


@exact
def gelu_slope(z):
    """phi'(z) = Phi(z) + z Phi'(z)."""
    z = clamp(z, -FAR, FAR)
    phi, density = normal(z)
    return phi + z * density


@exact
def gelu_tanh(z):
    """phi(z) = z (1 + tanh u) / 2 = z sigma(2 u), u = sqrt(2/pi) (z + 0.044715 z^3)."""
    above = select(z < like(z, -FAR), like(z, -FAR), z)
    cubic = fused(like(z, 2.0 * GELU_SCALE * GELU_CUBE), above * above, like(z, 2.0 * GELU_SCALE))
    return above * sigmoid(above * cubic)


@exact
def gelu_tanh_slope(z):
    """phi'(z) = sigma(2 u) + z sigma(2 u) sigma(-2 u) 2 u'."""
    z = clamp(z, -FAR, FAR)
    cubic = fused(like(z, 2.0 * GELU_SCALE * GELU_CUBE), z * z, like(z, 2.0 * GELU_SCALE))
    inner = fused(like(z, 6.0 * GELU_SCALE * GELU_CUBE), z * z, like(z, 2.0 * GELU_SCALE))
    left, right = sigmoid_sides(z * cubic)
    return fused(z * left, right * inner, left)


@exact
def silu(z):
    """phi(z) = z sigma(z)."""
    above = select(z < like(z, -FAR), like(z, -FAR), z)
    return above * sigmoid(above)


@exact
def silu_slope(z):
    """phi'(z) = sigma(z) + z sigma(z) sigma(-z)."""
    z = clamp(z, -FAR, FAR)
    left, right = sigmoid_sides(z)
    return fused(z * left, right, left)


@exact
def softplus(z):
    """phi(z) = log(1 + exp(z)) = max(0, z) + log(1 + exp(-|z|)); phi' is the sigmoid."""
    return relu(z) + log1p(exp(-magnitude(z)))


@exact
def mish_parts(z, e):
    """tanh(softplus(z)) = n / (n + m): gives n and m, from e = exp(-|z|)."""
    one, two = like(z, 1.0), like(z, 2.0)
    left = z < like(z, 0.0)
    return select(left, e * (e + two), fused(two, e, one)), select(left, two, two * e * e)


@exact
def mish(z):
    """phi(z) = z tanh(softplus(z)) = z n / (n + 2), n = w (w + 2), w = exp(z)."""
    above = select(z < like(z, -FAR), like(z, -FAR), z)
    n, m = mish_parts(above, exp(-magnitude(above)))
    return above * n / (n + m)


@exact
def mish_slope(z):
    """phi'(z) = n / (n + 2) + z 4 w (1 + w) / (n + 2)^2; n and 2 over w^2 where z >= 0."""
    z = clamp(z, -FAR, FAR)
    e = exp(-magnitude(z))
    n, m = mish_parts(z, e)
    inverse = like(z, 1.0) / (n + m)
    power = select(z < like(z, 0.0), e, e * e)
    return inverse * fused(z * inverse, like(z, 4.0) * power * (like(z, 1.0) + e), n)


@exact
def rows_together(where, units):
    """Rows that one vector takes: as many as fill it to its last lane, or one; 0 if none fits."""
    lanes = lanes_of(where)
    if units > lanes:
        return 0
    return lanes // units if units & (units - 1) == 0 else 1


@exact
def exponentials(z, inside, units):
    """x_j = z_j - max z, exp(x_j) and its sum, of the rows in one vector; 0, 0 and 1 outside."""
    top = row_maximum(select(inside, z, like(z, -math.inf)), units)
    x = select(inside, z - top, like(z, 0.0))
    e = select(inside, exp(x), like(z, 0.0))
    return x, e, select(inside, row_sum(e, units), like(z, 1.0))


@exact
def wide_exponentials(z, y, begin, end, units, room):
    """Write exp(z_j - max z) of a row wider than a vector; give max z and the sum in every lane.

    room: elements that may be read, and written over in y, in whole vectors.
    """
    top = all_lanes(z, -math.inf)
    for j in range(begin, end, lanes_of(z)):
        part = select(before(z, j, end), load(z, j, room), like(top, -math.inf))
        top = select(part > top, part, top)
    top = row_maximum(top, units)
    total = all_lanes(z, 0.0)
    for j in range(begin, end, lanes_of(z)):
        e = exp(load(z, j, room) - top)
        store(e, y, j, room)
        total += select(before(z, j, end), e, like(top, 0.0))
    return top, row_sum(total, units)


@exact
def softmax(z, y, rows, units):
    """y_j = exp(z_j - max z) / sum_k exp(z_k - max z), row by row."""
    together, n = rows_together(z, units), np.int64(0)
    while n < rows:
        begin, end = n * units, min(n + max(together, 1), rows) * units
        if together > 0:
            _, e, total = exponentials(load(z, begin, end), before(z, begin, end), units)
            store(e / total, y, begin, end)
        else:
            _, total = wide_exponentials(z, y, begin, end, units, end)
            for j in range(begin, end, lanes_of(y)):
                store(load(y, j, end) / total, y, j, end)
        n += max(together, 1)


@exact
def softmax_product(y, d, rows, units):
    """dL/dz_j = y_j (dL/dy_j - sum_k dL/dy_k y_k), row by row, in place."""
    for n in range(rows):
        begin, end = n * units, (n + 1) * units
        mean = all_lanes(y, 0.0)
        for j in range(begin, end, lanes_of(y)):
            mean += load(d, j, end) * load(y, j, end)
        mean = row_sum(mean, units)
        for j in range(begin, end, lanes_of(y)):
            store(load(y, j, end) * (load(d, j, end) - mean), d, j, end)


@exact
def prelu(slope, z, y, rows, units):
    """y_j = slope_j z_j if z_j < 0 else z_j."""
    for n in range(rows):
        for j in range(0, units, lanes_of(z)):
            begin, end = n * units + j, (n + 1) * units
            store(leaky_relu(load(z, begin, end), load(slope, j, units)), y, begin, end)


@exact
def prelu_product(slope, z, d, rows, units):
    """dL/dz_j = dL/dy_j (slope_j if z_j <= 0 else 1), in place."""
    for n in range(rows):
        for j in range(0, units, lanes_of(z)):
            begin, end = n * units + j, (n + 1) * units
            factor = leaky_relu_slope(load(z, begin, end), load(slope, j, units))
            store(load(d, begin, end) * factor, d, begin, end)


@apart
def slope_gradient(z, d, rows, units, out):
    """Add PReLU's gradient: out_j += sum_n dL/dy_nj z_nj where z_nj < 0.

    Parameters
    ----------
    z : pointer, (rows, units)
        Pre-activations.
    d : pointer, (rows, units)
        dL/dy, before `backpropagate` makes it dL/dz.
    rows, units : int
    out : pointer, (units,)
        What is added to, row after row.
    """
    for n in range(rows):
        for j in range(0, units, lanes_of(z)):
            begin, end = n * units + j, (n + 1) * units
            product = load(d, begin, end) * relu(-load(z, begin, end))
            store(load(out, j, units) - product, out, j, units)


@exact
def elu_constants(activation, parameter):
    """Scale and alpha of ELU, which has no scale, or of SELU."""
    return (SELU_SCALE, SELU_ALPHA) if activation == SELU else (1.0, parameter)


@apart
def activate(activation, parameter, slope, z, y, rows, units, room):
    """y = phi(z).

    Parameters
    ----------
    activation : int
        The code of its name, such as `RELU`.
    parameter : float
        The slope of leaky_relu, the alpha of elu; other activations ignore it.
    slope : pointer, (units,)
        PReLU's learned slopes; others ignore it.
    z : pointer, (rows, units)
        Pre-activations.
    y : pointer, (rows, units)
        Written: the outputs; z itself, or no part of it.
    rows, units : int
    room : int
        Elements from y's first on that may be written over, in whole vectors; at least y's own.
    """
    lanes, size = lanes_of(z), rows * units
    if activation == SIGMOID:
        for i in range(0, size, lanes):
            store(sigmoid(load(z, i, size)), y, i, room)
    elif activation == TANH:
        for i in range(0, size, lanes):
            store(tanh(load(z, i, size)), y, i, room)
    elif activation == RELU:
        for i in range(0, size, lanes):
            store(relu(load(z, i, size)), y, i, room)
    elif activation == LEAKY_RELU:
        for i in range(0, size, lanes):
            x = load(z, i, size)
            store(leaky_relu(x, like(x, parameter)), y, i, room)
    elif activation in (ELU, SELU):
        scale, alpha = elu_constants(activation, parameter)
        for i in range(0, size, lanes):
            x = load(z, i, size)
            store(elu(x, like(x, scale), like(x, alpha)), y, i, room)
    elif activation == GELU:
        for i in range(0, size, lanes):
            store(gelu(load(z, i, size)), y, i, room)
    elif activation == GELU_TANH:
        for i in range(0, size, lanes):
            store(gelu_tanh(load(z, i, size)), y, i, room)
    elif activation == SILU:
        for i in range(0, size, lanes):
            store(silu(load(z, i, size)), y, i, room)
    elif activation == SOFTPLUS:
        for i in range(0, size, lanes):
            store(softplus(load(z, i, size)), y, i, room)
    elif activation == MISH:
        for i in range(0, size, lanes):
            store(mish(load(z, i, size)), y, i, room)
    elif activation == PRELU:
        prelu(slope, z, y, rows, units)
    elif activation == SOFTMAX:
        softmax(z, y, rows, units)
    else:
        for i in range(0, size, lanes):
            store(load(z, i, size), y, i, room)


@apart
def backpropagate(activation, parameter, slope, z, y, d, rows, units, room):
    """dL/dz = dL/dy phi'(z), in place.

    Parameters
    ----------
    activation, parameter, slope, z, y, rows, units, room
        As `activate` took and wrote them.
    d : pointer, (rows, units)
        Holds dL/dy, becomes dL/dz; no part of z or y.
    """
    lanes, size = lanes_of(z), rows * units
    if activation == SIGMOID:
        for i in range(0, size, lanes):
            store(load(d, i, size) * sigmoid_slope(load(y, i, size)), d, i, room)
    elif activation == TANH:
        for i in range(0, size, lanes):
            store(load(d, i, size) * tanh_slope(load(y, i, size)), d, i, room)
    elif activation == RELU:
        for i in range(0, size, lanes):
            store(relu_product(load(z, i, size), load(d, i, size)), d, i, room)
    elif activation == LEAKY_RELU:
        for i in range(0, size, lanes):
            x = load(z, i, size)
            store(load(d, i, size) * leaky_relu_slope(x, like(x, parameter)), d, i, room)
    elif activation in (ELU, SELU):
        scale, alpha = elu_constants(activation, parameter)
        for i in range(0, size, lanes):
            x = load(z, i, size)
            slope_there = elu_slope(x, load(y, i, size), like(x, scale), like(x, alpha))
            store(load(d, i, size) * slope_there, d, i, room)
    elif activation == GELU:
        for i in range(0, size, lanes):
            store(load(d, i, size) * gelu_slope(load(z, i, size)), d, i, room)
    elif activation == GELU_TANH:
        for i in range(0, size, lanes):
            store(load(d, i, size) * gelu_tanh_slope(load(z, i, size)), d, i, room)
    elif activation == SILU:
        for i in range(0, size, lanes):
            store(load(d, i, size) * silu_slope(load(z, i, size)), d, i, room)
    elif activation == SOFTPLUS:
        for i in range(0, size, lanes):
            store(load(d, i, size) * sigmoid(load(z, i, size)), d, i, room)
    elif activation == MISH:
        for i in range(0, size, lanes):
            store(load(d, i, size) * mish_slope(load(z, i, size)), d, i, room)
    elif activation == PRELU:
        prelu_product(slope, z, d, rows, units)
    elif activation == SOFTMAX:
        softmax_product(y, d, rows, units)
