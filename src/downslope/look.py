"""How figures look: colors, color scales and the Plotly templates, light and dark."""

from __future__ import annotations

import html
from typing import Any, Final

COLORS: Final = ("#2878e0", "#bf3f30", "#1f9a70", "#9f74c8", "#ac8406", "#766678")
"""For series, in this order: blue, red, green, purple, gold, gray. Each has a contrast of 3 or more
on the light and on the dark ground, and no two are alike for protanopes or deuteranopes."""

SEQUENTIAL: Final = "Cividis"
"""For quantities from little to much: even in lightness, to all eyes (Nuñez et al. 2018)."""

DIVERGING: Final = (
    (0.0, "#8c4510"),
    (0.25, "#c9742f"),
    (0.5, "#c9ccd1"),
    (0.75, "#3f83c4"),
    (1.0, "#123f6b"),
)
"""For quantities on two sides of a middle: orange below, blue above."""

FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

GROUNDS: Final = {"light": "#f6f7f9", "dark": "#1d2127"}
"""Color behind the figures."""


def color(number: int) -> str:
    """Give the color of a series by its number, from 0; they come round again."""
    return COLORS[number % len(COLORS)]


def plain(text: object) -> str:
    """Write a text so that Plotly shows it as it is: its own text takes some HTML.

    >>> plain("<b>class</b>")
    '&lt;b&gt;class&lt;/b&gt;'
    """
    return html.escape(str(text), quote=False)


def template(mode: str = "light") -> dict[str, Any]:
    """Give the Plotly template that all figures have, for a light or a dark ground.

    Raises
    ------
    KeyError
        For a mode that is neither "light" nor "dark".
    """
    ink, faint, line = {
        "light": ("#22262b", "#e4e7eb", "#8a929c"),
        "dark": ("#dfe3e8", "#2c323a", "#79828d"),
    }[mode]
    axis = {
        "automargin": True,
        "gridcolor": faint,
        "linecolor": line,
        "showline": True,
        "ticks": "outside",
        "tickcolor": line,
        "ticklen": 4,
        "zeroline": False,
        "title": {"standoff": 8},
    }
    space = {"backgroundcolor": "rgba(0,0,0,0)", "gridcolor": faint, "linecolor": line}
    bar = {"outlinewidth": 0, "thickness": 14, "ticks": "outside", "tickcolor": line, "ticklen": 4}
    layout = {
        "autosize": True,
        "coloraxis": {"colorbar": bar},
        "colorscale": {"sequential": SEQUENTIAL, "diverging": [list(stop) for stop in DIVERGING]},
        "colorway": list(COLORS),
        "font": {"family": FONT, "size": 13, "color": ink},
        "hoverlabel": {
            "bgcolor": GROUNDS[mode],
            "bordercolor": line,
            "font": {"family": FONT, "color": ink},
        },
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "xanchor": "left"},
        "margin": {"l": 60, "r": 24, "t": 64, "b": 52},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": line, "activecolor": ink},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "scene": {"xaxis": space, "yaxis": space, "zaxis": space},
        "sliderdefaults": {
            "activebgcolor": line,
            "bgcolor": GROUNDS[mode],
            "bordercolor": line,
            "tickcolor": line,
        },
        "title": {"x": 0, "xanchor": "left", "xref": "paper", "font": {"size": 16}},
        "updatemenudefaults": {"bgcolor": GROUNDS[mode], "bordercolor": line},
        "xaxis": axis,
        "yaxis": axis,
    }
    data = {
        kind: [{"colorbar": bar, "colorscale": SEQUENTIAL}]
        for kind in ("heatmap", "contour", "surface")
    }
    return {"layout": layout, "data": data}
