"""The command line: the commands under one name, errors in one line."""

from __future__ import annotations

import sys

import cyclopts

from downslope.commands import lists
from downslope.commands.compare import compare
from downslope.commands.descend import descend
from downslope.commands.explain import explain
from downslope.commands.fit import fit
from downslope.commands.predict import predict
from downslope.commands.report import report
from downslope.errors import DownslopeError, NonFiniteError

app = cyclopts.App(
    name="downslope",
    help="Gradient descent that you can run, see and trust.",
    version_flags=["--version"],
)
app.command(fit)
app.command(predict)
app.command(explain)
app.command(descend)
app.command(compare)
app.command(report)
app.command(lists.list_datasets, name="datasets")
app.command(lists.list_functions, name="functions")
for listing in (lists.rules, lists.activations, lists.initializers, lists.losses, lists.schedules):
    app.command(listing)

EXIT_ERROR, EXIT_NON_FINITE = 2, 3


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors of ours end in one line and a status other than 0."""
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except (DownslopeError, cyclopts.CycloptsError) as error:
        print(f"downslope: {' '.join(str(error).split())}", file=sys.stderr)
        status = EXIT_NON_FINITE if isinstance(error, NonFiniteError) else EXIT_ERROR
        raise SystemExit(status) from None
    except BrokenPipeError:
        sys.stderr.close()
