"""Pictures of landscapes: a line, a plane as contours or as a surface with the path, the ending.

All but `around` give a `Section`: the figure as plain data for Plotly, and what to look for in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope import look
from downslope.curvature import Curvature, measure
from downslope.errors import InvalidValueError
from downslope.landscape import Line, Plane, path_plane, plane
from downslope.network import BuiltNetwork
from downslope.page import Grid, Section
from downslope.surface import RowSet

Array = npt.NDArray[Any]

SPREAD = 30.0
"""Ratio of largest to smallest loss above which losses are drawn by their logarithm."""

LEVELS = 24
"""Contours, about."""

BETWEEN = 12
"""Pieces of the path on a surface from one of its points to the next, so that it follows it."""

LIFT = 0.015
"""How far the path lies above the surface, as a share of its height: it would flicker within."""

ENDS = "#ffffff"
"""Color of the path: on Cividis white stands out everywhere but at the highest losses."""


def around(
    network: BuiltNetwork,
    rows: RowSet,
    path: tuple[Sequence[int], Sequence[Array]] | None = None,
    rate: float | None = None,
) -> list[Section]:
    """Measure and draw the surroundings of a network: where it stands, its path, random directions.

    Parameters
    ----------
    network
    rows
        What its loss is taken over.
    path
        Epochs, and the theta of each; None where they were not kept.
    rate
        The recipe's learning rate; None where it is not known.

    Raises
    ------
    InvalidValueError
        For a theta or a gradient that is not finite.
    """
    sections = [ending(measure(network, rows), rate)]
    if path is not None:
        try:
            found = path_plane(network, path[1], rows)
        except InvalidValueError as error:
            sections.append(Section("Loss over the path's plane", None, f"Not drawn: {error}."))
        else:
            sections += [contours(found, path[0]), surface(found, path[0])]
    found = plane(network, rows)
    return [*sections, contours(found), surface(found)]


def along_line(line: Line, first: str = "first", second: str = "second") -> Section:
    """Draw the loss along the line between two networks."""
    at_ends = np.interp([0.0, 1.0], line.places, line.losses)
    inside = (line.places[0] <= 0) and (line.places[-1] >= 1)
    data = [
        {
            "type": "scatter", "mode": "lines", "x": line.places, "y": _finite(line.losses),
            "name": "loss", "line": {"color": look.color(0), "width": 2},
        },
        *([{
            "type": "scatter", "mode": "lines+markers", "x": [0, 1], "y": at_ends,
            "name": "straight between the two",
            "line": {"color": look.color(5), "width": 1.5, "dash": "dot"},
            "marker": {"color": look.color(1), "size": 9},
        }] if inside else []),
    ]  # fmt: skip
    layout = {
        "title": {"text": "Loss between two networks"},
        "xaxis": {"title": {"text": f"a: 0 is {look.plain(first)}, 1 is {look.plain(second)}"}},
        "yaxis": {"title": {"text": "training loss"}, **_scale(line.losses)},
    }
    seen = (
        f"The loss rises {line.barrier:.3g} above the dotted line: a barrier lies between the two."
        if line.barrier > 0
        else "The loss nowhere rises above the dotted line: no barrier lies between the two."
    )
    return Section(
        "Loss between two networks",
        {"data": data, "layout": layout},
        "The networks theta = (1 - a) theta1 + a theta2. A hump between 0 and 1 parts two valleys; "
        "networks that differ only in the order of their units have one too.",
        seen + _of_rows(line.rows, line.of_rows),
    )


def contours(plane: Plane, epochs: Sequence[int] | None = None) -> Section:
    """Draw the loss over a plane as contours, with the path where there is one.

    epochs: when each point of the path was; None numbers them.
    """
    logarithmic, heights = _heights(plane)
    data: list[dict[str, Any]] = [
        {
            "type": "contour", "x": plane.x, "y": plane.y, "z": heights,
            "customdata": _finite(plane.losses), "ncontours": LEVELS, "name": "loss",
            "colorscale": look.SEQUENTIAL, "line": {"width": 0.5},
            "colorbar": {"title": {"text": "loss"}, **_ticks(logarithmic, heights)},
            "hovertemplate": "x %{x:.3g}, y %{y:.3g}<br>loss %{customdata:.4g}<extra></extra>",
        }
    ]  # fmt: skip
    if len(plane.path):
        data.append(
            {
                "type": "scatter", "mode": "lines+markers", "x": plane.path[:, 0],
                "y": plane.path[:, 1], "name": "path", "customdata": plane.path_losses,
                "text": _when(plane, epochs),
                "line": {"color": ENDS, "width": 2}, "marker": {"color": ENDS, "size": 6},
                "hovertemplate": "%{text}<br>loss there %{customdata:.4g}<extra></extra>",
            }
        )  # fmt: skip
    data.append(
        {
            "type": "scatter", "mode": "markers", "x": [0], "y": [0], "name": "the network",
            "marker": {"color": look.color(1), "size": 12, "symbol": "diamond",
                       "line": {"color": ENDS, "width": 1.5}},
            "hovertemplate": "the network<extra></extra>",
        }
    )  # fmt: skip
    across = _axes(plane)
    if not len(plane.path):
        across["yaxis"].update(scaleanchor="x", constrain="domain")
        across["xaxis"].update(constrain="domain")
    layout = {
        "title": {"text": _title(plane)},
        "showlegend": False,
        "height": 520,
        **across,
    }
    return Section(_title(plane), {"data": data, "layout": layout}, _words(plane), _seen(plane))


def surface(plane: Plane, epochs: Sequence[int] | None = None) -> Section:
    """Draw the loss over a plane as a surface in space, with the path where there is one."""
    logarithmic, heights = _heights(plane)
    data: list[dict[str, Any]] = [
        {
            "type": "surface", "x": plane.x, "y": plane.y, "z": heights, "name": "loss",
            "customdata": _finite(plane.losses), "colorscale": look.SEQUENTIAL,
            "colorbar": {"title": {"text": "loss"}, **_ticks(logarithmic, heights)},
            "hovertemplate": "x %{x:.3g}, y %{y:.3g}<br>loss %{customdata:.4g}<extra></extra>",
        }
    ]  # fmt: skip
    if len(plane.path):
        x, y, upright = _laid_on(plane, heights)
        data.append(
            {
                "type": "scatter3d", "mode": "lines", "x": x, "y": y, "z": upright,
                "name": "path", "line": {"color": look.color(1), "width": 6}, "hoverinfo": "skip",
            }
        )  # fmt: skip
        every = slice(None, None, BETWEEN)
        data.append(
            {
                "type": "scatter3d", "mode": "markers", "x": x[every], "y": y[every],
                "z": upright[every], "name": "path", "customdata": _finite(plane.path_losses),
                "text": _when(plane, epochs), "marker": {"color": look.color(1), "size": 4},
                "hovertemplate": "%{text}<br>loss there %{customdata:.4g}<extra></extra>",
            }
        )  # fmt: skip
    layout = {
        "title": {"text": f"{_title(plane)}, in space"},
        "showlegend": False,
        "height": 560,
        "margin": {"l": 0, "r": 0, "t": 48, "b": 0},
        "scene": {
            **_axes(plane, short=True),
            "zaxis": {"title": {"text": "loss"}, **_ticks(logarithmic, heights)},
            "aspectmode": "manual",
            "aspectratio": {"x": 1, "y": 1, "z": 0.7},
            "camera": {"eye": {"x": 1.45, "y": -1.65, "z": 0.95}, "center": {"z": -0.15}},
        },
    }
    words = "The same plane, to be turned by hand."
    if len(plane.path):
        words += (
            " The path is laid onto the surface; the descent itself ran beside this plane, at the "
            "losses that its points show when they are touched."
        )
    return Section(f"{_title(plane)}, in space", {"data": data, "layout": layout}, words)


def ending(found: Curvature, rate: float | None = None) -> Section:
    """Say where a run ended, by curvature, with the numbers; rate: the recipe's learning rate."""
    rows: list[list[object]] = [
        ["loss", found.loss],
        ["gradient norm", found.gradient_norm],
        ["largest Hessian eigenvalue", found.largest],
        ["smallest Hessian eigenvalue", found.smallest],
        ["trace of the Hessian", f"{found.trace:.3g} ± {found.trace_error:.2g}"],
        ["largest stable learning rate (2 / largest)", found.stable_rate],
    ]
    if rate is not None:
        rows.append(["learning rate of the recipe", rate])
    return Section(
        "Where the run ended",
        Grid(["of the training loss there", "value"], rows),
        "A minimum bends up in all directions, a saddle down in some, a plateau in none; before "
        "that the gradient must have come to rest. Above the stable rate plain gradient descent "
        "moves away again.",
        found.sentence(),
        wide=True,
    )


