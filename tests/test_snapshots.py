"""Snapshots of theta: copies, evenly spread, never too many, and the run knows nothing of them."""

from __future__ import annotations

import numpy as np
import pytest

from downslope import Descent, Network, Recipe, datasets, descend, descent
from downslope.epoch import Epoch
from downslope.history import History
from downslope.network import BuiltNetwork
from downslope.snapshots import Snapshots


@pytest.mark.parametrize(("epochs", "every"), [(3, 1), (24, 2), (100, 8), (1000, 64)])
def test_they_are_few_and_evenly_spread(epochs: int, every: int) -> None:
    network = BuiltNetwork(Network([2]), inputs=2, columns=2, task="binary")
    snapshots = Snapshots(network)
    for number in range(1, epochs + 1):
        network.theta[:] = number
        snapshots(Epoch(number, History(), network, 0.0, 0.0))
    assert snapshots.epochs == list(range(0, epochs + 1, every))
    assert len(snapshots.epochs) <= 24
    assert [state[0][0] for state in snapshots.states[1:]] == snapshots.epochs[1:]


def test_a_run_on_two_inputs_keeps_them_and_the_same_bits() -> None:
    recipe = Recipe(Network([8]), Descent(epochs=30))
    run = descend(recipe, datasets.load("moons"))
    assert run.snapshots is not None
    assert run.snapshots.epochs == list(range(0, 31, 2))
    watched = descend(recipe, datasets.load("moons"), watchers=[lambda _: None])
    np.testing.assert_array_equal(run.network.theta, watched.network.theta)


def test_other_runs_keep_them_where_they_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(Network([8]), Descent(epochs=1))
    assert descend(recipe, datasets.load("iris")).snapshots is not None
    monkeypatch.setattr(descent, "PATH_FLOATS", 1000)
    assert descend(recipe, datasets.load("iris")).snapshots is None
    assert descend(recipe, datasets.load("moons")).snapshots is not None
