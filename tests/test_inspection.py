"""What is measured between two steps: which units are dead, and when that is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from downslope import Descent, Network, Recipe, descend, inspection, signals
from downslope.inspection import dead_shares
from downslope.layout import BLOCK_ROWS
from downslope.network import BuiltNetwork
from downslope.stepper import Predictor


def shares(rows: int, alive: int) -> list[float]:
    """Look for dead units where one of two is never alive, the other for a single row."""
    built = BuiltNetwork(Network([2], "relu", task="regression"), 1, 1, "regression")
    values = {"layer1.weight": [1, -1], "layer1.bias": [-5, -5], "layer2.bias": [1]}
    for part in built.layout.parts:
        if part.name in values:
            built.theta[part.start : part.stop] = values[part.name]
    features = np.zeros((rows, 1), built.theta.dtype)
    features[alive] = 10
    with Predictor(built.parameters, features, threads=1) as predictor:
        return dead_shares(predictor, np.arange(rows))


@pytest.mark.parametrize("alive", [0, BLOCK_ROWS, 3 * BLOCK_ROWS])
def test_a_unit_is_alive_that_is_so_for_one_row_of_any_block(alive: int) -> None:
    assert shares(3 * BLOCK_ROWS + 1, alive) == [0.5, 0]


def test_of_many_rows_some_are_looked_at_evenly_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "DEAD_ROWS", 100)
    assert [shares(300, alive)[0] for alive in (0, 1, 150, 151, 297)] == [0.5, 1, 0.5, 1, 0.5]


@pytest.mark.parametrize(
    ("steps", "looked_at"), [(3, [3]), (120, [120]), (122, [120, 122]), (127, [120, 127])]
)
def test_dead_units_are_looked_for_once_after_a_step_and_said_to_be_of_it(
    steps: int, looked_at: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch has 4 steps: the thirtieth ends with step 120."""
    calls = 0

    def count(*arguments: Any) -> list[float]:
        nonlocal calls
        calls += 1
        return dead_shares(*arguments)

    monkeypatch.setattr(inspection, "dead_shares", count)
    features = np.random.default_rng(0).normal(size=(97, 4))
    descent = Descent(32, "gd", 0.01, "constant", epochs=None, steps=steps, validation=0.0)
    run = descend(Recipe(Network([8], "relu"), descent), features, features[:, 0] > 0)
    assert run.trace.dead_units["step"].unique(maintain_order=True).to_list() == looked_at
    assert calls == len(looked_at)
    assert signals.dead(run.account("it")).seen.startswith(f"After step {steps} no unit gave 0")
