"""A page: one HTML file with figures and tables that needs nothing else, online or off.

Plotly's script lies in it once, the figures as data. It follows the reader's light or dark mode,
prints on A4, and makes no request.
"""

from __future__ import annotations

import html
import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from downslope import __version__, look
from downslope.errors import InvalidTypeError, InvalidValueError
from downslope.storage import write_atomically

DIGITS = 5
"""Significant digits of a figure's numbers: finer than a pixel of a screen."""

HEIGHT = 400
"""Pixels of a figure whose layout names no height."""


@dataclass(frozen=True)
class Grid:
    """A table of a page.

    Parameters
    ----------
    header
        Names of the columns.
    rows
        Texts or numbers; numbers are set to the right, with up to four significant digits.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Section:
    """A picture with its words.

    Parameters
    ----------
    heading
        What is shown. It takes the place of the figure's own title.
    content
        A Plotly figure, or one as plain data with "data", "layout" and, for a slider, "frames"; a
        `Grid`; None for words only.
    sentence
        What to look for in it.
    seen
        What is seen in this one, by its numbers; "" for nothing worth saying.
    wide
        Over the page's whole width on a wide screen, where two others stand side by side.
    """

    heading: str
    content: Any
    sentence: str
    seen: str = ""
    wide: bool = False


def page(
    title: str,
    sections: Sequence[Section],
    lead: str = "",
    facts: Mapping[str, object] | None = None,
) -> str:
    """Give the page as HTML. All texts are shown as they are: none of them becomes HTML.

    Parameters
    ----------
    title
    sections
    lead
        A paragraph at the top.
    facts
        A table of names and values below it.

    Raises
    ------
    InvalidTypeError
        For content that is neither figure nor `Grid`.
    InvalidValueError
        Without a title.

    Examples
    --------
    >>> line = {"data": [{"type": "scatter", "y": [3, 2, 1]}], "layout": {}}
    >>> text = page("A run", [Section("Loss by epoch", line, "It should fall.")])
    >>> text.count("Loss by epoch"), "<html lang=" in text
    (2, True)
    """
    if not title.strip():
        raise InvalidValueError(f"a page needs a title; got {title!r}")
    figures: list[str] = []
    parts = [_section(section, number, figures) for number, section in enumerate(sections)]
    rows = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{_cell(value)}</td></tr>'
        for name, value in (facts or {}).items()
    )
    templates = {mode: look.template(mode) for mode in look.GROUNDS}
    return _skeleton().substitute(
        look.GROUNDS,
        title=html.escape(title),
        font=look.FONT,
        lead=f'<p class="lead">{html.escape(lead)}</p>' if lead else "",
        facts=f'<div class="scroll"><table class="facts">{rows}</table></div>' if rows else "",
        sections="\n".join(parts),
        version=__version__,
        figures=f"[{','.join(figures)}]",
        templates=_to_json(templates),
        plotly=_plotly(),
    )


def write(
    path: str | Path,
    title: str,
    sections: Sequence[Section],
    lead: str = "",
    facts: Mapping[str, object] | None = None,
) -> Path:
    """Write the page (see `page`) to a file, atomically; give its path."""
    path = Path(path)
    write_atomically(path, page(title, sections, lead, facts).encode())
    return path


def _section(section: Section, number: int, figures: list[str]) -> str:
    """Give a section as HTML; a figure's data goes to the end of `figures`."""
    heading = f"heading{number}"
    body = ""
    if isinstance(section.content, Grid):
        body = _table(section.content)
    elif section.content is not None:
        figure = _plain_figure(section)
        figures.append(_to_json(figure))
        height = int(figure["layout"]["height"])
        label = html.escape(f"{section.heading}. {section.seen or section.sentence}")
        body = f'<div class="plot" role="img" aria-label="{label}" style="height:{height}px"></div>'
    words = f'<p class="look">{html.escape(section.sentence)}</p>'
    if section.seen:
        words += f'<p class="seen">{html.escape(section.seen)}</p>'
    tag = "figure" if body else "div"
    caption = f"<figcaption>{words}</figcaption>" if body else words
    return (
        f'<section aria-labelledby="{heading}"{" class=wide" * section.wide}>'
        f'<h2 id="{heading}">{html.escape(section.heading)}</h2>'
        f"<{tag}>{body}{caption}</{tag}></section>"
    )


def _plain_figure(section: Section) -> dict[str, Any]:
    """Give a section's figure as plain data with a height."""
    content = section.content
    if hasattr(content, "to_plotly_json"):
        content = content.to_plotly_json()
    if not isinstance(content, Mapping) or "data" not in content:
        raise InvalidTypeError(
            f"section {section.heading!r}: its content takes a Plotly figure, a mapping with its "
            f"data and layout, a Grid or None; got {type(content).__name__}"
        )
    layout = {k: v for k, v in dict(content.get("layout") or {}).items() if k != "template"}
    layout.setdefault("height", HEIGHT)
    return {**content, "layout": layout}


def _table(grid: Grid) -> str:
    """Give a table as HTML; a column of numbers is set to the right."""
    columns = range(len(grid.header))
    numbers = [all(_is_number(row[k]) for row in grid.rows) for k in columns]
    kind = [" class=number" if number and grid.rows else "" for number in numbers]
    head = "".join(f'<th scope="col"{kind[k]}>{html.escape(grid.header[k])}</th>' for k in columns)
    body = "".join(
        f"<tr>{''.join(f'<td{kind[k]}>{_cell(row[k])}</td>' for k in columns)}</tr>"
        for row in grid.rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _cell(value: object) -> str:
    """Write a value of a table."""
    if isinstance(value, float | np.floating):
        return "–" if math.isnan(value) else f"{value + 0.0:.4g}"  # 0, not -0
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return f"{value:,}"
    return html.escape(str(value))


def _to_json(value: object) -> str:
    """Give plain data as JSON that can stand within a script element."""
    text = json.dumps(_lean(value), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _lean(value: Any) -> Any:
    """Turn arrays into lists, shorten numbers, and put None for what JSON has no number for."""
    if isinstance(value, Mapping):
        return {str(key): _lean(each) for key, each in value.items()}
    if isinstance(value, np.ndarray) and value.dtype.kind in "iub":
        return value.tolist()
    if isinstance(value, list | tuple | np.ndarray):
        return [_lean(each) for each in (value.tolist() if hasattr(value, "tolist") else value)]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        short = float(f"{value:.{DIGITS}g}")
        return int(short) if short.is_integer() and abs(short) < 1e15 else short
    return value


@cache
def _skeleton() -> Template:
    return Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))


@cache
def _plotly() -> str:
    """Give Plotly's script, out of its Python package, which need not be imported for it."""
    found = importlib.util.find_spec("plotly")
    assert found is not None
    assert found.submodule_search_locations is not None
    folder = Path(found.submodule_search_locations[0])
    return (folder / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
