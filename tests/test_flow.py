"""Pictures by layer on the way back: numbers from the trace, causes named."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from accounts import account_of, changed, make_trace, trace_of
from downslope import flow
from downslope.account import Account
from downslope.arrival import ARRIVES, by_layer, seen_in_flow


@pytest.fixture(scope="module")
def iris() -> Account:
    return account_of("iris")


def with_trace(account: Account, *arguments: Any, **options: Any) -> Account:
    return replace(account, trace=make_trace(*arguments, **options))


@pytest.fixture(scope="module")
def deep() -> Account:
    """Eight layers, the last of 3 units, the others of 8."""
    return account_of("iris", layers=[8] * 7)


def test_the_heatmap_holds_the_traces_numbers(iris: Account) -> None:
    account = with_trace(iris, 3, 0.5)
    heat = flow.gradient_flow(account).content["data"][0]
    assert heat["z"].shape == (3, len(trace_of(account).steps))
    row = trace_of(account).layers.filter((pl.col("layer") == 2) & (pl.col("step") == 100))
    place = list(heat["x"]).index(100)
    np.testing.assert_allclose(10 ** heat["z"][1, place], row["dw_rms"][0])


def test_many_steps_are_thinned(iris: Account) -> None:
    heat = flow.gradient_flow(with_trace(iris, 3, steps=np.arange(1, 3001))).content["data"][0]
    assert heat["z"].shape[1] == len(heat["x"]) <= flow.CELLS
    assert (heat["x"][0], heat["x"][-1]) == (1, 3000)
    assert flow.step_axis(heat["x"])["range"] == [0.5, 3000.5]


def test_gradients_of_zero_are_gaps(iris: Account) -> None:
    account = replace(iris, trace=changed(make_trace(3), "layers", dw_rms=pl.lit(0.0)))
    section = flow.gradient_flow(account)
    assert np.isnan(section.content["data"][0]["z"]).all()
    assert section.seen.startswith("No weight has a gradient in any recorded step: ")


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
        **{name: pl.lit(value) for name, value in ({"dead": 0.0} | columns).items()},
    )
    seen = seen_in_flow(replace(iris, trace=trace))
    assert f"{who} gradient after step 1,000: {cause}." in seen


def test_a_loss_without_a_gradient_is_named(iris: Account) -> None:
    trace = changed(
        make_trace(3), "layers", dw_rms=pl.lit(0.0), dead=pl.lit(0.0), dy_rms=pl.lit(0.0)
    )
    seen = seen_in_flow(replace(iris, trace=trace))
    assert seen.endswith("the loss has none, dL/dy of the last layer is 0.")


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
    seen = flow.gradient_flow(with_trace(deep, 8, factor)).seen
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
    seen = flow.gradient_flow(replace(account, trace=trace)).seen
    assert re.fullmatch(
        r"In step 2 the gradient was (1|1\.\d|9\.\d)·10[⁸⁹] times larger than in step 1\.", seen
    )


def test_what_arrives_has_no_cause(deep: Account) -> None:
    seen = flow.gradient_flow(with_trace(deep, 8, 0.9)).seen
    assert seen.endswith("it arrives.")


@pytest.mark.parametrize("data", ["iris", "digits", "diabetes", "wine"])
@pytest.mark.parametrize("changes", [{}, {"batch": 1}, {"epochs": 2}, {"normalize": "batch"}])
def test_of_networks_that_learn_the_error_arrives(data: str, changes: dict[str, Any]) -> None:
    account = account_of(data, layers=[256, 256], trace="own", **({"epochs": 5} | changes))
    assert seen_in_flow(account).endswith("it arrives.")


def test_an_error_that_vanishes_is_seen_where_all_gradients_are_alike() -> None:
    account = account_of("diabetes", layers=[32] * 9, activation="tanh", batch="full", rule="gd",
                         initializer="normal(std=0.01)", epochs=50, trace="own")  # fmt: skip
    _, _, table = by_layer(account, "dw_rms")
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
    assert flow.gradient_flow(account).seen.endswith(said)


def test_the_causes_are_drawn_by_layer(deep: Account) -> None:
    _, weights, slopes = flow.gradient_flow(with_trace(deep, 8, 0.1)).content["data"]
    last = -0.25 + np.log10(8 / 3) / 2
    np.testing.assert_allclose(weights["y"], [np.nan, *[-0.25] * 6, last], atol=1e-12)
    np.testing.assert_allclose(slopes["y"], [*[-0.75] * 7, np.nan], atol=1e-12)


def test_updates_stand_against_a_thousandth(iris: Account) -> None:
    section = flow.updates(with_trace(iris, 3))
    *layers, guide = section.content["data"]
    assert len(layers) == 3
    assert guide["y"] == [1e-3, 1e-3]
    assert "slowest" in section.seen
    still = replace(iris, trace=changed(make_trace(3), "layers", update_ratio=pl.lit(0.0)))
    assert flow.updates(still).content is None


def test_the_legend_of_a_deep_network_is_short(iris: Account) -> None:
    *layers, _ = flow.updates(with_trace(iris, 50)).content["data"]
    shown = [each["name"] for each in layers if each.get("showlegend", True)]
    assert shown == ["layer 1", "layer 26", "layer 50"]


def test_layers_of_a_deep_network_go_from_one_color_to_another() -> None:
    colors = [flow.color_of_layer(number, 50) for number in range(50)]
    assert len(set(colors)) > 40
    assert all(len(each) == 7 for each in colors)


def test_profiles_draw_a_curve_a_run(iris: Account) -> None:
    runs = [with_trace(iris, 4, 0.1), replace(with_trace(iris, 6), name="other"), iris]
    section = flow.profile(runs, "dw_rms", "Gradient by layer", "rms of dL/dW")
    first, second = section.content["data"]
    assert (len(first["y"]), len(second["y"])) == (4, 6)
    assert first["y"][0] / first["y"][-1] == pytest.approx(1e-3, rel=0.1)
    assert (first["name"], second["name"]) == ("iris", "other")


def test_without_a_trace_there_is_a_sentence(iris: Account) -> None:
    for make in (flow.gradient_flow, flow.updates):
        section = make(iris)
        assert section.content is None
        assert section.sentence
    assert flow.profile([iris], "dead", "Dead", "share").content is None


def test_a_failed_step_is_drawn_as_a_gap(iris: Account) -> None:
    account = with_trace(iris, 3, fails=True)
    assert np.isnan(flow.gradient_flow(account).content["data"][0]["z"][:, -1]).all()
    assert flow.updates(account).content is not None
