"""scikit-learn's settings as a recipe, and a recipe as scikit-learn's settings."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import numpy as np
from sklearn.utils._param_validation import StrOptions

from downslope.catalogue import LOSSES, TABLES, choose, plain_name
from downslope.errors import DownslopeError, InvalidValueError
from downslope.parts import Descent, Network
from downslope.recipe import Recipe

REGRESSION_LOSSES: Final = tuple(name for name in LOSSES if not name.endswith("cross_entropy"))

SCHEDULES: Final = ("constant", "invscaling", "adaptive")
"""scikit-learn's, whose rate changes at an epoch's end, if at all, and by its own rules."""

_NO_COUNTERPART: Final = ("steps", "seconds", "gradient_tolerance", "target_loss", "target_score")


_BY_STEP: Final = ("dropout", "clip_norm", "clip_value", "weight_decay", "warmup")
"""Parameters of ours for rules that go step by step; any other solver ignores them."""

_OPTIONS: Final = {
    "momentum": ("momentum", 0.9),
    "beta_1": ("beta1", 0.9),
    "beta_2": ("beta2", 0.999),
    "epsilon": ("epsilon", 1e-8),
}
"""scikit-learn's parameters that are options of its rules: the option's name, the default."""


class Named(StrOptions):  # type: ignore[misc]
    """A constraint on a parameter: a name of the catalogue, with its options or without.

    Parameters
    ----------
    kind
        Which table: a key of `catalogue.TABLES`.
    others
        Names of scikit-learn's that it takes too.
    known
        Names of the table that it takes; None takes all.
    """

    def __init__(
        self, kind: str, others: Iterable[str] = (), known: Iterable[str] | None = None
    ) -> None:
        self._kind, self._names = kind, tuple(TABLES[kind] if known is None else known)
        self._all = tuple(dict.fromkeys((*others, *self._names)))
        super().__init__(set(self._all))

    def __str__(self) -> str:
        """Name them in the catalogue's order, as the error for any other name shows them."""
        named = ", ".join(repr(name) for name in self._all)
        return f"a str among {{{named}}}, with its options or without"

    def is_satisfied_by(self, value: object) -> bool:
        """Say whether it is such a name."""
        if super().is_satisfied_by(value):
            return True
        try:
            return choose(self._kind, value).name in self._names
        except DownslopeError:
            return False

    def refuse_options(self, owner: str, value: object) -> None:
        """Raise InvalidValueError for options that a name of the table does not have."""
        name = plain_name(str(value).partition("(")[0])
        if not isinstance(value, str) or name not in self._names or self.is_satisfied_by(value):
            return
        try:
            choose(self._kind, value)
        except DownslopeError as error:
            raise InvalidValueError(f"{owner}: {error}") from None


def _each(value: Any, names: Mapping[str, str]) -> Any:
    """Give a setting for all layers, or one for each, by Downslope's names."""
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, Iterable):
        return tuple(names.get(each, each) if isinstance(each, str) else each for each in value)
    return value


def widths(hidden: Any) -> list[Any]:
    """Give the units of each hidden layer, which may be one number or several."""
    return list(hidden) if isinstance(hidden, Iterable) else [hidden]


def network_of(settings: Mapping[str, Any], task: str) -> Network:
    """Give the network that an estimator's parameters describe."""
    return Network(
        layers=[int(each) for each in widths(settings["hidden_layer_sizes"])],
        activation=_each(settings["activation"], {"logistic": "sigmoid"}),
        initializer=_each(settings["initializer"] or "glorot_uniform", {}),
        normalize=settings["normalization"],
        residual=bool(settings["residual"]),
        dropout=_each(settings["dropout"], {}),
        loss=settings.get("loss", "auto"),
        label_smoothing=settings.get("label_smoothing", 0.0),
        scaling="none",
        task=task,
    )


