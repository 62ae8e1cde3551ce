"""Pictures of descents on functions, as plain Plotly data: paths, basins, learning rates.

Heights are drawn by their logarithm above the lowest, or the walls of a valley would hide its
floor; the numbers shown are f itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from downslope.basins import AWAY, NOWHERE, Basins
from downslope.functions import Bounds, Doubles, Function
from downslope.look import color, plain
from downslope.minimization import SAME, FunctionRun
from downslope.sweep import BEHAVIORS, DIVERGING

Figure: TypeAlias = dict[str, Any]

GRID = 81
"""Points along each axis of a surface."""

FRAMES, FRAMES_OF_MANY = 30, 15
"""Pictures of an animation; of one with more than `MANY` paths."""

MANY = 12

POINTS = 800
"""Points that are drawn of all paths together, about: where they turn, these are their steps."""

DRAWN = 60
"""Paths that are drawn, at most, unless there are more rules."""

SHADES = [[0.0, "#e8eaee"], [1.0, "#69707a"]]
"""Low is light, high is dark, in grays: the colors are for the paths."""

DASHES = ("solid", "dash", "dot")
SYMBOLS = ("circle", "diamond", "x", "square")


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
        places, labels = [0.0], [_number(self.lowest)]
        largest = self._scale * (10.0**top - 1)
        for exponent in range(-12, 13):
            above = 10.0**exponent
            at = float(self.of(np.array([self.lowest + above]))[0])
            if at - places[-1] > 0.14 * top and above <= largest:
                places.append(at)
                labels.append(_number(self.lowest + above))
        return places, labels


def curve(runs: Sequence[FunctionRun]) -> Figure:
    """Draw a function of one variable with the paths, step by step."""
    function, ((low, high),) = runs[0].function, view(runs)
    x = np.linspace(low, high, 401)
    y = function.values(x[:, None])
    data = [_line(x, y, "f", {"color": "#8a929c", "width": 2}, hoverinfo="skip")]

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


def by_step(runs: Sequence[FunctionRun], quantity: str) -> Figure:
    """Draw f above its lowest value, or the gradient's norm, step by step."""
    lowest, data = _lowest(runs), []
    for group in groups(runs):
        for number, run in enumerate(group.runs):
            kept = _spread(run.steps, max(40, 400 // len(group.runs)))
            y = run.values[kept] - lowest if quantity == "f" else run.norms[kept]
            more = {"legendgroup": group.name, "showlegend": number == 0}
            line = _stroke(group, 2 if len(group.runs) == 1 else 1)
            data.append(_line(kept + 1, np.where(y > 0, y, np.nan), group.name, line, **more))
    title = _above(lowest) if quantity == "f" else "|gradient|"
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
    lowest = _lowest(runs)
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
        above = sweep.values - lowest
        gone = np.array([behavior == DIVERGING for behavior in sweep.behaviors])
        y = np.where(gone | ~(above < roof), roof, np.maximum(above, 1e-16))
        # Lower than any known or reached: f goes down without end, and no height says how far.
        y = np.where(~gone & (above < -SAME * (1 + abs(lowest))), np.nan, y)
        symbols = [marks[behavior] for behavior in sweep.behaviors]
        data.append({
            **_line(sweep.learning_rates, y, group.name, _stroke(group, 1.6)),
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
        "yaxis": {"title": {"text": f"{_above(lowest)} at the end"}, "type": "log", **ticks},
        "legend2": {"itemsizing": "constant", "orientation": "h", "x": 0, "xanchor": "left",
                    "y": -0.2, "yanchor": "top"},
        "margin": {"b": 96}, "height": 460,
    }  # fmt: skip
    return {"data": data, "layout": layout}


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
    data += _basin_legend(places, tints)
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
    data += _basin_legend(places, tints)
    return {"data": data, "layout": layout}


def _basin_legend(places: Doubles, tints: Sequence[str]) -> list[Figure]:
    shown = [("to no minimum in time", "rgba(128,128,128,0.75)"), ("away", "rgba(128,128,128,0.2)")]
    shown = [(_place(place), tint) for place, tint in zip(places, tints, strict=True)] + shown
    return [
        {"type": "scatter", "mode": "markers", "x": [None], "y": [None], "name": plain(name),
         "marker": {"symbol": "square", "size": 11, "color": tint}}
        for name, tint in shown
    ]  # fmt: skip


def _steps_of_color(tints: Sequence[str]) -> list[list[Any]]:
    """Give a color scale without transitions."""
    count = len(tints)
    return [[edge / count, tint] for k, tint in enumerate(tints) for edge in (k, k + 1)]


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


def _lowest(runs: Sequence[FunctionRun]) -> float:
    """Give the lowest f that is known or that a run reached."""
    reached = min(float(np.nanmin(run.values)) for run in runs)
    return min([reached, *(value for _, value in runs[0].function.minima[:1])])


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


def _within(run: FunctionRun, track: Any, box: Bounds) -> Any:
    """Leave out the steps that lie outside of the picture."""
    low, high = np.array(box).T
    points = run.thetas[track]
    return track[((low <= points) & (points <= high)).all(axis=1)]


def _spread(last: int, count: int) -> Any:
    """Choose steps for a logarithmic axis: 0 and on to the last."""
    if last < count:
        return np.arange(last + 1)
    return np.unique(np.geomspace(1, last + 1, count).round().astype(int)) - 1


def _stroke(group: Group, width: float) -> dict[str, Any]:
    dash = DASHES[group.number // 6 % len(DASHES)]
    return {"color": color(group.number), "width": width, "dash": dash}


def _flat_path(group: Group) -> Figure:
    """Give how a path is drawn in a plane."""
    few = len(group.runs) == 1
    symbol = SYMBOLS[group.number // 6 % len(SYMBOLS)]
    return {
        "type": "scatter", "mode": "lines+markers", "name": group.name,
        "line": _stroke(group, 1.6 if few else 1),
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


def _line(x: Any, y: Any, name: str, line: dict[str, Any], **more: Any) -> Figure:
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "name": name, "line": line, **more}


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


def _above(lowest: float) -> str:
    """Write f above its lowest value: f, f - 3, f + 2."""
    shown = _number(abs(lowest))
    return "f" if shown == "0" else f"f {'-' if lowest > 0 else '+'} {shown}"


def _number(value: float) -> str:
    return f"{0.0 if abs(value) < 1e-12 else value:.4g}"


def _place(theta: Any) -> str:
    numbers = [_number(round(float(each), 4)) for each in theta]
    return numbers[0] if len(numbers) == 1 else f"({', '.join(numbers)})"
