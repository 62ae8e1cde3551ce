"""What was measured, as tables: on the terminal and in RESULTS.md."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from contenders import CONTENDERS
from rounds import Measurements
from rows import NETWORKS, RULES, Row

PEERS: Final = ("PyTorch", "JAX", "scikit-learn")
AIMS: Final = {"PyTorch": 15.0, "JAX": 2.5, "scikit-learn": 18.0}
"""The geometric means over the Adam rows that the project set itself."""

TITLES: Final = {"adam": "Adam", "sgd": "Plain SGD"}

HEADINGS: Final = (
    "network, batch",
    "Downslope",
    *(heading for peer in PEERS for heading in (peer, "ratio")),
    "limit",
    "share",
)
"""The times are microseconds; the share is what Downslope reaches of the limit."""

METHOD: Final = """\
Microseconds of one step: gather the rows of a shuffled order, forward pass, softmax cross-entropy,
backward pass, update; ReLU hidden layers, float32, random data of about 2000 rows, shuffled before
each epoch. Every contender runs in a process of its own; they take turns, and each figure is the
best over the rounds. A ratio is the peer's time over Downslope's: above 1, Downslope is faster.

- Downslope: `descend()` through the public API, on one and on two threads, the better counts. It is
  called for 1 and for 1 + k epochs and the difference counted: all that happens inside an epoch,
  without the set-up.
- PyTorch: the usual loop, eager; the optimizer's plain and fused implementation on one and on two
  threads, the best counts.
- JAX: a whole epoch in one jitted `lax.scan` with donated state, on all cores; its compilation for
  each network is not in the step but listed below.
- scikit-learn: `MLPClassifier.fit` of 1 and of 1 + k epochs, the difference; on one and on two
  threads of BLAS, the better counts. At batch 1 it gets 500 of the rows. With two
  classes it has one output where the others have two.
- The estimators: whole calls of `MLPClassifier.fit` and `predict`, here and there, on 20,000 rows
  of 32 features with hidden layers (64, 64), sgd with Nesterov's momentum; the best of four
  rounds, in turns, scikit-learn on one and on two threads of BLAS.
- The X-ray: whole runs that record nothing, the default steps and every step, in turns, without
  the set-up; the best of five rounds.
- Limit: the products (2 m n k operations each: x W and x^T d of each layer, d W^T of all but the
  first) at the best rate that any BLAS at hand sustains here on all cores, plus the bytes that the
  rule must move (Adam reads 4 and writes 3 vectors as long as theta, SGD 2 and 1) at the bandwidth
  measured with those same streams over a state of that size on all cores.
"""


@dataclass(frozen=True)
class Results:
    """The measurements and what else was measured in the same run."""

    measurements: Measurements
    footprint: Sequence[str] = ()
    estimators: Sequence[str] = ()
    recording: Sequence[str] = ()


def machine() -> str:
    """Name the processor and its cores."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text(encoding="utf-8").splitlines()
        named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = named[0] if named else name
    return (
        f"{name}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    )


def _figure(value: float | None, unit: str = "") -> str:
    """Write three significant digits, and a dash for what was not measured."""
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}{unit}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(max(value, 1e-3))))}f}{unit}"


def _cells(found: Measurements, row: Row, *, variants: bool) -> list[str]:
    """Give a row of the table, with the variants that counted or without."""

    def timed(contender: str) -> str:
        best = found.best(row, contender)
        if best is None:
            return "-"
        note = f" ({best[0]})" if variants and len(CONTENDERS[contender].variants) > 1 else ""
        return _figure(best[1].microseconds) + note

    network = f"{'-'.join(map(str, row.widths))}, {row.batch}"
    ours = found.best(row, "Downslope")
    cells = [network, timed("Downslope")]
    for peer in PEERS:
        cells += [timed(peer), _figure(found.ratio(row, peer))]
    limit = found.limits.microseconds(row) if found.limits else None
    share = limit / ours[1].microseconds * 100 if ours and limit else None
    return [*cells, _figure(limit), _figure(share, " %")]


def _of_rule(found: Measurements, rule: str) -> list[Row]:
    return [row for row in found.timings if row.rule == rule]


def geometric_mean(ratios: Iterable[float | None]) -> float | None:
    """Give the geometric mean; None where any ratio is missing, or there is none."""
    given = list(ratios)
    logs = [math.log(ratio) for ratio in given if ratio is not None]
    return math.exp(math.fsum(logs) / len(logs)) if logs and len(logs) == len(given) else None


def _means(found: Measurements, rule: str) -> list[str]:
    """Give the line of geometric means under a rule's table."""
    cells = ["geometric mean", ""]
    for peer in PEERS:
        mean = geometric_mean(found.ratio(row, peer) for row in _of_rule(found, rule))
        cells += ["", _figure(mean)]
    return [*cells, "", ""]


def _aimed(found: Measurements) -> Iterator[str]:
    """Compare the geometric means over all Adam rows with what was aimed at."""
    rows = _of_rule(found, "adam")
    if len(rows) < len(NETWORKS):
        return
    for peer, aim in AIMS.items():
        mean = geometric_mean(found.ratio(row, peer) for row in rows)
        if mean is not None:
            word = "reached" if mean >= aim else "missed"
            yield f"{peer}: {_figure(mean)}, aimed at {aim:g} ({word})"


