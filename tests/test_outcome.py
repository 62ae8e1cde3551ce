"""Outcomes: their numbers, and the file that keeps them."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from downslope.errors import DownslopeError, MissingFileError, ModelFileError
from downslope.outcome import METRICS, Ledger, Outcome, measure


def outcome(**changes: Any) -> Outcome:
    """Give a run of four epochs of 10 steps."""
    usual: dict[str, Any] = {
        "dataset": "iris", "variant": "batch=8", "seed": 0, "epochs": 4, "reason": "epochs",
        "diverged": False, "losses": [4.0, 2.0, 0.5, 1.0],
        "validation_losses": [3.0, 1.0, 2.0, 2.5], "validation_scores": [0.1, 0.6, 0.9, 0.8],
        "elapsed": [0.1, 0.2, 0.5, 0.6], "steps": 40, "seconds": 0.6, "spread": 0.25,
        "steps_per_epoch": 10, "memory": 1000, "parameters": 7, "held_out": 15,
        "task": "multiclass", "boundary": [],
    }  # fmt: skip
    return Outcome(**{**usual, **changes})


def test_every_metric_by_hand() -> None:
    by_hand = {
        "score": 0.6,  # of the epoch with the least held-out loss, not the best score
        "validation_loss": 1.0, "final_loss": 1.0, "best_loss": 0.5,
        "epochs_to_target": 2.0, "steps_to_target": 20.0, "seconds_to_target": 0.2,
        "epoch_seconds": 0.1, "memory": 1000.0, "spread": 0.25,
    }  # fmt: skip
    assert by_hand.keys() == METRICS.keys()
    for metric, value in by_hand.items():
        assert measure(outcome(), metric, 2.0) == pytest.approx(value), metric


def test_an_epoch_whose_loss_is_no_number_is_not_the_one_that_is_kept() -> None:
    begun = outcome(validation_losses=[math.nan, 1.0, math.nan, 2.5], losses=[math.nan, 2.0])
    assert begun.kept == 1
    assert [measure(begun, each, 2.0) for each in ("score", "validation_loss", "best_loss")] == [
        0.6, 1.0, 2.0
    ]  # fmt: skip
    assert outcome(validation_losses=[math.nan] * 4).kept == 0


def test_a_target_that_is_never_reached_and_none_at_all() -> None:
    for metric in ("epochs_to_target", "steps_to_target", "seconds_to_target"):
        assert measure(outcome(), metric, 0.4) == math.inf
        assert math.isnan(measure(outcome(), metric, math.nan))


def test_a_run_that_diverged_is_the_worst_by_all_but_what_it_costs() -> None:
    gone = outcome(diverged=True)
    for metric, one in METRICS.items():
        value = measure(gone, metric, 2.0)
        if metric in ("epoch_seconds", "memory"):
            assert math.isfinite(value)
        else:
            assert value == (-math.inf if one.rises else math.inf)


def test_a_run_without_an_epoch_or_held_out_rows() -> None:
    short = outcome(
        losses=[], validation_losses=[], validation_scores=[], elapsed=[], spread=math.nan
    )
    for metric in METRICS.keys() - {"memory", "epochs_to_target", "steps_to_target",
                                    "seconds_to_target"}:  # fmt: skip
        assert math.isnan(measure(short, metric, 2.0)), metric


def test_a_ledger_gives_back_what_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "runs.jsonl"
    odd = outcome(losses=[math.inf, 1e-300], spread=math.nan, epochs=None, diverged=True)
    ledger = Ledger(path)
    ledger.add("one", outcome())
    ledger.add("two", odd)
    ledger.close()
    again = Ledger(path)
    assert again.find("one") == outcome()
    found = again.find("two")
    assert found is not None
    assert math.isnan(found.spread)
    assert dataclasses.replace(found, spread=0.0) == dataclasses.replace(odd, spread=0.0)
    assert again.find("three") is None
    again.close()


@pytest.mark.parametrize("kept", [1, 60, -1, -40])
def test_a_torn_last_line_is_dropped_and_written_over(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "runs.jsonl"
    ledger = Ledger(path)
    ledger.add("one", outcome())
    whole = path.stat().st_size
    ledger.add("two", outcome(seed=1))
    ledger.close()
    content = path.read_bytes()
    path.write_bytes(content[: whole + kept] if kept > 0 else content[:kept])
    again = Ledger(path)
    assert again.find("one") == outcome()
    assert again.find("two") is None
    again.add("two", outcome(seed=1))
    again.close()
    assert path.read_bytes() == content


def test_a_file_killed_in_its_first_line_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_bytes(b'{"form')
    Ledger(path).close()
    assert json.loads(path.read_text())["format"]


@pytest.mark.parametrize(
    "content",
    [
        "a,b",
        "a,b\n1,2\n",
        '{"format": "other"}\n',
        "[1]\n",
        '{"format": "downslope runs 1"}\n{"id": 3}\n',
        '{"format": "downslope runs 1"}\n[]\n',
    ],
)
def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text(content)
    with pytest.raises(ModelFileError, match="does not hold the runs of a comparison"):
        Ledger(path)
    assert path.read_text() == content


def test_what_cannot_be_looked_up_or_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DownslopeError, match=r"'.*xxx': File name too long; "):
        Ledger(tmp_path / ("x" * 300))
    with pytest.raises(MissingFileError, match="it is a folder"):
        Ledger(tmp_path)
