"""Adam and the rules made from it: a running mean of the gradient over one of its squares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numba import types
from numba.extending import intrinsic

from downslope.kernels.jit import Doubles, inner
from downslope.kernels.vectors import Vectors
from downslope.kernels.views import elements, pointer

Columns: TypeAlias = tuple[Doubles | float, ...]
"""What a kernel reads from its row: by step (steps,), or the same at every step."""

Options: TypeAlias = Mapping[str, float]
"""A rule's options; the catalogue has their defaults."""


def betas(options: Options) -> tuple[float, float, float, float]:
    """beta1, 1 - beta1, beta2, 1 - beta2: the differences in float64, as a kernel's are not."""
    return options["beta1"], 1 - options["beta1"], options["beta2"], 1 - options["beta2"]


def powers(beta: float, t: Doubles) -> Doubles:
    """beta^t, t from 1 on; by exp, which runs in vectors: a power of its own takes 40 ns a step."""
    return np.exp(t * math.log(beta)) if beta > 0 else np.zeros_like(t)


def adam_columns(options: Options, rates: Doubles, t: Doubles) -> Columns:
    """a, b and c of `adam`, after the betas; c is b epsilon where that is uncorrected."""
    step = rates / (1 - powers(options["beta1"], t))
    scale = 1 / np.sqrt(1 - powers(options["beta2"], t))
    epsilon = options["epsilon"]
    return *betas(options), step, scale, scale * epsilon if options.get("uncorrected") else epsilon


def _adam_vectors(of_one_row: bool) -> Any:
    """Make the loop of `adam`, or of `adam_of_one_row` for one row of W; all pointers."""

    @intrinsic
    def adam_vectors(typing, theta, gradient, x, means, squares, count, beta1, rest1, beta2, rest2,
                     a, b, c):  # fmt: skip
        f = theta.dtype
        signature = types.void(theta, gradient, f, means, squares, types.intp, *[f] * 7)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            theta, gradient, x, means, squares, count, *scalars = arguments
            many = Vectors(context, builder, signature.args[2])
            beta1, rest1, beta2, rest2, a, b, c = (many.spread(each) for each in scalars)

            def move(at: Any, mask: Any) -> None:
                w, g, m, v = (builder.gep(each, [at]) for each in (theta, gradient, means, squares))
                slope = many.load(g, mask)
                if of_one_row:
                    slope = many.multiply_add(many.spread(x), slope, many.zero)
                mean = builder.fmul(beta1, many.load(m, mask))
                mean = many.multiply_add(rest1, slope, mean)
                square = builder.fmul(beta2, many.load(v, mask))
                square = many.multiply_add(builder.fmul(rest2, slope), slope, square)
                many.store(mean, m, mask)
                many.store(square, v, mask)
                below = many.multiply_add(b, many.root(square), c)
                step = many.quotient(builder.fmul(a, mean), below)
                many.store(builder.fsub(many.load(w, mask), step), w, mask)

            many.each(count, move)
            return context.get_dummy_value()

        return signature, generate

    return adam_vectors


_adam, _adam_of_one_row = _adam_vectors(False), _adam_vectors(True)


@inner
def adam(theta, gradient, means, squares, row):
    """m = beta1 m + (1-beta1) g; v = beta2 v + (1-beta2) g^2; w = w - a m / (b sqrt v + c).

    a = eta / (1-beta1^t), b = 1 / sqrt(1-beta2^t), c = epsilon are Adam; RAdam has others.
    """
    f = theta.dtype.type
    _adam(pointer(theta, 0), pointer(gradient, 0), f(1), pointer(means, 0), pointer(squares, 0),
          theta.shape[0], f(row[0]), f(row[1]), f(row[2]), f(row[3]), f(row[4]), f(row[5]),
          f(row[6]))  # fmt: skip


@inner
def adam_of_one_row(theta, x, d, means, squares, count, units, row):
    """`adam` for `count` rows of W, whose gradient x^T d is that of a single row of the batch.

    It is not stored. All pointers: x (count,), d (units,), the others (count, units).
    """
    some = elements(x, count)
    f = some.dtype.type
    beta1, rest1, beta2, rest2 = f(row[0]), f(row[1]), f(row[2]), f(row[3])
    a, b, c = f(row[4]), f(row[5]), f(row[6])
    for i in range(count):
        at = i * units
        _adam_of_one_row(pointer(theta, at), d, some[i], pointer(means, at), pointer(squares, at),
                         units, beta1, rest1, beta2, rest2, a, b, c)  # fmt: skip


