"""The one layer through which training writes files, so that a test can break off at any operation.

Every function calls `before(operation, path)` ahead of each thing it does to the disk. `before` does nothing; a test replaces it by
something that counts, raises `OSError(ENOSPC)` or ends the process.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path


def _nothing(operation: str, path: Path) -> None:
    """Ahead of an operation: nothing."""


before: Callable[[str, Path], None] = _nothing


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write and fsync a new file. It goes out in two parts, so that the hook can leave half a file behind."""
    before("open", path)
    with path.open("wb") as file:
        view = memoryview(data)
        half = len(view) // 2
        file.write(view[:half])
        file.flush()
        before("write", path)
        file.write(view[half:])
        file.flush()
        before("fsync", path)
        os.fsync(file.fileno())


def append_line(path: Path, line: str) -> None:
    """Append one line and hand it to the operating system."""
    before("append", path)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def replace_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: a temporary neighbour, then a rename over the old one."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    write_bytes(temporary, data)
    before("replace", path)
    temporary.replace(path)
    sync_folder(path.parent)


def replace_text(path: Path, text: str) -> None:
    """The same of a text, in UTF-8."""
    replace_bytes(path, text.encode())


def make_folder(path: Path) -> None:
    before("mkdir", path)
    path.mkdir()


def rename(source: Path, target: Path) -> None:
    before("rename", target)
    source.rename(target)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable. Where a file system cannot fsync a folder there is nothing to do."""
    before("sync", path)
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def remove_folder(path: Path) -> None:
    """Remove a folder and what it holds, file by file."""
    if not path.exists():
        return
    for child in sorted(path.iterdir()):
        before("unlink", child)
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
    before("rmdir", path)
    path.rmdir()
