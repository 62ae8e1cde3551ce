"""Where things lie: parameters in theta, values of a micro-batch in the workspace, theta in blocks.

All offsets are in elements of a flat array. Within a layer theta holds W, the projection of a
residual layer, b, gamma, beta and PReLU's slopes, each where the layer has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope.catalogue import Choice
from downslope.kernels import plan as kinds
from downslope.kernels.losses import fused
from downslope.kernels.product import CACHED_BYTES, TRANSPOSED_BYTES
from downslope.recipe import Network

CACHE_LINE = 64
"""Bytes."""

ALIGNMENT = 16
"""Elements to which matrices in the workspace are aligned: a cache line of float32."""

BLOCK_PARAMETERS = 1 << 15
"""Parameters of a block of theta: gradient and moments then stay in the second-level cache."""

MATRIX_ROWS = 512
"""Rows of W in a block where BLAS computes the gradient, which packs its operands at each call."""

BLOCK_ROWS = 128
"""Rows that one thread takes through all layers at a time: their values stay in its cache."""

MICRO_BATCH = 1024
"""Most rows of a micro-batch."""

WORKSPACE_FLOATS = 1 << 22
"""Floats of a micro-batch's values: what full-batch descent needs above the data."""

SHARED_WORK = 2_000_000
"""Floating point operations of a step (some 10 microseconds) from which two threads pay."""

_NAMES = {
    kinds.WEIGHT: "weight",
    kinds.PROJECTION: "projection",
    kinds.BIAS: "bias",
    kinds.GAMMA: "gamma",
    kinds.BETA: "beta",
    kinds.SLOPE: "slope",
}


@dataclass(frozen=True)
class Part:
    """One array of parameters within theta."""

    layer: int
    kind: int
    start: int
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """Its name in files: the layer counts from 1."""
        return f"layer{self.layer + 1}.{_NAMES[self.kind]}"

    @property
    def stop(self) -> int:
        """Where it ends in theta."""
        return self.start + int(np.prod(self.shape))


@dataclass(frozen=True)
class Layout:
    """How theta is laid out for one network, with the plan's records (workspace still open)."""

    plan: npt.NDArray[Any]
    parts: tuple[Part, ...]
    parameters: int
    statistics: int
    batchwise: bool


def lay_out(network: Network, inputs: int, outputs: int, output_activation: Choice) -> Layout:
    """Lay out theta for a network between `inputs` features and `outputs` outputs."""
    hidden = network.activations()
    widths = [*network.layers, outputs]
    plan = np.zeros(len(widths), kinds.LAYER)
    for name in ("weight", "projection", "bias", "gamma", "beta", "slope", "statistics", "moments"):
        plan[name] = -1
    normalization = {"none": 0, "batch": 1, "layer": 2}[network.normalize]
    parts: list[Part] = []
    at, statistics = 0, 0
    for number, (before, units) in enumerate(zip([inputs, *widths], widths, strict=False)):
        layer = plan[number]
        is_hidden = number < len(hidden)
        activation = hidden[number] if is_hidden else output_activation
        layer["inputs"], layer["units"] = before, units
        layer["activation"] = activation.code
        layer["parameter"] = (*activation.values(), 0.0)[0]
        if is_hidden:
            layer["dropout"] = network.dropouts()[number]
            layer["normalization"] = normalization
            layer["residual"] = 0 if not network.residual else (1 if before == units else 2)
        for kind, shape in _shapes(layer, activation):
            part = Part(number, kind, at, shape)
            parts.append(part)
            layer[_NAMES[kind]] = at
            at = part.stop
        if layer["normalization"] == kinds.BATCH_NORMALIZATION:
            layer["statistics"] = statistics
            statistics += 2 * units
    batchwise = bool((plan["normalization"] == kinds.BATCH_NORMALIZATION).any())
    return Layout(plan, tuple(parts), at, statistics, batchwise)


def _shapes(layer: Any, activation: Choice) -> list[tuple[int, tuple[int, ...]]]:
    """List the parameters of one layer: their kinds and shapes, in theta's order."""
    inputs, units = int(layer["inputs"]), int(layer["units"])
    shapes: list[tuple[int, tuple[int, ...]]] = [(kinds.WEIGHT, (inputs, units))]
    if layer["residual"] == kinds.PROJECTION_RESIDUAL:
        shapes.append((kinds.PROJECTION, (inputs, units)))
    # Batch normalization takes the mean away again, so b would have no effect.
    if layer["normalization"] != kinds.BATCH_NORMALIZATION:
        shapes.append((kinds.BIAS, (units,)))
    if layer["normalization"] != kinds.NO_NORMALIZATION:
        shapes += [(kinds.GAMMA, (units,)), (kinds.BETA, (units,))]
    if activation.name == "prelu":
        shapes.append((kinds.SLOPE, (units,)))
    return shapes


@dataclass(frozen=True)
class Parameters:
    """Theta and the running statistics, with where things lie in them and the loss that moves them.

    Attributes
    ----------
    layout
    loss
    smoothing
        Label smoothing.
    theta : (layout.parameters,)
    statistics : (layout.statistics,)
        Running means and variances of batch normalization, in theta's type.
    """

    layout: Layout
    loss: Choice
    smoothing: float
    theta: npt.NDArray[Any]
    statistics: npt.NDArray[Any]


@dataclass(frozen=True)
class Workspace:
    """The plan with its workspace: sizes for one micro-batch on some threads."""

    plan: npt.NDArray[Any]
    frame: npt.NDArray[Any]
    size: int


