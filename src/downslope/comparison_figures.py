"""Figures of a comparison, as Plotly takes them: plain data and layout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from downslope import look
from downslope.comparison import Comparison
from downslope.outcome import Outcome
from downslope.performance_profile import profile
from downslope.significance import interval
from downslope.table import Table
from downslope.trials import GRID, grid
from downslope.vary import Variant, show_value
from downslope.verdict import HEADINGS, standing

Array = npt.NDArray[Any]
Figure = dict[str, Any]

COLORED: Final = len(look.COLORS)
"""Variants in color; the others are in gray, for no eye tells more apart."""

GRAY: Final = "rgba(128,128,128,0.22)"

POINTS: Final = 200
"""Points of a curve: more are not seen."""

ROWS: Final = 30
"""Variants in the figure of means and intervals."""

MAPS: Final = 12
"""Decision boundaries side by side."""

AXES: Final = (("epoch", "epochs"), ("step", "steps"), ("second", "seconds"))


def curves(comparison: Comparison, dataset: str, kind: str) -> Figure:
    """Draw the mean of a curve over seeds with its 95 % interval, by epoch, step or second.

    `kind` is "losses", "validation_losses" or "validation_scores". Losses are drawn, and averaged,
    by their logarithms where all are above 0.
    """
    traces: list[Figure] = []
    across: list[list[list[float]]] = [[], [], []]
    ranking = comparison.ranking(dataset)
    logarithmic = kind != "validation_scores" and all(
        loss > 0 for outcome in comparison.outcomes for loss in getattr(outcome, kind)
    )
    for place, number in reversed(list(enumerate(ranking))):
        variant = comparison.variants[number]
        outcomes = [each for each in comparison.of(dataset, variant) if getattr(each, kind)]
        if not outcomes:
            continue
        places, middle, low, high = _band(outcomes, kind, logarithmic)
        color = look.color(place) if place < COLORED else GRAY
        name = short(variant)
        group = {"legendgroup": name, "name": name}
        if place < COLORED and not np.isnan(low).any():
            traces.append(
                {"type": "scatter", "x": [*places[0], *places[0][::-1]], "y": [*high, *low[::-1]],
                 "fill": "toself", "fillcolor": color, "opacity": 0.18, "line": {"width": 0},
                 "mode": "lines", "hoverinfo": "skip", "showlegend": False, **group}
            )  # fmt: skip
            for each, values in zip(across, places, strict=True):
                each.append([*values, *values[::-1]])
        traces.append(
            {"type": "scatter", "x": places[0], "y": middle, "mode": "lines",
             "line": {"color": color, "width": 2 if place < COLORED else 1},
             "showlegend": place < COLORED, "legendrank": place, **group}
        )  # fmt: skip
        for each, values in zip(across, places, strict=True):
            each.append(values)
    buttons = [
        {"label": f"by {one}", "method": "update",
         "args": [{"x": across[place]}, {"xaxis.title.text": many}]}
        for place, (one, many) in enumerate(AXES)
    ]  # fmt: skip
    heading = {"losses": "training loss", "validation_losses": "held-out loss"}.get(kind, "score")
    return {
        "data": traces,
        "layout": {
            **legend_below(len(ranking)),
            "xaxis": {"title": {"text": AXES[0][1]}},
            "yaxis": {
                "title": {"text": heading},
                "range": (shown := _range(traces, logarithmic)),
                **(_decades(*shown) if logarithmic else {}),
            },
            "updatemenus": [
                {"type": "buttons", "direction": "right", "buttons": buttons, "x": 0, "y": 1.02,
                 "xanchor": "left", "yanchor": "bottom", "pad": {"b": 4}}
            ],
        },
    }  # fmt: skip


def short(variant: Variant) -> str:
    """Label a variant; of several settings by their values alone."""
    if len(variant.settings) == 1:
        return look.plain(variant.label)
    return look.plain(
        ", ".join(show_value(name, value) for name, value in variant.settings.items())
    )


def legend_below(labels: int) -> Figure:
    """Lay out a figure with its legend below it, where labels of any length have room."""
    lines = min(labels, COLORED) if labels > 1 else 0
    legend = {"orientation": "h", "x": 0, "xanchor": "left", "yref": "container", "y": 0,
              "yanchor": "bottom"}  # fmt: skip
    return {"legend": legend, "height": 400 + 12 * lines, "margin": {"t": 40, "b": 56 + 12 * lines}}


def _range(traces: Sequence[Figure], logarithmic: bool) -> list[float]:
    """Give the range of what is in color: a variant that explodes does not flatten the others."""
    colored = [np.asarray(each["y"]) for each in traces if each["line"].get("color") != GRAY]
    values = np.concatenate([np.ones(0), *colored])
    values = values[np.isfinite(values)]
    if not len(values):
        return [0.0, 1.0]
    if logarithmic:
        values = np.log10(values)
    margin = 0.05 * float(np.ptp(values)) or 0.1
    return [float(values.min()) - margin, float(values.max()) + margin]


def _decades(low: float, high: float) -> Figure:
    """Lay out a logarithmic axis: ticks at 1, 2 and 5, and at powers of ten where it is long."""
    tick: object = "D2" if high - low < 3 else math.ceil((high - low) / 6)
    return {"type": "log", "dtick": tick, "exponentformat": "power"}


def _band(
    outcomes: Sequence[Outcome], kind: str, logarithmic: bool
) -> tuple[list[list[float]], Array, Array, Array]:
    """Give the places by epoch, step and second, then mean, low and high over the seeds."""
    epochs = min(len(getattr(outcome, kind)) for outcome in outcomes)
    chosen = np.unique(np.linspace(0, epochs - 1, min(epochs, POINTS)).round().astype(int))
    rows = np.array([[getattr(each, kind)[place] for place in chosen] for each in outcomes])
    if logarithmic:
        rows = np.log(rows)
    found = [interval(column) for column in rows.T]
    band = np.array([[each.mean, each.low, each.high] for each in found]).T
    mean, low, high = np.exp(band) if logarithmic else band
    seconds = np.mean([[each.elapsed[place] for place in chosen] for each in outcomes], axis=0)
    steps = (chosen + 1) * outcomes[0].steps_per_epoch
    return [(chosen + 1).tolist(), steps.tolist(), seconds.tolist()], mean, low, high


def intervals(comparison: Comparison, dataset: str) -> Figure:
    """Draw every variant's mean and 95 % interval, the best on top, colored by its standing."""
    metric = comparison.metric
    marks = standing(comparison, dataset).marks()
    shown = [
        (number, comparison.interval(dataset, number, metric))
        for number in comparison.ranking(dataset)
    ]
    shown = [(number, found) for number, found in shown if math.isfinite(found.mean)][:ROWS]
    kinds = {"best": (0, "best"), "same?": (2, "no difference shown"), "worse": (1, "really worse"),
             "": (5, "not tested")}  # fmt: skip
    traces = []
    for mark, (color, name) in kinds.items():
        mine = [(number, found) for number, found in shown if marks.get(number, "") == mark]
        if mine:
            half = [0 if math.isnan(found.low) else found.high - found.mean for _, found in mine]
            traces.append(
                {"type": "scatter", "mode": "markers", "name": name,
                 "marker": {"size": 9, "color": look.color(color)},
                 "x": [found.mean for _, found in mine],
                 "y": [short(comparison.variants[number]) for number, _ in mine],
                 "error_x": {"type": "data", "array": half, "thickness": 1.5},}
            )  # fmt: skip
    labels = [short(comparison.variants[number]) for number, _ in shown]
    wide = metric in ("seconds_to_target", "steps_to_target", "epoch_seconds", "memory") or (
        "loss" in metric and far_apart([found.mean for _, found in shown])
    )
    return {
        "data": traces,
        "layout": {
            "height": 130 + 24 * len(shown),
            "xaxis": {"title": {"text": HEADINGS[metric]}, "type": "log" if wide else "linear"},
            "yaxis": {"categoryorder": "array", "categoryarray": labels[::-1], "type": "category"},
            "margin": {"l": 120},
        },
    }


