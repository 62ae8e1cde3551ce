"""What a target asks for, and which rows are held out of training."""

from __future__ import annotations

import math
import re
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from downslope.errors import (
    InvalidTypeError,
    InvalidValueError,
    TableError,
    nearest,
)

Array = npt.NDArray[Any]

TASKS: Final = ("regression", "binary", "multiclass", "multilabel")

FEW_CLASSES: Final = 20
"""Whole numbers of more distinct values than this are quantities. Digits and grades (10), star
ratings, months (12) and hours of a half day stay below; counts, years and prices lie above."""

_DATE: Final = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([T ].*)?")
_SIGNED_NUMBER: Final = re.compile(r"[-+(]?[$€£¥]?\s*[-+]?\d[\d.,'\s]*[$€£¥%)a-zA-Z]{0,3}")
"""With signs of money, shares, thousands or a short unit, as $1,000.50, 12 % or 7 kg."""
_CODE: Final = re.compile(r"\d+[a-zA-Z]{0,3}")
"""As 12 or 12A; a number with its unit, as 7kg, looks the same, and has few rows."""

_IF_CLASSES: Final = "say task='multiclass' (--task multiclass) if they are classes"

_CAST: Final = "cast them to numbers first, as by astype(float)"

_NO_TARGET: Final = "there is no target: say which column is to be predicted"


def infer_task(target: Array | None, task: str = "auto", name: str = "target") -> str:
    """Say what kind of task a target asks for, or check the one that was asked for.

    Texts and booleans are classes. Whole numbers are classes if they take two values, or at most
    `FEW_CLASSES` with two rows or more for each; otherwise, and with a number that is not whole, it
    is regression. A target of several columns is multi-label if all are 0 or 1, otherwise
    regression with several outputs.

    Of more than `FEW_CLASSES` different texts it must be said that they are classes where they look
    like numbers or dates, or have fewer than two rows each on average, as names and ids. With two
    rows or more, codes as 12A are classes.

    Parameters
    ----------
    target
        (rows,) or (rows, outputs), as `read_target` gives it.
    task
        "auto", or one of "regression", "binary", "multiclass", "multilabel".
    name
        What to call the target in messages.

    Returns
    -------
    str
        The task.

    Raises
    ------
    InvalidValueError
        For an unknown task, or one that the target cannot have.
    TableError
        If there is no target, or the same one in every row, or texts that are hardly classes.

    Examples
    --------
    >>> infer_task(np.array(["cat", "dog", "eel", "cat"]))
    'multiclass'
    >>> infer_task(np.array([0.5, 1.5, 1.0]))
    'regression'
    """
    if task not in ("auto", *TASKS):
        raise InvalidValueError(f"unknown task {task!r}: {nearest(task, TASKS)}")
    if target is None:
        raise TableError(_NO_TARGET)
    values, rarest = target, 0
    if target.ndim == 1:
        values, counts = np.unique(target, return_counts=True)
        rarest = int(counts.min(initial=len(target)))
    if target.ndim == 1 and len(values) < 2:
        seen = f"only {values[0].item()!r}" if len(values) else "no value"
        raise TableError(f"target {name!r} holds {seen}: learning takes two different values")
    inferred = _natural_task(values, rarest)
    if task in ("auto", inferred):
        if target.ndim == 2 and target.dtype.kind == "U":
            raise TableError(f"target {name!r}: several columns take numbers; got texts")
        if task == "auto" and target.dtype.kind == "U":
            _refuse_texts(target, values, name)
        return inferred
    reason = _contradiction(values, task, target.ndim)
    if reason:
        raise InvalidValueError(
            f"target {name!r} cannot be for the task {task!r}: {reason}; "
            f"by its values it is {inferred!r}"
        )
    return task


