"""What a difference over seeds is worth: intervals, paired tests, correction for their number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

ALPHA: Final = 0.05
"""The share of comparisons without any difference that may nevertheless report one."""


MODERATED: Final = (6, 3)
"""Variants and seeds from which variances learn from one another: fewer teach too little, and the
errors exceed `ALPHA` in simulations (up to 8 % for four uneven variants with three seeds)."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval; the bounds are NaN for fewer than two values."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """What the paired test says of two variants.

    Attributes
    ----------
    first, second
        Their numbers.
    mean, low, high
        Of first minus second, with the 95 % interval.
    p
        Of a mean difference of 0, by the paired t test.
    adjusted_p
        After Holm's correction for all tests made at once.
    smallest
        The difference of means below which this pair would not be told apart at `ALPHA`, however
        many tests are made at once.
    """

    first: int
    second: int
    mean: float
    low: float
    high: float
    p: float
    adjusted_p: float
    smallest: float

    @property
    def real(self) -> bool:
        """Whether the difference stands after the correction."""
        return self.adjusted_p <= ALPHA


def interval(values: Sequence[float] | Array) -> Interval:
    """Give the mean of values and Student's 95 % interval for it.

    mean +- t(0.975, n - 1) s / sqrt(n), with s^2 the sum of squares about the mean over n - 1.

    Parameters
    ----------
    values : (seeds,)
        With one that is not finite, so is the mean, and there are no bounds.

    Examples
    --------
    >>> interval([1.0, 2.0, 3.0])
    Interval(mean=2.0, low=-0.4841..., high=4.4841...)
    """
    values = np.asarray(values, np.float64)
    if not len(values) or not np.isfinite(values).all():
        return Interval(float(values.mean()) if len(values) else math.nan, math.nan, math.nan)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, math.nan, math.nan)
    error = math.sqrt(float(values.var(ddof=1)) / len(values))
    half = _quantile(len(values) - 1, 1 - ALPHA / 2) * error
    return Interval(mean, mean - half, mean + half)


@cache
def _quantile(freedom: float, share: float) -> float:
    """Give Student's t below which a share of its distribution lies."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))


def _p(mean: float, error: float, freedom: float) -> float:
    """Give the two-sided p that a mean is 0, by Student's t = mean / error."""
    from scipy.special import stdtr

    if mean == 0:
        return 1.0
    return float(2 * stdtr(freedom, -abs(mean / error))) if error > 0 else 0.0


