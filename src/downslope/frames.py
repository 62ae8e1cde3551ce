"""Data frames of pandas as polars' ones, column by column."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from downslope.errors import TableError, refuse_twice

if TYPE_CHECKING:
    import polars as pl


def is_missing(value: object) -> bool:
    """Say whether a value stands for a missing one: None, pandas.NA, NaT, NaN.

    >>> is_missing(float("nan")), is_missing(0), is_missing(np.array([1.0, np.nan]))
    (True, False, False)
    """
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    differs: Any = value != value
    return not isinstance(differs, np.ndarray) and bool(differs)


def names_in(source: Any) -> tuple[str, ...] | None:
    """Give the names of the columns of a pandas data frame; None for anything else."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(source, pandas.DataFrame):
        return None
    return tuple(str(each) for each in source.columns)


def values_of_categories(source: Any, name: str) -> np.ndarray[Any, Any] | None:
    """Give a pandas data frame's column of categories as values of their own type.

    None for any other column, and for anything else than a pandas data frame.
    """
    names = names_in(source)
    series = None if names is None else source.iloc[:, names.index(name)]
    return np.asarray(series) if series is not None and series.dtype.name == "category" else None


def from_pandas(source: Any, names: Sequence[str]) -> pl.DataFrame:
    """Give a pandas data frame as polars', without its index; columns of mixed objects as text."""
    import polars as pl
    from polars.exceptions import PolarsError

    refuse_twice(names, "data frame")
    columns = []
    for position, name in enumerate(names):
        series = source.iloc[:, position]
        try:
            columns.append(_from_series(series, name))
        except (TypeError, ValueError, NotImplementedError, PolarsError) as error:
            raise TableError(
                f"column {name!r} takes numbers, texts, categories or dates, and cannot be read "
                f"({series.dtype}: {error}): turn it into one of them, or drop it"
            ) from error
    return pl.DataFrame(columns)


def _from_series(series: Any, name: str) -> pl.Series:
    """Give a pandas series as polars'."""
    import polars as pl

    if hasattr(series, "sparse"):
        series = series.sparse.to_dense()
    if series.dtype.name not in ("object", "category", "str", "string"):
        return pl.Series(name, pl.from_pandas(series))
    values = [None if is_missing(each) else _in_utc(each) for each in series]
    if series.dtype.name == "category":
        texts = [None if each is None else str(each) for each in values]
        return pl.Series(name, texts, dtype=pl.Categorical)
    return pl.Series(name, values, strict=False)


def _in_utc(value: Any) -> Any:
    """Give a time that has a zone in UTC: a column is of one zone; leave all else as it is."""
    zoned = isinstance(value, datetime) and value.tzinfo is not None
    return value.astimezone(UTC) if zoned else value
