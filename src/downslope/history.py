"""What a descent writes down at the end of every epoch, and whether that says to stop."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

import numpy.typing as npt

from downslope.parts import Descent

Array = npt.NDArray[Any]

LAST_STEPS = 100
"""Steps whose losses are kept one by one: enough for a spread known to a tenth, and no memory."""


@dataclass(frozen=True)
class Reason:
    """Why a run ended; as a sentence, "steps: all 20 done".

    Attributes
    ----------
    kind
        "epochs", "steps", "seconds", "optimum", "target", "patience", "callback", "interrupted",
        "not finite" or "error"; of a descent on a function others too.
    words
        What more is to be said of it.

    Examples
    --------
    >>> Reason.read("steps: all 20 done")
    Reason(kind='steps', words='all 20 done')
    """

    kind: str
    words: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.words}"

    @classmethod
    def read(cls, sentence: str) -> Reason:
        """Read what was written as a sentence, as runs and files hold it."""
        kind, _, words = sentence.partition(": ")
        return cls(kind, words)


@dataclass
class History:
    """One entry an epoch.

    Attributes
    ----------
    losses
        Mean training loss over the epoch's steps, penalties included; each step counts by how many
        rows it has, whatever these weigh.
    learning_rates
        Of the epoch's last step.
    validation_losses, validation_scores
        Of the held-out rows, at the epoch's end; the score is accuracy or R2. Empty without them.
    elapsed
        What `seconds` was at the epoch's end; of epochs that were run in one call, in equal parts.
    last_losses
        Training losses of the last steps, `LAST_STEPS` at most, each of its own batch.
    gradient_norm
        Of the last step, where it was asked for; NaN else.
    steps
        Done so far.
    seconds
        Passed by the clock since the first step began: with whatever is scored, measured, shown and
        written between two steps, without what passed from an interruption to its resumption.
    """

    losses: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)
    elapsed: list[float] = field(default_factory=list)
    last_losses: list[float] = field(default_factory=list)
    gradient_norm: float = math.nan
    steps: int = 0
    seconds: float = 0.0

    @property
    def epochs(self) -> int:
        """Whole epochs done."""
        return len(self.losses)

    @property
    def watched(self) -> list[float]:
        """The losses that patience and the plateau schedule look at: held-out where there are."""
        return self.validation_losses or self.losses

    @property
    def best_epoch(self) -> int:
        """Epoch, from 1, of the lowest watched loss; 0 before the first."""
        return 1 + lowest(self.watched) if self.watched else 0

    @property
    def spread(self) -> float:
        """How far the loss jumps from step to step at the run's end; NaN before the third step.

        sqrt(sum_t (L_t - L_(t-1))^2 / (2 (n - 1))) over the last fifth of the steps, n at least 3
        and at most `LAST_STEPS`: the standard deviation of losses about a mean that moves slowly,
        so that a run still going down is not called unsteady for it (von Neumann et al. 1941).
        """
        last = self.last_losses[-max(3, min(LAST_STEPS, self.steps // 5)) :]
        if len(last) < 3:
            return math.nan
        jumps = [(after - before) ** 2 for before, after in pairwise(last)]
        return math.sqrt(sum(jumps) / (2 * len(jumps)))

    def add_last(self, losses: Array) -> None:
        """Note the losses (steps,) of the last steps."""
        self.last_losses = [*self.last_losses, *losses[-LAST_STEPS:].tolist()][-LAST_STEPS:]

    def add_epochs(self, losses: Array, rates: Array, seconds: float) -> None:
        """Write down some epochs at once: their losses and the rates of their last steps (epochs,).

        seconds: what they have taken together, since `self.seconds`.
        """
        self.losses += losses.tolist()
        self.learning_rates += rates.tolist()
        each = seconds / len(losses)
        self.elapsed += [self.seconds + each * count for count in range(1, len(losses) + 1)]

    def to_dict(self) -> dict[str, Any]:
        """Give the history as plain data."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> History:
        """Read what `to_dict` gave, also where null stands for NaN, as in JSON.

        >>> History.from_dict({"losses": [0.5, None], "steps": 4}).losses
        [0.5, nan]
        """
        known = {each.name for each in fields(cls)}
        return cls(**{name: with_nan(each) for name, each in plain.items() if name in known})


