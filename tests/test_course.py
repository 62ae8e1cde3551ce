"""The course of a descent: counts, reasons to stop, the same bits, the last finite theta."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from downslope import Descent, Network, Recipe, Run, descend
from downslope.catalogue import RULES, SCHEDULES
from downslope.course import Course, Data, Epoch
from downslope.errors import InvalidValueError, ModelFileError, NonFiniteError
from downslope.kernels import loop
from downslope.network import BuiltNetwork
from downslope.stepper import Targets

Array = npt.NDArray[Any]


def points(rows: int = 103, columns: int = 4, seed: int = 0) -> tuple[Array, Array]:
    """Draw two classes that a small network can tell apart."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, columns)).astype(np.float32)
    return features, (np.sin(2 * features[:, 0]) + features[:, 1] > 0).astype(np.int64)


def go(descent: Descent, network: Network | None = None, **settings: Any) -> Run:
    features, target = points()
    return descend(Recipe(network or Network((8,)), descent), features, target, **settings)


def test_counts_of_epochs_and_steps_with_a_last_partial_batch() -> None:
    run = go(Descent(batch=10, epochs=3, validation=0.0))
    assert (run.history.epochs, run.steps) == (3, 3 * 11)
    run = go(Descent(batch=10, epochs=3, validation=0.2))
    assert run.steps == 3 * 9  # 82 rows are left of 103
    run = go(Descent(batch="full", epochs=4, validation=0.0))
    assert run.steps == 4
    run = go(Descent(batch=1, epochs=2, validation=0.0))
    assert run.steps == 2 * 103
    run = go(Descent(batch=1000, epochs=2, validation=0.0))
    assert run.steps == 2
    run = go(Descent(batch=10, epochs=3, steps=15, validation=0.0))
    assert (run.steps, run.history.epochs, run.reason) == (15, 1, "steps: all 15 done")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"epochs": 3}, "epochs"),
        ({"steps": 7}, "steps"),
        ({"seconds": 0.001, "epochs": None, "schedule": "constant"}, "seconds"),
        ({"target_loss": 0.5, "epochs": 500}, "target: the training loss"),
        ({"target_score": 0.8, "epochs": 500}, "target: the held-out score"),
        ({"patience": 3, "epochs": 5000, "learning_rate": 0.03}, "patience: the validation loss"),
        ({"gradient_tolerance": 10.0}, "optimum"),
    ],
)
def test_reasons_to_stop(settings: dict[str, Any], reason: str) -> None:
    assert go(Descent(**settings)).reason.startswith(reason)


def test_patience_watches_the_training_loss_where_nothing_is_held_out() -> None:
    run = go(Descent(validation=0.0, patience=2, tolerance=10.0))
    assert run.reason.startswith("patience: the training loss")
    assert run.history.epochs == 3


def test_a_watcher_sees_every_epoch_and_may_stop() -> None:
    seen: list[int] = []

    def watch(epoch: Epoch) -> bool:
        seen.append(epoch.number)
        return epoch.number == 4

    run = go(Descent(epochs=50), watchers=[watch])
    assert seen == [1, 2, 3, 4]
    assert run.reason.startswith("callback")


def test_the_best_theta_is_restored() -> None:
    run = go(Descent(epochs=60, learning_rate=0.05, seed=1), Network((64,)))
    best = min(run.history.validation_losses)
    assert run.history.validation_losses[-1] > best  # else this shows nothing
    again = go(
        Descent(epochs=60, learning_rate=0.05, seed=1), Network((64,)),
        watchers=[lambda epoch: epoch.number == run.history.best_epoch],
    )  # fmt: skip
    np.testing.assert_array_equal(run.network.theta, again.network.theta)


