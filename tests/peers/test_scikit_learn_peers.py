"""scikit-learn's own tests of its networks, run against ours: only their import is another.

The file is the one that scikit-learn ships, unchanged. Its functions become tests of this module.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import sklearn.neural_network

pytestmark = [
    pytest.mark.peers,
    # As in scikit-learn's own runs, a warning is no failure where its test does not ask for it.
    pytest.mark.filterwarnings("default"),
]

PRIVATE = {
    "test_gradient": (
        "calls _loss_grad_lbfgs, scikit-learn's private helper; tests/test_gradients.py holds every"
        " gradient against differences"
    ),
}
"""By name: why a test is left out. Each reaches into private helpers; none tests behavior only."""

SOURCE = Path(sklearn.neural_network.__file__).with_name("tests") / "test_mlp.py"
THEIRS = "from sklearn.neural_network import MLPClassifier, MLPRegressor\n"
OURS = "from downslope import MLPClassifier, MLPRegressor\n"


@pytest.fixture
def global_random_seed() -> int:
    """Give the seed that scikit-learn's own fixture of this name gives by default."""
    return 42


def swapped() -> str:
    """Give scikit-learn's file with our classes in the place of its own."""
    text = SOURCE.read_text(encoding="utf-8")
    assert text.count(THEIRS) == 1, f"{SOURCE} does not import its classes as it did"
    return text.replace(THEIRS, OURS)


exec(compile(swapped(), str(SOURCE), "exec"), globals())

for _name, _reason in PRIVATE.items():
    globals()[_name] = pytest.mark.skip(reason=_reason)(globals()[_name])


def test_it_is_our_classes_that_are_tested() -> None:
    modules = {globals()[name].__module__ for name in ("MLPClassifier", "MLPRegressor")}
    assert modules == {"downslope.estimators"}
    assert sum(name.startswith("test_") for name in globals()) > 40
