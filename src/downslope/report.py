"""The page of a run, and of several runs on the same axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from downslope import curves, flow, noise, page, prediction, signals
from downslope.account import Account, have_same_data
from downslope.columns import half_numbers
from downslope.errors import InvalidValueError
from downslope.history import Reason
from downslope.page import Grid, Section
from downslope.parts import Descent, Network
from downslope.score import trivial_name, why_undefined
from downslope.task import single_rows
from downslope.terminal import duration

MOST_RUNS = 12
"""Runs on one page at most: twice as many as there are colors; more cannot be told apart."""


def write(path: str | Path, accounts: Sequence[Account], more: Sequence[Section] = ()) -> Path:
    """Write the page of one run, or one page of several runs; give its path.

    more: sections that come before the recipe, as landscapes.

    Raises
    ------
    InvalidValueError
        For no run, or more than `MOST_RUNS`.
    """
    if not 1 <= len(accounts) <= MOST_RUNS:
        raise InvalidValueError(
            f"a page shows 1 to {MOST_RUNS} runs; got {len(accounts)}: make several pages"
        )
    if len(accounts) == 1:
        (account,) = accounts
        sections = sections_of(account, more)
        return page.write(path, account.name, sections, lead(account), facts(account))
    names = ", ".join(account.name for account in accounts)
    sections = sections_of_several(accounts, more)
    return page.write(path, f"{len(accounts)} runs: {names}", sections, lead_of_several(accounts))


def sections_of(account: Account, more: Sequence[Section] = ()) -> list[Section]:
    """Give the sections of a run's page; what there is no picture of comes last, as a list."""
    several = [account]
    sections = [
        curves.loss(several),
        curves.score(several),
        *([prediction.residuals(account)] if account.task == "regression" else []),
        *([prediction.confusion(account)] if account.task != "regression" else []),
        *([prediction.boundary(account)] if account.model.network.inputs == 2 else []),
    ]
    if account.recorded:
        sections += [
            flow.gradient_flow(account),
            signals.activations(account),
            signals.z(account),
            signals.dead(account),
            signals.flat(account),
            signals.gradients(account),
            flow.updates(account),
            noise.noise(several),
            curves.gradient_norm(several),
        ]
    sections += [curves.learning_rate(several), *more]
    shown = [section for section in sections if section.content is not None]
    left_out = [
        [section.heading, section.sentence] for section in sections if section.content is None
    ]
    if not account.recorded:
        left_out.append(["The layers", flow.NOT_RECORDED])
    shown.append(recipe_table(several))
    if left_out:
        grid = Grid(["picture", "why it is not here"], left_out)
        shown.append(Section("Not on this page", grid, "The rest is above."))
    return shown


def sections_of_several(accounts: Sequence[Account], more: Sequence[Section] = ()) -> list[Section]:
    """Give the sections of a page of several runs: the same axes for all of them."""
    pictures = [
        curves.loss(accounts),
        curves.score(accounts),
        curves.learning_rate(accounts),
        curves.gradient_norm(accounts),
        flow.profile(accounts, "dw_rms", "Gradient by layer", "rms of dL/dW"),
        flow.profile(accounts, "update_ratio", "Update ratio by layer", "|Δw| / |w|"),
        flow.profile(accounts, "y_std", "Spread of outputs by layer", "standard deviation of y"),
        flow.profile(accounts, "dead", "Dead units by layer", "share", hidden_only=True),
        flow.profile(accounts, "flat", "Flat zone by layer", "share", hidden_only=True),
        noise.noise(accounts),
    ]
    return [
        overview(accounts),
        *(section for section in pictures if section.content is not None),
        *more,
        recipe_table(accounts),
    ]


def overview(accounts: Sequence[Account]) -> Section:
    """Give the runs as a table: on what data, how good, how long, why each stopped."""
    rows = [
        [
            account.name,
            account.data_title or "not known",
            *(
                curves.decimals(account.scores[rows][what], 4) if rows in account.scores else "–"
                for rows in ("validation", "training")
                for what in ("score", "trivial")
            ),
            account.history.epochs,
            account.history.steps,
            duration(account.history.seconds),
            Reason.read(account.reason).kind,
        ]
        for account in accounts
    ]
    what = "/".join(sorted({account.score_name for account in accounts}))
    header = [
        "run",
        "data",
        f"{what}, held out",
        "trivial",
        f"{what}, trained on",
        "trivial",
        "epochs",
        "steps",
        "time",
        "stopped",
    ]
    words = (
        "Trivial is what one gets without looking at the features: by always saying the most "
        "frequent class, or the mean. "
    )
    if have_same_data(accounts):
        words += "One run each: a difference of a few rows may be chance."
    else:
        words += "Of different data no score is better than another: each stands against its own."
    seen = " ".join(
        f"{each.name} {_how_it_failed(each)}."
        for each in accounts
        if each.failed or each.broken_off
    )
    return Section("The runs", Grid(header, rows), words, seen, wide=True)


def lead_of_several(accounts: Sequence[Account]) -> str:
    """Say on what data the runs were, where these differ."""
    if have_same_data(accounts):
        return ""
    each = ", ".join(f"{one.name} on {one.data['name']}" for one in accounts if one.data)
    return (
        f"The data differ: {each}. Losses and scores of different data cannot be compared; how "
        "they fall and rise, and what the layers do, can."
    )


