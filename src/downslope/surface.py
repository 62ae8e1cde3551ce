"""The training loss as a function of theta alone, at many points at once.

Each thread has a network of its own to put a theta into, and the compiled passes let go of the
interpreter, so points are worked out side by side.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from downslope.errors import InvalidValueError
from downslope.kernels import plan as kinds
from downslope.kernels.loop import Chunk
from downslope.layout import Parameters, allocate
from downslope.network import BuiltNetwork
from downslope.scaling import Features, as_matrix
from downslope.stepper import Predictor, Stepper, Targets
from downslope.workers import Workers, check_threads

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class RowSet:
    """What a loss is taken over.

    Parameters
    ----------
    features : (rows, inputs)
    target : (rows,) int64 class numbers, or (rows, outputs) numbers
    weights : (rows,), or None
    penalties
        l1 and l2, as in `BuiltNetwork.loss_and_gradient`.
    chosen : (chosen rows,) int64, or None
        Which of these rows; None takes all.

    Raises
    ------
    InvalidValueError
        Without rows, or with another number of targets.
    """

    features: Features
    target: Array
    weights: Array | None = None
    penalties: tuple[float, float] = (0.0, 0.0)
    chosen: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if not len(self) or len(self.target) != len(self.features):
            raise InvalidValueError(
                f"a loss takes one row or more, with as many targets; got {len(self.features)} "
                f"rows of features and {len(self.target)} targets"
            )

    def __len__(self) -> int:
        """Count the rows that are chosen."""
        return len(self.features if self.chosen is None else self.chosen)

    def draw(self, count: int, seed: int) -> RowSet:
        """Choose `count` of the rows at random; all of them where there are no more.

        Penalties keep their size beside the mean loss. Nothing is copied yet.
        """
        if len(self) <= count:
            return self
        among = np.arange(len(self)) if self.chosen is None else self.chosen
        drawn = np.sort(np.random.default_rng([seed, 5]).choice(among, count, replace=False))
        share = count / len(self)
        if self.weights is not None:
            weights = np.asarray(self.weights)
            share = float(weights[drawn].sum() / weights[among].sum())
        l1, l2 = self.penalties
        return replace(self, chosen=drawn, penalties=(l1 * share, l2 * share))

    def gather(self) -> RowSet:
        """Give the chosen rows alone, copied where they are not all."""
        if self.chosen is None:
            return self
        features = as_matrix(self.features)[self.chosen]
        target = np.asarray(self.target)[self.chosen]
        weights = None if self.weights is None else np.asarray(self.weights)[self.chosen]
        return RowSet(features, target, weights, self.penalties)


class Surface:
    """The loss of a network over some rows, at any theta.

    L is as in `BuiltNetwork.loss_and_gradient`, but nothing is dropped out: the weighted mean over
    the rows, with label smoothing and penalties. Batch normalization takes its statistics from
    these rows at each theta anew, as a step over them would: running statistics fit only the theta
    they were gathered at.

    Parameters
    ----------
    network
        Its layers and loss; its theta stays as it is.
    rows
    threads
        None takes the available cores. The losses do not depend on it.

    Examples
    --------
    >>> from downslope import Network
    >>> linear = BuiltNetwork(Network([]), inputs=1, columns=1, task="regression")
    >>> rows = RowSet(np.array([[1.0], [3.0]]), np.array([0.0, 1.0]))
    >>> with Surface(linear, rows) as surface:
    ...     surface.along([0, 0], [[1, 0]], [[0.0], [1.0]])  # theta is (0, 0), then (1, 0)
    array([0.25, 1.25])
    """

    def __init__(self, network: BuiltNetwork, rows: RowSet, threads: int | None = None) -> None:
        rows = rows.gather()
        features = network.check_features(rows.features)
        targets = Targets.of(rows.target, rows.weights, network.outputs, network.theta.dtype)
        share = targets.weights.sum(dtype=np.float64) if targets.weights.size else len(rows)
        self._l1, self._l2 = (penalty / float(share) for penalty in rows.penalties)
        self._layout = network.layout
        self._exit = contextlib.ExitStack()
        self._workers = self._exit.enter_context(Workers(check_threads(threads)))
        self._losses: list[_BatchLoss | _RowLoss] = []
        for _thread in range(self._workers.count):
            kind = _BatchLoss if network.layout.batchwise else _RowLoss
            loss = kind(_own(network), features, targets)
            self._exit.push(loss)
            self._losses.append(loss)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._exit.close()

    def at(self, theta: npt.ArrayLike) -> float:
        """Give the loss at one theta (parameters,)."""
        return float(self.along(theta, np.zeros((0, self._layout.parameters)), [[]])[0])

    def along(
        self, origin: npt.ArrayLike, directions: npt.ArrayLike, places: npt.ArrayLike
    ) -> npt.NDArray[np.float64]:
        """Give the losses at origin + places @ directions.

        Parameters
        ----------
        origin : (parameters,)
        directions : (k, parameters)
        places : (points, k)
            How far along each direction.

        Returns
        -------
        (points,) float64
            Infinite or NaN where the loss is not finite.

        Raises
        ------
        InvalidValueError
            For an origin, directions or places that are not finite or of another shape.
        """
        origin, directions, places = (
            np.asarray(each, np.float64) for each in (origin, directions, places)
        )
        size = self._layout.parameters
        if origin.shape != (size,) or directions.ndim != 2 or directions.shape[1] != size:
            raise InvalidValueError(
                f"origin and directions must have {size} numbers each, laid out as theta; got "
                f"arrays of shape {origin.shape} and {directions.shape}"
            )
        if places.ndim != 2 or places.shape[1] != len(directions):
            raise InvalidValueError(
                f"places must have a number for each of {len(directions)} directions; got an array "
                f"of shape {places.shape}"
            )
        for name, values in (("origin", origin), ("directions", directions), ("places", places)):
            if not np.isfinite(values).all():
                raise InvalidValueError(f"{name} must be finite; got NaN or infinite values")
        losses = np.empty(len(places))
        self._workers.run(self._some, origin, directions, places, losses)
        return losses

    def _some(
        self,
        origin: Array,
        directions: Array,
        places: Array,
        losses: Array,
        thread: int,
        threads: int,
    ) -> None:
        """Work out one thread's points: every k-th, k being the number of threads."""
        loss = self._losses[thread]
        with np.errstate(over="ignore", invalid="ignore"):
            for k in range(thread, len(places), threads):
                theta = origin + places[k] @ directions
                loss.parameters.theta[:] = theta
                losses[k] = loss.mean() + self._penalty(theta)

    def _penalty(self, theta: Array) -> float:
        """Give l1 sum |w| + l2 sum w^2 / 2 over weights."""
        total = 0.0
        if self._l1 or self._l2:
            for part in self._layout.parts:
                if part.kind in (kinds.WEIGHT, kinds.PROJECTION):
                    w = theta[part.start : part.stop]
                    total += self._l1 * float(abs(w).sum()) + self._l2 * float(w @ w) / 2
        return total


