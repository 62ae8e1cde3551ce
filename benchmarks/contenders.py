"""Who is measured: the same descent written for Downslope and for each of its peers.

Every contender does the same work in a step: gather the rows of a shuffled order, forward pass,
softmax cross-entropy, backward pass, update of float32 weights; and shuffles before every epoch.
Each runs in a process of its own, where it is imported (see `rounds.py`).
"""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from rows import Row


class Steps(ABC):
    """One contender's descent on one row.

    `variants` are the settings among which the best counts; `grain` is the number of steps that it
    can train at a time, an epoch or a part of one. `from_scratch` says that each call of `train`
    begins with a set-up, which the timing then takes off: it times one grain and 1 + k, and counts
    the difference.
    """

    package: ClassVar[str]
    variants: ClassVar[tuple[str, ...]]
    from_scratch: ClassVar[bool]
    grain: int
    compile_seconds: float = 0.0

    @abstractmethod
    def __init__(self, row: Row, variant: str) -> None: ...

    @abstractmethod
    def warm_up(self) -> None:
        """Run a little, untimed: wakes threads and fills caches after another contender's turn."""

    @abstractmethod
    def train(self, grains: int) -> None:
        """Run so many times `grain` steps."""

    @classmethod
    def release(cls) -> str:
        return version(cls.package)


class DownslopeSteps(Steps):
    """Downslope by its public API; everything that happens inside an epoch counts."""

    package = "downslope"
    variants = ("1 thread", "2 threads")
    from_scratch = True

    def __init__(self, row: Row, variant: str) -> None:
        from downslope import Descent, Network, Recipe, descend

        def recipe(epochs: int) -> Recipe:
            network = Network(list(row.hidden), activation="relu")
            return Recipe(
                network,
                Descent(
                    batch=row.batch,
                    rule={"adam": "adam", "sgd": "gd"}[row.rule],
                    learning_rate=row.learning_rate,
                    epochs=epochs,
                    validation=0.0,
                    patience=None,
                ),
            )

        self.grain = row.steps
        features, labels = row.data()
        threads = int(variant[0])
        self._descend = lambda epochs: descend(recipe(epochs), features, labels, threads=threads)
        started = time.perf_counter()
        self._descend(1)
        self.compile_seconds = time.perf_counter() - started

    def warm_up(self) -> None:
        self._descend(1)

    def train(self, grains: int) -> None:
        self._descend(grains)


class TorchSteps(Steps):
    """The loop that one writes in PyTorch, with the optimizer's plain or fused implementation."""

    package = "torch"
    variants = ("plain, 1 thread", "plain, 2 threads", "fused, 1 thread", "fused, 2 threads")
    from_scratch = False

    def __init__(self, row: Row, variant: str) -> None:
        import torch

        self.grain = min(row.steps, 100)
        kind, threads = variant.split(", ")
        self._torch, self._threads, self._row = torch, int(threads[0]), row
        features, labels = row.data()
        self._features, self._labels = torch.from_numpy(features), torch.from_numpy(labels)
        layers: list[Any] = []
        for W, b in row.weights():
            layer = torch.nn.Linear(*W.shape)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(W.T))
                layer.bias.copy_(torch.from_numpy(b))
            layers += [layer, torch.nn.ReLU()]
        self._network = torch.nn.Sequential(*layers[:-1])
        rule = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[row.rule]
        self._optimizer = rule(
            self._network.parameters(), lr=row.learning_rate, fused=kind == "fused"
        )
        self._batches = self._endless_batches()

    def warm_up(self) -> None:
        self._torch.set_num_threads(self._threads)
        self._steps(10)

    def train(self, grains: int) -> None:
        self._steps(grains * self.grain)

    def _endless_batches(self) -> Iterator[Any]:
        """Give the rows of batch after batch, shuffled anew for each epoch."""
        while True:
            yield from self._torch.randperm(self._row.rows).split(self._row.batch)

    def _steps(self, count: int) -> None:
        loss_of = self._torch.nn.functional.cross_entropy
        features, labels = self._features, self._labels
        network, optimizer = self._network, self._optimizer
        for rows in islice(self._batches, count):
            output = network(features.index_select(0, rows))
            loss = loss_of(output, labels.index_select(0, rows))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