def lead(account: Account) -> str:
    """Say in a sentence or two what came of the run."""
    if not account.history.steps and not account.scores:
        return "Of this model only its file is here, not the summary that fit writes beside it."
    if account.failed:
        return f"This run {_how_it_failed(account)}."
    broken = f"This run {_how_it_failed(account)}. " if account.broken_off else ""
    if not account.scores:
        return broken.strip()
    part = "validation" if "validation" in account.scores else "training"
    score = account.scores[part]
    rows = "held-out rows" if part == "validation" else "its training rows"
    better = (
        "no better than" if curves.no_better(score["score"], score["trivial"], 4) else "against"
    )
    name = account.score_name[0].upper() + account.score_name[1:]
    if not math.isfinite(score["score"]):
        why = why_undefined(_rows_of(account, part), score["trivial"])
        return f"{broken}{name} on {rows} is {why}."
    return (
        f"{broken}{name} {curves.decimals(score['score'], 4)} on {rows}, {better} "
        f"{curves.decimals(score['trivial'], 4)} of {trivial_name(account.task)}."
    )


def _how_it_failed(account: Account) -> str:
    """Say how a run failed, or was broken off: the rest of a sentence about it."""
    words = Reason.read(account.reason).words
    if account.failed:
        return f"failed: {words}"
    return f"was broken off after epoch {account.history.epochs:,}: {words}"


def _rows_of(account: Account, part: str) -> int:
    """Count the rows of a part that is scored, "validation" or "training"."""
    return int(account.data["held_out" if part == "validation" else part])


def facts(account: Account) -> dict[str, object]:
    """Give the key facts of a run by name."""
    network, history, data = account.model.network, account.history, account.data
    widths = " - ".join(str(units) for units in (network.inputs, *network.layout.plan["units"]))
    found: dict[str, object] = {}
    if data:
        found["data"] = account.data_title
        found["split"] = f"{data['training']:,} trained on, {data['held_out']:,} held out"
    if account.table is not None and (texts := half_numbers(account.table.features)):
        found["as texts"] = texts
    if numbers := _taken_as_numbers(account):
        found["as numbers"] = numbers
    found["network"] = f"{widths}, {network.task}, {network.output_activation} + {network.loss}"
    found["weights"] = f"{network.theta.size:,} parameters in {network.theta.dtype}"
    if history.steps:
        shown = f"{history.epochs:,} epochs, {history.steps:,} steps"
        found["descent"] = f"{shown}, {duration(history.seconds)}"
    if account.reason:
        found["stopped"] = account.reason
    if history.validation_losses:
        found["kept"] = f"the theta of epoch {history.best_epoch:,}, best on held-out rows"
    for rows, values in account.scores.items():
        score, trivial = (curves.decimals(values[each], 4) for each in ("score", "trivial"))
        shown = f"{account.score_name} {score} ({trivial_name(account.task)}: {trivial})"
        if curves.no_better(values["score"], values["trivial"], 4):
            shown += ", no better than trivial"
        if not math.isfinite(values["score"]):
            why = why_undefined(_rows_of(account, rows), values["trivial"])
            shown = f"{account.score_name} – ({why})"
        found["held out" if rows == "validation" else rows] = shown
    return found


def _taken_as_numbers(account: Account) -> str:
    """Tell of a target that would be classes but for a few rows; "" if its task was asked for."""
    recipe, table = account.recipe, account.table
    if recipe is None or recipe.network.task != "auto" or table is None or table.target is None:
        return ""
    told = single_rows(table.target)
    return f"{table.target_title!r}: {told}" if told else ""


def recipe_table(accounts: Sequence[Account]) -> Section:
    """Give the recipes as a table: of one run all fields, of several what differs."""
    heading = "Recipe"
    known = [account.recipe for account in accounts]
    if None in known:
        words = "A recipe that holds functions of one's own cannot be written down."
        return Section(heading, None, words)
    fields = [
        {**recipe.to_dict()["network"], **recipe.to_dict()["descent"]}
        for recipe in known
        if recipe is not None
    ]
    usual: dict[str, Any] = {**vars(Network()), **vars(Descent())}
    if len(accounts) == 1:
        written = {name: text(value) for name, value in fields[0].items()}
        ours = {name for name in written if written[name] != text(usual.get(name))}
        rows = [[name, written[name], text(usual.get(name))] for name in written if name in ours]
        rest = "; ".join(f"{name} {written[name]}" for name in written if name not in ours)
        same = "The same recipe on the same data gives the same bits, on one machine."
        grid = Grid(["field", "value", "usually"], rows) if rows else None
        return Section(heading, grid, f"{'The rest' if rows else 'All'} as usual: {rest}. {same}")
    names = [name for name in usual if len({text(each.get(name)) for each in fields}) > 1]
    rows = [[name, *(text(each.get(name)) for each in fields)] for name in names]
    grid = Grid(["field", *(account.name for account in accounts)], rows) if rows else None
    words = "Only what differs." if names else "Nothing: the recipes are the same."
    if not have_same_data(accounts):
        words += " The data differ too." if names else " The data are not."
    return Section("What differs in the recipes", grid, words, wide=True)


def text(value: object) -> str:
    """Write a field of a recipe, a number with all its digits.

    >>> text(0.12345678), text((0.5, 1e-8)), text(None), text(True)
    ('0.12345678', '0.5, 1e-08', 'none', 'yes')
    """
    if isinstance(value, list | tuple):
        return ", ".join(text(each) for each in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
