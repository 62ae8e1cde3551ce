"""A run that was interrupted, resumed, and one that never was: the same bits."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from polars.testing import assert_frame_equal

from downslope import datasets, storage
from downslope.checkpoint import FILE, Checkpoint
from downslope.course import Course
from downslope.data import Data
from downslope.descent import descend
from downslope.epoch import Epoch, Watcher
from downslope.errors import InvalidValueError, ModelFileError, UnreadableError
from downslope.history import History
from downslope.network import BuiltNetwork
from downslope.parts import Descent, Network
from downslope.quantities import FRAMES
from downslope.recipe import Recipe
from downslope.recording import Recording
from downslope.run import Run
from downslope.stepper import Targets
from downslope.trace import Trace

NETWORK = Network([12, 12], "prelu", normalize="batch", residual=True, dropout=0.2)


def course(directory: Path | None, descent: Descent, network: Network = NETWORK) -> Course:
    """Set up a descent over 103 rows, 20 of them held out: 9 steps an epoch with batches of 10."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(103, 5)).astype(np.float32)
    labels = (features[:, 0] + features[:, 1] ** 2 > 0.7).astype(np.int64)
    built = BuiltNetwork(network, 5, 2, "binary", descent.dtype, descent.seed)
    targets = Targets.of(labels, None, built.outputs, built.theta.dtype)
    rows = np.arange(103)
    data = Data(built.check_features(features), targets, rows[:83], rows[83:])
    kept = None if directory is None else Checkpoint(directory, {"recipe": "this one"})
    return Course(built, data, descent, 1, kept)


def interrupt(running: Course, step: int) -> None:
    """Let Ctrl-C come right after a step."""
    chunk_steps = running._chunks.steps

    def until(history: History, position: int) -> int:
        steps = min(chunk_steps(history, position), step - running.history.steps)
        running.interrupted = running.history.steps + steps == step
        return steps

    running._chunks.steps = until  # type: ignore[method-assign]


def assert_same(one: Course, other: Course) -> None:
    np.testing.assert_array_equal(one.network.theta, other.network.theta)
    np.testing.assert_array_equal(one.network.statistics, other.network.statistics)
    mine, others = one.history.to_dict(), other.history.to_dict()
    for name in mine.keys() - {"seconds", "elapsed"}:
        np.testing.assert_array_equal(mine[name], others[name], name)
    assert one.reason == other.reason


@pytest.mark.parametrize("steps", [(1,), (9,), (13, 14, 40)])
@pytest.mark.parametrize(
    "changes",
    [
        {"rule": "adam"},
        {"rule": "momentum", "schedule": "plateau(patience=0, tolerance=0.5, factor=0.5)"},
        {"rule": "radam", "schedule": "one_cycle", "clip_norm": 0.5, "warmup": 12},
        {"rule": "muon", "schedule": "cosine"},
        {"rule": "nadam", "batch": 1, "steps": 200},
        {"rule": "adam", "shuffle": False, "gradient_tolerance": 1e-9, "l2": 0.1, "epochs": 5},
    ],
    ids=lambda changes: "-".join(str(value) for value in changes.values()),
)
def test_interrupted_and_resumed_is_uninterrupted(
    changes: dict[str, Any], steps: tuple[int, ...], tmp_path: Path
) -> None:
    descent = Descent(**{"batch": 10, "learning_rate": 0.02, "epochs": 6, **changes})
    whole = course(None, descent)
    whole.run()
    for step in steps:
        running = course(tmp_path, descent)
        running.resume()
        interrupt(running, step)
        running.run()
        assert running.reason.startswith("interrupted")
        assert running.history.steps == step
    resumed = course(tmp_path, descent)
    assert resumed.resume()
    resumed.run()
    assert_same(resumed, whole)


def test_full_batch_with_rprop(tmp_path: Path) -> None:
    descent = Descent(batch="full", rule="rprop", epochs=12, schedule="constant")
    whole, first = course(None, descent), course(tmp_path, descent)
    whole.run()
    interrupt(first, 5)
    first.run()
    resumed = course(tmp_path, descent)
    assert resumed.resume()
    resumed.run()
    assert_same(resumed, whole)


