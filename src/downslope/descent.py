"""descend(): from a recipe and a table to a trained network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope import table as tables
from downslope.checkpoint import FILE, Checkpoint
from downslope.course import Course
from downslope.data import Data
from downslope.epoch import Watcher, functions
from downslope.errors import InvalidValueError, NonFiniteError, reading
from downslope.files import as_path
from downslope.history import Reason
from downslope.interrupt import interruptible
from downslope.model import Model
from downslope.network import BuiltNetwork
from downslope.preparation import Preparation
from downslope.recipe import Recipe, check_recipe
from downslope.recording import Recording, as_recording
from downslope.run import Run
from downslope.score import score, trivial_outputs
from downslope.snapshots import MOST, Snapshots
from downslope.stepper import Predictor, Targets, check_weights
from downslope.storage import digest
from downslope.task import infer_task, split
from downslope.trace import Trace

Array = npt.NDArray[Any]

PATH_FLOATS = 1 << 20
"""Numbers up to which some epochs' thetas are kept unasked: networks of some 40,000 parameters."""

SCORED_ROWS = 1 << 14
"""Rows whose outputs are held at a time when a network is scored: a few MiB."""


def descend(
    recipe: Recipe,
    source: Any,
    target: Any = None,
    *,
    weights: Any = None,
    threads: int | None = None,
    watchers: Watcher | Iterable[Watcher] = (),
    checkpoint: str | Path | None = None,
    resume: bool = False,
    record: str | Sequence[int] | Recording = "default",
    path: bool = False,
) -> Run:
    """Train a network by gradient descent.

    Parameters
    ----------
    recipe
        What to train and how.
    source
        The features: a data frame, an array (rows, columns), a path to a file, or a `Table`. Large
        arrays may be read where they lie, without a copy: leave them as they are while the run is
        in use.
    target
        The values to be predicted, (rows,) or (rows, columns); or the name of a column.
    weights : (rows,), or None
        How much each row counts.
    threads
        None takes the available cores. The result is the same, bit for bit, for any number.
    watchers
        One function or several, called at each epoch's end with an `Epoch`; one that gives True
        ends the run. One that has a method `next_after(epoch)`, the next epoch that it is to see,
        costs less.
    checkpoint
        A directory for the run's state: written about once a second, less often where writing
        would take more than a twentieth of the time, and at the end. One that holds the state of a
        run already is refused, unless it is to be resumed.
    resume
        Go on from the state in `checkpoint`, if there is one: the result is the same, bit for bit,
        as if the run had not been interrupted.
    record
        Which steps are recorded: "default" (the first ten, then up to 200 evenly spread), "all",
        "none", their numbers from 1, or a `Recording`. It changes no bit of theta.
    path
        Keep some epochs' thetas, for `Run.landscape`; of small networks they are kept anyway.

    Returns
    -------
    Run

    Raises
    ------
    TableError, InvalidValueError, InvalidTypeError, MissingFileError
        For data or settings that cannot be trained on.
    NonFiniteError
        If the loss, the gradient or theta becomes NaN or infinite; its `run` holds the best network
        by held-out rows, as at any other end, else the last finite one.
    UnwritableError, UnreadableError
        If `checkpoint` is no place for files, or cannot be looked into.
    Exception
        Whatever a watcher, a rule or a schedule of your own raises. Any exception that ends a run
        under way has a `run` too, of what was done before it.

    Examples
    --------
    >>> import numpy as np
    >>> from downslope import Descent, Network
    >>> corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> recipe = Recipe(
    ...     Network([8], activation="tanh"),
    ...     Descent(batch="full", learning_rate=0.1, epochs=200, validation=0.0),
    ... )
    >>> run = descend(recipe, corners, np.array([0, 1, 1, 0]))
    >>> run.predict(corners)
    array([0, 1, 1, 0])
    """
    recipe, watching = check_recipe("descend", recipe), functions("descend: watchers", watchers)
    recording = as_recording(record)
    directory = None if checkpoint is None else as_path("descend: checkpoint", checkpoint)
    if directory is not None:
        _check_checkpoint(recipe, directory, resume)
    elif resume:
        raise InvalidValueError(
            "descend: resume goes on from the state in checkpoint, and there is none: give the "
            "directory as checkpoint, or leave resume out"
        )
    read = source if isinstance(source, tables.Table) else tables.read(source, target)
    if read.target is None:
        raise InvalidValueError("descend needs a target: the values, or the name of a column")
    task = infer_task(read.target, recipe.network.task, read.target_title)
    data, preparation, network = prepare(recipe, read, task, weights)
    kept = None if directory is None else Checkpoint(directory, identify(recipe, data))
    course = Course(network, data, recipe.descent, threads, kept, recording=recording)
    if path or network.inputs == 2 or MOST * network.theta.size <= PATH_FLOATS:
        course.snapshots = Snapshots(network)
    if resume:
        course.resume()
    failure: Exception | None = None
    with interruptible(course):
        try:
            course.run(watching)
        except Exception as error:
            failure = error
            course.ending = _why_it_failed(error)
    scores = _scores(course, task, threads)
    with_file = not callable(recipe.descent.rule) and not callable(recipe.descent.schedule)
    model = Model(network, preparation, recipe if with_file else None, {"reason": course.reason})
    run = Run(
        recipe, model, course.history, course.reason, scores, course.threads, read, data,
        course.snapshots, Trace.of(course.recorder, model.digest), course.kept,
    )  # fmt: skip
    if failure is not None:
        failure.run = run  # type: ignore[attr-defined]
        raise failure
    return run


