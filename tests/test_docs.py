"""Every code block of the documents runs, block after block of one document in one namespace."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import sklearn.neural_network as theirs

from downslope import MLPClassifier, MLPRegressor

DOCS = Path(__file__).parent.parent / "docs"
COMING = "coming_from_scikit_learn.md"


def blocks(path: Path) -> list[str]:
    """List the blocks of Python, each padded so that errors name their line in the document."""
    text = path.read_text(encoding="utf-8")
    return [
        "\n" * text[: found.start(1)].count("\n") + found[1]
        for found in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    ]


def rows_of(text: str, heading: str) -> set[str]:
    """Give the names in backquotes of the first column of the table below a heading."""
    part = text.split(f"\n### {heading}\n")[1].split("\n#")[0]
    cells = [line.split("|")[1] for line in part.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.stem)
def test_every_code_block_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": path.stem}
    for block in blocks(path):
        exec(compile(block, str(path), "exec"), namespace)


def test_the_tables_name_every_argument() -> None:
    text = (DOCS / COMING).read_text(encoding="utf-8")
    pairs = ((MLPClassifier, theirs.MLPClassifier), (MLPRegressor, theirs.MLPRegressor))
    kept = {name for _, their in pairs for name in inspect.signature(their).parameters}
    added = {name for our, _ in pairs for name in inspect.signature(our).parameters} - kept
    assert rows_of(text, "Kept") == kept
    assert rows_of(text, "Added") >= added
    assert rows_of(text, "Added") - added <= kept
    ran = "".join(blocks(DOCS / COMING))
    named = rows_of(text, "Kept") | rows_of(text, "Added")
    assert {name for name in named if f"{name}=" not in ran} == set()


def test_every_argument_of_theirs_has_its_default_here() -> None:
    for our, their in (
        (MLPClassifier, theirs.MLPClassifier),
        (MLPRegressor, theirs.MLPRegressor),
    ):
        ours = inspect.signature(our).parameters
        for name, parameter in inspect.signature(their).parameters.items():
            assert ours[name].default == parameter.default
            assert ours[name].kind == parameter.kind
        beyond = list(ours)[len(inspect.signature(their).parameters) :]
        assert all(ours[name].kind is inspect.Parameter.KEYWORD_ONLY for name in beyond)
