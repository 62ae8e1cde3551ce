"""descend(): from a recipe and a table to a trained network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from downslope import table as tables
from downslope.account import Account
from downslope.chainrule import ChainRule, explain, explain_layer
from downslope.checkpoint import Checkpoint
from downslope.course import Course, Data, State, Watcher
from downslope.curvature import Curvature, measure
from downslope.errors import InvalidValueError, NonFiniteError
from downslope.history import History
from downslope.interrupt import interruptible
from downslope.landscape import Line, Plane, line, path_plane, plane
from downslope.model import Model
from downslope.network import BuiltNetwork
from downslope.page import Section
from downslope.plots import Plots
from downslope.preparation import Preparation
from downslope.recipe import Descent, Recipe
from downslope.recording import Recording, as_recording
from downslope.relief import around
from downslope.replay import replay
from downslope.score import score, trivial_outputs
from downslope.snapshots import MOST, Snapshots
from downslope.stepper import Predictor, Targets, check_weights
from downslope.storage import digest
from downslope.surface import RowSet
from downslope.task import infer_task, split
from downslope.trace import Trace

if TYPE_CHECKING:
    import polars as pl

Array = npt.NDArray[Any]

PATH_FLOATS = 1 << 20
"""Numbers up to which some epochs' thetas are kept unasked: networks of some 40,000 parameters."""

SCORED_ROWS = 1 << 14
"""Rows whose outputs are held at a time when a network is scored: a few MiB."""


