"""The forward and the backward pass through one layer, and their derivatives along a direction.

The derivative of a quantity q along a direction of theta is written R(q) in equations and `r_q` in
the code (the R-operator of Pearlmutter 1994). The passes say the same as the kernels' (passes.py,
normalize.py, losses.py), but in float64 and in NumPy, and keep what R needs.

A layer, forward:          u = x W + b; z = u or gamma v + beta, v = (u - mean u) / deviation;
                           y = mask phi(z), plus x or x P
A layer, backward:         dL/dphi = mask dL/dy; dL/dz = dL/dphi phi'(z); h = gamma dL/dz;
                           dL/du = (h - mean h - v mean(h v)) / deviation;
                           dL/dx = dL/du W^T, plus dL/dy or dL/dy P^T
Means run over the batch (batch normalization) or over the units of a row (layer normalization).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope.catalogue import Choice
from downslope.derivatives import activate, loss_derivatives, softmax
from downslope.kernels.losses import fused
from downslope.kernels.normalize import EPSILON

Array = npt.NDArray[Any]

Weights = dict[str, Array]
"""The parts of one layer within a vector laid out as theta, by name: "weight", "bias", ..."""


@dataclass
class Layer:
    """One layer and what the two passes leave behind in it.

    Attributes
    ----------
    activation
    axis
        Along which it is normalized: 0 the batch, 1 the units of a row; None: not at all.
    residual
    mask
        Of dropout, (rows, units); 1 where nothing is dropped.
    x : (rows, inputs)
    v, inverse
        u normalized, and one over its deviation: (1, units) or (rows, 1).
    z, y, slope, bend
        y is phi(z) alone; slope phi'(z), bend phi''(z). All but y are unused after softmax.
    dy, dphi, dz, du
        Derivatives of the loss: by the layer's output, by phi(z), by z, by u.
    share : (rows, 1)
        Each row's weight over the sum of all: what it counts in the mean of a batch.

    Those from v on are (rows, units) unless said, float64.
    """

    activation: Choice
    axis: int | None
    residual: bool
    mask: Any
    x: Any = None
    v: Any = None
    inverse: Any = None
    z: Any = None
    y: Any = None
    slope: Any = None
    bend: Any = None
    dy: Any = None
    dphi: Any = None
    dz: Any = None
    du: Any = None
    share: Any = None


@dataclass
class Tangent:
    """The derivatives along a direction of what `forward` keeps of one layer; shapes as there."""

    x: Any
    z: Any = None
    v: Any = None
    inverse: Any = None
    y: Any = None


@dataclass(frozen=True)
class Loss:
    """The loss at the end: its kind, the target (rows, outputs) and each row's share of the sum.

    share : (rows, 1)
        The row's weight over the sum of all.
    """

    choice: Choice
    target: Array
    share: Array


def forward(layer: Layer, weights: Weights, x: Array) -> Array:
    """Run one layer forward; give its output y, shortcut included."""
    layer.x = x
    u = x @ weights["weight"] + weights.get("bias", 0.0)
    if layer.axis is None:
        layer.z = u
    else:
        centered = u - _mean(layer, u)
        variance = _mean(layer, centered**2)
        layer.inverse = 1 / np.sqrt(variance + EPSILON)
        layer.v = centered * layer.inverse
        layer.z = weights["gamma"] * layer.v + weights["beta"]
    if layer.activation.name == "softmax":
        layer.y = softmax(layer.z)
    else:
        layer.y, layer.slope, layer.bend = activate(layer.activation, layer.z, weights.get("slope"))
    return np.asarray(_shortcut(layer, layer.mask * layer.y, weights, x))


def _shortcut(layer: Layer, y: Array, weights: Weights, x: Array) -> Array:
    """Add what a residual layer lets past: x, or x P."""
    if layer.residual:
        y += x @ weights["projection"] if "projection" in weights else x
    return y


def r_forward(layer: Layer, weights: Weights, r_weights: Weights, tangent: Tangent) -> Array:
    """Differentiate `forward`; give R(y).

    R(u) = R(x) W + x R(W) + R(b); R(v) = (c - v mean(c v)) / deviation, c = R(u) - mean R(u).
    """
    x, r_x = layer.x, tangent.x
    r_u = r_x @ weights["weight"] + x @ r_weights["weight"] + r_weights.get("bias", 0.0)
    if layer.axis is None:
        tangent.z = r_u
    else:
        v, inverse = layer.v, layer.inverse
        centered = r_u - _mean(layer, r_u)
        pull = _mean(layer, centered * v)
        tangent.v = inverse * (centered - v * pull)
        tangent.inverse = -(inverse**2) * pull
        tangent.z = r_weights["gamma"] * v + weights["gamma"] * tangent.v + r_weights["beta"]
    if layer.activation.name == "softmax":
        tangent.y = _softmax_product(layer.y, tangent.z)
    else:
        tangent.y = layer.slope * tangent.z
        if "slope" in weights:
            tangent.y += r_weights["slope"] * np.minimum(layer.z, 0)
    r_y = _shortcut(layer, layer.mask * tangent.y, weights, r_x)
    return r_y + x @ r_weights["projection"] if "projection" in weights else r_y


def _softmax_product(y: Array, d: Array) -> Array:
    """Multiply by softmax's derivative, which is symmetric: y (d - sum_k d_k y_k), row by row."""
    return np.asarray(y * (d - (d * y).sum(1, keepdims=True)))


