"""Successive halving: its rungs, its choice by time, the text of a budget."""

from __future__ import annotations

from typing import Any

import pytest

from downslope.errors import InvalidTypeError, InvalidValueError
from downslope.halving import FACTOR, bracket, choose_bracket, most_halvings, read_budget


def test_brackets_are_those_of_the_paper() -> None:
    """Li et al. 2018, table 1 (R = 81, eta = 3): n and r of every rung, but for the last n of s=4.

    There a single one is left; here two are.
    """
    table = {
        4: [(81, 1), (27, 3), (9, 9), (3, 27), (2, 81)],
        3: [(27, 3), (9, 9), (3, 27), (2, 81)],
        2: [(9, 9), (3, 27), (2, 81)],
        1: [(6, 27), (2, 81)],
        0: [(5, 81)],
    }
    for halvings, rungs in table.items():
        found = bracket(rungs[0][0], 81, halvings)
        assert [(rung.variants, rung.epochs) for rung in found] == rungs


@pytest.mark.parametrize("variants", [2, 3, 7, 24, 200])
@pytest.mark.parametrize("epochs", [1, 2, 10, 30, 100])
def test_every_bracket_begins_with_all_and_ends_with_all_epochs(variants: int, epochs: int) -> None:
    for halvings in range(most_halvings(variants, epochs) + 1):
        rungs = bracket(variants, epochs, halvings)
        assert len(rungs) == halvings + 1
        assert (rungs[0].variants, rungs[-1].epochs) == (variants, epochs)
        assert rungs[0].epochs >= 1
        assert rungs[-1].variants >= 2
        assert [rung.epochs for rung in rungs] == sorted({rung.epochs for rung in rungs})


def test_the_bracket_is_the_least_keen_that_fits() -> None:
    for seconds in (0.1, 10.0, 60.0, 1e6):
        chosen = choose_bracket(50, 30, 0.02, seconds)
        cost = [
            sum(rung.variants * rung.epochs for rung in bracket(50, 30, s)) * 0.02
            for s in range(most_halvings(50, 30) + 1)
        ]
        fitting = [s for s, each in enumerate(cost) if each <= seconds]
        assert chosen == (fitting[0] if fitting else len(cost) - 1)
    assert FACTOR == 3


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20s", 20), ("20", 20), ("2min", 120), ("1.5 m", 90), ("1h", 3600), (0.5, 0.5), ("5 sec", 5)],
)
def test_budgets(text: Any, seconds: float) -> None:
    assert read_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0s", "-3s", "1d", "1.2.3s", float("nan"), -1, 0])
def test_no_time_is_refused(text: Any) -> None:
    with pytest.raises(InvalidValueError, match="budget takes a time above 0, as 20s"):
        read_budget(text)


@pytest.mark.parametrize("value", [True, None, [20]])
def test_a_budget_is_a_time(value: Any) -> None:
    with pytest.raises(InvalidTypeError, match="budget takes a time, as 20s"):
        read_budget(value)
