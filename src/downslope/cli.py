"""The command line: the commands under one name, errors in one line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import cyclopts

EXIT_ERROR, EXIT_NON_FINITE, EXIT_INTERRUPTED = 2, 3, 130


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors of ours end in one line and a status other than 0.

    All else is imported within, so that Ctrl-C ends it silently from the start.
    """
    try:
        _run(arguments)
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None


def make_app() -> cyclopts.App:
    """Bring the commands under one name."""
    import cyclopts

    from downslope.commands import lists
    from downslope.commands.compare import compare
    from downslope.commands.descend import descend
    from downslope.commands.explain import explain
    from downslope.commands.fit import fit
    from downslope.commands.predict import predict
    from downslope.commands.report import report

    app = cyclopts.App(
        name="downslope",
        help="Gradient descent that you can run, see and trust.",
        version_flags=["--version"],
    )
    for command in (fit, predict, explain, descend, compare, report):
        app.command(command)
    app.command(lists.list_datasets, name="datasets")
    app.command(lists.list_functions, name="functions")
    for listing in (
        lists.rules, lists.activations, lists.initializers, lists.losses, lists.schedules
    ):  # fmt: skip
        app.command(listing)
    return app


def _run(arguments: list[str] | None) -> None:
    import cyclopts

    from downslope.errors import DownslopeError, NonFiniteError

    try:
        make_app()(arguments, exit_on_error=False, print_error=False)
    except cyclopts.UnusedCliTokensError as error:
        command, extra = " ".join(error.command_chain or ()), " ".join(error.unused_tokens or ())
        print(f"downslope: {command} takes no more after its arguments; got {extra!r}: leave it "
              f"out, or see `downslope {command} --help`", file=sys.stderr)  # fmt: skip
        raise SystemExit(EXIT_ERROR) from None
    except (DownslopeError, cyclopts.CycloptsError) as error:
        print(f"downslope: {' '.join(str(error).split())}", file=sys.stderr)
        status = EXIT_NON_FINITE if isinstance(error, NonFiniteError) else EXIT_ERROR
        raise SystemExit(status) from None
    except BrokenPipeError:
        sys.stderr.close()
