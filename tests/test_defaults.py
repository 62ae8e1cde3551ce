"""The default recipe solves what it is said to solve."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

from downslope import Recipe, datasets, descend


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("xor", {}),
        ("spirals", {}),
        ("moons", {"noise": 0.0}),
        ("circles", {"noise": 0.0}),
    ],
)
def test_generated_sets_are_solved(name: str, settings: dict[str, float]) -> None:
    run = descend(Recipe(), datasets.load(name, **settings))  # type: ignore[arg-type]
    assert run.scores["training"]["score"] >= 0.99


def test_digits_held_out_accuracy() -> None:
    features, target = load_digits(return_X_y=True)
    accuracies = []
    for seed in range(5):
        train, test, train_target, test_target = train_test_split(
            features, target, test_size=0.3, stratify=target, random_state=seed
        )
        run = descend(Recipe(), train, train_target)
        accuracies.append(np.mean(run.predict(test) == test_target))
    assert np.mean(accuracies) >= 0.975


def test_diabetes_is_near_ridge_regression() -> None:
    features, target = load_diabetes(return_X_y=True)
    ours, ridge = [], []
    for seed in range(5):
        train, test, train_target, test_target = train_test_split(
            features, target, test_size=0.3, random_state=seed
        )
        ours.append(r2_score(test_target, descend(Recipe(), train, train_target).predict(test)))
        peer = RidgeCV(np.logspace(-3, 3, 13)).fit(train, train_target)
        ridge.append(r2_score(test_target, peer.predict(test)))
    assert np.mean(ours) >= np.mean(ridge) - 0.03
