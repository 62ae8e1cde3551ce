"""Recipes: what they refuse, and their way to a file and back."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from downslope import MLPClassifier, compare
from downslope.catalogue import (
    ACTIVATIONS,
    INITIALIZERS,
    LOSSES,
    RULES,
    SCHEDULES,
    TABLES,
    choose,
)
from downslope.descent import descend
from downslope.errors import (
    DownslopeError,
    InvalidTypeError,
    InvalidValueError,
    MissingFileError,
)
from downslope.network import BuiltNetwork
from downslope.parts import NORMALIZATIONS, Descent, Network, _least_epsilon
from downslope.recipe import Recipe, field_owner
from downslope.scaling import SCALINGS
from downslope.task import TASKS

HIDDEN = [name for name in ACTIVATIONS if name != "softmax"]

shares = st.floats(0, 1, exclude_max=True)
positive = st.floats(1e-300, 1e300)
counts = st.integers(1, 10**12)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    layers = draw(st.lists(st.integers(1, 10_000), max_size=4))
    each = st.sampled_from([*HIDDEN, "leaky_relu(slope=0.2)", "elu(0.5)"])
    initializer = st.sampled_from([*INITIALIZERS, "orthogonal(gain=1.4)"])
    several = len(layers)
    initializers = st.lists(initializer, min_size=several, max_size=several)
    return Network(
        layers,
        draw(each | st.lists(each, min_size=several, max_size=several)),
        draw(initializer | initializers if layers else initializer),
        draw(st.sampled_from(NORMALIZATIONS)),
        draw(st.booleans()),
        draw(shares | st.lists(shares, min_size=several, max_size=several)),
        draw(st.sampled_from(["auto", *ACTIVATIONS])),
        draw(st.sampled_from(["auto", *LOSSES, "huber(delta=0.3)"])),
        draw(shares),
        draw(st.sampled_from(SCALINGS)),
        draw(st.sampled_from(["auto", *TASKS])),
    )


@st.composite
def descents(draw: st.DrawFn) -> Descent:
    rules = [rule for rule in RULES if rule not in ("rprop", "adamw")]
    validation = draw(shares)
    scores = st.none() | st.floats(-10, 1)
    return Descent(
        batch=draw(counts | st.just("full")),
        rule=draw(st.sampled_from([*rules, "adam(0.9, 0.95)"])),
        learning_rate=draw(st.none() | positive),
        schedule=draw(st.sampled_from(["auto", *SCHEDULES, "step(every=3)"])),
        warmup=draw(st.integers(0, 1000)),
        clip_norm=draw(st.none() | positive),
        clip_value=draw(st.none() | positive),
        l1=draw(st.floats(0, 1e9)),
        l2=draw(st.floats(0, 1e9)),
        weight_decay=draw(st.floats(0, 1e9)),
        epochs=draw(st.none() | counts),
        steps=draw(counts),
        seconds=draw(st.none() | positive),
        validation=validation,
        patience=draw(st.none() | counts),
        tolerance=draw(st.floats(0, 1e9)),
        gradient_tolerance=draw(st.none() | positive),
        target_loss=draw(st.none() | st.floats(-1e9, 1e9)),
        target_score=draw(scores) if validation > 0 else None,
        seed=draw(st.integers(0, 2**62)),
        shuffle=draw(st.booleans()),
        dtype=draw(st.sampled_from(["float32", "float64"])),
    )


@given(st.builds(Recipe, networks(), descents()))
@settings(max_examples=150, deadline=None)
def test_to_a_file_and_back(recipe: Recipe) -> None:
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_files(tmp_path: Path) -> None:
    recipe = Recipe(Network([3, 4], ["relu", "elu"]), Descent(rule="rprop", batch="full"))
    (tmp_path / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.to_dict()), encoding="utf-8")
    assert Recipe.read(tmp_path / "recipe.toml") == recipe
    assert Recipe.read(tmp_path / "recipe.json") == recipe
    with pytest.raises(MissingFileError, match="there is no file"):
        Recipe.read(tmp_path / "other.toml")


def test_what_is_left_out_takes_its_default() -> None:
    recipe = Recipe.from_toml('[descent]\nepochs = "none"\nsteps = 7\n')
    assert recipe == Recipe(Network(), Descent(epochs=None, steps=7))
    assert Recipe.from_toml("") == Recipe()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.toml", b"network = "),
        ("a.toml", b"network = 3"),
        ("a.toml", b"\xff\xfe\x00"),
        ("a.toml", b"[netwrok]\nlayers = [3]"),
        ("a.toml", b"[network]\nlayer = [3]"),
        ("a.toml", b"[network]\nlayers = [3, 0]"),
        ("a.toml", b"[descent]\nrule = 3"),
        ("a.json", b"{"),
        ("a.json", b"[]"),
        ("a.json", b"3"),
        ("a.json", b'{"network": null}'),
        ("a.json", b'{"descent": ["epochs"]}'),
    ],
)
def test_a_file_that_is_no_recipe(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DownslopeError):
        Recipe.read(tmp_path / name)


def test_what_is_neither_text_nor_a_path_is_named() -> None:
    given: Any = b"[network]"
    with pytest.raises(InvalidTypeError, match=r"from_toml takes text; got b'.*': decode"):
        Recipe.from_toml(given)
    with pytest.raises(InvalidTypeError, match=r"^Recipe.read takes a path, .* got b'.*'$"):
        Recipe.read(given)


def test_numbers_of_numpy_go_to_a_file() -> None:
    network: dict[str, Any] = {
        "layers": np.array([3, 4]), "dropout": np.float64(0.25), "label_smoothing": np.float32(0.5),
    }  # fmt: skip
    descent: dict[str, Any] = {
        "batch": np.int64(8), "seed": np.int32(3), "learning_rate": np.float32(0.5),
        "epochs": np.int64(2),
    }  # fmt: skip
    recipe = Recipe(Network(**network), Descent(**descent))
    assert Recipe.from_toml(recipe.to_toml()) == recipe


def test_a_name_is_kept_as_the_catalogue_writes_it() -> None:
    written = Recipe(
        Network(
            [3, 4], ["ReLU", "Leaky_ReLU(slope=0.1)"], "He-Normal", output_activation="Identity",
            loss="Huber(.5)",
        ),
        Descent(rule="AdamW(0.9, 0.999)", schedule="Cosine(final=0)"),
    )  # fmt: skip
    plain = Recipe(
        Network(
            [3, 4], ["relu", "leaky_relu(0.1)"], "he_normal", output_activation="identity",
            loss="huber(delta=0.5)",
        ),
        Descent(rule="adamw", schedule="cosine"),
    )  # fmt: skip
    assert written == plain
    assert written.to_toml() == plain.to_toml()
    assert repr(written) == repr(plain)
    assert written.network.activation == ("relu", "leaky_relu(slope=0.1)")
    assert (written.descent.rule, written.descent.schedule) == ("adamw", "cosine")
    assert Recipe.from_toml(written.to_toml()) == written
    assert Recipe.from_dict(json.loads(json.dumps(written.to_dict()))) == written
    assert Descent().rule == "adamw(weight_decay=0.1)"


def test_numbers_are_kept_as_python_has_them() -> None:
    whole: Any = np.int64
    quarter: Any = np.float32(0.25)
    rates: Any = np.array([0.25, 0.5], np.float32)
    network = Network([whole(3), whole(4)], dropout=quarter, label_smoothing=quarter)
    each = Network([3, 4], dropout=rates)
    descent = Descent(
        whole(8), l1=quarter, l2=quarter, learning_rate=quarter, clip_norm=quarter,
        validation=quarter, warmup=whole(3), seed=whole(4), epochs=whole(5), target_loss=quarter,
        steps=whole(6), patience=whole(7), seconds=quarter, tolerance=quarter, clip_value=quarter,
        gradient_tolerance=quarter, target_score=quarter, weight_decay=quarter, rule="adam",
    )  # fmt: skip
    true: Any = np.True_
    text: Any = np.str_
    flags = Network(residual=true, normalize=text("batch"), scaling=text("none"), loss=text("auto"),
                    task=text("binary"), output_activation=text("relu"))  # fmt: skip
    kinds = Descent(text("full"), text("gd"), schedule=text("auto"), shuffle=true,
                    dtype=text("float64"))  # fmt: skip
    assert (flags.residual, kinds.shuffle) == (True, True)
    for recipe in (network, each, descent, flags, kinds):
        for value in vars(recipe).values():
            for one in value if isinstance(value, tuple) else (value,):
                assert one is None or type(one) in (str, bool, int, float)
        assert copy.deepcopy(recipe) == recipe == pickle.loads(pickle.dumps(recipe))
    built = BuiltNetwork(network, 2, 3, "multiclass")
    assert json.loads(json.dumps(built.describe()))["network"]["dropout"] == 0.25
    assert copy.deepcopy(built).network == pickle.loads(pickle.dumps(built)).network == network


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in RULES if "epsilon" in RULES[name].options])
def test_the_least_epsilon_moves_a_weight_of_no_gradient_nowhere(name: str, dtype: str) -> None:
    least = _least_epsilon(RULES[name].options, dtype) * 1.01
    features = np.array([[0.0, -1.0], [0.0, 1.0]] * 10)  # no weight of the first has a gradient
    recipe = Recipe(
        Network([3], initializer="he_normal", scaling="none"),
        Descent(rule=f"{name}(epsilon={least!r})", epochs=2, validation=0.0, dtype=dtype),
    )
    assert np.isfinite(descend(recipe, features, features[:, 1]).network.theta).all()


def test_functions_cannot_go_to_a_file() -> None:
    for descent in (Descent(rule=lambda *_: None), Descent(schedule=lambda step: 0.1)):
        with pytest.raises(InvalidValueError, match="function of your own, which a file cannot"):
            Recipe(Network(), descent).to_toml()


VALUES: list[tuple[type[Any], dict[str, Any], str]] = [
    (Network, {"layers": [8, 0]}, "width of a layer must be at least 1; got 0"),
    (Network, {"layers": [-3]}, "at least 1; got -3"),
    (Network, {"activation": "rlu"}, "unknown activation 'rlu': did you mean 'relu'"),
    (Network, {"activation": "softmax"}, "softmax is for the output layer"),
    (Network, {"activation": "elu(beta=1)"}, "'elu' has no option 'beta'"),
    (Network, {"layers": [3, 3], "activation": ["relu"]}, "each of the 2 hidden layers; got 1"),
    (Network, {"initializer": "he"}, "unknown initializer 'he'.*he_normal"),
    (Network, {"layers": [], "initializer": []}, r"takes one name, for the output .*; got \(\)$"),
    (Network, {"normalize": "bach"}, "unknown normalize 'bach'.*'batch'"),
    (Network, {"dropout": 1.0}, r"^Network: dropout must lie in \[0, 1\); got 1.0"),
    (Network, {"dropout": -0.1}, r"dropout must lie in \[0, 1\); got -0.1"),
    (Network, {"dropout": [0.1]}, "each of the 2 hidden layers"),
    (Network, {"output_activation": "softmx"}, "unknown activation 'softmx'.*'softmax'"),
    (Network, {"loss": "crossentropy"}, "unknown loss 'crossentropy'.*'cross_entropy'"),
    (Network, {"label_smoothing": 2}, "label_smoothing must lie in"),
    (Network, {"scaling": "minmax"}, "unknown scaling 'minmax'"),
    (Network, {"scaling": np.array(["a", "b"])}, r"unknown scaling array\(\['a', 'b'\]"),
    (Network, {"scaling": None}, "unknown scaling None"),
    (Network, {"task": "classes"}, "unknown task 'classes'"),
    (Descent, {"batch": 0}, "must be at least 1; got 0"),
    (Descent, {"rule": "adm"}, "unknown rule 'adm': did you mean 'adam'"),
    (Descent, {"rule": "adam(beta3=1)"}, "has no option 'beta3'"),
    (Descent, {"rule": "adam(beta1=x)"}, "takes a finite number; got 'x'"),
    (Descent, {"schedule": "cosin"}, "unknown schedule 'cosin': did you mean 'cosine'"),
    (Descent, {"learning_rate": -1}, "learning_rate must be at least 0; got -1"),
    (Descent, {"learning_rate": math.nan}, "must be finite and at least 0; got nan"),
    (Descent, {"learning_rate": math.inf}, "must be finite and at least 0; got inf"),
    (Descent, {"l1": math.inf}, "l1 must be finite and at least 0; got inf"),
    (Descent, {"l2": math.inf}, "l2 must be finite"),
    (Descent, {"l2": 10**400}, "l2 must be finite and at least 0; got inf"),
    (Descent, {"target_loss": -(10**400)}, "target_loss must be finite; got -inf"),
    (Descent, {"tolerance": math.inf}, "tolerance must be finite"),
    (Descent, {"seconds": math.inf}, "seconds must be finite and above 0; got inf"),
    (Descent, {"warmup": -1}, "warmup must be at least 0"),
    (Descent, {"clip_norm": 0}, "clip_norm must be above 0; got 0"),
    (Descent, {"clip_norm": math.inf}, "clip_norm must be finite and above 0; got inf"),
    (Descent, {"clip_value": -1.0}, "clip_value must be above 0"),
    (Descent, {"l1": -1}, "l1 must be at least 0"),
    (Descent, {"weight_decay": -1}, "weight_decay must be at least 0"),
    (Descent, {"epochs": 0}, "epochs must be at least 1"),
    (Descent, {"steps": 0}, "steps must be at least 1"),
    (Descent, {"seconds": 0}, "seconds must be above 0"),
    (Descent, {"validation": 1}, r"must lie in \[0, 1\), to leave rows to train on; got 1"),
    (Descent, {"validation": 1.2}, "validation must lie in"),
    (Descent, {"patience": 0}, "patience must be at least 1"),
    (Descent, {"tolerance": -1e-9}, "tolerance must be at least 0"),
    (Descent, {"gradient_tolerance": -1}, "gradient_tolerance must be at least 0"),
    (Descent, {"target_loss": math.nan}, "target_loss must be finite; got nan"),
    (Descent, {"seed": -1}, "seed must be at least 0"),
    (Descent, {"seed": 10**23}, f"seed must be at most {2**63 - 1}; got {10**23}"),
    (Descent, {"epochs": 2**63}, "epochs must be at most"),
    (Descent, {"dtype": "float16"}, "unknown dtype 'float16'.*'float32'"),
    (Descent, {"epochs": None}, "set epochs, steps or seconds"),
    (Descent, {"target_score": 0.9, "validation": 0}, "set validation above 0"),
    (Descent, {"rule": "adamw", "weight_decay": 0.1}, "not both"),
    (Descent, {"rule": "adam(epsilon=0)"}, "'adam': epsilon must be above 0; got 0"),
    (Descent, {"rule": "adam(epsilon=1e-40)"}, "at least 3.72e-37 in float32, or .*; got 1e-40"),
    (Descent, {"rule": "adagrad(1e-38)"}, "epsilon must be at least 1.18e-38 in float32"),
    (Descent, {"rule": "adam(epsilon=1e-308)", "dtype": "float64"}, "7.04e-307 in float64"),
    (Descent, {"rule": "rprop"}, "needs batch='full'; got batch=32"),
    (Descent, {"rule": "adam(beta1=1)"}, r"rule 'adam': beta1 must lie in \[0, 1\); got 1"),
    (Network, {"loss": "huber(delta=-1)"}, "loss 'huber': delta must be above 0; got -1"),
    (Network, {"loss": "huber(delta=0)"}, "loss 'huber': delta must be above 0; got 0"),
    (Network, {"activation": "elu(-1)"}, "activation 'elu': alpha must be at least 0; got -1"),
    (Network, {"initializer": "normal(std=-1)"}, "'normal': std must be at least 0; got -1"),
    (Descent, {"schedule": "step(factor=0)"}, "schedule 'step': factor must be above 0; got 0"),
    (Descent, {"schedule": lambda step: 0.1, "learning_rate": 5}, "gives every step's learning"),
]

TYPES: list[tuple[type[Any], dict[str, Any], str]] = [
    (Network, {"layers": np.array(5)}, r"takes the widths of the hidden .*; got array\(5\)"),
    (Network, {"dropout": np.array(0.1)}, r"dropout takes a number; got array\(0.1\)"),
    (Network, {"dropout": np.array([[0.1]])}, r"dropout takes a number; got array\(\[\[0.1\]\]\)"),
    (Network, {"activation": np.array("relu")}, r"activation takes a name such as .*; got array"),
    (Network, {"activation": b"relu"}, "activation takes a name such as .*; got b'relu'"),
    (Network, {"layers": "128"}, "layers takes the widths.*got '128'"),
    (Network, {"layers": 128}, "layers takes the widths.*got 128"),
    (Network, {"layers": [8.0]}, "takes a whole number; got 8.0"),
    (Network, {"layers": [True]}, "takes a whole number; got True"),
    (Network, {"activation": 5}, "activation"),
    (Network, {"layers": [3], "activation": [5]}, "activation takes a name.*got 5"),
    (Network, {"dropout": None}, "dropout"),
    (Network, {"dropout": "0.1"}, "dropout"),
    (Network, {"residual": 1}, "residual takes True or False; got 1"),
    (Network, {"label_smoothing": "0.1"}, "takes a number; got '0.1'"),
    (Descent, {"batch": 1.5}, "takes a whole number; got 1.5"),
    (Descent, {"batch": "all"}, "\"full\" for all rows.*got 'all'"),
    (Descent, {"rule": None}, "rule takes a name.*got None"),
    (Descent, {"learning_rate": "fast"}, "takes a number; got 'fast'"),
    (Descent, {"learning_rate": True}, "takes a number; got True"),
    (Descent, {"seed": None}, "takes a whole number; got None"),
    (Descent, {"shuffle": 0}, "shuffle takes True or False"),
    (Descent, {"epochs": 1e3}, "takes a whole number; got 1000.0"),
]


@pytest.mark.parametrize(
    ("owner", "fields", "says"), VALUES, ids=lambda value: str(value).partition(" at 0x")[0][:40]
)
def test_values_outside_of_their_rule(owner: Any, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidValueError, match=says):
        owner(**fields)


@pytest.mark.parametrize(
    ("owner", "fields", "says"), TYPES, ids=lambda value: str(value).partition(" at 0x")[0][:40]
)
def test_values_of_another_kind(owner: Any, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidTypeError, match=says):
        owner(**fields)


def test_every_option_has_a_range_that_holds_its_usual_value() -> None:
    for kind, table in TABLES.items():
        for name, entry in table.items():
            written = ", ".join(f"{key}={value!r}" for key, value in entry.options.items())
            assert choose(kind, f"{name}({written})") == choose(kind, name)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("activation", "leaky_relu(-1)"), ("activation", "prelu(0)"), ("activation", "elu(0)"),
        ("initializer", "constant(-3)"), ("initializer", "uniform(0)"),
        ("initializer", "orthogonal(-1)"), ("schedule", "exponential(1.1)"),
        ("schedule", "one_cycle(start=0.5, end=0.1)"), ("schedule", "plateau(patience=0)"),
        ("loss", "huber(1e-9)"), ("rule", "nadam(decay=2)"), ("rule", "momentum(0)"),
    ],
)  # fmt: skip
def test_unusual_options_are_taken(kind: str, text: str) -> None:
    assert choose(kind, text).name == text.partition("(")[0]


@pytest.mark.parametrize("text", ["adam(beta1=.9, beta1=.5)", "adam(.9, beta1=.5)"])
def test_an_option_stands_there_once(text: str) -> None:
    with pytest.raises(InvalidValueError, match=r"beta1 is given twice, as 0\.9 and as 0\.5"):
        Descent(rule=text)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ((Descent(), Network()), r"^Recipe: network takes a Network, as .*; got Descent\("),
        ((Network(), Network()), r"^Recipe: descent takes a Descent, as .*; got Network\("),
        ((None,), "network takes a Network, as .*; got None"),
    ],
)
def test_a_recipe_has_a_network_and_a_descent(parts: tuple[Any, ...], says: str) -> None:
    with pytest.raises(InvalidTypeError, match=says):
        Recipe(*parts)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("recipe.toml", r"'recipe.toml': read one from a file by Recipe.read\('recipe.toml'\)"),
        (Path("a/b.json"), r"read one from a file by Recipe.read\('a/b.json'\)"),
        (Network([8]), r"Network\(.*: make one of its two parts, as Recipe"),
        ({"network": {}}, "make one of dictionaries by Recipe.from_dict"),
        (None, "None: make one of its two parts"),
    ],
)
def test_what_is_no_recipe_says_how_to_make_one(given: Any, says: str) -> None:
    rows = np.arange(8.0).reshape(4, 2)
    takers: dict[str, Any] = {
        "descend": lambda: descend(given, rows, rows[:, 0]),
        "compare": lambda: compare(given, rows, rows[:, 0], vary={"batch": [1, 2]}),
        "MLPClassifier.from_recipe": lambda: MLPClassifier.from_recipe(given),
    }
    for name, take in takers.items():
        with pytest.raises(InvalidTypeError, match=f"^{name} takes a Recipe, got .*{says}"):
            take()


def test_edit() -> None:
    recipe = Recipe().edit(layers=[7], rule="gd", epochs=None, steps=3, residual=True)
    assert recipe.network == Network([7], residual=True)
    assert recipe.descent == Descent(rule="gd", epochs=None, steps=3)
    with pytest.raises(InvalidValueError, match="no field 'layer': did you mean 'layers'"):
        Recipe().edit(layer=[3])
    with pytest.raises(InvalidValueError, match="at least 1"):
        Recipe().edit(layers=[0])
    assert field_owner("seed") == "descent"


def test_each_layer_its_own() -> None:
    network = Network([3, 4], ["tanh", "elu(2)"], ["zeros", "he_normal"], dropout=[0.1, 0])
    assert [choice.name for choice in network.activations()] == ["tanh", "elu"]
    assert network.activations()[1].options["alpha"] == 2
    assert [choice.name for choice in network.initializers()] == ["zeros", "he_normal"]
    assert network.dropouts() == (0.1, 0.0)
    assert Network([]).activations() == ()
    assert Network([]).dropouts() == ()


def test_the_learning_rate_is_the_rules_usual_one() -> None:
    for rule, entry in RULES.items():
        descent = Descent(rule=rule, batch="full")
        assert descent.rate == entry.learning_rate
    assert Descent(rule="gd", learning_rate=0.0).rate == 0.0
    assert Descent(rule=lambda *_: None).rate == 0.01


def test_the_schedule_goes_by_what_bounds_the_run() -> None:
    assert Descent().chosen_schedule == "cosine"
    assert Descent(epochs=None, steps=9).chosen_schedule == "cosine"
    timed = Recipe().edit(epochs=None, seconds=1.0)
    assert timed.descent.chosen_schedule == "constant"
    assert timed.edit(epochs=3).descent.chosen_schedule == "cosine"
    assert timed.edit(schedule="one_cycle").descent.chosen_schedule == "one_cycle"
    own = Descent(schedule=lambda step: 0.1)
    assert own.chosen_schedule is own.schedule
