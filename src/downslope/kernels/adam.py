"""Adam and the rules made from it: a running mean of the gradient over one of its squares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numba import types
from numba.extending import intrinsic

from downslope.kernels.jit import Doubles, exact, inner
from downslope.kernels.lanes import all_lanes, load, magnitude, root, select, store
from downslope.kernels.tiles import lanes_of
from downslope.kernels.vectors import Vectors
from downslope.kernels.views import elements, pointer

Columns: TypeAlias = tuple[Doubles | float, ...]
"""What a kernel reads from its row: by step (steps,), or the same at every step."""

Options: TypeAlias = Mapping[str, float]
"""A rule's options; the catalogue has their defaults."""


SUMS = 3
"""What a recorded step sums up of a move, a vector each."""

ENLARGED = 2.0**20
"""Factor on moves that are kept, and whose squares are summed up: in float32 none of 2^-82 or more
counts as 0, none of less than 2^37 as infinite. Adam's are some 30 learning rates at most."""


def betas(options: Options) -> tuple[float, float, float, float]:
    """beta1, 1 - beta1, beta2, 1 - beta2: the differences in float64, as a kernel's are not."""
    return options["beta1"], 1 - options["beta1"], options["beta2"], 1 - options["beta2"]


SMALLEST = -700.0
"""An exponent whose power is next to nothing; `exp` takes a slow way for those below it."""


def powers(beta: float, t: Doubles) -> Doubles:
    """beta^t, t from 1 on; by exp, which runs in vectors: a power of its own takes 40 ns a step."""
    if beta == 0:
        return np.zeros_like(t)
    return np.asarray(np.exp(np.maximum(t * math.log(beta), SMALLEST)))


def adam_columns(options: Options, rates: Doubles, t: Doubles) -> Columns:
    """a and c of `adam`, after the betas; c is epsilon itself where that is uncorrected."""
    step = rates / (1 - powers(options["beta1"], t))
    scale = np.sqrt(1 - powers(options["beta2"], t))
    epsilon = options["epsilon"]
    return *betas(options), step * scale, epsilon if options.get("uncorrected") else scale * epsilon


def _adam_vectors(of_one_row: bool, noted: bool = False) -> Any:
    """Make the loop of `adam`, or of `adam_of_one_row` for one row of W; all pointers.

    noted: that of a row, with what a recorded step measures of its move.
    """

    @intrinsic
    def adam_vectors(typing, theta, gradient, x, means, squares, moves, sums, count, rest1, rest2,
                     a, c, decay):  # fmt: skip
        f = theta.dtype
        signature = types.void(
            theta, gradient, f, means, squares, moves, sums, types.intp, *[f] * 5
        )

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            theta, gradient, x, means, squares, moves, sums, count, *scalars = arguments
            many = Vectors(context, builder, signature.args[2])
            rest1, rest2, a, c, decay = (many.spread(each) for each in scalars)
            # Where beta is 0, what was before is read as 0: it would leave its rounding behind.
            kept1, kept2 = (builder.fcmp_ordered("<", each, many.one) for each in (rest1, rest2))
            totals = many.totals(sums, SUMS if noted else 0)
            enlarged = many.constant(ENLARGED)

            def note(before: Any, after: Any, at: Any, mask: Any) -> None:
                place = builder.gep(moves, [at])
                change, previous = builder.fsub(after, before), many.load(place, mask)
                change = builder.fmul(enlarged, change)
                many.store(change, place, mask)
                totals.add(0, before, before)
                totals.add(1, change, change)
                totals.add(2, change, previous)

            def move(at: Any, mask: Any) -> None:
                w, g, m, v = (builder.gep(each, [at]) for each in (theta, gradient, means, squares))
                slope = many.load(g, mask)
                if of_one_row:
                    slope = many.multiply_add(many.spread(x), slope, many.zero)
                mean = builder.select(kept1, many.load(m, mask), many.zero)
                mean = many.multiply_add(rest1, builder.fsub(slope, mean), mean)
                square = builder.select(kept2, many.load(v, mask), many.zero)
                change = many.multiply_add(slope, slope, builder.fneg(square))
                square = many.multiply_add(rest2, change, square)
                many.store(mean, m, mask)
                many.store(square, v, mask)
                below = builder.fadd(many.root(square), c)
                step = many.quotient(builder.fmul(a, mean), below)
                before = many.load(w, mask)
                start = many.rounded(builder.fmul(decay, before)) if noted else before
                after = builder.fsub(start, step)
                many.store(after, w, mask)
                if noted:
                    note(before, after, at, mask)

            many.each(count, move)
            totals.store()
            return context.get_dummy_value()

        return signature, generate

    return adam_vectors


_adam, _adam_of_one_row = _adam_vectors(False), _adam_vectors(True)
_noted_adam_of_one_row = _adam_vectors(True, noted=True)


@inner
def adam(theta, gradient, means, squares, row):
    """m = m + (1-beta1) (g - m); v = v + (1-beta2) (g^2 - v); w = w - a m / (sqrt v + c).

    a = eta sqrt(1-beta2^t) / (1-beta1^t), c = epsilon sqrt(1-beta2^t) are Adam (Kingma and Ba 2015,
    section 2, the more efficient order); RAdam has others. Written so, m and v take an operation
    less each than beta1 m + (1-beta1) g does; they are good to 1 / beta units in the last place.
    """
    f = theta.dtype.type
    w = pointer(theta, 0)
    _adam(w, pointer(gradient, 0), f(1), pointer(means, 0), pointer(squares, 0), w, w,
          theta.shape[0], f(row[1]), f(row[3]), f(row[4]), f(row[5]), f(1))  # fmt: skip


