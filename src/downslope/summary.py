"""How the summary of a run is built, which anyone may have written to or torn."""

from __future__ import annotations

import math
import reprlib
from typing import Any

import numpy as np


def _is_text(plain: Any) -> bool:
    return isinstance(plain, str)


def _is_count(plain: Any) -> bool:
    return type(plain) is int and plain >= 0


def _is_number(plain: Any) -> bool:
    """Say whether it is a finite number, or null, which stands for one that is not finite."""
    return plain is None or (type(plain) in (int, float) and math.isfinite(plain))


_CURVES = ("losses", "learning_rates", "elapsed", "validation_losses", "validation_scores")
"""Lists of a history with an entry for each epoch; the last two are empty if no row is held out."""

_SUMMARY = {
    "data": {
        "name": _is_text,
        **dict.fromkeys(("rows", "columns", "training", "held_out"), _is_count),
    },
    "stopped": _is_text,
    "history": {
        **{name: [_is_number] for name in (*_CURVES, "last_losses")},
        "gradient_norm": _is_number,
        "steps": _is_count,
        "seconds": _is_number,
    },
}

_SCORES = {"score": _is_number, "trivial": _is_number}

_PREDICTIONS = {
    "rows": _is_text,
    "classes": [_is_text],
    "counts": [[_is_count]],
    "pairs": [[[_is_number]]],
}


def check_summary(plain: Any, task: str) -> None:
    """Check what `Account.summary` gave, after it was read from JSON.

    task: that of the model it lies beside.

    Raises
    ------
    ValueError, KeyError, TypeError, OverflowError
        If it is built otherwise: it says which part.
    """
    _check(plain, _SUMMARY, "summary")
    _check(plain["scores"], dict.fromkeys(plain["scores"], _SCORES), "scores")
    lengths = [len(plain["history"][name]) for name in _CURVES]
    epochs, held_out = lengths[0], lengths[-1]
    if lengths != [epochs] * 3 + [held_out] * 2 or held_out not in (0, epochs):
        raise ValueError(f"history has lists of different lengths: {lengths}")
    if plain["predictions"] is not None:
        _check(plain["predictions"], _PREDICTIONS, "predictions")
        _check_predictions(plain["predictions"], task)


def _check_predictions(plain: dict[str, Any], task: str) -> None:
    """Raise ValueError where predictions have not the shape that `Predictions` says."""
    if task == "regression":
        name, fits = "pairs", np.shape(plain["pairs"])[2:] == (2,)
    else:
        classes = len(plain["classes"])
        wanted = (classes, 4 if task == "multilabel" else classes)
        name, fits = "counts", np.shape(plain["counts"]) == wanted
    if not fits:
        raise ValueError(f"{name} of a {task} cannot have the shape {np.shape(plain[name])}")


def _check(plain: Any, shape: Any, name: str) -> None:
    """Raise ValueError or KeyError where plain data is not built as a shape says.

    shape: names with their shapes, a list with the shape of every entry, or what says of a value
    whether it is right. name: of `plain`.
    """
    if isinstance(shape, dict) and isinstance(plain, dict):
        for part in shape:
            _check(plain[part], shape[part], part)
    elif isinstance(shape, list) and isinstance(plain, list):
        for each in plain:
            _check(each, shape[0], name)
    elif not callable(shape) or not shape(plain):
        raise ValueError(f"{name} cannot be {reprlib.repr(plain)}")
