"""The rows that are held out: the network's loss and score on them, and the best theta so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy.typing as npt

from downslope.data import Data
from downslope.history import lowest
from downslope.network import BuiltNetwork
from downslope.score import score
from downslope.stepper import Predictor

Array = npt.NDArray[Any]


class HeldOut:
    """The held-out rows of a descent.

    Parameters
    ----------
    network
        As it is trained.
    data
    threads
        None takes the available cores.

    Attributes
    ----------
    best
        Theta and running statistics with the lowest loss so far, copied; None before the first.
    lowest
        That loss.
    target
        Class numbers (rows,), or numbers (rows, outputs).
    weights : (rows,)
        Empty where all rows weigh the same.
    """

    def __init__(self, network: BuiltNetwork, data: Data, threads: int | None) -> None:
        self._network, self._rows, targets = network, data.held_out, data.targets
        self._predictor = Predictor(
            network.parameters, data.features, targets, threads, len(data.held_out)
        )
        labels, values = targets.labels, targets.values.reshape(-1, network.outputs)
        self.target = labels[self._rows] if labels.size else values[self._rows]
        self.weights = targets.weights[self._rows] if targets.weights.size else targets.weights
        self.best: tuple[Array, Array] | None = None
        self.lowest = math.inf

    def __len__(self) -> int:
        return len(self._rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._predictor.close()

    @property
    def memory(self) -> int:
        """Bytes of the copy of the best theta, and of what the forward pass works in."""
        theta = self._network.theta.nbytes + self._network.statistics.nbytes
        return self._predictor.memory + (theta if len(self) else 0)

    def go_on_from(self, best: tuple[Array, Array], losses: Sequence[float]) -> None:
        """Begin with the best theta of a run that was interrupted, and its losses so far."""
        self.best, self.lowest = best, losses[lowest(losses)]

    def warm_up(self) -> None:
        """Compile the forward pass, or load it compiled, so that no epoch's time includes that."""
        self._predictor.outputs_and_loss(self._rows[:1])

    def outputs_and_loss(self) -> tuple[Array, float]:
        """Give what the network as it is now expects, (rows, outputs), and its loss."""
        outputs, loss = self._predictor.outputs_and_loss(self._rows)
        return self._network.expected(outputs), loss

    def measure(self) -> tuple[float, float]:
        """Give loss and score of the network as it is now; keep its theta if it is the best."""
        outputs, loss = self.outputs_and_loss()
        if self.best is None or lowest([self.lowest, loss]) == 1:
            self.best = self._network.theta.copy(), self._network.statistics.copy()
            self.lowest = loss
        return loss, score(self._network.task, outputs, self.target)
