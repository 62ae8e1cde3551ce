"""What is varied: reading it, combining it, refusing it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from downslope.errors import DownslopeError, InvalidTypeError, InvalidValueError
from downslope.parts import Descent, Network
from downslope.recipe import Recipe
from downslope.vary import combine, read_vary, show_value


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("batch=1, 32,full", [1, 32, "full"]),
        ("batch=log:1:1024:6,FULL", [1, 4, 16, 64, 256, 1024, "full"]),
        ("epochs=5,none", [5, None]),
        ("warmup=lin:0:10:3", [0, 5, 10]),
        ("warmup=lin:0:2:5", [0, 1, 2]),
        ("learning_rate=log:1e-4:1:9,none",
         [1e-4, 3.162e-4, 1e-3, 3.162e-3, 1e-2, 3.162e-2, 0.1, 0.3162, 1.0, None]),
        ("learning-rate=0.5", [0.5]),
        ("dropout=0,0.1/0.5", [0.0, (0.1, 0.5)]),
        ("layers=64x64,128,none", [(64, 64), (128,), ()]),
        ("activation=relu/tanh,leaky_relu(slope=0.1),softplus",
         [("relu", "tanh"), "leaky_relu(slope=0.1)", "softplus"]),
        ("rule=adam(beta1=0.9,beta2=0.99),gd", ["adam(beta1=0.9,beta2=0.99)", "gd"]),
        ("residual=true,False", [True, False]),
        ("normalize=none,batch", ["none", "batch"]),
        ("scaling=none,squash", ["none", "squash"]),
        ("clip_norm=none,1", [None, 1.0]),
    ],
)  # fmt: skip
def test_values_are_read_by_the_type_of_their_field(text: str, values: list[Any]) -> None:
    read = read_vary([text])[text.partition("=")[0].replace("-", "_")]
    assert read == values
    assert [type(each) for each in read] == [type(each) for each in values]


def test_a_value_is_shown_as_it_is_read() -> None:
    for name, values in read_vary(
        ["layers=64x64,none", "activation=relu/tanh", "learning_rate=3.162e-05,none", "batch=full"]
    ).items():
        for value in values:
            assert read_vary([f"{name}={show_value(name, value)}"])[name] == [value]


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["batch"], "as batch=1,32,full; got 'batch'"),
        (["bacth=1,2"], "no field 'bacth': did you mean 'batch'"),
        (["batch=1", "batch=2"], "batch is given twice"),
        (["batch=1,,2"], "batch has an empty value"),
        (["batch="], "batch has an empty value"),
        (["batch=1.5,2"], "batch takes whole numbers; got '1.5'"),
        (["learning_rate=fast"], "learning_rate takes numbers; got 'fast'"),
        (["residual=yes,no"], "residual takes true and false; got 'yes'"),
        (["layers=64,ax3"], "layers takes whole numbers; got 'a'"),
        (["dropout=0.1/b"], "dropout takes numbers; got 'b'"),
        (["learning_rate=log:0:1:9"], "FROM and TO above 0; learning_rate got 'log:0:1:9'"),
        (["learning_rate=log:1:9"], "a range is log:FROM:TO:COUNT"),
        (["learning_rate=lin:a:1:9"], "a range is lin:FROM:TO:COUNT"),
        (["learning_rate=lin:0:1:1"], "a range is lin:FROM:TO:COUNT"),
        (["learning_rate=lin:0:inf:3"], "a range is lin:FROM:TO:COUNT"),
        (["rule=log:1:2:3"], "rule takes no numbers, so no range either"),
    ],
)
def test_text_that_says_nothing_is_refused(texts: list[str], says: str) -> None:
    with pytest.raises(InvalidValueError, match=re.escape(says)):
        read_vary(texts)


@pytest.mark.parametrize(
    ("vary", "says"),
    [
        ({}, "compare needs something to vary"),
        ({"batch": []}, "batch has no values"),
        ({"batch": [32]}, "a single variant"),
        ({"bacth": [1, 2]}, "no field 'bacth': did you mean 'batch'"),
        ({"seed": [1, 2]}, "seed is what every variant is repeated over"),
        ({"batch": [1, 1]}, "batch has the value 1 twice"),
        ({"layers": [[8], (8,)]}, "layers has the value 8 twice"),
        ({"rule": ["adam", "Adam"]}, "'rule=adam' and 'rule=Adam' are the same recipe"),
        (
            {"activation": "relu,elu(1),elu", "batch": [1, 2]},
            "'activation=elu(1) batch=1' and 'act",
        ),
        ({"rule": ["gd", "addam"]}, "variant 'rule=addam': unknown rule 'addam': did you mean"),
        ({"batch": [1, "full"], "rule": ["gd", "rprop"]}, "variant 'batch=1 rule=rprop': Descent"),
        ({"batch": range(1, 200), "warmup": range(100)}, "vary gives 19,900 variants"),
    ],
)
def test_what_cannot_be_compared_is_refused(vary: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidValueError, match=re.escape(says)):
        combine(Recipe(), vary)


@pytest.mark.parametrize("values", [32, None, {"batch": 1}])
def test_values_come_in_a_list(values: Any) -> None:
    with pytest.raises(InvalidTypeError, match="batch takes a list of values"):
        combine(Recipe(), {"batch": values})


def test_a_type_that_a_recipe_refuses_keeps_its_type() -> None:
    with pytest.raises(InvalidTypeError, match=r"variant 'batch=1\.5': Descent: batch"):
        combine(Recipe(), {"batch": [1.5, 2]})


def test_variants_are_the_product_and_keep_the_rest_of_the_recipe() -> None:
    def mine(*_: Any) -> None:
        raise AssertionError

    base = Recipe(Network([8]), Descent(epochs=7))
    rates = np.array([0.1, 0.2])
    variants = combine(base, {"rule": [mine, "gd"], "learning_rate": rates, "layers": "4x4,2"})
    assert len(variants) == 8
    assert variants[0].label == "rule=mine learning_rate=0.1 layers=4x4"
    assert variants[-1].recipe == base.edit(rule="gd", learning_rate=rates[1], layers=(2,))
    assert variants[-1].settings == {"rule": "gd", "learning_rate": 0.2, "layers": (2,)}
    assert issubclass(InvalidValueError, DownslopeError)
