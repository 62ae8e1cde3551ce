"""The course of a descent: its bits, its counts, its rules, its end."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_iris

from downslope import layout
from downslope.catalogue import LOSSES, RULES
from downslope.course import Course
from downslope.data import Data
from downslope.descent import descend
from downslope.epoch import Epoch
from downslope.errors import InvalidTypeError, InvalidValueError, NonFiniteError
from downslope.inspection import DEAD_ROWS
from downslope.kernels import loop
from downslope.network import BuiltNetwork
from downslope.parts import Descent, Network
from downslope.recipe import Recipe
from downslope.stepper import Targets
from downslope.workers import FastestCount

Array = npt.NDArray[Any]


def blobs(rows: int, inputs: int = 4, classes: int = 3, seed: int = 0) -> tuple[Array, Array]:
    """Draw classes that lie apart, with some overlap."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, rows)
    centers = generator.normal(0, 1.5, (classes, inputs))
    return centers[labels] + generator.normal(size=(rows, inputs)), labels


def course(
    descent: Descent,
    network: Network | None = None,
    data: tuple[Array, Array] | None = None,
    held_out: int = 0,
    threads: int | None = 1,
    task: str = "multiclass",
) -> Course:
    """Set up a descent; the last `held_out` rows are not trained on."""
    features, target = blobs(103) if data is None else data
    network = Network([8], initializer="glorot_normal") if network is None else network
    columns = 3 if task == "multiclass" else (target.shape[1] if target.ndim == 2 else 1)
    built = BuiltNetwork(network, features.shape[1], columns, task, descent.dtype, descent.seed)
    targets = Targets.of(target, None, built.outputs, built.theta.dtype)
    rows = np.arange(len(features))
    split = len(rows) - held_out
    shaped = Data(built.check_features(features), targets, rows[:split], rows[split:])
    return Course(built, shaped, descent, threads)


def settings(**changes: Any) -> Descent:
    usual: dict[str, Any] = {
        "batch": 10, "rule": "gd", "schedule": "constant", "validation": 0.0, "epochs": 3,
    }  # fmt: skip
    return Descent(**{**usual, **changes})


def done(
    descent: Descent, *arguments: Any, watchers: tuple[Any, ...] = (), **options: Any
) -> Course:
    result = course(descent, *arguments, **options)
    result.run(watchers)
    return result


def same(one: Course, other: Course) -> None:
    """Hold that two descents went the same way, bit for bit."""
    np.testing.assert_array_equal(one.network.theta, other.network.theta)
    np.testing.assert_array_equal(one.network.statistics, other.network.statistics)
    assert one.history.losses == other.history.losses
    assert one.history.validation_losses == other.history.validation_losses


@pytest.mark.parametrize(
    ("network", "batch"),
    [
        (Network([64, 64]), 128),
        (Network([64, 48], activation="gelu", normalize="batch", residual=True), 150),
        (Network([64, 64], activation="prelu", normalize="layer", residual=True), 128),
        (Network([64, 64], activation="tanh", dropout=0.3), 100),
        (Network([512, 400], normalize="batch"), 200),
        (Network([64, 64], activation="silu"), "full"),
    ],
    ids=["plain", "batchnorm", "layernorm", "dropout", "blas", "full"],
)
def test_two_threads_give_the_bits_of_one(
    network: Network, batch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FastestCount, "choose", lambda self: max(self._seconds))
    data = blobs(2500 if batch == "full" else 450, 20)
    descent = settings(rule="adam", batch=batch, clip_norm=1.0 if batch == 128 else None)
    one = done(descent, network, data, held_out=50, threads=1)
    two = done(descent, network, data, held_out=50, threads=2)
    assert (one.threads, two.threads) == (1, 2)
    same(one, two)


def test_a_full_batch_is_the_sum_of_its_micro_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = blobs(2500)
    gradients = []
    for most in (layout.MICRO_BATCH, 128, 1 << 20):
        monkeypatch.setattr(layout, "MICRO_BATCH", most)
        built = BuiltNetwork(
            Network([16], "prelu", "glorot_normal", "layer", True), 4, 3, "multiclass", "float64"
        )
        assert layout.batching(built.layout, 2500)[0] == min(most, 2500)
        loss, gradient = built.loss_and_gradient(features, labels, threads=1)
        gradients.append(np.append(gradient, loss))
    scale = abs(gradients[2]).max()
    for gradient in gradients[:2]:
        np.testing.assert_allclose(gradient, gradients[2], rtol=0, atol=1e-13 * scale)


