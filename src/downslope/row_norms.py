"""The norms of the rows' gradients in a step: their mean, spread and quantiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the norms of the rows' gradients."""

SORTED = 1 << 16
"""Rows whose norms are sorted for their quantiles, at most: the share of rows below each is then
known to 0.2 %, and a step over a million rows takes a fifth less time."""

TOGETHER, NORMS = 1 << 12, 1 << 16
"""Steps whose rows' norms are described together, at most, and norms: the arrays on the way then
take 512 KiB each, which is not given back to the system each time and asked for again."""


def describe(squares: Array, rows: Array) -> Array:
    """Give mean, standard deviation and quantiles of the rows' gradient norms.

    squares (records, batch): squared norms of the rows' shares in the gradient, which is a mean:
    a row's own gradient is as many times that as there are rows; rows (records,): how many. The
    quantiles of more than `SORTED` rows are those of so many, drawn among them.
    """
    described = np.empty((len(squares), 2 + len(QUANTILES)))
    together = max(1, min(TOGETHER, NORMS // squares.shape[1]))
    for begin in range(0, len(squares), together):
        part = slice(begin, begin + together)
        _describe_some(squares[part], rows[part], described[part])
    return described


def _describe_some(squares: Array, rows: Array, described: Array) -> None:
    """Do the same for steps few enough to be described together; described (records, 7): out."""
    alike = (rows == rows[0]).all()
    for count in rows[:1] if alike else np.unique(rows):
        some = slice(None) if alike else rows == count
        norms = np.sqrt(squares[some, :count])
        norms *= count
        described[some] = _describe(norms)


def _describe(norms: Array) -> Array:
    """Describe the norms (steps, rows) of steps that have as many rows."""
    found = np.empty((len(norms), 2 + len(QUANTILES)))
    with np.errstate(invalid="ignore"):  # of a step that left the finite numbers
        if norms.shape[1] == 1:
            found[:], found[:, 1] = norms, np.nan
            return found
        found[:, 0] = norms.mean(1)
        apart = norms - found[:, :1]
        found[:, 1] = np.sqrt(np.einsum("ij,ij->i", apart, apart) / norms.shape[1])
        if norms.shape[1] > SORTED:
            norms = norms[:, np.random.default_rng(0).integers(0, norms.shape[1], SORTED)]
        norms.sort(axis=1)
        for k, place in enumerate(np.array(QUANTILES) * (norms.shape[1] - 1), start=2):
            below, above = (norms[:, int(end(place))] for end in (np.floor, np.ceil))
            found[:, k] = below + (above - below) * (place % 1)
    return found
