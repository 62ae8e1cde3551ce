"""The house: imports go one way, down the list in CONTRIBUTING.md, and heavy ones wait for use."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import downslope

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "downslope"


def listed() -> list[str]:
    """Read the modules of CONTRIBUTING.md's house, top first: errors, kernels.jit, ..."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = re.search(r"^src/downslope/\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found, "CONTRIBUTING.md must hold the house in a code block that begins src/downslope/"
    modules, folders = [], [""]
    for line in found[1].splitlines():
        spaces, name = re.match(r"( *)(\S+)", line).groups()  # type: ignore[union-attr]
        del folders[len(spaces) // 2 :]
        if name.endswith("/"):
            folders.append(folders[-1] + name[:-1] + ".")
        elif name.endswith(".py"):
            modules.append(folders[-1] + name[:-3])
    return modules


def standing() -> dict[str, Path]:
    """Give every module of the package by its name within it."""
    files = {path: path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py"))}
    return {".".join(short.with_suffix("").parts): path for path, short in files.items()}


def module_of(dotted: str) -> str | None:
    """Name the module that a dotted name stands for; a package stands for its __init__."""
    inside = dotted.removeprefix("downslope").lstrip(".")
    for name in (inside, f"{inside}.__init__".lstrip(".")):
        if name in standing():
            return name
    return None


def imported(module: str, source: str) -> Iterator[tuple[int, str]]:
    """Give line and module of all that a module imports from Downslope, in functions too."""
    here = ["downslope", *module.split(".")[:-1]]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) + 1 - node.level] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            members = [f"{origin}.{alias.name}" for alias in node.names]
            names = [member if module_of(member) else origin for member in members]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "downslope":
                yield node.lineno, module_of(name) or name


def breaches(order: list[str], module: str, source: str) -> list[str]:
    """Say which imports of a module come from below it, from itself or from nowhere."""
    above = order[: order.index(module)]
    return [
        f"{module}, line {line}: imports {name}, which does not stand above it"
        for line, name in imported(module, source)
        if name not in above
    ]


def test_the_list_and_the_files_are_the_same() -> None:
    assert sorted(listed()) == sorted(standing())


@pytest.mark.parametrize("module", sorted(standing().keys() - {"__init__"}))
def test_a_module_imports_only_from_above_itself(module: str) -> None:
    assert breaches(listed(), module, standing()[module].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("module", sorted(standing().keys() - {"__init__"}))
def test_no_module_imports_by_a_name_made_while_running(module: str) -> None:
    # Such an import would pass unseen. The public names in __init__ are the one place for it.
    tree = ast.parse(standing()[module].read_text(encoding="utf-8"))
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {getattr(call, "attr", getattr(call, "id", "")) for call in calls}
    assert not names & {"import_module", "__import__"}


@pytest.mark.parametrize(
    "line",
    [
        "import downslope.cli",
        "from downslope import cli",
        "from downslope.cli import fit",
        "from .. import cli",
        "from ..cli import fit",
        "from .loop import steps",
        "def late():\n    from downslope.kernels import loop",
        "if TYPE_CHECKING:\n    from downslope.kernels.loop import Job",
    ],
)
def test_an_import_from_below_is_seen(line: str) -> None:
    order = ["__init__", "errors", "kernels.__init__", "kernels.jit", "kernels.loop", "cli"]
    assert len(breaches(order, "kernels.jit", line)) == 1
    assert breaches(order, "kernels.jit", "from downslope.errors import nearest") == []


def loaded_by(statement: str) -> set[str]:
    """Run a statement in a fresh interpreter; give the top-level modules that it loaded."""
    program = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "waiting"),
    [
        (
            "import downslope",
            "numba numpy pandas plotly polars pyarrow rich scipy sklearn skrub sympy",
        ),
        (
            "import downslope.cli",
            "numba pandas plotly polars pyarrow scipy sklearn skops skrub sympy",
        ),
    ],
)
def test_heavy_imports_wait_for_their_use(statement: str, waiting: str) -> None:
    loaded = loaded_by(statement)
    assert "downslope" in loaded
    assert loaded & set(waiting.split()) == set()


def test_public_names_are_shown_before_they_are_used() -> None:
    shown = loaded_by("import downslope; print(*dir(downslope))")
    assert {*downslope.__all__, "datasets", "__version__"} <= shown
    assert "importlib" not in dir(downslope)
    assert "_HOMES" not in dir(downslope)


def test_every_public_name_is_found() -> None:
    statement = "import downslope; [getattr(downslope, name) for name in downslope.__all__]"
    assert "numba" in loaded_by(statement)
