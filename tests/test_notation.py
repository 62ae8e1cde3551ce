"""NOTATION.md and the code use the same names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def column(heading: str) -> list[str]:
    """List the names in backquotes below one heading of NOTATION.md's tables."""
    names: list[str] = []
    place = -1
    for line in (ROOT / "NOTATION.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line[:1] == "|" else []
        if not cells:
            place = -1
        elif place < 0:
            place = cells.index(heading) if heading in cells else len(cells)
        elif place < len(cells):
            names += re.findall(r"`([^`]+)`", cells[place])
    return names


def identifiers(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Give every identifier, and whether it is named here rather than only used."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=context) | ast.Attribute(attr=name, ctx=context):
                yield name, isinstance(context, ast.Store)
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, True
            case ast.alias(asname=str(name)):
                yield name, True


SCIKIT_LEARN = ("estimators.py", "perceptron.py", "convergence.py", "pipeline.py")
"""Files whose names are scikit-learn's where its interface asks for them."""


@cache
def names_of_the_code() -> tuple[frozenset[str], dict[str, str]]:
    """Give all identifiers of the package, and where those named in it are."""
    used: set[str] = set()
    named: dict[str, str] = {}
    for path in sorted((ROOT / "src" / "downslope").rglob("*.py")):
        for name, here in identifiers(ast.parse(path.read_text(encoding="utf-8"))):
            used.add(name)
            if here and path.name not in SCIKIT_LEARN:
                named.setdefault(name, path.name)
    return frozenset(used), named


@pytest.mark.parametrize("name", sorted(set(column("in code"))))
def test_a_listed_name_is_used(name: str) -> None:
    assert name in names_of_the_code()[0]


@pytest.mark.parametrize("pattern", sorted(set(column("not"))))
def test_a_synonym_is_not_used(pattern: str) -> None:
    # Names that other libraries gave, as pyarrow's num_rows, are theirs: only ours are looked at.
    found = {name: file for name, file in names_of_the_code()[1].items()
             if fnmatchcase(name.lower(), pattern)}  # fmt: skip
    assert found == {}


def test_no_name_is_both() -> None:
    listed, synonyms = column("in code"), column("not")
    assert len(listed) > 60
    assert len(synonyms) > 30
    assert not set(listed) & set(synonyms)


def test_every_identifier_is_seen() -> None:
    source = (
        "import numpy as lr\n"
        "class Cost:\n"
        "    grads: int\n"
        "def solver(y_true, *, nb_rows):\n"
        "    self.params = [eta for eta in y_true]\n"
        "    return file.num_rows\n"
    )
    named = {name for name, here in identifiers(ast.parse(source)) if here}
    assert named == {"lr", "Cost", "grads", "solver", "y_true", "nb_rows", "params", "eta"}
