"""Formulas typed by a person: text -> checked tree -> SymPy, and nothing of the text is ever run.

The text is split into tokens and parsed by precedence, as Python's arithmetic has it; names come
from a short list. SymPy simplifies powers, and 9**9**9 would not end there, so the tree bounds
beforehand what may come of it: every node knows how large its numbers and powers can grow. Its
functions are our own, which SymPy differentiates but does not simplify: it would ask of numbers how
they compare, to any number of digits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Final, NoReturn

from downslope.errors import InvalidTypeError, InvalidValueError, nearest

LONGEST, OPERATIONS, DEEPEST = 2000, 300, 30
"""Characters, operations and levels of nesting: beyond what anybody types, far below what hurts."""

DEGREE, BITS = 1000, 1000
"""Bounds on powers within powers, and on the numbers that may come up: 2^1000, and twice a power's
derivative, stay below the largest float, 2^1024."""

TERMS = 20_000
"""Terms of an expression or of its derivatives; some 2 s of SymPy's time were measured there."""

FUNCTIONS: Final[Mapping[str, Callable[[float], float]]] = MappingProxyType(
    {
        "sin": math.sin, "cos": math.cos, "tan": math.tan, "atan": math.atan, "sinh": math.sinh,
        "cosh": math.cosh, "tanh": math.tanh, "exp": math.exp, "log": math.log, "sqrt": math.sqrt,
        "abs": abs,
    }
)  # fmt: skip
CONSTANTS: Final[Mapping[str, float]] = MappingProxyType({"pi": math.pi, "e": math.e})

_TOKEN = re.compile(
    r"(?P<space>[ \t]+)|(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z_0-9]*)|(?P<sign>\*\*|[-+*/^()])"
)
_VARIABLE = re.compile(r"[A-Za-z]_?[0-9]{0,3}")


@dataclass(frozen=True)
class Formula:
    """A formula that has been read.

    Attributes
    ----------
    text
        As it was typed.
    variables
        Their names, in the order of the alphabet and of their numbers.
    expression
        The SymPy expression; its symbols are real and named as the variables.
    """

    text: str
    variables: tuple[str, ...]
    expression: Any


@dataclass(frozen=True)
class Node:
    """A part of a formula, with bounds on what SymPy can make of it."""

    kind: str
    """"number", "variable", "constant", "+", "*", "negate", "reciprocal", "**" or a function."""
    at: int
    text: str = ""
    parts: tuple[Node, ...] = ()
    value: float | None = None
    """What it comes to, where no variable is in it."""
    degree: float = 0.0
    bits: float = 0.0


def read(text: object) -> Formula:
    """Read a formula of one or more variables.

    Variables are single letters, with a number if wanted: x, y, w1, x_2. There are + - * / ** (or
    ^), parentheses, numbers, pi, e and the functions of `FUNCTIONS`.

    Raises
    ------
    InvalidTypeError
        If it is no text.
    InvalidValueError
        If it is no formula, has no variable, is no real number, or is too large; the message
        points at the place.

    Examples
    --------
    >>> formula = read("x**4 - 3*x**3 + 2")
    >>> formula.variables, formula.expression.diff()
    (('x',), 4*x**3 - 9*x**2)
    >>> read("x + sni(x)")
    Traceback (most recent call last):
    downslope.errors.InvalidValueError: formula: unknown name 'sni': did you mean ...
        x + sni(x)
            ^
    """
    if not isinstance(text, str):
        raise InvalidTypeError(f"formula: takes a text such as 'x**2 + y**2'; got {text!r}")
    if len(text) > LONGEST:
        raise InvalidValueError(
            f"formula: takes at most {LONGEST:,} characters; got {len(text):,}: shorten it"
        )
    parser = _Parser(text)
    tree = parser.whole()
    names = sorted(parser.variables, key=_order)
    if not names:
        fault(text, 0, "has no variable; name at least one, as x")
    return Formula(text.strip(), tuple(names), _build(text, tree, names))


def fault(text: str, at: int, what: str) -> NoReturn:
    """Raise an error that points at a place in a formula."""
    first = max(0, at - 50)
    shown = "".join(sign if sign.isprintable() else "?" for sign in text[first : at + 25])
    before = "..." if first else ""
    after = "..." if at + 25 < len(text) else ""
    arrow = " " * (len(before) + at - first) + "^"
    raise InvalidValueError(f"formula: {what}\n    {before}{shown}{after}\n    {arrow}")


def _order(name: str) -> tuple[str, int]:
    """Sort x2 before x10."""
    digits = name[1:].lstrip("_")
    return name[0], int(digits) if digits else -1


def terms(expressions: Iterable[Any], limit: int = TERMS) -> int:
    """Count the nodes of expressions written out in full, without writing them out.

    SymPy shares what occurs twice; printed, it takes room as often as it occurs.
    """
    counted: dict[Any, int] = {}

    def count(node: Any) -> int:
        if node not in counted:
            counted[node] = 1 + sum(count(part) for part in node.args)
        return counted[node]

    return sum(min(count(each), limit + 1) for each in expressions)


