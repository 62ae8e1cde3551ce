"""The rows of an epoch in their order, batch by batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from downslope.kernels.shuffle import shuffle
from downslope.recipe import Descent

Rows = npt.NDArray[np.int64]

Order = Callable[[int], Rows]
"""The training rows of an epoch, as they are to come."""


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
    order : (rows,) int64
        Of the epoch arranged last.
    in_order
        Whether the rows are read one after another where they lie.
    """

    def __init__(self, training: Rows, descent: Descent, given: Order | None = None) -> None:
        self.rows = rows = len(training)
        self.size = rows if descent.batch == "full" else min(descent.batch, rows)
        self.steps = -(-rows // self.size)
        self._training, self._seed, self._given = training, descent.seed, given
        self._shuffled = descent.shuffle
        # Where the rows make one batch, their order is of no account and stays as it is.
        self._whole = self.size == rows
        self.order = np.require(training, None, ["C", "W"]) if self._whole else training.copy()
        as_it_is = self._whole or (given is None and not descent.shuffle)
        self.in_order = as_it_is and bool(training[-1] - training[0] == rows - 1)

    @property
    def memory(self) -> int:
        """Bytes of the order, where it is not the training rows' own."""
        return 0 if self.order is self._training else self.order.nbytes

    @property
    def counts(self) -> npt.NDArray[np.float64]:
        """The rows of each step of an epoch, (steps,)."""
        counts = np.full(self.steps, float(self.size))
        counts[-1] = self.rows - (self.steps - 1) * self.size
        return counts

    def arrange(self, epoch: int) -> None:
        """Put an epoch's rows in their order: of no account where they make one batch."""
        given = None if self._given is None else self._given(epoch)
        if self._whole:
            return
        if given is not None:
            self.order[:] = given
        elif self._shuffled:
            self.order[:] = self._training
            shuffle(self.order, self._seed, epoch)
