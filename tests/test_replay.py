"""A stretch of a run once more: the same bits, every step recorded; what a failure leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from downslope import Descent, Network, Recipe, Run, descend
from downslope.course import Course
from downslope.errors import InvalidTypeError, InvalidValueError, NonFiniteError
from downslope.stretch import Stretch


def run(record: Any = "all", network: Network | None = None, **changes: Any) -> Run:
    usual: dict[str, Any] = {"batch": 16, "epochs": 4, "learning_rate": 0.01, "validation": 0.2}
    generator = np.random.default_rng(0)
    features = generator.normal(size=(150, 4))
    network = network or Network([8, 6], "tanh", normalize="batch", dropout=0.2)
    recipe = Recipe(network, Descent(**{**usual, **changes}))
    return descend(recipe, features, features[:, 0] > 0, record=record)


def own(theta: Any, gradient: Any, state: dict[str, Any], rate: float, step: int) -> None:
    state["mean"] = 0.9 * state.get("mean", 0.0) + gradient
    theta -= rate * state["mean"]


@pytest.mark.parametrize(
    "changes",
    [{}, {"schedule": "plateau(patience=0, tolerance=0.9)"}, {"rule": own}, {"rule": "muon"}],
    ids=["adamw", "plateau", "own", "muon"],
)
def test_a_stretch_is_what_it_was(changes: dict[str, Any]) -> None:
    done = run(**changes)
    assert done.steps == 32
    again = done.replay(5, 27)
    for name in ("steps", "layers", "histograms"):
        frame = done.trace.frames[name]
        expected = frame.filter(frame["step"].is_between(5, 27))
        found = again.frames[name]
        if name == "steps":
            expected, found = (each.drop("suggested_batch") for each in (expected, found))
        assert_frame_equal(found, expected, check_exact=True)


def test_it_needs_no_record_and_leaves_the_network_alone() -> None:
    done = run("none")
    assert len(done.trace.steps) == 0
    theta = done.network.theta.copy()
    assert done.replay(30, 32).steps["step"].to_list() == [30, 31, 32]
    np.testing.assert_array_equal(done.network.theta, theta)


@pytest.mark.parametrize("schedule", ["auto", "plateau(patience=0, tolerance=0.9)"])
def test_it_begins_at_the_last_kept_theta(schedule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """States are kept by the clock: here after 16 steps, and none later."""
    keep, steps = Stretch.keep, Course._steps

    def take(course: Course, count: int) -> None:
        steps(course, count)
        if course.history.steps == 16:
            keep(course._stretch, 16)

    monkeypatch.setattr(Course, "_steps", take)
    monkeypatch.setattr(Stretch, "keep", lambda self, count: count or keep(self, 0))
    done = run(schedule=schedule)
    assert done.kept.steps == 16
    begun: list[int] = []

    def note(course: Course, count: int) -> None:
        begun.append(course.history.steps)
        steps(course, count)

    monkeypatch.setattr(Course, "_steps", note)
    expected = done.trace.layers.filter(done.trace.layers["step"] >= 18)
    assert_frame_equal(done.replay(18, 32).layers, expected, check_exact=True)
    assert begun[0] == 16
    begun.clear()
    done.replay(17, 17)  # its gradient is compared with that of step 16
    assert begun[0] == 0


@pytest.mark.parametrize("steps", [(0, 3), (5, 4), (1, 33), (1, 34)])
def test_steps_that_there_are_not(steps: tuple[int, int]) -> None:
    with pytest.raises(InvalidValueError, match="replay: steps must lie in 1 to 32"):
        run("none").replay(*steps)
    with pytest.raises(InvalidTypeError, match="first_step takes the number of a step; got '1'"):
        run("none").replay("1", 2)  # type: ignore[arg-type]


def test_a_step_may_be_a_number_of_numpy() -> None:
    steps: tuple[Any, Any] = (np.int64(1), np.int32(2))
    assert run("none").replay(*steps).steps["step"].to_list() == [1, 2]


def failing(record: Any = "default", **changes: Any) -> NonFiniteError:
    usual = {"batch": 10, "epochs": 400, "rule": "gd", "schedule": "constant", "validation": 0.0}
    generator = np.random.default_rng(0)
    features = generator.normal(size=(103, 4))
    network = Network([8], "identity", "lecun_normal", scaling="none", task="regression")
    recipe = Recipe(network, Descent(**{**usual, "learning_rate": 3.0, **changes}))
    with pytest.raises(NonFiniteError) as failure:
        descend(recipe, features, features[:, :2], record=record)
    return failure.value


@pytest.mark.parametrize("record", ["default", "all", "none"])
def test_a_failed_run_has_its_trace_up_to_the_failure(record: str) -> None:
    error = failing(record)
    steps, last = error.run.trace.steps, error.run.steps + 1
    assert f"in step {last} " in str(error)
    if record == "none":
        assert len(steps) == 0
    else:
        assert steps["step"].to_list()[-1] == last
        # the steps just before it are there one by one, and show what grew
        before = steps.filter(steps["step"] < last).tail(min(last - 1, 19))
        assert np.diff(before["step"]).max() == 1
        assert before["gradient_norm"].to_list()[-1] > 10 * before["gradient_norm"].to_list()[0]
    again = error.run.replay(max(last - 3, 1), last).steps
    assert again["step"].to_list()[-1] == last
    assert again["gradient_norm"].is_finite().to_list()[0]
    with pytest.raises(InvalidValueError, match=f"must lie in 1 to {last}, .* got 1 to {last + 1}"):
        error.run.replay(1, last + 1)


COSINES = ("gradient_cosine", "update_cosine")


def test_the_first_step_of_all_is_compared_with_none_in_a_replay() -> None:
    steps = run("none").replay(1, 3).steps
    for name in COSINES:
        assert steps[name].is_null().to_list() == [True, False, False]


def test_what_a_failed_run_goes_back_to_is_not_compared_with_what_came_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The gauges then hold a step of the run before; here it goes back to 11 steps, an epoch."""
    keep, steps = Stretch.keep, Course._steps

    def take(course: Course, count: int) -> None:
        steps(course, count)
        if course.history.steps == 11:
            keep(course._stretch, 11)

    monkeypatch.setattr(Course, "_steps", take)
    monkeypatch.setattr(Stretch, "keep", lambda self, count: count or keep(self, 0))
    failed = failing(learning_rate=None, schedule=lambda step: 1e-3 if step < 20 else 2e30).run
    assert (failed.kept.steps, failed.steps) == (11, 21)
    found = failed.trace.steps.filter(failed.trace.steps["step"] > 10)
    assert found["step"].to_list() == list(range(12, 23))
    for name in COSINES:
        assert found[name].is_null().to_list()[:3] == [True, False, False]