class _Parser:
    """Precedence as in Python: ** binds tighter than a sign before it, and to the right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.variables: set[str] = set()
        self._operations = self._depth = 0
        self._tokens = self._split()
        self._place = 0

    def _split(self) -> list[tuple[str, str, int]]:
        tokens, at = [], 0
        while at < len(self.text):
            found = _TOKEN.match(self.text, at)
            if found is None:
                fault(self.text, at, f"{_shown(self.text[at])} has no place in a formula")
            kind = str(found.lastgroup)
            if kind != "space":
                tokens.append((kind, found.group(), at))
            at = found.end()
        return [*tokens, ("end", "", len(self.text))]

    def whole(self) -> Node:
        """Parse the whole text."""
        tree = self._sum()
        kind, sign, at = self._tokens[self._place]
        if kind != "end":
            must = "has no opening parenthesis" if sign == ")" else "follows without an operator"
            hint = "" if sign == ")" else "; write * for a product"
            fault(self.text, at, f"{_shown(sign)} {must}{hint}")
        return tree

    def _take(self, *signs: str) -> int | None:
        """Step over one of the signs, if it is next; give where it stood."""
        kind, sign, at = self._tokens[self._place]
        if kind != "sign" or sign not in signs:
            return None
        self._place += 1
        if sign not in "()":
            self._count(at)
        return at

    def _count(self, at: int) -> None:
        self._operations += 1
        if self._operations > OPERATIONS:
            fault(self.text, at, f"takes at most {OPERATIONS} operations; this is one more")

    def _sum(self) -> Node:
        parts = [self._product()]
        while True:
            if (at := self._take("+")) is not None:
                parts.append(self._product())
            elif (at := self._take("-")) is not None:
                parts.append(self._node("negate", at, self._product()))
            else:
                return parts[0] if len(parts) == 1 else self._node("+", parts[0].at, *parts)

    def _product(self) -> Node:
        parts = [self._signed()]
        while True:
            if (at := self._take("*")) is not None:
                parts.append(self._signed())
            elif (at := self._take("/")) is not None:
                parts.append(self._node("reciprocal", at, self._signed()))
            else:
                return parts[0] if len(parts) == 1 else self._node("*", parts[0].at, *parts)

    def _signed(self) -> Node:
        self._deeper()
        if (at := self._take("-")) is not None:
            found = self._node("negate", at, self._signed())
        elif self._take("+") is not None:
            found = self._signed()
        else:
            found = self._power()
        self._depth -= 1
        return found

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            at = self._tokens[self._place][2]
            fault(self.text, at, f"is nested deeper than {DEEPEST} levels")

    def _power(self) -> Node:
        base = self._atom()
        at = self._take("**", "^")
        return base if at is None else self._node("**", at, base, self._signed())

    def _atom(self) -> Node:
        kind, word, at = self._tokens[self._place]
        if self._take("(") is not None:
            return self._inside(at)
        if kind not in ("number", "name"):
            what = "ends too early" if kind == "end" else f"{_shown(word)} stands where"
            more = "" if kind == "end" else " a number, a variable or a function should"
            fault(self.text, at, what + more)
        self._place += 1
        if kind == "number":
            value = float(word)
            if not math.isfinite(value):
                fault(self.text, at, f"{word} is beyond the largest number, 1.8e308")
            return self._leaf("number", at, word, value)
        if word in FUNCTIONS:
            if self._take("(") is None:
                fault(self.text, at, f"{word} is a function; write {word}(...)")
            self._count(at)
            return self._node(word, at, self._inside(at))
        return self._named(word, at)

    def _inside(self, at: int) -> Node:
        """Parse what is between parentheses, the opening one behind us."""
        found = self._sum()
        if self._take(")") is None:
            if self._tokens[self._place][0] != "end":
                sign, here = self._tokens[self._place][1:]
                fault(self.text, here, f"{_shown(sign)} follows without an operator")
            fault(self.text, self.text.index("(", at), "this parenthesis is not closed")
        return found

    def _named(self, word: str, at: int) -> Node:
        if word in CONSTANTS:
            return self._leaf("constant", at, word, CONSTANTS[word])
        if not _VARIABLE.fullmatch(word):
            known = nearest(word, [*FUNCTIONS, *CONSTANTS])
            fault(
                self.text, at,
                f"unknown name {_shown(word)}: {known}; variables are single letters, "
                "with a number if wanted: x, w1",
            )  # fmt: skip
        self.variables.add(word)
        return Node("variable", at, word, degree=1.0)

    def _leaf(self, kind: str, at: int, word: str, value: float) -> Node:
        bits = abs(math.log2(value)) if value else 0.0
        return Node(kind, at, word, value=value, bits=bits)

    def _node(self, kind: str, at: int, *parts: Node) -> Node:
        """Join parts; refuse what is no number or could grow beyond the bounds."""
        value = None
        if all(part.value is not None for part in parts):
            value = _fold(kind, [part.value for part in parts if part.value is not None])
            if value is None:
                fault(self.text, at, "this comes to no finite real number")
        degree, bits = _growth(kind, parts, value)
        if degree > DEGREE or (kind == "**" and abs(parts[1].value or 0) > DEGREE):
            fault(self.text, at, f"a power beyond {DEGREE:,} is too large")
        if bits > BITS:
            fault(self.text, at, "the numbers that this comes to are too large")
        base = parts[0].value
        if kind == "**" and value is None and base is not None and base < 0:
            fault(self.text, at, "a negative number to a variable power is not real")
        return Node(kind, at, "", parts, value, degree, bits)


def _shown(text: str) -> str:
    """Quote a piece of a formula, cut short, so that no terminal takes it for a command."""
    return repr(text if len(text) <= 30 else text[:27] + "...")


def _fold(kind: str, values: list[float]) -> float | None:
    """Compute what a part without variables comes to; None for what is no finite real number."""
    try:
        if kind == "+":
            found: Any = math.fsum(values)
        elif kind == "*":
            found = math.prod(values)
        elif kind == "negate":
            found = -values[0]
        elif kind == "reciprocal":
            found = 1 / values[0]
        elif kind == "**":
            found = values[0] ** values[1]
        else:
            found = FUNCTIONS[kind](values[0])
    except (ValueError, OverflowError, ZeroDivisionError):
        return None
    return float(found) if isinstance(found, float) and math.isfinite(found) else None


def _growth(kind: str, parts: tuple[Node, ...], value: float | None) -> tuple[float, float]:
    """Bound the degree and the bits of what SymPy makes of a part."""
    degrees, lengths = [part.degree for part in parts], [part.bits for part in parts]
    if kind in FUNCTIONS and kind != "sqrt":
        bits = abs(math.log2(abs(value))) if value else 0.0
        return min(max(degrees), 1.0), bits
    if kind == "*":
        return sum(degrees), sum(lengths)
    if kind == "**" and parts[1].value is not None:
        power = abs(parts[1].value)
        return degrees[0] * power, max(lengths[0] * power, lengths[1])
    return sum(degrees) if kind == "**" else max(degrees), sum(lengths)


@cache
def functions() -> Mapping[str, Any]:
    """Give SymPy functions of our own by name, each with its derivative, none with any rule.

    |u| has the derivative sign(u), whose own is 0: SymPy's second one is a delta function.
    """
    import sympy

    def function(name: str, slope: Callable[[Any], Any]) -> Any:
        def fdiff(self: Any, argindex: int = 1) -> Any:
            return slope(self.args[0])

        return type(name, (sympy.Function,), {"fdiff": fdiff, "nargs": 1})

    made: dict[str, Any] = {}
    slopes: dict[str, Callable[[Any], Any]] = {
        "sin": lambda u: made["cos"](u),
        "cos": lambda u: -made["sin"](u),
        "tan": lambda u: 1 + made["tan"](u) ** 2,
        "atan": lambda u: 1 / (1 + u**2),
        "sinh": lambda u: made["cosh"](u),
        "cosh": lambda u: made["sinh"](u),
        "tanh": lambda u: 1 - made["tanh"](u) ** 2,
        "exp": lambda u: made["exp"](u),
        "log": lambda u: 1 / u,
        "abs": lambda u: made["sign"](u),
        "sign": lambda u: sympy.Integer(0),
    }
    for name, slope in slopes.items():
        made[name] = function(name, slope)
    return MappingProxyType(made)


def _build(text: str, tree: Node, names: list[str]) -> Any:
    """Make the SymPy expression of a checked tree."""
    import sympy

    symbols = {name: sympy.Symbol(name) for name in names}
    made = {
        **functions(), "sqrt": sympy.sqrt, "+": sympy.Add, "*": sympy.Mul, "**": sympy.Pow,
        "negate": lambda part: -part, "reciprocal": lambda part: 1 / part,
    }  # fmt: skip

    def build(node: Node) -> Any:
        if node.kind == "variable":
            return symbols[node.text]
        if node.kind == "constant":
            return sympy.pi if node.text == "pi" else sympy.E
        if node.kind == "number":
            exact = _stays_exact(node)
            return sympy.Integer(int(node.text)) if exact else sympy.Float(node.value)
        if node.value is not None and not _stays_exact(node):
            return sympy.Float(node.value)
        parts = [build(part) for part in node.parts]
        if node.kind == "**" and parts[0] == sympy.E:
            return made["exp"](parts[1])
        found = made[node.kind](*parts)
        if not is_real(found):
            fault(text, node.at, "this comes to no finite real number")
        return found

    return build(tree)


def _stays_exact(node: Node) -> bool:
    """Say whether a part without variables is left to SymPy: whole numbers, pi and e, not mixed.

    A sum of 1e300 and 1e-300 it would take to six hundred digits.
    """
    if node.kind == "number":
        return node.text.isdigit() and len(node.text) <= 15
    if node.kind == "**":
        return all(part.text.isdigit() for part in node.parts)
    return node.kind not in FUNCTIONS and all(_stays_exact(part) for part in node.parts)


def is_real(expression: Any) -> bool:
    """Say whether an expression has neither the imaginary unit nor an infinity in it."""
    import sympy

    return not expression.has(sympy.I, sympy.zoo, sympy.nan, sympy.oo, -sympy.oo)
