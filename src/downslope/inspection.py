"""What is measured of a network between two steps of its descent: curvature, dead units."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from downslope.curvature import measure
from downslope.data import Data
from downslope.layout import BLOCK_ROWS
from downslope.network import BuiltNetwork
from downslope.parts import Descent
from downslope.quantities import COLUMNS
from downslope.recording import Recorder
from downslope.stepper import Predictor, predicting_threads

Array = npt.NDArray[Any]

DEAD_ROWS = 10_000
"""Training rows that are looked at for dead units, at most."""


class Inspection:
    """Looks at a network as it is trained, and leaves what it finds with the recorder.

    Parameters
    ----------
    network, data, descent, recorder
    threads
        None takes the available cores.
    """

    def __init__(
        self,
        network: BuiltNetwork,
        data: Data,
        descent: Descent,
        recorder: Recorder,
        threads: int | None,
    ) -> None:
        self._network, self._data, self._descent = network, data, descent
        self._recorder, self._threads = recorder, threads

    def look_for_dead_units(self, step: int) -> None:
        """Note which share of units is dead for all rows after a step, unless that is known."""
        noted = self._recorder.dead_units
        if self._recorder.recording.steps == "none" or (noted and noted[-1][0] == step):
            return
        parameters, features = self._network.parameters, self._data.features
        # Waking threads for a few rows each pays only where a row is much work.
        threads = predicting_threads(parameters, BLOCK_ROWS, self._threads)
        with Predictor(parameters, features, threads=threads) as predictor:
            shares = dead_shares(predictor, self._data.training)
        noted += [(step, layer, share) for layer, share in enumerate(shares, start=1)]

    def measure_curvature(self, step: int) -> None:
        """Measure how the loss bends before a step, if that is to be recorded."""
        if step not in self._recorder.recording.curvature:
            return
        rows = self._data.training_rows(self._descent, self._network.outputs)
        found = measure(self._network, rows, seed=self._descent.seed)
        names = COLUMNS["curvature"][1:]
        self._recorder.curvature.append(
            {"step": step, **{name: getattr(found, name) for name in names}}
        )


def dead_shares(predictor: Predictor, rows: Array) -> list[float]:
    """Give the share of units that give 0 for every row, or for `DEAD_ROWS` of them, by layer.

    It ends with the first rows for which every unit has given something else.
    """
    # Contiguous: kernels would be compiled once more for rows that lie apart.
    rows = np.ascontiguousarray(rows[:: -(-len(rows) // DEAD_ROWS)])
    plan = predictor.job.plan
    alive = [np.zeros(units, bool) for units in plan["units"]]
    looked_at = list(zip(plan, alive, strict=True))
    height = int(predictor.job.frame[0]["rows"])
    for begin in range(0, len(rows), height):
        predictor.outputs(rows[begin : begin + height])
        for layer, seen in looked_at:
            # Rows from before, or zeros, may lie in the workspace: they make no unit alive.
            at, size = int(layer["phi"]), height * len(seen)
            seen |= predictor.job.workspace[at : at + size].reshape(height, -1).any(axis=0)
        looked_at = [(layer, seen) for layer, seen in looked_at if not seen.all()]
        if not looked_at:
            break
    return [float(1 - seen.mean()) for seen in alive]
