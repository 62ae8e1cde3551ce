"""The chain rule of one weight: dL/dw = dL/dy dy/dz dz/dw, row by row, with its numbers.

A weight w leads from unit i of a layer's input to unit j of its output: z_j = sum_i x_i w_ij + b_j,
y_j = phi(z_j). So dz/dw = x_i, dy/dz = phi'(z_j), and dL/dy comes from the layers above. L is the
mean over a batch of rows, by their weights, without penalties; the factors are those of each row's
own part in it, so that their product, averaged over the batch, is dL/dw. The rows that are looked
at are taken out of the batch, and what stands of one does not depend on which others are looked at:
a row of twice the mean weight counts twice.

Two kinds of layers have more to it than three factors. After softmax every output moves with every
z_j: what comes by way of the other outputs is in `others`. A normalized layer has u = x W + b
before z, and dL/du = dL/dz times a matrix over units (layer normalization) or rows (batch
normalization). Then the product is dL/du du/dw, and dL/du is given beside dL/dz.

Under batch normalization the statistics are those of the whole batch, and a row moves the loss of
the others through them: what stands of a row is what passes through its own values. In a batch of
one row normalized values are constant, and no weight before them would move.

Dropout is left out, as when predicting. All in float64; layers count from 1, rows and units from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from downslope.counts import whole_number
from downslope.errors import InvalidTypeError, InvalidValueError
from downslope.hessian import Hessian, dense_target
from downslope.network import BuiltNetwork
from downslope.stepper import Targets, check_weights
from downslope.surface import RowSet

if TYPE_CHECKING:
    import polars as pl

Array = npt.NDArray[Any]

ROUNDING = 1e-12
"""Of a difference, beside what it is the difference of: less is 0 but for rounding."""

SMALLEST = 1e-3
"""Shown in full in an equation from here on; smaller numbers with an exponent."""


@dataclass(frozen=True)
class ChainRule:
    """The chain rule of one weight over some rows.

    Attributes
    ----------
    layer, unit_in, unit_out
        Which weight.
    w
        Its value.
    normalized, softmax
        Whether the layer has more to it (see this module's text).
    rows : (rows,) int64
        Numbers of the rows.
    dy, slope, x : (rows,) float64
        dL/dy, dy/dz and dz/dw. NaN in `dy` where a probability is 0 or 1 to rounding: dL/dy has no
        number there, and dL/dz is taken of loss and output at once.
    others : (rows,) float64
        Part of dL/dz that comes by way of the other outputs of softmax, NaN with `dy`; else 0.
    dz, du : (rows,) float64
        dL/dz = dL/dy dy/dz + others, and dL/du; the same where nothing is normalized.
    product : (rows,) float64
        What each row adds to dL/dw, times the number of rows in the batch: dL/du dz/dw.
    """

    layer: int
    unit_in: int
    unit_out: int
    w: float
    normalized: bool
    softmax: bool
    rows: Array
    dy: Array
    slope: Array
    others: Array
    dz: Array
    du: Array
    x: Array
    product: Array

    @property
    def gradient(self) -> float:
        """The mean of the product over the rows; over all of a batch it is dL/dw."""
        return float(self.product.mean())

    @property
    def frame(self) -> pl.DataFrame:
        """A row a row, the factors in columns named as the attributes."""
        import polars as pl

        names = ("rows", "dy", "slope", "others", "dz", "du", "x", "product")
        return pl.DataFrame({name: getattr(self, name) for name in names}).rename({"rows": "row"})

    @property
    def formula(self) -> str:
        """The equation in symbols."""
        return f"dL/dw = {_product(self.normalized, self.softmax)}"

    def equation(self, index: int) -> str:
        """Put the numbers of one row into the equation; index: its place in `rows`.

        >>> one = ChainRule(1, 0, 0, 0.5, False, False, *np.array([[7], [0.5], [0.25], [0],
        ...     [0.125], [0.125], [2], [0.25]]))
        >>> one.equation(0)
        'dL/dw = 0.5 · 0.25 · 2 = 0.25'
        """
        dy, slope, others, du, x = (
            shown(float(values[index]), factor=True)
            for values in (self.dy, self.slope, self.others, self.du, self.x)
        )
        dz, product = shown(float(self.dz[index])), shown(float(self.product[index]))
        if np.isnan(self.dy[index]):
            error = shown(float(self.dz[index]), factor=True)
            return f"dL/dw = {error} · {x} = {product},  dL/dz of loss and output at once"
        error = f"{dy} · {slope}"
        if self.softmax:
            error = f"({error} + {others})"
        if self.normalized:
            return f"dL/dw = {du} · {x} = {product},  dL/du from dL/dz = {error} = {dz}"
        return f"dL/dw = {error} · {x} = {product}"

    def __str__(self) -> str:
        head = (
            f"layer {self.layer}, weight from unit {self.unit_in} to unit {self.unit_out}: "
            f"w = {shown(self.w)}"
        )
        lines = [f"row {row}: {self.equation(index)}" for index, row in enumerate(self.rows[:10])]
        mean = f"mean over {len(self.rows)} rows: dL/dw = {shown(self.gradient)}"
        return "\n".join([head, self.formula, *lines, mean])


def _product(normalized: bool, softmax: bool) -> str:
    """Write what dL/dw is the mean of, for a layer of that kind."""
    product = "dL/dy · dy/dz"
    if softmax:
        product = f"({product} + by other outputs)"
    if normalized:
        return f"dL/du · du/dw,  dL/du from dL/dz = {product}"
    return f"{product} · dz/dw"


def product_of(network: BuiltNetwork, layer: int) -> str:
    """Write what dL/dw is the mean of over the rows, for the weights of a layer from 1.

    >>> from downslope import Network
    >>> network = BuiltNetwork(Network([2], normalize="layer"), 1, 1, "regression")
    >>> product_of(network, 1), product_of(network, 2)
    ('dL/du · du/dw,  dL/du from dL/dz = dL/dy · dy/dz', 'dL/dy · dy/dz · dz/dw')
    """
    number = _layer(network, layer)
    normalized = bool(network.layout.plan[number]["normalization"])
    return _product(normalized, _is_softmax(network, number))


def factors_of(network: BuiltNetwork, layer: int) -> tuple[str, str, str]:
    """Name the three factors that a row gives, for the weights of a layer from 1."""
    normalized = network.layout.plan[_layer(network, layer)]["normalization"]
    return ("dL/dy", "dy/dz", "du/dw" if normalized else "dz/dw")


def shown(value: float, factor: bool = False, digits: int = 4) -> str:
    """Write a number with four digits, readably; a negative factor in parentheses, 0 unsigned.

    >>> shown(-0.0123456), shown(-2.0, factor=True), shown(4.2e-9), shown(0.0123456, digits=2)
    ('-0.01235', '(-2)', '4.2e-09', '0.012')
    """
    value += 0.0  # of -0 that makes 0
    text = f"{value:.{digits - 1}e}" if 0 < abs(value) < SMALLEST else f"{value:.{digits}g}"
    if "e" in text:
        first, _, power = text.partition("e")
        text = f"{first.rstrip('0').rstrip('.') if '.' in first else first}e{power}"
    return f"({text})" if factor and value < 0 else text


@dataclass(frozen=True)
class _Passed:
    """One layer's values after both passes over all rows, (rows, ...) each."""

    dy: Array
    slope: Array
    dz: Array
    du: Array
    x: Array


def explain(
    network: BuiltNetwork,
    rows: RowSet,
    layer: int,
    unit_in: int,
    unit_out: int,
    chosen: Sequence[int] | Array | None = None,
) -> ChainRule:
    """Put the numbers into the chain rule of one weight.

    Parameters
    ----------
    network
    rows
        What L is the mean over, by their weights; penalties are left out. Batch normalization takes
        the statistics of these rows.
    layer
        From 1.
    unit_in, unit_out
        Which weight: from 0.
    chosen : (chosen rows,) whole numbers, or None
        Which rows are looked at: numbers of `rows.features`, from 0. Those that L is not over join
        those that it is. None takes the rows that L is over.

    Returns
    -------
    ChainRule

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For a layer, unit or row that does not exist.

    Examples
    --------
    >>> from downslope import Network
    >>> linear = BuiltNetwork(Network([]), inputs=1, columns=1, task="regression")
    >>> rows = RowSet(np.array([[1.0], [3.0]]), np.array([2.0, 1.0]))
    >>> one = explain(linear, rows, layer=1, unit_in=0, unit_out=0)
    >>> one.product.tolist(), one.gradient  # w = 0, so dL/dy = -t
    ([-2.0, -3.0], -2.5)
    >>> explain(linear, rows, 1, 0, 0, chosen=[1]).product.tolist()
    [-3.0]
    """
    number = _layer(network, layer)
    record = network.layout.plan[number]
    _number("unit_in", unit_in, int(record["inputs"]), f"layer {layer} takes")
    _number("unit_out", unit_out, int(record["units"]), f"layer {layer} has")
    looked_at, found = _look_at(network, rows, number, chosen)
    dy, slope, dz, du = (each[:, unit_out] for each in (found.dy, found.slope, found.dz, found.du))
    x = found.x[:, unit_in]
    w = network.parts()[f"layer{layer}.weight"][unit_in, unit_out]
    softmax = _is_softmax(network, number)
    others = np.zeros_like(dz)
    if softmax:
        own = dy * slope
        others = np.where(abs(dz - own) <= ROUNDING * abs(own), 0.0, dz - own)
    return ChainRule(
        layer, unit_in, unit_out, float(w), bool(record["normalization"]), softmax,
        looked_at, dy, slope, others, dz, du, x, du * x,
    )  # fmt: skip


def explain_layer(
    network: BuiltNetwork,
    rows: RowSet,
    layer: int,
    chosen: Sequence[int] | Array | None = None,
) -> pl.DataFrame:
    """Order all weights of a layer by how hard the loss pushes them, with the reason.

    Parameters
    ----------
    network, rows, layer, chosen
        As in `explain`.

    Returns
    -------
    pl.DataFrame
        A row a weight, largest |gradient| first: unit_in, unit_out, w; gradient: the mean of the
        rows' products, which over all of a batch is dL/dw; share: of the layer's squared gradient;
        dy_rms, slope_rms, x_rms: root mean squares of dL/dy, dy/dz, dz/dw (du/dw where u is
        normalized) over the rows that have a number there, NaN where none has; agreement = |mean| /
        mean of |.| of the rows' products, 1 where all rows push the same way; factor: which of the
        three or the agreement is furthest above its root mean square over the layer, and so the
        reason for a large gradient.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For a layer or row that does not exist.
    """
    import polars as pl

    number = _layer(network, layer)
    looked_at, found = _look_at(network, rows, number, chosen)
    count, shape = len(looked_at), (found.x.shape[1], found.du.shape[1])
    gradient = found.x.T @ found.du / count
    size = abs(found.x).T @ abs(found.du) / count
    factors = {
        "dy_rms": np.broadcast_to(_rms(found.dy), shape),
        "slope_rms": np.broadcast_to(_rms(found.slope), shape),
        "x_rms": np.broadcast_to(_rms(found.x)[:, None], shape),
        "agreement": np.divide(abs(gradient), size, out=np.zeros(shape), where=size > 0),
    }
    names = np.array([*factors_of(network, layer), "agreement"])
    with np.errstate(divide="ignore", invalid="ignore"):
        above = [each / _rms(each.ravel()) for each in factors.values()]
    most = np.argmax(np.nan_to_num(above, nan=1.0), axis=0)
    squares = gradient**2
    unit_in, unit_out = np.indices(shape)
    columns = {
        "unit_in": unit_in,
        "unit_out": unit_out,
        "w": network.parts()[f"layer{layer}.weight"].astype(np.float64),
        "gradient": gradient,
        "share": squares / max(float(squares.sum()), np.finfo(float).tiny),
        **factors,
        "factor": names[most],
    }
    frame = pl.DataFrame({name: np.ravel(values) for name, values in columns.items()})
    return frame[np.argsort(-abs(gradient).ravel(), kind="stable")]


def _rms(values: Array) -> Array:
    """Take root mean squares over the first axis, NaN left out, of numbers however large."""
    known = ~np.isnan(values)
    sizes = abs(np.where(known, values, 0.0))
    largest = np.maximum(sizes.max(axis=0), np.finfo(float).tiny)
    squares = np.square(sizes / largest).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(largest * np.sqrt(squares / known.sum(axis=0)))


def _is_softmax(network: BuiltNetwork, number: int) -> bool:
    last = len(network.layout.plan) - 1
    return number == last and network.output_activation.name == "softmax"


def _look_at(
    network: BuiltNetwork, rows: RowSet, number: int, chosen: Sequence[int] | Array | None
) -> tuple[Array, _Passed]:
    """Give which rows are looked at, and their parts of the mean loss over all `rows`."""
    batch = _rows(rows.chosen, len(rows.features))
    looked_at = batch if chosen is None else _rows(chosen, len(rows.features))
    together = np.union1d(batch, looked_at)
    places = np.searchsorted(together, looked_at)
    if network.layout.batchwise:
        whole = _pass(network, replace(rows, chosen=together), number)
        return looked_at, _Passed(*(each[places] for each in vars(whole).values()))
    found = _pass(network, replace(rows, chosen=looked_at, weights=None), number)
    if rows.weights is None:
        return looked_at, found
    weights = check_weights(np.asarray(rows.weights)[together], len(together), np.float64)
    share = (weights[places] / weights.mean())[:, None]
    return looked_at, replace(found, dy=share * found.dy, dz=share * found.dz, du=share * found.du)


def _pass(network: BuiltNetwork, rows: RowSet, number: int) -> _Passed:
    """Run rows through the network both ways; give what that leaves in one layer.

    A backward pass that fuses loss and output does without dL/dy: it is then that of the loss,
    -t / y after softmax, and dL/dz over dy/dz after sigmoid; neither is clipped. Where either would
    be infinite it is NaN.
    """
    rows = rows.gather()
    hessian = Hessian(network, rows.features, rows.target, rows.weights)
    blocks = [layers[number] for _, layers in hessian.passed()]
    last, count = number == len(network.layout.plan) - 1, len(rows)

    def whole(name: str) -> Array:
        return np.concatenate([getattr(layer, name) for layer in blocks])

    dz, du = count * whole("dz"), count * whole("du")
    if not last:
        return _Passed(count * whole("dy"), whole("slope"), dz, du, whole("x"))
    y, softmax = whole("y"), _is_softmax(network, number)
    slope = y * (1 - y) if softmax else whole("slope")
    if blocks[0].dphi is not None:
        dy = count * whole("dphi")
    elif softmax:
        targets = Targets.of(rows.target, rows.weights, network.outputs, np.float64)
        dense = dense_target(targets, network.outputs, network.parameters.smoothing)
        weights = targets.weights
        share = (weights / weights.mean())[:, None] if weights.size else 1.0
        dy = -share * _quotient(dense, y)
    else:  # sigmoid
        dy = _quotient(dz, slope)
    return _Passed(dy, slope, dz, du, whole("x"))


def _quotient(numbers: Array, divisors: Array) -> Array:
    """Divide; 0 where there is nothing to divide, NaN where that would be infinite."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        found = numbers / divisors
    return np.where(numbers == 0, 0.0, np.where(np.isfinite(found), found, np.nan))


def _layer(network: BuiltNetwork, layer: object) -> int:
    """Check the number of a layer, from 1; give it from 0."""
    layers = len(network.layout.plan)
    takes, why = "a whole number from 1", ", the output layer"
    return whole_number("explain: layer", layer, 1, layers, takes=takes, why=why) - 1


def _number(name: str, value: object, count: int, what: str) -> None:
    """Check the number of a unit, from 0."""
    takes, why = "a whole number from 0", f", as {what} {count} units"
    whole_number(f"explain: {name}", value, 0, count - 1, takes=takes, why=why)


def _rows(rows: Sequence[int] | Array | None, count: int) -> Array:
    """Check the numbers of rows, from 0."""
    if rows is None:
        return np.arange(count)
    chosen = np.atleast_1d(np.asarray(rows))
    if chosen.dtype.kind not in "iu" or chosen.ndim != 1 or not chosen.size:
        raise InvalidTypeError(f"explain: chosen rows take numbers from 0, as [0, 5]; got {rows!r}")
    wrong = chosen[(chosen < 0) | (chosen >= count)]
    if wrong.size:
        raise InvalidValueError(
            f"explain: chosen rows must lie in 0 to {count - 1}, the data's last; got {wrong[0]}"
        )
    return chosen.astype(np.int64)
