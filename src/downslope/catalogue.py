"""Every name that a recipe may use, with one line and its equation.

A named choice is written ``name`` or ``name(option=value, ...)``, the same way in Python, in a
recipe's file and on the command line: ``"adam"``, ``"leaky_relu(slope=0.2)"``,
``"adam(0.9, 0.95)"``.
Kernels know a name by its position in its table here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from downslope.counts import told, within
from downslope.errors import InvalidTypeError, InvalidValueError, nearest


@dataclass(frozen=True)
class Entry:
    """One name: what it is, its equation, its options with their defaults, its source."""

    name: str
    line: str
    equation: str
    options: Mapping[str, float] = field(default_factory=dict)
    source: str = ""
    learning_rate: float = math.nan
    """The usual learning rate of a rule; NaN for what has none."""


@dataclass(frozen=True)
class Choice:
    """A name with its options filled in, as a recipe means it."""

    name: str
    options: Mapping[str, float]
    code: int

    def __str__(self) -> str:
        if not self.options:
            return self.name
        return (
            f"{self.name}({', '.join(f'{key}={value:g}' for key, value in self.options.items())})"
        )

    def values(self) -> tuple[float, ...]:
        """Give the options' values in the catalogue's order."""
        return tuple(self.options.values())


def _table(*entries: Entry) -> Mapping[str, Entry]:
    return MappingProxyType({entry.name: entry for entry in entries})


ACTIVATIONS: Final = _table(
    Entry("identity", "passes z through", "y = z"),
    Entry("sigmoid", "squashes to (0, 1); flat at both ends", "y = 1 / (1 + exp(-z))"),
    Entry("tanh", "squashes to (-1, 1), centred; flat at both ends", "y = tanh(z)"),
    Entry("relu", "cuts off below 0; a unit below 0 for every row is dead", "y = max(0, z)",
          source="Nair and Hinton 2010"),
    Entry("leaky_relu", "ReLU with a small slope below 0, so no unit dies",
          "y = z if z > 0 else slope z", {"slope": 0.01}, "Maas, Hannun and Ng 2013"),
    Entry("prelu", "Leaky ReLU whose slope is learned, one a unit (slope: where it starts)",
          "y = z if z > 0 else a z, a learned", {"slope": 0.25}, "He et al. 2015"),
    Entry("elu", "smooth below 0, towards -alpha", "y = z if z > 0 else alpha (exp(z) - 1)",
          {"alpha": 1.0}, "Clevert, Unterthiner and Hochreiter 2016"),
    Entry("selu", "ELU scaled so that mean 0 and variance 1 keep themselves",
          "y = 1.0507 (z if z > 0 else 1.6733 (exp(z) - 1))", source="Klambauer et al. 2017"),
    Entry("gelu", "z weighted by the normal distribution function, exact form",
          "y = z Phi(z) = z (1 + erf(z / sqrt 2)) / 2", source="Hendrycks and Gimpel 2016"),
    Entry("gelu_tanh", "GELU by its tanh approximation",
          "y = z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))) / 2",
          source="Hendrycks and Gimpel 2016"),
    Entry("silu", "z weighted by its sigmoid (swish)", "y = z / (1 + exp(-z))",
          source="Elfwing, Uchibe and Doya 2018"),
    Entry("softplus", "the smooth ReLU", "y = log(1 + exp(z))", source="Dugas et al. 2001"),
    Entry("mish", "z weighted by tanh of its softplus", "y = z tanh(log(1 + exp(z)))",
          source="Misra 2019"),
    Entry("softmax", "outputs only: positive values that add up to 1 over the units",
          "y_j = exp(z_j) / sum_k exp(z_k)", source="Bridle 1990"),
)  # fmt: skip

HIDDEN_ACTIVATIONS: Final = tuple(name for name in ACTIVATIONS if name != "softmax")
"""Those that work unit by unit."""

LOSSES: Final = _table(
    Entry("cross_entropy", "one class of several: minus the log-probability of the true one",
          "L = -sum_j t_j log y_j"),
    Entry("binary_cross_entropy", "each output a yes or a no of its own",
          "L = -sum_j (t_j log y_j + (1 - t_j) log(1 - y_j))"),
    Entry("squared_error", "half the squared distance to the target",
          "L = sum_j (y_j - t_j)^2 / 2"),
    Entry("absolute_error", "the distance to the target; outliers pull no harder than others",
          "L = sum_j |y_j - t_j|"),
    Entry("huber", "squared near the target, absolute beyond delta",
          "L = sum_j r^2 / 2 if |r| <= delta else delta (|r| - delta / 2), r = y_j - t_j",
          {"delta": 1.0}, "Huber 1964"),
    Entry("poisson", "counts: the outputs are the logarithms of what is expected",
          "L = sum_j exp(y_j) - t_j y_j + t_j log t_j - t_j", source="Nelder and Wedderburn 1972"),
)  # fmt: skip

RULES: Final = _table(
    Entry("gd", "gradient descent: a step against the gradient", "w = w - eta g",
          learning_rate=0.1),
    Entry("momentum", "the step remembers where it was going (Polyak's heavy ball)",
          "v = momentum v - eta g; w = w + v", {"momentum": 0.9},
          "Polyak 1964; the form of Sutskever et al. 2013", 0.01),
    Entry("nesterov", "momentum that looks ahead before it takes the gradient",
          "v = momentum v - eta g; w = w + momentum v - eta g", {"momentum": 0.9},
          "Nesterov 1983; the form of Sutskever et al. 2013 and Bengio et al. 2013", 0.01),
    Entry("adagrad", "each weight's rate shrinks by the gradients it has seen",
          "s = s + g^2; w = w - eta g / (sqrt s + epsilon)", {"epsilon": 1e-10},
          "Duchi, Hazan and Singer 2011", 0.01),
    Entry("adadelta", "AdaGrad over a window, with steps in the weights' own units",
          "s = rho s + (1-rho) g^2; d = g sqrt(u + epsilon) / sqrt(s + epsilon); "
          "u = rho u + (1-rho) d^2; w = w - eta d",
          {"rho": 0.9, "epsilon": 1e-6}, "Zeiler 2012", 1.0),
    Entry("rmsprop", "the gradient over its recent root mean square; centered takes its variance",
          "s = decay s + (1-decay) g^2; [m = decay m + (1-decay) g; s' = s - m^2]; "
          "v = momentum v + g / (sqrt s' + epsilon); w = w - eta v",
          {"decay": 0.99, "epsilon": 1e-8, "momentum": 0.0, "centered": 0.0},
          "Tieleman and Hinton 2012; centered: Graves 2013", 0.001),
    Entry("adam", "momentum over root mean square, both corrected for their start at 0",
          "m = beta1 m + (1-beta1) g; v = beta2 v + (1-beta2) g^2; "
          "w = w - eta m/(1-beta1^t) / (sqrt(v/(1-beta2^t)) + epsilon); "
          "uncorrected: (sqrt v + epsilon) / sqrt(1-beta2^t)",
          {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "uncorrected": 0.0},
          "Kingma and Ba 2015; uncorrected: the form at the end of their section 2", 0.001),
    Entry("amsgrad", "Adam whose second moment never shrinks",
          "as adam, with u = max(u, v) in the place of v",
          {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}, "Reddi, Kale and Kumar 2018", 0.001),
    Entry("adamax", "Adam by the largest recent gradient",
          "m = beta1 m + (1-beta1) g; u = max(beta2 u, |g| + epsilon); "
          "w = w - eta/(1-beta1^t) m / u",
          {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}, "Kingma and Ba 2015, section 7.1",
          0.002),
    Entry("nadam", "Adam that looks ahead as Nesterov does",
          "mu_t = beta1 (1 - 0.96^(t decay) / 2); w = w - eta (mu_(t+1) m / (1 - prod_(t+1) mu) + "
          "(1 - mu_t) g / (1 - prod_t mu)) / (sqrt(v/(1-beta2^t)) + epsilon)",
          {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "decay": 0.004}, "Dozat 2016", 0.002),
    Entry("radam", "Adam that waits with its second moment until that can be trusted",
          "rho_t = 2/(1-beta2) - 1 - 2 t beta2^t / (1-beta2^t); if rho_t > 5 Adam's step times "
          "r_t, else w = w - eta m/(1-beta1^t)",
          {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}, "Liu et al. 2020", 0.001),
    Entry("adamw", "Adam with weight decay apart from the gradient",
          "w = w - eta weight_decay w, then adam",
          {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01},
          "Loshchilov and Hutter 2019", 0.001),
    Entry("lion", "the sign of a momentum: every weight moves by eta",
          "w = w - eta sign(beta1 m + (1-beta1) g); m = beta2 m + (1-beta2) g",
          {"beta1": 0.9, "beta2": 0.99}, "Chen et al. 2023", 1e-4),
    Entry("rprop", "each weight's own step, longer while the gradient keeps its sign (full batch)",
          "d = clip(d plus if g g_old > 0, d minus if g g_old < 0, low, high); w = w - sign(g) d; "
          "g = 0 where its sign has turned; d starts at eta",
          {"minus": 0.5, "plus": 1.2, "low": 1e-6, "high": 50.0},
          "Riedmiller and Braun 1993; without weight backtracking: Igel and Huesken 2000", 0.01),
    Entry("muon", "momentum made orthogonal, for hidden weight matrices; Adam for all the rest",
          "M = momentum M + (1-momentum) G; "
          "W = W - eta max(1, out/in)^(1/2) orthogonal((1-momentum) G + momentum M)",
          {"momentum": 0.95, "iterations": 5.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8,
           "adam_rate": 0.05},
          "Jordan et al. 2024; adam_rate: Adam's learning rate over Muon's", 0.02),
)  # fmt: skip

INITIALIZERS: Final = _table(
    Entry("auto", "He for the ReLU family, LeCun for SELU, else Glorot; output layer at 0", ""),
    Entry("zeros", "all alike: the units of a layer never part (to see why not)", "w = 0"),
    Entry("constant", "all weights the same", "w = value", {"value": 0.01}),
    Entry("normal", "normal, of one standard deviation whatever the widths", "w ~ N(0, std^2)",
          {"std": 0.01}),
    Entry("uniform", "uniform, of one limit whatever the widths", "w ~ U(-limit, limit)",
          {"limit": 0.05}),
    Entry("glorot_uniform", "keeps variance forward and backward (Xavier)",
          "w ~ U(-a, a), a = sqrt(6 / (in + out))", source="Glorot and Bengio 2010, equation 16"),
    Entry("glorot_normal", "keeps variance forward and backward (Xavier)",
          "w ~ N(0, 2 / (in + out))", source="Glorot and Bengio 2010, equation 12"),
    Entry("he_uniform", "keeps variance forward through ReLU", "w ~ U(-a, a), a = sqrt(6 / in)",
          source="He et al. 2015, equation 10"),
    Entry("he_normal", "keeps variance forward through ReLU", "w ~ N(0, 2 / in)",
          source="He et al. 2015, equation 10"),
    Entry("lecun_uniform", "keeps variance forward through a linear layer",
          "w ~ U(-a, a), a = sqrt(3 / in)", source="LeCun et al. 1998, section 4.6"),
    Entry("lecun_normal", "keeps variance forward through a linear layer", "w ~ N(0, 1 / in)",
          source="LeCun et al. 1998, section 4.6"),
    Entry("orthogonal", "orthonormal rows or columns, times gain", "W = gain Q",
          {"gain": 1.0}, "Saxe, McClelland and Ganguli 2014"),
)  # fmt: skip

SCHEDULES: Final = _table(
    Entry("constant", "one learning rate throughout", "eta_t = eta"),
    Entry("step", "times factor every so many epochs", "eta_t = eta factor^floor(epoch / every)",
          {"every": 30.0, "factor": 0.1}),
    Entry("exponential", "times factor every epoch, smoothly", "eta_t = eta factor^(t / epoch)",
          {"factor": 0.95}),
    Entry("inverse_scaling", "scikit-learn's invscaling", "eta_t = eta / (t + 1)^power, t in rows",
          {"power": 0.5}),
    Entry("cosine", "half a cosine from eta down to final times eta over the whole run",
          "eta_t = eta (final + (1 - final) (1 + cos(pi t / T)) / 2)", {"final": 0.0},
          "Loshchilov and Hutter 2017"),
    Entry("one_cycle", "up by a cosine until peak_at of the run, then down",
          "eta/start .. eta .. eta/(start end)",
          {"peak_at": 0.3, "start": 25.0, "end": 1e4}, "Smith and Topin 2019"),
    Entry("plateau", "times factor when the loss has not improved for patience epochs",
          "eta = max(low, factor eta)",
          {"factor": 0.1, "patience": 10.0, "tolerance": 1e-4, "low": 0.0}),
)  # fmt: skip

TABLES: Final[Mapping[str, Mapping[str, Entry]]] = MappingProxyType(
    {
        "activation": ACTIVATIONS,
        "loss": LOSSES,
        "rule": RULES,
        "initializer": INITIALIZERS,
        "schedule": SCHEDULES,
    }
)

_LIMITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Of activations; a slope may have any sign: -1 makes the absolute value of leaky_relu.
        "slope": "(-inf, inf)", "alpha": "[0, inf)",
        # Of losses.
        "delta": "(0, inf)",
        # Of rules. With epsilon 0, a gradient of 0 (a dead unit's) gives 0 / 0.
        "momentum": "[0, 1)", "beta1": "[0, 1)", "beta2": "[0, 1)", "rho": "[0, 1)",
        "decay": "[0, 1)", "nadam decay": "[0, inf)", "epsilon": "(0, inf)",
        "centered": "whole [0, 1]", "uncorrected": "whole [0, 1]", "weight_decay": "[0, inf)",
        "adam_rate": "[0, inf)", "minus": "(0, 1)", "plus": "(1, inf)",
        "low": "[0, inf)", "high": "(0, inf)", "iterations": "whole [1, 99]",
        # Of initializers: "normal" and "uniform" have a scale, "constant" a weight itself.
        "std": "[0, inf)", "limit": "[0, inf)", "value": "(-inf, inf)", "gain": "(-inf, inf)",
        # Of schedules.
        "every": "whole [1, inf)", "factor": "(0, inf)", "plateau factor": "(0, 1)",
        "power": "[0, inf)", "final": "[0, 1]", "peak_at": "[0, 1]", "start": "(0, inf)",
        "end": "(0, inf)", "patience": "whole [0, inf)", "tolerance": "[0, 1)",
    }
)  # fmt: skip
"""By option, or by name and option where two differ: its range; "whole" takes no other numbers."""

_WRITTEN = re.compile(r"^\s*([A-Za-z_][\w-]*)\s*(?:\((.*)\))?\s*$", re.DOTALL)


def code(kind: str, name: str) -> int:
    """Give the position of a name in its table, by which the kernels know it.

    >>> code("activation", "relu")
    3
    """
    return list(TABLES[kind]).index(name)


def split_list(text: str) -> list[str]:
    """Split at commas outside of parentheses.

    >>> split_list("gd, adam(beta1=0.9, beta2=0.95), lion")
    ['gd', 'adam(beta1=0.9, beta2=0.95)', 'lion']
    """
    return [part.strip() for part in re.split(r",(?![^(]*\))", text)]


def plain_name(text: str) -> str:
    """Give the name in what was written, without options, as the tables have it.

    >>> plain_name("Leaky-ReLU(0.2)")
    'leaky_relu'
    """
    written = _WRITTEN.match(text)
    return written.group(1).lower().replace("-", "_") if written else text


def canonical(kind: str, text: object) -> str:
    """Give the one text that stands for a named choice, however it was written.

    It is the name and, by their names, the options that are not the usual ones. Raises as `choose`.

    >>> canonical("rule", "Adam(0.9, .95)"), canonical("loss", "Poisson")
    ('adam(beta2=0.95)', 'poisson')
    """
    choice = choose(kind, text)
    usual = TABLES[kind][choice.name].options
    options = ", ".join(
        f"{key}={repr(value).removesuffix('.0')}"
        for key, value in choice.options.items()
        if value != usual[key]
    )
    return f"{choice.name}({options})" if options else choice.name


def choose(kind: str, text: object) -> Choice:
    """Read a named choice: ``name`` or ``name(option=value, ...)``, values also by position.

    Parameters
    ----------
    kind
        Which table: a key of `TABLES`.
    text
        What was written.

    Raises
    ------
    InvalidTypeError
        If `text` is no text.
    InvalidValueError
        For an unknown name or option, one that is given twice, or a value that is no finite
        number or out of its range.

    Examples
    --------
    >>> print(choose("rule", "adam(beta2=0.99)"))
    adam(beta1=0.9, beta2=0.99, epsilon=1e-08, uncorrected=0)
    >>> choose("activation", "leaky_relu(0.2)").options["slope"]
    0.2
    >>> choose("loss", "huber(delta=0)")
    Traceback (most recent call last):
    downslope.errors.InvalidValueError: loss 'huber': delta must be above 0; got 0
    """
    if not isinstance(text, str):
        raise InvalidTypeError(
            f"{kind} takes a name such as {next(iter(TABLES[kind]))!r}; got {text!r}"
        )
    written = _WRITTEN.match(text)
    name = plain_name(text)
    entry = TABLES[kind].get(name)
    if written is None or entry is None:
        raise InvalidValueError(f"unknown {kind} {text!r}: {nearest(name, TABLES[kind])}")
    given: dict[str, float] = {}
    arguments = [part for part in (written.group(2) or "").split(",") if part.strip()]
    for position, argument in enumerate(arguments):
        key, value = _argument(kind, entry, argument, position)
        if key in given:
            raise InvalidValueError(
                f"{kind} {entry.name!r}: {key} is given twice, as {given[key]:g} and as "
                f"{value:g}; give it once"
            )
        _check_range(kind, entry.name, key, value)
        given[key] = value
    options = MappingProxyType({**entry.options, **given})
    _check_order(entry.name, options)
    return Choice(entry.name, options, code(kind, entry.name))


def _check_range(kind: str, name: str, key: str, value: float) -> None:
    """Raise InvalidValueError where an option is out of its range."""
    limit = _LIMITS.get(f"{name} {key}") or _LIMITS[key]
    interval = limit.removeprefix("whole ")
    whole = interval != limit
    if within(value, interval) and not (whole and value % 1):
        return
    must = f"{'be a whole number and ' if whole else ''}{told(value, interval)}"
    raise InvalidValueError(f"{kind} {name!r}: {key} must {must}; got {value:g}")


def _check_order(name: str, options: Mapping[str, float]) -> None:
    """Raise InvalidValueError where the bounds on rprop's steps leave none between them."""
    if name == "rprop" and options["low"] > options["high"]:
        raise InvalidValueError(
            f"rule 'rprop': low must not exceed high; got {options['low']:g}, {options['high']:g}"
        )


def _argument(kind: str, entry: Entry, text: str, position: int) -> tuple[str, float]:
    """Read one option of a choice, given by its name or by its position."""
    names = list(entry.options)
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals:
        key, value = (names[position] if position < len(names) else text.strip()), key
    if key not in entry.options:
        known = nearest(key, names) if names else "it takes none"
        raise InvalidValueError(f"{kind} {entry.name!r} has no option {key!r}: {known}")
    truth = {"true": 1.0, "false": 0.0}.get(value.lower())
    try:
        number = float(value) if truth is None else truth
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidValueError(
            f"{kind} {entry.name!r}: option {key!r} takes a finite number; got {value!r}"
        )
    return key, number
