"""The update rules, simplest first: how theta moves given the gradient.

A rule is two neighbours: a function that turns learning rates and step numbers into coefficients,
one row a step, and a kernel that is one loop over theta. Whatever depends on the step alone (bias
corrections, running products) is computed in float64 outside of the loop, and is a pure function
of the step's number: a run may be cut into calls, or resumed, anywhere and ends with the same bits.

All kernels take slices of one length: theta, the gradient and the rule's state vectors. None hides
a NaN or an infinity of the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from downslope.catalogue import RULES, Choice
from downslope.kernels.adam import (
    Columns,
    Options,
    adam,
    adam_columns,
    adam_of_one_row,
    adamax,
    adamax_columns,
    amsgrad,
    betas,
    nadam,
    nadam_columns,
    radam_columns,
)
from downslope.kernels.elementary import signed
from downslope.kernels.jit import Doubles, exact, inner, kernel
from downslope.kernels.lanes import all_lanes, fused, load, root, select, store
from downslope.kernels.muon import muon_columns
from downslope.kernels.tiles import lanes_of
from downslope.kernels.views import borrowed, elements, piece, pointer


def _rate_only(options: Options, rates: Doubles, t: Doubles) -> Columns:
    return (rates,)


@inner
def gd(theta, gradient, row):
    """w = w - eta g."""
    rate = theta.dtype.type(row[0])
    for k in range(theta.shape[0]):
        theta[k] -= rate * gradient[k]


@inner
def gd_of_one_row(theta, x, d, count, units, row):
    """`gd` for `count` rows of W, whose gradient x^T d is that of a single row of the batch.

    It is not stored. All pointers: x (count,), d (units,), theta (count, units).
    """
    some = elements(x, count)
    rate = some.dtype.type(row[0])
    for i in range(count):
        _move_row(pointer(theta, i * units), some[i], d, units, rate)


@exact
def _move_row(w, x, d, units, rate):
    """w = w - rate x d, to the bits of a gradient that is stored; w, d: pointers."""
    own, other = elements(w, units), elements(d, units)
    for j in range(units):
        own[j] = fused(-rate, x * other[j], own[j])


def _momentum(options: Options, rates: Doubles, t: Doubles) -> Columns:
    return rates, options["momentum"]


@exact
def momentum(theta, gradient, velocity, row):
    """v = mu v - eta g; w = w + v."""
    w, g, v, size = pointer(theta, 0), pointer(gradient, 0), pointer(velocity, 0), theta.shape[0]
    rate, mu = all_lanes(w, row[0]), all_lanes(w, row[1])
    for k in range(0, size, lanes_of(w)):
        now = mu * load(v, k, size) - rate * load(g, k, size)
        store(now, v, k, size)
        store(load(w, k, size) + now, w, k, size)


@exact
def nesterov(theta, gradient, velocity, row):
    """v = mu v - eta g; w = w + mu v - eta g."""
    w, g, v, size = pointer(theta, 0), pointer(gradient, 0), pointer(velocity, 0), theta.shape[0]
    rate, mu = all_lanes(w, row[0]), all_lanes(w, row[1])
    for k in range(0, size, lanes_of(w)):
        step = rate * load(g, k, size)
        now = mu * load(v, k, size) - step
        store(now, v, k, size)
        store(load(w, k, size) + (mu * now - step), w, k, size)


def _adagrad(options: Options, rates: Doubles, t: Doubles) -> Columns:
    return rates, options["epsilon"]


@exact
def adagrad(theta, gradient, squares, row):
    """s = s + g^2; w = w - eta g / (sqrt s + epsilon)."""
    w, g, s, size = pointer(theta, 0), pointer(gradient, 0), pointer(squares, 0), theta.shape[0]
    rate, epsilon = all_lanes(w, row[0]), all_lanes(w, row[1])
    for k in range(0, size, lanes_of(w)):
        slope = load(g, k, size)
        now = load(s, k, size) + slope * slope
        store(now, s, k, size)
        store(load(w, k, size) - rate * slope / (root(now) + epsilon), w, k, size)


def _adadelta(options: Options, rates: Doubles, t: Doubles) -> Columns:
    return rates, options["rho"], 1 - options["rho"], options["epsilon"]


@exact
def adadelta(theta, gradient, squares, moves, row):
    """s = rho s + (1-rho) g^2; d = g sqrt(u + epsilon) / sqrt(s + epsilon); u likewise of d."""
    w, g, s, u = pointer(theta, 0), pointer(gradient, 0), pointer(squares, 0), pointer(moves, 0)
    rate, rho, size = all_lanes(w, row[0]), all_lanes(w, row[1]), theta.shape[0]
    rest, epsilon = all_lanes(w, row[2]), all_lanes(w, row[3])
    for k in range(0, size, lanes_of(w)):
        slope, before = load(g, k, size), load(u, k, size)
        now = rho * load(s, k, size) + rest * slope * slope
        move = root(before + epsilon) / root(now + epsilon) * slope
        store(now, s, k, size)
        store(rho * before + rest * move * move, u, k, size)
        store(load(w, k, size) - rate * move, w, k, size)


def _rmsprop(options: Options, rates: Doubles, t: Doubles) -> Columns:
    decay = options["decay"]
    return rates, options["epsilon"], decay, 1 - decay, options["momentum"]


@exact
def rmsprop(theta, gradient, squares, row):
    """s = decay s + (1-decay) g^2; w = w - eta g / (sqrt s + epsilon)."""
    w, g, s, size = pointer(theta, 0), pointer(gradient, 0), pointer(squares, 0), theta.shape[0]
    rate, epsilon = all_lanes(w, row[0]), all_lanes(w, row[1])
    decay, rest = all_lanes(w, row[2]), all_lanes(w, row[3])
    for k in range(0, size, lanes_of(w)):
        slope = load(g, k, size)
        now = decay * load(s, k, size) + rest * slope * slope
        store(now, s, k, size)
        store(load(w, k, size) - rate * slope / (root(now) + epsilon), w, k, size)


@exact
def rmsprop_momentum(theta, gradient, squares, velocity, row):
    """s = decay s + (1-decay) g^2; v = mu v + g / (sqrt s + epsilon); w = w - eta v."""
    w, g, s, v = pointer(theta, 0), pointer(gradient, 0), pointer(squares, 0), pointer(velocity, 0)
    rate, epsilon, mu = all_lanes(w, row[0]), all_lanes(w, row[1]), all_lanes(w, row[4])
    decay, rest, size = all_lanes(w, row[2]), all_lanes(w, row[3]), theta.shape[0]
    for k in range(0, size, lanes_of(w)):
        slope = load(g, k, size)
        square = decay * load(s, k, size) + rest * slope * slope
        now = mu * load(v, k, size) + slope / (root(square) + epsilon)
        store(square, s, k, size)
        store(now, v, k, size)
        store(load(w, k, size) - rate * now, w, k, size)


@exact
def rmsprop_centered(theta, gradient, squares, velocity, means, row):
    """As with momentum (which may be 0), with s - m^2 for s; m = decay m + (1-decay) g."""
    w, g, s, v = pointer(theta, 0), pointer(gradient, 0), pointer(squares, 0), pointer(velocity, 0)
    m, size = pointer(means, 0), theta.shape[0]
    rate, epsilon, mu = all_lanes(w, row[0]), all_lanes(w, row[1]), all_lanes(w, row[4])
    decay, rest, zero = all_lanes(w, row[2]), all_lanes(w, row[3]), all_lanes(w, 0.0)
    for k in range(0, size, lanes_of(w)):
        slope = load(g, k, size)
        square = decay * load(s, k, size) + rest * slope * slope
        mean = decay * load(m, k, size) + rest * slope
        # Under a constant gradient the variance goes to 0, and rounding may leave it below.
        variance = square - mean * mean
        deviation = root(select(variance < zero, zero, variance))
        now = mu * load(v, k, size) + slope / (deviation + epsilon)
        store(square, s, k, size)
        store(mean, m, k, size)
        store(now, v, k, size)
        store(load(w, k, size) - rate * now, w, k, size)


def _lion(options: Options, rates: Doubles, t: Doubles) -> Columns:
    return *betas(options), rates


@exact
def lion(theta, gradient, means, row):
    """w = w - eta sign(beta1 m + (1-beta1) g); m = beta2 m + (1-beta2) g."""
    w, g, m, size = pointer(theta, 0), pointer(gradient, 0), pointer(means, 0), theta.shape[0]
    beta1, rest1 = all_lanes(w, row[0]), all_lanes(w, row[1])
    beta2, rest2 = all_lanes(w, row[2]), all_lanes(w, row[3])
    rate = all_lanes(w, row[4])
    for k in range(0, size, lanes_of(w)):
        slope, mean = load(g, k, size), load(m, k, size)
        move = signed(rate, beta1 * mean + rest1 * slope)
        store(beta2 * mean + rest2 * slope, m, k, size)
        store(load(w, k, size) - move, w, k, size)


def _rprop(options: Options, rates: Doubles, t: Doubles) -> Columns:
    first = np.where(t == 1, rates, 0.0)
    return first, options["minus"], options["plus"], options["low"], options["high"]


@exact
def rprop(theta, gradient, before, steps, row):
    """d = clip(d plus if g g_old > 0, d minus if g g_old < 0, low, high); w = w - sign(g) d.

    g is taken as 0 where its sign has turned. The first step's d is the learning rate.
    """
    w, g, b, s = pointer(theta, 0), pointer(gradient, 0), pointer(before, 0), pointer(steps, 0)
    first, minus, plus = all_lanes(w, row[0]), all_lanes(w, row[1]), all_lanes(w, row[2])
    low, high, size = all_lanes(w, row[3]), all_lanes(w, row[4]), theta.shape[0]
    zero, one = all_lanes(w, 0.0), all_lanes(w, 1.0)
    for k in range(0, size, lanes_of(w)):
        slope = load(g, k, size)
        kept = slope * load(b, k, size)
        by = select(kept > zero, plus, select(kept < zero, minus, one))
        d = (load(s, k, size) + first) * by
        d = select(d > high, high, select(d < low, low, d))
        used = select(kept < zero, zero, slope)
        store(used, b, k, size)
        store(d, s, k, size)
        store(load(w, k, size) - (signed(d, used) + zero * slope), w, k, size)


_COLUMNS: Final[Mapping[str, Callable[[Options, Doubles, Doubles], Columns]]] = MappingProxyType(
    {
        "gd": _rate_only, "momentum": _momentum, "nesterov": _momentum, "adagrad": _adagrad,
        "adadelta": _adadelta, "rmsprop": _rmsprop, "adam": adam_columns, "amsgrad": adam_columns,
        "adamax": adamax_columns, "nadam": nadam_columns, "radam": radam_columns,
        "adamw": adam_columns, "lion": _lion, "rprop": _rprop, "muon": muon_columns,
    }
)  # fmt: skip
"""By rule: (options, rates (steps,), step numbers (steps,)) -> the columns its kernel reads."""

NARROW, WORTH = 16, 1024
"""Units of a layer, parameters of a block from which a gradient that is not stored is worth it: a
row of W is then a vector, and what is done for each row and piece is little beside the block."""

(GD, _MOMENTUM, _NESTEROV, _ADAGRAD, _ADADELTA, _RMSPROP, _ADAM, _AMSGRAD, _ADAMAX, _NADAM, _RADAM,
 _ADAMW, _LION, _RPROP, _) = range(len(RULES))  # fmt: skip


@kernel
def update(rule, theta, gradient, state, start, row):
    """Move theta as `update_block` does, called from Python."""
    update_block(rule, borrowed(theta), borrowed(gradient), borrowed(state), start, borrowed(row))


@inner
def update_block(rule, theta, gradient, state, start, row):
    """Move one block of theta, in place, by the rule of that code.

    theta, gradient: (block,); state: (moments, all of theta), the block's from `start` on, zeros
    before the first step; row: the step's of `coefficients`.
    """
    size, length = theta.shape[0], state.shape[1]
    if rule == GD:
        gd(theta, gradient, row)
    elif state.shape[0] == 1:
        update_by_one(rule, theta, gradient, piece(state, start, size), row)
    else:
        a, b = piece(state, start, size), piece(state, length + start, size)
        if rule == _ADADELTA:
            adadelta(theta, gradient, a, b, row)
        elif rule == _AMSGRAD:
            amsgrad(theta, gradient, a, b, piece(state, 2 * length + start, size), row)
        elif rule == _RMSPROP and state.shape[0] == 3:
            mean = piece(state, 2 * length + start, size)
            rmsprop_centered(theta, gradient, a, b, mean, row)
        elif rule == _RMSPROP:
            rmsprop_momentum(theta, gradient, a, b, row)
        elif rule == _ADAMAX:
            adamax(theta, gradient, a, b, row)
        elif rule == _NADAM:
            nadam(theta, gradient, a, b, row)
        elif rule == _RPROP:
            rprop(theta, gradient, a, b, row)
        else:  # adam, adamw, radam; muon for what is no hidden weight matrix
            adam(theta, gradient, a, b, row)


@inner
def takes_one_row(rule, size):
    """Say whether a block of that size is better moved by a single row's gradient unstored."""
    return rule == GD or (size >= WORTH and rule in (_ADAM, _RADAM, _ADAMW))


