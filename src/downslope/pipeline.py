"""A scikit-learn pipeline for tables of mixed columns: our preparation, then an estimator."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin, is_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from downslope import table as tables
from downslope.catalogue import plain_name
from downslope.errors import TableError
from downslope.parts import DTYPES
from downslope.preparation import Preparation
from downslope.scaling import SCALINGS

Array = npt.NDArray[Any]


class TablePreparation(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn a table's columns into a network's inputs, as `descend` and `downslope fit` do.

    Numbers are scaled; texts, categories and dates go through skrub's TableVectorizer; a value that
    is missing counts as its column's mean, with an indicator beside it.

    Parameters
    ----------
    scaling
        "auto", "standard", "squash" or "none", as `Network` has it.
    dtype
        "float32" or "float64": the number type of the inputs.

    Attributes
    ----------
    preparation_ : Preparation

    Examples
    --------
    >>> TablePreparation().fit_transform([[1.0, 5.0], [3.0, 5.0]])
    array([[-1.,  0.],
           [ 1.,  0.]], dtype=float32)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "scaling": [StrOptions(set(SCALINGS))],
        "dtype": [StrOptions(set(DTYPES))],
    }

    def __init__(self, scaling: str = "auto", dtype: str = "float32") -> None:
        self.scaling, self.dtype = scaling, dtype

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the columns of a data frame, an array, or whatever `table.read` reads.

        Raises
        ------
        TableError
            For a table that cannot be trained on.
        """
        self._validate_params()
        table = tables.read(X)
        if len(table) < 2:
            raise TableError(f"a table to learn from takes two rows or more; got {len(table)}")
        # A preparation has a part for the target too. Here that is the estimator's; any numbers do.
        numbers = np.arange(len(table), dtype=np.float64)
        table = dataclasses.replace(table, target=numbers, target_names=("target",))
        self.preparation_ = Preparation.fit(table, "regression", scaling=self.scaling)
        self.n_features_in_ = len(self.preparation_.feature_names)
        return self

    def transform(self, X: Any) -> Array:
        """Give the inputs, (rows, inputs).

        Raises
        ------
        TableError
            For columns that are missing or hold something else than before.
        """
        check_is_fitted(self)
        return self.preparation_.transform(X, self.dtype)

    def get_feature_names_out(self, input_features: Any = None) -> Array:
        """Give the inputs' names."""
        check_is_fitted(self)
        return np.array(self.preparation_.input_names, dtype=object)


def table_pipeline(estimator: Any, scaling: str = "auto", dtype: str = "float32") -> Pipeline:
    """Make a pipeline of our preparation of tables and an estimator.

    Its steps are "preparation" and "network". A regressor's target is scaled to mean 0 and
    variance 1 and its predictions back (by scikit-learn's TransformedTargetRegressor, whose
    parameters begin "network__regressor__"), but for counts, which stay what they are.

    Parameters
    ----------
    estimator
        `MLPClassifier`, `MLPRegressor`, or any other of scikit-learn's kind.
    scaling, dtype
        As `TablePreparation` has them.

    Returns
    -------
    sklearn.pipeline.Pipeline

    Examples
    --------
    >>> from downslope import MLPClassifier
    >>> rows = [["red", 1.0], ["blue", 2.0], ["red", 3.0], ["blue", 4.0]]
    >>> pipeline = table_pipeline(MLPClassifier((4,), solver="lbfgs", random_state=0))
    >>> pipeline.fit(rows, [1, 0, 1, 0]).predict([["blue", 1.0], ["red", 4.0]])
    array([0, 1])
    """
    counts = plain_name(str(getattr(estimator, "loss", ""))) == "poisson"
    if is_regressor(estimator) and not counts and scaling != "none":
        estimator = TransformedTargetRegressor(estimator, transformer=StandardScaler())
    return Pipeline([("preparation", TablePreparation(scaling, dtype)), ("network", estimator)])
