from __future__ import annotations

import copy
import pickle
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import sklearn
import sklearn.neural_network as theirs
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes, load_digits, load_iris, make_multilabel_classification
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from downslope import Descent, MLPClassifier, MLPRegressor, Network, Recipe, perceptron
from downslope.catalogue import ACTIVATIONS, INITIALIZERS, RULES, SCHEDULES
from downslope.epoch import functions
from downslope.errors import DownslopeError, InvalidValueError
from downslope.stepper import Predictor

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
    rows = slice(0, 50) if steps.get("batch_size") == 1 else slice(None)
    binary = (DIGIT[rows] > 4).astype(int)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(binary))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for target in (binary, DIGIT[rows]):
            for weight in (None, weights):
                ours = MLPClassifier(**settings).fit(DIGITS[rows], target, weight)
                alike(ours, theirs.MLPClassifier(**settings).fit(DIGITS[rows], target, weight))
        ours = MLPRegressor(**settings).fit(DIABETES[rows], PROGRESSION[rows])
        alike(ours, theirs.MLPRegressor(**settings).fit(DIABETES[rows], PROGRESSION[rows]))


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


def test_what_was_learned_is_views_of_theta() -> None:
    fitted = MLPClassifier((6, 5), max_iter=3, random_state=0).fit(IRIS, SPECIES)
    assert isinstance(fitted.coefs_, list)
    assert [each.shape for each in fitted.coefs_] == [(4, 6), (6, 5), (5, 3)]
    assert [each.shape for each in fitted.intercepts_] == [(6,), (5,), (3,)]
    before = fitted.predict_proba(IRIS)
    fitted.coefs_[1][:] *= 2
    assert not np.allclose(fitted.predict_proba(IRIS), before)
    fitted.coefs_[1] /= 2
    np.testing.assert_allclose(fitted.predict_proba(IRIS), before, rtol=1e-12)
    fitted.intercepts_[-1] = np.array([100.0, 0.0, 0.0])
    assert (fitted.predict(IRIS) == 0).all()
    fitted.coefs_ = [np.zeros_like(each) for each in fitted.coefs_]
    assert not fitted.network_.parts()["layer2.weight"].any()
    fitted.intercepts_[:2] = [np.ones(6), np.ones(5)]
    assert (fitted.network_.parts()["layer1.bias"] == 1).all()
    with pytest.raises(InvalidValueError, match=r"an array of shape \(6, 5\).*got one of \(5, 6\)"):
        fitted.coefs_[1] = np.zeros((5, 6))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_link_to_theta_outlives_pickle_joblib_and_copies(tmp_path: Any, solver: str) -> None:
    settings: dict[str, Any] = {"normalization": "batch", "residual": True, "max_iter": 5}
    fitted = MLPClassifier((4, 4), solver=solver, random_state=0, **settings).fit(IRIS, SPECIES)
    joblib.dump(fitted, tmp_path / "fitted.joblib")
    for again in (
        pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted),
        joblib.load(tmp_path / "fitted.joblib"),
        joblib.load(tmp_path / "fitted.joblib", mmap_mode="r"),
    ):  # fmt: skip
        np.testing.assert_array_equal(again.predict_proba(IRIS), fitted.predict_proba(IRIS))
        again.coefs_[0][:] = 0
        assert not again.network_.parts()["layer1.weight"].any()
        assert fitted.coefs_[0].any()
    assert not hasattr(clone(fitted), "coefs_")


