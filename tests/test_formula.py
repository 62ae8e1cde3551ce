"""Formulas are read as Python's arithmetic has it, and nothing hostile gets through."""

from __future__ import annotations

import ast
import math
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from downslope.errors import DownslopeError, InvalidTypeError, InvalidValueError
from downslope.formula import BITS, DEEPEST, LONGEST, TERMS, read, terms
from downslope.functions import of_formula

NAMES: dict[str, Any] = {
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "atan": math.atan, "sinh": math.sinh,
    "cosh": math.cosh, "tanh": math.tanh, "exp": math.exp, "log": math.log, "sqrt": math.sqrt,
    "abs": abs, "pi": math.pi, "e": math.e,
}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "x", "-x**2", "2**-x", "x**2**0.5", "(x + y)/2 - x/y/2", "-x + -y - -x", "3 - 2 - x",
        "x^3", "1.5e-1*x + .5*x + 2.", "sin(x)*cos(y) + tan(x/9) + atan(y)",
        "exp(-x)*log(x + 3) + sqrt(y)*abs(x - y)", "sinh(x) - cosh(y) + tanh(x*y)",
        "pi*x + e**x", "x1 + x_2*w10", " x\t+  1 ", "1/3*x + 2/7", "x**(1/3)", "2**0.5*x + 2**3",
        "abs(log(x) - y)*abs(-x)",
    ],
)  # fmt: skip
def test_a_formula_means_what_it_means_in_python(text: str) -> None:
    formula = read(text)
    values = dict(zip(formula.variables, (1.25, 0.5, 2.0), strict=False))
    expected = eval(text.strip().replace("^", "**"), {}, {**NAMES, **values})
    got = of_formula(formula).value([values[name] for name in formula.variables])
    assert got == pytest.approx(expected, rel=1e-14)


def test_variables_come_in_the_order_of_their_names_and_numbers() -> None:
    assert read("y*x10 + x2 - w + x").variables == ("w", "x", "x2", "x10", "y")


def test_the_derivative_is_exact() -> None:
    formula = read("x**4 - 3*x**3 + 2")
    assert str(formula.expression.diff()) == "4*x**3 - 9*x**2"


def test_an_absolute_value_has_the_slope_of_its_side_and_no_curvature() -> None:
    function = of_formula(read("abs(log(x)) + 3*abs(y)"))
    np.testing.assert_allclose(function.gradient([0.5, -2]), [-2, -3])
    np.testing.assert_allclose(function.hessian(np.array([0.5, -2])), [[4, 0], [0, 0]])
    assert function.derivative_texts()[1] == "3*sign(y)"
    assert function.has_exact_hessian


@pytest.mark.parametrize(
    ("text", "said", "at"),
    [
        ("__import__('os').system('ls')", "has no place", 11),
        ("__import__(x)", "unknown name '__import__'", 0),
        ("x.__class__", "'.' has no place", 1),
        ("x + (1).real", "'.' has no place", 7),
        ("foo + x", "unknown name 'foo'", 0),
        ("x + sni(x)", "did you mean 'sin'", 4),
        ("lambda x: x", "has no place", 8),
        ("x if y else z", "follows without an operator", 2),
        ("[x]", "has no place", 0),
        ("x; y", "has no place", 1),
        ("x\n+1", "has no place", 1),
        ("x + \x1b[31m", "has no place", 4),
        ("π*x", "has no place", 0),
        ("x + ١", "has no place", 4),
        ("3x", r"write \* for a product", 1),
        ("x y", r"write \* for a product", 2),
        ("(x)(y)", r"write \* for a product", 3),
        ("sin x", r"write sin\(...\)", 0),
        ("x + sin", r"write sin\(...\)", 4),
        ("x + (y", "not closed", 4),
        ("2*(x + 3", "not closed", 2),
        ("cos(x + (y)", "not closed", 3),
        ("(x + y 3)", "follows without an operator", 7),
        ("x)", "no opening parenthesis", 1),
        ("", "ends too early", 0),
        ("x +", "ends too early", 3),
        ("* x", "stands where", 0),
        ("x ** * 2", "stands where", 5),
        ("1 + 2", "has no variable", 0),
        ("9**9**9**9*x", "no finite real number", 4),
        ("x**1001", "power", 1),
        ("x**-1001", "power", 1),
        ("(x**100)**100", "power", 8),
        ("x + ((2*x)**500)**500", "power", 16),
        ("x*10**300*10**300", "too large", 0),
        ("(pi/x)**1000", "too large", 6),
        ("(-2)**x", "not real", 4),
        ("x + tan(-1)**(1/x)", "not real", 11),
        ("x*1e999", "largest number", 2),
        ("exp(exp(exp(100))) + x", "no finite real number", 4),
        ("sqrt(-1)*x", "no finite real number", 0),
        ("x + (-8)**(1/3)", "no finite real number", 8),
        ("x + log(0)", "no finite real number", 4),
        ("x/0", "no finite real number", 1),
        ("x + 1/(y - y)", "no finite real number", 5),
        ("+" * 500 + "x", "operations|nested deeper", None),
        ("-" * 500 + "x", "nested deeper", None),
        ("(" * 900 + "x" + ")" * 900, "nested deeper", None),
        ("sin(" * 300 + "x" + ")" * 300, "nested deeper", None),
        ("x" + "**x" * 400, "nested deeper", None),
        ("x" + "+x" * 400, "at most 300 operations", None),
    ],
)
def test_what_is_no_formula_is_refused_at_its_place(text: str, said: str, at: int | None) -> None:
    begun = time.perf_counter()
    with pytest.raises(InvalidValueError, match=said) as caught:
        read(text)
    assert time.perf_counter() - begun < 5
    lines = str(caught.value).split("\n")
    assert len(lines) == 3
    assert all(sign.isprintable() for line in lines for sign in line)
    if at is not None:
        assert lines[2] == " " * (4 + at) + "^"


