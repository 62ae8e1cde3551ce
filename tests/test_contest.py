"""compare(): seeds, budgets, interruptions, and what it refuses."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats

from downslope import contest, datasets
from downslope.contest import Progress, compare
from downslope.errors import InvalidTypeError, InvalidValueError, TableError
from downslope.outcome import METRICS
from downslope.parts import Descent, Network
from downslope.recipe import Recipe
from downslope.significance import ALPHA, differences

RECIPE = Recipe(Network([8]), Descent(epochs=9, batch=16, rule="adam", learning_rate=0.01))


def test_a_comparison_says_what_it_found() -> None:
    rates = {"learning_rate": [1e-5, 0.02]}
    found = compare(RECIPE, datasets.load("iris"), vary=rates, seeds=4)
    assert found.metric == "score"
    assert found.seeds == (0, 1, 2, 3)
    assert found.best.label == "learning_rate=0.02"
    assert Recipe.from_toml(found.to_toml()) == found.winner == RECIPE.edit(learning_rate=0.02)
    (pair,) = found.differences("iris")
    assert pair.real
    assert pair.mean < 0
    by_seed = found.frame.pivot("variant", index="seed", values="score").sort("seed")
    test = scipy.stats.ttest_rel(by_seed["learning_rate=1e-05"], by_seed["learning_rate=0.02"])
    assert pair.p == pytest.approx(test.pvalue, rel=0.1)  # the rows' resolution is added


def test_the_seeds_begin_with_the_recipes(tmp_path: Path) -> None:
    found = compare(
        RECIPE.edit(seed=7), datasets.load("iris"), vary={"batch": "8,full"}, seeds=2, out=tmp_path
    )
    assert found.seeds == (7, 8)
    assert found.winner.descent.seed == 7


def test_more_variants_and_seeds_go_on_from_the_same_directory(tmp_path: Path) -> None:
    iris = datasets.load("iris")
    seen: list[Progress] = []
    compare(RECIPE, iris, vary={"batch": [8, 16]}, seeds=2, out=tmp_path)
    found = compare(
        RECIPE, iris, vary={"batch": [8, 16, 32]}, seeds=3, out=tmp_path, watch=seen.append
    )
    assert len(found.outcomes) == 9
    assert (seen[-1].reused, seen[-1].done, seen[-1].total) == (4, 9, 9)


def test_ctrl_c_keeps_what_is_done_and_reports_it(tmp_path: Path) -> None:
    def press(progress: Progress) -> None:
        if progress.done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    vary = {"batch": [1, 2]}
    long, iris = RECIPE.edit(epochs=100), datasets.load("iris")
    found = compare(long, iris, vary=vary, seeds=30, workers=1, out=tmp_path, watch=press)
    assert 1 <= len(found.seeds) < 5
    assert len(found.outcomes) == 2 * len(found.seeds), "only seeds that all have ended"
    assert "Interrupted: " in found.notes[0]
    assert "of 60 runs had ended" in found.notes[0]
    seen: list[Progress] = []
    again = compare(long, iris, vary=vary, seeds=3, workers=1, out=tmp_path, watch=seen.append)
    assert seen[-1].reused >= 3
    assert all(outcome in again.outcomes for outcome in found.outcomes)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_before_a_whole_seed_reports_the_variants_that_ran() -> None:
    def press(progress: Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    vary = {"batch": [1, 2, 3, 4]}
    found = compare(
        RECIPE.edit(epochs=100), datasets.load("iris"), vary=vary, workers=1, watch=press
    )
    assert 1 <= len(found.order) < 4
    assert found.best.label in {outcome.variant for outcome in found.outcomes}
    assert re.match(r"Interrupted: only \d of 4 variants had ended a run", found.notes[0])


def test_a_budget_runs_few_epochs_for_all_and_more_for_the_better(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(contest, "choose_bracket", lambda *_: 2)
    seen: list[Progress] = []
    rates = {"learning_rate": "log:1e-5:0.1:18"}
    found = compare(
        RECIPE.edit(epochs=27), datasets.load("iris"), vary=rates, seeds=2, budget="60s",
        metric="validation_loss", watch=seen.append,
    )  # fmt: skip
    rungs = {each.rung: each.total for each in seen}
    assert rungs == {(1, 3, 3): 36, (2, 3, 9): 12, (3, 3, 27): 4}
    by_epochs = [len(found.of("iris", variant)[0].losses) for variant in found.variants]
    assert sorted(by_epochs) == [3] * 12 + [9] * 4 + [27] * 2
    ranked = [by_epochs[number] for number in found.ranking("iris")]
    assert ranked == sorted(by_epochs, reverse=True)
    assert len(found.finalists("iris")) == 2
    assert len(found.differences("iris")) == 1
    # A rung is a whole run of its epochs, with the schedule that belongs to them.
    alone = compare(
        found.winner.edit(epochs=27), datasets.load("iris"), vary={"batch": [16, 32]}, seeds=1
    )
    assert alone.outcomes[0].losses == found.of("iris", found.best)[0].losses


def test_with_time_enough_a_budget_runs_all_to_the_end() -> None:
    found = compare(
        RECIPE, datasets.load("iris"), vary={"batch": "4,8,16,32,64,full"}, seeds=2, budget=60
    )
    assert {len(outcome.losses) for outcome in found.outcomes} == {9}
    assert found.notes == ()


def test_a_budget_that_ends_within_a_rung_counts_the_rung_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(contest, "choose_bracket", lambda *_: 1)
    rates = {"learning_rate": "log:1e-3:0.1:6"}
    recipe = RECIPE.edit(epochs=300_000, batch=1)
    monkeypatch.setattr(contest, "most_halvings", lambda *_: 11)
    found = compare(recipe, datasets.load("iris"), vary=rates, seeds=2, budget=1.5, workers=1)
    assert {outcome.epochs for outcome in found.outcomes} == {2}
    assert found.notes[0].startswith("The budget was over within a rung, after 0 of its 12 runs")


def test_several_data_sets_are_ranked_by_mean_place() -> None:
    sets = {name: datasets.load(name) for name in ("iris", "wine")}
    found = compare(RECIPE, sets, vary={"rule": "gd,adam"}, seeds=2, metric="best_loss")
    assert found.datasets == ("iris", "wine")
    assert found.order == [1, 0]
    assert found.frame.shape[0] == 8
    assert set(found.targets) == {"iris", "wine"}


def test_variants_that_all_diverge_are_a_result_too() -> None:
    vary = {"learning_rate": [1e30, 1e32]}
    found = compare(RECIPE.edit(rule="gd"), datasets.load("iris"), vary=vary, seeds=2)
    assert found.frame["diverged"].all()
    assert np.isnan(found.targets["iris"])
    assert found.best in found.variants


def test_training_losses_of_several_kinds_have_no_common_target() -> None:
    vary = {"loss": ["cross_entropy", "squared_error"]}
    found = compare(RECIPE, datasets.load("iris"), vary=vary, seeds=1)
    assert np.isnan(found.targets["iris"])
    assert "not of one kind where loss varies" in found.notes[0]


def test_a_recipes_target_is_the_comparisons() -> None:
    vary = {"batch": [4, 8]}
    found = compare(RECIPE.edit(target_loss=0.9), datasets.load("iris"), vary=vary, seeds=1)
    assert found.targets == {"iris": 0.9}
    assert all(outcome.losses[-1] <= 0.9 for outcome in found.outcomes)


def test_the_same_recipe_twice_is_not_different_at_the_stated_rate() -> None:
    """200 comparisons of true runs, two groups of the same recipe with seeds of their own."""
    recipe = RECIPE.edit(epochs=3, batch=32)
    found = compare(recipe, datasets.load("iris"), vary={"warmup": [0, 1]}, seeds=120)
    scores = found.values("iris", "score")[0]
    losses = found.values("iris", "final_loss")[0]
    generator, wrong = np.random.default_rng(0), 0
    for _ in range(200):
        drawn = generator.permutation(len(losses))[:10].reshape(2, 5)
        by_score = differences(scores[drawn], found.resolution("iris", "score"))
        by_loss = differences(losses[drawn])
        wrong += by_loss[0].real + by_score[0].real
    assert wrong <= scipy.stats.binom.ppf(0.999, 400, ALPHA)


def test_data_frames_name_their_target() -> None:
    iris = datasets.load("iris")
    frame = pl.DataFrame(np.asarray(iris.features), schema=list("abcd"))
    frame = frame.with_columns(species=pl.Series(np.asarray(iris.target)))
    found = compare(RECIPE, frame, "species", vary={"batch": [8, 64]}, seeds=1)
    assert len(found.datasets) == 1


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"seeds": 0}, InvalidValueError, "seeds must lie in 1 to 10000; got 0"),
        ({"seeds": 2.5}, InvalidTypeError, "seeds takes a whole number; got 2.5"),
        ({"seeds": True}, InvalidTypeError, "seeds takes a whole number; got True"),
        ({"metric": "scor"}, InvalidValueError, "unknown metric 'scor': did you mean 'score'"),
        ({"vary": {}}, InvalidValueError, "compare needs something to vary"),
        ({"vary": {"bacth": [1, 2]}}, InvalidValueError, "no field 'bacth'"),
        ({"budget": "soon"}, InvalidValueError, "budget takes a time above 0"),
        ({"workers": 0}, InvalidValueError, "compare: workers must be at least 1; got 0"),
        ({"source": {}}, InvalidValueError, "the mapping of data sets is empty"),
        ({"source": [[1.0], [2.0]]}, InvalidValueError, "compare needs a target"),
        ({"budget": 9, "vary": {"epochs": [1, 2]}}, InvalidValueError, "take epochs out of what"),
        ({"budget": 9, "recipe": RECIPE.edit(epochs=None, steps=9)}, InvalidValueError,
         "set the recipe's epochs"),
        ({"metric": "score", "recipe": RECIPE.edit(validation=0.0)}, InvalidValueError,
         "metric 'score' is about held-out rows; set validation above 0"),
        ({"vary": {"validation": [0.0, 0.2]}, "metric": "validation_loss"}, InvalidValueError,
         "is about held-out rows"),
    ],
)  # fmt: skip
def test_what_is_refused(changes: dict[str, Any], error: type[Exception], says: str) -> None:
    usual = {"recipe": RECIPE, "source": datasets.load("iris"), "vary": {"batch": [8, 16]}}
    with pytest.raises(error, match=says):
        compare(**{**usual, **changes})


def test_a_budget_that_is_too_small_says_so() -> None:
    recipe = RECIPE.edit(batch=1, epochs=300)
    with pytest.raises(
        InvalidValueError, match="the budget is too small: when it was over, 0 of 3"
    ):
        compare(recipe, datasets.load("digits"), vary={"batch": "1,2,3"}, budget=0.01)


def test_a_table_that_cannot_be_trained_on_is_refused() -> None:
    with pytest.raises(TableError, match="learning takes two different values"):
        compare(RECIPE, [[1.0], [2.0]], [1, 1], vary={"batch": [1, 2]})


def test_every_metric_can_rank() -> None:
    iris = datasets.load("iris")
    for metric in METRICS:
        found = compare(RECIPE, iris, vary={"batch": [4, 64]}, seeds=2, metric=metric)
        values = [found.interval("iris", number, metric).mean for number in found.order]
        finite = [value for value in values if np.isfinite(value)]
        assert finite == sorted(finite, reverse=METRICS[metric].rises)
