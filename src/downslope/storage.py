"""Files that are written: if a place takes them, atomically; arrays to safetensors and back."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from downslope.errors import ModelFileError, UnwritableError
from downslope.files import is_there, read_bytes
from downslope.scaling import Features
from downslope.table import blocks

_BINARY = getattr(os, "O_BINARY", 0)
"""On Windows, files are else opened as text."""

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


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Name the file in what the system says against writing it.

    Raises
    ------
    UnwritableError
        For any `OSError` within.

    Examples
    --------
    >>> with writing("full/model"):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    downslope.errors.UnwritableError: cannot write 'full/model': No space left on device; ...
    """
    try:
        yield
    except UnwritableError:
        raise
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error


def _unwritable(path: str | Path, reason: str) -> UnwritableError:
    return UnwritableError(f"cannot write {str(path)!r}: {reason}; name another place for it")


def check_writable(*paths: str | Path, reads: Iterable[str | Path] = ()) -> None:
    """Find out whether files can be written, before the work whose results they are to hold.

    A temporary file is made, and removed, in the folder that each would be written to, or in the
    nearest one above it that is there: permissions alone do not tell of file systems that take no
    files. Nothing is left behind, so folders that are missing are made only in writing.

    Parameters
    ----------
    paths
        The files to be written.
    reads
        Files that the same work reads, under any name, and that are not to be lost.

    Raises
    ------
    UnwritableError
        If one names no file, is a folder, lies where no file can be made, or is one of `reads`.
    """
    kept = [each for each in reads if is_there(each)]
    for path in map(Path, paths):
        with writing(path):
            _refuse_no_file(path)
            if path.is_file() and any(path.samefile(each) for each in kept):
                raise _unwritable(path, "the same command reads it, and it would be lost")
            if path.exists() and not path.is_file():
                continue  # a device or a pipe takes what is written to it
            real = _real(path)
            handle, temporary = tempfile.mkstemp(prefix=f".{real.name}.", dir=_folder_for(real))
            os.close(handle)
            os.unlink(temporary)


def _real(path: Path) -> Path:
    """Follow a symbolic link, so that what it points to is written and the link stays one."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _folder_for(path: Path) -> Path:
    """Give the folder a path lies in, or the nearest one above it that is there."""
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise _unwritable(path, f"{str(folder)!r} is a file and no folder")
    return folder


def with_ending(path: str | Path, ending: str) -> Path:
    """Give a path with an ending added to its name.

    Raises
    ------
    UnwritableError
        If it has no name.

    Examples
    --------
    >>> with_ending("runs/first.try", ".json").as_posix()
    'runs/first.try.json'
    """
    path = Path(path)
    _refuse_no_name(path)
    return path.with_name(path.name + ending)


def _refuse_no_name(path: Path) -> None:
    if path.name in ("", ".."):
        raise UnwritableError(
            f"cannot write {str(path)!r}: where to write takes a file's name at its end"
        )


def _refuse_no_file(path: Path) -> None:
    """Raise UnwritableError for a path that names no file, or a folder."""
    _refuse_no_name(path)
    if path.is_dir():
        raise UnwritableError(
            f"cannot write {str(path)!r}: it is a folder; name a file, such as one in it"
        )


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary file beside it, fsync, rename.

    A process killed at any moment leaves the old file or the new one. Of a symbolic link, that is
    the file that it points to. A device or a pipe is written to as it is. The new file has the
    permissions of the old one; where there was none, those that any new file has there.

    Raises
    ------
    UnwritableError
        If it cannot be written.
    """
    path = Path(path)
    with writing(path):
        _refuse_no_file(path)
        if path.exists() and not path.is_file():
            path.write_bytes(content)
        else:
            _replace(_real(path), content)


def _replace(path: Path, content: bytes) -> None:
    """Put a new file in the place of the old one."""
    _folder_for(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    # Not by tempfile: what that makes is its owner's alone, whatever the umask or the folder says.
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _BINARY, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.chmod(temporary, stat.S_IMODE(path.stat().st_mode))
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if os.name == "posix":
        # A folder that may be written to but not read cannot be opened; the file is there by now.
        with contextlib.suppress(PermissionError):
            directory = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)


def to_json(plain: Any, indent: int | None = None) -> str:
    """Give plain data as JSON that anything can read: null stands for what is not finite.

    >>> to_json({"norm": math.nan, "losses": [0.5, math.inf]})
    '{"norm": null, "losses": [0.5, null]}'
    """
    return json.dumps(_finite(plain), indent=indent, allow_nan=False)


def _finite(plain: Any) -> Any:
    if isinstance(plain, Mapping):
        return {name: _finite(each) for name, each in plain.items()}
    if isinstance(plain, list | tuple):
        return [_finite(each) for each in plain]
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


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
