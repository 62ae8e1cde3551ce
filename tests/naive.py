"""Slow, obvious references for every kernel, straight from textbook or paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, ndtr, xlogy

Doubles = npt.NDArray[np.float64]


# The update rules, written from their papers' recurrences: (gradients, rates) of all steps -> theta
# after each. kernels/rules.py splits the same into coefficients and a loop.

Rule = Callable[..., Iterator[Doubles]]


def descend_naively(rule: str, options: Mapping[str, float], theta: Doubles,
                    gradients: Doubles, rates: Doubles) -> Doubles:  # fmt: skip
    """Move theta (n,) by the gradients (steps, n) at the rates (steps,); give (steps, n)."""
    theta = theta.astype(np.float64)
    trail = []
    for move in NAIVE_RULES[rule](gradients.astype(np.float64), rates, **options):
        theta = theta + move
        trail.append(theta)
    return np.array(trail)


def gd(gradients: Doubles, rates: Doubles) -> Iterator[Doubles]:
    for g, eta in zip(gradients, rates, strict=True):
        yield -eta * g


def momentum(gradients: Doubles, rates: Doubles, momentum: float) -> Iterator[Doubles]:
    v = np.zeros_like(gradients[0])
    for g, eta in zip(gradients, rates, strict=True):
        v = momentum * v - eta * g
        yield v


def nesterov(gradients: Doubles, rates: Doubles, momentum: float) -> Iterator[Doubles]:
    v = np.zeros_like(gradients[0])
    for g, eta in zip(gradients, rates, strict=True):
        v = momentum * v - eta * g
        yield momentum * v - eta * g


def adagrad(gradients: Doubles, rates: Doubles, epsilon: float) -> Iterator[Doubles]:
    for t, (g, eta) in enumerate(zip(gradients, rates, strict=True), start=1):
        yield -eta * g / (np.sqrt(np.sum(gradients[:t] ** 2, axis=0)) + epsilon)


def adadelta(gradients: Doubles, rates: Doubles, rho: float, epsilon: float) -> Iterator[Doubles]:
    s, u = np.zeros_like(gradients[0]), np.zeros_like(gradients[0])
    for g, eta in zip(gradients, rates, strict=True):
        s = rho * s + (1 - rho) * g**2
        d = np.sqrt(u + epsilon) / np.sqrt(s + epsilon) * g
        u = rho * u + (1 - rho) * d**2
        yield -eta * d


def rmsprop(gradients: Doubles, rates: Doubles, decay: float, epsilon: float, momentum: float,
            centered: float) -> Iterator[Doubles]:  # fmt: skip
    s, m, v = (np.zeros_like(gradients[0]) for _ in range(3))
    for g, eta in zip(gradients, rates, strict=True):
        s = decay * s + (1 - decay) * g**2
        m = decay * m + (1 - decay) * g
        v = momentum * v + g / (np.sqrt(s - centered * m**2) + epsilon)
        yield -eta * v


def _weighted_mean(values: Doubles, beta: float) -> Doubles:
    """sum_i (1-beta) beta^(t-i) values_i, divided by the sum of the weights: no bias to correct."""
    weights = beta ** np.arange(len(values) - 1.0, -1, -1)
    mean: Doubles = weights @ values / weights.sum()
    return mean


def adam(gradients: Doubles, rates: Doubles, beta1: float, beta2: float,
         epsilon: float, uncorrected: float = 0.0) -> Iterator[Doubles]:  # fmt: skip
    for t, eta in enumerate(rates, start=1):
        m, v = _weighted_mean(gradients[:t], beta1), _weighted_mean(gradients[:t] ** 2, beta2)
        yield -eta * m / (np.sqrt(v) + epsilon / (np.sqrt(1 - beta2**t) if uncorrected else 1))


def adamw(gradients: Doubles, rates: Doubles, beta1: float, beta2: float, epsilon: float,
          weight_decay: float) -> Iterator[Doubles]:  # fmt: skip
    return adam(gradients, rates, beta1, beta2, epsilon)  # the loop decays, the rule does not


def amsgrad(gradients: Doubles, rates: Doubles, beta1: float, beta2: float,
            epsilon: float) -> Iterator[Doubles]:  # fmt: skip
    v, u = np.zeros_like(gradients[0]), np.zeros_like(gradients[0])
    for t, (g, eta) in enumerate(zip(gradients, rates, strict=True), start=1):
        v = beta2 * v + (1 - beta2) * g**2
        u = np.maximum(u, v)
        yield -eta * _weighted_mean(gradients[:t], beta1) / (np.sqrt(u / (1 - beta2**t)) + epsilon)


def adamax(gradients: Doubles, rates: Doubles, beta1: float, beta2: float,
           epsilon: float) -> Iterator[Doubles]:  # fmt: skip
    u = np.zeros_like(gradients[0])
    for t, (g, eta) in enumerate(zip(gradients, rates, strict=True), start=1):
        u = np.maximum(beta2 * u, np.abs(g) + epsilon)
        yield -eta * _weighted_mean(gradients[:t], beta1) / u


def nadam(gradients: Doubles, rates: Doubles, beta1: float, beta2: float, epsilon: float,
          decay: float) -> Iterator[Doubles]:  # fmt: skip
    def mu(t: int) -> float:
        return beta1 * (1 - float(0.96 ** (t * decay)) / 2)

    m, product = np.zeros_like(gradients[0]), 1.0
    for t, (g, eta) in enumerate(zip(gradients, rates, strict=True), start=1):
        m = beta1 * m + (1 - beta1) * g
        product *= mu(t)
        ahead = mu(t + 1) * m / (1 - product * mu(t + 1)) + (1 - mu(t)) * g / (1 - product)
        yield -eta * ahead / (np.sqrt(_weighted_mean(gradients[:t] ** 2, beta2)) + epsilon)


def radam(gradients: Doubles, rates: Doubles, beta1: float, beta2: float,
          epsilon: float) -> Iterator[Doubles]:  # fmt: skip
    v, end = np.zeros_like(gradients[0]), 2 / (1 - beta2) - 1
    for t, (g, eta) in enumerate(zip(gradients, rates, strict=True), start=1):
        v = beta2 * v + (1 - beta2) * g**2
        m = _weighted_mean(gradients[:t], beta1)
        rho = end - 2 * t * beta2**t / (1 - beta2**t)
        if rho > 5:
            r = np.sqrt((rho - 4) * (rho - 2) * end / ((end - 4) * (end - 2) * rho))
            yield -eta * m * r * np.sqrt(1 - beta2**t) / (np.sqrt(v) + epsilon)
        else:
            yield -eta * m


def lion(gradients: Doubles, rates: Doubles, beta1: float, beta2: float) -> Iterator[Doubles]:
    m = np.zeros_like(gradients[0])
    for g, eta in zip(gradients, rates, strict=True):
        yield -eta * np.sign(beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g


def rprop(gradients: Doubles, rates: Doubles, minus: float, plus: float, low: float,
          high: float) -> Iterator[Doubles]:  # fmt: skip
    steps, before = [float(rates[0])] * gradients.shape[1], [0.0] * gradients.shape[1]
    for row in gradients:
        move = np.zeros_like(row)
        for k, g in enumerate(row):
            if g * before[k] > 0:
                steps[k] = min(steps[k] * plus, high)
            elif g * before[k] < 0:
                steps[k] = max(steps[k] * minus, low)
                g = 0.0
            move[k] = -np.sign(g) * steps[k]
            before[k] = g
        yield move


def muon_elsewhere(gradients: Doubles, rates: Doubles, momentum: float, iterations: float,
                   beta1: float, beta2: float, epsilon: float,
                   adam_rate: float) -> Iterator[Doubles]:  # fmt: skip
    return adam(gradients, adam_rate * rates, beta1, beta2, epsilon)


def muon_matrix(theta: Doubles, gradients: Doubles, rates: Doubles, momentum: float,
                iterations: int) -> Doubles:  # fmt: skip
    """Move a matrix W (in, out) by the gradients (steps, in, out) as Jordan's muon.py does."""
    W, M = theta.T.astype(np.float64), np.zeros_like(theta.T)  # PyTorch's layout: (out, in)
    for G, eta in zip(gradients, rates, strict=True):
        M = M + (1 - momentum) * (G.T - M)
        X = G.T + momentum * (M - G.T)
        X = X.T if len(W) > len(W.T) else X
        X = X / (np.sqrt(np.sum(X**2)) + 1e-7)
        for _ in range(iterations):
            A = X @ X.T
            X = 3.4445 * X + (-4.7750 * A + 2.0315 * A @ A) @ X
        X = X.T if len(W) > len(W.T) else X
        W = W - eta * max(1, W.shape[0] / W.shape[1]) ** 0.5 * X
    return W.T


