"""Where things lie: parameters in theta, values of a micro-batch in the workspace, theta in blocks.

All offsets are in elements of a flat array. Within a layer theta holds W, the projection of a
residual layer, b, gamma, beta and PReLU's slopes, each where the layer has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope.catalogue import Choice
from downslope.kernels import plan as kinds
from downslope.kernels.losses import fused
from downslope.kernels.plan import ALIGNMENT
from downslope.kernels.product import PANEL_WIDTH, scratch_floats
from downslope.kernels.tiles import TILE_ROWS
from downslope.kernels.vectors import WIDE
from downslope.parts import Network

CACHE_LINE = 64
"""Bytes."""

BLOCK_PARAMETERS = 1 << 15
"""Parameters of a block of theta: gradient and moments then stay in the second-level cache."""

LEAST_PARAMETERS, SHARED_BLOCKS = 2048, 16
"""Several threads share theta out in about so many blocks, unless those were too small to pay."""

PANELED_ROWS, PANELED_FLOATS, PANELED_INPUTS = 32, 1 << 13, 128
"""Rows, floats of dL/du and inputs of the layer from which dL/du is copied to panels, where it is
wider than one: what fits in the first-level cache, or is used for few inputs, is read where it
lies."""

HALVED_PARAMETERS = 1 << 13
"""Parameters of W from which each half of it has its own cores: fewer are soon read anew."""

BLOCK_ROWS = 128
"""Rows that one thread takes through all layers at a time: their values stay in its cache."""

MICRO_BATCH = 1024
"""Most rows of a micro-batch."""

WORKSPACE_FLOATS = 1 << 22
"""Floats of a micro-batch's values: what full-batch descent needs above the data."""