def test_partial_fit_goes_on_where_the_rule_is() -> None:
    settings: dict[str, Any] = {"random_state": 0, "shuffle": False, "batch_size": 50}
    for rule in ("adam", "sgd", "rmsprop"):
        whole = MLPRegressor(solver=rule, max_iter=4, **settings).fit(DIABETES, PROGRESSION)
        steps = MLPRegressor(solver=rule, **settings)
        for _ in range(2):
            steps.partial_fit(DIABETES, PROGRESSION)
        steps = pickle.loads(pickle.dumps(steps))
        for _ in range(2):
            steps.partial_fit(DIABETES, PROGRESSION)
        np.testing.assert_array_equal(steps.network_.theta, whole.network_.theta)
        assert steps.loss_curve_ == whole.loss_curve_


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "step(every=2)", "Exponential"])
def test_partial_fit_goes_on_where_the_schedule_is(schedule: str) -> None:
    settings: dict[str, Any] = {
        "random_state": 0, "max_iter": 4, "shuffle": False, "learning_rate": schedule
    }  # fmt: skip
    whole = MLPRegressor(**settings).fit(DIABETES, PROGRESSION)
    steps = MLPRegressor(**settings)
    for _ in range(4):
        before = steps.network_.theta.copy() if "network_" in vars(steps) else np.empty(0)
        steps.partial_fit(DIABETES, PROGRESSION)
    np.testing.assert_array_equal(steps.network_.theta, whole.network_.theta)
    assert steps.loss_curve_ == whole.loss_curve_
    last = abs(steps.network_.theta - before).max()
    for _ in range(3):  # it stays at its end, it does not rise again
        before = steps.network_.theta.copy()
        steps.partial_fit(DIABETES, PROGRESSION)
        assert 0 < abs(steps.network_.theta - before).max() < last


def test_partial_fit_takes_no_schedule_that_looks_at_many_epochs() -> None:
    with pytest.raises(InvalidValueError, match="'plateau' goes by the losses of many epochs"):
        MLPRegressor(learning_rate="Plateau(patience=3)").partial_fit(DIABETES, PROGRESSION)


def test_early_stopping_makes_one_forward_pass_for_the_rows_held_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []
    begin = Predictor.__init__

    def spy(self: Predictor, *given: Any) -> None:
        made.append(given[4])
        begin(self, *given)

    monkeypatch.setattr(Predictor, "__init__", spy)
    fitted = MLPClassifier((4,), early_stopping=True, max_iter=6, random_state=0)
    fitted.fit(IRIS, SPECIES)
    assert [rows for rows in made if rows] == [15]
    assert fitted.validation_scores_ is not None
    assert len(fitted.validation_scores_) == 6


def test_warm_start_takes_up_theta_and_new_settings() -> None:
    settings: dict[str, Any] = {"max_iter": 3, "warm_start": True, "random_state": 0}
    fitted = MLPClassifier((6,), **settings).fit(IRIS, SPECIES)
    theta = fitted.network_.theta.copy()
    fitted.set_params(activation="tanh", learning_rate_init=1e-12).fit(IRIS, SPECIES)
    assert fitted.network_.network.activation == "tanh"
    np.testing.assert_allclose(fitted.network_.theta, theta, atol=1e-8)
    assert len(fitted.loss_curve_) == 6
    with pytest.raises(InvalidValueError, match=r"warm_start: layer1.weight .* \(4, 9\).*\(4, 6\)"):
        fitted.set_params(hidden_layer_sizes=(9,)).fit(IRIS, SPECIES)


def test_warm_start_may_turn_early_stopping_on_and_off() -> None:
    fitted = MLPClassifier((6,), max_iter=3, warm_start=True, random_state=0).fit(IRIS, SPECIES)
    fitted.set_params(early_stopping=True).fit(IRIS, SPECIES)
    assert fitted.best_loss_ is None
    assert len(fitted.validation_scores_) == len(fitted.validation_loss_curve_) == 3
    fitted.set_params(early_stopping=False).fit(IRIS, SPECIES)
    assert fitted.validation_scores_ is None
    assert fitted.best_loss_ == min(fitted.loss_curve_[-3:])
    assert len(fitted.loss_curve_) == 9


