"""The page of a descent on a function: its pictures, with what is seen in them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from downslope import basin_plots, path_plots
from downslope import function_plots as plots
from downslope.basins import NOWHERE, SIDE, STEPS, Basins, basins
from downslope.function_run import FunctionRun, descent_of
from downslope.function_terminal import (
    group_by_place,
    is_place,
    known,
    known_as,
    number,
    place,
    remarks,
    shortened,
)
from downslope.functions import Function
from downslope.page import Grid, Section, write
from downslope.sweep import CONVERGED, DIVERGING, OSCILLATING, SWUNG, sweep
from downslope.together import is_elementwise

FACTORS = (0.25, 1.0, 4.0)
"""The learning rates of the basins, over the run's."""

STRIP_RATES = 31
"""Learning rates of the basins of one variable."""

MOST_RULES = 6
"""Rules whose basins are drawn."""


def write_page(runs: Sequence[FunctionRun], path: str | Path) -> Path:
    """Write the pictures of descents on one function to one HTML file that needs nothing else.

    Parameters
    ----------
    runs
        Descents on the same function: of several rules, learning rates or starts.
    path

    Returns
    -------
    The file's path.
    """
    runs = [with_sweep(run) for run in runs]
    function = runs[0].function
    count = len(function.variables)
    sections: list[Section] = []
    if count == 1:
        sections.append(_curve(runs))
    if count == 2:
        sections += _surfaces(runs)
    sections.append(_ends(runs))
    sections += _courses(runs)
    if any(run.sweep is not None for run in runs):
        sections.append(_rates(runs))
    if count <= 2:
        sections += _basins(runs)
    return write(path, f"Downhill on {function.name}", sections, function.line, facts(function))


def facts(function: Function) -> dict[str, object]:
    """Give what is known of a function, by name."""
    formula = function.name if function.formula is None else function.formula.text
    found: dict[str, object] = {f"f({', '.join(function.variables)})": shortened(formula)}
    for name, slope in zip(function.variables, function.derivative_texts(), strict=False):
        found[f"df/d{name}"] = shortened(slope)
    if function.formula is None:
        found["gradient"] = function.derivatives
    if function.noise:
        found["noise"] = f"standard deviation {function.noise:g} on each entry of a gradient"
    if function.minima:
        found["known"] = known(function.minima)
    if function.source:
        found["source"] = function.source
    return found


def with_sweep(run: FunctionRun) -> FunctionRun:
    """Give the run with a sweep of its start's learning rates, where that can be made."""
    descent = descent_of(run)
    if run.sweep is not None or descent is None or callable(descent.schedule):
        return run
    if not is_elementwise(descent) or run.function.formula is None:
        return run
    return dataclasses.replace(run, sweep=sweep(run.function, run.thetas[0], descent))


def table(runs: Sequence[FunctionRun]) -> Grid:
    """Give where the runs ended, as a table; what ended at one place is one row."""
    several = len({tuple(run.thetas[0].tolist()) for run in runs}) > 1
    rows = []
    for rule in plots.groups(runs, drawn=len(runs)):
        together = group_by_place(rule.runs) if several else [[run] for run in rule.runs]
        rows += [_row(alike, several) for alike in together]
    header = ["rule", "rate", "starts", "steps", "which is", "f", "|gradient|", "ended at",
              "curvatures"]  # fmt: skip
    if not several:
        header.remove("starts")
    return Grid(header, rows)


def _row(alike: Sequence[FunctionRun], several: bool) -> list[object]:
    """Give one row: of a run, or of those that ended at the same place."""
    run = alike[0]
    steps = int(np.median([each.steps for each in alike]))
    kind = ", ".join(filter(None, [run.ending.kind, known_as(run)]))
    found: list[object] = [run.rule, run.learning_rate, *([len(alike)] if several else []), steps]
    if len(alike) > 1 and not is_place(run):
        return [*found, kind, math.nan, math.nan, "here and there", ""]
    low, high = run.ending.eigenvalues[[0, -1]]
    bends = f"{low:.3g}" if len(run.theta) == 1 else f"{low:.3g} to {high:.3g}"
    return [*found, kind, run.value, run.ending.gradient_norm, place(run.theta, 4), bends]


def _ends(runs: Sequence[FunctionRun]) -> Section:
    seen = ". ".join(f"{', '.join(rules)}: {said}" for said, rules in remarks(runs).items())
    words = "Curvatures are the eigenvalues of the Hessian: all positive at a minimum."
    return Section("Where each one ended", table(runs), words, seen and f"{seen}.", wide=True)


def _curve(runs: Sequence[FunctionRun]) -> Section:
    words = (
        "Each mark is a step. Downhill, the step goes against the slope; play it, or move the "
        "slider. Where the curve is flat, steps are short."
    )
    return Section(
        "The curve and the way down", path_plots.curve(runs), words, _seen(runs), wide=True
    )


def _surfaces(runs: Sequence[FunctionRun]) -> list[Section]:
    above = (
        "From above: light is low, dark is high, a line is one height. A path that zigzags has too "
        "large a learning rate for the steep way and too small a one for the flat way."
    )
    space = "The same as a surface, to be turned. Heights are drawn by their logarithm."
    return [
        Section("The paths from above", path_plots.contours(runs), above, _seen(runs)),
        Section("The paths in space", path_plots.surface(runs), space, _start_words(runs)),
    ]


def _start_words(runs: Sequence[FunctionRun]) -> str:
    starts = {tuple(run.thetas[0].tolist()) for run in runs}
    if len(starts) > 1:
        drawn = len(plots.groups(runs)[0].runs)
        return f"Drawn are the paths from {drawn} of the {len(starts)} starts."
    return f"All start at {place(runs[0].thetas[0])}, where f = {number(float(runs[0].values[0]))}."


