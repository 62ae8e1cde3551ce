"""What a comparison found: each variant's numbers, which differences are real, the winner."""

from __future__ import annotations

import math
import statistics as middle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from downslope.outcome import METRICS, Outcome, measure
from downslope.recipe import Recipe
from downslope.significance import Difference, Interval, differences, interval
from downslope.table import Table
from downslope.vary import Variant, show_value

if TYPE_CHECKING:
    import polars as pl

Array = npt.NDArray[Any]

OTHER_LOSS: Final = ("loss", "label_smoothing", "l1", "l2", "scaling", "task")
"""Fields that change what the training loss measures."""


@dataclass(frozen=True)
class Comparison:
    """Variants of a recipe, run over seeds and held against one another.

    Attributes
    ----------
    recipe
        What the variants share.
    variants
    metric
        What they are ranked by, a name of `outcome.METRICS`.
    outcomes
        Of the runs that count: those of seeds that every variant has finished.
    targets
        By data set: the training loss that epochs, steps and seconds are counted to; NaN for none.
    notes
        What a reader has to know: sentences.
    tables
        By name: the data sets, as they were read.
    noise_scales
        By data set: the batch size that the gradient's noise suggests for the winner.
    """

    recipe: Recipe
    variants: tuple[Variant, ...]
    metric: str
    outcomes: tuple[Outcome, ...]
    targets: Mapping[str, float]
    notes: tuple[str, ...] = ()
    tables: Mapping[str, Table] = field(default_factory=dict, repr=False)
    noise_scales: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        names = ", ".join(self.datasets)
        return (
            f"Comparison({names}: {len(self.variants)} variants, {len(self.outcomes)} runs, by "
            f"{self.metric!r})"
        )

    @cached_property
    def datasets(self) -> tuple[str, ...]:
        """The names of the data sets."""
        return tuple(dict.fromkeys(outcome.dataset for outcome in self.outcomes))

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, rising."""
        return tuple(sorted({outcome.seed for outcome in self.outcomes}))

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """The fields that vary."""
        return tuple(self.variants[0].settings)

    @cached_property
    def _found(self) -> dict[tuple[str, str, int], Outcome]:
        return {(each.dataset, each.variant, each.seed): each for each in self.outcomes}

    @cached_property
    def _measured(self) -> dict[tuple[str, str], Array]:
        return {}

    def of(self, dataset: str, variant: Variant) -> list[Outcome]:
        """Give the outcomes of one variant, by rising seed."""
        found = (self._found.get((dataset, variant.label, seed)) for seed in self.seeds)
        return [outcome for outcome in found if outcome is not None]

    def values(self, dataset: str, metric: str) -> Array:
        """Give a metric of every run: (variants, seeds) float64.

        NaN where there is no run or it has no such number; infinite, to the bad side, where it
        diverged or never reached the target.
        """
        if (dataset, metric) in self._measured:
            return self._measured[dataset, metric]
        target = self.targets[dataset]
        values = np.full((len(self.variants), len(self.seeds)), math.nan)
        for row, variant in enumerate(self.variants):
            for column, seed in enumerate(self.seeds):
                outcome = self._found.get((dataset, variant.label, seed))
                if outcome is not None:
                    values[row, column] = measure(outcome, metric, target)
        self._measured[dataset, metric] = values
        return values

    def interval(self, dataset: str, variant: int, metric: str) -> Interval:
        """Give mean and 95 % interval of a metric over the seeds where it is finite."""
        values = self.values(dataset, metric)[variant]
        return interval(values[np.isfinite(values)])

    def diverged(self, dataset: str, variant: Variant) -> int:
        """Count the runs that left the finite numbers."""
        return sum(outcome.diverged for outcome in self.of(dataset, variant))

    def ranking(self, dataset: str) -> list[int]:
        """Give the variants' numbers, the best first; those without a run are left out.

        Variants that a budget let run longer come first, then those of which fewer runs diverged
        or missed the target, then the better mean; equal means go by the held-out, then by the
        training loss.
        """
        keys = [self._key(dataset, variant) for variant in range(len(self.variants))]
        ran = [number for number, variant in enumerate(self.variants) if self.of(dataset, variant)]
        return sorted(ran, key=keys.__getitem__)

    def _key(self, dataset: str, number: int) -> tuple[float, ...]:
        key = [-self._epochs(dataset, number)]
        for metric in (self.metric, "validation_loss", "best_loss"):
            values = self.values(dataset, metric)[number]
            finite = values[np.isfinite(values)]
            mean = float(finite.mean()) if len(finite) else math.inf
            missed = float(np.isinf(values).sum())
            key += [missed, -mean if METRICS[metric].rises and len(finite) else mean]
        return tuple(key)

    def _epochs(self, dataset: str, number: int) -> float:
        """Give the epochs that a budget allowed a variant; 0 where the recipe says how many."""
        ran = self.of(dataset, self.variants[number])
        known = ran and ran[0].epochs is not None and "epochs" not in self.varied
        return float(ran[0].epochs or 0) if known else 0.0

    @cached_property
    def order(self) -> list[int]:
        """The variants' numbers, the best first, by their mean place over the data sets."""
        places: dict[int, list[int]] = {number: [] for number in range(len(self.variants))}
        for dataset in self.datasets:
            for place, number in enumerate(self.ranking(dataset)):
                places[number].append(place)
        ran = [number for number in places if len(places[number]) == len(self.datasets)]
        return sorted(ran, key=lambda number: float(np.mean(places[number])))

    @property
    def best(self) -> Variant:
        """The variant with the best mean place over the data sets."""
        return self.variants[self.order[0]]

    @property
    def winner(self) -> Recipe:
        """The best variant's recipe, as `fit` and `descend` take it."""
        return self.best.recipe

    def to_toml(self) -> str:
        """Write the winner as TOML."""
        return self.winner.to_toml()

    def finalists(self, dataset: str) -> list[int]:
        """Give the variants that ran as long as any did, the best first."""
        ranking = self.ranking(dataset)
        longest = self._epochs(dataset, ranking[0])
        return [each for each in ranking if self._epochs(dataset, each) == longest]

    def resolution(self, dataset: str, metric: str) -> float:
        """Give the step in which a metric comes: of an accuracy one row, of epochs one."""
        one = next(outcome for outcome in self.outcomes if outcome.dataset == dataset)
        if metric == "score" and one.task != "regression":
            return 1 / max(one.held_out, 1)
        return 1.0 if metric == "epochs_to_target" else 0.0

    def differences(self, dataset: str, metric: str | None = None) -> list[Difference]:
        """Test every pair of the variants that ran to the end (see `significance.differences`)."""
        metric = self.metric if metric is None else metric
        numbers = sorted(self.finalists(dataset))
        values = self.values(dataset, metric)[numbers]
        found = differences(values, self.resolution(dataset, metric))
        return [
            Difference(
                numbers[each.first],
                numbers[each.second],
                *(each.mean, each.low, each.high, each.p, each.adjusted_p, each.smallest),
            )
            for each in found
        ]

    @cached_property
    def frame(self) -> pl.DataFrame:
        """A row for each run: data set, variant, its settings, seed, and every metric."""
        import polars as pl

        settings = {variant.label: variant for variant in self.variants}
        rows = [
            {
                "dataset": outcome.dataset,
                "variant": outcome.variant,
                **_shown(settings[outcome.variant]),
                "seed": outcome.seed,
                "epochs": len(outcome.losses),
                "steps": outcome.steps,
                "seconds": outcome.seconds,
                "diverged": outcome.diverged,
                "stopped": outcome.reason,
                **{name: measure(outcome, name, self.targets[outcome.dataset]) for name in METRICS},
            }
            for outcome in self.outcomes
        ]
        return pl.DataFrame(rows, infer_schema_length=None)

    @cached_property
    def table(self) -> pl.DataFrame:
        """A row for each data set and variant, the best first: every metric's mean and interval.

        ``place``, ``runs``, ``diverged``, ``epochs``, then of each metric ``NAME``, ``NAME_low``
        and ``NAME_high`` over the seeds where it is finite.
        """
        import polars as pl

        return pl.DataFrame(list(self._rows()), infer_schema_length=None)

    def _rows(self) -> Iterator[dict[str, Any]]:
        for dataset in self.datasets:
            for place, number in enumerate(self.ranking(dataset), 1):
                variant = self.variants[number]
                row: dict[str, Any] = {"dataset": dataset, "variant": variant.label}
                row |= _shown(variant)
                row |= {
                    "place": place,
                    "runs": len(self.of(dataset, variant)),
                    "diverged": self.diverged(dataset, variant),
                    "epochs": max(len(each.losses) for each in self.of(dataset, variant)),
                }
                for metric in METRICS:
                    found = self.interval(dataset, number, metric)
                    row |= {
                        metric: found.mean,
                        f"{metric}_low": found.low,
                        f"{metric}_high": found.high,
                    }
                yield row

    @cached_property
    def curves(self) -> pl.DataFrame:
        """A row for each epoch of each run: losses and score by epoch, step and second."""
        import polars as pl

        rows = [
            (
                outcome.dataset,
                outcome.variant,
                outcome.seed,
                number,
                min(number * outcome.steps_per_epoch, outcome.steps),
                seconds,
                loss,
                *(
                    curve[number - 1] if len(curve) >= number else None
                    for curve in (outcome.validation_losses, outcome.validation_scores)
                ),
            )
            for outcome in self.outcomes
            for number, (loss, seconds) in enumerate(
                zip(outcome.losses, outcome.elapsed, strict=False), 1
            )
        ]
        names = ["dataset", "variant", "seed", "epoch", "step", "seconds", "loss",
                 "validation_loss", "validation_score"]  # fmt: skip
        return pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None)