def test_callbacks_see_the_run_and_may_end_it() -> None:
    seen: list[tuple[int, float, float]] = []

    def look(steps: int, losses: list[float], theta: Array) -> bool:
        seen.append((steps, losses[-1], float(theta[0])))
        return len(losses) == 4

    for solver in ("adam", "lbfgs"):
        seen.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning if solver == "adam" else UserWarning)
            fitted = MLPClassifier((5,), solver=solver, random_state=0, callbacks=[look])
            fitted.fit(IRIS, SPECIES)
        assert len(seen) == len(fitted.loss_curve_) == 4
        assert [loss for _, loss, _ in seen] == fitted.loss_curve_
        assert seen[-1][2] == fitted.network_.theta[0]
        assert len({value for _, _, value in seen}) == 4
    assert [steps for steps, _, _ in seen] == [1, 2, 3, 4]


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_callbacks_are_checked_before_the_first_epoch_and_not_kept(
    monkeypatch: pytest.MonkeyPatch, solver: str
) -> None:
    asked: list[str] = []

    def check(owner: str, given: Any) -> tuple[Any, ...]:
        asked.append(owner)
        return functions(owner, given)

    monkeypatch.setattr(perceptron, "functions", check)
    fitted = MLPClassifier(
        (5,), solver=solver, max_iter=9, callbacks=lambda steps, losses, theta: len(losses) == 4
    )
    fitted.fit(IRIS, SPECIES)
    assert asked == ["MLPClassifier: callbacks"] * 2  # by the parameters' check, and for the calls
    fitted.set_params(callbacks=None)
    assert pickle.loads(pickle.dumps(fitted)).n_iter_ == fitted.n_iter_
    with sklearn.config_context(skip_parameter_validation=True):
        fitted.set_params(callbacks=lambda *_: True).fit(IRIS, SPECIES)
    assert fitted.n_iter_ == 1


def test_ctrl_c_keeps_what_there_is() -> None:
    def interrupt(steps: int, losses: list[float], theta: Array) -> None:
        if len(losses) == 3:
            raise KeyboardInterrupt

    fitted = MLPClassifier((5,), random_state=0, callbacks=interrupt)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        fitted.fit(IRIS, SPECIES)
    assert fitted.n_iter_ == 3
    assert fitted.predict(IRIS).shape == (150,)


def test_hidden_outputs_are_what_every_layer_gives() -> None:
    fitted = MLPClassifier((6, 5), "tanh", max_iter=3, random_state=0).fit(DIGITS, DIGIT)
    first, second, last = fitted.hidden_outputs(DIGITS)
    np.testing.assert_allclose(first, np.tanh(DIGITS @ fitted.coefs_[0] + fitted.intercepts_[0]))
    np.testing.assert_allclose(second, np.tanh(first @ fitted.coefs_[1] + fitted.intercepts_[1]))
    np.testing.assert_array_equal(last, fitted.predict_proba(DIGITS))


def test_sparse_rows_are_as_dense_ones() -> None:
    dense = MLPClassifier((5,), max_iter=3, random_state=0).fit(DIGITS, DIGIT)
    for kind in (sparse.csr_matrix, sparse.csc_array):
        fitted = MLPClassifier((5,), max_iter=3, random_state=0).fit(kind(DIGITS), DIGIT)
        np.testing.assert_array_equal(fitted.network_.theta, dense.network_.theta)
        np.testing.assert_array_equal(fitted.predict(kind(DIGITS)), dense.predict(DIGITS))


def test_class_weights_are_row_weights() -> None:
    few = np.flatnonzero(SPECIES < 2)[:70]
    factors = {0: 0.5, 1: 3.0}
    weights = np.where(SPECIES[few] == 0, 0.5, 3.0)
    settings: dict[str, Any] = {"max_iter": 5, "random_state": 0}
    weighted = MLPClassifier(class_weight=factors, **settings).fit(IRIS[few], SPECIES[few], weights)
    by_rows = MLPClassifier(**settings).fit(IRIS[few], SPECIES[few], weights**2)
    np.testing.assert_allclose(weighted.network_.theta, by_rows.network_.theta, rtol=1e-12)
    balanced = MLPClassifier(class_weight="balanced", **settings).fit(IRIS[few], SPECIES[few])
    counts = np.bincount(SPECIES[few])
    rows = (len(few) / (2 * counts))[SPECIES[few]]
    by_rows = MLPClassifier(**settings).fit(IRIS[few], SPECIES[few], rows)
    np.testing.assert_allclose(balanced.network_.theta, by_rows.network_.theta, rtol=1e-12)
    with pytest.raises(InvalidValueError, match="which partial_fit does not see"):
        MLPClassifier(class_weight="balanced").partial_fit(IRIS, SPECIES, classes=[0, 1, 2])


