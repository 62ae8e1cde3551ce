"""Whole numbers: Python's and NumPy's alike, and what is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from downslope.counts import LARGEST, whole_number
from downslope.errors import InvalidTypeError, InvalidValueError


@pytest.mark.parametrize("kind", [int, np.int64, np.int8, np.uint16])
def test_a_whole_number_is_one_of_python_or_numpy(kind: Any) -> None:
    found = whole_number("rows", kind(7), 1)
    assert found == 7
    assert type(found) is int


@pytest.mark.parametrize("value", [True, np.True_, 2.0, np.float64(2), "2", None, [2], 1j])
def test_what_is_no_whole_number(value: Any) -> None:
    with pytest.raises(InvalidTypeError, match=r"^rows takes a whole number; got ") as refusal:
        whole_number("rows", value)
    assert repr(value) in str(refusal.value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (0, "rows must be at least 1; got 0"),
        (np.int64(-3), "rows must be at least 1; got -3"),
        (LARGEST + 1, f"rows must be at most {LARGEST}; got {LARGEST + 1}"),
        (np.uint64(LARGEST + 1), f"rows must be at most {LARGEST}; got {LARGEST + 1}"),
    ],
)
def test_outside_of_its_range(value: Any, says: str) -> None:
    with pytest.raises(InvalidValueError, match=f"^{says}$"):
        whole_number("rows", value, 1)


def test_a_range_with_both_ends_is_said_with_its_reason() -> None:
    with pytest.raises(InvalidValueError, match=r"^row must lie in 0 to 4, the last row; got 5$"):
        whole_number("row", 5, 0, 4, why=", the last row")