def _shown(variant: Variant) -> dict[str, Any]:
    """Give the settings as a data frame can hold them: numbers where all are, else text."""
    return {
        name: value
        if isinstance(value, (bool, int, float)) and name not in ("batch", "dropout")
        else show_value(name, value)
        for name, value in variant.settings.items()
    }


def default_target(outcomes: Sequence[Outcome]) -> float:
    """Choose the training loss to count epochs to: the lowest one that a fair field all reach.

    Of the variants that in every run came at least half as far down as the best one did, the
    largest of the best losses: each of their runs reaches it, and a variant that hardly moved does
    not make it a loss that says nothing. Where they start is the median loss of all first epochs.

    Parameters
    ----------
    outcomes
        Of one data set.

    Returns
    -------
    float
        NaN where no run finished an epoch.
    """
    starts = [each.losses[0] for each in outcomes if each.losses and not each.diverged]
    worst: dict[str, float] = {}
    best = math.inf
    for outcome in outcomes:
        reached = min(outcome.losses, default=math.inf)
        worst[outcome.variant] = max(
            worst.get(outcome.variant, -math.inf), math.inf if outcome.diverged else reached
        )
        best = min(best, math.inf if outcome.diverged else reached)
    if not starts or not math.isfinite(best):
        return math.nan
    halfway = (middle.median(starts) + best) / 2
    fair = [loss for loss in worst.values() if loss <= halfway]
    return max(fair) if fair else best
