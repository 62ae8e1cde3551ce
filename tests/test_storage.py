"""Where files can be written is known before the work; what cannot be is an error of ours."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from downslope import Descent, Network, Recipe, datasets, descend
from downslope.account import Account
from downslope.commands.report import report
from downslope.errors import (
    DownslopeError,
    MissingFileError,
    UnreadableError,
    UnwritableError,
    reading,
)
from downslope.model import Model
from downslope.onnx_graph import to_onnx
from downslope.run import Run
from downslope.storage import check_writable, write_atomically, writing
from downslope.trace import Trace


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("text")
    (tmp_path / "folder").mkdir()
    return tmp_path


UNWRITABLE = [
    ("file/x", "cannot write 'file/x': 'file' is a file and no folder; name another place"),
    ("file/deep/x", "cannot write 'file/deep/x': 'file' is a file and no folder"),
    ("folder", "cannot write 'folder': it is a folder; name a file"),
    ("", "cannot write '.': where to write takes a file's name at its end"),
    ("folder/..", "cannot write 'folder/..': where to write takes a file's name"),
    ("x" * 300, "cannot write 'xxx.*: File name too long; name another place"),
]


@pytest.mark.parametrize(("path", "says"), UNWRITABLE)
def test_what_cannot_be_written_is_refused_before_and_in_writing(
    here: Path, path: str, says: str
) -> None:
    for attempt in (check_writable, lambda path: write_atomically(path, b"new")):
        before = sorted(here.rglob("*"))
        with pytest.raises(UnwritableError, match=says):
            attempt(path)
        assert sorted(here.rglob("*")) == before
    with pytest.raises(OSError, match=says):
        check_writable("fine", path)


def test_what_can_be_written_is_left_as_it_is_until_then(here: Path) -> None:
    check_writable("new", "file", "folder/new", "some/new/folder/new")
    assert {path.name for path in here.rglob("*")} == {"file", "folder"}
    assert (here / "file").read_text() == "text"
    write_atomically("some/new/folder/new", b"new")
    assert (here / "some/new/folder/new").read_bytes() == b"new"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(here: Path) -> None:
    (here / "folder").chmod(0o500)
    for attempt in (check_writable, lambda path: write_atomically(path, b"new")):
        with pytest.raises(UnwritableError, match="cannot write 'folder/x': Permission denied"):
            attempt("folder/x")
    (here / "folder").chmod(0)
    with pytest.raises(UnwritableError, match="cannot write 'folder/deep/x': Permission denied"):
        check_writable("folder/deep/x")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a file system that takes no files")
def test_permissions_alone_do_not_tell(here: Path) -> None:
    with pytest.raises(UnwritableError, match="cannot write '/proc/x/y'"):
        check_writable("/proc/x/y")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX devices")
def test_a_device_stays_one() -> None:
    check_writable("/dev/null")
    write_atomically("/dev/null", b"nothing")
    assert not Path("/dev/null").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="links take rights there")
def test_a_link_stays_one(here: Path) -> None:
    for name, target in (("link", "file"), ("ahead", "folder/new"), ("nowhere", "file/new")):
        (here / name).symlink_to(target)
    for name in ("link", "ahead"):
        check_writable(name)
        write_atomically(name, b"new")
        assert (here / name).is_symlink()
    assert (here / "file").read_bytes() == (here / "folder" / "new").read_bytes() == b"new"
    for attempt in (check_writable, lambda path: write_atomically(path, b"new")):
        with pytest.raises(UnwritableError, match="file' is a file and no folder"):
            attempt("nowhere")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_a_new_file_has_the_permissions_of_any_and_an_old_one_its_own(
    here: Path, mask: int, mode: int
) -> None:
    before = os.umask(mask)
    try:
        write_atomically("new", b"new")
    finally:
        os.umask(before)
    assert (here / "new").stat().st_mode & 0o777 == mode
    for kept in (0o640, 0o666, 0o400):
        (here / "file").chmod(kept)
        write_atomically("file", b"new")
        assert (here / "file").stat().st_mode & 0o777 == kept


def test_a_folder_that_may_not_be_read_takes_files(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refuse(path: str | Path, flags: int, *rest: int) -> int:
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)
    write_atomically("folder/new", b"new")
    assert (here / "folder" / "new").read_bytes() == b"new"


def test_a_full_disk_is_named_and_leaves_the_old_file(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnwritableError, match="cannot write 'file': No space left on device"):
        write_atomically("file", b"new")
    assert (here / "file").read_text() == "text"
    assert {path.name for path in here.iterdir()} == {"file", "folder"}


@pytest.mark.parametrize("what", ["model", "recipe", "summary", "trace", "report"])
def test_all_that_the_library_reads_says_what_may_not_be_read(
    here: Path, short: Run, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    short.save("iris.downslope")
    short.trace.save("iris.trace.parquet")
    for name in ("iris.json", "recipe.toml"):
        (here / name).write_text("{}")
    readers: dict[str, Callable[[], Any]] = {
        "model": lambda: Model.load("iris.downslope"),
        "recipe": lambda: Recipe.read("recipe.toml"),
        "summary": lambda: Account.read("iris.downslope"),
        "trace": lambda: Trace.load("iris.trace.parquet"),
        "report": lambda: report(Path("iris.downslope")),
    }
    ending = {"model": ".downslope", "recipe": ".toml", "summary": ".json"}.get(what, ".parquet")
    opened, found = Path.open, Path.stat

    def refuse(path: Path, *rest: Any, **named: Any) -> Any:
        if path.suffix == ending:
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest, **named)

    def hide(path: Path, *rest: Any, **named: Any) -> Any:
        if path.suffix == ending:
            raise PermissionError(13, "Permission denied")
        return found(path, *rest, **named)

    says = rf"^cannot read '.*{ending}': Permission denied; see to it that you may read it"
    with monkeypatch.context() as locked:
        locked.setattr(Path, "open", refuse)
        with pytest.raises(UnreadableError, match=says):
            readers[what]()
    if sys.version_info < (3, 14):  # from there on what cannot be looked up is not there
        monkeypatch.setattr(Path, "stat", hide)
        with pytest.raises(UnreadableError, match=says):
            readers[what]()


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(KeyError), writing("file"):
        raise KeyError("other")
    with pytest.raises(KeyError), reading("file"):
        raise KeyError("other")
    with pytest.raises(MissingFileError, match="ours"), reading("file"):
        raise MissingFileError("ours")


@pytest.fixture(scope="module")
def short() -> Run:
    iris = datasets.load("iris")
    return descend(Recipe(Network([3]), Descent(epochs=2)), iris)


@pytest.mark.parametrize("place", ["file/x", "folder"])
@pytest.mark.parametrize("what", ["run", "network", "trace", "html", "png", "onnx", "checkpoint"])
def test_all_that_the_library_writes_says_so(here: Path, short: Run, what: str, place: str) -> None:
    writers = {
        "run": short.save,
        "network": short.network.save,
        "trace": short.trace.save,
        "html": lambda path: short.plot.loss(f"{path}.html"),
        "png": lambda path: short.plot.loss(f"{path}.png"),
        "onnx": lambda path: to_onnx(short.network, path),
        "checkpoint": lambda path: descend(short.recipe, short.table, checkpoint=path),
    }
    if what == "onnx":
        pytest.importorskip("onnx")
    for blocked in ("folder.html", "folder.png", "folder/checkpoint.safetensors"):
        (here / blocked).mkdir()
    with pytest.raises(DownslopeError, match="cannot write"):
        writers[what](place)


def test_what_is_read_is_not_written_over(here: Path) -> None:
    (here / "recipe.json").write_text("{}")
    (here / "link.json").symlink_to(here / "recipe.json")
    for name in ("recipe.json", "./recipe.json", "link.json"):
        with pytest.raises(UnwritableError, match="the same command reads it, and it would be"):
            check_writable("new.json", name, reads=["nowhere", "recipe.json"])
    check_writable("recipe.json", "new.json", reads=["nowhere"])
    check_writable("new.json", reads=["new.json", "recipe.json"])
