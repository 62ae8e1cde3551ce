"""A comparison as files: its page, its tables, the winning recipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from downslope import comparison_figures as figures
from downslope import page
from downslope.comparison import Comparison
from downslope.outcome import METRICS
from downslope.page import Grid, Section
from downslope.parallel_axes import parallel_coordinates
from downslope.storage import write_atomically
from downslope.vary import show_value
from downslope.verdict import (
    COSTS,
    HEADINGS,
    by_batch_size,
    error_rate,
    has,
    seed_count,
    sentences,
    show_interval,
    standing,
    suggested_batch,
)


def files_in(directory: str | Path) -> dict[str, Path]:
    """Give the files of a comparison in a directory, by what they are."""
    names = {
        "page": "index.html", "winner": "winner.toml", "table": "table.csv", "runs": "runs.csv",
    }  # fmt: skip
    return {kind: Path(directory) / name for kind, name in names.items()}


def save(comparison: Comparison, directory: str | Path) -> dict[str, Path]:
    """Write a comparison's files into a directory; give them by what they are.

    Raises
    ------
    UnwritableError
        If one cannot be written.
    """
    texts = {
        "page": as_html(comparison),
        "winner": comparison.to_toml(),
        "table": comparison.table.write_csv(),
        "runs": comparison.frame.write_csv(),
    }
    files = files_in(directory)
    for kind, text in texts.items():
        write_atomically(files[kind], text.encode())
    return files


def as_html(comparison: Comparison) -> str:
    """Give a comparison's page: what won, which differences are real, and every figure."""
    several = len(comparison.datasets) > 1
    sections = [part for name in comparison.datasets for part in _sections(comparison, name)]
    profiles = figures.performance_profiles(comparison)
    if profiles is not None:
        sections.insert(
            0,
            Section(
                "Performance profile", profiles,
                "How often a variant reaches the target with at most so many times the epochs of "
                "the best one there. High on the left: often the best. High on the right: reaches "
                "it at all (Dolan and Moré 2002).",
                f"Best over all data sets, by mean place: {comparison.best.label}.", wide=True,
            ),
        )  # fmt: skip
    name = comparison.datasets[0]
    lead = " ".join(sentences(comparison, name)) if not several else (
        f"Best over all data sets, by mean place: {comparison.best.label}."
    )  # fmt: skip
    facts: dict[str, object] = {
        "data": ", ".join(comparison.datasets),
        "varied": ", ".join(comparison.varied),
        "runs": f"{len(comparison.outcomes):,}: {len(comparison.order)} variants, "
        f"{seed_count(comparison)} each",
        "ranked by": METRICS[comparison.metric].line,
        "tests": error_rate(),
    }
    facts |= {f"note {number}": note for number, note in enumerate(comparison.notes, 1)}
    return page.page(f"Compared on {', '.join(comparison.datasets)}", sections, lead, facts)


def _sections(comparison: Comparison, dataset: str) -> Iterator[Section]:
    """Give the sections of one data set."""
    of = f" on {dataset}" if len(comparison.datasets) > 1 else ""
    told = " ".join(sentences(comparison, dataset)) if of else ""
    yield Section(
        f"Who is best{of}", figures.intervals(comparison, dataset),
        "Means over the seeds with 95 % intervals. Pairs share split and starting weights, so that "
        "two may be really different though their intervals overlap.", told,
    )  # fmt: skip
    rates = figures.rate_sensitivity(comparison, dataset)
    if rates is not None:
        yield Section(
            f"Learning rate{of}", rates,
            "A broad plateau forgives a learning rate that is somewhat off; a peak does not. "
            "Points are missing where runs diverged.",
        )  # fmt: skip
    yield Section(
        f"Training loss{of}", figures.curves(comparison, dataset, "losses"),
        "Mean and 95 % interval over the seeds. By step, small batches pay for their many updates; "
        "by second, everything counts.", wide=rates is not None,
    )  # fmt: skip
    if has(comparison, dataset, "score"):
        yield Section(
            f"Held-out loss{of}", figures.curves(comparison, dataset, "validation_losses"),
            "Where it rises again while the training loss falls, the network learns the rows by "
            "heart.",
        )  # fmt: skip
        yield Section(
            f"Held-out score{of}", figures.curves(comparison, dataset, "validation_scores"),
            "Accuracy, or R2 for numbers.",
        )  # fmt: skip
    if len(comparison.order) > 2:
        yield Section(
            f"Settings and numbers{of}", parallel_coordinates(comparison, dataset),
            "Each line is a variant, the best ones in color; the better end of a number is on top, "
            "and at its worst end is what never reached the target.", wide=True,
        )  # fmt: skip
    maps = figures.boundaries(comparison, dataset)
    if maps is not None:
        yield Section(
            f"What they say over the plane{of}", maps,
            "Outputs of the first seed's networks, the best variants first, with the rows as "
            "points.", wide=True,
        )  # fmt: skip
    yield from _tables(comparison, dataset, of)


def _tables(comparison: Comparison, dataset: str, of: str) -> Iterator[Section]:
    trade = dict.fromkeys([comparison.metric, *COSTS])
    if "batch" in comparison.varied:
        yield Section(
            f"The trade-off{of}",
            _grid(comparison, dataset, by_batch_size(comparison, dataset), trade),
            "What a batch size buys and costs; where other fields vary, for the best variant that "
            "has it. Memory is what a run allocates for itself, by its arrays; the data are "
            "shared.", suggested_batch(comparison, dataset), wide=True,
        )  # fmt: skip
    yield Section(
        f"All numbers{of}", _grid(comparison, dataset, comparison.ranking(dataset),
                                      dict.fromkeys([comparison.metric, *METRICS])),
        "Mean ± half of the 95 % interval over the seeds. Times were taken while other runs went "
        "on beside, one on each core. Spread: the standard deviation of the loss from step to step "
        "over the last fifth of the steps, 100 at most.", wide=True,
    )  # fmt: skip


def _grid(comparison: Comparison, dataset: str, numbers: list[int], metrics: Iterable[str]) -> Grid:
    """Lay out some metrics of some variants."""
    marks = standing(comparison, dataset).marks()
    metrics = [each for each in metrics if has(comparison, dataset, each)]
    rows = []
    for number in numbers:
        variant = comparison.variants[number]
        ran = comparison.of(dataset, variant)
        rows.append(
            [
                marks.get(number, ""),
                *(show_value(name, value) for name, value in variant.settings.items()),
                *(
                    show_interval(comparison, dataset, number, metric).replace(" ", "\u00a0")
                    for metric in metrics
                ),
                f"{ran[0].steps_per_epoch:,}",
                f"{max(len(each.losses) for each in ran):,}",
                str(comparison.diverged(dataset, variant) or ""),
            ]
        )
    heads = ["", *comparison.varied, *(HEADINGS[metric] for metric in metrics)]
    return Grid([*heads, "steps an epoch", "epochs", "diverged"], rows)
