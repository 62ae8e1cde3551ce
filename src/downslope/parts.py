"""The parts of a recipe: a `Network` and a `Descent`, as plain frozen data, checked when made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from downslope.catalogue import HIDDEN_ACTIVATIONS, RULES, Choice, canonical, choose, plain_name
from downslope.counts import real_number, whole_number
from downslope.errors import InvalidTypeError, InvalidValueError, nearest
from downslope.scaling import SCALINGS
from downslope.task import TASKS

Rule: TypeAlias = Callable[[npt.NDArray[Any], npt.NDArray[Any], dict[str, Any], float, int], None]
"""A rule of one's own: ``rule(theta, gradient, state, learning_rate, step)`` moves theta in place.

theta, gradient: (parameters,) in the descent's number type; state: a dict that is the rule's own
from step to step; step: 1 for the first.
"""

Schedule: TypeAlias = Callable[[int], float]
"""A schedule of one's own: the learning rate of a step, 0 for the first."""

NORMALIZATIONS = ("none", "batch", "layer")
DTYPES = ("float32", "float64")


def _count(owner: str, name: str, value: object, low: int) -> int:
    """Check one whole number."""
    return whole_number(f"{owner}: {name}", value, low)


def _or_auto(kind: str, text: object) -> str:
    """Check a named choice that may be left to us; give it as it is kept."""
    return "auto" if isinstance(text, str) and text == "auto" else canonical(kind, text)


