"""Files of our own: arrays as safetensors with a JSON description, written atomically."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope.errors import MissingFileError, ModelFileError
from downslope.scaling import Features
from downslope.table import blocks

_DESCRIPTION, _DIGEST = "downslope", "digest"


def digest(arrays: Mapping[str, Features], text: str = "") -> str:
    """Give a digest of the names, shapes, types and values of arrays, and of a text.

    Features that are scaled where they are read have that of their scaled copy.
    """
    total = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(arrays):
        array = arrays[name]
        total.update(f"{name}{array.shape}{array.dtype}".encode())
        for rows in blocks(array.shape):
            total.update(np.ascontiguousarray(array[rows]).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary file beside it, fsync, rename.

    A process killed at any moment leaves the old file or the new one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if os.name == "posix":
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def pack_arrays(arrays: Mapping[str, npt.NDArray[Any]], description: Mapping[str, Any]) -> bytes:
    """Pack arrays and a description that JSON can hold into the bytes of a safetensors file."""
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps(description)
    return bytes(save(contiguous, {_DESCRIPTION: text, _DIGEST: digest(contiguous, text)}))


def write_arrays(
    path: str | Path, arrays: Mapping[str, npt.NDArray[Any]], description: Mapping[str, Any]
) -> None:
    """Write arrays and a description to a safetensors file, atomically."""
    write_atomically(path, pack_arrays(arrays, description))


def unpack_arrays(content: bytes, where: str) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Read what `pack_arrays` gave.

    Raises
    ------
    ModelFileError
        If the bytes are damaged or were not written by Downslope.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(content)
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        text = header["__metadata__"][_DESCRIPTION]
        if header["__metadata__"][_DIGEST] != digest(arrays, text):
            raise ValueError("its digest does not match what it holds")
        description = json.loads(text)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(
            f"{where} is damaged or was not written by Downslope ({type(error).__name__}: {error})"
        ) from error
    return arrays, description


def read_arrays(path: str | Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Read arrays and their description from a file that `write_arrays` has written.

    Raises
    ------
    MissingFileError
        If there is no such file.
    ModelFileError
        If it is damaged or was not written by Downslope.
    """
    return unpack_arrays(read_bytes(path), str(path))


def read_bytes(path: str | Path) -> bytes:
    """Read a file whole.

    Raises
    ------
    MissingFileError
        If there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"there is no file {str(path)!r}")
    return path.read_bytes()
