"""`downslope descend` and `downslope functions`, run as a person runs them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from downslope import cli
from downslope.gallery import GALLERY


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command line in this process; give what it prints."""
    with pytest.raises(SystemExit) as end:
        cli.main(list(arguments))
    assert not end.value.code
    return capsys.readouterr().out


def test_a_formula_its_derivative_and_where_it_ended(capsys: pytest.CaptureFixture[str]) -> None:
    command = "descend|x**4 - 3*x**3 + 2|--start|4|--rule|gd|--learning-rate|0.01"
    shown = run(capsys, *command.split("|"))
    for said in ("4*x**3 - 9*x**2", "start     4, f = 66", "2.25, f = -6.54297", "minimum",
                 "curvatures 20.25", "w = w - eta g", "optimum: the gradient's norm"):  # fmt: skip
        assert said in shown


def test_several_rules_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    rules = "gd,momentum,nesterov,adagrad,rmsprop,adam"
    command = f"descend rosenbrock --start -1.5,2 --rule {rules} --steps 200"
    shown = run(capsys, *command.split())
    for rule in rules.split(","):
        assert re.search(rf"^{rule} +\S+ +\d+ ", shown, re.MULTILINE)
    assert "Each rate is the best of 43" in shown
    assert "minimum f = 0 at (1, 1)" in shown
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80


def test_many_starts_are_told_by_where_they_led(capsys: pytest.CaptureFixture[str]) -> None:
    shown = run(capsys, *"descend himmelblau --starts 50 --rule adam,lbfgs".split())
    for place in ("(3, 2)", "(-2.80512, 3.13131)", "(-3.77931, -3.28319)", "(3.58443, -1.84813)"):
        assert shown.count(place) >= 2
    counts = re.findall(r"^(?:adam|lbfgs)? +(?:\S+ +)?(\d+) +[\d,]+ +\S+ +\(", shown, re.MULTILINE)
    assert sum(map(int, counts)) == 100


def test_the_trace_shows_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    shown = run(capsys, *"descend x**2 --start 1 --learning-rate 0.25 --steps 3 --trace".split())
    rows = re.findall(r"^ {6}(\d) +(\S+) +(\S+) +(\S+) *(\S*)$", shown, re.MULTILINE)
    assert rows == [
        ("0", "1", "1", "2", "-0.5"),
        ("1", "0.5", "0.25", "1", "-0.25"),
        ("2", "0.25", "0.0625", "0.5", "-0.125"),
        ("3", "0.125", "0.015625", "0.25", ""),
    ]
    for number in range(1, 7):
        assert f"\n  {number} " in shown


def test_the_trace_names_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    shown = run(capsys, *"descend x*y+y**2 --start 1,2 --rule adam --steps 2 --trace".split())
    for heading in ("f(x, y)", "df/dx", "df/dy", "step of x", "step of y"):
        assert heading in shown


def test_several_rates_of_one_rule(capsys: pytest.CaptureFixture[str]) -> None:
    command = "descend x**2 --start 1 --learning-rate 0.1,0.3,1.1 --steps 5000"
    shown = run(capsys, *command.split())
    assert len(re.findall(r"^gd +[\d.]+ +", shown, re.MULTILINE)) == 3
    assert "diverged" in shown
    assert "gd 1.1: f(w) left the finite numbers" in shown


def test_a_lower_minimum_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    shown = run(capsys, *"descend three_hump_camel --start 2,-1 --rule lbfgs".split())
    assert "a lower minimum is known: f = 0 at (0, 0)" in " ".join(shown.split())
    shown = run(capsys, *"descend himmelblau --start 4,4 --rule lbfgs".split())
    assert "none is known" in shown


def test_the_gallery_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    shown = run(capsys, "functions")
    for entry in GALLERY.values():
        assert entry.name in shown
        assert entry.line[:20] in shown
        assert entry.source in shown
    assert "minima f = 0 at (3, 2); f = 0 at" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("descend|__import__('os')|--start|1", "unknown name|has no place"),
        ("descend|x + sni(x)|--start|1", r"did you mean 'sin'"),
        ("descend|rosenbrok|--start|1,2", "did you mean 'rosenbrock'"),
        ("descend|x**2|--start|1|--rule|adm", "did you mean 'adam'"),
        ("descend|x**2", r"say with --start where to begin: one number each for x"),
        ("descend|x**2|--start|1,2", "has 1 variable"),
        ("descend|x**2|--start|a", r"--start takes numbers with commas; got 'a'"),
        ("descend|x**2|--start|nan", "finite numbers"),
        ("descend|log(x)|--start|-1", "no finite real value"),
        ("descend|x**2|--start|1|--learning-rate|fast", "--learning-rate takes numbers"),
        ("descend|x**2|--start|1|--starts|3", "give either"),
        ("descend|rosenbrock|--starts|0", "--starts must be at least 1; got 0"),
        ("descend|x**2|--start|1|--steps|0", "steps must be at least 1"),
        ("descend|x**2|--start|1|--schedule|cosin", "did you mean 'cosine'"),
        ("descend|x**2|--start|1|--clip-norm|-1", "clip_norm must be above 0; got -1"),
    ],
)
def test_bad_input_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: str, said: str
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments.split("|"))
    shown = capsys.readouterr().err
    assert end.value.code == cli.EXIT_ERROR
    assert shown.startswith("downslope: ")
    assert re.search(said, shown)
    assert "Traceback" not in shown


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_control_c_shows_where_it_was() -> None:
    command = [sys.executable, "-c", "from downslope.cli import main; main()", "descend"]
    settings = "rosenbrock --rule gd,momentum --learning-rate 1e-7 --steps 5000000".split()
    process = subprocess.Popen([*command, *settings], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "known" not in process.stdout.readline():
        time.sleep(0.01)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "interrupted: the steps so far are kept" in shown
    assert "momentum" not in shown


def test_out_writes_the_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "parabola.html"
    command = f"descend parabola --learning-rate 0.1 --steps 20 --out {path}"
    assert str(path) in "".join(run(capsys, *command.split()).split("\n"))
    assert "Downhill on parabola" in path.read_text(encoding="utf-8")