def test_the_path_of_a_failed_run_ends_at_the_theta_that_was_kept() -> None:
    """Of an epoch that ended: what diverged after it is neither the network nor on its path."""
    run = failing(
        validation=0.2, learning_rate=None, schedule=lambda step: 1e-3 if step < 29 else 2e30
    ).run
    epochs, thetas = run.path()
    best = run.history.best_epoch
    assert (run.steps, best, epochs) == (30, 3, [0, 1, 2, 3])
    at_epoch = run.snapshots.states[run.snapshots.epochs.index(best)][0]
    for theta in (thetas[-1], run.network.theta):
        np.testing.assert_array_equal(theta, at_epoch)


def test_a_run_explains_a_weight_over_the_rows_it_was_trained_on() -> None:
    done = run("none", Network([8, 6], "tanh"))
    whole = done.training_rows()
    rows = done.data.training
    gradient = done.network.loss_and_gradient(whole.features[rows], whole.target[rows])[1]
    part = next(each for each in done.network.layout.parts if each.name == "layer2.weight")
    expected = gradient[part.start : part.stop].reshape(part.shape)
    one = done.explain(2, 5, 3)
    assert one.rows.tolist() == rows.tolist()
    np.testing.assert_allclose(one.gradient, expected[5, 3], rtol=1e-4)
    assert done.explain(2, 5, 3, rows=[0, 7]).rows.tolist() == [0, 7]
    first = done.explain_layer(2).row(0, named=True)
    np.testing.assert_allclose(first["gradient"], expected[first["unit_in"], first["unit_out"]],
                               rtol=1e-4)  # fmt: skip
    assert abs(first["gradient"]) == pytest.approx(abs(expected).max(), rel=1e-4)
