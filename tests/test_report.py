"""The page of a run: what stands in it, small whatever was trained, drawn in a browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import browser
from accounts import account_of, make_trace, trace_of
from downslope import (
    Descent,
    Network,
    Recipe,
    cli,
    curves,
    datasets,
    descend,
    noise,
    report,
)
from downslope.account import Account, have_same_data, names_of
from downslope.errors import InvalidValueError, ModelFileError, NonFiniteError
from downslope.history import History
from downslope.trace import Trace

MOST_BYTES = 6_000_000


def run(*arguments: str) -> None:
    """Run the command line in this process."""
    try:
        cli.main(list(arguments))
    except SystemExit as end:
        if end.code:
            raise


def failed() -> Account:
    """Give the account of a run that left the finite numbers in its second step."""
    recipe = Recipe(
        Network([8], initializer="he_normal"), Descent(rule="gd", learning_rate=1e30, epochs=3)
    )
    with pytest.raises(NonFiniteError) as caught:
        descend(recipe, datasets.load("iris"))
    account: Account = caught.value.run.account("failed")
    return replace(account, trace=make_trace(2, steps=np.array([1, 2]), fails=True))


def deep() -> Account:
    """Give the account of a network of fifty layers and a run of ten thousand epochs."""
    account = account_of("iris", layers=[4] * 49, epochs=1, trace=make_trace(50, 0.8))
    values = np.abs(np.random.default_rng(0).normal(size=10_000)).tolist()
    history = History(values, values, values, values, steps=50_000, seconds=9.0)
    return replace(account, history=history)


PAGES: dict[str, Callable[[], list[Account]]] = {
    "ten classes": lambda: [account_of("digits", trace=make_trace(3))],
    "two inputs": lambda: [account_of("spirals", trace=make_trace(3))],
    "regression": lambda: [account_of("diabetes", trace=make_trace(3))],
    "vanishing": lambda: [account_of("iris", layers=[8] * 9, trace=make_trace(10, 0.1))],
    "failed": lambda: [failed()],
    "long and deep": lambda: [deep()],
    "without a trace": lambda: [account_of("iris")],
    "three runs": lambda: [
        account_of("iris", "<b>one</b>", trace=make_trace(3)),
        account_of("iris", "two", layers=[8] * 4, trace=make_trace(5, 0.1), rule="gd"),
        failed(),
    ],
}


def headings(accounts: list[Account]) -> list[str]:
    several = report.sections_of if len(accounts) == 1 else None
    sections = several(accounts[0]) if several else report.sections_of_several(accounts)
    return [section.heading for section in sections]


def test_a_page_has_every_picture_of_the_promise() -> None:
    found = headings(PAGES["two inputs"]())
    for heading in (
        "Loss by epoch", "Score by epoch", "Gradient flow", "Outputs of the layers", "Dead units",
        "Values in the flat zone", "Distribution of z", "Update ratio", "Noise scale and batch",
        "Learning rate", "Decision boundary", "Confusion matrix", "Recipe",
    ):  # fmt: skip
        assert heading in found
    assert "Residuals" in headings(PAGES["regression"]())
    assert "Confusion matrix" not in headings(PAGES["regression"]())


def test_every_picture_says_what_to_look_for() -> None:
    for name in ("two inputs", "three runs"):
        accounts = PAGES[name]()
        single = len(accounts) == 1
        sections = (
            report.sections_of(accounts[0]) if single else report.sections_of_several(accounts)
        )
        assert all(len(section.sentence.split()) > 3 for section in sections[:-1])


def test_a_run_that_was_broken_off_says_so_first() -> None:
    def breaks(epoch: Any) -> None:
        if epoch.number == 2:
            raise MemoryError("no room")

    with pytest.raises(MemoryError) as caught:
        descend(Recipe(Network([8])), datasets.load("iris"), watchers=breaks)
    account: Account = caught.value.run.account("iris")  # type: ignore[attr-defined]
    lead = report.lead(account)
    assert lead.startswith("This run was broken off after epoch 2: MemoryError: no room. Accuracy")
    assert "iris was broken off after epoch 2" in report.overview([account, account]).seen


def test_a_failed_run_says_why_first_and_shows_its_steps() -> None:
    account = failed()
    assert report.lead(account).startswith("This run failed: the descent left the finite numbers")
    assert "layer" in report.lead(account)
    assert {"Loss by step", "Gradient flow", "Not on this page"} <= set(headings([account]))


def test_several_runs_stand_in_a_table_and_say_which_failed() -> None:
    section = report.overview(PAGES["three runs"]())
    assert [row[0] for row in section.content.rows] == ["<b>one</b>", "two", "failed"]
    assert [row[-1] for row in section.content.rows] == ["epochs", "epochs", "not finite"]
    assert section.seen.startswith("failed failed: the descent left the finite numbers")


def test_a_single_row_held_out_has_no_score() -> None:
    x = np.random.default_rng(0).normal(size=(9, 2))
    one = descend(Recipe(Network([4]), Descent(epochs=2)), x, x[:, 0])
    assert report.lead(one.account()) == "R2 on held-out rows is not defined for one row."
    assert report.facts(one.account())["held out"] == "R2 – (not defined for one row)"
    target = np.r_[[3.0] * 8, 4.5]
    same = descend(Recipe(Network([4]), Descent(epochs=2, validation=0.3)), x, target)
    assert report.facts(same.account())["held out"] == (
        "R2 – (not defined where the target is constant)"
    )


def test_numbers_that_count_as_texts_are_told() -> None:
    values = [str(each) if each % 4 else "-" for each in range(40)]
    frame = pl.DataFrame({"size": values, "name": ["a", "b"] * 20, "y": [0, 1] * 20})
    run = descend(Recipe(Network([4]), Descent(epochs=1)), frame, "y")
    says = "'size' (75% numbers, others such as '-'): leave these empty if"
    assert str(report.facts(run.account())["as texts"]).startswith(says)


@pytest.mark.parametrize(
    ("rare", "task", "says"),
    [
        ([9], "auto", "'mark': 10 whole numbers, and 9 has one row: say task='multiclass' (--task"),
        ([9.0, 12.0], "auto", "'mark': 11 whole numbers, and 2 of them, as 9, have one row"),
        ([9], "regression", ""),
        ([9.5], "auto", ""),
        ([9, 9], "auto", ""),
        (list(range(9, 30)), "auto", ""),
    ],
)
def test_a_few_whole_numbers_that_are_no_classes_are_told(
    rare: list[float], task: str, says: str
) -> None:
    target = [*range(9)] * 5 + rare
    x = np.arange(len(target), dtype=float)
    frame = pl.DataFrame({"x": x, "mark": pl.Series(target, strict=False)})
    run = descend(Recipe(Network([4], task=task), Descent(epochs=1)), frame, "mark")
    told = str(report.facts(run.account()).get("as numbers", ""))
    assert told.startswith(says)
    assert bool(told) == bool(says)


def test_a_score_out_of_range_is_not_put_down_to_a_constant_target() -> None:
    account = account_of("diabetes")
    for value in (-np.inf, np.nan):
        scores = {"validation": {"score": value, "trivial": -0.1}}
        facts = report.facts(replace(account, scores=scores))
        assert facts["held out"] == "R2 – (not finite: the outputs are too large, or no numbers)"
        assert "R2 on held-out rows is not finite" in report.lead(replace(account, scores=scores))


def test_the_facts_tell_what_was_trained_and_why_it_stopped() -> None:
    account = account_of("iris")
    facts = report.facts(account)
    assert facts["stopped"] == account.reason == "epochs: all 12 done"
    assert facts["network"] == "4 - 8 - 8 - 3, multiclass, softmax + cross_entropy"
    assert facts["split"] == "135 trained on, 15 held out"
    assert f"epoch {account.history.best_epoch}" in str(facts["kept"])
    score = f"{account.scores['validation']['score']:.4f}"
    assert facts["held out"] == f"accuracy {score} (the most frequent class: 0.3333)"
    assert score in report.lead(account)
    equal = {"training": {"score": 0.25, "trivial": 0.25}}
    assert str(report.facts(replace(account, scores=equal))["training"]).endswith(
        "(the most frequent class: 0.2500), no better than trivial"
    )


def test_the_recipe_shows_what_is_not_as_usual() -> None:
    section = report.recipe_table([account_of("iris", batch=16, seed=3)])
    assert ["batch", "16", "32"] in section.content.rows
    assert ["seed", "3", "0"] in section.content.rows
    assert "activation relu" in section.sentence
    several = [account_of("iris", "a"), account_of("iris", "b", rule="gd")]
    assert report.recipe_table(several).content.rows == [["rule", "adamw(weight_decay=0.1)", "gd"]]


def test_recipes_differ_as_they_are_written() -> None:
    """Also in the last digits, and where the first run leaves to the default what another sets."""
    several = [
        account_of("iris", "usual"),
        *(account_of("iris", str(rate), learning_rate=rate) for rate in (0.12345678, 0.12345679)),
    ]
    assert report.recipe_table(several).content.rows == [
        ["learning_rate", "none", "0.12345678", "0.12345679"]
    ]
    assert report.recipe_table(several[1:]).content.rows == [
        ["learning_rate", "0.12345678", "0.12345679"]
    ]


def test_a_recipe_with_functions_is_not_written_down() -> None:
    account = account_of("iris", rule=lambda theta, gradient, state, rate, step: None)
    section = report.recipe_table([account])
    assert section.content is None
    assert "functions" in section.sentence


@pytest.mark.parametrize("count", [0, 13])
def test_too_few_and_too_many_runs_are_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(InvalidValueError, match=f"1 to 12 runs; got {count}"):
        report.write(tmp_path / "runs.html", [account_of("iris")] * count)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_stays_small(tmp_path: Path, name: str) -> None:
    path = report.write(tmp_path / "run.html", PAGES[name]())
    assert path.stat().st_size < MOST_BYTES


def test_fit_writes_a_page_unless_told_not_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run("fit", "iris", "--epochs", "2")
    assert "iris.html" in capsys.readouterr().out
    assert "Confusion matrix" in (tmp_path / "iris.html").read_text(encoding="utf-8")
    run("fit", "iris", "--epochs", "2", "--out", "bare", "--no-page")
    assert not (tmp_path / "bare.html").exists()
    assert (tmp_path / "bare.json").exists()


def test_a_failed_fit_has_its_page_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        run(*"fit iris --rule gd --learning-rate 1e30 --initializer he_normal".split())
    assert "This run failed" in (tmp_path / "iris.html").read_text(encoding="utf-8")


def drawn(path: Path) -> Any:
    """Read the figures' data out of a page."""
    text = path.read_text(encoding="utf-8")
    begin = text.index('id="figures">') + len('id="figures">')
    return json.loads(text[begin : text.index("</script>", begin)])


