"""How many steps or epochs go into one call, and what bounds them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from downslope.batches import Batches
from downslope.chunks import UNTIMED, Chunks
from downslope.epoch import Epoch
from downslope.history import History
from downslope.layout import Layout
from downslope.network import BuiltNetwork
from downslope.parts import Descent, Network
from downslope.recording import Recorder, Recording

LAYOUT: Layout = BuiltNetwork(Network([2]), inputs=2, columns=2, task="binary").layout


def chunks(
    rows: int = 5000,
    timed: float = 1e-4,
    recording: Recording | None = None,
    trying: bool = False,
    by: tuple[bool, bool] = (False, False),
    **changes: Any,
) -> Chunks:
    """Set up the sizes of chunks of single rows, which are known to take `timed` seconds each."""
    descent = Descent(batch=1, **changes)
    batches = Batches(np.arange(rows), descent)
    recorder = Recorder(recording or Recording("none"), LAYOUT, rows, 1)
    stepper: Any = SimpleNamespace(is_trying=trying)
    made = Chunks(descent, batches, stepper, recorder, *by)
    if timed:
        made.note(10, 10 * timed)
    return made


@pytest.mark.parametrize(
    ("made", "steps"),
    [
        (chunks(), 1000),
        (chunks(timed=0), UNTIMED),
        (chunks(timed=9.0), 1),
        (chunks(trying=True), 20),  # a number of threads is tried for some steps only
        (chunks(steps=207), 107),
        (chunks(recording=Recording("none", curvature=[50, 131])), 30),
        (chunks(by=(True, False)), 1),
    ],
    ids=["usual", "first", "long", "trial", "bounded", "curvature", "by step"],
)
def test_steps_after_a_hundred_of_them(made: Chunks, steps: int) -> None:
    assert made.steps(History(steps=100), position=100) == steps


def test_steps_end_with_their_epoch() -> None:
    assert chunks().steps(History(steps=9900), position=4900) == 100


class EveryThird:
    def __call__(self, epoch: Epoch) -> None: ...

    def next_after(self, epoch: int) -> int:
        return epoch + 3 - epoch % 3


@pytest.mark.parametrize(
    ("made", "epochs"),
    [
        (chunks(10), 98),
        (chunks(10, timed=0), 1),
        (chunks(10, trying=True), 1),
        (chunks(10, by=(True, False)), 1),
        (chunks(10, by=(False, True)), 1),
        (chunks(10, steps=75), 5),
        (chunks(10, seconds=0.03, epochs=None), 30),
        (chunks(10, patience=7), 6),
        (chunks(10, target_loss=0.1), 1),
        (chunks(10, recording=Recording("none", curvature=[64])), 4),
    ],
    ids=["all", "first", "trial", "step", "epoch", "steps", "seconds", "patience", "target",
         "curvature"],
)  # fmt: skip
def test_epochs_after_two_of_a_hundred(made: Chunks, epochs: int) -> None:
    assert made.epochs(History(losses=[1.0, 0.9], steps=20), stagnant=1, watchers=()) == epochs


def test_epochs_end_where_a_watcher_is_to_see_one() -> None:
    done = History(losses=[1.0] * 4, steps=40)
    assert chunks(10).epochs(done, 0, (EveryThird(),)) == 2
    assert chunks(10).epochs(done, 0, (EveryThird(), lambda _: None)) == 1