def test_full_batch_in_float32_is_the_exact_gradient_to_its_rounding() -> None:
    features, labels = blobs(2500)
    found = []
    for dtype in ("float32", "float64"):
        built = BuiltNetwork(Network([16], "tanh", "lecun_normal"), 4, 3, "multiclass", dtype, 2)
        built.theta[:] = built.theta.astype(np.float32)
        rows = features.astype(np.float32)
        found.append(built.loss_and_gradient(rows, labels, threads=1)[1])
    # sums of 2,500 rows: the square root of that times 1.2e-7, at random
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=6e-6 * abs(found[1]).max())


@pytest.mark.parametrize(("batch", "steps"), [(10, 33), (103, 3), ("full", 3), (1, 309), (500, 3)])
def test_epochs_and_steps_are_counted_with_the_last_partial_batch(batch: Any, steps: int) -> None:
    finished = done(settings(batch=batch))
    assert finished.history.steps == steps
    assert finished.history.epochs == 3
    assert finished.reason == "epochs: all 3 done"


@pytest.mark.parametrize("batch", [1, 10, "full"])
def test_the_loss_of_an_epoch_is_the_mean_over_its_rows(batch: Any) -> None:
    standing = done(settings(batch=batch, learning_rate=0.0, dtype="float64"))
    features, labels = blobs(103)
    expected = standing.network.loss_and_gradient(features, labels)[0]
    np.testing.assert_allclose(standing.history.losses, [expected] * 3, rtol=1e-12)


def test_the_history_times_every_epoch_and_keeps_the_last_losses() -> None:
    run = done(settings(epochs=15))
    history = run.history
    assert len(history.elapsed) == 15
    assert history.elapsed == sorted(history.elapsed)
    assert history.elapsed[-1] <= history.seconds
    assert len(history.last_losses) == 100
    counts = [10] * 10 + [3]
    last_epoch = np.average(history.last_losses[-11:], weights=counts)
    np.testing.assert_allclose(last_epoch, history.losses[-1], rtol=1e-12)


def test_memory_is_that_of_the_arrays_a_run_makes() -> None:
    small, large = (course(settings(rule=rule)) for rule in ("gd", "adam"))
    theta = small.network.theta.nbytes
    # Two moments, and the copies of them that a failed step is taken back to.
    assert large.memory - small.memory == 4 * theta
    held = course(settings(rule="gd"), held_out=20)
    assert held.memory > small.memory + theta - 20 * 8
    full = course(settings(rule="gd", batch="full"), data=blobs(20_000))
    assert full.memory < 2 * small.memory + 20_000 * 8 + (1 << 20)


def test_a_full_batch_takes_no_order_of_its_own() -> None:
    full, mini = course(settings(batch="full")), course(settings())
    assert full.batches.order is full.data.training
    assert mini.batches.order is not mini.data.training
    kept = full.data.training.copy()
    usual = done(settings(batch="full"))
    compiled = signatures(loop.descend)
    full.data.training.flags.writeable = False
    frozen = Course(full.network, full.data, full.descent, 1)
    assert frozen.memory == full.memory + kept.nbytes
    frozen.run()
    same(usual, frozen)
    assert (full.data.training == kept).all()
    assert signatures(loop.descend) == compiled


def test_every_row_is_seen_once_an_epoch() -> None:
    """With squared error and a bias alone, a step of rate 0 has the mean of its targets as loss."""
    rows = np.arange(23.0)
    moved = course(
        settings(batch=5, learning_rate=0.0, dtype="float64"),
        Network([]), (np.zeros((23, 1)), rows[:, None]), task="regression",
    )  # fmt: skip
    orders = []
    moved.run((lambda epoch: orders.append(moved.batches.order.copy()),))
    assert all(sorted(order) == list(range(23)) for order in orders)
    assert not np.array_equal(orders[0], orders[1])
    np.testing.assert_allclose(moved.history.losses, np.mean(rows**2 / 2), rtol=1e-12)


def test_a_bound_on_steps_ends_within_an_epoch() -> None:
    finished = done(settings(steps=25))
    assert (finished.history.steps, finished.history.epochs) == (25, 2)
    assert finished.reason == "steps: all 25 done"


def test_a_bound_on_seconds() -> None:
    finished = done(settings(seconds=0.05, epochs=None))
    assert finished.reason == "seconds: 0.05 are over"
    assert 0.05 <= finished.history.seconds < 5


def test_a_bound_on_seconds_counts_what_watchers_take() -> None:
    running = course(settings(seconds=0.2, epochs=None))
    begun = time.perf_counter()
    running.run((lambda epoch: time.sleep(0.01),))
    assert running.reason == "seconds: 0.2 are over"
    assert 0.2 <= running.history.seconds <= time.perf_counter() - begun
    assert running.history.epochs <= 21