@pytest.mark.parametrize("data", ["iris", "diabetes"])
def test_report_draws_the_same_again_from_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str
) -> None:
    monkeypatch.chdir(tmp_path)
    run("fit", data, "--epochs", "3")
    first = drawn(tmp_path / f"{data}.html")
    (tmp_path / f"{data}.html").unlink()
    run("report", f"{data}.downslope")
    assert drawn(tmp_path / f"{data}.html") == first


def test_report_leaves_out_what_the_files_do_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("fit", "moons", "--epochs", "3")
    run("report", "moons.downslope", "--out", "again.html")
    text = (tmp_path / "again.html").read_text(encoding="utf-8")
    assert "it is drawn by fit" in text
    (tmp_path / "moons.json").unlink()
    run("report", "moons.downslope", "--out", "bare.html")
    assert "only its file is here" in (tmp_path / "bare.html").read_text(encoding="utf-8")


def test_report_puts_several_runs_on_one_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for rule in ("gd", "adam"):
        run("fit", "iris", "--epochs", "3", "--rule", rule, "--out", rule)
    capsys.readouterr()
    run("report", "gd.downslope", "adam.downslope")
    assert capsys.readouterr().out.strip() == "runs.html"
    loss = drawn(tmp_path / "runs.html")[0]
    assert [each["name"] for each in loss["data"]] == [
        "gd: training", "gd: held out", "adam: training", "adam: held out",
    ]  # fmt: skip


