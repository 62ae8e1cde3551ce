"""A page: complete in itself, safe with any text, drawn without an error."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import browser
from downslope import look
from downslope.errors import InvalidTypeError, InvalidValueError
from downslope.page import Grid, Section, page, write

NASTY = "</script><script>document.title='taken'</script><b onclick=\"x\">&amp;"
LINE = {"data": [{"type": "scatter", "x": [1, 2, 3], "y": [3.0, 2.0, 1.0]}], "layout": {}}


def sections() -> list[Section]:
    """Give one section of each kind."""
    rng = np.random.default_rng(0)
    heat = {
        "type": "heatmap",
        "z": rng.normal(size=(4, 30)),
        "colorbar": {"title": {"text": "rms"}},
    }
    frames = [{"name": str(k), "data": [{"type": "scatter", "y": [k, 2, 1]}]} for k in range(3)]
    steps = [{"label": str(k), "method": "animate", "args": [[str(k)]]} for k in range(3)]
    layout = {"sliders": [{"steps": steps}], "title": {"text": "the figure's own title"}}
    return [
        Section("Loss", LINE, "It should fall.", seen="It fell."),
        Section("Flow", {"data": [heat], "layout": {"height": 300}}, "Even is good.", wide=True),
        Section("Slider", {"data": frames[0]["data"], "layout": layout, "frames": frames}, "Move."),
        Section("Rows", Grid(["name", "value"], [["a", 1], ["b", 2.5]]), "Two rows."),
        Section("Words", None, "Nothing to draw."),
    ]


def figures_of(text: str) -> list[dict[str, Any]]:
    """Read the figures out of a page."""
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', text, re.S)
    assert found
    figures: list[dict[str, Any]] = json.loads(found[1])
    return figures


def without_plotly(text: str) -> str:
    """Give a page without Plotly's script."""
    begin = text.index("<script>/**")
    return text[:begin] + text[text.index("</script>", begin) :]


