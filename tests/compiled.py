"""Kernels that only kernels call, compiled so that a test can call them."""

from __future__ import annotations

from functools import cache
from typing import Any

from downslope.kernels import activations, losses
from downslope.kernels.jit import kernel
from downslope.kernels.views import pointer


@cache
def compiled(inner: Any) -> Any:
    """Compile an inner kernel once more, as one that Python calls."""
    return kernel(inner.py_func)


@kernel
def activate(activation, parameter, slope, z, y):  # type: ignore[no-untyped-def]
    """`activations.activate` of arrays."""
    rows, units = z.shape
    activations.activate(activation, parameter, pointer(slope, 0), pointer(z, 0), pointer(y, 0),
                         rows, units, z.size)  # fmt: skip


@kernel
def backpropagate(activation, parameter, slope, z, y, d):  # type: ignore[no-untyped-def]
    """`activations.backpropagate` of arrays."""
    rows, units = z.shape
    activations.backpropagate(activation, parameter, pointer(slope, 0), pointer(z, 0),
                              pointer(y, 0), pointer(d, 0), rows, units, z.size)  # fmt: skip


@kernel
def slope_gradient(z, d, out):  # type: ignore[no-untyped-def]
    """`activations.slope_gradient` of arrays."""
    rows, units = z.shape
    activations.slope_gradient(pointer(z, 0), pointer(d, 0), rows, units, pointer(out, 0))


@kernel
def loss_and_derivative(loss, parameter, y, target, weight, scale, d):  # type: ignore[no-untyped-def]
    """`losses.loss_and_derivative` of arrays; weight (rows,) or empty."""
    rows, units = y.shape
    return losses.loss_and_derivative(loss, parameter, pointer(y, 0), pointer(target, 0),
                                      pointer(weight, 0), weight.size > 0, scale, pointer(d, 0),
                                      rows, units, y.size)  # fmt: skip


@kernel
def fused_loss(loss, parameter, activation, z, y, target, weight, scale, d):  # type: ignore[no-untyped-def]
    """`losses.fused_loss` of arrays; weight (rows,) or empty."""
    rows, units = z.shape
    return losses.fused_loss(loss, parameter, activation, pointer(z, 0), pointer(y, 0),
                             pointer(target, 0), pointer(weight, 0), weight.size > 0, scale,
                             pointer(d, 0), rows, units, z.size)  # fmt: skip