def _is_fused(layer: Layer, loss: Loss) -> bool:
    return bool(fused(loss.choice.code, layer.activation.code))


def output_backward(layer: Layer, loss: Loss, weights: Weights, gradient: Weights) -> Array:
    """Begin the backward pass in the output layer; give dL/dx.

    Where loss and activation are fused, dL/dz = y sum_k t_k - t (softmax), y - t (sigmoid).
    """
    target, share = loss.target, loss.share
    if _is_fused(layer, loss) and layer.activation.name != "identity":
        whole = target.sum(1, keepdims=True) if layer.activation.name == "softmax" else 1.0
        layer.dz = share * (layer.y * whole - target)
        return _affine_backward(layer, weights, gradient)
    layer.dphi = share * loss_derivatives(loss.choice, layer.y, target)[0]
    if layer.activation.name == "softmax":
        layer.dz = _softmax_product(layer.y, layer.dphi)
        return _affine_backward(layer, weights, gradient)
    return _through_activation(layer, weights, gradient)


def r_output_backward(
    layer: Layer, tangent: Tangent, loss: Loss, both: tuple[Weights, Weights], product: Weights
) -> Array:
    """Differentiate `output_backward`; give R(dL/dx). both: theta and the direction."""
    target, share, name = loss.target, loss.share, layer.activation.name
    if _is_fused(layer, loss) and name != "identity":
        whole = target.sum(1, keepdims=True) if name == "softmax" else 1.0
        return _r_affine_backward(layer, tangent, both, share * whole * tangent.y, product)
    r_dphi = share * loss_derivatives(loss.choice, layer.y, target)[1] * tangent.y
    if name == "softmax":
        y, r_y, d = layer.y, tangent.y, layer.dphi
        mean = (d * y).sum(1, keepdims=True)
        r_mean = (r_dphi * y + d * r_y).sum(1, keepdims=True)
        r_dz = r_y * (d - mean) + y * (r_dphi - r_mean)
        return _r_affine_backward(layer, tangent, both, r_dz, product)
    return _r_through_activation(layer, tangent, both, r_dphi, product)


def backward(layer: Layer, weights: Weights, dy: Array, gradient: Weights) -> Array:
    """Run a hidden layer backward from dL/dy; add to the gradient; give dL/dx."""
    layer.dy, layer.dphi = dy, layer.mask * dy
    dx: Array = _through_activation(layer, weights, gradient)
    if not layer.residual:
        return dx
    if "projection" not in weights:
        return dx + dy
    gradient["projection"] += layer.x.T @ dy
    return np.asarray(dx + dy @ weights["projection"].T)