@pytest.mark.parametrize(
    ("descent", "held_out", "says"),
    [
        (settings(epochs=500, gradient_tolerance=0.3, batch="full"), 0, "optimum: the gradient's"),
        (settings(epochs=500, target_loss=0.5), 0, "target: the training loss"),
        (settings(epochs=500, target_score=0.7, validation=0.2), 20, "target: the held-out score"),
        (settings(epochs=500, patience=2, tolerance=9.0), 0, "patience: the training loss"),
        (settings(epochs=500, patience=2, tolerance=9.0), 20, "patience: the validation loss"),
    ],
)
def test_reasons_to_stop(descent: Descent, held_out: int, says: str) -> None:
    finished = done(descent, held_out=held_out)
    history = finished.history
    assert finished.reason.startswith(says)
    assert history.epochs < 500
    if "optimum" in says:
        assert history.gradient_norm < 0.3
    elif "training loss" in says and descent.target_loss is not None:
        assert history.losses[-1] <= 0.5 < history.losses[-2]
    elif descent.patience:
        assert history.epochs == 3  # one that improves on nothing at all, two that do not


def test_the_norm_of_the_gradient_is_the_whole_gradients() -> None:
    finished = done(settings(batch="full", epochs=1, gradient_tolerance=1e-9, dtype="float64"))
    fresh = course(settings(dtype="float64")).network
    gradient = fresh.loss_and_gradient(*blobs(103))[1]
    np.testing.assert_allclose(finished.history.gradient_norm, np.linalg.norm(gradient), rtol=1e-12)


@pytest.mark.parametrize("rule", ["gd", "own"])
@pytest.mark.parametrize("norm", [None, 1e-5])
def test_clipped_entries_make_no_optimum(norm: float | None, rule: Any) -> None:
    """The norm that is held against the tolerance is the gradient's, penalties included."""

    def own(theta: Array, gradient: Array, state: dict[str, Any], rate: float, step: int) -> None:
        theta -= rate * gradient

    clipped = {"clip_value": 1e-6, "clip_norm": norm, "rule": own if rule == "own" else rule}
    usual = {"batch": "full", "epochs": 1, "gradient_tolerance": 1e-3, "l2": 50.0}
    found = done(settings(**usual, **clipped, dtype="float64"))
    assert found.reason == "epochs: all 1 done"
    fresh = course(settings(dtype="float64")).network
    gradient = fresh.loss_and_gradient(*blobs(103), penalties=(0.0, 50.0))[1]
    np.testing.assert_allclose(found.history.gradient_norm, np.linalg.norm(gradient), rtol=1e-12)


def test_a_watcher_may_end_the_run() -> None:
    seen: list[int] = []

    def watch(epoch: Epoch) -> bool:
        seen.append(epoch.number)
        assert epoch.rows_per_second > 0
        return epoch.number == 2

    finished = done(settings(epochs=9), watchers=(watch,))
    assert seen == [1, 2]
    assert finished.reason.startswith("callback")


@pytest.mark.parametrize("stop", [{"steps": 22}, {"epochs": 2}])
def test_watchers_see_the_last_epoch_whatever_ends_the_run(stop: dict[str, int]) -> None:
    seen: list[int] = []
    done(settings(**stop), watchers=(lambda epoch: seen.append(epoch.number),))
    assert seen == [1, 2]


def test_the_best_theta_is_restored() -> None:
    best: list[Array] = []
    running = course(
        settings(rule="adam", learning_rate=0.1, epochs=30),
        Network([16], normalize="batch"), blobs(103, seed=4), held_out=50,
    )  # fmt: skip

    def watch(epoch: Epoch) -> None:
        if epoch.history.best_epoch == epoch.number:
            best[:] = [running.network.theta.copy(), running.network.statistics.copy()]

    running.run((watch,))
    assert running.history.best_epoch < 30
    np.testing.assert_array_equal(running.network.theta, best[0])
    np.testing.assert_array_equal(running.network.statistics, best[1])
    features, labels = blobs(103, seed=4)
    picked = running.network.output(features[53:])[np.arange(50), labels[53:]]
    lowest = min(running.history.validation_losses)
    np.testing.assert_allclose(-np.log(picked).mean(), lowest, rtol=1e-5)


def test_how_often_python_looks_around_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for seconds in (0.0, 1e9):
        monkeypatch.setattr("downslope.chunks.CHUNK_SECONDS", seconds)
        found.append(done(settings(rule="adam", batch=1, epochs=8, dtype="float64")))
    same(*found)


