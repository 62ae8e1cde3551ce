from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV, cross_val_score

from downslope import Descent, MLPClassifier, MLPRegressor, Network, Recipe, descend, table_pipeline
from downslope.errors import TableError
from downslope.pipeline import TablePreparation

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def mixed(rows: int = 120) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """Draw a table of numbers, texts, dates and gaps, with a class and a price by it."""
    generator = np.random.default_rng(0)
    size = generator.uniform(20, 200, rows)
    color = generator.choice(["red", "green", "blue"], rows)
    built = pd.Timestamp("1990-01-01") + pd.to_timedelta(generator.integers(0, 9000, rows), "D")
    frame = pd.DataFrame({"size": size, "color": color, "built": built})
    price = 1e5 + 3e3 * size + 5e4 * (color == "red")
    frame.loc[::17, "size"] = np.nan
    return frame, pd.Series(np.where(price > 4e5, "dear", "cheap")), pd.Series(price)


def test_a_mixed_frame_is_learned_and_told_back() -> None:
    frame, kind, price = mixed()
    classifier = table_pipeline(MLPClassifier((8,), solver="lbfgs", random_state=0))
    assert classifier.fit(frame, kind).score(frame, kind) > 0.95
    assert set(classifier.predict(frame)) == {"dear", "cheap"}
    regressor = table_pipeline(MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", alpha=0.1))
    assert isinstance(regressor.named_steps["network"], TransformedTargetRegressor)
    assert regressor.fit(frame, price).score(frame, price) > 0.9
    assert abs(regressor.predict(frame).mean() / price.mean() - 1) < 0.1
    again = pickle.loads(pickle.dumps(regressor))
    np.testing.assert_array_equal(again.predict(frame), regressor.predict(frame))


@pytest.mark.parametrize("loss", ["poisson", "Poisson", "poisson()"])
def test_counts_are_not_scaled(loss: str) -> None:
    pipeline = table_pipeline(MLPRegressor(loss, (3,), max_iter=2))
    assert isinstance(pipeline.named_steps["network"], MLPRegressor)
    counts = np.arange(20)
    assert pipeline.fit(counts[:, None], counts).predict(counts[:, None]).min() >= 0


def test_the_inputs_are_those_of_descend() -> None:
    frame, kind, _ = mixed()
    recipe = Recipe(Network([3]), Descent(epochs=1, validation=0.0))
    run = descend(recipe, frame, kind.to_numpy())
    preparation = TablePreparation().fit(frame)
    found = preparation.transform(frame)
    np.testing.assert_array_equal(found, run.model.preparation.transform(frame))
    assert preparation.get_feature_names_out().tolist() == list(run.model.preparation.input_names)
    np.testing.assert_array_equal(found, preparation.transform(pl.from_pandas(frame)))
    named = clone(preparation).set_output(transform="pandas").fit_transform(frame)
    assert named.columns.tolist() == preparation.get_feature_names_out().tolist()


def test_searching_and_validating() -> None:
    frame, kind, price = mixed(60)
    pipeline = table_pipeline(MLPClassifier((4,), max_iter=20, random_state=0), dtype="float64")
    assert cross_val_score(pipeline, frame, kind, cv=2).shape == (2,)
    search = GridSearchCV(pipeline, {"network__alpha": [1e-4, 1.0]}, cv=2).fit(frame, kind)
    assert search.best_estimator_.named_steps["network"].network_.theta.dtype == np.float64
    counts = table_pipeline(MLPRegressor("poisson", (4,), max_iter=5))
    assert isinstance(counts.named_steps["network"], MLPRegressor)
    assert (counts.fit(frame, (price // 1e5)).predict(frame) > 0).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda frame: frame.drop(columns="color"), "color"),
        (lambda frame: frame.assign(size="large"), "size"),
    ],
)
def test_another_table_is_refused(change: Any, says: str) -> None:
    frame, _, _ = mixed(40)
    preparation = TablePreparation().fit(frame)
    with pytest.raises(TableError, match=says):
        preparation.transform(change(frame))


def test_one_row_and_unknown_settings_are_refused() -> None:
    with pytest.raises(TableError, match="two rows or more; got 1"):
        TablePreparation().fit([[1.0, 2.0]])
    with pytest.raises(ValueError, match="The 'scaling' parameter of TablePreparation must be"):
        TablePreparation("none at all").fit([[1.0], [2.0]])
