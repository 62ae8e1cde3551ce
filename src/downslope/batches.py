"""The rows of epochs in their order, batch by batch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import numpy as np

from downslope.data import Rows
from downslope.kernels.shuffle import shuffle
from downslope.parts import Descent

Order = Callable[[int], Rows]
"""The training rows of an epoch, as they are to come."""

ROWS_AHEAD = 1 << 16
"""Row numbers that the orders of several epochs may take together: 512 KiB."""

DRAWN = 512
"""Rows drawn at a time when an order is shuffled."""


class Batches:
    """The rows of a descent, as they come.

    Parameters
    ----------
    training : (rows,) int64, ascending
    descent
    given
        Gives the rows of an epoch, 0 for the first, as they are to come: it is called once an
        epoch. None shuffles them by the descent's seed, or takes them as they lie.

    Attributes
    ----------
    rows
        Of an epoch.
    size
        Rows of a batch; the last one of an epoch may have fewer.
    steps
        Of an epoch.
    counts : (steps,) float64
        The rows of each step.
    order : (epochs x rows,) int64
        Of the epochs arranged last, one after the other; where they have all the same, once.
    epochs
        How many the order holds.
    in_order
        Whether the rows come one after another, as they lie.
    """

    def __init__(self, training: Rows, descent: Descent, given: Order | None = None) -> None:
        self.rows = rows = len(training)
        self.size = rows if descent.batch == "full" else min(descent.batch, rows)
        self.steps = -(-rows // self.size)
        self._training, self._seed, self._given = training, descent.seed, given
        # Where the rows make one batch, their order is of no account and stays as it is.
        self._fixed = self.size == rows or (given is None and not descent.shuffle)
        self.order = np.require(training, None, ["C", "W"]) if self._fixed else training.copy()
        self._first, self.epochs = 0, 1
        self._again: Rows | None = None
        self._room = np.empty(DRAWN, np.uint64)
        self._orders = self.order.reshape(1, rows)
        self.counts = np.full(self.steps, float(self.size))
        self.counts[-1] = rows - (self.steps - 1) * self.size
        self.in_order = self._fixed and bool(training[-1] - training[0] == rows - 1)

    @property
    def most(self) -> int:
        """How many epochs may be arranged at once."""
        if self._given is not None:
            return 1
        return sys.maxsize if self._fixed else max(1, ROWS_AHEAD // self.rows)

    @property
    def memory(self) -> int:
        """Bytes of the order, where it is not the training rows' own."""
        return 0 if self.order is self._training else self._orders.nbytes

    def arrange(self, epoch: int, epochs: int = 1) -> Rows:
        """Put the rows of one epoch, or of some from it on, in their order; give them."""
        given = None if self._given is None else self._given(epoch)
        if self._fixed:
            return self.order
        if len(self._orders) < epochs:
            self._orders = np.empty((epochs, self.rows), np.int64)
        orders = self._orders[:epochs]
        if given is not None:
            orders[:] = given
        else:
            orders[:] = self._training
            shuffle(orders, self._seed, epoch, self._room)
        self._first, self.epochs, self.order = epoch, epochs, orders.reshape(-1)
        self._again = None
        return self.order

    def again(self) -> Callable[[], Rows]:
        """Give a function that arranges the rows again as they are now, for running steps again."""
        if self._given is not None or self._fixed:
            if self._again is None:  # one copy for all chunks of an epoch
                self._again = self.order if self._fixed else self.order.copy()
            kept = self._again
            return lambda: kept
        return partial(self.arrange, self._first, self.epochs)
