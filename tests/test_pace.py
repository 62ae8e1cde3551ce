"""The pace of a descent: what comes from tables computed ahead is what is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from downslope.catalogue import choose
from downslope.kernels import rules
from downslope.pace import AHEAD, Pace
from downslope.parts import Descent
from downslope.schedules import Span


def pace(total: int | None = 10_000, **changes: Any) -> Pace:
    usual: dict[str, Any] = {"rule": "adam", "schedule": "cosine", "warmup": 100, "epochs": 9}
    descent = Descent(**{**usual, **changes})
    rule = None if callable(descent.rule) else choose("rule", descent.rule)
    return Pace(descent, rule, Span(steps_per_epoch=7, rows=10, total_steps=total))


@pytest.mark.parametrize("cut", [1, 7, 1000, AHEAD, 9000])
def test_how_steps_are_cut_changes_nothing(cut: int) -> None:
    asked = pace(weight_decay=0.5)
    parts = [asked.ahead(0.1, first, min(cut, 9000 - first)) for first in range(0, 9000, cut)]
    rate, table, decays = (np.concatenate(each) for each in zip(*parts, strict=True))
    expected = pace().rates(0.1, 0, 9000)
    np.testing.assert_array_equal(rate, expected)
    np.testing.assert_array_equal(table, rules.coefficients(choose("rule", "adam"), expected, 1))
    np.testing.assert_array_equal(decays, 1 - 0.5 * expected)


def test_another_base_is_heeded_at_once() -> None:
    moved = pace(schedule="constant", warmup=0)
    assert moved.ahead(0.1, 0, 3)[0].tolist() == [0.1] * 3
    assert moved.ahead(0.05, 3, 3)[0].tolist() == [0.05] * 3


def test_a_schedule_of_ones_own_is_asked_for_the_steps_that_are_run() -> None:
    asked: list[int] = []

    def schedule(step: int) -> float:
        asked.append(step)
        return 0.1

    own = pace(schedule=schedule)
    own.ahead(0.1, 0, 4)
    assert asked == [0, 1, 2, 3]


def test_what_is_foreseen() -> None:
    assert pace().foreseen
    assert not pace(schedule="plateau").foreseen
    assert not pace(schedule=lambda step: 0.1).foreseen


def test_plateau_goes_by_the_losses() -> None:
    falling = pace(schedule="plateau(patience=0, tolerance=0.0)")
    assert falling.base(0.5, [3.0, 2.0]) == 0.5
    assert falling.base(0.5, [3.0, 2.0, 2.0]) == pytest.approx(0.05)
    assert falling.base(0.2, [3.0, 2.0, 2.0]) == pytest.approx(0.02)  # a watcher moved the rate
    assert pace().base(0.5, [3.0, 3.0]) == 0.5


def test_adamw_brings_its_own_decay() -> None:
    assert pace(rule="adamw(weight_decay=0.3)").weight_decay == 0.3
    assert pace(weight_decay=0.2).weight_decay == 0.2