def far_apart(values: Sequence[float]) -> bool:
    """Say whether positive values lie so far apart that they are seen by their logarithms only."""
    known = [value for value in values if math.isfinite(value)]
    return bool(known) and min(known) > 0 and max(known) > 20 * min(known)


def rate_sensitivity(comparison: Comparison, dataset: str) -> Figure | None:
    """Draw the metric by the learning rate, a line for each combination of the other fields."""
    if "learning_rate" not in comparison.varied:
        return None
    lines: dict[str, list[tuple[float, float, float, float]]] = {}
    for number in comparison.ranking(dataset):
        variant = comparison.variants[number]
        found = comparison.interval(dataset, number, comparison.metric)
        others = " ".join(
            f"{name}={show_value(name, value)}"
            for name, value in variant.settings.items()
            if name != "learning_rate"
        )
        rate = variant.recipe.descent.rate
        lines.setdefault(others, []).append((rate, found.mean, found.low, found.high))
    if max(map(len, lines.values())) < 3:
        return None
    traces: list[Figure] = []
    for place, (others, points) in enumerate(lines.items()):
        points.sort()
        x, mean, low, high = (list(each) for each in zip(*points, strict=True))
        color = look.color(place) if place < COLORED else GRAY
        if place < COLORED and not any(map(math.isnan, low)):
            traces.append(
                {"type": "scatter", "x": [*x, *x[::-1]], "y": [*high, *low[::-1]],
                 "fill": "toself", "fillcolor": color, "opacity": 0.15, "line": {"width": 0},
                 "mode": "lines", "hoverinfo": "skip", "showlegend": False, "legendgroup": others}
            )  # fmt: skip
        traces.append(
            {"type": "scatter", "x": x, "y": mean, "mode": "lines+markers", "legendgroup": others,
             "name": look.plain(others), "line": {"color": color},
             "showlegend": bool(others) and place < COLORED}
        )  # fmt: skip
    means = [point[1] for points in lines.values() for point in points]
    wide = comparison.metric != "score" and far_apart(means)
    return {
        "data": traces,
        "layout": {
            **legend_below(len(lines)),
            "xaxis": {
                "title": {"text": "learning rate"},
                "type": "log",
                "dtick": 1,
                "exponentformat": "none",
            },
            "yaxis": {
                "title": {"text": HEADINGS[comparison.metric]},
                "type": "log" if wide else "linear",
            },
        },
    }