SHARED_WORK = 2_000_000 if WIDE else 1_000_000
"""Floating point operations of a step (some 10 to 20 microseconds) from which two threads pay."""

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

    @property
    def widths(self) -> list[int]:
        """Inputs of the network and units of its layers."""
        return [int(self.plan["inputs"][0]), *self.plan["units"].tolist()]


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
    parameters: Parameters,
    rows: int,
    block: int,
    threads: int,
    weighted: bool,
    halved: bool = False,
    training: bool = True,
) -> Workspace:
    """Plan the workspace for micro-batches of `rows` rows, in blocks of `block` rows.

    weighted: whether rows have weights; training: whether there is a backward pass; halved: whether
    cores may each keep to half of W. Where they do not, and the rows hold more values than theta,
    each block of rows has a gradient of its own: those travel between cores then, once a step, and
    the rows' values do not.
    """
    layout, loss = parameters.layout, parameters.loss
    plan = layout.plan.copy()
    if halved:
        halve(plan, rows)
    room = _Room()
    before = room.take(rows * int(plan[0]["inputs"]))
    sums = 0
    depths = rows, *plan["inputs"], *plan["units"]
    moments = scratch_floats(int(max(depths)))
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
        layer["panels"] = -1
        if training and _is_paneled(rows, int(layer["inputs"]), units):
            layer["panels"] = room.take(rows * (-(-units // PANEL_WIDTH) * PANEL_WIDTH))
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
    record["one"] = room.take(1)
    halves = plan["units"][plan["half"] > 0]
    record["half"] = room.take(rows * int(halves.max())) if halves.size else 0
    blocks, values = -(-rows // block), rows * int((plan["inputs"] + plan["units"]).sum())
    if halved and blocks > 1 and not halves.size and values > layout.parameters:
        record["partial_size"] = aligned(layout.parameters)
        record["partials"] = room.take(blocks * aligned(layout.parameters))
    else:
        record["partials"] = -1
    return Workspace(plan, frame, room.size)


def _is_paneled(rows: int, inputs: int, units: int) -> bool:
    """Whether dL/du is copied to panels for the gradient of W."""
    if units <= PANEL_WIDTH or inputs < PANELED_INPUTS or rows < PANELED_ROWS:
        return False
    return rows * units >= PANELED_FLOATS


def batching(layout: Layout, batch: int) -> tuple[int, int]:
    """Choose the rows of a micro-batch and of a block, for batches of `batch` rows.

    A step is cut in two or more blocks once that pays for two threads; a micro-batch is whole
    blocks whose values fit in `WORKSPACE_FLOATS`, and the whole batch where its statistics count.
    """
    if 6 * layout.parameters * batch < SHARED_WORK:
        block = min(batch, BLOCK_ROWS)
    else:
        block = min(BLOCK_ROWS, -(-batch // 8) * 4)
    if layout.batchwise:
        return batch, block
    width = int(layout.plan["inputs"][0] + 4 * layout.plan["units"].sum())
    blocks = max(1, min(WORKSPACE_FLOATS // width, MICRO_BATCH) // block)
    return min(batch, blocks * block), block


def halve(plan: npt.NDArray[Any], rows: int) -> None:
    """Note in the plan which layers' weights are halved, for batches of `rows` rows.

    Where a batch has few rows, halves of W travel further between cores than sums over halves do.
    """
    for layer in plan:
        inputs, units = int(layer["inputs"]), int(layer["units"])
        if 2 * rows <= inputs and inputs * units >= HALVED_PARAMETERS:
            layer["half"] = _middle(inputs)


def _middle(inputs: int) -> int:
    """Give the row of W where its upper half begins: whole tiles below."""
    return inputs // 2 // ALIGNMENT * ALIGNMENT


def halved_alone(space: Workspace) -> list[int] | None:
    """Give the layers whose W is halved where one thread takes the rows through all else.

    None where the rows are shared out among the threads, or no W is halved.
    """
    halved = np.flatnonzero(space.plan["half"])
    return list(halved) if halved.size and space.frame["rows"] <= space.frame["block"] else None


def cut(
    layout: Layout, shared: bool, halved: list[int] | None = None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], int]:
    """Cut theta into pieces and blocks, the lower half's first; give how many blocks that half has.

    shared: whether several threads may share the blocks out; halved: see `halved_alone`, all that
    one thread uses alone is in the lower half then. The cut depends on the network and the batch
    only, never on the number of threads.
    """
    most, halves = BLOCK_PARAMETERS, 1
    if shared:
        most = min(most, max(LEAST_PARAMETERS, layout.parameters // SHARED_BLOCKS))
        halves = 2
    sides: list[list[tuple[int, ...]]] = [[] for _ in range(halves)]
    sizes = [0] * halves
    for part in layout.parts:
        for number, first, last in _shares(part, halves, halved):
            lighter = sizes.index(min(sizes)) if number is None else number
            pieces = list(_cut_rows(part, first, last, most))
            sides[lighter] += pieces
            sizes[lighter] += pieces[-1][5] - pieces[0][4]
    pieces = [piece for side in sides for piece in side]
    blocks: list[tuple[int, ...]] = []
    middle = 0
    for side in sides:
        middle = len(blocks)
        first = sum(block[1] - block[0] for block in blocks)
        blocks += _blocks(side, first, most)
    return np.array(pieces, kinds.PIECE), np.array(blocks, kinds.BLOCK), middle


def _shares(part: Part, halves: int, halved: list[int] | None) -> list[tuple[int | None, int, int]]:
    """Give the rows first:last of a part for each half; None: it goes to either half as a whole."""
    if part.kind not in (kinds.WEIGHT, kinds.PROJECTION):
        return [(None if halved is None else 0, 0, 0)]
    if halved is not None and (part.kind == kinds.PROJECTION or part.layer not in halved):
        return [(0, 0, part.shape[0])]
    inputs = part.shape[0]
    middle = _middle(inputs) if halves == 2 else 0
    shares: list[tuple[int | None, int, int]] = [(0, 0, middle), (halves - 1, middle, inputs)]
    return [share for share in shares if share[1] < share[2]]


def _cut_rows(part: Part, first: int, last: int, most: int) -> Iterator[tuple[int, ...]]:
    """Cut rows first:last of a weight matrix, whole tiles; any other part is one piece."""
    if part.kind not in (kinds.WEIGHT, kinds.PROJECTION):
        yield part.layer, part.kind, 0, 1, part.start, part.stop
        return
    units = part.shape[1]
    height = max(1, most // units // TILE_ROWS) * TILE_ROWS
    for row in range(first, last, height):
        end = min(row + height, last)
        yield part.layer, part.kind, row, end, part.start + row * units, part.start + end * units


def _blocks(pieces: list[tuple[int, ...]], first: int, most: int) -> list[tuple[int, ...]]:
    """Join neighboring pieces, counted from `first`, to blocks of about `most` parameters."""
    blocks: list[tuple[int, ...]] = []
    for number, piece in enumerate(pieces, first):
        start, stop = piece[4], piece[5]
        if blocks and blocks[-1][3] == start and stop - blocks[-1][2] <= most:
            blocks[-1] = (blocks[-1][0], number + 1, blocks[-1][2], stop)
        else:
            blocks.append((number, number + 1, start, stop))
    return blocks