NAIVE_RULES: dict[str, Rule] = {
    "gd": gd, "momentum": momentum, "nesterov": nesterov, "adagrad": adagrad,
    "adadelta": adadelta, "rmsprop": rmsprop, "adam": adam, "amsgrad": amsgrad, "adamax": adamax,
    "nadam": nadam, "radam": radam, "adamw": adamw, "lion": lion, "rprop": rprop,
    "muon": muon_elsewhere,
}  # fmt: skip


# The activations and losses, from their definitions. kernels/activations.py and kernels/losses.py
# have their own exp, log and erf, take derivatives from y, and sum in other orders.

Phi = Callable[[Doubles, float], Doubles]


def _mish_slope(z: Doubles, _: float) -> Doubles:
    inner = np.logaddexp(0, z)
    return np.asarray(np.tanh(inner) + z * 4 * expit(2 * inner) * expit(-2 * inner) * expit(z))


def _gelu_tanh_u(z: Doubles) -> Doubles:
    return np.asarray(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))


def _gelu_tanh_slope(z: Doubles, _: float) -> Doubles:
    u_slope = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * z**2)
    sigma = expit(2 * _gelu_tanh_u(z))
    return np.asarray(sigma + z * sigma * expit(-2 * _gelu_tanh_u(z)) * 2 * u_slope)


