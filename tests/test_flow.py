"""Pictures by layer on the way back: numbers from the trace, causes named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from accounts import account_of, changed, make_trace, trace_of, with_trace
from downslope import flow
from downslope.account import Account


@pytest.fixture(scope="module")
def iris() -> Account:
    return account_of("iris")


@pytest.fixture(scope="module")
def deep() -> Account:
    """Eight layers, the last of 3 units, the others of 8."""
    return account_of("iris", layers=[8] * 7)


def test_the_heatmap_holds_the_traces_numbers(iris: Account) -> None:
    account = with_trace(iris, 3, 0.5)
    heat = flow.gradient_flow(account).content["data"][0]
    assert heat["z"].shape == (3, len(trace_of(account).steps))
    row = trace_of(account).layers.filter((pl.col("layer") == 2) & (pl.col("step") == 101))
    place = list(heat["x"]).index(101)
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


def test_a_share_of_hidden_layers_is_drawn_of_runs_that_have_one(iris: Account) -> None:
    linear = replace(with_trace(account_of("iris", layers=[]), 1), name="linear")
    several = [linear, with_trace(iris, 3)]
    for column in ("dead", "flat"):
        section = flow.profile([linear, linear], column, "Share", "share", hidden_only=True)
        assert section.content is None
        section = flow.profile(several, column, "Share", "share", hidden_only=True)
        assert [each["name"] for each in section.content["data"]] == ["iris"]
    still = replace(iris, trace=changed(make_trace(3), "layers", dw_rms=pl.lit(float("nan"))))
    assert flow.profile([still], "dw_rms", "Gradient by layer", "rms of dL/dW").content is None


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
