"""Intervals, tests and their correction: SciPy as second opinion, and the error rate held."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from downslope.significance import ALPHA, differences, holm, interval, moderate


@pytest.mark.parametrize("seeds", [2, 3, 5, 30])
def test_intervals_and_tests_are_scipys(seeds: int) -> None:
    generator = np.random.default_rng(seeds)
    for scale in (1e-6, 1.0, 1e5):
        first, second = scale * generator.normal(1, 0.3, (2, seeds))
        found = interval(first)
        low, high = scipy.stats.t.interval(0.95, seeds - 1, first.mean(), scipy.stats.sem(first))
        np.testing.assert_allclose([found.mean, found.low, found.high], [first.mean(), low, high])
        test = scipy.stats.ttest_rel(first, second)
        bounds = test.confidence_interval(0.95)
        (pair,) = differences(np.array([first, second]))
        np.testing.assert_allclose((pair.low, pair.high), (bounds.low, bounds.high))
        np.testing.assert_allclose(pair.p, test.pvalue)
        assert pair.p == pair.adjusted_p
        # With one test, what is just told apart has an interval that ends at 0.
        np.testing.assert_allclose(pair.smallest, pair.high - pair.mean)


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    draws = np.random.default_rng(0).normal(3, 2, (2000, 4))
    inside = [found.low <= 3 <= found.high for found in map(interval, draws)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_by_the_book(p: list[float]) -> None:
    rejected = {index for index, each in enumerate(holm(np.array(p))) if each <= ALPHA}
    expected = set()
    for place, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if (len(p) - place) * p[index] > ALPHA:
            break
        expected.add(index)
    assert rejected == expected


def test_tests_that_were_not_made_do_not_count() -> None:
    np.testing.assert_array_equal(holm(np.array([0.02, math.nan, 0.03])), [0.04, math.nan, 0.04])


@pytest.mark.parametrize(
    ("values", "p"),
    [
        ([1.0], math.nan),
        ([1.0, math.inf], math.nan),
        ([1.0, math.nan], math.nan),
        ([0.0, 0.0], 1.0),
        ([1.0, -1.0], 1.0),
        ([2.0, 2.0], 0.0),
    ],
)
def test_edges(values: list[float], p: float) -> None:
    (pair,) = differences(np.array([values, [0.0] * len(values)]))
    np.testing.assert_equal((pair.p, pair.adjusted_p), (p, p))


@pytest.mark.parametrize(
    ("values", "mean"), [([], math.nan), ([2.0], 2.0), ([1.0, math.inf], math.inf)]
)
def test_an_interval_takes_two_finite_values(values: list[float], mean: float) -> None:
    found = interval(values)
    np.testing.assert_equal((found.mean, found.low, found.high), (mean, math.nan, math.nan))


@pytest.mark.parametrize(("variants", "seeds"), [(2, 2), (2, 5), (3, 3), (4, 3), (6, 5), (12, 3)])
@pytest.mark.parametrize("noise", ["alike", "uneven"])
def test_variants_without_a_difference_are_reported_so_at_the_stated_rate(
    variants: int, seeds: int, noise: str
) -> None:
    """200 comparisons of what is the same: each may err once in twenty, however many pairs."""
    generator = np.random.default_rng(variants + seeds)
    wrong = 0
    for _ in range(200):
        luck_of_the_seed = generator.normal(0, 1, seeds)
        spreads = np.exp(generator.normal(0, noise == "uneven", (variants, 1)))
        values = luck_of_the_seed + spreads * generator.normal(0, 0.5, (variants, seeds))
        wrong += any(pair.real for pair in differences(values))
    # Of 200 draws at 5 %, more than 20 come once in 1000.
    assert wrong <= scipy.stats.binom.ppf(0.999, 200, ALPHA)


def test_many_variants_with_few_seeds_are_told_apart() -> None:
    """The plain t test with 3 seeds and 190 pairs would need differences of some 60 s."""
    generator = np.random.default_rng(0)
    values = generator.normal(0, 1, 3) + generator.normal(0, 0.1, (20, 3))
    values[4] += 1.5
    found = [pair for pair in differences(values) if pair.real]
    assert {pair.first for pair in found} | {pair.second for pair in found} == set(range(20))
    assert all(4 in (pair.first, pair.second) for pair in found)


def test_moderation_finds_the_spread_that_all_share() -> None:
    generator = np.random.default_rng(0)
    variances = 0.3 * generator.chisquare(4, 4000) / 4
    shrunk, freedom = moderate(variances, 4, 1000)
    # As far as it is let: two thirds of the weight on what the others say, never below its own.
    np.testing.assert_allclose(
        shrunk, np.maximum(variances, (0.3 * 8 + 4 * variances) / 12), rtol=0.1
    )
    assert (freedom == 12).all()
    apart = variances * np.exp(generator.normal(0, 3, 4000))
    shrunk, freedom = moderate(apart, 4, 1000)
    assert 4 < freedom[0] < 5
    assert (shrunk >= apart).all()


def test_variances_that_are_all_zero_learn_nothing() -> None:
    values = np.array([[1.0] * 3, [2.0] * 3, [2.0] * 3, [4.0] * 3])
    assert [pair.p for pair in differences(values)] == [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_accuracies_over_few_rows_err_no_more_often(seeds: int) -> None:
    """Two variants of 95 % over 40 rows: their accuracies often agree to the last digit."""
    generator = np.random.default_rng(seeds)
    wrong = 0
    for _ in range(1000):
        values = generator.binomial(40, 0.95, (2, seeds)) / 40
        wrong += any(pair.real for pair in differences(values, resolution=1 / 40))
    assert wrong <= scipy.stats.binom.ppf(0.999, 1000, ALPHA)


def test_a_difference_is_found_where_there_is_one() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(0, 1, 5) + generator.normal(0, 0.01, (4, 5))
    values[2] += 1
    found = {(pair.first, pair.second) for pair in differences(values) if pair.real}
    assert found == {(0, 2), (1, 2), (2, 3)}


def test_pairs_are_tested_in_the_seeds_they_share() -> None:
    first = np.array([1.0, 2.0, 4.0, math.nan])
    second = np.array([0.5, 1.0, 2.0, 9.0])
    third = np.array([0.5, 1.0, math.inf, 9.0])
    found = {
        (pair.first, pair.second): pair for pair in differences(np.array([first, second, third]))
    }
    assert found[0, 1].p == pytest.approx(scipy.stats.ttest_rel(first[:3], second[:3]).pvalue)
    assert math.isnan(found[0, 2].p)
    assert not found[0, 2].real
    assert found[0, 1].adjusted_p == found[0, 1].p
