"""The fields of a recipe as options of a command."""

from __future__ import annotations

from dataclasses import dataclass

from cyclopts import Parameter

from downslope.catalogue import split_list
from downslope.errors import InvalidValueError
from downslope.recipe import Recipe


@Parameter(name="*")
@dataclass(frozen=True)
class Settings:
    """Fields of the recipe, as options; what is not given stays as in --recipe or the default.

    Parameters
    ----------
    layers
        Units of the hidden layers: 128,64. "none" for a linear model.
    activation
        Of the hidden layers: one for all, or one for each, with commas.
    initializer
        Of the weights, likewise.
    normalize
        none, batch or layer.
    residual
        Add each hidden layer's input to its output.
    dropout
        Share of hidden outputs dropped in training: one for all, or one for each.
    output_activation
        Of the output layer; auto goes by the task.
    loss
        auto goes by the task.
    label_smoothing
        Share of a class target spread over all classes.
    scaling
        Of features and a regression target: auto, standard, squash or none.
    task
        auto, regression, binary, multiclass or multilabel. auto takes texts, and whole numbers of
        at most 20 values with two rows or more for each, as classes, other numbers as a regression.
    batch
        Rows of a step, or "full".
    rule
        How theta moves given the gradient: see `downslope rules`.
    learning_rate
        By default the rule's usual one.
    schedule
        Of the learning rate: see `downslope schedules`; auto is cosine, and constant where only
        time bounds the run.
    warmup
        Steps of linear rise before the schedule.
    clip_norm
        Bound on the norm of the gradient.
    clip_value
        Bound on each entry of the gradient.
    l1
        Penalty on absolute weights.
    l2
        Penalty on squared weights, scikit-learn's alpha.
    weight_decay
        Decoupled weight decay.
    epochs
        Bound on passes over the rows, or "none".
    steps
        Bound on steps.
    seconds
        Bound on time, in seconds; the only one with --epochs none.
    validation
        Share of rows held out.
    patience
        Epochs without improvement before stopping.
    tolerance
        What counts as an improvement.
    gradient_tolerance
        Stop when the gradient's norm falls below.
    target_loss
        Stop when the training loss comes down to this.
    target_score
        Stop when the held-out score comes up to this.
    seed
        Of all that is random.
    shuffle
        Shuffle the rows each epoch.
    dtype
        float32 or float64.
    """

    layers: str | None = None
    activation: str | None = None
    initializer: str | None = None
    normalize: str | None = None
    residual: bool | None = None
    dropout: str | None = None
    output_activation: str | None = None
    loss: str | None = None
    label_smoothing: float | None = None
    scaling: str | None = None
    task: str | None = None
    batch: str | None = None
    rule: str | None = None
    learning_rate: float | None = None
    schedule: str | None = None
    warmup: int | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    l1: float | None = None
    l2: float | None = None
    weight_decay: float | None = None
    epochs: str | None = None
    steps: int | None = None
    seconds: float | None = None
    validation: float | None = None
    patience: int | None = None
    tolerance: float | None = None
    gradient_tolerance: float | None = None
    target_loss: float | None = None
    target_score: float | None = None
    seed: int | None = None
    shuffle: bool | None = None
    dtype: str | None = None

    def edit(self, recipe: Recipe) -> Recipe:
        """Give the recipe with the fields that were set."""
        changes = {name: value for name, value in vars(self).items() if value is not None}
        readers = {
            "layers": _widths, "activation": _several, "initializer": _several,
            "dropout": _rates, "batch": _batch, "epochs": _epochs,
        }  # fmt: skip
        for name in changes.keys() & readers.keys():
            changes[name] = readers[name](changes[name])
        return recipe.edit(**changes)


UNCHANGED = Settings()
"""No field set."""


def _whole(text: str, option: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidValueError(f"{option} takes whole numbers; got {text!r}") from None


def _widths(text: str) -> tuple[int, ...]:
    """Read the widths of layers: 128,64; none."""
    if text.strip().lower() in ("", "none"):
        return ()
    return tuple(_whole(part, "--layers") for part in text.split(","))


def _several(text: str) -> str | tuple[str, ...]:
    """Read one name or several, with commas outside of parentheses."""
    parts = split_list(text)
    return parts[0] if len(parts) == 1 else tuple(parts)


def _rates(text: str) -> float | tuple[float, ...]:
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InvalidValueError(f"--dropout takes numbers; got {text!r}") from None
    return rates[0] if len(rates) == 1 else rates


def _batch(text: str) -> int | str:
    return "full" if text == "full" else _whole(text, "--batch")


def _epochs(text: str) -> int | None:
    return None if text == "none" else _whole(text, "--epochs")
