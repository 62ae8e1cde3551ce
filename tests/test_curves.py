"""Pictures along the steps: what they draw and what they say."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from accounts import account_of, make_trace, trace_of
from downslope import Descent, Network, Recipe, curves, datasets, descend
from downslope.account import Account
from downslope.history import History
from downslope.recording import Recording


@pytest.fixture(scope="module")
def iris() -> Account:
    return account_of("iris", trace=make_trace(3))


def test_a_long_curve_keeps_its_peaks_its_gaps_and_its_ends() -> None:
    y = np.zeros(100_000)
    y[12_345], y[54_321], y[77_000] = 9, -9, np.nan
    x, thinned = curves.thin(np.arange(len(y)), y)
    assert len(x) <= curves.POINTS + 2
    assert (x[0], x[-1]) == (0, len(y) - 1)
    assert thinned[x == 12_345] == 9
    assert thinned[x == 54_321] == -9
    gap, kept = curves.thin(np.arange(5000), np.full(5000, np.nan))
    assert np.isnan(kept).all()
    assert len(gap) <= curves.POINTS


def test_a_short_curve_stays_as_it_is() -> None:
    x, y = curves.thin([1, 2, 3], [3.0, np.nan, 1.0])
    np.testing.assert_array_equal(y, [3.0, np.nan, 1.0])
    assert list(x) == [1, 2, 3]


@pytest.mark.parametrize(
    ("values", "kind"),
    [([1.0, 2.0], None), ([1e-3, 1.0], "log"), ([0.0, 1e3], None), ([np.nan], None), ([], None)],
)
def test_an_axis_is_logarithmic_where_values_lie_far_apart(values: Any, kind: str | None) -> None:
    assert curves.axis("loss", values).get("type") == kind


def test_loss_draws_both_curves_and_marks_the_epoch_kept(iris: Account) -> None:
    section = curves.loss([iris])
    training, held_out, kept = section.content["data"]
    np.testing.assert_allclose(training["y"], iris.history.losses)
    np.testing.assert_allclose(held_out["y"], iris.history.validation_losses)
    assert kept["x"] == [iris.history.best_epoch]
    assert f"{iris.history.losses[0]:.3g}" in section.seen


def test_loss_of_a_run_without_two_epochs_goes_by_step(iris: Account) -> None:
    section = curves.loss([replace(iris, history=History(losses=[1.0]))])
    assert section.heading == "Loss by step"
    np.testing.assert_allclose(section.content["data"][0]["y"], trace_of(iris).steps["loss"])
    without = curves.loss([replace(iris, history=History(), trace=None)])
    assert without.content is None
    assert "not recorded" in without.sentence


def test_loss_says_when_rows_are_learned_by_heart(iris: Account) -> None:
    history = replace(
        iris.history,
        losses=[1.0, 0.5, 0.1],
        validation_losses=[1.0, 0.8, 1.2],
        validation_scores=[0.4, 0.9, 0.8],
    )
    seen = curves.loss([replace(iris, history=history)]).seen
    assert "lowest in epoch 2" in seen
    assert "50% above" in seen
    assert "learned by heart" in seen
    history = replace(history, validation_losses=[1.0, 0.01, 1.0])
    assert "at 100 times that" in curves.loss([replace(iris, history=history)]).seen


@pytest.mark.parametrize("score", [0.867, 0.933])
def test_a_loss_that_rises_under_a_score_that_does_not_fall_is_overconfident(
    iris: Account, score: float
) -> None:
    history = replace(
        iris.history,
        losses=[1.0, 0.5, 0.1],
        validation_losses=[1.0, 0.3, 0.6],
        validation_scores=[0.4, 0.867, score],
    )
    seen = curves.loss([replace(iris, history=history)]).seen
    assert "by heart" not in seen
    shown = f"yet the accuracy did not fall (0.867 there, {score} at the end)"
    assert seen.endswith(f"ended 100% above that, {shown}: it grew overconfident.")


def test_several_runs_have_a_color_each_and_their_names(iris: Account) -> None:
    data = curves.loss([iris, replace(iris, name="<b>two</b>")]).content["data"]
    assert [each["name"].split(":")[0] for each in data] == [
        "iris", "iris", "&lt;b&gt;two&lt;/b&gt;", "&lt;b&gt;two&lt;/b&gt;",
    ]  # fmt: skip
    colors = [each["line"]["color"] for each in data]
    assert colors[0] == colors[1] != colors[2] == colors[3]
    assert [each["line"].get("dash") for each in data] == [None, "dash", None, "dash"]


def test_score_stands_against_the_trivial_predictor(iris: Account) -> None:
    section = curves.score([iris])
    held_out, trivial = section.content["data"]
    np.testing.assert_allclose(held_out["y"], iris.history.validation_scores)
    assert trivial["y"] == [iris.scores["validation"]["trivial"]] * 2
    assert "0.333" in section.seen
    nothing = curves.score([account_of("iris", validation=0.0)])
    assert nothing.content is None


@pytest.mark.parametrize(("score", "marked"), [(-1e-6, True), (1e-6, True), (0.01, False)])
def test_a_score_that_shows_as_the_trivial_one_is_no_better(
    iris: Account, score: float, marked: bool
) -> None:
    scores = {"validation": {"score": score, "trivial": -1e-9}}
    seen = curves.score([replace(iris, scores=scores)]).seen
    assert ("no better than trivial" in seen) == marked
    assert "-0.0" not in seen


def test_scores_of_different_kinds_have_no_common_name_nor_trivial_line(iris: Account) -> None:
    diabetes = account_of("diabetes")
    section = curves.score([iris, diabetes])
    assert section.content["layout"]["yaxis"]["title"]["text"] == "score"
    assert len(section.content["data"]) == 2
    section = curves.score([iris, replace(diabetes, scores=iris.scores)])
    name = section.content["data"][-1]["name"]
    assert name == "trivial: the mean or the most frequent class"


def test_a_single_row_has_no_score(iris: Account) -> None:
    nothing = {"score": math.nan, "trivial": math.nan}
    one = replace(
        account_of("diabetes"), name="alone", scores={"validation": nothing},
        history=replace(iris.history, validation_scores=[math.nan] * iris.history.epochs),
    )  # fmt: skip
    for accounts in ([one], [one, replace(one, name="too")]):
        section = curves.score(accounts)
        assert section.content is None
        assert section.sentence.endswith("as in a single row, there is no R2.")
    beside = curves.score([one, account_of("diabetes")])
    assert len(beside.content["data"]) == 2
    assert "The best is diabetes: R2" in beside.seen


def test_scores_far_below_zero_are_shown_all_the_same(iris: Account) -> None:
    history = replace(iris.history, validation_scores=[-50.0, -40.0])
    assert "range" not in curves.score([replace(iris, history=history)]).content["layout"]["yaxis"]
    history = replace(iris.history, validation_scores=[-50.0, 0.4])
    scale = curves.score([replace(iris, history=history)]).content["layout"]["yaxis"]
    assert scale["range"] == [-1.0, 1.03]


def test_learning_rate_goes_by_step_with_a_trace_and_by_epoch_without(iris: Account) -> None:
    layout = curves.learning_rate([iris]).content["layout"]
    assert layout["xaxis"]["title"]["text"] == "step"
    section = curves.learning_rate([replace(iris, trace=None)])
    assert section.content["layout"]["xaxis"]["title"]["text"] == "epoch"
    np.testing.assert_allclose(section.content["data"][0]["y"], iris.history.learning_rates)
    assert "type" not in section.content["layout"]["yaxis"]  # cosine, though it ends at 0
    falling = replace(iris, trace=None, history=History(learning_rates=list(0.5 ** np.arange(30))))
    assert curves.learning_rate([falling]).content["layout"]["yaxis"]["type"] == "log"
    assert curves.learning_rate([replace(iris, trace=None, history=History())]).content is None


def test_learning_rate_stands_against_the_largest_stable_one() -> None:
    recipe = Recipe(Network([8]), Descent(epochs=4, validation=0.0))
    run = descend(recipe, datasets.load("iris"), record=Recording("all", curvature=[1, 10]))
    rate, stable = curves.learning_rate([run.account()]).content["data"]
    assert len(rate["x"]) == run.steps
    assert list(stable["x"]) == [1, 10]
    np.testing.assert_allclose(stable["y"], run.trace.curvature["stable_rate"])


def test_where_nothing_bends_upward_no_rate_is_too_large() -> None:
    recipe = Recipe(Network([], loss="absolute_error"), Descent(epochs=3, batch="full"))
    run = descend(recipe, datasets.load("diabetes"), record=Recording("all", curvature=[1, 2]))
    assert run.trace.curvature["stable_rate"].is_infinite().all()
    assert len(curves.learning_rate([run.account()]).content["data"]) == 1


def test_gradient_norm_shows_before_and_after_clipping(iris: Account) -> None:
    section = curves.gradient_norm([iris])
    before, after = section.content["data"]
    assert max(before["y"]) > 1 >= max(after["y"])
    clipped = int((trace_of(iris).steps["gradient_norm"] > 1).sum())
    assert section.seen == f"Clipped in {clipped} of {len(trace_of(iris).steps)} recorded steps."
    assert curves.gradient_norm([replace(iris, trace=None)]).content is None


def test_a_norm_that_jumps_by_noise_is_not_called_exploding(iris: Account) -> None:
    sentence = curves.gradient_norm([iris]).sentence
    assert "Mini-batches make it jump several-fold" in sentence
    assert "orders of magnitude" in sentence


def test_the_batch_is_that_of_a_full_step(iris: Account) -> None:
    assert iris.batch == 32