def _finite(losses: Array) -> Array:
    """Put NaN for infinite losses: no picture has room for them."""
    return np.where(np.isfinite(losses), losses, np.nan)


def _is_logarithmic(losses: Array) -> bool:
    shown = losses[np.isfinite(losses)]
    return bool(shown.size and shown.min() > 0 and shown.max() > SPREAD * shown.min())


def _scale(losses: Array) -> dict[str, Any]:
    return {"type": "log", "dtick": 1, "exponentformat": "power"} if _is_logarithmic(losses) else {}


def _heights(plane: Plane) -> tuple[bool, Array]:
    """Give what is drawn upright: losses, or their logarithms where they lie far apart."""
    losses = _finite(plane.losses)
    logarithmic = _is_logarithmic(np.concatenate([losses.ravel(), plane.path_losses]))
    return logarithmic, np.log10(losses) if logarithmic else losses


def _ticks(logarithmic: bool, heights: Array) -> dict[str, Any]:
    """Label an axis of logarithms by the losses themselves: 1, 2 and 5 of each decade."""
    shown = heights[np.isfinite(heights)]
    if not logarithmic or not shown.size:
        return {}
    low, high = float(shown.min()), float(shown.max())
    digits = (1, 2, 5) if high - low < 3 else (1,)
    values = [
        digit * 10.0**power
        for power in range(math.floor(low), math.ceil(high) + 1)
        for digit in digits
    ]
    values = [value for value in values if low <= math.log10(value) <= high]
    return {
        "tickvals": [math.log10(value) for value in values],
        "ticktext": [f"{value:g}" for value in values],
    }


