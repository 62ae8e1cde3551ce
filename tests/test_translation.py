from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from downslope import MLPClassifier, MLPRegressor
from downslope.catalogue import RULES, choose
from downslope.errors import InvalidValueError
from downslope.translation import Named, as_run, descent_of, network_of, rule_of


def settings(**changes: Any) -> dict[str, Any]:
    return MLPRegressor(**changes)._settings()


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"solver": "sgd"}, "nesterov(momentum=0.9)"),
        ({"solver": "sgd", "nesterovs_momentum": False}, "momentum(momentum=0.9)"),
        ({"solver": "sgd", "momentum": 0}, "gd"),
        ({"solver": "adam", "beta_1": 0.5}, "adam(0.5, 0.999, 1e-8, 1)"),
        ({"solver": "Adam", "beta_1": 0.5}, "adam(0.5, 0.999, 1e-8, 1)"),
        ({"solver": "Adam(0.8)", "beta_1": 0.5}, "adam(0.8)"),
        ({"solver": "lion(beta1=0.8)"}, "lion(beta1=0.8)"),
    ],
)
def test_solvers_are_rules(changes: dict[str, Any], rule: str) -> None:
    assert choose("rule", rule_of(settings(**changes))) == choose("rule", rule)


def test_a_momentum_of_one_is_taken_as_scikit_learn_takes_it() -> None:
    X, y = np.random.default_rng(0).normal(size=(2, 20, 1))
    fitted = MLPRegressor("squared_error", (3,), solver="sgd", momentum=1.0, max_iter=2)
    with pytest.warns(UserWarning, match="hasn't converged"):
        fitted.fit(X, y[:, 0])
    assert choose("rule", str(fitted.recipe_.descent.rule)).options["momentum"] > 1 - 1e-15


@pytest.mark.parametrize(
    ("changes", "schedule"),
    [
        ({}, "constant"),
        ({"solver": "adam", "learning_rate": "invscaling"}, "constant"),
        ({"solver": "Adam", "learning_rate": "adaptive"}, "constant"),
        ({"solver": "sgd", "learning_rate": "invscaling"}, "inverse_scaling(0.5)"),
        ({"solver": "momentum", "learning_rate": "cosine"}, "cosine"),
        (
            {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 4},
            "plateau(factor=0.2, patience=4, tolerance=0, low=1e-6)",
        ),
    ],
)
def test_learning_rates_are_schedules(changes: dict[str, Any], schedule: str) -> None:
    descent = descent_of(settings(**changes), 100, "float64", 0)
    assert choose("schedule", str(descent.schedule)) == choose("schedule", schedule)
    ours = as_run(descent, settings(**changes)["learning_rate"])
    assert ours.schedule == ("cosine" if schedule == "cosine" else "constant")
    assert (ours.epochs, ours.validation, ours.patience) == (200, 0.0, None)


def test_batches_and_layers() -> None:
    cases: list[Any] = [("auto", 90, 90), ("auto", 900, 200), (7, 90, 7), ("full", 9, "full")]
    for batch, rows, expected in cases:
        assert descent_of(settings(batch_size=batch), rows, "float64", 0).batch == expected
    layers = np.array([4, 3])
    chosen = settings(hidden_layer_sizes=layers, activation=["logistic", "elu"])
    network = network_of(chosen, "regression")
    assert network.layers == (4, 3)
    assert network.activation == ("sigmoid", "elu")
    assert network_of(settings(hidden_layer_sizes=6), "regression").layers == (6,)


def test_a_name_with_options_satisfies_a_constraint() -> None:
    named = Named("rule", ["sgd"], ["adam", "lion"])
    assert all(map(named.is_satisfied_by, ("sgd", "adam", "lion(beta1=0.5)")))
    assert not any(map(named.is_satisfied_by, ("gd", "lion(beta=1)", 3, None, ["adam"])))
    assert str(named) == "a str among {'sgd', 'adam', 'lion'}, with its options or without"


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"solver": "lion(beta9=0.95)"},
         r"^MLPClassifier: solver: rule 'lion' has no option 'beta9': .*'beta1', 'beta2'$"),
        ({"solver": "Adam(beta3=1)"}, "solver: rule 'adam' has no option 'beta3': did you mean"),
        ({"solver": "adam(beta1=x)"}, "solver: rule 'adam': option 'beta1' takes a finite number"),
        ({"solver": "adam("}, "solver: unknown rule 'adam[(]': "),
        ({"activation": "elu(beta=1)"}, "activation: activation 'elu' has no option 'beta'"),
        ({"learning_rate": "cosine(last=1)"}, "schedule 'cosine' has no option 'last'"),
    ],
)  # fmt: skip
def test_options_that_a_name_does_not_have(parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidValueError, match=says):
        MLPClassifier(**parameters).fit([[0.0], [1.0]], [0, 1])


def test_a_name_that_there_is_not_is_refused_in_scikit_learns_words() -> None:
    listed = ", ".join(repr(name) for name in ("lbfgs", "sgd", *RULES))
    says = f"'solver' parameter of MLPClassifier must be a str among {{{listed}}}, with its options"
    with pytest.raises(ValueError, match=re.escape(says)):
        MLPClassifier(solver="lino").fit([[0.0], [1.0]], [0, 1])


def test_every_parameter_has_a_constraint() -> None:
    for Estimator in (MLPClassifier, MLPRegressor):
        assert set(Estimator._parameter_constraints) == set(Estimator().get_params())
