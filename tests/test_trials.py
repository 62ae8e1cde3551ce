"""Many runs in parallel: the bits of single ones, whatever runs beside them."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from downslope import datasets
from downslope.course import Course
from downslope.descent import descend
from downslope.errors import InvalidValueError
from downslope.outcome import Ledger, Outcome
from downslope.parts import Descent, Network
from downslope.recipe import Recipe
from downslope.table import Table
from downslope.trials import GRID, Sweep, Trial, grid
from downslope.vary import combine

RECIPE = Recipe(Network([8]), Descent(epochs=4, batch=16))


def tables(*names: str) -> dict[str, Table]:
    return {name: datasets.load(name) for name in names}


def trials(vary: dict[str, Any], seeds: int = 2, *names: str) -> list[Trial]:
    variants = combine(RECIPE, vary)
    return [
        Trial.of(name, variant, seed)
        for seed in range(seeds)
        for name in names or ("iris",)
        for variant in variants
    ]


def bits(outcomes: list[Outcome]) -> list[Any]:
    """Give all of outcomes but the times."""
    return [
        {name: value for name, value in vars(each).items() if name not in ("elapsed", "seconds")}
        for each in outcomes
    ]


def test_the_results_do_not_hang_on_the_number_of_workers() -> None:
    wanted = trials({"batch": [4, "full"], "rule": ["gd", "adam", "muon"]}, 3, "iris", "moons")
    alone = Sweep(tables("iris", "moons"), workers=1).run(wanted)
    for workers in (2, 5):
        assert bits(Sweep(tables("iris", "moons"), workers=workers).run(wanted)) == bits(alone)
    assert [(each.dataset, each.variant, each.seed) for each in alone] == [
        (each.dataset, each.variant, each.seed) for each in wanted
    ]


def test_a_run_among_others_is_the_one_that_descend_does() -> None:
    for trial in trials({"scaling": ["standard", "squash"], "dropout": [0.0, 0.3]}):
        (found,) = Sweep(tables("iris")).run([trial])
        alone = descend(trial.recipe, datasets.load("iris"), threads=1)
        assert found.losses == alone.history.losses
        assert found.validation_losses == alone.history.validation_losses
        assert found.validation_scores[found.kept] == alone.scores["validation"]["score"]
        assert found.reason == alone.reason


def events(lowest: int) -> Table:
    """Give a table of 60 rows whose target is whole numbers from `lowest` on."""
    generator = np.random.default_rng(1)
    features = generator.normal(size=(60, 2))
    target = generator.poisson(np.exp(1.5 + 0.5 * features[:, 0])) + lowest
    return Table(features, target, ("a", "b"), ("events",), "events")


@pytest.mark.parametrize("losses", [("poisson", "squared_error"), ("squared_error", "poisson")])
def test_a_target_is_prepared_for_the_loss_whichever_comes_first(
    losses: tuple[str, str], tmp_path: Path
) -> None:
    table, recipe = events(lowest=0), RECIPE.edit(task="regression")
    wanted = [Trial.of("events", each, 0) for each in combine(recipe, {"loss": losses})]
    with contextlib.closing(Ledger(tmp_path / "runs.jsonl")) as ledger:
        sweep = Sweep({"events": table}, workers=1, ledger=ledger)
        for trial, found in zip(wanted, sweep.run(wanted), strict=True):
            alone = descend(trial.recipe, table, threads=1)
            assert found.losses == alone.history.losses
            assert found.validation_losses == alone.history.validation_losses
    below = Sweep({"events": events(lowest=-9)}, workers=1)
    with pytest.raises(
        InvalidValueError, match=r"'loss=poisson' on events.*'poisson' is for count"
    ):
        below.check(combine(recipe, {"loss": losses}), 0)


def test_what_a_loss_has_in_common_with_another_is_prepared_once() -> None:
    recipe = RECIPE.edit(task="regression")
    variants = combine(recipe, {"loss": ["squared_error", "Huber", "absolute_error"]})
    assert len({Trial.of("events", each, 0).split for each in variants}) == 1


def test_for_one_seed_splits_and_starts_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, list[Any]] = {0: [], 1: []}
    build = Sweep._build

    def spy(self: Sweep, recipe: Recipe, prepared: Any) -> Any:
        network = build(self, recipe, prepared)
        seen[recipe.descent.seed].append((network.theta.copy(), prepared.data))
        return network

    monkeypatch.setattr(Sweep, "_build", spy)
    Sweep(tables("iris"), workers=2).run(trials({"batch": [4, 16, "full"]}))
    for found in seen.values():
        assert len(found) == 3
        for theta, data in found:
            np.testing.assert_array_equal(theta, found[0][0])
            assert data is found[0][1], "the data are shared, not copied"
    assert (seen[0][0][0] != seen[1][0][0]).any()


@pytest.mark.parametrize(("name", "network", "most"), [("iris", [8], 1), ("digits", [64], 2)])
def test_only_runs_that_keep_a_core_busy_go_side_by_side(
    name: str, network: list[int], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, seen, now = threading.Barrier(2), [], 0
    run = Course.run

    def spy(self: Course) -> None:
        nonlocal now
        now += 1
        if most == 2:
            both.wait(60)
        run(self)
        seen.append(now)
        now -= 1

    monkeypatch.setattr(Course, "run", spy)
    recipe = Recipe(Network(network), Descent(epochs=2))
    Sweep(tables(name), workers=2).run([Trial(name, f"{seed}", recipe.edit(seed=seed))
                                        for seed in range(4)])  # fmt: skip
    assert max(seen) == most


def test_data_that_no_run_waits_for_are_let_go() -> None:
    sweep = Sweep(tables("iris"))
    most = 0

    def note(_: Outcome) -> None:
        nonlocal most
        most = max(most, len(sweep._prepared))

    sweep.run(trials({"batch": [4, 16]}, seeds=6), note)
    assert not sweep._prepared
    assert 1 <= most <= 1 + sweep.workers


def test_a_run_that_diverges_is_a_result() -> None:
    wanted = trials({"learning_rate": [0.1, 1e30], "rule": ["gd"]}, seeds=1)
    good, gone = Sweep(tables("iris")).run(wanted)
    assert (good.diverged, gone.diverged) == (False, True)
    assert gone.reason.startswith("not finite: the descent left the finite numbers in step")
    assert gone.steps < good.steps


def test_finished_runs_are_found_again(tmp_path: Path) -> None:
    wanted = trials({"batch": [4, "full"]})
    ledger = Ledger(tmp_path / "runs.jsonl")
    first = Sweep(tables("iris"), ledger=ledger).run(wanted[:3])
    ledger.close()
    ledger = Ledger(tmp_path / "runs.jsonl")
    sweep = Sweep(tables("iris"), ledger=ledger)
    again = sweep.run(wanted)
    assert sweep.reused == 3
    assert again[:3] == first
    # Another recipe or other data are another run.
    table = datasets.load("iris")
    features = np.array(table.features)
    features[3, 2] += 0.1
    moved = Table(features, table.target, table.feature_names, table.target_names, "iris")
    other = Sweep({"iris": moved}, ledger=ledger)
    other.run(wanted)
    assert other.reused == 0
    longer = Sweep(tables("iris"), ledger=ledger)
    longer.run([Trial("iris", "longer", wanted[0].recipe.edit(epochs=5))])
    assert longer.reused == 0
    renamed = Sweep(tables("iris"), ledger=ledger)
    (found,) = renamed.run([Trial("iris", "by another name", wanted[0].recipe)])
    assert (renamed.reused, found.variant) == (1, "by another name")
    ledger.close()


def test_a_rule_of_ones_own_is_run_and_not_kept(tmp_path: Path) -> None:
    def mine(theta: Any, gradient: Any, state: Any, rate: float, step: int) -> None:
        theta -= rate * gradient

    ledger = Ledger(tmp_path / "runs.jsonl")
    wanted = trials({"rule": [mine, "gd"], "learning_rate": [0.1]}, seeds=1)
    own, built_in = Sweep(tables("iris"), ledger=ledger).run(wanted)
    np.testing.assert_allclose(own.losses, built_in.losses, rtol=1e-5)
    sweep = Sweep(tables("iris"), ledger=ledger)
    ledger.close()
    ledger = Ledger(tmp_path / "runs.jsonl")
    sweep = Sweep(tables("iris"), ledger=ledger)
    sweep.run(wanted)
    assert sweep.reused == 1
    ledger.close()


def test_stopping_keeps_what_is_finished_and_drops_what_is_cut_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Side by side: in turns, an endless run may come before a short one that is late, and hold it.
    monkeypatch.setattr("downslope.trials._is_short", lambda course: False)
    sweep = Sweep(tables("iris"), workers=2)
    endless = RECIPE.edit(epochs=None, seconds=60, schedule="constant")
    long = [Trial("iris", f"{seed}", endless.edit(seed=seed)) for seed in (1, 2, 3)]
    short = trials({"batch": [4, 16]}, seeds=1)
    seen: list[Outcome] = []

    def stop_after_the_short_ones(outcome: Outcome) -> None:
        seen.append(outcome)
        if len(seen) == len(short):
            sweep.stop()

    found = sweep.run([*short, *long], stop_after_the_short_ones)
    assert bits(found) == bits(Sweep(tables("iris")).run(short))
    assert sweep.stopped


def test_what_a_network_cannot_be_is_found_before_anything_runs() -> None:
    variants = combine(RECIPE, {"label_smoothing": [0.0, 0.1]})
    with pytest.raises(InvalidValueError, match=r"variant 'label_smoothing=0\.1' on diabetes"):
        Sweep(tables("diabetes")).check(variants, 0)


def test_what_only_a_run_finds_names_the_variant_too() -> None:
    def below(step: int) -> float:
        return -1.0

    wanted = trials({"schedule": ["constant", below]}, seeds=1)
    with pytest.raises(
        InvalidValueError, match="variant 'schedule=below' on iris: schedule 'below"
    ):
        Sweep(tables("iris")).run(wanted)


def test_a_failure_of_one_run_ends_the_others() -> None:
    wanted = trials({"batch": [4, 16]}, seeds=1)
    broken = Trial("iris", "broken", RECIPE.edit(rule=lambda *_: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        Sweep(tables("iris"), workers=1).run([broken, *wanted])


def test_two_inputs_leave_their_outputs_over_a_grid() -> None:
    wanted = trials({"batch": [4, "full"]}, 2, "moons", "iris")
    found = Sweep(tables("moons", "iris")).run(wanted)
    assert [len(each.boundary) for each in found] == [GRID**2] * 2 + [0] * 6
    moons = datasets.load("moons")
    run = descend(wanted[0].recipe, moons, threads=1)
    across, along = grid(np.asarray(moons.features))
    for row, column in ((0, 0), (GRID // 2, 7), (GRID - 1, GRID - 1)):
        (chance,) = run.model.output([[across[column], along[row]]])[0]
        assert found[0].boundary[row * GRID + column] == pytest.approx(chance, abs=6e-4)
