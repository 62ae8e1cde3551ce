"""Pictures of landscapes: what they hold, and that a page can show them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import browser
from downslope import cli, datasets, relief
from downslope.curvature import Curvature
from downslope.descent import descend
from downslope.errors import InvalidValueError
from downslope.landscape import Plane, path_plane, plane
from downslope.page import Grid, page, write
from downslope.parts import Descent, Network
from downslope.recipe import Recipe
from downslope.run import Run


@pytest.fixture(scope="module")
def run() -> Run:
    recipe = Recipe(Network([8], "tanh"), Descent(epochs=12, l2=0.5, seed=3))
    return descend(recipe, datasets.load("moons", rows=120))


def test_the_loss_of_a_run_is_that_of_its_training_rows(run: Run) -> None:
    rows = run.training_rows()
    assert len(rows) == len(run.data.training) < len(run.table)
    features, labels = (
        np.asarray(each)[run.data.training] for each in (rows.features, rows.target)
    )
    # a step's penalty is over its batch of 32 rows
    penalties = (0.0, 0.5 * len(rows) / 32)
    loss, gradient = run.network.loss_and_gradient(features, labels, None, penalties)
    found = run.landscape(points=3)
    assert found.losses[1, 1] == pytest.approx(loss, rel=1e-5)
    assert found.rows == found.of_rows == len(rows)
    bent = run.curvature()
    assert bent.loss == pytest.approx(loss, rel=1e-5)
    assert bent.gradient_norm == pytest.approx(float(np.linalg.norm(gradient)), rel=1e-3)


def test_the_path_ends_where_the_run_did(run: Run) -> None:
    epochs, thetas = run.path()
    assert epochs[0] == 0
    assert epochs == sorted(set(epochs))
    assert epochs[-1] == run.history.best_epoch
    np.testing.assert_array_equal(thetas[-1], run.network.theta)
    found = run.landscape("path", points=5)
    assert len(found.path) == len(epochs)
    assert found.path_losses[-1] == pytest.approx(run.curvature().loss, rel=1e-5)
    assert found.path_losses[0] > found.path_losses[-1]


def test_a_line_to_another_run(run: Run) -> None:
    other = descend(replace(run.recipe, descent=Descent(epochs=3, seed=4)), run.table)
    found = run.line_to(other, points=5, reach=(0, 1))
    assert found.losses[0] == pytest.approx(run.curvature().loss, rel=1e-5)


def test_the_path_of_a_large_network_is_kept_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("downslope.descent.PATH_FLOATS", 10)
    recipe, table = Recipe(Network([4]), Descent(epochs=4)), datasets.load("iris")
    with pytest.raises(InvalidValueError, match="pass path=True to descend"):
        descend(recipe, table).landscape("path")
    assert len(descend(recipe, table, path=True).path()[0]) > 2
    with pytest.raises(InvalidValueError, match="along takes 'random' or 'path'; got 'up'"):
        descend(recipe, table).landscape("up")  # type: ignore[arg-type]


def test_the_pictures_of_a_run_make_a_page(run: Run) -> None:
    epochs, _thetas = run.path()
    random, path = run.landscape(points=5), run.landscape("path", points=5)
    line = run.line_to(run, points=5)
    sections = [
        relief.along_line(line, "a<b>", "other"),
        relief.contours(random),
        relief.surface(random),
        relief.contours(path, epochs),
        relief.surface(path, epochs),
        relief.ending(run.curvature(), rate=0.001),
    ]
    text = page("Landscapes", sections)
    for section in sections:
        assert section.heading in text
    assert "a&lt;b&gt;" in str(sections[0].content)
    contour, way, end = sections[3].content["data"]
    np.testing.assert_array_equal(contour["x"], path.x)
    np.testing.assert_array_equal(way["x"], path.path[:, 0])
    assert way["text"][-1] == f"epoch {run.history.best_epoch}"
    assert (end["x"], end["y"]) == ([0], [0])
    assert "% of the path)" in sections[3].content["layout"]["xaxis"]["title"]["text"]
    assert isinstance(sections[5].content, Grid)
    assert sections[5].seen == run.curvature().sentence()


def test_run_plot_draws_landscapes_too(run: Run, tmp_path: Path) -> None:
    found, line = run.landscape("path", points=7), run.line_to(run, points=5)
    for figure in (run.plot.landscape(found), run.plot.surface(found), run.plot.line(line)):
        assert figure.layout.title.text
        assert figure.layout.template.layout.colorway
    run.plot.landscape(found, tmp_path / "plane.svg")
    run.plot.line(line, tmp_path / "line.svg")
    run.plot.surface(found, tmp_path / "surface.html")
    for name in ("plane.svg", "line.svg"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert text.count("<path") > 10
    assert "main component" in (tmp_path / "plane.svg").read_text(encoding="utf-8")
    with pytest.raises(InvalidValueError, match="'surface' is not drawn without a browser"):
        run.plot.surface(found, tmp_path / "surface.png")


def test_the_surroundings_of_a_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("downslope.relief.path_plane", partial(path_plane, points=5))
    monkeypatch.setattr("downslope.relief.plane", partial(plane, points=5))
    headings = [section.heading for section in run.surroundings()]
    assert headings == [
        "Where the run ended",
        "Loss over the path's plane",
        "Loss over the path's plane, in space",
        "Loss around the network",
        "Loss around the network, in space",
    ]
    without = relief.around(run.network, run.training_rows())
    assert [section.heading for section in without] == [headings[0], *headings[3:]]
    short = ([0], [run.network.theta])
    sections = relief.around(run.network, run.training_rows(), short)
    assert sections[1].content is None
    assert "takes at least 3 thetas; got 1" in sections[1].sentence
    page("All", sections)


def command(*arguments: str) -> None:
    try:
        cli.main(list(arguments))
    except SystemExit as end:
        if end.code:
            raise


def test_fit_and_report_draw_landscapes_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ("--epochs", "4", "--layers", "6", "--record", "none")
    command("fit", "iris", *settings, "--landscape", "--out", "one")
    assert "The descent ended " in capsys.readouterr().out
    text = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert "Loss over the path's plane" in text.replace("&#x27;", "'")
    assert text.index("Where the run ended") < text.index("Recipe</h2>")
    command("fit", "iris", *settings, "--seed", "1", "--out", "two")
    assert "Loss around" not in (tmp_path / "two.html").read_text(encoding="utf-8")
    command("report", "two.downslope", "--landscape", "iris")
    text = (tmp_path / "two.html").read_text(encoding="utf-8")
    assert "Loss around the network, in space" in text
    assert "learning rate of the recipe" in text
    command("report", "one.downslope", "two.downslope", "--landscape", "iris")
    assert "Loss between two networks" in (tmp_path / "runs.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("fit iris --landscape --no-page", "leave --no-page out"),
        ("report one.downslope --target species", "that --landscape takes"),
        ("report one.downslope --landscape digits", "were trained on and are missing here"),
        ("report one.downslope two.downslope --landscape iris", "two networks of the same layers"),
    ],
)
def test_bad_requests_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, layers in (("one", [4]), ("two", [5])):
        recipe = Recipe(Network(layers), Descent(epochs=1))
        descend(recipe, datasets.load("iris")).save(tmp_path / f"{name}.downslope")
    with pytest.raises(SystemExit):
        command(*arguments.split())
    assert said in capsys.readouterr().err


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(1400, False), (700, True)])
def test_landscapes_are_drawn_in_a_browser(
    run: Run, tmp_path: Path, width: int, dark: bool
) -> None:
    sections = [*run.surroundings(), relief.along_line(run.line_to(run))]
    with browser.opened(write(tmp_path / "a.html", "Landscapes", sections), width, dark) as page:
        assert page.locator(".plot").count() == 5
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def plane_of(losses: Any) -> Plane:
    at, none = np.linspace(-1, 1, 3), np.empty(0)
    return Plane(at, at, np.array(losses), np.empty((2, 1)), np.empty((0, 2)), none, none, 8, 100)


def test_losses_far_apart_are_drawn_by_their_logarithm() -> None:
    near = relief.contours(plane_of([[1.0, 2, 3], [1, 2, 3], [4, 5, 6]])).content["data"][0]
    assert near["z"].max() == 6
    far = relief.contours(plane_of([[0.01, 2, 3], [1, 2, 3], [4, 5, 1000]])).content["data"][0]
    assert (far["z"].min(), far["z"].max()) == (-2.0, 3.0)
    assert far["colorbar"]["ticktext"] == ["0.01", "0.1", "1", "10", "100", "1000"]
    assert far["customdata"].max() == 1000


def test_what_is_not_finite_is_left_white_and_counted() -> None:
    found = relief.contours(plane_of([[1.0, np.nan, 3], [1, np.inf, 3], [4, 5, 6]]))
    assert np.isnan(found.content["data"][0]["z"]).sum() == 2
    assert "the highest 6; 2 points have none that is finite" in found.seen
    assert "Drawn from 8 of 100 rows" in found.seen
    nothing = relief.surface(plane_of(np.full((3, 3), np.nan)))
    page("Nothing", [nothing, relief.contours(plane_of(np.full((3, 3), np.inf)))])


def test_the_ending_says_what_it_is_by_which_numbers() -> None:
    found = Curvature(0.25, 1e-4, 4.0, -1.0, 7.0, 0.5, 9, 9)
    section = relief.ending(found)
    assert "at a saddle" in section.seen
    assert ["largest stable learning rate (2 / largest)", 0.5] in section.content.rows
    assert "learning rate of the recipe" not in str(section.content.rows)
