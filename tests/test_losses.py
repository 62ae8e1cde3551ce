from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import naive
from compiled import activate, backpropagate, fused_loss, loss_and_derivative
from downslope.catalogue import ACTIVATIONS, LOSSES, code
from downslope.kernels.losses import fused

Array = npt.NDArray[Any]
Real = type[np.float32 | np.float64]

DTYPES: list[Real] = [np.float32, np.float64]
PARAMETERS = {"leaky_relu": 0.2, "prelu": 0.3, "elu": 1.5}
DELTA = 0.7
FUSED = [
    ("cross_entropy", "softmax"),
    ("binary_cross_entropy", "sigmoid"),
    ("squared_error", "identity"),
    ("absolute_error", "identity"),
    ("huber", "identity"),
    ("poisson", "identity"),
]


def unfused_kernel(
    loss: str, y: Array, t: Array, weight: Array | None = None, scale: float = 1.0
) -> tuple[float, Array]:
    """L and dL/dy by the kernel."""
    weight = np.empty(0, y.dtype) if weight is None else weight
    d = np.full_like(y, 5.0)
    total = loss_and_derivative(code("loss", loss), DELTA, y, t, weight, scale, d)
    return total, d


def fused_kernel(
    loss: str, activation: str, z: Array, t: Array, weight: Array | None = None, scale: float = 1.0
) -> tuple[float, Array, Array]:
    """L, y and dL/dz by the kernel."""
    weight = np.empty(0, z.dtype) if weight is None else weight
    y, d = np.full_like(z, 5.0), np.full_like(z, 5.0)
    names = code("loss", loss), code("activation", activation)
    total = fused_loss(names[0], DELTA, names[1], z, y, t, weight, scale, d)
    return total, y, d


def through(
    loss: str, activation: str, z: Array, t: Array, weight: Array | None = None, scale: float = 1.0
) -> tuple[float, Array, Array]:
    """L, y and dL/dz by the unfused kernels, one after another."""
    slope = np.full(z.shape[1] if activation == "prelu" else 0, PARAMETERS["prelu"], z.dtype)
    phi = code("activation", activation), PARAMETERS.get(activation, 0.0), slope
    y = np.empty_like(z)
    activate(*phi, z, y)
    total, d = unfused_kernel(loss, y, t, weight, scale)
    backpropagate(*phi, z, y, d)
    return total, y, d


def targets(loss: str, shape: tuple[int, int], seed: int = 1) -> Array:
    rng = np.random.default_rng(seed)
    if loss == "cross_entropy":
        return np.asarray(np.eye(shape[1])[rng.integers(0, shape[1], shape[0])])
    if loss == "binary_cross_entropy":
        return rng.integers(0, 2, shape).astype(np.float64)
    if loss == "poisson":
        return rng.poisson(2.0, shape).astype(np.float64)
    return rng.normal(0, 2, shape)


def differences(loss: str, activation: str, z: Array, t: Array) -> Array:
    """dL/dz by central differences of the naive references."""
    h, parameter = 1e-6, PARAMETERS.get(activation, 0.0)

    def total(z: Array) -> float:
        y = naive.activate_naively(activation, z, parameter)
        return float(naive.loss_naively(loss, y, t, DELTA).sum())

    gradient = np.empty_like(z)
    for index in np.ndindex(z.shape):
        step = np.zeros_like(z)
        step[index] = h
        gradient[index] = (total(z + step) - total(z - step)) / (2 * h)
    return gradient


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_after_every_activation(loss: str, activation: str) -> None:
    z = np.random.default_rng(2).normal(0, 1.5, (6, 3))
    t = targets(loss, z.shape)
    total, y, d = through(loss, activation, z, t)
    expected = naive.activate_naively(activation, z, PARAMETERS.get(activation, 0.0))
    np.testing.assert_allclose(y, expected, rtol=1e-13)
    np.testing.assert_allclose(total, naive.loss_naively(loss, expected, t, DELTA).sum(), rtol=1e-9)
    np.testing.assert_allclose(d, differences(loss, activation, z, t), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("loss", "activation"), FUSED)
