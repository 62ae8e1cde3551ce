"""What a comparison says, in words: who won, what is real, what is noise, what it cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from downslope.comparison import Comparison
from downslope.outcome import METRICS
from downslope.significance import ALPHA, Difference
from downslope.vary import show_value

HEADINGS: Final = {
    "score": "held-out score",
    "validation_loss": "held-out loss",
    "final_loss": "final loss",
    "best_loss": "best loss",
    "epochs_to_target": "epochs to target",
    "steps_to_target": "steps to target",
    "seconds_to_target": "time to target",
    "epoch_seconds": "time an epoch",
    "memory": "memory",
    "spread": "spread",
}
"""By metric: the head of its column."""

COSTS: Final = ("epoch_seconds", "memory", "steps_to_target", "seconds_to_target", "spread")
"""The trade-off between batch, mini-batch and stochastic descent, but for steps an epoch."""

NAMED: Final = 5
"""Variants that a sentence names one by one; of more it gives the number."""

FEW_SEEDS: Final = 3
"""Seeds below which a test has one degree of freedom: a difference must be 13 standard errors."""

MANY_PAIRS: Final = 15
"""Pairs, of six variants, from which the correction for their number is worth a word."""


def show(metric: str, value: float) -> str:
    """Write a metric's value with its unit.

    >>> show("memory", 2.5e6), show("epoch_seconds", 0.00123), show("score", 0.97123)
    ('2.5 MB', '1.23 ms', '0.9712')
    """
    if math.isnan(value):
        return "–"
    unit = METRICS[metric].unit
    if math.isinf(value):
        return "never" if unit else "diverged"
    if unit == "seconds":
        return next(
            (f"{value * scale:.3g} {name}" for scale, name in ((1e6, "µs"), (1e3, "ms"))
             if value * scale < 999.5),
            f"{value:.3g} s",
        )  # fmt: skip
    if unit == "bytes":
        scale, name = next(
            (each for each in ((1e3, "kB"), (1e6, "MB")) if value < 999.5 * each[0]), (1e9, "GB")
        )
        return f"{value / scale:.3g} {name}"
    if unit:
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{value:.4f}" if metric == "score" else f"{value:.3g}"


def show_interval(comparison: Comparison, dataset: str, variant: int, metric: str) -> str:
    """Write mean and half of the 95 % interval; how many runs diverged or missed the target."""
    values = comparison.values(dataset, metric)[variant]
    ran, finite = values[~np.isnan(values)], values[np.isfinite(values)]
    if not len(finite):
        return show(metric, math.inf if len(ran) else math.nan)
    found = comparison.interval(dataset, variant, metric)
    text = show(metric, found.mean)
    if not math.isnan(found.low) and found.high > found.low:
        half = (found.high - found.low) / 2
        text += f" ± {show(metric, half) if METRICS[metric].unit else f'{half:.2g}'}"
    if len(finite) < len(ran):
        text += f" ({len(finite)} of {len(ran)})"
    return text


def show_mean(comparison: Comparison, dataset: str, variant: int, metric: str) -> str:
    """Write the mean alone."""
    return show_interval(comparison, dataset, variant, metric).partition(" ±")[0]


def has(comparison: Comparison, dataset: str, metric: str) -> bool:
    """Say whether any run has a number for a metric."""
    return not np.isnan(comparison.values(dataset, metric)).all()


@dataclass(frozen=True)
class Standing:
    """How the other finalists stand to the best one, by the corrected tests.

    Attributes
    ----------
    best
        The best one's number.
    worse
        Those that it is really better than.
    alike
        Those that no difference was shown to.
    untested
        Those with no test: a run of theirs diverged, missed the target or has no such number, or
        there is one seed.
    p
        The largest corrected p of the real differences.
    smallest
        The smallest difference that would be told apart, for the typical pair; NaN without tests.
    """

    best: int
    worse: tuple[int, ...]
    alike: tuple[int, ...]
    untested: tuple[int, ...]
    p: float
    smallest: float

    def marks(self) -> dict[int, str]:
        """Give a word for each variant: best, worse, or same? where no difference was shown."""
        marks = dict.fromkeys(self.worse, "worse") | dict.fromkeys(self.alike, "same?")
        return marks | {self.best: "best"}


def seed_count(comparison: Comparison) -> str:
    """Say how many seeds there are."""
    count = len(comparison.seeds)
    return "1 seed" if count == 1 else f"{count} seeds"


def standing(comparison: Comparison, dataset: str) -> Standing:
    """Hold the best variant of a data set against the others."""
    finalists = comparison.finalists(dataset)
    best = finalists[0]
    tests: dict[int, Difference] = {}
    for each in comparison.differences(dataset):
        if best in (each.first, each.second):
            tests[each.second if each.first == best else each.first] = each
    rest = finalists[1:]
    tested = [number for number in rest if not math.isnan(tests[number].p)]
    worse = tuple(number for number in tested if tests[number].real)
    return Standing(
        best,
        worse,
        tuple(number for number in tested if number not in worse),
        tuple(number for number in rest if number not in tested),
        max((tests[number].adjusted_p for number in worse), default=math.nan),
        float(np.median([tests[number].smallest for number in tested])) if tested else math.nan,
    )


def _names(comparison: Comparison, numbers: Sequence[int]) -> str:
    """Name some variants, or count them."""
    if len(numbers) > NAMED:
        return f"{len(numbers)} others"
    labels = [comparison.variants[number].label for number in numbers]
    return ", ".join(labels[:-1]) + (" and " if len(labels) > 1 else "") + labels[-1]


def sentences(comparison: Comparison, dataset: str) -> list[str]:
    """Say what was found on one data set, in sentences."""
    found = standing(comparison, dataset)
    told = (
        _won(comparison, dataset, found),
        _untested(comparison, found),
        _dropped(comparison, dataset),
        _diverged(comparison, dataset),
        _target(comparison, dataset),
    )
    return [sentence for part in told for sentence in part]


def _won(comparison: Comparison, dataset: str, found: Standing) -> Iterator[str]:
    metric = comparison.metric
    value = show_interval(comparison, dataset, found.best, metric)
    best = comparison.variants[found.best].label
    if metric == "score" and np.isnan(comparison.values(dataset, metric)[found.best]).all():
        loss = show_interval(comparison, dataset, found.best, "validation_loss")
        yield (
            f"There is no {METRICS[metric].line}: the target of the held-out rows does not vary. "
            f"Best by {METRICS['validation_loss'].line}: {best}, {loss}."
        )
        return
    yield f"Best by {METRICS[metric].line}: {best}, {value}."
    if found.worse:
        yield (
            f"Really better than {_names(comparison, found.worse)} "
            f"(p {_p(found.p)}, corrected for all pairs)."
        )
    if found.alike:
        said = f"No difference shown to {_names(comparison, found.alike)}: what they are apart by"
        seeds = seed_count(comparison)
        if len(comparison.seeds) < FEW_SEEDS:
            yield f"{said} may be noise, and {seeds} can hardly tell. Five seeds or more can."
            return
        yield (
            f"{said} may be noise. Below some {show(metric, found.smallest)} a difference would go "
            f"unseen with {seeds}{_pairs(comparison, dataset)}."
        )


def _pairs(comparison: Comparison, dataset: str) -> str:
    """Say how many pairs there are, where they are what makes it hard to tell."""
    count = math.comb(len(comparison.finalists(dataset)), 2)
    return f" and {count:,} pairs" if count >= MANY_PAIRS else ""


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"<= {math.ceil(p * 1000) / 1000:g}"


def _untested(comparison: Comparison, found: Standing) -> Iterator[str]:
    if found.untested and len(comparison.seeds) < 2:
        yield (
            "One seed cannot tell a difference from noise: nothing was tested. Five seeds or more "
            "can."
        )
    elif found.untested:
        yield (
            f"Not tested against {_names(comparison, found.untested)}: a run diverged, missed the "
            "target, is missing or has no such number."
        )


def _dropped(comparison: Comparison, dataset: str) -> Iterator[str]:
    """Say which variants a budget left behind."""
    finalists = set(comparison.finalists(dataset))
    dropped = [each for each in comparison.ranking(dataset) if each not in finalists]
    if dropped:
        yield (
            f"The budget left {_names(comparison, dropped)} behind after fewer epochs, where they "
            "stood worse."
        )


def _diverged(comparison: Comparison, dataset: str) -> Iterator[str]:
    counts = {
        number: comparison.diverged(dataset, variant)
        for number, variant in enumerate(comparison.variants)
    }
    gone = [number for number, count in counts.items() if count]
    if len(gone) > NAMED:
        yield f"{len(gone)} variants diverged, in {sum(counts.values())} runs together."
    elif gone:
        told = [
            f"{comparison.variants[number].label} in {counts[number]} of "
            f"{len(comparison.of(dataset, comparison.variants[number]))} runs"
            for number in gone
        ]
        yield f"Diverged: {', '.join(told)}."


def _target(comparison: Comparison, dataset: str) -> Iterator[str]:
    target = comparison.targets[dataset]
    if math.isnan(target):
        return
    if comparison.recipe.descent.target_loss is not None:
        yield f"Target: the training loss {target:.4g} that the recipe stops at."
    else:
        yield (
            f"Target: the training loss {target:.4g}, the lowest that every run reached of the "
            "variants that came at least half as far down as the best."
        )


def by_batch_size(comparison: Comparison, dataset: str) -> list[int]:
    """Give the best variant of each batch size, the sizes in the order they were given."""
    best: dict[str, int] = {}
    for number in comparison.ranking(dataset):
        size = show_value("batch", comparison.variants[number].settings["batch"])
        best.setdefault(size, number)
    given = [show_value("batch", variant.settings["batch"]) for variant in comparison.variants]
    return [best[size] for size in dict.fromkeys(given) if size in best]


def suggested_batch(comparison: Comparison, dataset: str) -> str:
    """Say which batch size the noise of the gradient suggests, beside the one that won."""
    noise = comparison.noise_scales.get(dataset, math.nan)
    if not math.isfinite(noise) or "batch" not in comparison.varied:
        return ""
    best = comparison.variants[comparison.ranking(dataset)[0]]
    won = show_value("batch", best.settings["batch"])
    return (
        f"The gradient's noise suggests batches of some {max(1, round(noise)):,} rows (McCandlish "
        "et al. 2018; the median along a run of the winner): smaller ones take more steps, larger "
        f"ones more rows. Here batch={won} won."
    )


def error_rate() -> str:
    """Say what the tests are worth."""
    return (
        "Paired t tests over seeds (same split and starting weights for the same seed), Holm's "
        f"correction over all pairs: at most {ALPHA:.0%} of comparisons report a difference where "
        "there is none. They speak of these rows, over splits and starts."
    )
