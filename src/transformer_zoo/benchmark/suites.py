"""The table of suites, and what every suite is given. A suite is a function that measures and returns its rows."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from transformer_zoo.benchmark.records import Comparison

SUITES: dict[str, str] = {
    "step": "steps:measure",
    "translation": "translating:measure",
    "decoding": "decoding:measure",
    "memory": "memory:measure",
    "limits": "limits:measure",
    "gpu": "gpu:measure",
    "gpu_quality": "gpu_quality:measure",
    "trainer": "trainer_loop:measure",
    "end_to_end": "whole_run:measure",
    "startup": "startup:measure",
    "prepare": "preparing:measure",
    "quality_books": "quality:measure_books",
    "quality_translation": "quality:measure_translation",
}
"""Suite → `module:function` in this package, imported only when it is asked for."""

ON_REQUEST = frozenset({"gpu", "gpu_quality", "quality_books", "quality_translation"})
"""Suites that run only when they are named: they need what most machines have not, or take long."""


@dataclass(frozen=True, kw_only=True)
class SuiteSettings:
    """How to measure."""

    rounds: int = 7
    """Timed rounds of every row; each runs every side once."""
    quick: bool = False
    """Tiny shapes, to see that everything works; the figures mean nothing."""
    device: str = "cpu"
    """A torch device."""
    threads: int | None = None
    """Threads of torch; None: as many as torch takes by itself."""
    data: Path | None = None
    """Folder with real text (books, multi30k_en_de); None: the built-in language stands in where a suite allows it."""


def load(name: str) -> Callable[[SuiteSettings], list[Comparison]]:
    """The function that measures a suite."""
    module, _, function = SUITES[name].partition(":")
    measure: Callable[[SuiteSettings], list[Comparison]] = getattr(import_module(f"{__package__}.{module}"), function)
    return measure
