"""Pictures by layer on the way forward: outputs, dead units, flat zone, distribution of z.

Each function gives a `Section`, as those of `curves`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from downslope import look
from downslope.account import Account
from downslope.arrival import named
from downslope.curves import figure, scientific
from downslope.flow import (
    NOT_RECORDED,
    evenly,
    heatmap,
    layer_axis,
    step_axis,
    with_slider,
)
from downslope.kernels.gauges import LOWEST_POWER, Z_EDGE, bin_edges
from downslope.page import Section

Array = npt.NDArray[Any]

SHOWN_STEPS = 12
"""Steps of a slider at most."""

SHOWN_CELLS = 50
"""Cells of a histogram between its two ends."""

STRAY = 0.002
"""Share of the values at either end that the axis need not reach: the cell there has them."""


def activations(account: Account) -> Section:
    """Draw mean and spread of each layer's output at the first, a middle and the last step."""
    heading = "Outputs of the layers"
    if not account.recorded:
        return Section(heading, None, NOT_RECORDED)
    steps, layers, means = account.by_layer("y_mean")
    _, _, deviations = account.by_layer("y_std")
    last = len(steps) - 1
    chosen = sorted({0, last // 2, last})
    data = []
    for number, place in enumerate(chosen):
        shift = 0.16 * (number - (len(chosen) - 1) / 2)
        spread = {"type": "data", "array": deviations[:, place], "thickness": 2, "width": 4}
        data.append(
            {
                "type": "scatter", "mode": "markers", "x": layers + shift, "y": means[:, place],
                "error_y": spread, "name": f"{steps[place]:,}",
                "marker": {"color": look.color(number), "size": 8},
            }
        )  # fmt: skip
    up = {"title": {"text": "y: mean and spread"}}
    across = {**layer_axis(layers), "range": [0.5, len(layers) + 0.5]}
    final = deviations[:-1, last]
    seen = ""
    if final.size and np.isfinite(final).all() and final.min() < 1e-2 * max(final.max(), 1e-30):
        narrow = int(layers[final.argmin()])
        seen = (
            f"At the end y of layer {narrow} spreads over rows and units by "
            f"{scientific(final.min())}, that of layer {layers[final.argmax()]} by "
            f"{scientific(final.max())}."
        )
    return Section(
        heading,
        figure(
            data,
            heading,
            across,
            up,
            showlegend=True,
            legend={"title": {"text": "step"}},
        ),
        "A bar is the spread of y over rows and units together. Bars of like length in all layers "
        "are usual; bars that shrink to nothing from layer to layer mean that little is passed on, "
        "growing ones that values explode. Rows may be alike under a long bar, where only the "
        "units differ.",
        seen,
    )


def dead(account: Account) -> Section:
    """Draw the share of units that give 0 for every row of the batch; say how many are dead."""
    heading = "Dead units"
    if account.trace is None or not account.recorded:
        return Section(heading, None, NOT_RECORDED)
    frame = account.trace.dead_units
    seen = ""
    if len(frame):
        last = frame.filter(frame["step"] == frame["step"].max())
        hidden = last.filter(last["layer"] < last["layer"].max())
        if len(hidden):
            seen = _seen_in_dead(hidden.sort("dead", descending=True).row(0, named=True))
    return _shares(
        account,
        "dead",
        heading,
        "The color is the share of units that give 0 for every row of a step's batch "
        f"({account.batch:,}): the fewer its rows, the more units are idle for all of them and "
        "yet alive. Dead is a unit that gives 0 for every training row: it has no gradient and "
        "learns nothing until others move it.",
        seen,
        "idle in a batch",
    )


_LOOKED_AT = "every one of up to 10,000 training rows"


def _seen_in_dead(worst: dict[str, Any]) -> str:
    if not worst["dead"]:
        return f"After step {worst['step']:,} no unit gave 0 for {_LOOKED_AT}."
    return (
        f"After step {worst['step']:,}, {worst['dead']:.0%} of the units of layer "
        f"{worst['layer']} gave 0 for {_LOOKED_AT}, the most of any layer."
    )


def flat(account: Account) -> Section:
    """Draw the share of values in the flat zone of the activation."""
    heading = "Values in the flat zone"
    if not account.recorded:
        return Section(heading, None, NOT_RECORDED)
    _, layers, table = account.by_layer("flat")
    final = table[:-1, -1]
    seen = ""
    if final.size and np.isfinite(final).any() and np.nanmax(final) > 0.2:
        most = int(np.nanargmax(final))
        seen = (
            f"At the end {final[most]:.0%} of layer {layers[most]}'s values let no gradient pass."
        )
    return _shares(
        account,
        "flat",
        heading,
        "Where φ' is below a thousandth of its largest value, hardly any gradient passes. Half is "
        "usual for ReLU, whose flat zone is all below 0; for sigmoid and tanh a color at all means "
        "saturation.",
        seen,
    )


def _shares(
    account: Account, column: str, heading: str, sentence: str, seen: str, of: str = ""
) -> Section:
    """Draw a share by step and hidden layer; `of`: what of, beside the colors."""
    hidden = len(account.model.network.layout.plan) - 1
    if not hidden:
        return Section(heading, None, "A linear model has no hidden layer.")
    heat = heatmap(account, column, hidden)
    heat |= {
        "zmin": 0, "zmax": 1, "colorbar": {"title": {"text": of}, "tickformat": ".0%"},
        "hovertemplate": "step %{x}, layer %{y}: %{z:.1%}<extra></extra>",
    }  # fmt: skip
    content = {
        "data": [heat],
        "layout": {
            "title": {"text": heading},
            "xaxis": step_axis(heat["x"]),
            "yaxis": layer_axis(heat["y"], "hidden layer"),
        },
    }
    return Section(heading, content, sentence, seen)


def z(account: Account) -> Section:
    """Draw the distribution of z by layer, with a slider over recorded steps."""
    return _distribution(
        account,
        "z",
        "Distribution of z",
        "z is what φ is applied to. A band around 0 that keeps its width from layer to layer and "
        "step to step is good; a narrow one passes no signal on, a wide one saturates φ. The cells "
        "at both ends hold all that lies beyond.",
    )


def gradients(account: Account) -> Section:
    """Draw the distribution of |dL/dW| by layer, with a slider over recorded steps."""
    return _distribution(
        account,
        "gradient",
        "Distribution of the gradient",
        "The sizes |dL/dw| of the single weights' gradients, by powers of ten. Bands one below the "
        "other are good; a band that wanders left from layer to layer is a gradient that vanishes. "
        "The cell at the left end holds all that is smaller, zeros too; that at the right end all "
        "that is larger.",
    )


class Bins(NamedTuple):
    """Histograms, a bin an entry; the gradient's over decimal logarithms.

    The outermost are open: below the first edge and above the last, NaN in the latter.
    """

    step: Array
    layer: Array
    low: Array
    high: Array
    counts: Array

    def where(self, chosen: Array) -> Bins:
        """Give some of them."""
        return Bins(*(each[chosen] for each in self))


def _distribution(account: Account, quantity: str, heading: str, sentence: str) -> Section:
    """Draw the histograms of a quantity by layer; those of the gradient over decimal logarithms."""
    frame = None if account.trace is None else account.trace.histograms
    if frame is None or not len(frame := frame.filter(frame["quantity"] == quantity)):
        return Section(heading, None, NOT_RECORDED)
    bins = Bins(*(frame[name].to_numpy() for name in ("step", "layer", "low", "high", "count")))
    if quantity == "gradient":
        with np.errstate(divide="ignore"):
            bins = bins._replace(low=np.log10(bins.low), high=np.log10(bins.high))
    steps, layers = np.unique(bins.step), np.unique(bins.layer)
    chosen = steps[evenly(len(steps), SHOWN_STEPS)]
    edges = _edges(bins.where(np.isin(bins.step, chosen)), quantity)
    ticks, names = _across(edges, quantity)
    heats = [
        {
            "type": "heatmap", "x": _centers(edges), "y": layers,
            "z": np.array([_shares_of_cells(bins, step, layer, edges) for layer in layers]),
            "text": [names] * len(layers),
            "colorbar": {"title": {"text": "share"}, "tickformat": ".0%"},
            "hovertemplate": "%{text}, layer %{y}: %{z:.1%}<extra></extra>",
        }
        for step in chosen
    ]  # fmt: skip
    layout = {"title": {"text": heading}, "xaxis": ticks, "yaxis": layer_axis(layers)}
    content = with_slider(heats, [f"{step:,}" for step in chosen], layout, "step ")
    return Section(heading, content, sentence, _seen_beyond(account, bins, quantity))


def _edges(bins: Bins, quantity: str) -> Array:
    """Give even edges (SHOWN_CELLS + 1,) around nearly all values, between two whole numbers.

    They reach no further than what was told apart when it was counted.
    """
    recorded = bin_edges(quantity)[1:-1]
    recorded = np.log10(recorded) if quantity == "gradient" else recorded
    lowest, highest = math.ceil(recorded[0]), math.floor(recorded[-1])
    if quantity == "gradient":
        bins = bins.where(np.isfinite(bins.low))  # zeros have no place on a logarithmic axis
    begin, end = lowest, highest
    if bins.counts.size:
        first, last = np.argsort(bins.low), np.argsort(bins.high)
        below = np.cumsum(bins.counts[first]) > STRAY * bins.counts.sum()
        above = np.cumsum(bins.counts[last]) >= (1 - STRAY) * bins.counts.sum()
        begin = max(lowest, np.floor(bins.low[first[below.argmax()]]))
        end = min(highest, np.ceil(bins.high[last[above.argmax()]]))
    if begin >= end:  # all lie on one side of what was told apart
        begin, end = lowest, highest
    return np.linspace(begin, end, SHOWN_CELLS + 1)


def _centers(edges: Array) -> Array:
    """Give the centers of the cells: an end, a gap, those between the edges, a gap, an end."""
    return np.asarray(edges[0] + (edges[1] - edges[0]) * (np.arange(SHOWN_CELLS + 4) - 1.5))


def _shares_of_cells(bins: Bins, step: int, layer: int, edges: Array) -> Array:
    """Give the share of all values in every cell, each recorded bin spread evenly over its width.

    The first cell has what lies below the edges, the last what lies above; NaN in the gaps.
    """
    _, _, low, high, counts = bins.where((bins.step == step) & (bins.layer == layer))
    # An open bin lies outside of the edges, so that any width will do for it.
    low, high = np.where(np.isinf(low), high - 1, low), np.where(np.isinf(high), low + 1, high)
    reached = np.clip((edges[:, None] - low) / (high - low), 0, 1) @ counts
    shares = np.diff([0, *reached, counts.sum()]) / max(1, counts.sum())
    return np.array([shares[0], np.nan, *shares[1:-1], np.nan, shares[-1]])


def _across(edges: Array, quantity: str) -> tuple[dict[str, Any], list[str]]:
    """Give the axis of a distribution, its ends in words, and the names of all cells."""

    def name(value: float) -> str:
        text = f"{value:.3g}".replace("-", "−")
        return f"10<sup>{text}</sup>" if quantity == "gradient" else text

    low, high = int(edges[0]), int(edges[-1])
    below, above = f"below {name(low)}", f"above {name(high)}"
    step, room = 1 + (high - low) // 6, (high - low) / 6  # room for the words at the ends
    ticks = [k for k in range(low, high) if k % step == 0 and low + room < k < high - room]
    centers = _centers(edges)
    axis = {
        "title": {"text": "|dL/dw|" if quantity == "gradient" else "z"},
        "tickmode": "array", "tickvals": [centers[0], *ticks, centers[-1]],
        "ticktext": [below, *map(name, ticks), above],
    }  # fmt: skip
    return axis, [below, "", *map(name, centers[2:-2]), "", above]


def _seen_beyond(account: Account, bins: Bins, quantity: str) -> str:
    """Say how much of the last step lies beyond what was told apart, in the layer with most."""
    step, of_z = int(bins.step.max()), quantity == "z"
    last = bins.where(bins.step == step)
    beyond = np.isinf(last.low) | (np.isinf(last.high) & of_z)
    if of_z:  # large ones are usual in the output layer: they are its certainty
        beyond &= last.layer < len(account.model.network.layout.plan)
    totals, outside = (
        np.bincount(last.layer, each) for each in (last.counts, last.counts * beyond)
    )
    shares = outside / np.maximum(totals, 1)
    most, said = int(shares.argmax()), []
    if shares[most] >= 0.01:
        limit = f"beyond ±{Z_EDGE:g}" if of_z else f"at 0 or below {scientific(2.0**LOWEST_POWER)}"
        said.append(
            f"In step {step:,}, {shares[most]:.0%} of the {'z' if of_z else 'gradients'} counted "
            f"in layer {most} lie {limit}."
        )
    steps, layers, table = account.by_layer("z_mean" if of_z else "dw_rms")
    broken = layers[~np.isfinite(table[:, steps == step]).all(axis=1)]
    if broken.size:
        said.append(
            f"Not all of step {step:,} is finite ({named(broken)}): NaN counts with the cell at "
            "the right end."
        )
    return " ".join(said)