def test_the_number_type_follows_the_rows_or_is_given() -> None:
    single, double = DIABETES.astype(np.float32), DIABETES
    cases: list[tuple[Array, Any, str]] = [
        (single, None, "float32"), (double, None, "float64"), (single, "float64", "float64"),
        (double, "float32", "float32"),
    ]  # fmt: skip
    for rows, dtype, expected in cases:
        fitted = MLPRegressor("huber", (3,), max_iter=2, dtype=dtype).fit(rows, PROGRESSION)
        assert {str(each.dtype) for each in (*fitted.coefs_, fitted.predict(rows))} == {expected}


@pytest.mark.parametrize("name", [*RULES, "rmsprop(momentum=0.5, centered=1)"])
def test_every_rule_is_a_solver(name: str) -> None:
    batch = "full" if name == "rprop" else 30
    fitted = MLPClassifier((5,), solver=name, batch_size=batch, max_iter=8, random_state=0)
    fitted.fit(IRIS, SPECIES)
    assert fitted.loss_curve_[-1] < fitted.loss_curve_[0]


def test_every_activation_schedule_and_initializer_is_taken() -> None:
    for schedule in SCHEDULES:
        MLPClassifier((5,), learning_rate=schedule, max_iter=2, warmup=2).fit(IRIS, SPECIES)
    for initializer in INITIALIZERS:
        MLPClassifier((5, 4), initializer=[initializer] * 2, max_iter=1).fit(IRIS, SPECIES)
    for activation in ACTIVATIONS:
        if activation != "softmax":
            hidden = MLPClassifier((5, 4), [activation, "logistic"], max_iter=1)
            assert hidden.fit(IRIS, SPECIES).network_.network.activation[1] == "sigmoid"


def test_a_recipe_and_back() -> None:
    recipe = Recipe(
        Network([7, 5], ["gelu", "tanh"], normalize="layer", dropout=0.1, scaling="none"),
        Descent(batch=20, rule="lion(beta1=0.8)", learning_rate=3e-4, schedule="cosine", epochs=4,
                l1=0.1, l2=0.2, clip_norm=2.0, weight_decay=0.01, patience=3, seed=7,
                dtype="float64"),
    )  # fmt: skip
    fitted = MLPClassifier.from_recipe(recipe).fit(IRIS, SPECIES)
    found = fitted.recipe_
    assert Recipe.from_toml(found.to_toml()) == found
    assert found == recipe.edit(task="multiclass", initializer=("auto", "auto")) or (
        found == recipe.edit(task="multiclass")
    )
    again = MLPClassifier.from_recipe(found).fit(IRIS, SPECIES)
    np.testing.assert_array_equal(again.network_.theta, fitted.network_.theta)
    assert MLPRegressor.from_recipe(recipe.edit(loss="huber"), max_iter=2).max_iter == 2
    assert MLPClassifier.from_recipe(recipe.edit(schedule="auto")).learning_rate == "cosine"
    for change, says in (
        ({"seconds": 3.0}, "seconds"), ({"epochs": None, "steps": 5}, "steps"),
        ({"rule": lambda *_: None}, "rule"), ({"loss": "squared_error"}, "loss"),
        ({"output_activation": "relu"}, "output_activation"),
        ({"scaling": "standard"}, "scaling='standard' of .*table_pipeline"),
        ({"scaling": "squash"}, "scaling='squash'"),
    ):  # fmt: skip
        with pytest.raises(InvalidValueError, match=f"no parameter for {says}"):
            MLPClassifier.from_recipe(recipe.edit(**change))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"activation": "rlu"}, "The 'activation' parameter of MLPClassifier must be a str among"),
        ({"solver": "lion(beta9=1)"}, "MLPClassifier: solver: rule 'lion' has no option 'beta9'"),
        ({"learning_rate": "fast"}, "The 'learning_rate' parameter of MLPClassifier must be"),
        ({"alpha": -1}, "The 'alpha' parameter of MLPClassifier must be a float in the range"),
        ({"dropout": 1.0}, "The 'dropout' parameter of MLPClassifier must be"),
        ({"hidden_layer_sizes": [3, 0]}, r"hidden_layer_sizes must be > 0, got \[3, 0\]"),
        ({"activation": ["rlu"]}, "unknown activation 'rlu'"),
        ({"activation": ["relu"] * 3}, "one for each of the 1 hidden"),
        (
            {"activation": "softmax"},
            "The 'activation' parameter of MLPClassifier must be a str among",
        ),
        ({"callbacks": [print, "x"]}, "MLPClassifier: callbacks takes a function, .*; got 'x'"),
        ({"solver": "sgd", "learning_rate_init": 1e200}, "Solver produced non-finite parameter"),
    ],
)
def test_errors_say_what_is_wrong(settings: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says) as caught:
        MLPClassifier(**{"hidden_layer_sizes": (5,), **settings}).fit(IRIS, SPECIES)
    if "parameter of" not in says:
        assert isinstance(caught.value, DownslopeError)


