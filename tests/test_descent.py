from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from downslope import Descent, Network, Recipe, compare, datasets, descend, minimize
from downslope.checkpoint import FILE
from downslope.errors import DownslopeError, InvalidTypeError, InvalidValueError, MissingFileError
from downslope.recording import Recording
from downslope.run import Run

COUNTS = Recipe(
    Network([], loss="poisson"), Descent(batch="full", rule="adam", learning_rate=0.3, epochs=200)
)


def test_counts_are_predicted_and_scored_as_counts() -> None:
    generator = np.random.default_rng(0)
    features = generator.uniform(-1, 1, (4000, 2))
    expected = np.exp(1 + features @ [0.8, -0.5])
    counts = generator.poisson(expected).astype(float)
    run = descend(COUNTS.edit(task="regression"), features, counts)
    assert abs(run.predict(features) / expected - 1).max() < 0.15
    best_possible = 1 - ((counts - expected) ** 2).sum() / ((counts - counts.mean()) ** 2).sum()
    assert abs(run.scores["training"]["score"] - best_possible) < 0.05
    held_out, last = run.scores["validation"]["score"], run.history.validation_scores
    assert held_out == pytest.approx(last[run.history.best_epoch - 1], abs=1e-6)


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="at least 0; the target is as low as -1: take"):
        descend(COUNTS.edit(validation=0.0), np.ones((4, 1)), np.array([0.5, 2.5, 3.0, -1.0]))


@pytest.mark.parametrize("classes", [["no", "yes"], [0, 1]])
def test_classes_are_no_counts(classes: list[Any]) -> None:
    with pytest.raises(InvalidValueError, match=r"is for counts, .* the target is 'binary'"):
        descend(COUNTS, np.arange(40.0)[:, None], np.array(classes * 20))


def test_row_weights_in_float64_go_with_a_descent_in_float32() -> None:
    recipe = Recipe(Network([3]), Descent(epochs=1, dtype="float32"))
    features = np.random.default_rng(0).normal(size=(40, 2))
    run = descend(recipe, features, features[:, 0], weights=np.linspace(0.5, 1, 40))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.explain(1, 0, 0)


def test_a_run_may_be_bounded_by_time_alone() -> None:
    timed = Recipe(Network([3]), Descent(epochs=None, seconds=0.05))
    run = descend(timed, datasets.load("iris"))
    assert run.reason.startswith("seconds")
    assert set(run.history.learning_rates) == {timed.descent.rate}
    with pytest.raises(InvalidValueError, match="set one of them, or take the schedule 'constant'"):
        descend(timed.edit(schedule="cosine"), datasets.load("iris"))


def test_all_that_a_run_does_takes_the_threads_it_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def check_threads(threads: object) -> int:
        asked.append(threads)
        return 1

    monkeypatch.setattr("downslope.stepper.check_threads", check_threads)
    recipe, recording = Recipe(Network([3]), Descent(epochs=2)), Recording("all", curvature=[2])
    run = descend(recipe, datasets.load("iris"), threads=1, record=recording)
    run.replay(1, 3)
    assert len(asked) > 4
    assert set(asked) == {1}


def own_rule(theta: Any, gradient: Any, state: dict[str, Any], rate: float, step: int) -> None:
    theta -= rate * gradient


@pytest.mark.parametrize(
    ("name", "function"), [("rule", own_rule), ("schedule", lambda step: 0.1 / (step + 1))]
)
def test_a_function_of_ones_own_cannot_go_into_a_checkpoint(
    name: str, function: Any, tmp_path: Path
) -> None:
    recipe = Recipe(Network([3]), Descent(epochs=1, **{name: function}))
    says = f"this one's {name} is a function of your own, which no file can hold; leave checkpoint"
    with pytest.raises(InvalidValueError, match=says):
        descend(recipe, datasets.load("iris"), checkpoint=tmp_path / "state")
    assert not (tmp_path / "state").exists()
    assert descend(recipe, datasets.load("iris")).history.epochs == 1


