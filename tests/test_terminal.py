"""What a terminal shows of the X-ray: one screen, a row a layer."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from accounts import account_of, make_trace
from downslope import Descent, terminal
from downslope.account import Account
from downslope.epoch import Epoch, asked_for
from downslope.history import History


@pytest.fixture(scope="module")
def deep() -> Account:
    return account_of("iris", layers=[4] * 39, trace=make_trace(40, 0.5))


def test_a_row_a_layer_with_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    account = account_of("iris", trace=make_trace(3, 0.1))
    terminal.print_layers(account)
    shown = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in shown if line.strip()[:1].isdigit()]
    assert [row[:2] for row in rows] == [["1", "8"], ["2", "8"], ["3", "3"]]
    assert rows[0][2][-4:] == "e-03"
    assert [len(row[3]) for row in rows] == [6, 7, 8]
    assert "12%" in rows[0]  # of all rows, not of a batch
    assert rows[2].count("–") == 3  # an output layer is not dead or flat, nor is its φ' on the way


def test_a_deep_network_fits_on_one_screen(
    deep: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.print_layers(deep)
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) <= 24
    assert max(len(line) for line in shown) <= 80
    assert any(line.strip() == "..." for line in shown)
    assert "vanishes" in " ".join(shown)


def test_without_records_there_is_nothing(
    deep: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.print_layers(replace(deep, trace=None))
    assert capsys.readouterr().out == ""


def test_what_is_not_finite_is_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_layers(account_of("iris", trace=make_trace(3, steps=np.array([1]), fails=True)))
    assert "–" in capsys.readouterr().out


class Screen(io.StringIO):
    """A stream that is a terminal, or is not."""

    def __init__(self, live: bool) -> None:
        super().__init__()
        self.live = live

    def isatty(self) -> bool:
        return self.live


@pytest.mark.parametrize(("live", "asked"), [(True, [5, 5, 10]), (False, [1, 5, 8])])
def test_a_live_line_need_not_show_what_is_written_over_at_once(
    deep: Account, live: bool, asked: list[int]
) -> None:
    screen = Screen(live)
    lines = terminal.EpochLines("multiclass", 100, screen)
    assert [asked_for(lines, epoch) for epoch in (0, 4, 7)] == asked
    for number in (1, 5, 7):
        history = History(losses=[0.5] * number, seconds=2.0)
        lines(Epoch.last(history, deep.model.network, 30, Descent()))
    lines.close()
    shown = screen.getvalue().split("\n")
    assert len(shown) == 4
    assert shown[-1] == ""
    assert ["epoch    7" in line for line in shown] == [False, False, True, False]
    assert ("\x1b[2K" in shown[0]) == live


@pytest.mark.parametrize("columns", [120, 80, 60, 40, 20])
@pytest.mark.parametrize("loss", [0.5, 1.2345e-12])
def test_a_live_line_fits_into_the_terminal(
    deep: Account, monkeypatch: pytest.MonkeyPatch, columns: int, loss: float
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    history = History(
        losses=[loss], validation_losses=[loss], validation_scores=[0.9123], seconds=2.0
    )
    epoch = Epoch.last(history, deep.model.network, 3_000_000, Descent(epochs=1000))
    screen = Screen(live=True)
    terminal.EpochLines("multiclass", 1000, screen)(epoch)
    line = screen.getvalue().removeprefix("\r\x1b[2K").rstrip("\n")
    assert len(line) < columns
    parts = {
        40: f"loss {loss:.4g}",
        60: f"held out {loss:.4g}",
        80: "left 33 min",
        120: "accuracy 0.9123    1,500,000 rows/s",
    }
    assert all(each in line for least, each in parts.items() if columns >= least)


def test_a_line_elsewhere_is_whole_on_any_terminal(
    deep: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    screen = Screen(live=False)
    history = History(losses=[0.5], validation_losses=[0.5], validation_scores=[0.9], seconds=2.0)
    terminal.EpochLines("binary", 9, screen)(
        Epoch.last(history, deep.model.network, 300, Descent(epochs=9))
    )
    assert screen.getvalue().split() == [
        "epoch", "1", "loss", "0.5", "held", "out", "0.5", "accuracy", "0.9000", "150", "rows/s",
        "left", "16", "s",
    ]  # fmt: skip


def test_lines_of_facts_are_neither_filled_nor_cut(capsys: pytest.CaptureFixture[str]) -> None:
    long = "not finite: " + "step 12, layer 3, " * 9 + "[x]"
    terminal.print_facts({"stopped": long, "model": Path("a" * 90 + "[b].x")})
    shown = capsys.readouterr().out.splitlines()
    assert shown == ["", f"stopped  {long}", "model    " + "a" * 90 + "[b].x"]