@inner
def update_by_one_row(rule, theta, x, d, state, start, count, units, row):
    """Move `count` rows of W, whose gradient x^T d is that of a single row; say whether it did.

    To the bits of `update_block`, which narrow matrices are left to, but for gradient descent: of
    those a vector holds several rows. theta, x, d: pointers.
    """
    if rule == GD:
        gd_of_one_row(theta, x, d, count, units, row)
    elif units < NARROW:
        return False
    else:
        adam_of_one_row(theta, x, d, pointer(state, start), pointer(state, state.shape[1] + start),
                        count, units, row)  # fmt: skip
    return True


@inner
def update_by_one(rule, theta, gradient, moment, row):
    """Move one block of theta by a rule that keeps one state vector."""
    if rule == _MOMENTUM:
        momentum(theta, gradient, moment, row)
    elif rule == _NESTEROV:
        nesterov(theta, gradient, moment, row)
    elif rule == _ADAGRAD:
        adagrad(theta, gradient, moment, row)
    elif rule == _RMSPROP:
        rmsprop(theta, gradient, moment, row)
    elif rule == _LION:
        lion(theta, gradient, moment, row)


def coefficients(choice: Choice, rates: Doubles, first_step: int) -> Doubles:
    """Turn the learning rates of consecutive steps into what `update` reads, one row a step.

    The rows of a step are the same bits whichever way the steps are cut into calls.

    Parameters
    ----------
    choice
        The rule.
    rates
        (steps,) float64, at least one step: each step's learning rate.
    first_step
        Number of the first of them in the run, which counts from 1.

    Returns
    -------
    (steps, columns) float64, C-contiguous; the columns are the rule's own.

    Examples
    --------
    >>> from downslope.catalogue import choose
    >>> coefficients(choose("rule", "momentum"), np.array([0.1, 0.05]), first_step=1)
    array([[0.1 , 0.9 ],
           [0.05, 0.9 ]])
    """
    t = np.arange(first_step, first_step + len(rates), dtype=np.float64)
    columns = _COLUMNS[choice.name](choice.options, rates, t)
    table = np.empty((len(rates), len(columns)))
    for number, column in enumerate(columns):
        table[:, number] = column
    return table


def moments(choice: Choice) -> int:
    """Count the state vectors, each as long as theta, that a rule keeps from step to step.

    Examples
    --------
    >>> from downslope.catalogue import choose
    >>> moments(choose("rule", "adam")), moments(choose("rule", "rmsprop(centered=1)"))
    (2, 3)
    """
    if choice.name == "rmsprop":
        return 3 if choice.options["centered"] else 1 + int(choice.options["momentum"] > 0)
    known = {"gd": 0, "momentum": 1, "nesterov": 1, "adagrad": 1, "lion": 1, "amsgrad": 3}
    return known.get(choice.name, 2)
