"""Parallel coordinates of a comparison: a line for each variant through settings and numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from downslope import look
from downslope.comparison import Comparison
from downslope.comparison_figures import COLORED, GRAY, Figure, far_apart, legend_below, short
from downslope.outcome import METRICS
from downslope.vary import show_value
from downslope.verdict import HEADINGS, show

LINES: Final = 100
"""Variants with a line through the parallel axes."""


def parallel_coordinates(comparison: Comparison, dataset: str) -> Figure:
    """Draw each variant as a line through its settings and its numbers, the best ones darkest.

    As plain lines: Plotly's own kind takes WebGL, and does not print.
    """
    ranking = comparison.ranking(dataset)[:LINES]
    axes = [_setting_axis(comparison, ranking, name) for name in comparison.varied]
    for metric in dict.fromkeys(["best_loss", "seconds_to_target", comparison.metric]):
        axis = _metric_axis(comparison, dataset, ranking, metric)
        if axis is not None:
            axes.append(axis)
    traces: list[Figure] = []
    for place, number in reversed(list(enumerate(ranking))):
        color = look.color(place) if place < COLORED else GRAY
        traces.append(
            {"type": "scatter", "mode": "lines", "x": list(range(len(axes))),
             "y": [axis.places[place] for axis in axes], "name": short(comparison.variants[number]),
             "line": {"color": color, "width": 2.5 if place < COLORED else 1},
             "showlegend": place < COLORED, "legendrank": place,
             "hovertemplate": "%{fullData.name}<extra></extra>"}
        )  # fmt: skip
    ticks = [
        {"text": text, "x": number, "y": place, "xanchor": "right", "xshift": -5,
         "showarrow": False, "font": {"size": 11}}
        for number, axis in enumerate(axes) for place, text in axis.ticks
    ]  # fmt: skip
    lines = [
        {"type": "line", "x0": number, "x1": number, "y0": 0, "y1": 1,
         "line": {"width": 1, "color": "gray"}}
        for number in range(len(axes))
    ]  # fmt: skip
    hidden = {"showline": False, "showgrid": False, "ticks": ""}
    return {
        "data": traces,
        "layout": {
            **(below := legend_below(len(ranking))),
            "margin": {**below["margin"], "t": 64},
            "annotations": ticks,
            "shapes": lines,
            "xaxis": {**hidden, "tickvals": list(range(len(axes))), "side": "top",
                      "ticktext": [axis.label for axis in axes],
                      "range": [-0.5, len(axes) - 0.6]},
            "yaxis": {**hidden, "showticklabels": False, "range": [-0.04, 1.04]},
        },
    }  # fmt: skip


@dataclass(frozen=True)
class _Axis:
    """One of the parallel axes: where each variant stands on it, from 0 to 1, and its ticks."""

    label: str
    places: list[float]
    ticks: list[tuple[float, str]]


def _setting_axis(comparison: Comparison, ranking: Sequence[int], name: str) -> _Axis:
    """Give the axis of a field: its values, in the order given, evenly apart."""
    texts = list(
        dict.fromkeys(show_value(name, each.settings[name]) for each in comparison.variants)
    )
    height = max(len(texts) - 1, 1)
    of = [show_value(name, comparison.variants[number].settings[name]) for number in ranking]
    return _Axis(
        name,
        [texts.index(text) / height for text in of],
        [(place / height, look.plain(text)) for place, text in enumerate(texts)],
    )


def _metric_axis(
    comparison: Comparison, dataset: str, ranking: Sequence[int], metric: str
) -> _Axis | None:
    """Give the axis of a metric, the better end on top; a variant without one stands at the worst.

    By logarithms where the values lie far apart.
    """
    means = [comparison.interval(dataset, number, metric).mean for number in ranking]
    known = [value for value in means if math.isfinite(value)]
    if len(set(known)) < 2:
        return None
    rises, logs = METRICS[metric].rises, far_apart(known)
    low, high = min(known), max(known)
    worst, best = (low, high) if rises else (high, low)

    def place(value: float) -> float:
        if logs:
            return math.log(value / worst) / math.log(best / worst)
        return (value - worst) / (best - worst)

    middle = math.sqrt(low * high) if logs else (low + high) / 2
    values = [value if math.isfinite(value) else worst for value in means]
    ticks = [(place(value), show(metric, value)) for value in (worst, middle, best)]
    return _Axis(HEADINGS[metric], [place(value) for value in values], ticks)
