"""Built networks: theta and its parts, outputs, files."""

from __future__ import annotations

import copy
import pickle
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import naive
from downslope import storage
from downslope.catalogue import ACTIVATIONS, INITIALIZERS, LOSSES, choose
from downslope.errors import InvalidTypeError, InvalidValueError, MissingFileError, ModelFileError
from downslope.kernels import plan as kinds
from downslope.layout import cut, halved_alone, plan_workspace
from downslope.network import BuiltNetwork, count_outputs, output_of
from downslope.parts import Network

Array = npt.NDArray[Any]

HIDDEN = [name for name in ACTIVATIONS if name != "softmax"]


@st.composite
def built_networks(draw: st.DrawFn) -> BuiltNetwork:
    layers = draw(st.lists(st.integers(1, 300), max_size=4))
    network = Network(
        layers,
        draw(st.lists(st.sampled_from(HIDDEN), min_size=len(layers), max_size=len(layers))),
        draw(st.sampled_from(list(INITIALIZERS))),
        draw(st.sampled_from(["none", "batch", "layer"])),
        draw(st.booleans()),
        output_activation=draw(st.sampled_from(["auto", *ACTIVATIONS])),
    )
    task = draw(st.sampled_from(["regression", "binary", "multiclass", "multilabel"]))
    columns = 2 if task == "binary" else draw(st.integers(1, 5))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    return BuiltNetwork(network, draw(st.integers(1, 400)), columns, task, dtype, seed=1)


@given(built_networks())
@settings(max_examples=60, deadline=None)
def test_parts_cover_theta_without_gap_or_overlap(built: BuiltNetwork) -> None:
    parts = built.parts()
    assert np.isfinite(built.theta).all()
    built.theta[:] = np.arange(built.theta.size)
    packed = np.concatenate([part.reshape(-1) for part in parts.values()])
    np.testing.assert_array_equal(packed, built.theta)
    for part in parts.values():
        part[...] = -1
    assert (built.theta == -1).all()


@given(built_networks(), st.booleans())
@settings(max_examples=25, deadline=None)
def test_blocks_and_pieces_cover_theta_once(built: BuiltNetwork, shared: bool) -> None:
    pieces, blocks, middle = cut(built.layout, shared)
    for table in (pieces, blocks):
        by_place = np.sort(table, order="start")
        assert by_place["start"][0] == 0
        assert by_place["stop"][-1] == built.theta.size
        np.testing.assert_array_equal(by_place["start"][1:], by_place["stop"][:-1])
    np.testing.assert_array_equal(blocks["first"][1:], blocks["last"][:-1])
    np.testing.assert_array_equal(pieces["start"][blocks["first"]], blocks["start"])
    np.testing.assert_array_equal(pieces["stop"][blocks["last"] - 1], blocks["stop"])
    assert 0 <= middle < len(blocks)
    assert shared or middle == 0


def test_halves_of_theta_are_about_even() -> None:
    built = BuiltNetwork(Network([256, 128]), 784, 10, "multiclass")
    _, blocks, middle = cut(built.layout, True)
    lower = (blocks["stop"] - blocks["start"])[:middle].sum()
    assert abs(lower / built.theta.size - 0.5) < 0.05


def test_what_one_thread_uses_alone_is_in_the_lower_half() -> None:
    built = BuiltNetwork(Network([128, 32], residual=True), 784, 10, "multiclass")
    pieces, blocks, middle = cut(built.layout, True, [0])
    lower, upper = np.split(pieces, [blocks["first"][middle]])
    assert (upper["layer"] == 0).all()
    assert (upper["kind"] == kinds.WEIGHT).all()
    assert upper["first"].min() == 384
    assert set(lower["layer"]) == {0, 1, 2}
    assert (pieces["stop"] - pieces["start"]).sum() == built.theta.size


def test_a_batch_of_one_block_is_one_threads_but_for_halves_of_w() -> None:
    built = BuiltNetwork(Network([128]), 784, 10, "multiclass")
    alone, shared, whole = (
        halved_alone(plan_workspace(built.parameters, rows, block, 2, False, halved))
        for rows, block, halved in ((1, 1, True), (32, 16, True), (1, 1, False))
    )
    assert alone == [0]
    assert shared is None
    assert whole is None


@given(built_networks())
@settings(max_examples=25, deadline=None)
def test_arrays_and_description_build_it_again(built: BuiltNetwork) -> None:
    content = storage.pack_arrays(built.arrays(), built.describe())
    again = BuiltNetwork.from_arrays(*storage.unpack_arrays(content, "here"), "here")
    np.testing.assert_array_equal(again.theta, built.theta)
    np.testing.assert_array_equal(again.statistics, built.statistics)
    assert again.theta.dtype == built.theta.dtype
    assert again.describe() == built.describe()
    np.testing.assert_array_equal(again.layout.plan, built.layout.plan)


