"""Pictures by layer on the way forward: outputs, dead units, flat zone, distribution of z.

Each function gives a `Section`, as those of `curves`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from downslope import look
from downslope.account import Account
from downslope.curves import batch_of, figure, scientific
from downslope.flow import (
    NOT_RECORDED,
    by_layer,
    evenly,
    heatmap,
    layer_axis,
    powers,
    recorded,
    step_axis,
    with_slider,
)
from downslope.page import Section

Array = npt.NDArray[Any]


def activations(account: Account) -> Section:
    """Draw mean and spread of each layer's output at the first, a middle and the last step."""
    heading = "Outputs of the layers"
    if not recorded(account):
        return Section(heading, None, NOT_RECORDED)
    steps, layers, means = by_layer(account, "y_mean")
    _, _, deviations = by_layer(account, "y_std")
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
    if account.trace is None or not recorded(account):
        return Section(heading, None, NOT_RECORDED)
    frame = account.trace.dead_units
    seen = ""
    if len(frame):
        last = frame.filter(frame["epoch"] == frame["epoch"].max())
        hidden = last.filter(last["layer"] < last["layer"].max())
        if len(hidden):
            seen = _seen_in_dead(hidden.sort("dead", descending=True).row(0, named=True))
    return _shares(
        account,
        "dead",
        heading,
        "The color is the share of units that give 0 for every row of a step's batch "
        f"({batch_of(account):,}): the fewer its rows, the more units are idle for all of them and "
        "yet alive. Dead is a unit that gives 0 for every training row: it has no gradient and "
        "learns nothing until others move it.",
        seen,
        "idle in a batch",
    )


_LOOKED_AT = "every one of up to 10,000 training rows"


def _seen_in_dead(worst: dict[str, Any]) -> str:
    if not worst["dead"]:
        return f"At the end of epoch {worst['epoch']:,} no unit gave 0 for {_LOOKED_AT}."
    return (
        f"At the end of epoch {worst['epoch']:,}, {worst['dead']:.0%} of the units of layer "
        f"{worst['layer']} gave 0 for {_LOOKED_AT}, the most of any layer."
    )


def flat(account: Account) -> Section:
    """Draw the share of values in the flat zone of the activation."""
    heading = "Values in the flat zone"
    if not recorded(account):
        return Section(heading, None, NOT_RECORDED)
    _, layers, table = by_layer(account, "flat")
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
    layers = len(account.model.network.layout.plan)
    heat = heatmap(account, column, max(1, layers - 1))
    heat |= {
        "zmin": 0, "zmax": 1, "colorbar": {"title": {"text": of}, "tickformat": ".0%"},
        "hovertemplate": "step %{x}, layer %{y}: %{z:.1%}<extra></extra>",
    }  # fmt: skip
    content = {
        "data": [heat],
        "layout": {
            "title": {"text": heading},
            "xaxis": step_axis(heat["x"]),
            "yaxis": layer_axis(heat["y"], "hidden layer" if layers > 1 else "layer"),
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
        "step to step is good; a narrow one passes no signal on, a wide one saturates φ.",
    )


def gradients(account: Account) -> Section:
    """Draw the distribution of |dL/dW| by layer, with a slider over recorded steps."""
    return _distribution(
        account,
        "gradient",
        "Distribution of the gradient",
        "The sizes |dL/dw| of the single weights' gradients, by powers of ten. Bands one below the "
        "other are good; a band that wanders left from layer to layer is a gradient that vanishes.",
    )


def _distribution(account: Account, quantity: str, heading: str, sentence: str) -> Section:
    """Draw the histograms of a quantity by layer; those of the gradient over decimal logarithms."""
    frame = None if account.trace is None else account.trace.histograms
    if frame is None or not len(frame := frame.filter(frame["quantity"] == quantity)):
        return Section(heading, None, NOT_RECORDED)
    low = frame["low"]
    inside = (low > 0 if quantity == "gradient" else low.is_finite()) & frame["high"].is_finite()
    if not len(frame := frame.filter(inside)):
        return Section(heading, None, "No value of it was a number within the histogram's range.")
    steps, layers = (np.array(frame[name].unique().sort()) for name in ("step", "layer"))
    chosen = steps[evenly(len(steps), 12)]
    frame = frame.filter(frame["step"].is_in(chosen.tolist()))
    bins = Bins(*(frame[name].to_numpy() for name in ("step", "layer", "low", "high", "count")))
    across: dict[str, Any] = {"title": {"text": "z"}}
    if quantity == "gradient":
        bins = bins._replace(low=np.log10(bins.low), high=np.log10(bins.high))
        across = {"title": {"text": "|dL/dw|"}}
    edges = _edges(bins)
    heats = [
        {
            "type": "heatmap", "x": (edges[1:] + edges[:-1]) / 2, "y": layers,
            "z": _densities(bins, step, layers, edges),
            "colorbar": {"title": {"text": "share"}, "tickformat": ".0%"},
            "hovertemplate": "%{x:.3g}, layer %{y}: %{z:.1%}<extra></extra>",
        }
        for step in chosen
    ]  # fmt: skip
    if quantity == "gradient":
        across |= {"tickmode": "array", **powers(edges)}
    layout = {"title": {"text": heading}, "xaxis": across, "yaxis": layer_axis(layers)}
    names = [f"{step:,}" for step in chosen]
    return Section(heading, with_slider(heats, names, layout, "step "), sentence)


class Bins(NamedTuple):
    """Histograms, a bin an entry."""

    step: Array
    layer: Array
    low: Array
    high: Array
    counts: Array


def _edges(bins: Bins, most: int = 50) -> Array:
    """Give even edges around nearly all values, the stray ends left out."""
    first, last = np.argsort(bins.low), np.argsort(bins.high)
    below = np.cumsum(bins.counts[first]) > 0.002 * bins.counts.sum()
    above = np.cumsum(bins.counts[last]) >= 0.998 * bins.counts.sum()
    begin, end = bins.low[first[below.argmax()]], bins.high[last[above.argmax()]]
    return np.linspace(begin, end, most + 1)


def _densities(bins: Bins, step: int, layers: Array, edges: Array) -> Array:
    """Give the share in each cell by layer, each recorded bin spread evenly over its width."""
    table = np.zeros((len(layers), len(edges) - 1))
    for place, layer in enumerate(layers):
        chosen = (bins.step == step) & (bins.layer == layer)
        low, high, counts = (each[chosen] for each in bins[2:])
        if not len(counts):
            continue
        over = np.minimum(high[:, None], edges[1:]) - np.maximum(low[:, None], edges[:-1])
        table[place] = counts / (high - low) @ np.clip(over, 0, None) / counts.sum()
    return table
