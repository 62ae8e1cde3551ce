"""The rows that are held out: the network's loss and score on them, and the best theta so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope.network import BuiltNetwork
from downslope.score import score
from downslope.stepper import Predictor, Targets

Array = npt.NDArray[Any]


class HeldOut:
    """The held-out rows of a descent.

    Parameters
    ----------
    network
        As it is trained.
    predictor
        Over the features and targets of all rows.
    targets
        Of all rows.
    rows : (held-out rows,) int64

    Attributes
    ----------
    best
        Theta and running statistics with the lowest loss so far, copied; None before the first.
    lowest
        That loss.
    """

    def __init__(
        self,
        network: BuiltNetwork,
        predictor: Predictor,
        targets: Targets,
        rows: npt.NDArray[np.int64],
    ) -> None:
        self._network, self._predictor, self._rows = network, predictor, rows
        labels, values = targets.labels, targets.values.reshape(-1, network.outputs)
        self._target = labels[rows] if labels.size else values[rows]
        self.best: tuple[Array, Array] | None = None
        self.lowest = math.inf

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def memory(self) -> int:
        """Bytes of the copy of the best theta."""
        theta = self._network.theta.nbytes + self._network.statistics.nbytes
        return theta if len(self) else 0

    def go_on_from(self, best: tuple[Array, Array], losses: Sequence[float]) -> None:
        """Begin with the best theta of a run that was interrupted, and its losses so far."""
        self.best, self.lowest = best, min(losses)

    def warm_up(self) -> None:
        """Compile the forward pass, or load it compiled, so that no epoch's time includes that."""
        self._predictor.outputs_and_loss(self._rows[:1])

    def measure(self) -> tuple[float, float]:
        """Give loss and score of the network as it is now; keep its theta if it is the best."""
        outputs, loss = self._predictor.outputs_and_loss(self._rows)
        outputs = self._network.expected(outputs)
        if self.best is None or loss < self.lowest:
            self.best = self._network.theta.copy(), self._network.statistics.copy()
            self.lowest = loss
        return loss, score(self._network.task, outputs, self._target)
