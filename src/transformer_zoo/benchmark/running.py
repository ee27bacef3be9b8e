"""Measures suites one after another and keeps each as soon as it is done."""

import logging
import re
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from transformer_zoo.benchmark import results
from transformer_zoo.benchmark.suites import SuiteSettings, load
from transformer_zoo.errors import ZooError
from transformer_zoo.training.environment import environment
from transformer_zoo.training.precision import resolve_device

logger = logging.getLogger(__name__)

PEERS = ("transformers", "x-transformers", "accelerate")
"""Packages whose versions are kept with the rows."""


def run(names: Sequence[str], settings: SuiteSettings, path: Path) -> tuple[list[results.Kept], dict[str, ZooError]]:
    """Measure suites and keep them in the file `path`; returns them, and why others could not be measured (a package or data is not there):
    one that fails does not stop the next.

    Raises:
        ConfigError: the device is not there.
        DataError: the file holds something else.
    """
    device = resolve_device(settings.device)
    results.read(path)  # a file that holds something else is told now, not after the measuring
    threads = torch.get_num_threads()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    found: list[results.Kept] = []
    failed: dict[str, ZooError] = {}
    try:
        for name in names:
            logger.info("suite %s", name)
            try:
                rows = load(name)(settings)
            except ZooError as error:
                failed[name] = error
                continue
            kept = results.Kept(suite=name, settings=_told(settings), machine=machine(device), rows=rows)
            results.keep(path, kept)
            found.append(kept)
    finally:
        torch.set_num_threads(threads)
    return found, failed


def machine(device: torch.device) -> dict[str, Any]:
    """The machine and the versions that rows depend on; where the command lies is nobody's business."""
    facts = {key: value for key, value in environment(device=device, world_size=1).items() if key != "command"}
    return facts | {"versions": facts["versions"] | _versions(), "memory_bytes": _memory()}


def _versions() -> dict[str, str]:
    found = {}
    for name in PEERS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _memory() -> int | None:
    """Of the machine; None where it does not tell."""
    try:
        total = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    return int(total.group(1)) * 1024 if total else None


def _told(settings: SuiteSettings) -> dict[str, Any]:
    """The settings as plain data, without the place of the data."""
    return {key: value for key, value in asdict(settings).items() if key != "data"}
