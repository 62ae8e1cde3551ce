"""What is descended where there is no network: a function of some variables, and its derivatives.

A function comes from a formula, from the gallery, or from Python with or without its gradient.
Points are arrays (points, variables), so that many places are looked at in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from downslope.differences import WIDTH, differences, second_differences
from downslope.errors import InvalidTypeError, InvalidValueError
from downslope.formula import TERMS, Formula, functions, is_real, read, terms
from downslope.gallery import GALLERY, Minimum, names_of, specimen
from downslope.kernels.jit import Doubles

Bounds: TypeAlias = tuple[tuple[float, float], ...]
"""The lowest and the highest value of each variable."""

EXACT = 1 << 53
"""The largest whole number up to which floats hold every one."""

WRONG_GRADIENT = 0.1
"""Largest difference, as a share, of a gradient that was handed in from central differences. Wrong
signs and forgotten factors are beyond it, differences over a kink mostly are not."""


@dataclass(frozen=True)
class Function:
    """A function of some variables.

    Attributes
    ----------
    name
        As it was asked for.
    variables
        Their names.
    values_and_gradients
        Of points (points, variables): the values (points,) and the gradients (points, variables).
    derivatives
        How the gradient is known: "exact", "given" or "central differences".
    formula
        None for a Python function.
    gradient_formulas
        The exact derivative by each variable, where there is a formula.
    domain
        Where pictures and random starts are; empty if that is unknown.
    start
        Where a descent starts if nobody says; empty if unknown.
    minima
        The known ones, the lowest first; empty if none is known.
    source, line
        Of a function of the gallery.
    is_convex
    noise
        Standard deviation that a descent adds to each entry of a step's gradient.
    """

    name: str
    variables: tuple[str, ...]
    values_and_gradients: Callable[[Doubles], tuple[Doubles, Doubles]]
    derivatives: str
    formula: Formula | None = None
    gradient_formulas: tuple[Any, ...] = ()
    domain: Bounds = ()
    start: tuple[float, ...] = ()
    minima: tuple[Minimum, ...] = ()
    source: str = ""
    line: str = ""
    is_convex: bool = False
    noise: float = 0.0
    _plain: Callable[[Doubles], Doubles] | None = field(default=None, repr=False)

    def values(self, points: Doubles) -> Doubles:
        """Give the values (points,) at points (points, variables)."""
        if self._plain is not None:
            return self._plain(points)
        return self.values_and_gradients(points)[0]

    def value(self, theta: Sequence[float] | Doubles) -> float:
        """Give the value at one point (variables,)."""
        return float(self.values(np.array([theta], dtype=np.float64))[0])

    def gradient(self, theta: Sequence[float] | Doubles) -> Doubles:
        """Give the gradient (variables,) at one point (variables,)."""
        return np.asarray(self.values_and_gradients(np.array([theta], dtype=np.float64))[1][0])

    def derivative_texts(self) -> list[str]:
        """Write the exact derivatives as formulas; nothing where there is no formula."""
        return [written(slope) for slope in self.gradient_formulas]

    def hessian(self, theta: Doubles) -> Doubles:
        """Give the matrix of second derivatives (variables, variables) at one point.

        Exact where there is a formula that is not too long; else by central differences of the
        gradient, or of the values where the gradient itself is by differences.
        """
        if self._exact_hessian is not None:
            with np.errstate(all="ignore"):
                rows = self._exact_hessian(*theta)
            return np.array(rows, dtype=np.float64)
        if self.derivatives == "central differences":
            return second_differences(self.values, theta)
        steps = WIDTH * np.maximum(1.0, np.abs(theta))
        ahead = self.values_and_gradients(theta + np.diag(steps))[1]
        behind = self.values_and_gradients(theta - np.diag(steps))[1]
        with np.errstate(all="ignore"):
            rows = (ahead - behind) / (2 * steps[:, None])
            return np.asarray((rows + rows.T) / 2)

    @property
    def has_exact_hessian(self) -> bool:
        """Whether `hessian` comes from the formula."""
        return self._exact_hessian is not None

    @cached_property
    def _exact_hessian(self) -> Callable[..., Any] | None:
        if self.formula is None:
            return None
        symbols = symbols_of(self.formula)
        # A product of n factors has n second derivatives of n terms in every entry.
        if terms(self.gradient_formulas) * len(symbols) > TERMS // 10:
            return None
        rows = [[slope.diff(symbol) for symbol in symbols] for slope in self.gradient_formulas]
        entries = list(chain.from_iterable(rows))
        if terms(entries) > TERMS or not all(map(is_real, entries)):
            return None
        return compiled(symbols, rows)


def of_formula(formula: Formula, name: str = "") -> Function:
    """Give the function of a formula, with its exact gradient.

    Raises
    ------
    InvalidValueError
        If its derivatives are too large to be written out.

    Examples
    --------
    >>> function = of_formula(read("x**2 + 3*y"))
    >>> function.gradient_formulas, function.gradient([2, 0])
    ((2*x, 3), array([4., 3.]))
    """
    symbols = symbols_of(formula)
    slopes = tuple(formula.expression.diff(symbol) for symbol in symbols)
    if terms([formula.expression, *slopes]) > TERMS:
        raise InvalidValueError(
            f"formula: its derivatives have more than {TERMS:,} terms; shorten it, or write it as "
            "a Python function"
        )
    if not all(map(is_real, slopes)):
        raise InvalidValueError("formula: its derivative is no real number")
    both = compiled(symbols, [formula.expression, *slopes])
    plain = compiled(symbols, [formula.expression])

    def values_and_gradients(points: Doubles) -> tuple[Doubles, Doubles]:
        with np.errstate(all="ignore"):
            value, *gradient = both(*points.T)
        values = np.empty(len(points))
        gradients = np.empty(points.shape)
        values[:] = value
        for column, slope in enumerate(gradient):
            gradients[:, column] = slope
        return values, gradients

    def values(points: Doubles) -> Doubles:
        with np.errstate(all="ignore"):
            return np.broadcast_to(np.asarray(plain(*points.T)[0], np.float64), len(points)).copy()

    return Function(
        name or formula.text, formula.variables, values_and_gradients, "exact", formula, slopes,
        _plain=values,
    )  # fmt: skip


def of_gallery(name: str, variables: int | None = None) -> Function:
    """Give a function of the gallery, for so many variables where it is for any number.

    Raises
    ------
    InvalidValueError
        For an unknown name, or a number of variables that it has not.
    """
    known = specimen(name)
    count = known.variables or (2 if variables is None else variables)
    if variables not in (None, count) or count < 1:
        raise InvalidValueError(
            f"function {known.name!r} has {_variables(count)}; got a start of {variables}"
        )
    if known.variables is None and count < 2:
        raise InvalidValueError(f"function {known.name!r} has at least 2 variables; got {count}")
    plain = of_formula(read(known.formula(count)), known.name)
    start = tuple(known.start[min(k, len(known.start) - 1)] for k in range(count))
    return Function(
        known.name, plain.variables, plain.values_and_gradients, "exact", plain.formula,
        plain.gradient_formulas, known.bounds(count), start, known.minima(count), known.source,
        known.line, known.is_convex, known.noise, plain._plain,
    )  # fmt: skip


def of_python(
    function: Callable[[Doubles], float],
    variables: int,
    gradient: Callable[[Doubles], Any] | None = None,
) -> Function:
    """Give a Python function of theta (variables,), with its gradient or without.

    Without, the gradient is by central differences: (f(w + h) - f(w - h)) / 2h, 2 calls a variable.

    Raises
    ------
    InvalidTypeError
        When it is called: if what it gives is no real number, or the gradient of another shape.
    """
    name = getattr(function, "__name__", type(function).__name__)

    def values(points: Doubles) -> Doubles:
        with np.errstate(all="ignore"):
            return np.array([_real(name, function(point.copy())) for point in points])

    def values_and_gradients(points: Doubles) -> tuple[Doubles, Doubles]:
        found = values(points)
        if gradient is None:
            return found, np.array([differences(values, point) for point in points])
        with np.errstate(all="ignore"):
            rows = [_slope(name, gradient(point.copy()), variables) for point in points]
        return found, np.array(rows)

    return Function(
        name, tuple(names_of(variables)), values_and_gradients,
        "central differences" if gradient is None else "given", _plain=values,
    )  # fmt: skip


def resolve(
    source: str | Callable[[Doubles], float] | Function,
    variables: int | None = None,
    gradient: Callable[[Doubles], Any] | None = None,
) -> Function:
    """Give the function that is meant: a formula, a name of the gallery, or a Python function.

    Parameters
    ----------
    source
    variables
        How many, where that is known from a start; a Python function needs it.
    gradient
        Of a Python function: theta (variables,) -> (variables,).

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For what is none of them, or has another number of variables.

    Examples
    --------
    >>> resolve("rosenbrock", 3).variables
    ('x1', 'x2', 'x3')
    >>> resolve(lambda theta: float(theta @ theta), 2).gradient([1.0, 2.0]).round(6)
    array([2., 4.])
    """
    if gradient is not None and not (callable(source) and callable(gradient)):
        raise InvalidTypeError(
            "function: gradient goes with a Python function; leave it out for a formula"
        )
    if isinstance(source, Function):
        found = source
    elif isinstance(source, str):
        word = source.strip().lower().replace("-", "_")
        is_name = word in GALLERY or (word.isidentifier() and len(word) > 4 and word.isascii())
        found = of_gallery(word, variables) if is_name else of_formula(read(source))
    elif callable(source):
        if variables is None:
            raise InvalidValueError("function: a Python function needs a start, one number each")
        found = of_python(source, variables, gradient)
    else:
        raise InvalidTypeError(
            f"function: takes a formula, a name of the gallery or a Python function; got {source!r}"
        )
    if variables not in (None, len(found.variables)):
        named = ", ".join(found.variables)
        raise InvalidValueError(
            f"function {found.name!r} has {_variables(len(found.variables))} ({named}); the start "
            f"has {variables}: give one number each"
        )
    return found


def check_gradient(function: Function, theta: Doubles) -> float:
    """Give the largest difference of the gradient from central differences, as a share.

    The share is of the larger of 1 and the gradient's largest entry.

    Examples
    --------
    >>> check_gradient(resolve("beale"), np.array([1.0, 2.0])) < 1e-6
    True
    """
    by_differences = differences(function.values, theta)
    gradient = function.gradient(theta)
    scale = max(1.0, float(np.abs(by_differences).max()))
    return float(np.abs(gradient - by_differences).max()) / scale


def refuse_wrong_gradient(function: Function, theta: Doubles) -> None:
    """Raise InvalidValueError where a gradient that was handed in is not the function's."""
    if function.derivatives != "given":
        return
    share = check_gradient(function, theta)
    if share > WRONG_GRADIENT:
        by_differences = differences(function.values, theta)
        raise InvalidValueError(
            f"function {function.name!r}: its gradient at the start is "
            f"{np.array2string(function.gradient(theta), precision=4)}, but central differences of "
            f"its values give {np.array2string(by_differences, precision=4)}: mend it, or leave it "
            "out; noise is added by noise=..."
        )