_SELU = 1.0507009873554805, 1.6732632423543772

# phi and phi' of every elementwise activation, as functions of z and its one parameter
NAIVE_ACTIVATIONS: Mapping[str, tuple[Phi, Phi]] = {
    "identity": (lambda z, _: z, lambda z, _: np.ones_like(z)),
    "sigmoid": (lambda z, _: expit(z), lambda z, _: expit(z) * expit(-z)),
    "tanh": (lambda z, _: np.tanh(z), lambda z, _: 4 * expit(2 * z) * expit(-2 * z)),
    "relu": (lambda z, _: np.maximum(0, z), lambda z, _: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (lambda z, a: np.where(z > 0, z, a * z), lambda z, a: np.where(z > 0, 1.0, a)),
    "prelu": (lambda z, a: np.where(z > 0, z, a * z), lambda z, a: np.where(z > 0, 1.0, a)),
    "elu": (
        lambda z, a: np.where(z > 0, z, a * np.expm1(np.minimum(z, 0))),
        lambda z, a: np.where(z > 0, 1.0, a * np.exp(np.minimum(z, 0))),
    ),
    "selu": (
        lambda z, _: _SELU[0] * np.where(z > 0, z, _SELU[1] * np.expm1(np.minimum(z, 0))),
        lambda z, _: _SELU[0] * np.where(z > 0, 1.0, _SELU[1] * np.exp(np.minimum(z, 0))),
    ),
    "gelu": (
        lambda z, _: z * ndtr(z),
        lambda z, _: ndtr(z) + z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi),
    ),
    "gelu_tanh": (lambda z, _: z * expit(2 * _gelu_tanh_u(z)), _gelu_tanh_slope),
    "silu": (
        lambda z, _: z * expit(z),
        lambda z, _: expit(z) + z * expit(z) * expit(-z),
    ),
    "softplus": (lambda z, _: np.logaddexp(0, z), lambda z, _: expit(z)),
    "mish": (lambda z, _: z * np.tanh(np.logaddexp(0, z)), _mish_slope),
}


