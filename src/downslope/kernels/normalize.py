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
        # Apart, for a loop that also writes may run in vectors or not as its arrays lie in memory:
        # the sums' bits would depend on that.
        for j in range(units):
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
def count_of(weight, rows):
    """The sum of the row weights; rows, where weight is empty, as then each weighs 1."""
    if weight.shape[0] == 0:
        return float(rows)
    total = 0.0
    for r in range(rows):
        total += weight[r]
    return total


@inner
def block_statistics(u, weight, mean, squares):
    """One block's mean (units,) and sum of squared distances from it (units,), by row weights."""
    rows, units = u.shape
    count = count_of(weight, rows)
    for j in range(units):
        mean[j] = 0
        squares[j] = 0
    # From the first row on: the mean of a unit that never changes is then exact.
    for r in range(1, rows):
        w = weight[r] if weight.shape[0] > 0 else u.dtype.type(1)
        for j in range(units):
            mean[j] += w * (u[r, j] - u[0, j])
    for j in range(units):
        mean[j] = u[0, j] + (mean[j] / u.dtype.type(count) if count > 0 else u.dtype.type(0))
    for r in range(rows):
        w = weight[r] if weight.shape[0] > 0 else u.dtype.type(1)
        for j in range(units):
            squares[j] += w * (u[r, j] - mean[j]) * (u[r, j] - mean[j])


@inner
def merge_statistics(sums, sums_at, sums_size, block, rows, weight, mean, squares):
    """Join the blocks' statistics in their order: mean and squares (units,) of the whole batch.

    Chan, Golub and LeVeque 1983, equation 2.1. sums at (b sums_size): mean, then squares of block
    b. weight (rows,): of the batch's rows, or empty. Gives their sum.
    """
    units = mean.shape[0]
    for j in range(units):
        mean[j] = sums[sums_at + j]
        squares[j] = sums[sums_at + units + j]
    seen = count_of(weight[:block], min(block, rows))
    b = 0
    for first in range(block, rows, block):
        b += 1
        count = count_of(weight[first : first + block], min(block, rows - first))
        if count <= 0:
            continue
        share = mean.dtype.type(count / (seen + count))
        both = mean.dtype.type(seen * (count / (seen + count)))
        at = sums_at + b * sums_size
        for j in range(units):
            apart = sums[at + j] - mean[j]
            mean[j] += apart * share
            squares[j] += sums[at + units + j] + apart * apart * both
        seen += count
    return seen


@inner
def update_running(mean, squares, count, statistics, at):
    """running = (1 - MOMENTUM) running + MOMENTUM batch; the variance is the unbiased one.

    Row weights that add up to less than 2 are no counts of rows: their variance stays as it is.
    """
    if count <= 0:
        return
    units = mean.shape[0]
    share = mean.dtype.type(MOMENTUM)
    unbiased = mean.dtype.type(1 / (count - 1) if count >= 2 else 1 / count)
    for j in range(units):
        statistics[at + j] += share * (mean[j] - statistics[at + j])
        variance = squares[j] * unbiased
        statistics[at + units + j] += share * (variance - statistics[at + units + j])


@inner
def invert_deviation(squares, count):
    """Turn sums of squares (units,) into 1 / sqrt(variance + EPSILON)."""
    count = count if count > 0 else 1.0
    for j in range(squares.shape[0]):
        squares[j] = squares.dtype.type(1 / math.sqrt(squares[j] / count + EPSILON))


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
def normalize_units_backward(v, inverse, theta, gamma, gamma_sum, beta_sum, weight, count, dz):
    """Batch normalization backward: dL/dz becomes dL/du.

    dL/du = gamma inverse (dL/dz - s (beta_sum + v gamma_sum)), s = weight / count, the sums over
    the whole batch, whose row weights add up to `count`.
    """
    rows, units = v.shape
    each = dz.dtype.type(1 / count if count > 0 else 0.0)
    for r in range(rows):
        share = each * weight[r] if weight.shape[0] > 0 else each
        for j in range(units):
            pull = (beta_sum[j] + v[r, j] * gamma_sum[j]) * share
            dz[r, j] = theta[gamma + j] * inverse[j] * (dz[r, j] - pull)