@dataclass(frozen=True)
class Run:
    """A descent that has ended: the network, how it went, why it stopped.

    Attributes
    ----------
    recipe
    model
        The network with the preparation of its tables.
    history
        Losses and scores by epoch.
    reason
        Why it stopped.
    scores
        By "training" and "validation": the network's score and the trivial predictor's (the most
        frequent class, or the mean), as accuracy or R2.
    threads
        How many ran the steps.
    table
        What was trained on, as it was read.
    data
        The same as numbers, with the rows trained on and held out.
    snapshots
        Some epochs' thetas, for the pictures of the boundary of a network of two inputs and of the
        path; None where they would take much memory.
    trace
        What every recorded step measured.
    kept
        The last state that was kept, from which a stretch of the run is run again.
    """

    recipe: Recipe
    model: Model
    history: History
    reason: str
    scores: dict[str, dict[str, float]]
    threads: int
    table: tables.Table
    data: Data
    snapshots: Snapshots | None
    trace: Trace
    kept: State

    @property
    def network(self) -> BuiltNetwork:
        """The trained network; the best by validation where rows were held out."""
        return self.model.network

    @property
    def loss_curve(self) -> list[float]:
        """Mean training loss of every epoch."""
        return self.history.losses

    @property
    def steps(self) -> int:
        """Steps done."""
        return self.history.steps

    @property
    def seconds(self) -> float:
        """Seconds spent in steps and in scoring held-out rows."""
        return self.history.seconds

    @property
    def plot(self) -> Plots:
        """The run's pictures: `run.plot.loss()` and others (see `Plots`)."""
        return Plots(self.account())

    def account(self, name: str | None = None) -> Account:
        """Give what the run's pictures and its page are made from, under a name."""
        training, held_out = self.data.training, self.data.held_out
        data = {
            "name": self.table.name,
            "rows": len(self.table),
            "columns": len(self.table.feature_names),
            "training": len(training),
            "held_out": len(held_out),
        }
        return Account(
            name or self.table.name, data, self.model, self.history, self.reason, self.scores,
            self.trace, None, self.table, training, held_out, self.snapshots,
        )  # fmt: skip

    def predict(self, source: Any) -> Array:
        """Predict the target of new rows (see `Model.predict`)."""
        return self.model.predict(source)

    def predict_proba(self, source: Any) -> Array:
        """Predict the classes' probabilities of new rows (see `Model.predict_proba`)."""
        return self.model.predict_proba(source)

    def replay(self, first_step: int, last_step: int) -> Trace:
        """Run a stretch again, the same bits, and record every step of it (see `replay.replay`)."""
        steps = (first_step, last_step)
        return replay(self.recipe, self.network, self.data, self.history, self.kept, steps)

    def explain(
        self, layer: int, unit_in: int, unit_out: int, rows: Sequence[int] | None = None
    ) -> ChainRule:
        """Put the numbers into the chain rule of one weight (see `chainrule.explain`).

        By default over all rows that were trained on.
        """
        whole, chosen = self.training_rows(), self.data.training if rows is None else rows
        return explain(self.network, whole.features, whole.target, layer, unit_in, unit_out,
                       chosen, whole.weights)  # fmt: skip

    def explain_layer(self, layer: int, rows: Sequence[int] | None = None) -> pl.DataFrame:
        """Order a layer's weights by how hard the loss pushes them (`chainrule.explain_layer`)."""
        whole, chosen = self.training_rows(), self.data.training if rows is None else rows
        return explain_layer(
            self.network, whole.features, whole.target, layer, chosen, whole.weights
        )

    def save(self, path: str | Path) -> Path:
        """Write the model to a file."""
        return self.model.save(path)

    def training_rows(self) -> RowSet:
        """Give what the loss was descended on: the rows trained on, their weights, the penalties.

        Each step adds its penalties over its batch, so over all rows they weigh rows / batch as
        much.
        """
        data, targets = self.data, self.data.targets
        labels, values = targets.labels, targets.values.reshape(-1, self.network.outputs)
        return RowSet(
            data.features,
            labels if labels.size else values,
            targets.weights if targets.weights.size else None,
            penalties_of(self.recipe.descent, len(data.training)),
            data.training,
        )

    def curvature(self, **options: Any) -> Curvature:
        """Measure how the training loss bends where the run ended (see `curvature.measure`)."""
        return measure(self.network, self.training_rows(), **options)

    def landscape(self, along: Literal["random", "path"] = "random", **options: Any) -> Plane:
        """Take the training loss over a plane through the network.

        Parameters
        ----------
        along
            "random": directions normalized filter by filter (see `landscape.plane`); "path": the
            two in which theta moved most, with the path drawn on them (see `landscape.path_plane`).
        options
            As those functions take them.

        Raises
        ------
        InvalidValueError
            For a path that was not kept: see `path` of `descend`.
        """
        if along == "random":
            return plane(self.network, self.training_rows(), **options)
        if along != "path":
            raise InvalidValueError(f"landscape: along takes 'random' or 'path'; got {along!r}")
        return path_plane(self.network, self.path()[1], self.training_rows(), **options)

    def line_to(self, other: Run, **options: Any) -> Line:
        """Take this run's training loss along the line to another's network (see `landscape.line`).

        Both networks must be of the same layers, and their columns the same in the same order;
        these are scaled as this run's are.
        """
        return line(self.network, other.network, self.training_rows(), **options)

    def surroundings(self) -> list[Section]:
        """Measure and draw where the run ended, its path and its landscape, for a page."""
        path = None if self.snapshots is None else self.path()
        return around(self.network, self.training_rows(), path, self.recipe.descent.rate)

    def path(self) -> tuple[list[int], list[Array]]:
        """Give thetas from along the descent, to the one that was kept, and the epoch of each.

        Raises
        ------
        InvalidValueError
            For a path that was not kept: see `path` of `descend`.
        """
        if self.snapshots is None:
            raise InvalidValueError(
                "the path of this run was not kept, as its thetas would take much memory; pass "
                "path=True to descend"
            )
        last = self.history.epochs
        if self.history.validation_losses:
            last = self.history.best_epoch
        taken = zip(self.snapshots.epochs, self.snapshots.states, strict=True)
        before = [(epoch, state[0]) for epoch, state in taken if epoch < last]
        epochs = [*(epoch for epoch, _theta in before), last]
        return epochs, [*(theta for _epoch, theta in before), self.network.theta.copy()]


