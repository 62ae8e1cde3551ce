"""Rules that are moved from Python, step by step, once the whole gradient is there.

Muon needs each weight matrix whole, and a rule of the user's own is a Python function; all others
run inside the compiled loop.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from downslope.catalogue import Choice, choose, code
from downslope.kernels import plan as kinds
from downslope.kernels.muon import muon, muon_scratch
from downslope.kernels.rules import coefficients, update
from downslope.layout import Layout, Part
from downslope.parts import Descent, Rule
from downslope.workers import one_blas_thread

Array = npt.NDArray[Any]


class WholeRule(Protocol):
    """Moves theta given the whole gradient, which it may overwrite.

    Attributes
    ----------
    limits
        What is to hold from the first move of a descent to its last.
    """

    limits: AbstractContextManager[None]

    def move(self, theta: Array, gradient: Array, rate: float, step: int) -> None:
        """Move theta in place; step: 1 for the first."""


class Own:
    """A rule given as a function, with the dictionary that is its own from step to step."""

    def __init__(self, rule: Rule) -> None:
        self.limits: AbstractContextManager[None] = nullcontext()
        self._rule = rule
        self._state: dict[str, Any] = {}

    def move(self, theta: Array, gradient: Array, rate: float, step: int) -> None:
        """Call the function."""
        self._rule(theta, gradient, self._state, rate, step)


class Muon:
    """Muon for hidden weight matrices, Adam for all the rest (Jordan et al. 2024).

    Parameters
    ----------
    choice
        The rule with its options.
    layout
    state : (2, parameters) in theta's type
        The matrices' momentum in the first; Adam's two moments for the rest.
    """

    def __init__(self, choice: Choice, layout: Layout, state: Array) -> None:
        self._choice, self._state, self.limits = choice, state, one_blas_thread()
        last = len(layout.plan) - 1
        matrices = (kinds.WEIGHT, kinds.PROJECTION)
        self._matrices = [
            part for part in layout.parts if part.kind in matrices and part.layer < last
        ]
        self._others = [part for part in layout.parts if part not in self._matrices]
        sizes = [muon_scratch(*part.shape) for part in self._matrices]
        self._scratch = np.empty(max(sizes, default=0), state.dtype)

    def move(self, theta: Array, gradient: Array, rate: float, step: int) -> None:
        """Move the matrices by Muon and the rest by Adam."""
        row = coefficients(self._choice, np.array([rate]), step)[0]

        def matrix(array: Array, part: Part) -> Array:
            return array[part.start : part.stop].reshape(part.shape)

        for part in self._matrices:
            momentum = matrix(self._state[0], part)
            muon(matrix(theta, part), matrix(gradient, part), momentum, self._scratch, row)
        adam = code("rule", "adam")
        for part in self._others:
            span = slice(part.start, part.stop)
            update(adam, theta[span], gradient[span], self._state, part.start, row)


def whole_rule(descent: Descent, layout: Layout, state: Array) -> WholeRule | None:
    """Give what moves theta by a descent's rule; None where the compiled loop does."""
    if callable(descent.rule):
        return Own(descent.rule)
    choice = choose("rule", descent.rule)
    return Muon(choice, layout, state) if choice.name == "muon" else None