def test_a_run_is_not_begun_anew_over_the_state_of_another(tmp_path: Path) -> None:
    iris, recipe = datasets.load("iris"), Recipe(Network([3]), Descent(epochs=3))
    stopped = descend(recipe, iris, checkpoint=tmp_path, watchers=[lambda epoch: True])
    assert stopped.history.epochs == 1
    before = (tmp_path / FILE).read_bytes()
    for other in (recipe, recipe.edit(layers=(4,))):
        with pytest.raises(InvalidValueError, match=r"holds the checkpoint of a run.*--resume, or"):
            descend(other, iris, checkpoint=tmp_path)
    assert (tmp_path / FILE).read_bytes() == before
    assert descend(recipe, iris, checkpoint=tmp_path, resume=True).history.epochs == 3


def test_a_place_that_no_checkpoint_can_be_looked_for_at_is_named() -> None:
    iris, recipe = datasets.load("iris"), Recipe(Network([3]), Descent(epochs=1))
    for resume in (False, True):
        with pytest.raises(DownslopeError, match=r"'xxx.*: File name too long; "):
            descend(recipe, iris, checkpoint="x" * 300, resume=resume)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_a_loss_for_classes_is_refused_for_numbers(loss: str) -> None:
    recipe = Recipe(Network([3], loss=loss), Descent(epochs=1))
    with pytest.raises(InvalidValueError, match=f"'{loss}' is for classes, .* 'squared_error'"):
        descend(recipe, datasets.load("diabetes"))
    with pytest.raises(InvalidValueError, match="is for classes"):
        descend(recipe.edit(task="regression", validation=0.0), np.ones((4, 1)), [0, 1, 0, 1])


def test_what_a_run_gives_shows_itself_in_one_line() -> None:
    run = descend(Recipe(Network([3]), Descent(epochs=2)), datasets.load("iris"))
    says = f"Run('iris', 4-3-3, 2 epochs, {run.steps} steps; {run.reason})"
    assert repr(run) == str(run) == says
    assert "\n" not in says
    assert repr(run.model) == "Model(4-3-3, 27 parameters, multiclass)"
    found = compare(run.recipe, datasets.load("iris"), vary={"batch": [8, 32]}, seeds=2)
    assert repr(found) == "Comparison(iris: 2 variants, 4 runs, by 'score')"
    descended = minimize("x**2", [1.0], steps=3, learning_rate=0.25)
    says = f"FunctionRun('x**2', 'gd', 3 steps to 0.015625; {descended.reason})"
    assert repr(descended) == says


def test_a_model_predicts_for_a_file_by_its_path(tmp_path: Path) -> None:
    table = datasets.load("iris")
    assert isinstance(table.features, np.ndarray)
    assert table.target is not None
    run = descend(Recipe(Network([3]), Descent(epochs=1)), table)
    wanted = run.predict(table.features)
    np.savez(tmp_path / "rows.npz", X=table.features, y=table.target)
    lines = [",".join(table.feature_names), *(",".join(map(str, row)) for row in table.features)]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    for name in ("rows.npz", "rows.csv"):
        np.testing.assert_array_equal(run.model.predict(str(tmp_path / name)), wanted)
        np.testing.assert_array_equal(run.model.predict(tmp_path / name), wanted)
    with pytest.raises(MissingFileError):
        run.model.predict(str(tmp_path / "other.csv"))
    assert len(run.model.predict(table.features[:0])) == 0


def test_predictions_for_booleans_are_booleans() -> None:
    features = np.arange(40.0)[:, None]
    target = np.empty(40, dtype=object)
    target[:] = list(features[:, 0] > 20)
    found = descend(Recipe(Network([3]), Descent(epochs=1)), features, target).predict(features)
    assert found.dtype == np.bool_


def test_going_on_needs_a_place_to_go_on_from() -> None:
    with pytest.raises(InvalidValueError, match="resume goes on from the state in checkpoint"):
        descend(Recipe(), datasets.load("iris"), resume=True)


ROWS = np.random.default_rng(0).normal(size=(100, 3))
SUMS = ROWS.sum(1)
SHORT = Recipe(Network([4]), Descent(batch=20, rule="adam", epochs=9, validation=0.0, seed=1))


class SlipError(Exception):
    """What a user's own function raises."""


