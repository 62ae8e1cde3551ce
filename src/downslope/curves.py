"""Pictures along the steps: loss, score, learning rate, gradient norm, noise; several runs in one.

Each function gives a `Section`: the figure as plain data for Plotly, and what to look for in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope import look
from downslope.account import Account, have_same_data
from downslope.page import Section
from downslope.score import trivial_name

Array = npt.NDArray[Any]
Series = dict[str, Any]

POINTS = 800
"""Points of a drawn curve, about one for each pixel of its width."""

MARKED = 12
"""Points up to which each is marked where the curve has gaps: a line alone would not show them."""

SPREAD = 30.0
"""Ratio of largest to smallest above which an axis is logarithmic: one and a half decades."""

LOWEST_SCORE = -1.0
"""R2 below which an axis does not go: there a network is worse than useless, by however much."""


def thin(x: Any, y: Any, most: int = POINTS) -> tuple[Array, Array]:
    """Take points out of a curve where there are more than `most`, but no peak and no gap.

    Of each of most/2 stretches the lowest and the highest point stay, of a stretch of NaN one.

    >>> x, y = thin(np.arange(1000), np.sin(np.arange(1000)), most=10)
    >>> len(x), bool(y.max() > 0.999)
    (12, True)
    """
    x, y = np.asarray(x), np.asarray(y, float)
    if len(x) <= most:
        return x, y
    kept = {0, len(x) - 1}
    for part in np.array_split(np.arange(len(x)), most // 2):
        values = y[part]
        low, high = (
            np.where(np.isnan(values), math.inf, values),
            np.where(np.isnan(values), -math.inf, values),
        )
        kept |= {int(part[low.argmin()]), int(part[high.argmax()])}
    chosen = np.array(sorted(kept))
    return x[chosen], y[chosen]


def line(x: Any, y: Any, name: str, number: int, **style: Any) -> Series:
    """Give a curve with the color of its number; `style` goes into the line."""
    x, y = thin(x, y)
    return {
        "type": "scatter",
        "mode": "lines" if _holds_together(y) else "lines+markers",
        "x": x,
        "y": y,
        "name": look.plain(name),
        "line": {"color": look.color(number), "width": 2, **style},
        "marker": {"color": look.color(number), "size": 8},
    }


def _holds_together(y: Array) -> bool:
    """Say whether a line through these values shows them all: several, and few gaps."""
    good = np.isfinite(y)
    return bool(good.sum() > (1 if good.all() else MARKED))


def axis(title: str, *values: Any) -> dict[str, Any]:
    """Give an axis with its title; a logarithmic one where positive values lie far apart."""
    shown = np.concatenate([np.ravel(np.asarray(each, float)) for each in values] or [np.empty(0)])
    shown = shown[np.isfinite(shown)]
    if not shown.size or shown.min() <= 0 or shown.max() < SPREAD * shown.min():
        return {"title": {"text": title}}
    decades = math.log10(shown.max() / shown.min())
    ticks = "D2" if decades < 2 else 1 + int(decades) // 8
    few = shown.min() >= 1e-4 and shown.max() <= 1e5
    numbers: dict[str, Any] = {"tickformat": "~g"} if few else {"exponentformat": "power"}
    low = float(np.quantile(shown, 0.05)) / SPREAD
    if (
        len(shown) > MARKED and shown.min() < low
    ):  # a few stragglers, as the last steps of cosine, are left outside
        numbers["range"] = [math.log10(low), math.log10(shown.max()) + 0.1]
    return {"title": {"text": title}, "type": "log", "dtick": ticks, **numbers}


def figure(data: Sequence[Series], title: str, x: Any, y: Any, **layout: Any) -> dict[str, Any]:
    """Give a figure of one pair of axes."""
    return {
        "data": list(data),
        "layout": {
            "title": {"text": title},
            "xaxis": x,
            "yaxis": y,
            "showlegend": len(data) > 1,
            **layout,
        },
    }


def level(x: Any, y: float, name: str) -> Series:
    """Give a dotted horizontal line from the first to the last x."""
    ends = [x[0], x[-1]] if len(x) else []
    return {
        "type": "scatter", "mode": "lines", "x": ends, "y": [y] * len(ends),
        "name": look.plain(name),
        "line": {"color": look.color(5), "width": 1.5, "dash": "dot"},
    }  # fmt: skip


def label(account: Account, accounts: Sequence[Account], what: str) -> str:
    """Name a curve: by what it shows, with the run's name before it where there are several."""
    return what if len(accounts) == 1 else f"{account.name}: {what}"