def solver_of(named: str) -> str:
    """Give a solver by its plain name; one with options, which scikit-learn's have not, as it is.

    >>> solver_of("Adam"), solver_of("Adam(0.8)")
    ('adam', 'Adam(0.8)')
    """
    return named if "(" in named else plain_name(named)


def refuse_contradictions(owner: str, settings: Mapping[str, Any]) -> None:
    """Raise InvalidValueError for parameters that the solver ignores.

    Those of scikit-learn's own that its own solvers ignore may be given, as there: a grid of them
    goes through.
    """
    named = settings["solver"]
    if named == "lbfgs":
        ignored = [name for name in _BY_STEP if np.any(settings[name])]
        own_schedule = plain_name(settings["learning_rate"]) not in SCHEDULES
        ignored += ["learning_rate"] if own_schedule else []
        if ignored:
            raise InvalidValueError(
                f"{owner}: solver='lbfgs' does not go by the steps of a rule, so it takes no "
                f"{', '.join(ignored)}; leave that at its default, or take another solver, as "
                f"'adam'"
            )
    elif solver_of(named) not in ("adam", "sgd"):
        rule = choose("rule", named)
        for name, (option, usual) in _OPTIONS.items():
            value, own = settings[name], rule.options.get(option)
            if own is not None and value not in (usual, own):
                raise InvalidValueError(
                    f"{owner}: {name}={value!r} is for solver='adam' or 'sgd' without options, and "
                    f"solver={named!r} goes by {option}={own:g}; write it there, as "
                    f"solver='{rule.name}({option}={value})'"
                )


def rule_of(settings: Mapping[str, Any]) -> str:
    """Give the rule that `solver` names: scikit-learn's two with the options it has for them."""
    named = solver_of(settings["solver"])
    if named == "adam":
        # scikit-learn adds epsilon before the correction, and so gives the second moment's root.
        options = (float(settings[name]) for name in ("beta_1", "beta_2", "epsilon"))
        return "adam({!r}, {!r}, {!r}, uncorrected=1)".format(*options)
    if named == "lbfgs":
        return "gd"
    if named != "sgd":
        return named
    # It takes a momentum of 1 too; the largest number below is the same to 16 digits.
    momentum = min(float(settings["momentum"]), math.nextafter(1.0, 0.0))
    if momentum == 0:
        return "gd"
    return f"{'nesterov' if settings['nesterovs_momentum'] else 'momentum'}({momentum!r})"


def descent_of(settings: Mapping[str, Any], rows: int, dtype: str, seed: int) -> Descent:
    """Give the descent that an estimator's parameters describe, for so many training rows."""
    patience = settings["n_iter_no_change"]
    return Descent(
        batch=_batch_of(settings, rows),
        rule=rule_of(settings),
        learning_rate=float(settings["learning_rate_init"]),
        schedule=_schedule_of(settings),
        warmup=int(settings["warmup"]),
        clip_norm=settings["clip_norm"],
        clip_value=settings["clip_value"],
        l1=float(settings["l1"]),
        l2=float(settings["alpha"]),
        weight_decay=float(settings["weight_decay"]),
        epochs=int(settings["max_iter"]),
        validation=float(settings["validation_fraction"]) if settings["early_stopping"] else 0.0,
        patience=None if math.isinf(patience) else int(patience),
        tolerance=float(settings["tol"]),
        seed=seed,
        shuffle=bool(settings["shuffle"]),
        dtype=dtype,
    )


def _batch_of(settings: Mapping[str, Any], rows: int) -> int | Literal["full"]:
    """Give the batch; for rprop, which needs all rows, one of as many rows or more counts as full.

    Raises
    ------
    InvalidValueError
        For rprop with fewer rows.
    """
    given = settings["batch_size"]
    if given == "full" or settings["solver"] == "lbfgs":
        return "full"
    batch = min(200, rows) if given == "auto" else int(given)
    if plain_name(settings["solver"]) != "rprop":
        return batch
    if batch < rows:
        raise InvalidValueError(
            "solver='rprop' compares signs from step to step, so each must take all rows: set "
            f"batch_size='full'; got batch_size={given!r}, {batch} of {rows} rows"
        )
    return "full"


