"""Basins of attraction in color, by rule and learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from downslope.basins import AWAY, NOWHERE, Basins
from downslope.function_plots import Figure, place
from downslope.functions import Function
from downslope.kernels.jit import Doubles
from downslope.look import color, plain


def basin_map(found: Sequence[Basins], function: Function) -> Figure:
    """Draw where each start leads, by rule (down) and learning rate (across)."""
    rules, columns = len(found), max(len(each.learning_rates) for each in found)
    data: list[Figure] = []
    layout: dict[str, Any] = {"height": 90 + 230 * rules, "annotations": [], "margin": {"b": 60}}
    places = max((each.places for each in found), key=len)
    tints = [*(color(k) for k in range(len(places)))]
    scale = _steps_of_color(["rgba(128,128,128,0.10)", "rgba(128,128,128,0.75)", *tints])
    names = [*function.variables]
    for row, each in enumerate(found):
        for column, rate in enumerate(each.learning_rates):
            number = row * columns + column + 1
            at = "" if number == 1 else str(number)
            left, right = (column + 0.06) / columns, (column + 0.98) / columns
            bottom, top = 1 - (row + 0.94) / rules, 1 - (row + 0.13) / rules
            side = len(each.axes[1]), len(each.axes[0])
            z = np.where(each.labels[column] == AWAY, 0, each.labels[column] + 2)
            z = np.where(each.labels[column] == NOWHERE, 1, z)
            data.append({
                "type": "heatmap", "x": each.axes[0], "y": each.axes[1], "z": z.reshape(side),
                "zmin": -0.5, "zmax": len(places) + 1.5, "colorscale": scale, "showscale": False,
                "xaxis": f"x{at}", "yaxis": f"y{at}",
                "hovertemplate": f"{names[0]} %{{x}}<br>{names[1]} %{{y}}<extra></extra>",
            })  # fmt: skip
            layout[f"xaxis{at}"] = {"domain": [left, right], "anchor": f"y{at}",
                                    "showticklabels": row == rules - 1, "nticks": 5}  # fmt: skip
            layout[f"yaxis{at}"] = {"domain": [bottom, top], "anchor": f"x{at}",
                                    "showticklabels": column == 0, "nticks": 5}  # fmt: skip
            layout["annotations"].append({
                "text": plain(f"{each.rule}, rate {rate:.3g}"), "showarrow": False, "xref": "paper",
                "yref": "paper", "x": (left + right) / 2, "y": top, "yanchor": "bottom",
                "xanchor": "center",
                "font": {"size": 12},
            })  # fmt: skip
    data += _legend(places, tints)
    return {"data": data, "layout": layout}


def basin_strips(found: Sequence[Basins], function: Function) -> Figure:
    """Draw where each start of one variable leads, by rule (down) and learning rate (upward)."""
    rules = len(found)
    places = max((each.places for each in found), key=len)
    tints = [*(color(k) for k in range(len(places)))]
    scale = _steps_of_color(["rgba(128,128,128,0.10)", "rgba(128,128,128,0.75)", *tints])
    data: list[Figure] = []
    layout: dict[str, Any] = {"height": 110 + 210 * rules, "annotations": []}
    for row, each in enumerate(found):
        at = "" if row == 0 else str(row + 1)
        bottom, top = 1 - (row + 0.9) / rules, 1 - (row + 0.13) / rules
        z = np.where(each.labels == AWAY, 0, np.where(each.labels == NOWHERE, 1, each.labels + 2))
        data.append({
            "type": "heatmap", "x": each.axes[0], "y": each.learning_rates, "z": z, "zmin": -0.5,
            "zmax": len(places) + 1.5, "colorscale": scale, "showscale": False, "xaxis": f"x{at}",
            "yaxis": f"y{at}", "hovertemplate": "start %{x}<br>rate %{y}<extra></extra>",
        })  # fmt: skip
        last = row == rules - 1
        layout[f"xaxis{at}"] = {
            "domain": [0, 1], "anchor": f"y{at}", "showticklabels": last,
            "title": {"text": f"start {function.variables[0]}" if last else ""},
        }  # fmt: skip
        layout[f"yaxis{at}"] = {
            "domain": [bottom, top], "anchor": f"x{at}", "type": "log", "exponentformat": "power",
            "title": {"text": "learning rate"},
        }  # fmt: skip
        layout["annotations"].append({
            "text": plain(each.rule), "showarrow": False, "xref": "paper", "yref": "paper",
            "x": 0, "y": top, "xanchor": "left", "yanchor": "bottom",
        })  # fmt: skip
    data += _legend(places, tints)
    return {"data": data, "layout": layout}


def _legend(places: Doubles, tints: Sequence[str]) -> list[Figure]:
    shown = [("to no minimum in time", "rgba(128,128,128,0.75)"), ("away", "rgba(128,128,128,0.2)")]
    shown = [(place(each), tint) for each, tint in zip(places, tints, strict=True)] + shown
    return [
        {"type": "scatter", "mode": "markers", "x": [None], "y": [None], "name": plain(name),
         "marker": {"symbol": "square", "size": 11, "color": tint}}
        for name, tint in shown
    ]  # fmt: skip


def _steps_of_color(tints: Sequence[str]) -> list[list[Any]]:
    """Give a color scale without transitions."""
    count = len(tints)
    return [[edge / count, tint] for k, tint in enumerate(tints) for edge in (k, k + 1)]
