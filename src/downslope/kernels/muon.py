"""Muon: momentum of a weight matrix, made orthogonal (Jordan et al. 2024)."""

from __future__ import annotations

import math

import numpy as np

from downslope.kernels.adam import Columns, Options, adam_columns
from downslope.kernels.blas import gemm
from downslope.kernels.jit import Doubles, inner, kernel


def muon_columns(options: Options, rates: Doubles, t: Doubles) -> Columns:
    """`adam`'s columns, for all that is no hidden weight matrix; then `muon`'s own."""
    mu = options["momentum"]
    others = adam_columns(options, options["adam_rate"] * rates, t)
    return *others, rates, mu, 1 - mu, options["iterations"]


@kernel
def muon(theta, gradient, momentum, scratch, row):
    """M = mu M + (1-mu) G; W = W - eta max(1, out/in)^(1/2) orthogonal((1-mu) G + mu M).

    theta, gradient, momentum: (in, out), C-contiguous; gradient is overwritten.
    scratch: (muon_scratch(in, out),) or longer.
    """
    inputs, outputs = theta.shape
    rate = theta.dtype.type(row[6] * math.sqrt(max(1.0, outputs / inputs)))
    mu, rest = theta.dtype.type(row[7]), theta.dtype.type(row[8])
    for i in range(inputs):
        for j in range(outputs):
            part = rest * gradient[i, j]
            m = mu * momentum[i, j] + part
            momentum[i, j] = m
            gradient[i, j] = part + mu * m
    orthogonalize(gradient, scratch, int(row[9]))
    for i in range(inputs):
        for j in range(outputs):
            theta[i, j] -= rate * gradient[i, j]


@inner
def orthogonalize(matrix, scratch, iterations):
    """X = X / (|X| + 1e-7), then again and again X = (3.4445 - 4.7750 A + 2.0315 A^2) X, A = X X^T.

    That brings the singular values near 1 (0.7 to 1.2), not to 1: Jordan et al. 2024. A is taken as
    X^T X, on X's right, where X is taller than wide.
    """
    rows, columns = matrix.shape
    x = matrix.reshape(rows * columns)
    size = min(rows, columns)
    a, b = scratch[: size * size], scratch[size * size : 2 * size * size]
    product = scratch[2 * size * size : 2 * size * size + rows * columns]
    first, third, fifth = x.dtype.type(3.4445), x.dtype.type(-4.7750), x.dtype.type(2.0315)
    square = x.dtype.type(0)
    for k in range(rows * columns):
        square += x[k] * x[k]
    factor = x.dtype.type(1) / (np.sqrt(square) + x.dtype.type(1e-7))
    for k in range(rows * columns):
        x[k] *= factor
    for _ in range(iterations):
        if rows <= columns:
            gemm(x, 0, columns, 0, x, 0, columns, 1, a, 0, size, size, size, columns, 0)
        else:
            gemm(x, 0, columns, 1, x, 0, columns, 0, a, 0, size, size, size, rows, 0)
        gemm(a, 0, size, 0, a, 0, size, 0, b, 0, size, size, size, size, 0)
        for k in range(size * size):
            b[k] = third * a[k] + fifth * b[k]
        for k in range(size):
            b[k * (size + 1)] += first
        if rows <= columns:
            gemm(b, 0, size, 0, x, 0, columns, 0, product, 0, columns, rows, columns, size, 0)
        else:
            gemm(x, 0, columns, 0, b, 0, size, 0, product, 0, columns, rows, columns, size, 0)
        for k in range(rows * columns):
            x[k] = product[k]


def muon_scratch(inputs: int, outputs: int) -> int:
    """Count the floats of scratch that `muon` needs for a weight matrix (inputs, outputs).

    >>> muon_scratch(3, 2)
    14
    """
    return inputs * outputs + 2 * min(inputs, outputs) ** 2
