"""Batch and layer normalization, forward and backward.

z = gamma v + beta with v = (u - mean) / sqrt(variance + EPSILON), u = x W + b; the mean and the
variance are those of a unit over the batch (Ioffe and Szegedy 2015) or of a row over its units
(Ba, Kiros and Hinton 2016). u is overwritten by v.
"""

from __future__ import annotations

import math

from downslope.kernels.jit import inner

EPSILON = 1e-5
"""Added to the variance, as in PyTorch."""

MOMENTUM = 0.1
"""Share of a batch in the running statistics, as in PyTorch."""


@inner
def scale_and_shift(v, theta, gamma, beta, z):
    """z = gamma v + beta; v, z (rows, units)."""
    rows, units = v.shape
    for r in range(rows):
        for j in range(units):
            z[r, j] = theta[gamma + j] * v[r, j] + theta[beta + j]


@inner
def normalize_rows(u, deviation):
    """Layer normalization: u becomes v, deviation (rows,) gets 1 / sqrt(variance + EPSILON)."""
    rows, units = u.shape
    zero = u.dtype.type(0)
    for r in range(rows):
        total = zero
        for j in range(units):
            total += u[r, j]
        mean = total / u.dtype.type(units)
        squares = zero
        for j in range(units):
            u[r, j] -= mean
            squares += u[r, j] * u[r, j]
        inverse = u.dtype.type(1 / math.sqrt(squares / units + EPSILON))
        deviation[r] = inverse
        for j in range(units):
            u[r, j] *= inverse


@inner
def normalize_rows_backward(v, deviation, theta, gamma, dz):
    """Layer normalization backward: dL/dz becomes dL/du.

    With h = gamma dL/dz: dL/du = (h - mean(h) - v mean(h v)) / deviation, means over a row.
    """
    rows, units = v.shape
    zero, count = v.dtype.type(0), v.dtype.type(units)
    for r in range(rows):
        total, product = zero, zero
        for j in range(units):
            dz[r, j] *= theta[gamma + j]
            total += dz[r, j]
            product += dz[r, j] * v[r, j]
        total /= count
        product /= count
        for j in range(units):
            dz[r, j] = (dz[r, j] - total - v[r, j] * product) * deviation[r]


@inner
def normalize_by_running(u, statistics, at):
    """Batch normalization when predicting: u becomes v by the running mean and variance."""
    rows, units = u.shape
    for r in range(rows):
        for j in range(units):
            variance = statistics[at + units + j] + u.dtype.type(EPSILON)
            u[r, j] = (u[r, j] - statistics[at + j]) / u.dtype.type(math.sqrt(variance))


@inner
def block_statistics(u, mean, squares):
    """One block's mean (units,) and sum of squared distances from it (units,)."""
    rows, units = u.shape
    for j in range(units):
        mean[j] = 0
        squares[j] = 0
    # From the first row on: the mean of a unit that never changes is then exact.
    for r in range(1, rows):
        for j in range(units):
            mean[j] += u[r, j] - u[0, j]
    for j in range(units):
        mean[j] = u[0, j] + mean[j] / u.dtype.type(rows)
    for r in range(rows):
        for j in range(units):
            squares[j] += (u[r, j] - mean[j]) * (u[r, j] - mean[j])


@inner
def merge_statistics(sums, sums_at, sums_size, block, rows, mean, squares):
    """Join the blocks' statistics in their order: mean and squares (units,) of the whole batch.

    Chan, Golub and LeVeque 1983, equation 2.1. sums at (b sums_size): mean, then squares of block
    b.
    """
    units = mean.shape[0]
    for j in range(units):
        mean[j] = sums[sums_at + j]
        squares[j] = sums[sums_at + units + j]
    seen = min(block, rows)
    b = 1
    while seen < rows:
        count = min(block, rows - seen)
        share = mean.dtype.type(count / (seen + count))
        both = mean.dtype.type(seen * (count / (seen + count)))
        at = sums_at + b * sums_size
        for j in range(units):
            apart = sums[at + j] - mean[j]
            mean[j] += apart * share
            squares[j] += sums[at + units + j] + apart * apart * both
        seen += count
        b += 1


@inner
def update_running(mean, squares, rows, statistics, at):
    """running = (1 - MOMENTUM) running + MOMENTUM batch; the variance is the unbiased one."""
    units = mean.shape[0]
    share = mean.dtype.type(MOMENTUM)
    unbiased = mean.dtype.type(1 / max(rows - 1, 1))
    for j in range(units):
        statistics[at + j] += share * (mean[j] - statistics[at + j])
        variance = squares[j] * unbiased
        statistics[at + units + j] += share * (variance - statistics[at + units + j])


@inner
def invert_deviation(squares, rows):
    """Turn sums of squares (units,) into 1 / sqrt(variance + EPSILON)."""
    for j in range(squares.shape[0]):
        squares[j] = squares.dtype.type(1 / math.sqrt(squares[j] / rows + EPSILON))


@inner
def normalize_units(u, mean, inverse):
    """Batch normalization: u becomes v = (u - mean) inverse."""
    rows, units = u.shape
    for r in range(rows):
        for j in range(units):
            u[r, j] = (u[r, j] - mean[j]) * inverse[j]


@inner
def affine_sums(v, dz, gamma_sum, beta_sum):
    """Gradients of gamma and beta: the sums over the rows of dL/dz v and of dL/dz."""
    rows, units = v.shape
    for r in range(rows):
        for j in range(units):
            gamma_sum[j] += dz[r, j] * v[r, j]
            beta_sum[j] += dz[r, j]


@inner
def normalize_units_backward(v, inverse, theta, gamma, gamma_sum, beta_sum, count, dz):
    """Batch normalization backward: dL/dz becomes dL/du.

    dL/du = gamma inverse (dL/dz - beta_sum / count - v gamma_sum / count), the sums over the whole
    batch of `count` rows.
    """
    rows, units = v.shape
    share = dz.dtype.type(1 / count)
    for r in range(rows):
        for j in range(units):
            pull = (beta_sum[j] + v[r, j] * gamma_sum[j]) * share
            dz[r, j] = theta[gamma + j] * inverse[j] * (dz[r, j] - pull)