@inner
def amsgrad(theta, gradient, means, squares, largest, row):
    """m and v as in Adam; u = max(u, v); w = w - a m / (b sqrt u + c)."""
    beta1, rest1 = theta.dtype.type(row[0]), theta.dtype.type(row[1])
    beta2, rest2 = theta.dtype.type(row[2]), theta.dtype.type(row[3])
    a, b, c = theta.dtype.type(row[4]), theta.dtype.type(row[5]), theta.dtype.type(row[6])
    for k in range(theta.shape[0]):
        g = gradient[k]
        m = beta1 * means[k] + rest1 * g
        v = beta2 * squares[k] + rest2 * g * g
        u = largest[k] if largest[k] > v else v
        means[k], squares[k], largest[k] = m, v, u
        theta[k] -= a * m / (b * np.sqrt(u) + c)


def adamax_columns(options: Options, rates: Doubles, t: Doubles) -> Columns:
    """eta / (1-beta1^t) and epsilon, after the betas."""
    return *betas(options), rates / (1 - powers(options["beta1"], t)), options["epsilon"]


@inner
def adamax(theta, gradient, means, largest, row):
    """m = beta1 m + (1-beta1) g; u = max(beta2 u, |g| + epsilon); w = w - eta/(1-beta1^t) m / u."""
    beta1, rest1 = theta.dtype.type(row[0]), theta.dtype.type(row[1])
    beta2, step = theta.dtype.type(row[2]), theta.dtype.type(row[4])
    epsilon = theta.dtype.type(row[5])
    for k in range(theta.shape[0]):
        g = gradient[k]
        m = beta1 * means[k] + rest1 * g
        faded, now = beta2 * largest[k], abs(g) + epsilon
        u = faded if faded > now else now
        means[k], largest[k] = m, u
        theta[k] -= step * m / u


def nadam_columns(options: Options, rates: Doubles, t: Doubles) -> Columns:
    """a = eta mu_(t+1) / (1 - prod_(t+1) mu), b = eta (1-mu_t) / (1 - prod_t mu), c, epsilon."""
    beta1, decay = options["beta1"], options["decay"]
    first, last = int(t[0]), int(t[-1])
    # No mu exceeds beta1, so that from this step on 1 - product is 1.0 to the last bit.
    vanishes = math.ceil(60 * math.log(2) / -math.log(beta1)) if beta1 > 0 else 1
    early = np.arange(1.0, min(last + 1, vanishes) + 1)
    product = np.zeros(last + 2 - first)
    running = np.cumprod(_nadam_mu(beta1, decay, early))[first - 1 :]
    product[: len(running)] = running
    mu, mu_next = _nadam_mu(beta1, decay, t), _nadam_mu(beta1, decay, t + 1)
    by_mean = rates * mu_next / (1 - product[1:])
    by_gradient = rates * (1 - mu) / (1 - product[:-1])
    scale = 1 / np.sqrt(1 - powers(options["beta2"], t))
    return *betas(options), by_mean, by_gradient, scale, options["epsilon"]


def _nadam_mu(beta1: float, decay: float, t: Doubles) -> Doubles:
    """mu_t = beta1 (1 - 0.96^(t decay) / 2)."""
    return beta1 * (1 - 0.5 * 0.96 ** (t * decay))


@inner
def nadam(theta, gradient, means, squares, row):
    """m and v as in Adam; w = w - (a m + b g) / (c sqrt v + epsilon)."""
    beta1, rest1 = theta.dtype.type(row[0]), theta.dtype.type(row[1])
    beta2, rest2 = theta.dtype.type(row[2]), theta.dtype.type(row[3])
    a, b = theta.dtype.type(row[4]), theta.dtype.type(row[5])
    c, epsilon = theta.dtype.type(row[6]), theta.dtype.type(row[7])
    for k in range(theta.shape[0]):
        g = gradient[k]
        m = beta1 * means[k] + rest1 * g
        v = beta2 * squares[k] + rest2 * g * g
        means[k], squares[k] = m, v
        theta[k] -= (a * m + b * g) / (c * np.sqrt(v) + epsilon)


def radam_columns(options: Options, rates: Doubles, t: Doubles) -> Columns:
    """`adam`'s columns: its step times r_t where rho_t > 5, else a bare momentum (b, c = 0, 1)."""
    power = powers(options["beta2"], t)
    rho_end = 2 / (1 - options["beta2"]) - 1
    rho = rho_end - 2 * t * power / (1 - power)
    trusted = rho > 5
    step = rates / (1 - powers(options["beta1"], t))
    if not trusted.any():
        return *betas(options), step, 0.0, 1.0
    rho = np.where(trusted, rho, rho_end)
    ratio = (rho - 4) * (rho - 2) * rho_end / ((rho_end - 4) * (rho_end - 2) * rho)
    rectified = step * np.sqrt(ratio * (1 - power))
    b, c = np.where(trusted, 1.0, 0.0), np.where(trusted, options["epsilon"], 1.0)
    return *betas(options), np.where(trusted, rectified, step), b, c
