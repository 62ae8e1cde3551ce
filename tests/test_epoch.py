"""Several epochs in one call of the compiled loop: nothing of a run depends on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from polars.testing import assert_frame_equal

from downslope import Recipe, datasets, descend
from downslope.batches import ROWS_AHEAD
from downslope.checkpoint import Checkpoint
from downslope.course import Course
from downslope.data import Data
from downslope.epoch import Epoch, Watcher, functions
from downslope.errors import InvalidTypeError, NonFiniteError
from downslope.held_out import HeldOut
from downslope.history import History
from downslope.kernels.loop import Chunk
from downslope.network import BuiltNetwork
from downslope.pace import AHEAD
from downslope.parts import Descent, Network
from downslope.quantities import FRAMES
from downslope.recording import Recording
from downslope.snapshots import Snapshots
from downslope.stepper import Stepper, Targets
from downslope.trace import Trace
from downslope.workers import FastestCount

NETWORK = Network([6, 5], "tanh", normalize="batch", dropout=0.2)


def course(
    network: Network = NETWORK,
    record: Any = "none",
    weights: bool = False,
    scale: float = 1.0,
    directory: Path | None = None,
    curvature: tuple[int, ...] = (),
    threads: int = 1,
    **changes: Any,
) -> Course:
    """Set up a descent over 103 rows, which batches of 10 take in 11 steps."""
    usual: dict[str, Any] = {
        "batch": 10, "rule": "adam", "learning_rate": 0.01, "epochs": 60, "validation": 0.0,
    }  # fmt: skip
    descent = Descent(**{**usual, **changes})
    generator = np.random.default_rng(0)
    features = generator.normal(size=(103, 4))
    labels = (features[:, 0] + features[:, 1] ** 2 > 0.7).astype(np.int64)
    built = BuiltNetwork(network, 4, 2, "binary", descent.dtype, descent.seed)
    some = generator.uniform(size=103) if weights else None
    targets = Targets.of(labels, some, built.outputs, built.theta.dtype)
    numbers = np.arange(103)
    data = Data(built.check_features(features * scale), targets, numbers, numbers[:0])
    kept = None if directory is None else Checkpoint(directory, {})
    recording = Recording(record, curvature)
    return Course(built, data, descent, threads, kept, recording=recording)


@pytest.fixture
def most(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let as many epochs go into a call as may; give how many steps each call ran."""
    steps: list[int] = []
    run = Stepper.run

    def note(stepper: Stepper, chunk: Chunk) -> int:
        steps.append(chunk.steps)
        return run(stepper, chunk)

    monkeypatch.setattr("downslope.chunks.CHUNK_SECONDS", 1e9)
    monkeypatch.setattr(Stepper, "run", note)
    return steps


def one_by_one(running: Course) -> Course:
    running._at_once = lambda watchers: 1  # type: ignore[method-assign]
    return running


def assert_same(one: Course, other: Course) -> None:
    """Hold that two runs are the same in everything but their time."""
    np.testing.assert_array_equal(one.network.theta, other.network.theta)
    np.testing.assert_array_equal(one.network.statistics, other.network.statistics)
    np.testing.assert_array_equal(one.state, other.state)
    mine, others = one.history.to_dict(), other.history.to_dict()
    for name in mine.keys() - {"seconds", "elapsed"}:
        np.testing.assert_array_equal(mine[name], others[name], name)
    for each in (one, other):
        elapsed = each.history.elapsed
        assert len(elapsed) == each.history.epochs
        assert elapsed == sorted(elapsed)
        assert not elapsed or elapsed[-1] <= each.history.seconds
    assert one.reason == other.reason
    traces = [Trace.of(each.recorder) for each in (one, other)]
    for name in FRAMES:
        assert_frame_equal(traces[0].frames[name], traces[1].frames[name], check_exact=True)