def loss(accounts: Sequence[Account]) -> Section:
    """Draw the training and the held-out loss by epoch; by step where there were no two epochs."""
    by_epoch = any(account.history.epochs > 1 for account in accounts)
    data: list[Series] = []
    for number, account in enumerate(accounts):
        history = account.history
        if not by_epoch:
            x, y = account.by_step("loss")
            data += [line(x, y, label(account, accounts, "training"), number)] if len(x) else []
            continue
        x = np.arange(1, history.epochs + 1)
        data.append(line(x, history.losses, label(account, accounts, "training"), number))
        if history.validation_losses:
            name = label(account, accounts, "held out")
            style: dict[str, Any] = {"dash": "dash"} if len(accounts) > 1 else {}
            other = number if len(accounts) > 1 else 1
            data.append(line(x, history.validation_losses, name, other, **style))
            if len(accounts) == 1:
                data.append(_best(account))
    across = {"title": {"text": "epoch" if by_epoch else "step"}}
    content = figure(data, "Loss", across, axis("loss", *(each["y"] for each in data)))
    return Section(
        f"Loss by {'epoch' if by_epoch else 'step'}",
        content if data else None,
        "Both curves should fall and then lie flat. If the training loss falls on while the "
        "held-out loss rises, the network learns its rows by heart, or grows overconfident where "
        "the held-out score does not fall; if neither falls, the learning rate is far off or no "
        "gradient arrives."
        if data
        else "The run ended before its first epoch did, and its steps were not recorded.",
        _seen_in_losses(accounts[0]) if len(accounts) == 1 else "",
    )


def _best(account: Account) -> Series:
    """Mark the epoch whose theta was kept."""
    best = account.history.best_epoch
    return {
        "type": "scatter", "mode": "markers", "x": [best],
        "y": [account.history.validation_losses[best - 1]], "name": f"kept: epoch {best}",
        "marker": {"color": look.color(1), "size": 10, "symbol": "diamond"},
    }  # fmt: skip


def _seen_in_losses(account: Account) -> str:
    history = account.history
    if history.epochs < 2:
        return ""
    first, last = history.losses[0], history.losses[-1]
    text = f"The training loss went from {first:.3g} to {last:.3g} in {history.epochs:,} epochs"
    if not history.validation_losses:
        return text + "."
    best, ended = history.best_epoch, history.validation_losses[-1]
    lowest = history.validation_losses[best - 1]
    text += f"; the held-out loss was lowest in epoch {best:,} ({lowest:.3g})"
    if best < history.epochs and ended > 1.1 * lowest > 0:
        rise = ended / lowest
        much = f"{rise - 1:.0%} above that" if rise < 3 else f"at {scientific(rise)} times that"
        text += f" and ended {much}{_why_it_rose(account)}"
    return text + "."


def _why_it_rose(account: Account) -> str:
    """Say what a held-out loss that rose after the epoch that was kept stands for."""
    scores = account.history.validation_scores
    kept, ended = (scores[at - 1] for at in (account.history.best_epoch, account.history.epochs))
    if not ended >= kept:
        return ": from there on it learned by heart"
    grew = ": it grew overconfident" if account.task != "regression" else ""
    shown = f"{decimals(kept)} there, {decimals(ended)} at the end"
    return f", yet the {account.score_name} did not fall ({shown}){grew}"


def score(accounts: Sequence[Account]) -> Section:
    """Draw the held-out score by epoch, with the trivial predictor's."""
    names = {account.score_name for account in accounts}
    name = names.pop() if len(names) == 1 else "score"
    data = [
        line(
            np.arange(1, account.history.epochs + 1),
            account.history.validation_scores,
            label(account, accounts, "held out"),
            number + (len(accounts) == 1),
        )
        for number, account in enumerate(accounts)
        if account.history.validation_scores
    ]
    if not data:
        words = "No row was held out, or no epoch was finished: there is no score by epoch."
        return Section("Score by epoch", None, words)
    shown = np.concatenate([np.asarray(each["y"], float) for each in data])
    if not np.isfinite(shown).any():
        words = (
            "Where the target of the held-out rows is constant, as in a single row, there is no "
        )
        return Section("Score by epoch", None, f"{words}{name}.")
    trivial = [a.scores["validation"]["trivial"] for a in accounts if "validation" in a.scores]
    trivial = trivial if len(set(trivial)) == 1 else []
    if trivial:
        what = " or ".join(sorted({trivial_name(account.task) for account in accounts}))
        longest = max((each["x"] for each in data), key=lambda epochs: epochs[-1])
        data.append(level(longest, trivial[0], f"trivial: {what}"))
    lowest = np.nanmin([*shown, *trivial])
    scale: dict[str, Any] = {"title": {"text": name}}
    if np.nanmax(shown) > LOWEST_SCORE:
        scale["range"] = [max(lowest - 0.05, LOWEST_SCORE if lowest < 0 else -0.03), 1.03]
    above = "the dotted line" if trivial else "the run's trivial score"
    return Section(
        "Score by epoch",
        figure(data, "Score", {"title": {"text": "epoch"}}, scale, showlegend=True),
        f"It should rise well above {above}, which is what one gets without looking at the "
        "features.",
        _seen_in_scores(accounts, name, trivial),
    )


