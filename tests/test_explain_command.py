"""`downslope explain`: the equation with its numbers, a layer's weights in order, and bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from downslope import Descent, Model, Network, Recipe, chainrule, datasets, descend
from downslope.commands.explain import explain
from downslope.errors import InvalidValueError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = Recipe(Network([8, 6], "tanh"), Descent(epochs=2))
    done = descend(recipe, datasets.load("iris"), record="none")
    return done.save(tmp_path_factory.mktemp("explain") / "iris.downslope")


def test_one_weight(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explain(model, "iris", layer=2, weight="5,3", rows="0,17,60", show=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Layer 2, weight from unit 5 to unit 3: w = ")
    assert lines[2] == "  dL/dw = dL/dy · dy/dz · dz/dw"
    assert lines[4] == "the 2 of 3 rows that push it hardest:"
    for line in lines[5:7]:
        left, _, product = line.partition("dL/dw = ")[2].rpartition(" = ")
        factors = [float(part.strip("() ")) for part in left.split("·")]
        assert factors[0] * factors[1] * factors[2] == pytest.approx(float(product), rel=3e-3)
    assert lines[-1].startswith("mean over 3 rows: dL/dw = ")
    explain(model, "iris", layer=1, weight="2,0")
    assert "from unit 2 (petal length (cm)) to unit 0" in capsys.readouterr().out


def test_a_layer(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explain(model, "iris", layer=2, show=3)
    text = capsys.readouterr().out
    assert "the weights that the loss pushes hardest, over 150 rows" in text
    assert sum("%" in line for line in text.splitlines()) == 3


@pytest.fixture(scope="module")
def normalized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = Recipe(Network([8, 6], "tanh", normalize="batch"), Descent(epochs=2))
    done = descend(recipe, datasets.load("iris"), record="none")
    return done.save(tmp_path_factory.mktemp("explain") / "normalized.downslope")


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """Give what was printed, in one line."""
    return " ".join(capsys.readouterr().out.split())


def test_a_layer_says_of_what_its_gradients_are_the_mean(
    model: Path, normalized: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mean = "dL/dw is the mean over the rows of "
    explain(model, "iris", layer=2)
    assert mean + "dL/dy · dy/dz · dz/dw;" in told(capsys)
    explain(model, "iris", layer=3)
    assert mean + "(dL/dy · dy/dz + by other outputs) · dz/dw;" in told(capsys)
    explain(normalized, "iris", layer=2)
    text = told(capsys)
    assert mean + "dL/du · du/dw, dL/du from dL/dz = dL/dy · dy/dz;" in text
    assert "dL/dy dy/dz du/dw agree because" in text


def test_one_row_of_a_batch_that_is_normalized(
    model: Path, normalized: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    explain(normalized, "iris", layer=1, weight="2,0", rows="7")
    text = told(capsys)
    assert "mean over 1 row: dL/dw = " in text
    assert "so descent moves w" in text
    assert "statistics from all 150 rows of the table" in text
    explain(normalized, "iris", layer=1, rows="7")
    assert "statistics from all 150 rows of the table" in told(capsys)
    last = len(Model.load(normalized).network.layout.plan)
    for layer, holds in ((1, True), (last, False)):
        explain(normalized, "iris", layer=layer, weight="0,0", rows="7")
        assert ("dL/du of a row holds what it does" in told(capsys)) == holds
    explain(normalized, "iris", layer=1)
    assert "statistics" not in told(capsys)
    explain(model, "iris", layer=1, rows="7")
    assert "statistics" not in told(capsys)


def test_a_table_of_one_row_that_is_normalized(
    tmp_path: Path, normalized: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    iris = datasets.load("iris")
    assert iris.target is not None
    columns = dict(zip(iris.feature_names, np.asarray(iris.features)[:1].T, strict=True))
    one = pl.DataFrame(columns | {"kind": iris.target[:1]})
    one.write_csv(tmp_path / "one.csv")
    explain(normalized, str(tmp_path / "one.csv"), layer=1, weight="2,0", target="kind")
    text = told(capsys)
    assert "dL/dw = 0: nothing moves this weight" in text
    assert text.endswith("give a table of more rows")


@pytest.mark.parametrize(
    ("weight", "says"), [("5", "--weight takes two units"), ("a,b", "--weight takes whole numbers")]
)
def test_what_is_no_weight(model: Path, weight: str, says: str) -> None:
    with pytest.raises(InvalidValueError, match=says):
        explain(model, "iris", layer=2, weight=weight)


@pytest.mark.parametrize(("columns", "digits"), [(200, 4), (100, 4), (80, 3), (75, 2), (20, 2)])
def test_no_number_is_cut_however_narrow_the_screen(
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
    digits: int,
) -> None:
    numbers = ("w", "gradient", "dy_rms", "slope_rms", "x_rms")
    values = (-1.28516e-05, -5.51629e-06, 3.14159e-05, 2.71828e-05, 1.41421e-05)
    row = {"unit_in": 255, "unit_out": 127, "share": 0.125, "agreement": 0.5, "factor": "agreement"}
    frame = pl.DataFrame([row | dict(zip(numbers, values, strict=True))])
    monkeypatch.setattr(chainrule, "explain_layer", lambda *_: frame)
    monkeypatch.setenv("COLUMNS", str(columns))
    explain(model, "iris", layer=2)
    lines = capsys.readouterr().out.splitlines()
    found = next(line.split() for line in lines if line.startswith("255,127"))
    written = [f"{value:.{digits - 1}e}" for value in values]
    assert found == ["255,127", *written[:2], "12.5%", *written[2:], "50%", "agreement"]


@pytest.mark.parametrize("show", [0, -3])
@pytest.mark.parametrize("weight", [None, "5,3"])
def test_a_number_of_rows_to_show_that_is_none(model: Path, show: int, weight: str | None) -> None:
    with pytest.raises(InvalidValueError, match=f"--show must be at least 1; got {show}"):
        explain(model, "iris", layer=2, weight=weight, show=show)