def _schedule_of(settings: Mapping[str, Any]) -> str:
    """Give the schedule; scikit-learn's count with `solver="sgd"` and rules it does not have."""
    schedule: str = settings["learning_rate"]
    if schedule not in SCHEDULES:
        return schedule
    if solver_of(settings["solver"]) in ("adam", "lbfgs") or schedule == "constant":
        return "constant"
    if schedule == "invscaling":
        return f"inverse_scaling({float(settings['power_t'])!r})"
    waits = min(settings["n_iter_no_change"], 10**9)
    return f"plateau(factor=0.2, patience={int(waits)}, tolerance=0, low=1e-06)"


def as_run(descent: Descent, schedule: str) -> Descent:
    """Give the descent without what scikit-learn's own rules see to: when to stop, and the rate."""
    ours = descent.schedule if schedule not in SCHEDULES else "constant"
    return dataclasses.replace(descent, validation=0.0, patience=None, tolerance=0.0, schedule=ours)


def parameters_of(recipe: Recipe, classifies: bool) -> dict[str, Any]:
    """Give an estimator's parameters for a recipe.

    Raises
    ------
    InvalidValueError
        For what an estimator has no parameter for.
    """
    network, descent = recipe.network, recipe.descent
    _refuse(recipe, classifies)
    own = (
        {"label_smoothing": network.label_smoothing}
        if classifies
        else {"loss": "squared_error" if network.loss == "auto" else network.loss}
    )
    return {
        **own,
        "hidden_layer_sizes": tuple(network.layers),
        "activation": network.activation,
        "initializer": network.initializer,
        "normalization": network.normalize,
        "residual": network.residual,
        "dropout": network.dropout,
        # Without options it would be scikit-learn's, with its epsilon before the correction.
        "solver": "adam()" if descent.rule == "adam" else descent.rule,
        "alpha": descent.l2,
        "l1": descent.l1,
        "weight_decay": descent.weight_decay,
        "batch_size": descent.batch,
        "learning_rate": descent.chosen_schedule,
        "learning_rate_init": descent.rate,
        "warmup": descent.warmup,
        "clip_norm": descent.clip_norm,
        "clip_value": descent.clip_value,
        "max_iter": descent.epochs,
        "shuffle": descent.shuffle,
        "random_state": descent.seed,
        "tol": descent.tolerance,
        "early_stopping": descent.validation > 0,
        "validation_fraction": descent.validation or 0.1,
        "n_iter_no_change": np.inf if descent.patience is None else descent.patience,
        "dtype": descent.dtype,
    }


def _refuse(recipe: Recipe, classifies: bool) -> None:
    """Raise InvalidValueError for what an estimator has no parameter for."""
    network, descent = recipe.network, recipe.descent
    left = [name for name in _NO_COUNTERPART if getattr(descent, name) is not None]
    left += [name for name in ("rule", "schedule") if callable(getattr(descent, name))]
    left += ["epochs (None)"] if descent.epochs is None else []
    scales = network.scaling not in ("auto", "none")
    left += [f"scaling={network.scaling!r}"] if scales else []
    left += ["output_activation"] if network.output_activation != "auto" else []
    if classifies:
        left += ["loss"] if network.loss != "auto" else []
    elif network.loss != "auto" and choose("loss", network.loss).name not in REGRESSION_LOSSES:
        left += ["loss"]
    if left:
        hint = f"; table_pipeline(estimator, scaling={network.scaling!r}) scales" if scales else ""
        raise InvalidValueError(
            f"from_recipe: an estimator has no parameter for {', '.join(left)} of this recipe; "
            f"edit the recipe, or train it with descend{hint}"
        )
