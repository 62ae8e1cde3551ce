"""Our figures as PNG, SVG or PDF, drawn by Matplotlib: Plotly itself takes a browser for that.

It knows the kinds of series that our figures are made of (scatter, bar, heatmap, contour),
their axes, legends and color scales, and no others.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from downslope import look
from downslope.errors import InvalidValueError
from downslope.storage import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")

INCH = 100
"""Pixels of a figure's height to an inch of the picture."""

WIDTH = 9.0
"""Inches."""

LEGEND = 12
"""Series that the legend names: two lines of it."""

_MARKERS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "cross": "P",
    "x": "X",
}
_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}


def save(figure: Mapping[str, Any], path: str | Path) -> Path:
    """Draw a figure of plain data into a file; give its path.

    Raises
    ------
    InvalidValueError
        For another ending than .png, .svg or .pdf, or a kind of series that is not ours.
    UnwritableError
        If the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise InvalidValueError(
            f"a picture is written as {', '.join(FORMATS)}; got {path.name!r}: name one of these "
            "endings, or .html for the figure that can be zoomed"
        )
    drawn, buffer, ending = draw(figure), io.BytesIO(), path.suffix.lower()
    metadata = {"Date": None} if ending == ".svg" else None
    drawn.savefig(buffer, format=ending[1:], dpi=150, metadata=metadata)
    write_atomically(path, buffer.getvalue())
    return path


def draw(figure: Mapping[str, Any]) -> Figure:
    """Give a figure of plain data as Matplotlib's.

    Raises
    ------
    InvalidValueError
        For a kind of series that is not ours.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layout = figure["layout"]
    drawn = Figure(figsize=(WIDTH, layout.get("height", 420) / INCH))
    FigureCanvasAgg(drawn)
    names = sorted({series.get("yaxis", "y") for series in figure["data"]})
    panels = {}
    for name in names:
        up, across = (_axis(layout, letter + name[1:]) for letter in "yx")
        bottom, top = up.get("domain", (0, 1))
        place = (0.1, 0.12 + 0.7 * bottom, 0.84, 0.7 * (top - bottom))
        panels[name] = drawn.add_axes(place)
        _dress(panels[name], across, up)
    for number, series in enumerate(figure["data"]):
        _DRAW[_kind(series)](panels[series.get("yaxis", "y")], series, number, layout)
    for name, panel in panels.items():
        across, up = (_axis(layout, letter + name[1:]) for letter in "xy")
        _finish(panel, across, up, layout)
    drawn.suptitle(_text(_title(layout)), x=0.1, ha="left", fontsize=13)
    return drawn


def _title(layout: Mapping[str, Any]) -> str:
    """Give a figure's title, and with it what its slider says of the picture that is shown."""
    parts = [layout.get("title", {}).get("text", "")]
    for slider in layout.get("sliders", ()):
        label = slider["steps"][slider["active"]]["label"]
        parts.append(f"{slider['currentvalue']['prefix']}{label}")
    return ", ".join(parts)


def _kind(series: Mapping[str, Any]) -> str:
    kind = str(series["type"])
    if kind not in _DRAW:
        raise InvalidValueError(
            f"a series of the kind {kind!r} is not drawn without a browser: write the figure as "
            ".html, or install kaleido and Chrome and use Plotly's write_image"
        )
    return kind


