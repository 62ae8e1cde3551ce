from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from downslope import Descent, MLPClassifier, MLPRegressor, Network, Recipe
from downslope.catalogue import RULES, choose
from downslope.errors import InvalidValueError
from downslope.translation import (
    _OPTIONS,
    Named,
    as_run,
    descent_of,
    network_of,
    refuse_contradictions,
    rule_of,
)


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
        ({"solver": "Adam(0.8)"}, "adam(0.8)"),
        ({"solver": "lion(beta1=0.8)"}, "lion(beta1=0.8)"),
    ],
)
def test_solvers_are_rules(changes: dict[str, Any], rule: str) -> None:
    assert choose("rule", rule_of(settings(**changes))) == choose("rule", rule)


@pytest.mark.filterwarnings("ignore:.*hasn't converged")
@pytest.mark.parametrize(
    "rule",
    [*RULES, "adam(beta1=0.8)", "adam(uncorrected=1)", "Adam(0.9, 0.999)", "momentum(0.5)",
     "nesterov(momentum=0.5)"],
)  # fmt: skip
def test_a_recipe_keeps_its_rule(rule: str) -> None:
    descent = Descent("full", rule, learning_rate=1e-3, epochs=1, validation=0)
    recipe = Recipe(Network([3]), descent)
    fitted = MLPClassifier.from_recipe(recipe).fit([[0.0], [1.0]], [0, 1])
    assert fitted.recipe_.descent.rule == recipe.descent.rule


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


def test_of_rprop_a_batch_of_all_rows_is_the_full_one() -> None:
    cases: list[Any] = [("auto", 150), ("auto", 200), (150, 150), (1000, 150), ("full", 9000)]
    for batch, rows in cases:
        found = descent_of(settings(solver="RProp(plus=1.3)", batch_size=batch), rows, "float64", 0)
        assert found.batch == "full"
    for batch, shown in (("auto", "'auto', 200"), (32, "32, 32")):
        says = f"set batch_size='full'; got batch_size={shown} of 201 rows"
        with pytest.raises(InvalidValueError, match=f"solver='rprop' compares signs .*{says}"):
            descent_of(settings(solver="rprop", batch_size=batch), 201, "float64", 0)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"clip_norm": 1.0}, "clip_norm"),
        ({"clip_value": 1.0, "weight_decay": 0.1}, "clip_value, weight_decay"),
        ({"dropout": [0.0, 0.1], "warmup": 3}, "dropout, warmup"),
        ({"learning_rate": "cosine"}, "learning_rate"),
    ],
)
def test_lbfgs_refuses_what_it_would_not_hear(changes: dict[str, Any], names: str) -> None:
    with pytest.raises(InvalidValueError, match=f"^MLP: solver='lbfgs' .* takes no {names}; leave"):
        refuse_contradictions("MLP", settings(solver="lbfgs", **changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"solver": "adam(beta1=.5)", "beta_1": 0.8}, r"beta_1=0.8 .* goes by beta1=0.5; write it"),
        ({"solver": "lion", "beta_2": 0.8}, r"goes by beta2=0.99; .* solver='lion\(beta2=0.8\)'"),
        ({"solver": "rmsprop", "momentum": 0.5}, "momentum=0.5 is for solver='adam' or 'sgd'"),
        ({"solver": "adagrad", "epsilon": 1e-3}, "goes by epsilon=1e-10"),
    ],
)
def test_a_parameter_and_an_option_of_one_thing(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidValueError, match=says):
        refuse_contradictions("MLP", settings(**changes))


def test_what_scikit_learns_solvers_do_not_hear_goes_through() -> None:
    own: dict[str, Any] = {
        "learning_rate_init": 0.1, "momentum": 0.5, "beta_1": 0.5, "beta_2": 0.5, "epsilon": 1e-3,
        "power_t": 0.1, "batch_size": 7, "shuffle": False, "nesterovs_momentum": False,
        "early_stopping": True,
    }  # fmt: skip
    for named in ("lbfgs", "sgd", "adam", "Adam"):
        for schedule in ("constant", "invscaling", "adaptive"):
            refuse_contradictions("MLP", settings(solver=named, learning_rate=schedule, **own))
    refuse_contradictions("MLP", settings(solver="lbfgs", l1=0.1, alpha=1.0))
    refuse_contradictions("MLP", settings(solver="adam(beta1=0.5)", beta_1=0.5))
    for rule in RULES:
        refuse_contradictions("MLP", settings(solver=f"{rule}()"))


def test_the_defaults_are_known() -> None:
    for name, (_, usual) in _OPTIONS.items():
        assert MLPClassifier().get_params()[name] == usual


def test_a_list_of_names_holds_each_once() -> None:
    constraints = MLPClassifier._parameter_constraints
    for name in ("solver", "learning_rate", "activation"):
        listed = re.findall(r"'(\w+)'", str(constraints[name][0]))
        assert len(listed) == len(set(listed)) > 3
    assert not constraints["activation"][0].is_satisfied_by("softmax")


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
        ({"solver": "adam(beta1=2)"}, r"solver: rule 'adam': beta1 must lie in \[0, 1\); got 2"),
        ({"solver": "adam(.9, beta1=.5)"}, "solver: rule 'adam': beta1 is given twice"),
        ({"solver": "lbfgs", "warmup": 2}, "^MLPClassifier: solver='lbfgs' .* no warmup"),
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