def test_the_best_theta_survives_an_interruption(tmp_path: Path) -> None:
    """The best epoch lies before the interruption; patience is counted on."""
    descent = Descent(batch=10, rule="adam", learning_rate=0.05, epochs=60, patience=12)
    whole, first = course(None, descent), course(tmp_path, descent)
    whole.run()
    best, last = whole.history.best_epoch, whole.history.epochs
    assert whole.reason.startswith("patience")
    assert best < last - 2
    interrupt(first, 9 * (best + 1) + 4)
    first.run()
    resumed = course(tmp_path, descent)
    resumed.resume()
    resumed.run()
    assert_same(resumed, whole)


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        ({"epochs": 3}, "epochs: all 3 done"),
        ({"steps": 5}, "steps: all 5 done"),
        ({"steps": 22}, "steps: all 22 done"),
        ({"steps": 18}, "steps: all 18 done"),
        ({"epochs": None, "seconds": 0.05}, "seconds: 0.05 are over"),
    ],
    ids=["epochs", "first epoch", "mid-epoch", "epoch's end", "seconds"],
)
def test_a_finished_run_resumes_to_its_end(
    bounds: dict[str, Any], says: str, tmp_path: Path
) -> None:
    descent = Descent(batch=10, rule="adam", **bounds)
    whole = course(tmp_path, descent)
    whole.run()
    assert whole.reason == says
    again = course(tmp_path, descent)
    assert again.resume()
    again.run()
    assert_same(again, whole)


@pytest.mark.parametrize(("seconds", "saves"), [(0.02, 100), (0.5, 10)], ids=["short", "long"])
def test_writing_takes_a_twentieth_of_the_time_at_most(
    seconds: float, saves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock of its own, on which each step takes half a second, for a hundred seconds."""
    now, written = [0.0], []
    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)
    monkeypatch.setattr("downslope.course.time", clock)
    running = course(tmp_path, Descent(batch=10, epochs=None, steps=200))
    steps = running._steps

    def write(*_: Any) -> None:
        written.append(now[0])
        now[0] += seconds

    def step(count: int) -> None:
        steps(count)
        now[0] += 0.5 * count

    monkeypatch.setattr(running, "_steps", step)
    monkeypatch.setattr(running._chunks, "steps", lambda *_: 1)
    monkeypatch.setattr(Checkpoint, "write", write)
    running.run()
    assert len(written) == pytest.approx(saves, rel=0.1)


def test_seconds_go_by_one_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes half a second, a look 3, a checkpoint 2; an interruption counts for nothing."""
    now, shown = [0.0], []
    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=lambda: now[0])
    monkeypatch.setattr("downslope.course.time", clock)
    write = Checkpoint.write

    def passing(work: Any, seconds: float) -> Any:
        def done(*given: Any) -> Any:
            now[0] += seconds
            return work(*given)

        return done

    def running() -> Course:
        made = course(tmp_path, Descent(batch=10, epochs=4))
        monkeypatch.setattr(made._chunks, "steps", lambda *_: 1)
        monkeypatch.setattr(made, "_steps", passing(made._steps, 0.5))
        return made

    def look(epoch: Epoch) -> bool:
        shown.append(epoch.history.seconds)
        now[0] += 3.0
        return len(shown) == 2

    monkeypatch.setattr(Checkpoint, "write", passing(write, 2.0))
    first = running()
    first.run((look,))
    assert first.history.seconds == now[0]
    now[0] += 1000.0
    second = running()
    assert second.resume()
    second.run((look,))
    assert second.history.elapsed == shown
    assert len(shown) == 4
    # What the last checkpoint took to write is not yet in it.
    assert second.history.seconds == now[0] - 1000.0 - 2.0


def test_nothing_to_resume(tmp_path: Path) -> None:
    assert not course(tmp_path, Descent()).resume()
    assert not course(None, Descent()).resume()


SCRIPT = """
import sys
import time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
import test_checkpoint as here
from downslope import chunks, course
from downslope.parts import Descent
course.SAVE_SECONDS = chunks.CHUNK_SECONDS = 0.005
course.SAVES_APART = 0
directory = Path(sys.argv[2])
running = here.course(directory, Descent(batch=10, rule="adam", learning_rate=0.01, epochs=60))
running.resume()
running._stepper.warm_up()
print("running", flush=True)
steps = running._steps
def slowly(count):
    time.sleep(0.002)
    steps(count)
running._steps = slowly
running.run()
np.save(directory / "theta.npy", running.network.theta)
"""
"""A descent of about a second, slow enough that a kill meets it in its middle."""


def test_killed_at_any_moment(tmp_path: Path) -> None:
    chance = random.Random(3)
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(tmp_path)]
    killed = 0
    for _ in range(3):
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "running\n"
        time.sleep(chance.uniform(0.02, 0.25))
        child.kill()
        killed += child.wait() != 0
        child.stdout.close()
        if killed and (tmp_path / FILE).exists():
            storage.read_arrays(tmp_path / FILE)
    assert killed >= 2
    assert (tmp_path / FILE).exists()
    subprocess.run(command, check=True, capture_output=True)
    whole = course(None, Descent(batch=10, rule="adam", learning_rate=0.01, epochs=60))
    whole.run()
    np.testing.assert_array_equal(np.load(tmp_path / "theta.npy"), whole.network.theta)


