"""`downslope report`: the page of a run, or of several on the same axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from downslope.errors import InvalidValueError


def report(
    *models: Path, out: Path | None = None, landscape: str | None = None, target: str | None = None
) -> None:
    """Write the page of a model's training again, or one page of several.

    It is made from the model, and from the summary and the trace that fit has left beside it.

    Parameters
    ----------
    models
        .downslope files; of several, the runs are drawn on the same axes, each by its file's name
        and the folder where that is the same.
    out
        Where to write. By default beside the model, as MODEL.html; of several, runs.html here.
    landscape
        A table as fit takes it, whose loss is drawn: around the model, with where it stands
        (minimum, saddle, plateau or on a slope); of several, along the lines from the first to
        each other.
    target
        The column of that table which is predicted; several with commas.
    """
    if not models:
        raise InvalidValueError("report takes the .downslope file of a model, or several")
    if target is not None and landscape is None:
        raise InvalidValueError("--target names a column of the table that --landscape takes")
    from downslope import report, storage
    from downslope.account import Account, files_beside, names_of

    if out is None:
        out = models[0].with_suffix(".html") if len(models) == 1 else Path("runs.html")
    beside = [files_beside(model) for model in models]
    reads = [*models, *(files[kind] for files in beside for kind in ("summary", "trace"))]
    storage.check_writable(out, reads=reads if landscape is None else [*reads, landscape])
    found = [Account.read(model) for model in models]
    named = zip(found, names_of(models), strict=True)
    accounts = [replace(account, name=name) for account, name in named]
    more = [] if landscape is None else _landscape(accounts, landscape, target)
    print(report.write(out, accounts, more))


def _landscape(accounts: Sequence[Any], source: str, target: str | None) -> list[Any]:
    """Draw the loss over the rows of a table, around one model or between several."""
    from downslope import landscape, relief
    from downslope.commands.source import load
    from downslope.data import penalties_of
    from downslope.surface import RowSet

    first = accounts[0]
    network, preparation = first.model.network, first.model.preparation
    read = load(source, target, preparation.schema(target))
    descent = None if first.recipe is None else first.recipe.descent
    rows = RowSet(
        preparation.inputs(read, network.theta.dtype),
        preparation.encode_target(read.target, str(network.theta.dtype)),
        penalties=(0.0, 0.0) if descent is None else penalties_of(descent, len(read)),
    )
    if len(accounts) == 1:
        return relief.around(network, rows, rate=None if descent is None else descent.rate)
    return [
        relief.along_line(
            landscape.line(network, other.model.network, rows), first.name, other.name
        )
        for other in accounts[1:]
    ]