def test_a_seed_says_all() -> None:
    network = Network([16], dropout=0.2, normalize="batch")
    first = done(settings(seed=5), network)
    same(first, done(settings(seed=5), network))
    assert done(settings(seed=6), network).history.losses != first.history.losses


@pytest.mark.parametrize("batch", [1, 32, "full"])
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_goes_down(rule: str, batch: Any) -> None:
    if rule == "rprop" and batch != "full":
        pytest.skip("full batch only")
    rate = 0.001 if batch == 1 else None
    losses = done(settings(rule=rule, batch=batch, epochs=8, learning_rate=rate)).history.losses
    assert losses[-1] < losses[0]
    assert len(set(losses)) == 8


def test_a_rule_of_ones_own_is_the_built_in_one() -> None:
    steps = []

    def gd(theta: Array, gradient: Array, state: dict[str, Any], rate: float, step: int) -> None:
        steps.append(step)
        state["seen"] = state.get("seen", 0) + 1
        assert state["seen"] == step
        theta -= rate * gradient

    options = {"learning_rate": 0.2, "dtype": "float64", "weight_decay": 0.1, "clip_norm": 0.5}
    own = done(settings(rule=gd, **options))
    built_in = done(settings(**options))
    assert steps == list(range(1, 34))
    np.testing.assert_allclose(own.network.theta, built_in.network.theta, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(own.history.losses, built_in.history.losses, rtol=1e-12)


@pytest.mark.parametrize(
    "schedule",
    ["constant", "step(every=1)", "exponential", "inverse_scaling", "cosine", "one_cycle",
     "plateau(patience=0, tolerance=0.9)"],
)  # fmt: skip
def test_schedules(schedule: str) -> None:
    history = done(settings(schedule=schedule, learning_rate=0.1, epochs=4)).history
    rates = history.learning_rates
    assert len(rates) == 4
    if schedule == "constant":
        assert rates == [0.1] * 4
    else:
        assert rates[-1] < rates[0] <= 0.1
    if schedule == "cosine":
        # the last step's, number 43 of 44
        np.testing.assert_allclose(rates[-1], 0.1 * (1 + np.cos(np.pi * 43 / 44)) / 2)
    if schedule.startswith("plateau"):
        np.testing.assert_allclose(rates, [0.1, 0.1, 0.01, 0.001])


def test_warm_up_and_a_schedule_of_ones_own() -> None:
    asked: list[int] = []

    def schedule(step: int) -> float:
        asked.append(step)
        return 0.3

    finished = done(settings(schedule=schedule, warmup=21, steps=22, batch=50))
    assert asked == list(range(9))  # 3 epochs of 3 steps
    np.testing.assert_allclose(finished.history.learning_rates, 0.3 * np.array([3, 6, 9]) / 22)


def signatures(kernel: Any) -> int:
    """Count how often a kernel has been compiled, for one kind of arrays each."""
    return len(kernel.signatures)


def one_step(**changes: Any) -> tuple[Array, Array, BuiltNetwork]:
    """Run one full-batch step of gd at the rate 1; give theta before, what moved, the network."""
    descent = settings(
        **{"batch": "full", "epochs": 1, "learning_rate": 1.0, "dtype": "float64", **changes}
    )
    network = Network([8], "tanh", "lecun_normal", "layer", residual=True)
    moving = course(descent, network)
    theta = moving.network.theta.copy()
    moving.run()
    return theta, theta - moving.network.theta, moving.network


def gradient_at(theta: Array, network: BuiltNetwork) -> Array:
    network.theta[:] = theta
    return network.loss_and_gradient(*blobs(103))[1]


@pytest.mark.parametrize("rule", ["gd", "own"])
@pytest.mark.parametrize(
    ("norm", "value"), [(None, None), (0.1, None), (None, 0.01), (99.0, 99.0), (0.02, 0.01)]
)
def test_clipping(norm: float | None, value: float | None, rule: Any) -> None:
    """By value first, then by the norm of what that leaves."""

    def own(theta: Array, gradient: Array, state: dict[str, Any], rate: float, step: int) -> None:
        theta -= rate * gradient

    theta, moved, network = one_step(
        rule=own if rule == "own" else rule, clip_norm=norm, clip_value=value
    )
    expected = gradient_at(theta, network)
    if value is not None:
        expected = np.clip(expected, -value, value)
    if norm is not None:
        expected *= min(1.0, norm / float(np.linalg.norm(expected)))
    np.testing.assert_allclose(moved, expected, rtol=1e-10, atol=1e-14)


def test_weight_decay_and_penalties_are_about_weights_alone() -> None:
    theta, moved, network = one_step(weight_decay=0.2, l2=5.0, l1=3.0, learning_rate=0.5)
    expected = 0.5 * gradient_at(theta, network)
    weights = np.zeros(theta.size, bool)
    for part in network.layout.parts:
        weights[part.start : part.stop] = len(part.shape) == 2
    penalty = (5.0 * theta + 3.0 * np.sign(theta)) / 103
    expected[weights] += 0.2 * 0.5 * theta[weights] + 0.5 * penalty[weights]
    np.testing.assert_allclose(moved, expected, rtol=1e-10, atol=1e-14)


def test_rows_read_in_place_are_rows_gathered() -> None:
    features, labels = blobs(103)
    descent = settings(shuffle=False, rule="adam")
    in_place = done(descent, data=(features, labels))
    assert in_place.batches.in_order
    spread = np.zeros((206, 4)), np.zeros(206, np.int64)
    spread[0][::2], spread[1][::2] = features, labels
    gathered = course(descent, data=spread)
    apart = Data(gathered.data.features, gathered.data.targets, np.arange(0, 206, 2), np.arange(0))
    gathered = Course(gathered.network, apart, descent, 1)
    gathered.run()
    assert not gathered.batches.in_order
    same(in_place, gathered)


def test_read_only_and_memory_mapped_features(tmp_path: Path) -> None:
    features, labels = blobs(103)
    usual = done(settings(), data=(features, labels))
    compiled = signatures(loop.descend)
    np.save(tmp_path / "x.npy", features.astype(np.float32))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    same(usual, done(settings(), data=(mapped, labels)))
    frozen = features.astype(np.float32)
    frozen.flags.writeable = False
    same(usual, done(settings(), data=(frozen, labels)))
    assert signatures(loop.descend) == compiled


def test_a_read_only_target_compiles_nothing() -> None:
    done(settings())
    compiled = signatures(loop.descend)
    features, labels = blobs(103)
    labels.flags.writeable = False
    done(settings(), data=(features, labels))
    numbers = np.ones((103, 2), np.float32)
    numbers.flags.writeable = False
    done(settings(), data=(features, numbers), task="regression")
    assert signatures(loop.descend) == compiled


def test_a_second_network_compiles_nothing() -> None:
    done(settings(), held_out=10)
    compiled = signatures(loop.descend), signatures(loop.predict)
    for layers in ([], [3], [40, 7, 9], [600, 300]):
        done(settings(epochs=1), Network(layers), held_out=10)
    for rule in ("adam", "muon", "rmsprop", lambda theta, *others: None):
        done(settings(epochs=1, rule=rule, batch=1, l1=0.1, clip_norm=1.0), held_out=10)
    network = Network([5, 5], "elu", normalize="batch", residual=True, dropout=0.1)
    done(settings(epochs=1, batch="full"), network, held_out=10, threads=2)
    numbers = blobs(103)[0], np.ones((103, 2))
    for loss in LOSSES:
        network = Network([3], loss=loss)
        task = "multilabel" if loss.endswith("cross_entropy") else "regression"
        done(settings(epochs=1), network, numbers, held_out=10, task=task)
    assert (signatures(loop.descend), signatures(loop.predict)) == compiled


def test_more_rows_than_are_looked_at_for_dead_units_compile_nothing() -> None:
    done(settings(), held_out=10)
    compiled = signatures(loop.descend), signatures(loop.predict)
    features, labels = blobs(DEAD_ROWS + 1)
    descent = settings(epochs=1, batch="full")
    run = descend(Recipe(Network([8]), descent), features.astype(np.float32), labels)
    assert len(run.trace.dead_units)
    assert (signatures(loop.descend), signatures(loop.predict)) == compiled


def heavy(dtype: str, weight: float, **changes: Any) -> Course:
    """Set up a regression on 0 in which only the penalty sees how large the weights are."""
    data = np.zeros((103, 4)), blobs(103)[0][:, :1]
    descent = settings(dtype=dtype, learning_rate=1e-9, **changes)
    plain = course(descent, Network([]), data, task="regression")
    plain.network.parts()["layer1.weight"][:] = weight
    return Course(plain.network, plain.data, descent, 1)


@pytest.mark.parametrize(("weight", "l1", "l2"), [(1e25, 0.0, 0.5), (3e38, 0.5, 0.0)])
def test_a_large_penalty_is_finite_in_the_type_of_losses(
    weight: float, l1: float, l2: float
) -> None:
    """Four weights whose squares, or whose sum, float32 does not hold."""
    running = heavy("float32", weight, l1=l1, l2=l2)
    running.run()
    expected = (l1 * 4 * weight + l2 * 4 * weight**2 / 2) / 10
    np.testing.assert_allclose(running.history.last_losses[0], expected, rtol=1e-6)


@pytest.mark.parametrize("batch", [1, 10, "full"])
@pytest.mark.parametrize("norm", [None, 1.0])
def test_a_penalty_that_is_infinite_ends_the_run(norm: float | None, batch: Any) -> None:
    failing = heavy("float64", 1e160, l2=0.5, batch=batch, clip_norm=norm)
    before = failing.network.theta.copy()
    with pytest.raises(NonFiniteError, match=r"in step 1 .* first in the penalty on the weights"):
        failing.run()
    np.testing.assert_array_equal(failing.network.theta, before)


def moving(rule: str, batch: Any, rate: float, **bounds: Any) -> Course:
    """Set up a linear regression that takes steps far too long."""
    numbers = blobs(103)[0], blobs(103)[0][:, :2]
    network = Network([8], "identity", "lecun_normal")
    descent = settings(rule=rule, batch=batch, learning_rate=rate, **bounds)
    return course(descent, network, numbers, task="regression")


@pytest.mark.parametrize("batch", [10, "full"])
@pytest.mark.parametrize("rule", ["gd", "momentum", "adam"])
@pytest.mark.parametrize(
    ("rate", "says"),
    [
        (3.0, r"first in .* \(loss"),
        (1e12, r"first in the loss"),
        (1e25, r"first in x W \+ b of layer [12], forward pass"),
    ],
)
def test_leaving_the_finite_numbers_keeps_the_theta_before(
    rate: float, says: str, rule: str, batch: Any
) -> None:
    if rate == 3.0 and rule == "adam":
        pytest.skip("Adam's steps are bounded: it stays finite")
    failing = moving(rule, batch, rate, epochs=400)
    with pytest.raises(NonFiniteError, match=rf"in step \d+ .* {says}") as failure:
        failing.run()
    found = re.search(r"in step (\d+) \(epoch (\d+)\)", str(failure.value))
    assert found is not None
    step, epoch = int(found[1]), int(found[2])
    assert epoch == 1 + (step - 1) // failing.steps_per_epoch
    assert np.isfinite(failing.network.theta).all()
    kept = moving(rule, batch, rate, steps=step - 1, epochs=400)
    kept.run()
    np.testing.assert_array_equal(failing.network.theta, kept.network.theta)


@pytest.mark.parametrize(
    ("failed", "kept", "says"),
    [
        (20, 2, "kept as it was after epoch 2, best on held-out rows;"),
        (3, 0, "kept as it was before that step;"),
    ],
    ids=["third epoch", "first epoch"],
)
def test_the_best_theta_is_restored_after_a_failure_too(failed: int, kept: int, says: str) -> None:
    """At 9 steps an epoch; with none behind it, it is the theta before the step that failed."""

    def rates(step: int) -> float:
        return 1e-3 if step < failed - 2 else 2e30

    def regression(**bounds: Any) -> Course:
        descent = settings(schedule=rates, epochs=9, validation=0.2, **bounds)
        network, features = Network([8], "identity", "lecun_normal", "batch"), blobs(103)[0]
        return course(descent, network, (features, features[:, :2]), 20, task="regression")

    failing, whole = regression(), regression(steps=9 * kept or failed - 1)
    with pytest.raises(NonFiniteError, match=says):
        failing.run()
    whole.run()
    assert failing.history.best_epoch == kept
    assert failing.history.steps == failed - 1
    same(failing, whole)


def test_steps_are_counted_up_to_the_one_that_failed() -> None:
    failing = moving("gd", 10, 3.0, epochs=400)
    with pytest.raises(NonFiniteError) as failure:
        failing.run()
    assert f"in step {failing.history.steps + 1} " in str(failure.value)


@pytest.mark.parametrize("batch", [10, "full"])
def test_a_theta_that_overflows_in_the_last_step_is_not_finite_either(batch: Any) -> None:
    """The loss is finite up to then: only theta shows it."""
    numbers = blobs(103)[0] * 1e3, 1e4 * blobs(103)[0][:, :2]
    descent = settings(batch=batch, steps=1, learning_rate=3e38)
    failing = course(descent, Network([]), numbers, task="regression")
    with pytest.raises(NonFiniteError):
        failing.run()
    assert np.isfinite(failing.network.theta).all()


@pytest.mark.parametrize("bad_step", [1, 3, 11, 12])
def test_a_rule_of_ones_own_that_leaves_the_finite_numbers(bad_step: int) -> None:
    thetas: list[Array] = []

    def rule(theta: Array, gradient: Array, state: dict[str, Any], rate: float, step: int) -> None:
        thetas.append(theta.copy())
        theta -= rate * gradient if step < bad_step else np.float32(np.inf)

    failing = course(settings(rule=rule, epochs=2))
    with pytest.raises(NonFiniteError):
        failing.run()
    np.testing.assert_array_equal(failing.network.theta, thetas[bad_step - 1])


@pytest.mark.parametrize("ends", ["muon", "own", "raises"])
@pytest.mark.parametrize("failed", [1, 3, 12])
def test_a_step_that_fails_in_python_leaves_nothing_behind(failed: int, ends: str) -> None:
    """Neither in theta, nor in the running statistics, nor in what the rule keeps."""

    def own(theta: Array, gradient: Array, state: dict[str, Any], rate: float, step: int) -> None:
        theta -= rate * gradient if step < failed else np.float32(np.inf)
        if ends == "raises" and step == failed:
            raise ZeroDivisionError

    def rates(step: int) -> float:
        return 1e-3 if step < failed - 1 or ends != "muon" else 1e40

    def normalized(**bounds: Any) -> Course:
        rule = "muon" if ends == "muon" else own
        decay = 0.0 if ends == "muon" else 0.1
        descent = settings(rule=rule, schedule=rates, weight_decay=decay, **bounds)
        return course(descent, Network([8, 8], normalize="batch"))

    failing, kept = normalized(), normalized(steps=max(failed - 1, 1))
    with pytest.raises(ZeroDivisionError if ends == "raises" else NonFiniteError):
        failing.run()
    if failed > 1:
        kept.run()
    np.testing.assert_array_equal(failing.network.theta, kept.network.theta)
    np.testing.assert_array_equal(failing.network.statistics, kept.network.statistics)
    np.testing.assert_array_equal(failing.state, kept.state)
    assert failing.history.steps == failing.kept.steps == failed - 1


@pytest.mark.parametrize("rule", ["gd", "muon"])
def test_the_losses_of_the_steps_before_a_failure_are_kept(rule: str) -> None:
    """Step 25 fails, the third of the third epoch."""
    usual = {"rule": rule, "schedule": lambda step: 1e-3 if step < 23 else 2e38}
    network = Network([8], initializer="constant(value=1)")
    failing, whole = (course(settings(**usual, **more), network) for more in ({}, {"steps": 23}))
    with pytest.raises(NonFiniteError):
        failing.run()
    whole.run()
    assert failing.history.steps in (23, 24)
    assert failing.history.last_losses[:23] == whole.history.last_losses
    assert len(failing.history.last_losses) == failing.history.steps


def test_a_state_is_kept_only_when_its_step_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the clock stands, which says when the compiled loop's states are kept."""
    monkeypatch.setattr("downslope.stretch.COPIES_APART", -1)

    def own(theta: Array, gradient: Array, state: dict[str, Any], rate: float, step: int) -> None:
        assert running.kept.steps == step - 1
        np.testing.assert_array_equal(running.kept.theta, theta)
        theta -= np.float32(rate) * gradient

    running = course(settings(rule=own))
    running.run()
    assert running.kept.steps == 33


def test_features_that_are_not_finite_are_named() -> None:
    features, labels = blobs(103)
    features[50, 2] = np.nan
    failing = course(settings(), data=(features, labels))
    with pytest.raises(NonFiniteError, match="the features"):
        failing.run()


@pytest.mark.parametrize("task", ["binary", "multilabel", "regression"])
def test_tasks_go_down(task: str) -> None:
    features, _ = blobs(103)
    labels = (features[:, 0] + features[:, 1] > 0).astype(np.int64)
    target: Any = labels
    if task != "binary":
        target = np.stack([labels, 1 - labels], 1).astype(float)
    finished = done(settings(epochs=40), data=(features, target), held_out=20, task=task)
    assert finished.history.losses[-1] < 0.7 * finished.history.losses[0]
    assert finished.history.validation_scores[-1] > (0.3 if task == "regression" else 0.8)


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (np.full(103, -1.0), "not negative; row 1 has -1"),
        (np.zeros(103), "must not all be 0"),
        (np.ones(5), "one for each of 103"),
        (np.full(103, np.nan), "row 1 has nan"),
        (np.full(103, 1e39), "must lie in 1.18e-38 to 1.84e.19 for float32; row 1 has 1e.39"),
        (np.full(103, 1e-50), "must lie in .*; row 1 has 1e-50: multiply all by one number"),
    ],
)
def test_row_weights_that_make_no_sense(weights: Array, says: str) -> None:
    with pytest.raises(InvalidValueError, match=says):
        Targets.of(blobs(103)[1], weights, 3, np.float32)


