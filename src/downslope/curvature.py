"""How the loss bends at a network's theta: the ends of the Hessian's spectrum, and its trace.

From exact Hessian-vector products (hessian.py): the largest and the smallest eigenvalue by Lanczos,
the trace by Hutchinson's estimate, and from them the largest stable learning rate, and whether
theta lies at a minimum, at a saddle or on a plateau.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from downslope.errors import InvalidTypeError, InvalidValueError
from downslope.hessian import KEPT_FLOATS, Hessian, floats_a_row
from downslope.network import BuiltNetwork
from downslope.surface import RowSet, Surface

Array = npt.NDArray[Any]

Verdict = Literal["minimum", "saddle", "plateau", "not converged"]

ROWS = 2048
"""Rows on which curvature is taken, drawn where there are more: one product then costs some
milliseconds for each 10,000 parameters."""

WHOLE = 100
"""Parameters up to which the Hessian is formed and its whole spectrum is known."""

TOLERANCES = (1e-5, 1e-2)
"""Of Lanczos: the residual over the spread of the eigenvalues. An eigenvalue's own error is about
its square (on digits the smallest came out to 8 digits); the second is for what the first does not
reach within `RESTARTS`."""

RESTARTS = 10

BASIS = 60
"""Vectors that Lanczos keeps at a time, where they fit in `BASIS_FLOATS`: with ARPACK's usual 20
the smallest eigenvalue of a network on digits took 540 products, with 60 it took 90."""

BASIS_FLOATS = 1 << 25

STILL = 1e-3
"""Gradient norm up to which theta counts as stationary. The loss is in nats, or in squared standard
deviations of the target, so that 1 is its natural size: a move of length 1 changes it by less than
a thousandth."""

FLAT = 1e-3
"""Largest |eigenvalue| of a plateau, by the same measure."""

BENT = 1e-3
"""Share of the largest eigenvalue that the smallest must have below 0 to make a saddle; Li et al.
2018, section 6, judge by the same ratio. A smaller one is lost in rounding and in the terms of
third order."""


@dataclass(frozen=True)
class Curvature:
    """How the loss bends at one theta.

    Attributes
    ----------
    loss
        Over the rows that were used, with the penalties.
    gradient_norm
    largest, smallest
        Eigenvalues of the Hessian.
    trace, trace_error
        Sum of its eigenvalues, and the standard error of the estimate; 0 where it is exact.
    rows
        How many rows it was taken on.
    of_rows
        Of how many.
    """

    loss: float
    gradient_norm: float
    largest: float
    smallest: float
    trace: float
    trace_error: float
    rows: int
    of_rows: int

    @property
    def stable_rate(self) -> float:
        """Largest learning rate at which gradient descent does not diverge, 2 / largest."""
        return 2 / self.largest if self.largest > 0 else math.inf

    @property
    def verdict(self) -> Verdict:
        """Say what theta is: see `judge`."""
        return judge(self.gradient_norm, self.smallest, self.largest)

    def sentence(self) -> str:
        """Say in words where theta lies, and by which numbers."""
        what = {
            "minimum": "at a minimum: the loss bends down in no direction",
            "saddle": "at a saddle: it hardly slopes, but bends down in some direction",
            "plateau": "on a plateau: it hardly slopes and hardly bends in any direction",
            "not converged": "still on a slope: it had not converged",
        }[self.verdict]
        if self.verdict == "not converged" and self.largest > 0:
            left = self.gradient_norm**2 / (2 * self.largest)
            what += f", and one full step at rate {1 / self.largest:.2g} would take off {left:.2g}"
        where = "" if self.rows == self.of_rows else f", on {self.rows:,} of {self.of_rows:,} rows"
        return (
            f"The descent ended {what} (loss {self.loss:.3g}, gradient norm "
            f"{self.gradient_norm:.2g}, Hessian eigenvalues {self.smallest:.2g} to "
            f"{self.largest:.2g}{where})."
        )


def judge(gradient_norm: float, smallest: float, largest: float) -> Verdict:
    """Say what a theta is, by its gradient and by the ends of its Hessian's spectrum.

    Not converged where the gradient norm is above `STILL`, or where one of the three is not a
    number and so nothing is proven; else a plateau where no eigenvalue is
    further from 0 than `FLAT`; else a saddle where the smallest lies below -`BENT` times the
    largest (or none is above 0); else a minimum.

    Examples
    --------
    >>> judge(1e-5, smallest=0.1, largest=3.0)
    'minimum'
    >>> judge(1e-5, smallest=-2.0, largest=3.0)
    'saddle'
    """
    if not gradient_norm <= STILL or math.isnan(smallest) or math.isnan(largest):
        return "not converged"
    if max(abs(smallest), abs(largest)) <= FLAT:
        return "plateau"
    return "saddle" if smallest < -BENT * abs(largest) else "minimum"


def measure(
    network: BuiltNetwork, rows: RowSet, *, most: int = ROWS, vectors: int = 30, seed: int = 0
) -> Curvature:
    """Measure how the training loss bends at a network's theta.

    Parameters
    ----------
    network
    rows
        What the loss is taken over.
    most
        Where there are more rows, so many are drawn; fewer still where batch normalization needs
        all of them at once and they would take more than 256 MiB.
    vectors
        Of Hutchinson's estimate of the trace.
    seed
        Of the rows drawn, the vectors, and Lanczos's start.

    Returns
    -------
    Curvature

    Raises
    ------
    InvalidValueError
        For rows that do not fit the network, or a theta or rows that give a gradient which is not
        finite.

    Examples
    --------
    >>> from downslope import Network
    >>> linear = BuiltNetwork(Network([]), inputs=1, columns=1, task="regression")
    >>> bent = measure(linear, RowSet(np.array([[1.0], [3.0]]), np.array([0.0, 1.0])))
    >>> round(bent.largest, 6), round(bent.smallest, 6), round(bent.trace, 6), bent.verdict
    (5.828427, 0.171573, 6.0, 'not converged')
    """
    for name, count in (("most", most), ("vectors", vectors)):
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)):
            raise InvalidTypeError(f"curvature: {name} takes a whole number; got {count!r}")
        if count < 2:
            raise InvalidValueError(f"curvature: {name} must be at least 2; got {count}")
    some = rows.draw(_most_rows(network, most), seed).gather()
    hessian = Hessian(network, some.features, some.target, some.weights, some.penalties)
    norm = float(np.linalg.norm(hessian.gradient))
    if not math.isfinite(norm):
        raise InvalidValueError(
            f"curvature: the gradient must be finite; its norm is {norm}: theta or the features "
            f"hold values that are not finite or too large"
        )
    with Surface(network, some, threads=1) as surface:
        loss = surface.at(network.theta)
    spectrum = _spectrum(hessian, vectors, np.random.default_rng([seed, 6]))
    return Curvature(loss, norm, *spectrum, len(some), len(rows))


def _most_rows(network: BuiltNetwork, most: int) -> int:
    """Bound the rows by memory where batch normalization needs all of them at once."""
    if not network.layout.batchwise:
        return most
    return max(2, min(most, KEPT_FLOATS // floats_a_row(network.layout)))


def _spectrum(
    hessian: Hessian, vectors: int, generator: np.random.Generator
) -> tuple[float, float, float, float]:
    """Give the largest and smallest eigenvalue, the trace and its standard error."""
    size = len(hessian)
    if size <= WHOLE:
        eigenvalues = np.linalg.eigvalsh(np.array([hessian.product(d) for d in np.eye(size)]))
        return float(eigenvalues[-1]), float(eigenvalues[0]), float(eigenvalues.sum()), 0.0
    start = generator.normal(size=size)
    largest, smallest = extremes(hessian, start)
    signs = generator.choice([-1.0, 1.0], (vectors, size))
    products = [float(z @ hessian.product(z)) for z in signs]
    error = float(np.std(products, ddof=1)) / math.sqrt(vectors)
    return largest, smallest, float(np.mean(products)), error


def extremes(hessian: Hessian, start: Array) -> tuple[float, float]:
    """Give the largest and the smallest eigenvalue by Lanczos (ARPACK), from a start vector.

    The smallest comes from the largest of c I - H, c the largest of H: its error is then small
    beside the spread of the eigenvalues, however near to 0 it lies. NaN where neither of
    `TOLERANCES` is reached.
    """
    largest = _largest(hessian.product, start)
    shift = abs(largest)
    apart = _largest(lambda d: shift * d - hessian.product(d), start)
    return largest, shift - apart


def _largest(product: Any, start: Array) -> float:
    """Give the algebraically largest eigenvalue of a symmetric operator."""
    if not np.any(product(start)):
        return 0.0
    size = start.size
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    basis = min(size, max(20, min(BASIS, BASIS_FLOATS // size)))
    for tolerance in TOLERANCES:
        with contextlib.suppress(ArpackNoConvergence):
            found = eigsh(
                operator, 1, which="LA", v0=start, ncv=basis, maxiter=RESTARTS, tol=tolerance,
                return_eigenvectors=False,
            )  # fmt: skip
            return float(found[0])
    return math.nan
