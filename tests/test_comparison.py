"""What a comparison makes of its outcomes: frames, ranking, targets, words, figures, files."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from downslope import comparison_figures as figures
from downslope import datasets
from downslope.comparison import Comparison, default_target
from downslope.comparison_page import as_html, save
from downslope.comparison_terminal import print_comparison
from downslope.contest import compare
from downslope.outcome import METRICS, Outcome
from downslope.parallel_axes import parallel_coordinates
from downslope.parts import Descent, Network
from downslope.recipe import Recipe
from downslope.significance import interval
from downslope.trials import GRID
from downslope.vary import combine
from downslope.verdict import by_batch_size, sentences, show, standing, suggested_batch
from test_outcome import outcome

RECIPE = Recipe(Network([4]), Descent(epochs=4))


def made(
    vary: dict[str, Any], losses: dict[str, list[float]], metric: str = "best_loss", **fields: Any
) -> Comparison:
    """Make a comparison of runs with given last losses: by variant, one a seed."""
    outcomes = [
        outcome(variant=label, seed=seed, losses=[9.0, 5.0, 3.0, last], **fields)
        for label, lasts in losses.items()
        for seed, last in enumerate(lasts)
    ]
    variants = tuple(combine(RECIPE, vary))
    return Comparison(RECIPE, variants, metric, tuple(outcomes), {"iris": default_target(outcomes)})


RATES = {"learning_rate": [0.1, 0.2, 0.3]}
LOSSES = {
    "learning_rate=0.1": [1.0, 1.2, 1.1, 1.3, 1.2],
    "learning_rate=0.2": [1.02, 1.19, 1.1, 1.31, 1.21],
    "learning_rate=0.3": [2.0, 2.2, 2.1, 2.3, 2.2],
}


@pytest.fixture(scope="module")
def true_one() -> Comparison:
    """Run a small comparison on two inputs, of batches and rules."""
    recipe = Recipe(Network([8]), Descent(epochs=6, learning_rate=0.05))
    sets = {name: datasets.load(name, rows=120) for name in ("moons", "xor")}
    vary = {"batch": [8, "full"], "learning_rate": [1e-3, 0.05, 1e30], "rule": ["gd"]}
    return compare(recipe, sets, vary=vary, seeds=2)


def test_means_and_intervals_are_those_of_the_frame() -> None:
    found = made(RATES, LOSSES)
    for row in found.table.iter_rows(named=True):
        mine = found.frame.filter(pl.col("variant") == row["variant"])
        for metric in METRICS:
            expected = interval(mine[metric].to_numpy())
            assert row[metric] == pytest.approx(expected.mean)
            assert row[f"{metric}_low"] == pytest.approx(expected.low)
            assert row[f"{metric}_high"] == pytest.approx(expected.high)
    assert found.frame["learning_rate"].to_list() == [0.1] * 5 + [0.2] * 5 + [0.3] * 5
    assert found.table["place"].to_list() == [1, 2, 3]
    assert found.curves.shape == (15 * 4, 9)
    assert found.curves["step"].to_list()[:4] == [10, 20, 30, 40]


def test_what_is_real_and_what_is_noise_is_said() -> None:
    found = made(RATES, LOSSES)
    at = standing(found, "iris")
    assert (at.best, at.worse, at.alike, at.untested) == (0, (2,), (1,), ())
    told = sentences(found, "iris")
    assert told[0].startswith("Best by training loss (the least): learning_rate=0.1, 1.16 ± 0.14.")
    assert told[1].startswith("Really better than learning_rate=0.3 (p < 0.001")
    assert told[2].startswith("No difference shown to learning_rate=0.2: what they are apart by")
    assert "with 5 seeds" in told[2]
    assert at.marks() == {0: "best", 1: "same?", 2: "worse"}


def test_one_seed_tells_nothing_and_says_so() -> None:
    found = made(RATES, {label: losses[:1] for label, losses in LOSSES.items()})
    told = " ".join(sentences(found, "iris"))
    assert "One seed cannot tell a difference from noise" in told
    assert "Really better" not in told
    assert "No difference shown" not in told


def test_two_seeds_hardly_tell_anything_and_say_so() -> None:
    found = made(RATES, {label: losses[:2] for label, losses in LOSSES.items()})
    told = " ".join(sentences(found, "iris"))
    assert "may be noise, and 2 seeds can hardly tell. Five seeds or more can." in told
    assert "would go unseen" not in told


def test_where_no_score_is_defined_the_held_out_loss_tells_the_best() -> None:
    target = np.arange(9.0)  # one row is held out
    recipe, rates = Recipe(Network([3]), Descent(epochs=3)), {"learning_rate": [0.1, 0.01]}
    found = compare(recipe, target[:, None], target, vary=rates, seeds=2)
    best = found.variants[found.ranking(found.datasets[0])[0]].label
    told = sentences(found, found.datasets[0])[0]
    assert told.startswith("There is no held-out score ")
    assert f"Best by held-out loss (the least): {best}, " in told


def test_a_run_that_diverged_puts_its_variant_last_and_is_told() -> None:
    found = made(RATES, LOSSES)
    best = "learning_rate=0.1"
    outcomes = tuple(
        outcome(**{**vars(each), "diverged": each.variant == best and each.seed == 3})
        for each in found.outcomes
    )
    gone = Comparison(found.recipe, found.variants, found.metric, outcomes, found.targets)
    assert gone.ranking("iris") == [1, 2, 0]
    assert standing(gone, "iris").untested == (0,)
    told = " ".join(sentences(gone, "iris"))
    assert "Not tested against learning_rate=0.1: a run diverged" in told
    assert "Diverged: learning_rate=0.1 in 1 of 5 runs." in told
    assert gone.diverged("iris", gone.variants[0]) == 1


def test_many_are_counted_and_not_named() -> None:
    rates = [round(0.1 * each, 1) for each in range(1, 10)]
    losses = {f"learning_rate={rate:g}": [rate, rate + 0.01, rate + 0.02] for rate in rates}
    told = " ".join(sentences(made({"learning_rate": rates}, losses), "iris"))
    assert "Really better than 8 others" in told


def test_the_number_of_pairs_is_told_where_it_hides_differences() -> None:
    rates = [round(0.1 * each, 1) for each in range(1, 10)]
    losses = {f"learning_rate={rate:g}": [1 + rate, 1.2, 1.1 + 2 * rate] for rate in rates}
    told = " ".join(sentences(made({"learning_rate": rates}, losses), "iris"))
    assert "would go unseen with 3 seeds and 36 pairs." in told


def runs(variant: str, *best: float, first: float = 10.0, diverged: bool = False) -> list[Outcome]:
    return [
        outcome(variant=variant, seed=seed, losses=[first, each], diverged=diverged)
        for seed, each in enumerate(best)
    ]


def test_the_target_is_the_lowest_that_the_fair_field_all_reach() -> None:
    fair = [*runs("a", 1.0, 1.5), *runs("b", 3.0, 2.0)]
    assert default_target(fair) == 3.0
    assert default_target([*fair, *runs("lazy", 9.0, 9.5)]) == 3.0
    assert default_target([*fair, *runs("half lazy", 2.0, 9.5)]) == 3.0
    assert default_target([*fair, *runs("gone", 4.0, 4.0, first=1e9, diverged=True)]) == 3.0
    assert default_target([*fair, *runs("wild", 700.0, 800.0, first=1e6)]) == 3.0
    assert math.isnan(default_target(runs("gone", 1.0, diverged=True)))


def test_a_budgets_left_behind_are_not_tested() -> None:
    early = {"epochs": 2}
    outcomes = [
        outcome(**{**vars(each), **(early if each.variant == "learning_rate=0.1" else {})})
        for each in made(RATES, LOSSES).outcomes
    ]
    found = Comparison(
        RECIPE, tuple(combine(RECIPE, RATES)), "best_loss", tuple(outcomes), {"iris": 3.0}
    )
    assert found.ranking("iris") == [1, 2, 0]
    assert found.finalists("iris") == [1, 2]
    assert len(found.differences("iris")) == 1
    assert "The budget left learning_rate=0.1 behind" in " ".join(sentences(found, "iris"))


def test_epochs_that_vary_are_no_budget() -> None:
    losses = {"epochs=2": [1.0, 1.1], "epochs=4": [2.0, 2.1]}
    outcomes = [
        outcome(variant=label, seed=seed, losses=[last], epochs=int(label[-1]))
        for label, lasts in losses.items()
        for seed, last in enumerate(lasts)
    ]
    variants = tuple(combine(RECIPE, {"epochs": [2, 4]}))
    found = Comparison(RECIPE, variants, "best_loss", tuple(outcomes), {"iris": 3.0})
    assert found.finalists("iris") == [0, 1]


def test_the_suggested_batch_stands_beside_the_one_that_won() -> None:
    vary = {"batch": [1, 32]}
    losses = {"batch=1": [2.0, 2.0], "batch=32": [1.0, 1.1]}
    plain = made(vary, losses)
    assert suggested_batch(plain, "iris") == ""
    noisy = Comparison(
        plain.recipe, plain.variants, plain.metric, plain.outcomes, plain.targets,
        noise_scales={"iris": 63.7},
    )  # fmt: skip
    assert "batches of some 64 rows" in suggested_batch(noisy, "iris")
    assert suggested_batch(noisy, "iris").endswith("Here batch=32 won.")


def test_where_batches_vary_their_noise_is_measured(true_one: Comparison) -> None:
    assert set(true_one.noise_scales) == {"moons", "xor"}
    assert all(scale > 0 for scale in true_one.noise_scales.values())
    chosen = [true_one.variants[each] for each in by_batch_size(true_one, "xor")]
    assert [each.settings["batch"] for each in chosen] == [8, "full"]


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("seconds_to_target", 3.2e-5, "32 µs"), ("seconds_to_target", 12.345, "12.3 s"),
        ("memory", 512.0, "0.512 kB"), ("memory", 3e9, "3 GB"),
        ("steps_to_target", 12345.0, "12,345"),
        ("steps_to_target", math.inf, "never"), ("best_loss", math.inf, "diverged"),
        ("score", math.nan, "–"), ("score", 0.5, "0.5000"),
    ],
)  # fmt: skip
def test_numbers_are_written_with_their_unit(metric: str, value: float, text: str) -> None:
    assert show(metric, value) == text


def test_the_terminal_fits_its_width(true_one: Comparison) -> None:
    for width in (80, 140):
        console = Console(width=width, record=True, file=io.StringIO())
        print_comparison(true_one, {"page": Path("moons-compare") / "index.html"}, console)
        text = console.export_text()
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        for word in ("moons: 6 variants, 2 seeds", "what it costs", "best", "never", "index.html",
                     "Best by held-out score", "diverged", "Best over all data sets",
                     "noise suggests batches"):  # fmt: skip
            assert word in text, word


def test_the_files_hold_what_was_found(true_one: Comparison, tmp_path: Path) -> None:
    files = save(true_one, tmp_path / "deep")
    assert set(files) == {"page", "winner", "table", "runs"}
    assert Recipe.read(files["winner"]) == true_one.winner
    assert pl.read_csv(files["runs"]).shape == true_one.frame.shape
    assert pl.read_csv(files["table"])["variant"].to_list() == true_one.table["variant"].to_list()
    size = files["page"].stat().st_size
    assert size < 6e6


def test_the_page_has_every_section(true_one: Comparison) -> None:
    html = as_html(true_one)
    headings = re.findall(r"<h2[^>]*>([^<]*)</h2>", html)
    for name in ("moons", "xor"):
        for heading in ("Who is best", "Learning rate", "Training loss", "Held-out loss",
                        "Held-out score", "Settings and numbers", "What they say over the plane",
                        "The trade-off", "All numbers"):  # fmt: skip
            assert f"{heading} on {name}" in headings
    assert headings[0] == "Performance profile"


def test_figures_are_plain_data_with_numbers(true_one: Comparison) -> None:
    curve = figures.curves(true_one, "moons", "losses")
    lines = [each for each in curve["data"] if each.get("fill") is None]
    assert len(lines) >= 4
    best = next(each for each in lines if each["legendrank"] == 0)
    variant = true_one.variants[true_one.ranking("moons")[0]]
    losses = np.array([each.losses for each in true_one.of("moons", variant)])
    np.testing.assert_allclose(best["y"], np.exp(np.log(losses).mean(0)))
    assert best["x"] == [1, 2, 3, 4, 5, 6]
    (menu,) = curve["layout"]["updatemenus"]
    assert [button["label"] for button in menu["buttons"]] == ["by epoch", "by step", "by second"]
    for button in menu["buttons"]:
        assert [len(x) for x in button["args"][0]["x"]] == [
            len(each["x"]) for each in curve["data"]
        ]
    maps = figures.boundaries(true_one, "moons")
    assert maps is not None
    planes = [each for each in maps["data"] if each["type"] == "heatmap"]
    assert planes
    assert all(each["z"].shape == (GRID, GRID) for each in planes)
    rates = figures.rate_sensitivity(true_one, "moons")
    assert rates is not None
    parallel = parallel_coordinates(true_one, "moons")
    assert all(0 <= y <= 1 for each in parallel["data"] for y in each["y"])
    profiles = figures.performance_profiles(true_one)
    assert profiles is not None
    assert all(0 <= share <= 1 for each in profiles["data"] for share in each["y"])
    for figure in (curve, maps, rates, parallel, profiles):
        json.dumps(figure["layout"])


def test_a_comparison_without_held_out_rows_and_of_numbers_has_a_page() -> None:
    recipe = Recipe(Network([8]), Descent(epochs=3, validation=0.0))
    found = compare(recipe, datasets.load("sine"), vary={"batch": [32, 64]}, seeds=1)
    html = as_html(found)
    assert "Held-out" not in re.findall(r"<h2[^>]*>([^<]*)</h2>", html)
    assert found.metric == "best_loss"
    assert figures.performance_profiles(found) is None
    assert figures.boundaries(found, "sine") is None
    assert figures.rate_sensitivity(found, "sine") is None
