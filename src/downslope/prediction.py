"""Pictures of what a network predicts: its boundary on two inputs, confusion, residuals.

Each function gives a `Section`, as those of `curves`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from downslope import look
from downslope.account import Account, Predictions
from downslope.curves import Series
from downslope.flow import evenly, with_slider
from downslope.model import Model
from downslope.network import BuiltNetwork
from downslope.page import Section

Array = npt.NDArray[Any]

GRID = 64
"""Cells of the boundary's picture along each axis."""

DRAWN_ROWS = 1200
"""Rows drawn as points at most: more hide what is below them."""

NAMED_CLASSES = 40
"""Classes up to which a confusion matrix names each of them."""

DRAWN_CLASSES = 400
"""Classes up to which a confusion matrix is drawn: beyond that a cell is smaller than a pixel."""


def boundary(account: Account) -> Section:
    """Draw what the network says over the plane of its two inputs, with a slider over epochs."""
    heading, table, taken = "Decision boundary", account.table, account.snapshots
    numbers = account.model.preparation.kinds == ("number", "number")
    if not numbers or account.model.network.inputs != 2:
        return Section(heading, None, "Only networks with two inputs, both numbers, have one.")
    if table is None or taken is None:
        words = "Its rows and its epochs are not kept in the model's files: it is drawn by fit."
        return Section(heading, None, words)
    held_out = account.held_out if account.held_out is not None else ()
    columns = np.asarray(table.features, float)
    axes, grid = _grid(columns)
    model = account.model
    states = [*taken.states, (model.network.theta, model.network.statistics)]
    last = account.history.best_epoch if len(held_out) else account.history.epochs
    names = [f"{epoch:,}" for epoch in taken.epochs] + [f"{last:,}, kept"]
    scratch = BuiltNetwork.from_arrays(model.network.arrays(), model.network.describe(), "here")
    frames = []
    for theta, statistics in states:
        scratch.theta[:], scratch.statistics[:] = theta, statistics
        outputs = Model(scratch, model.preparation, None, {}).output(grid)
        frames.append(_field(account, axes, outputs))
    layout = {
        "title": {"text": heading},
        "height": 600,
        "xaxis": {"title": {"text": look.plain(table.feature_names[0])}, "showgrid": False},
        "yaxis": {"title": {"text": look.plain(table.feature_names[1])}, "showgrid": False},
        "showlegend": account.task in ("binary", "multiclass"),
    }
    content = with_slider(frames, names, layout, "epoch ")
    content["data"] += _points(account, columns)
    return Section(
        heading,
        content,
        "The color is what the network says of every place in the plane, the points are rows. Move "
        "the slider through the epochs: the boundary should settle along the gap between the "
        "colors. Islands around single points are learned by heart.",
    )


def _grid(columns: Array) -> tuple[tuple[Array, Array], Array]:
    """Give the places along both axes, and all their pairs as rows."""
    low, high = np.nanmin(columns, axis=0), np.nanmax(columns, axis=0)
    margin = 0.06 * np.where(high > low, high - low, 1.0)
    axes = tuple(np.linspace(low[k] - margin[k], high[k] + margin[k], GRID) for k in (0, 1))
    across, up = np.meshgrid(*axes)
    return (axes[0], axes[1]), np.column_stack([across.ravel(), up.ravel()])


def _field(account: Account, axes: tuple[Array, Array], outputs: Array) -> Series:
    """Give the picture of one epoch's outputs over the grid."""
    field = {"type": "heatmap", "x": axes[0], "y": axes[1], "opacity": 0.55, "hoverinfo": "skip"}
    if account.task == "multiclass":
        classes = outputs.shape[1]
        stops = [[(k + end) / classes, look.color(k)] for k in range(classes) for end in (0, 1)]
        values = outputs.argmax(1)
        field |= {"zmin": -0.5, "zmax": classes - 0.5, "colorscale": stops, "showscale": False}
    else:
        shown = (
            account.model.preparation.decode(outputs) if account.task == "regression" else outputs
        )
        values = np.round(np.asarray(shown, float).reshape(len(outputs), -1)[:, -1], 3)
        if account.task == "regression":
            field["colorbar"] = {
                "title": {"text": look.plain(account.model.preparation.target_names[0])}
            }
        else:
            two = [[0, look.color(0)], [0.5, "#c9ccd1"], [1, look.color(1)]]
            field |= {"zmin": 0, "zmax": 1, "colorscale": two, "showscale": False}
    return {**field, "z": values.reshape(len(axes[1]), len(axes[0]))}


def _points(account: Account, columns: Array) -> list[Series]:
    """Give the rows as points, a series a class."""
    assert account.table is not None
    target = np.asarray(account.table.target)
    rows = np.arange(len(columns))[evenly(len(columns), DRAWN_ROWS)]
    edge = {"width": 0.7, "color": "#ffffff"}
    if account.task not in ("binary", "multiclass"):
        marker = {"size": 5, "color": "#ffffff", "line": {"width": 0.7, "color": "#22262b"}}
        return [_scatter(columns[rows], "rows", marker)]
    symbols = ("circle", "square", "diamond", "triangle-up", "cross", "x")
    return [
        _scatter(
            columns[rows[target[rows] == each]],
            str(each),
            {"size": 6, "color": look.color(k), "symbol": symbols[k % 6], "line": edge},
        )
        for k, each in enumerate(account.model.preparation.classes)
    ]