def _own(network: BuiltNetwork) -> Parameters:
    """Give parameters of the same network with a theta and statistics of their own, no dropout."""
    parameters = network.parameters
    plan = parameters.layout.plan.copy()
    plan["dropout"] = 0
    return replace(
        parameters,
        layout=replace(parameters.layout, plan=plan),
        theta=allocate(network.theta.size, network.theta.dtype),
        statistics=parameters.statistics.copy(),
    )


class _RowLoss(Predictor):
    """The mean loss of rows that do not depend on each other: the forward pass alone."""

    def __init__(self, parameters: Parameters, features: Features, targets: Targets) -> None:
        super().__init__(parameters, features, targets, threads=1)
        self.parameters = parameters
        self._order = np.arange(len(features))

    def mean(self) -> float:
        """Give the mean loss by weight at the parameters' theta."""
        return self.outputs_and_loss(self._order, in_order=True)[1]


class _BatchLoss(Stepper):
    """The mean loss of rows under batch normalization: a step over all of them that moves nothing.

    Its backward pass is run too, as the kernels know no step without one; the gradients of theta
    are not.
    """

    def __init__(self, parameters: Parameters, features: Features, targets: Targets) -> None:
        rows = len(features)
        super().__init__(parameters, features, targets, rows, None, threads=1)
        self.parameters = parameters
        self.job = self.job._replace(blocks=self.job.blocks[:0])
        self._chunk = Chunk(
            order=np.arange(rows), in_order=1, first=0, batch=rows, steps=1, step=0, seed=0,
            rule=-1, coefficients=np.zeros((1, 1)), decays=np.ones(1), penalties=np.zeros(4),
            losses=np.zeros(1), norms=np.empty(0),
        )  # fmt: skip

    def mean(self) -> float:
        """Give the mean loss by weight at the parameters' theta."""
        self.run(self._chunk)
        return float(self._chunk.losses[0])
