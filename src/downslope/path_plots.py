"""The paths of descents over a function, step by step: on a curve, from above, in space.

Heights are drawn by their logarithm above the lowest, or the walls of a valley would hide its
floor; the numbers shown are f itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from downslope.function_plots import (
    Figure,
    Group,
    groups,
    number,
    series,
    stroke,
    view,
)
from downslope.function_run import FunctionRun
from downslope.functions import Bounds, Function
from downslope.kernels.jit import Doubles
from downslope.look import color

GRID = 81
"""Points along each axis of a surface."""

FRAMES, FRAMES_OF_MANY = 30, 15
"""Pictures of an animation; of one with more than `MANY` paths."""

MANY = 12

POINTS = 800
"""Points that are drawn of all paths together, about: where they turn, these are their steps."""

SHADES = [[0.0, "#e8eaee"], [1.0, "#69707a"]]
"""Low is light, high is dark, in grays: the colors are for the paths."""

SYMBOLS = ("circle", "diamond", "x", "square")


class Heights:
    """The logarithm of heights above the lowest, and its labels.

    Where the lowest lies at the picture's edge, f goes on down beyond it: then its logarithm would
    show that corner only, and heights are nearly as they are.

    Parameters
    ----------
    values : (y, x)
        f over the picture: a few of them may be missing.
    lowest
        The lowest f that is known or was reached.
    """

    def __init__(self, values: Doubles, lowest: float) -> None:
        finite = values[np.isfinite(values)]
        self.lowest = min([lowest, *(float(finite.min()) for _ in finite[:1])])
        above = finite - self.lowest
        height = float(above.max()) if above.size else 1.0
        inner = values[1:-1, 1:-1]
        inside = np.isfinite(inner).any() and np.nanmin(inner) <= np.nanmin(values)
        share = float(np.quantile(above, 0.02)) if above.size and inside else height
        self._scale = max(share, 1e-9 * height, 1e-12)

    def of(self, values: Doubles) -> Doubles:
        """Give log10(1 + (f - lowest) / scale)."""
        with np.errstate(all="ignore"):
            above = np.maximum(values - self.lowest, 0.0)
            return np.asarray(np.log10(1 + above / self._scale))

    def ticks(self, top: float) -> tuple[list[float], list[str]]:
        """Give places and labels of some round values of f, up to a height."""
        places, labels = [0.0], [number(self.lowest)]
        largest = self._scale * (10.0**top - 1)
        for exponent in range(-12, 13):
            above = 10.0**exponent
            at = float(self.of(np.array([self.lowest + above]))[0])
            if at - places[-1] > 0.14 * top and above <= largest:
                places.append(at)
                labels.append(number(self.lowest + above))
        return places, labels


def curve(runs: Sequence[FunctionRun]) -> Figure:
    """Draw a function of one variable with the paths, step by step."""
    function, ((low, high),) = runs[0].function, view(runs)
    x = np.linspace(low, high, 401)
    y = function.values(x[:, None])
    data = [series(x, y, "f", {"color": "#8a929c", "width": 2}, hoverinfo="skip")]

    def points(run: FunctionRun, kept: Any) -> Doubles:
        return np.column_stack([run.thetas[kept, 0], run.values[kept]])

    paths, pictures = _paths(runs, points, ("x", "y"), _flat_path)
    data += paths
    finite = y[np.isfinite(y)]
    bottom, top = float(finite.min()), float(np.quantile(finite, 0.98))
    room = 0.08 * (top - bottom or 1.0)
    layout = {
        "xaxis": {"title": {"text": function.variables[0]}, "range": [low, high]},
        "yaxis": {"title": {"text": "f"}, "range": [bottom - room, top + room]},
    }
    return _animated(data, layout, pictures, first=1)


def contours(runs: Sequence[FunctionRun]) -> Figure:
    """Draw a function of two variables from above, with the paths of all rules."""
    function, (across, upward) = runs[0].function, view(runs)
    x, y, values, heights = _surface(runs)
    shown = heights.of(values)
    places, labels = heights.ticks(float(np.nanmax(shown)))
    ground = {
        "type": "contour", "x": x, "y": y, "z": shown, "colorscale": SHADES, "ncontours": 18,
        "customdata": values, "line": {"width": 0.6, "color": "rgba(90,96,104,0.5)"},
        "colorbar": {"title": {"text": "f"}, "tickvals": places, "ticktext": labels},
        "hovertemplate": f"{function.variables[0]} %{{x}}<br>{function.variables[1]} %{{y}}<br>"
        "f %{customdata}<extra></extra>", "name": "f",
    }  # fmt: skip
    data: list[Figure] = [ground, *_minima(function)]
    first = len(data)
    paths, pictures = _paths(runs, lambda run, kept: run.thetas[kept], ("x", "y"), _flat_path)
    data += paths
    layout = {
        "xaxis": {"title": {"text": function.variables[0]}, "range": list(across)},
        "yaxis": {"title": {"text": function.variables[1]}, "range": list(upward)},
        "height": 640, "margin": {"t": 84}, "hovermode": "closest",
    }  # fmt: skip
    return _animated(data, layout, pictures, first)


def surface(runs: Sequence[FunctionRun]) -> Figure:
    """Draw a function of two variables as a surface in space, with the paths on it."""
    function, box = runs[0].function, view(runs)
    x, y, values, heights = _surface(runs)
    shown = heights.of(values)
    top = float(np.nanmax(shown))
    places, labels = heights.ticks(top)
    ground = {
        "type": "surface", "x": x, "y": y, "z": shown, "colorscale": "Cividis", "showscale": False,
        "opacity": 0.86, "hoverinfo": "skip", "contours": {"z": {"show": True, "width": 1,
        "start": 0, "end": top, "size": top / 10, "color": "rgba(255,255,255,0.3)"}},
    }  # fmt: skip
    data: list[Figure] = [ground]

    def lifted(run: FunctionRun, kept: Any) -> Doubles:
        kept = _within(run, kept, box)
        return np.column_stack([run.thetas[kept], heights.of(run.values[kept]) + 0.012 * top])

    paths, pictures = _paths(runs, lifted, ("x", "y", "z"), _space_path)
    data += paths
    layout = {
        "scene": {
            "xaxis": {"title": {"text": function.variables[0]}, "range": list(box[0])},
            "yaxis": {"title": {"text": function.variables[1]}, "range": list(box[1])},
            "zaxis": {"title": {"text": "f"}, "tickvals": places, "ticktext": labels},
            "aspectmode": "manual", "aspectratio": {"x": 1.1, "y": 1.1, "z": 0.7},
            "camera": {"eye": {"x": 1.2, "y": -1.45, "z": 1.4}, "center": {"z": -0.2}},
        },
        "height": 640, "margin": {"l": 16, "r": 24, "t": 84},
    }  # fmt: skip
    return _animated(data, layout, pictures, first=1)


def _surface(runs: Sequence[FunctionRun]) -> tuple[Doubles, Doubles, Doubles, Heights]:
    """Give f over the view: x, y, values (y, x), and how their heights are drawn."""
    function, box = runs[0].function, view(runs)
    x, y = (np.linspace(low, high, GRID) for low, high in box)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    values = function.values(grid).reshape(GRID, GRID)
    values = np.where(np.isfinite(values), values, np.nan)
    inside = [run.values[_within(run, np.arange(run.steps + 1), box)] for run in runs]
    reached = np.concatenate([*inside, values.reshape(-1)])
    known = [value for _, value in function.minima[:1]]
    return x, y, values, Heights(values, min([float(np.nanmin(reached)), *known]))


def _minima(function: Function) -> list[Figure]:
    """Mark the known minima."""
    if not function.minima:
        return []
    places = np.array([place for place, _ in function.minima])
    return [{
        "type": "scatter", "mode": "markers", "x": places[:, 0], "y": places[:, 1],
        "name": "known minimum", "customdata": [value for _, value in function.minima],
        "marker": {"symbol": "star", "size": 12, "color": "#8a929c",
                   "line": {"width": 1, "color": "#22262b"}},
        "hovertemplate": "%{x}, %{y}<br>f %{customdata}<extra>known minimum</extra>",
    }]  # fmt: skip


def _paths(
    runs: Sequence[FunctionRun],
    points: Callable[[FunctionRun, Any], Doubles],
    names: Sequence[str],
    style: Callable[[Group], Figure],
) -> tuple[list[Figure], list[tuple[int, list[Figure]]]]:
    """Give the paths, a trace a rule, and the animation's pictures of them.

    points: (run, steps) -> their coordinates (steps, names).
    """
    cuts, together = _cuts(runs), groups(runs)
    count = sum(len(group.runs) for group in together)
    tracks = {
        id(run): _track(run, cuts, POINTS // count) for group in together for run in group.runs
    }
    gap = np.full((1, len(names)), np.nan)

    def trace(group: Group, last: int) -> Figure:
        parts = []
        for run in group.runs:
            track = tracks[id(run)]
            parts += [points(run, track[track <= last]), gap]
        whole = np.concatenate(parts[:-1])
        return {name: whole[:, k] for k, name in enumerate(names)}

    pictures = [(cut, [trace(group, cut) for group in together]) for cut in cuts]
    return [{**style(group), **trace(group, cuts[-1])} for group in together], pictures


def _cuts(runs: Sequence[FunctionRun]) -> list[int]:
    """Give the steps at which the animation stands: close at the start, wide at the end."""
    last = max(run.steps for run in runs)
    frames = FRAMES if len(runs) <= MANY else FRAMES_OF_MANY
    if last <= frames:
        return list(range(last + 1))
    spread = np.geomspace(1, last, frames - 1).round().astype(int)
    return sorted({0, *spread.tolist(), last})


def _track(run: FunctionRun, cuts: Sequence[int], room: int) -> Any:
    """Choose the steps of a path that are drawn: the cuts, and others that go far."""
    kept = {cut for cut in cuts if cut <= run.steps} | {run.steps}
    lengths = np.linalg.norm(run.moves, axis=1)
    far = np.argsort(-lengths, kind="stable")[: max(room - len(kept), 0)]
    kept |= {int(step) + 1 for step in far if lengths[step] > 0}
    return np.array(sorted(kept))


def _within(run: FunctionRun, track: Any, box: Bounds) -> Any:
    """Leave out the steps that lie outside of the picture."""
    low, high = np.array(box).T
    points = run.thetas[track]
    return track[((low <= points) & (points <= high)).all(axis=1)]


def _flat_path(group: Group) -> Figure:
    """Give how a path is drawn in a plane."""
    few = len(group.runs) == 1
    symbol = SYMBOLS[group.number // 6 % len(SYMBOLS)]
    return {
        "type": "scatter", "mode": "lines+markers", "name": group.name,
        "line": stroke(group, 1.6 if few else 1),
        "marker": {"size": 4 if few else 2, "color": color(group.number), "symbol": symbol},
        "hovertemplate": "%{x}, %{y}<extra>%{fullData.name}</extra>",
    }  # fmt: skip


def _space_path(group: Group) -> Figure:
    """Give how a path is drawn in space."""
    return {
        "type": "scatter3d", "mode": "lines+markers", "name": group.name,
        "line": {"color": color(group.number), "width": 5 if len(group.runs) == 1 else 3},
        "marker": {"size": 2.4, "color": color(group.number)},
        "hovertemplate": "%{x}, %{y}<extra>%{fullData.name}</extra>",
    }  # fmt: skip


def _animated(
    data: list[Figure], layout: dict[str, Any], pictures: list[tuple[int, list[Figure]]], first: int
) -> Figure:
    """Add the pictures as frames, with a button to play them and a slider."""
    traces = [first + k for k in range(len(pictures[0][1]))]
    frames = [{"name": str(cut), "data": parts, "traces": traces} for cut, parts in pictures]
    at_once = {"mode": "immediate", "frame": {"duration": 0, "redraw": True},
               "transition": {"duration": 0}}  # fmt: skip
    running = {"fromcurrent": True, "frame": {"duration": 120, "redraw": True},
               "transition": {"duration": 0}}  # fmt: skip
    steps = [{"label": str(cut), "method": "animate", "args": [[str(cut)], at_once]}
             for cut, _ in pictures]  # fmt: skip
    button = {"type": "buttons", "direction": "left", "showactive": False, "x": 0, "y": 0,
              "xanchor": "left", "yanchor": "top", "pad": {"t": 66, "r": 8}}  # fmt: skip
    buttons = [{"label": "Play", "method": "animate", "args": [None, running]},
               {"label": "Pause", "method": "animate", "args": [[None], at_once]}]  # fmt: skip
    slider = {"active": len(pictures) - 1, "x": 0.3, "len": 0.7, "y": 0, "yanchor": "top",
              "pad": {"t": 48}, "currentvalue": {"prefix": "step "}, "steps": steps}  # fmt: skip
    whole = {**layout, "margin": {**layout.get("margin", {}), "b": 140},
             "updatemenus": [{**button, "buttons": buttons}], "sliders": [slider]}  # fmt: skip
    whole.setdefault("height", 560)
    return {"data": data, "layout": whole, "frames": frames}
