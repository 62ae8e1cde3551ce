"""The arrays of a descent and the calls into its compiled loop."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from downslope.catalogue import Choice
from downslope.errors import InvalidTypeError, InvalidValueError
from downslope.kernels import gauges, loop, rules
from downslope.kernels import plan as kinds
from downslope.kernels.blocks import BOUNDED
from downslope.kernels.threads import barrier_words
from downslope.layout import (
    BLOCK_ROWS,
    SHARED_WORK,
    Parameters,
    Workspace,
    aligned,
    allocate,
    batching,
    cut,
    halved_alone,
    plan_workspace,
)
from downslope.memory import room_for
from downslope.scaling import SQUASH_LIMIT, Features, ScaledRows
from downslope.workers import FastestCount, Workers, check_threads

Array = npt.NDArray[Any]

_NO_LABELS = np.empty(0, np.int64)

_LENT = {"theta", "statistics", "features", "centers", "factors", "squashes", "labels", "targets",
         "weights"}  # fmt: skip
"""Arrays of a job that belong to the network or the data."""

PREDICTED_WORK = 20_000_000
"""Floating point operations of a forward pass (some 100 microseconds or more) from which threads
that are started for it pay."""


@dataclass(frozen=True)
class Targets:
    """What the outputs are held against, as the kernels take it.

    Attributes
    ----------
    labels : (rows,) int64
        Class numbers from 0; empty where the target is in `values`.
    values : (rows x outputs,)
        Numbers; empty where the target is in `labels`.
    weights : (rows,)
        Empty where all rows weigh the same.
    """

    labels: npt.NDArray[np.int64]
    values: Array
    weights: Array

    @classmethod
    def of(cls, target: Array, weights: Array | None, outputs: int, dtype: Any) -> Targets:
        """Check a target and its row weights against the number of outputs.

        Raises
        ------
        InvalidValueError
            For a wrong shape, a class number out of range, or a negative or not finite weight.
        InvalidTypeError
            For a target or weights that are no numbers.
        """
        target = _as_array("the target", target)
        labels, values = _NO_LABELS, np.empty(0, dtype)
        if target.ndim == 1 and target.dtype.kind in "iu":
            labels = np.ascontiguousarray(target, np.int64)
            highest = max(outputs, 2) - 1
            if labels.size and not 0 <= labels.min() <= labels.max() <= highest:
                raise InvalidValueError(
                    f"class numbers must lie in 0 to {highest} for {outputs} outputs; got "
                    f"{labels.min()} to {labels.max()}"
                )
        else:
            columns = target.reshape(len(target), -1)
            if columns.shape[1] != outputs:
                raise InvalidValueError(
                    f"the target must have one column for each of {outputs} outputs; got an array "
                    f"of shape {target.shape}"
                )
            values = np.ascontiguousarray(columns, dtype).reshape(-1)
        return cls(labels, values, check_weights(weights, len(target), dtype))


def check_weights(weights: Array | None, rows: int, dtype: Any) -> Array:
    """Check row weights: one for each row, finite, not negative, not all 0; empty for None.

    They are not rescaled where the number type does not hold them: penalties and the statistics of
    batch normalization go by their sum, so that they are another descent's with other weights.
    """
    if weights is None:
        return np.empty(0, dtype)
    weights = _as_array("row weights", weights)
    if weights.shape != (rows,):
        raise InvalidValueError(
            f"row weights must be one for each of {rows} rows; got the shape {weights.shape}"
        )
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        row = int(bad.argmax())
        raise InvalidValueError(
            f"row weights must be finite and not negative; row {row + 1} has {weights[row]}: "
            f"remove the row or give it weight 0"
        )
    if not weights.any():
        raise InvalidValueError("row weights must not all be 0: nothing would be learned")
    limits, row = np.finfo(dtype), int(weights.argmax())
    # Batch normalization multiplies by them, so that their products must find room too.
    low, high = float(limits.tiny), math.sqrt(limits.max)
    if not low <= float(weights[row]) <= high:
        raise InvalidValueError(
            f"the largest of the row weights must lie in {low:.3g} to {high:.3g} for "
            f"{np.dtype(dtype).name}; row {row + 1} has {weights[row]:g}: multiply all by one "
            "number"
        )
    return np.ascontiguousarray(weights, dtype)


def _as_array(name: str, values: Any) -> Array:
    """Give numbers as an array; refuse anything else, and rows of different lengths."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InvalidValueError(f"{name} must be as many in every row: {error}") from error
    if array.dtype.kind not in "fiub":
        raise InvalidTypeError(f"{name} must be numbers; got an array of {array.dtype}")
    return array


