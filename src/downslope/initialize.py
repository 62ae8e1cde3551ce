"""Initializers: where the weights of a layer start."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from downslope.catalogue import Choice, choose

Array = npt.NDArray[Any]

_VARIANCES: Final = MappingProxyType(
    {
        "glorot": lambda inputs, outputs: 2 / (inputs + outputs),
        "he": lambda inputs, outputs: 2 / inputs,
        "lecun": lambda inputs, outputs: 1 / inputs,
    }
)
"""By family: the weights' variance from the layer's inputs and outputs."""

_RELU_FAMILY: Final = frozenset(
    {"relu", "leaky_relu", "prelu", "elu", "gelu", "gelu_tanh", "silu", "softplus", "mish"}
)


def weights(
    choice: Choice,
    inputs: int,
    outputs: int,
    activation: str,
    generator: np.random.Generator,
    dtype: npt.DTypeLike = np.float32,
) -> Array:
    """Draw the weights that a layer starts with.

    They are drawn in float64 and cast, so that networks of either number type start alike.

    Parameters
    ----------
    choice
        The initializer. ``auto`` goes by the activation: He normal for ReLU and its like (variance
        2 / ((1 + slope^2) in) where there is a slope below 0), LeCun normal for SELU, Glorot
        uniform otherwise.
    inputs, outputs
        Units before and after the weights.
    activation
        Of the layer, as in a recipe: ``"relu"``, ``"leaky_relu(slope=0.2)"``.
    generator
        Where the randomness comes from; moved on by the draw.
    dtype
        float32 or float64.

    Returns
    -------
    (inputs, outputs) array of `dtype`.

    Examples
    --------
    >>> from downslope.catalogue import choose
    >>> generator = np.random.default_rng(0)
    >>> weights(choose("initializer", "auto"), 100, 50, "relu", generator).std().round(3)
    np.float32(0.141)

    Notes
    -----
    Glorot and Bengio 2010; He et al. 2015, equations 10 and 14; LeCun et al. 1998, section 4.6;
    Saxe, McClelland and Ganguli 2014.
    """
    shape, options = (inputs, outputs), choice.options
    match choice.name:
        case "auto":
            drawn = _automatic(shape, activation, generator)
        case "zeros":
            drawn = np.zeros(shape)
        case "constant":
            drawn = np.full(shape, options["value"])
        case "normal":
            drawn = generator.normal(0, options["std"], shape)
        case "uniform":
            drawn = generator.uniform(-options["limit"], options["limit"], shape)
        case "orthogonal":
            drawn = options["gain"] * orthogonal(shape, generator)
        case _:
            family, _, distribution = choice.name.partition("_")
            variance = _VARIANCES[family](inputs, outputs)
            drawn = _of_variance(variance, distribution, shape, generator)
    return drawn.astype(dtype)


def _of_variance(
    variance: float, distribution: str, shape: tuple[int, int], generator: np.random.Generator
) -> Array:
    """Draw from N(0, variance), or from U(-a, a) with a = sqrt(3 variance)."""
    if distribution == "normal":
        return generator.normal(0, math.sqrt(variance), shape)
    limit = math.sqrt(3 * variance)
    return generator.uniform(-limit, limit, shape)


def _automatic(shape: tuple[int, int], activation: str, generator: np.random.Generator) -> Array:
    """Draw what keeps the variance of a signal through this activation."""
    inputs, outputs = shape
    follows = choose("activation", activation)
    if follows.name in _RELU_FAMILY:
        slope = follows.options.get("slope", 0.0)
        return _of_variance(2 / ((1 + slope**2) * inputs), "normal", shape, generator)
    if follows.name == "selu":
        return _of_variance(1 / inputs, "normal", shape, generator)
    return _of_variance(2 / (inputs + outputs), "uniform", shape, generator)


def orthogonal(shape: tuple[int, int], generator: np.random.Generator) -> Array:
    """Draw a matrix with orthonormal rows or columns, whichever are fewer, all alike probable.

    >>> q = orthogonal((4, 2), np.random.default_rng(0))
    >>> bool(np.allclose(q.T @ q, np.eye(2)))
    True
    """
    tall = generator.normal(size=(max(shape), min(shape)))
    q, r = np.linalg.qr(tall)
    # QR leaves the signs to the algorithm; with R's diagonal positive Q is uniform (Mezzadri 2007).
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return q if shape[0] >= shape[1] else q.T
