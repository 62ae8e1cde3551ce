"""What is shown of an epoch when it ends, and to whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from downslope.errors import InvalidTypeError
from downslope.history import History
from downslope.network import BuiltNetwork
from downslope.parts import Descent


@dataclass(frozen=True)
class Epoch:
    """What is shown of an epoch when it ends.

    Attributes
    ----------
    number
        From 1.
    history
        All epochs so far.
    network
        As it is now, not a copy: `network.theta` changes with the next step.
    rows_per_second
        Trained on since the run began, by its clock.
    seconds_left
        At this pace, until the first of the bounds on epochs, steps and seconds is reached.
    """

    number: int
    history: History
    network: BuiltNetwork
    rows_per_second: float
    seconds_left: float

    @classmethod
    def last(cls, history: History, network: BuiltNetwork, rows: int, descent: Descent) -> Epoch:
        """Give the epoch of a descent that has just ended, of so many rows."""
        seconds = max(history.seconds, 1e-9)
        bounds = (
            (descent.epochs, history.epochs),
            (descent.steps, history.steps),
            (descent.seconds, seconds),
        )
        left = min(seconds * (most / done - 1) for most, done in bounds if most is not None)
        speed = history.epochs * rows / seconds
        return cls(history.epochs, history, network, speed, max(left, 0.0))


Watcher = Callable[[Epoch], "bool | None"]
"""Called at an epoch's end; True ends the run.

It is called at every one, unless it has a method `next_after(epoch)`, which gives the number of the
first epoch after one that it asks for: then it may be left out at the ends of others.
"""


def asks_to_stop(watcher: Watcher, epoch: Epoch) -> bool:
    """Show a watcher an epoch; say whether it ends the run.

    Raises
    ------
    InvalidTypeError
        If its answer is neither true nor false, as an array.
    """
    answer = watcher(epoch)
    try:
        return bool(answer)
    except (TypeError, ValueError):
        raise InvalidTypeError(
            "descend: a watcher gives True to end the run, and False or None to go on; got a value "
            f"of the type {type(answer).__name__}"
        ) from None


def functions(owner: str, given: Any) -> tuple[Any, ...]:
    """Give one function or several as several.

    Parameters
    ----------
    owner
        What they were given as, as the message begins: "descend: watchers".
    given
        A function, or an iterable of functions.

    Raises
    ------
    InvalidTypeError
        If anything among them cannot be called.

    Examples
    --------
    >>> functions("descend: watchers", print) == functions("descend: watchers", [print])
    True
    """
    if callable(given):
        return (given,)
    several = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else None
    wrong = [given] if several is None else [each for each in several if not callable(each)]
    if wrong:
        raise InvalidTypeError(
            f"{owner} takes a function, or several as [first, second]; got {wrong[0]!r}"
        )
    return several or ()


def asked_for(watcher: Watcher, epoch: int) -> int:
    """Give the first epoch after one that a watcher is to be shown.

    >>> asked_for(print, 7)
    8
    """
    asks: Any = getattr(watcher, "next_after", None)
    return epoch + 1 if asks is None else int(asks(epoch))
