"""A stretch of a run once more, the same bits, with every step of it recorded."""

from __future__ import annotations

import contextlib

from downslope.counts import LARGEST, whole_number
from downslope.course import Course
from downslope.data import Data
from downslope.errors import InvalidValueError, NonFiniteError
from downslope.history import History
from downslope.network import BuiltNetwork
from downslope.recipe import Recipe
from downslope.recording import Recording
from downslope.storage import digest
from downslope.stretch import State
from downslope.trace import Trace


def replay(
    recipe: Recipe,
    network: BuiltNetwork,
    data: Data,
    history: History,
    kept: State,
    steps: tuple[int, int],
    failed: bool = False,
    threads: int | None = None,
) -> Trace:
    """Run some steps of a run again and record them all.

    It begins at the last kept theta where that is not beyond the first step, else at the run's own
    beginning. A rule or schedule of one's own is called again.

    Parameters
    ----------
    recipe, network, data, history
        Of the run; the network is left as it is.
    kept
        The last state that the run kept.
    steps
        The first and the last, from 1.
    failed
        Whether the run left the finite numbers: the step in which it did so may then be the last.
    threads
        None takes the available cores; the result does not depend on it.

    Returns
    -------
    Trace

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For steps that the run has not done.
    """
    first, last = (
        whole_number(f"replay: {name}", step, -LARGEST, takes="the number of a step")
        for name, step in zip(("first_step", "last_step"), steps, strict=True)
    )
    done = history.steps + failed
    if not 1 <= first <= last <= done:
        raise InvalidValueError(
            f"replay: steps must lie in 1 to {done}, the first not beyond the last; got "
            f"{first} to {last}"
        )
    descent = recipe.descent
    fresh = BuiltNetwork(
        network.network, network.inputs, network.columns, network.task, descent.dtype, descent.seed
    )
    recording = Recording(range(first, last + 1))
    course = Course(fresh, data, descent, threads, recording=recording)
    # A step's gradient is compared with the one before it, so that one is taken too.
    usable = kept.steps <= max(first - 2, 0) and not callable(descent.rule)
    with contextlib.suppress(NonFiniteError):
        course.retrace(kept if usable else course.kept, last, history)
    return Trace.of(course.recorder, digest(network.arrays()))
