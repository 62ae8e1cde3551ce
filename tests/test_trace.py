"""The trace: which steps it holds, what it gives, its file; what the textbooks say it shows."""

from __future__ import annotations

import sys
import weakref
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from downslope import Descent, Network, Recipe, descend, row_norms
from downslope.errors import InvalidTypeError, InvalidValueError, MissingFileError, ModelFileError
from downslope.network import BuiltNetwork
from downslope.quantities import AVERAGED, COLUMNS, FRAMES, average
from downslope.recording import Recorder, Recording
from downslope.trace import Trace


def run(network: Network, record: Any = "default", rows: int = 200, **changes: Any) -> Any:
    """Train on two classes in ten dimensions, the output layer not starting at 0."""
    usual: dict[str, Any] = {
        "batch": 50, "epochs": 3, "rule": "gd", "learning_rate": 0.01, "validation": 0.0,
        "schedule": "constant",
    }  # fmt: skip
    generator = np.random.default_rng(0)
    features = generator.normal(size=(rows, 10))
    target = (features[:, :3].sum(1) > 0).astype(int)
    recipe = Recipe(network, Descent(**{**usual, **changes}))
    return descend(recipe, features, target, record=record)


def deep(activation: str, initializer: str, **changes: Any) -> Network:
    return Network([32] * 10, activation, initializer, **changes)


def flow(network: Network) -> tuple[float, float, float]:
    """Train a little; give how many times smaller the first layer's dL/dW is than the last's, and
    the sums of the causes over the hidden layers between, as natural logarithms."""
    trained = run(network, "all").trace.select(step=12)
    dw = trained["dw_rms"].to_list()
    between = trained.filter(pl.col("layer").is_between(2, 10))
    return dw[0] / dw[-1], between["shrink_slope"].sum(), between["shrink_weights"].sum()


def test_ten_sigmoid_layers_vanish_and_their_slope_is_named() -> None:
    ratio, slope, weights = flow(deep("sigmoid", "glorot_normal"))
    assert ratio < 1e-4
    assert slope < 9 * np.log(0.25) + 0.5  # phi' is at most a quarter, nine layers long
    assert abs(weights) < 0.2 * abs(slope)


def test_ten_tanh_layers_of_small_weights_vanish_and_the_weights_are_named() -> None:
    ratio, slope, weights = flow(deep("tanh", "normal(std=0.01)"))
    assert ratio < 1e-4
    # a layer multiplies by about 0.01 sqrt(32), nine layers long
    assert weights == pytest.approx(9 * np.log(0.01 * np.sqrt(32)), rel=0.1)
    assert abs(slope) < 0.01 * abs(weights)


@pytest.mark.parametrize("step", [1, 12])
def test_relu_with_he_initialization_stays_within_a_factor_of_30(step: int) -> None:
    whole = run(deep("relu", "he_normal"), "all").trace.select(step=step)["dw_rms"]
    assert max(whole) < 30 * min(whole)


@pytest.mark.parametrize("remedy", [{"normalize": "batch"}, {"residual": True}])
@pytest.mark.parametrize(
    ("activation", "initializer"), [("sigmoid", "glorot_normal"), ("tanh", "normal(std=0.01)")]
)
def test_batch_normalization_and_residual_connections_restore_the_flow(
    activation: str, initializer: str, remedy: dict[str, Any]
) -> None:
    assert flow(deep(activation, initializer))[0] < 1e-4
    assert flow(deep(activation, initializer, **remedy))[0] > 1e-2