def _natural_task(values: Array, rarest: int) -> str:
    """Say the task by a target's distinct values and the rows of the rarest, or by its columns."""
    if values.ndim == 2:
        flags = values.dtype.kind in "biuf" and bool(((values == 0) | (values == 1)).all())
        return "multilabel" if flags else "regression"
    if values.dtype.kind in "Ub":
        return "binary" if len(values) == 2 else "multiclass"
    whole = values.dtype.kind in "iu" or bool((values == np.floor(values)).all())
    if whole and len(values) == 2:
        return "binary"
    few = len(values) <= FEW_CLASSES and rarest > 1
    return "multiclass" if whole and few else "regression"


def single_rows(target: Array) -> str:
    """Tell of the values in one row for which few whole numbers are no classes; "" without any.

    >>> single_rows(np.array([0, 1, 2, 0, 1, 2, 9])).partition(":")[0]
    '4 whole numbers, and 9 has one row'
    """
    if target.ndim > 1:
        return ""
    values, counts = np.unique(target, return_counts=True)
    alone = values[counts == 1]
    if values.dtype.kind not in "iuf" or _natural_task(values, 2) != "multiclass" or not len(alone):
        return ""
    one = f"{alone[0]:.0f}"
    which = f"{one} has" if len(alone) == 1 else f"{len(alone)} of them, as {one}, have"
    return f"{len(values)} whole numbers, and {which} one row: {_IF_CLASSES}"


def _contradiction(values: Array, task: str, dimensions: int) -> str:
    """Say why a target cannot have a task; empty if it can."""
    several = dimensions == 2
    if task == "multilabel":
        return "it takes several columns of 0 and 1"
    if values.dtype.kind == "U":
        if task != "regression":
            return f"it holds {len(values)} classes"
        texts = [each for each in values.ravel().tolist() if not _is_number(each)]
        if texts:
            return f"regression takes numbers, and it holds texts such as {texts[0]!r}"
        return f"it holds numbers stored as texts, such as {values.flat[0].item()!r}: {_CAST}"
    if task == "regression":
        return ""
    if several:
        return "classes take one column (of one-hot rows, take target.argmax(axis=1))"
    if task == "binary":
        return f"it holds {len(values)} different values, and a binary target two"
    if values.dtype.kind == "f" and not (values == np.floor(values)).all():
        return "classes take whole numbers or texts"
    return "" if len(values) > 2 or task == "multiclass" else "it holds two classes"


