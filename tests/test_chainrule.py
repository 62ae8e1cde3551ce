"""The chain rule of one weight: its factors against a naive pass, its product against dL/dtheta."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import naive
from downslope.chainrule import ChainRule, explain, explain_layer, product_of, shown
from downslope.errors import InvalidTypeError, InvalidValueError
from downslope.network import BuiltNetwork
from downslope.parts import Network
from downslope.surface import RowSet

Array = npt.NDArray[Any]

NETWORKS = {
    "plain": Network([6, 5], "tanh", "glorot_normal"),
    "batch-normalized": Network([6, 5], "relu", "he_normal", normalize="batch"),
    "layer-normalized": Network([6, 5], "gelu", "he_normal", normalize="layer"),
    "residual": Network([6, 6, 5], "silu", "glorot_normal", residual=True),
    "dropout": Network([6, 5], "elu", "he_normal", dropout=0.5),
    "prelu": Network([6, 5], "prelu", "he_normal", label_smoothing=0.1),
    "unfused": Network([6], "tanh", "glorot_normal", output_activation="softmax",
                       loss="squared_error"),
}  # fmt: skip


def built(network: Network, task: str = "multiclass") -> tuple[BuiltNetwork, Array, Array]:
    generator = np.random.default_rng(2)
    columns = {"multiclass": 3, "binary": 2, "regression": 2}[task]
    made = BuiltNetwork(network, 4, columns, task, "float64", 1)
    made.theta[:] += generator.normal(0, 0.1, made.theta.size)
    features = generator.normal(size=(23, 4))
    if task == "regression":
        return made, features, generator.normal(size=(23, 2))
    return made, features, generator.integers(0, columns, 23)


def without_dropout(network: Network) -> Network:
    return Network(network.layers, network.activation, network.initializer)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_mean_product_is_the_gradient(name: str, weighted: bool) -> None:
    network, features, target = built(NETWORKS[name])
    weights = np.random.default_rng(1).uniform(0, 2, 23) if weighted else None
    plain = network
    if name == "dropout":
        plain = BuiltNetwork(without_dropout(NETWORKS[name]), 4, 3, "multiclass", "float64")
        plain.theta[:] = network.theta
    gradient = plain.loss_and_gradient(features, target, weights)[1]
    rows = RowSet(features, target, weights)
    for part in network.layout.parts:
        if part.kind == 0:
            expected = gradient[part.start : part.stop].reshape(part.shape)
            unit_in, unit_out = part.shape[0] - 1, part.shape[1] - 1
            one = explain(network, rows, part.layer + 1, unit_in, unit_out)
            assert one.gradient == pytest.approx(expected[unit_in, unit_out], rel=1e-9, abs=1e-15)
            table = explain_layer(network, rows, part.layer + 1)
            found = np.empty(part.shape)
            found[table["unit_in"], table["unit_out"]] = table["gradient"]
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)
            sizes = table["gradient"].abs().to_list()
            assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("name", ["plain", "batch-normalized", "layer-normalized", "residual"])
def test_every_factor_is_what_a_naive_pass_gives(name: str) -> None:
    network, features, target = built(NETWORKS[name])
    rows = [20, 3, 4, 11, 7]
    theta, share = network.theta, np.full(5, 1 / 5)
    _, layers = naive.step_naively(
        network, theta, features[rows], np.eye(3)[target[rows]], share, [1.0] * 4
    )
    for number, layer in enumerate(layers, start=1):
        one = explain(network, RowSet(features, target, chosen=np.array(rows)), number, 2, 1)
        assert one.rows.tolist() == rows
        np.testing.assert_allclose(one.dy, 5 * layer.dy[:, 1], rtol=1e-9)
        np.testing.assert_allclose(one.slope, layer.slope[:, 1], rtol=1e-9)
        np.testing.assert_allclose(one.dz, 5 * layer.dz[:, 1], rtol=1e-9)
        np.testing.assert_allclose(one.du, 5 * layer.du[:, 1], rtol=1e-9)
        np.testing.assert_allclose(one.x, layer.x[:, 2], rtol=1e-9)
        np.testing.assert_allclose(one.product, one.du * one.x, rtol=1e-12)
        np.testing.assert_allclose(one.dz, one.dy * one.slope + one.others, rtol=1e-9)
        assert one.softmax == (number == len(layers))
        assert one.softmax or not one.others.any()
        if not one.normalized and not one.softmax:
            np.testing.assert_allclose(one.product, one.dy * one.slope * one.x, rtol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_parts_of_chosen_rows_add_up_to_the_gradient(name: str, weighted: bool) -> None:
    """One row of a batch has its part in dL/dw, by its weight, under batch normalization too."""
    network, features, target = built(NETWORKS[name])
    weights = None
    if weighted:
        weights = np.random.default_rng(1).uniform(0, 2, 23)
        weights[5] = 0.0
    rows = RowSet(features, target, weights)
    for layer in (1, len(network.layout.plan)):
        whole = explain(network, rows, layer, 2, 1)
        alone = [explain(network, rows, layer, 2, 1, [row]) for row in range(23)]
        found = [one.gradient for one in alone]
        np.testing.assert_allclose(found, whole.product, rtol=1e-9, atol=1e-15)
        assert np.mean(found) == pytest.approx(whole.gradient, rel=1e-9)
        some = explain(network, rows, layer, 2, 1, [20, 3, 5])
        for factor in ("dy", "slope", "others", "dz", "du", "x", "product"):
            np.testing.assert_allclose(
                getattr(some, factor), getattr(whole, factor)[[20, 3, 5]], rtol=1e-9, atol=1e-11
            )
        table = explain_layer(network, rows, layer, [7])
        one = table.filter(unit_in=2, unit_out=1)
        np.testing.assert_allclose(one["gradient"], whole.product[7], rtol=1e-9, atol=1e-15)
        assert np.count_nonzero(found) > 11


def test_batch_normalization_takes_the_statistics_of_the_batch_that_is_named() -> None:
    network, features, target = built(NETWORKS["batch-normalized"])
    batch = np.array([20, 3, 4, 11, 7])
    within = explain(network, RowSet(features, target, chosen=batch), 1, 2, 1, [4, 20])
    apart = explain(network, RowSet(features[batch], target[batch]), 1, 2, 1, [2, 0])
    np.testing.assert_allclose(within.product, apart.product, rtol=1e-9)
    assert within.rows.tolist() == [4, 20]


@pytest.mark.parametrize("name", ["plain", "batch-normalized"])
def test_a_chosen_row_from_outside_the_batch_joins_it(name: str) -> None:
    network, features, target = built(NETWORKS[name])
    weights = np.random.default_rng(1).uniform(0, 2, 23)
    batch, joined = np.array([20, 3, 4, 11, 7]), np.array([20, 3, 4, 11, 7, 9])
    within, outside = (
        explain(network, RowSet(features, target, weights, chosen=rows), 1, 2, 1, [9, 4])
        for rows in (joined, batch)
    )
    np.testing.assert_allclose(outside.product, within.product, rtol=1e-9)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_other_outputs_have_three_plain_factors(task: str) -> None:
    network, features, target = built(NETWORKS["plain"], task)
    one = explain(network, RowSet(features, target), 3, 0, 0)
    np.testing.assert_allclose(one.product, one.dy * one.slope * one.x, rtol=1e-9)
    if task == "binary":  # dL/dy = (y - t) / (y (1 - y))
        y = network.output(features)[:, 0]
        np.testing.assert_allclose(one.dy, (y - target) / (y * (1 - y)), rtol=1e-9)


def test_a_step_by_hand() -> None:
    """x = 2, z = 0.5 x + 0.1 = 1.1, y = tanh z, outputs 3 y, target 1.

    L = (3 y - 1)^2 / 2, so dL/dy = 3 (3 y - 1); y = 0.80050, dL/dy = 4.20449, dy/dz = 1 - y^2
    = 0.35920, dz/dw = 2, dL/dw = 3.02052.
    """
    network = BuiltNetwork(Network([1], "tanh"), 1, 1, "regression", "float64")
    network.theta[:] = [0.5, 0.1, 3.0, 0.0]
    one = explain(network, RowSet(np.array([[2.0]]), np.array([1.0])), 1, 0, 0)
    np.testing.assert_allclose(one.dy, 4.20449, rtol=1e-5)
    np.testing.assert_allclose(one.slope, 0.35920, rtol=1e-4)
    assert one.x.tolist() == [2.0]
    np.testing.assert_allclose(one.gradient, 3.02052, rtol=1e-4)
    assert one.equation(0) == "dL/dw = 4.204 · 0.3592 · 2 = 3.021"
    assert str(one).splitlines()[0] == "layer 1, weight from unit 0 to unit 0: w = 0.5"


def test_the_table_names_the_factor() -> None:
    """One input of 100 among ones: it is dz/dw that makes its weights' gradients large."""
    network, features, target = built(NETWORKS["plain"])
    features[:, 1] = 100.0
    network.parts()["layer1.weight"][1] = 0.0
    table = explain_layer(network, RowSet(features, target), 1)
    assert table["unit_in"][0] == 1
    assert table["factor"][0] == "dz/dw"
    assert table["share"].sum() == pytest.approx(1)
    assert table.filter(unit_in=1)["share"].sum() > 0.9


