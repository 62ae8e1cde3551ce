"""The gallery: functions that are hard to descend, each with its known minima and its source.

They are written as formulas and read as a user's are. Values and places of minima are as published;
where a source gives none, they are the zeros of the gradient, found to the last digits shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from downslope.errors import InvalidValueError, nearest

Minimum = tuple[tuple[float, ...], float]
"""Where a minimum lies, and the value there."""


@dataclass(frozen=True)
class Specimen:
    """One function of the gallery.

    Attributes
    ----------
    name, line, source
        What it is called, what makes it hard, where it comes from.
    formula
        For so many variables.
    variables
        How many there are; None where any number from 2 on will do.
    domain
        (low, high) of each variable, or of all; where pictures and random starts are.
    start
        Where a descent starts if nobody says; its last number is repeated for more variables.
    minima
        For so many variables, the lowest first; empty where it has none.
    is_convex
    noise
        Standard deviation that is added to each entry of a step's gradient.
    """

    name: str
    line: str
    formula: Callable[[int], str]
    variables: int | None
    domain: tuple[tuple[float, float], ...]
    start: tuple[float, ...]
    minima: Callable[[int], tuple[Minimum, ...]]
    source: str
    is_convex: bool = False
    noise: float = 0.0

    def bounds(self, variables: int) -> tuple[tuple[float, float], ...]:
        """Give the domain for so many variables."""
        return tuple(self.domain[min(k, len(self.domain) - 1)] for k in range(variables))


def names_of(variables: int) -> list[str]:
    """Name so many variables: x; x, y; x1, x2, x3."""
    return ["x", "y"][:variables] if variables <= 2 else [f"x{k + 1}" for k in range(variables)]


def specimen(name: str) -> Specimen:
    """Give a function of the gallery by its name.

    Raises
    ------
    InvalidValueError
        For an unknown name.

    Examples
    --------
    >>> specimen("himmelblau").minima(2)[0]
    ((3.0, 2.0), 0.0)
    """
    key = name.strip().lower().replace("-", "_")
    if key not in GALLERY:
        raise InvalidValueError(
            f"unknown function {name!r}: {nearest(key, GALLERY)}; or write a formula, as 'x**2'"
        )
    return GALLERY[key]


def _fixed(text: str) -> Callable[[int], str]:
    return lambda variables: text


def _sum(*terms: str) -> Callable[[int], str]:
    """Add terms in x (this variable) and X (the next one), where there is a next one."""

    def formula(variables: int) -> str:
        names = names_of(variables)
        parts = []
        for term in terms:
            last = variables - 1 if "X" in term else variables
            for k in range(last):
                following = names[min(k + 1, variables - 1)]
                parts.append(
                    term.replace("x", "\0").replace("X", following).replace("\0", names[k])
                )
        return " + ".join(parts)

    return formula


def _ackley(variables: int) -> str:
    names = names_of(variables)
    squares = " + ".join(f"{name}**2" for name in names)
    waves = " + ".join(f"cos(2*pi*{name})" for name in names)
    return f"20 + e - 20*e**(-0.2*sqrt(({squares})/{variables})) - e**(({waves})/{variables})"


def _levy(variables: int) -> str:
    names = names_of(variables)
    w = [f"(1 + ({name} - 1)/4)" for name in names]
    middle = [f"({each} - 1)**2*(1 + 10*sin(pi*{each} + 1)**2)" for each in w[:-1]]
    last = f"({w[-1]} - 1)**2*(1 + sin(2*pi*{w[-1]})**2)"
    return " + ".join([f"sin(pi*{w[0]})**2", *middle, last])


def _alike(coordinate: float, value: float = 0.0) -> Callable[[int], tuple[Minimum, ...]]:
    """One minimum, its coordinates all the same; `value` for each variable."""
    return lambda variables: (((coordinate,) * variables, value * variables),)


def _known(*minima: Minimum) -> Callable[[int], tuple[Minimum, ...]]:
    return lambda variables: minima


def _square(bound: float) -> tuple[tuple[float, float], ...]:
    return ((-bound, bound),)


GALLERY: Final[Mapping[str, Specimen]] = MappingProxyType(
    {each.name: each for each in (
        Specimen("parabola", "one variable, one minimum: where all of this begins",
                 _fixed("x**2"), 1, _square(2), (1.8,), _known(((0.0,), 0.0)),
                 "the textbook's", is_convex=True),
        Specimen("quartic", "one variable: a plateau with a way out before the minimum",
                 _fixed("x**4 - 3*x**3 + 2"), 1, ((-1.5, 3.5),), (-1.0,),
                 _known(((2.25,), -6.54296875)), "the textbook's"),
        Specimen("ravine", "a long, straight ravine: the walls are 100 times as steep as its floor",
                 _fixed("x**2/2 + 50*y**2"), 2, ((-10.0, 10.0), (-2.0, 2.0)), (-9.0, 1.0),
                 _known(((0.0, 0.0), 0.0)), "Polyak 1964", is_convex=True),
        Specimen("matyas", "convex, and turned against the axes",
                 _fixed("0.26*(x**2 + y**2) - 0.48*x*y"), 2, _square(10), (-9.0, 4.0),
                 _known(((0.0, 0.0), 0.0)), "Hedar 2005", is_convex=True),
        Specimen("noisy_quadratic", "each gradient comes with noise, as a mini-batch's does",
                 _fixed("x**2/2 + 5*y**2"), 2, _square(4), (-3.5, 3.0),
                 _known(((0.0, 0.0), 0.0)), "Schaul, Zhang and LeCun 2013", is_convex=True,
                 noise=1.0),
        Specimen("rosenbrock", "a bent valley: easy to find, slow to follow",
                 _sum("100*(X - x**2)**2 + (1 - x)**2"), None,
                 ((-2.0, 2.0), (-1.0, 3.0), (-2.0, 2.0)), (-1.5, 2.0), _alike(1.0),
                 "Rosenbrock 1960"),
        Specimen("beale", "flat, with steep corners",
                 _fixed("(1.5 - x + x*y)**2 + (2.25 - x + x*y**2)**2 + (2.625 - x + x*y**3)**2"),
                 2, _square(4.5), (-2.0, 1.5), _known(((3.0, 0.5), 0.0)), "Beale 1958"),
        Specimen("himmelblau", "four minima, all as low: the start decides",
                 _fixed("(x**2 + y - 11)**2 + (x + y**2 - 7)**2"), 2, _square(5), (-0.5, -1.0),
                 _known(((3.0, 2.0), 0.0), ((-2.805118086953, 3.131312518250), 0.0),
                        ((-3.779310253378, -3.283185991286), 0.0),
                        ((3.584428340330, -1.848126526964), 0.0)), "Himmelblau 1972"),
        Specimen("rastrigin", "a bowl full of dents: a local minimum near every whole number",
                 _sum("10 + x**2 - 10*cos(2*pi*x)"), None, _square(5.12), (2.3, -1.7), _alike(0.0),
                 "Rastrigin 1974; Muehlenbein, Schomisch and Born 1991"),
        Specimen("ackley", "nearly flat and full of dents, with a sharp hole in the middle",
                 _ackley, None, _square(5), (2.3, -1.7), _alike(0.0), "Ackley 1987"),
        Specimen("goldstein_price", "its values span six orders of magnitude; four minima",
                 _fixed("(1 + (x + y + 1)**2*(19 - 14*x + 3*x**2 - 14*y + 6*x*y + 3*y**2))"
                        "*(30 + (2*x - 3*y)**2*(18 - 32*x + 12*x**2 + 48*y - 36*x*y + 27*y**2))"),
                 2, _square(2), (-1.5, 0.5),
                 _known(((0.0, -1.0), 3.0), ((-0.6, -0.4), 30.0), ((1.8, 0.2), 84.0),
                        ((1.2, 0.8), 840.0)), "Goldstein and Price 1971"),
        Specimen("styblinski_tang", "two dents a variable, one of them lower",
                 _sum("(x**4 - 16*x**2 + 5*x)/2"), None, _square(5), (4.5, 1.0),
                 _alike(-2.903534027771177, -39.16616570377142), "Styblinski and Tang 1990"),
        Specimen("levy", "waves across a bowl", _levy, None, _square(10), (-8.0, 6.0), _alike(1.0),
                 "Levy and Montalvo 1985"),
        Specimen("three_hump_camel", "three minima, the lowest between the others",
                 _fixed("2*x**2 - 1.05*x**4 + x**6/6 + x*y + y**2"), 2, _square(2.5), (-2.0, 2.0),
                 _known(((0.0, 0.0), 0.0), ((1.747552345830, -0.873776172915), 0.2986384422368),
                        ((-1.747552345830, 0.873776172915), 0.2986384422368)),
                 "Branin 1972; Dixon and Szegoe 1978"),
        Specimen("saddle", "up along x, down along y, with no end",
                 _fixed("x**2 - y**2"), 2, _square(2), (-1.8, 0.001), _known(), "the textbook's"),
        Specimen("monkey_saddle", "three ways down, for two legs and a tail; no curvature at 0",
                 _fixed("x**3 - 3*x*y**2"), 2, _square(1.5), (1.2, 0.1), _known(),
                 "Hilbert and Cohn-Vossen 1932"),
        Specimen("plateau", "a hole in a plain: far out the gradient says nothing",
                 _fixed("1 - exp(-(x**2 + y**2)/2)"), 2, _square(5), (-2.6, 1.4),
                 _known(((0.0, 0.0), 0.0)), "the textbook's"),
    )}
)  # fmt: skip
"""By name, the simplest first."""
