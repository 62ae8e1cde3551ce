from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import make_multilabel_classification

from downslope import BuiltNetwork, MLPClassifier, MLPRegressor, Network, to_onnx
from downslope.catalogue import ACTIVATIONS
from downslope.errors import InvalidTypeError, InvalidValueError, MissingPackageError

onnxruntime = pytest.importorskip("onnxruntime")

Array = npt.NDArray[Any]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

HIDDEN = [name for name in ACTIVATIONS if name != "softmax"]
X = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)


def run(model: Any, features: Array = X) -> dict[str, Array]:
    """Run a model in onnxruntime; give its outputs by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(None, {"X": features.astype(np.float32)}), strict=True))


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("normalize", ["none", "batch", "layer"])
@pytest.mark.parametrize("activation", HIDDEN)
def test_the_graph_gives_what_the_network_gives(
    activation: str, normalize: str, residual: bool
) -> None:
    network = Network((6, 6, 4), activation, "glorot_normal", normalize, residual, dropout=0.2)
    built = BuiltNetwork(network, 5, 3, "multiclass")
    generator = np.random.default_rng(1)
    built.theta[:] += generator.normal(0, 0.6, built.theta.size)
    built.statistics[:] = generator.uniform(0.5, 2, built.statistics.size)
    found = run(to_onnx(built))["output"]
    np.testing.assert_allclose(found, built.output(X), rtol=1e-5, atol=1e-5)
    assert found.std() > 0.01


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("texts", [False, True])
def test_a_classifier_gives_labels_and_probabilities(
    classes: int, texts: bool, dtype: Any, tmp_path: Path
) -> None:
    y = np.digitize(X[:, 0] + X[:, 1], np.linspace(-0.5, 0.5, classes - 1)) + 10
    target = np.array([f"class {each}" for each in y]) if texts else y
    fitted = MLPClassifier((8,), max_iter=30, random_state=0).fit(X.astype(dtype), target)
    model = to_onnx(fitted, tmp_path / "network.onnx")
    assert (tmp_path / "network.onnx").read_bytes() == model.SerializeToString()
    found = run(model)
    np.testing.assert_array_equal(found["label"], fitted.predict(X))
    np.testing.assert_allclose(found["probabilities"], fitted.predict_proba(X), atol=1e-5)


def test_several_labels_and_numbers_and_counts() -> None:
    rows, flags = make_multilabel_classification(60, n_features=5, random_state=0)
    labels = MLPClassifier((8,), max_iter=30, random_state=0).fit(rows, flags)
    found = run(to_onnx(labels), rows)
    np.testing.assert_array_equal(found["label"], labels.predict(rows))
    np.testing.assert_allclose(found["probabilities"], labels.predict_proba(rows), atol=1e-5)
    for y, loss in ((X[:, 0], "huber"), (X[:, :2], "squared_error"), (abs(X[:, 0]), "poisson")):
        numbers = MLPRegressor(loss, (8,), max_iter=30, random_state=0).fit(X, y)
        found = run(to_onnx(numbers))
        np.testing.assert_allclose(found["prediction"], numbers.predict(X), rtol=1e-5, atol=1e-5)


def test_what_is_no_network_or_has_other_classes_is_refused() -> None:
    with pytest.raises(InvalidTypeError, match="fitted MLPClassifier or MLPRegressor"):
        to_onnx(MLPClassifier())
    halves = MLPClassifier(max_iter=1).fit(X, np.where(X[:, 0] > 0, 0.5, 1.5).astype(str))
    halves.classes_ = np.array([0.5, 1.5])
    with pytest.raises(InvalidValueError, match="whole numbers or texts; these are float64"):
        to_onnx(halves)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingPackageError, match=r"install downslope\[onnx\]"):
        to_onnx(BuiltNetwork(Network([2]), 3, 2, "binary"))
