"""What a descent over arrays is on: the rows with their targets, and which are held out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from downslope.errors import InvalidValueError
from downslope.parts import Descent
from downslope.scaling import Features
from downslope.stepper import Targets
from downslope.surface import RowSet

Rows = npt.NDArray[np.int64]


def penalties_of(descent: Descent, rows: int) -> tuple[float, float]:
    """Give l1 and l2 for a loss over all rows, which weighs them as the steps' batches do.

    >>> penalties_of(Descent(batch=32, l2=0.5), rows=320)
    (0.0, 5.0)
    """
    batch = rows if descent.batch == "full" else min(descent.batch, rows)
    return descent.l1 * (rows / batch), descent.l2 * (rows / batch)


@dataclass(frozen=True)
class Data:
    """What a network is trained on, as numbers.

    Attributes
    ----------
    features : (rows, inputs) in the network's type, C-contiguous or `ScaledRows`
    targets
    training, held_out : (rows,) int64, ascending
        Which rows are trained on; which ones the score is taken of.

    Raises
    ------
    InvalidValueError
        If all rows trained on, or all held out, weigh 0.
    """

    features: Features
    targets: Targets
    training: Rows
    held_out: Rows

    def __post_init__(self) -> None:
        weights = self.targets.weights
        for rows, which, so in (
            (self.training, "trained on", "nothing would be learned"),
            (self.held_out, "held out", "no loss would say which theta is the best"),
        ):
            if weights.size and rows.size and not weights[rows].any():
                raise InvalidValueError(
                    f"row weights must not be 0 for all {len(rows)} rows that are {which}: {so}; "
                    "give some of them weight, or hold out other rows (validation, seed)"
                )

    def training_rows(self, descent: Descent, outputs: int) -> RowSet:
        """Give what is descended on: the rows trained on, their weights, the penalties."""
        labels, values = self.targets.labels, self.targets.values.reshape(-1, outputs)
        weights = self.targets.weights
        return RowSet(
            self.features,
            labels if labels.size else values,
            weights if weights.size else None,
            penalties_of(descent, len(self.training)),
            self.training,
        )
