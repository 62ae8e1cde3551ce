"""The layer plan: what the kernels know of a network, as small structured arrays.

A network is not compiled but interpreted: one record of `LAYER` a layer, so that a second network
costs no compile time. Offsets are in elements of a flat array; -1 stands for "there is none".
"""

from __future__ import annotations

import numpy as np

NO_NORMALIZATION, BATCH_NORMALIZATION, LAYER_NORMALIZATION = 0, 1, 2
NO_RESIDUAL, IDENTITY_RESIDUAL, PROJECTION_RESIDUAL = 0, 1, 2
WEIGHT, PROJECTION, BIAS, GAMMA, BETA, SLOPE = 0, 1, 2, 3, 4, 5

ALIGNMENT = 16
"""Elements at whose multiples matrices in the workspace begin: a cache line of float32, and whole
vectors of either type."""

LAYER = np.dtype(
    [
        ("inputs", np.int64),
        ("units", np.int64),
        ("activation", np.int64),
        ("parameter", np.float64),
        ("normalization", np.int64),
        ("residual", np.int64),
        ("dropout", np.float64),
        # rows of W that are the lower half, where each core keeps to its own; 0: all read all of W
        ("half", np.int64),
        # in theta
        ("weight", np.int64),
        ("projection", np.int64),
        ("bias", np.int64),
        ("gamma", np.int64),
        ("beta", np.int64),
        ("slope", np.int64),
        # in the workspace, (rows, units) each: the input x; x W + b and then its normalized form
        # (z itself where nothing is normalized); z; phi(z) (y itself where nothing is dropped or
        # added); y; dL/dz; dL/dy (dL/dz's place where the two need not be apart); and one over
        # the standard deviation of each row, for layer normalization
        ("x", np.int64),
        ("affine", np.int64),
        ("z", np.int64),
        ("phi", np.int64),
        ("y", np.int64),
        ("dz", np.int64),
        ("dy", np.int64),
        ("deviation", np.int64),
        # in the workspace: dL/du once more, in panels of a few columns each, or -1
        ("panels", np.int64),
        # in the running statistics: the mean, then the variance, of batch normalization
        ("statistics", np.int64),
        # in a block's sums over its rows: of gamma's, beta's and the slope's gradients
        ("sums", np.int64),
        # in a thread's scratch, (4, units), for batch normalization: the batch's mean, one over
        # its standard deviation, the gradients of gamma and beta
        ("moments", np.int64),
    ]
)
"""One layer: its kind, where its parameters lie in theta, where its values lie in the workspace."""

FRAME = np.dtype(
    [
        ("rows", np.int64),  # rows that the workspace holds: a micro-batch
        ("block", np.int64),  # rows that one thread takes at a time
        ("batchwise", np.int64),  # 1: layer by layer over the whole batch, for its statistics
        ("loss", np.int64),
        ("loss_parameter", np.float64),
        ("fused", np.int64),
        ("smoothing", np.float64),
        ("target", np.int64),  # in the workspace: (rows, outputs)
        ("weight", np.int64),  # in the workspace: (rows,), or -1: all rows weigh the same
        ("sums", np.int64),  # in the workspace: (blocks, sums_size)
        ("sums_size", np.int64),
        ("scratch", np.int64),  # in the workspace: (threads, scratch_size)
        ("scratch_size", np.int64),
        ("one", np.int64),  # in the workspace: the number 1
        ("half", np.int64),  # in the workspace: the product of half of x and of W, (rows, units)
        ("middle", np.int64),  # the first block of theta that belongs to the upper half
        ("partials", np.int64),  # in the workspace: each block's gradient; -1: of all rows at once
        ("partial_size", np.int64),  # elements from one to the next
    ]
)
"""What all layers share: the sizes of a micro-batch and of its blocks, and the loss."""

PIECE = np.dtype(
    [
        ("layer", np.int64),
        ("kind", np.int64),  # WEIGHT, PROJECTION, BIAS, ...
        ("first", np.int64),  # rows of a matrix
        ("last", np.int64),
        ("start", np.int64),  # in theta
        ("stop", np.int64),
    ]
)
"""A part of theta whose gradient is one product or one sum."""

BLOCK = np.dtype(
    [
        ("first", np.int64),  # pieces
        ("last", np.int64),
        ("start", np.int64),  # in theta
        ("stop", np.int64),
    ]
)
"""Neighboring pieces of theta that one thread computes and moves while they are in its cache."""
