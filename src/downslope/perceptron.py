"""What the estimators share: checks as scikit-learn makes them, the fit, theta seen as matrices.

The names are scikit-learn's, and so are the texts of its errors and warnings.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.optimize import _check_optimize_result
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from downslope.catalogue import HIDDEN_ACTIVATIONS, plain_name
from downslope.convergence import Convergence, Progress, shares
from downslope.course import Course
from downslope.data import Data
from downslope.epoch import functions
from downslope.errors import InvalidValueError, NonFiniteError
from downslope.held_out import HeldOut
from downslope.interrupt import interruptible
from downslope.kernels import plan as kinds
from downslope.matrices import copy_into, draw, views_of
from downslope.network import BuiltNetwork
from downslope.parts import DTYPES, NORMALIZATIONS, Descent
from downslope.quasi_newton import minimize
from downslope.recipe import Recipe, check_recipe
from downslope.stepper import Targets
from downslope.translation import (
    SCHEDULES,
    Named,
    as_run,
    descent_of,
    network_of,
    parameters_of,
    refuse_contradictions,
    rule_of,
    widths,
)

Array = npt.NDArray[Any]

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)


class Perceptron(BaseEstimator, ABC):  # type: ignore[misc]
    """What `MLPClassifier` and `MLPRegressor` share."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [Named("activation", ["logistic"], HIDDEN_ACTIVATIONS), "array-like"],
        "solver": [Named("rule", ["lbfgs", "sgd"])],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto", "full"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Named("schedule", SCHEDULES)],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})
        ],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "initializer": [None, Named("initializer"), "array-like"],
        "normalization": [StrOptions(set(NORMALIZATIONS))],
        "residual": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "clip_norm": [None, Interval(Real, 0, None, closed="neither")],
        "clip_value": [None, Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "l1": [Interval(Real, 0, None, closed="left")],
        "warmup": [Interval(Integral, 0, None, closed="left")],
        "callbacks": [None, callable, "array-like"],
        "n_jobs": [None, Integral],
        "dtype": [None, StrOptions(set(DTYPES))],
    }  # fmt: skip

    batch_size: int | str
    callbacks: Any
    dtype: str | None
    early_stopping: bool
    hidden_layer_sizes: Any
    learning_rate: str
    learning_rate_init: float
    max_fun: int
    max_iter: int
    n_jobs: int | None
    random_state: Any
    shuffle: bool
    solver: str
    tol: float
    validation_fraction: float
    verbose: bool | int
    warm_start: bool

    def _keep(self, arguments: Mapping[str, Any]) -> None:
        """Keep the constructor's arguments as they are, as scikit-learn's clone wants them."""
        for name, value in arguments.items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    @classmethod
    def from_recipe(cls, recipe: Recipe, **parameters: Any) -> Self:
        """Make an estimator for a recipe; `parameters` go before the recipe's.

        Features and target are taken as they are, as in scikit-learn: a `scaling` of "auto" is left
        to a pipeline before the estimator (see `table_pipeline`), where `descend` scales by itself.
        Early stopping looks at the score, where `descend` looks at the loss.

        Raises
        ------
        InvalidValueError
            For what an estimator has no parameter for, such as a bound on seconds, or a `scaling`
            other than "auto" and "none".
        InvalidTypeError
            If it is no recipe.
        """
        check_recipe(f"{cls.__name__}.from_recipe", recipe)
        return cls(**{**parameters_of(recipe, is_classifier(cls())), **parameters})

    # What was learned ---------------------------------------------------------------------------

    def __sklearn_is_fitted__(self) -> bool:
        return "network_" in vars(self) or "_given_coefs_" in vars(self)

    def _matrices(self, name: str, kinds_of: tuple[int, ...]) -> list[Array]:
        """Give each layer's view of theta of one of some kinds, the first that it has."""
        if "network_" in vars(self):
            return views_of(self.network_, kinds_of)
        if f"_given_{name}" in vars(self):
            given: list[Array] = vars(self)[f"_given_{name}"]
            return given
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _set_matrices(self, name: str, values: Any, views: Callable[[], list[Array]]) -> None:
        if "network_" in vars(self):
            views()[:] = values
        else:
            setattr(self, f"_given_{name}", values)

    @property
    def coefs_(self) -> list[Array]:
        """Views of theta, (units before, units) for each layer: writing to them changes it."""
        return self._matrices("coefs_", (kinds.WEIGHT,))

    @coefs_.setter
    def coefs_(self, values: Any) -> None:
        self._set_matrices("coefs_", values, lambda: self.coefs_)

    @property
    def intercepts_(self) -> list[Array]:
        """Views of theta, (units,) for each layer; the shift of a batch-normalized one."""
        return self._matrices("intercepts_", (kinds.BIAS, kinds.BETA))

    @intercepts_.setter
    def intercepts_(self, values: Any) -> None:
        self._set_matrices("intercepts_", values, lambda: self.intercepts_)

    # Fitting ------------------------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        """Give the parameters by name, with what only the one or the other class has."""
        return {name: getattr(self, name) for name in self._parameter_constraints}

    def _validate_params(self) -> None:
        """Check the parameters; of a name that there is, its options are what is wrong."""
        owner = type(self).__name__
        for name, constraints in self._parameter_constraints.items():
            for constraint in constraints:
                if isinstance(constraint, Named):
                    constraint.refuse_options(f"{owner}: {name}", getattr(self, name))
        super()._validate_params()
        self._several_callbacks()
        refuse_contradictions(owner, self._settings())

    def _several_callbacks(self) -> tuple[Any, ...]:
        """Give the callbacks as several, checked."""
        given = () if self.callbacks is None else self.callbacks
        return functions(f"{type(self).__name__}: callbacks", given)

    def _threads(self) -> int | None:
        """Give the threads that `n_jobs` means; None: all."""
        if self.n_jobs is None or self.n_jobs == -1:
            return None
        from joblib import effective_n_jobs

        return int(effective_n_jobs(self.n_jobs))

    def _fit(self, X: Any, y: Any, sample_weight: Any = None, *, incremental: bool = False) -> Self:
        hidden = widths(self.hidden_layer_sizes)
        if np.any(np.array(hidden) <= 0):
            raise InvalidValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y, target, task, columns = self._validate_input(X, y, incremental, reset=first)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        sample_weight = self._weigh_classes(y, sample_weight, incremental)
        self._random_state = check_random_state(self.random_state)
        self._build(X, columns, task, first)
        targets = Targets.of(target, sample_weight, self.network_.outputs, X.dtype)
        X = self.network_.check_features(X)
        self._callbacks = self._several_callbacks()
        try:
            if self.solver == "lbfgs":
                self._minimize(X, targets)
            else:
                self._descend(X, targets, incremental)
        finally:
            del self._callbacks  # who takes them out of the parameters can pickle what is fitted
        return self

    @abstractmethod
    def _validate_input(
        self, X: Any, y: Any, incremental: bool, *, reset: bool
    ) -> tuple[Array, Array, Array, str, int]:
        """Check X and y; give both, the target for the network, its task and its columns."""

    def _weigh_classes(self, y: Array, sample_weight: Any, incremental: bool) -> Any:
        """Give the row weights, times those of the classes where there are any."""
        return sample_weight

    def _check_rows(self, X: Any, y: Any, reset: bool, **checks: Any) -> tuple[Array, Array]:
        """Check rows and target by scikit-learn's rules; sparse rows are filled with their 0s."""
        dtype = self.dtype
        X, y = validate_data(
            self, X, y, accept_sparse=["csr", "csc"], multi_output=True, reset=reset,
            dtype=(np.float64, np.float32) if dtype is None else np.dtype(dtype), **checks,
        )  # fmt: skip
        return X if isinstance(X, np.ndarray) else X.toarray(), y

    def _build(self, X: Array, columns: int, task: str, first: bool) -> None:
        """Build the network, or take up the one that there is."""
        settings = self._settings()
        network = network_of(settings, task)
        before: BuiltNetwork | None = None if first else vars(self).get("network_")
        if before is not None and before.network == network:
            self.n_layers_, self.n_outputs_ = len(before.layout.plan) + 1, before.outputs
            return
        state, seed = self._random_state, self.random_state
        if not isinstance(seed, (int, np.integer)):
            needed = settings["initializer"] is not None or np.any(network.dropouts())
            seed = state.randint(2**31 - 1) if needed else 0
        dtype = str(X.dtype if before is None else before.theta.dtype)
        self._seed = int(seed)
        built = BuiltNetwork(network, X.shape[1], columns, task, dtype, self._seed)
        if before is not None:
            copy_into(built, before.parts(), "warm_start")
        elif not first:
            given = {
                "weight": vars(self)["_given_coefs_"],
                "bias": vars(self)["_given_intercepts_"],
            }
            parts = {
                f"layer{number}.{kind}": np.asarray(each)
                for kind, values in given.items()
                for number, each in enumerate(values, start=1)
            }
            copy_into(built, parts, "coefs_ and intercepts_")
        elif settings["initializer"] is None:
            draw(built, state)
        for name in ("_given_coefs_", "_given_intercepts_"):
            self.__dict__.pop(name, None)
        self.network_ = built
        self.n_layers_, self.n_outputs_ = len(built.layout.plan) + 1, built.outputs
        self.out_activation_ = {"sigmoid": "logistic"}.get(
            built.output_activation.name, built.output_activation.name
        )
        if built.loss.name == "poisson":
            self.out_activation_ = "exp"
        if first:
            self._begin()

    def _begin(self) -> None:
        """Forget what an earlier fit wrote down."""
        self.n_iter_, self.t_ = 0, 0
        self.loss_curve_: list[float] = []
        self._no_improvement_count = 0
        self.best_loss_: float | None = None
        self.validation_scores_: list[float] | None = None
        self.validation_loss_curve_: list[float] | None = None
        self.best_validation_score_: float | None = None
        self._watch(self.early_stopping)

    def _watch(self, early: bool) -> None:
        """Begin to write down what decides when to stop, unless an earlier fit has."""
        if not early and self.best_loss_ is None:
            self.best_loss_ = np.inf
            self.validation_scores_ = self.validation_loss_curve_ = None
            self.best_validation_score_ = None
        elif early and self.validation_scores_ is None:
            self.best_loss_ = None
            self.validation_scores_, self.validation_loss_curve_ = [], []
            self.best_validation_score_ = -np.inf
            self._best = self.network_.theta.copy(), self.network_.statistics.copy()

    def _describe(self, rows: int) -> Descent:
        """Note the recipe; give its descent."""
        dtype = str(self.network_.theta.dtype)
        descent = descent_of(self._settings(), rows, dtype, self._seed)
        self.recipe_ = Recipe(self.network_.network, descent)
        return descent

    def _descend(self, X: Array, targets: Targets, incremental: bool) -> None:
        """Go down by a rule, epoch after epoch."""
        early = self.early_stopping
        if early and incremental:
            raise InvalidValueError("partial_fit does not support early_stopping=True")
        if incremental and plain_name(self.learning_rate) == "plateau":
            raise InvalidValueError(
                "the schedule 'plateau' goes by the losses of many epochs, and partial_fit sees "
                "one; take learning_rate='adaptive' with solver='sgd', or another schedule"
            )
        if "validation_scores_" in vars(self):  # not if coefs_ were set by hand
            self._watch(early)
        rows, held_out = self._split(targets, len(X)) if early else (np.arange(len(X)), None)
        descent = self._describe(len(rows))
        if not isinstance(self.batch_size, str) and self.batch_size > len(rows):
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                "clipped",
                stacklevel=3,
            )
        progress: Progress | None = vars(self).get("_optimizer")
        if not incremental or progress is None or progress.rule != rule_of(self._settings()):
            progress = Progress(rule_of(self._settings()), self.learning_rate_init)
        self._optimizer = progress
        none = np.empty(0, np.int64)
        course = Course(
            self.network_,
            Data(X, targets, np.sort(rows), none),
            as_run(descent, self.learning_rate),
            self._threads(),
            order=self._orders(rows),
        )
        if progress.state is not None and progress.state.shape == course.state.shape:
            course.go_on_from(progress.state, progress.steps)
        course.rate = progress.learning_rate
        self.n_iter_ = 0
        if held_out is None:
            self._run(course, Convergence(self, course, None, incremental))
        else:
            data = Data(X, targets, np.sort(rows), np.sort(held_out))
            with HeldOut(self.network_, data, self._threads()) as looked_at:
                self._run(course, Convergence(self, course, looked_at, incremental))
        progress.state, progress.steps = course.state, course.history.steps
        if early:
            self.network_.theta[:], self.network_.statistics[:] = self._best

    def _run(self, course: Course, convergence: Convergence) -> None:
        """Run the course; say how it ended as scikit-learn does."""
        try:
            with interruptible(course):
                course.run((convergence,))
        except KeyboardInterrupt:
            course.interrupted = True
        except NonFiniteError as error:
            if not self.early_stopping:
                raise InvalidValueError(f"{NOT_FINITE} ({error})") from error
            assert self.validation_scores_ is not None
            assert self.validation_loss_curve_ is not None
            for curve in (self.loss_curve_, self.validation_scores_, self.validation_loss_curve_):
                curve.append(float("nan"))
            self.n_iter_ += 1
            warnings.warn(
                f"Stochastic Optimizer: {error}. With early_stopping, the theta of the best "
                f"validation score then takes its place",
                ConvergenceWarning,
                stacklevel=4,
            )
            return
        if course.interrupted:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        elif not convergence.converged and not convergence.once:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                f"optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _split(self, targets: Targets, rows: int) -> tuple[Array, Array]:
        """Hold rows out, the same as scikit-learn would: stratified for two classes."""
        stratify = None
        if is_classifier(self) and self.n_outputs_ == 1:
            flags = targets.labels if targets.labels.size else targets.values
            # A column, as scikit-learn has it: the error for a class of one row names it the same.
            stratify = flags.astype(bool).reshape(-1, 1)
        training, held_out = train_test_split(
            np.arange(rows),
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=stratify,
        )
        if len(held_out) < 2:
            raise InvalidValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        return training, held_out

    def _orders(self, rows: Array) -> Callable[[int], Array]:
        """Give what shuffles the rows anew each epoch, by the same numbers as scikit-learn."""

        def order(epoch: int) -> Array:
            nonlocal rows
            if self.shuffle:
                drawn = np.arange(len(rows))
                self._random_state.shuffle(drawn)
                rows = rows[drawn]
            return rows

        return order

    def _minimize(self, X: Array, targets: Targets) -> None:
        """Go down by L-BFGS over all rows."""
        descent = self._describe(len(X))
        each = shares(self.network_)
        asked = False

        def watch(iteration: int, loss: float) -> bool:
            nonlocal asked
            self.loss_ = loss / each
            self.loss_curve_.append(self.loss_)
            if self.verbose:
                print(f"Iteration {iteration}, loss = {self.loss_:.8f}")  # noqa: T201
            asked = self._call_back(iteration)
            return asked

        options = {"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol}
        penalties = descent.l1, descent.l2
        result = minimize(self.network_, X, targets, penalties, options, self._threads(), watch)
        if not np.isfinite(self.network_.theta).all() or not np.isfinite(result.fun):
            raise InvalidValueError(NOT_FINITE)
        checked = result.nit if asked else _check_optimize_result("lbfgs", result, self.max_iter)
        self.n_iter_ = int(checked)
        self.loss_ = float(result.fun) / each

    def _call_back(self, steps: int) -> bool:
        """Call the callbacks; say whether one asked to stop."""
        answers = [call(steps, self.loss_curve_, self.network_.theta) for call in self._callbacks]
        return any(answer is True for answer in answers)

    # Predicting ---------------------------------------------------------------------------------

    def _outputs(self, X: Any) -> Array:
        """Give the outputs for some rows: (rows, outputs)."""
        rows = self._rows(X)
        return self.network_.output(rows, self._threads())

    def _rows(self, X: Any) -> Array:
        """Check rows to predict for; an array of numbers needs no more than a look."""
        network: BuiltNetwork | None = vars(self).get("network_")
        if network is None:
            check_is_fitted(self)
            raise InvalidValueError("coefs_ were set by hand: call partial_fit before predict")
        if (
            type(X) is np.ndarray
            and X.dtype == network.theta.dtype
            and X.ndim == 2
            and X.shape[0] > 0
            and X.shape[1] == network.inputs
            and "feature_names_in_" not in vars(self)
        ):
            with np.errstate(over="ignore", invalid="ignore"):
                if np.isfinite(X.sum()):
                    return X
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False,
                          dtype=(np.float64, np.float32))  # fmt: skip
        return X if isinstance(X, np.ndarray) else X.toarray()

    def hidden_outputs(self, X: Any) -> list[Array]:
        """Give what every layer gives for some rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        list of (rows, units)
            Of each layer, first to last; the last entry is the output layer's.
        """
        rows = self._rows(X)
        return self.network_.layer_outputs(rows)

    def _check_solver(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
            )
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
