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


@pytest.fixture(scope="module")
def iris() -> Account:
    return account_of("iris")


def with_trace(account: Account, *arguments: Any, **options: Any) -> Account:
    return replace(account, trace=make_trace(*arguments, **options))


def test_the_heatmap_holds_the_traces_numbers(iris: Account) -> None:
    account = with_trace(iris, 4, 0.5)
    heat = flow.gradient_flow(account).content["data"][0]
    assert heat["z"].shape == (4, len(trace_of(account).steps))
    row = trace_of(account).layers.filter((pl.col("layer") == 2) & (pl.col("step") == 100))
    place = list(heat["x"]).index(100)
    np.testing.assert_allclose(10 ** heat["z"][1, place], row["dw_rms"][0])


def test_many_steps_are_thinned(iris: Account) -> None:
    heat = flow.gradient_flow(with_trace(iris, 3, steps=np.arange(1, 3001))).content["data"][0]
    assert heat["z"].shape[1] == len(heat["x"]) <= flow.CELLS
    assert (heat["x"][0], heat["x"][-1]) == (1, 3000)


def test_gradients_of_zero_are_gaps(iris: Account) -> None:
    account = replace(iris, trace=changed(make_trace(3), "layers", dw_rms=pl.lit(0.0)))
    section = flow.gradient_flow(account)
    assert np.isnan(section.content["data"][0]["z"]).all()
    assert "No step had a gradient above 0" in section.seen


@pytest.mark.parametrize(
    ("factor", "said"),
    [(0.1, "it vanishes"), (10.0, "it explodes"), (0.5, "it weakens"), (2.0, "it grows")],
)
def test_vanishing_and_exploding_are_named_with_their_cause(
    iris: Account, factor: float, said: str
) -> None:
    seen = flow.gradient_flow(with_trace(iris, 8, factor)).seen
    assert said in seen
    verb = "take" if factor < 1 else "add"
    found = re.search(rf"φ' {verb}s ([\d.]+) powers of ten and the weights {verb} ([\d.]+):", seen)
    assert found
    decades = abs(7 * np.log10(factor))
    assert float(found[1]) == pytest.approx(0.75 * decades, abs=0.06)
    assert float(found[2]) == pytest.approx(0.25 * decades, abs=0.06)
    assert "the cause is φ'" in seen


def test_a_failed_run_says_how_its_gradient_grew(iris: Account) -> None:
    account = replace(iris, reason="not finite: it left the finite numbers")
    trace = make_trace(3, fails=True, steps=np.array([1, 2, 3]))
    scale = pl.when(pl.col("step") == 2).then(1e9).otherwise(1.0)
    trace = changed(trace, "layers", dw_rms=pl.col("dw_rms") * scale)
    seen = flow.gradient_flow(replace(account, trace=trace)).seen
    assert re.fullmatch(
        r"In step 2 the gradient was (1|1\.\d|9\.\d)·10[⁸⁹] times larger than in step 1\.", seen
    )


def test_what_arrives_has_no_cause(iris: Account) -> None:
    seen = flow.gradient_flow(with_trace(iris, 8, 0.9)).seen
    assert seen.endswith("it arrives.")


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


def test_the_causes_are_drawn_by_layer(iris: Account) -> None:
    _, weights, slopes = flow.gradient_flow(with_trace(iris, 5, 0.1)).content["data"]
    np.testing.assert_allclose(weights["y"], [0, -0.25, -0.25, -0.25, -0.25], atol=1e-12)
    np.testing.assert_allclose(slopes["y"], [-0.75, -0.75, -0.75, -0.75, 0], atol=1e-12)


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
