"""`downslope predict`: predict the target for the rows of a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from downslope.files import is_there


def predict(model: Path, source: str, *, out: Path | None = None, proba: bool = False) -> None:
    """Predict the target for the rows of a table.

    Parameters
    ----------
    model
        A .downslope file that fit has written.
    source
        A file with the same columns; others are left alone.
    out
        A CSV file to write; by default the terminal.
    proba
        Give the probability of each class beside the prediction.
    """
    import polars as pl

    from downslope import datasets, storage, table
    from downslope.model import Model

    if out is not None:
        storage.check_writable(out)
    loaded = Model.load(model)
    builtin = not is_there(source) and source in datasets.names()
    read = datasets.load(source) if builtin else table.read(source)
    values = loaded.predict(read.features)
    columns: dict[str, Any] = {"prediction": values}
    if values.ndim == 2:
        columns = {f"prediction{k + 1}": values[:, k] for k in range(values.shape[1])}
    if proba:
        chances = loaded.predict_proba(read.features)
        names = loaded.preparation.classes or range(1, chances.shape[1] + 1)
        columns |= {f"p({name})": chances[:, k] for k, name in enumerate(names)}
    frame = pl.DataFrame(columns)
    if out is None:
        sys.stdout.write(frame.write_csv())
    else:
        storage.write_atomically(out, frame.write_csv().encode())
        print(f"{len(frame):,} predictions: {out}")