def run_both(most: list[int], **changes: Any) -> tuple[Course, list[int]]:
    """Run a descent as it comes and epoch by epoch; give it and the steps of its calls."""
    expected, together = one_by_one(course(**changes)), course(**changes)
    failures = []
    for running in (expected, together):
        most.clear()
        try:
            running.run()
        except NonFiniteError as error:
            failures.append(str(error))
    assert len(failures) in (0, 2)
    assert failures[:1] == failures[1:]
    assert_same(together, expected)
    return together, most.copy()


@pytest.mark.parametrize("record", ["none", "default", "all"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rule": "gd", "batch": 1, "schedule": "constant"},
        {"batch": 103},
        {"batch": 60, "shuffle": False},
        {"weights": True, "l2": 0.1, "clip_norm": 0.5, "schedule": "one_cycle", "warmup": 30},
        {"network": Network([8], "relu"), "dtype": "float64"},
    ],
    ids=["adam", "gd-1", "full", "in order", "weights", "float64"],
)
def test_bits_history_and_trace(changes: dict[str, Any], record: str, most: list[int]) -> None:
    done, steps = run_both(most, record=record, **changes)
    assert done.history.epochs == 60
    assert max(steps) >= 2 * done.steps_per_epoch


def test_two_threads(most: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FastestCount, "to_try", None)
    monkeypatch.setattr(FastestCount, "choose", lambda self: max(self._seconds))
    wide: dict[str, Any] = {"network": Network([400, 300], normalize="batch"), "batch": 40}
    one, two = one_by_one(course(**wide, epochs=12)), course(**wide, epochs=12, threads=2)
    assert two.threads == 2
    one.run()
    most.clear()
    two.run()
    assert most == [3, 33]
    assert_same(one, two)


def test_what_bounds_a_call(most: list[int]) -> None:
    """The first call ends with its epoch, for it says how long a step takes."""
    held = ROWS_AHEAD // 103
    done, steps = run_both(most, epochs=1000)
    assert steps == [11, 11 * held, 11 * (999 - held)]
    assert done.reason == "epochs: all 1000 done"
    done, steps = run_both(most, batch="full", epochs=AHEAD + 500, network=Network([2]))
    assert steps == [1, AHEAD, 499]


@pytest.mark.parametrize(
    ("changes", "reason", "largest"),
    [
        ({"steps": 11 * 20}, "steps: all 220 done", 11 * 19),
        ({"steps": 11 * 20 + 5}, "steps: all 225 done", 11 * 19),
        ({"patience": 7, "tolerance": 0.05}, "patience: the training loss", 11 * 7),
        ({"patience": 1, "tolerance": 9.0}, "patience: the training loss", 11),
        ({"target_loss": 0.5}, "target: the training loss", 11),
        ({"gradient_tolerance": 0.2, "batch": 103}, "optimum: the gradient's norm", 1),
        ({"schedule": "plateau(patience=0, tolerance=0.01)"}, "epochs: all", 11),
        ({"schedule": lambda step: 0.01, "learning_rate": None}, "epochs: all", 11),
        ({"rule": "muon"}, "epochs: all", 1),
    ],
    ids=["steps", "steps within", "patience", "soon", "target", "gradient", "plateau", "own",
         "muon"],
)  # fmt: skip
def test_reasons_to_stop(
    changes: dict[str, Any], reason: str, largest: int, most: list[int]
) -> None:
    done, steps = run_both(most, **changes)
    assert done.reason.startswith(reason)
    assert max(steps) == largest


def test_a_bound_on_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("downslope.chunks.CHUNK_SECONDS", 1e9)
    done = course(epochs=None, seconds=0.05, schedule="constant")
    done.run()
    assert done.reason == "seconds: 0.05 are over"
    history = done.history
    assert 0.05 <= history.seconds < 5
    assert history.steps == 11 * history.epochs == 11 * len(history.elapsed)
    same = course(epochs=history.epochs, schedule="constant")
    same.run()
    np.testing.assert_array_equal(same.network.theta, done.network.theta)
    assert same.history.losses == history.losses


