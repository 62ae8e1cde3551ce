"""scikit-learn's checks of what it calls an estimator, for several kinds of networks."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from downslope import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1"),
]

CONFIGURATIONS: list[dict[str, Any]] = [
    {"max_iter": 100},
    {"max_iter": 100, "normalization": "batch"},
    {"max_iter": 100, "residual": True, "hidden_layer_sizes": (20, 20)},
    {"max_iter": 100, "solver": "lbfgs"},
]


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [Estimator(**each) for Estimator in (MLPClassifier, MLPRegressor) for each in CONFIGURATIONS]
)
def test_scikit_learns_check(estimator: Any, check: Any) -> None:
    check(estimator)
