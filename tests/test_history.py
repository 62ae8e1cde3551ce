"""What a history says of itself."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from downslope.history import LAST_STEPS, History, Stagnation
from downslope.storage import to_json


def test_the_spread_is_the_noise_about_a_mean_that_moves() -> None:
    generator = np.random.default_rng(0)
    slope = np.linspace(3, 1, LAST_STEPS)
    noisy = (slope + 0.2 * generator.standard_normal(LAST_STEPS)).tolist()
    assert History(last_losses=noisy, steps=10 * LAST_STEPS).spread == pytest.approx(0.2, rel=0.15)
    smooth = History(last_losses=slope.tolist(), steps=10 * LAST_STEPS).spread
    assert smooth == pytest.approx(2 / (LAST_STEPS - 1) / math.sqrt(2))


def test_the_spread_is_of_the_last_fifth_of_a_short_run() -> None:
    early = [9.0, 1.0] * 10
    assert History(last_losses=[*early, 1.0, 1.0, 1.0, 1.0, 1.0], steps=25).spread == 0.0
    assert History(last_losses=[1.0, 2.0, 3.0], steps=3).spread == pytest.approx(math.sqrt(0.5))


@pytest.mark.parametrize("losses", [[], [1.0], [1.0, 2.0]])
def test_two_steps_have_no_spread(losses: list[float]) -> None:
    assert math.isnan(History(last_losses=losses, steps=len(losses)).spread)


def test_epochs_without_improvement_are_counted_on() -> None:
    losses = (np.exp(-np.arange(60) / 20) + np.random.default_rng(5).normal(0, 0.1, 60)).tolist()
    counted, expected = Stagnation(0.05), []
    for epoch in range(1, 61):
        better = [k for k in range(epoch) if losses[k] < min(losses[:k], default=9.0) - 0.05]
        expected.append(epoch - 1 - better[-1])
        if epoch % 3 == 0:
            assert counted.epochs(losses[:epoch]) == expected[-1]
            assert counted.epochs(losses[:epoch]) == expected[-1]
    assert max(expected) > 5
    assert Stagnation(0.05).epochs([]) == 0


def test_an_epoch_without_a_number_is_not_the_best() -> None:
    assert History(validation_losses=[math.nan, 2.0, 1.0, math.inf]).best_epoch == 3


def test_a_history_comes_back_from_json() -> None:
    history = History(losses=[2.0, math.nan, 1.0], steps=6, seconds=0.5)
    again = History.from_dict(json.loads(to_json(history.to_dict())))
    assert str(again) == str(history)
    assert History.from_dict({"losses": [1.0], "unknown": 3}) == History.from_dict(
        {"losses": [1.0]}
    )