def with_nan(plain: Any) -> Any:
    """Put NaN for None in plain data: what JSON has no number for.

    >>> with_nan({"score": None, "trivial": 0.25})
    {'score': nan, 'trivial': 0.25}
    """
    if isinstance(plain, Mapping):
        return {name: with_nan(each) for name, each in plain.items()}
    if isinstance(plain, list):
        return [with_nan(each) for each in plain]
    return math.nan if plain is None else plain


def lowest(losses: Sequence[float]) -> int:
    """Give the place, from 0, of the lowest loss, the first of equal ones: the epoch that is kept.

    A loss that is not a number counts as infinite.

    >>> lowest([math.nan, 2.0, 1.0, 1.0])
    2
    """
    finite = [math.inf if math.isnan(loss) else loss for loss in losses]
    return min(range(len(finite)), key=finite.__getitem__)


class Stagnation:
    """Counts epochs without improvement, each time going on with the epochs that are new.

    An epoch improves if its loss is below the best before it by more than `tolerance`.

    Examples
    --------
    >>> counted = Stagnation(tolerance=1e-4)
    >>> counted.epochs([3.0, 2.0, 1.99995]), counted.epochs([3.0, 2.0, 1.99995, 2.5])
    (1, 2)
    """

    def __init__(self, tolerance: float) -> None:
        self._tolerance, self._best = tolerance, math.inf
        self._seen = self._since = 0

    def epochs(self, losses: Sequence[float]) -> int:
        """Give how many epochs have passed since the last that improved; losses: of all so far."""
        for loss in losses[self._seen :]:
            self._since = 0 if loss < self._best - self._tolerance else self._since + 1
            self._best = min(self._best, loss)
        self._seen = len(losses)
        return self._since


def reason_to_stop(descent: Descent, history: History, stagnant: int) -> Reason | None:
    """Say why the run ends after this epoch; None while it goes on.

    stagnant: epochs without improvement.
    """
    loss, tolerance = history.losses[-1], descent.gradient_tolerance
    if tolerance is not None and history.gradient_norm < tolerance:
        norm = history.gradient_norm
        return Reason(
            "optimum", f"the gradient's norm {norm:.3g} fell below the tolerance {tolerance:g}"
        )
    if descent.target_loss is not None and loss <= descent.target_loss:
        return Reason("target", f"the training loss {loss:.4g} reached {descent.target_loss:g}")
    if descent.target_score is not None and history.validation_scores[-1] >= descent.target_score:
        score = history.validation_scores[-1]
        return Reason("target", f"the held-out score {score:.4g} reached {descent.target_score:g}")
    if descent.patience is not None and stagnant >= descent.patience:
        which = "validation" if history.validation_losses else "training"
        return Reason(
            "patience",
            f"the {which} loss has not improved by more than {descent.tolerance:g} for {stagnant} "
            "epochs",
        )
    if descent.epochs is not None and history.epochs >= descent.epochs:
        return Reason("epochs", f"all {descent.epochs} done")
    return None


def epochs_to_a_reason(descent: Descent, epochs: int, stagnant: int) -> int:
    """Give after how many more epochs, at the earliest, `reason_to_stop` may say something.

    >>> epochs_to_a_reason(Descent(epochs=9, patience=5), epochs=4, stagnant=2)
    3
    """
    if (descent.gradient_tolerance, descent.target_loss, descent.target_score) != (None,) * 3:
        return 1
    left = sys.maxsize if descent.epochs is None else descent.epochs - epochs
    return left if descent.patience is None else min(left, descent.patience - stagnant)


def bound_reached(descent: Descent, history: History) -> Reason | None:
    """Say whether steps or seconds, which may end a run within an epoch, are used up."""
    if descent.steps is not None and history.steps >= descent.steps:
        return Reason("steps", f"all {descent.steps} done")
    if descent.seconds is not None and history.seconds >= descent.seconds:
        return Reason("seconds", f"{descent.seconds:g} are over")
    return None