def test_warnings_are_scikit_learns() -> None:
    message = re.escape(
        "Stochastic Optimizer: Maximum iterations (2) reached and the optimization hasn't "
        "converged yet."
    )
    with pytest.warns(ConvergenceWarning, match=message):
        MLPClassifier((5,), max_iter=2).fit(IRIS, SPECIES)
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge"):
        MLPClassifier((5,), max_iter=2, solver="lbfgs").fit(IRIS, SPECIES)
    with pytest.warns(UserWarning, match="It is going to be clipped"):
        MLPClassifier((5,), batch_size=1000).fit(IRIS, SPECIES)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        MLPRegressor().predict(IRIS)
    assert not hasattr(MLPClassifier(), "coefs_")


def test_what_is_said_while_training_is_what_scikit_learn_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings: dict[str, Any] = {
        "solver": "sgd", "verbose": True, "random_state": 0, "max_iter": 30, "n_iter_no_change": 2,
        "tol": 0.05, "learning_rate": "adaptive",
    }  # fmt: skip
    for changes in ({}, {"early_stopping": True}, {"learning_rate": "constant"}):
        shown = []
        for Estimator in (MLPClassifier, theirs.MLPClassifier):
            Estimator((5,), **{**settings, **changes}).fit(IRIS, SPECIES)
            shown.append(capsys.readouterr().out)
        assert shown[0] == shown[1]
        assert "Iteration 1, loss = " in shown[0]


def test_scikit_learns_tools_take_the_estimators() -> None:
    network = MLPClassifier((5,), solver="lbfgs", max_iter=40, random_state=0)
    search = GridSearchCV(network, {"alpha": [1e-3, 1.0]}, cv=2, n_jobs=2).fit(IRIS, SPECIES)
    assert search.best_score_ > 0.8
    scaled = make_pipeline(StandardScaler(), network)
    assert cross_val_score(scaled, IRIS, SPECIES, cv=3).mean() > 0.85
    votes = VotingClassifier([("network", network), ("line", LogisticRegression())], voting="soft")
    assert votes.fit(IRIS, SPECIES).score(IRIS, SPECIES) > 0.9
    calibrated = CalibratedClassifierCV(network, cv=2).fit(IRIS, SPECIES)
    np.testing.assert_allclose(calibrated.predict_proba(IRIS).sum(axis=1), 1)
    shown = permutation_importance(network.fit(IRIS, SPECIES), IRIS, SPECIES, n_repeats=2)
    assert shown.importances_mean.argmax() in (2, 3)


