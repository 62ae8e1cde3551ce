"""Batch and layer normalization against NumPy, forward and backward."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest

from downslope.course import Course
from downslope.data import Data
from downslope.kernels import normalize
from downslope.network import BuiltNetwork
from downslope.parts import Descent, Network
from downslope.stepper import Targets

Array = npt.NDArray[Any]

EPSILON, MOMENTUM = 1e-5, 0.1
DTYPES = [np.float32, np.float64]

block_statistics, merge_statistics = normalize.block_statistics, normalize.merge_statistics
update_running, invert_deviation = normalize.update_running, normalize.invert_deviation
normalize_units, affine_sums = normalize.normalize_units, normalize.affine_sums
normalize_units_backward = normalize.normalize_units_backward
normalize_rows = normalize.normalize_rows
normalize_rows_backward = normalize.normalize_rows_backward


@numba.njit
def batch_kernels(u, block, theta, statistics, dz, weight):  # type: ignore[no-untyped-def]
    """u becomes v, dz dL/du; give mean, sums of squares, gradients of gamma and beta."""
    rows, units = u.shape
    blocks = (rows + block - 1) // block
    sums = np.zeros(blocks * 2 * units, u.dtype)
    for b in range(blocks):
        at = b * 2 * units
        block_statistics(
            u[b * block : (b + 1) * block],
            weight[b * block : (b + 1) * block],
            sums[at : at + units],
            sums[at + units : at + 2 * units],
        )
    mean, squares = np.empty(units, u.dtype), np.empty(units, u.dtype)
    count = merge_statistics(sums, 0, 2 * units, block, rows, weight, mean, squares)
    whole_squares = squares.copy()
    update_running(mean, squares, count, statistics, 0)
    invert_deviation(squares, count)
    gamma_sum, beta_sum = np.zeros(units, u.dtype), np.zeros(units, u.dtype)
    for b in range(blocks):
        part = u[b * block : (b + 1) * block]
        normalize_units(part, mean, squares)
        affine_sums(part, dz[b * block : (b + 1) * block], gamma_sum, beta_sum)
    for b in range(blocks):
        span = slice(b * block, (b + 1) * block)
        normalize_units_backward(u[span], squares, theta, 0, gamma_sum, beta_sum, weight[span],
                                 count, dz[span])  # fmt: skip
    return mean, whole_squares, gamma_sum, beta_sum


@numba.njit
def layer_kernels(u, deviation, theta, dz):  # type: ignore[no-untyped-def]
    normalize_rows(u, deviation)
    normalize_rows_backward(u, deviation, theta, 0, dz)


def normalize_naively(u: Array, axis: int) -> Array:
    mean, variance = u.mean(axis, keepdims=True), u.var(axis, keepdims=True)
    return np.asarray((u - mean) / np.sqrt(variance + EPSILON))


def backward_naively(u: Array, gamma: Array, d: Array, axis: int) -> Array:
    """dL/du by the whole Jacobian of v, column by column of u's group."""
    result = np.empty_like(u)
    groups = u.T if axis == 0 else u
    for k, group in enumerate(groups):
        n = len(group)
        spread = group - group.mean()
        sigma = np.sqrt(group.var() + EPSILON)
        jacobian = (np.eye(n) - 1 / n) / sigma - np.outer(spread, spread) / (n * sigma**3)
        dv = d[:, k] * gamma[k] if axis == 0 else d[k] * gamma
        if axis == 0:
            result[:, k] = dv @ jacobian
        else:
            result[k] = dv @ jacobian
    return result


def draw(rows: int, units: int, dtype: Any, far: float = 0.0) -> tuple[Array, Array, Array]:
    generator = np.random.default_rng([rows, units])
    u = (generator.normal(2, 3, (rows, units)) + far).astype(dtype)
    return (
        u,
        generator.normal(1, 0.5, units).astype(dtype),
        generator.normal(size=u.shape).astype(dtype),
    )


