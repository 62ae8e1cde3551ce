"""What `downslope descend` prints: the function, every step, and where each descent ended."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from downslope.catalogue import RULES
from downslope.function_run import LBFGS, FunctionRun, is_lower, lowest_minimum
from downslope.functions import Function
from downslope.gallery import GALLERY, Minimum

SHOWN_DERIVATIVE = 160
"""Characters of a derivative that are shown; the rest is counted."""

NONE_LOWER = "none is known: this is the lowest"

SHOWN_VARIABLES = 4
"""Variables up to which each has a column."""


def number(value: float) -> str:
    """Write a number with up to six significant digits.

    >>> number(2.25), number(-6.54296875), number(1e-9), number(math.nan)
    ('2.25', '-6.54297', '1e-09', '-')
    """
    return "-" if math.isnan(value) else f"{value:.6g}"


def place(theta: Iterable[float], digits: int = 6) -> str:
    """Write a point: one number, or several in parentheses.

    >>> place([2.25]), place([1, -0.5])
    ('2.25', '(1, -0.5)')
    """
    numbers = [f"{0.0 if abs(each) < 1e-12 else float(each):.{digits}g}" for each in theta]
    if len(numbers) > SHOWN_VARIABLES + 2:
        numbers = [*numbers[:SHOWN_VARIABLES], f"... {len(numbers)} in all"]
    return numbers[0] if len(numbers) == 1 else f"({', '.join(numbers)})"


def print_function(function: Function) -> None:
    """Print the function, its derivatives and what is known of it."""
    console = Console(highlight=False)
    table = _pairs()
    if function.line:
        table.add_row(function.name, escape(f"{function.line} ({function.source})"))
    written = function.name + " (a Python function)"
    if function.formula is not None:
        written = shortened(function.formula.text)
    table.add_row(f"f({', '.join(function.variables)})", escape(written))
    for name, slope in zip(function.variables, function.derivative_texts(), strict=False):
        table.add_row(f"df/d{name}", escape(shortened(slope)))
    if not function.gradient_formulas:
        table.add_row("gradient", function.derivatives)
    if function.noise:
        table.add_row("noise", f"standard deviation {function.noise:g} on each entry of a gradient")
    if function.minima:
        table.add_row("known", escape(known(function.minima)))
    console.print()
    console.print(table)


def known(minima: Sequence[Minimum]) -> str:
    """Say which minima are known."""
    shown = [f"f = {number(value)} at {place(theta)}" for theta, value in minima]
    return f"minim{'um' if len(shown) == 1 else 'a'} " + "; ".join(shown)


def print_run(run: FunctionRun, runs: Sequence[FunctionRun]) -> None:
    """Print how one descent went, and where it ended, in full."""
    table, ending = _pairs(), run.ending
    table.add_row("rule", escape(f"{run.rule}: {rule_equation(run.rule)}"))
    if not math.isnan(run.learning_rate):
        table.add_row("rate", number(run.learning_rate) + _how_chosen(run))
    table.add_row("start", f"{place(run.thetas[0])}, f = {number(run.values[0])}")
    table.add_row("stopped", escape(run.reason))
    table.add_row("end", f"{place(run.theta)}, f = {number(run.value)}, {run.steps:,} steps")
    table.add_row("which is", f"[bold]{ending.kind}[/bold]" + escape(_with(ending.remark)))
    how = "" if ending.hessian == "exact" else " (by differences)"
    curvatures = ", ".join(number(float(each)) for each in ending.eigenvalues[:6])
    more = ", ..." if len(ending.eigenvalues) > 6 else ""
    table.add_row("", f"gradient's norm {ending.gradient_norm:.3g}")
    table.add_row("", f"curvatures {curvatures}{more}{how}")
    if lower := what_is_lower(run, runs):
        table.add_row("lower", escape(lower))
    console = Console(highlight=False)
    console.print()
    console.print(table)


def rule_equation(rule: str) -> str:
    """Give a rule's equation."""
    if rule == LBFGS:
        return "SciPy's L-BFGS-B: along a quasi-Newton direction, as far as a line search says"
    word = rule.partition("(")[0].strip().lower().replace("-", "_")
    if word not in RULES:
        return "a function of your own"
    if word == "muon":
        return "theta as a matrix of one column: momentum, scaled to length 1"
    return RULES[word].equation


