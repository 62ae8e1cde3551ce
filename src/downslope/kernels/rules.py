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
from downslope.errors import InvalidValueError
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
from downslope.kernels.jit import Doubles, exact, inner, kernel
from downslope.kernels.lanes import fused
from downslope.kernels.muon import muon_columns
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


@inner
def momentum(theta, gradient, velocity, row):
    """v = mu v - eta g; w = w + v."""
    rate, mu = theta.dtype.type(row[0]), theta.dtype.type(row[1])
    for k in range(theta.shape[0]):
        v = mu * velocity[k] - rate * gradient[k]
        velocity[k] = v
        theta[k] += v


@inner
def nesterov(theta, gradient, velocity, row):
    """v = mu v - eta g; w = w + mu v - eta g."""
    rate, mu = theta.dtype.type(row[0]), theta.dtype.type(row[1])
    for k in range(theta.shape[0]):
        before = velocity[k]
        v = mu * before - rate * gradient[k]
        velocity[k] = v
        # mu v - eta g, in a form that the compiler does not regroup differently at a loop's end.
        theta[k] += v + mu * (v - before)


def _adagrad(options: Options, rates: Doubles, t: Doubles) -> Columns:
    return rates, options["epsilon"]


@inner
def adagrad(theta, gradient, squares, row):
    """s = s + g^2; w = w - eta g / (sqrt s + epsilon)."""
    rate, epsilon = theta.dtype.type(row[0]), theta.dtype.type(row[1])
    for k in range(theta.shape[0]):
        g = gradient[k]
        s = squares[k] + g * g
        squares[k] = s
        theta[k] -= rate * g / (np.sqrt(s) + epsilon)


def _adadelta(options: Options, rates: Doubles, t: Doubles) -> Columns:
    return rates, options["rho"], 1 - options["rho"], options["epsilon"]


@inner
def adadelta(theta, gradient, squares, moves, row):
    """s = rho s + (1-rho) g^2; d = g sqrt(u + epsilon) / sqrt(s + epsilon); u likewise of d."""
    rate, rho = theta.dtype.type(row[0]), theta.dtype.type(row[1])
    rest, epsilon = theta.dtype.type(row[2]), theta.dtype.type(row[3])
    for k in range(theta.shape[0]):
        g = gradient[k]
        s = rho * squares[k] + rest * g * g
        d = np.sqrt(moves[k] + epsilon) / np.sqrt(s + epsilon) * g
        squares[k] = s
        moves[k] = rho * moves[k] + rest * d * d
        theta[k] -= rate * d


def _rmsprop(options: Options, rates: Doubles, t: Doubles) -> Columns:
    decay = options["decay"]
    return rates, options["epsilon"], decay, 1 - decay, options["momentum"]


@inner
def rmsprop(theta, gradient, squares, row):
    """s = decay s + (1-decay) g^2; w = w - eta g / (sqrt s + epsilon)."""
    rate, epsilon = theta.dtype.type(row[0]), theta.dtype.type(row[1])
    decay, rest = theta.dtype.type(row[2]), theta.dtype.type(row[3])
    for k in range(theta.shape[0]):
        g = gradient[k]
        s = decay * squares[k] + rest * g * g
        squares[k] = s
        theta[k] -= rate * g / (np.sqrt(s) + epsilon)


@inner
def rmsprop_momentum(theta, gradient, squares, velocity, row):
    """s = decay s + (1-decay) g^2; v = mu v + g / (sqrt s + epsilon); w = w - eta v."""
    rate, epsilon = theta.dtype.type(row[0]), theta.dtype.type(row[1])
    decay, rest = theta.dtype.type(row[2]), theta.dtype.type(row[3])
    mu = theta.dtype.type(row[4])
    for k in range(theta.shape[0]):
        g = gradient[k]
        s = decay * squares[k] + rest * g * g
        v = mu * velocity[k] + g / (np.sqrt(s) + epsilon)
        squares[k], velocity[k] = s, v
        theta[k] -= rate * v


@inner
def rmsprop_centered(theta, gradient, squares, velocity, means, row):
    """As with momentum (which may be 0), with s - m^2 for s; m = decay m + (1-decay) g."""
    rate, epsilon = theta.dtype.type(row[0]), theta.dtype.type(row[1])
    decay, rest = theta.dtype.type(row[2]), theta.dtype.type(row[3])
    mu, zero = theta.dtype.type(row[4]), theta.dtype.type(0)
    for k in range(theta.shape[0]):
        g = gradient[k]
        s = decay * squares[k] + rest * g * g
        m = decay * means[k] + rest * g
        # Under a constant gradient the variance goes to 0, and rounding may leave it below.
        variance = s - m * m
        v = mu * velocity[k] + g / (np.sqrt(zero if variance < zero else variance) + epsilon)
        squares[k], means[k], velocity[k] = s, m, v
        theta[k] -= rate * v


def _lion(options: Options, rates: Doubles, t: Doubles) -> Columns:
    return *betas(options), rates