def _title(plane: Plane) -> str:
    return "Loss over the path's plane" if len(plane.path) else "Loss around the network"


def _laid_on(plane: Plane, heights: Array) -> tuple[Array, Array, Array]:
    """Give the path laid onto the surface, `BETWEEN` pieces from one of its points to the next."""
    from scipy.interpolate import RegularGridInterpolator

    count = len(plane.path)
    at = np.linspace(0, count - 1, BETWEEN * (count - 1) + 1)
    x, y = (np.interp(at, np.arange(count), plane.path[:, axis]) for axis in (0, 1))
    shown = heights[np.isfinite(heights)]
    above = LIFT * float(np.ptp(shown)) if shown.size else 0.0
    upright = RegularGridInterpolator((plane.y, plane.x), heights)(np.stack([y, x], -1))
    return x, y, upright + above


def _axes(plane: Plane, short: bool = False) -> dict[str, dict[str, Any]]:
    """Name the two directions; short: as there is room for in space."""
    words = ("x", "y") if short else ("first random direction", "second random direction")
    names = list(words)
    if len(plane.path):
        places = ("x", "y") if short else ("first main component", "second main component")
        of = "" if short else " of the path"
        names = [
            f"{place} ({share:.0%}{of})"
            for place, share in zip(places, plane.explained, strict=True)
        ]
    return {
        axis: {"title": {"text": name}}
        for axis, name in zip(("xaxis", "yaxis"), names, strict=True)
    }


def _when(plane: Plane, epochs: Sequence[int] | None) -> list[str]:
    if epochs is None:
        return [f"point {number + 1}" for number in range(len(plane.path))]
    return [f"epoch {number}" for number in epochs]


def _words(plane: Plane) -> str:
    """Say what to look for."""
    if len(plane.path):
        return (
            "The plane of the two directions in which theta moved most; the line is the path of "
            "the descent, seen from above, and the diamond where it ended. A path across the "
            "contours goes straight down; one that turns in a narrow valley goes by its walls."
        )
    return (
        "Around the diamond, the network: at 1 each unit's weights are replaced by random ones of "
        "the same length. Wide round contours are a wide minimum; long narrow ones a ravine, which "
        "wants a small learning rate; contours that go through the diamond a slope."
    )


def _seen(plane: Plane) -> str:
    losses = _finite(plane.losses)
    if not np.isfinite(losses).any():
        return "No loss on this plane is finite."
    lowest = float(np.nanmin(losses))
    seen = f"The lowest loss on this plane is {lowest:.3g}, the highest {np.nanmax(losses):.3g}"
    missing = int(np.isnan(losses).sum())
    if missing:
        seen += f"; {missing:,} points have none that is finite"
    if len(plane.path):
        seen += f". The two directions hold {plane.explained.sum():.0%} of the path's variance"
    return f"{seen}.{_of_rows(plane.rows, plane.of_rows)}"


def _of_rows(rows: int, of_rows: int) -> str:
    return "" if rows == of_rows else f" Drawn from {rows:,} of {of_rows:,} rows."
