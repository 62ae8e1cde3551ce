"""How the number of threads is found that is the faster one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from downslope.workers import FastestCount


def chosen(fastest: FastestCount, calls: int, seconds: Callable[[int], float]) -> list[int]:
    """Give the numbers of threads of some calls, each of one unit of the work."""
    counts = []
    for _ in range(calls):
        tries = fastest.to_try
        counts.append(fastest.choose())
        assert tries in (None, counts[-1])
        fastest.note(counts[-1], seconds(counts[-1]))
    return counts


@pytest.mark.parametrize(("seconds", "second"), [(1e-5, 1), (1e-2, 2)])
def test_one_thread_is_tried_soon_where_steps_are_short(seconds: float, second: int) -> None:
    counts = chosen(FastestCount(2), 2 * FastestCount.AGAIN, lambda count: seconds * (3 - count))
    assert counts[:2] == [2, second]
    assert 1 <= counts.count(1) <= 4


def test_a_first_call_that_finds_everything_cold_is_no_verdict() -> None:
    times = iter([9e-5, 2e-5, 1e-5])
    fastest = FastestCount(2)
    assert chosen(fastest, 3, lambda count: next(times)) == [2, 1, 2]
    assert set(chosen(fastest, 10, lambda count: 1e-5)) == {2}


def test_trials_take_a_small_part_of_the_time_however_slow_they_are() -> None:
    for slow in (2e-5, FastestCount.LONG):
        spent = {1: 0.0, 2: 0.0}

        def seconds(count: int, slow: float = slow, spent: dict[int, float] = spent) -> float:
            taken = 1e-5 if count == 1 else slow
            spent[count] += taken
            return taken

        fastest = FastestCount(2)
        chosen(fastest, 4, seconds)
        spent[2] = 0.0
        chosen(fastest, 100_000, seconds)
        assert spent[2] <= 1.1 * spent[1] / FastestCount.AGAIN


def test_it_changes_when_the_other_number_has_become_faster() -> None:
    fastest = FastestCount(2)
    assert set(chosen(fastest, 20, lambda count: 1e-5 * count)[3:]) == {1}
    assert set(chosen(fastest, 200, lambda count: 1e-5 / count)[150:]) == {2}


def test_a_call_of_many_units_is_measured_by_the_unit() -> None:
    fastest = FastestCount(2)
    for _ in range(3):
        fastest.note(count := fastest.choose(), 1e-5 * count, units=1)
    assert fastest.choose() == 1
    fastest.note(1, 1e-2, units=1000)
    assert fastest.to_try == 2
    fastest.note(fastest.choose(), 2e-5, units=1)
    assert fastest.choose() == 1


def test_one_thread_alone_needs_no_trial() -> None:
    assert FastestCount(1).to_try is None
    assert set(chosen(FastestCount(1), 100, lambda count: 1e-5)) == {1}
