"""The account of a run: all that its pictures and its page are made from, in memory or on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope.errors import ModelFileError
from downslope.files import is_there, read_bytes
from downslope.history import History, Reason, with_nan
from downslope.model import Model
from downslope.recipe import Recipe
from downslope.score import name_of
from downslope.snapshots import Snapshots
from downslope.storage import writing
from downslope.summary import check_summary
from downslope.table import Table
from downslope.trace import Trace

Array = npt.NDArray[Any]

TRACE = ".trace.parquet"
"""Ending of the trace's file, beside the model's .downslope."""

PAIRS = 1000
"""Pairs of target and prediction that are kept of a regression: a cloud shows no more."""


def files_beside(model: str | Path) -> dict[str, Path]:
    """Give the files that belong to a model's, by what they are.

    >>> {kind: path.name for kind, path in files_beside("iris.downslope").items()}
    {'summary': 'iris.json', 'trace': 'iris.trace.parquet', 'page': 'iris.html'}
    """
    endings = {"summary": ".json", "trace": TRACE, "page": ".html"}
    return {kind: Path(model).with_suffix(ending) for kind, ending in endings.items()}


def names_of(models: Sequence[str | Path]) -> list[str]:
    """Name runs by their models' files: by as much of each path's end as no other has.

    >>> names_of(["a/wine.downslope", "b/wine.downslope", "b/iris.downslope"])
    ['a/wine', 'b/wine', 'iris']
    """
    paths = [Path(model).with_suffix("").parts for model in models]

    def shortest(parts: tuple[str, ...]) -> str:
        lengths = range(1, len(parts))
        others = [each for each in paths if each != parts]
        apart = (n for n in lengths if all(each[-n:] != parts[-n:] for each in others))
        return Path(*parts[-next(apart, len(parts)) :]).as_posix()

    return [shortest(parts) for parts in paths]


def have_same_data(accounts: Sequence[Account]) -> bool:
    """Say whether runs were trained on the same, so that losses and scores can be compared.

    By the table's name and size and what was predicted; a run of which that is not known is left
    out of account.
    """
    known = {
        (*(account.data[what] for what in ("name", "rows", "columns")),
         tuple(account.model.preparation.target_names))
        for account in accounts
        if account.data
    }  # fmt: skip
    return len(known) <= 1


def replace_model(model: Model, path: Path) -> Path:
    """Write a model; of the one it takes the place of, remove all that lies beside it.

    What another network's run has left would be taken for this one's.

    Raises
    ------
    UnwritableError
        If it cannot be written, or what is beside it cannot be removed.
    """
    replaces = path.is_file()
    model.save(path)
    for old in files_beside(path).values() if replaces else ():
        if old.is_file():
            with writing(old):
                old.unlink()
    return path


def _refuse_foreign(beside: Path, digest: object, path: Path, model: Model) -> None:
    """Raise ModelFileError where a file was written of another model than it lies beside."""
    if digest != model.digest:
        raise ModelFileError(
            f"{beside} is of another model than {path}, which has taken the place of its own: move "
            "it away to have a page without it"
        )


@dataclass(frozen=True)
class Predictions:
    """What a network predicts for rows whose target is known.

    Attributes
    ----------
    rows
        Which: "held-out" or "training".
    classes
        Names of the classes; of the target's columns for several labels and for regressions.
    counts
        Of classes, (classes, classes): rows by target and by prediction. Of several labels,
        (columns, 4): rightly 0, wrongly 1, wrongly 0, rightly 1. Of a regression empty.
    pairs
        Of a regression, (rows, columns, 2): target and prediction of at most `PAIRS` rows.
    """

    rows: str
    classes: tuple[str, ...]
    counts: Array
    pairs: Array

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data."""
        return {
            "rows": self.rows,
            "classes": list(self.classes),
            "counts": self.counts.tolist(),
            "pairs": self.pairs.tolist(),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Predictions:
        """Read what `to_dict` gave."""
        counts, pairs = np.asarray(plain["counts"], np.int64), np.asarray(plain["pairs"], float)
        return cls(plain["rows"], tuple(plain["classes"]), counts, pairs)

    @classmethod
    def of(cls, model: Model, table: Table, training: Array, held_out: Array) -> Predictions:
        """Predict the rows held out, or those trained on where there are none."""
        chosen, kind = (held_out, "held-out") if len(held_out) else (training, "training")
        assert table.target is not None
        target, task = np.asarray(table.target[chosen]), model.network.task
        no_counts, no_pairs = np.zeros((0, 0), np.int64), np.zeros((0, 1, 2))
        names = tuple(str(each) for each in table.target_names)
        if task == "regression":
            some = np.linspace(0, len(chosen) - 1, min(len(chosen), PAIRS)).astype(np.int64)
            predicted = model.predict(table.features[chosen[some]])
            pairs = np.stack([target[some].astype(float), predicted.astype(float)], -1)
            return cls(kind, names, no_counts, pairs.reshape(len(some), -1, 2))
        predicted = model.predict(table.features[chosen])
        if task == "multilabel":
            both = 2 * (target > 0.5) + predicted.reshape(target.shape)
            counts = np.stack([np.sum(both == each, axis=0) for each in range(4)], -1)
            return cls(kind, names, counts.astype(np.int64), no_pairs)
        classes = model.preparation.classes
        place = {each: k for k, each in enumerate(classes)}
        counts = np.zeros((len(classes), len(classes)), np.int64)
        rows = [[place[each] for each in values.tolist()] for values in (target, predicted)]
        np.add.at(counts, tuple(rows), 1)
        return cls(kind, tuple(str(each) for each in classes), counts, no_pairs)


@dataclass(frozen=True)
class Account:
    """What is known of a run.

    Attributes
    ----------
    name
        What the page calls it.
    data
        "name", "rows" and "columns" of the table; how many rows were for "training", how many
        "held_out". Empty where that is not known.
    model, history, reason, scores
        As in `Run`.
    trace
        What was recorded of its steps; None if nothing was.
    predictions
        None where it is still to be predicted, or cannot be.
    table, training, held_out, snapshots
        As in `Run` and its data; None where the run was read from files.
    """

    name: str
    data: Mapping[str, Any]
    model: Model
    history: History
    reason: str
    scores: Mapping[str, Mapping[str, float]]
    trace: Trace | None = None
    predictions: Predictions | None = None
    table: Table | None = None
    training: Array | None = None
    held_out: Array | None = None
    snapshots: Snapshots | None = None

    @property
    def recipe(self) -> Recipe | None:
        """How it was trained; None where that held functions."""
        return self.model.recipe

    @property
    def data_title(self) -> str:
        """What it was trained on: the table's name and size; "" where that is not known."""
        if not self.data:
            return ""
        return f"{self.data['name']}: {self.data['rows']:,} rows, {self.data['columns']:,} columns"

    @property
    def task(self) -> str:
        """What kind of target it has."""
        return self.model.network.task

    @property
    def score_name(self) -> str:
        """What its score is called."""
        return name_of(self.task)

    @property
    def failed(self) -> bool:
        """Say whether it ended because something was not finite."""
        return Reason.read(self.reason).kind == "not finite"

    @property
    def broken_off(self) -> bool:
        """Say whether it ended because a function of the user's, or the system, raised an error."""
        return Reason.read(self.reason).kind == "error"

    @property
    def recorded(self) -> bool:
        """Say whether it has a trace with at least one step in it."""
        return self.trace is not None and len(self.trace.layers) > 0

    @property
    def batch(self) -> int:
        """Give how many rows a recorded step had; an epoch's last may have had fewer."""
        return int(self.by_step("rows")[1].max())

    def by_step(self, column: str) -> tuple[Array, Array]:
        """Give the recorded steps and a column of the trace; empty where there is none."""
        if self.trace is None or not len(self.trace.steps):
            return np.empty(0), np.empty(0)
        frame = self.trace.steps
        return frame["step"].to_numpy(), frame[column].to_numpy().astype(float)

    def by_layer(self, column: str) -> tuple[Array, Array, Array]:
        """Give steps, layers and a column of the trace as (layers, steps), NaN where nothing is."""
        assert self.trace is not None
        frame = self.trace.layers
        step, layer = frame["step"].to_numpy(), frame["layer"].to_numpy()
        values = frame[column].to_numpy().astype(float)
        steps, across = np.unique(step, return_inverse=True)
        layers, down = np.unique(layer, return_inverse=True)
        table = np.full((len(layers), len(steps)), np.nan)
        table[down, across] = values
        return steps, layers, table

    def predicted(self) -> Predictions | None:
        """Give the predictions: the one that was read, or else predicted now; None without rows."""
        if self.predictions is not None or self.table is None:
            return self.predictions
        assert self.training is not None
        assert self.held_out is not None
        return Predictions.of(self.model, self.table, self.training, self.held_out)

    def summary(self) -> dict[str, Any]:
        """Give what a summary file holds, as plain data; `read` makes an account of it again.

        As JSON by `storage.to_json`, with null where a number is not finite.
        """
        network, predictions = self.model.network, self.predicted()
        return {
            "digest": self.model.digest,
            "data": dict(self.data),
            "network": network.describe(),
            "parameters": int(network.theta.size),
            "stopped": self.reason,
            "scores": {rows: dict(values) for rows, values in self.scores.items()},
            "recipe": None if self.recipe is None else self.recipe.to_dict(),
            "history": self.history.to_dict(),
            "predictions": None if predictions is None else predictions.to_dict(),
        }

    @classmethod
    def read(cls, path: str | Path) -> Account:
        """Read the account of a model from its file, the summary and the trace beside it.

        Without the summary there is no history, without the trace no X-ray.

        Raises
        ------
        MissingFileError
            If there is no model of that name.
        UnreadableError
            If one of them may not be read.
        ModelFileError
            If the model, its summary or its trace is damaged, or no file of Downslope, or another
            model's.
        """
        path = Path(path)
        model = Model.load(path)
        reason, files = str(model.summary.get("reason", "")), files_beside(path)
        trace = Trace.load(files["trace"]) if is_there(files["trace"]) else None
        if trace is not None and any(map(len, trace.frames.values())):  # else it is no one's
            _refuse_foreign(files["trace"], trace.digest, path, model)
        beside = files["summary"]
        if not is_there(beside):
            return cls(path.stem, {}, model, History(), reason, {}, trace)
        content = read_bytes(beside)
        try:
            plain = json.loads(content.decode())
            _refuse_foreign(beside, plain.get("digest"), path, model)
            check_summary(plain, model.network.task)
            predictions = plain["predictions"]
            return cls(
                path.stem,
                plain["data"],
                model,
                History.from_dict(plain["history"]),
                plain["stopped"],
                with_nan(plain["scores"]),
                trace,
                predictions=None if predictions is None else Predictions.from_dict(predictions),
            )
        except ModelFileError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ModelFileError(
                f"{beside} is damaged or no summary of Downslope ({type(error).__name__}: "
                f"{error}): move it away to have a page of the model alone"
            ) from error
