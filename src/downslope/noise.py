"""The picture of the gradient's noise against the batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from downslope import look
from downslope.account import Account
from downslope.curves import (
    Array,
    Series,
    axis,
    figure,
    label,
    level,
    line,
    no_better,
)
from downslope.page import Section
from downslope.quantities import AVERAGED


def noise(accounts: Sequence[Account]) -> Section:
    """Draw the simple noise scale against the batch that was used."""
    heading = "Noise scale and batch"
    data: list[Series] = []
    batches: dict[int, Array] = {}
    seen, infinite = "", False
    for number, account in enumerate(accounts):
        x, y = account.by_step("noise_scale")
        _, averaged = account.by_step("suggested_batch")
        good, steady = (np.isfinite(each) & (each > 0) for each in (y, averaged))
        infinite = infinite or bool(np.isinf(y).any())
        if not good.any():
            continue
        batch = account.batch
        points = {**line(x[good], y[good], "", number), "mode": "markers", "showlegend": False}
        points |= {"opacity": 0.4, "marker": {"color": look.color(number), "size": 4}}
        data.append(points)
        name = label(account, accounts, "noise scale, averaged")
        drawn = line(x, np.where(steady, averaged, np.nan), name, number)
        data.append({**drawn, "mode": "lines+markers", "marker": points["marker"]})
        batches[batch] = np.union1d(batches.get(batch, x), x)
        if len(accounts) == 1:
            seen = _seen_in_noise(account)
    if not data:
        why = "gradient could be told from its noise" if infinite else "gradient noise was recorded"
        return Section(heading, None, f"No {why}, so nothing is said of the batch.")
    data += [level(x, batch, f"batch used: {batch:,}") for batch, x in batches.items()]
    up = axis("rows", *(each["y"] for each in data))
    return Section(
        heading,
        figure(data, "Noise scale", {"title": {"text": "step"}}, up),
        "The noise scale tr(Σ)/|G|² is the batch at which noise and gradient weigh the same "
        "(McCandlish et al. 2018). Far below it, a larger batch saves steps; far above it, more "
        "rows a step are spent for nothing. It usually grows as the loss falls; where its line has "
        "a gap, the gradient cannot be told from its noise.",
        seen,
    )


def _seen_in_noise(account: Account) -> str:
    """Say how the batch fits the noise scale at the end, where that says something."""
    x, averaged = account.by_step("suggested_batch")
    x, averaged = x[~np.isnan(averaged)], averaged[~np.isnan(averaged)]
    last = account.by_step("noise_scale")[1][-AVERAGED:]
    if account.failed or np.isnan(last).all() or _learned_nothing(account):
        return ""
    if np.isinf(averaged[-1]):
        first = 1 + int(np.flatnonzero(np.isfinite(averaged)).max(initial=-1))
        return (
            f"From step {x[first]:,} on the gradient cannot be told from its noise: the noise "
            "scale, averaged, is infinite there and names no batch."
        )
    rows, batch = float(account.data.get("training", math.inf)), account.batch
    return _how_it_fits(float(averaged[-1]), batch, rows)


def _learned_nothing(account: Account) -> bool:
    """Say whether the gradient was 0 at the end, or the network is no better than the trivial."""
    _, norms = account.by_step("gradient_norm")
    scores = account.scores.get("training", {})
    return norms[-1] == 0 or bool(scores and no_better(scores["score"], scores["trivial"]))


def _how_it_fits(scale: float, batch: int, rows: float) -> str:
    """Compare a batch with the noise scale, of which the training rows bound the use."""
    about = f"about {float(f'{scale:.2g}'):,g} rows"
    more = f"more than the {rows:,.0f} rows there are for training"
    text = f"At the end the noise scale is {more if scale > rows else about}, the batch {batch:,}"
    if batch > 3 * scale:
        return text + ": a smaller batch would do as much in each step."
    if batch < min(scale, rows) / 3:
        up_to = ", up to all the rows" if scale > rows else ""
        return text + f": larger batches would still save steps{up_to}."
    return text + (
        ": one of all the rows is the largest there is." if scale > rows else ": they fit."
    )