def _lost(found: Measurements) -> Iterator[str]:
    """Name each row on which a peer is faster."""
    for row in found.timings:
        for peer in PEERS:
            ratio = found.ratio(row, peer)
            if ratio is not None and ratio < 1:
                yield f"{row}: slower than {peer} (ratio {ratio:.2f})"


def _scaling(found: Measurements) -> Iterator[str]:
    """Say what the second thread brings on the two largest networks."""
    for row in found.timings:
        threads = found.timings[row].get("Downslope", {})
        if row.widths[:2] in ((784, 256), (784, 1024)) and len(threads) == 2:
            one, two = (threads[f"{n} thread{'s' * (n > 1)}"].microseconds for n in (1, 2))
            yield f"{row}: {_figure(one)} µs on one, {_figure(two)} µs on two: {one / two:.2f} x"


def _impossible(found: Measurements) -> Iterator[str]:
    """Name each row on which a step was faster than its limit, which is then wrong."""
    for row, contenders in found.timings.items():
        for name in contenders:
            best = found.best(row, name)
            if best and found.limits and best[1].microseconds < found.limits.microseconds(row):
                yield f"{row}: {name} is faster than this limit: measured on a busy machine"


def _compiled(found: Measurements) -> Iterator[str]:
    """Say what JAX compiles for each network anew, and what Downslope spends on its first call."""

    def seconds(contender: str) -> list[float]:
        timings = [each.get(contender, {}) for each in found.timings.values()]
        return [timing.compile_seconds for row in timings for timing in row.values()]

    if every := seconds("JAX"):
        yield (
            f"JAX: {min(every):.2f} to {max(every):.2f} s for each network anew,"
            f" {sum(every):.1f} s for these {len(every)} rows"
        )
    if every := seconds("Downslope"):
        later = f", at most {max(every[1:]):.2f} s of any later one" if every[1:] else ""
        yield f"Downslope: {every[0]:.2f} s of the first descend() of one epoch{later}"


def _notes(results: Results) -> Iterator[tuple[str, list[str]]]:
    """Give what is said under the tables, by heading."""
    found = results.measurements
    slower = list(_lost(found))
    compared = any(found.best(row, "Downslope") for row in found.timings)
    fine = ["none"] if compared else ["not measured: Downslope is absent"]
    yield "Rows that lose to a peer", slower or fine
    if aimed := list(_aimed(found)):
        yield "Geometric mean over the Adam rows", aimed
    if scaling := list(_scaling(found)):
        yield "Two threads against one", scaling
    if limits := found.limits:
        rate = f"{limits.products / 1e9:.0f} GFLOP/s ({limits.library})"
        yield "Rate of products", [rate, *_impossible(found)]
    if compiled := list(_compiled(found)):
        yield "Compilation", compiled
    if results.footprint:
        yield "Memory, start, landscapes and comparisons", list(results.footprint)
    if results.estimators:
        yield "The estimators against scikit-learn's", list(results.estimators)
    if results.recording:
        yield "What the X-ray costs (default at most 1.05 x)", list(results.recording)
    if found.absent:
        yield "Absent", [f"{name}: {why}" for name, why in found.absent.items()]


def show(results: Results, console: Console) -> None:
    """Print the tables and the notes."""
    found = results.measurements
    for rule in RULES:
        rows = _of_rule(found, rule)
        if not rows:
            continue
        table = Table(title=f"{TITLES[rule]}: microseconds a step", box=SIMPLE, padding=0)
        for number, heading in enumerate(HEADINGS):
            table.add_column(heading, justify="right" if number else "left", no_wrap=not number)
        for row in rows:
            table.add_row(*_cells(found, row, variants=False))
        table.add_section()
        table.add_row(*_means(found, rule))
        console.print(table)
    for heading, lines in _notes(results):
        console.print(f"[bold]{heading}[/bold]")
        for line in lines:
            console.print(f"  {line}", markup=False)


def markdown(results: Results) -> str:
    """Write the whole of RESULTS.md."""
    found = results.measurements
    releases = ", ".join(f"{name} {release}" for name, release in found.releases.items())
    lines = [
        "# Downslope and its peers",
        "",
        f"Written by `make bench`, {datetime.now(UTC):%Y-%m-%d}; best of {found.rounds} rounds.",
        "",
        f"- Machine: {machine()}",
        f"- Versions: {releases}",
    ]
    for rule in RULES:
        if rows := _of_rule(found, rule):
            lines += ["", f"## {TITLES[rule]}: microseconds a step", ""]
            lines.append(f"| {' | '.join(HEADINGS)} |")
            lines.append(f"|---|{'---:|' * (len(HEADINGS) - 1)}")
            lines += [f"| {' | '.join(_cells(found, row, variants=True))} |" for row in rows]
            lines.append(f"| {' | '.join(_means(found, rule))} |")
    for heading, notes in _notes(results):
        lines += ["", f"## {heading}", "", *(f"- {note}" for note in notes)]
    return "\n".join([*lines, "", "## How it was measured", "", METHOD])