def r_backward(
    layer: Layer, tangent: Tangent, both: tuple[Weights, Weights], r_dy: Array, product: Weights
) -> Array:
    """Differentiate `backward` from R(dL/dy); add to the product H v; give R(dL/dx)."""
    weights, r_weights = both
    r_dx: Array = _r_through_activation(layer, tangent, both, layer.mask * r_dy, product)
    if not layer.residual:
        return r_dx
    if "projection" not in weights:
        return r_dx + r_dy
    product["projection"] += tangent.x.T @ layer.dy + layer.x.T @ r_dy
    r_dx += r_dy @ weights["projection"].T + layer.dy @ r_weights["projection"].T
    return r_dx


def _through_activation(layer: Layer, weights: Weights, gradient: Weights) -> Array:
    """dL/dz = dL/dphi phi'(z), and PReLU's slopes."""
    layer.dz = layer.dphi * layer.slope
    if "slope" in weights:
        gradient["slope"] += (layer.dphi * np.minimum(layer.z, 0)).sum(0)
    return _affine_backward(layer, weights, gradient)


def _r_through_activation(
    layer: Layer, tangent: Tangent, both: tuple[Weights, Weights], r_dphi: Array, product: Weights
) -> Array:
    """R(dL/dz) = R(dL/dphi) phi'(z) + dL/dphi R(phi'(z)), R(phi'(z)) = phi''(z) R(z)."""
    r_slope = layer.bend * tangent.z
    if "slope" in both[0]:
        below = layer.z <= 0
        r_slope = r_slope + below * both[1]["slope"]
        product["slope"] += (r_dphi * np.minimum(layer.z, 0) + layer.dphi * below * tangent.z).sum(
            0
        )
    r_dz = r_dphi * layer.slope + layer.dphi * r_slope
    return _r_affine_backward(layer, tangent, both, r_dz, product)


def _affine_backward(layer: Layer, weights: Weights, gradient: Weights) -> Array:
    """dL/du from dL/dz, the gradients of gamma, beta, W and b, and dL/dx = dL/du W^T."""
    layer.du = layer.dz
    if layer.axis is not None:
        gradient["gamma"] += (layer.dz * layer.v).sum(0)
        gradient["beta"] += layer.dz.sum(0)
        layer.du = layer.inverse * _project(layer, weights["gamma"] * layer.dz)
    gradient["weight"] += layer.x.T @ layer.du
    if "bias" in gradient:
        gradient["bias"] += layer.du.sum(0)
    return np.asarray(layer.du @ weights["weight"].T)


def _mean(layer: Layer, values: Array) -> Array:
    """Give the mean over the batch, by the rows' shares, or over the units of a row."""
    if layer.axis == 0:
        return np.asarray((layer.share * values).sum(0, keepdims=True))
    return np.asarray(values.mean(1, keepdims=True))


def _spread(layer: Layer, values: Array) -> Array:
    """Give what `_mean` makes of derivatives on the way back: each row its share of their sum."""
    if layer.axis == 0:
        return np.asarray(layer.share * values.sum(0, keepdims=True))
    return np.asarray(values.mean(1, keepdims=True))


def _project(layer: Layer, h: Array) -> Array:
    """H - spread h - v spread(h v)."""
    return np.asarray(h - _spread(layer, h) - layer.v * _spread(layer, h * layer.v))


def _r_affine_backward(
    layer: Layer, tangent: Tangent, both: tuple[Weights, Weights], r_dz: Array, product: Weights
) -> Array:
    """Differentiate `_affine_backward`; give R(dL/dx)."""
    weights, r_weights = both
    r_du = r_dz
    if layer.axis is not None:
        product["gamma"] += (r_dz * layer.v + layer.dz * tangent.v).sum(0)
        product["beta"] += r_dz.sum(0)
        h = weights["gamma"] * layer.dz
        r_h = r_weights["gamma"] * layer.dz + weights["gamma"] * r_dz
        pull = _spread(layer, h * layer.v)
        r_pull = _spread(layer, h * tangent.v)
        r_du = tangent.inverse * _project(layer, h) + layer.inverse * (
            _project(layer, r_h) - tangent.v * pull - layer.v * r_pull
        )
    product["weight"] += tangent.x.T @ layer.du + layer.x.T @ r_du
    if "bias" in product:
        product["bias"] += r_du.sum(0)
    return np.asarray(r_du @ weights["weight"].T + layer.du @ r_weights["weight"].T)