def _read_only(array: Array) -> Array:
    """View an array flat and read-only: then features of any origin have one type to a kernel."""
    view = array.view(np.ndarray).reshape(-1)
    view.flags.writeable = False
    return view


def _lying(features: Features) -> tuple[Array, Array, Array, Array]:
    """Give a job's features as they lie, and by what their rows are scaled as they are fetched."""
    nothing = np.empty(0)
    if isinstance(features, ScaledRows):
        scaling = features.scaling
        squashes = scaling.squashed / SQUASH_LIMIT if scaling.squashed.any() else nothing
        found = features.values, scaling.center, scaling.factor, squashes
    else:
        found = features, nothing, nothing, nothing
    values, centers, factors, squashes = (_read_only(each) for each in found)
    return values, centers, factors, squashes


class _Engine:
    """The arrays that kernels work on, and the threads that run them."""

    def __init__(self, job: loop.Job, workers: Workers) -> None:
        self.job = job
        self._workers = workers

    @property
    def threads(self) -> int:
        """How many threads run the kernels."""
        return self._workers.count

    @property
    def memory(self) -> int:
        """Bytes of the arrays made for these kernels; what they are lent does not count."""
        own = {name: each for name, each in self.job._asdict().items() if name not in _LENT}
        arrays = [*own.pop("gauges"), *own.values()]
        return sum(int(array.nbytes) for array in arrays)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads."""
        self._workers.__exit__()


class Stepper(_Engine):
    """The workspace of one descent, and steps through it by one or more threads.

    Parameters
    ----------
    parameters
        Theta and the running statistics, moved in place.
    features : (rows, inputs) in theta's type, C-contiguous or `ScaledRows`
    targets
    batch
        Rows of a step.
    rule
        None where only gradients are asked for.
    threads
        None takes the available cores; a small step stays on one thread either way.
    """

    def __init__(
        self,
        parameters: Parameters,
        features: Features,
        targets: Targets,
        batch: int,
        rule: Choice | None,
        threads: int | None = None,
    ) -> None:
        layout, dtype = parameters.layout, parameters.theta.dtype
        rows, block = batching(layout, batch)
        # Adam's pass over theta is worth some 30 operations a parameter.
        work = (6 * batch + 30) * layout.parameters
        count = check_threads(threads)
        workers = Workers(count if work >= SHARED_WORK else 1)
        weighted = targets.weights.size > 0
        shared = work >= SHARED_WORK
        space = plan_workspace(parameters, rows, block, workers.count, weighted, shared)
        pieces, blocks, middle = cut(layout, shared, halved_alone(space))
        space.frame["middle"] = middle
        room = aligned(int((blocks["stop"] - blocks["start"]).max()))
        moments = 0 if rule is None else rules.moments(rule)
        gradient = aligned(layout.parameters) + workers.count * room
        needed = (space.size + gradient + moments * layout.parameters) * dtype.itemsize
        with room_for(layout.widths, needed):
            job = _job(parameters, space, features, targets, workers.count)._replace(
                pieces=pieces,
                blocks=blocks,
                gradient=allocate(gradient, dtype),
                state=allocate((moments, layout.parameters), dtype),
                sums=np.zeros((4, max(len(blocks), -(-rows // block)))),
            )
        super().__init__(job, workers)
        self._fastest, self._batch = FastestCount(workers.count), batch

    def watch(self, flat: npt.NDArray[np.float64]) -> None:
        """Make room for the gauges; flat (layers,): |phi'| below which a unit counts as flat."""
        if self.job.gauges.rows.size:
            return
        job, dtype = self.job, self.job.theta.dtype
        plan, rows = job.plan, int(job.frame[0]["rows"])
        units, layers = plan["units"], len(plan)
        strides, starts = gauges.drawing(plan, self._batch)
        at = np.arange(gauges.COUNTED) * strides[:, gauges.OF_GRADIENT, None]
        self.job = job._replace(
            gauges=gauges.Gauges(
                gradient=allocate(job.theta.size, dtype),
                move=allocate(job.theta.size, dtype),
                before=allocate(self.threads * gauges.PART, dtype),
                room=allocate((self.threads, aligned(max(gauges.ROOM, int(units.max())))), dtype),
                limits=np.asarray(flat, np.float64),
                strides=strides,
                starts=starts,
                rows=np.zeros((-(-rows // int(job.frame[0]["block"])), layers), gauges.ROWS),
                terms=np.zeros((layers, rows)),
                squares=np.zeros((3, rows)),
                alive=allocate((self.threads, aligned(int(units.sum()))), dtype),
                pieces=np.zeros(len(job.pieces), gauges.PIECE_SUMS),
                moves=np.zeros(layers, gauges.MOVES),
                norms=np.zeros(len(job.blocks)),
                factors=np.stack([at // units[:, None], at % units[:, None]], 1).astype(np.uint32),
            )
        )

    @property
    def is_trying(self) -> bool:
        """Whether the next run is to find out how long steps take on some number of threads."""
        return self._fastest.to_try is not None

    def run(self, chunk: loop.Chunk) -> int:
        """Run the steps of a chunk; give how many were done before one was not finite.

        One more than there are: all were done, but then theta is not finite.
        """
        count = self._fastest.choose()
        begun = time.perf_counter()
        done = self._workers.call(loop.descend, self.job, chunk, count)
        self._fastest.note(count, time.perf_counter() - begun, max(chunk.steps, 1))
        return done

    def warm_up(self) -> None:
        """Compile the loop, or load it compiled, so that no step's time includes that."""
        chunk = loop.Chunk(
            order=np.zeros(1, np.int64), in_order=0, first=0, batch=1, steps=0, step=0, seed=0,
            rule=-1, coefficients=np.zeros((1, 1)), decays=np.ones(1), penalties=np.zeros(4),
            losses=np.zeros(0), norms=np.zeros(0),
        )  # fmt: skip
        loop.descend(self.job, chunk, 0, 1)

    def gradient(self) -> Array:
        """View dL/dtheta of the last step that computed it whole."""
        return self.job.gradient[: self.job.theta.size]

    def bounded_norm(self) -> float:
        """Give the norm of that gradient, which clip_norm bounds: after clip_value."""
        return math.sqrt(self.job.sums[BOUNDED, : len(self.job.blocks)].sum())


def predicting_threads(parameters: Parameters, rows: int, threads: int | None) -> int:
    """Say how many threads the outputs of so many rows are worth."""
    work = 2 * parameters.layout.parameters * rows
    count = check_threads(threads)
    return count if work >= PREDICTED_WORK else 1


class Predictor(_Engine):
    """The forward pass over many rows, by one or more threads, with the loss where asked for.

    Parameters
    ----------
    parameters
        Theta and the running statistics, read at each call.
    features : (rows, inputs) in theta's type, C-contiguous or `ScaledRows`
    targets
        None where only outputs are asked for.
    threads
        None takes the available cores; few rows stay on one thread either way.
    rows
        How many are asked for at a time, at most; None: all.
    """

    def __init__(
        self,
        parameters: Parameters,
        features: Features,
        targets: Targets | None = None,
        threads: int | None = None,
        rows: int | None = None,
    ) -> None:
        if targets is None:
            targets = Targets(_NO_LABELS, parameters.theta[:0], parameters.theta[:0])
        rows = len(features) if rows is None else rows
        workers = Workers(predicting_threads(parameters, rows, threads))
        block = min(BLOCK_ROWS, max(rows, 1))
        weighted = targets.weights.size > 0
        space = plan_workspace(
            parameters, workers.count * block, block, workers.count, weighted, training=False
        )
        needed = space.size * parameters.theta.itemsize
        with room_for(parameters.layout.widths, needed):
            job = _job(parameters, space, features, targets, workers.count)
        super().__init__(job, workers)
        self._first = job
        self._outputs = int(parameters.layout.plan["units"][-1])
        self._block = block

    def look_at(self, features: Features) -> None:
        """Go on with other features; they must be as those before were."""
        values, centers, factors, squashes = _lying(features)
        self.job = self.job._replace(
            features=values, centers=centers, factors=factors, squashes=squashes
        )

    def look_back(self) -> None:
        """Go back to the features it was made for, and let go of all others."""
        self.job = self._first

    def layer_outputs(self, rows: int) -> list[Array]:
        """Give the outputs (rows, units) of every layer for the first rows, block after block."""
        plan, nothing = self.job.plan, np.empty(0, self.job.theta.dtype)
        found = [np.empty((rows, int(layer["units"])), self.job.theta.dtype) for layer in plan]
        for begin in range(0, rows, self._block):
            order = np.arange(begin, min(begin + self._block, rows))
            loop.predict(self.job, order, True, nothing, np.empty(0), 0, 1)
            for layer, values in zip(plan, found, strict=True):
                y = self.job.workspace[int(layer["y"]) :][: len(order) * int(layer["units"])]
                values[order] = y.reshape(len(order), -1)
        return found

    def outputs(self, order: npt.NDArray[np.int64], in_order: bool = False) -> Array:
        """Give the outputs (len(order), outputs) of some rows; `in_order`: one after another."""
        out = np.empty(len(order) * self._outputs, self.job.theta.dtype)
        self._workers.run(loop.predict, self.job, order, in_order, out, np.empty(0))
        return out.reshape(len(order), self._outputs)

    def outputs_and_loss(
        self, order: npt.NDArray[np.int64], in_order: bool = False
    ) -> tuple[Array, float]:
        """Give the outputs of some rows and their mean loss by weight, without penalties.

        The targets are smoothed as they are in training.
        """
        out = np.empty(len(order) * self._outputs, self.job.theta.dtype)
        losses = np.zeros(-(-len(order) // self._block))
        self._workers.run(loop.predict, self.job, order, in_order, out, losses)
        weights = self.job.weights
        total = float(weights[order].sum(dtype=np.float64)) if weights.size else len(order)
        loss = float(losses.sum()) / total if total > 0 else 0.0
        return out.reshape(len(order), self._outputs), loss


def _job(
    parameters: Parameters, space: Workspace, features: Features, targets: Targets, threads: int
) -> loop.Job:
    """Gather what every kernel needs; what only steps need stays empty."""
    dtype = parameters.theta.dtype
    workspace = allocate(space.size, dtype)
    workspace[int(space.frame[0]["one"])] = 1
    values, centers, factors, squashes = _lying(features)
    return loop.Job(
        plan=space.plan,
        frame=space.frame,
        pieces=np.empty(0, kinds.PIECE),
        blocks=np.empty(0, kinds.BLOCK),
        theta=parameters.theta,
        gradient=np.empty(0, dtype),
        state=np.empty((0, 0), dtype),
        statistics=parameters.statistics,
        workspace=workspace,
        features=values,
        centers=centers,
        factors=factors,
        squashes=squashes,
        labels=_read_only(targets.labels),
        targets=_read_only(targets.values),
        weights=_read_only(targets.weights),
        sums=np.empty((3, 0)),
        barrier=np.zeros(barrier_words(threads), np.int64),
        gauges=gauges.empty_gauges(dtype),
    )
