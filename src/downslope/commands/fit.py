"""`downslope fit`: train a network on a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from downslope.commands.settings import UNCHANGED, Settings
from downslope.commands.source import load
from downslope.errors import InvalidValueError
from downslope.recipe import Recipe


def fit(
    source: str,
    /,
    *,
    target: str | None = None,
    recipe: Path | None = None,
    out: Path | None = None,
    settings: Settings = UNCHANGED,
    page: bool = True,
    landscape: bool = False,
    record: Literal["default", "all", "none"] = "default",
    checkpoint: Path | None = None,
    resume: bool = False,
    threads: int | None = None,
) -> None:
    """Train a network on a table; leave a model, a summary and a page of pictures behind.

    Parameters
    ----------
    source
        A file (.csv, .tsv, .parquet, .arrow, .feather, .jsonl, .npz), or a built-in data set.
    target
        The column to predict; several with commas.
    recipe
        A recipe in TOML or JSON; options given beside it win.
    out
        Where to write, without ending: OUT.downslope, OUT.json, OUT.trace.parquet and OUT.html.
        By default the source's name.
    settings
        The recipe's fields.
    page
        Write OUT.html: the run in pictures, in one file.
    landscape
        Draw the loss around the network and along the way to it too, and say where it ended:
        minimum, saddle, plateau or still on a slope.
    record
        Which steps are recorded in OUT.trace.parquet: by default up to some 200 of them.
    checkpoint
        A directory for the state of the run, from which --resume goes on: written about once a
        second, less often where that would take long. One that holds a state already is taken with
        --resume only.
    resume
        Go on from the state in --checkpoint.
    threads
        By default all cores; the result is the same for any number.
    """
    if resume and checkpoint is None:
        raise InvalidValueError("--resume needs --checkpoint DIR, where the run's state lies")
    if landscape and not page:
        raise InvalidValueError("--landscape draws on the page: leave --no-page out")
    chosen = settings.edit(Recipe() if recipe is None else Recipe.read(recipe))
    out = Path(Path(source).stem) if out is None else out
    left_out = {"trace"} if record == "none" else set()
    reads = [Path(source), *([] if recipe is None else [recipe])]
    files = _check_files(out, left_out if page else left_out | {"page"}, checkpoint, reads)
    read = load(source, target)
    from downslope import report
    from downslope.account import replace_model
    from downslope.descent import descend
    from downslope.run import Run
    from downslope.storage import to_json, write_atomically
    from downslope.task import infer_task
    from downslope.terminal import (
        EpochLines,
        announce_compilation,
        print_facts,
        print_layers,
    )

    announce_compilation()
    task = infer_task(read.target, chosen.network.task, read.target_title)
    lines = EpochLines(task, chosen.descent.epochs)
    failure: Exception | None = None
    try:
        run = descend(
            chosen, read, threads=threads, watchers=[lines], checkpoint=checkpoint, resume=resume,
            record=record, path=landscape,
        )  # fmt: skip
    except Exception as error:
        done: Run | None = getattr(error, "run", None)
        if done is None:
            raise
        failure, run = error, done
    finally:
        lines.close()
    replace_model(run.model, files["model"])
    account = run.account(out.name)
    account = replace(account, predictions=account.predicted())
    write_atomically(files["summary"], to_json(account.summary(), indent=1).encode())
    if "trace" in files:
        run.trace.save(files["trace"])
    more = run.surroundings() if landscape and failure is None else []
    if "page" in files:
        report.write(files["page"], [account], more)
    print_facts({**report.facts(account), "threads": run.threads, **files})
    print_layers(account)
    if more:
        print(more[0].seen)
    if failure is not None:
        raise failure


def _check_files(
    out: Path, left_out: set[str], checkpoint: Path | None, reads: Sequence[Path]
) -> dict[str, Path]:
    """Give the files that are to be written, once it is sure that they can be."""
    from downslope.account import files_beside
    from downslope.checkpoint import FILE
    from downslope.model import ENDING
    from downslope.storage import check_writable, with_ending

    model = with_ending(out, ENDING)
    files = {"model": model} | files_beside(model)
    # Checked although not written: replace_model removes those of an earlier model.
    states = [] if checkpoint is None else [checkpoint / FILE]
    check_writable(*files.values(), *states, reads=reads)
    return {kind: path for kind, path in files.items() if kind not in left_out}
