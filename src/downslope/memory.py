"""How much memory is free, and networks whose arrays find no room in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from downslope.errors import InvalidValueError

LARGE: Final = 1 << 28
"""Bytes from which it is asked what is free. Arrays below that fit wherever this library does, and
are made too often to ask each time, which takes some 100 microseconds."""


def available_memory() -> int | None:
    """Give the bytes of memory that are free; None where the system does not say."""
    free: list[int] = []
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            free += [int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvail")]
        group = Path("/sys/fs/cgroup")  # a container's own limit
        limit, used = (group / "memory.max").read_text(), (group / "memory.current").read_text()
        free.append(int(limit) - int(used))
    except (OSError, ValueError):
        pass
    if not free and hasattr(os, "sysconf"):
        for pages in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"):
            if pages in os.sysconf_names and not free:
                free.append(os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE"))
    return min(free, default=None)


@contextmanager
def room_for(widths: Sequence[int], needed: int) -> Iterator[None]:
    """Refuse a network whose arrays, made within, find no room in memory.

    A system that promises more memory than it has would end the process later, without a word.

    Parameters
    ----------
    widths
        Inputs of the network and units of its layers, for the message.
    needed
        Bytes of the arrays, or of most of them.

    Raises
    ------
    InvalidValueError
        If they are more than are free, or cannot be had.

    Examples
    --------
    >>> with room_for([4, 10**9, 10**9, 3], 4 * 10**18):
    ...     pass
    Traceback (most recent call last):
    downslope.errors.InvalidValueError: Network: layers of 4-1000000000-1000000000-3 units ...
    """
    if needed >= LARGE:
        free = available_memory()
        if needed > (sys.maxsize if free is None else free):
            raise _refusal(widths, needed, "" if free is None else f", and {free:,} are free")
    try:
        yield
    except MemoryError as error:
        raise _refusal(widths, needed, f", which cannot be had ({error})") from error


def _refusal(widths: Sequence[int], needed: int, reason: str) -> InvalidValueError:
    return InvalidValueError(
        f"Network: layers of {'-'.join(map(str, widths))} units take arrays of at least "
        f"{needed:,} bytes{reason}: take narrower layers, or a smaller batch"
    )