def allocate(shape: int | tuple[int, int], dtype: Any) -> npt.NDArray[Any]:
    """Allocate zeros that begin on a cache line: no vector then lies across two."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.zeros(size + CACHE_LINE, np.uint8)
    begin = -room.ctypes.data % CACHE_LINE
    view: npt.NDArray[Any] = room[begin : begin + size].view(dtype)
    return view.reshape(shape)


def aligned(count: int) -> int:
    """Round a count of elements up to whole cache lines."""
    return -(-count // ALIGNMENT) * ALIGNMENT


class _Room:
    """Hands out aligned places in a flat array."""

    def __init__(self) -> None:
        self.size = 0

    def take(self, count: int) -> int:
        place = self.size
        self.size += aligned(count)
        return place


def plan_workspace(
    parameters: Parameters, rows: int, block: int, threads: int, weighted: bool
) -> Workspace:
    """Plan the workspace for micro-batches of `rows` rows, in blocks of `block` rows.

    weighted: whether rows have weights.
    """
    layout, loss = parameters.layout, parameters.loss
    plan = layout.plan.copy()
    room = _Room()
    before = room.take(rows * int(plan[0]["inputs"]))
    sums, moments = 0, int(_transposed(plan))
    for layer in plan:
        units = int(layer["units"])
        matrix = rows * units
        layer["x"] = before
        layer["z"] = layer["affine"] = room.take(matrix)
        if layer["normalization"] != kinds.NO_NORMALIZATION:
            layer["affine"] = room.take(matrix)
            layer["deviation"] = room.take(rows)
        layer["phi"] = layer["y"] = room.take(matrix)
        if layer["dropout"] > 0 or layer["residual"] != kinds.NO_RESIDUAL:
            layer["y"] = room.take(matrix)
        layer["dz"] = layer["dy"] = room.take(matrix)
        if layer["residual"] != kinds.NO_RESIDUAL:
            layer["dy"] = room.take(matrix)
        layer["sums"] = sums
        sums += units * (2 * (layer["gamma"] >= 0) + (layer["slope"] >= 0))
        if layer["normalization"] == kinds.BATCH_NORMALIZATION:
            layer["moments"] = moments
            moments += 4 * units
        before = int(layer["y"])
    frame = np.zeros(1, kinds.FRAME)
    record = frame[0]
    record["rows"], record["block"], record["batchwise"] = rows, block, layout.batchwise
    record["loss"], record["loss_parameter"] = loss.code, (*loss.values(), 0.0)[0]
    record["fused"] = fused(loss.code, int(plan[-1]["activation"]))
    record["smoothing"] = parameters.smoothing
    record["target"] = room.take(rows * int(plan[-1]["units"]))
    record["weight"] = room.take(rows) if weighted else -1
    # One of its own for each thread and block: neighbors must not share a cache line.
    record["sums_size"] = aligned(max(sums, 1))
    record["sums"] = room.take(max(-(-rows // block), threads) * int(record["sums_size"]))
    record["scratch_size"] = aligned(max(moments, 1))
    record["scratch"] = room.take(threads * int(record["scratch_size"]))
    return Workspace(plan, frame, room.size)


def batching(layout: Layout, batch: int) -> tuple[int, int]:
    """Choose the rows of a micro-batch and of a block, for batches of `batch` rows.

    A step is cut in two or more blocks once that pays for two threads; a micro-batch is whole
    blocks whose values fit in `WORKSPACE_FLOATS`, and the whole batch where its statistics count.
    """
    if 6 * layout.parameters * batch < SHARED_WORK:
        block = min(batch, BLOCK_ROWS)
    else:
        block = min(BLOCK_ROWS, -(-batch // 16) * 8)
    if layout.batchwise:
        return batch, block
    width = int(layout.plan["inputs"][0] + 4 * layout.plan["units"].sum())
    blocks = max(1, min(WORKSPACE_FLOATS // width, MICRO_BATCH) // block)
    return min(batch, blocks * block), block


def _transposed(plan: npt.NDArray[Any]) -> int:
    """Count the floats that a thread needs to transpose the largest W that it does so with."""
    sizes = plan["inputs"] * plan["units"]
    small = sizes[sizes * 4 <= TRANSPOSED_BYTES]
    return int(small.max()) if small.size else 0


def cut(layout: Layout, rows: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Cut theta into pieces and blocks, for gradients over micro-batches of `rows` rows.

    The cut hangs on the network and the batch only, never on the number of threads.
    """
    pieces: list[tuple[int, ...]] = []
    blocks: list[tuple[int, ...]] = []
    first, start = 0, 0

    def close() -> None:
        nonlocal first, start
        if len(pieces) > first:
            blocks.append((first, len(pieces), start, pieces[-1][5]))
            first, start = len(pieces), pieces[-1][5]

    for part in layout.parts:
        if part.kind in (kinds.WEIGHT, kinds.PROJECTION):
            _cut_rows(part, rows, pieces, close, start)
        else:
            pieces.append((part.layer, part.kind, 0, 0, part.start, part.stop))
        if pieces[-1][5] - start >= BLOCK_PARAMETERS:
            close()
    close()
    return np.array(pieces, kinds.PIECE), np.array(blocks, kinds.BLOCK)


def _cut_rows(part: Part, rows: int, pieces: list[tuple[int, ...]], close: Any, start: int) -> None:
    """Cut a weight matrix by its rows: small enough for the cache, large enough for BLAS."""
    inputs, units = part.shape
    by_blas = rows * units * 4 > CACHED_BYTES // 8
    height = min(MATRIX_ROWS, -(-inputs // 2)) if by_blas else max(1, BLOCK_PARAMETERS // units)
    if by_blas or part.stop - start > 2 * BLOCK_PARAMETERS:
        close()
    for row in range(0, inputs, height):
        end = min(row + height, inputs)
        pieces.append(
            (part.layer, part.kind, row, end, part.start + row * units, part.start + end * units)
        )
        if end < inputs or by_blas:
            close()
