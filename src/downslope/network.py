"""A network built for its inputs and outputs: theta with views of its parts, outputs, gradient."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope import storage
from downslope.catalogue import Choice, choose
from downslope.counts import whole_number
from downslope.errors import InvalidTypeError, InvalidValueError, ModelFileError
from downslope.initialize import weights as initial_weights
from downslope.kernels import plan as kinds
from downslope.kernels.loop import Chunk
from downslope.layout import BLOCK_ROWS, Layout, Parameters, allocate, lay_out
from downslope.memory import room_for
from downslope.parts import Network
from downslope.scaling import Features, ScaledRows, as_matrix
from downslope.stepper import Predictor, Stepper, Targets, predicting_threads

Array = npt.NDArray[Any]

FORMAT = "downslope network 1"

_OUTPUTS = {
    "regression": ("identity", "squared_error"),
    "binary": ("sigmoid", "binary_cross_entropy"),
    "multiclass": ("softmax", "cross_entropy"),
    "multilabel": ("sigmoid", "binary_cross_entropy"),
}


def output_of(network: Network, task: str) -> tuple[Choice, Choice]:
    """Give the output layer's activation and the loss: the task's usual ones where "auto"."""
    activation, loss = _OUTPUTS[task]
    if network.loss != "auto":
        loss = network.loss
        if network.output_activation == "auto" and task in ("binary", "multiclass"):
            chosen = choose("loss", loss).name
            activation = {
                "cross_entropy": "softmax",
                "binary_cross_entropy": "sigmoid",
            }.get(chosen, activation)
    if network.output_activation != "auto":
        activation = network.output_activation
    return choose("activation", activation), choose("loss", loss)


def count_outputs(network: Network, task: str, columns: int) -> int:
    """Count the output units for a target of `columns` classes (binary, multiclass) or columns.

    A binary target takes one unit, but two under cross_entropy, which is about several classes.
    """
    if task == "binary":
        return 2 if output_of(network, task)[1].name == "cross_entropy" else 1
    return columns


class BuiltNetwork:
    """A `Network` built between features and target, with its parameters theta.

    Parameters
    ----------
    network
        The layers.
    inputs
        Features of a row.
    columns
        Classes of the target (binary, multiclass), or its columns (multilabel, regression).
    task
        "regression", "binary", "multiclass" or "multilabel".
    dtype
        "float32" or "float64".
    seed
        Of the initial weights.

    Raises
    ------
    InvalidValueError
        If output, loss and task do not go together, or theta finds no room in memory.

    Examples
    --------
    >>> built = BuiltNetwork(Network([4]), inputs=3, columns=2, task="binary")
    >>> {name: part.shape for name, part in built.parts().items()}
    {'layer1.weight': (3, 4), 'layer1.bias': (4,), 'layer2.weight': (4, 1), 'layer2.bias': (1,)}
    """

    def __init__(
        self,
        network: Network,
        inputs: int,
        columns: int,
        task: str,
        dtype: str = "float32",
        seed: int = 0,
    ) -> None:
        self.network, self.task, self.columns = network, task, columns
        self.output_activation, self.loss = output_of(network, task)
        if task == "regression" and network.label_smoothing:
            raise InvalidValueError(
                "Network: label_smoothing is for classes; a regression's target is taken as it is"
            )
        if task == "regression" and self.loss.name.endswith("cross_entropy"):
            raise InvalidValueError(
                f"Network: the loss {self.loss.name!r} is for classes, and the task is "
                f"'regression'; take one for numbers, as 'squared_error', or a task of classes"
            )
        whole_number("BuiltNetwork: seed", seed)
        outputs = count_outputs(network, task, columns)
        widths = [inputs, *network.layers, outputs]
        weights = sum(before * units for before, units in pairwise(widths))
        with room_for(widths, weights * np.dtype(dtype).itemsize):
            layout = lay_out(network, inputs, outputs, self.output_activation)
            self.parameters = Parameters(
                layout,
                self.loss,
                network.label_smoothing,
                allocate(layout.parameters, dtype),
                np.zeros(layout.statistics, dtype),
            )
            self._idle: list[Predictor] = []
            self._initialize(np.random.default_rng([seed, 0]))

    def _initialize(self, generator: np.random.Generator) -> None:
        """Draw the weights; biases and shifts start at 0, scales and running variances at 1.

        With the automatic initializer the output layer starts at 0: the network begins as a
        constant, and what it says later comes from the data alone. On diabetes that is worth 0.15
        of R2 (0.27 to 0.42, mean of 5 splits).
        """
        activations = [*self.network.activations(), self.output_activation]
        initializers = self.network.initializers()
        for part in self.layout.parts:
            view = self.theta[part.start : part.stop].reshape(part.shape)
            if part.kind in (kinds.WEIGHT, kinds.PROJECTION):
                choice = initializers[min(part.layer, len(initializers) - 1)]
                if choice.name == "auto" and part.layer == len(activations) - 1:
                    continue
                name = str(activations[part.layer]) if part.kind == kinds.WEIGHT else "identity"
                inputs, units = part.shape
                view[...] = initial_weights(choice, inputs, units, name, generator)
            elif part.kind == kinds.GAMMA:
                view[...] = 1
            elif part.kind == kinds.SLOPE:
                view[...] = activations[part.layer].options["slope"]
        for layer in self.layout.plan:
            if layer["statistics"] >= 0:
                middle = int(layer["statistics"] + layer["units"])
                self.statistics[middle : middle + int(layer["units"])] = 1

    @property
    def layout(self) -> Layout:
        """Where things lie in theta."""
        return self.parameters.layout

    @property
    def theta(self) -> Array:
        """All learnable parameters, (parameters,) in the network's type."""
        return self.parameters.theta

    @property
    def statistics(self) -> Array:
        """Running means and variances of batch normalization, in theta's type; else empty."""
        return self.parameters.statistics

    @property
    def inputs(self) -> int:
        """Features of a row."""
        return int(self.layout.plan[0]["inputs"])

    @property
    def outputs(self) -> int:
        """Units of the output layer."""
        return int(self.layout.plan[-1]["units"])

    def parts(self) -> dict[str, Array]:
        """Give every array of parameters by name; they are views, so writing changes theta."""
        return {
            part.name: self.theta[part.start : part.stop].reshape(part.shape)
            for part in self.layout.parts
        }

    def __repr__(self) -> str:
        widths = "-".join(map(str, self.layout.widths))
        return f"BuiltNetwork({widths}, {self.theta.size} parameters, {self.task})"

    def output(self, features: Features, threads: int | None = None) -> Array:
        """Run the forward pass as when predicting: no dropout, running statistics.

        Parameters
        ----------
        features : (rows, inputs)
            Numbers; converted to theta's type where they are of another.
        threads
            None takes the available cores. The result does not depend on it.

        Returns
        -------
        (rows, outputs) in theta's type
            Probabilities for a classification with its usual output, else y of the last layer.

        Raises
        ------
        InvalidValueError
            For another number of columns.
        """
        features = self.check_features(features)
        order = np.arange(len(features))
        if predicting_threads(self.parameters, len(features), threads) > 1:
            with Predictor(self.parameters, features, threads=threads) as predictor:
                return predictor.outputs(order, in_order=True)
        # A call of one thread finds what an earlier one left; of two at once each has its own.
        try:
            predictor = self._idle.pop()
        except IndexError:
            nothing = np.empty((0, self.inputs), self.theta.dtype)
            predictor = Predictor(self.parameters, nothing, threads=1, rows=BLOCK_ROWS)
        predictor.look_at(features)
        outputs = predictor.outputs(order, in_order=True)
        predictor.look_back()  # what is idle keeps no array of the caller's in memory
        self._idle.append(predictor)
        return outputs

    def layer_outputs(self, features: Features) -> list[Array]:
        """Give what every layer gives, (rows, units) each, as when predicting.

        Parameters
        ----------
        features : (rows, inputs)
        """
        features = self.check_features(features)
        with Predictor(self.parameters, features, threads=1) as predictor:
            return predictor.layer_outputs(len(features))

    def expected(self, outputs: Array) -> Array:
        """Give what outputs say of the target: exp of them for counts (poisson), else themselves.

        A count beyond the number type is infinite.
        """
        if self.loss.name != "poisson":
            return outputs
        with np.errstate(over="ignore"):
            return np.exp(outputs)

    def __reduce__(self) -> tuple[Any, ...]:
        """Be pickled and copied as a file is written: theta then lies on its cache lines again."""
        return type(self).from_arrays, (self.arrays(), self.describe(), "the pickle")

    def check_features(self, features: Features) -> Features:
        """Give features in theta's type, C-contiguous; the same ones where they are so already."""
        features = as_matrix(features)
        if features.ndim != 2 or features.shape[1] != self.inputs:
            raise InvalidValueError(
                f"features must have {self.inputs} columns; got an array of shape {features.shape}"
            )
        if features.dtype.kind not in "fiub":
            raise InvalidTypeError(f"features must be numbers; got an array of {features.dtype}")
        if isinstance(features, ScaledRows) and features.dtype == self.theta.dtype:
            return features
        return np.ascontiguousarray(features, self.theta.dtype)

    def loss_and_gradient(
        self,
        features: Features,
        target: Array,
        weights: Array | None = None,
        penalties: tuple[float, float] = (0.0, 0.0),
        threads: int | None = None,
    ) -> tuple[float, Array]:
        """Give the loss over all rows and its gradient dL/dtheta.

        L = sum_n weight_n L_n / sum_n weight_n, plus (l1 sum |w| + l2 sum w^2 / 2) / sum_n weight_n
        over weights. Batch normalization takes its statistics from these rows, by their weights;
        its running ones stay as they are.

        Parameters
        ----------
        features : (rows, inputs)
        target : (rows,) int64 class numbers, or (rows, outputs) numbers
        weights : (rows,), or None
        penalties
            l1 and l2.
        threads
            None takes the available cores.

        Returns
        -------
        float, (parameters,) in theta's type
        """
        features = self.check_features(features)
        targets = Targets.of(target, weights, self.outputs, self.theta.dtype)
        if len(target) != len(features):
            raise InvalidValueError(
                f"the target must have an entry for each of {len(features)} rows; got {len(target)}"
            )
        kept = self.statistics.copy()
        rows = len(features)
        chunk = Chunk(
            order=np.arange(rows), in_order=1, first=0, batch=rows, steps=1, step=0, seed=0,
            rule=-1, coefficients=np.zeros((1, 1)), decays=np.ones(1),
            penalties=np.array([*penalties, 0.0, 0.0]), losses=np.zeros(1), norms=np.empty(0),
        )  # fmt: skip
        with Stepper(self.parameters, features, targets, rows, None, threads) as stepper:
            stepper.run(chunk)
            gradient = stepper.gradient().copy()
        self.statistics[:] = kept
        return float(chunk.losses[0]), gradient

    def describe(self) -> dict[str, Any]:
        """Give what is needed to build this network again, but for theta.

        Names and numbers stand there as `Network` keeps them.
        """
        return {
            "format": FORMAT,
            "network": asdict(self.network),
            "inputs": self.inputs,
            "columns": self.columns,
            "task": self.task,
            "dtype": str(self.theta.dtype),
        }

    def save(self, path: str | Path) -> None:
        """Write the network to a safetensors file, atomically."""
        storage.write_arrays(path, self.arrays(), self.describe())

    def arrays(self) -> dict[str, Array]:
        """Give what a file holds: the parts of theta, and the running statistics."""
        arrays = self.parts()
        return {**arrays, "statistics": self.statistics} if self.statistics.size else arrays

    @classmethod
    def load(cls, path: str | Path) -> BuiltNetwork:
        """Read a network that `save` has written.

        Raises
        ------
        MissingFileError
            If there is no such file.
        ModelFileError
            If it is damaged, or no network of Downslope.
        """
        arrays, description = storage.read_arrays(path)
        return cls.from_arrays(arrays, description, str(path))

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, Array], description: Mapping[str, Any], where: str
    ) -> BuiltNetwork:
        """Build a network from what `arrays` and `describe` gave."""
        if description.get("format") != FORMAT:
            raise ModelFileError(
                f"{where} is not a network of Downslope: expected format {FORMAT!r}, "
                f"got {description.get('format')!r}"
            )
        try:
            fields = json.loads(json.dumps(description["network"]))
            built = cls(
                Network(**fields),
                int(description["inputs"]),
                int(description["columns"]),
                str(description["task"]),
                str(description["dtype"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{where} does not describe a network: {error}") from error
        for name, target in built.arrays().items():
            source = arrays.get(name)
            if source is None or source.shape != target.shape:
                found = "nothing" if source is None else f"an array of shape {source.shape}"
                raise ModelFileError(
                    f"{where}: {name} must be an array of shape {target.shape}; got {found}"
                )
            target[...] = source
        return built