def test_fused_equals_unfused(loss: str, activation: str) -> None:
    rng = np.random.default_rng(3)
    z, weight = rng.normal(0, 2, (40, 5)), rng.uniform(0, 3, 40)
    t = targets(loss, z.shape)
    total, y, d = fused_kernel(loss, activation, z, t, weight, 0.25)
    expected = through(loss, activation, z, t, weight, 0.25)
    np.testing.assert_allclose(total, expected[0], rtol=1e-9)
    np.testing.assert_allclose(y, expected[1], rtol=1e-12)
    np.testing.assert_allclose(d, expected[2], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("outputs", [1, 2, 10, 100])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "activation"), FUSED)
def test_fused_value_and_derivative(loss: str, activation: str, dtype: Real, outputs: int) -> None:
    z = np.random.default_rng(4).normal(0, 2, (9, outputs))
    t = targets(loss, z.shape)
    z, t = z.astype(dtype).astype(float), t.astype(dtype).astype(float)
    total, y, d = fused_kernel(loss, activation, z.astype(dtype), t.astype(dtype))
    expected = naive.activate_naively(activation, z)
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(y, expected, rtol=20 * eps)
    unclipped = naive.loss_naively(loss, expected, t, DELTA, clip=1e-15).sum()
    np.testing.assert_allclose(total, unclipped, rtol=100 * eps, atol=2e-14)
    residual = expected * t.sum(axis=1, keepdims=True) if activation == "softmax" else expected
    slope = {
        "absolute_error": np.sign(expected - t),
        "huber": np.clip(expected - t, -DELTA, DELTA),
        "poisson": np.exp(expected) - t,
    }.get(loss, residual - t)
    rtol = 20 * eps if loss == "poisson" else 0
    np.testing.assert_allclose(d, slope, rtol=rtol, atol=20 * eps * max(1, abs(t).max()))


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_soft_labels_need_not_add_up_to_one(loss: str) -> None:
    rng = np.random.default_rng(5)
    z, t = rng.normal(size=(7, 4)), rng.uniform(0, 1, (7, 4))
    activation = dict(FUSED)[loss]
    total, y, d = fused_kernel(loss, activation, z, t)
    np.testing.assert_allclose(total, naive.loss_naively(loss, y, t).sum(), rtol=1e-12)
    np.testing.assert_allclose(d, differences(loss, activation, z, t), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fused_cross_entropies_are_safe_where_the_network_is_sure(dtype: Real) -> None:
    z = np.array([[1e4, -1e4], [-1e4, 1e4]], dtype)
    t = np.array([[1, 0], [1, 0]], dtype)  # right in the first row, wrong in the second
    total, y, d = fused_kernel("cross_entropy", "softmax", z, t)
    assert total == 2e4
    np.testing.assert_array_equal(y, [[1, 0], [0, 1]])
    np.testing.assert_array_equal(d, [[0, 0], [-1, 1]])
    total, y, d = fused_kernel("binary_cross_entropy", "sigmoid", z, t)
    assert total == 2e4
    np.testing.assert_array_equal(y, [[1, 0], [0, 1]])
    np.testing.assert_array_equal(d, [[0, 0], [-1, 1]])


def test_a_small_fused_loss_keeps_its_digits() -> None:
    z, one = np.array([[20.0]], np.float32), np.ones((1, 1), np.float32)
    total, _, _ = fused_kernel("binary_cross_entropy", "sigmoid", z, one)
    np.testing.assert_allclose(total, np.log1p(np.exp(-20.0)), rtol=1e-6)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_unfused_probabilities_are_clipped(loss: str) -> None:
    """Outside of [1e-7, 1 - 1e-7] the loss is flat, as its derivative says."""
    y = np.array([[-3.0, 0.0, 5e-8, 0.5, 1.0, 7.0]])
    t = np.array([[1.0, 0.0, 1.0, 1.0, 1.0, 0.0]])
    total, d = unfused_kernel(loss, y, t)
    np.testing.assert_allclose(total, naive.loss_naively(loss, y, t).sum(), rtol=1e-9)
    np.testing.assert_array_equal(d, [[0, 0, 0, -2, 0, 0]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_nan_stays_visible(loss: str, dtype: Real) -> None:
    z = np.zeros((5, 11), dtype)
    z[3, 7] = np.nan
    t = targets(loss, z.shape).astype(dtype)
    total, d = unfused_kernel(loss, z, t)
    assert np.isnan(total)
    if loss != "cross_entropy":  # its derivative -t / y is 0 / NaN there
        assert np.isnan(d[3, 7])
    total, _, d = fused_kernel(loss, dict(FUSED)[loss], z, t)
    assert np.isnan(total)
    assert np.isnan(d[3, 7])
    assert np.isfinite(d[[0, 1, 2, 4]]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "activation"), FUSED)
def test_weights_count_rows(loss: str, activation: str, dtype: Real) -> None:
    """A row of weight 2 is that row twice; one of weight 0 is not there."""
    z = np.random.default_rng(6).uniform(0.1, 0.9, (3, 4)).astype(dtype)
    t = targets(loss, z.shape).astype(dtype)
    weight, twice = np.array([1, 2, 0], dtype), [0, 1, 1]
    rtol = 10 * float(np.finfo(dtype).eps)
    total, _, d = fused_kernel(loss, activation, z, t, weight, 0.5)
    repeated, _, d_repeated = fused_kernel(loss, activation, z[twice], t[twice], None, 0.5)
    np.testing.assert_allclose(total, repeated, rtol=rtol)
    np.testing.assert_allclose(d[0], d_repeated[0], rtol=rtol)
    np.testing.assert_allclose(d[1], d_repeated[1] + d_repeated[2], rtol=rtol)
    np.testing.assert_array_equal(d[2], 0)
    total, d = unfused_kernel(loss, z, t, weight, 0.5)
    repeated, d_repeated = unfused_kernel(loss, z[twice], t[twice], None, 0.5)
    np.testing.assert_allclose(total, repeated, rtol=rtol)
    np.testing.assert_allclose(d[1], d_repeated[1] + d_repeated[2], rtol=rtol)
    np.testing.assert_array_equal(d[2], 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("outputs", [1, 3, 37])
@pytest.mark.parametrize(("loss", "activation"), FUSED)
def test_a_row_has_the_same_bits_in_any_block(
    loss: str, activation: str, outputs: int, dtype: Real
) -> None:
    z = np.random.default_rng(7).normal(0, 2, (29, outputs)).astype(dtype)
    t, weight = targets(loss, z.shape).astype(dtype), np.linspace(0, 2, 29).astype(dtype)
    kernels = (
        lambda rows: fused_kernel(loss, activation, z[rows], t[rows], weight[rows], 0.3),
        lambda rows: unfused_kernel(loss, z[rows], t[rows], weight[rows], 0.3),
    )
    for kernel in kernels:
        total, *arrays = kernel(slice(None))
        sum_of_rows = 0.0
        for n in range(len(z)):
            alone, *row = kernel(slice(n, n + 1))
            sum_of_rows += alone
            for one, block in zip(row, arrays, strict=True):
                np.testing.assert_array_equal(one[0], block[n])
        np.testing.assert_allclose(sum_of_rows, total, rtol=1e-14)


@pytest.mark.parametrize("fuse", [True, False])
def test_rows_are_summed_in_float64(fuse: bool) -> None:
    z = np.ones((4001, 1), np.float32)
    z[0] = 2**14  # 2^27 + 4000 / 2 has too many bits for float32
    t = np.zeros_like(z)
    if fuse:
        total = fused_kernel("squared_error", "identity", z, t)[0]
    else:
        total = unfused_kernel("squared_error", z, t)[0]
    assert total == 2**27 + 2000


def test_the_fused_pairs() -> None:
    pairs = [
        (loss, activation)
        for loss in LOSSES
        for activation in ACTIVATIONS
        if fused(code("loss", loss), code("activation", activation))
    ]
    assert pairs == FUSED


def test_other_shapes_and_names_compile_nothing() -> None:
    def all_of(shape: tuple[int, int]) -> None:
        z = np.full(shape, 0.5, np.float32)
        for loss, activation in FUSED:
            through(loss, activation, z, z)
            fused_kernel(loss, activation, z, z, z[:, 0].copy())

    kernels: list[Any] = [fused_loss, loss_and_derivative]
    all_of((2, 3))
    before = [len(each.signatures) for each in kernels]
    for shape in ((1, 1), (5, 1), (1, 9), (40, 60)):
        all_of(shape)
    assert [len(each.signatures) for each in kernels] == before