def test_runs_of_one_name_are_told_apart_by_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, rule in (("A", "adam"), ("B", "gd")):
        run("fit", "wine", "--epochs", "2", "--rule", rule, "--out", f"{folder}/wine")
    run("report", "A/wine.downslope", "B/wine.downslope")
    assert "2 runs: A/wine, B/wine" in (tmp_path / "runs.html").read_text(encoding="utf-8")
    loss = drawn(tmp_path / "runs.html")[0]
    assert {each["name"].split(":")[0] for each in loss["data"]} == {"A/wine", "B/wine"}


@pytest.mark.parametrize(
    ("models", "names"),
    [
        (["iris.downslope", "a/wine.downslope"], ["iris", "wine"]),
        (["wine.downslope", "a/wine.downslope"], ["wine", "a/wine"]),
        (["/x/a/1.downslope", "/y/a/1.downslope", "a/2.downslope"], ["x/a/1", "y/a/1", "2"]),
        (["a/1.downslope", "/x/a/1.downslope"], ["a/1", "x/a/1"]),
        (["a.downslope", "a.downslope"], ["a", "a"]),
    ],
)
def test_a_name_is_as_much_of_the_path_as_it_takes(models: list[str], names: list[str]) -> None:
    assert names_of(models) == names


def test_runs_on_different_data_are_not_ranked() -> None:
    several = [account_of(name, trace=make_trace(3)) for name in ("iris", "wine", "moons")]
    sections = {each.heading: each for each in report.sections_of_several(several)}
    assert report.lead_of_several(several).startswith(
        "The data differ: iris on iris, wine on wine, moons on moons."
    )
    table = sections["The runs"]
    assert [row[1] for row in table.content.rows] == [
        "iris: 150 rows, 4 columns", "wine: 178 rows, 13 columns", "moons: 1,000 rows, 2 columns",
    ]  # fmt: skip
    scores = [account.scores["validation"] for account in several]
    assert [row[3] for row in table.content.rows] == [f"{each['trivial']:.4f}" for each in scores]
    assert "Of different data no score is better than another" in table.sentence
    assert sections["Score by epoch"].seen == ""
    assert "dotted" not in sections["Score by epoch"].sentence
    differs = sections["What differs in the recipes"]
    assert differs.content is None
    assert differs.sentence == "Nothing: the recipes are the same. The data are not."


