"""The data frames of a trace, made of the sums that the kernels leave behind.

What each quantity is stands in the text of `trace`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from downslope.kernels import gauges
from downslope.kernels.gauges import MOVES, ROWS
from downslope.row_norms import QUANTILES

if TYPE_CHECKING:
    import polars as pl

Array = npt.NDArray[Any]

ROW_NORMS = (
    "sample_norm_mean", "sample_norm_std",
    *(f"sample_norm_q{round(100 * share):02d}" for share in QUANTILES),
)  # fmt: skip

COLUMNS = {
    "steps": (
        "step", "epoch", "loss", "learning_rate", "rows", "gradient_norm", "clipped_norm",
        "signal_to_noise", "noise_scale", "suggested_batch", "gradient_cosine", "update_cosine",
        *ROW_NORMS,
    ),
    "layers": (
        "step", "layer", "x_mean", "x_std", "z_mean", "z_std", "y_mean", "y_std", "dead", "flat",
        "dy_rms", "slope_rms", "dz_rms", "x_rms", "dw_rms", "shrink_weights", "shrink_slope",
        "sample_norm_mean", "sample_norm_std", "signal_to_noise", "noise_scale", "w_norm",
        "update_ratio", "gradient_cosine", "update_cosine",
    ),
    "histograms": ("step", "layer", "quantity", "low", "high", "count"),
    "dead_units": ("step", "layer", "dead"),
    "curvature": ("step", "largest", "smallest", "trace", "trace_error", "stable_rate"),
}  # fmt: skip
"""The columns of every frame."""

FRAMES = tuple(COLUMNS)

COUNTED_AT_ONCE = 4096
"""Records whose histograms are counted at once, so that it takes little memory."""

AVERAGED = 10
"""Records over which the suggested batch is averaged: a third of a single one's spread is left. By
default a long run has up to twenty times as many, so that its growth still shows."""


def make_frames(
    arrays: Mapping[str, Array],
    dead_units: Sequence[tuple[int, int, float]],
    curvature: Sequence[Mapping[str, float]],
    plan: Array,
    starts: Array,
    steps_per_epoch: int,
) -> dict[str, pl.DataFrame]:
    """Make the data frames of what was recorded.

    Parameters
    ----------
    arrays
        What `Recorder.arrays` gives.
    dead_units
        Rows of the frame of that name.
    curvature
        Rows of the frame of that name, by column.
    plan : (layers,)
        The network's layer plan.
    starts : (2 layers + 1,)
        Where each histogram's entries begin in `bins`: for every layer that of z, then that of the
        gradient.
    steps_per_epoch
    """
    layers = len(plan)
    step = np.asarray(arrays["step"], np.int64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        by_layer = _layers(arrays, plan)
        by_step = _steps(arrays, steps_per_epoch)
    number = np.tile(np.arange(1, layers + 1), len(step))
    keys = {"step": np.repeat(step, layers), "layer": number}
    flat = {name: values.reshape(-1) for name, values in by_layer.items()}
    dead = {name: [row[k] for row in dead_units] for k, name in enumerate(COLUMNS["dead_units"])}
    bends = {name: [each[name] for each in curvature] for name in COLUMNS["curvature"]}
    return {
        "steps": _frame("steps", by_step),
        "layers": _frame("layers", {**keys, **flat}),
        "histograms": _histograms(step, arrays["bins"], starts),
        "dead_units": _frame("dead_units", dead),
        "curvature": _frame("curvature", bends),
    }


_WHOLE = {"step", "epoch", "layer", "rows", "count"}


def _frame(name: str, columns: Mapping[str, Any]) -> pl.DataFrame:
    """Make the frame of that name."""
    import polars as pl

    schema: dict[str, Any] = {
        column: pl.Int64 if column in _WHOLE else pl.Float64 for column in COLUMNS[name]
    }
    if name == "histograms":
        schema["quantity"] = pl.String
    found = {column: columns.get(column, []) for column in schema}
    return pl.DataFrame(found, schema, nan_to_null=True)


def _noise(rows: Array, squares: Array, gradient: Array) -> tuple[Array, Array]:
    """Give unbiased tr(S) and |G|^2 of the true gradient.

    rows: B; squares: the mean of |g_n|^2; gradient: the batch's |G|^2.
    """
    spread = np.maximum(squares - gradient, 0.0)  # rounding puts it below 0 where rows are alike
    noise = np.where(rows > 1, spread * rows / (rows - 1.0), np.nan)
    return noise, gradient - noise / rows


def _noise_scale(noise: Array, signal: Array) -> Array:
    return np.where(signal > 0, noise / signal, np.where(np.isnan(signal), np.nan, np.inf))


def _by_name(sums: Array, fields: np.dtype[Any]) -> dict[str, Array]:
    """Give sums, their fields last, by the names of the fields."""
    return {name: sums[..., k] for k, name in enumerate(fields.names or ())}


def _row_squares(sums: Mapping[str, Array], rows: Array) -> Array:
    """Give the sum of the squared norms of the rows' shares in the gradient, (steps, layers)."""
    return np.asarray(sums["row_spread"] + rows * sums["row_mean"] ** 2)


