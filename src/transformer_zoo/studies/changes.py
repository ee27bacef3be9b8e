"""Whether finished runs were made by the code and from the data that are there now, and what happens where they were not."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformer_zoo.errors import ConfigError, ZooError
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.experiments.results import RunRecord
from transformer_zoo.studies.cells import Cell
from transformer_zoo.training.environment import PACKAGE, code_state, source_fingerprint

logger = logging.getLogger(__name__)

ANSWERS = ("refuse", "keep", "repeat")
"""What may be done with runs of other code or data: nothing until somebody decides, use them as they are, or make them again."""
_NAMED = 3

Fingerprint = Callable[[ExperimentConfig], str]
"""Settings → the fingerprint of the data they name, as it is now."""


def changed(folder: Path, runs: Sequence[tuple[Cell, RunRecord]], fingerprint: Fingerprint | None = None) -> dict[str, str]:
    """Those of the runs (by their folder in the study) that other code or data made, each with what is other, in words."""
    found: dict[str, str] = {}
    now = code_state(PACKAGE) | {"source": source_fingerprint(PACKAGE)}
    data = _Data(fingerprint or _fingerprint)
    unknown = 0
    for cell, run in runs:
        code = run.environment.get("code")
        unknown += not code
        told = []
        if isinstance(code, dict) and code and not _same_code(code, now):
            told.append(f"code {_version(code)}, now {_version(now)}")
        before, today = run.environment.get("data_fingerprint"), None
        if before:
            today = data.of(cell.config)
        if before and today and before != today:
            told.append(f"data {str(before)[:8]}, now {today[:8]}")
        if told:
            found[cell.run] = "; ".join(told)
    if unknown:
        logger.warning("%s: %d runs made before do not say by which code; they are kept", folder, unknown)
    return found


def refusal(folder: Path, found: dict[str, str]) -> ConfigError:
    """One line for every kind of change: which runs, what made them, what it is now, and the ways out."""
    by_change: dict[str, list[str]] = {}
    for run, told in found.items():
        by_change.setdefault(told, []).append(Path(run).name)
    return ConfigError(
        *(
            f"study_dir={folder}: {_names(names)} {'was' if len(names) == 1 else 'were'} made by {told}; "
            "on_change=keep uses what is there, on_change=repeat makes it again, another study_dir leaves it alone"
            for told, names in by_change.items()
        )
    )


def _names(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _same_code(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """The same source files decide; runs that do not tell of them are known by a commit without changes."""
    if before.get("source"):
        return bool(before["source"] == now["source"])
    return before.get("commit") == now.get("commit") and not before.get("changed") and not now.get("changed")


def _version(code: dict[str, Any]) -> str:
    commit = str(code.get("commit", ""))[:7]
    parts = [commit and f"commit {commit}", code.get("changed") and "with changes", code.get("source") and f"source {str(code['source'])[:8]}"]
    return " ".join(part for part in parts if part) or "unknown"


class _Data:
    """Fingerprints of data as it is now; each data set is opened once."""

    def __init__(self, fingerprint: Fingerprint) -> None:
        self._fingerprint = fingerprint
        self._known: dict[str, str | None] = {}

    def of(self, config: ExperimentConfig) -> str | None:
        """None where the data cannot be opened now."""
        settings = to_dict(config)
        key = json.dumps([settings.get("data"), settings.get("tokenizer"), settings.get("objective")], sort_keys=True, default=str)
        if key not in self._known:
            try:
                self._known[key] = self._fingerprint(config)
            except (ZooError, OSError) as error:
                logger.warning("whether the data is what finished runs were trained on cannot be told: %s", " ".join(str(error).split()))
                self._known[key] = None
        return self._known[key]


def _fingerprint(config: ExperimentConfig) -> str:
    from transformer_zoo.data.module import build_data
    from transformer_zoo.experiments import assemble

    data = build_data(config.data, config.tokenizer, needs=config.objective.needs(), cache_dir=assemble.cache_folder())
    return data.fingerprint