@pytest.mark.parametrize("record", ["none", "default", "all"])
@pytest.mark.parametrize("rate", [20.0, 1e12])
def test_leaving_the_finite_numbers(rate: float, record: str, most: list[int]) -> None:
    linear = Network([4], "identity", "lecun_normal", task="binary", loss="squared_error",
                     output_activation="identity")  # fmt: skip
    done, steps = run_both(
        most, network=linear, rule="momentum", learning_rate=rate * 0.01, schedule="constant",
        epochs=400, record=record,
    )  # fmt: skip
    assert np.isfinite(done.network.theta).all()
    if rate < 100 and record != "all":
        assert done.history.epochs > 2
        assert max(steps) > 22


def test_a_theta_that_overflows_unseen_by_any_loss(most: list[int]) -> None:
    """All features are 0, and every step multiplies the weights by 1 - 0.1 x 40 = -3."""
    failing = course(
        Network([], initializer="constant(value=1)"), scale=0.0, rule="gd", learning_rate=0.1,
        schedule="constant", weight_decay=40.0, epochs=400,
    )  # fmt: skip
    last = int(np.log(np.finfo(np.float32).max) / np.log(3))
    with pytest.raises(NonFiniteError, match=f"step {last + 1} .*: first in theta of layer 1:"):
        failing.run()
    assert failing.history.steps == last
    np.testing.assert_allclose(failing.network.parts()["layer1.weight"], (-3.0) ** last, rtol=1e-5)
    assert failing.history.epochs == last // 11
    assert len(most) < 30


def test_an_epoch_that_cannot_be_scored_is_not_half_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measure = HeldOut.measure
    done: list[int] = []

    def fail_in_the_third(self: HeldOut) -> tuple[float, float]:
        done.append(len(done) + 1)
        if len(done) == 3:
            raise MemoryError("no room")
        return measure(self)

    monkeypatch.setattr(HeldOut, "measure", fail_in_the_third)
    recipe = Recipe(Network([3]), Descent(epochs=5))
    with pytest.raises(MemoryError) as caught:
        descend(recipe, datasets.load("iris"), watchers=lambda epoch: None)
    history = caught.value.run.history  # type: ignore[attr-defined]
    lists = (history.losses, history.learning_rates, history.validation_losses, history.elapsed)
    assert [len(each) for each in lists] == [2, 2, 2, 2]


class Every:
    """A watcher that asks for every fifth epoch; it may end the run."""

    def __init__(self, last: int = 1000) -> None:
        self.seen: list[int] = []
        self.thetas: list[npt.NDArray[Any]] = []
        self.last = last

    def __call__(self, epoch: Epoch) -> bool:
        self.seen.append(epoch.number)
        self.thetas.append(epoch.network.theta.copy())
        return epoch.number >= self.last

    def next_after(self, epoch: int) -> int:
        return epoch + 5 - epoch % 5


def test_watchers_see_the_epochs_that_they_ask_for(most: list[int]) -> None:
    asking, running = Every(), course()
    running.run((asking,))
    assert asking.seen == [1, *range(5, 61, 5)]
    assert max(most) == 55
    every, running = Every(), course()
    running.run((every, lambda epoch: None))
    assert every.seen == list(range(1, 61))
    for number, theta in zip(asking.seen, asking.thetas, strict=True):
        np.testing.assert_array_equal(theta, every.thetas[number - 1])


def test_a_watcher_ends_the_run_at_its_epoch(most: list[int]) -> None:
    running, same = course(schedule="constant"), course(epochs=20, schedule="constant")
    running.run((Every(last=18),))
    assert running.reason == "callback: it asked to stop"
    same.run()
    np.testing.assert_array_equal(running.network.theta, same.network.theta)


