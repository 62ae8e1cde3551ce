"""Pictures by layer on the way back: gradients, what makes them shrink, updates.

Each function gives a `Section`, as those of `curves`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope import look
from downslope.account import Account
from downslope.arrival import lately, seen_in_flow, shrinkage, typically
from downslope.curves import Series, axis, figure, label, level, line, scientific
from downslope.page import Section

Array = npt.NDArray[Any]

CELLS = 240
"""Steps of a heatmap at most: two or three pixels each."""

FEW_LAYERS = len(look.COLORS)
"""Up to so many layers each has a color of its own; beyond, colors go from first to last."""

NAMED_LAYERS = 12
"""Layers up to which a legend names each; of more it names the first, a middle and the last."""

NOT_RECORDED = "No step was recorded, so there is nothing to see of the layers."


GOOD_UPDATE = 1e-3
"""Size of an update relative to its weights that is often aimed at (Karpathy, 2022; a rule of
thumb: a thousandth of a weight's size is about what float32 and noise leave useful)."""


def evenly(count: int, most: int) -> Array:
    """Choose at most `most` of `count` places, evenly, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def heatmap(account: Account, column: str, layers: int | None = None) -> Series:
    """Give a heatmap of a column, steps along and layers up, the first `layers` of them."""
    steps, numbers, table = account.by_layer(column)
    numbers, table = numbers[:layers], table[:layers]
    kept = evenly(len(steps), CELLS)
    return {"type": "heatmap", "x": steps[kept], "y": numbers, "z": table[:, kept]}


def layer_axis(layers: Array, name: str = "layer") -> dict[str, Any]:
    """Give an axis of layer numbers, without fractions between them."""
    return {"title": {"text": name}, "dtick": 1 + len(layers) // 16, "tick0": 1}


def step_axis(steps: Array) -> dict[str, Any]:
    """Give an axis of the steps of a heatmap, whose outer cells would reach beyond them."""
    return {"title": {"text": "step"}, "range": [steps[0] - 0.5, steps[-1] + 0.5]}


def color_of_layer(number: int, layers: int) -> str:
    """Give a layer's color: from blue (first) to gold (last) where there are many."""
    if layers <= FEW_LAYERS:
        return look.color(number)
    ends = [[int(look.COLORS[k][at : at + 2], 16) for at in (1, 3, 5)] for k in (0, 4)]
    part = number / (layers - 1)
    mixed = [round((1 - part) * a + part * b) for a, b in zip(*ends, strict=True)]
    return "#" + "".join(f"{value:02x}" for value in mixed)


def powers(values: Array) -> dict[str, Any]:
    """Give a color bar for decimal logarithms, labelled with the powers of ten."""
    good = values[np.isfinite(values)]
    if not good.size:
        return {}
    low, high = math.floor(good.min()), math.ceil(good.max())
    ticks = list(range(low, high + 1, 1 + (high - low) // 6))
    return {"tickvals": ticks, "ticktext": [f"10<sup>{tick}</sup>" for tick in ticks]}


def with_slider(
    pictures: Sequence[Series], names: Sequence[str], layout: dict[str, Any], prefix: str
) -> dict[str, Any]:
    """Give a figure whose first series changes with a slider; it begins with the last picture."""
    instant = {"mode": "immediate", "frame": {"duration": 0, "redraw": True},
               "transition": {"duration": 0}}  # fmt: skip
    steps = [
        {"label": name, "method": "animate", "args": [[str(k)], instant]}
        for k, name in enumerate(names)
    ]
    frames = [
        {"name": str(k), "data": [{"type": each["type"], "z": each["z"]}], "traces": [0]}
        for k, each in enumerate(pictures)
    ]
    slider = {"active": len(steps) - 1, "steps": steps, "currentvalue": {"prefix": prefix},
              "pad": {"t": 40}}  # fmt: skip
    sliders = {"sliders": [slider]} if len(steps) > 1 else {}
    return {"data": [pictures[-1]], "layout": {**layout, **sliders}, "frames": frames}


def gradient_flow(account: Account) -> Section:
    """Draw the root mean square of dL/dW by step and layer, and what makes it shrink or grow."""
    heading = "Gradient flow"
    if not account.recorded:
        return Section(heading, None, NOT_RECORDED)
    heat = heatmap(account, "dw_rms")
    with np.errstate(divide="ignore", invalid="ignore"):
        heat["z"] = np.log10(heat["z"])
    heat["z"][~np.isfinite(heat["z"])] = np.nan
    heat["colorbar"] = {"title": {"text": "rms dL/dW"}, "y": 1, "yanchor": "top", "len": 0.5,
                        **powers(heat["z"])}  # fmt: skip
    heat["hovertemplate"] = "step %{x}, layer %{y}: 10^%{z:.2f}<extra></extra>"
    layers, weights, slopes = shrinkage(account)
    bars = [
        {
            "type": "bar", "x": layers, "y": values, "name": name, "xaxis": "x2", "yaxis": "y2",
            "marker": {"color": look.color(number)},
            "hovertemplate": "layer %{x}: 10^%{y:.2f}<extra>" + name + "</extra>",
        }
        for number, (name, values) in enumerate((("by its weights", weights), ("by φ'", slopes)))
    ]  # fmt: skip
    layout = {
        "title": {"text": heading},
        "height": 640,
        "barmode": "relative",
        "showlegend": True,
        "legend": {"y": 0.345},
        "xaxis": {**step_axis(heat["x"]), "domain": [0, 1]},
        "yaxis": {**layer_axis(layers), "domain": [0.5, 1]},
        "xaxis2": {**layer_axis(layers), "anchor": "y2", "domain": [0, 1]},
        "yaxis2": {
            "title": {"text": "powers of 10"}, "domain": [0, 0.33], "anchor": "x2",
            "zeroline": True,
        },
    }  # fmt: skip
    return Section(
        heading,
        {"data": [heat, *bars], "layout": layout},
        "Above: the size of the weights' gradient. Rows alike in color are good; a first layer "
        "many powers of ten below the last is a vanishing gradient, one far above it an exploding "
        "one. Empty cells are gradients of exactly 0, or none that is a number. Below: what the "
        "layers do, toward the end, to the error |dL/dz| on its way from the last layer to the "
        "first; bars below 0 shrink it.",
        seen_in_flow(account),
        wide=True,
    )


def updates(account: Account) -> Section:
    """Draw the size of each layer's update relative to its weights."""
    heading = "Update ratio"
    if not account.recorded:
        return Section(heading, None, NOT_RECORDED)
    steps, layers, table = account.by_layer("update_ratio")
    table = np.where(table > 0, table, np.nan)
    if np.isnan(table).all():
        return Section(heading, None, "No weight moved in any recorded step.")
    data = []
    for number, layer in enumerate(layers):
        series = line(steps, table[number], f"layer {layer}", 0)
        series["line"] = {"color": color_of_layer(number, len(layers)), "width": 1.5}
        series["marker"] = series["line"] | {"size": 8}
        del series["marker"]["width"]
        if len(layers) > NAMED_LAYERS:
            series["showlegend"] = number in (0, len(layers) // 2, len(layers) - 1)
        data.append(series)
    data.append(level(steps, GOOD_UPDATE, "a thousandth"))
    up = axis("|Δw| / |w|", table, [GOOD_UPDATE / 10, GOOD_UPDATE * 10])
    return Section(
        heading,
        figure(data, heading, {"title": {"text": "step"}}, up),
        "How far a step moves a layer's weights, relative to their size. Around the dotted line of "
        "a thousandth is a good pace; far below, a layer hardly learns; above a hundredth, it is "
        "thrown about. A schedule that lowers the learning rate ends far below.",
        _seen_in_updates(typically(table), layers),
    )


def _seen_in_updates(typical: Array, layers: Array) -> str:
    good = np.isfinite(typical)
    if not good.any():
        return ""
    slow, fast = layers[np.nanargmin(typical)], layers[np.nanargmax(typical)]
    if slow == fast:
        return f"Its median over the run is {scientific(typical[good][0])}."
    return (
        f"By the median over the run the slowest is layer {slow} "
        f"({scientific(np.nanmin(typical))}), the fastest layer {fast} "
        f"({scientific(np.nanmax(typical))})."
    )


def profile(
    accounts: Sequence[Account], column: str, heading: str, up: str, hidden_only: bool = False
) -> Section:
    """Draw a quantity by layer, its median over the last fifth of the steps, a curve a run.

    hidden_only: for a share, from 0 to 1, of hidden units or their values.
    """
    data = []
    for number, account in enumerate(accounts):
        if not account.recorded:
            continue
        values = lately(account, column)
        if hidden_only:
            values = values[:-1]
        if not np.isfinite(values).any():
            continue
        name = label(account, accounts, "").removesuffix(": ")
        series = line(np.arange(1, len(values) + 1), values, name, number)
        data.append({**series, "mode": "lines+markers"})
    if not data:
        return Section(heading, None, "No run has such a number of any of its layers.")
    longest = max((each["x"] for each in data), key=len)
    scale = axis(up, *(each["y"] for each in data))
    if hidden_only:
        scale["range"] = [-0.03, 1.03]
    content = figure(data, heading, layer_axis(longest), scale)
    return Section(heading, content, _PROFILES[column])


_PROFILES = {
    "dw_rms": "The size of the weights' gradient toward the end of each run. A level curve is "
    "good; one that falls steeply to the left is a vanishing gradient.",
    "y_std": "The spread of each layer's output over rows and units toward the end; of the last "
    "layer it is that of the predictions. A level curve over the hidden layers is good; one that "
    "falls or rises steeply means that the values fade or explode on their way.",
    "dead": "The share of units that gave 0 for a whole batch, toward the end of each run.",
    "flat": "The share of values in the flat zone of φ, toward the end of each run: there no "
    "gradient passes.",
    "update_ratio": "How far a step moves each layer's weights toward the end, relative to their "
    "size. A thousandth is a good pace; a schedule that lowers the learning rate ends far below.",
}