def test_a_factor_that_is_zero_in_the_whole_layer_is_above_none_and_below_none() -> None:
    """Inputs of 0: dz/dw is named for units whose dL/dy and dy/dz are below their layer's."""
    network, features, target = built(NETWORKS["plain"])
    table = explain_layer(network, RowSet(np.zeros_like(features), target), 1)
    own = table.select("dy_rms", "slope_rms").to_numpy()
    above = own / np.sqrt(np.mean(own**2, axis=0))
    expected = np.where(
        above.max(1) < 1, "dz/dw", np.array(["dL/dy", "dy/dz"])[np.argmax(above, axis=1)]
    )
    assert {"dL/dy", "dz/dw"} <= set(expected)
    assert table["factor"].to_list() == expected.tolist()


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_where_an_output_is_saturated_loss_and_output_are_taken_at_once(task: str) -> None:
    network, features, target = built(Network([6], "tanh", "glorot_normal"), task)
    network.theta[:] *= 1e4
    rows = RowSet(features, target)
    ones = [explain(network, rows, 2, 0, unit) for unit in range(network.outputs)]
    at_once = [(one, int(k)) for one in ones for k in np.flatnonzero(np.isnan(one.dy))]
    assert at_once
    for one, k in at_once:
        by_hand = f"dL/dw = {shown(one.dz[k], factor=True)} · {shown(one.x[k], factor=True)} = "
        assert one.equation(k).startswith(by_hand + shown(one.dz[k] * one.x[k]))
        assert one.equation(k).endswith("of loss and output at once")
    for one in ones:
        known = ~np.isnan(one.dy)
        np.testing.assert_allclose((one.dy * one.slope + one.others)[known], one.dz[known])
    frame = explain_layer(network, rows, 2)
    assert np.isfinite(frame.filter(unit_out=0).select("slope_rms", "x_rms", "agreement")).all()
    known = ones[0].dy[~np.isnan(ones[0].dy)]
    largest = abs(known).max()  # some 1e300: its square is no number
    rms = largest * np.sqrt(np.mean((known / largest) ** 2))
    np.testing.assert_allclose(frame.filter(unit_out=0, unit_in=0)["dy_rms"], rms)


