"""Whether the error arrives: causes named, by traces made up and by networks trained."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from accounts import account_of, changed, make_trace, with_trace
from downslope.account import Account
from downslope.arrival import ARRIVES, lately, seen_in_flow, shrinkage


@pytest.fixture(scope="module")
def iris() -> Account:
    return account_of("iris")


@pytest.fixture(scope="module")
def deep() -> Account:
    """Eight layers, the last of 3 units, the others of 8."""
    return account_of("iris", layers=[8] * 7)


@pytest.mark.parametrize(
    ("silent", "who"),
    [(3, "No weight has a"), (2, "layers 1 and 2 have no"), (1, "layer 1 have no")],
)
@pytest.mark.parametrize(
    ("columns", "cause"),
    [
        (
            {"dead": 1.0, "flat": 1.0},
            "every unit of layers 1 and 2 is dead, giving 0 for every row",
        ),
        ({"dead": 0.0, "flat": 1.0}, "every value of layers 1 and 2 is in the flat zone of φ"),
        ({"x_rms": 0.0}, "the inputs are 0"),
        ({"w_norm": 0.0}, "the weights of layers 2 and 3 are still 0"),
        ({}, "what is left of the error is too small for float32"),
    ],
)
def test_a_first_layer_without_a_gradient_says_why(
    iris: Account, silent: int, who: str, columns: dict[str, float], cause: str
) -> None:
    late = (pl.col("step") > 1000) & (pl.col("layer") <= silent)
    trace = changed(
        make_trace(3),
        "layers",
        dw_rms=pl.when(late).then(0.0).otherwise(pl.col("dw_rms")),
        **{
            name: pl.when((pl.col("layer") < 3) | (name not in ("dead", "flat")))
            .then(value)
            .otherwise(0.0)
            for name, value in ({"dead": 0.0} | columns).items()
        },
    )
    seen = seen_in_flow(replace(iris, trace=trace))
    assert f"{who} gradient after step 951: {cause}." in seen


def test_the_zeros_an_output_layer_starts_with_are_named_after_one_step() -> None:
    account = account_of("iris", batch="full", epochs=1, trace="own")
    assert seen_in_flow(account) == (
        "The weights of layers 1 and 2 have no gradient in any recorded step: the weights of layer "
        "3 are still 0."
    )


def test_a_failed_run_is_told_by_the_steps_before(iris: Account) -> None:
    trace = make_trace(3, 0.1, steps=np.arange(1, 6), fails=True)
    failed = replace(iris, reason="not finite: it left the finite numbers", trace=trace)
    for values in (lately(failed, "y_std"), shrinkage(failed)[1][1:], shrinkage(failed)[2][:-1]):
        assert np.isfinite(values).all()


def test_a_loss_without_a_gradient_is_named(iris: Account) -> None:
    trace = changed(
        make_trace(3), "layers", dw_rms=pl.lit(0.0), dead=pl.lit(0.0), dy_rms=pl.lit(0.0)
    )
    seen = seen_in_flow(replace(iris, trace=trace))
    assert seen.endswith("the loss has none, dL/dy of the last layer is 0.")


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("softmax", "the softmax of a single output is 1 whatever z is; take sigmoid"),
        ("relu", "every unit of layer 2 is dead, giving 0 for every row"),
    ],
)
@pytest.mark.parametrize("loss", ["binary_cross_entropy", "squared_error"])
def test_an_output_that_passes_no_gradient_is_named(output: str, loss: str, cause: str) -> None:
    changes: dict[str, Any] = {"output_activation": output, "loss": loss, "epochs": 2}
    account = account_of("breast_cancer", trace="own", layers=[4], **changes)
    assert f"No weight has a gradient in any recorded step: {cause}." in seen_in_flow(account)


def test_dead_layers_are_named_in_a_trained_network() -> None:
    account = account_of("digits", layers=[32, 32], learning_rate=3.0, epochs=10, trace="own")
    assert "dead, giving 0 for every row." in seen_in_flow(account)


@pytest.mark.parametrize(("size", "said"), [(230.0, "of 230, "), (2e-4, "of 2·10⁻⁴, "), (1.0, "")])
def test_inputs_of_an_odd_size_are_named(iris: Account, size: float, said: str) -> None:
    trace = changed(make_trace(3), "layers", x_rms=pl.lit(size))
    seen = seen_in_flow(replace(iris, trace=trace))
    assert ("scale them" in seen) == bool(said)
    assert said in seen


@pytest.mark.parametrize(
    ("factor", "said"),
    [(0.1, "it vanishes"), (10.0, "it explodes"), (0.5, "it weakens"), (2.0, "it grows")],
)
def test_vanishing_and_exploding_are_named_with_their_cause(
    deep: Account, factor: float, said: str
) -> None:
    seen = seen_in_flow(with_trace(deep, 8, factor))
    assert said in seen
    verb = "take" if factor < 1 else "add"
    found = re.search(rf"φ' {verb}s (\d+\.\d) powers of ten and the weights {verb} (\d+\.\d)", seen)
    assert found
    decades = 7 * np.log10(factor)
    assert float(found[1]) == pytest.approx(abs(0.75 * decades), abs=0.06)
    # Lengths, not root mean squares: 8 units share what comes back from 3.
    assert float(found[2]) == pytest.approx(abs(0.25 * decades + np.log10(8 / 3) / 2), abs=0.06)
    assert ("the cause is φ'" in seen) == ("vanishes" in said or "explodes" in said)


def test_a_failed_run_says_how_its_gradient_grew(iris: Account) -> None:
    account = replace(iris, reason="not finite: it left the finite numbers")
    trace = make_trace(3, fails=True, steps=np.array([1, 2, 3]))
    scale = pl.when(pl.col("step") == 2).then(1e9).otherwise(1.0)
    trace = changed(trace, "layers", dw_rms=pl.col("dw_rms") * scale)
    seen = seen_in_flow(replace(account, trace=trace))
    assert re.fullmatch(
        r"In step 2 the gradient was (1|1\.\d|9\.\d)·10[⁸⁹] times larger than in step 1\.", seen
    )


def test_what_arrives_has_no_cause(deep: Account) -> None:
    seen = seen_in_flow(with_trace(deep, 8, 0.9))
    assert seen.endswith("it arrives.")


@pytest.mark.parametrize("data", ["iris", "digits", "diabetes", "wine"])
@pytest.mark.parametrize("changes", [{}, {"batch": 1}, {"epochs": 2}, {"normalize": "batch"}])
def test_of_networks_that_learn_the_error_arrives(data: str, changes: dict[str, Any]) -> None:
    account = account_of(data, layers=[256, 256], trace="own", **({"epochs": 5} | changes))
    assert seen_in_flow(account).endswith("it arrives.")


def test_an_error_that_vanishes_is_seen_where_all_gradients_are_alike() -> None:
    account = account_of("diabetes", layers=[32] * 9, activation="tanh", batch="full", rule="gd",
                         initializer="normal(std=0.01)", epochs=50, trace="own")  # fmt: skip
    _, _, table = account.by_layer("dw_rms")
    assert abs(np.log10(table[0, -1] / table[-1, -1])) < ARRIVES
    seen = seen_in_flow(account)
    assert "it vanishes. On the way φ' takes 0.0 powers of ten" in seen
    assert seen.endswith("the cause is the weights.")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"activation": "sigmoid", "initializer": "glorot_normal"}, "the cause is φ'."),
        ({"activation": "tanh", "initializer": "normal(std=0.01)"}, "the cause is the weights."),
        ({"activation": "relu", "initializer": "he_normal"}, "it arrives."),
    ],
)
def test_trained_networks_show_what_the_textbooks_say(changes: dict[str, str], said: str) -> None:
    account = account_of("digits", layers=[32] * 9, rule="gd", epochs=2, trace="own", **changes)
    assert seen_in_flow(account).endswith(said)
