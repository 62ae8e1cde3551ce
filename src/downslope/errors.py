"""The errors a caller of Downslope can meet.

Each says the rule, the value received, the offender's name, and what to do. Each is also the
built-in error that a caller would expect, so ``except ValueError`` keeps working.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from os import PathLike
from typing import Any


class DownslopeError(Exception):
    """Any error that Downslope raises about what it was given or what it met."""


class InvalidValueError(DownslopeError, ValueError):
    """A value outside what its rule allows."""


class InvalidTypeError(DownslopeError, TypeError):
    """A value of a kind that its rule does not allow."""


class TableError(DownslopeError, ValueError):
    """A table that cannot be trained on or predicted for."""


class ModelFileError(DownslopeError, ValueError):
    """A file that is damaged, foreign, or of a later version."""


class MissingFileError(DownslopeError, FileNotFoundError):
    """A file that is not there."""


class UnreadableError(DownslopeError, OSError):
    """A file that is there, but that the system does not let one read."""


class UnwritableError(DownslopeError, OSError):
    """A place where a file cannot be written."""


class MissingPackageError(DownslopeError, ImportError):
    """A package that only one feature needs, and that is not installed."""


class NonFiniteError(DownslopeError, ArithmeticError):
    """A loss, gradient or theta that became NaN or infinite during a descent.

    Attributes
    ----------
    run
        The `Run` up to then, with the best theta by held-out rows, else the last finite one; None
        where none was made.
    """

    run: Any = None


@contextlib.contextmanager
def reading(path: str | PathLike[str]) -> Iterator[None]:
    """Name the file in what the system says against reading it, or looking for it.

    Raises
    ------
    UnreadableError
        For any `OSError` within that is not ours.

    Examples
    --------
    >>> with reading("locked/model"):
    ...     raise PermissionError(13, "Permission denied")
    Traceback (most recent call last):
    downslope.errors.UnreadableError: cannot read 'locked/model': Permission denied; ...
    """
    try:
        yield
    except DownslopeError:
        raise
    except OSError as error:
        raise UnreadableError(
            f"cannot read {str(path)!r}: {error.strerror or error}; see to it that you may read it "
            "and its folder, or name another file"
        ) from error


def closest(name: object, known: Iterable[str], count: int = 3) -> list[str]:
    """Give the known names that come nearest to the one given, whatever their case.

    >>> closest("AGE", ["height", "age"])
    ['age']
    """
    by_case: dict[str, list[str]] = {}
    for each in known:
        by_case.setdefault(each.lower(), []).append(each)
    close = get_close_matches(str(name).lower(), by_case, n=count, cutoff=0.5)
    return [each for lower in close for each in by_case[lower]][:count]


def nearest(name: object, known: Iterable[str]) -> str:
    """Say which of the known names come nearest to the one given, then all of them.

    It goes on after a colon.

    >>> nearest("rlu", ["relu", "elu", "tanh"])
    "did you mean 'relu' or 'elu'? Known are 'relu', 'elu', 'tanh'"
    >>> nearest("xx", ["relu", "elu", "tanh"])
    "known are 'relu', 'elu', 'tanh'"
    """
    names = list(known)
    close = closest(name, names)
    listed = ", ".join(repr(each) for each in names[:40]) + (", ..." if len(names) > 40 else "")
    told = f"known {'is' if len(names) == 1 else 'are'} {listed or 'none'}"
    if not close:
        return told
    return f"did you mean {' or '.join(repr(each) for each in close)}? K{told[1:]}"


def refuse_twice(names: Sequence[str], where: str) -> None:
    """Raise TableError where a column name occurs twice."""
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise TableError(f"{where}: every column takes a name of its own; twice there: {twice}")


def refuse_infinite(counts: Iterable[int], names: Sequence[str], where: str) -> None:
    """Raise TableError where columns hold infinite values; counts: how many, by column."""
    found = [f"{n} in {each!r}" for n, each in zip(counts, names, strict=True) if n]
    if found:
        raise TableError(
            f"{where} holds infinite values: {', '.join(found[:10])}; "
            "make them missing (leave them empty) or replace them by a finite number"
        )