def _truth(owner: str, name: str, value: object) -> bool:
    """Check a truth value, Python's or NumPy's; give it as a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidTypeError(f"{owner}: {name} takes True or False; got {value!r}")
    return bool(value)


def _hidden(text: object) -> str:
    """Check the activation of a hidden layer; give it as it is kept."""
    activation = canonical("activation", text)
    if plain_name(activation) not in HIDDEN_ACTIVATIONS:
        raise InvalidValueError(
            f"Network: {activation} is for the output layer (output_activation); hidden layers "
            "take an activation that works unit by unit"
        )
    return activation


def _least_epsilon(options: Mapping[str, float], dtype: str) -> float:
    """Give the least epsilon of a rule that is not taken as 0: Adam's first step shrinks it most.

    It is multiplied there by sqrt(1 - beta2).
    """
    rest = 1 - options.get("beta2", 0.0)
    return float(np.finfo(dtype).tiny) / math.sqrt(rest if rest > 0 else 1.0)


def _is_several(value: object) -> bool:
    """Say whether a setting is one for each layer: a sequence, or an array of one dimension."""
    if isinstance(value, np.ndarray):
        return value.ndim == 1
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _put(recipe: Network | Descent, name: str, value: object) -> None:
    """Keep what a setting means in the place of what was written: equal ones are then the same."""
    object.__setattr__(recipe, name, value)


def one_of(owner: str, name: str, value: object, known: Sequence[str]) -> str:
    """Check a name that is one of a few; give the known one, whatever kind of text was written.

    Raises
    ------
    InvalidValueError
        If it is none of them, with the nearest.

    Examples
    --------
    >>> one_of("Network", "normalize", "batch", NORMALIZATIONS)
    'batch'
    """
    if not isinstance(value, str) or value not in known:
        raise InvalidValueError(f"{owner}: unknown {name} {value!r}: {nearest(value, known)}")
    return known[known.index(value)]


@dataclass(frozen=True)
class Network:
    """The layers between the features and the target, and the loss at the end.

    However a name is written, with its options by position or by their names, it is kept one way,
    and numbers are kept as Python has them: what means the same is the same `Network`.

    Parameters
    ----------
    layers
        Units of each hidden layer, first to last; empty for a linear model.
    activation
        Of the hidden layers: one name for all or one for each (see `catalogue.ACTIVATIONS`).
    initializer
        Of the weights, likewise; "auto" goes by the activation.
    normalize
        "none", "batch" or "layer": what is done to x W + b before the activation.
    residual
        Add each hidden layer's input to its output; through a learned projection where the
        widths differ.
    dropout
        Share of a hidden layer's outputs set to 0 in a training step; one or one for each.
    output_activation, loss
        "auto" goes by the task: softmax with cross_entropy, sigmoid with binary_cross_entropy,
        identity with squared_error.
    label_smoothing
        Share of each class target spread evenly over the classes.
    scaling
        Of the features, and of a regression target, before the first layer: "auto" (standard,
        but squashed where a column reaches beyond 8 standard deviations), "standard", "squash" or
        "none".
    task
        "auto" goes by the target: texts, and whole numbers of two values, or of at most 20 with
        two rows or more for each, are classes; other numbers are a regression's.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For anything outside these rules.

    Examples
    --------
    >>> Network([128, 64], activation="relu", dropout=0.1).layers
    (128, 64)
    >>> Network([8], activation="Leaky-ReLU(.1)").activation
    'leaky_relu(slope=0.1)'
    """

    layers: Sequence[int] = (256, 256)
    activation: str | Sequence[str] = "relu"
    initializer: str | Sequence[str] = "auto"
    normalize: str = "none"
    residual: bool = False
    dropout: float | Sequence[float] = 0.0
    output_activation: str = "auto"
    loss: str = "auto"
    label_smoothing: float = 0.0
    scaling: str = "auto"
    task: str = "auto"

    def __post_init__(self) -> None:
        if not _is_several(self.layers):
            raise InvalidTypeError(
                f"Network: layers takes the widths of the hidden layers, as [128, 64]; "
                f"got {self.layers!r}"
            )
        widths = tuple(_count("Network", "the width of a layer", each, 1) for each in self.layers)
        _put(self, "layers", widths)
        self._put_each("activation", _hidden)
        self._put_each("initializer", partial(canonical, "initializer"))
        if not self.initializers():
            raise InvalidValueError(
                "Network: without hidden layers initializer takes one name, for the output layer, "
                f"as 'he_normal'; got {self.initializer!r}"
            )
        self._put_each("dropout", partial(real_number, "Network: dropout", interval="[0, 1)"))
        names = {"normalize": NORMALIZATIONS, "scaling": SCALINGS, "task": ("auto", *TASKS)}
        for name, known in names.items():
            _put(self, name, one_of("Network", name, getattr(self, name), known))
        for name, kind in (("output_activation", "activation"), ("loss", "loss")):
            _put(self, name, _or_auto(kind, getattr(self, name)))
        smoothing = real_number("Network: label_smoothing", self.label_smoothing, "[0, 1]")
        _put(self, "label_smoothing", smoothing)
        _put(self, "residual", _truth("Network", "residual", self.residual))

    def _put_each(self, name: str, read: Callable[[Any], Any]) -> None:
        """Put a setting of all hidden layers, or of each, as `read` gives it."""
        value: Any = getattr(self, name)
        several = _is_several(value)
        _put(self, name, tuple(value) if several else value)
        found = tuple(map(read, self._each(name)))
        _put(self, name, found if several else found[0])

    def _each(self, name: str) -> tuple[Any, ...]:
        """Give a setting once for every hidden layer."""
        value = getattr(self, name)
        if not isinstance(value, tuple):
            return (value,) * max(len(self.layers), 1)
        if len(value) != len(self.layers):
            raise InvalidValueError(
                f"Network: {name} takes one value or one for each of the {len(self.layers)} hidden "
                f"layers; got {len(value)}: {value!r}"
            )
        return value

    def activations(self) -> tuple[Choice, ...]:
        """Give the activation of every hidden layer."""
        return tuple(choose("activation", text) for text in self._each("activation"))[
            : len(self.layers)
        ]

    def initializers(self) -> tuple[Choice, ...]:
        """Give the initializer of every hidden layer; the output layer takes the last."""
        return tuple(choose("initializer", text) for text in self._each("initializer"))

    def dropouts(self) -> tuple[float, ...]:
        """Give the dropout rate of every hidden layer."""
        return self._each("dropout")[: len(self.layers)]

    @property
    def counts(self) -> bool:
        """Whether its loss is for counts: they stay what they are, whatever the scaling."""
        return self.loss == "poisson"


@dataclass(frozen=True)
class Descent:
    """How theta goes down: batching, rule, learning rate, penalties, and when to stop.

    Names and numbers are kept one way, as a `Network` keeps them.

    Parameters
    ----------
    batch
        Rows of a step: "full" is batch, 1 stochastic, n mini-batch gradient descent.
    rule
        How theta moves given the gradient (see `catalogue.RULES`), or a function of one's own.
    learning_rate
        None takes the rule's usual one.
    schedule, warmup
        Learning rate by step (see `catalogue.SCHEDULES`), or a function that gives it for a step,
        `learning_rate` being left out; "auto" is cosine, and constant where neither epochs nor
        steps say how long the run is. Before it, `warmup` steps that rise to it in a straight line.
    clip_norm, clip_value
        Bound on the norm of the whole gradient; on each of its entries (first). None: no bound.
    l1, l2
        Penalties on weights, as scikit-learn's alpha: each step adds
        (l1 sum |w| + l2 sum w^2 / 2) / rows of the batch to its loss.
    weight_decay
        Decoupled: each step scales weights by 1 - learning rate x weight_decay.
    epochs, steps, seconds
        The run ends at whichever comes first; None: no bound.
    validation
        Share of the rows held out, stratified for classes.
    patience, tolerance
        Stop when the validation loss (the training loss where nothing is held out) has not been
        improved by more than `tolerance` for `patience` epochs; None: never. With a validation
        split the best theta is restored whatever ends the run.
    gradient_tolerance
        Stop when the norm of the gradient of an epoch's last step falls below: an optimum. It is
        over the rows of that step's batch, with the penalties, before any clipping.
    target_loss, target_score
        Stop when the training loss has come down to, the held-out score up to.
    seed, shuffle, dtype
        Of all that is random; whether rows are shuffled each epoch; "float32" or "float64".

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For anything outside these rules, and for settings that contradict each other.

    Examples
    --------
    >>> Descent(batch="full", rule="gd", learning_rate=0.5).batch
    'full'
    >>> Descent(rule="Adam(0.9, .95)").rule
    'adam(beta2=0.95)'
    """

    batch: int | Literal["full"] = 32
    rule: str | Rule = "adamw(weight_decay=0.1)"
    learning_rate: float | None = None
    schedule: str | Schedule = "auto"
    warmup: int = 0
    clip_norm: float | None = None
    clip_value: float | None = None
    l1: float = 0.0
    l2: float = 0.0
    weight_decay: float = 0.0
    epochs: int | None = 100
    steps: int | None = None
    seconds: float | None = None
    validation: float = 0.1
    patience: int | None = None
    tolerance: float = 1e-4
    gradient_tolerance: float | None = None
    target_loss: float | None = None
    target_score: float | None = None
    seed: int = 0
    shuffle: bool = True
    dtype: str = "float32"

    def __post_init__(self) -> None:
        full = isinstance(self.batch, str) and self.batch == "full"
        what = 'batch ("full" for all rows)'
        _put(self, "batch", "full" if full else _count("Descent", what, self.batch, 1))
        for name, read in (("rule", canonical), ("schedule", _or_auto)):
            if not callable(getattr(self, name)):
                _put(self, name, read(name, getattr(self, name)))
        for name in ("l1", "l2", "weight_decay", "tolerance"):
            self._put_number(name, "[0, inf)")
        for name in ("learning_rate", "gradient_tolerance"):
            self._put_number(name, "[0, inf)", optional=True)
        for name in ("clip_norm", "clip_value", "seconds"):
            self._put_number(name, "(0, inf)", optional=True)
        for name in ("target_loss", "target_score"):
            self._put_number(name, "(-inf, inf)", optional=True)
        for name in ("epochs", "steps", "patience"):
            if getattr(self, name) is not None:
                _put(self, name, _count("Descent", name, getattr(self, name), 1))
        for name in ("warmup", "seed"):
            _put(self, name, _count("Descent", name, getattr(self, name), 0))
        self._put_number("validation", "[0, 1)", why=", to leave rows to train on")
        _put(self, "dtype", one_of("Descent", "dtype", self.dtype, DTYPES))
        _put(self, "shuffle", _truth("Descent", "shuffle", self.shuffle))
        self._check_contradictions()

    def _put_number(
        self, name: str, interval: str, *, optional: bool = False, why: str = ""
    ) -> None:
        """Put a number as a float; None stays None where it is optional."""
        value = getattr(self, name)
        if value is not None or not optional:
            _put(self, name, real_number(f"Descent: {name}", value, interval, why=why))

    def _check_contradictions(self) -> None:
        if self.epochs is None and self.steps is None and self.seconds is None:
            raise InvalidValueError(
                "Descent: set epochs, steps or seconds: with all three None the run has no end"
            )
        if self.target_score is not None and self.validation == 0:
            raise InvalidValueError(
                "Descent: target_score is about held-out rows; set validation above 0"
            )
        if callable(self.schedule) and self.learning_rate is not None:
            raise InvalidValueError(
                "Descent: a schedule of your own gives every step's learning rate itself; leave "
                f"learning_rate out; got {self.learning_rate:g}"
            )
        if callable(self.rule):
            return
        choice = choose("rule", self.rule)
        rule = choice.name
        least = _least_epsilon(choice.options, self.dtype)
        if choice.options.get("epsilon", 1.0) < least:
            raise InvalidValueError(
                f"Descent: rule {rule!r}: epsilon must be at least {least:.3g} in {self.dtype}, or "
                f"a gradient that is 0 is divided by 0; got {choice.options['epsilon']:g}"
            )
        if rule == "adamw" and self.weight_decay:
            raise InvalidValueError(
                "Descent: rule 'adamw' has a weight_decay option of its own, as "
                "adamw(weight_decay=0.01); set that, or weight_decay with rule 'adam', not both"
            )
        if rule == "rprop" and self.batch != "full":
            raise InvalidValueError(
                "Descent: rprop compares signs from step to step and needs batch='full'; "
                f"got batch={self.batch!r}"
            )

    @property
    def rate(self) -> float:
        """The learning rate, the rule's usual one where none is set."""
        if self.learning_rate is not None:
            return self.learning_rate
        if callable(self.rule):
            return 0.01
        return RULES[choose("rule", self.rule).name].learning_rate

    @property
    def chosen_schedule(self) -> str | Schedule:
        """The schedule; where it is "auto", the one that this is for a run of such bounds."""
        if self.schedule != "auto":
            return self.schedule
        return "constant" if self.epochs is None and self.steps is None else "cosine"
