"""`downslope descend`: gradient descent on a function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from downslope.catalogue import split_list
from downslope.errors import InvalidValueError


@Parameter(name="*")
@dataclass(frozen=True)
class FunctionSettings:
    """How the descents go and when they stop.

    Parameters
    ----------
    steps
        Bound on steps.
    seconds
        Bound on the time of each rule.
    gradient_tolerance
        Stop when the gradient's norm falls below.
    target_loss
        Stop when f comes down to this.
    schedule
        Of the learning rate: see `downslope schedules`.
    warmup
        Steps of linear rise before the schedule.
    clip_norm
        Bound on the norm of the gradient.
    clip_value
        Bound on each entry of the gradient.
    weight_decay
        Decoupled weight decay.
    noise
        Standard deviation of noise on each entry of a gradient.
    seed
        Of random starts and of noise.
    """

    steps: int = 1000
    seconds: float | None = None
    gradient_tolerance: float = 1e-8
    target_loss: float | None = None
    schedule: str = "constant"
    warmup: int = 0
    clip_norm: float | None = None
    clip_value: float | None = None
    weight_decay: float = 0.0
    noise: float | None = None
    seed: int = 0


USUAL = FunctionSettings()
"""Nothing set."""


def descend(
    function: str,
    /,
    *,
    start: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    starts: int | None = None,
    rule: str = "gd",
    learning_rate: str | None = None,
    settings: FunctionSettings = USUAL,
    trace: bool = False,
    out: Path | None = None,
) -> None:
    """Descend a function, and say what the place is where each descent ended.

    Parameters
    ----------
    function
        A formula, as "x^2 + sin(x)", or one of those that `downslope functions` lists.
    start
        One number for each variable, with commas: -1.5,2.
    starts
        So many random starts from the function's domain instead.
    rule
        One or several with commas: see `downslope rules`; lbfgs is SciPy's.
    learning_rate
        One or several with commas. By default the best of a sweep, for each rule.
    settings
        How the descents go and when they stop.
    trace
        Print every step: w, f(w), df/dw, and what was added to w.
    out
        An HTML page to write, with the pictures.
    """
    from downslope import function_terminal as terminal
    from downslope.functions import resolve
    from downslope.minimization import check_rule, random_starts

    if out is not None:
        from downslope.storage import check_writable

        check_writable(out)
    rules, rates = _several(rule), _rates(learning_rate)
    for each in rules:
        check_rule(each)
    given = None if start is None else _numbers("--start", start)
    if given is not None and starts is not None:
        raise InvalidValueError("--start is one start and --starts are random ones; give either")
    if starts is not None and starts < 1:
        raise InvalidValueError(f"--starts must be at least 1; got {starts}")
    resolved = resolve(function, None if given is None else len(given))
    if starts is not None:
        points: Any = random_starts(resolved, starts, settings.seed)
    elif given is None and not resolved.start:
        named = ", ".join(resolved.variables)
        raise InvalidValueError(f"say with --start where to begin: one number each for {named}")
    else:
        points = [given or resolved.start]
    terminal.print_function(resolved)
    runs: list[Any] = []
    for new in _descents(resolved, points, rules, rates, settings):
        runs += new
        if trace:
            for run in new:
                terminal.print_trace(run)
    if len(points) > 1:
        terminal.print_places(runs)
    elif len(runs) == 1:
        terminal.print_run(runs[0], runs)
    else:
        terminal.print_runs(runs)
    if out is not None:
        from downslope.function_page import write_page

        print(f"\npage      {write_page(runs, out)}")


def _descents(
    function: Any, points: Any, rules: Sequence[str], rates: Sequence[float | None],
    settings: FunctionSettings,
) -> Iterator[list[Any]]:  # fmt: skip
    """Run rule after rule and rate after rate; Ctrl-C ends what runs and leaves out the rest."""
    from downslope.function_run import LBFGS
    from downslope.history import Reason
    from downslope.minimization import minimize_from

    for rule in rules:
        for rate in rates[:1] if rule == LBFGS else rates:
            given = {name: value for name, value in vars(settings).items()
                     if rule != LBFGS or name not in ("schedule", "warmup", "clip_norm",
                                                      "clip_value", "weight_decay")}  # fmt: skip
            if rule != LBFGS:
                given["learning_rate"] = rate
            runs = minimize_from(function, points, rule, **given)
            yield runs
            if any(Reason.read(run.reason).kind == "interrupted" for run in runs):
                return


def _several(text: str) -> list[str]:
    """Read names with commas outside of parentheses, each once."""
    return list(dict.fromkeys(part for part in split_list(text) if part))


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InvalidValueError(f"{option} takes numbers with commas; got {text!r}") from None


def _rates(text: str | None) -> list[float | None]:
    return [None] if text is None else [*_numbers("--learning-rate", text)]
