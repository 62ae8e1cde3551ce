"""Networks whose arrays find no room in memory are refused by their widths and bytes."""

from __future__ import annotations

import numpy as np
import pytest

from downslope import Descent, Network, Recipe, datasets, descend, memory
from downslope.errors import InvalidValueError
from downslope.network import BuiltNetwork


@pytest.mark.parametrize("layers", [(10**9, 10**9), (10**18,), (10**10, 10**10)])
def test_a_theta_that_fits_nowhere_is_refused(layers: tuple[int, ...]) -> None:
    weights = sum(a * b for a, b in zip((4, *layers), (*layers, 3), strict=True))
    widths = "-".join(map(str, (4, *layers, 3)))
    says = f"Network: layers of {widths} units take arrays of at least {4 * weights:,} bytes"
    with pytest.raises(InvalidValueError, match=says):
        descend(Recipe(Network(layers)), datasets.load("iris"))


def test_what_a_descent_adds_to_theta_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    iris, theta = datasets.load("iris"), 8 * 1000 + 3
    monkeypatch.setattr(memory, "LARGE", 0)
    monkeypatch.setattr(memory, "available_memory", lambda: 4 * theta + 1000)
    BuiltNetwork(Network([1000]), inputs=4, columns=3, task="multiclass")
    with pytest.raises(InvalidValueError, match=r"4-1000-3 units .* and 33,012 are free: take na"):
        descend(Recipe(Network([1000]), Descent(batch=8)), iris)


def test_arrays_that_cannot_be_had_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise MemoryError("Unable to allocate 31.2 KiB")

    monkeypatch.setattr("downslope.network.allocate", refuse)
    with pytest.raises(InvalidValueError, match=r"32,000 bytes, which cannot be had \(Unable to"):
        BuiltNetwork(Network([1000]), inputs=4, columns=4, task="multiclass")


def test_a_small_array_does_not_ask_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> int:
        raise AssertionError("asked")

    monkeypatch.setattr(memory, "available_memory", asked)
    built = BuiltNetwork(Network([4]), inputs=2, columns=2, task="binary")
    assert built.output(np.zeros((3, 2))).shape == (3, 1)


def test_where_the_system_does_not_say_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    with memory.room_for([1, 1], memory.LARGE):
        pass
    with (
        pytest.raises(InvalidValueError, match="bytes: take narrower layers"),
        memory.room_for([1, 10**20], 10**20),
    ):
        pass
