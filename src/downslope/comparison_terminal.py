"""What the command line prints of a comparison: its progress, the table, what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich import progress as bars
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from downslope.comparison import Comparison
from downslope.contest import Progress
from downslope.vary import Variant, show_value
from downslope.verdict import (
    COSTS,
    HEADINGS,
    by_batch_size,
    error_rate,
    has,
    seed_count,
    sentences,
    show_interval,
    show_mean,
    standing,
    suggested_batch,
)

MOST_ROWS = 24
"""Variants that a terminal's table shows: more do not fit on a screen."""


class ProgressBar:
    """One line that says how many runs are done; called after each."""

    def __init__(self) -> None:
        self._progress = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TextColumn("runs"),
            bars.TimeRemainingColumn(),
            transient=True,
        )
        self._rung: tuple[int, int, int] | None = None
        self._task = self._progress.add_task("comparing", total=None)

    def __call__(self, progress: Progress) -> None:
        """Show where a comparison stands."""
        rung = progress.rung
        text = "comparing" if rung is None else f"rung {rung[0]} of {rung[1]}, {rung[2]} epochs"
        if rung != self._rung:
            self._rung = rung
            self._progress.reset(self._task)
        self._progress.update(
            self._task, description=text, completed=progress.done, total=progress.total
        )

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.__exit__(kind, value, traceback)


def print_comparison(
    comparison: Comparison, files: Mapping[str, Path], console: Console | None = None
) -> None:
    """Print the table of each data set, what it says, and where the rest lies."""
    console = Console(highlight=False) if console is None else console
    for dataset in comparison.datasets:
        console.print()
        good = [comparison.metric, "score", "best_loss"]
        console.print(_fit(console, _results, comparison, dataset, good))
        left = len(comparison.ranking(dataset)) - MOST_ROWS
        if left > 0:
            console.print(f"... and {left} more, in the files below")
        console.print()
        console.print(_fit(console, _costs, comparison, dataset, COSTS))
        console.print()
        told = [*sentences(comparison, dataset), suggested_batch(comparison, dataset)]
        for sentence in filter(None, told):
            console.print(sentence, markup=False)
    console.print()
    if len(comparison.datasets) > 1:
        console.print(
            f"Best over all data sets, by mean place: {comparison.best.label}.", markup=False
        )
    for note in (*comparison.notes, error_rate()):
        console.print(note, markup=False)
    console.print()
    for kind, path in files.items():
        console.print(f"{kind:<8}{path}", markup=False)


def _fit(
    console: Console,
    build: Callable[[Comparison, str, Sequence[str]], Table],
    comparison: Comparison,
    dataset: str,
    metrics: Sequence[str],
) -> Table:
    """Give a table with as many metrics, the first ones first, as there is room for."""
    boundless = console.options.update(max_width=10_000)
    known = [each for each in dict.fromkeys(metrics) if has(comparison, dataset, each)]
    for count in range(len(known), 0, -1):
        table = build(comparison, dataset, known[:count])
        if Measurement.get(console, boundless, table).maximum <= console.width:
            break
    return table


def _grid(title: str, fields: Sequence[str], numbers: Sequence[str]) -> Table:
    """Make a table: the varied fields, then numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), title=title, title_justify="left",
                  title_style="bold", header_style="dim")  # fmt: skip
    for field in fields:
        table.add_column(field, no_wrap=True, overflow="ellipsis")
    for number in numbers:
        table.add_column(_two_lines(number), justify="right", no_wrap=True)
    return table


def _two_lines(head: str) -> str:
    """Break a head of several words in two."""
    first, _, rest = head.partition(" ")
    return f"{first}\n{rest}"


def _results(comparison: Comparison, dataset: str, metrics: Sequence[str]) -> Table:
    """Lay out how good the variants of one data set are, the best first."""
    ranking = comparison.ranking(dataset)
    heads = [HEADINGS[metric] for metric in metrics]
    dropped = len(comparison.finalists(dataset)) < len(ranking)
    table = _grid(
        f"{dataset}: {len(ranking)} variants, {seed_count(comparison)}",
        ["", *comparison.varied], [*heads, *(["epochs"] if dropped else [])],
    )  # fmt: skip
    marks = standing(comparison, dataset).marks()
    for number in ranking[:MOST_ROWS]:
        variant, mark = comparison.variants[number], marks.get(number, "")
        cells = [show_interval(comparison, dataset, number, metric) for metric in metrics]
        if dropped:
            cells.append(f"{len(comparison.of(dataset, variant)[0].losses):,}")
        bold = "bold" if mark == "best" else None
        table.add_row(mark, *_settings(variant), *cells, style=bold)
    return table


def _costs(comparison: Comparison, dataset: str, metrics: Sequence[str]) -> Table:
    """Lay out what the variants cost; where the batch varies, by batch."""
    by_batch = "batch" in comparison.varied
    numbers = by_batch_size(comparison, dataset) if by_batch else comparison.ranking(dataset)
    title = "what it costs, in the mean"
    if by_batch and len(comparison.varied) > 1:
        title += ", for the best variant of each batch"
    heads = ["steps an epoch", *(HEADINGS[metric] for metric in metrics)]
    table = _grid(title, comparison.varied, heads)
    for number in numbers[: MOST_ROWS // 2]:
        variant = comparison.variants[number]
        cells = [show_mean(comparison, dataset, number, metric) for metric in metrics]
        updates = f"{comparison.of(dataset, variant)[0].steps_per_epoch:,}"
        table.add_row(*_settings(variant), updates, *cells)
    return table


def _settings(variant: Variant) -> list[str]:
    return [show_value(name, value) for name, value in variant.settings.items()]
