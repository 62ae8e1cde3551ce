"""Whether the error arrives in the first layer on its way back, and what it is lost to: words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope.account import Account
from downslope.curves import scientific

Array = npt.NDArray[Any]

ARRIVES, FAILS = math.log10(30), 3.0
"""Powers of ten between the errors |dL/dz| of the first and the last layer: a factor of 30, as ten
layers of ReLU with He's initialization stay within, is normal; from a thousand on, the first hardly
move under plain gradient descent."""

SMALL_INPUTS, LARGE_INPUTS = 0.01, 10.0
"""Root mean squares of the inputs beyond which scaling them is advised: initializers are made for
inputs of about 1 (LeCun et al. 1998, section 4.3)."""


def typically(table: Array) -> Array:
    """Give the median of each row's finite values; NaN where there are none."""
    rows = (row[np.isfinite(row)] for row in table)
    return np.array([np.median(row) if row.size else np.nan for row in rows])


def late(account: Account, column: str) -> Array:
    """Give a column of the last fifth of the steps, at least of one, as (layers, steps).

    The step in which a run failed is left out, unless there is no other.
    """
    table = account.by_layer(column)[2]
    if account.failed and table.shape[1] > 1:
        table = table[:, :-1]
    return table[:, -max(1, table.shape[1] // 5) :]


def lately(account: Account, column: str) -> Array:
    """Give the median of each layer's finite values in the last fifth of the steps."""
    return typically(late(account, column))


def shrinkage(account: Account) -> tuple[Array, Array, Array]:
    """Give layers, and the powers of ten that weights and phi' add to the error on its way back.

    On average over the last fifth of the steps. The error is |dL/dz|, a length, so that it does not
    depend on how many units share it; the trace has root mean squares, and where few units pass the
    error on to many, theirs is small. It begins with the last layer's z and ends with the first
    layer's: the last layer's phi' and the first one's weights are NaN, as is what no step tells.
    """
    lengths = np.log(account.model.network.layout.plan["units"]) / 2
    weights, slopes = (_late_means(account, name) for name in ("shrink_weights", "shrink_slope"))
    weights[1:] += lengths[:-1] - lengths[1:]
    weights[0] = slopes[-1] = np.nan
    return np.arange(1, len(weights) + 1), weights / math.log(10), slopes / math.log(10)


def _late_means(account: Account, column: str) -> Array:
    """Give the mean of each layer's finite values over the last fifth of the steps."""
    rows = (row[np.isfinite(row)] for row in late(account, column))
    return np.array([row.mean() if row.size else np.nan for row in rows])


def seen_in_flow(account: Account) -> str:
    """Say whether the error arrives in the first layer toward the end, and what it lost it to."""
    steps, layers, table = account.by_layer("dw_rms")
    if account.failed:
        return _seen_in_growth(steps, table)
    if len(layers) < 2:
        return ""
    silent = (late(account, "dw_rms")[0] == 0).all()
    said = _seen_in_silence(account) if silent else _seen_back(account)
    inputs = lately(account, "x_rms")[0]
    if not SMALL_INPUTS <= inputs <= LARGE_INPUTS and inputs > 0:
        said += (
            f" The inputs have a root mean square of {scientific(inputs)}, where initializers and "
            f"φ expect about 1: scale them."
        )
    return said


def _seen_back(account: Account) -> str:
    """Say what became of the error on its way from the last layer to the first."""
    layers, weights, slopes = shrinkage(account)
    by_weights, by_slopes = weights[1:].sum(), slopes[:-1].sum()
    total = by_weights + by_slopes
    if not math.isfinite(total):
        return ""
    text = (
        f"Toward the end the error |dL/dz| of layer 1 is typically {times(total)} that of layer "
        f"{layers[-1]}"
    )
    if abs(total) < ARRIVES:
        return text + ": it arrives."
    verbs = ["takes" if by_slopes < 0 else "adds", "take" if by_weights < 0 else "add"]
    split = (
        f"On the way φ' {verbs[0]} {abs(by_slopes):.1f} powers of ten and the weights {verbs[1]} "
        f"{abs(by_weights):.1f}"
    )
    if abs(total) < FAILS:
        return f"{text}: it {'weakens' if total < 0 else 'grows'}. {split}."
    cause = "φ'" if (by_slopes < by_weights) == (total < 0) else "the weights"
    return f"{text}: it {'vanishes' if total < 0 else 'explodes'}. {split}: the cause is {cause}."


def _seen_in_silence(account: Account) -> str:
    """Say since when the first layer has no gradient, and why."""
    steps, layers, table = account.by_layer("dw_rms")
    moved = np.flatnonzero(table[0] > 0)
    since = f"after step {steps[moved[-1]]:,}" if moved.size else "in any recorded step"
    silent = (late(account, "dw_rms") == 0).all(axis=1)
    if silent.all():
        who = "No weight has a gradient"
    else:
        below = layers[: np.flatnonzero(~silent)[0]]
        who = f"The weights of {named(below)} have no gradient"
    return f"{who} {since}: {_cause_of_silence(account, silent)}."


def _cause_of_silence(account: Account, silent: Array) -> str:
    """Say why the layers that are silent get no gradient: what is 0 on the way there."""
    layers, network = account.by_layer("dead")[1], account.model.network
    if network.output_activation.name == "softmax" and network.outputs == 1:
        return "the softmax of a single output is 1 whatever z is; take sigmoid"
    passed = len(layers) if silent.all() else len(layers) - 1
    for column, words in (
        ("dead", "every unit of {} is dead, giving 0 for every row"),
        ("flat", "every value of {} is in the flat zone of φ"),
    ):
        share = late(account, column)[:passed]
        whole = layers[:passed][(share == 1).all(axis=1)]
        if whole.size:
            return words.format(named(whole))
    if not late(account, "x_rms")[0].any():
        return "the inputs are 0"
    if silent.all() and not late(account, "dy_rms")[-1].any():
        return "the loss has none, dL/dy of the last layer is 0"
    zeros = layers[1:][(late(account, "w_norm")[1:] == 0).all(axis=1)]
    if zeros.size:
        return f"the weights of {named(zeros)} are still 0"
    return f"what is left of the error is too small for {network.theta.dtype}"


def named(layers: Array) -> str:
    """Name some layers.

    >>> named([2]), named([1, 2]), named([1, 2, 3, 5])
    ('layer 2', 'layers 1 and 2', 'layers 1, 2, 3 and 5')
    """
    *first, last = (str(each) for each in layers)
    return f"layers {', '.join(first)} and {last}" if first else f"layer {last}"


def _seen_in_growth(steps: Array, table: Array) -> str:
    """Say how the gradient grew before a run failed."""
    size = np.sqrt((table**2).mean(axis=0))
    good = np.flatnonzero(np.isfinite(size) & (size > 0))
    if len(good) < 2:
        return ""
    first, last = good[0], good[-1]
    growth = times(float(np.log10(size[last] / size[first])))
    return f"In step {steps[last]:,} the gradient was {growth} in step {steps[first]:,}."


def times(logarithm: float) -> str:
    """Write a decimal logarithm as a comparison of sizes.

    >>> times(-2.0), times(0.3), times(-7.2)
    ('100 times smaller than', '2 times larger than', '1.6·10⁷ times smaller than')
    """
    factor = 10 ** abs(logarithm)
    if factor < 1.05:
        return "as large as"
    return f"{scientific(factor)} times {'smaller' if logarithm < 0 else 'larger'} than"
