"""The commands that list what there is: data sets, and what a recipe may name."""

from __future__ import annotations

from downslope import catalogue


def list_datasets() -> None:
    """List the built-in data sets."""
    from downslope import datasets

    for name, line in datasets.names().items():
        print(f"{name:<14} {line}")


def list_functions() -> None:
    """List the functions of the gallery, each with its formula and its known minima."""
    from downslope.function_terminal import print_gallery

    print_gallery()


def rules() -> None:
    """List the update rules, each with its equation."""
    _print("rule")


def activations() -> None:
    """List the activations, each with its equation."""
    _print("activation")


def initializers() -> None:
    """List the initializers of weights, each with its equation."""
    _print("initializer")


def losses() -> None:
    """List the losses, each with its equation."""
    _print("loss")


def schedules() -> None:
    """List the schedules of the learning rate, each with its equation."""
    _print("schedule")


def _print(kind: str) -> None:
    from downslope.terminal import print_entries

    print_entries(catalogue.TABLES[kind])
