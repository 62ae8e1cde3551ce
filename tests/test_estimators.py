from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.neural_network as theirs
from sklearn.datasets import load_diabetes, load_digits, load_iris, make_multilabel_classification
from sklearn.preprocessing import StandardScaler

from downslope import MLPClassifier, MLPRegressor

Array = npt.NDArray[Any]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DIGITS, DIGIT = load_digits(return_X_y=True)
DIGITS = DIGITS[:700] / 16
DIGIT = DIGIT[:700]
IRIS, SPECIES = load_iris(return_X_y=True)
IRIS = StandardScaler().fit_transform(IRIS)
DIABETES, PROGRESSION = load_diabetes(return_X_y=True)
PROGRESSION = (PROGRESSION - PROGRESSION.mean()) / PROGRESSION.std()

STEPS: list[dict[str, Any]] = [
    {"solver": "sgd", "momentum": 0.0},
    {"solver": "sgd", "nesterovs_momentum": False},
    {"solver": "sgd"},
    {"solver": "adam"},
    {"solver": "adam", "epsilon": 1e-2, "beta_1": 0.8, "beta_2": 0.95},
    {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.1},
    {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.02, "n_iter_no_change": 2},
    {"solver": "adam", "shuffle": False, "batch_size": 77},
    {"solver": "sgd", "batch_size": 1, "learning_rate_init": 1e-4},
    {"solver": "adam", "early_stopping": True, "validation_fraction": 0.2},
    {"solver": "adam", "early_stopping": True, "shuffle": False},
    {"solver": "sgd", "batch_size": 700, "alpha": 3.0},
]


def alike(ours: Any, other: Any) -> None:
    """Hold that two estimators went the same way."""
    assert ours.n_iter_ == other.n_iter_
    assert ours.t_ == other.t_
    np.testing.assert_allclose(ours.loss_curve_, other.loss_curve_, rtol=0, atol=1e-8)
    assert (ours.validation_scores_ is None) == (other.validation_scores_ is None)
    if other.validation_scores_ is not None:
        np.testing.assert_allclose(ours.validation_scores_, other.validation_scores_, atol=1e-9)
        assert ours.best_validation_score_ == max(ours.validation_scores_)
    assert (ours.best_loss_ is None) == (other.best_loss_ is None)
    assert ours.out_activation_ == other.out_activation_
    for mine, yours in zip(
        [*ours.coefs_, *ours.intercepts_], [*other.coefs_, *other.intercepts_], strict=True
    ):
        np.testing.assert_allclose(mine, yours, rtol=0, atol=1e-8)


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("steps", STEPS[2:4])
def test_a_classifier_goes_scikit_learns_way(steps: dict[str, Any], activation: str) -> None:
    settings = {"max_iter": 20, "random_state": 3, "activation": activation, **steps}
    ours = MLPClassifier((20, 10), **settings).fit(DIGITS, DIGIT)
    other = theirs.MLPClassifier((20, 10), **settings).fit(DIGITS, DIGIT)
    alike(ours, other)
    np.testing.assert_allclose(ours.predict_proba(DIGITS), other.predict_proba(DIGITS), atol=1e-9)
    np.testing.assert_array_equal(ours.predict(DIGITS), other.predict(DIGITS))


@pytest.mark.parametrize("steps", STEPS, ids=str)
def test_every_setting_has_scikit_learns_meaning(steps: dict[str, Any]) -> None:
    settings = {"max_iter": 20, "random_state": 5, "hidden_layer_sizes": (9,), **steps}
    rows = slice(0, 200) if steps.get("batch_size") == 1 else slice(None)
    binary = (DIGIT[rows] > 4).astype(int)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(binary))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for target in (binary, DIGIT[rows]):
            for weight in (None, weights):
                ours = MLPClassifier(**settings).fit(DIGITS[rows], target, weight)
                alike(ours, theirs.MLPClassifier(**settings).fit(DIGITS[rows], target, weight))
        ours = MLPRegressor(**settings).fit(DIABETES, PROGRESSION)
        alike(ours, theirs.MLPRegressor(**settings).fit(DIABETES, PROGRESSION))


def test_several_labels_and_several_numbers_go_scikit_learns_way() -> None:
    settings: dict[str, Any] = {"max_iter": 20, "random_state": 5, "hidden_layer_sizes": (9,)}
    X, flags = make_multilabel_classification(200, random_state=0)
    ours = MLPClassifier(**settings).fit(X, flags)
    other = theirs.MLPClassifier(**settings).fit(X, flags)
    alike(ours, other)
    np.testing.assert_array_equal(ours.predict(X), other.predict(X))
    numbers = np.column_stack([PROGRESSION, DIABETES[:, 2] * 20, DIABETES[:, 0]])
    alike(
        MLPRegressor(**settings).fit(DIABETES, numbers),
        theirs.MLPRegressor(**settings).fit(DIABETES, numbers),
    )
    counts = np.floor(np.exp(numbers)).clip(0, 20)
    ours = MLPRegressor("poisson", **settings).fit(DIABETES, counts)
    other = theirs.MLPRegressor("poisson", **settings).fit(DIABETES, counts)
    alike(ours, other)
    np.testing.assert_allclose(ours.predict(DIABETES), other.predict(DIABETES))


def test_lbfgs_ends_where_scikit_learns_does() -> None:
    settings: dict[str, Any] = {
        "solver": "lbfgs", "max_iter": 3000, "max_fun": 10**5, "tol": 1e-9, "random_state": 0,
    }  # fmt: skip
    for activation in ("tanh", "logistic", "identity"):
        changes: dict[str, Any] = {
            "activation": activation,
            "alpha": 1.0,
            "hidden_layer_sizes": (6,),
        }
        ours = MLPClassifier(**settings, **changes).fit(IRIS, SPECIES)
        other = theirs.MLPClassifier(**settings, **changes).fit(IRIS, SPECIES)
        assert abs(ours.loss_ - other.loss_) < 1e-6
    settings.update(activation="tanh", alpha=20.0, hidden_layer_sizes=(6,))
    regressor = MLPRegressor(**settings)
    regressor.fit(DIABETES, PROGRESSION)
    peer = theirs.MLPRegressor(**settings)
    peer.fit(DIABETES, PROGRESSION)
    assert abs(regressor.loss_ - peer.loss_) < 1e-6
    assert regressor.loss_curve_[-1] == pytest.approx(regressor.loss_)