def small(**changes: Any) -> BuiltNetwork:
    usual: dict[str, Any] = {"layers": [5, 4], "initializer": "glorot_normal"}
    return BuiltNetwork(Network(**{**usual, **changes}), 3, 2, "regression", "float64")


def test_save_and_load_give_the_same_bits(tmp_path: Path) -> None:
    features = np.random.default_rng(0).normal(size=(9, 3))
    built = small(normalize="batch", residual=True, activation="prelu")
    built.theta[:] += np.linspace(-1, 1, built.theta.size)
    built.statistics[:] += 0.3
    built.save(tmp_path / "m.safetensors")
    again = BuiltNetwork.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(again.output(features), built.output(features))
    assert again.network == built.network
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]


def test_others_can_read_the_file(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    built = small()
    built.save(tmp_path / "m.safetensors")
    found = load_file(tmp_path / "m.safetensors")
    assert found.keys() == built.parts().keys()
    np.testing.assert_array_equal(found["layer2.weight"], built.parts()["layer2.weight"])


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_a_file_cut_short_is_refused(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    small().save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelFileError, match="is damaged or was not written by Downslope"):
        BuiltNetwork.load(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "m.safetensors"
    with pytest.raises(MissingFileError, match="there is no file"):
        BuiltNetwork.load(path)
    path.write_bytes(b"\x80\x04\x95 a pickle")
    with pytest.raises(ModelFileError):
        BuiltNetwork.load(path)
    save_file({"weight": np.zeros(3)}, path)
    with pytest.raises(ModelFileError, match="not written by Downslope"):
        BuiltNetwork.load(path)
    storage.write_arrays(path, {}, {"format": "downslope network 2"})
    with pytest.raises(ModelFileError, match="expected format 'downslope network 1', got"):
        BuiltNetwork.load(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"network": {"layers": [0]}},
        {"network": {"width": 3}},
        {"network": None},
        {"inputs": "three"},
        {"task": "juggling"},
        {"dtype": "float17"},
        {"inputs": 4},
        {"inputs": -1},
        {"columns": 3},
    ],
)
def test_a_description_that_does_not_fit_is_refused(changes: dict[str, Any]) -> None:
    built = small()
    with pytest.raises(ModelFileError, match="here"):
        BuiltNetwork.from_arrays(built.arrays(), {**built.describe(), **changes}, "here")


@pytest.mark.parametrize("name", ["layer1.weight", "layer3.bias"])
def test_an_array_that_is_missing_is_named(name: str) -> None:
    built = small()
    arrays = {key: value for key, value in built.arrays().items() if key != name}
    with pytest.raises(ModelFileError, match=rf"{name} must be an array of shape .* got nothing"):
        BuiltNetwork.from_arrays(arrays, built.describe(), "here")


def test_parts_are_views() -> None:
    built = small()
    parts = built.parts()
    assert list(parts) == [f"layer{k}.{name}" for k in (1, 2, 3) for name in ("weight", "bias")]
    parts["layer2.bias"][:] = 7
    assert (built.parts()["layer2.bias"] == 7).all()
    assert (built.theta == 7).sum() == 4
    assert repr(built) == "BuiltNetwork(3-5-4-2, 54 parameters, regression)"


