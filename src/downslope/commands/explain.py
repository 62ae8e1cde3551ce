"""`downslope explain`: the chain rule of one weight, with its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from downslope.commands.source import is_builtin, load
from downslope.counts import whole_number
from downslope.errors import InvalidValueError

WIDEST = 10_000
"""Columns of a screen on which no number would be too wide."""


def explain(
    model: Path,
    source: str,
    /,
    *,
    layer: int,
    weight: str | None = None,
    rows: str | None = None,
    target: str | None = None,
    show: int = 10,
) -> None:
    """Put the numbers into the chain rule of one weight, or order a layer's weights.

    Parameters
    ----------
    model
        A .downslope file that fit has written.
    source
        A file with the same columns and the target, or a built-in data set.
    layer
        From 1; the last is the output layer.
    weight
        Unit of the layer's input and unit of its output, from 0: 5,3. By default the layer's
        weights are listed, those first that the loss pushes hardest.
    rows
        Numbers of the rows that are looked at, from 0: 0,5,17. By default all. Batch normalization
        takes its statistics from all rows of the table.
    target
        The target's column; by default as the model was trained.
    show
        How many rows or weights are printed.
    """
    from downslope import chainrule
    from downslope.model import Model
    from downslope.surface import RowSet

    show = whole_number("--show", show, 1)
    loaded = Model.load(model)
    if target is None and not is_builtin(source):
        target = ",".join(loaded.preparation.target_names) or None
    network, preparation = loaded.network, loaded.preparation
    read = load(source, target, preparation.schema(target))
    features = preparation.inputs(read, network.theta.dtype)
    values = preparation.encode_target(read.target, network.theta.dtype)
    table = RowSet(features, values)
    chosen = None if rows is None else _numbers(rows, "--rows")
    if weight is None:
        frame = chainrule.explain_layer(network, table, layer, chosen)
        _print_layer(frame, network, layer, len(chosen or features), show)
        _print_batch(network, layer, chosen, len(features))
        return
    units = _numbers(weight, "--weight")
    if len(units) != 2:
        raise InvalidValueError(f"--weight takes two units, as 5,3; got {weight!r}")
    one = chainrule.explain(network, table, layer, units[0], units[1], chosen)
    _print_weight(one, _name_of(loaded, layer, units[0]), show)
    _print_batch(network, layer, chosen, len(features))


def _numbers(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InvalidValueError(
            f"{option} takes whole numbers with commas, as 5,3; got {text!r}"
        ) from None


def _name_of(model: Any, layer: int, unit: int) -> str:
    """Say what a unit of a layer's input is: a feature by its name."""
    names = model.preparation.input_names
    if layer == 1 and len(names) > unit:
        return f"unit {unit} ({names[unit]})"
    return f"unit {unit}"


def _print_weight(one: Any, unit_in: str, show: int) -> None:
    """Print the equation: in symbols, for the rows that add most, and their mean."""
    from downslope.chainrule import shown

    count = len(one.rows)
    most = np.argsort(-abs(one.product), kind="stable")[:show]
    print(f"Layer {one.layer}, weight from {unit_in} to unit {one.unit_out}: w = {shown(one.w)}")
    print(f"\n  {one.formula}\n")
    if len(most) < count:
        print(f"the {len(most)} of {count:,} rows that push it hardest:")
    width = max(len(str(one.rows[index])) for index in most)
    for index in most:
        print(f"  row {one.rows[index]:>{width}}: {one.equation(index)}")
    way = "down" if one.gradient > 0 else "up"
    aligned = abs(one.gradient) / max(float(abs(one.product).mean()), np.finfo(float).tiny)
    over = f"{count:,} {'row' if count == 1 else 'rows'}"
    print(f"\nmean over {over}: dL/dw = {shown(one.gradient)}", end="")
    if one.gradient == 0:
        print(": nothing moves this weight")
    else:
        print(f", so descent moves w {way}; rows agree to {aligned:.0%}")


def _print_batch(network: Any, layer: int, chosen: list[int] | None, count: int) -> None:
    """Say what batch the rows that were chosen are in, where their gradients depend on it."""
    if not network.layout.batchwise:
        return
    if count == 1:
        print(
            "batch normalization takes its statistics from this one row, so normalized values are "
            "constant and no weight before them moves; give a table of more rows"
        )
    elif chosen is not None:
        said = f"batch normalization takes its statistics from all {count:,} rows of the table"
        if network.layout.plan[layer - 1]["gamma"] >= 0:
            said += "; dL/du of a row holds what it does to the loss of the others through them"
        print(said)


def _print_layer(frame: Any, network: Any, layer: int, rows: int, show: int) -> None:
    """Print the weights that the loss pushes hardest, with as many digits as there is room for.

    No number is ever cut: where even two digits are too wide, the lines are longer than the screen.
    """
    from rich.console import Console

    from downslope.chainrule import factors_of, product_of

    console = Console(highlight=False)
    most, factors = frame.head(show), factors_of(network, layer)
    for gap, digits in ((2, 4), (1, 4), (1, 3), (1, 2)):
        table = _layer_table(most, factors, digits, gap)
        width = console.measure(table, options=console.options.update(max_width=WIDEST)).maximum
        if width <= console.width:
            break
    over = f"over {rows:,} {'row' if rows == 1 else 'rows'}"
    console.print(f"Layer {layer}: the weights that the loss pushes hardest, {over}")
    Console(highlight=False, width=max(width, console.width)).print(table)
    console.print(
        f"dL/dw is the mean over the rows of {product_of(network, layer)}; {', '.join(factors)}: "
        "root mean squares over the rows; agree: the size of dL/dw over the mean size; because: "
        "what stands out most beside the rest of the layer"
    )


def _layer_table(frame: Any, factors: tuple[str, ...], digits: int, gap: int) -> Any:
    """Give some weights as a table: its numbers with so many digits, so much between columns."""
    from rich.table import Table

    from downslope.chainrule import shown

    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    heads = ("weight", "w", "dL/dw", "share", *factors, "agree", "because")
    for head in heads:
        side = "left" if head in ("weight", "because") else "right"
        table.add_column(head, justify=side, no_wrap=True)  # type: ignore[arg-type]
    for row in frame.iter_rows(named=True):
        numbers = (row[name] for name in ("w", "gradient", "dy_rms", "slope_rms", "x_rms"))
        w, gradient, *sizes = (shown(number, digits=digits) for number in numbers)
        table.add_row(
            f"{row['unit_in']},{row['unit_out']}", w, gradient, f"{row['share']:.1%}", *sizes,
            f"{row['agreement']:.0%}", row["factor"],
        )  # fmt: skip
    return table