def test_targets_and_weights_are_numbers_as_many_in_every_row() -> None:
    ragged: Any = [[1.0], [1.0, 2.0]]
    labels = np.zeros(2, np.int64)
    with pytest.raises(InvalidValueError, match="the target must be as many in every row"):
        Targets.of(ragged, None, 1, np.float32)
    with pytest.raises(InvalidValueError, match="row weights must be as many in every row"):
        Targets.of(labels, ragged, 1, np.float32)
    with pytest.raises(InvalidTypeError, match="the target must be numbers; got an array of <U1"):
        Targets.of(np.array(["a", "b"]), None, 1, np.float32)
    with pytest.raises(InvalidTypeError, match="row weights must be numbers; got an array of <U1"):
        Targets.of(labels, np.array(["a", "b"]), 1, np.float32)


def test_row_weights_keep_their_bits() -> None:
    weights = np.array([0.0, 1e-50, 0.1, 7.0, 1e19])
    found = Targets.of(np.zeros(5, np.int64), weights, 1, np.float32).weights
    np.testing.assert_array_equal(found, weights.astype(np.float32))
    found = Targets.of(np.zeros(5, np.int64), np.full(5, 1e39), 1, np.float64).weights
    np.testing.assert_array_equal(found, 1e39)


@pytest.mark.parametrize(("which", "says"), [("training", "trained on"), ("held_out", "held out")])
def test_rows_trained_on_and_held_out_must_weigh_something(which: str, says: str) -> None:
    features, labels = blobs(20)
    rows = {"training": np.arange(15), "held_out": np.arange(15, 20)}
    weights = np.ones(20)
    weights[rows[which]] = 0
    with pytest.raises(
        InvalidValueError, match=f"0 for all {len(rows[which])} rows that are {says}"
    ):
        Data(features, Targets.of(labels, weights, 3, np.float32), **rows)


