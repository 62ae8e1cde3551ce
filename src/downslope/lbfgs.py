"""L-BFGS on a function, by SciPy, written down as the descents of our own rules are."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from downslope.functions import Function
from downslope.kernels.jit import Doubles
from downslope.parts import Descent
from downslope.together import (
    DIVERGED,
    INTERRUPTED,
    OPTIMUM,
    SECONDS,
    STEPS,
    STUCK,
    TARGET,
    Ends,
    Trail,
)
from downslope.workers import one_blas_thread


def descend_by_lbfgs(
    function: Function,
    descent: Descent,
    starts: Doubles,
    is_interrupted: Callable[[], bool] = lambda: False,
) -> Ends:
    """Descend from each start (points, variables) by SciPy's L-BFGS-B, without bounds.

    A step is one of its iterations. The tolerance is on the gradient's norm, as for the rules.
    """
    # Its products are tiny: BLAS threads would only wait for each other.
    with one_blas_thread():
        records = [
            _Record(function, descent, start, is_interrupted).run(number)
            for number, start in enumerate(starts)
        ]
    points, variables = starts.shape
    length = max(len(record.values) for record in records)
    thetas = np.full((length, points, variables), np.nan)
    gradients, values = thetas.copy(), np.full((length, points), np.nan)
    for point, record in enumerate(records):
        count = len(record.values)
        thetas[:count, point], values[:count, point] = record.thetas, record.values
        gradients[:count, point] = record.gradients
    steps = np.array([len(record.values) - 1 for record in records])
    none = np.zeros(points, dtype=np.int64)
    return Ends(
        np.array([record.thetas[-1] for record in records]),
        np.array([record.values[-1] for record in records]),
        np.array([record.norm for record in records]),
        steps, np.array([record.reason for record in records]), none, none.copy(),
        Trail(thetas, values, gradients, np.full(length - 1, np.nan)),
    )  # fmt: skip


class _Record:
    """One descent by L-BFGS, as it goes."""

    def __init__(
        self,
        function: Function,
        descent: Descent,
        start: Doubles,
        is_interrupted: Callable[[], bool],
    ) -> None:
        self._function, self._descent = function, descent
        self._is_interrupted, self._begun = is_interrupted, time.monotonic()
        self.thetas: list[Doubles] = []
        self.values: list[float] = []
        self.gradients: list[Doubles] = []
        self.norm, self.reason = np.inf, -1
        self._generator = np.random.default_rng([descent.seed, 2])
        self._start = start

    def run(self, number: int) -> _Record:
        """Descend to the end."""
        from scipy.optimize import minimize

        self._generator = np.random.default_rng([self._descent.seed, 2, number])
        tolerance = self._descent.gradient_tolerance or 0.0
        if not self._note(self._start):
            options = {
                "maxiter": self._descent.steps, "maxfun": 1 << 30, "ftol": 0.0,
                # SciPy looks at the largest entry, which may be as large as the norm.
                "gtol": 0.0 if self._function.noise else tolerance / np.sqrt(len(self._start)),
            }  # fmt: skip
            with np.errstate(all="ignore"):
                minimize(
                    self._value_and_gradient, self._start, jac=True, method="L-BFGS-B",
                    callback=self._look, options=options,
                )  # fmt: skip
        if self.reason < 0:
            done = len(self.values) - 1 >= (self._descent.steps or 0)
            self.reason = STEPS if done else STUCK
        return self

    def _value_and_gradient(self, theta: Doubles) -> tuple[float, Doubles]:
        values, gradients = self._function.values_and_gradients(theta[None])
        noise = self._function.noise
        if noise:
            gradients = gradients + noise * self._generator.normal(size=gradients.shape)
        return float(values[0]), gradients[0]

    def _look(self, intermediate_result: Any) -> None:
        if self._note(intermediate_result.x):
            raise StopIteration

    def _note(self, theta: Doubles) -> bool:
        """Write down a step; say whether it is the last."""
        values, gradients = self._function.values_and_gradients(theta[None])
        value, norm, descent = float(values[0]), float(np.linalg.norm(gradients[0])), self._descent
        if not (np.isfinite(value) and np.isfinite(norm)):
            self.reason = DIVERGED
            return True
        self.thetas.append(theta.copy())
        self.values.append(value)
        self.gradients.append(gradients[0])
        self.norm = norm
        tolerance = descent.gradient_tolerance
        if tolerance is not None and norm <= tolerance and not self._function.noise:
            self.reason = OPTIMUM
        elif descent.target_loss is not None and value <= descent.target_loss:
            self.reason = TARGET
        elif self._is_interrupted():
            self.reason = INTERRUPTED
        elif descent.seconds is not None and time.monotonic() - self._begun >= descent.seconds:
            self.reason = SECONDS
        return self.reason >= 0