def test_what_shrinks_adds_up_exactly() -> None:
    for network in (deep("sigmoid", "glorot_normal"), deep("gelu", "he_normal", dropout=0.2),
                    deep("elu", "he_normal", normalize="layer", residual=True)):  # fmt: skip
        for step in (1, 12):
            found = run(network, [1, 12]).trace.select(step=step)
            dy, dz = np.log(found["dy_rms"]), np.log(found["dz_rms"])
            slope, weights = found["shrink_slope"], found["shrink_weights"]
            np.testing.assert_allclose(slope, dz - dy, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(
                weights[1:] + slope[1:], np.diff(dy) * -1, rtol=1e-9, atol=1e-12
            )
            assert weights[0] is None


def test_relu_with_biases_pushed_down_shows_its_dead_units() -> None:
    """A rule of one's own pushes the biases of some units to -10."""
    network = Network([20, 12], "relu", "he_normal")
    built = BuiltNetwork(network, 10, 2, "binary")
    parts = {part.name: part for part in built.layout.parts}

    def push(theta: Any, gradient: Any, state: dict[str, Any], rate: float, step: int) -> None:
        for name, units in (("layer1.bias", 15), ("layer2.bias", 12)):
            begin = parts[name].start
            theta[begin : begin + units] = -10.0

    done = run(network, "all", rule=push)
    for layer, share in ((1, 0.75), (2, 1.0), (3, 0.0)):
        found = done.trace.select(layer=layer, step=[2, 12], quantity=["dead", "flat", "dw_rms"])
        assert found["dead"].to_list() == pytest.approx([share, share])
        assert all(flat >= share for flat in found["flat"]) or layer == 3
    assert done.trace.select(layer=1, step=12)["dw_rms"][0] == 0  # nothing passes layer 2
    assert done.trace.dead_units.rows() == [(12, 1, 0.75), (12, 2, 1.0), (12, 3, 0.0)]
    alive = run(network, "all").trace
    assert alive.select(layer=1)["dead"].max() < 0.2


def test_clipping_shows_before_and_after() -> None:
    steps = run(Network([16], "tanh", "glorot_normal"), "all", clip_norm=0.05).trace.steps
    assert (steps["gradient_norm"] > 0.05).all()
    np.testing.assert_allclose(steps["clipped_norm"], 0.05, rtol=1e-5)
    free = run(Network([16], "tanh", "glorot_normal"), "all").trace.steps
    np.testing.assert_allclose(free["clipped_norm"], free["gradient_norm"], rtol=1e-5)


@pytest.mark.parametrize("count", [0, 1, AVERAGED - 1, AVERAGED, AVERAGED + 1, 500])
def test_an_average_is_that_of_the_last_records_and_no_others(count: int) -> None:
    """To the bit, and with what is infinite in those windows alone that hold it."""
    values = np.exp(np.random.default_rng(count).normal(size=count, scale=5))
    values[40:41] = np.inf
    spans = [values[max(k + 1 - AVERAGED, 0) : k + 1] for k in range(count)]
    found = average(values)
    np.testing.assert_array_equal(found, [span.mean() for span in spans])
    assert found.shape == (count,)


@pytest.mark.parametrize("begin", [0, 1])
def test_an_average_passes_over_records_without_a_value(begin: int) -> None:
    values, none = np.random.default_rng(0).normal(size=50), np.full(50, np.nan)
    for whole, known in ((values, average(values)), (none, none)):
        gaps = np.full(100, np.nan)
        gaps[begin::2] = whole
        expected = np.repeat(known, 2)
        np.testing.assert_array_equal(average(gaps)[begin:], expected[: 100 - begin])
        assert np.isnan(average(gaps)[:begin]).all()


def test_steps_of_one_row_leave_the_suggested_batch_to_those_before() -> None:
    """97 rows make 4 steps, the last of them with one row."""
    steps = run(Network([]), "all", rows=97, batch=32, epochs=10).trace.steps
    assert steps["noise_scale"].null_count() == 10
    assert steps["suggested_batch"].null_count() == 0


def test_rows_that_are_alike_have_no_noise() -> None:
    """Mean |g_n|^2 and |G|^2 are then the same, but for rounding to either side."""
    network = Network([8], "tanh", scaling="none", task="regression")
    descent = Descent(8, "gd", epochs=3, validation=0.0, shuffle=False)
    features, target = np.repeat([[0.1, 0.7, -0.3]], 64, axis=0), np.repeat([1.3, 0.0], 32)
    steps = descend(Recipe(network, descent), features, target, record="all").trace.steps
    noise, signal = (steps[name].to_numpy() for name in ("noise_scale", "signal_to_noise"))
    assert noise.min() == 0
    assert noise.max() < 1e-6
    assert signal.min() > 1e3


def test_steps_have_their_epoch() -> None:
    steps = run(Network([]), "all").trace.steps
    assert steps["epoch"].to_list() == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]


def test_a_trace_holds_its_records_once_and_only_until_it_is_looked_at() -> None:
    recorder = Recorder(Recording("all"), BuiltNetwork(Network([3]), 2, 2, "binary").layout, 20, 5)
    traces = []
    for first in (0, 4):
        record = recorder.begin(first, 4)
        recorder.note(record, first, 4, np.ones(4), np.ones(4))
        traces.append(Trace.of(recorder))
    held, bins = weakref.ref(recorder), weakref.ref(recorder._kept["bins"][0])
    del recorder, record
    assert held() is None
    assert bins() is not None
    assert [len(trace.steps) for trace in traces] == [4, 8]
    assert bins() is None


