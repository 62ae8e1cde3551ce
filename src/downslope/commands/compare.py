"""`downslope compare`: variants of a recipe side by side, over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from downslope.commands.settings import UNCHANGED, Settings
from downslope.commands.source import load
from downslope.errors import InvalidValueError
from downslope.files import is_there
from downslope.recipe import Recipe
from downslope.vary import read_vary


def compare(
    source: str,
    /,
    *,
    vary: Annotated[list[str] | None, Parameter(negative="")] = None,
    target: str | None = None,
    seeds: int = 5,
    metric: str = "auto",
    budget: str | None = None,
    recipe: Path | None = None,
    out: Path | None = None,
    settings: Settings = UNCHANGED,
    workers: int | None = None,
) -> None:
    """Compare variants of a recipe: which way down is best, here.

    Parameters
    ----------
    source
        As in `fit`; several with commas give a performance profile too.
    vary
        A field and its values, as batch=1,32,full; several times for all combinations. Ranges:
        log:1e-4:1:9, lin:0:0.5:6. Layers: layers=64x64,128; one value for each:
        activation=relu/tanh.
    target
        The column to predict; several with commas.
    seeds
        Runs of each variant, each with its own split and starting weights.
    metric
        What to rank by: score, validation_loss, final_loss, best_loss, epochs_to_target,
        steps_to_target, seconds_to_target, epoch_seconds, memory or spread.
    budget
        Time for all runs, as 20s or 5min: few epochs for all, more for the better ones.
    recipe
        A recipe in TOML or JSON; options given beside it win.
    out
        A directory for the page, the tables, the winner, and the finished runs, from which another
        start goes on. By default the source's name with -compare.
    settings
        The fields that do not vary.
    workers
        Runs at a time; by default a run on every core.
    """
    chosen = settings.edit(Recipe() if recipe is None else Recipe.read(recipe))
    if not vary:
        raise InvalidValueError("compare needs --vary FIELD=VALUES, as --vary batch=1,32,full")
    varied = read_vary(vary)
    paths = _names(source)
    directory = Path("-".join(paths) + "-compare") if out is None else out
    from downslope.comparison_page import files_in, save
    from downslope.contest import RUNS_FILE
    from downslope.storage import check_writable

    reads = [*map(Path, paths.values()), *([] if recipe is None else [recipe])]
    check_writable(*files_in(directory).values(), directory / RUNS_FILE, reads=reads)
    read = {name: load(path, target) for name, path in paths.items()}
    from downslope.comparison_terminal import ProgressBar, print_comparison
    from downslope.contest import compare as run
    from downslope.terminal import announce_compilation

    announce_compilation()
    with ProgressBar() as bar:
        found = run(
            chosen, read, vary=varied, seeds=seeds, metric=metric, budget=budget, workers=workers,
            out=directory, watch=bar,
        )  # fmt: skip
    print_comparison(found, save(found, directory))


def _names(source: str) -> dict[str, str]:
    """Split several data sets at commas, each under its short name; a file may have one in it."""
    paths = [source] if is_there(source) else [each.strip() for each in source.split(",")]
    names = [Path(path).stem for path in paths]
    if len(set(names)) < len(names) or "" in names:
        raise InvalidValueError(
            f"compare takes data sets with commas between them, each of a name of its own; got "
            f"{source!r}"
        )
    return dict(zip(names, paths, strict=True))
