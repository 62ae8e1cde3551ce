"""The command line, run as a person runs it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from downslope import catalogue, cli
from downslope.account import Account, files_beside
from downslope.checkpoint import Checkpoint
from downslope.errors import UnwritableError
from downslope.model import Model


def run(*arguments: str) -> None:
    """Run the command line in this process."""
    try:
        cli.main(list(arguments))
    except SystemExit as end:
        if end.code:
            raise


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail; give what it says."""
    with pytest.raises(SystemExit) as end:
        cli.main(list(arguments))
    assert end.value.code not in (0, None)
    return capsys.readouterr().err


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_flowers(path: Path, rows: int = 90) -> None:
    """Write a table of mixed columns: numbers, categories, missing values."""
    rng = np.random.default_rng(0)
    size = rng.normal(size=rows)
    frame = pl.DataFrame(
        {
            "size": size,
            "color": rng.choice(["red", "blue", "white"], rows),
            "age": [None if k % 9 == 0 else float(k % 7) for k in range(rows)],
            "kind": np.where(size > 0, "large", "small"),
        }
    )
    frame.write_csv(path)


def test_fit_leaves_a_model_and_a_summary(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("fit", "iris", "--epochs", "5", "--layers", "8", "--seed", "3")
    shown = capsys.readouterr().out
    assert shown.count("epoch ") >= 5
    for word in ("rows/s", "left", "accuracy", "stopped", "most frequent class", "iris.downslope"):
        assert word in shown
    summary = json.loads((here / "iris.json").read_text())
    assert summary["history"]["steps"] == 5 * 5
    assert summary["recipe"]["network"]["layers"] == [8]
    assert Model.load(here / "iris.downslope").network.inputs == 4


def test_fit_takes_every_option_of_the_issue(here: Path) -> None:
    write_flowers(here / "flowers.csv")
    run(
        *"fit flowers.csv --target kind --layers 16,8 --activation leaky_relu --normalize batch "
        "--residual --batch 32 --rule adam --learning-rate 3e-3 --schedule cosine --clip-norm 1 "
        "--epochs 20 --seed 7 --out flowers".split()
    )
    run("predict", "flowers.downslope", "flowers.csv", "--out", "predictions.csv")
    predicted = pl.read_csv(here / "predictions.csv")["prediction"].to_numpy()
    truth = pl.read_csv(here / "flowers.csv")["kind"].to_numpy()
    assert np.mean(predicted == truth) > 0.9


def test_recipe_file_and_options(here: Path) -> None:
    (here / "recipe.toml").write_text(
        "[network]\nlayers = [5]\n[descent]\nepochs = 2\nbatch = 50\n"
    )
    run("fit", "iris", "--recipe", "recipe.toml", "--epochs", "3")
    summary = json.loads((here / "iris.json").read_text())
    assert summary["recipe"]["network"]["layers"] == [5]
    assert summary["history"]["steps"] == 3 * 3


@pytest.mark.parametrize("kind", ["rules", "activations", "initializers", "losses", "schedules"])
def test_lists_every_name_with_its_equation(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(kind)
    shown = " ".join(capsys.readouterr().out.split())
    singular = {"losses": "loss"}.get(kind, kind.removesuffix("s"))
    for entry in catalogue.TABLES[singular].values():
        assert entry.name in shown
        assert entry.equation.split(";")[0][:20] in shown


def test_lists_the_data_sets(capsys: pytest.CaptureFixture[str]) -> None:
    run("datasets")
    shown = capsys.readouterr().out
    for name in ("digits", "iris", "wine", "breast_cancer", "diabetes", "moons", "spirals", "sine"):
        assert name in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("fit nothing.csv --target y", "nothing.csv"),
        ("fit digit", "digits"),
        ("fit iris --rule adm", "adam"),
        ("fit iris --activation rlu", "relu"),
        ("fit iris --loss hubr", "huber"),
        ("fit iris --layers 8,0", "at least 1"),
        ("fit iris --layers 8,x", "'x'"),
        ("fit iris --seed 99999999999999999999999", "Descent: seed must be at most"),
        ("fit iris --threads 0", "threads must be at least 1; got 0"),
        ("fit iris --resume", "--checkpoint"),
        ("fit diabetes --loss cross_entropy", "is for classes, and the task is 'regression'"),
        ("fit iris --epochs none --seconds 1 --schedule cosine", "take the schedule 'constant'"),
        ("fit iris --target kind", "leave --target out"),
        ("fit flowers.csv", "--target"),
        ("fit nothing.csv", "there is no file 'nothing.csv'"),
        ("fit empty.csv", "'empty.csv' is empty"),
        ("fit one.csv --target t", "target 't' holds only 'x'"),
        ("fit flowers.csv --target kind --task regression", "target 'kind' cannot be for"),
        ("fit flowers.csv --target kind --validation 0.001", "give another share (--validation)"),
        ("fit flowers.csv --target kind --validation 1", "validation"),
        ("fit lone.csv --target t", "set validation to 0 (--validation 0)"),
        ("compare one.csv --target t --vary batch=1,2", "target 't' holds only 'x'"),
        ("fit iris --loss xx", "unknown loss 'xx': known are '"),
        ("fit flowers.csv --target knd", "kind"),
        ("fit flowers.csv --target kind --task regression", "text"),
        ("fit iris --rule rprop --batch 8", "full"),
        ("fit iris --recipe none.toml", "none.toml"),
        ("predict none.downslope flowers.csv", "none.downslope"),
        ("predict flowers.csv flowers.csv", "flowers.csv"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: str, said: str
) -> None:
    write_flowers(here / "flowers.csv")
    (here / "empty.csv").touch()
    (here / "one.csv").write_text("a,t\n" + "1,x\n" * 9)
    (here / "lone.csv").write_text("a,t\n" + "1,x\n" * 9 + "2,y\n")
    shown = refused(capsys, *arguments.split())
    assert said in shown
    assert shown.count("\n") == 1
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    "arguments",
    [
        "fit digits --out file/x",
        "fit digits --out=",
        "fit digits --out folder/page --epochs 1",
        "fit digits --checkpoint file",
        "fit digits --checkpoint file/x",
        "predict iris.downslope iris --out file/x.csv",
        "predict iris.downslope iris --out folder",
        "report iris.downslope --out folder",
        "report iris.downslope --out file/x.html",
        "descend x**2 --start 1 --out file/x.html",
        "compare digits --vary batch=8,32 --out file/x",
        "compare digits --vary batch=8,32 --out folder",
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: str
) -> None:
    (here / "file").write_text("text")
    (here / "folder").mkdir()
    (here / "folder" / "page.html").mkdir()
    (here / "folder" / "index.html").mkdir()
    before = sorted(here.rglob("*"))
    with pytest.raises(SystemExit):
        cli.main(arguments.split())
    shown = capsys.readouterr()
    assert shown.err.startswith("downslope: cannot write '")
    assert shown.err.count("\n") == 1
    assert not shown.out
    assert sorted(here.rglob("*")) == before


def test_a_new_model_takes_nothing_over_from_the_one_before(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("fit", "iris", "--epochs", "2", "--layers", "8", "--out", "again")
    assert {path.suffix for path in here.iterdir()} == {".downslope", ".json", ".html", ".parquet"}
    run(*"fit iris --epochs 1 --layers 5 --out again --record none --no-page".split())
    assert {path.name for path in here.iterdir()} == {"again.downslope", "again.json"}
    run("report", "again.downslope")
    assert "No step was recorded" in (here / "again.html").read_text(encoding="utf-8")


def strict(name: str) -> float:
    raise AssertionError(f"{name} is no JSON")


def test_a_summary_is_json_and_is_read_back(here: Path) -> None:
    run(*"fit iris --epochs 2 --out plain".split())
    text = (here / "plain.json").read_text()
    assert json.loads(text, parse_constant=strict)["history"]["gradient_norm"] is None
    assert math.isnan(Account.read(here / "plain.downslope").history.gradient_norm)


def test_the_summary_of_a_failed_run_is_json_too(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(capsys, *"fit iris --rule gd --learning-rate 1e30 --epochs 9 --out failed".split())
    summary = json.loads((here / "failed.json").read_text(), parse_constant=strict)
    assert summary["stopped"].startswith("not finite")
    run("report", "failed.downslope")


def test_a_file_that_was_no_models_stays(here: Path) -> None:
    (here / "mine.html").write_text("mine")
    run("fit", "iris", "--epochs", "1", "--out", "mine", "--no-page")
    assert (here / "mine.html").read_text() == "mine"


def test_predict_takes_rows_and_the_columns_of_training(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_flowers(here / "flowers.csv")
    run(*"fit flowers.csv --target kind --epochs 1".split())
    (here / "header.csv").write_text("size,color,age\n")
    shown = refused(capsys, "predict", "flowers.downslope", "header.csv")
    assert "header.csv has 3 columns but no rows: there are no rows to predict" in shown
    (here / "other.csv").write_text("size,colour,kind\n1,red,large\n")
    shown = refused(capsys, "predict", "flowers.downslope", "other.csv")
    assert "['color', 'age'] were trained on and are missing here: add them" in shown
    assert "rename what holds them: 'colour' may be 'color'\n" in shown
    empty = pl.read_csv(here / "header.csv")
    assert Model.load(here / "flowers.downslope").predict(empty).tolist() == []


def test_few_rows_are_read_as_in_training(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{place},{k % 7}" for k in range(30) for place in ("01067,01", "04103,2", "D-100,X")]
    (here / "all.csv").write_text("place,code,n\n" + "\n".join(lines) + "\n")
    (here / "few.csv").write_text("place,code,n\n" + "\n".join(lines[:2]) + "\n")
    run(*"fit all.csv --target code --epochs 1 --no-page --out m".split())
    capsys.readouterr()
    run("predict", "m.downslope", "all.csv", "--proba")
    whole = capsys.readouterr().out.splitlines()
    run("predict", "m.downslope", "few.csv", "--proba")
    assert capsys.readouterr().out.splitlines() == whole[:3]
    run("explain", "m.downslope", "all.csv", "--layer", "1", "--rows", "0,1")
    explained = capsys.readouterr().out
    run("explain", "m.downslope", "few.csv", "--layer", "1")
    assert capsys.readouterr().out == explained
    (here / "label.csv").write_text("place,label,n\n" + "\n".join(lines[:2]) + "\n")
    run("explain", "m.downslope", "label.csv", "--layer", "1", "--target", "label")
    assert capsys.readouterr().out == explained
    for source, target in (("few.csv", "code"), ("label.csv", "label")):
        run("report", "m.downslope", "--landscape", source, "--target", target)
        assert "Where the run ended" in (here / "m.html").read_text(encoding="utf-8")


def test_non_finite_run_keeps_its_model_and_fails(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = refused(
        capsys,
        *"fit iris --rule gd --learning-rate 1e30 --epochs 9 --initializer he_normal".split(),
    )
    assert "step" in shown
    assert "layer" in shown
    assert np.isfinite(Model.load(here / "iris.downslope").network.theta).all()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_control_c_keeps_the_best_network(here: Path) -> None:
    command = [sys.executable, "-c", "from downslope.cli import main; main()"]
    process = subprocess.Popen(
        [*command, "fit", "iris", "--epochs", "100000000", "--schedule", "constant"],
        cwd=here, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    while "epoch" not in process.stdout.readline():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "interrupted" in shown
    assert (here / "iris.downslope").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_killed_and_resumed_ends_with_the_same_bits(here: Path) -> None:
    command = [sys.executable, "-c", "from downslope.cli import main; main()", "fit", "digits"]
    settings = "--epochs 60 --layers 64 --seed 5 --checkpoint state --resume".split()
    process = subprocess.Popen(
        [*command, *settings, "--out", "resumed"], cwd=here, stdout=subprocess.DEVNULL
    )
    while not (here / "state" / "checkpoint.safetensors").exists() and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run("fit", "digits", *settings, "--out", "resumed")
    run("fit", "digits", *settings[:-3], "--out", "whole")
    resumed, whole = Model.load(here / "resumed.downslope"), Model.load(here / "whole.downslope")
    np.testing.assert_array_equal(resumed.network.theta, whole.network.theta)


def test_compare_leaves_a_page_tables_and_a_recipe_that_fit_takes(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(
        *"compare iris --vary batch=8,full --vary rule=gd,adam --seeds 2 --epochs 3 --layers 8 "
        "--metric best_loss --out found".split()
    )
    shown = capsys.readouterr().out
    for word in ("iris: 4 variants, 2 seeds", "best", "what it costs", "found/winner.toml"):
        assert word in shown
    assert {path.name for path in (here / "found").iterdir()} == {
        "index.html", "winner.toml", "table.csv", "runs.csv", "runs.jsonl",
    }  # fmt: skip
    run("fit", "iris", "--recipe", "found/winner.toml", "--epochs", "2")
    assert (here / "iris.downslope").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("compare iris", "compare needs --vary FIELD=VALUES"),
        ("compare iris --vary bacth=1,2", "no field 'bacth': did you mean 'batch'"),
        ("compare iris --vary batch=1,2 --seeds 0", "seeds must lie in 1 to 10000; got 0"),
        ("compare iris --vary batch=1,2 --seeds 99999999999999999999999", "1 to 10000; got 9999"),
        (
            "compare iris,iris --vary batch=1,2",
            "data sets with commas between them, each of a name",
        ),
        ("compare iris, --vary batch=1,2", "data sets with commas between them, each of a name"),
        ("compare iris --vary rule=gd,rprop", "variant 'rule=rprop': Descent: rprop compares"),
        ("compare iris --vary batch=1,2 --budget soon", "budget takes a time above 0"),
        ("compare irsi --vary batch=1,2", "unknown data set 'irsi': did you mean 'iris'"),
    ],
)
def test_compare_refuses(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: str, says: str
) -> None:
    assert says in refused(capsys, *arguments.split())
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fti", "iris"), 'Unknown command "fti". Did you mean "fit"?'),
        (("fit", "iris", "--lerning-rate", "1"), "Did you mean --learning-rate?"),
        (("fit", "iris", "--learning-rate", "x"), 'unable to convert "x" into float'),
        (("fit", "iris", "--record", "foo"), 'Choose from: "default", "all", "none"'),
        (("fit", "iris", "--epochs"), "--epochs requires an argument"),
        (("fit",), 'Command "fit" parameter SOURCE requires an argument'),
        (("predict", "m.downslope"), 'Command "predict" parameter SOURCE requires an argument'),
        (
            ("fit", "iris", "more.csv", "x"),
            "fit takes no more after its arguments; got 'more.csv x'",
        ),
        (("fit", "iris", "--batch", "x"), "--batch takes whole numbers; got 'x'"),
    ],
)
def test_any_error_is_one_line(
    arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, *arguments)
    assert error.startswith("downslope: ")
    assert error.count("\n") == 1
    assert says in error


def test_no_command_writes_over_what_it_reads(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_flowers(here / "flowers.csv")
    recipe = '{"network":{"layers":[8]},"descent":{"epochs":1}}'
    (here / "flowers.json").write_text(recipe)
    run(*"fit flowers.csv --target kind --recipe flowers.json --out model --no-page".split())
    pl.read_csv(here / "flowers.csv").write_parquet(here / "flowers.trace.parquet")
    (here / "index").mkdir()
    (here / "index" / "winner.toml").write_text("[network]\nlayers = [8]\n")
    before = {path: path.read_bytes() for path in here.rglob("*.*") if path.is_file()}
    for arguments in (
        "fit flowers.csv --target kind --recipe flowers.json --no-page",
        "fit flowers.trace.parquet --target kind --out flowers --record none",
        "predict model.downslope flowers.csv --out ./flowers.csv",
        "report model.downslope --out model.trace.parquet",
        "report model.downslope --out model.json",
        "report model.downslope --landscape flowers.csv --target kind --out flowers.csv",
        "compare iris --vary batch=8,16 --recipe index/winner.toml --out index",
    ):
        shown = refused(capsys, *arguments.split())
        assert "the same command reads it, and it would be lost" in shown
    after = {path: path.read_bytes() for path in here.rglob("*.*") if path.is_file()}
    assert after == before


def test_predict_looks_for_the_columns_of_a_built_in_data_set(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pl.DataFrame(np.random.default_rng(0).normal(size=(60, 4)), schema=[*"abcd"])
    frame.with_columns(y=frame["a"] > 0).write_csv(here / "t.csv")
    run(*"fit t.csv --target y --epochs 1 --layers 4 --no-page".split())
    for command in ("predict t.downslope iris", "explain t.downslope iris --layer 1"):
        assert "were trained on and are missing here" in refused(capsys, *command.split())
    said = refused(capsys, "predict", "t", "t.csv")
    assert "there is no file 't'; did you mean 't.downslope'?" in said
    run(*"predict t.downslope t.csv --out p.parquet".split())
    assert pl.read_parquet(here / "p.parquet").columns == ["prediction"]
    said = refused(capsys, *"predict t.downslope t.csv --out p.xlsx".split())
    assert "told by its extension; got '.xlsx'" in said


def test_several_targets_are_predicted_under_their_names(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pl.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), schema=["a", "b"])
    frame = frame.with_columns(l1=(frame["a"] > 0).cast(int), l2=(frame["b"] > 0).cast(int))
    frame.write_csv(here / "t.csv")
    run(*"fit t.csv --target l1,l2 --epochs 1 --layers 4 --no-page".split())
    capsys.readouterr()
    run(*"predict t.downslope t.csv --proba".split())
    head = capsys.readouterr().out.splitlines()[0]
    assert head == "prediction(l1),prediction(l2),p(l1),p(l2)"


def test_arrays_without_a_target_are_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(here / "t.npz", X=np.ones((4, 2)), label=[0, 1, 0, 1])
    said = refused(capsys, "fit", "t.npz")
    assert "say with --target which one to predict; it holds ['X', 'label']" in said


def test_what_was_done_before_an_error_is_written(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: object) -> None:
        raise UnwritableError("cannot write 'state': No space left on device")

    monkeypatch.setattr(Checkpoint, "write", fill)
    said = refused(capsys, *"fit iris --epochs 3 --layers 4 --checkpoint state".split())
    assert said == "downslope: cannot write 'state': No space left on device\n"
    for path in (here / "iris.downslope", *files_beside(here / "iris.downslope").values()):
        assert path.is_file()
    account = Account.read(here / "iris.downslope")
    assert account.history.epochs == 3
    assert account.broken_off


INTERRUPTED = """
import sys
class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
from downslope.cli import main
main(["fit", "iris", "--epochs", "1"])
"""


@pytest.mark.parametrize("module", ["cyclopts", "downslope.recipe", "numpy", "downslope.descent"])
def test_control_c_during_the_imports_is_silent(module: str, here: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, module], cwd=here, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (130, "")