def test_the_noise_scale_is_that_of_the_whole_data() -> None:
    """tr(S) and |G|^2 of the rows, known exactly, against their means over many small batches."""
    network = Network([8], "tanh", "glorot_normal")
    done = run(network, "all", rows=2000, batch=20, learning_rate=0.0, epochs=5)
    whole = run(network, "all", rows=2000, batch="full", learning_rate=0.0, epochs=1)
    exact = whole.trace.steps["noise_scale"][0]
    steps = done.trace.steps
    # mean |g_n|^2 and mean |G_B|^2 over the batches, from what the trace has of each
    squares = (steps["sample_norm_mean"] ** 2 + steps["sample_norm_std"] ** 2).mean()
    batches = (steps["gradient_norm"] ** 2).mean()
    noise, signal = (squares - batches) / (1 - 1 / 20), (20 * batches - squares) / 19
    assert noise / signal == pytest.approx(exact, rel=0.1)
    np.testing.assert_allclose(steps["noise_scale"].median(), exact, rtol=0.5)
    np.testing.assert_allclose(steps["suggested_batch"].median(), exact, rtol=0.2)


@pytest.mark.parametrize(
    ("steps", "most"), [(5, 5), (60, 11), (10_000, 210), (20_000, 210), (1_000_000, 210)]
)
def test_default_steps_are_the_first_ten_and_up_to_200_evenly_spread(steps: int, most: int) -> None:
    chosen = Recording().chosen(0, steps)
    spacing = Recording().distance(steps)
    kept = [step for step in chosen if step <= 10 or step % spacing == 1]
    assert chosen[:10] == list(range(1, min(steps, 10) + 1))
    assert len(kept) <= most
    assert len(kept) > 110 or steps < 10_000
    assert len(set(np.diff(kept[11:]))) <= 1
    assert len(chosen) - 10 <= steps / 50
    # whatever the chunks
    cuts = [0, 3, 7, 50, 51, 10_000, 10_001, 10_002, *range(1000, steps, 997), steps]
    cuts = sorted({cut for cut in cuts if cut <= steps})
    parts = [Recording().chosen(low, high) for low, high in pairwise(cuts)]
    assert [step for part in parts for step in part] == chosen
    assert list(accumulate(chosen, lambda step, _: Recording().next_after(step))) == chosen


def test_those_left_out_again_are_not_in_the_trace() -> None:
    for rows, spacing in ((50, 100), (100, 200)):
        done = run(Network([]), rows=2 * rows, batch=2, epochs=220)
        found = done.trace.steps["step"].to_list()
        assert found == [*range(1, 11), *range(1 + spacing, 220 * rows + 1, spacing)]


def test_where_an_epoch_divides_the_distance_the_batches_are_full() -> None:
    """97 rows make 4 steps, the last of them with one row."""
    steps = run(Network([]), rows=97, batch=32, epochs=120).trace.steps
    later = steps.filter(steps["step"] > 10)
    assert later["step"].to_list() == [101, 201, 301, 401]
    assert (later["rows"] == 32).all()
    assert later["noise_scale"].null_count() == 0


@pytest.mark.parametrize(("batch", "every"), [(1, 200), (2, 100), (32, 50)])
def test_short_steps_are_recorded_more_rarely(batch: int, every: int) -> None:
    built = BuiltNetwork(Network([64, 64]), 100, 3, "multiclass")
    recorder = Recorder(Recording(), built.layout, 10_000, batch)
    assert recorder.recording.chosen(10, 401) == list(range(1 + every, 402, every))
    assert type(Recording(every=np.int64(70)).every) is int  # type: ignore[arg-type]


@pytest.mark.parametrize("every", [1, 50, 70])
def test_a_distance_of_ones_own_is_kept_where_steps_are_short(every: int) -> None:
    built = BuiltNetwork(Network([]), 10, 2, "binary")
    recorder = Recorder(Recording(every=every), built.layout, 10_000, 1)
    expected = [step for step in range(11, 202) if (step - 1) % every == 0]
    assert recorder.recording.chosen(10, 201) == expected


@pytest.mark.parametrize("cut", [0, 2, 3, 5, 7, 12])
def test_steps_of_ones_own_choice_are_found_from_anywhere(cut: int) -> None:
    recording = Recording([3, 7, 12])
    assert [*recording.chosen(0, cut), *recording.chosen(cut, 20)] == [3, 7, 12]
    assert recording.next_after(cut) == min(
        [step for step in (3, 7, 12) if step > cut], default=sys.maxsize
    )