def _why_it_failed(error: Exception) -> Reason:
    """Give the reason of a run that an exception ended; note on it where the run is to be had."""
    if isinstance(error, NonFiniteError):
        return Reason("not finite", str(error))
    error.add_note(
        "The descent up to here is not lost: it is this exception's `run`, as in "
        "`except Exception as error: error.run`"
    )
    return Reason("error", f"{type(error).__name__}: {error}")


def prepare(
    recipe: Recipe, read: tables.Table, task: str, weights: Any
) -> tuple[Data, Preparation, BuiltNetwork]:
    """Turn a table into numbers, split it, and build the network for it."""
    descent, network = recipe.descent, recipe.network
    generator = np.random.default_rng([descent.seed, 1])
    assert read.target is not None
    training, held_out = split(read.target, task, descent.validation, generator)
    preparation = Preparation.fit(read, task, training, network.scaling)
    if network.counts:
        preparation = _for_counts(preparation, read.target)
    target = preparation.encode_target(read.target, descent.dtype)
    columns = len(preparation.classes) or (target.shape[1] if target.ndim == 2 else 1)
    features = preparation.inputs(read.features, descent.dtype)
    built = BuiltNetwork(network, features.shape[1], columns, task, descent.dtype, descent.seed)
    row_weights = None if weights is None else check_weights(weights, len(read), np.float64)
    targets = Targets.of(target, row_weights, built.outputs, built.theta.dtype)
    return Data(built.check_features(features), targets, training, held_out), preparation, built


def _for_counts(preparation: Preparation, target: Array) -> Preparation:
    """Give the preparation that leaves counts as they are, once none of them is negative."""
    is_for = "Network: the loss 'poisson' is for counts, numbers of at least 0; the target is"
    if preparation.task != "regression":
        raise InvalidValueError(
            f"{is_for} {preparation.task!r}: take another loss, or task='regression' if it counts"
        )
    if target.min() < 0:
        raise InvalidValueError(f"{is_for} as low as {target.min():g}: take another loss")
    outputs = len(preparation.target_mean)
    return replace(preparation, target_mean=np.zeros(outputs), target_scale=np.ones(outputs))


def _check_checkpoint(recipe: Recipe, directory: Path, resume: bool) -> None:
    """Refuse to keep a run on disk whose recipe no file can hold, or in the place of another."""
    with reading(directory / FILE):
        holds = (directory / FILE).is_file()
    if holds and not resume:
        raise InvalidValueError(
            f"{str(directory)!r} holds the checkpoint of a run, which would be lost: go on with it "
            "(--resume, or resume=True), or name another directory, or remove this one"
        )
    for name in ("rule", "schedule"):
        if callable(getattr(recipe.descent, name)):
            raise InvalidValueError(
                f"descend: a checkpoint holds the recipe, and this one's {name} is a function of "
                f"your own, which no file can hold; leave checkpoint out, or take a {name} by its "
                f"name (see catalogue.{name.upper()}S)"
            )


def identify(recipe: Recipe, data: Data) -> dict[str, Any]:
    """Say which run this is, for a checkpoint: by its recipe and its data."""
    rows = {"training": data.training, "held_out": data.held_out}
    return {
        "recipe": json.loads(json.dumps(recipe.to_dict())),
        "data": digest({**vars(data.targets), **rows, "features": data.features}),
    }


def _scores(course: Course, task: str, threads: int | None) -> dict[str, dict[str, float]]:
    """Score the network and the trivial predictor on the rows trained on and held out."""
    data, scores = course.data, {}
    whole = data.targets.labels
    if not whole.size:
        whole = data.targets.values.reshape(-1, course.network.outputs)
    guess = trivial_outputs(whole[data.training], task)
    with Predictor(course.network.parameters, data.features, threads=threads) as predictor:
        for name, rows in (("training", data.training), ("validation", data.held_out)):
            if len(rows):
                scores[name] = {
                    "score": _score_of(course.network, predictor, task, rows, whole),
                    "trivial": score(task, guess[None], whole[rows]),
                }
    return scores


def _score_of(
    network: BuiltNetwork, predictor: Predictor, task: str, rows: Array, whole: Array
) -> float:
    """Score the network on some rows, for classes without all their outputs at a time."""
    if task == "regression":
        return score(task, network.expected(predictor.outputs(rows)), whole[rows])
    parts = [rows[begin : begin + SCORED_ROWS] for begin in range(0, len(rows), SCORED_ROWS)]
    right = [score(task, predictor.outputs(part), whole[part]) * len(part) for part in parts]
    return float(sum(right) / len(rows))
