"""The one place that uses the `datasets` library: tables on disk (.csv, .tsv, .json, .parquet) and data sets of the hub.

Everything is streamed, so nothing is copied into the library's own cache but what the hub sends. The library is slow to import and is
therefore imported inside functions.
"""

import csv
import gc
import gzip
import logging
import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from transformer_zoo.data.base import DataConfig
from transformer_zoo.data.files import kind_of, read_text, readable
from transformer_zoo.errors import DataError

logger = logging.getLogger(__name__)

REACH_SECONDS = 3.0
"""How long the hub may take to answer before it counts as out of reach."""

_BUILDERS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".parquet": "parquet"}


def table_rows(path: Path, config: DataConfig) -> Iterator[dict[str, Any]]:
    """The rows of a table; every cell of .csv and .tsv is text.

    Raises:
        DataError: the file is unreadable or no such table.
    """
    import datasets

    kind = kind_of(path)
    # Reading text files once beforehand finds bad bytes and binary files with their places, which the library does not say, and empty
    # files, which it refuses.
    if kind != ".parquet" and not sum(not text.isspace() for text in read_text(path, config)):
        return
    options: dict[str, Any] = {}
    if kind in (".csv", ".tsv"):
        separator = "\t" if kind == ".tsv" else ","
        features = datasets.Features({name: datasets.Value("string") for name in _header(path, separator)})
        errors = {"error": "strict", "replace": "replace", "skip": "ignore"}[config.on_bad_utf8]
        options = {"sep": separator, "features": features, "keep_default_na": False, "encoding": "utf-8-sig", "encoding_errors": errors}
    rows = None
    try:
        with readable(path):
            rows = iter(datasets.load_dataset(_BUILDERS[kind], data_files=str(path), split="train", streaming=True, **options))
            for row in rows:  # noqa: UP028 - `yield from` would close the rows before what stands under `finally`
                yield row
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path.absolute()} cannot be read as {_BUILDERS[kind]}: {_cause(error)}") from error
    finally:
        # The library leaves a file open that is not read to its end, and Python warns when it is collected.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del rows
            gc.collect()


def _header(path: Path, separator: str) -> list[str]:
    with (
        readable(path),
        gzip.open(path, "rt", encoding="utf-8-sig", errors="replace", newline="")
        if path.suffix == ".gz"
        else path.open(encoding="utf-8-sig", errors="replace", newline="") as file,
    ):
        return next(csv.reader(file, delimiter=separator), [])


def _cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".splitlines()[0]


def hub_rows(name: str, configuration: str | None, split: str, revision: str | None) -> Iterator[dict[str, Any]]:
    """The rows of a split of a data set on the hub, or in a local folder of that name, streamed.

    Raises:
        DataError: the hub cannot be reached, or has no such data set or split.
    """
    import datasets

    if not Path(name).expanduser().is_dir():
        check_reachable(name)
    try:
        yield from datasets.load_dataset(
            str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name,
            configuration,
            split=split,
            revision=revision,
            streaming=True,
        )
    except Exception as error:
        raise DataError(f"data.name={name}, split {split!r}: {_cause(error)}") from error


def hub_revision(name: str, revision: str | None) -> str:
    """What identifies the content of a hub data set: its commit, or its files where it is a local folder."""
    from huggingface_hub import HfApi

    check_reachable(name)
    try:
        return str(HfApi().dataset_info(name, revision=revision, timeout=30).sha)
    except Exception as error:
        raise DataError(f"data.name={name} is not on the hub: {_cause(error)}") from error


def check_reachable(name: str) -> None:
    """Ask once, and shortly, whether the hub answers: the library would retry for half a minute.

    Raises:
        DataError: it does not.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise DataError(f"data.name={name} is on the hub, but HF_HUB_OFFLINE is set: unset it, or use files with data=text")
    address = urlparse(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    host, port = address.hostname or "", address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((host, port), timeout=REACH_SECONDS).close()
    except OSError as error:
        raise DataError(
            f"data.name={name}: the hub at {host} cannot be reached ({error}); check the network, or download the files and use data=text"
        ) from error
