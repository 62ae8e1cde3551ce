"""run.plot: every picture as a Plotly figure, and as a file without a browser."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accounts import account_of, make_trace
from downslope import (
    Descent,
    Network,
    Recipe,
    curves,
    datasets,
    descend,
    picture,
    prediction,
    signals,
)
from downslope.errors import InvalidValueError
from downslope.plots import Plots

EVERY = [
    name
    for name, function in inspect.getmembers(Plots, inspect.isfunction)
    if list(inspect.signature(function).parameters) == ["self", "path"]
]
"""Those of landscapes, which take more than a path, are in test_relief.py."""


@pytest.fixture(scope="module")
def plots() -> dict[str, Plots]:
    trace = make_trace(3, 0.5)
    return {name: Plots(replace(account_of(name), trace=trace)) for name in ("moons", "diabetes")}


def of(plots: dict[str, Plots], name: str) -> Any:
    return getattr(plots["diabetes" if name == "residuals" else "moons"], name)


def test_there_is_every_figure_of_the_promise() -> None:
    promised = (
        "loss score gradient_flow activations dead flat z updates noise learning_rate boundary "
        "confusion residuals"
    )
    assert set(promised.split()) <= set(EVERY)


@pytest.mark.parametrize("name", EVERY)
def test_a_figure_is_valid_for_plotly_and_says_what_it_is(
    plots: dict[str, Plots], name: str
) -> None:
    figure = of(plots, name)()  # Plotly checks every property when it is made
    assert figure.data
    assert figure.layout.title.text
    assert figure.layout.template.layout.colorway


@pytest.mark.parametrize("name", EVERY)
def test_a_figure_is_drawn_without_a_browser(
    plots: dict[str, Plots], name: str, tmp_path: Path
) -> None:
    of(plots, name)(tmp_path / "a" / "picture.svg")
    text = (tmp_path / "a" / "picture.svg").read_text(encoding="utf-8")
    assert "<svg" in text
    assert text.count("<path") > 10


def test_png_and_html_by_the_ending(plots: dict[str, Plots], tmp_path: Path) -> None:
    plots["moons"].loss(tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    plots["moons"].loss(str(tmp_path / "loss.html"))
    assert "plotly.js" in (tmp_path / "loss.html").read_text(encoding="utf-8")


def test_the_picture_shows_the_same_numbers(plots: dict[str, Plots]) -> None:
    (panel,) = picture.draw(curves.loss([plots["moons"].account]).content).axes
    losses = plots["moons"].account.history.losses
    assert np.asarray(panel.lines[0].get_ydata()).tolist() == pytest.approx(losses)


def test_the_picture_says_of_which_steps_it_is(plots: dict[str, Plots]) -> None:
    """Without its slider a figure would not say so, nor a legend of mere numbers."""
    account = plots["moons"].account
    for section in (signals.z(account), signals.gradients(account), prediction.boundary(account)):
        slider = section.content["layout"]["sliders"][0]
        shown = f"{slider['currentvalue']['prefix']}{slider['steps'][-1]['label']}"
        assert shown.startswith(("step ", "epoch "))
        title = picture.draw(section.content).get_suptitle()
        assert title == f"{section.content['layout']['title']['text']}, {shown}"
    (panel,) = picture.draw(signals.activations(account).content).axes
    legend = panel.get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == "step"


@pytest.mark.parametrize("name", ["loss.gif", "loss"])
def test_another_ending_is_refused(plots: dict[str, Plots], tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidValueError, match=r"\.png, \.svg, \.pdf.*\.html"):
        plots["moons"].loss(tmp_path / name)


def test_a_foreign_series_is_refused(tmp_path: Path) -> None:
    figure = {"data": [{"type": "sankey"}], "layout": {}}
    with pytest.raises(InvalidValueError, match=r"'sankey'.*kaleido"):
        picture.save(figure, tmp_path / "a.png")


def test_a_figure_that_cannot_be_is_refused_with_its_reason() -> None:
    run = descend(Recipe(Network([4]), Descent(epochs=1)), datasets.load("iris"))
    with pytest.raises(InvalidValueError, match="two inputs"):
        run.plot.boundary()
    with pytest.raises(InvalidValueError, match="regression"):
        run.plot.residuals()
