"""A fitted network as an ONNX graph, which runs where there is no Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from downslope.catalogue import Choice
from downslope.errors import InvalidTypeError, InvalidValueError, MissingPackageError
from downslope.kernels.normalize import EPSILON
from downslope.network import BuiltNetwork
from downslope.storage import write_atomically

Array = npt.NDArray[Any]

OPSET: Final = 20
"""Of the operators: the first that has GELU."""

IR_VERSION: Final = 9
"""Of the file: the one that came with that opset, which older runtimes read too."""

_OPERATORS: Final = {
    "sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "leaky_relu": "LeakyRelu",
    "prelu": "PRelu", "elu": "Elu", "selu": "Selu", "gelu": "Gelu", "gelu_tanh": "Gelu",
    "softplus": "Softplus", "mish": "Mish", "softmax": "Softmax",
}  # fmt: skip

_ATTRIBUTES: Final[dict[str, Callable[[Choice], dict[str, Any]]]] = {
    "leaky_relu": lambda choice: {"alpha": choice.options["slope"]},
    "elu": lambda choice: {"alpha": choice.options["alpha"]},
    "gelu_tanh": lambda choice: {"approximate": "tanh"},
    "softmax": lambda choice: {"axis": -1},
}


def to_onnx(fitted: Any, path: str | Path | None = None) -> Any:
    """Give a fitted estimator or a built network as an ONNX model.

    Its input is "X", (rows, inputs) float32: the graph computes in float32, whatever the network
    does. Its outputs are, of a classifier, "label" and "probabilities" (rows, classes); of a
    regressor "prediction", as `predict` gives it; of a built network "output" (rows, outputs), as
    `BuiltNetwork.expected` gives it: for the loss poisson the exponential of its outputs.

    Parameters
    ----------
    fitted
        A fitted `MLPClassifier` or `MLPRegressor`, or a `BuiltNetwork`.
    path
        Where to write it too; None writes nothing.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    MissingPackageError
        Without the package onnx.
    InvalidTypeError
        For anything else.
    InvalidValueError
        For classes that are neither whole numbers nor texts.
    UnwritableError
        If the file cannot be written.

    Examples
    --------
    >>> from downslope import Network
    >>> model = to_onnx(BuiltNetwork(Network([4]), inputs=3, columns=2, task="binary"))
    >>> [node.op_type for node in model.graph.node]
    ['Gemm', 'Relu', 'Gemm', 'Sigmoid']
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingPackageError(
            "to_onnx needs the package onnx: install downslope[onnx]"
        ) from error
    network = fitted if isinstance(fitted, BuiltNetwork) else vars(fitted).get("network_")
    if not isinstance(network, BuiltNetwork):
        raise InvalidTypeError(
            f"to_onnx takes a fitted MLPClassifier or MLPRegressor or a BuiltNetwork; "
            f"got {fitted!r}"
        )
    graph = _Graph()
    last = graph.layers(network)
    if fitted is network:
        outputs = [graph.named(last, "output", (None, network.outputs))]
    elif network.task == "regression":
        outputs = [graph.prediction(last, network.outputs)]
    else:
        outputs = graph.classes(last, network, np.asarray(fitted.classes_))
    inputs = [graph.value("X", np.float32, (None, network.inputs))]
    made = onnx.helper.make_graph(graph.operations, "downslope", inputs, outputs, graph.constants)
    model = onnx.helper.make_model(
        made, producer_name="downslope", ir_version=IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
    )  # fmt: skip
    onnx.checker.check_model(model, full_check=True)
    if path is not None:
        write_atomically(path, model.SerializeToString())
    return model


