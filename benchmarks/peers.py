"""Downslope against PyTorch, JAX and scikit-learn; run by ``make bench``.

    python benchmarks/peers.py [--rows REGEX] [--quick] [--rounds N] [--no-write]
    python benchmarks/peers.py --memory | --startup | --landscapes | --estimators | --recording

The full run takes some five minutes and writes RESULTS.md; part of the rows, or --quick, does not.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from compare import comparisons
from estimators import estimators
from footprint import memory, startup
from landscapes import landscapes
from recording import recording
from results import Results, markdown, show
from rounds import Measurements, measure
from rows import ROWS, Row

RESULTS: Final = Path(__file__).with_name("RESULTS.md")
ROUNDS: Final = 4
BUDGET: Final = 0.15
"""Seconds that a contender's turn aims at."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rows", metavar="REGEX", help="only rows such as '784-128-10 b32 adam'")
    parser.add_argument("--quick", action="store_true", help="one short round, for a first look")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"at most; default {ROUNDS}")
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    parser.add_argument("--memory", action="store_true", help="only memory of full-batch descent")
    parser.add_argument("--startup", action="store_true", help="only time to start")
    parser.add_argument("--landscapes", action="store_true", help="only landscapes and curvature")
    parser.add_argument("--estimators", action="store_true", help="only the estimators")
    parser.add_argument("--recording", action="store_true", help="only what the X-ray costs")
    parser.add_argument("--comparisons", action="store_true", help="only compare() of 216 runs")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds takes a number from 1; got {arguments.rounds}")
    return arguments


def _chosen(pattern: str | None) -> list[Row]:
    """Give the rows that a regular expression matches anywhere."""
    rows = [row for row in ROWS if re.search(pattern or "", str(row))]
    if not rows:
        sys.exit(f"no row matches {pattern!r}; they are: {', '.join(map(str, ROWS))}")
    return rows


def _footprint(measurements: list[Callable[[], object]]) -> list[str]:
    """Measure each; say what went wrong where one did."""
    lines = []
    for each in measurements:
        try:
            lines.append(str(each()))
        except (OSError, subprocess.CalledProcessError) as error:
            lines.append(f"not measured: {error}".splitlines()[0])
    return lines


def _measure(rows: list[Row], rounds: int, budget: float, console: Console) -> Measurements:
    """Measure with one line that says where it stands, drawn between turns only."""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        return measure(rows, rounds, budget, lambda text: live.update(Text(text), refresh=True))


def main() -> None:
    arguments = _arguments()
    console = Console(width=None if sys.stdout.isatty() else 110)
    beside: list[Callable[[], object]] = [memory, startup, landscapes, comparisons]
    only = [f for f in beside if getattr(arguments, f.__name__)]
    if only:
        console.print("\n".join(_footprint(only)), markup=False)
        return
    if arguments.estimators:
        console.print("\n".join(estimators().lines()), markup=False)
        return
    if arguments.recording:
        console.print("\n".join(recording(arguments.rows or "").lines()), markup=False)
        return
    rows = _chosen(arguments.rows)
    rounds = 1 if arguments.quick else arguments.rounds
    found = _measure(rows, rounds, BUDGET / 3 if arguments.quick else BUDGET, console)
    full = not arguments.quick and arguments.rows is None
    footprint = _footprint(beside) if full and "Downslope" not in found.absent else []
    compared = estimators().lines() if footprint else []
    recorded = recording().lines() if footprint else []
    results = Results(found, footprint, compared, recorded)
    show(results, console)
    if full and not arguments.no_write:
        RESULTS.write_text(markdown(results), encoding="utf-8")
        console.print(f"wrote {RESULTS.name}")


if __name__ == "__main__":
    main()
