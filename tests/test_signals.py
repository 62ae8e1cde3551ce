"""Pictures by layer on the way forward."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from accounts import account_of, changed, make_trace, trace_of
from downslope import signals
from downslope.account import Account


@pytest.fixture(scope="module")
def iris() -> Account:
    return account_of("iris", trace=make_trace(4), layers=[8, 8, 8])


def test_outputs_are_drawn_at_three_steps(iris: Account) -> None:
    data = signals.activations(iris).content["data"]
    assert [each["name"] for each in data] == ["1", "750", "2,000"]
    last = trace_of(iris).layers.filter(pl.col("step") == 2000)
    np.testing.assert_allclose(data[-1]["y"], last["y_mean"])
    np.testing.assert_allclose(data[-1]["error_y"]["array"], last["y_std"])


def test_a_layer_that_tells_no_rows_apart_is_named(iris: Account) -> None:
    narrow = pl.when(pl.col("layer") == 2).then(1e-6).otherwise(pl.col("y_std"))
    trace = changed(make_trace(4), "layers", y_std=narrow)
    assert "layer 2" in signals.activations(replace(iris, trace=trace)).seen


def test_the_spread_of_outputs_is_not_taken_for_that_of_the_rows(iris: Account) -> None:
    section = signals.activations(iris)
    assert "rows and units together" in section.sentence
    assert "more and more alike" not in section.sentence
    narrow = pl.when(pl.col("layer") == 2).then(1e-6).otherwise(0.5)
    trace = changed(make_trace(3), "layers", y_std=narrow)
    seen = signals.activations(replace(iris, trace=trace)).seen
    assert (
        seen
        == "At the end y of layer 2 spreads over rows and units by 1·10⁻⁶, that of layer 1 by 0.5."
    )


def test_units_idle_in_a_small_batch_are_not_called_dead(iris: Account) -> None:
    trace = changed(make_trace(4), "steps", rows=1)
    section = signals.dead(replace(iris, trace=trace))
    assert "batch (1)" in section.sentence
    assert "every training row" in section.sentence
    assert "a layer that dies" not in section.sentence
    (heat,) = section.content["data"]
    assert heat["colorbar"]["title"]["text"] == "idle in a batch"


def test_dead_units_leave_the_output_layer_out_and_name_the_worst(iris: Account) -> None:
    section = signals.dead(iris)
    (heat,) = section.content["data"]
    np.testing.assert_array_equal(heat["y"], [1, 2, 3])
    np.testing.assert_allclose(heat["z"][:, -1], [0.25, 0, 0])
    assert (heat["zmin"], heat["zmax"]) == (0, 1)
    assert "epoch 10, 12% of the units of layer 1" in section.seen


def test_flat_zone_names_the_worst_layer(iris: Account) -> None:
    assert "50% of layer 1's values" in signals.flat(iris).seen


@pytest.mark.parametrize("make", [signals.z, signals.gradients])
def test_distributions_have_a_slider_and_sum_to_one(iris: Account, make: Any) -> None:
    content = make(iris).content
    assert len(content["frames"]) == len(content["layout"]["sliders"][0]["steps"]) > 3
    for frame in content["frames"]:
        np.testing.assert_allclose(frame["data"][0]["z"].sum(axis=1), 1, atol=0.02)


def test_bins_without_a_finite_edge_are_left_out(iris: Account) -> None:
    low = pl.when(pl.col("low") < -2.4).then(float("-inf")).otherwise(pl.col("low"))
    trace = changed(make_trace(2), "histograms", low=low)
    content = signals.z(replace(iris, trace=trace)).content
    assert np.isfinite(content["data"][0]["x"]).all()
    assert np.isfinite(content["data"][0]["z"]).all()


def test_without_a_trace_there_is_a_sentence(iris: Account) -> None:
    bare = replace(iris, trace=None)
    makers = (signals.activations, signals.dead, signals.flat, signals.z, signals.gradients)
    for make in makers:
        section = make(bare)
        assert section.content is None
        assert section.sentence