def holm(p: Array) -> Array:
    """Correct p values for their number: all claims together are wrong at most so often.

    In rising order, the largest of (m - i + 1) p_i so far, at most 1.

    Parameters
    ----------
    p : (tests,)
        NaN where no test was made; it stays NaN and does not count.

    References
    ----------
    Holm 1979, section 3.

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    adjusted = np.full(len(p), math.nan)
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[order]))
    return adjusted


def differences(values: Array, resolution: float = 0.0) -> list[Difference]:
    """Test every pair of variants by the paired t test, t = mean sqrt(n) / s.

    The seeds are drawn independently, given the data: what is tested is the mean over splits and
    starts on these rows, not on other rows from the same source. With all pairs corrected for, the
    best may be picked after looking.

    Values that come in steps of `resolution`, as an accuracy over few rows does, can agree by
    chance alone, and s would be 0: the variance of rounding two of them, resolution^2 / 6, is
    added to s^2. From `MODERATED` on, s^2 also learns from the other pairs (see `moderate`).

    Parameters
    ----------
    values : (variants, seeds) float64
        NaN where a run is missing, infinite where it diverged: a pair is tested over the seeds
        that both have, if they are two at least and finite.
    resolution
        The step in which values come.

    Returns
    -------
    list of Difference
        For first < second.
    """
    count = len(values)
    pairs = [(first, second) for first in range(count) for second in range(first + 1, count)]
    apart = [_common(values[first], values[second]) for first, second in pairs]
    tested = np.array([len(each) > 1 and bool(np.isfinite(each).all()) for each in apart])
    sizes = np.array([len(each) for each in apart])
    variances = np.array(
        [
            each.var(ddof=1) + resolution**2 / 6 if ok else math.nan
            for each, ok in zip(apart, tested, strict=True)
        ]
    )
    freedom = sizes - 1.0
    if count >= MODERATED[0] and values.shape[1] >= MODERATED[1]:
        full = tested & (sizes == values.shape[1])
        variances[full], freedom[full] = moderate(variances[full], values.shape[1] - 1, count)
    means = np.array(
        [each.mean() if ok else math.nan for each, ok in zip(apart, tested, strict=True)]
    )
    errors = np.sqrt(variances / np.maximum(sizes, 1))
    p = np.full(len(pairs), math.nan)
    for place in np.flatnonzero(tested).tolist():
        p[place] = _p(means[place], errors[place], freedom[place])
    adjusted, share = holm(p), 1 - ALPHA / 2 / max(1, int(tested.sum()))
    found = []
    for place, (first, second) in enumerate(pairs):
        mean, error = float(means[place]), float(errors[place])
        half = smallest = math.nan
        if tested[place]:
            half = _quantile(freedom[place], 1 - ALPHA / 2) * error
            smallest = _quantile(freedom[place], share) * error
        low, high = mean - half, mean + half
        tests = float(p[place]), float(adjusted[place])
        found.append(Difference(first, second, mean, low, high, *tests, smallest))
    return found


def moderate(variances: Array, freedom: int, variants: int) -> tuple[Array, Array]:
    """Let each pair's variance learn from the others: few seeds say little about one of them.

    s~^2 = max(s^2, (d_0 s_0^2 + d s^2) / (d_0 + d)), with d_0 and s_0^2 fitted to all s^2 by the
    mean and variance of their logarithms; then t has d_0 + d degrees of freedom, at most those of
    all runs about their seeds' and variants' means, (variants - 1) d.

    Two things are held back, so that a few noisy variants among many quiet ones do not get quiet
    ones' certainty: d_0 is at most 2 d, and no variance becomes smaller. In simulations of 6 to 24
    equal variants with 3 and 5 seeds, standard deviations alike, drawn lognormally, or one of them
    ten times the others', some pair was then called different in 0 to 6 % of the comparisons.

    Parameters
    ----------
    variances : (pairs,)
        Of paired differences.
    freedom
        d: the seeds less one.
    variants

    Returns
    -------
    variances, degrees of freedom : (pairs,) each

    References
    ----------
    Smyth 2004, "Linear models and empirical Bayes methods for assessing differential expression",
    section 6; the bounds on d_0 and s~^2 are ours.
    """
    from scipy.optimize import brentq
    from scipy.special import digamma, polygamma

    known = variances[variances > 0]
    if len(known) < 2:
        return variances, np.full(len(variances), float(freedom))
    logs = np.log(known) - digamma(freedom / 2) + math.log(freedom / 2)
    excess = float(logs.var(ddof=1) - polygamma(1, freedom / 2))
    most = 1e6  # more is as good as infinite
    prior = most
    if excess > polygamma(1, most / 2):
        prior = 2 * brentq(lambda half: float(polygamma(1, half)) - excess, 1e-6, most / 2)
    center = math.exp(float(logs.mean()) + digamma(prior / 2) - math.log(prior / 2))
    prior = min(prior, 2.0 * freedom)
    shrunk = (prior * center + freedom * variances) / (prior + freedom)
    total = min(prior + freedom, (variants - 1.0) * freedom)
    return np.maximum(variances, shrunk), np.full(len(variances), total)


def _common(first: Array, second: Array) -> Array:
    """Give the differences in the seeds that both have; NaN stands for a run that is missing."""
    both = ~(np.isnan(first) | np.isnan(second))
    with np.errstate(invalid="ignore"):
        return np.asarray(first[both] - second[both])