def finite_everywhere(function: Function, points: Doubles) -> npt.NDArray[np.bool_]:
    """Say for each point (points, variables) whether f and its gradient are finite there."""
    with np.errstate(all="ignore"):
        values, gradients = function.values_and_gradients(points)
    return np.asarray(np.isfinite(values) & np.isfinite(gradients).all(axis=1))


def symbols_of(formula: Formula) -> list[Any]:
    """Give the SymPy symbols of the variables, in their order."""
    import sympy

    return [sympy.Symbol(name) for name in formula.variables]


def written(expression: Any) -> str:
    """Write a SymPy expression as a formula has it: e, not E."""
    from sympy.printing.str import StrPrinter

    class Printer(StrPrinter):  # type: ignore[misc]
        def _print_Exp1(self, expression: Any) -> str:
            return "e"

    return str(Printer().doprint(expression))


def compiled(symbols: list[Any], expressions: Any) -> Callable[..., Any]:
    """Compile checked expressions to NumPy, what they share computed once."""
    import sympy

    def floats(each: Any) -> Any:
        if isinstance(each, list):
            return [floats(part) for part in each]
        # NumPy has no arithmetic for whole numbers beyond 64 bits.
        large = {number: sympy.Float(number) for number in each.atoms(sympy.Rational)
                 if max(abs(number.p), number.q) > EXACT}  # fmt: skip
        return each.xreplace(large)

    of_numpy = {name: getattr(np, {"atan": "arctan"}.get(name, name)) for name in functions()}
    made: Callable[..., Any] = sympy.lambdify(
        symbols, floats(expressions), modules=[of_numpy, "numpy"], cse=True, dummify=True
    )
    return made


def _variables(count: int) -> str:
    return f"{count} variable" + "s" * (count != 1)


def _real(name: str, value: Any) -> float:
    """Check what a Python function gave: one real number, which may be infinite or NaN."""
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiu":
        raise InvalidTypeError(
            f"function {name!r} must give one real number for theta; got {value!r}"
        )
    return float(array.reshape(-1)[0])


def _slope(name: str, gradient: Any, variables: int) -> Doubles:
    """Check what a Python gradient gave: (variables,) real numbers."""
    array = np.asarray(gradient)
    if array.shape != (variables,) or array.dtype.kind not in "fiu":
        raise InvalidTypeError(
            f"function {name!r}: its gradient must be {variables} real numbers, one a variable; "
            f"got {gradient!r}"
        )
    return array.astype(np.float64)