def _seen_in_scores(accounts: Sequence[Account], name: str, trivial: Sequence[float]) -> str:
    """Say how good the run is, or the best of several; of different data none is the best."""
    if not have_same_data(accounts):
        return ""
    highest = max(_score_of(account) for account in accounts)
    best = [account.name for account in accounts if _score_of(account) == highest]
    seen = f"{name} {decimals(highest)} on held-out rows with the theta that was kept"
    if len(accounts) == 1:
        seen = seen[0].upper() + seen[1:]
    else:
        seen = f"The best {'is' if len(best) == 1 else 'are'} {' and '.join(best)}: {seen}"
    if trivial:
        seen += f"; the trivial predictor has {decimals(trivial[0])}"
        if no_better(highest, trivial[0]):
            seen += ", so it is no better than trivial"
    return f"{seen}."


def scientific(value: float) -> str:
    """Write a number with two digits, as a power of ten where it is far from 1.

    >>> scientific(0.25), scientific(1.6e-5), scientific(-2e7)
    ('0.25', '1.6·10⁻⁵', '-2·10⁷')
    """
    if value == 0 or 1e-3 <= abs(value) < 1e5 or not math.isfinite(value):
        return f"{float(f'{value:.2g}'):,g}"
    digits, exponent = f"{value:.1e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digits.removesuffix('.0')}·10{raised}"


def decimals(value: float, places: int = 3) -> str:
    """Write a score, without a minus before what rounds to 0; a dash where there is none.

    >>> decimals(-0.00001), decimals(0.98765), decimals(math.nan)
    ('0.000', '0.988', '–')
    """
    if math.isnan(value):
        return "–"
    return f"{round(value, places) + 0.0:.{places}f}"


def no_better(score: float, trivial: float, places: int = 3) -> bool:
    """Say whether a score is no better than the trivial one, by the decimals that are shown.

    >>> no_better(0.00001, 0.0), no_better(0.933, 0.333)
    (True, False)
    """
    return round(score, places) <= round(trivial, places)


def _score_of(account: Account) -> float:
    found = float(account.scores.get("validation", {}).get("score", -math.inf))
    return -math.inf if math.isnan(found) else found


def learning_rate(accounts: Sequence[Account]) -> Section:
    """Draw the learning rate in force: by recorded step, or by epoch without a trace."""
    by_step = all(len(account.by_step("learning_rate")[0]) for account in accounts)
    data = []
    for number, account in enumerate(accounts):
        x, y = account.by_step("learning_rate")
        if not by_step:
            y = np.asarray(account.history.learning_rates)
            x = np.arange(1, len(y) + 1)
        if len(x):
            data.append(line(x, y, label(account, accounts, "learning rate"), number, shape="hv"))
        if by_step and account.trace is not None and len(account.trace.curvature):
            bends = account.trace.curvature
            bends = bends.filter(bends["stable_rate"].is_finite())  # others bend nowhere upward
            name = label(account, accounts, "largest stable rate, 2/λ")
            stable = line(bends["step"], bends["stable_rate"], name, number, dash="dot")
            data += [{**stable, "mode": "lines+markers"}] if len(bends) else []
    if not data:
        words = "No step was recorded and no epoch finished: the learning rate is not known."
        return Section("Learning rate", None, words)
    # A schedule that ends at 0, as cosine, has a few small values; others go down for good.
    far = any(np.quantile(each["y"], 0.25) * SPREAD < np.max(each["y"]) for each in data)
    peaks = [float(np.max(each["y"])) for each in data]
    far = far or max(peaks) > SPREAD * min(peaks)
    up = axis("learning rate", *(each["y"] for each in data if far))
    if "type" not in up:
        up["rangemode"] = "tozero"
    across = {"title": {"text": "step" if by_step else "epoch"}}
    return Section(
        "Learning rate",
        figure(data, "Learning rate", across, up),
        "The schedule as it was in force. Where the loss jumps about, the rate is high; where it "
        "creeps, the rate may have come down too soon. Above the largest stable rate, where the "
        "curvature was measured, plain gradient descent climbs along the steepest direction.",
    )


def gradient_norm(accounts: Sequence[Account]) -> Section:
    """Draw the norm of the whole gradient before and after clipping."""
    data, seen = [], ""
    for number, account in enumerate(accounts):
        x, before = account.by_step("gradient_norm")
        _, after = account.by_step("clipped_norm")
        if not len(x):
            continue
        clipped = after < before * (1 - 1e-6)
        data.append(line(x, before, label(account, accounts, "gradient norm"), number))
        if clipped.any():
            other, name = number + (len(accounts) == 1), label(account, accounts, "after clipping")
            data.append(line(x, after, name, other, dash="dash"))
        if len(accounts) == 1 and clipped.any():
            seen = f"Clipped in {int(clipped.sum())} of {len(x)} recorded steps."
    return Section(
        "Gradient norm",
        figure(
            data,
            "Gradient norm",
            {"title": {"text": "step"}},
            axis("norm of dL/dθ", *(each["y"] for each in data)),
        )
        if data
        else None,
        "It falls as the loss comes near an optimum. Mini-batches make it jump several-fold; "
        "growth by orders of magnitude is an exploding gradient, which clipping bounds."
        if data
        else "No step was recorded.",
        seen,
    )
