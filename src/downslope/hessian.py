"""Products of a network's Hessian with vectors, exact, without ever forming the Hessian.

H d is the derivative of the gradient along d: each equation of the two passes is differentiated in
its turn (Pearlmutter 1994; see tangent.py). A product costs some two gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope.errors import InvalidValueError
from downslope.kernels import dropout
from downslope.kernels import plan as kinds
from downslope.layout import Layout
from downslope.network import BuiltNetwork
from downslope.scaling import Features
from downslope.stepper import Targets
from downslope.tangent import (
    Layer,
    Loss,
    Tangent,
    Weights,
    backward,
    forward,
    output_backward,
    r_backward,
    r_forward,
    r_output_backward,
)

Array = npt.NDArray[Any]

BLOCK_FLOATS = 1 << 22
"""Most floats of the rows that go through the layers together: 32 MiB."""

KEPT_FLOATS = 1 << 25
"""Most floats kept from one product to the next, 256 MiB; beyond that they are computed anew."""

FLOATS_A_UNIT = 16
"""Floats that a row takes for each unit, both passes and their derivatives counted."""

_AXES = {kinds.BATCH_NORMALIZATION: 0, kinds.LAYER_NORMALIZATION: 1}


def views(layout: Layout, vector: Array) -> list[Weights]:
    """View a vector laid out as theta: for each layer its parts by name, such as "weight"."""
    layers: list[Weights] = [{} for _ in layout.plan]
    for part in layout.parts:
        name = part.name.partition(".")[2]
        layers[part.layer][name] = vector[part.start : part.stop].reshape(part.shape)
    return layers


def floats_a_row(layout: Layout) -> int:
    """Count the floats that a row takes on its way through the layers."""
    return int(layout.plan["inputs"][0] + FLOATS_A_UNIT * layout.plan["units"].sum())


def dense_target(targets: Targets, outputs: int, smoothing: float) -> Array:
    """Give the target as (rows, outputs) float64, smoothed as `passes.gather_targets` does."""
    base = smoothing / max(outputs, 2)
    if not targets.labels.size:
        values = targets.values.reshape(-1, outputs).astype(np.float64)
        return values if smoothing == 0 else values * (1 - smoothing) + smoothing / 2
    if outputs == 1:
        return (1 - smoothing) * targets.labels[:, None] + base
    return (1 - smoothing) * np.eye(outputs)[targets.labels] + base


def dropout_mask(rate: float, key: tuple[int, int, int], first: int, shape: tuple[int, int]) -> Any:
    """Give what a step multiplies some rows of a layer's outputs by: 0, or 1 / (1 - rate).

    key: seed, step and the layer's number from 0; first: the number of the first row in its batch;
    shape: rows, units. The same as `dropout.stream` and `dropout.drop`.
    """
    mix = dropout.mix.py_func  # type: ignore[attr-defined]
    # Arrays of one: they wrap around in silence, where scalars warn.
    seed, step, layer = (np.array([number], np.uint64) for number in key)
    state = mix(seed + dropout._GOLDEN)
    state = mix(state ^ (step * dropout._GOLDEN))
    state = mix(state ^ ((layer + np.uint64(1)) * dropout._FIRST))
    rows, units = shape
    position = np.arange(first * units, (first + rows) * units, dtype=np.uint64)
    drawn = mix(state + position * dropout._GOLDEN)
    threshold = np.uint64(rate * 18446744073709549568.0)
    return np.where(drawn >= threshold, 1 / (1 - rate), 0.0).reshape(shape)


class Hessian:
    """The Hessian of the training loss at a network's theta, as something that vectors go through.

    L is as in `BuiltNetwork.loss_and_gradient`: the weighted mean over the rows plus the penalties
    (that of l1 has no curvature). Batch normalization takes its statistics from these rows, by
    their weights, and they move with theta. At a kink phi'' is 0.

    Parameters
    ----------
    network
        Its theta is copied: what becomes of it later does not matter.
    features : (rows, inputs)
    target : (rows,) int64 class numbers, or (rows, outputs) numbers
    weights : (rows,), or None
    penalties
        l1 and l2.
    masks
        Seed and step whose dropout masks are used; None drops nothing.

    Attributes
    ----------
    gradient : (parameters,) float64
        dL/dtheta.

    Examples
    --------
    >>> from downslope import Network
    >>> linear = BuiltNetwork(Network([]), inputs=1, columns=1, task="regression")
    >>> hessian = Hessian(linear, np.array([[1.0], [3.0]]), np.array([0.0, 1.0]))
    >>> hessian.product([1.0, 0.0])  # mean of x^2, mean of x
    array([5., 2.])
    """

    def __init__(
        self,
        network: BuiltNetwork,
        features: Features,
        target: Array,
        weights: Array | None = None,
        penalties: tuple[float, float] = (0.0, 0.0),
        masks: tuple[int, int] | None = None,
    ) -> None:
        self._features = network.check_features(features)
        targets = Targets.of(target, weights, network.outputs, np.float64)
        rows = len(self._features)
        if len(target) != rows or not rows:
            raise InvalidValueError(
                f"a Hessian takes one row or more, with as many targets; got {rows} rows of "
                f"features and {len(target)} targets"
            )
        self._network, self._layout, self._masks = network, network.layout, masks
        smoothing = network.parameters.smoothing
        self._target = dense_target(targets, network.outputs, smoothing)
        share = targets.weights if targets.weights.size else np.ones(rows)
        self._share = (share / share.sum())[:, None]
        self._theta = network.theta.astype(np.float64)
        self._by_layer = views(self._layout, self._theta)
        width = floats_a_row(self._layout)
        block = rows if self._layout.batchwise else max(1, BLOCK_FLOATS // width)
        self._blocks = [slice(at, min(at + block, rows)) for at in range(0, rows, block)]
        self._kept: dict[int, list[Layer]] = {}
        self._keeps = rows * width <= KEPT_FLOATS
        self._scaled = [penalty / float(share.sum()) for penalty in penalties]
        self.gradient = np.zeros(self._theta.size)
        for block_rows in self._blocks:
            self._pass(block_rows, self.gradient)
        self._penalize(self.gradient, self._scaled[0] * np.sign(self._theta), self._theta)

    def __len__(self) -> int:
        """Count the parameters."""
        return int(self._theta.size)

    def product(self, direction: npt.ArrayLike) -> Array:
        """Give H d, exact but for rounding.

        Parameters
        ----------
        direction : (parameters,)
            d, laid out as theta.

        Returns
        -------
        (parameters,) float64

        Raises
        ------
        InvalidValueError
            For another length, or a value that is not finite.
        """
        direction = np.asarray(direction, np.float64)
        if direction.shape != self._theta.shape or not np.isfinite(direction).all():
            raise InvalidValueError(
                f"a direction must be {len(self)} finite numbers, laid out as theta; got an array "
                f"of shape {direction.shape}"
            )
        product = np.zeros(self._theta.size)
        r_theta, by_layer = views(self._layout, direction), views(self._layout, product)
        for rows, layers in self.passed():
            both = list(zip(self._by_layer, r_theta, strict=True))
            tangents = []
            r_x = np.zeros_like(layers[0].x)
            for layer, (weights, r_weights) in zip(layers, both, strict=True):
                tangents.append(Tangent(r_x))
                r_x = r_forward(layer, weights, r_weights, tangents[-1])
            loss = self._loss(rows)
            r_d = r_output_backward(layers[-1], tangents[-1], loss, both[-1], by_layer[-1])
            for number in range(len(layers) - 2, -1, -1):
                r_d = r_backward(
                    layers[number], tangents[number], both[number], r_d, by_layer[number]
                )
        self._penalize(product, np.zeros(self._theta.size), direction)
        return product

    def passed(self) -> Iterator[tuple[slice, list[Layer]]]:
        """Give the layers as the two passes leave them, for one block of rows after the other."""
        for rows in self._blocks:
            layers = self._kept.get(rows.start)
            yield rows, layers or self._pass(rows, np.zeros(self._theta.size))

    def _loss(self, rows: slice) -> Loss:
        return Loss(self._network.loss, self._target[rows], self._share[rows])

    def _pass(self, rows: slice, gradient: Array) -> list[Layer]:
        """Run some rows forward and backward, adding to the gradient; keep what that leaves."""
        layers = self._layers(rows)
        x = self._features[rows].astype(np.float64)
        for layer, weights in zip(layers, self._by_layer, strict=True):
            x = forward(layer, weights, x)
        by_layer = views(self._layout, gradient)
        d = output_backward(layers[-1], self._loss(rows), self._by_layer[-1], by_layer[-1])
        for number in range(len(layers) - 2, -1, -1):
            d = backward(layers[number], self._by_layer[number], d, by_layer[number])
        if self._keeps:
            self._kept[rows.start] = layers
        return layers

    def _layers(self, rows: slice) -> list[Layer]:
        """Describe every layer for some rows, the output layer last."""
        network = self._network
        activations = [*network.network.activations(), network.output_activation]
        layers = []
        for number, (activation, record) in enumerate(
            zip(activations, self._layout.plan, strict=True)
        ):
            rate, mask = float(record["dropout"]), 1.0
            if self._masks is not None and rate > 0:
                shape = (rows.stop - rows.start, int(record["units"]))
                mask = dropout_mask(rate, (*self._masks, number), rows.start, shape)
            axis = _AXES.get(int(record["normalization"]))
            share = self._share[rows]
            layers.append(Layer(activation, axis, bool(record["residual"]), mask, share=share))
        return layers

    def _penalize(self, out: Array, l1_slope: Array, w: Array) -> None:
        """Add the derivative of the penalties of weights: that of l1 as given, l2 w."""
        for part in self._layout.parts:
            if part.kind in (kinds.WEIGHT, kinds.PROJECTION):
                span = slice(part.start, part.stop)
                out[span] += l1_slope[span] + self._scaled[1] * w[span]
