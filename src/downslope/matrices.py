"""Theta as scikit-learn shows it: a matrix and a vector for each layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope.errors import InvalidValueError
from downslope.kernels import plan as kinds
from downslope.network import BuiltNetwork

Array = npt.NDArray[Any]


class Views(list[Array]):
    """A list of views of theta: an entry that is assigned is written into theta."""

    def __setitem__(self, index: Any, value: Any) -> None:
        """Write a value into the view, or values into several."""
        views = self[index] if isinstance(index, slice) else [self[index]]
        for view, each in zip(views, value if isinstance(index, slice) else [value], strict=True):
            each = np.asarray(each)
            if each.shape != view.shape:
                raise InvalidValueError(
                    f"an array of shape {view.shape} is written here; got one of {each.shape}"
                )
            view[...] = each

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


def views_of(built: BuiltNetwork, kinds_of: tuple[int, ...]) -> Views:
    """Give each layer's view of theta of one of some kinds, the first of them that it has."""
    found: dict[int, Array] = {}
    for kind in kinds_of:
        for part in built.layout.parts:
            if part.kind == kind:
                view = built.theta[part.start : part.stop].reshape(part.shape)
                found.setdefault(part.layer, view)
    return Views(found[layer] for layer in sorted(found))


def draw(built: BuiltNetwork, random_state: np.random.RandomState) -> None:
    """Draw weights and biases as scikit-learn does, by the same numbers.

    w, b ~ U(-a, a), a = sqrt(6 / (in + out)), 2 in the place of 6 for the sigmoid (Glorot and
    Bengio 2010). Normalized layers have no bias of their own to draw.
    """
    activations = built.network.activations()
    for part in built.layout.parts:
        if part.kind not in (kinds.WEIGHT, kinds.BIAS, kinds.PROJECTION):
            continue
        layer = built.layout.plan[part.layer]
        chosen = activations[min(part.layer, len(activations) - 1)] if activations else None
        factor = 2.0 if chosen is not None and chosen.name == "sigmoid" else 6.0
        bound = np.sqrt(factor / (int(layer["inputs"]) + int(layer["units"])))
        built.theta[part.start : part.stop] = random_state.uniform(
            -bound, bound, part.stop - part.start
        )


def copy_into(built: BuiltNetwork, parts: Mapping[str, Array], what: str) -> None:
    """Copy parts of theta by their names; all must be there and fit."""
    for name, view in built.parts().items():
        found = parts.get(name)
        if found is None or found.shape != view.shape:
            shown = "none" if found is None else f"one of shape {found.shape}"
            raise InvalidValueError(
                f"{what}: {name} must be an array of shape {view.shape}, by the estimator's "
                f"parameters; got {shown}"
            )
        view[...] = found
