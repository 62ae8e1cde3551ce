from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.neural_network._stochastic_optimizers import SGDOptimizer

from downslope.catalogue import SCHEDULES, choose
from downslope.errors import InvalidTypeError, InvalidValueError
from downslope.schedules import Plateau, Span, check, rates

SPAN = Span(steps_per_epoch=10, rows=305, total_steps=60)
STEPS = np.arange(60)


def scheduled(text: str, warmup: int = 0) -> Any:
    return rates(choose("schedule", text), 0.1, warmup, STEPS, SPAN)


def test_constant_and_plateau_stay_at_the_learning_rate() -> None:
    np.testing.assert_array_equal(scheduled("constant"), np.full(60, 0.1))
    np.testing.assert_array_equal(scheduled("plateau"), np.full(60, 0.1))


def test_step_falls_at_the_first_step_of_every_second_epoch() -> None:
    expected = np.repeat([0.1, 0.05, 0.025], 20)
    np.testing.assert_allclose(scheduled("step(every=2, factor=0.5)"), expected, rtol=1e-15)


def test_exponential_falls_by_its_factor_over_an_epoch() -> None:
    found = scheduled("exponential(0.9)")
    assert found[0] == 0.1
    np.testing.assert_allclose(found[10:] / found[:-10], 0.9, rtol=1e-14)
    np.testing.assert_allclose(found[1:] / found[:-1], 0.9**0.1, rtol=1e-14)


def test_inverse_scaling_is_scikit_learns() -> None:
    optimizer = SGDOptimizer([], learning_rate_init=0.1, lr_schedule="invscaling", power_t=0.3)
    expected, seen = [], 0
    for _epoch in range(6):
        expected += [optimizer.learning_rate] * 10
        seen += 305
        optimizer.iteration_ends(seen)
    np.testing.assert_allclose(scheduled("inverse_scaling(0.3)"), expected, rtol=1e-14)


def test_cosine_goes_from_the_learning_rate_to_final_of_it() -> None:
    found = scheduled("cosine(final=0.25)")
    assert found[0] == 0.1
    assert found[30] == pytest.approx(0.1 * (0.25 + 0.75 / 2))
    expected = 0.1 * (0.25 + 0.75 * (1 + math.cos(math.pi * 59 / 60)) / 2)
    assert found[59] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("name", ["cosine", "cosine(final=0.2)", "one_cycle", "one_cycle(1)"])
def test_what_spans_a_run_stays_at_its_end(name: str) -> None:
    found = rates(choose("schedule", name), 0.1, 0, np.arange(200), SPAN)
    np.testing.assert_array_equal(found[:60], scheduled(name))
    np.testing.assert_array_equal(found[60:], found[59])


def test_one_cycle_goes_up_to_the_learning_rate_and_down_to_nearly_nothing() -> None:
    found = scheduled("one_cycle(peak_at=0.35, start=25, end=1e4)")
    assert found[0] == pytest.approx(0.1 / 25)
    assert found[20] == pytest.approx(0.1)
    assert found[59] == pytest.approx(0.1 / 25 / 1e4)
    assert (np.diff(found[:21]) > 0).all()
    assert (np.diff(found[20:]) < 0).all()


