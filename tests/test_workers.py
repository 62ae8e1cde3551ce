"""How the threads of a descent come together, and how the number of them is found."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from downslope.catalogue import choose
from downslope.descent import descend as descend_on
from downslope.errors import InvalidTypeError, InvalidValueError
from downslope.kernels import rules, threads
from downslope.kernels.loop import Chunk, descend
from downslope.network import BuiltNetwork
from downslope.parts import Descent, Network
from downslope.recipe import Recipe
from downslope.stepper import Stepper, Targets
from downslope.workers import FastestCount, one_blas_thread

ROWS, STEPS, CALLS = 64, 3, 12
ADAM = choose("rule", "adam")


def stepper(count: int, scale: float = 1.0) -> Stepper:
    """Set up a descent whose steps several threads share; each of its first layer's halves of W."""
    features = np.random.default_rng(0).normal(size=(ROWS, 150)).astype(np.float32)
    built = BuiltNetwork(Network([100]), 150, 1, "regression")
    targets = Targets.of(scale * features[:, 0], None, 1, np.float32)
    made = Stepper(built.parameters, features, targets, ROWS, ADAM, count)
    assert made.threads == count
    return made


def steps(number: int, rate: float = 0.01) -> Chunk:
    """Give the chunk of a call."""
    first, rates = number * STEPS, np.full(STEPS, rate)
    return Chunk(
        order=np.arange(ROWS), in_order=1, first=0, batch=ROWS, steps=STEPS, step=first, seed=0,
        rule=ADAM.code, coefficients=rules.coefficients(ADAM, rates, first + 1),
        decays=np.ones(STEPS), penalties=np.zeros(4), losses=np.empty(STEPS), norms=np.empty(0),
    )  # fmt: skip


def run(count: int, pauses: Sequence[float], counts: Sequence[int] = ()) -> tuple[Any, list[float]]:
    """Run some calls with pauses between them; give theta and the losses."""
    losses: list[float] = []
    with stepper(count) as some:
        for number in range(CALLS):
            chunk = steps(number)
            called = counts[number % len(counts)] if counts else count
            assert some._workers.call(descend, some.job, chunk, called) == STEPS
            losses += chunk.losses.tolist()
            time.sleep(pauses[number % len(pauses)])
        return some.job.theta.copy(), losses


@pytest.mark.parametrize("counts", [(), (2, 1, 1, 2)], ids=["always", "now and then"])
@pytest.mark.parametrize("pauses", [(0.0,), (0.01,), (0.0, 1e-3, 1e-4, 3e-4)])
def test_threads_that_stay_or_have_left_compute_the_same(
    pauses: tuple[float, ...], counts: tuple[int, ...]
) -> None:
    theta, losses = run(1, (0.0,))
    assert losses[-1] < 0.5 * losses[0]
    for count in (2,) if counts else (2, 3):
        found = run(count, pauses, counts)
        np.testing.assert_array_equal(found[0], theta)
        assert found[1] == losses


def test_threads_wait_for_the_next_call_for_a_while_only() -> None:
    word = threads.state_word(1)
    with stepper(2) as some:
        assert some.job.barrier[word] == threads.AWAY
        some.run(steps(0))
        assert some.job.barrier[word] in (threads.WAITING, threads.AWAY)
        time.sleep(0.5)
        assert some.job.barrier[word] == threads.AWAY


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("rate", "done"), [(1e39, STEPS + 1), (1e30, 1)], ids=["theta", "loss"])
def test_a_call_says_what_is_not_finite(count: int, rate: float, done: int) -> None:
    """Of theta only the last step's is looked at: a step more finds the loss that comes of it."""
    with stepper(count) as some:
        chunk = steps(0, 1e-3)
        some.run(chunk)
        chunk = steps(1, 1e-3)
        chunk.coefficients[-1 if done > STEPS else 0, 4] = rate
        assert some.run(chunk) == done
        assert np.isfinite(chunk.losses[: min(done, STEPS)]).all()
        assert np.isfinite(some.job.theta).all() == (done <= STEPS)


def test_a_thread_that_is_held_up_in_the_last_step_does_not_see_what_comes_after() -> None:
    """With cores that others take, one may check theta while another has not left the step."""
    busy = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(busy) for _ in range(3)]
    try:
        for _ in range(8):
            test_a_call_says_what_is_not_finite(2, 1e39, STEPS + 1)
    finally:
        for other in others:
            other.kill()
            other.wait()


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
    later = chosen(fastest, 4 * FastestCount.AGAIN, lambda count: 1e-5 / count)
    assert set(later[3 * FastestCount.AGAIN :]) == {2}


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


@pytest.mark.parametrize(
    ("count", "error", "says"),
    [
        (0, InvalidValueError, "threads must be at least 1; got 0"),
        (-3, InvalidValueError, "threads must be at least 1; got -3"),
        ("a", InvalidTypeError, "threads takes a whole number or None; got 'a'"),
        (2.5, InvalidTypeError, "threads takes a whole number or None; got 2.5"),
    ],
)
def test_a_number_of_threads_is_checked_however_small_the_work(
    count: Any, error: type[Exception], says: str
) -> None:
    features = np.ones((4, 2), np.float32)
    recipe = Recipe(Network([2]), Descent(epochs=1, validation=0.0))
    with pytest.raises(error, match=says):
        descend_on(recipe, features, np.arange(4.0), threads=count)
    with pytest.raises(error, match=says):
        BuiltNetwork(Network([2]), 2, 1, "regression").output(features, threads=count)


def blas_threads() -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


def test_the_last_to_leave_gives_blas_its_threads_back() -> None:
    """Descents side by side do not end in the order in which they began, nor in its reverse."""
    with threadpool_limits(2, user_api="blas"):
        first, second = one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert blas_threads() == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == {2}


def test_muon_keeps_blas_to_one_thread_from_its_first_step_to_its_last() -> None:
    seen: list[set[int]] = []
    descent = Descent(rule="muon", batch=32, epochs=3, validation=0.0)
    features = np.random.default_rng(0).normal(size=(64, 3))
    with threadpool_limits(2, user_api="blas"):
        descend_on(
            Recipe(Network([4]), descent), features, features[:, 0],
            watchers=[lambda _: seen.append(blas_threads())],
        )  # fmt: skip
        assert seen == [{1}] * 3
        assert blas_threads() == {2}
