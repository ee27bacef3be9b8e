"""Text files as they lie on disk: finding them, hashing them, reading them exactly and with bounded memory.

Bytes are UTF-8. Only `\\n` and `\\r\\n` end a line (a lone `\\r`, NEL or U+2028 is an ordinary character); a byte-order mark is dropped;
`.gz` is unpacked on the way.
"""

import codecs
import glob
import gzip
import hashlib
import io
import logging
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformer_zoo.data.base import DataConfig
from transformer_zoo.data.store import file_hash
from transformer_zoo.errors import DataError

logger = logging.getLogger(__name__)

CHUNK = 1 << 20
KNOWN = (".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet")
"""Suffixes taken from a folder, each also with `.gz`."""
CONTROL = bytes(sorted({*range(32), 127} - set(b"\t\n\v\f\r\x1b")))
MOST_CONTROL = 0.01
BOM = codecs.BOM_UTF8


def kind_of(path: Path) -> str:
    """The suffix that says how a file is read, without `.gz`; what is not known is read as text."""
    suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    return suffix if suffix in KNOWN else ".txt"


def named(value: str | list[str]) -> list[str]:
    """A setting that names files: a list, or one text in which commas separate names (unless a file has that very name)."""
    if isinstance(value, list):
        return value
    return [value] if Path(value).expanduser().exists() else [name.strip() for name in value.split(",") if name.strip()]


def find(value: str | list[str], setting: str) -> list[Path]:
    """The files that a setting names: each name a file, a folder (all known files below it) or a glob; relative names start in the
    current folder.

    Raises:
        DataError: something named is not there; gives the absolute path and the current folder.
    """
    found: list[Path] = []
    for name in named(value):
        path = Path(name).expanduser()
        where = f"{setting}={name}: "
        here = f"(current folder: {Path.cwd()})"
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and _known(p) and not _hidden(p.relative_to(path)))
            if not inside:
                raise DataError(f"{where}the folder {path.absolute()} holds no {', '.join(KNOWN)} file {here}")
            found += inside
        elif path.exists():
            found.append(path)
        elif glob.has_magic(name):
            matches = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())  # noqa: PTH207 - absolute patterns
            if not matches:
                raise DataError(f"{where}nothing matches {path.absolute()} {here}")
            found += matches
        else:
            raise DataError(f"{where}there is no file {path.absolute()} {here}")
    if not found:
        raise DataError(f"{setting} names no file")
    return found


def _known(path: Path) -> bool:
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower() in KNOWN


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def fingerprint(paths: list[Path]) -> str:
    """A hash of the files' contents and kinds, whatever they are called.

    Raises:
        DataError: a file cannot be read.
    """
    total = hashlib.sha256()
    for path in paths:
        with readable(path):
            total.update(f"{kind_of(path)}{'.gz' if path.suffix == '.gz' else ''} {file_hash(path)}\n".encode())
    return total.hexdigest()


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns what can go wrong in reading a file into a `DataError` that names it."""
    try:
        yield
    except PermissionError as error:
        raise DataError(f"no permission to read {path.absolute()}") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path.absolute()} is no whole gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"{path.absolute()} cannot be read: {error.strerror or error}") from error


@contextmanager
def opened(path: Path) -> Iterator["io.BufferedReader[Any]"]:
    """The file's bytes, unpacked, after a byte-order mark."""
    with readable(path), io.BufferedReader(gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb") as file:
        if file.peek(3)[:3] == BOM:
            file.read(3)
        yield file


# --- bytes to characters --------------------------------------------------------------------------------------------------------

_bad = threading.local()


def _count_bad(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    _bad.count = getattr(_bad, "count", 0) + 1
    return "\ufffd", error.end


def _count_and_drop(error: UnicodeError) -> tuple[str, int]:
    return "", _count_bad(error)[1]


codecs.register_error("transformer_zoo.replace", _count_bad)
codecs.register_error("transformer_zoo.skip", _count_and_drop)
_HANDLERS = {"error": "strict", "replace": "transformer_zoo.replace", "skip": "transformer_zoo.skip"}


def _taken_count() -> int:
    count, _bad.count = getattr(_bad, "count", 0), 0
    return int(count)


@dataclass
class _Control:
    """Counts control characters, which text has not."""

    path: Path
    allowed: bool
    total: int = 0
    control: int = 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        self.control += len(data) - len(data.translate(None, CONTROL))
        if self.total >= CHUNK:  # earlier, a single control character may be more than the share
            self.check()

    def check(self) -> None:
        if not self.allowed and self.control > MOST_CONTROL * self.total:
            raise DataError(
                f"{self.path.absolute()} looks like a binary file: {self.control} of its first {self.total} bytes are control characters; "
                "data.allow_control_bytes=true reads it all the same"
            )


def read_text(path: Path, config: DataConfig) -> Iterator[str]:
    """A file's characters in chunks of at most about a megabyte; memory does not grow with the length of its lines.

    Raises:
        DataError: bad UTF-8 (under `on_bad_utf8=error`) with line and byte offset; a binary file; an unreadable one.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(_HANDLERS[config.on_bad_utf8])
    control = _Control(path, config.allow_control_bytes)
    place, line, bad = 0, 1, 0
    with opened(path) as file:
        start = file.tell()
        while True:
            data = file.read(CHUNK)
            control.add(data)
            if not data:
                control.check()
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                control.check()
                lines = line + error.object[: error.start].count(b"\n")
                raise _bad_utf8(path, lines, start + place - pending + error.start, error) from error
            bad += _taken_count()
            if text:
                yield text
            if not data:
                break
            place += len(data)
            line += data.count(b"\n")
    if bad:
        done = "replaced by U+FFFD" if config.on_bad_utf8 == "replace" else "left out"
        logger.warning("%s: %d byte sequences that are no UTF-8 were %s", path, bad, done)


def _bad_utf8(path: Path, line: int, offset: int, error: UnicodeDecodeError) -> DataError:
    return DataError(
        f"{path.absolute()} line {line}: byte {offset} (0x{error.object[error.start]:02x}) is no UTF-8 ({error.reason}); "
        "convert the file, or set data.on_bad_utf8=replace or skip"
    )


def read_lines(path: Path, config: DataConfig) -> Iterator[tuple[int, str | None]]:
    """Every line with its number from 1, without its end; None for a line with bad UTF-8 under `on_bad_utf8=skip`.

    Raises:
        DataError: as `read_text`.
    """
    control = _Control(path, config.allow_control_bytes)
    replaced = skipped = 0
    with opened(path) as file:
        offset = file.tell()
        number = 0
        for number, data in enumerate(file, 1):
            control.add(data)
            end = -2 if data.endswith(b"\r\n") else -1 if data.endswith(b"\n") else None
            try:
                yield number, data[:end].decode("utf-8")
            except UnicodeDecodeError as error:
                if config.on_bad_utf8 == "error":
                    control.check()
                    raise _bad_utf8(path, number, offset + error.start, error) from error
                if config.on_bad_utf8 == "replace":
                    replaced += 1
                    yield number, data[:end].decode("utf-8", _HANDLERS["replace"])
                else:
                    skipped += 1
                    yield number, None
            offset += len(data)
        control.check()
    _taken_count()
    if replaced or skipped:
        done = "repaired" if replaced else "left out"
        logger.warning("%s: of %d lines, %d with bytes that are no UTF-8 were %s", path, number, replaced or skipped, done)