def test_runs_on_the_same_data_are_ranked() -> None:
    one, other = account_of("iris", "one"), account_of("iris", "other", epochs=1)
    assert report.lead_of_several([one, other]) == ""
    assert "The data" not in report.recipe_table([one, other]).sentence
    seen = {section.heading: section.seen for section in report.sections_of_several([one, other])}
    assert seen["Score by epoch"].startswith("The best is one: accuracy")
    again = replace(one, name="again")
    assert curves.score([one, again]).seen.startswith("The best are one and again: accuracy")
    unknown = replace(one, name="unknown", data={}, scores={}, history=History())
    assert have_same_data([one, other, unknown])
    assert [row[1:4] for row in report.overview([unknown]).content.rows] == [
        ["not known", "–", "–"]
    ]
    elsewhere = replace(one, data={**one.data, "rows": 149})
    assert not have_same_data([one, elsewhere])


def test_what_all_runs_share_is_drawn_to_the_last_step_of_the_longest() -> None:
    short = account_of("iris", "short", trace=make_trace(3, steps=np.arange(1, 21)))
    long = account_of("iris", "long", trace=make_trace(3))
    steps = max(trace_of(long).steps["step"])
    used = [each for each in noise.noise([short, long]).content["data"] if "batch" in each["name"]]
    assert [(each["name"], list(each["x"])) for each in used] == [("batch used: 32", [1, steps])]
    few = replace(long, history=History(*4 * ([0.5] * 900,)))
    many = replace(long, history=History(*4 * ([0.5] * 9000,)))
    assert curves.score([few, many]).content["data"][-1]["x"] == [1, 9000]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("report", ".downslope file"),
        ("report none.downslope", "none.downslope"),
        ("report torn.downslope", "torn.json"),
    ],
)
def test_bad_input_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    account_of("iris").model.save(tmp_path / "torn.downslope")
    (tmp_path / "torn.json").write_text('{"history": 3}')
    with pytest.raises(SystemExit):
        run(*arguments.split())
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown


