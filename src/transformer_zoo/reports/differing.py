"""Which groups of runs have which value of a setting or fact, in words."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from transformer_zoo.experiments.results import RunRecord

NOT_TOLD = "not told"
MOST_NAMES, MOST_VALUES = 4, 6
"""So many groups are named for a value, and so many values for a setting; of more only the number is told."""


@dataclass(frozen=True, kw_only=True)
class Undeclared:
    """A setting (or data, or code) in which runs differ though their study did not say that they would."""

    key: str
    values: tuple[tuple[str, tuple[str, ...]], ...]
    """Value → the groups that have it."""

    def __str__(self) -> str:
        return f"{self.key} ({values_text(self.values)})"


def difference(key: str, runs: Sequence[RunRecord], of: Mapping[int, str], value_of: Callable[[RunRecord], str]) -> Undeclared:
    """Which groups have which value."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        found.setdefault(value_of(run), {})[of[id(run)]] = None
    return Undeclared(key=key, values=tuple((value, tuple(labels)) for value, labels in found.items()))


def values_text(values: Sequence[tuple[str, tuple[str, ...]]]) -> str:
    """`0.001: bert, gpt2 | 0.0003: t5`; where each value stands for many groups only their number is told."""
    told = [f"{value}: {', '.join(labels) if len(labels) <= MOST_NAMES else f'{len(labels)} groups'}" for value, labels in values[:MOST_VALUES]]
    more = [f"{len(values) - MOST_VALUES} more values"] if len(values) > MOST_VALUES else []
    return " | ".join([*told, *more])


def setting(key: str) -> Callable[[RunRecord], str]:
    """Reads a setting."""
    return lambda run: json.dumps(run.config[key], default=str, ensure_ascii=False) if key in run.config else "not there"


def fact(name: str) -> Callable[[RunRecord], str]:
    """Reads the beginning of what stands in `environment.json`."""
    return lambda run: str(run.environment.get(name, NOT_TOLD))[:12]