@inner
def adam_of_one_row(theta, x, d, means, squares, count, units, row):
    """`adam` for `count` rows of W, whose gradient x^T d is that of a single row of the batch.

    It is not stored. All pointers: x (count,), d (units,), the others (count, units).
    """
    some = elements(x, count)
    f = some.dtype.type
    rest1, rest2, a, c = f(row[1]), f(row[3]), f(row[4]), f(row[5])
    for i in range(count):
        at = i * units
        w = pointer(theta, at)
        _adam_of_one_row(w, d, some[i], pointer(means, at), pointer(squares, at), w, w, units,
                         rest1, rest2, a, c, f(1))  # fmt: skip


@inner
def noted_adam_of_one_row(theta, x, d, means, squares, moves, units, row, decay, sums):
    """`adam_of_one_row` for one row of W, weights decayed on the way; its move beside the last.

    All pointers but x. moves (units,): the last move, which the new one takes the place of, both
    `ENLARGED`; sums (`SUMS` vectors): |w|^2, |move|^2 and both moves' product are added there.
    """
    f = elements(theta, units).dtype.type
    _noted_adam_of_one_row(theta, d, x, means, squares, moves, sums, units, f(row[1]), f(row[3]),
                           f(row[4]), f(row[5]), decay)  # fmt: skip


@exact
def amsgrad(theta, gradient, means, squares, largest, row):
    """m and v as in Adam; u = max(u, v); w = w - a m / (sqrt u + c)."""
    w, g, m, v = pointer(theta, 0), pointer(gradient, 0), pointer(means, 0), pointer(squares, 0)
    u, size = pointer(largest, 0), theta.shape[0]
    beta1, rest1 = all_lanes(w, row[0]), all_lanes(w, row[1])
    beta2, rest2 = all_lanes(w, row[2]), all_lanes(w, row[3])
    a, c = all_lanes(w, row[4]), all_lanes(w, row[5])
    for k in range(0, size, lanes_of(w)):
        slope, most = load(g, k, size), load(u, k, size)
        mean = beta1 * load(m, k, size) + rest1 * slope
        square = beta2 * load(v, k, size) + rest2 * slope * slope
        most = select(most > square, most, square)
        store(mean, m, k, size)
        store(square, v, k, size)
        store(most, u, k, size)
        store(load(w, k, size) - a * mean / (root(most) + c), w, k, size)


def adamax_columns(options: Options, rates: Doubles, t: Doubles) -> Columns:
    """eta / (1-beta1^t) and epsilon, after the betas."""
    return *betas(options), rates / (1 - powers(options["beta1"], t)), options["epsilon"]


@exact
def adamax(theta, gradient, means, largest, row):
    """m = beta1 m + (1-beta1) g; u = max(beta2 u, |g| + epsilon); w = w - eta/(1-beta1^t) m / u."""
    w, g, m, u = pointer(theta, 0), pointer(gradient, 0), pointer(means, 0), pointer(largest, 0)
    beta1, rest1, beta2 = all_lanes(w, row[0]), all_lanes(w, row[1]), all_lanes(w, row[2])
    step, epsilon, size = all_lanes(w, row[4]), all_lanes(w, row[5]), theta.shape[0]
    for k in range(0, size, lanes_of(w)):
        slope = load(g, k, size)
        mean = beta1 * load(m, k, size) + rest1 * slope
        faded, now = beta2 * load(u, k, size), magnitude(slope) + epsilon
        most = select(faded > now, faded, now)
        store(mean, m, k, size)
        store(most, u, k, size)
        store(load(w, k, size) - step * mean / most, w, k, size)


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


@exact
def nadam(theta, gradient, means, squares, row):
    """m and v as in Adam; w = w - (a m + b g) / (c sqrt v + epsilon)."""
    w, g, m, v = pointer(theta, 0), pointer(gradient, 0), pointer(means, 0), pointer(squares, 0)
    beta1, rest1 = all_lanes(w, row[0]), all_lanes(w, row[1])
    beta2, rest2 = all_lanes(w, row[2]), all_lanes(w, row[3])
    a, b, size = all_lanes(w, row[4]), all_lanes(w, row[5]), theta.shape[0]
    c, epsilon = all_lanes(w, row[6]), all_lanes(w, row[7])
    for k in range(0, size, lanes_of(w)):
        slope = load(g, k, size)
        mean = beta1 * load(m, k, size) + rest1 * slope
        square = beta2 * load(v, k, size) + rest2 * slope * slope
        store(mean, m, k, size)
        store(square, v, k, size)
        move = (a * mean + b * slope) / (c * root(square) + epsilon)
        store(load(w, k, size) - move, w, k, size)


HUGE = 2.0**88
"""Beside such an epsilon no root of v counts: `adam` is then a bare momentum."""


def radam_columns(options: Options, rates: Doubles, t: Doubles) -> Columns:
    """`adam`'s columns: its step times r_t where rho_t > 5, else a bare momentum."""
    power = powers(options["beta2"], t)
    rho_end = 2 / (1 - options["beta2"]) - 1
    rho = rho_end - 2 * t * power / (1 - power)
    trusted = rho > 5
    step = rates / (1 - powers(options["beta1"], t))
    if not trusted.any():
        return *betas(options), HUGE * step, HUGE
    rho = np.where(trusted, rho, rho_end)
    ratio = (rho - 4) * (rho - 2) * rho_end / ((rho_end - 4) * (rho_end - 2) * rho)
    rectified = step * np.sqrt(ratio * (1 - power))
    c = np.where(trusted, options["epsilon"], HUGE)
    return *betas(options), np.where(trusted, rectified, HUGE * step), c