def _how_chosen(run: FunctionRun) -> str:
    if run.sweep is None:
        return ""
    low, high = run.sweep.learning_rates[[0, -1]]
    return f", the best of {len(run.sweep.learning_rates)} from {low:g} to {high:g}"


def what_is_lower(run: FunctionRun, runs: Sequence[FunctionRun]) -> str:
    """Say whether a lower minimum is known, or was found by another descent; "" if neither."""
    if run.ending.kind not in ("minimum", "saddle", "plateau", "maximum"):
        return ""
    best = lowest_minimum(runs)
    if run.lower_known is not None:
        theta, value = run.lower_known
        return f"a lower minimum is known: f = {number(value)} at {place(theta)}"
    if best is not None and is_lower(best, run):
        found = f"a lower minimum was found by {best.rule} from {place(best.thetas[0])}"
        return f"{found}: f = {number(best.value)} at {place(best.theta)}"
    if run.at_known is not None and run.ending.kind == "minimum":
        return NONE_LOWER
    return ""


def print_runs(runs: Sequence[FunctionRun]) -> None:
    """Print several descents from one start side by side."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    names = runs[0].function.variables
    few = len(names) <= SHOWN_VARIABLES
    table.add_column("rule", style="bold", no_wrap=True)
    for heading in ("rate", "steps", *(names if few else ()), "f", "|gradient|"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("which is", no_wrap=True)
    for run in runs:
        where = [_short(each) for each in run.theta] if few else []
        table.add_row(
            run.rule, _rate(run), f"{run.steps:,}", *where, _short(run.value),
            f"{run.ending.gradient_norm:.2g}", run.ending.kind,
        )  # fmt: skip
    console = Console(highlight=False)
    console.print()
    console.print(table)
    console.print()
    if runs[0].sweep is not None:
        tried = runs[0].sweep.learning_rates
        console.print(f"Each rate is the best of {len(tried)} from {tried[0]:g} to {tried[-1]:g}.")
    for said, rules in remarks(runs).items():
        console.print(f"[bold]{escape(', '.join(rules))}[/bold]: {escape(said)}")


def remarks(runs: Sequence[FunctionRun]) -> dict[str, list[str]]:
    """Give what there is to say of the ends, and of which rules (with rates, where several)."""
    said: dict[str, list[str]] = {}
    for run in runs:
        lower = what_is_lower(run, runs)
        parts = [run.ending.remark, "" if lower == NONE_LOWER else lower]
        alone = len({other.learning_rate for other in runs if other.rule == run.rule}) <= 1
        name = run.rule if alone else f"{run.rule} {_rate(run)}"
        names = said.setdefault("; ".join(filter(None, parts)), [])
        if name not in names:
            names.append(name)
    said.pop("", None)
    return said


def _rate(run: FunctionRun) -> str:
    return "-" if math.isnan(run.learning_rate) else f"{run.learning_rate:.3g}"


def _short(value: float) -> str:
    digits = 4 if 1e-3 <= abs(value) < 1e5 else 2
    return f"{0.0 if abs(value) < 1e-12 else value:.{digits}g}"


def print_places(runs: Sequence[FunctionRun]) -> None:
    """Print where many starts led, by rule: each place once, the lowest first."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("rule", style="bold", no_wrap=True)
    for heading in ("rate", "starts", "steps", "f"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("ended at", no_wrap=True)
    table.add_column("which is")
    for rule in dict.fromkeys((run.rule, run.learning_rate) for run in runs):
        mine = [run for run in runs if str((run.rule, run.learning_rate)) == str(rule)]
        for row, group in enumerate(group_by_place(mine)):
            first = group[0]
            steps = f"{int(np.median([run.steps for run in group])):,}"
            head = (first.rule, _rate(first))
            where = place(first.theta) if len(group) == 1 or is_place(first) else "here and there"
            value = _short(min(run.value for run in group)) if is_place(first) else "-"
            said = ", ".join(filter(None, [first.ending.kind, known_as(first)]))
            table.add_row(*(head if row == 0 else ("", "")), f"{len(group)}", steps, value,
                          where, said)  # fmt: skip
    console = Console(highlight=False)
    console.print()
    console.print(table)


def group_by_place(runs: Sequence[FunctionRun]) -> list[list[FunctionRun]]:
    """Put together the runs that ended at the same place, lowest first; then those at none."""
    groups: list[list[FunctionRun]] = []
    for run in sorted(runs, key=lambda run: (not is_place(run), run.ending.kind, run.value)):
        for group in groups:
            near = np.linalg.norm(run.theta - group[0].theta) <= 1e-3 * (
                1 + np.linalg.norm(group[0].theta)
            )
            same = run.ending.kind == group[0].ending.kind
            if same and (near or not is_place(run)):
                group.append(run)
                break
        else:
            groups.append([run])
    return groups


def is_place(run: FunctionRun) -> bool:
    """Say whether a run ended at a stationary point."""
    return run.ending.kind not in ("not converged", "diverged")


def known_as(run: FunctionRun) -> str:
    """Say how low a known minimum is among those known; "" where it is none."""
    if run.at_known is None or run.ending.kind != "minimum":
        return ""
    return "the lowest" if run.lower_known is None else "not the lowest"


def print_trace(run: FunctionRun) -> None:
    """Print every step of a descent: w, f(w), df/dw, and the step; the six steps at the top."""
    rate = f" (rate {run.learning_rate:.6g})" if not math.isnan(run.learning_rate) else ""
    w = run.function.variables[0] if len(run.function.variables) == 1 else "w"
    sys.stdout.write(
        f"\n{run.rule}{rate}\n"
        f"  1 start at {w} = {place(run.thetas[0])}\n"
        f"  2 compute f({w}) and its gradient df/d{w}\n"
        f"  3 step: {rule_equation(run.rule)}\n"
        f"  4 and again, from there\n"
        f"  5 stop when the gradient is as good as 0, or after the last step\n"
        f"  6 what is left is the optimum, if it is one\n\n"
    )
    for line in trace_lines(run):
        sys.stdout.write(line + "\n")


def trace_lines(run: FunctionRun) -> Iterator[str]:
    """Give the lines of the table of steps."""
    names = run.function.variables
    heads = [
        "step", *names, f"f({', '.join(names)})" if len(names) <= 3 else "f",
        *(f"df/d{name}" for name in names), *(f"step of {name}" for name in names),
    ]  # fmt: skip
    yield "  ".join([heads[0].rjust(7), *(head.rjust(13) for head in heads[1:])])
    moves = run.moves
    for step in range(run.steps + 1):
        numbers = [*run.thetas[step], run.values[step], *run.gradients[step]]
        cells = [f"{each:.7g}" for each in numbers]
        if step < run.steps:
            cells += [f"{each:.7g}" for each in moves[step]]
        yield "  ".join([f"{step:>7,}", *(cell.rjust(13) for cell in cells)])


def print_gallery() -> None:
    """Print the functions of the gallery: what is hard, formula, minima, source."""
    console = Console(highlight=False)
    for entry in GALLERY.values():
        count = entry.variables or 2
        any_number = "" if entry.variables else "  [dim](2 variables or more)[/dim]"
        console.print(f"[bold]{entry.name}[/bold]  {entry.line}{any_number}")
        console.print(f"    f = {entry.formula(count)}", markup=False)
        minima = entry.minima(count)
        if minima:
            console.print(f"    {known(minima)}", markup=False)
        console.print(f"    [dim]{entry.source}[/dim]")


def _with(remark: str) -> str:
    return f": {remark}" if remark else ""


def shortened(text: str) -> str:
    """Cut a long formula short; say how long it is."""
    if len(text) <= SHOWN_DERIVATIVE:
        return text
    return f"{text[:SHOWN_DERIVATIVE]} ... ({len(text):,} characters)"


def _pairs() -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table
