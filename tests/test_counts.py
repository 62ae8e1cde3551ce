"""Whole and real numbers: Python's and NumPy's alike, and what is none."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from downslope.counts import LARGEST, real_number, told, whole_number, within
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


@pytest.mark.parametrize("kind", [int, float, np.int64, np.float32])
def test_a_real_number_is_one_of_python_or_numpy(kind: Any) -> None:
    found = real_number("l2", kind(3), "[0, inf)")
    assert found == 3.0
    assert type(found) is float


def test_a_number_beyond_all_floats_is_infinite() -> None:
    assert real_number("rate", Fraction(1, 4), "[0, inf)") == 0.25
    assert real_number("rate", 10**400, "[0, inf]") == math.inf
    with pytest.raises(InvalidValueError, match=r"^rate must be finite and at least 0; got -inf$"):
        real_number("rate", -(10**5000), "[0, inf)")


@pytest.mark.parametrize("value", [True, np.True_, "2", None, [2.0], 1j, np.array(2.0)])
def test_what_is_no_real_number(value: Any) -> None:
    with pytest.raises(InvalidTypeError, match=r"^l2 takes a number; got "):
        real_number("l2", value, "[0, inf)")


@pytest.mark.parametrize("value", [-np.inf, -1.0, 0.0, 0.5, 1.0, 2.0, np.inf, np.nan])
def test_an_end_beside_a_parenthesis_is_left_out(value: float) -> None:
    assert within(value, "[0, 1)") == (0 <= value < 1)
    assert within(value, "(0, 1]") == (0 < value <= 1)
    assert within(value, "(-inf, inf)") == np.isfinite(value)


def test_a_range_is_told_as_it_is_checked() -> None:
    assert told(0.0, "(0, inf)") == "be above 0"
    assert told(np.inf, "(0, inf)") == "be finite and above 0"
    assert told(np.nan, "(-inf, inf)") == "be finite"
    with pytest.raises(InvalidValueError, match=r"^share must lie in \[0, 1\), of all; got 1$"):
        real_number("share", 1, "[0, 1)", why=", of all")
