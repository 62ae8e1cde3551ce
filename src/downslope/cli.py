"""The command line: fit, predict, and what a recipe may use."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cyclopts
from cyclopts import Parameter

from downslope import catalogue
from downslope.errors import DownslopeError, InvalidValueError, NonFiniteError
from downslope.recipe import Recipe

app = cyclopts.App(
    name="downslope",
    help="Gradient descent that you can run, see and trust.",
    version_flags=["--version"],
)

EXIT_ERROR, EXIT_NON_FINITE = 2, 3


@Parameter(name="*")
@dataclass(frozen=True)
class Settings:
    """Fields of the recipe, as options; what is not given stays as in --recipe or the default.

    Parameters
    ----------
    layers
        Units of the hidden layers: 128,64. "none" for a linear model.
    activation
        Of the hidden layers: one for all, or one for each, with commas.
    initializer
        Of the weights, likewise.
    normalize
        none, batch or layer.
    residual
        Add each hidden layer's input to its output.
    dropout
        Share of hidden outputs dropped in training: one for all, or one for each.
    output_activation
        Of the output layer; auto goes by the task.
    loss
        auto goes by the task.
    label_smoothing
        Share of a class target spread over all classes.
    scaling
        Of features and a regression target: auto, standard, squash or none.
    task
        auto, regression, binary, multiclass or multilabel.
    batch
        Rows of a step, or "full".
    rule
        How theta moves given the gradient: see `downslope rules`.
    learning_rate
        By default the rule's usual one.
    schedule
        Of the learning rate: see `downslope schedules`.
    warmup
        Steps of linear rise before the schedule.
    clip_norm
        Bound on the norm of the gradient.
    clip_value
        Bound on each entry of the gradient.
    l1
        Penalty on absolute weights.
    l2
        Penalty on squared weights, scikit-learn's alpha.
    weight_decay
        Decoupled weight decay.
    epochs
        Bound on passes over the rows, or "none".
    steps
        Bound on steps.
    seconds
        Bound on time.
    validation
        Share of rows held out.
    patience
        Epochs without improvement before stopping.
    tolerance
        What counts as an improvement.
    gradient_tolerance
        Stop when the gradient's norm falls below.
    target_loss
        Stop when the training loss comes down to this.
    target_score
        Stop when the held-out score comes up to this.
    seed
        Of all that is random.
    shuffle
        Shuffle the rows each epoch.
    dtype
        float32 or float64.
    """

    layers: str | None = None
    activation: str | None = None
    initializer: str | None = None
    normalize: str | None = None
    residual: bool | None = None
    dropout: str | None = None
    output_activation: str | None = None
    loss: str | None = None
    label_smoothing: float | None = None
    scaling: str | None = None
    task: str | None = None
    batch: str | None = None
    rule: str | None = None
    learning_rate: float | None = None
    schedule: str | None = None
    warmup: int | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    l1: float | None = None
    l2: float | None = None
    weight_decay: float | None = None
    epochs: str | None = None
    steps: int | None = None
    seconds: float | None = None
    validation: float | None = None
    patience: int | None = None
    tolerance: float | None = None
    gradient_tolerance: float | None = None
    target_loss: float | None = None
    target_score: float | None = None
    seed: int | None = None
    shuffle: bool | None = None
    dtype: str | None = None

    def edit(self, recipe: Recipe) -> Recipe:
        """Give the recipe with the fields that were set."""
        changes = {name: value for name, value in vars(self).items() if value is not None}
        readers = {
            "layers": _widths, "activation": _several, "initializer": _several,
            "dropout": _rates, "batch": _batch, "epochs": _epochs,
        }  # fmt: skip
        for name in changes.keys() & readers.keys():
            changes[name] = readers[name](changes[name])
        return recipe.edit(**changes)


def _whole(text: str, option: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidValueError(f"{option} takes whole numbers; got {text!r}") from None


def _widths(text: str) -> tuple[int, ...]:
    """Read the widths of layers: 128,64; none."""
    if text.strip().lower() in ("", "none"):
        return ()
    return tuple(_whole(part, "--layers") for part in text.split(","))


def _several(text: str) -> str | tuple[str, ...]:
    """Read one name or several, with commas outside of parentheses."""
    parts = [part.strip() for part in re.split(r",(?![^(]*\))", text)]
    return parts[0] if len(parts) == 1 else tuple(parts)


def _rates(text: str) -> float | tuple[float, ...]:
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InvalidValueError(f"--dropout takes numbers; got {text!r}") from None
    return rates[0] if len(rates) == 1 else rates


def _batch(text: str) -> int | str:
    return "full" if text == "full" else _whole(text, "--batch")


def _epochs(text: str) -> int | None:
    return None if text == "none" else _whole(text, "--epochs")


def _load(source: str, target: str | None) -> Any:
    """Read a table: a file where there is one of that name, else a built-in data set."""
    from downslope import datasets, table

    if not Path(source).exists() and source in datasets.names():
        if target is not None:
            raise InvalidValueError(
                f"data set {source!r} comes with its target; leave --target out"
            )
        return datasets.load(source)
    if not Path(source).suffix and not Path(source).exists():
        return datasets.load(source)
    if target is None and Path(source).suffix != ".npz":
        raise InvalidValueError(f"say with --target which column of {source!r} to predict")
    return table.read(source, target)


@app.command
def fit(
    source: str,
    *,
    target: str | None = None,
    recipe: Path | None = None,
    out: Path | None = None,
    settings: Settings = Settings(),
    checkpoint: Path | None = None,
    resume: bool = False,
    threads: int | None = None,
) -> None:
    """Train a network on a table; leave a model and a summary behind.

    Parameters
    ----------
    source
        A file (.csv, .tsv, .parquet, .arrow, .feather, .jsonl, .npz), or a built-in data set.
    target
        The column to predict; several with commas.
    recipe
        A recipe in TOML or JSON; options given beside it win.
    out
        Where to write, without ending: OUT.downslope and OUT.json. By default the source's name.
    settings
        The recipe's fields.
    checkpoint
        A directory for the state of the run, from which --resume goes on.
    resume
        Go on from the state in --checkpoint.
    threads
        By default all cores; the result is the same for any number.
    """
    if resume and checkpoint is None:
        raise InvalidValueError("--resume needs --checkpoint DIR, where the run's state lies")
    chosen = settings.edit(Recipe() if recipe is None else Recipe.read(recipe))
    read = _load(source, target)
    out = Path(Path(source).stem) if out is None else out
    from downslope.descent import descend
    from downslope.kernels.jit import is_cached
    from downslope.kernels.loop import descend as loop
    from downslope.task import infer_task
    from downslope.terminal import EpochLines, print_summary

    if not is_cached(loop):
        print("compiling the kernels, once on this machine: some 20 seconds ...", flush=True)
    lines = EpochLines(infer_task(read.target, chosen.network.task), chosen.descent.epochs)
    failure: NonFiniteError | None = None
    try:
        run = descend(
            chosen, read, threads=threads, watchers=[lines], checkpoint=checkpoint, resume=resume
        )
    except NonFiniteError as error:
        if error.run is None:
            raise
        failure, run = error, error.run
    lines.close()
    files = {"model": run.save(out.with_name(out.name + ".downslope"))}
    files["summary"] = _write_summary(run, read, out.with_name(out.name + ".json"))
    print_summary(run, f"{source}: {len(read):,} rows, {len(read.feature_names)} columns", files)
    if failure is not None:
        raise failure


def _write_summary(run: Any, read: Any, path: Path) -> Path:
    """Write what the summary says, and every epoch, as JSON."""
    from downslope.storage import write_atomically

    summary = {
        "data": {"name": read.name, "rows": len(read), "columns": len(read.feature_names)},
        "network": run.network.describe(),
        "parameters": int(run.network.theta.size),
        "stopped": run.reason,
        "scores": run.scores,
        "recipe": run.recipe.to_dict(),
        "history": run.history.to_dict(),
    }
    write_atomically(path, json.dumps(summary, indent=1).encode())
    return path


@app.command
def predict(model: Path, source: str, *, out: Path | None = None, proba: bool = False) -> None:
    """Predict the target for the rows of a table.

    Parameters
    ----------
    model
        A .downslope file that fit has written.
    source
        A file with the same columns; others are left alone.
    out
        A CSV file to write; by default the terminal.
    proba
        Give the probability of each class beside the prediction.
    """
    import polars as pl

    from downslope import datasets, table
    from downslope.model import Model

    loaded = Model.load(model)
    builtin = not Path(source).exists() and source in datasets.names()
    read = datasets.load(source) if builtin else table.read(source)
    values = loaded.predict(read.features)
    columns: dict[str, Any] = {"prediction": values}
    if values.ndim == 2:
        columns = {f"prediction{k + 1}": values[:, k] for k in range(values.shape[1])}
    if proba:
        chances = loaded.predict_proba(read.features)
        names = loaded.preparation.classes or range(1, chances.shape[1] + 1)
        columns |= {f"p({name})": chances[:, k] for k, name in enumerate(names)}
    frame = pl.DataFrame(columns)
    if out is None:
        sys.stdout.write(frame.write_csv())
    else:
        frame.write_csv(out)
        print(f"{len(frame):,} predictions: {out}")


@app.command(name="datasets")
def list_datasets() -> None:
    """List the built-in data sets."""
    from downslope import datasets

    for name, line in datasets.names().items():
        print(f"{name:<14} {line}")


@app.command
def rules() -> None:
    """List the update rules, each with its equation."""
    _print("rule")


@app.command
def activations() -> None:
    """List the activations, each with its equation."""
    _print("activation")


@app.command
def initializers() -> None:
    """List the initializers of weights, each with its equation."""
    _print("initializer")


@app.command
def losses() -> None:
    """List the losses, each with its equation."""
    _print("loss")


@app.command
def schedules() -> None:
    """List the schedules of the learning rate, each with its equation."""
    _print("schedule")


def _print(kind: str) -> None:
    from downslope.terminal import print_entries

    print_entries(catalogue.TABLES[kind])


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors of ours end in one line and a status other than 0."""
    try:
        app(arguments)
    except DownslopeError as error:
        print(f"downslope: {error}", file=sys.stderr)
        status = EXIT_NON_FINITE if isinstance(error, NonFiniteError) else EXIT_ERROR
        raise SystemExit(status) from None
    except BrokenPipeError:
        sys.stderr.close()