NETWORKS = {
    "plain": Network((70, 60)),
    "batch": Network((70, 60), normalize="batch"),
    "layer": Network((70, 60), normalize="layer", activation="prelu"),
    "residual": Network((70, 70, 60), residual=True, activation="tanh"),
    "dropout": Network((70, 60), dropout=0.3, residual=True),
    "large": Network((600, 500)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("settings", [{"batch": 200}, {"batch": "full", "clip_norm": 0.1}])
def test_the_same_bits_for_any_number_of_threads(name: str, settings: dict[str, Any]) -> None:
    features, target = points(2500, 30)
    recipe = Recipe(NETWORKS[name], Descent(epochs=2, l2=0.1, validation=0.1, **settings))
    one, two, three = (
        descend(recipe, features, target, threads=threads).network for threads in (1, 2, 3)
    )
    np.testing.assert_array_equal(one.theta, two.theta)
    np.testing.assert_array_equal(one.theta, three.theta)
    np.testing.assert_array_equal(one.statistics, two.statistics)


def test_the_seed_decides() -> None:
    one, two, other = (go(Descent(epochs=3, seed=seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.network.theta, two.network.theta)
    assert not np.array_equal(one.network.theta, other.network.theta)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_lowers_the_loss(rule: str) -> None:
    batch: Any = "full" if rule == "rprop" else 16
    rates = {"adadelta": 3.0, "lion": 1e-3, "adagrad": 0.1, "radam": 0.01}
    descent = Descent(batch=batch, rule=rule, learning_rate=rates.get(rule), epochs=60)
    run = go(descent, Network((16, 16)))
    assert run.loss_curve[-1] < 0.75 * run.loss_curve[0]


def test_a_rule_of_ones_own_is_the_same_as_ours() -> None:
    def own(theta: Array, gradient: Array, state: dict[str, Any], rate: float, step: int) -> None:
        state["steps"] = step
        theta -= np.float32(rate) * gradient

    settings: dict[str, Any] = {"learning_rate": 0.1, "epochs": 5, "clip_norm": 0.5}
    ours = go(Descent(rule="gd", **settings))
    theirs = go(Descent(rule=own, **settings))
    assert theirs.steps == ours.steps
    np.testing.assert_allclose(theirs.network.theta, ours.network.theta, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_runs(schedule: str) -> None:
    rates = go(Descent(epochs=12, schedule=schedule, warmup=5)).history.learning_rates
    assert len(rates) == 12
    assert np.all(np.isfinite(rates))


def test_a_schedule_of_ones_own() -> None:
    run = go(Descent(epochs=3, schedule=lambda step: 0.01 / (1 + step), validation=0.0, batch=50))
    assert run.history.learning_rates == pytest.approx([0.01 / 3, 0.01 / 6, 0.01 / 9])


def one_step(**settings: Any) -> tuple[Array, Array, BuiltNetwork]:
    """Take one full-batch step in float64; give theta before, its gradient, the network after."""
    features, target = points()
    built = BuiltNetwork(Network((6,), initializer="he_normal"), 4, 2, "binary", "float64", seed=3)
    before = built.theta.copy()
    wide = features.astype(np.float64)
    _, gradient = built.loss_and_gradient(wide, target)
    descent = Descent(
        batch="full", rule="gd", learning_rate=0.5, schedule="constant", steps=1, **settings
    )
    rows = np.arange(len(wide))
    data = Data(wide, Targets.of(target, None, 1, np.float64), rows, rows[:0])
    Course(built, data, descent).run()
    return before, gradient, built


def test_clipping_by_norm_and_by_value() -> None:
    before, gradient, built = one_step(clip_norm=0.01)
    expected = before - 0.5 * gradient * 0.01 / np.linalg.norm(gradient)
    np.testing.assert_allclose(built.theta, expected, rtol=1e-12, atol=1e-15)
    before, gradient, built = one_step(clip_value=0.003)
    expected = before - 0.5 * np.clip(gradient, -0.003, 0.003)
    np.testing.assert_allclose(built.theta, expected, rtol=1e-12, atol=1e-15)
    before, gradient, built = one_step(clip_norm=1e6)
    np.testing.assert_allclose(built.theta, before - 0.5 * gradient, rtol=1e-12, atol=1e-15)


def test_weight_decay_is_for_weights_only() -> None:
    before, gradient, built = one_step(weight_decay=0.2)
    factor = np.ones_like(before)
    for part in built.layout.parts:
        if part.name.endswith("weight"):
            factor[part.start : part.stop] = 1 - 0.5 * 0.2
    np.testing.assert_allclose(
        built.theta, before * factor - 0.5 * gradient, rtol=1e-12, atol=1e-15
    )


def test_read_only_and_memory_mapped_features(tmp_path: Path) -> None:
    features, target = points()
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    frozen = features.copy()
    frozen.flags.writeable = False
    recipe = Recipe(Network((8,), scaling="none"), Descent(epochs=3))
    runs = [descend(recipe, each, target) for each in (features, mapped, frozen)]
    for run in runs[1:]:
        np.testing.assert_array_equal(run.network.theta, runs[0].network.theta)


def test_a_second_network_compiles_nothing() -> None:
    go(Descent(epochs=1))
    compiled = len(loop.descend.signatures), len(loop.predict.signatures)  # type: ignore[attr-defined]
    for network in (*NETWORKS.values(), Network(()), Network((3,) * 6, loss="huber", task="auto")):
        features, target = points()
        changed = target.astype(float) + features[:, 2] if network.loss == "huber" else target
        for rule in ("gd", "adam", "lion"):
            descend(Recipe(network, Descent(epochs=1, rule=rule)), features, changed)
    assert compiled == (len(loop.descend.signatures), len(loop.predict.signatures))  # type: ignore[attr-defined]


@pytest.mark.parametrize("rule", ["gd", "momentum", "adam"])
def test_what_is_not_finite_stops_the_run_at_once(rule: str) -> None:
    descent = Descent(rule=rule, learning_rate=1e25, schedule="constant", batch=10, epochs=20)
    network = Network((8, 8), initializer="he_normal")
    with pytest.raises(NonFiniteError, match=r"step \d+ .*layer \d|gradient") as failure:
        go(descent, network)
    message = str(failure.value)
    step = int(message.split("step ")[1].split()[0])
    kept = failure.value.run
    assert np.isfinite(kept.network.theta).all()
    assert kept.reason.startswith("not finite")
    if step > 1:
        try:
            before = go(
                Descent(
                    rule=rule, learning_rate=1e25, schedule="constant", batch=10, steps=step - 1
                ),
                network,
            )
        except NonFiniteError:
            return
        if np.isfinite(before.network.theta).all() and not before.history.epochs:
            np.testing.assert_array_equal(kept.network.theta, before.network.theta)


RESUMED: dict[str, tuple[Network, dict[str, Any]]] = {
    "adam": (Network((8,)), {}),
    "plateau": (Network((8,)), {"rule": "momentum", "schedule": "plateau(patience=1)"}),
    "batch": (Network((8, 8), normalize="batch", dropout=0.2), {"rule": "rmsprop"}),
    "muon": (Network((8, 8)), {"rule": "muon"}),
}


@pytest.mark.parametrize("name", RESUMED)
def test_interrupted_and_resumed_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    network, settings = RESUMED[name]
    descent = Descent(epochs=12, batch=8, **settings)
    whole = go(descent, network)
    for stop in (3, 7):
        go(descent, network, checkpoint=tmp_path, resume=True,
           watchers=[lambda epoch, stop=stop: epoch.number == stop])  # fmt: skip
    resumed = go(descent, network, checkpoint=tmp_path, resume=True)
    np.testing.assert_array_equal(resumed.network.theta, whole.network.theta)
    np.testing.assert_array_equal(resumed.network.statistics, whole.network.statistics)
    assert resumed.loss_curve == whole.loss_curve
    assert resumed.history.validation_scores == whole.history.validation_scores


def test_a_checkpoint_of_another_run_or_damaged_is_refused(tmp_path: Path) -> None:
    go(Descent(epochs=2), checkpoint=tmp_path)
    with pytest.raises(InvalidValueError, match="recipe differ"):
        go(Descent(epochs=3), checkpoint=tmp_path, resume=True)
    file = tmp_path / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ModelFileError, match="damaged"):
        go(Descent(epochs=2), checkpoint=tmp_path, resume=True)


def test_resume_needs_no_checkpoint_to_begin(tmp_path: Path) -> None:
    assert go(Descent(epochs=2), checkpoint=tmp_path / "new", resume=True).history.epochs == 2
