"""The table that a command is given: a file or a built-in data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from downslope.errors import InvalidValueError
from downslope.files import is_there

if TYPE_CHECKING:
    from downslope.delimited import Schema


def is_builtin(source: str) -> bool:
    """Say whether a source is a built-in data set: not where a file has that name."""
    from downslope import datasets

    return not is_there(source) and source in datasets.names()


def load(source: str, target: str | None, schema: Schema | None = None) -> Any:
    """Read a table: a file where there is one of that name, else a built-in data set.

    schema: how the columns of a file are read for a network, None where there is none yet.
    """
    from downslope import datasets, files, table

    if is_builtin(source):
        if target is not None:
            raise InvalidValueError(
                f"data set {source!r} comes with its target; leave --target out"
            )
        return datasets.load(source)
    if not Path(source).suffix and not is_there(source):
        return datasets.load(source)
    arrays = files.check_file(Path(source)) == "npz"
    if target is None and not arrays:
        raise InvalidValueError(f"say with --target which column of {source!r} to predict")
    read = table.read(source, target, schema=schema)
    if read.target is None:
        raise InvalidValueError(
            f"{source!r} has no array 'y' or 'target': say with --target which one to predict; it "
            f"holds {files.arrays_in(Path(source))}"
        )
    return read
