"""How the loss bends at a network's theta: the ends of the Hessian's spectrum, and its trace.

From exact Hessian-vector products (hessian.py): the largest and the smallest eigenvalue by Lanczos,
the trace by Hutchinson's estimate, and from them the largest stable learning rate, and whether
theta lies at a minimum, at a saddle or on a plateau.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh_tridiagonal

from downslope.counts import whole_number
from downslope.errors import InvalidValueError
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

TOLERANCE = 1e-6
"""Of Lanczos: the residuals over the spread of the eigenvalues. An eigenvalue's own error is no
larger, and about its square where no other eigenvalue is near."""

STEPS = 200
"""Most steps of Lanczos, each a product; networks on digits took 80 to 110."""

BASIS_FLOATS = 1 << 26
"""Most floats of the vectors that Lanczos keeps: 512 MiB; networks of more than 335,000 parameters
get fewer steps for it."""

CHECKED = 10
"""Steps of Lanczos from one look at the residuals to the next."""

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
        whole_number(f"curvature: {name}", count, 2)
    whole_number("curvature: seed", seed)
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
    largest, smallest = extremes(hessian.product, start)
    signs = generator.choice([-1.0, 1.0], (vectors, size))
    products = [float(z @ hessian.product(z)) for z in signs]
    error = float(np.std(products, ddof=1)) / math.sqrt(vectors)
    return largest, smallest, float(np.mean(products)), error


def extremes(product: Callable[[Array], Array], start: Array) -> tuple[float, float]:
    """Give the largest and the smallest eigenvalue of a symmetric operator by Lanczos.

    With full reorthogonalization, and both from one Krylov space (Golub and Van Loan 2013, section
    10.3). Where `TOLERANCE` is not reached within the steps that memory and `STEPS` allow, they are
    the best there are: within the spectrum, at most a little inside of its ends.

    Parameters
    ----------
    product
        Gives H d for a direction d (size,).
    start : (size,)
        Any vector; a random one has a share in every eigenvector.

    Examples
    --------
    >>> extremes(lambda d: np.array([3.0, -1.0, 2.0]) * d, np.ones(3))
    (3.0..., -1.0...)
    """
    steps = min(start.size, STEPS, max(20, BASIS_FLOATS // start.size))
    basis = np.zeros((steps, start.size))
    diagonal, beside = np.zeros(steps), np.zeros(steps)
    q = start / np.linalg.norm(start)
    for k in range(steps):
        basis[k] = q
        q = product(q)
        diagonal[k] = basis[k] @ q
        for _again in range(2):  # once leaves what rounding adds, twice is enough (Kahan)
            q -= basis[: k + 1].T @ (basis[: k + 1] @ q)
        beside[k] = np.linalg.norm(q)
        size = max(float(abs(diagonal).max()), float(beside.max()))
        ended = k == steps - 1 or beside[k] <= 1e-14 * size
        if ended or k % CHECKED == CHECKED - 1:
            values, vectors = eigh_tridiagonal(diagonal[: k + 1], beside[:k])
            residuals = beside[k] * abs(vectors[-1, [0, -1]])
            if ended or residuals.max() <= TOLERANCE * (values[-1] - values[0]):
                break
        q /= beside[k]
    return float(values[-1]), float(values[0])
