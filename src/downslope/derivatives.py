"""First and second derivatives of activations and losses, in float64, for what curvature needs.

Kernels know phi and phi' only, since a step needs no more. At a kink phi' is the one from the left,
as it is there, and phi'' is 0: the Hessian is that of the piece in which z lies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, ndtr

from downslope.catalogue import Choice
from downslope.kernels.activations import GELU_CUBE, GELU_SCALE, SELU_ALPHA, SELU_SCALE
from downslope.kernels.losses import EPSILON

Array = npt.NDArray[Any]

Values = tuple[Array, Array, Array]
"""phi(z), phi'(z), phi''(z), each in z's shape."""


def activate(activation: Choice, z: Array, slope: Array | None = None) -> Values:
    """Give phi(z), phi'(z) and phi''(z), unit by unit.

    Parameters
    ----------
    activation
        Any but softmax, which ties the units of a row together.
    z : (rows, units) float64
    slope : (units,) float64
        PReLU's learned slopes.

    Examples
    --------
    >>> from downslope.catalogue import choose
    >>> activate(choose("activation", "tanh"), np.zeros(1))[1]
    array([1.])
    """
    if activation.name == "prelu":
        assert slope is not None
        return _leaky(z, slope)
    return _ACTIVATIONS[activation.name](z, (*activation.values(), 0.0)[0])


def softmax(z: Array) -> Array:
    """y_j = exp(z_j - max z) / sum_k exp(z_k - max z), row by row."""
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _identity(z: Array, _: float) -> Values:
    return z, np.ones_like(z), np.zeros_like(z)


def _sigmoid(z: Array, _: float) -> Values:
    y = expit(z)
    slope = y * expit(-z)
    return y, slope, slope * (1 - 2 * y)


def _tanh(z: Array, _: float) -> Values:
    y = np.tanh(z)
    slope = (1 - y) * (1 + y)
    return y, slope, -2 * y * slope


def _leaky(z: Array, slope: Any) -> Values:
    return np.where(z < 0, slope * z, z), np.where(z <= 0, slope, 1.0), np.zeros_like(z)


def _scaled_elu(z: Array, scale: float, alpha: float) -> Values:
    power = np.exp(np.minimum(z, 0))
    below = z <= 0
    bend = np.where(below, scale * alpha * power, 0.0)
    y = scale * np.where(below, alpha * np.expm1(np.minimum(z, 0)), z)
    return y, np.where(below, bend, scale), bend


def _gelu(z: Array, _: float) -> Values:
    phi, density = ndtr(z), np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    return z * phi, phi + z * density, density * (2 - z * z)


def _gated(z: Array, gate: Values) -> Values:
    """phi(z) = z g(z): phi' = g + z g', phi'' = 2 g' + z g''."""
    g, g_slope, g_bend = gate
    return z * g, g + z * g_slope, 2 * g_slope + z * g_bend


def _gelu_tanh(z: Array, _: float) -> Values:
    """phi(z) = z sigma(2 u), u = sqrt(2/pi) (z + 0.044715 z^3)."""
    u_slope = 2 * GELU_SCALE * (1 + 3 * GELU_CUBE * z * z)
    g, slope, bend = _sigmoid(2 * GELU_SCALE * (z + GELU_CUBE * z**3), 0.0)
    return _gated(
        z, (g, slope * u_slope, bend * u_slope**2 + slope * 12 * GELU_SCALE * GELU_CUBE * z)
    )


def _softplus(z: Array, _: float) -> Values:
    sigma, slope, _bend = _sigmoid(z, 0.0)
    return np.logaddexp(0, z), sigma, slope


def _mish(z: Array, _: float) -> Values:
    """phi(z) = z tanh(s), s = softplus(z)."""
    s, s_slope, s_bend = _softplus(z, 0.0)
    g, slope, bend = _tanh(s, 0.0)
    return _gated(z, (g, slope * s_slope, bend * s_slope**2 + slope * s_bend))


_ACTIVATIONS: Mapping[str, Callable[[Array, float], Values]] = MappingProxyType(
    {
        "identity": _identity,
        "sigmoid": _sigmoid,
        "tanh": _tanh,
        "relu": lambda z, _: _leaky(z, 0.0),
        "leaky_relu": _leaky,
        "elu": lambda z, alpha: _scaled_elu(z, 1.0, alpha),
        "selu": lambda z, _: _scaled_elu(z, SELU_SCALE, SELU_ALPHA),
        "gelu": _gelu,
        "gelu_tanh": _gelu_tanh,
        "silu": lambda z, _: _gated(z, _sigmoid(z, 0.0)),
        "softplus": _softplus,
        "mish": _mish,
    }
)


def loss_derivatives(loss: Choice, y: Array, target: Array) -> tuple[Array, Array]:
    """Give the first and second derivative of the loss by each output y.

    Parameters
    ----------
    y, target : (rows, outputs) float64

    Returns
    -------
    dL/dy, d2L/dy2 : (rows, outputs) float64
        Of each row, without its weight. 0 where a cross-entropy clips y.
    """
    r = y - target
    if loss.name == "squared_error":
        return r, np.ones_like(r)
    if loss.name == "absolute_error":
        return np.sign(r), np.zeros_like(r)
    if loss.name == "huber":
        delta = loss.options["delta"]
        return np.clip(r, -delta, delta), np.where(abs(r) <= delta, 1.0, 0.0)
    if loss.name == "poisson":
        with np.errstate(over="ignore"):
            expected = np.exp(y)
        return expected - target, expected
    inside = (y >= EPSILON) & (y <= 1 - EPSILON)
    p = np.where(inside, y, 0.5)
    if loss.name == "cross_entropy":
        first, second = -target / p, target / p**2
    else:
        first = (p - target) / (p * (1 - p))
        second = target / p**2 + (1 - target) / (1 - p) ** 2
    return np.where(inside, first, 0.0), np.where(inside, second, 0.0)