class JaxSteps(Steps):
    """A whole epoch in one compiled `lax.scan`; the weights' memory is handed on, not copied."""

    package = "jax"
    variants = ("scan",)
    from_scratch = False

    def __init__(self, row: Row, variant: str) -> None:
        import jax
        import jax.numpy as jnp

        self._jax, self._row = jax, row
        self.grain = row.steps
        features, labels = row.data()
        targets = np.eye(row.widths[-1], dtype=np.float32)[labels]
        self._features, self._targets = jnp.asarray(features), jnp.asarray(targets)
        weights = jax.tree.map(jnp.asarray, row.weights())
        # Each moment in memory of its own: an array can be handed over only once.
        moments = [jax.tree.map(jnp.zeros_like, weights) for _ in range(2)]
        self._state = (weights, *moments, jnp.float32(0)) if row.rule == "adam" else weights
        step = {"adam": _jax_adam, "sgd": _jax_sgd}[row.rule]

        @partial(jax.jit, donate_argnums=0)
        def epoch(state: Any, order: Any, features: Any, targets: Any) -> Any:
            def one(state: Any, rows: Any) -> Any:
                x = features.at[rows].get(mode="promise_in_bounds")
                target = targets.at[rows].get(mode="promise_in_bounds")
                return step(state, x, target, row.learning_rate), None

            return jax.lax.scan(one, state, order)[0]

        self._generator = np.random.default_rng(2)
        arguments = (self._state, self._order(), self._features, self._targets)
        started = time.perf_counter()
        self._epoch = epoch.lower(*arguments).compile()
        self.compile_seconds = time.perf_counter() - started

    def _order(self) -> Any:
        shuffled = self._generator.permutation(self._row.rows).astype(np.int32)
        return shuffled.reshape(self._row.steps, self._row.batch)

    def warm_up(self) -> None:
        self.train(1)

    def train(self, grains: int) -> None:
        for _ in range(grains):
            self._state = self._epoch(self._state, self._order(), self._features, self._targets)
        self._jax.block_until_ready(self._state)


def _jax_loss(weights: Any, x: Any, target: Any) -> Any:
    import jax

    for W, b in weights[:-1]:
        x = jax.nn.relu(x @ W + b)
    W, b = weights[-1]
    return -(target * jax.nn.log_softmax(x @ W + b)).sum(axis=1).mean()


def _jax_sgd(weights: Any, x: Any, target: Any, rate: float) -> Any:
    import jax

    gradient = jax.grad(_jax_loss)(weights, x, target)
    return jax.tree.map(lambda w, g: w - rate * g, weights, gradient)


def _jax_adam(state: Any, x: Any, target: Any, rate: float) -> Any:
    import jax
    import jax.numpy as jnp

    weights, means, squares, step = state
    gradient = jax.grad(_jax_loss)(weights, x, target)
    step = step + 1
    means = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, means, gradient)
    squares = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, squares, gradient)
    mean_scale, square_scale = 1 / (1 - 0.9**step), 1 / (1 - 0.999**step)
    weights = jax.tree.map(
        lambda w, m, v: w - rate * (m * mean_scale) / (jnp.sqrt(v * square_scale) + 1e-8),
        weights,
        means,
        squares,
    )
    return weights, means, squares, step


class SklearnSteps(Steps):
    """scikit-learn's MLPClassifier by `fit`; for two classes it has one output, not two.

    Its steps are long, so 500 of them make an epoch long enough; only batch 1 has more.
    """

    package = "scikit-learn"
    variants = ("1 thread", "2 threads")
    from_scratch = True

    def __init__(self, row: Row, variant: str) -> None:
        import scipy.linalg  # noqa: F401 (its BLAS must be loaded before the limit is set)
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier
        from threadpoolctl import threadpool_limits

        warnings.simplefilter("ignore", ConvergenceWarning)
        self.grain = min(row.steps, 500)
        self._features, self._labels = (each[: self.grain * row.batch] for each in row.data())
        self._few = 20 * row.batch
        self._limit = partial(threadpool_limits, limits=int(variant[0]))
        self._model = partial(
            MLPClassifier,
            row.hidden,
            activation="relu",
            solver=row.rule,
            batch_size=row.batch,
            learning_rate_init=row.learning_rate,
            alpha=0.0,
            momentum=0.0,
            nesterovs_momentum=False,
            n_iter_no_change=10**9,
            tol=0.0,
        )

    def warm_up(self) -> None:
        with self._limit():
            self._model(max_iter=1).fit(self._features[: self._few], self._labels[: self._few])

    def train(self, grains: int) -> None:
        with self._limit():
            self._model(max_iter=grains).fit(self._features, self._labels)


CONTENDERS: dict[str, type[Steps]] = {
    "Downslope": DownslopeSteps,
    "PyTorch": TorchSteps,
    "JAX": JaxSteps,
    "scikit-learn": SklearnSteps,
}