def activate_naively(name: str, z: Doubles, parameter: float = 0.0) -> Doubles:
    """y = phi(z) for z (rows, units); softmax row by row."""
    if name == "softmax":
        powers = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    return NAIVE_ACTIVATIONS[name][0](z, parameter)


def loss_naively(
    name: str, y: Doubles, t: Doubles, parameter: float = 1.0, clip: float = 1e-7
) -> Doubles:
    """L of every row, (rows,), from y and t (rows, outputs); probabilities clipped as in Keras."""
    p, r = np.clip(y, clip, 1 - clip), y - t
    delta = parameter
    terms = {
        "cross_entropy": -t * np.log(p),
        "binary_cross_entropy": -t * np.log(p) - (1 - t) * np.log(1 - p),
        "squared_error": r**2 / 2,
        "absolute_error": abs(r),
        "huber": np.where(abs(r) <= delta, r**2 / 2, delta * (abs(r) - delta / 2)),
        "poisson": np.exp(np.minimum(y, 700)) - t * y + xlogy(t * (t > 0), t) - t * (t > 0),
    }
    return np.asarray(terms[name].sum(axis=1))


# A whole step of a network, row by row and factor by factor, for what the gauges measure
# and chainrule.py tells. Dropout's masks are drawn as kernels/dropout.py says, in whole numbers.

_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD = (1 << 64) - 1


def _mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * _FIRST) & _WORD
    value = ((value ^ (value >> 27)) * _SECOND) & _WORD
    return value ^ (value >> 31)


def _stream(seed: int, step: int, layer: int) -> int:
    """Name the random stream of a layer in a step, or of an epoch."""
    key = _mix((seed + _GOLDEN) & _WORD)
    key = _mix(key ^ ((step * _GOLDEN) & _WORD))
    return _mix(key ^ (((layer + 1) * _FIRST) & _WORD))


def dropout_mask(rate: float, seed: int, step: int, layer: int, shape: tuple[int, int]) -> Doubles:
    """0 or 1 / (1 - rate) for all outputs of a layer (rows, units); step and layer from 0."""
    key = _stream(seed, step, layer)
    least = int(rate * 18446744073709549568.0)
    kept = [_mix((key + k * _GOLDEN) & _WORD) >= least for k in range(shape[0] * shape[1])]
    return np.array(kept, np.float64).reshape(shape) / (1 - rate)


