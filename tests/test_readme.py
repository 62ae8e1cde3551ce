"""README.md says what is so: its code runs, its commands are known, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from downslope import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^ {4}(downslope .*)$", README.replace("\\\n", " "), re.MULTILINE)


def test_the_examples_run_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    exec("\n".join(blocks), {})
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("epochs: all 100 done")
    assert shown[3] == shown[4]  # the model that was read again predicts the same


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_understood(command: str) -> None:
    words = shlex.split(command)[1:]
    chosen, _, _ = cli.make_app().parse_args(words, exit_on_error=False, print_error=False)
    assert chosen.__module__.startswith("downslope.commands.")


def test_the_commands_are_found() -> None:
    shown = {command.split()[1] for command in COMMANDS}
    assert {"fit", "predict", "datasets", "rules"} <= shown


def test_a_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    told = set(re.findall(r"(?:^ {4}|`)make ([a-z-]+)", README + guide, re.MULTILINE))
    assert {"demo", "test", "bench"} <= told <= targets


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_a_link_leads_to_a_file(link: str) -> None:
    assert (ROOT / link).is_file()