def performance_profiles(comparison: Comparison, metric: str = "epochs_to_target") -> Figure | None:
    """Draw the performance profiles over data sets and seeds (Dolan and More 2002)."""
    if len(comparison.datasets) < 2:
        return None
    table = np.concatenate(
        [comparison.values(dataset, metric).T for dataset in comparison.datasets]
    )
    tau, rho = profile(table)
    traces = []
    for place, number in enumerate(comparison.order):
        color = look.color(place) if place < COLORED else GRAY
        traces.append(
            {"type": "scatter", "mode": "lines", "x": tau, "y": rho[:, number],
             "line": {"shape": "hv", "color": color, "width": 2 if place < COLORED else 1},
             "name": short(comparison.variants[number]), "legendrank": place,
             "showlegend": place < COLORED}
        )  # fmt: skip
    return {
        "data": traces[::-1],
        "layout": {
            **legend_below(len(comparison.order)),
            "xaxis": {"title": {"text": f"{HEADINGS[metric]}, as a ratio to the least"},
                      "type": "log"},
            "yaxis": {"title": {"text": "share of data sets and seeds"}, "range": [-0.02, 1.04]},
        },
    }  # fmt: skip


def boundaries(comparison: Comparison, dataset: str) -> Figure | None:
    """Draw what the variants say over the plane of two inputs, the best first."""
    table = comparison.tables.get(dataset)
    shown = [
        (comparison.variants[number], outcome)
        for number in comparison.ranking(dataset)
        for outcome in comparison.of(dataset, comparison.variants[number])
        if outcome.boundary
    ][:MAPS]
    if table is None or not shown:
        return None
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    across, along = grid(np.asarray(table.features))
    traces: list[Figure] = []
    layout: Figure = {"height": 60 + 230 * rows, "annotations": [], "showlegend": False,
                      "margin": {"t": 40, "l": 20, "r": 20, "b": 20}}  # fmt: skip
    points = _points(table, shown[0][1].task == "regression")
    for place, (variant, outcome) in enumerate(shown):
        axis = "" if place == 0 else str(place + 1)
        row, column = divmod(place, columns)
        left, top = column / columns, 1 - row / rows
        tight = {"showticklabels": False, "ticks": "", "showgrid": False}
        layout[f"xaxis{axis}"] = {**tight, "domain": [left, left + 0.95 / columns],
                                  "anchor": f"y{axis}"}  # fmt: skip
        layout[f"yaxis{axis}"] = {**tight, "domain": [top - 0.86 / rows, top],
                                  "anchor": f"x{axis}"}  # fmt: skip
        layout["annotations"].append(_title(variant, left, top))
        plane = {"xaxis": f"x{axis}", "yaxis": f"y{axis}"}
        traces.append({**_map(outcome, across, along), **plane})
        traces.append({**points, **plane})
    return {"data": traces, "layout": layout}