def test_the_arrow_points_into_the_piece_of_a_long_formula() -> None:
    text = "+".join(["x"] * 60) + "+?" + "+x" * 60
    with pytest.raises(InvalidValueError) as caught:
        read(text)
    _, shown, arrow = str(caught.value).split("\n")
    assert shown[arrow.index("^")] == "?"
    assert len(shown) < 90


def test_a_formula_is_a_text_of_bounded_length() -> None:
    with pytest.raises(InvalidTypeError, match="got 3"):
        read(3)
    with pytest.raises(InvalidValueError, match=f"{LONGEST:,} characters; got {LONGEST + 1:,}"):
        read("x" + " " * LONGEST)


@pytest.mark.parametrize(
    "text",
    [
        "*".join(f"(x+{k})" for k in range(149)),
        "*".join(f"sin(x+{k})" for k in range(98)),
        "x" + "**x" * (DEEPEST - 5),
        "+".join(f"x/{k}" for k in range(1, 149)),
        "abs(" * 25 + "x - y" + ")" * 25,
        "(" + "+".join(f"{k}*x**{k}" for k in range(1, 60)) + ")**16",
        "sqrt(" * 25 + "x**2 + y" + ")" * 25,
        "sin(atan(" * 13 + "x" + "))" * 13,
        # What SymPy by itself takes to hundreds of digits, or to bits by the hundred thousand.
        "exp(100000*log(2*x)) + e**(100000*log(2*x))",
        (
            "e/(2*tanh(tan(cosh(pi**pi)**-0.5/((-((999999999999999 + 1e-300)**(-x)) - 1e300) - "
            "(-log(0.5 - x))**100))))"
        ),
        # What becomes a delta function there, or a whole number that NumPy cannot take.
        "((cos(2*x))**2)**(1000 + 1e-300 - 2e15)",
        "((999999999999999**2)**(-y)/(w*-1)**0.5)**(-(y*e)**(pi + 0.5))",
    ],
)
def test_the_largest_formulas_take_seconds_at_most(text: str) -> None:
    begun, refused = time.perf_counter(), ""
    try:
        function = of_formula(read(text))
        function.hessian(np.full(len(function.variables), 0.7))
    except InvalidValueError as error:
        refused = str(error)
    assert not refused or "terms" in refused or "too large" in refused or "power" in refused
    assert time.perf_counter() - begun < 20


def test_terms_are_counted_without_writing_them_out() -> None:
    expression = read("x + 1").expression
    for _ in range(60):
        expression = expression.func(expression, expression**2)
    assert terms([expression]) == TERMS + 1


PIECES = st.lists(
    st.sampled_from(
        "x y w1 2 0.5 1e3 999999999999 + - * / ** ^ ( ) sin( exp( log( sqrt( abs( pi e "
        "__import__ . , [ ] lambda x.y 1e400 0 -1 1000 ' \\ é".split(" ")
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=5000)
@given(PIECES.map("".join) | st.text(max_size=60))
def test_any_text_is_read_or_refused_in_bounded_time(text: str) -> None:
    refused = ""
    try:
        formula = read(text)
    except DownslopeError as error:
        refused = str(error)
    if refused:
        assert refused.startswith("formula: ")
        return
    assert formula.variables
    # What was read is arithmetic in Python too, and has no attribute, index or string in it.
    tree = ast.parse(text.strip().replace("^", "**"), mode="eval")
    allowed = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Call, ast.Name, ast.Constant, ast.Load,
               ast.operator, ast.unaryop)  # fmt: skip
    assert all(isinstance(node, allowed) for node in ast.walk(tree))
    for number in formula.expression.atoms():
        if number.is_Integer:
            assert int(number).bit_length() <= BITS


SOUND = st.recursive(
    st.sampled_from(["x", "y", "2", "0.5", "pi"]),
    lambda inner: (
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda t: f"({''.join(t)})")
        | st.tuples(st.sampled_from(["sin", "cos", "tanh", "atan"]), inner).map(
            lambda t: f"{t[0]}({t[1]})"
        )
        | inner.map(lambda each: f"-{each}")
        | inner.map(lambda each: f"({each})**2")
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=5000)
@given(SOUND)
def test_values_are_pythons_and_gradients_are_the_differences(text: str) -> None:
    function = of_formula(read(f"{text} + 0*x + 0*y + x + y"))
    theta = np.array([0.7, -0.4])
    expected = eval(text, {}, {**NAMES, "x": 0.7, "y": -0.4}) + 0.3
    assert function.value(theta) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    for k in range(2):
        step = np.zeros(2)
        step[k] = 1e-6
        difference = (function.value(theta + step) - function.value(theta - step)) / 2e-6
        scale = 1 + abs(difference) + abs(expected)
        assert function.gradient(theta)[k] == pytest.approx(difference, abs=1e-4 * scale)


@pytest.mark.parametrize(
    "text",
    ["9**9**9**9*x", "(" * 900 + "x", "((x**99)**9)**9", "x" + "**x" * 25, "(2*x)**1000 + 10**999"],
)
def test_hostile_input_takes_little_memory(text: str) -> None:
    read("x")  # SymPy is loaded
    tracemalloc.start()
    refused = ""
    try:
        of_formula(read(text))
    except InvalidValueError as error:
        refused = str(error)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 50e6
    assert bool(refused) == ("**x**x" not in text)
