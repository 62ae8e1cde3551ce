"""Numbers as a person gives them: whole ones, of steps, rows, units, threads and seeds; real ones.

The range of a real number is written as an interval, "[0, 1)": an end beside a parenthesis is left
out. It is both what is checked and what the error says.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
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


def real_number(name: str, value: object, interval: str, *, why: str = "") -> float:
    """Check a real number, Python's or NumPy's, against its range; give it as a float.

    Parameters
    ----------
    name
        Whose it is, as the message begins: "Descent: l2".
    value
        What was given; True and False are no numbers.
    interval
        Its range, as "[0, 1)".
    why
        What follows the range in the message, where it needs a reason.

    Raises
    ------
    InvalidTypeError
        If it is no number.
    InvalidValueError
        If it lies outside of its range.

    Examples
    --------
    >>> real_number("l2", 1, "[0, inf)")
    1.0
    >>> real_number("dropout", 1, "[0, 1)")
    Traceback (most recent call last):
    downslope.errors.InvalidValueError: dropout must lie in [0, 1); got 1
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidTypeError(f"{name} takes a number; got {value!r}")
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond all floats
        value = number = -math.inf if value < 0 else math.inf
    if not within(number, interval):
        raise InvalidValueError(f"{name} must {told(number, interval)}{why}; got {value!r}")
    return number


def _ends(interval: str) -> tuple[float, float]:
    low, high = map(float, interval[1:-1].split(","))
    return low, high


def within(value: float, interval: str) -> bool:
    """Say whether a number lies in an interval; NaN lies in none.

    >>> within(1, "[0, 1)"), within(1, "[0, 1]"), within(math.inf, "[0, inf)")
    (False, True, False)
    """
    low, high = _ends(interval)
    above = low <= value if interval[0] == "[" else low < value
    return bool(above and (value <= high if interval[-1] == "]" else value < high))


def told(value: float, interval: str) -> str:
    """Say what a value outside of an interval must do: the rest of a sentence after "must".

    >>> told(-1, "[0, inf)"), told(math.nan, "[0, inf)"), told(2, "[0, 1)")
    ('be at least 0', 'be finite and at least 0', 'lie in [0, 1)')
    """
    low, high = _ends(interval)
    if high < math.inf:
        return f"lie in {interval}"
    words = [] if math.isfinite(value) else ["finite"]
    if low > -math.inf:
        words.append(f"{'at least' if interval[0] == '[' else 'above'} {low:g}")
    return f"be {' and '.join(words)}"