class NaiveLayer:
    """The values of one layer for all rows of a batch, (rows, units) each, and its gradients.

    parts: W, P, b, gamma, beta, slope by their names in files, float64.
    """

    def __init__(self, parts: Mapping[str, Doubles], activation: str, parameter: float,
                 normalize: str, residual: bool, mask: Doubles | float) -> None:  # fmt: skip
        self.parts, self.activation, self.parameter = parts, activation, parameter
        self.normalize, self.residual, self.mask = normalize, residual, mask

    def forward(self, x: Doubles) -> Doubles:
        self.x, parts = x, self.parts
        self.u = x @ parts["weight"] + parts.get("bias", 0.0)
        self.z = self.v = self.u
        if self.normalize != "none":
            axis = 0 if self.normalize == "batch" else 1
            self.sigma = np.sqrt(self.u.var(axis=axis, keepdims=True) + 1e-5)
            self.v = (self.u - self.u.mean(axis=axis, keepdims=True)) / self.sigma
            self.z = parts["gamma"] * self.v + parts["beta"]
        slopes: Any = parts.get("slope", self.parameter)
        if self.activation == "softmax":
            self.phi = activate_naively("softmax", self.z)
            self.slope = self.phi * (1 - self.phi)
        else:
            phi, slope = NAIVE_ACTIVATIONS[self.activation]
            self.phi, self.slope = phi(self.z, slopes), slope(self.z, slopes)
        self.y = self.phi * self.mask
        if self.residual:
            self.y = self.y + (x @ parts["projection"] if "projection" in parts else x)
        return np.asarray(self.y)

    def backward(self, dy: Doubles) -> Doubles:
        """Give dL/dx; dL/dz, dL/du and every row's gradients are kept."""
        self.dy, parts = dy, self.parts
        dphi = dy * self.mask
        if self.activation == "softmax":
            self.dz = self.phi * (dphi - (dphi * self.phi).sum(axis=1, keepdims=True))
        else:
            self.dz = dphi * self.slope
        self.du = self.dz
        if self.normalize != "none":
            axis = 0 if self.normalize == "batch" else 1
            h = parts["gamma"] * self.dz
            means = h.mean(axis=axis, keepdims=True), (h * self.v).mean(axis=axis, keepdims=True)
            self.du = (h - means[0] - self.v * means[1]) / self.sigma
        shares = {
            "weight": self.x[:, :, None] * self.du[:, None, :],
            "projection": self.x[:, :, None] * dy[:, None, :],
            "bias": self.du,
            "gamma": self.dz * self.v,
            "beta": self.dz,
            "slope": dphi * np.minimum(self.z, 0),
        }
        # (rows, ...): what each row adds to the gradient of each part
        self.shares = {name: shares[name] for name in parts}
        dx = self.du @ parts["weight"].T
        if self.residual:
            dx = dx + (dy @ parts["projection"].T if "projection" in parts else dy)
        return np.asarray(dx)


def step_naively(
    built: object,
    theta: Doubles,
    features: Doubles,
    target: Doubles,
    weights: Doubles,
    masks: list[Doubles | float],
) -> tuple[float, list[NaiveLayer]]:
    """Loss and layers of one batch; target (rows, outputs), weights (rows,): a share of 1 each."""
    layout, network = built.layout, built.network  # type: ignore[attr-defined]
    activations = [*network.activations(), built.output_activation]  # type: ignore[attr-defined]
    layers, y = [], features
    for number, activation in enumerate(activations):
        parts = {
            part.name.split(".")[1]: theta[part.start : part.stop].reshape(part.shape)
            for part in layout.parts
            if part.layer == number
        }
        hidden = number < len(activations) - 1
        layer = NaiveLayer(
            parts, activation.name, (*activation.values(), 0.0)[0],
            network.normalize if hidden else "none", network.residual and hidden, masks[number],
        )  # fmt: skip
        y = layer.forward(y)
        layers.append(layer)
    name = built.loss.name  # type: ignore[attr-defined]
    loss = float(weights @ loss_naively(name, y, target))
    dy = {
        "cross_entropy": -target / y,
        "binary_cross_entropy": (y - target) / (y * (1 - y)),
        "squared_error": y - target,
        "absolute_error": np.sign(y - target),
    }[name] * weights[:, None]
    for layer in reversed(layers):
        dy = layer.backward(dy)
    return loss, layers


def _rms(values: Doubles) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _noise(norms: Doubles, gradient: float) -> dict[str, float]:
    """Noise scale from |g_n| (rows,) and |G|^2, by McCandlish et al. 2018, (A.2) and (A.3)."""
    rows = len(norms)
    small, big = float(np.mean(norms**2)), gradient
    signal = (rows * big - 1 * small) / (rows - 1)
    trace = (small - big) / (1 / 1 - 1 / rows)
    scale = trace / signal if signal > 0 else np.inf
    return {"noise_scale": scale, "signal_to_noise": np.sqrt(rows / scale)}


