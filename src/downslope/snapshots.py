"""Copies of theta from some epochs, evenly spread over a run whose end is not known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope.epoch import Epoch
from downslope.network import BuiltNetwork

Array = npt.NDArray[Any]

MOST = 24
"""So many snapshots at most: enough for a slider, and half of them when they are thinned."""


class Snapshots:
    """A watcher that keeps theta and the running statistics of every k-th epoch.

    It begins with every epoch, and each time there are more than `most` of them it drops every
    other one and goes on half as often.

    Parameters
    ----------
    network
        As it is at epoch 0.
    most
        How many are kept at most.

    Attributes
    ----------
    epochs
        When each was taken, rising.
    states
        theta and running statistics, copied.
    """

    def __init__(self, network: BuiltNetwork, most: int = MOST) -> None:
        self.most, self.every = most, 1
        self.epochs: list[int] = []
        self.states: list[tuple[Array, Array]] = []
        self._keep(0, network)

    def __call__(self, epoch: Epoch) -> None:
        """Keep the epoch's theta if it is its turn."""
        if epoch.number % self.every:
            return
        self._keep(epoch.number, epoch.network)
        if len(self.epochs) > self.most:
            self.every *= 2
            left = [k for k, number in enumerate(self.epochs) if number % self.every == 0]
            self.epochs = [self.epochs[k] for k in left]
            self.states = [self.states[k] for k in left]

    def next_after(self, epoch: int) -> int:
        """Give the first epoch after one whose theta is to be kept."""
        return epoch + self.every - epoch % self.every

    def arrays(self) -> dict[str, Array]:
        """Give all that is kept as arrays, for a checkpoint."""
        thetas, statistics = (np.stack(each) for each in zip(*self.states, strict=True))
        epochs, every = np.array(self.epochs), np.array(self.every)
        return {"epochs": epochs, "every": every, "thetas": thetas, "statistics": statistics}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Go on from what `arrays` gave in a run that was interrupted."""
        self.every, self.epochs = arrays["every"].item(), arrays["epochs"].tolist()
        self.states = list(zip(arrays["thetas"], arrays["statistics"], strict=True))

    def _keep(self, number: int, network: BuiltNetwork) -> None:
        self.epochs.append(number)
        self.states.append((network.theta.copy(), network.statistics.copy()))
