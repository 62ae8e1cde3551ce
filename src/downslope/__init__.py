"""Downslope: gradient descent that you can run, see and trust."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from downslope import datasets as datasets
    from downslope.comparison import Comparison as Comparison
    from downslope.contest import compare as compare
    from downslope.curvature import Curvature as Curvature
    from downslope.descent import descend as descend
    from downslope.epoch import Epoch as Epoch
    from downslope.errors import DownslopeError as DownslopeError
    from downslope.estimators import MLPClassifier as MLPClassifier
    from downslope.estimators import MLPRegressor as MLPRegressor
    from downslope.function_run import FunctionRun as FunctionRun
    from downslope.hessian import Hessian as Hessian
    from downslope.minimization import minimize as minimize
    from downslope.minimization import minimize_from as minimize_from
    from downslope.model import Model as Model
    from downslope.network import BuiltNetwork as BuiltNetwork
    from downslope.onnx_graph import to_onnx as to_onnx
    from downslope.parts import Descent as Descent
    from downslope.parts import Network as Network
    from downslope.pipeline import table_pipeline as table_pipeline
    from downslope.recipe import Recipe as Recipe
    from downslope.run import Run as Run
    from downslope.table import Table as Table

__version__ = "0.1.0"

_HOMES = {
    "BuiltNetwork": "network",
    "Comparison": "comparison",
    "Curvature": "curvature",
    "Descent": "parts",
    "DownslopeError": "errors",
    "Epoch": "epoch",
    "FunctionRun": "function_run",
    "Hessian": "hessian",
    "MLPClassifier": "estimators",
    "MLPRegressor": "estimators",
    "Model": "model",
    "Network": "parts",
    "Recipe": "recipe",
    "Run": "run",
    "Table": "table",
    "compare": "contest",
    "datasets": "datasets",
    "descend": "descent",
    "minimize": "minimization",
    "minimize_from": "minimization",
    "table_pipeline": "pipeline",
    "to_onnx": "onnx_graph",
}

__all__ = [
    "BuiltNetwork",
    "Comparison",
    "Curvature",
    "Descent",
    "DownslopeError",
    "Epoch",
    "FunctionRun",
    "Hessian",
    "MLPClassifier",
    "MLPRegressor",
    "Model",
    "Network",
    "Recipe",
    "Run",
    "Table",
    "compare",
    "datasets",
    "descend",
    "minimize",
    "minimize_from",
    "table_pipeline",
    "to_onnx",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: kernels and tables are heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module 'downslope' has no attribute {name!r}")
    module = importlib.import_module(f"downslope.{_HOMES[name]}")
    return module if name == _HOMES[name] else getattr(module, name)


def __dir__() -> list[str]:
    """Name what is public, whether it was used before or not."""
    return sorted([*__all__, "__version__"])
