"""`downslope predict`: predict the target for the rows of a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from downslope.commands.source import is_builtin

if TYPE_CHECKING:
    import polars as pl


def predict(model: Path, source: str, /, *, out: Path | None = None, proba: bool = False) -> None:
    """Predict the target for the rows of a table.

    Parameters
    ----------
    model
        A .downslope file that fit has written.
    source
        A file with the same columns; others are left alone.
    out
        A file to write (.csv, .tsv, .parquet, .arrow, .feather, .jsonl; without ending, CSV); by
        default the terminal.
    proba
        Give the probability of each class beside the prediction.
    """
    from downslope import datasets, files, storage, table
    from downslope.model import Model

    kind = "csv" if out is None else files.kind_written(out)
    if out is not None:
        storage.check_writable(out, reads=[model, source])
    loaded = Model.load(model)
    schema = loaded.preparation.schema()
    read = datasets.load(source) if is_builtin(source) else table.read(source, schema=schema)
    frame = _predictions(loaded, read, proba)
    content = files.pack_frame(frame, kind)
    if out is None:
        sys.stdout.write(content.decode())
    else:
        storage.write_atomically(out, content)
        print(f"{len(frame):,} predictions: {out}")


def _predictions(model: Any, read: Any, proba: bool) -> pl.DataFrame:
    """Give what is predicted as columns: of several targets, each under its name."""
    import polars as pl

    values, targets = model.predict(read), model.preparation.target_names
    columns = {"prediction": values}
    if values.ndim == 2:
        columns = {f"prediction({name})": values[:, k] for k, name in enumerate(targets)}
    if proba:
        chances, names = model.predict_proba(read), model.preparation.classes or targets
        columns |= {f"p({name})": chances[:, k] for k, name in enumerate(names)}
    return pl.DataFrame(columns)