def _title(variant: Variant, left: float, top: float) -> Figure:
    """Give the title of a small figure."""
    return {"text": short(variant), "x": left, "y": top, "xref": "paper", "yref": "paper",
            "xanchor": "left", "yanchor": "bottom", "showarrow": False,
            "font": {"size": 12}}  # fmt: skip


def _map(outcome: Outcome, across: Array, along: Array) -> Figure:
    """Give the outputs over the grid: of classes in their colors, of numbers from low to high."""
    values = np.array(outcome.boundary).reshape(GRID, GRID)
    figure: Figure = {"type": "heatmap", "x": across, "y": along, "z": values, "showscale": False,
                      "hovertemplate": "%{z}<extra></extra>"}  # fmt: skip
    if outcome.task == "binary" and values.max() <= 1 and not set(np.unique(values)) <= {0.0, 1.0}:
        return {**figure, "zmin": 0, "zmax": 1, "colorscale": _scale(2), "zsmooth": "best"}
    if outcome.task == "regression":
        return {**figure, "colorscale": look.SEQUENTIAL}
    classes = max(2, int(values.max()) + 1)
    return {**figure, "zmin": 0, "zmax": classes - 1, "colorscale": _scale(classes),
            "opacity": 0.55}  # fmt: skip


def _scale(classes: int) -> list[list[Any]]:
    """Give a color scale with a class's own color at its number."""
    if classes == 2:
        return [[0, look.color(0)], [0.5, "#d9dce1"], [1, look.color(1)]]
    return [[each / (classes - 1), look.color(each)] for each in range(classes)]


def _points(table: Table, regression: bool) -> Figure:
    """Give some rows as points in their class's color."""
    features, target = np.asarray(table.features, np.float64), np.asarray(table.target)
    chosen = np.linspace(0, len(target) - 1, min(len(target), 250)).round().astype(int)
    labels = np.unique(target, return_inverse=True)[1]
    marker: Figure = {"size": 4, "line": {"width": 0.5, "color": "white"}}
    if regression:
        marker |= {"color": target[chosen], "colorscale": look.SEQUENTIAL}
    else:
        marker["color"] = [look.color(int(each)) for each in labels[chosen]]
    return {"type": "scatter", "mode": "markers", "x": features[chosen, 0],
            "y": features[chosen, 1], "marker": marker, "hoverinfo": "skip"}  # fmt: skip