def _axis(layout: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Give an axis of a layout: x2 is xaxis2."""
    axis: Mapping[str, Any] = layout.get(f"{name[0]}axis{name[1:]}", {})
    return axis


def _text(text: str) -> str:
    """Turn Plotly's text into Matplotlib's: powers of ten, no other marks."""
    plain = html.unescape(str(text)).replace("$", r"\$")
    return re.sub(r"(\d+)<sup>(.*?)</sup>", r"$\1^{\2}$", plain)


def _dress(panel: Any, across: Mapping[str, Any], up: Mapping[str, Any]) -> None:
    """Set what must be known before something is drawn: kinds of axes, grid, titles."""
    for name, axis in (("x", across), ("y", up)):
        if axis.get("type") == "log":
            getattr(panel, f"set_{name}scale")("log")
        getattr(panel, f"set_{name}label")(_text(axis.get("title", {}).get("text", "")))
    panel.grid(color="#e4e7eb", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def _finish(
    panel: Any, across: Mapping[str, Any], up: Mapping[str, Any], layout: Mapping[str, Any]
) -> None:
    """Set what must wait until all is drawn: ranges, ticks, the legend."""
    for name, axis in (("x", across), ("y", up)):
        if "tickvals" in axis:
            ticks = [_text(each) for each in axis["ticktext"]]
            getattr(panel, f"set_{name}ticks")(axis["tickvals"], ticks)
        elif "dtick" in axis and axis.get("type") != "log":
            from matplotlib.ticker import MultipleLocator

            getattr(panel, f"{name}axis").set_major_locator(MultipleLocator(axis["dtick"]))
        if "range" in axis:
            log = axis.get("type") == "log"
            ends = [10**end if log else end for end in axis["range"]]
            getattr(panel, f"set_{name}lim")(*ends)
        if axis.get("autorange") == "reversed":
            getattr(panel, f"invert_{name}axis")()
        if axis.get("rangemode") == "tozero":
            getattr(panel, f"set_{name}lim")(0)
    handles, labels = panel.get_legend_handles_labels()
    if layout.get("showlegend") and handles:
        title = _text(layout.get("legend", {}).get("title", {}).get("text", ""))
        panel.legend(
            handles[:LEGEND], labels[:LEGEND], loc="lower left", bbox_to_anchor=(0, 1.0),
            ncols=6, frameon=False, fontsize=8, borderaxespad=0.2,
            title=title, title_fontsize=8, alignment="left",
        )  # fmt: skip


def _scatter(panel: Any, series: Mapping[str, Any], number: int, layout: Mapping[str, Any]) -> None:
    line, marker = series.get("line", {}), series.get("marker", {})
    mode = series.get("mode", "lines")
    color = (line if "lines" in mode else marker).get("color", look.color(number))
    named = series.get("name") and series.get("showlegend", True)
    edge = marker.get("line", {})
    panel.errorbar(
        np.asarray(series["x"]),
        np.asarray(series["y"], float),
        yerr=np.asarray(series["error_y"]["array"]) if "error_y" in series else None,
        color=color,
        alpha=marker.get("opacity", series.get("opacity")),
        linestyle=_DASHES[line.get("dash", "solid")] if "lines" in mode else "none",
        linewidth=line.get("width", 2) * 0.8,
        drawstyle="steps-post" if line.get("shape") == "hv" else "default",
        marker=_MARKERS[marker.get("symbol", "circle")] if "markers" in mode else "none",
        markersize=marker.get("size", 6) * 0.8,
        markeredgecolor=edge.get("color", color),
        markeredgewidth=edge.get("width", 0),
        elinewidth=1.6,
        capsize=2 if "error_y" in series else 0,
        label=_text(series["name"]) if named else None,
    )


def _bar(panel: Any, series: Mapping[str, Any], number: int, layout: Mapping[str, Any]) -> None:
    """Draw bars; with the mode "relative" on those of the same sign that are there."""
    x, height = np.asarray(series["x"]), np.nan_to_num(np.asarray(series["y"], float))
    base = np.zeros(len(x))
    if layout.get("barmode") == "relative":
        for before in panel.containers:
            heights = np.array([patch.get_height() for patch in before])
            base += np.where(heights * height > 0, heights, 0)
    color = series.get("marker", {}).get("color", look.color(number))
    panel.bar(x, height, 0.7, bottom=base, color=color, label=_text(series.get("name", "")))


def _heatmap(panel: Any, series: Mapping[str, Any], number: int, layout: Mapping[str, Any]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    z = np.asarray(series["z"], float)
    x = np.asarray(series.get("x", np.arange(z.shape[1])))
    y = np.asarray(series.get("y", np.arange(z.shape[0])))
    scale = series.get("colorscale", look.SEQUENTIAL)
    colors: Any = (
        scale.lower()
        if isinstance(scale, str)
        else LinearSegmentedColormap.from_list(
            "ours", [(stop, color) for stop, color in scale], 1024
        )
    )
    mesh = panel.pcolormesh(
        x, y, np.ma.masked_invalid(z), shading="nearest", cmap=colors, alpha=series.get("opacity"),
        vmin=series.get("zmin"), vmax=series.get("zmax"), rasterized=True,
    )  # fmt: skip
    panel.grid(visible=False)
    if "texttemplate" in series:
        middle = (mesh.get_clim()[0] + mesh.get_clim()[1]) / 2
        for (row, column), text in np.ndenumerate(np.asarray(series["text"])):
            ink = "white" if z[row, column] < middle else "black"
            panel.text(
                x[column], y[row], str(text), ha="center", va="center", color=ink, fontsize=8
            )
    if series.get("showscale", True):
        _color_bar(panel, mesh, series.get("colorbar", {}))


def _contour(panel: Any, series: Mapping[str, Any], number: int, layout: Mapping[str, Any]) -> None:
    """Draw filled contours."""
    z = np.ma.masked_invalid(np.asarray(series["z"], float))
    place = (np.asarray(series["x"]), np.asarray(series["y"]), z)
    drawn = panel.contourf(*place, series["ncontours"], cmap=series["colorscale"].lower())
    panel.contour(*place, drawn.levels, colors="black", linewidths=0.3)
    panel.grid(visible=False)
    _color_bar(panel, drawn, series.get("colorbar", {}))


def _color_bar(panel: Any, drawn: Any, bar: Mapping[str, Any]) -> None:
    """Draw the scale of colors beside a panel."""
    shown = panel.figure.colorbar(drawn, ax=panel, pad=0.02, fraction=0.05)
    shown.outline.set_visible(False)
    shown.set_label(_text(bar.get("title", {}).get("text", "")))
    if "tickvals" in bar:
        shown.set_ticks(bar["tickvals"], labels=[_text(each) for each in bar["ticktext"]])
    elif "%" in bar.get("tickformat", ""):
        shown.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


_DRAW = {"scatter": _scatter, "bar": _bar, "heatmap": _heatmap, "contour": _contour}
