"""The picture of the gradient's noise: what it says of the batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from accounts import STEPS, account_of, changed, make_trace
from downslope import noise
from downslope.account import Account


@pytest.fixture(scope="module")
def iris() -> Account:
    return account_of("iris", trace=make_trace(3))


@pytest.mark.parametrize(
    ("suggested", "said"), [(2.0, "smaller batch"), (30.0, "they fit"), (120.0, "larger batches")]
)
def test_noise_says_how_the_batch_fits(iris: Account, suggested: float, said: str) -> None:
    trace = changed(make_trace(3), "steps", suggested_batch=suggested)
    section = noise.noise([replace(iris, trace=trace)])
    assert said in section.seen
    assert any(each["name"] == "batch used: 32" for each in section.content["data"])
    assert noise.noise([replace(iris, trace=None)]).content is None


def noise_seen(account: Account, suggested: Any, **steps: Any) -> str:
    trace = changed(make_trace(3), "steps", suggested_batch=suggested, **steps)
    return noise.noise([replace(account, trace=trace)]).seen


def test_a_noise_scale_that_is_infinite_at_the_end_is_said_to_be(iris: Account) -> None:
    late = pl.when(pl.col("step") > 1000).then(float("inf")).otherwise(620.0)
    seen = noise_seen(iris, late)
    assert seen.startswith("From step 1,001 on the gradient cannot be told from its noise")
    assert "620" not in seen
    trace = changed(make_trace(3), "steps", suggested_batch=late)
    drawn = noise.noise([replace(iris, trace=trace)]).content["data"][1]
    assert np.isnan(np.asarray(drawn["y"])[np.asarray(drawn["x"]) > 1000]).all()
    never = changed(make_trace(3), "steps", noise_scale=float("inf"))
    section = noise.noise([replace(iris, trace=never)])
    assert section.content is None
    assert "told from its noise" in section.sentence


@pytest.mark.parametrize(
    ("batch", "said"),
    [(32, "larger batches would still save steps, up to all the rows"), (135, "largest there is")],
)
def test_no_batch_above_the_training_rows_is_advised(iris: Account, batch: int, said: str) -> None:
    seen = noise_seen(iris, 620.0, rows=batch)
    assert f"more than the 135 rows there are for training, the batch {batch}" in seen
    assert said in seen
    assert "620" not in seen


@pytest.mark.parametrize(("end", "says"), [(10, "At the end the noise scale is"), (11, "")])
def test_the_end_is_spoken_of_only_where_the_last_records_have_a_noise_scale(
    iris: Account, end: int, says: str
) -> None:
    late = pl.when(pl.col("step") > STEPS[-end]).then(None).otherwise(pl.col("noise_scale"))
    assert noise_seen(iris, 20.0, noise_scale=late)[: len(says) or None] == says


def test_nothing_is_said_of_the_batch_where_nothing_is_learned(iris: Account) -> None:
    assert noise_seen(iris, 20.0)
    assert not noise_seen(iris, 20.0, gradient_norm=0.0)
    assert not noise_seen(iris, float("inf"), gradient_norm=0.0)
    trivial = replace(iris, scores={"training": {"score": 0.333, "trivial": 0.333}})
    assert not noise_seen(trivial, 20.0)
