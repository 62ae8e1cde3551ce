"""Slow, obvious references for every kernel, straight from textbook or paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

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
