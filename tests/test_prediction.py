"""Pictures of what is predicted: boundary, confusion, residuals."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from accounts import account_of
from downslope import Descent, Network, Recipe, descend, prediction
from downslope.account import Account, Predictions


def predicted(account: Account) -> Predictions:
    """Give the outcome of an account that has one."""
    found = account.predicted()
    assert found is not None
    return found


def rows_of(account: Account) -> tuple[Any, Any]:
    """Give the target of the rows held out, and what is predicted of them."""
    assert account.table is not None
    assert account.table.target is not None
    rows = account.held_out
    assert rows is not None
    given = account.model.predict(account.table.features[rows])
    return account.table.target[rows], given


def test_the_boundary_is_the_networks_output_over_the_plane() -> None:
    account = account_of("moons", epochs=30)
    section = prediction.boundary(account)
    field = section.content["data"][0]
    across, up = np.meshgrid(field["x"], field["y"])
    grid = np.column_stack([across.ravel(), up.ravel()])
    expected = account.model.predict_proba(grid)[:, 1].reshape(across.shape)
    np.testing.assert_allclose(field["z"], expected, atol=1e-3)
    assert account.snapshots is not None
    frames = section.content["frames"]
    assert len(frames) == len(account.snapshots.epochs) + 1
    first, last = frames[0]["data"][0]["z"], frames[-1]["data"][0]["z"]
    assert first.std() < 0.05 < last.std()  # the output layer starts at 0
    points = section.content["data"][1:]
    assert sum(len(each["x"]) for each in points) == account.data["rows"]


def test_the_boundary_of_several_classes_shows_the_winner() -> None:
    rng = np.random.default_rng(0)
    places = rng.normal(size=(90, 2))
    target = np.array(["<b>a</b>", "b", "c"])[np.digitize(places[:, 0], [-0.5, 0.5])]
    run = descend(Recipe(Network([8]), Descent(epochs=3)), places, target)
    section = prediction.boundary(run.account())
    assert set(np.unique(section.content["data"][0]["z"])) <= {0, 1, 2}
    assert section.content["data"][1]["name"] == "&lt;b&gt;a&lt;/b&gt;"


def test_a_regression_of_two_inputs_has_a_field_too() -> None:
    rng = np.random.default_rng(0)
    places = rng.normal(size=(60, 2))
    run = descend(Recipe(Network([8]), Descent(epochs=3)), places, 50 + 9 * places[:, 0])
    field = prediction.boundary(run.account()).content["data"][0]
    assert 20 < field["z"].mean() < 80  # in the target's own unit


def test_other_networks_have_no_boundary() -> None:
    assert "two inputs" in prediction.boundary(account_of("iris")).sentence
    read = replace(account_of("moons"), table=None)
    assert "drawn by fit" in prediction.boundary(read).sentence


def test_confusion_counts_every_row_held_out() -> None:
    account = account_of("digits")
    section = prediction.confusion(account)
    (heat,) = section.content["data"]
    counts = heat["customdata"]
    assert counts.sum() == account.data["held_out"]
    expected = account.scores["validation"]["score"]
    assert np.trace(counts) / counts.sum() == pytest.approx(expected)
    assert f"of {counts.sum():,} rows are right" in section.seen


def test_confusion_of_many_classes_is_told_not_drawn() -> None:
    account, many = account_of("iris", epochs=1), prediction.DRAWN_CLASSES + 1
    names = tuple(f"c{each}" for each in range(many))
    counts = np.eye(many, dtype=np.int64)
    found = replace(predicted(account), classes=names, counts=counts)
    section = prediction.confusion(replace(account, predictions=found))
    assert section.content is None
    assert section.sentence.endswith("All 401 rows are right.")
    labels = np.random.default_rng(0).integers(0, 2, (40, many))
    run = descend(Recipe(Network([2]), Descent(epochs=1)), labels[:, :2], labels)
    section = prediction.confusion(run.account())
    assert section.sentence == "Cells of 401 classes are too small to be seen."


def test_confusion_of_words_goes_by_target_then_prediction() -> None:
    account = account_of("iris")
    found = predicted(account)
    target, given = rows_of(account)
    for i, one in enumerate(found.classes):
        for j, other in enumerate(found.classes):
            assert found.counts[i, j] == np.sum((target == one) & (given == other))


def test_one_answer_for_every_row_is_said_to_be_one() -> None:
    account = account_of("digits", epochs=1, learning_rate=1e-12)
    found = predicted(account)
    counts = np.zeros_like(found.counts)
    counts[:, 2] = found.counts.sum(1)
    same = replace(account, predictions=replace(found, counts=counts))
    seen = prediction.confusion(same).seen
    right, rows = counts[2, 2], counts.sum()
    assert seen == f"Every row was taken for '2': {right} of {rows} are right."


def test_several_labels_are_counted_one_by_one() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 3))
    target = (features > 0).astype(int)
    run = descend(Recipe(Network([16]), Descent(epochs=40, validation=0.0)), features, target)
    found = predicted(run.account())
    assert found.counts.shape == (3, 4)
    np.testing.assert_array_equal(found.counts.sum(1), 80)
    right = found.counts[:, [0, 3]].sum() / found.counts.sum()
    assert right == pytest.approx(run.scores["training"]["score"])
    assert "training rows" in prediction.confusion(run.account()).sentence


def test_labels_that_are_wrongly_1_are_told_from_those_that_are_wrongly_0() -> None:
    rng = np.random.default_rng(0)
    target = (rng.random((80, 2)) < (0.2, 0.7)).astype(int)  # nothing in the features tells it
    run = descend(Recipe(Network([2]), Descent(epochs=20)), rng.normal(size=(80, 3)), target)
    account = run.account()
    found, (target, given) = predicted(account), rows_of(account)
    (heat,) = prediction.confusion(account).content["data"]
    for k in range(2):
        pairs = list(zip(target[:, k].tolist(), given[:, k].tolist(), strict=True))
        expected = [pairs.count(each) for each in ((0, 0), (0, 1), (1, 0), (1, 1))]
        assert found.counts[k].tolist() == heat["customdata"][k].tolist() == expected
        assert expected[1] != expected[2]


def test_residuals_are_target_minus_prediction() -> None:
    account = account_of("diabetes")
    section = prediction.residuals(account)
    (points,) = section.content["data"]
    target, given = rows_of(account)
    np.testing.assert_allclose(points["x"], given, rtol=1e-6)
    np.testing.assert_allclose(points["y"], target - given, rtol=1e-4)
    assert prediction.confusion(account).content is None
    assert prediction.residuals(account_of("iris")).content is None


def test_residuals_of_huge_numbers_are_told_too() -> None:
    account = account_of("diabetes", epochs=1)
    found = predicted(account)
    huge = replace(found, pairs=found.pairs * 1e200)
    assert prediction.residuals(replace(account, predictions=huge)).seen.endswith("e+201.")


def test_an_outcome_survives_json() -> None:
    for name in ("iris", "diabetes"):
        found = predicted(account_of(name))
        again = Predictions.from_dict(json.loads(json.dumps(found.to_dict())))
        assert again.classes == found.classes
        np.testing.assert_array_equal(again.counts.ravel(), found.counts.ravel())
        np.testing.assert_allclose(again.pairs.ravel(), found.pairs.ravel())


def test_of_a_large_regression_some_rows_are_kept() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(5000, 1))
    recipe = Recipe(Network([4]), Descent(epochs=1, validation=0.5))
    run = descend(recipe, features, features[:, 0])
    assert predicted(run.account()).pairs.shape == (1000, 1, 2)


def test_what_was_not_kept_is_said() -> None:
    for name, make in (("iris", prediction.confusion), ("diabetes", prediction.residuals)):
        bare = replace(account_of(name), table=None)
        assert "not kept" in make(bare).sentence
