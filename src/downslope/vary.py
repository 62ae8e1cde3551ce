"""What a comparison varies: fields of a recipe and their values; all combinations are variants."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from downslope.catalogue import split_list
from downslope.errors import InvalidTypeError, InvalidValueError
from downslope.parts import Descent, Network
from downslope.recipe import Recipe, field_owner

MOST: Final = 10_000
"""Variants of one comparison: a product larger than this is a slip of the pen."""

_TYPES: Final = {
    item.name: str(item.type) for owner in (Network, Descent) for item in dataclasses.fields(owner)
}
"""By field: its annotation, which says how its text is read."""

_SEPARATORS: Final = {"layers": "x", "activation": "/", "initializer": "/", "dropout": "/"}
"""Between the values of the layers, in a field that has one for each."""


@dataclass(frozen=True)
class Variant:
    """One of the recipes that are compared.

    Attributes
    ----------
    label
        The settings as text: "rule=adam batch=32".
    settings
        The varied fields with their values.
    recipe
    """

    label: str
    settings: Mapping[str, Any]
    recipe: Recipe


def read_vary(texts: Iterable[str]) -> dict[str, list[Any]]:
    """Read what the command line is given: a field, "=", and its values with commas between.

    Values are written as in a recipe. "none", "full", "true" and "false" are what they say;
    "log:1e-4:1:9" stands for 9 numbers from 1e-4 to 1, evenly apart by their logarithms, and
    "lin:0:0.5:6" for 6, evenly apart. Between the layers of one value stands "x" in ``layers`` and
    "/" in the other fields: "layers=64x64,128", "activation=relu/tanh,elu".

    Raises
    ------
    InvalidValueError
        For a text without "=", an unknown field, one that is given twice, or a bad value.

    Examples
    --------
    >>> read_vary(["layers=64x64,none", "batch=1,full", "learning_rate=log:0.01:1:3"])
    {'layers': [(64, 64), ()], 'batch': [1, 'full'], 'learning_rate': [0.01, 0.1, 1.0]}
    """
    vary: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise InvalidValueError(
                f"vary takes a field and its values, as batch=1,32,full; got {text!r}"
            )
        if name in vary:
            raise InvalidValueError(f"vary: {name} is given twice; give all its values at once")
        vary[name] = read_values(name, values)
    return vary


def read_values(name: str, text: str) -> list[Any]:
    """Read the values of one field from text.

    Raises
    ------
    InvalidValueError
        For an unknown field, an empty value, or text that is no value of the field.

    Examples
    --------
    >>> read_values("batch", "log:1:1000:4,full")
    [1, 10, 100, 1000, 'full']
    """
    field_owner(name)
    values: list[Any] = []
    for part in split_list(text):
        if not part:
            raise InvalidValueError(f"vary: {name} has an empty value; got {text!r}")
        kind = part.partition(":")[0]
        values += _range(name, part) if kind in ("log", "lin") else [_value(name, part)]
    return values


def _range(name: str, text: str) -> list[float]:
    """Read log:low:high:count or lin:low:high:count."""
    kind, *numbers = text.split(":")
    if not re.search("int|float", _TYPES[name]):
        raise InvalidValueError(f"vary: {name} takes no numbers, so no range either; got {text!r}")
    try:
        low, high, count = float(numbers[0]), float(numbers[1]), int(numbers[2])
        whole = len(numbers) == 3 and count >= 2 and math.isfinite(low) and math.isfinite(high)
    except (ValueError, IndexError):
        whole = False
    if not whole or count > MOST or (kind == "log" and not min(low, high) > 0):
        raise InvalidValueError(
            f"vary: a range is {kind}:FROM:TO:COUNT, as log:1e-4:1:9, of 2 to {MOST} numbers"
            f"{', FROM and TO above 0' if kind == 'log' else ''}; {name} got {text!r}"
        )
    spaced = (np.geomspace if kind == "log" else np.linspace)(low, high, count)
    if "int" in _TYPES[name]:
        return list(dict.fromkeys(round(each) for each in spaced.tolist()))
    # Four digits: then the label says exactly what was run.
    return [float(f"{each:.4g}") for each in spaced.tolist()]


def _value(name: str, text: str) -> Any:
    """Read one value by the type of its field."""
    low = text.lower()
    if name in _SEPARATORS:
        return _by_layer(name, text)
    if low == "none" and "None" in _TYPES[name]:
        return None
    if "bool" in _TYPES[name]:
        if low not in ("true", "false"):
            raise InvalidValueError(f"vary: {name} takes true and false; got {text!r}")
        return low == "true"
    if low == "full" and name == "batch":
        return low
    if "int" in _TYPES[name]:
        return _number(name, text, int)
    if "float" in _TYPES[name]:
        return _number(name, text, float)
    return text


def _by_layer(name: str, text: str) -> Any:
    """Read a value for all layers, or one for each."""
    if name == "layers" and text.lower() == "none":
        return ()
    parts = [part.strip() for part in text.split(_SEPARATORS[name])]
    if name == "layers":
        return tuple(_number(name, part, int) for part in parts)
    values = [_number(name, part, float) if name == "dropout" else part for part in parts]
    return values[0] if len(values) == 1 else tuple(values)


def _number(name: str, text: str, kind: Callable[[str], float]) -> float:
    try:
        return kind(text)
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise InvalidValueError(f"vary: {name} takes {what}; got {text!r}") from None


def show_value(name: str, value: Any) -> str:
    """Write a value as `read_values` reads it.

    >>> show_value("layers", (64, 64)), show_value("learning_rate", 0.001), show_value("l1", None)
    ('64x64', '0.001', 'none')
    """
    if name == "layers" and not value:
        return "none"
    if isinstance(value, (tuple, list)):
        return _SEPARATORS.get(name, "/").join(show_value("", each) for each in value)
    if isinstance(value, bool):
        return str(value).lower()
    if callable(value):
        return str(getattr(value, "__name__", type(value).__name__))
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def combine(recipe: Recipe, vary: Mapping[str, Any]) -> list[Variant]:
    """Give a variant for every combination of the values.

    Parameters
    ----------
    recipe
        What all variants share.
    vary
        By field: a sequence of values, or text as `read_values` reads it.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For an unknown field, no values, the same value twice, however it is written, fewer than two
        variants, more than `MOST`, or a combination that the recipe refuses: it is named.

    Examples
    --------
    >>> [each.label for each in combine(Recipe(), {"batch": [1, "full"], "rule": "gd,adam"})]
    ['batch=1 rule=gd', 'batch=1 rule=adam', 'batch=full rule=gd', 'batch=full rule=adam']
    """
    if not vary:
        raise InvalidValueError(
            "compare needs something to vary, as batch=1,32,full: a field of the recipe with its "
            "values"
        )
    lists = {name: _check_values(name, values) for name, values in vary.items()}
    total = math.prod(map(len, lists.values()))
    if total < 2:
        raise InvalidValueError(
            "vary gives a single variant, and a comparison takes two; give a second value"
        )
    if total > MOST:
        raise InvalidValueError(f"vary gives {total:,} variants; a comparison takes at most {MOST}")
    variants = [
        _variant(recipe, dict(zip(lists, values, strict=True)))
        for values in itertools.product(*lists.values())
    ]
    _refuse_twins(variants)
    return variants


def _refuse_twins(variants: Sequence[Variant]) -> None:
    """Raise InvalidValueError for two variants whose values, differently written, mean the same."""
    labels: dict[str, str] = {}
    for variant in variants:
        # By its text: a function of one's own need not be hashable.
        label = labels.setdefault(repr(variant.recipe), variant.label)
        if label != variant.label:
            raise InvalidValueError(
                f"vary: {label!r} and {variant.label!r} are the same recipe; values must differ"
            )


def _check_values(name: str, values: Any) -> list[Any]:
    field_owner(name)
    if name == "seed":
        raise InvalidValueError(
            "vary: seed is what every variant is repeated over; say how many with seeds, and the "
            "first one with the recipe's seed"
        )
    if isinstance(values, str):
        values = read_values(name, values)
    if not isinstance(values, (Sequence, np.ndarray)):
        raise InvalidTypeError(f"vary: {name} takes a list of values; got {values!r}")
    listed: list[Any] = [tuple(each) if isinstance(each, list) else each for each in values]
    if not listed:
        raise InvalidValueError(f"vary: {name} has no values; give two or more, or leave it out")
    shown = [show_value(name, each) for each in listed]
    twice = next((each for each in shown if shown.count(each) > 1), None)
    if twice is not None:
        raise InvalidValueError(f"vary: {name} has the value {twice} twice; values must differ")
    return listed


def _variant(recipe: Recipe, settings: dict[str, Any]) -> Variant:
    label = " ".join(f"{name}={show_value(name, value)}" for name, value in settings.items())
    try:
        return Variant(label, settings, recipe.edit(**settings))
    except (InvalidValueError, InvalidTypeError) as error:
        raise type(error)(f"variant {label!r}: {error}") from None