class Reader(HTMLParser):
    """Collects the elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def elements(text: str) -> list[tuple[str, dict[str, str | None]]]:
    reader = Reader()
    reader.feed(text)
    return reader.elements


def test_a_page_is_complete_in_itself_and_small() -> None:
    text = page("A run", sections(), lead="How it went.", facts={"epochs": 3})
    assert len(text.encode()) < 5_200_000
    assert text.count("plotly.js v") == 1
    for tag, attributes in elements(without_plotly(text)):
        assert tag not in {"img", "iframe", "object", "embed", "base"}
        assert "src" not in attributes
        assert attributes.get("href") in (None, "data:,")
    assert "url(" not in without_plotly(text)
    assert "@import" not in without_plotly(text)


def test_no_text_becomes_html() -> None:
    nasty_figure = {"data": [{"type": "scatter", "y": [1], "name": NASTY}], "layout": {}}
    grid = Grid([NASTY], [[NASTY]])
    text = page(
        NASTY,
        [Section(NASTY, nasty_figure, NASTY, seen=NASTY), Section(NASTY, grid, NASTY)],
        lead=NASTY,
        facts={NASTY: NASTY},
    )
    innocent = page(
        "x",
        [Section("x", LINE, "x", seen="x"), Section("x", Grid(["x"], [["x"]]), "x")],
        lead="x",
        facts={"x": "x"},
    )
    assert [tag for tag, _ in elements(text)] == [tag for tag, _ in elements(innocent)]
    assert not any("onclick" in attributes for _, attributes in elements(text))
    assert figures_of(text)[0]["data"][0]["name"] == NASTY


def test_numbers_are_shortened_and_gaps_are_null() -> None:
    values = [1 / 3, np.nan, np.inf, 2.0, 12345678, np.float32(0.1), np.int64(7), None, True]
    figure = {"data": [{"type": "scatter", "y": values, "x": np.array([[0.5, np.nan]])}]}
    drawn = figures_of(page("x", [Section("x", figure, "x")]))[0]["data"][0]
    assert drawn["y"] == [0.33333, None, None, 2, 12345678, 0.1, 7, None, True]
    assert drawn["x"] == [[0.5, None]]


def test_a_plotly_figure_is_taken_as_it_is() -> None:
    import plotly.graph_objects as go

    figure = go.Figure(go.Scatter(y=[3, 1, 2]), layout={"title": "t", "height": 333})
    drawn = figures_of(page("x", [Section("x", figure, "x")]))[0]
    assert drawn["data"][0]["type"] == "scatter"
    assert drawn["layout"]["height"] == 333
    assert "template" not in drawn["layout"]


def test_tables_set_numbers_to_the_right() -> None:
    grid = Grid(["name", "value"], [["a", 1234], ["b", 0.123456], ["c", np.nan], ["d", -0.0]])
    text = page("x", [Section("x", grid, "x")])
    for cell in ("<td>a</td>", ">1,234</td>", ">0.1235</td>", ">–</td>", ">0</td>"):
        assert cell in text
    assert text.count("<td class=number>") == 4


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(InvalidTypeError, match=r"section 'Loss'.*got int"):
        page("x", [Section("Loss", 3, "x")])
    with pytest.raises(InvalidValueError, match="title"):
        page("  ", [])


def test_templates_are_valid_for_plotly() -> None:
    import plotly.graph_objects as go

    for mode in look.GROUNDS:
        go.layout.Template(look.template(mode))  # raises for an unknown property
    with pytest.raises(KeyError):
        look.template("sepia")


def contrast(one: str, other: str) -> float:
    """Give the contrast ratio of two colors (WCAG 2.2)."""
    weights = np.array([0.2126, 0.7152, 0.0722])
    light, dark = sorted((float(weights @ linear(each)) for each in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def linear(color: str) -> Any:
    """Give the linear RGB of #rrggbb."""
    values = np.array([int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: Any) -> Any:
    """Give CIE L*a*b* of linear RGB, D65."""
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(matrix) @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


# Viénot, Brettel and Mollon (1999): how dichromats see, on linear RGB.
SIGHTS = {
    "all cones": np.eye(3),
    "protanope": np.array([[0.112, 0.888, 0], [0.112, 0.888, 0], [0.004, -0.004, 1]]),
    "deuteranope": np.array([[0.293, 0.707, 0], [0.293, 0.707, 0], [-0.022, 0.022, 1]]),
}


@pytest.mark.parametrize("sight", SIGHTS)
def test_no_two_colors_are_alike(sight: str) -> None:
    seen = {each: lab(SIGHTS[sight] @ linear(each)) for each in look.COLORS}
    for one, other in itertools.combinations(look.COLORS, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 18, (one, other)


@pytest.mark.parametrize("color", look.COLORS)
def test_a_color_stands_out_on_either_ground(color: str) -> None:
    assert all(contrast(color, ground) >= 3 for ground in look.GROUNDS.values())


def test_write_gives_the_path(tmp_path: Path) -> None:
    path = write(tmp_path / "a" / "run.html", "A run", sections())
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(1400, False), (700, True), (375, False)])
def test_a_page_is_drawn_in_a_browser(tmp_path: Path, width: int, dark: bool) -> None:
    path = write(tmp_path / "run.html", "A run", sections(), lead="Lead.", facts={"epochs": 3})
    with browser.opened(path, width, dark) as shown:
        assert shown.locator(".plot svg.main-svg").count() >= 3
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        ground = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") is not dark


@pytest.mark.browser
def test_no_text_is_run_in_a_browser(tmp_path: Path) -> None:
    series = {"type": "scatter", "y": [1], "name": look.plain(NASTY)}
    figure = {"data": [series], "layout": {"showlegend": True}}
    path = write(tmp_path / "run.html", "A run", [Section(NASTY, figure, NASTY)], lead=NASTY)
    with browser.opened(path) as shown:
        assert shown.title() == "A run"
        assert shown.locator(".legendtext").text_content() == NASTY


@pytest.mark.browser
def test_figures_follow_the_mode_and_the_paper(tmp_path: Path) -> None:
    path = write(tmp_path / "run.html", "A run", sections())
    ink = "document.querySelector('.plot')._fullLayout.font.color"
    with browser.opened(path) as shown:
        assert shown.evaluate(ink) == look.template("light")["layout"]["font"]["color"]
        shown.emulate_media(color_scheme="dark")
        shown.wait_for_function(f"{ink} == '{look.template('dark')['layout']['font']['color']}'")
        shown.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        shown.wait_for_function("document.querySelector('.plot')._fullLayout.width == 690")
        shown.evaluate("window.dispatchEvent(new Event('afterprint'))")
        shown.wait_for_function("document.querySelector('.plot')._fullLayout.width != 690")