def test_names_routing_output_and_html() -> None:
    frame = pd.DataFrame(IRIS, columns=list("abcd"))
    pipeline = make_pipeline(StandardScaler(), MLPClassifier((5,), max_iter=2))
    pipeline.set_output(transform="pandas").fit(frame, SPECIES)
    assert pipeline[-1].feature_names_in_.tolist() == list("abcd")
    with pytest.raises(ValueError, match="feature names should match"):
        pipeline[-1].predict(frame[list("dcba")])
    with sklearn.config_context(enable_metadata_routing=True):
        network = MLPClassifier((5,), max_iter=2).set_fit_request(sample_weight=True)
        network.set_score_request(sample_weight=False)
        weights = {"sample_weight": np.ones(len(SPECIES))}
        assert cross_val_score(network, IRIS, SPECIES, params=weights, cv=2).shape == (2,)
    assert "MLPClassifier" in pipeline._repr_html_()
    assert repr(MLPClassifier(dropout=0.5)) == "MLPClassifier(dropout=0.5)"
    tags = MLPClassifier().__sklearn_tags__()
    assert tags.input_tags.sparse
    assert tags.classifier_tags.multi_label


def test_large_numbers_are_taken_and_infinite_ones_refused() -> None:
    rows = IRIS.astype(np.float32)
    fitted = MLPClassifier((5,), "tanh", max_iter=2, random_state=0).fit(rows, SPECIES)
    large = np.full((3, 4), 2e38, np.float32)
    assert fitted.predict(large).shape == (3,)
    for bad in (np.inf, np.nan):
        with pytest.raises(ValueError, match="Input X contains"):
            fitted.predict(np.full((3, 4), bad, np.float32))


def test_dropout_is_drawn_by_the_random_state() -> None:
    def loss(seed: Any) -> float:
        fitted = MLPClassifier((20,), dropout=0.5, max_iter=1, random_state=seed, solver="sgd")
        return float(fitted.fit(IRIS, SPECIES).loss_)

    assert loss(1) == loss(1)
    assert loss(np.random.RandomState(1)) == loss(np.random.RandomState(1))
    kept = MLPClassifier((20,), dropout=0.5, max_iter=1, random_state=np.random.RandomState(3))
    seeds = {kept.fit(IRIS, SPECIES).recipe_.descent.seed for _ in range(3)}
    assert len(seeds) == 3


def test_calls_from_several_threads_do_not_meet() -> None:
    fitted = MLPClassifier((50, 50), max_iter=2, random_state=0).fit(DIGITS, DIGIT)
    expected = [fitted.predict_proba(DIGITS[k : k + 40]) for k in range(0, 640, 40)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            found = pool.map(lambda k: fitted.predict_proba(DIGITS[k : k + 40]), range(0, 640, 40))
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("jobs", [1, 2, -1])
def test_the_number_of_threads_changes_no_bit(jobs: int) -> None:
    settings: dict[str, Any] = {"max_iter": 2, "random_state": 0, "hidden_layer_sizes": (64, 64)}
    one = MLPClassifier(n_jobs=1, **settings).fit(DIGITS, DIGIT)
    other = MLPClassifier(n_jobs=jobs, **settings).fit(DIGITS, DIGIT)
    np.testing.assert_array_equal(one.network_.theta, other.network_.theta)


def test_a_fit_that_fails_under_early_stopping_says_that_it_takes_the_best_theta() -> None:
    features, target = load_diabetes(return_X_y=True)
    fitted = MLPRegressor(
        hidden_layer_sizes=(8,), activation="identity", solver="sgd", learning_rate_init=1e3,
        early_stopping=True, random_state=0,
    )  # fmt: skip
    with pytest.warns(ConvergenceWarning, match=r"With early_stopping, the theta of the best"):
        fitted.fit(features, target)
    for values, best in zip((fitted.network_.theta, fitted.network_.statistics), fitted._best,
                            strict=True):  # fmt: skip
        np.testing.assert_array_equal(values, best)