def _scatter(places: Array, name: str, marker: dict[str, Any]) -> Series:
    return {
        "type": "scatter", "mode": "markers", "x": places[:, 0], "y": places[:, 1],
        "name": look.plain(name), "marker": marker,
    }  # fmt: skip


def confusion(account: Account) -> Section:
    """Draw how many rows of each class were taken for which."""
    heading, found = "Confusion matrix", account.predicted()
    if account.task not in ("binary", "multiclass", "multilabel"):
        return Section(heading, None, "A regression has residuals instead.")
    if found is None:
        return Section(heading, None, "What it predicted was not kept beside the model.")
    counts, several = found.counts, account.task == "multilabel"
    seen = "" if several else _most_confused(found)
    if len(found.classes) > DRAWN_CLASSES:
        words = f"Cells of {len(found.classes):,} classes are too small to be seen."
        return Section(heading, None, f"{words} {seen}".strip())
    across = ["rightly 0", "wrongly 1", "wrongly 0", "rightly 1"] if several else found.classes
    totals = np.maximum(counts.sum(1, keepdims=True), 1)
    named = len(found.classes) <= NAMED_CLASSES
    ticks = {"tickmode": "array", "tickvals": list(range(len(across))),
             "ticktext": [look.plain(each) for each in across]} if named else {}  # fmt: skip
    down = {**ticks, "tickvals": list(range(len(counts))),
            "ticktext": [look.plain(each) for each in found.classes]} if named else {}  # fmt: skip
    heat: Series = {
        "type": "heatmap", "z": counts / totals, "customdata": counts, "zmin": 0, "zmax": 1,
        "colorbar": {"tickformat": ".0%", "title": {"text": "of the row"}}, "xgap": 1, "ygap": 1,
        "hovertemplate": "%{y} taken for %{x}: %{customdata} rows, %{z:.1%}<extra></extra>",
    }  # fmt: skip
    if max(counts.shape) <= 20:
        shown = np.where(counts > 0, counts.astype(str), "")
        heat |= {"text": shown, "texttemplate": "%{text}"}
    layout = {
        "title": {"text": heading},
        "height": 460,
        "xaxis": {"title": {"text": "predicted"}, "showgrid": False, **ticks},
        "yaxis": {"title": {"text": "target"}, "autorange": "reversed", "showgrid": False, **down},
    }
    return Section(
        heading,
        {"data": [heat], "layout": layout},
        f"Of the {found.rows} rows: each row of the picture is a target, each column what was "
        "predicted. All on the diagonal is perfect; a bright cell beside it is a pair of classes "
        "that are taken for each other."
        if not several
        else f"Of the {found.rows} rows: how each label was predicted.",
        seen,
    )


def _most_confused(found: Predictions) -> str:
    """Name the pair of classes that was confused most often."""
    wrong = found.counts.copy()
    np.fill_diagonal(wrong, 0)
    rows, right = int(found.counts.sum()), int(np.trace(found.counts))
    if not wrong.sum():
        return f"All {rows:,} rows are right."
    taken_for = np.flatnonzero(found.counts.sum(0))
    if len(taken_for) == 1:
        return (
            f"Every row was taken for {found.classes[taken_for[0]]!r}: {right:,} of {rows:,} are "
            "right."
        )
    target, predicted = np.unravel_index(int(wrong.argmax()), wrong.shape)
    often = int(wrong.max())
    return (
        f"{right:,} of {rows:,} rows are right. Most often {found.classes[target]!r} was taken for "
        f"{found.classes[predicted]!r}: {often:,} of {int(found.counts[target].sum()):,}."
    )


def residuals(account: Account) -> Section:
    """Draw what was predicted too much or too little against the prediction."""
    heading, found = "Residuals", account.predicted()
    if account.task != "regression":
        return Section(heading, None, "Only a regression has residuals.")
    if found is None:
        return Section(heading, None, "What it predicted was not kept beside the model.")
    data: list[Series] = []
    for k in range(found.pairs.shape[1]):
        target, predicted = found.pairs[:, k, 0], found.pairs[:, k, 1]
        name = found.classes[k] if k < len(found.classes) else f"target {k + 1}"
        marker = {"size": 6, "color": look.color(k), "opacity": 0.7}
        data.append(_scatter(np.column_stack([predicted, target - predicted]), name, marker))
    errors = found.pairs[..., 0] - found.pairs[..., 1]
    layout = {
        "title": {"text": heading},
        "xaxis": {"title": {"text": "predicted"}},
        "yaxis": {"title": {"text": "target − predicted"}, "zeroline": True, "zerolinewidth": 2},
        "showlegend": len(data) > 1,
    }
    good = errors[np.isfinite(errors)]
    seen = ""
    if good.size:
        # Squares of errors of 1e200 are infinite.
        unit = np.abs(good).max() or 1.0
        mean, deviation = (good / unit).mean() * unit, (good / unit).std() * unit
        seen = (
            f"Half of them lie within ±{np.median(np.abs(good)):.3g}; their mean is "
            f"{mean:.2g}, their standard deviation {deviation:.3g}."
        )
    return Section(
        heading,
        {"data": data, "layout": layout},
        f"Of the {found.rows} rows. A level band around 0 is good. A bend means a shape that was "
        "not learned, a funnel that errors grow with what is predicted.",
        seen,
    )
