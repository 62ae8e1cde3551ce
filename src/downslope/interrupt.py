"""Ctrl-C ends a run cleanly: the first one asks it to stop, a second one does as it always does."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any, Protocol


class Interruptible(Protocol):
    """Something that looks at `interrupted` now and then, and stops when it is set."""

    interrupted: bool


@contextlib.contextmanager
def interruptible(run: Interruptible) -> Iterator[None]:
    """Let the first Ctrl-C set `run.interrupted`; outside of the main thread, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: Any) -> None:
        run.interrupted = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