def written(directory: Path) -> Path:
    running = course(directory, Descent(epochs=2))
    running.run()
    return directory / FILE


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_checkpoint_cut_short_is_refused(keep: int, tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelFileError, match=r"checkpoint\.safetensors is damaged"):
        course(tmp_path, Descent(epochs=2)).resume()


@pytest.mark.parametrize("place", [0.0, 0.3, 0.9, 0.999])
def test_a_checkpoint_with_a_flipped_bit_is_refused(place: float, tmp_path: Path) -> None:
    path = written(tmp_path)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)
    with pytest.raises(ModelFileError):
        course(tmp_path, Descent(epochs=2)).resume()


def test_a_checkpoint_that_may_not_be_looked_for_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Checkpoint(tmp_path, {})

    def hide(path: Path, **named: Any) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", hide)
    with pytest.raises(UnreadableError, match=r"cannot read '.*checkpoint.*': Permission denied"):
        checkpoint.read()


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    descent = Descent(epochs=2)
    (tmp_path / FILE).write_bytes(b"PK\x03\x04 a zip of something else")
    with pytest.raises(ModelFileError, match="damaged or was not written by Downslope"):
        course(tmp_path, descent).resume()
    running = course(None, descent)
    running.network.save(tmp_path / FILE)
    with pytest.raises(ModelFileError, match="no checkpoint"):
        course(tmp_path, descent).resume()


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(InvalidValueError, match=r"of another run: data, recipe differ"):
        Checkpoint(tmp_path, {"data": "?", "recipe": "that one"}).read()


def test_a_checkpoint_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Checkpoint(tmp_path / "new", {})
    kept.write({"theta": np.arange(3.0)}, {"step": 1})

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        kept.write({"theta": np.zeros(3)}, {"step": 2})
    found = kept.read()
    assert found is not None
    np.testing.assert_array_equal(found[0]["theta"], [0.0, 1.0, 2.0])
    assert found[1] == {"step": 1}
    assert [path.name for path in kept.directory.iterdir()] == [FILE]


def test_digests_tell_values_types_and_shapes_apart() -> None:
    arrays: list[npt.NDArray[Any]] = [
        np.zeros(4, np.float32), np.zeros((2, 2), np.float32), np.zeros(4), np.zeros(2),
        np.array([0, 0, 0, 1.0]), np.empty(0),
    ]  # fmt: skip
    assert len({storage.digest({"a": array}) for array in arrays}) == len(arrays)
    strided = np.ones((3, 3))[:, ::2]
    assert storage.digest({"a": strided}) == storage.digest({"a": np.ones((3, 2))})


@pytest.mark.parametrize("record", ["default", "all"])
@pytest.mark.parametrize("step", [4, 9, 49, 50])
def test_the_trace_is_that_of_a_run_without_interruption(
    step: int, record: str, tmp_path: Path
) -> None:
    """Also where the step after the interruption is compared with the one before it."""
    descent = Descent(batch=10, epochs=6, rule="adam", learning_rate=0.02, patience=None)
    usual = recorded(None, descent, record)
    usual.run()
    stopped = recorded(tmp_path, descent, record)
    interrupt(stopped, step)
    stopped.run()
    assert stopped.history.steps == step
    resumed = recorded(tmp_path, descent, record)
    assert resumed.resume()
    resumed.run()
    traces = [Trace.of(each.recorder) for each in (usual, resumed)]
    for name in FRAMES:
        assert_frame_equal(traces[0].frames[name], traces[1].frames[name], check_exact=True)
    assert traces[0].curvature["step"].to_list() == [2, 30]
    assert traces[0].dead_units["step"].to_list() == [54, 54, 54]


@pytest.mark.parametrize("stop", [3, 30])
def test_the_path_is_that_of_a_run_without_interruption(stop: int, tmp_path: Path) -> None:
    recipe = Recipe(Network([4]), Descent(epochs=60))
    whole = descend(recipe, datasets.load("moons"), record="none")

    def press(epoch: Epoch) -> None:
        if epoch.number == stop:
            signal.raise_signal(signal.SIGINT)

    def part(*watchers: Watcher) -> Run:
        return descend(
            recipe, datasets.load("moons"), record="none", checkpoint=tmp_path, resume=True,
            watchers=watchers,
        )  # fmt: skip

    assert part(press).reason.startswith("interrupted")
    resumed = part()
    assert whole.snapshots is not None
    assert resumed.snapshots is not None
    assert resumed.snapshots.epochs == whole.snapshots.epochs == list(range(0, 61, 4))
    for found, expected in zip(resumed.snapshots.states, whole.snapshots.states, strict=True):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(resumed.path()[1], whole.path()[1])


def recorded(directory: Path | None, descent: Descent, record: str) -> Course:
    """Set up a descent of which something is recorded."""
    plain = course(directory, descent)
    recording = Recording(record, curvature=[2, 30])
    return Course(plain.network, plain.data, descent, 1, plain.checkpoint, recording=recording)