@pytest.mark.parametrize("peak_at", [0, 1 / 60, 0.5 / 60, 1])
@pytest.mark.parametrize("total", [1, 2, 60])
def test_one_cycle_bears_a_peak_at_either_end_and_short_runs(peak_at: float, total: int) -> None:
    choice = choose("schedule", f"one_cycle(peak_at={peak_at!r})")
    found = rates(choice, 0.1, 0, np.arange(total), Span(1, 1, total))
    assert np.isfinite(found).all()
    assert ((found > 0) & (found <= 0.1 * (1 + 1e-12))).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_warmup_multiplies_any_schedule_by_a_straight_line(name: str) -> None:
    plain, warmed = scheduled(name), scheduled(name, warmup=4)
    np.testing.assert_allclose(warmed[:4], plain[:4] * [0.2, 0.4, 0.6, 0.8], rtol=1e-14)
    np.testing.assert_array_equal(warmed[4:], plain[4:])


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_do_not_hang_on_how_the_steps_are_cut(name: str) -> None:
    choice, whole = choose("schedule", name), scheduled(name, warmup=7)
    for width in (1, 3, 16):
        parts = [rates(choice, 0.1, 7, STEPS[k : k + width], SPAN) for k in range(0, 60, width)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_function_of_the_step_gives_the_rate_itself() -> None:
    found = rates(lambda step: 0.5 / (step + 1), 0.1, 2, np.arange(2, 5), SPAN)
    np.testing.assert_allclose(found, [0.5 / 3, 0.5 / 4, 0.5 / 5])
    single: Any = np.float32(0.5)
    warmed = rates(lambda step: single, 0.1, 1, np.arange(2), SPAN)
    np.testing.assert_allclose(warmed, [0.25, 0.5])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (math.nan, InvalidValueError, "a finite .* step 3 got nan"),
        (math.inf, InvalidValueError, "a finite .* step 3 got inf"),
        (-0.1, InvalidValueError, "a finite .* of at least 0 .* step 3 got -0.1"),
        ("0.1", InvalidTypeError, "a number .* step 3 got '0.1'"),
        (None, InvalidTypeError, "a number .* step 3 got None"),
        (True, InvalidTypeError, "a number .* step 3 got True"),
    ],
)
def test_what_a_function_may_not_give(given: Any, error: type[Exception], message: str) -> None:
    def falling(step: int) -> Any:
        return 0.1 if step < 3 else given

    with pytest.raises(error, match=f"schedule 'falling' must give {message}"):
        rates(falling, 0.1, 0, np.arange(5), SPAN)


def test_plateau_waits_for_more_than_patience_epochs_that_are_no_better() -> None:
    choice = choose("schedule", "plateau(factor=0.5, patience=2, tolerance=0.1, low=0.03)")
    losses = [1.0, 0.95, 0.92, 0.91, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    going_on = Plateau(choice, 0.1)
    found = [going_on.rate(losses[:epoch]) for epoch in range(len(losses) + 1)]
    assert found == [Plateau(choice, 0.1).rate(losses[:epoch]) for epoch in range(len(losses) + 1)]
    # 0.95, 0.92 and 0.91 are within a tenth of 1; 0.5 is better; each third epoch after is late.
    np.testing.assert_allclose(found, [0.1] * 4 + [0.05] * 4 + [0.03] * 4)


def test_plateau_takes_nan_for_no_better_and_negative_losses_as_they_are() -> None:
    choice = choose("schedule", "plateau(patience=1)")
    assert Plateau(choice, 1.0).rate([math.nan, math.nan]) == 0.1
    assert Plateau(choice, 1.0).rate([-1.0, -2.0, -3.0, -4.0]) == 1.0
    assert Plateau(choose("schedule", "plateau(patience=0, low=2)"), 1.0).rate([1, 1]) == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step(every=0)", "step': every must be a whole number and be at least 1; got 0"),
        ("step(every=1.5)", "every must be a whole number and be at least 1; got 1.5"),
        ("step(factor=0)", "factor must be above 0; got 0"),
        ("exponential(-1)", "exponential': factor must be above 0; got -1"),
        ("inverse_scaling(-1)", "power must be at least 0; got -1"),
        ("cosine(2)", r"final must lie in \[0, 1\]; got 2"),
        ("one_cycle(peak_at=-1)", r"peak_at must lie in \[0, 1\]; got -1"),
        ("one_cycle(start=0)", "start must be above 0; got 0"),
        ("plateau(factor=1)", r"plateau': factor must lie in \(0, 1\); got 1"),
        ("plateau(patience=-1)", "patience must be a whole number and be at least 0; got -1"),
        ("plateau(patience=0.5)", "patience must be a whole number and be at least 0; got 0.5"),
        ("plateau(tolerance=1)", r"tolerance must lie in \[0, 1\); got 1"),
        ("plateau(low=-1)", "low must be at least 0; got -1"),
    ],
)
def test_an_option_out_of_range_is_named(text: str, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        scheduled(text)


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
def test_a_schedule_over_the_whole_run_needs_its_length(name: str) -> None:
    with pytest.raises(InvalidValueError, match=f"'{name}' .* must know its length"):
        rates(choose("schedule", name), 0.1, 0, STEPS, Span(10, 305))
    with pytest.raises(InvalidValueError, match="set one of them"):
        check(choose("schedule", name), None)
    check(choose("schedule", "exponential"), None)
