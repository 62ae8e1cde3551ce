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
from downslope.trace import Trace


@pytest.fixture(scope="module")
def iris() -> Account:
    return account_of("iris", trace=make_trace(4), layers=[8, 8, 8])


def test_outputs_are_drawn_at_three_steps(iris: Account) -> None:
    data = signals.activations(iris).content["data"]
    assert [each["name"] for each in data] == ["1", "751", "2,001"]
    last = trace_of(iris).layers.filter(pl.col("step") == 2001)
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
    assert "After step 2,001, 12% of the units of layer 1" in section.seen


def test_a_linear_model_has_no_dead_units_and_no_flat_zone() -> None:
    linear = account_of("iris", layers=[], trace=make_trace(1))
    for make in (signals.dead, signals.flat):
        assert make(linear).content is None
        assert "no hidden layer" in make(linear).sentence


def test_flat_zone_names_the_worst_layer(iris: Account) -> None:
    assert "50% of layer 1's values" in signals.flat(iris).seen


@pytest.mark.parametrize("make", [signals.z, signals.gradients])
def test_distributions_have_a_slider_and_hold_every_value(iris: Account, make: Any) -> None:
    content = make(iris).content
    assert len(content["frames"]) == len(content["layout"]["sliders"][0]["steps"]) > 3
    for frame in content["frames"]:
        np.testing.assert_allclose(np.nansum(frame["data"][0]["z"], axis=1), 1)


def with_bins(account: Account, *rows: tuple[Any, ...]) -> Account:
    """Give the account with these bins: step, layer, quantity, low, high, count."""
    trace = trace_of(account)
    frame = pl.DataFrame(rows, trace.histograms.schema, orient="row")
    return replace(account, trace=Trace({**trace.frames, "histograms": frame}))


def test_what_lies_beyond_is_counted_at_the_ends(iris: Account) -> None:
    account = with_bins(
        iris,
        (1, 1, "z", -0.5, 0.5, 50),
        (1, 2, "z", -np.inf, -8.0, 30),
        (1, 2, "z", 1.0, 1.25, 10),
        (1, 2, "z", 8.0, np.inf, 60),
        (2, 1, "z", -np.inf, -8.0, 9),  # a step with such values only
        (2, 2, "z", 8.0, np.inf, 9),
    )
    section = signals.z(account)
    first, last = (frame["data"][0]["z"] for frame in section.content["frames"])
    np.testing.assert_allclose(first[:, [0, -1]], np.array([[0, 0], [0.3, 0.6]]))
    np.testing.assert_allclose(last[:, [0, -1]], np.eye(2))
    for table in (first, last):
        np.testing.assert_allclose(np.nansum(table, axis=1), 1)
    axis = section.content["layout"]["xaxis"]
    assert (axis["ticktext"][0], axis["ticktext"][-1]) == ("below −8", "above 8")
    heat = section.content["data"][0]
    assert (axis["tickvals"][0], axis["tickvals"][-1]) == (heat["x"][0], heat["x"][-1])
    assert (heat["text"][0][0], heat["text"][0][-1]) == ("below −8", "above 8")
    assert section.seen == "In step 2, 100% of the z counted in layer 1 lie beyond ±8."
    last_layer = len(iris.model.network.layout.plan)
    certain = changed(trace_of(account), "histograms", layer=pl.lit(last_layer))
    assert signals.z(replace(account, trace=certain)).seen == ""


def test_z_beyond_the_histogram_only_is_drawn_all_the_same(iris: Account) -> None:
    content = signals.z(with_bins(iris, (1, 1, "z", 8.0, np.inf, 7))).content
    assert content["data"][0]["z"][0, -1] == 1
    assert content["layout"]["xaxis"]["ticktext"][0] == "below −8"


def test_gradients_of_zero_are_counted_but_stretch_no_axis(iris: Account) -> None:
    account = with_bins(
        iris,
        (1, 1, "gradient", 0.0, 2.0**-48, 25),
        (1, 1, "gradient", 2.0**-10, 2.0**-9, 70),
        (1, 1, "gradient", 2.0**16, np.inf, 5),
    )
    section = signals.gradients(account)
    (shares,) = section.content["data"][0]["z"]
    np.testing.assert_allclose(shares[[0, -1]], [0.25, 0.05])
    np.testing.assert_allclose(np.nansum(shares), 1)
    names = section.content["layout"]["xaxis"]["ticktext"]
    assert (names[0], names[-1]) == ("below 10<sup>−4</sup>", "above 10<sup>4</sup>")
    assert (
        section.seen
        == "In step 1, 25% of the gradients counted in layer 1 lie at 0 or below 3.6·10⁻¹⁵."
    )


def test_without_any_gradient_all_are_at_the_left_end(iris: Account) -> None:
    content = signals.gradients(with_bins(iris, (1, 1, "gradient", 0.0, 2.0**-48, 25))).content
    assert content["data"][0]["z"][0, 0] == 1


@pytest.mark.parametrize("make", [signals.z, signals.gradients])
def test_nan_counted_with_the_largest_is_told(iris: Account, make: Any) -> None:
    broken = replace(iris, trace=make_trace(2, fails=True))
    last = int(trace_of(broken).steps["step"].to_numpy().max())
    rows = [(last, 2, quantity, 16.0, np.inf, 9) for quantity in ("z", "gradient")]
    seen = make(with_bins(broken, *rows)).seen
    assert f"Not all of step {last:,} is finite (layers 1 and 2): NaN counts with the cell" in seen
    assert "NaN" not in make(iris).seen


def test_the_shares_of_a_run_are_those_that_were_counted() -> None:
    account = account_of("xor", "own", trace="own", epochs=60, learning_rate=0.1)
    frame = trace_of(account).histograms.filter(pl.col("quantity") == "z")
    step, layer, high, counts = (
        frame[name].to_numpy() for name in ("step", "layer", "high", "count")
    )
    shares = signals.z(account).content["frames"][-1]["data"][0]["z"]
    for number, row in enumerate(shares, start=1):
        counted = (step == step.max()) & (layer == number)
        above = counts[counted & np.isinf(high)].sum() / counts[counted].sum()
        assert row[-1] >= above - 1e-12
        np.testing.assert_allclose(np.nansum(row), 1)
    assert np.nanmax(shares[-1][[0, -1]]) > 0  # the output layer is sure of its classes


def test_without_a_trace_there_is_a_sentence(iris: Account) -> None:
    bare = replace(iris, trace=None)
    makers = (signals.activations, signals.dead, signals.flat, signals.z, signals.gradients)
    for make in makers:
        section = make(bare)
        assert section.content is None
        assert section.sentence
