"""`downslope report`: the page of a run, or of several on the same axes."""

from __future__ import annotations

from pathlib import Path

from downslope.errors import InvalidValueError


def report(*models: Path, out: Path | None = None) -> None:
    """Write the page of a model's training again, or one page of several.

    It is made from the model, and from the summary and the trace that fit has left beside it.

    Parameters
    ----------
    models
        .downslope files; of several, the runs are drawn on the same axes.
    out
        Where to write. By default beside the model, as MODEL.html; of several, runs.html here.
    """
    if not models:
        raise InvalidValueError("report takes the .downslope file of a model, or several")
    from downslope import report
    from downslope.account import Account

    if out is None:
        out = models[0].with_suffix(".html") if len(models) == 1 else Path("runs.html")
    print(report.write(out, [Account.read(model) for model in models]))