def _is_number(text: str) -> bool:
    """Say whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _refuse_texts(target: Array, values: Array, name: str) -> None:
    """Raise `TableError` for many different texts that are hardly classes."""
    if len(values) <= FEW_CLASSES:
        return
    few, hardly_classes = len(values) // 10, 2 * len(values) > len(target)

    def others(form: re.Pattern[str]) -> int:
        return sum(form.fullmatch(each.strip()) is None for each in values.tolist())

    example = values[0].item()
    texts = [each for each in values.tolist() if not _is_number(each)]
    if not texts:
        holds, remedy = "numbers stored as texts, such as", _CAST
    elif len(texts) <= few:
        example, holds, remedy = (
            texts[0],
            "numbers but for texts such as",
            "drop or mend these rows",
        )
    elif others(_DATE) <= few:
        holds, remedy = "dates as texts, such as", "turn them into numbers first, as days since one"
    elif others(_SIGNED_NUMBER) <= few and (hardly_classes or others(_CODE) > few):
        holds, remedy = (
            "numbers with signs beside or between the digits, such as",
            "leave these away",
        )
    elif hardly_classes:
        holds = f"{len(values):,} different texts in {len(target):,} rows, such as"
        remedy = "names or ids cannot be predicted; name another column"
    else:
        return
    row = int(np.flatnonzero(target == example)[0]) + 1
    raise TableError(
        f"target {name!r} holds {holds} {example!r} (row {row}): {remedy}, or {_IF_CLASSES}"
    )


def split(
    target: Array | None, task: str, fraction: float, generator: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Part the rows at random into those to train on and those held out.

    Of n rows, floor(fraction n + 1/2) are held out. Of the n_c rows of a class, floor(fraction
    n_c), and one more for the classes with the largest remainders until the sum is reached; every
    class keeps at least one row for training, so that fewer are held out if it must be.

    Parameters
    ----------
    target
        (rows,) or (rows, outputs).
    task
        "binary" and "multiclass" keep the classes' shares (stratified); others do not.
    fraction
        In [0, 1): the share of rows to hold out; 0 trains on all.
    generator
        The source of randomness; the same state gives the same rows.

    Returns
    -------
    training_rows, held_out_rows : arrays, int64
        Indices of rows, rising.

    Raises
    ------
    InvalidValueError
        If `fraction` lies outside [0, 1), or holds out no row or all.
    TableError
        If a class has one row, while some are to be held out.

    Examples
    --------
    >>> training, held_out = split(np.array([0, 0, 1, 1]), "binary", 0.5, np.random.default_rng(0))
    >>> len(training), len(held_out)
    (2, 2)
    """
    if target is None:
        raise TableError(_NO_TARGET)
    rows = len(target)
    if isinstance(fraction, bool) or not isinstance(fraction, int | float | np.number):
        raise InvalidTypeError(
            f"validation, the share to hold out, takes a number; got {fraction!r}"
        )
    if not 0 <= fraction < 1:
        raise InvalidValueError(
            f"validation, the share to hold out, must lie in [0, 1); got {fraction}"
        )
    if fraction == 0:
        return np.arange(rows), np.empty(0, dtype=np.int64)
    wanted = math.floor(fraction * rows + 0.5)
    order = generator.permutation(rows)
    if task in ("binary", "multiclass"):
        held_out = _stratify(target, fraction, wanted, order)
    else:
        held_out = order[:wanted]
    if not 0 < len(held_out) < rows:
        raise InvalidValueError(
            f"validation {fraction} holds out {len(held_out)} of {rows} rows and leaves "
            f"{rows - len(held_out)} to train on: give another share (--validation), or 0 to "
            "train on all"
        )
    kept = np.ones(rows, dtype=np.bool_)
    kept[held_out] = False
    return np.flatnonzero(kept), np.flatnonzero(~kept)


def _stratify(target: Array, fraction: float, wanted: int, order: Array) -> Array:
    """Choose the rows to hold out class by class, in the given random order."""
    classes, labels, counts = np.unique(target, return_inverse=True, return_counts=True)
    if counts.min() == 1:
        _refuse_single_rows(classes, labels, counts)
    share = counts * fraction
    held = np.minimum(np.floor(share).astype(np.int64), counts - 1)
    for _ in range(min(wanted, len(target) - len(classes)) - int(held.sum())):
        held[np.argmax(np.where(held < counts - 1, share - held, -np.inf))] += 1
    grouped = order[np.argsort(labels[order], kind="stable")]
    starts = np.cumsum(counts) - counts
    place = np.arange(len(target)) - np.repeat(starts, counts)
    return grouped[place < np.repeat(held, counts)]


def _refuse_single_rows(classes: Array, labels: Array, counts: Array) -> None:
    """Raise `TableError` for classes of one row each."""
    alone = np.flatnonzero(counts == 1)
    row = int(np.argmax(labels == alone[0])) + 1
    example, several = classes[alone[0]].item(), len(alone) > 1
    what = f"class {example!r} has one row (row {row})"
    if several:
        many = f"{len(alone):,} of {len(classes):,}"
        what = f"{many} classes have one row each, such as {example!r} (row {row})"
    quantity = classes.dtype.kind in "iuf" and len(classes) > 2
    regression = "predict a number (task='regression', --task regression), " * quantity
    raise TableError(
        f"{what}: a row is trained on or held out, not both; add rows, merge "
        f"{'such classes' if several else 'the class'} with another, drop "
        f"{'them' if several else 'it'}, {regression}or set validation to 0 (--validation 0), so "
        "that nothing is held out"
    )
