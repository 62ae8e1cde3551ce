"""scikit-learn's rules at the end of an epoch: what is written down, when to stop, the next rate.

The names of the attributes are scikit-learn's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope.course import Course
from downslope.epoch import Epoch
from downslope.held_out import HeldOut
from downslope.kernels import plan as kinds
from downslope.network import BuiltNetwork
from downslope.score import classes_of
from downslope.translation import solver_of

Array = npt.NDArray[Any]

SMALLEST_RATE = 1e-6
"""scikit-learn's: from here on "adaptive" stops instead of dividing the rate."""


@dataclass
class Progress:
    """What a rule has come to: from here `partial_fit` goes on.

    Attributes
    ----------
    rule
        As the recipe has it.
    learning_rate
        Of the next epoch.
    state
        What the rule keeps from step to step; None before the first.
    steps
        Taken so far.
    """

    rule: str
    learning_rate: float
    state: Array | None = None
    steps: int = 0


def measure(held_out: HeldOut, network: BuiltNetwork) -> tuple[float, float]:
    """Give what early stopping looks at: loss and score of the rows that are held out.

    The score is accuracy, for several labels that of whole rows, or R2; of outputs that are not
    finite it is NaN, but for classes.
    """
    outputs, loss = held_out.outputs_and_loss()
    target, weights = held_out.target, held_out.weights if held_out.weights.size else None
    if network.task == "regression":
        loss /= shares(network)
        if not np.isfinite(outputs).all():
            return loss, math.nan
        from sklearn.metrics import r2_score

        return loss, float(r2_score(target, outputs, sample_weight=weights))
    if network.task == "multilabel":
        right = ((outputs > 0.5) == (target > 0.5)).all(axis=1)
    else:
        right = classes_of(outputs) == target
    return loss, float(np.average(right, weights=weights))


def shares(network: BuiltNetwork) -> int:
    """Give how many outputs scikit-learn averages the loss over, where we add it up."""
    averaged = network.task == "regression" and network.loss.name != "poisson"
    return network.outputs if averaged else 1


class Convergence:
    """A watcher that keeps an estimator's attributes and stops as scikit-learn does.

    Parameters
    ----------
    estimator
        Its attributes are written.
    course
        What is watched; its rate is moved.
    held_out
        The rows whose score decides; None where the training loss does.
    once
        One epoch of `partial_fit`: no warning that it has not converged.
    """

    def __init__(
        self, estimator: Any, course: Course, held_out: HeldOut | None, once: bool
    ) -> None:
        self.estimator, self.course, self.held_out = estimator, course, held_out
        self.once, self.converged = once, False
        self._penalty = self._penalty_now()

    def __call__(self, epoch: Epoch) -> bool:
        """Write the epoch down; True ends the run."""
        e = self.estimator
        rows = len(self.course.data.training)
        e.n_iter_ += 1
        e.loss_ = self._reported(epoch.history.losses[-1])
        e.t_ += rows
        e.loss_curve_.append(e.loss_)
        if e.verbose:
            print(f"Iteration {e.n_iter_}, loss = {e.loss_:.8f}")  # noqa: T201
        if self.held_out is None:
            self._count_by_loss()
        else:
            self._count_by_score(*measure(self.held_out, epoch.network))
        progress = e._optimizer
        if e.learning_rate == "invscaling" and solver_of(e.solver) != "adam":
            progress.learning_rate = e.learning_rate_init / (e.t_ + 1) ** e.power_t
        asked = e._call_back(epoch.history.steps)
        if e._no_improvement_count > e.n_iter_no_change:
            self.converged = self._is_stopping()
            if not self.converged:
                e._no_improvement_count = 0
        self.course.rate = progress.learning_rate
        self.converged = self.converged or asked
        return self.converged or self.once

    def _count_by_loss(self) -> None:
        """Count the epochs whose loss was not below the best by `tol`."""
        e = self.estimator
        worse = e.loss_ > e.best_loss_ - e.tol
        e._no_improvement_count = e._no_improvement_count + 1 if worse else 0
        e.best_loss_ = min(e.best_loss_, e.loss_)

    def _count_by_score(self, loss: float, score: float) -> None:
        """Count the epochs whose score was not above the best by `tol`; keep the best theta."""
        e = self.estimator
        e.validation_scores_.append(score)
        e.validation_loss_curve_.append(loss)
        if e.verbose:
            print(f"Validation score: {score:f}")  # noqa: T201
        worse = score < e.best_validation_score_ + e.tol
        e._no_improvement_count = e._no_improvement_count + 1 if worse else 0
        if score > e.best_validation_score_:
            e.best_validation_score_ = score
            e._best = (e.network_.theta.copy(), e.network_.statistics.copy())

    def _is_stopping(self) -> bool:
        """Say why the run stops, or go on at a fifth of the rate."""
        e, progress = self.estimator, self.estimator._optimizer
        what = "Training loss" if self.held_out is None else "Validation score"
        message = (
            f"{what} did not improve more than tol={e.tol:f} for {e.n_iter_no_change} "
            f"consecutive epochs."
        )
        adapts = e.learning_rate == "adaptive" and solver_of(e.solver) != "adam"
        stops = not adapts or progress.learning_rate <= SMALLEST_RATE
        if not stops:
            progress.learning_rate /= 5.0
            ending = f" Setting learning rate to {progress.learning_rate:f}"
        else:
            ending = " Learning rate too small. Stopping." if adapts else " Stopping."
        if e.verbose:
            print(message + ending)  # noqa: T201
        return stops

    def _penalty_now(self) -> float:
        """Give the mean penalty of a step as theta is now; 0 where it need not be known apart."""
        network, descent = self.course.network, self.course.descent
        if shares(self.course.network) == 1 or not (descent.l1 or descent.l2):
            return 0.0
        total = 0.0
        for part in network.layout.parts:
            if part.kind in (kinds.WEIGHT, kinds.PROJECTION):
                w = network.theta[part.start : part.stop].astype(np.float64)
                total += descent.l1 * float(abs(w).sum()) + descent.l2 * float(w @ w) / 2
        weights = self.course.data.targets.weights
        rows = self.course.data.training
        weight = float(weights[rows].sum()) if weights.size else len(rows)
        return total * self.course.steps_per_epoch / weight

    def _reported(self, loss: float) -> float:
        """Give the loss as scikit-learn gives it: of several outputs, the mean.

        The penalty is not divided. Its mean over the epoch is taken as that of both its ends.
        """
        before, self._penalty = self._penalty, self._penalty_now()
        penalty = (before + self._penalty) / 2
        return (loss - penalty) / shares(self.course.network) + penalty