def descend(
    recipe: Recipe,
    source: Any,
    target: Any = None,
    *,
    weights: Any = None,
    threads: int | None = None,
    watchers: Sequence[Watcher] = (),
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
        The features: a data frame, an array (rows, columns), a path to a file, or a `Table`.
    target
        The values to be predicted, (rows,) or (rows, columns); or the name of a column.
    weights : (rows,), or None
        How much each row counts.
    threads
        None takes the available cores. The result is the same, bit for bit, for any number.
    watchers
        Functions called at each epoch's end with an `Epoch`; one that gives True ends the run.
    checkpoint
        A directory for the run's state, written at least about once a second.
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
        If the loss, the gradient or theta becomes NaN or infinite; its `run` holds the network
        before that.

    Examples
    --------
    >>> import numpy as np
    >>> from downslope import Network
    >>> corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> recipe = Recipe(
    ...     Network([8], activation="tanh"),
    ...     Descent(batch="full", learning_rate=0.1, epochs=200, validation=0.0),
    ... )
    >>> run = descend(recipe, corners, np.array([0, 1, 1, 0]))
    >>> run.predict(corners)
    array([0, 1, 1, 0])
    """
    recording = as_recording(record)
    read = source if isinstance(source, tables.Table) else tables.read(source, target)
    if read.target is None:
        raise InvalidValueError("descend needs a target: the values, or the name of a column")
    task = infer_task(read.target, recipe.network.task)
    data, preparation, network = prepare(recipe, read, task, weights)
    identity = None if checkpoint is None else identify(recipe, data)
    kept = None if checkpoint is None else Checkpoint(Path(checkpoint), identity or {})
    course = Course(network, data, recipe.descent, threads, kept, recording=recording)
    if resume:
        course.resume()
    kept_path = path or network.inputs == 2 or MOST * network.theta.size <= PATH_FLOATS
    snapshots = Snapshots(network) if kept_path else None
    failure: NonFiniteError | None = None
    with interruptible(course):
        try:
            course.run((*filter(None, (snapshots,)), *watchers))
        except NonFiniteError as error:
            failure = error
            course.reason = f"not finite: {error}"
    scores = _scores(course, task)
    with_file = not callable(recipe.descent.rule) and not callable(recipe.descent.schedule)
    model = Model(network, preparation, recipe if with_file else None, {"reason": course.reason})
    run = Run(
        recipe, model, course.history, course.reason, scores, course.threads, read, data,
        snapshots, Trace.of(course.recorder), course.kept,
    )  # fmt: skip
    if failure is not None:
        failure.run = run
        raise failure
    return run


def penalties_of(descent: Descent, rows: int) -> tuple[float, float]:
    """Give l1 and l2 for a loss over all rows, which weighs them as the steps' batches do.

    >>> penalties_of(Descent(batch=32, l2=0.5), rows=320)
    (0.0, 5.0)
    """
    batch = rows if descent.batch == "full" else min(descent.batch, rows)
    return descent.l1 * (rows / batch), descent.l2 * (rows / batch)


def prepare(
    recipe: Recipe, read: tables.Table, task: str, weights: Any
) -> tuple[Data, Preparation, BuiltNetwork]:
    """Turn a table into numbers, split it, and build the network for it."""
    descent, network = recipe.descent, recipe.network
    generator = np.random.default_rng([descent.seed, 1])
    assert read.target is not None
    training, held_out = split(read.target, task, descent.validation, generator)
    preparation = Preparation.fit(read, task, training, network.scaling)
    if network.loss == "poisson":
        preparation = _for_counts(preparation, read.target)
    target = preparation.encode_target(read.target, descent.dtype)
    columns = len(preparation.classes) or (target.shape[1] if target.ndim == 2 else 1)
    features = preparation.transform(read.features, descent.dtype)
    built = BuiltNetwork(network, features.shape[1], columns, task, descent.dtype, descent.seed)
    row_weights = None if weights is None else check_weights(weights, len(read), np.float64)
    targets = Targets.of(target, row_weights, built.outputs, built.theta.dtype)
    return Data(built.check_features(features), targets, training, held_out), preparation, built


def _for_counts(preparation: Preparation, target: Array) -> Preparation:
    """Give the preparation that leaves counts as they are, once none of them is negative."""
    if preparation.task != "regression" or target.min() < 0:
        raise InvalidValueError(
            f"Network: the loss 'poisson' is for counts, numbers of at least 0; the target is "
            f"{preparation.task!r} with the lowest value {float(target.min()):g}: take another loss"
        )
    outputs = len(preparation.target_mean)
    return replace(preparation, target_mean=np.zeros(outputs), target_scale=np.ones(outputs))


def identify(recipe: Recipe, data: Data) -> dict[str, Any]:
    """Say which run this is, for a checkpoint: by its recipe and its data."""
    rows = {"training": data.training, "held_out": data.held_out}
    return {
        "recipe": json.loads(json.dumps(recipe.to_dict())),
        "data": digest({**vars(data.targets), **rows, "features": data.features}),
    }


def _scores(course: Course, task: str) -> dict[str, dict[str, float]]:
    """Score the network and the trivial predictor on the rows trained on and held out."""
    data, scores = course.data, {}
    whole = data.targets.labels
    if not whole.size:
        whole = data.targets.values.reshape(-1, course.network.outputs)
    guess = trivial_outputs(whole[data.training], task)
    with Predictor(course.network.parameters, data.features) as predictor:
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