class _Graph:
    """Nodes and constants as they are added."""

    def __init__(self) -> None:
        self.operations: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, values: Any) -> str:
        """Add a constant; give its name."""
        from onnx import helper, numpy_helper

        values = np.asarray(values)
        if values.dtype.kind in "UO":
            texts = [str(each).encode() for each in values.tolist()]
            self.constants.append(helper.make_tensor(name, 8, values.shape, texts))
        else:
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node; give its output's name."""
        from onnx import helper

        self.operations.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    @staticmethod
    def value(name: str, dtype: Any, shape: tuple[int | None, ...]) -> Any:
        """Describe an input or an output; None in its shape: as many as there are rows."""
        from onnx import helper

        kind = 8 if dtype is str else helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        sizes = ["rows" if size is None else size for size in shape]
        return helper.make_tensor_value_info(name, kind, sizes)

    def named(self, source: str, name: str, shape: tuple[int | None, ...]) -> Any:
        """Give a value under another name, as an output."""
        self.operations[-1].output[0] = name
        assert source != name
        return self.value(name, np.float32, shape)

    def layers(self, network: BuiltNetwork) -> str:
        """Add all layers; give the name of what the last one gives, exp of it for counts."""
        x = "X"
        activations = [*network.network.activations(), network.output_activation]
        parts = {name: part.astype(np.float32) for name, part in network.parts().items()}
        for number, choice in enumerate(activations, start=1):
            name = f"layer{number}"
            own = {key.partition(".")[2]: part for key, part in parts.items()
                   if key.startswith(f"{name}.")}  # fmt: skip
            constants = {key: self.constant(f"{name}.{key}", part) for key, part in own.items()}
            u = self.node(
                "Gemm",
                [x, constants["weight"], *filter(None, [constants.get("bias")])],
                f"{name}.u",
            )
            z = self._normalized(network, number - 1, constants, u, name)
            y = self._activated(choice, constants, z, name)
            if int(network.layout.plan[number - 1]["residual"]):
                if "projection" in constants:
                    x = self.node("MatMul", [x, constants["projection"]], f"{name}.shortcut")
                y = self.node("Add", [y, x], f"{name}.sum")
            x = y
        return self.node("Exp", [x], "expected") if network.loss.name == "poisson" else x

    def _normalized(
        self, network: BuiltNetwork, number: int, constants: dict[str, str], u: str, name: str
    ) -> str:
        """Normalize u by the running statistics or row by row, where the layer does."""
        if "gamma" not in constants:
            return u
        scale = [u, constants["gamma"], constants["beta"]]
        layer = network.layout.plan[number]
        at, units = int(layer["statistics"]), int(layer["units"])
        if at < 0:
            return self.node("LayerNormalization", scale, f"{name}.z", axis=-1, epsilon=EPSILON)
        mean, variance = network.statistics[at : at + 2 * units].astype(np.float32).reshape(2, -1)
        scale += [self.constant(f"{name}.mean", mean), self.constant(f"{name}.variance", variance)]
        return self.node("BatchNormalization", scale, f"{name}.z", epsilon=EPSILON)

    def _activated(self, choice: Choice, constants: dict[str, str], z: str, name: str) -> str:
        """Apply an activation."""
        if choice.name == "identity":
            return z
        if choice.name == "silu":
            sigmoid = self.node("Sigmoid", [z], f"{name}.sigmoid")
            return self.node("Mul", [z, sigmoid], f"{name}.y")
        inputs = [z, constants["slope"]] if choice.name == "prelu" else [z]
        attributes = _ATTRIBUTES.get(choice.name, lambda _: {})(choice)
        return self.node(_OPERATORS[choice.name], inputs, f"{name}.y", **attributes)

    def prediction(self, last: str, outputs: int) -> Any:
        """Give numbers as `predict` does: of one output without its axis."""
        if outputs > 1:
            return self.named(last, "prediction", (None, outputs))
        self.node("Squeeze", [last, self.constant("axis", np.array([1]))], "prediction")
        return self.value("prediction", np.float32, (None,))

    def classes(self, last: str, network: BuiltNetwork, classes: Array) -> list[Any]:
        """Give labels and probabilities."""
        outputs = network.outputs
        if network.task == "multilabel":
            half = self.constant("half", np.float32(0.5))
            self.node("Cast", [self.node("Greater", [last, half], "above")], "label", to=7)
            self.node("Identity", [last], "probabilities")
            return [self.value("label", np.int64, (None, outputs)),
                    self.value("probabilities", np.float32, (None, outputs))]  # fmt: skip
        if classes.dtype.kind not in "iuUO":
            raise InvalidValueError(
                f"to_onnx takes classes that are whole numbers or texts; these are "
                f"{classes.dtype}: fit on y.astype(int) or y.astype(str)"
            )
        if outputs == 1:
            one = self.constant("one", np.float32(1))
            last = self.node(
                "Concat", [self.node("Sub", [one, last], "other"), last], "both", axis=1
            )
        self.node("Identity", [last], "probabilities")
        place = self.node("ArgMax", [last], "place", axis=1, keepdims=0)
        whole = classes.dtype.kind in "iu"
        named = self.constant("classes", classes.astype(np.int64) if whole else classes)
        self.node("Gather", [named, place], "label")
        return [self.value("label", np.int64 if whole else str, (None,)),
                self.value("probabilities", np.float32, (None, max(outputs, 2)))]  # fmt: skip
