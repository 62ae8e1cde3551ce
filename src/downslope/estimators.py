"""scikit-learn's `MLPClassifier` and `MLPRegressor`, on Downslope's descent.

They take every argument of scikit-learn's classes of the same names with the same meaning, and with
the same `random_state` they draw the same numbers: initial weights, rows held out, order of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin, RegressorMixin, _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    type_of_target,
    unique_labels,
)

from downslope.errors import InvalidValueError
from downslope.perceptron import Perceptron
from downslope.score import classes_of
from downslope.translation import REGRESSION_LOSSES, Named

Array = npt.NDArray[Any]

Callback = Callable[[int, list[float], Array], Any]
"""Called at an epoch's end with the steps so far, the losses by epoch and a view of theta."""


class MLPClassifier(ClassifierMixin, Perceptron):  # type: ignore[misc]
    """Classify by a neural network, trained by gradient descent.

    It minimizes the mean cross-entropy, in nats, plus
    (alpha sum w^2 / 2 + l1 sum |w|) / rows of the batch.

    Parameters
    ----------
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, \
power_t, max_iter, shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, \
early_stopping, validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun
        As scikit-learn's, with its defaults. Beyond them, `activation` takes every activation's
        name, one for all hidden layers or one for each; `solver` every rule's, as
        ``"lion(beta1=0.95)"``; `learning_rate` every schedule's; `batch_size` also "full".
    initializer
        Of the weights: one name for all or one for each hidden layer. None draws weights and biases
        as scikit-learn does.
    normalization
        "none", "batch" or "layer": what is done to x W + b before the activation.
    residual
        Add each hidden layer's input to its output.
    dropout
        Share of a hidden layer's outputs set to 0 in a training step; one or one for each.
    clip_norm, clip_value
        Bound on the norm of the whole gradient; on each of its entries (first).
    weight_decay
        Decoupled: each step scales weights by 1 - learning rate x weight_decay.
    l1
        As `alpha`, of the weights' absolute values.
    warmup
        Steps in which the learning rate rises to its schedule.
    label_smoothing
        Share of each class target spread evenly over the classes.
    class_weight
        "balanced", or a factor for each class by its name, on the weights of its rows.
    callbacks
        One function or several, called at each epoch's end with the steps so far, the losses by
        epoch and a view of theta; one that gives True ends the fit.
    n_jobs
        Threads; None and -1 take the available cores. The result is the same for any number.
    dtype
        "float32" or "float64"; None takes that of X, float64 where it is neither.

    Attributes
    ----------
    classes_ : (classes,)
    coefs_, intercepts_ : lists of (units before, units) and of (units,)
        Views of theta: writing to them changes the network. The intercept of a batch-normalized
        layer is its shift.
    loss_, best_loss_, loss_curve_, validation_scores_, best_validation_score_, n_iter_, t_, \
n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_
        As scikit-learn's; `loss_curve_` with "lbfgs" too.
    validation_loss_curve_ : list of float, or None
        Loss of the rows held out, by epoch, with `early_stopping`.
    network_ : BuiltNetwork
    recipe_ : Recipe
        What was trained and how. It has no word for biases that are drawn, and its patience is
        about the loss.

    Raises
    ------
    ValueError
        For parameters, X or y outside their rules, and where theta is not finite any more.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> network = MLPClassifier((16,), solver="lbfgs", max_iter=500, random_state=0).fit(X, y)
    >>> network.predict(X[::50]), network.coefs_[0].shape
    (array([0, 1, 2]), (4, 16))

    Notes
    -----
    The steps and stopping rules of scikit-learn 1.9 (Pedregosa et al. 2011).
    """

    loss = "log_loss"
    classes_: Array

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Perceptron._parameter_constraints,
        "label_smoothing": [Interval(Real, 0, 1, closed="both")],
        "class_weight": [None, dict, StrOptions({"balanced"})],
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        initializer: str | Sequence[str] | None = None,
        normalization: Literal["none", "batch", "layer"] = "none",
        residual: bool = False,
        dropout: float | Sequence[float] = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        weight_decay: float = 0.0,
        l1: float = 0.0,
        warmup: int = 0,
        label_smoothing: float = 0.0,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        callbacks: Callback | Sequence[Callback] | None = None,
        n_jobs: int | None = None,
        dtype: Literal["float32", "float64"] | None = None,
    ) -> None:
        self._keep(locals())

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "loss": "auto"}

    def _validate_input(
        self, X: Any, y: Any, incremental: bool, *, reset: bool
    ) -> tuple[Array, Array, Array, str, int]:
        X, y = self._check_rows(X, y, reset)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._learn_classes(y)
        else:
            self._check_classes(y)
        if self._label_binarizer.y_type_.startswith("multilabel"):
            flags = self._label_binarizer.transform(y)
            flags = flags if isinstance(flags, np.ndarray) else flags.toarray()
            return X, y, flags.astype(X.dtype), "multilabel", flags.shape[1]
        # Of one class alone, scikit-learn's target is 0 in every row.
        labels = np.searchsorted(self.classes_, y) if len(self.classes_) > 1 else np.zeros(len(y))
        task = "multiclass" if len(self.classes_) > 2 else "binary"
        return X, y, labels.astype(np.int64), task, max(len(self.classes_), 2)

    def _learn_classes(self, y: Any) -> None:
        self._label_binarizer = LabelBinarizer()
        self._label_binarizer.fit(y)
        self.classes_ = self._label_binarizer.classes_

    def _check_classes(self, y: Any) -> None:
        """Refuse classes that the fit before did not have."""
        classes = unique_labels(y)
        if self.warm_start:
            if set(classes) != set(self.classes_):
                raise InvalidValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous "
                    f"call to fit. Previously got {self.classes_}, `y` has {classes}"
                )
        elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise InvalidValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _weigh_classes(self, y: Array, sample_weight: Any, incremental: bool) -> Any:
        class_weight = self.class_weight
        if class_weight is None:
            return sample_weight
        if incremental and class_weight == "balanced":
            raise InvalidValueError(
                "class_weight 'balanced' goes by all rows, which partial_fit does not see; give "
                "the factors: compute_class_weight('balanced', classes=classes, y=y)"
            )
        factors = compute_sample_weight(class_weight, y)
        return factors if sample_weight is None else sample_weight * factors

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network on rows and their classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            A sparse matrix is filled with its zeros as a whole.
        y : (n_samples,), or (n_samples, n_outputs) of 0 and 1 for several labels
        sample_weight : (n_samples,), or None
            How much each row counts.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight)

    @available_if(lambda self: self._check_solver())  # type: ignore[untyped-decorator]
    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train for one epoch over some rows, from where the network and its rule are.

        A schedule that spans a run, as "cosine", spans `max_iter` calls and stays at its end then.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : (n_classes,), or None
            All classes that there will be; needed in the first call.

        Returns
        -------
        self
        """
        if _check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer()
            several = type_of_target(y).startswith("multilabel")
            self._label_binarizer.fit(y if several else classes)
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Array:
        """Predict the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        (n_samples,), or (n_samples, n_outputs) of 0 and 1 for several labels
        """
        outputs = self._outputs(X)
        if self.network_.task == "multilabel":
            return (outputs > 0.5).astype(np.int64)
        return self.classes_.take(classes_of(outputs), mode="clip")

    def predict_proba(self, X: Any) -> Array:
        """Predict probabilities, (n_samples, n_classes), in the order of `classes_`."""
        outputs = self._outputs(X)
        if outputs.shape[1] == 1:
            return np.column_stack([1 - outputs[:, 0], outputs[:, 0]])
        return outputs

    def predict_log_proba(self, X: Any) -> Array:
        """Predict the logarithms of `predict_proba`."""
        probabilities = self.predict_proba(X)
        return np.asarray(np.log(probabilities, out=probabilities))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, Perceptron):  # type: ignore[misc]
    """Predict numbers by a neural network, trained by gradient descent.

    It minimizes the mean of its loss, in the target's unit (squared), plus
    (alpha sum w^2 / 2 + l1 sum |w|) / rows of the batch.

    Parameters
    ----------
    loss
        scikit-learn's "squared_error" (half the square) and "poisson"; "absolute_error" and
        "huber", as ``"huber(delta=0.5)"``.

    Notes
    -----
    All other parameters, attributes and errors are those of `MLPClassifier`, but for classes.
    For several outputs `loss_` is the mean over them, as scikit-learn's, while the gradient is that
    of their sum, here as there. L-BFGS goes by the sum in both, where scikit-learn mixes the two.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> network = MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", alpha=1, random_state=0)
    >>> bool(network.fit(X, y / 100).score(X, y / 100) > 0.5)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Perceptron._parameter_constraints,
        "loss": [Named("loss", known=REGRESSION_LOSSES)],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        initializer: str | Sequence[str] | None = None,
        normalization: Literal["none", "batch", "layer"] = "none",
        residual: bool = False,
        dropout: float | Sequence[float] = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        weight_decay: float = 0.0,
        l1: float = 0.0,
        warmup: int = 0,
        callbacks: Callback | Sequence[Callback] | None = None,
        n_jobs: int | None = None,
        dtype: Literal["float32", "float64"] | None = None,
    ) -> None:
        self._keep(locals())

    def _validate_input(
        self, X: Any, y: Any, incremental: bool, *, reset: bool
    ) -> tuple[Array, Array, Array, str, int]:
        X, y = self._check_rows(X, y, reset, y_numeric=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        columns = y.reshape(len(y), -1)
        return X, y, columns.astype(X.dtype), "regression", columns.shape[1]

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train the network on rows and their targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            A sparse matrix is filled with its zeros as a whole.
        y : (n_samples,) or (n_samples, n_outputs)
        sample_weight : (n_samples,), or None
            How much each row counts.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight)

    @available_if(lambda self: self._check_solver())  # type: ignore[untyped-decorator]
    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch over some rows, from where the network and its rule are.

        A schedule that spans a run, as "cosine", spans `max_iter` calls and stays at its end then.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Array:
        """Predict the target.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        (n_samples,) or (n_samples, n_outputs), in theta's type
        """
        outputs = self._outputs(X)
        outputs = self.network_.expected(outputs)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs
