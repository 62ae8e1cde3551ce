"""The activations: phi and its derivative side by side, and the loops over a block of rows.

A slope (the derivative of phi) is named for its activation: ``sigmoid`` and ``sigmoid_slope``.
At a kink it is the one from the left, as in PyTorch: relu'(0) = 0, leaky_relu'(0) = slope.
NaN stays NaN; infinity gives the limit of phi and of its slope.
"""

from __future__ import annotations

import math

from downslope.catalogue import code
from downslope.kernels.elementary import (
    clamp,
    copy,
    each_exp,
    exp,
    expm1,
    fused,
    like,
    log1p,
    normal,
    ordered,
    sigmoid_sides,
    tanh,
    unordered,
)
from downslope.kernels.jit import apart, exact, inner
from downslope.kernels.views import borrowed, piece

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

BLOCK = 1024
"""Elements copied and transformed at a time: small enough to stay in the first-level cache."""


@exact
def sigmoid(z):
    """phi(z) = 1 / (1 + exp(-z)) = sigma(z)."""
    return sigmoid_sides(z)[0]


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
    return like(z, 0.0) if z < like(z, 0.0) else z


@exact
def relu_product(z, d):
    """d phi'(z) = 0 if z <= 0 else d, which lets NaN through, and infinity only where z > 0."""
    return like(z, 0.0) if z <= like(z, 0.0) else d


@exact
def leaky_relu(z, slope):
    """phi(z) = slope z if z < 0 else z."""
    return slope * z if z < like(z, 0.0) else z


@exact
def leaky_relu_slope(z, slope):
    """phi'(z) = slope if z <= 0 else 1."""
    return slope if z <= like(z, 0.0) else like(z, 1.0)


@exact
def elu(z, scale, alpha):
    """phi(z) = scale z if z > 0 else scale alpha (exp(z) - 1)."""
    e = expm1(-math.fabs(z))
    return scale * z if z > like(z, 0.0) else scale * alpha * e


@exact
def elu_slope(z, y, scale, alpha):
    """phi'(z) = scale if z > 0 else scale alpha exp(z) = y + scale alpha."""
    return scale if z > like(z, 0.0) else y + scale * alpha


@exact
def gelu(z):
    """phi(z) = z Phi(z), Phi the normal distribution function."""
    above = like(z, -FAR) if z < like(z, -FAR) else z
    return above * normal(above)[0]


@exact
def gelu_slope(z):
    """phi'(z) = Phi(z) + z Phi'(z)."""
    z = clamp(z, -FAR, FAR)
    phi, density = normal(z)
    return phi + z * density


@exact
def gelu_tanh(z):
    """phi(z) = z (1 + tanh u) / 2 = z sigma(2 u), u = sqrt(2/pi) (z + 0.044715 z^3)."""
    above = like(z, -FAR) if z < like(z, -FAR) else z
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
    above = like(z, -FAR) if z < like(z, -FAR) else z
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
    return relu(z) + log1p(exp(-math.fabs(z)))


@exact
def mish_parts(z, e):
    """tanh(softplus(z)) = n / (n + m): gives n and m, from e = exp(-|z|)."""
    one, two = like(z, 1.0), like(z, 2.0)
    return (e * (e + two), two) if z < like(z, 0.0) else (fused(two, e, one), two * e * e)


@exact
def mish(z):
    """phi(z) = z tanh(softplus(z)) = z n / (n + 2), n = w (w + 2), w = exp(z)."""
    above = like(z, -FAR) if z < like(z, -FAR) else z
    n, m = mish_parts(above, exp(-math.fabs(above)))
    return above * n / (n + m)


@exact
def mish_slope(z):
    """phi'(z) = n / (n + 2) + z 4 w (1 + w) / (n + 2)^2; n and 2 over w^2 where z >= 0."""
    z = clamp(z, -FAR, FAR)
    e = exp(-math.fabs(z))
    n, m = mish_parts(z, e)
    inverse = like(z, 1.0) / (n + m)
    power = e if z < like(z, 0.0) else e * e
    return inverse * fused(z * inverse, like(z, 4.0) * power * (like(z, 1.0) + e), n)


@inner
def softmax(y):
    """y_j becomes exp(y_j - max y) / sum_k exp(y_k - max y), row by row."""
    shift(y)
    each_exp(piece(y, 0, y.size))
    for n in range(y.shape[0]):
        row = piece(y, n * y.shape[1], y.shape[1])
        total = like(row[0], 0.0)
        for j in range(row.shape[0]):
            total += row[j]
        for j in range(row.shape[0]):
            row[j] /= total


@exact
def shift(z):
    """z_j becomes z_j - max z, row by row, so that no exp overflows."""
    for n in range(z.shape[0]):
        row = piece(z, n * z.shape[1], z.shape[1])
        top = ordered(row[0])
        for j in range(row.shape[0]):
            top = max(top, ordered(row[j]))
        for j in range(row.shape[0]):
            row[j] -= unordered(top)


@inner
def softmax_product(y, d):
    """dL/dz_j = y_j (dL/dy_j - sum_k dL/dy_k y_k), row by row, in place."""
    units = y.shape[1]
    for n in range(y.shape[0]):
        row, derivative = piece(y, n * units, units), piece(d, n * units, units)
        mean = like(row[0], 0.0)
        for j in range(units):
            mean += derivative[j] * row[j]
        for j in range(units):
            derivative[j] = row[j] * (derivative[j] - mean)