def steepest_naively(activation: str, parameter: float) -> float:
    """Find the maximum of |phi'| by looking everywhere; of softmax that of y (1 - y)."""
    if activation == "softmax":
        return 0.25
    slope = NAIVE_ACTIVATIONS[activation][1]
    return float(abs(slope(np.linspace(-20, 20, 400_001), parameter)).max())


def measure_layer_naively(layers: list[NaiveLayer], number: int) -> dict[str, float]:
    """Measure what the trace has of one layer but for its move, number from 0."""
    layer = layers[number]
    gradient = np.concatenate([each.sum(0).ravel() for each in layer.shares.values()])
    own = [each.reshape(len(layer.x), -1) * len(layer.x) for each in layer.shares.values()]
    norms = np.linalg.norm(np.concatenate(own, axis=1), axis=1)
    steepest = steepest_naively(layer.activation, layer.parameter)
    found = {
        "x_mean": layer.x.mean(), "x_std": layer.x.std(),
        "z_mean": layer.z.mean(), "z_std": layer.z.std(),
        "y_mean": layer.y.mean(), "y_std": layer.y.std(),
        "dead": (layer.phi == 0).all(axis=0).mean(),
        "flat": (abs(layer.slope) < 1e-3 * steepest).mean(),
        "dy_rms": _rms(layer.dy), "slope_rms": _rms(layer.slope), "dz_rms": _rms(layer.dz),
        "x_rms": _rms(layer.x), "dw_rms": _rms(layer.shares["weight"].sum(0)),
        "shrink_slope": np.log(_rms(layer.dz) / _rms(layer.dy)),
        "sample_norm_mean": norms.mean(), "sample_norm_std": norms.std(),
        **_noise(norms, float(gradient @ gradient)),
    }  # fmt: skip
    if number:
        found["shrink_weights"] = np.log(_rms(layers[number - 1].dy) / _rms(layer.dz))
    return found


def measure_step_naively(layers: list[NaiveLayer]) -> dict[str, float]:
    """Measure what the trace has of the rows' gradients of the whole network."""
    rows = len(layers[0].x)
    shares = [each.reshape(rows, -1) for layer in layers for each in layer.shares.values()]
    whole = np.concatenate(shares, axis=1)
    norms, gradient = rows * np.linalg.norm(whole, axis=1), whole.sum(0)
    quantiles = {f"sample_norm_q{q:02d}": np.quantile(norms, q / 100) for q in (5, 25, 50, 75, 95)}
    return {
        "sample_norm_mean": norms.mean(), "sample_norm_std": norms.std(), **quantiles,
        **_noise(norms, float(gradient @ gradient)),
    }  # fmt: skip


# The order of an epoch's rows, in Python's own integers.


def shuffle_naively(rows: npt.NDArray[np.int64], seed: int, epoch: int) -> list[int]:
    """Put rows in their order for an epoch: Fisher and Yates."""
    order, key = [int(row) for row in rows], _stream(seed, epoch, -2)
    for k in range(len(order) - 1, 0, -1):
        other = (_mix((key + k * _GOLDEN) & _WORD) >> 32) * (k + 1) >> 32
        order[k], order[other] = order[other], order[k]
    return order


# Features that are scaled as they are fetched.


def scale_row(
    row: npt.NDArray[Any], centers: Doubles, factors: Doubles, squashes: Doubles | None = None
) -> npt.NDArray[Any]:
    """Scale each number by itself, in Python's own float64; squash it where told to."""
    found = []
    for j, x in enumerate(row.tolist()):
        z = (x - centers[j].item()) * factors[j].item()
        q = 0.0 if squashes is None else z * squashes[j].item()
        found.append(z / math.sqrt(1.0 + q * q))
    return np.array(found).astype(row.dtype)
