"""A run: a descent that has ended, with all that can be asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from downslope import table as tables
from downslope.account import Account
from downslope.chainrule import ChainRule, explain, explain_layer
from downslope.curvature import Curvature, measure
from downslope.data import Data
from downslope.errors import InvalidValueError
from downslope.history import History, Reason
from downslope.landscape import Line, Plane, line, path_plane, plane
from downslope.model import Model
from downslope.network import BuiltNetwork
from downslope.page import Section
from downslope.plots import Plots
from downslope.recipe import Recipe
from downslope.relief import around
from downslope.replay import replay
from downslope.snapshots import Snapshots
from downslope.stretch import State
from downslope.surface import RowSet
from downslope.trace import Trace

if TYPE_CHECKING:
    import polars as pl

Array = npt.NDArray[Any]


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

    def __repr__(self) -> str:
        layers = "-".join(map(str, self.network.layout.widths))
        return (
            f"Run({self.table.name!r}, {layers}, {self.history.epochs} epochs, {self.steps} steps; "
            f"{self.reason})"
        )

    @property
    def network(self) -> BuiltNetwork:
        """The trained network: the best by held-out rows, else the last one that is finite."""
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
    def failed(self) -> bool:
        """Say whether it ended because something was not finite."""
        return Reason.read(self.reason).kind == "not finite"

    @property
    def seconds(self) -> float:
        """Seconds from its first step to its end, by the clock (see `History`)."""
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
        return replay(
            self.recipe, self.network, self.data, self.history, self.kept,
            (first_step, last_step), self.failed, self.threads,
        )  # fmt: skip

    def explain(
        self, layer: int, unit_in: int, unit_out: int, rows: Sequence[int] | None = None
    ) -> ChainRule:
        """Put the numbers into the chain rule of one weight (see `chainrule.explain`).

        By default over all rows that were trained on; batch normalization takes their statistics.
        """
        return explain(self.network, self.training_rows(), layer, unit_in, unit_out, rows)

    def explain_layer(self, layer: int, rows: Sequence[int] | None = None) -> pl.DataFrame:
        """Order a layer's weights by how hard the loss pushes them (`chainrule.explain_layer`)."""
        return explain_layer(self.network, self.training_rows(), layer, rows)

    def save(self, path: str | Path) -> Path:
        """Write the model to a file.

        Of a model that was there before, summary, trace and page stay beside it; `downslope report`
        refuses to take them for this one's.
        """
        return self.model.save(path)

    def training_rows(self) -> RowSet:
        """Give what the loss was descended on (see `Data.training_rows`)."""
        return self.data.training_rows(self.recipe.descent, self.network.outputs)

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