@pytest.mark.parametrize("rows", [1, 127, 128, 129, 1000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_output_is_the_forward_pass(rows: int, dtype: Any) -> None:
    built = BuiltNetwork(Network([9], "tanh", "glorot_normal"), 4, 3, "multiclass", dtype)
    built.theta[:] += 0.1
    x = np.random.default_rng(rows).normal(size=(rows, 4)).astype(dtype)
    w1, b1, w2, b2 = (part.astype(float) for part in built.parts().values())
    expected = naive.activate_naively("softmax", np.tanh(x @ w1 + b1) @ w2 + b2)
    got = built.output(x)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, expected, rtol=1e-5 if dtype == "float32" else 1e-13)
    np.testing.assert_array_equal(built.output(x, threads=2), got)


def test_output_keeps_no_features_in_memory() -> None:
    built = BuiltNetwork(Network([4]), inputs=3, columns=2, task="binary")
    features = np.ones((100, 3), np.float32)
    seen = weakref.ref(features)
    first = built.output(features)
    del features
    assert seen() is None
    np.testing.assert_array_equal(built.output(np.ones((100, 3), np.float32)), first)


def test_output_takes_any_numbers() -> None:
    built = small()
    x = np.arange(12).reshape(4, 3)
    expected = built.output(x.astype(float))
    others: list[Any] = [x, x.tolist(), x.astype(np.float32), np.asfortranarray(x)]
    for other in [*others, x.astype(np.uint8)]:
        np.testing.assert_array_equal(built.output(other), expected)
    assert built.output(np.empty((0, 3))).shape == (0, 2)


def test_features_that_do_not_fit() -> None:
    built = small()
    with pytest.raises(InvalidValueError, match=r"must have 3 columns; got .* shape \(4, 2\)"):
        built.output(np.zeros((4, 2)))
    with pytest.raises(InvalidValueError, match=r"must have 3 columns; got .* shape \(3,\)"):
        built.output(np.zeros(3))
    with pytest.raises(InvalidTypeError, match="features must be numbers"):
        built.output(np.full((2, 3), "a"))


def test_targets_that_do_not_fit() -> None:
    built, x = small(), np.zeros((4, 3))
    with pytest.raises(InvalidValueError, match="one column for each of 2 outputs"):
        built.loss_and_gradient(x, np.zeros((4, 3)))
    with pytest.raises(InvalidValueError, match="4"):
        built.loss_and_gradient(x, np.zeros((5, 2)))
    with pytest.raises(InvalidValueError, match="4"):
        built.loss_and_gradient(x, np.zeros(3, np.int64))


def test_label_smoothing_is_about_classes() -> None:
    """A target of numbers must not be smoothed: it would be another target."""
    with pytest.raises(InvalidValueError, match="label_smoothing"):
        small(label_smoothing=0.1)


def test_the_gradient_leaves_theta_and_statistics_alone() -> None:
    built = small(normalize="batch")
    theta, statistics = built.theta.copy(), built.statistics.copy()
    x = np.random.default_rng(0).normal(size=(8, 3))
    built.loss_and_gradient(x, x[:, :2])
    np.testing.assert_array_equal(built.theta, theta)
    np.testing.assert_array_equal(built.statistics, statistics)


def test_a_seed_says_all_of_theta() -> None:
    thetas = [BuiltNetwork(Network([5]), 3, 2, "binary", seed=seed).theta for seed in (0, 0, 1)]
    np.testing.assert_array_equal(thetas[0], thetas[1])
    assert not np.array_equal(thetas[0], thetas[2])


def test_what_theta_starts_with() -> None:
    built = small(activation="prelu(slope=0.1)", normalize="batch", initializer="auto")
    for name, part in built.parts().items():
        kind = name.split(".")[1]
        if kind == "weight" and not name.startswith("layer3"):
            assert len(np.unique(part)) == part.size
        else:
            assert (part == {"gamma": 1.0, "slope": 0.1}.get(kind, 0.0)).all(), name
    np.testing.assert_array_equal(built.statistics, [0] * 5 + [1] * 5 + [0] * 4 + [1] * 4)


@pytest.mark.parametrize(
    ("task", "loss", "activation", "expected"),
    [
        ("regression", "auto", "auto", ("identity", "squared_error", 1)),
        ("regression", "huber", "auto", ("identity", "huber", 1)),
        ("binary", "auto", "auto", ("sigmoid", "binary_cross_entropy", 1)),
        ("binary", "cross_entropy", "auto", ("softmax", "cross_entropy", 2)),
        ("binary", "squared_error", "auto", ("sigmoid", "squared_error", 1)),
        ("multiclass", "auto", "auto", ("softmax", "cross_entropy", 4)),
        ("multiclass", "binary_cross_entropy", "auto", ("sigmoid", "binary_cross_entropy", 4)),
        ("multiclass", "auto", "relu", ("relu", "cross_entropy", 4)),
        ("multilabel", "auto", "auto", ("sigmoid", "binary_cross_entropy", 4)),
    ],
)
def test_outputs_go_by_the_task(
    task: str, loss: str, activation: str, expected: tuple[str, str, int]
) -> None:
    network = Network(loss=loss, output_activation=activation)
    chosen = output_of(network, task)
    columns = {"regression": 1, "binary": 2}.get(task, 4)
    found = (*(choice.name for choice in chosen), count_outputs(network, task, columns))
    assert found == expected


def test_every_loss_is_finite_at_the_start() -> None:
    for loss in LOSSES:
        built = BuiltNetwork(Network([3], loss=loss), 2, 3, "multiclass")
        assert np.isfinite(built.loss_and_gradient(np.ones((4, 2)), np.arange(4) % 3)[0])
        assert built.loss == choose("loss", loss)


def test_a_network_is_pickled_with_its_theta_on_a_cache_line() -> None:
    network = Network([5, 4], "leaky_relu(slope=0.1)", normalize="batch", residual=True)
    built = BuiltNetwork(network, 3, 2, "binary", "float64", seed=3)
    built.statistics[:] = np.arange(len(built.statistics))
    for copied in (pickle.loads(pickle.dumps(built)), copy.deepcopy(built)):
        assert copied.network == built.network
        assert copied.theta.ctypes.data % 64 == 0
        np.testing.assert_array_equal(copied.theta, built.theta)
        np.testing.assert_array_equal(copied.statistics, built.statistics)
        assert not np.shares_memory(copied.theta, built.theta)