@pytest.mark.parametrize("chosen", [[7, 3, 7], range(3, 8, 4), np.array([3, 7])])
def test_steps_of_ones_own_choice(chosen: Any) -> None:
    assert run(Network([]), chosen).trace.steps["step"].to_list() == [3, 7]


@pytest.mark.parametrize(
    ("record", "error", "says"),
    [
        ("al", InvalidValueError, "did you mean 'all'"),
        ([0], InvalidValueError, "record: steps count from 1; got 0"),
        ([1.5], InvalidTypeError, "record takes whole numbers of steps; got 1.5"),
        (7, InvalidTypeError, "record takes 'default', 'all', 'none', or the numbers of the steps"),
        (None, InvalidTypeError, "as .1, 2, 100.; got None"),
        (True, InvalidTypeError, "'none', or the numbers of the steps, .* got True"),
    ],
)
def test_what_cannot_be_recorded(record: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        run(Network([]), record)
    with pytest.raises(InvalidValueError, match="curvature: steps count from 1; got -1"):
        Recording(curvature=[-1])
    with pytest.raises(InvalidTypeError, match=r"curvature takes step numbers, as .* got 3"):
        Recording(curvature=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("every", "error", "says"),
    [
        (0, InvalidValueError, "Recording: every must be at least 1; got 0"),
        (-5, InvalidValueError, "Recording: every must be at least 1; got -5"),
        (2.5, InvalidTypeError, "Recording: every takes a whole number; got 2.5"),
    ],
)
def test_no_distance_of_steps(every: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Recording(every=every)


def test_curvature_at_chosen_steps() -> None:
    """Of a linear regression: the Hessian is X^T X / rows, whatever theta is."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(60, 2))
    network = Network([], scaling="none", task="regression")
    recipe = Recipe(network, Descent(batch=10, epochs=2, learning_rate=0.01, validation=0.0))
    trace = descend(recipe, features, features[:, 0], record=Recording(curvature=[4, 7])).trace
    design = np.column_stack([features, np.ones(60)])
    exact = np.linalg.eigvalsh(design.T @ design / 60)
    assert trace.curvature["step"].to_list() == [4, 7]
    for row in trace.curvature.iter_rows(named=True):
        assert row["largest"] == pytest.approx(exact[-1], rel=1e-4)
        assert row["smallest"] == pytest.approx(exact[0], rel=1e-4)
        assert row["trace"] == pytest.approx(exact.sum(), rel=1e-4)
        assert row["trace_error"] == 0
        assert row["stable_rate"] == pytest.approx(2 / exact[-1], rel=1e-4)


def test_an_estimated_trace_has_its_error() -> None:
    """Above a hundred parameters the trace is estimated."""
    done = run(Network([20]), Recording("none", curvature=[12]))
    (row,) = done.trace.curvature.iter_rows(named=True)
    assert 0 < row["trace_error"] < abs(row["trace"])


def test_selecting() -> None:
    trace = run(Network([4, 3]), "all").trace
    assert trace.select(layer=2, step=range(3, 6), quantity="dead").columns == [
        "step",
        "layer",
        "dead",
    ]
    assert len(trace.select(layer=[1, 3], step=5)) == 2
    assert len(trace.select(layer=np.int64(2), step=np.array([4, 5]))) == 2
    assert trace.select(quantity="loss").columns == ["step", "loss"]
    assert trace.select(layer=1, quantity="signal_to_noise").width == 3
    assert len(trace.select()) == len(trace.layers)
    with pytest.raises(InvalidValueError, match=r"no quantity 'ded'.*did you mean 'dead'"):
        trace.select(quantity="ded")
    with pytest.raises(InvalidValueError, match="'loss' is by step, not by layer: select it with"):
        trace.select(layer=1, quantity="loss")
    apart = "trace: 'loss' is by step, 'dw_rms' by step and layer: select them apart"
    for several in (["loss", "dw_rms"], ["dw_rms", "loss"]):
        with pytest.raises(InvalidValueError, match=apart):
            trace.select(quantity=several)
    with pytest.raises(InvalidValueError, match="no quantity 'ded'"):
        trace.select(quantity=["loss", "ded"])
    assert trace.select(quantity=["dw_rms", "noise_scale"]).width == 4


def test_as_pandas() -> None:
    trace = run(Network([4])).trace
    for name in FRAMES:
        assert list(trace.to_pandas(name).columns) == list(COLUMNS[name])
    assert len(trace.to_pandas()) == 2 * 10
    with pytest.raises(InvalidValueError, match="no frame 'step': did you mean 'steps'"):
        trace.to_pandas("step")


@pytest.mark.parametrize("record", ["default", "none"])
def test_its_file(record: str, tmp_path: Path) -> None:
    trace = run(Network([4]), record).trace
    again = Trace.load(trace.save(tmp_path / "run.trace.parquet"))
    for name in FRAMES:
        assert_frame_equal(trace.frames[name], again.frames[name], check_exact=True)
    assert repr(again) == repr(trace)


def test_no_file_a_damaged_one_and_a_foreign_one(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="there is no file"):
        Trace.load(tmp_path / "none.parquet")
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 and no more")
    pl.DataFrame({"frame": ["steps"]}).write_parquet(tmp_path / "foreign.parquet")
    for name in ("damaged", "foreign"):
        with pytest.raises(ModelFileError, match="is damaged, or no trace of this version"):
            Trace.load(tmp_path / f"{name}.parquet")


@pytest.mark.parametrize("size", [1e-150, 1.0, 1e39])
def test_cosines_are_those_of_vectors_however_short_or_long(size: float) -> None:
    recipe = Recipe(
        Network([], scaling="none", initializer="normal(std=1)"),
        Descent(epochs=4, batch="full", rule="gd", learning_rate=0.0, validation=0.0,
                dtype="float64"),
    )  # fmt: skip
    features = np.random.default_rng(0).normal(size=(20, 3))
    run = descend(recipe, size * features, features[:, 0], record="all")
    np.testing.assert_allclose(run.trace.steps["gradient_cosine"][1:], 1.0, rtol=1e-6)


def test_a_flipped_bit_of_its_file_is_refused(tmp_path: Path) -> None:
    path = run(Network([4]), "default").trace.save(tmp_path / "run.trace.parquet")
    content = path.read_bytes()
    for bit in np.linspace(0, 8 * len(content) - 1, 500, dtype=int):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(ModelFileError, match="is damaged, or no trace of this version"):
            Trace.load(path)


def test_of_many_rows_some_are_sorted_for_the_quantiles() -> None:
    count = 4 * row_norms.SORTED
    squares = np.random.default_rng(0).exponential(size=(2, count))
    norms = count * np.sqrt(squares)
    described = row_norms.describe(squares, np.array([count, count]))
    np.testing.assert_allclose(described[:, 0], norms.mean(1), rtol=1e-12)
    np.testing.assert_allclose(described[:, 1], norms.std(1), rtol=1e-12)
    for row, quantiles in zip(norms, described[:, 2:], strict=True):
        below = np.searchsorted(np.sort(row), quantiles) / count
        np.testing.assert_allclose(below, row_norms.QUANTILES, atol=0.01)


@pytest.mark.parametrize("batch", [1, 20])
def test_a_step_is_described_as_it_is_alone_however_many_there_are(batch: int) -> None:
    count = 2 * min(row_norms.TOGETHER, row_norms.NORMS // batch) + 3
    squares = np.random.default_rng(0).exponential(size=(count, batch))
    squares[7] = np.nan
    rows = np.where(np.arange(count) % 5 == 4, max(batch - 3, 1), batch)
    described = row_norms.describe(squares, rows)
    for k in (0, 4, 7, count // 2, count - 2, count - 1):
        alone = row_norms.describe(squares[k : k + 1], rows[k : k + 1])
        np.testing.assert_array_equal(described[k], alone[0])


@pytest.mark.parametrize(
    ("selection", "error", "says"),
    [
        ({"layer": "1"}, InvalidTypeError, "trace: layer takes whole numbers from 1, .* got '1'"),
        ({"layer": ["1", "2"]}, InvalidTypeError, "trace: layer .* got '1'"),
        ({"layer": True}, InvalidTypeError, "trace: layer .* got True"),
        ({"step": 2.5}, InvalidTypeError, "trace: step .* got 2.5"),
        ({"step": -1}, InvalidValueError, "trace: step must be at least 1; got -1"),
        ({"quantity": 3}, InvalidTypeError, "trace: quantity takes names of columns.* got 3"),
        ({"quantity": [3]}, InvalidTypeError, r"trace: quantity .* got \[3\]"),
    ],
    ids=str,
)
def test_what_cannot_be_selected(
    selection: dict[str, Any], error: type[Exception], says: str
) -> None:
    trace = run(Network([3]), "all").trace
    with pytest.raises(error, match=says):
        trace.select(**selection)