def test_a_damaged_summary_is_refused(tmp_path: Path) -> None:
    account_of("iris").model.save(tmp_path / "a.downslope")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ModelFileError, match="move it away"):
        Account.read(tmp_path / "a.downslope")


@pytest.mark.parametrize("left", ["json", "trace.parquet"])
def test_what_another_run_has_left_beside_a_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    """`Run.save` removes nothing, so a summary and a trace may be there of the model before."""
    monkeypatch.chdir(tmp_path)
    run("fit", "iris", "--epochs", "3")
    assert Account.read("iris.downslope").history.epochs == 3
    done = descend(Recipe(Network([4]), Descent(epochs=2)), datasets.load("iris"))
    done.save("iris.downslope")
    for name in {"json", "trace.parquet"} - {left}:
        (tmp_path / f"iris.{name}").unlink()
    with pytest.raises(ModelFileError, match=f"iris.{left} is of another model than iris.downslo"):
        Account.read("iris.downslope")
    (tmp_path / f"iris.{left}").unlink()
    assert Account.read("iris.downslope").trace is None
    done.trace.save("iris.trace.parquet")
    trace = Account.read("iris.downslope").trace
    assert trace is not None
    assert trace.digest == done.trace.digest == done.model.digest != ""
    done.replay(2, 4).save("iris.trace.parquet")
    assert trace_of(Account.read("iris.downslope")).steps["step"].to_list() == [2, 3, 4]


@pytest.mark.parametrize("left", ["json", "trace.parquet"])
def test_files_that_do_not_say_whose_they_are_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    monkeypatch.chdir(tmp_path)
    run("fit", "iris", "--epochs", "3")
    if left == "json":
        summary = json.loads((tmp_path / "iris.json").read_text(encoding="utf-8"))
        del summary["digest"]
        (tmp_path / "iris.json").write_text(json.dumps(summary), encoding="utf-8")
    else:
        Trace(Trace.load("iris.trace.parquet").frames).save("iris.trace.parquet")
    with pytest.raises(ModelFileError, match=f"iris.{left} is of another model than iris.downslo"):
        Account.read("iris.downslope")


def test_a_trace_of_nothing_is_no_one_elses(tmp_path: Path) -> None:
    """It has no row that could say whose it is, and nothing that could be another's."""
    recipe = Recipe(Network([4]), Descent(epochs=2))
    done = descend(recipe, datasets.load("iris"), record="none")
    path = done.save(tmp_path / "iris.downslope")
    done.trace.save(tmp_path / "iris.trace.parquet")
    assert not trace_of(Account.read(path)).steps.height


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(1400, False), (700, True)])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_drawn_in_a_browser(tmp_path: Path, name: str, width: int, dark: bool) -> None:
    path = report.write(tmp_path / "run.html", PAGES[name]())
    with browser.opened(path, width, dark) as page:
        assert page.locator(".plot").count() == len(drawn(path)) > 0
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.browser
def test_the_boundary_moves_with_its_slider(tmp_path: Path) -> None:
    path = report.write(tmp_path / "run.html", PAGES["two inputs"]())
    field = "document.querySelector('.plot[aria-label^=Decision]').data[0].z[0][0]"
    with browser.opened(path) as page:
        last = page.evaluate(field)
        plot = page.locator(".plot[aria-label^=Decision]")
        plot.locator(".slider-rail-touch-rect").click(position={"x": 2, "y": 5})
        page.wait_for_function(f"{field} != {last}")