def fails_at(last: int, number: int) -> None:
    if number > last:
        raise SlipError(f"at {number}")


def failed(recipe: Recipe, **settings: Any) -> Run:
    """Give the run that a function's exception leaves behind."""
    with pytest.raises(SlipError, match=r"^at \d+") as caught:
        descend(recipe, ROWS, SUMS, **settings)
    assert "exception's `run`" in "".join(caught.value.__notes__)
    run: Run = caught.value.run  # type: ignore[attr-defined]
    assert run.reason == f"error: SlipError: {caught.value}"
    return run


def test_one_watcher_need_not_be_in_a_list() -> None:
    seen: list[int] = []
    run = descend(SHORT, ROWS, SUMS, watchers=lambda epoch: seen.append(epoch.number))
    assert seen == list(range(1, 10))
    assert run.history.epochs == 9


def test_a_watcher_that_is_no_function_is_refused_before_the_first_step() -> None:
    def rule(*_: Any) -> None:
        raise AssertionError

    with pytest.raises(InvalidTypeError, match=r"^descend: watchers takes a function, .* got 'x'"):
        descend(SHORT.edit(rule=rule), ROWS, SUMS, watchers=["x"])  # type: ignore[list-item]


def test_an_answer_that_is_neither_true_nor_false_is_named() -> None:
    with pytest.raises(InvalidTypeError, match=r"a watcher gives True .* the type ndarray") as says:
        descend(SHORT, ROWS, SUMS, watchers=lambda epoch: np.zeros(2))  # type: ignore[arg-type, return-value]
    assert says.value.run.history.epochs == 1  # type: ignore[attr-defined]


def test_what_is_no_path_is_named() -> None:
    given: Any = 3
    with pytest.raises(InvalidTypeError, match=r"^descend: checkpoint takes a path, .* got 3$"):
        descend(SHORT, ROWS, SUMS, checkpoint=given)
    with pytest.raises(InvalidTypeError, match=r"^save takes a path, .* got 3$"):
        descend(SHORT.edit(epochs=1), ROWS, SUMS).save(given)


def test_a_watcher_that_raises_does_not_lose_the_run() -> None:
    run = failed(SHORT, watchers=lambda epoch: fails_at(4, epoch.number))
    expected = descend(SHORT, ROWS, SUMS, watchers=lambda epoch: epoch.number == 5)
    np.testing.assert_array_equal(run.network.theta, expected.network.theta)
    assert run.history.losses == expected.history.losses
    assert run.history.steps == 25
    assert run.scores == expected.scores
    assert run.trace.frames["steps"].height == expected.trace.frames["steps"].height


def test_a_schedule_that_raises_does_not_lose_the_run() -> None:
    def schedule(step: int) -> float:
        fails_at(29, step)
        return 0.01

    run = failed(SHORT.edit(schedule=schedule))
    expected = descend(
        SHORT.edit(schedule=lambda step: 0.01, epochs=None, steps=run.steps), ROWS, SUMS
    )
    assert 16 <= run.steps <= 30
    np.testing.assert_array_equal(run.network.theta, expected.network.theta)
    first = failed(SHORT.edit(schedule=lambda step: fails_at(-1, step)))
    assert (first.steps, first.history.losses) == (0, [])


@pytest.mark.parametrize("epochs", [0, 6])
def test_a_rule_that_raises_leaves_theta_as_it_was_before(epochs: int) -> None:
    def gd(theta: Any, gradient: Any, state: Any, rate: float, step: int) -> None:
        theta -= rate * gradient
        fails_at(5 * epochs + 2, step)

    def whole(theta: Any, gradient: Any, state: Any, rate: float, step: int) -> None:
        theta -= rate * gradient

    constant = SHORT.edit(schedule="constant")
    run = failed(constant.edit(rule=gd))
    steps = {"epochs": None, "steps": 5 * epochs + 2}
    expected = descend(constant.edit(rule=whole, **steps), ROWS, SUMS)
    assert run.history.epochs == epochs
    assert run.steps == expected.steps == 5 * epochs + 2
    np.testing.assert_array_equal(run.network.theta, expected.network.theta)
    assert np.isfinite(run.predict(ROWS)).all()
