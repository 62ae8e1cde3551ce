"""The order of the rows of epochs."""

from __future__ import annotations

import numpy as np

from downslope.kernels.dropout import mix, stream
from downslope.kernels.jit import kernel

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@kernel
def shuffle(orders, seed, epoch, room):
    """Put orders (epochs, rows) into a random order in place, epoch by epoch from number `epoch`.

    Fisher and Yates, by a hash of (seed, epoch): row k changes places with one of the rows 0 to k,
    taken as the high half of a 32-bit random number times k + 1 (Lemire 2019, without its
    rejection: the bias is below rows / 2^32). room (any length,) uint64: so many of those rows are
    drawn at a time, in vectors, which takes half the time of drawing them one by one.
    """
    half = np.uint64(32)
    for e in range(orders.shape[0]):
        order, key = orders[e], stream(seed, epoch + e, np.int64(-2))
        end = order.shape[0]
        while end > 1:
            begin = max(end - room.shape[0], 1)
            for k in range(end - begin):
                row = np.uint64(begin + k)
                value = mix(key + row * _GOLDEN) >> half
                room[k] = (value * (row + np.uint64(1))) >> half
            for k in range(end - begin - 1, -1, -1):
                row, other = np.uint64(begin + k), room[k]
                order[row], order[other] = order[other], order[row]
            end = begin