def test_snapshots_are_those_of_every_epoch(most: list[int]) -> None:
    found = []
    for run in (course(epochs=200), one_by_one(course(epochs=200))):
        snapshots = Snapshots(run.network)
        run.run((snapshots,))
        found.append(snapshots)
    assert found[0].epochs == found[1].epochs
    for one, other in zip(found[0].states, found[1].states, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    assert max(most) == 8 * 11


def test_curvature_and_dead_units_have_their_time(most: list[int]) -> None:
    done, steps = run_both(
        most, network=Network([6], "relu"), record="default", curvature=(1, 100, 199, 200)
    )
    assert done.recorder.curvature[1]["step"] == 100
    assert {step for step, *_ in done.recorder.dead_units} == {330, 660}
    assert max(steps) == 30 * 11


@pytest.mark.parametrize("call", [1, 2])
def test_interrupted_and_resumed(call: int, most: list[int], tmp_path: Path) -> None:
    """Ctrl-C comes while some epochs run in one call: the run ends with the last of them."""
    whole, first = course(epochs=1000), course(epochs=1000, directory=tmp_path)
    at_once, calls = first._at_once, 0

    def interrupt(watchers: tuple[Watcher, ...]) -> int:
        nonlocal calls
        calls += 1
        first.interrupted = calls == call
        return at_once(watchers)

    first._at_once = interrupt  # type: ignore[method-assign]
    first.run()
    assert first.reason.startswith("interrupted")
    assert first.history.epochs == (1 if call == 1 else 1 + ROWS_AHEAD // 103)
    assert first.history.steps == 11 * first.history.epochs
    second = course(epochs=1000, directory=tmp_path)
    assert second.resume()
    second.run()
    whole.run()
    assert_same(second, whole)


@pytest.mark.parametrize("record", ["none", "default"])
def test_resumed_within_an_epoch(record: str, most: list[int], tmp_path: Path) -> None:
    usual: dict[str, Any] = {"schedule": "constant", "record": record}
    course(directory=tmp_path, steps=27, **usual).run()
    resumed = course(directory=tmp_path, **usual)
    assert resumed.resume()
    most.clear()
    resumed.run()
    assert most[0] == 6
    assert max(most) > 22
    whole = course(**usual)
    whole.run()
    assert_same(resumed, whole)


def test_what_is_said_of_the_speed() -> None:
    shown: list[Epoch] = []
    running = course(epochs=4)
    running.run((shown.append,))
    assert [epoch.number for epoch in shown] == [1, 2, 3, 4]
    assert shown[-1].seconds_left == 0
    assert shown[0].seconds_left == pytest.approx(3 * 103 / shown[0].rows_per_second)


@pytest.mark.parametrize(
    ("bounds", "left"),
    [
        ({"epochs": 10}, 8.0),
        ({"epochs": None, "steps": 55}, 3.0),
        ({"epochs": None, "seconds": 7.5}, 5.5),
        ({"epochs": None, "seconds": 1.5}, 0.0),
        ({"epochs": 10, "steps": 55, "seconds": 7.5}, 3.0),
        ({"epochs": 3, "steps": 55, "seconds": 7.5}, 1.0),
        ({"epochs": 10, "steps": 550, "seconds": 2.5}, 0.5),
    ],
    ids=str,
)
def test_what_is_left_goes_by_the_first_of_the_bounds(bounds: dict[str, Any], left: float) -> None:
    history = History(losses=[1.0, 0.9], steps=22, seconds=2.0)
    shown = Epoch.last(history, course().network, 103, Descent(**bounds))
    assert shown.seconds_left == pytest.approx(left)
    assert shown.rows_per_second == 103


def test_one_function_is_a_list_of_one() -> None:
    assert functions("watchers", print) == functions("watchers", [print]) == (print,)
    assert functions("watchers", iter([print, repr])) == (print, repr)
    assert functions("watchers", ()) == functions("watchers", np.array([])) == ()


@pytest.mark.parametrize(
    ("given", "shown"), [("x", "'x'"), (["x"], "'x'"), ([print, None], "None"), (3, "3")]
)
def test_a_watcher_that_cannot_be_called_is_named(given: Any, shown: str) -> None:
    with pytest.raises(InvalidTypeError, match=f"^watchers takes a function, .*; got {shown}$"):
        functions("watchers", given)