@exact
def prelu(slope, y):
    """y_j becomes slope_j y_j if y_j < 0 else y_j."""
    for n in range(y.shape[0]):
        row = piece(y, n * y.shape[1], y.shape[1])
        for j in range(row.shape[0]):
            row[j] = leaky_relu(row[j], slope[j])


@exact
def prelu_product(slope, z, d):
    """dL/dz_j = dL/dy_j (slope_j if z_j <= 0 else 1), in place."""
    units = z.shape[1]
    for n in range(z.shape[0]):
        row, derivative = piece(z, n * units, units), piece(d, n * units, units)
        for j in range(units):
            derivative[j] *= leaky_relu_slope(row[j], slope[j])


@apart
def slope_gradient(z, d, out):
    """Add PReLU's gradient: out_j += sum_n dL/dy_nj z_nj where z_nj < 0.

    Parameters
    ----------
    z : (rows, units)
        Pre-activations.
    d : (rows, units)
        dL/dy, before `backpropagate` makes it dL/dz.
    out : (units,)
        What is added to, row after row.
    """
    z, d, out = borrowed(z), borrowed(d), borrowed(out)
    units = z.shape[1]
    for n in range(z.shape[0]):
        row, derivative = piece(z, n * units, units), piece(d, n * units, units)
        for j in range(units):
            out[j] -= derivative[j] * relu(-row[j])


@exact
def apply(activation, parameter, y):
    """Replace y by phi(y), element by element; y (size,)."""
    size = y.shape[0]
    if activation == SIGMOID:
        for i in range(size):
            y[i] = sigmoid(y[i])
    elif activation == TANH:
        for i in range(size):
            y[i] = tanh(y[i])
    elif activation == RELU:
        for i in range(size):
            y[i] = relu(y[i])
    elif activation == LEAKY_RELU:
        for i in range(size):
            y[i] = leaky_relu(y[i], like(y[i], parameter))
    elif activation in (ELU, SELU):
        scale, alpha = elu_constants(activation, parameter)
        for i in range(size):
            y[i] = elu(y[i], like(y[i], scale), like(y[i], alpha))
    elif activation == GELU:
        for i in range(size):
            y[i] = gelu(y[i])
    elif activation == GELU_TANH:
        for i in range(size):
            y[i] = gelu_tanh(y[i])
    elif activation == SILU:
        for i in range(size):
            y[i] = silu(y[i])
    elif activation == SOFTPLUS:
        for i in range(size):
            y[i] = softplus(y[i])
    elif activation == MISH:
        for i in range(size):
            y[i] = mish(y[i])


@exact
def elu_constants(activation, parameter):
    """Scale and alpha of ELU, which has no scale, or of SELU."""
    return (SELU_SCALE, SELU_ALPHA) if activation == SELU else (1.0, parameter)


@exact
def apply_slope(activation, parameter, z, y, d):
    """Multiply d by phi'(z), element by element; all (size,)."""
    size = d.shape[0]
    if activation == SIGMOID:
        for i in range(size):
            d[i] *= sigmoid_slope(y[i])
    elif activation == TANH:
        for i in range(size):
            d[i] *= tanh_slope(y[i])
    elif activation == RELU:
        for i in range(size):
            d[i] = relu_product(z[i], d[i])
    elif activation == LEAKY_RELU:
        for i in range(size):
            d[i] *= leaky_relu_slope(z[i], like(z[i], parameter))
    elif activation in (ELU, SELU):
        scale, alpha = elu_constants(activation, parameter)
        for i in range(size):
            d[i] *= elu_slope(z[i], y[i], like(y[i], scale), like(y[i], alpha))
    elif activation == GELU:
        for i in range(size):
            d[i] *= gelu_slope(z[i])
    elif activation == GELU_TANH:
        for i in range(size):
            d[i] *= gelu_tanh_slope(z[i])
    elif activation == SILU:
        for i in range(size):
            d[i] *= silu_slope(z[i])
    elif activation == SOFTPLUS:
        for i in range(size):
            d[i] *= sigmoid(z[i])
    elif activation == MISH:
        for i in range(size):
            d[i] *= mish_slope(z[i])


@apart
def activate(activation, parameter, slope, z, y):
    """y = phi(z).

    Parameters
    ----------
    activation : int
        The code of its name, such as `RELU`.
    parameter : float
        The slope of leaky_relu, the alpha of elu; other activations ignore it.
    slope : (units,)
        PReLU's learned slopes; of length 0 otherwise.
    z : (rows, units)
        Pre-activations, C-contiguous.
    y : (rows, units)
        Written: the outputs; z itself, or no part of it.
    """
    slope, z, y = borrowed(slope), borrowed(z), borrowed(y)
    for begin in range(0, z.size, BLOCK):
        count = min(BLOCK, z.size - begin)
        part = piece(y, begin, count)
        copy(piece(z, begin, count), part)
        apply(activation, parameter, part)
    if activation == PRELU:
        prelu(slope, y)
    elif activation == SOFTMAX:
        softmax(y)


@apart
def backpropagate(activation, parameter, slope, z, y, d):
    """dL/dz = dL/dy phi'(z), in place.

    Parameters
    ----------
    activation, parameter, slope, z, y
        As `activate` took and wrote them.
    d : (rows, units)
        Holds dL/dy, becomes dL/dz; no part of z or y.
    """
    slope, z, y, d = borrowed(slope), borrowed(z), borrowed(y), borrowed(d)
    if activation == SOFTMAX:
        softmax_product(y, d)
    elif activation == PRELU:
        prelu_product(slope, z, d)
    else:
        size = d.size
        apply_slope(activation, parameter, piece(z, 0, size), piece(y, 0, size), piece(d, 0, size))
