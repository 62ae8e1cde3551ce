"""The state of a run on disk, from which it goes on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from downslope import storage
from downslope.errors import InvalidValueError, ModelFileError
from downslope.files import is_there
from downslope.kernels.gauges import Gauges
from downslope.recording import Recorder, plain

Arrays = Mapping[str, npt.NDArray[Any]]

RECORD, SNAPSHOTS = "record.", "snapshots."
"""What the names of a checkpoint's records begin with, and of some epochs' thetas."""

FILE = "checkpoint.safetensors"
FORMAT = "downslope checkpoint 6"


@dataclass(frozen=True)
class Checkpoint:
    """Where a run is kept, and which run it is.

    Parameters
    ----------
    directory
        Where; made if it is not there.
    identity
        What must be the same for a run to go on: recipe and data.

    Raises
    ------
    UnwritableError
        If it cannot be written there.
    """

    directory: Path
    identity: Mapping[str, Any]

    def __post_init__(self) -> None:
        storage.check_writable(self.path)

    @property
    def path(self) -> Path:
        """The file."""
        return self.directory / FILE

    def write(self, arrays: Arrays, progress: Mapping[str, Any]) -> None:
        """Write the state, atomically: a run killed meanwhile leaves the state before."""
        description = {"format": FORMAT, "identity": self.identity, "progress": progress}
        storage.write_arrays(self.path, arrays, description)

    def read(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]] | None:
        """Read the state; None where there is none yet.

        Raises
        ------
        ModelFileError
            If the file is damaged or no checkpoint.
        InvalidValueError
            If it is of another recipe or other data.
        """
        if not is_there(self.path):
            return None
        arrays, description = storage.read_arrays(self.path)
        if description.get("format") != FORMAT:
            raise ModelFileError(f"{self.path} is no checkpoint of this version of Downslope")
        found = description["identity"]
        apart = [key for key in self.identity if found.get(key) != self.identity[key]]
        if apart:
            raise InvalidValueError(
                f"{self.path} is of another run: {', '.join(apart)} differ; resume with the same "
                f"recipe and data, or choose another directory"
            )
        return arrays, description["progress"]


def named(beginning: str, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    """Put a beginning before the names of some arrays."""
    return {beginning + name: array for name, array in arrays.items()}


def of_name(beginning: str, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
    """Give the arrays whose names have a beginning, without it."""
    return {
        name.removeprefix(beginning): array
        for name, array in arrays.items()
        if name.startswith(beginning)
    }


def records(recorder: Recorder, room: Gauges, steps: int) -> dict[str, npt.NDArray[Any]]:
    """Give the records after some steps, and what the next step is to be compared with."""
    some = {name: array for name, array in recorder.arrays().items() if array.size}
    arrays = named(RECORD, some)
    if recorder.recording.next_after(steps) == steps + 1:
        arrays |= {"gradient_before": room.gradient, "move_before": room.move}
        arrays["sums_before"] = plain(room.moves)
    return arrays


def take_up_records(
    recorder: Recorder, room: Gauges, arrays: Arrays, progress: Mapping[str, Any]
) -> None:
    """Go on with the records of a checkpoint, unless nothing is recorded now."""
    if recorder.recording.steps == "none":
        return
    recorder.restore(of_name(RECORD, arrays))
    recorder.dead_units += [tuple(each) for each in progress.get("dead_units", [])]
    recorder.curvature += progress.get("curvature", [])
    if "gradient_before" in arrays:
        room.gradient[:], room.move[:] = arrays["gradient_before"], arrays["move_before"]
        plain(room.moves)[:] = arrays["sums_before"]
