"""A model: a network with the preparation of its tables; what predicts, and its file.

The file (.downslope) is a ZIP archive: ``network.safetensors``, ``model.json`` (recipe, columns,
classes, scores) and, for mixed columns, ``preparation.skops``. Nothing in it is a pickle.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope import storage
from downslope.errors import InvalidValueError, ModelFileError
from downslope.files import DAMAGED_ZIP, as_path, read_bytes
from downslope.network import BuiltNetwork
from downslope.preparation import Preparation
from downslope.recipe import Recipe
from downslope.score import classes_of

FORMAT = "downslope model 2"
ENDING = ".downslope"

_NETWORK, _MODEL, _PREPARATION = "network.safetensors", "model.json", "preparation.skops"


@dataclass(frozen=True)
class Model:
    """What a descent leaves behind.

    Parameters
    ----------
    network
    preparation
        Turns a table's columns into the network's inputs, and its outputs back.
    recipe
        How it was trained; None where that held functions.
    summary
        What is known of its training, as plain data.
    """

    network: BuiltNetwork
    preparation: Preparation
    recipe: Recipe | None
    summary: Mapping[str, Any]

    def __repr__(self) -> str:
        network = self.network
        widths = "-".join(map(str, network.layout.widths))
        return f"Model({widths}, {network.theta.size} parameters, {network.task})"

    @property
    def digest(self) -> str:
        """What tells its network from any other: a digest of theta and the running statistics."""
        return storage.digest(self.network.arrays())

    def output(self, source: Any, threads: int | None = None) -> npt.NDArray[Any]:
        """Give the network's outputs for the rows of a table: (rows, outputs)."""
        features = self.preparation.inputs(source, self.network.theta.dtype)
        return self.network.output(features, threads)

    def predict(self, source: Any, threads: int | None = None) -> npt.NDArray[Any]:
        """Predict the target for the rows of a table, in the target's own values and units.

        Parameters
        ----------
        source
            A data frame, an array, or whatever `table.read` reads.

        Returns
        -------
        (rows,), or (rows, columns) for a target of several columns

        Raises
        ------
        MissingFileError, UnreadableError
            If `source` is a path to a file that is not there, or that cannot be read.
        TableError
            For a damaged file, missing columns, text where numbers were, or infinite values.
        """
        outputs = self.output(source, threads)
        if self.network.task in ("binary", "multiclass"):
            return self.preparation.decode(classes_of(outputs))
        if self.network.task == "multilabel":
            return np.asarray(outputs > 0.5).astype(np.int64)
        return self.preparation.decode(self.network.expected(outputs))

    def predict_proba(self, source: Any, threads: int | None = None) -> npt.NDArray[Any]:
        """Predict probabilities, (rows, classes), in the order of the classes.

        Raises
        ------
        InvalidValueError
            For a regression.
        """
        if self.network.task == "regression":
            raise InvalidValueError("predict_proba is for classes; this network does a regression")
        outputs = self.output(source, threads)
        if outputs.shape[1] == 1:
            return np.column_stack([1 - outputs[:, 0], outputs[:, 0]])
        return outputs

    def save(self, path: str | Path) -> Path:
        """Write the model to one file, atomically; give its path.

        Raises
        ------
        InvalidTypeError
            If `path` is none.
        UnwritableError
            If it cannot be written.
        """
        path = as_path("save", path)
        described, blob = self.preparation.to_parts()
        description = {
            "format": FORMAT,
            "recipe": None if self.recipe is None else self.recipe.to_dict(),
            "preparation": described,
            "summary": dict(self.summary),
        }
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            network = storage.pack_arrays(self.network.arrays(), self.network.describe())
            archive.writestr(_NETWORK, network)
            archive.writestr(_MODEL, json.dumps(description, indent=1))
            if blob is not None:
                archive.writestr(_PREPARATION, blob)
        storage.write_atomically(path, buffer.getvalue())
        return path

    @classmethod
    def load(cls, path: str | Path) -> Model:
        """Read a model.

        Raises
        ------
        MissingFileError
            If there is no such file.
        UnreadableError
            If it cannot be read.
        ModelFileError
            If it is damaged, foreign, or of a later version.
        """
        where, content = str(path), read_bytes(path, ENDING)
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                names = set(archive.namelist())
                description = json.loads(archive.read(_MODEL))
                network = archive.read(_NETWORK)
                blob = archive.read(_PREPARATION) if _PREPARATION in names else None
        except DAMAGED_ZIP as error:
            raise ModelFileError(
                f"{where} is damaged or no model of Downslope ({type(error).__name__}: {error})"
            ) from error
        if not isinstance(description, dict) or description.get("format") != FORMAT:
            raise ModelFileError(f"{where} is no model of this version of Downslope ({FORMAT})")
        arrays, described = storage.unpack_arrays(network, where)
        recipe = description.get("recipe")
        return cls(
            BuiltNetwork.from_arrays(arrays, described, where),
            Preparation.from_parts(description.get("preparation", {}), blob),
            None if recipe is None else Recipe.from_dict(recipe),
            description.get("summary", {}),
        )