def close(got: Array, expected: Array, dtype: Any) -> None:
    atol = 3e-5 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(got, expected, rtol=0, atol=atol * max(1, abs(expected).max()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [2, 7, 128, 300])
@pytest.mark.parametrize("block", [1, 3, 128, 512])
def test_batch_normalization_by_blocks_is_that_of_the_whole(
    block: int, rows: int, dtype: Any
) -> None:
    u, gamma, d = draw(rows, 5, dtype)
    exact, exact_d = u.astype(np.float64), d.astype(np.float64)
    statistics = np.concatenate([np.full(5, 0.5), np.full(5, 2.0)]).astype(dtype)
    v, du = u.copy(), d.copy()
    mean, squares, gamma_sum, beta_sum = batch_kernels(
        v, block, gamma, statistics, du, np.empty(0, dtype)
    )
    expected = normalize_naively(exact, 0)
    close(mean, exact.mean(0), dtype)
    close(squares, exact.var(0) * rows, dtype)
    close(v, expected, dtype)
    close(gamma_sum, (exact_d * expected).sum(0), dtype)
    close(beta_sum, exact_d.sum(0), dtype)
    close(du, backward_naively(exact, gamma.astype(np.float64), exact_d, 0), dtype)
    close(statistics[:5], (1 - MOMENTUM) * 0.5 + MOMENTUM * exact.mean(0), dtype)
    close(statistics[5:], (1 - MOMENTUM) * 2.0 + MOMENTUM * exact.var(0, ddof=1), dtype)


def test_a_mean_far_from_0_costs_the_variance_nothing() -> None:
    u, gamma, d = draw(300, 5, np.float32, far=1e4)
    exact = u.astype(np.float64)
    _, squares, _, _ = batch_kernels(
        u, 64, gamma, np.zeros(10, np.float32), d, np.empty(0, np.float32)
    )
    np.testing.assert_allclose(squares / 300, exact.var(0), rtol=1e-3)


def test_a_batch_of_one_row_and_a_unit_that_never_changes() -> None:
    for rows in (1, 6):
        u, gamma, d = np.full((rows, 3), 4.0), np.ones(3), np.ones((rows, 3))
        statistics = np.zeros(6)
        batch_kernels(u, 4, gamma, statistics, d, np.empty(0))
        np.testing.assert_array_equal(u, 0)
        np.testing.assert_allclose(d, 0, atol=1e-12)
        np.testing.assert_allclose(statistics, [0.4] * 3 + [0.0] * 3)


@pytest.mark.parametrize("block", [1, 3, 128])
def test_a_row_of_weight_two_is_that_row_twice(block: int) -> None:
    u, gamma, d = draw(9, 5, np.float64)
    weight = np.array([1.0, 2, 0, 0, 3, 1, 0, 1, 2])
    rows = np.repeat(np.arange(9), weight.astype(int))
    # dL/dz holds the row's weight already: a row that is there twice has half of it each time.
    repeated, d_repeated = u[rows].copy(), d[rows] / weight[rows, None]
    d[weight == 0] = 0
    statistics, of_repeated = np.zeros(10), np.zeros(10)
    found = batch_kernels(u, block, gamma, statistics, d, weight)
    expected = batch_kernels(repeated, block, gamma, of_repeated, d_repeated, np.empty(0))
    for one, other in zip((*found, statistics), (*expected, of_repeated), strict=True):
        close(one, other, np.float64)
    close(u[rows], repeated, np.float64)
    close(d[rows], d_repeated * weight[rows, None], np.float64)


def test_weights_that_are_no_counts_give_the_variance_as_it_is() -> None:
    u, gamma, d = draw(9, 2, np.float64)
    weight = np.full(9, 1 / 9)
    exact, statistics = u.copy(), np.zeros(4)
    batch_kernels(u, 4, gamma, statistics, d, weight)
    close(statistics, 0.1 * np.concatenate([exact.mean(0), exact.var(0)]), np.float64)
    before = statistics.copy()
    batch_kernels(u, 4, gamma, statistics, d, np.zeros(9))
    np.testing.assert_array_equal(statistics, before)
    assert np.isfinite(u).all()
    assert np.isfinite(d).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", [1, 2, 8, 33, 200])
def test_layer_normalization(units: int, dtype: Any) -> None:
    u, gamma, d = draw(9, units, dtype)
    exact, exact_d = u.astype(np.float64), d.astype(np.float64)
    deviation = np.empty(9, dtype)
    layer_kernels(u, deviation, gamma, d)
    close(u, normalize_naively(exact, 1), dtype)
    inverse = 1 / np.sqrt(exact.var(1) + EPSILON)
    np.testing.assert_allclose(deviation, inverse, rtol=1e-5 if dtype is np.float32 else 1e-12)
    close(d, backward_naively(exact, gamma.astype(np.float64), exact_d, 1), dtype)


def test_running_statistics_follow_every_step_and_serve_predictions() -> None:
    """Steps of rate 0 leave theta where it is, so the batches' statistics are known."""
    generator = np.random.default_rng(0)
    features = generator.normal(1, 2, (50, 3))
    network = Network([4], "tanh", "glorot_normal", "batch")
    built = BuiltNetwork(network, 3, 1, "regression", "float64")
    built.parts()["layer1.gamma"][:] = [0.5, 1, 1.5, 2]
    built.parts()["layer1.beta"][:] = [0.1, 0, -0.3, 1]
    built.parts()["layer2.weight"][:] = generator.normal(size=(4, 1))
    data = Data(
        features, Targets.of(np.ones((50, 1)), None, 1, np.float64), np.arange(50), np.arange(0)
    )
    descent = Descent(batch=20, learning_rate=0, rule="gd", shuffle=False, epochs=2, validation=0)
    Course(built, data, descent, 1).run()
    weight = built.parts()["layer1.weight"]
    mean, variance = np.zeros(4), np.ones(4)
    for first in (0, 20, 40) * 2:
        u = features[first : first + 20] @ weight
        mean = 0.9 * mean + 0.1 * u.mean(0)
        variance = 0.9 * variance + 0.1 * u.var(0, ddof=1)
    np.testing.assert_allclose(built.statistics, np.concatenate([mean, variance]), rtol=1e-12)
    v = (features @ weight - mean) / np.sqrt(variance + EPSILON)
    parts = built.parts()
    y = np.tanh(v * parts["layer1.gamma"] + parts["layer1.beta"]) @ parts["layer2.weight"]
    np.testing.assert_allclose(built.output(features), y, rtol=1e-12)
