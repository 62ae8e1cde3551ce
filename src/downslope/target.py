"""What is to be predicted, as an array: numbers, booleans or texts, none missing or infinite."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from downslope.errors import TableError, refuse_infinite
from downslope.frames import is_missing

if TYPE_CHECKING:
    import polars as pl

Array = npt.NDArray[Any]


def read_target(values: Any, names: Sequence[str] = ("target",)) -> Array:
    """Give target values as a plain array without missing or infinite ones.

    Parameters
    ----------
    values
        (rows,) or (rows, outputs): an array, a list, or a series of polars or pandas.
    names
        The outputs' names.

    Returns
    -------
    array, (rows,) or (rows, outputs)
        Numbers, booleans or texts; one column of two dimensions becomes one dimension.

    Raises
    ------
    TableError
        If there are missing or infinite values, they are neither numbers nor texts, or the rows
        have different numbers of them.

    Examples
    --------
    >>> read_target([[1], [2]])
    array([1, 2])
    """
    title = " and ".join(repr(each) for each in names)
    if isinstance(values, np.ma.MaskedArray):
        _refuse_missing(np.ma.getmaskarray(values), title)
    try:
        target = np.asarray(values)
    except ValueError as error:
        raise TableError(
            f"target {title} takes the same number of values in every row: {error}"
        ) from error
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    if target.ndim == 0:
        raise TableError(f"target takes the name of a column, or its values; got {target.item()!r}")
    if target.ndim not in (1, 2):
        raise TableError(f"target {title} takes (rows,) or (rows, outputs); got {target.shape}")
    if target.dtype.kind == "O" or target.dtype.kind == "T":
        _refuse_several(target, title)
        # Only a missing value differs from itself (NaN, NaT); pandas.NA compares to neither.
        missing = np.array([is_missing(each) for each in target.ravel()]).reshape(target.shape)
        _refuse_missing(missing, title)
        if any(isinstance(each, bytes | bytearray) for each in target.flat):
            raise TableError(
                f"target {title} takes numbers, booleans or texts; got bytes: decode them first"
            )
        values = (float(each) if isinstance(each, Decimal) else each for each in target.flat)
        target = np.fromiter(values, np.object_, target.size).reshape(target.shape)
        numbers = bool | int | float | np.bool_ | np.number
        plain = all(isinstance(each, numbers) for each in target.ravel())
        target = np.array(target.tolist(), dtype=None if plain else np.str_)
    if target.dtype.kind not in "biufU":
        raise TableError(
            f"target {title} takes numbers, booleans or texts; got {target.dtype.name}: "
            "turn it into a number first"
        )
    if target.dtype.kind == "f":
        _refuse_missing(np.isnan(target), title)
        refuse_infinite([int(np.isinf(target).sum())], [", ".join(names)], "the target")
    return target


def _refuse_several(target: Array, title: str) -> None:
    """Raise `TableError` where one value of an array of objects is several."""
    for place, value in enumerate(target.ravel()):
        if np.iterable(value) and not isinstance(value, str | bytes):
            row = place // (target.size // len(target)) + 1
            raise TableError(
                f"target {title} takes a number, a boolean or a text as each of its values; row "
                f"{row} has one of type {type(value).__name__}: give a column for each output"
            )


def _refuse_missing(missing: Array, title: str) -> None:
    """Raise `TableError` where values are missing; missing: (rows,) or (rows, outputs) booleans."""
    rows = np.flatnonzero(missing if missing.ndim == 1 else missing.any(axis=1))
    if rows.size:
        first = ", ".join(str(row + 1) for row in rows[:5]) + (", ..." if rows.size > 5 else "")
        if rows.size == len(missing):
            raise TableError(f"target {title} is missing in every row: name another column")
        raise TableError(
            f"target {title} is missing in {rows.size} of {len(missing)} rows (counted from 1: "
            f"{first}); a row without a target teaches nothing: drop these rows or fill them in"
        )


def column_values(column: pl.Series, name: str) -> Array:
    """Give a target column of a data frame as an array."""
    if column.null_count():
        _refuse_missing(column.is_null().to_numpy(), repr(name))
    if column.dtype.is_temporal() or column.dtype.is_nested():
        raise TableError(
            f"target {name!r} takes numbers, booleans or texts; got {column.dtype}: "
            "turn it into a number first"
        )
    return read_target(column.to_numpy(), [name])
