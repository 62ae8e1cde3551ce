"""What the command line prints: an epoch's line, a run's facts, the catalogue's tables."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Mapping
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from rich.text import Text

from downslope.account import Account
from downslope.arrival import lately, seen_in_flow, shrinkage, typically
from downslope.catalogue import Entry
from downslope.curves import decimals
from downslope.epoch import Epoch
from downslope.kernels.jit import is_cached
from downslope.kernels.loop import descend
from downslope.score import name_of

Array = npt.NDArray[Any]

SHOWN_LAYERS, BLOCKS = 8, 8
"""Layers from either end that the X-ray shows in a terminal; blocks of its longest bar."""

LEAST_WIDTH = 80
"""Columns of the X-ray's table at least: on a narrower terminal its lines go on in the next, which
is better than numbers that are cut."""

LASTING_LINES = 20
"""On a terminal every epoch rewrites one line; about so many of them stay."""


def duration(seconds: float) -> str:
    """Write a number of seconds as a person would.

    >>> duration(0.25), duration(83), duration(7400)
    ('0.2 s', '1 min 23 s', '2 h 3 min')
    """
    if math.isnan(seconds):
        return "?"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def epoch_line(epoch: Epoch, task: str, width: float = math.inf) -> str:
    """Write one epoch in one line: losses, score, speed, time left.

    Of what does not fit into so many columns, the speed is left out first, then the padding, then
    part by part from the end.
    """
    history = epoch.history
    parts = [f"epoch {epoch.number:>4}", f"loss {history.losses[-1]:<9.4g}"]
    if history.validation_losses:
        parts.append(f"held out {history.validation_losses[-1]:<9.4g}")
        parts.append(f"{name_of(task)} {decimals(history.validation_scores[-1], 4)}")
    speed, left = f"{epoch.rows_per_second:>11,.0f} rows/s", f"left {duration(epoch.seconds_left)}"
    fewer = [*parts, left]
    tight = [" ".join(each.split()) for each in fewer]
    shorter = [[*parts, speed, left], fewer, *(tight[:n] for n in range(len(tight), 0, -1))]
    lines = ["  ".join(each) for each in shorter]
    return next((line for line in lines if len(line) <= width), lines[-1])


def announce_compilation() -> None:
    """Say that the kernels will be compiled first, unless they lie compiled on disk."""
    if not is_cached(descend):
        print("compiling the kernels, once on this machine: some 30 seconds ...", flush=True)


class EpochLines:
    """Shows epochs as they end: one live line on a terminal, plain lines elsewhere."""

    def __init__(self, task: str, epochs: int | None, stream: TextIO | None = None) -> None:
        self.task = task
        self.stream = stream = sys.stdout if stream is None else stream
        self.every = max(1, (epochs or 1000) // LASTING_LINES)
        self.live = stream.isatty()
        self._open = False

    def next_after(self, epoch: int) -> int:
        """Give the next epoch that must be shown: of lines written over, one that stays."""
        return epoch + (self.every - epoch % self.every if self.live else 1)

    def __call__(self, epoch: Epoch) -> None:
        """Show one epoch."""
        # A line that a terminal wraps cannot be written over.
        width = shutil.get_terminal_size().columns - 1 if self.live else math.inf
        line = epoch_line(epoch, self.task, width)
        lasting = not self.live or epoch.number == 1 or epoch.number % self.every == 0
        start = "\r\x1b[2K" if self.live else ""
        self.stream.write(start + line + ("\n" if lasting else ""))
        self._open = not lasting
        self.stream.flush()

    def close(self) -> None:
        """End the live line."""
        if self._open:
            self.stream.write("\n")
            self._open = False


def print_facts(facts: Mapping[str, object]) -> None:
    """Print names and values, a line each."""
    console = Console(highlight=False)
    console.print()
    for name, value in facts.items():
        # A line is never cut in two: a terminal wraps what is too wide, and a log is searched.
        line = Text.assemble((name.ljust(max(map(len, facts)) + 2), "bold"), str(value))
        console.print(line, soft_wrap=True)


def print_layers(account: Account) -> None:
    """Print the X-ray in one screen: a row a layer, its values toward the end of the run.

    But its updates' size, which follows the schedule: that is the median over the run. Of a deep
    network the first and the last layers are shown. Nothing is printed where nothing was recorded.
    """
    if not account.recorded:
        return
    columns = {name: lately(account, name) for name in _LAYER_COLUMNS}
    _, weights, slopes = shrinkage(account)
    dead, moved = _dead_units(account), typically(account.by_layer("update_ratio")[2])
    plan = account.model.network.layout.plan
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("layer", "units", "dL/dW", "", "×φ'", "×W", "dead", "flat", "y std", "|Δw|/|w|"):
        table.add_column(name, justify="left" if name in ("", "dL/dW") else "right", no_wrap=True)
    largest = np.nanmax(columns["dw_rms"], initial=0.0)
    hidden = len(plan) - 1
    for k in range(len(plan)):
        if SHOWN_LAYERS <= k < len(plan) - SHOWN_LAYERS:
            if k == SHOWN_LAYERS:
                table.add_row("...")
            continue
        size = columns["dw_rms"][k]
        table.add_row(
            str(k + 1),
            str(plan[k]["units"]),
            _short(size, ".1e"),
            bar(size, largest),
            _short(10 ** slopes[k], ".2g"),
            _short(10 ** weights[k], ".2g"),
            _short(dead[k], ".0%") if k < hidden else "–",
            _short(columns["flat"][k], ".0%") if k < hidden else "–",
            _short(columns["y_std"][k], ".2g"),
            _short(moved[k], ".1e"),
        )
    console = Console(highlight=False)
    console.print()
    console.print(table, width=max(console.width, LEAST_WIDTH), crop=False)
    if hidden:
        console.print("×φ', ×W: what φ' and the weights of a layer do to the error on its way back")
        console.print(seen_in_flow(account))


_LAYER_COLUMNS = ("dw_rms", "flat", "y_std")


def _dead_units(account: Account) -> Array:
    """Give the share of units by layer that are dead for all rows looked at, or for a batch."""
    assert account.trace is not None
    found = account.trace.dead_units
    if not len(found):
        return lately(account, "dead")
    return found.filter(found["step"] == found["step"].max()).sort("layer")["dead"].to_numpy()


def _short(value: float, form: str) -> str:
    """Write a number by a format, or a dash where there is none."""
    return "–" if math.isnan(value) else format(value, form)


def bar(value: float, largest: float) -> str:
    """Draw a size as a bar, full at the largest; each power of ten below takes one block away.

    >>> bar(1.0, 1.0), bar(0.001, 1.0), bar(0.0, 1.0)
    ('■■■■■■■■', '■■■■■', '')
    """
    if not value > 0 or not math.isfinite(value) or not math.isfinite(largest):
        return ""
    return "■" * max(1, BLOCKS - round(math.log10(largest / value)))


def print_entries(entries: Mapping[str, Entry]) -> None:
    """Print a table of the catalogue: name, one line, equation, options, source."""
    console = Console(highlight=False)
    for entry in entries.values():
        options = ", ".join(f"{key}={value:g}" for key, value in entry.options.items())
        head = f"[bold]{entry.name}[/bold]" + (f"({options})" if options else "")
        console.print(f"{head}  {entry.line}")
        if entry.equation:
            console.print(f"    {entry.equation}", markup=False)
        if entry.source:
            console.print(f"    [dim]{entry.source}[/dim]")
