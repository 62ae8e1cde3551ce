"""Whole numbers as a person gives them: of steps, rows, units, threads and seeds."""

from __future__ import annotations

from numbers import Integral
from typing import Final

from downslope.errors import InvalidTypeError, InvalidValueError

LARGEST: Final = 2**63 - 1
"""The largest whole number of the kernels, and of TOML: 64 bits, one of them the sign."""


def whole_number(
    name: str,
    value: object,
    low: int = 0,
    high: int = LARGEST,
    *,
    takes: str = "a whole number",
    why: str = "",
) -> int:
    """Check a whole number, Python's or NumPy's, against its range.

    Parameters
    ----------
    name
        Whose it is, as the message begins: "replay: first_step".
    value
        What was given; True and False are no numbers.
    low, high
        The least and the largest.
    takes
        What is asked for, where another kind of thing was given.
    why
        What follows the range in the message, where it needs a reason.

    Raises
    ------
    InvalidTypeError
        If it is no whole number.
    InvalidValueError
        If it lies outside of its range.

    Examples
    --------
    >>> whole_number("threads", 2, 1)
    2
    >>> whole_number("threads", 0, 1)
    Traceback (most recent call last):
    downslope.errors.InvalidValueError: threads must be at least 1; got 0
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InvalidTypeError(f"{name} takes {takes}; got {value!r}")
    number = int(value)
    if low <= number <= high:
        return number
    if high < LARGEST:
        must = f"must lie in {low} to {high}"
    else:
        must = f"must be at least {low}" if number < low else f"must be at most {high}"
    raise InvalidValueError(f"{name} {must}{why}; got {number}")
