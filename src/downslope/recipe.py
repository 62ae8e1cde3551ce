"""Recipes: what to train and how.

A `Recipe` is a `Network` (the layers and the loss) and a `Descent` (how theta moves). It goes to
TOML and JSON and back without loss, but for a rule or a schedule given as a function.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from downslope.errors import InvalidTypeError, InvalidValueError, nearest
from downslope.files import as_path, read_bytes
from downslope.parts import Descent, Network, one_of


@dataclass(frozen=True)
class Recipe:
    """What to train and how: a network and a descent.

    Raises
    ------
    InvalidTypeError
        For parts that are no network and no descent.

    Examples
    --------
    >>> recipe = Recipe(Network([8]), Descent(rule="gd", batch=1))
    >>> Recipe.from_toml(recipe.to_toml()) == recipe
    True
    >>> recipe.edit(rule="adam", layers=[16]).network.layers
    (16,)
    """

    network: Network = field(default_factory=Network)
    descent: Descent = field(default_factory=Descent)

    def __post_init__(self) -> None:
        for name, kind in (("network", Network), ("descent", Descent)):
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise InvalidTypeError(
                    f"Recipe: {name} takes a {kind.__name__}, as Recipe(Network([8]), "
                    f"Descent(epochs=10)); got {value!r}"
                )

    def edit(self, **changes: Any) -> Recipe:
        """Give this recipe with some fields of its network or descent changed.

        Raises
        ------
        InvalidValueError
            For a field that neither has.
        """
        parts: dict[str, dict[str, Any]] = {"network": {}, "descent": {}}
        for name, value in changes.items():
            parts[field_owner(name)][name] = value
        return Recipe(
            dataclasses.replace(self.network, **parts["network"]),
            dataclasses.replace(self.descent, **parts["descent"]),
        )

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Give the recipe as plain dictionaries, settings at their defaults included.

        Raises
        ------
        InvalidValueError
            If the rule or the schedule is a function, which no file can hold.
        """
        for name, example in (("rule", "adam"), ("schedule", "constant")):
            if callable(getattr(self.descent, name)):
                raise InvalidValueError(
                    f"Recipe: {name} is a function of your own, which a file cannot hold; write "
                    f"the recipe with a name, as edit({name}={example!r}), and give the function "
                    f"in Python"
                )
        return {
            part: {
                item.name: list(value) if isinstance(value, tuple) else value
                for item in dataclasses.fields(owner)
                if (value := getattr(owner, item.name)) is not None or item.default is not None
            }
            for part, owner in (("network", self.network), ("descent", self.descent))
        }

    @classmethod
    def from_dict(cls, parts: Mapping[str, Mapping[str, Any]]) -> Recipe:
        """Read a recipe from dictionaries; what is left out takes its default.

        Raises
        ------
        InvalidValueError
            For an unknown part or field, with the nearest ones, or a value outside what a field
            allows.
        InvalidTypeError
            For parts that are no mappings, or a value of a kind that a field does not allow.
        """
        if not isinstance(parts, Mapping):
            raise InvalidTypeError(f"Recipe: takes the parts network and descent; got {parts!r}")
        for part in parts:
            one_of("Recipe", "part", part, ("network", "descent"))
            if not isinstance(parts[part], Mapping):
                raise InvalidTypeError(f"Recipe: [{part}] takes fields; got {parts[part]!r}")
        for part, owner in (("network", Network), ("descent", Descent)):
            known = [item.name for item in dataclasses.fields(owner)]
            for name in parts.get(part, {}):
                one_of("Recipe", f"field of [{part}]", name, known)
        return cls(
            Network(**parts.get("network", {})), Descent(**_unbound(parts.get("descent", {})))
        )

    def to_toml(self) -> str:
        """Write the recipe as TOML."""
        lines = []
        for part, values in self.to_dict().items():
            lines.append(f"[{part}]")
            lines += [
                f"{name} = {json.dumps('none' if value is None else value)}"
                for name, value in values.items()
            ]
            lines.append("")
        return "\n".join(lines)

    @classmethod
    def from_toml(cls, text: str) -> Recipe:
        """Read a recipe from TOML.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            If it is no TOML, or no recipe (see `from_dict`).
        """
        if not isinstance(text, str):
            raise InvalidTypeError(
                f"Recipe: from_toml takes text; got {text!r}: decode bytes, or read a file by "
                "Recipe.read"
            )
        try:
            parts = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InvalidValueError(f"Recipe: not TOML: {error}") from None
        return cls.from_dict(parts)

    @classmethod
    def read(cls, path: str | Path) -> Recipe:
        """Read a recipe from a TOML or JSON file.

        Raises
        ------
        MissingFileError
            If there is no such file.
        UnreadableError
            If it cannot be read.
        InvalidValueError, InvalidTypeError
            If it is no recipe (see `from_dict`).
        """
        path = as_path("Recipe.read", path)
        try:
            text = read_bytes(path).decode()
        except UnicodeDecodeError:
            raise InvalidValueError(f"Recipe: {path.name} is not text in UTF-8") from None
        if path.suffix == ".json":
            try:
                return cls.from_dict(json.loads(text))
            except json.JSONDecodeError as error:
                raise InvalidValueError(f"Recipe: {path.name} is not JSON: {error}") from None
        return cls.from_toml(text)


def check_recipe(owner: str, value: object) -> Recipe:
    """Check that what was given is a recipe; owner: whom it was given to.

    Raises
    ------
    InvalidTypeError
        If it is none: it says how to make one of what was given.

    Examples
    --------
    >>> check_recipe("descend", "recipe.toml")
    Traceback (most recent call last):
    downslope.errors.InvalidTypeError: descend takes a Recipe, got 'recipe.toml': read one from a...
    """
    if isinstance(value, Recipe):
        return value
    if isinstance(value, (str, Path)):
        how = f"read one from a file by Recipe.read({str(value)!r})"
    elif isinstance(value, Mapping):
        how = "make one of dictionaries by Recipe.from_dict"
    else:
        how = "make one of its two parts, as Recipe(Network([8]), Descent(epochs=10))"
    raise InvalidTypeError(f"{owner} takes a Recipe, got {value!r}: {how}")


def _unbound(descent: Mapping[str, Any]) -> dict[str, Any]:
    """Read "none", which TOML has no word for, as None."""
    return {name: None if value == "none" else value for name, value in descent.items()}


def field_owner(name: str) -> Literal["network", "descent"]:
    """Say whether a field belongs to the network or to the descent.

    >>> field_owner("dropout")
    'network'
    """
    owners: dict[str, Literal["network", "descent"]] = {}
    owners.update({item.name: "network" for item in dataclasses.fields(Network)})
    owners.update({item.name: "descent" for item in dataclasses.fields(Descent)})
    if name not in owners:
        raise InvalidValueError(f"Recipe: no field {name!r}: {nearest(name, owners)}")
    return owners[name]
