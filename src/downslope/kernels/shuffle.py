"""The order of an epoch's rows."""

from __future__ import annotations

import numpy as np

from downslope.kernels.dropout import mix, stream
from downslope.kernels.jit import kernel

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@kernel
def shuffle(order, seed, epoch):
    """Put order (rows,) into a random order in place: Fisher and Yates, by a hash of (seed, epoch).

    Row k changes places with one of the rows 0 to k, taken as the high half of a 32-bit random
    number times k + 1 (Lemire 2019, without its rejection: the bias is below rows / 2^32).
    """
    key = stream(seed, epoch, -2)
    half = np.uint64(32)
    for k in range(order.shape[0] - 1, 0, -1):
        value = mix(key + np.uint64(k) * _GOLDEN) >> half
        other = np.int64((value * np.uint64(k + 1)) >> half)
        order[k], order[other] = order[other], order[k]