@inner
def lion(theta, gradient, means, row):
    """w = w - eta sign(beta1 m + (1-beta1) g); m = beta2 m + (1-beta2) g."""
    beta1, rest1 = theta.dtype.type(row[0]), theta.dtype.type(row[1])
    beta2, rest2 = theta.dtype.type(row[2]), theta.dtype.type(row[3])
    rate, zero = theta.dtype.type(row[4]), theta.dtype.type(0)
    for k in range(theta.shape[0]):
        g = gradient[k]
        c = beta1 * means[k] + rest1 * g
        means[k] = beta2 * means[k] + rest2 * g
        # 0 times NaN or infinity is NaN: a sign alone would hide both.
        theta[k] -= (rate if c > zero else (-rate if c < zero else zero)) + zero * c


def _rprop(options: Options, rates: Doubles, t: Doubles) -> Columns:
    first = np.where(t == 1, rates, 0.0)
    return first, options["minus"], options["plus"], options["low"], options["high"]


@inner
def rprop(theta, gradient, before, steps, row):
    """d = clip(d plus if g g_old > 0, d minus if g g_old < 0, low, high); w = w - sign(g) d.

    g is taken as 0 where its sign has turned. The first step's d is the learning rate.
    """
    first, minus = theta.dtype.type(row[0]), theta.dtype.type(row[1])
    plus, low, high = theta.dtype.type(row[2]), theta.dtype.type(row[3]), theta.dtype.type(row[4])
    zero, one = theta.dtype.type(0), theta.dtype.type(1)
    for k in range(theta.shape[0]):
        g = gradient[k]
        kept = g * before[k]
        d = (steps[k] + first) * (plus if kept > zero else (minus if kept < zero else one))
        d = high if d > high else (low if d < low else d)
        used = zero if kept < zero else g
        before[k], steps[k] = used, d
        # 0 times NaN or infinity is NaN: a sign alone would hide both.
        theta[k] -= (d if used > zero else (-d if used < zero else zero)) + zero * g


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

    Raises
    ------
    InvalidValueError
        If an option of the rule is out of its range.

    Examples
    --------
    >>> from downslope.catalogue import choose
    >>> coefficients(choose("rule", "momentum"), np.array([0.1, 0.05]), first_step=1)
    array([[0.1 , 0.9 ],
           [0.05, 0.9 ]])
    """
    check(choice)
    t = np.arange(first_step, first_step + len(rates), dtype=np.float64)
    columns = _COLUMNS[choice.name](choice.options, rates, t)
    table = np.empty((len(rates), len(columns)))
    for number, column in enumerate(columns):
        table[:, number] = column
    return table


def moments(choice: Choice) -> int:
    """Count the state vectors, each as long as theta, that a rule keeps from step to step.

    Raises
    ------
    InvalidValueError
        If an option of the rule is out of its range.

    Examples
    --------
    >>> from downslope.catalogue import choose
    >>> moments(choose("rule", "adam")), moments(choose("rule", "rmsprop(centered=1)"))
    (2, 3)
    """
    check(choice)
    if choice.name == "rmsprop":
        return 3 if choice.options["centered"] else 1 + int(choice.options["momentum"] > 0)
    known = {"gd": 0, "momentum": 1, "nesterov": 1, "adagrad": 1, "lion": 1, "amsgrad": 3}
    return known.get(choice.name, 2)


_SHARE: Final = ("lie in [0, 1)", lambda value: 0 <= value < 1)
_POSITIVE: Final = ("be above 0", lambda value: value > 0)
_NOT_NEGATIVE: Final = ("be at least 0", lambda value: value >= 0)

_LIMITS: Final[Mapping[str, tuple[str, Callable[[float], bool]]]] = MappingProxyType(
    {
        "momentum": _SHARE, "beta1": _SHARE, "beta2": _SHARE, "rho": _SHARE, "decay": _SHARE,
        # 0 would make 0 / 0 of a gradient that is 0, as a dead unit's.
        "epsilon": _POSITIVE,
        "centered": ("be 0 or 1", lambda value: value in (0, 1)),
        "uncorrected": ("be 0 or 1", lambda value: value in (0, 1)),
        "nadam decay": _NOT_NEGATIVE, "weight_decay": _NOT_NEGATIVE, "adam_rate": _NOT_NEGATIVE,
        "minus": ("lie in (0, 1)", lambda value: 0 < value < 1),
        "plus": ("be above 1", lambda value: value > 1),
        "low": _NOT_NEGATIVE, "high": _POSITIVE,
        "iterations": ("be a whole number from 1 to 99", lambda value: value in range(1, 100)),
    }
)  # fmt: skip


def check(choice: Choice) -> None:
    """Raise InvalidValueError where an option of a rule is out of its range.

    >>> from downslope.catalogue import choose
    >>> check(choose("rule", "adam(beta1=1)"))
    Traceback (most recent call last):
    downslope.errors.InvalidValueError: rule 'adam': beta1 must lie in [0, 1); got 1
    """
    options = choice.options
    for key, value in options.items():
        must, holds = _LIMITS.get(f"{choice.name} {key}", _LIMITS[key])
        if not holds(value):
            raise InvalidValueError(f"rule {choice.name!r}: {key} must {must}; got {value:g}")
    if choice.name == "rprop" and options["low"] > options["high"]:
        raise InvalidValueError(
            f"rule 'rprop': low must not exceed high; got {options['low']:g}, {options['high']:g}"
        )
