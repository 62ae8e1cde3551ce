"""What the X-ray measures inside a step, against naive float64; and that it changes no bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import naive
from downslope import layout
from downslope.catalogue import choose
from downslope.course import Course
from downslope.data import Data
from downslope.kernels.gauges import bin_edges, drawing, steepest
from downslope.network import BuiltNetwork
from downslope.parts import Descent, Network
from downslope.recording import Recording
from downslope.stepper import Targets
from downslope.trace import Trace
from downslope.workers import FastestCount

Array = npt.NDArray[Any]

STEPS = 3

NETWORKS = {
    "plain": Network([9, 7], "tanh", "glorot_normal"),
    "relu": Network([9, 7, 7], "relu", "he_normal"),
    "sigmoid": Network([9, 7], "sigmoid", "glorot_normal"),
    "batch-normalized": Network([9, 7], "relu", "he_normal", normalize="batch"),
    "layer-normalized": Network([9, 7], "gelu", "he_normal", normalize="layer"),
    "residual": Network([9, 9, 7], "silu", "normal(std=0.2)", residual=True),
    "dropout": Network([9, 7], "elu", "he_normal", dropout=(0.3, 0.5)),
    "all": Network([9, 9, 7], "prelu", "he_normal", "batch", residual=True, dropout=0.2),
    "linear": Network([], initializer="glorot_normal"),
}


def rows(task: str, count: int = 331) -> tuple[Array, Array]:
    generator = np.random.default_rng(3)
    features = generator.normal(0.5, 1.0, (count, 5))
    if task == "regression":
        return features, generator.normal(size=(count, 3))
    return features, generator.integers(0, 2 if task == "binary" else 3, count)


def course(
    network: Network, descent: Descent, task: str = "multiclass", record: Any = "none",
    threads: int = 1, weights: Array | None = None,
) -> Course:  # fmt: skip
    features, target = rows(task)
    columns = {"regression": 3, "binary": 2}.get(task, 3)
    built = BuiltNetwork(network, 5, columns, task, descent.dtype, 1)
    targets = Targets.of(target, weights, built.outputs, built.theta.dtype)
    everything = np.arange(len(features))
    data = Data(built.check_features(features), targets, everything, everything[:0])
    return Course(built, data, descent, threads, recording=Recording(record))


def descent(**changes: Any) -> Descent:
    usual: dict[str, Any] = {
        "batch": 120, "rule": "adam", "learning_rate": 0.02, "validation": 0.0, "epochs": None,
        "steps": STEPS, "shuffle": False, "dtype": "float64", "seed": 4, "schedule": "constant",
    }  # fmt: skip
    return Descent(**{**usual, **changes})


def thetas(*arguments: Any, **options: Any) -> list[Array]:
    """Give theta before every step and after the last, from runs that record nothing."""
    network, settings, *rest = arguments
    found = [course(network, settings, *rest, **options).network.theta.copy()]
    for steps in range(1, STEPS + 1):
        running = course(network, descent(**{**vars(settings), "steps": steps}), *rest, **options)
        running.run()
        found.append(running.network.theta.copy())
    return found


def batch_of(step: int, batch: int, count: int) -> slice:
    per_epoch = -(-count // batch)
    begin = step % per_epoch * batch
    return slice(begin, min(begin + batch, count))


def layers_of(
    running: Course, theta: Array, step: int, task: str, weights: Array | None = None
) -> tuple[float, list[naive.NaiveLayer]]:
    """Compute a step naively, in float64; step from 0."""
    features, target = rows(task)
    part = batch_of(step, running.batches.size, len(features))
    if task == "multiclass":
        target = np.eye(3)[target]
    shares = np.ones(len(features)) if weights is None else weights
    network, count = running.network.network, part.stop - part.start
    masks: list[Any] = [
        naive.dropout_mask(rate, running.descent.seed, step, number, (count, units))
        if rate else 1.0
        for number, (rate, units) in enumerate(
            zip(network.dropouts(), network.layers, strict=True)
        )
    ]  # fmt: skip
    return naive.step_naively(
        running.network, theta.astype(np.float64), features[part].astype(np.float64),
        target[part].reshape(count, -1), shares[part] / shares[part].sum(), [*masks, 1.0],
    )  # fmt: skip


def check(
    trace: Trace, expected: dict[str, float], step: int, layer: int | None, tol: float
) -> None:
    found = trace.select(layer=layer, step=step, quantity=list(expected))
    assert len(found) == 1
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value, rel=tol, abs=1e-12), (name, step, layer)


def check_run(
    network: Network, settings: Descent, task: str = "multiclass", threads: int = 1,
    weights: Array | None = None, tol: float = 1e-5,
) -> None:  # fmt: skip
    """Hold every quantity of every step to its naive recomputation."""
    running = course(network, settings, task, "all", threads, weights)
    running.run()
    trace, trail = Trace.of(running.recorder), thetas(network, settings, task, weights=weights)
    np.testing.assert_array_equal(running.network.theta, trail[-1])
    before = None
    for step in range(STEPS):
        loss, layers = layers_of(running, trail[step], step, task, weights)
        check(trace, {"loss": loss, **naive.measure_step_naively(layers)}, step + 1, None, tol)
        for number in range(len(layers)):
            expected = naive.measure_layer_naively(layers, number)
            check(trace, expected, step + 1, number + 1, tol)
        gradient = np.concatenate(
            [each.sum(0).ravel() for layer in layers for each in layer.shares.values()]
        )
        move = trail[step + 1].astype(np.float64) - trail[step]
        check_moves(running, trace, trail[step], gradient, move, before, step)
        before = gradient, move


def cosine(one: Array, other: Array) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def stride_of(inputs: int, units: int) -> int:
    """Give the stride of the entries of dL/dW that are counted: some 256, of all units alike."""
    stride = -(-inputs * units // 256)
    while math.gcd(stride, units) > 1:
        stride += 1
    return stride


def check_moves(
    running: Course, trace: Trace, theta: Array, gradient: Array, move: Array,
    before: tuple[Array, Array] | None, step: int,
) -> None:  # fmt: skip
    tol = 1e-5
    expected = {"gradient_norm": float(np.linalg.norm(gradient)),
                "clipped_norm": float(np.linalg.norm(gradient))}  # fmt: skip
    if before:
        expected["gradient_cosine"] = cosine(gradient, before[0])
        expected["update_cosine"] = cosine(move, before[1])
    check(trace, expected, step + 1, None, tol)
    for number in range(len(running.network.layout.plan)):
        parts = [part for part in running.network.layout.parts if part.layer == number]
        whole = slice(parts[0].start, parts[-1].stop)
        weight = slice(parts[0].start, parts[0].stop)
        norm = float(np.linalg.norm(theta[weight].astype(np.float64)))
        moved = float(np.linalg.norm(move[weight]))
        expected = {"w_norm": norm, "update_ratio": moved / norm}
        if before:
            expected["gradient_cosine"] = cosine(gradient[whole], before[0][whole])
            expected["update_cosine"] = cosine(move[whole], before[1][whole])
        check(trace, expected, step + 1, number + 1, tol)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_quantity_is_what_a_naive_step_gives(name: str) -> None:
    check_run(NETWORKS[name], descent())


@pytest.mark.parametrize("name", ["plain", "batch-normalized", "residual", "dropout"])
def test_single_precision_gives_them_to_its_rounding(name: str) -> None:
    network, settings = NETWORKS[name], descent(dtype="float32", rule="gd", learning_rate=0.05)
    running = course(network, settings, record="all")
    running.run()
    trace, trail = Trace.of(running.recorder), thetas(network, settings)
    layers = layers_of(running, trail[1], 1, "multiclass")[1]
    for number in range(len(layers)):
        expected = naive.measure_layer_naively(layers, number)
        # a difference of nearly equal numbers
        del expected["noise_scale"], expected["signal_to_noise"]
        for name in ("x_mean", "z_mean", "y_mean"):  # may be near 0 beside the spread
            found = trace.select(layer=number + 1, step=2, quantity=name)[name][0]
            assert found == pytest.approx(expected.pop(name), abs=1e-5)
        check(trace, expected, 2, number + 1, 1e-4)


EXTREME = {
    "small": (Network([40, 30], "tanh", "normal(std=1e-11)", loss="absolute_error"), 1e10, 1e3),
    "large": (Network([40, 30], "identity", "normal(std=4e11)", loss="absolute_error"), 1e-14, 1e9),
}
"""Gradients whose squares are beyond float32, though they are not; learning rates by which theta
moves by some hundredths, as -rate times the gradient and by Adam."""


@pytest.mark.parametrize("rule", ["gd", "adam", "momentum"])
@pytest.mark.parametrize("batch", [1, 120])
@pytest.mark.parametrize("name", EXTREME)
def test_squares_beyond_single_precision_count(name: str, batch: int, rule: str) -> None:
    network, rate, adam_rate = EXTREME[name]
    rate = adam_rate if rule == "adam" else rate
    settings = descent(dtype="float32", rule=rule, learning_rate=rate, batch=batch)
    running = course(network, settings, "regression", "all")
    running.run()
    trace = Trace.of(running.recorder)
    trail = thetas(network, settings, "regression")
    gradients, moves = [], []
    for step in range(2):
        layers = layers_of(running, trail[step], step, "regression")[1]
        parts = [each.sum(0).ravel() for layer in layers for each in layer.shares.values()]
        gradients.append(np.concatenate(parts))
        moves.append(trail[step + 1].astype(np.float64) - trail[step])
        for number, layer in enumerate(layers):
            wanted = {
                "z_std": layer.z - layer.z.mean(), "dy_rms": layer.dy, "dz_rms": layer.dz,
                "x_rms": layer.x, "dw_rms": layer.shares["weight"].sum(0),
            }  # fmt: skip
            for quantity, values in wanted.items():
                found = trace.select(layer=number + 1, step=step + 1, quantity=quantity)[quantity]
                rms = float(np.sqrt(np.mean(values**2)))
                assert found[0] == pytest.approx(rms, rel=1e-4, abs=0), (quantity, step, number)
        norm = trace.steps["gradient_norm"][step]
        assert norm == pytest.approx(float(np.linalg.norm(gradients[step])), rel=1e-4, abs=0)
    for quantity, (first, second) in {"gradient": gradients, "update": moves}.items():
        for number in range(3):
            parts = [each for each in running.network.layout.parts if each.layer == number]
            span = slice(parts[0].start, parts[-1].stop)
            name = f"{quantity}_cosine"
            found = trace.select(layer=number + 1, step=2, quantity=name)[name]
            expected = pytest.approx(cosine(first[span], second[span]), abs=1e-4)
            assert found[0] == expected, (quantity, number)


def test_a_gradient_whose_square_is_beyond_single_precision_is_clipped_to_its_norm() -> None:
    network = EXTREME["large"][0]
    settings = descent(dtype="float32", rule="gd", learning_rate=1e10, steps=1, clip_norm=1.0)
    running = course(network, settings, "regression")
    before = running.network.theta.astype(np.float64)
    running.run()
    moved = float(np.linalg.norm(running.network.theta - before))
    assert moved == pytest.approx(1e10, rel=1e-3)


@pytest.mark.parametrize("task", ["regression", "binary"])
def test_other_tasks(task: str) -> None:
    check_run(NETWORKS["plain"], descent(), task)


def test_row_weights() -> None:
    """A row's own gradient is what it adds to the batch's, times the rows: its weight counts."""
    weights = np.random.default_rng(0).uniform(0.5, 2, 331)
    check_run(NETWORKS["relu"], descent(), weights=weights)


@pytest.mark.parametrize("name", ["residual", "dropout", "layer-normalized"])
def test_several_micro_batches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MICRO_BATCH", 128)
    settings = descent(batch="full")
    running = course(NETWORKS[name], settings)
    assert int(running._stepper.job.frame[0]["rows"]) == 128
    check_run(NETWORKS[name], settings)


@pytest.mark.parametrize("rule", ["muon", "own"])
def test_rules_that_want_the_whole_gradient(rule: str) -> None:
    def own(theta: Array, gradient: Array, state: dict[str, Any], rate: float, step: int) -> None:
        theta -= rate * gradient
        gradient[:] = 0  # as it may

    check_run(NETWORKS["plain"], descent(rule=own if rule == "own" else rule))


def test_a_batch_of_one_row_has_no_noise_to_tell() -> None:
    running = course(NETWORKS["plain"], descent(batch=1), record="all")
    running.run()
    trace = Trace.of(running.recorder)
    assert trace.steps["noise_scale"].null_count() == STEPS
    assert trace.steps["sample_norm_std"].null_count() == STEPS
    assert trace.layers["sample_norm_std"].null_count() == len(trace.layers)
    np.testing.assert_allclose(trace.steps["sample_norm_mean"], trace.steps["gradient_norm"])
    np.testing.assert_allclose(trace.steps["sample_norm_q05"], trace.steps["gradient_norm"])


SINGLE = {
    "small": Network([9, 7], "tanh", "glorot_normal"),
    "wide": Network([40, 40], "tanh", "glorot_normal", residual=True),
    "long": Network([2200], "tanh", "glorot_normal"),
    "parameters": Network([40, 17], "prelu", "he_normal", normalize="layer", dropout=0.2),
}


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize(
    "changes",
    [{"rule": "adam"}, {"rule": "gd"}, {"rule": "momentum"}, {"rule": "adamw"},
     {"rule": "gd", "weight_decay": 0.1}, {"rule": "adam", "l2": 0.1}],
    ids=str,
)  # fmt: skip
def test_a_single_row_gives_its_gradient_by_its_factors(name: str, changes: dict[str, Any]) -> None:
    """Of W the gradient is x^T d; rules that take it so measure theta as they move it."""
    network, settings = SINGLE[name], descent(batch=1, **changes)
    running = course(network, settings, record="all")
    running.run()
    trace, trail = Trace.of(running.recorder), thetas(network, settings)
    np.testing.assert_array_equal(running.network.theta, trail[-1])
    before = None
    for step in range(STEPS):
        layers = layers_of(running, trail[step], step, "multiclass")[1]
        parts = [each.sum(0).ravel() for layer in layers for each in layer.shares.values()]
        gradient = np.concatenate(parts)
        if "l2" in changes:
            for part in running.network.layout.parts:
                if part.kind in (0, 1):
                    gradient[part.start : part.stop] += 0.1 * trail[step][part.start : part.stop]
        move = trail[step + 1] - trail[step]
        check_moves(running, trace, trail[step], gradient, move, before, step)
        before = gradient, move
        for number, layer in enumerate(layers, start=1):
            weight = layer.shares["weight"].sum(0)
            check(trace, {"dw_rms": np.sqrt(np.mean(weight**2))}, step + 1, number, 1e-9)
            found = trace.histograms.filter(step=step + 1, layer=number, quantity="gradient")
            entries = abs(weight).ravel()[:: stride_of(*weight.shape)]
            counts = np.histogram(entries, bin_edges("gradient"))[0]
            assert found["count"].to_list() == counts[counts > 0].tolist()


@pytest.mark.parametrize("rule", ["gd", "adam", "adamw", "rmsprop"])
@pytest.mark.parametrize("threads", [1, 2])
def test_recording_single_rows_changes_no_bit(
    rule: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FastestCount, "choose", lambda self: max(self._seconds))
    network = Network([512, 130, 9], "prelu", "he_normal", residual=True)
    settings = descent(batch=1, dtype="float32", steps=8, shuffle=True, rule=rule)
    runs = []
    for record, count in (("none", 1), ("all", threads), ([2, 5], 1)):
        runs.append(course(network, settings, "multiclass", record, count))
        runs[-1].run()
        np.testing.assert_array_equal(runs[-1].network.theta, runs[0].network.theta)
    traces = [Trace.of(each.recorder) for each in runs[1:]]
    for name in ("steps", "layers", "histograms"):
        every = traces[0].frames[name].drop("suggested_batch", strict=False)
        few = traces[1].frames[name].select(every.columns)
        assert few.equals(every.filter(every["step"].is_in([2, 5])))


@pytest.mark.parametrize("penalized", [False, True])
@pytest.mark.parametrize("value", [None, 1e-3])
@pytest.mark.parametrize("norm", [None, 5e-3])
def test_clipping_shows_before_and_after(
    norm: float | None, value: float | None, penalized: bool
) -> None:
    """Penalties count before clipping; by value first, then by the norm of what that leaves."""
    network = NETWORKS["plain"]
    settings = descent(clip_norm=norm, clip_value=value, l2=3.0 if penalized else 0.0)
    running = course(network, settings, record="all")
    theta = running.network.theta.copy()
    running.run()
    layers = layers_of(running, theta, 0, "multiclass")[1]
    data = [each.sum(0).ravel() for layer in layers for each in layer.shares.values()]
    weights = [part.kind == 0 for part in running.network.layout.parts]
    gradient = np.concatenate([
        each + (3.0 / 120 * theta[part.start : part.stop] if penalized and weight else 0.0)
        for each, part, weight in zip(data, running.network.layout.parts, weights, strict=True)
    ])  # fmt: skip
    steps = Trace.of(running.recorder).steps
    assert steps["gradient_norm"][0] == pytest.approx(np.linalg.norm(gradient), rel=1e-9)
    if value is not None:
        gradient = np.clip(gradient, -value, value)
    if norm is not None:
        gradient *= min(1.0, norm / float(np.linalg.norm(gradient)))
    assert steps["clipped_norm"][0] == pytest.approx(np.linalg.norm(gradient), rel=1e-9)
    dw = Trace.of(running.recorder).select(layer=1, step=1, quantity="dw_rms")["dw_rms"][0]
    assert dw == pytest.approx(np.sqrt(np.mean(data[0] ** 2)), rel=1e-9)


def test_histograms_count_every_entry_of_small_layers() -> None:
    settings = descent(learning_rate=0.3, batch=20)
    running = course(NETWORKS["relu"], settings, record="all")
    trail = thetas(NETWORKS["relu"], settings)
    running.run()
    trace = Trace.of(running.recorder)
    layers = layers_of(running, trail[2], 2, "multiclass")[1]
    for number, layer in enumerate(layers, start=1):
        values = {"z": layer.z, "gradient": abs(layer.shares["weight"].sum(0))}
        for quantity, entries in values.items():
            found = trace.histograms.filter(step=3, layer=number, quantity=quantity)
            counts = np.histogram(entries, bin_edges(quantity))[0]
            places = np.searchsorted(bin_edges(quantity), found["low"])
            assert found["count"].to_list() == counts[places].tolist()
            assert found["count"].sum() == entries.size


@pytest.mark.parametrize("in_micro_batches", [False, True])
def test_histograms_of_large_layers_count_a_share_evenly_spread(
    in_micro_batches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if in_micro_batches:
        monkeypatch.setattr(layout, "MICRO_BATCH", 128)
    network, settings = Network([200, 5], "tanh", "glorot_normal"), descent(steps=1, batch="full")
    running = course(network, settings, record="all")
    theta = running.network.theta.copy()
    running.run()
    trace = Trace.of(running.recorder)
    layers = layers_of(running, theta, 0, "multiclass")[1]
    # 256 entries are one row of 200 units; of 1,000 weights, 4, 5 and 6 divide the units' number
    z = trace.histograms.filter(layer=1, quantity="z")
    counts = np.histogram(layers[0].z[:1], bin_edges("z"))[0]
    assert z["count"].to_list() == counts[counts > 0].tolist()
    gradient = trace.histograms.filter(layer=1, quantity="gradient")
    entries = abs(layers[0].shares["weight"].sum(0))
    counts = np.histogram(entries.ravel()[::7], bin_edges("gradient"))[0]
    assert gradient["count"].to_list() == counts[counts > 0].tolist()


def test_gradients_of_all_units_are_counted() -> None:
    plan = BuiltNetwork(Network([256, 100, 7]), 64, 10, "multiclass").layout.plan
    strides, starts = drawing(plan, 32)
    for layer, stride in zip(plan, strides[:, 1], strict=True):
        weights = int(layer["inputs"] * layer["units"])
        counted = np.bincount(np.arange(0, weights, stride) % layer["units"])
        assert (counted > 0).mean() > 0.95
        assert counted.max() <= counted.min() + 1
    assert (np.diff(starts)[1::2] > 60).all()


def test_of_a_very_wide_layer_part_of_a_row_is_counted() -> None:
    network, settings = Network([5000], "tanh", "glorot_normal"), descent(steps=1)
    running = course(network, settings, record="all")
    theta = running.network.theta.copy()
    running.run()
    found = Trace.of(running.recorder).histograms.filter(layer=1, quantity="z")
    z = layers_of(running, theta, 0, "multiclass")[1][0].z[0, :4096]
    counts = np.histogram(z, bin_edges("z"))[0]
    assert found["count"].to_list() == counts[counts > 0].tolist()


def test_of_many_weights_those_a_stride_apart_are_counted() -> None:
    network, settings = Network([1000, 9], "tanh", "glorot_normal"), descent(steps=1)
    running = course(network, settings, record="all")
    theta = running.network.theta.copy()
    running.run()
    found = Trace.of(running.recorder).histograms.filter(layer=2, quantity="gradient")
    entries = layers_of(running, theta, 0, "multiclass")[1][1].shares["weight"].sum(0).ravel()
    counts = np.histogram(abs(entries[::37]), bin_edges("gradient"))[
        0
    ]  # 36 shares 9 with the units
    assert found["count"].to_list() == counts[counts > 0].tolist()


@pytest.mark.parametrize("activation", naive.NAIVE_ACTIVATIONS)
def test_the_steepest_slopes(activation: str) -> None:
    choice = choose("activation", activation)
    expected = naive.steepest_naively(activation, (*choice.values(), 0.0)[0])
    assert steepest(choice) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("network", "batch"),
    [
        (Network([64, 64]), 128),
        (Network([64, 48], activation="gelu", normalize="batch", residual=True), 150),
        (Network([64, 64], activation="prelu", normalize="layer", residual=True), 128),
        (Network([64, 64], activation="tanh", dropout=0.3), 100),
        (Network([512, 400], normalize="batch"), 200),
    ],
    ids=["plain", "batchnorm", "layernorm", "dropout", "blas"],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_recording_changes_no_bit_and_threads_no_figure(
    network: Network, batch: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FastestCount, "choose", lambda self: max(self._seconds))
    settings = descent(batch=batch, dtype="float32", steps=8, shuffle=True, clip_value=0.1)
    runs = {}
    for record, count in (("none", 1), ("all", threads), ([2, 5], 1)):
        runs[str(record)] = course(network, settings, "multiclass", record, count)
        runs[str(record)].run()
    plain, recorded, some = runs.values()
    for other in (recorded, some):
        np.testing.assert_array_equal(plain.network.theta, other.network.theta)
        np.testing.assert_array_equal(plain.network.statistics, other.network.statistics)
        assert plain.history.losses == other.history.losses
    assert recorded.threads == threads
    traces = [Trace.of(each.recorder) for each in (recorded, some)]
    for name in ("steps", "layers", "histograms"):
        every = traces[0].frames[name]
        if name == "steps":  # an average over records
            every = every.drop("suggested_batch")
        few = traces[1].frames[name].select(every.columns)
        assert few.equals(every.filter(every["step"].is_in([2, 5])))


def test_in_a_long_run_every_step_is_recorded_once_and_as_it_is_alone() -> None:
    """Records get room several times over, and whole epochs go into one chunk."""
    some = [1, 2, 2900, 5959, 9001, 16_550]
    found = []
    for record in ("all", some):
        running = course(NETWORKS["plain"], descent(batch=1, steps=16_550), record=record)
        running.run()
        found.append(running.recorder.arrays())
    every, few = found
    assert every["step"].tolist() == list(range(1, 16_551))
    assert few["step"].tolist() == some
    for name, values in few.items():
        np.testing.assert_array_equal(every[name][np.array(some) - 1], values, err_msg=name)


@pytest.mark.parametrize("activation", ["relu", "prelu"])
def test_the_bits_do_not_hang_on_where_arrays_lie_in_memory(activation: str) -> None:
    network = Network([40, 17], activation, "he_normal", normalize="layer", dropout=0.2)
    found, apart = set(), []
    for number in range(150):
        running = course(network, descent(batch=1, rule="gd", steps=3))
        running.run()
        recorded = course(network, descent(batch=5, rule="adam", steps=3), record="all")
        recorded.run()
        found.add(running.network.theta.tobytes() + recorded.recorder.arrays()["moves"].tobytes())
        apart.append(np.zeros(37 * number % 3001))
    assert len(found) == 1
