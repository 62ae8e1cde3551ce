"""The page of a descent on a function: its figures hold the runs' numbers, and it is small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import browser
from downslope import function_plots as plots
from downslope import minimize, minimize_from, path_plots
from downslope.function_page import facts, rates_seen, table, with_sweep, write_page
from downslope.function_run import FunctionRun
from downslope.functions import resolve
from downslope.minimization import random_starts

LARGEST = 6_000_000


def race(function: str, rules: str, **settings: Any) -> list[FunctionRun]:
    return [minimize(function, rule=rule, **settings) for rule in rules.split(",")]


@pytest.fixture(scope="module")
def valley() -> list[FunctionRun]:
    return race("rosenbrock", "gd,momentum,adam,lbfgs", steps=300)


def test_the_page_of_two_variables_has_every_picture(
    valley: list[FunctionRun], tmp_path: Path
) -> None:
    page = write_page(valley, tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(page.encode()) < LARGEST
    for heading in ("The paths from above", "The paths in space", "Where each one ended",
                    "f, step by step", "The gradient", "Learning rates",
                    "Basins of attraction"):  # fmt: skip
        assert heading in page
    assert "Not drawn: lbfgs" in page
    assert "-400*x*(-x**2 + y) + 2*x - 2" in page


def test_a_page_of_many_rules_and_starts_stays_small(tmp_path: Path) -> None:
    function = resolve("three_hump_camel")
    starts = random_starts(function, 40)
    runs = [
        run
        for rule in ("gd", "momentum", "nesterov", "adam", "rmsprop", "adagrad", "lion", "rprop")
        for run in minimize_from(function, starts, rule, steps=60)
    ]
    path = write_page(runs, tmp_path / "page.html")
    assert path.stat().st_size < LARGEST


def test_paths_in_a_figure_are_the_runs_thetas(valley: list[FunctionRun]) -> None:
    figure = path_plots.contours(valley)
    paths = [trace for trace in figure["data"] if trace["type"] == "scatter" and "line" in trace]
    assert [path["name"].split()[0] for path in paths] == ["gd", "momentum", "adam", "lbfgs"]
    for path, run in zip(paths, valley, strict=True):
        drawn = np.column_stack([path["x"], path["y"]])
        np.testing.assert_array_equal(drawn[0], run.thetas[0])
        np.testing.assert_array_equal(drawn[-1], run.theta)
        known = {tuple(theta) for theta in run.thetas.tolist()}
        assert all(tuple(point) in known for point in drawn.tolist())


def test_an_animation_grows_from_the_start_to_the_end(valley: list[FunctionRun]) -> None:
    for figure in (path_plots.contours(valley), path_plots.surface(valley)):
        frames = figure["frames"]
        assert 10 < len(frames) <= path_plots.FRAMES
        assert frames[0]["name"] == "0"
        assert len(frames[0]["data"][0]["x"]) == 1
        names = [step["args"][0][0] for step in figure["layout"]["sliders"][0]["steps"]]
        assert names == [frame["name"] for frame in frames]
        lengths = [len(frame["data"][0]["x"]) for frame in frames]
        assert lengths == sorted(lengths)
        last = frames[-1]["data"]
        whole = [figure["data"][number] for number in frames[-1]["traces"]]
        for part, trace in zip(last, whole, strict=True):
            np.testing.assert_array_equal(part["x"], trace["x"])


def test_heights_are_in_the_order_of_f_and_labelled_with_f() -> None:
    values = np.array([[100.0, 90, 80], [70, 0, 50], [1000, 20, 10]])
    heights = path_plots.Heights(values, 0.0)
    np.testing.assert_array_equal(np.argsort(values.reshape(-1)),
                                  np.argsort(heights.of(values).reshape(-1)))  # fmt: skip
    places, labels = heights.ticks(float(heights.of(values).max()))
    np.testing.assert_allclose(heights.of(np.array([float(text) for text in labels])), places)


def test_the_curve_shows_the_function_of_one_variable() -> None:
    runs = race("quartic", "gd,adam", steps=50)
    line, first, _ = path_plots.curve(runs)["data"]
    np.testing.assert_allclose(line["y"], line["x"] ** 4 - 3 * line["x"] ** 3 + 2)
    np.testing.assert_array_equal(first["y"][-1], runs[0].value)


def test_many_variables_are_shown_step_by_step(tmp_path: Path) -> None:
    runs = [minimize("rosenbrock", (0, 1, 2), rule, steps=50) for rule in ("gd", "lbfgs")]
    page = write_page(runs, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "f, step by step" in page
    assert "The paths from above" not in page
    assert "Basins" not in page
    curves = plots.by_step(runs, "f")["data"]
    np.testing.assert_allclose(curves[0]["y"], runs[0].values - runs[0].function.minima[0][1])


def test_a_python_function_has_its_page_and_says_why_there_are_no_basins(tmp_path: Path) -> None:
    def bowl(theta: Any) -> float:
        return float(theta @ theta)

    run = minimize(bowl, (1.0, 2.0), learning_rate=0.1, steps=20)
    page = write_page([run], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "called point by point" in page
    assert facts(run.function)["gradient"] == "central differences"


def test_a_run_of_a_given_rate_gets_its_sweep_for_the_picture() -> None:
    run = with_sweep(minimize("x**2", 1, learning_rate=0.1, steps=200))
    assert run.sweep is not None
    assert "gd reaches a gradient of 0 between" in rates_seen([run])
    assert "oscillates or diverges from 1 on" in rates_seen([run])


def test_the_table_has_a_row_a_run_or_a_place(valley: list[FunctionRun]) -> None:
    assert [row[0] for row in table(valley).rows] == ["gd", "momentum", "adam", "lbfgs"]
    runs = minimize_from("x**4 - 2*x**2", [(2,), (1.5,), (-2,), (-1.5,), (-3,)], "lbfgs")
    counts = {row[-2]: row[2] for row in table(runs).rows}
    assert counts == {"1": 2, "-1": 3}


def test_diverging_runs_and_infinite_places_can_be_drawn(tmp_path: Path) -> None:
    runs = [minimize("x**4 - 2*y", (2, 1), learning_rate=rate, steps=80) for rate in (1.0, 0.01)]
    assert runs[0].ending.kind == "diverged"
    write_page(runs, tmp_path / "a.html")
    write_page([minimize("log(x) + 1/x", 0.3, learning_rate=0.1)], tmp_path / "b.html")
    write_page([minimize("sqrt(x) + y**2 - log(x)", (1, 1), steps=30)], tmp_path / "c.html")


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(1400, False), (700, True)])
def test_the_page_is_drawn_and_plays_in_a_browser(
    tmp_path: Path, valley: list[FunctionRun], width: int, dark: bool
) -> None:
    path = write_page(valley, tmp_path / "page.html")
    with browser.opened(path, width, dark) as shown:
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        drawn = "document.querySelector('.plot').data[2].x.length"
        whole = shown.evaluate(drawn)
        shown.locator(".slider-rail-touch-rect").first.click(position={"x": 2, "y": 2})
        shown.wait_for_function(f"{drawn} < {whole}")
        shown.get_by_text("Play").first.click()
        shown.wait_for_function(f"{drawn} == {whole}", timeout=15_000)