def test_class_numbers_must_have_an_output() -> None:
    with pytest.raises(InvalidValueError, match="0 to 2 for 3 outputs; got 0 to 3"):
        Targets.of(np.array([0, 3]), None, 3, np.float32)


def test_rows_come_in_the_order_given_and_a_watcher_moves_the_rate() -> None:
    features, target = blobs(60)
    orders = np.random.default_rng(4).permuted(np.tile(np.arange(60), (3, 1)), axis=1)
    given = course(settings(batch=10, dtype="float64"), data=(features, target))
    given.batches._given = lambda epoch: orders[epoch]

    def halve(epoch: Epoch) -> None:
        given.rate /= 2

    given.run((halve,))
    by_hand = course(settings(dtype="float64"), data=(features, target)).network
    for epoch, order in enumerate(orders):
        for rows in order.reshape(6, 10):
            _, gradient = by_hand.loss_and_gradient(features[rows], target[rows])
            by_hand.theta[:] -= settings().rate / 2**epoch * gradient
    np.testing.assert_allclose(given.network.theta, by_hand.theta, rtol=1e-10)


def test_a_descent_goes_on_from_anothers_state() -> None:
    whole = course(settings(batch=60, epochs=4, rule="adam"), data=blobs(60))
    whole.run()
    half = settings(batch=60, epochs=2, rule="adam")
    first, second = course(half, data=blobs(60)), course(half, data=blobs(60))
    first.run()
    second.network.theta[:] = first.network.theta
    second.go_on_from(first.state, first.history.steps)
    second.run()
    np.testing.assert_array_equal(second.network.theta, whole.network.theta)


@pytest.mark.parametrize("rule", ["gd", "adam", "radam", "adamw(weight_decay=0.1)"])
@pytest.mark.parametrize("changes", [{}, {"normalize": "layer", "activation": "prelu"}])
def test_a_step_of_one_row_has_the_bits_of_a_stored_gradient(
    rule: str, changes: dict[str, Any]
) -> None:
    features, target = load_iris(return_X_y=True)
    recipe = Recipe(
        Network([40, 37, 9], residual=True, **changes),
        Descent(batch=1, rule=rule, learning_rate=0.01, epochs=3, validation=0.0),
    )
    at_once = descend(recipe, features, target, record="none").network.theta
    # A recorded step stores its gradient, as does one that may have to clip it.
    for stored in (
        descend(recipe, features, target, record="all"),
        descend(recipe.edit(clip_norm=1e9), features, target, record="none"),
    ):
        np.testing.assert_array_equal(stored.network.theta, at_once)