def test_softmax_and_normalization_say_what_else_there_is() -> None:
    network, features, target = built(NETWORKS["batch-normalized"])
    inside, output = (explain(network, RowSet(features, target), layer, 0, 0) for layer in (1, 3))
    assert inside.formula == "dL/dw = dL/du · du/dw,  dL/du from dL/dz = dL/dy · dy/dz"
    assert output.formula == "dL/dw = (dL/dy · dy/dz + by other outputs) · dz/dw"
    for one, layer in ((inside, 1), (output, 3)):
        assert one.formula == f"dL/dw = {product_of(network, layer)}"
    assert set(explain_layer(network, RowSet(features, target), 1)["factor"]) <= {
        "dL/dy", "dy/dz", "du/dw", "agreement",
    }  # fmt: skip
    assert inside.frame.columns == ["row", "dy", "slope", "others", "dz", "du", "x", "product"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"layer": 0}, "layer must lie in 1 to 3, the output layer; got 0"),
        ({"layer": 4}, "got 4"),
        ({"unit_in": 4}, "unit_in must lie in 0 to 3, as layer 1 takes 4 units; got 4"),
        ({"unit_out": -1}, "unit_out must lie in 0 to 5, as layer 1 has 6 units; got -1"),
        ({"chosen": [0, 23]}, "chosen rows must lie in 0 to 22, the data's last; got 23"),
    ],
)
def test_what_there_is_not(changes: dict[str, Any], says: str) -> None:
    network, features, target = built(NETWORKS["plain"])
    asked = {"layer": 1, "unit_in": 0, "unit_out": 0, **changes}
    with pytest.raises(InvalidValueError, match=says):
        explain(network, RowSet(features, target), **asked)


@pytest.mark.parametrize(
    "changes",
    [{"layer": 1.5}, {"unit_in": "0"}, {"chosen": [0.5]}, {"chosen": []}, {"layer": True}],
)
def test_what_is_no_number(changes: dict[str, Any]) -> None:
    network, features, target = built(NETWORKS["plain"])
    asked = {"layer": 1, "unit_in": 0, "unit_out": 0, **changes}
    with pytest.raises(InvalidTypeError, match="explain"):
        explain(network, RowSet(features, target), **asked)


def test_numbers_are_written_readably() -> None:
    assert [shown(value) for value in (0.0, 1234.5678, -0.5, 1e-4, -2.5e-7)] == [
        "0", "1235", "-0.5", "1e-04", "-2.5e-07"
    ]  # fmt: skip


def test_zero_has_no_sign() -> None:
    assert shown(-0.0) == shown(-0.0, factor=True) == shown(-0.0, digits=2) == "0"
    one = ChainRule(1, 0, 0, -0.0, False, True, *np.array([[7]] + 7 * [[-0.0]]))
    assert "-0" not in str(one)
