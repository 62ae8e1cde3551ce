"""Pictures of descents on functions: what is drawn together, courses by step, learning rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from downslope.function_run import SAME, FunctionRun
from downslope.functions import Bounds
from downslope.look import color, plain
from downslope.sweep import BEHAVIORS, DIVERGING

Figure: TypeAlias = dict[str, Any]
"""A figure as plain Plotly data."""

DRAWN = 60
"""Paths that are drawn, at most, unless there are more rules."""

DASHES = ("solid", "dash", "dot")


@dataclass(frozen=True)
class Group:
    """The descents that are drawn as one: those of one rule and learning rate."""

    name: str
    number: int
    runs: tuple[FunctionRun, ...]


def groups(
    runs: Sequence[FunctionRun], with_rate: bool = True, drawn: int | None = None
) -> list[Group]:
    """Put together the descents of one rule and learning rate: so many of each, or `DRAWN` in all.

    drawn: of each; None shares `DRAWN` evenly.
    """
    by: dict[tuple[str, str], list[FunctionRun]] = {}
    for run in runs:
        rate = "" if math.isnan(run.learning_rate) else f" {run.learning_rate:.3g}"
        by.setdefault((run.rule, rate if with_rate else ""), []).append(run)
    most = max(DRAWN // len(by), 1) if drawn is None else drawn
    return [
        Group(plain(rule + rate), number, tuple(each[:most]))
        for number, ((rule, rate), each) in enumerate(by.items())
    ]


def view(runs: Sequence[FunctionRun]) -> Bounds:
    """Give what is to be seen: the function's domain, or what the paths go through."""
    function = runs[0].function
    if function.domain:
        return function.domain
    start = np.array([run.thetas[0] for run in runs])
    reach = 3 * (1 + np.abs(start).max(axis=0))
    points = [start, start - 0.3 * reach / 3, start + 0.3 * reach / 3]
    for run in runs:
        inside = (np.abs(run.thetas - run.thetas[0]) <= reach).all(axis=1)
        points.append(run.thetas[inside])
    seen = np.concatenate(points)
    low, high = seen.min(axis=0), seen.max(axis=0)
    margin = 0.2 * (high - low)
    return tuple(zip((low - margin).tolist(), (high + margin).tolist(), strict=True))


def by_step(runs: Sequence[FunctionRun], quantity: str) -> Figure:
    """Draw f above its lowest value, or the gradient's norm, step by step."""
    lowest, data = lowest_value(runs), []
    for group in groups(runs):
        for number, run in enumerate(group.runs):
            kept = _spread(run.steps, max(40, 400 // len(group.runs)))
            y = run.values[kept] - lowest if quantity == "f" else run.norms[kept]
            more = {"legendgroup": group.name, "showlegend": number == 0}
            line = stroke(group, 2 if len(group.runs) == 1 else 1)
            data.append(series(kept + 1, np.where(y > 0, y, np.nan), group.name, line, **more))
    title = above(lowest) if quantity == "f" else "|gradient|"
    ticks = {"exponentformat": "power"}
    return {
        "data": data,
        "layout": {
            "xaxis": {"title": {"text": "step, from 1"}, "type": "log", **ticks},
            "yaxis": {"title": {"text": title}, "type": "log", **ticks},
        },
    }


def rates(runs: Sequence[FunctionRun]) -> Figure:
    """Draw f where each learning rate ended: it converges, oscillates or diverges."""
    swept = [run for run in runs if run.sweep is not None]
    lowest = lowest_value(runs)
    data: list[Figure] = []
    tops = [run.values[0] - lowest for run in swept]
    roof = 10 * max([top for top in tops if top > 0], default=1.0)
    marks = dict(
        zip(BEHAVIORS, ("circle", "diamond", "circle-open", "square-open", "x"), strict=True)
    )
    for group in groups(runs, with_rate=False):
        sweep = group.runs[0].sweep
        if sweep is None:
            continue
        heights = sweep.values - lowest
        gone = np.array([behavior == DIVERGING for behavior in sweep.behaviors])
        y = np.where(gone | ~(heights < roof), roof, np.maximum(heights, 1e-16))
        # Lower than any known or reached: f goes down without end, and no height says how far.
        y = np.where(~gone & (heights < -SAME * (1 + abs(lowest))), np.nan, y)
        symbols = [marks[behavior] for behavior in sweep.behaviors]
        data.append({
            **series(sweep.learning_rates, y, group.name, stroke(group, 1.6)),
            "mode": "lines+markers",
            "marker": {"symbol": symbols, "size": 7, "color": color(group.number)},
            "customdata": list(sweep.behaviors),
            "hovertemplate": "rate %{x}<br>f - lowest %{y}<br>%{customdata}"
            "<extra>%{fullData.name}</extra>",
        })  # fmt: skip
    for behavior, symbol in marks.items():
        mark = {"symbol": symbol, "size": 8, "color": "#8a929c"}
        data.append({"type": "scatter", "mode": "markers", "x": [None], "y": [None],
                     "name": behavior, "marker": mark, "legend": "legend2"})  # fmt: skip
    ticks = {"exponentformat": "power"}
    layout = {
        "xaxis": {"title": {"text": "learning rate"}, "type": "log", **ticks},
        "yaxis": {"title": {"text": f"{above(lowest)} at the end"}, "type": "log", **ticks},
        "legend2": {"itemsizing": "constant", "orientation": "h", "x": 0, "xanchor": "left",
                    "y": -0.2, "yanchor": "top"},
        "margin": {"b": 96}, "height": 460,
    }  # fmt: skip
    return {"data": data, "layout": layout}


def lowest_value(runs: Sequence[FunctionRun]) -> float:
    """Give the lowest f that is known or that a run reached."""
    reached = min(float(np.nanmin(run.values)) for run in runs)
    return min([reached, *(value for _, value in runs[0].function.minima[:1])])


def _spread(last: int, count: int) -> Any:
    """Choose steps for a logarithmic axis: 0 and on to the last."""
    if last < count:
        return np.arange(last + 1)
    return np.unique(np.geomspace(1, last + 1, count).round().astype(int)) - 1


def stroke(group: Group, width: float) -> dict[str, Any]:
    """Give how a group's lines are drawn: a color each; dashed when the colors come round."""
    dash = DASHES[group.number // 6 % len(DASHES)]
    return {"color": color(group.number), "width": width, "dash": dash}


def series(x: Any, y: Any, name: str, line: dict[str, Any], **more: Any) -> Figure:
    """Give one line of a figure."""
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "name": name, "line": line, **more}


def above(lowest: float) -> str:
    """Write f above its lowest value: f, f - 3, f + 2."""
    shown = number(abs(lowest))
    return "f" if shown == "0" else f"f {'-' if lowest > 0 else '+'} {shown}"


def number(value: float) -> str:
    """Write a number shortly."""
    return f"{0.0 if abs(value) < 1e-12 else value:.4g}"


def place(theta: Any) -> str:
    """Write a point shortly."""
    numbers = [number(round(float(each), 4)) for each in theta]
    return numbers[0] if len(numbers) == 1 else f"({', '.join(numbers)})"