def _seen(runs: Sequence[FunctionRun]) -> str:
    """Say which rules came to a minimum, and how many steps they took."""
    there, others = [], []
    for group in plots.groups(runs, drawn=len(runs)):
        arrived = [run.steps for run in group.runs if run.ending.kind == "minimum"]
        rule, count = group.name, len(group.runs)
        if arrived:
            of = "" if count == 1 else f" from {len(arrived)} of {count} starts,"
            there.append(f"{rule}{of} after {int(np.median(arrived)):,} steps")
        else:
            kinds = ", ".join(dict.fromkeys(run.ending.kind for run in group.runs))
            others.append(f"{rule} ({kinds})")
    said = [f"At a minimum: {'; '.join(there)}."] if there else []
    return " ".join([*said, f"Not: {'; '.join(others)}."] if others else said)


def _courses(runs: Sequence[FunctionRun]) -> list[Section]:
    falls = (
        "Both axes are logarithmic: a straight line is a power of the number of steps, a curve "
        "that bends down takes off a share with every step."
    )
    norm = "At a minimum it is 0; on a plateau and at a saddle too."
    return [
        Section("f, step by step", plots.by_step(runs, "f"), falls),
        Section("The gradient's norm, step by step", plots.by_step(runs, "norm"), norm),
    ]


def _rates(runs: Sequence[FunctionRun]) -> Section:
    words = (
        "From the same start, by each learning rate. Too small: still going down when the steps "
        "are over. Too large: it oscillates, then diverges (the crosses at the top)."
    )
    return Section("Learning rates", plots.rates(runs), words, rates_seen(runs), wide=True)


def rates_seen(runs: Sequence[FunctionRun]) -> str:
    """Say where each rule converges, and from which learning rate on it does not."""
    parts = []
    for group in plots.groups(runs, with_rate=False):
        found = group.runs[0].sweep
        if found is None:
            continue
        good = [rate for rate, how in zip(found.learning_rates, found.behaviors, strict=True)
                if how in (CONVERGED, SWUNG)]  # fmt: skip
        told = (
            f"reaches a gradient of 0 {_between(good)}" if good
            else "reaches no gradient of 0 in time"
        )  # fmt: skip
        settles = [how not in (DIVERGING, OSCILLATING) for how in found.behaviors]
        beyond = len(settles) - settles[::-1].index(True) if any(settles) else 0
        if beyond < len(settles):
            told += f", oscillates or diverges from {found.learning_rates[beyond]:.2g} on"
        parts.append(f"{group.runs[0].rule} {told}")
    return "; ".join(parts) + "."


def _between(rates: Sequence[float]) -> str:
    low, high = f"{min(rates):.2g}", f"{max(rates):.2g}"
    return f"at {low}" if low == high else f"between {low} and {high}"


def _basins(runs: Sequence[FunctionRun]) -> list[Section]:
    """Draw the basins of the rules that have them; say why of the others."""
    function, box = runs[0].function, plots.view(runs)
    heading = "Basins of attraction"
    if function.formula is None:
        words = "A Python function is called point by point: too slow for a grid of starts."
        return [Section(heading, None, words, wide=True)]
    found: list[Basins] = []
    left_out = []
    places = np.array([theta for theta, _ in function.minima]).reshape(-1, len(box))
    for group in plots.groups(runs, with_rate=False):
        run = group.runs[0]
        descent = descent_of(run)
        if descent is None or not is_elementwise(descent) or callable(descent.schedule):
            left_out.append(run.rule)
            continue
        if len(found) == MOST_RULES:
            continue
        short = dataclasses.replace(descent, steps=min(STEPS, descent.steps or STEPS))
        rates = run.learning_rate * np.array(FACTORS)
        if len(box) == 1:
            rates = run.learning_rate * np.logspace(-2, 1.5, STRIP_RATES)
        side = SIDE if len(box) == 2 else 3 * SIDE
        found.append(basins(function, short, rates, box, side=side, places=places))
        places = found[-1].places
    words = (
        f"A point's color says which minimum a descent from there reaches within "
        f"{min(STEPS, descent_steps(runs))} steps. Larger learning rates jump over edges: their "
        "basins fray."
    )
    if left_out:
        words += f" Not drawn: {', '.join(left_out)}, which move each point whole, so that a grid "
        words += "of starts cannot move together."
    if not found:
        return [Section(heading, None, words, wide=True)]
    if not len(places):
        words = "No start of the grid comes to a minimum, so there are no basins to draw."
        return [Section(heading, None, words, wide=True)]
    draw = basin_plots.basin_map if len(box) == 2 else basin_plots.basin_strips
    return [Section(heading, draw(found, function), words, basins_seen(found), wide=True)]


def descent_steps(runs: Sequence[FunctionRun]) -> int:
    """Give the most steps that a run's descent might have taken."""
    return max(run.descent.steps or STEPS for run in runs)


def basins_seen(found: Sequence[Basins]) -> str:
    """Say which share of the starts comes to a minimum, by rule, at its middle learning rate."""
    parts = []
    for each in found:
        labels = each.labels[len(each.learning_rates) // 2]
        share = float(np.mean(labels > NOWHERE))
        lowest = float(np.mean(labels == 0))
        told = f"{each.rule}: {share:.0%} of the starts come to a minimum"
        parts.append(told + (f", {lowest:.0%} to the first" if len(each.places) > 1 else ""))
    return "; ".join(parts) + "."