def _layers(arrays: Mapping[str, Array], plan: Array) -> dict[str, Array]:
    """Make the quantities of every step and layer, (steps, layers) each."""
    sums, moves = _by_name(arrays["forward"], ROWS), _by_name(arrays["moves"], MOVES)
    rows = np.asarray(arrays["rows"], np.float64)[:, None]
    inputs, units = rows * plan["inputs"], rows * plan["units"]
    y_std = np.sqrt(sums["y_spread"] / units)
    first_std = np.sqrt(sums["x_spread"][:, :1] / inputs[:, :1])
    found = {
        "x_mean": np.concatenate([sums["x_mean"][:, :1], sums["y_mean"][:, :-1]], 1),
        "x_std": np.concatenate([first_std, y_std[:, :-1]], 1),
        "z_mean": sums["z_mean"],
        "z_std": np.sqrt(sums["z_spread"] / units),
        "y_mean": sums["y_mean"],
        "y_std": y_std,
        "dead": sums["dead"] / plan["units"],
        "flat": sums["flat"] / units,
        "dy_rms": np.sqrt(sums["dy"] / units),
        "slope_rms": np.sqrt(sums["slope"] / units),
        "dz_rms": np.sqrt(sums["dz"] / units),
        "x_rms": np.sqrt(sums["x"] / inputs),
        "dw_rms": np.sqrt(moves["dw"] / (plan["inputs"] * plan["units"])),
    }
    found["shrink_slope"] = np.log(found["dz_rms"] / found["dy_rms"])
    shrink = np.log(found["dy_rms"][:, :-1] / found["dz_rms"][:, 1:])
    found["shrink_weights"] = np.concatenate([np.full((len(rows), 1), np.nan), shrink], 1)
    squares = rows * _row_squares(sums, rows)
    noise, signal = _noise(rows, squares, moves["gradient"])
    scale = _noise_scale(noise, signal)
    return {
        **found,
        "sample_norm_mean": rows * sums["row_mean"],
        "sample_norm_std": np.where(rows > 1, np.sqrt(rows * sums["row_spread"]), np.nan),
        "signal_to_noise": np.sqrt(rows / scale),
        "noise_scale": scale,
        "w_norm": np.sqrt(moves["w"]),
        "update_ratio": np.sqrt(moves["move_w"] / moves["w"]),
        **_cosines(moves),
    }


def _cosines(moves: Mapping[str, Array]) -> dict[str, Array]:
    """Compare gradient and update with those of the step before; NaN where one of them is 0."""
    return {
        "gradient_cosine": _cosine(moves["along"], moves["final"], moves["before"]),
        "update_cosine": _cosine(moves["move_along"], moves["move"], moves["move_before"]),
    }


def _cosine(product: Array, one: Array, other: Array) -> Array:
    """Give the cosine of two vectors by their product and squared lengths, however long."""
    return np.asarray(np.clip(product / (np.sqrt(one) * np.sqrt(other)), -1.0, 1.0))


def _steps(arrays: Mapping[str, Array], steps_per_epoch: int) -> dict[str, Array]:
    """Make the quantities of every step, (steps,) each."""
    moves = _by_name(arrays["moves"].sum(1), MOVES)
    step, rows = arrays["step"], np.asarray(arrays["rows"], np.float64)
    squares = _row_squares(_by_name(arrays["forward"], ROWS), rows[:, None]).sum(1)
    noise, signal = _noise(rows, rows * squares, moves["gradient"])
    scale = _noise_scale(noise, signal)
    return {
        "step": step,
        "epoch": 1 + (step - 1) // steps_per_epoch,
        "loss": arrays["loss"],
        "learning_rate": arrays["learning_rate"],
        "rows": arrays["rows"],
        "gradient_norm": np.sqrt(arrays["norm"]),
        "clipped_norm": np.sqrt(moves["final"]),
        "signal_to_noise": np.sqrt(rows / scale),
        "noise_scale": scale,
        "suggested_batch": _noise_scale(average(noise), average(signal)),
        **_cosines(moves),
        **{name: arrays["row_norms"][:, k] for k, name in enumerate(ROW_NORMS)},
    }


def average(values: Array) -> Array:
    """Average the last values up to each, at most `AVERAGED`; NaN, as of single rows, is none."""
    known = ~np.isnan(values)
    some = values[known]
    first = [np.nan, *(some[: k + 1].mean() for k in range(min(AVERAGED - 1, len(some))))]
    later = sliding_window_view(some, AVERAGED).mean(axis=1) if len(some) >= AVERAGED else []
    return np.asarray(np.concatenate([first, later])[np.cumsum(known)])


def _histograms(step: Array, bins: Array, starts: Array) -> pl.DataFrame:
    """Make a row of every bin that is not empty; for some steps at a time, to take less memory."""
    import polars as pl

    names = np.array(["z", "gradient"])
    edges = np.stack([gauges.bin_edges(name) for name in names])
    parts = []
    for begin in range(0, max(len(step), 1), COUNTED_AT_ONCE):
        counts = _count(bins[begin : begin + COUNTED_AT_ONCE], starts)
        at, layer, which, place = np.nonzero(counts)
        found = {
            "step": step[begin + at],
            "layer": layer + 1,
            "quantity": names[which],
            "low": edges[which, place],
            "high": edges[which, place + 1],
            "count": counts[at, layer, which, place],
        }
        parts.append(_frame("histograms", found))
    return pl.concat(parts)


def _count(bins: Array, starts: Array) -> Array:
    """Count the entries of each histogram by their bins, (steps, layers, 2, BINS + 2).

    bins (steps, entries): from 1 on, 0 where there was no entry; starts: see `gauges.drawing`.
    """
    width = gauges.BINS + 3
    counts = np.empty((len(bins), len(starts) - 1, width), np.int32)
    offsets = width * np.arange(len(bins))[:, None]
    for which, (first, last) in enumerate(itertools.pairwise(starts)):
        counted = np.bincount((bins[:, first:last] + offsets).ravel(), minlength=width * len(bins))
        counts[:, which] = counted.reshape(-1, width)
    return counts[..., 1:].reshape(len(bins), len(starts) // 2, 2, width - 1)
