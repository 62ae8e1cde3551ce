"""Dropout (Srivastava et al. 2014), inverted, by a counter-based hash.

Whether a unit stays is a pure function of (seed, step, layer, row of the batch, unit), so the same
units are dropped forward and backward, on any thread, and when a step is run again.
"""

from __future__ import annotations

import numpy as np

from downslope.kernels.jit import inner

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


@inner
def mix(value):
    """Spread the bits of a 64-bit counter (SplitMix64's finalizer; Steele, Lea and Flood 2014)."""
    value = (value ^ (value >> np.uint64(30))) * _FIRST
    value = (value ^ (value >> np.uint64(27))) * _SECOND
    return value ^ (value >> np.uint64(31))


@inner
def stream(seed, step, layer):
    """Name the random stream of one layer in one step."""
    value = mix(np.uint64(seed) + _GOLDEN)
    value = mix(value ^ (np.uint64(step) * _GOLDEN))
    return mix(value ^ (np.uint64(layer + 1) * _FIRST))


@inner
def drop(y, rate, key, position):
    """Set a share `rate` of the entries of y (flat) to 0, scale the others by 1 / (1 - rate).

    position: number of y's first entry in the batch's (rows, units).
    """
    keep = y.dtype.type(1 / (1 - rate))
    threshold = np.uint64(rate * 18446744073709549568.0)
    zero = y.dtype.type(0)
    for k in range(y.shape[0]):
        value = mix(key + np.uint64(position + k) * _GOLDEN)
        y[k] = y[k] * keep if value >= threshold else zero
