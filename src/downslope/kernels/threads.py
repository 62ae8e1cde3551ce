"""What the threads of one descent meet at: a barrier in shared memory.

The threads of a descent run the same kernel side by side, each on its share of rows or of theta,
and wait for one another twice a step or oftener. A spinning barrier costs some 0.2 microseconds,
the one of a thread pool 3 to 70, so that two threads pay from steps of ten microseconds on.

Nor do they part between two calls of the kernel: to wake a thread takes some 60 microseconds, and
160 once it has slept. When a call is done, the others wait in the kernel for the next one, whose
arguments the first of them lays out by their addresses; if none comes for a while, they leave.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from downslope.kernels.jit import inner

_FLAG, _CALL, _MEETINGS, _STATE = 0, 16, 32, 48
_APART = 32
"""int64 words from one thread's `_MEETINGS` and `_STATE` to the next one's: each of all these lies
on cache lines of its own."""

AWAY, WAITING, CLAIMED, CALLED, RUNNING = range(5)
"""Where a thread stands: out of the kernel; in it, but it may leave; bound to stay; to begin; busy.
A thread that is `AWAY` stays so until another starts it, and sets it to `RUNNING`."""

SPINS = 20_000
"""Looks at the barrier before a thread offers its core to others: some 20 microseconds."""

PATIENCE = SPINS + 500
"""Looks for the next call before a thread leaves the kernel, some 300 microseconds: what Python
does between two calls takes less."""

_YIELD = "SwitchToThread" if sys.platform == "win32" else "sched_yield"


def _word(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


@intrinsic
def _read(typing, words, index):
    """Read a word, atomically: what its writer wrote before is seen by what follows."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words, index = arguments
        place = _word(context, builder, signature.args[0], words, index)
        return builder.load_atomic(place, "acquire", 8)

    return types.int64(words, types.intp), generate


@intrinsic
def _write(typing, words, index, value):
    """Write a word, atomically: who reads it sees what went before."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words, index, value = arguments
        place = _word(context, builder, signature.args[0], words, index)
        builder.store_atomic(value, place, "release", 8)
        return context.get_dummy_value()

    return types.void(words, types.intp, types.int64), generate


@intrinsic
def _exchange(typing, words, index, expected, value):
    """Write a word if it holds what is expected, atomically; give what it held before."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words, index, expected, value = arguments
        place = _word(context, builder, signature.args[0], words, index)
        both = builder.cmpxchg(place, expected, value, "seq_cst", "seq_cst")
        return builder.extract_value(both, 0)

    return types.int64(words, types.intp, types.int64, types.int64), generate


@intrinsic
def _offer_core(typing):
    """Let the operating system run another thread on this core."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.IntType(32), []), _YIELD
        )
        builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), generate


def barrier_words(threads: int) -> int:
    """Count the int64 words of a barrier for some threads: two, and two for each."""
    return _MEETINGS + threads * _APART


def state_word(thread: int) -> int:
    """Give the word of a barrier that says where a thread stands, `AWAY` at first."""
    return _STATE + thread * _APART


@inner
def wait(barrier, thread, threads):
    """Go on when all threads have come here; barrier (`barrier_words`,) int64, zeros at first.

    Each counts its own meetings in a word that no other writes, and looks at theirs: a line goes
    from core to core once, where a common counter would go back and forth.
    """
    if threads == 1:
        return
    own = _MEETINGS + thread * _APART
    meeting = _read(barrier, own) + 1
    _write(barrier, own, meeting)
    for other in range(threads):
        spins = 0
        while _read(barrier, _MEETINGS + other * _APART) < meeting:
            spins += 1
            if spins > SPINS:
                _offer_core()


@inner
def raise_flag(barrier):
    """Tell all threads, at their next meeting, that something went wrong."""
    _write(barrier, _FLAG, 1)


@inner
def read_flag(barrier):
    """Say whether a thread has raised the flag."""
    return _read(barrier, _FLAG) != 0


@inner
def lower_flag(barrier):
    """Begin anew, when all have read the flag."""
    _write(barrier, _FLAG, 0)


@inner
def call_others(barrier, threads, first, second):
    """Hand two addresses to the threads that wait for a call; say whether no other is away.

    Nothing is handed on where one is: those that wait then stay until all are there.
    """
    for thread in range(1, threads):
        if _exchange(barrier, _STATE + thread * _APART, WAITING, CLAIMED) == AWAY:
            return False
    _write(barrier, _CALL, first)
    _write(barrier, _CALL + 1, second)
    for thread in range(1, threads):
        _exchange(barrier, _STATE + thread * _APART, CLAIMED, CALLED)
    return True


@inner
def offer(barrier, thread):
    """Say that a thread is about to wait for the next call, before it meets the others."""
    _write(barrier, _STATE + thread * _APART, WAITING)


@inner
def await_call(barrier, thread):
    """Wait for a call; give the two addresses that come with it, or zeros where none has come."""
    place = _STATE + thread * _APART
    looks = 0
    while True:
        state = _read(barrier, place)
        if state == CALLED:
            _write(barrier, place, RUNNING)
            return _read(barrier, _CALL), _read(barrier, _CALL + 1)
        looks += 1
        if looks > SPINS:
            _offer_core()
        if looks > PATIENCE and _exchange(barrier, place, WAITING, AWAY) == WAITING:
            return np.int64(0), np.int64(0)


@inner
def share(number, among, count):
    """The part first:last of `count` things that one of several takes."""
    if among == 1:
        return 0, count
    return number * count // among, (number + 1) * count // among


@inner
def side_of(thread, threads):
    """The halves of W, first:last, that a thread works on; its number among those, their count."""
    if threads == 1:
        return 0, 2, 0, 1
    lower = threads // 2
    if thread < lower:
        return 0, 1, thread, lower
    return 1, 2, thread - lower, threads - lower
