"""What tuning tried before the runs of a study: all trials of each contestant, and the value that was chosen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from transformer_zoo.experiments.results import is_number
from transformer_zoo.reports.finding import StudyRecord
from transformer_zoo.reports.page import table
from transformer_zoo.reports.tables import UNKNOWN, heading, spread_text

SCORE = "validation/loss"
"""What tuning makes small."""
ENDED = {"done": "done", "hopeless": "stopped early", "failed": "failed", "running": "running"}
"""How a trial ended → what it is called."""
MOST_OPEN = 40
"""More trials than these are folded."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """How the settings of one contestant were looked for."""

    contestant: str
    chosen: Mapping[str, str]
    """Setting → the value that its runs have."""
    warnings: Sequence[str]
    trials: Sequence[Mapping[str, Any]]

    def is_best(self, trial: Mapping[str, Any]) -> bool:
        """Whether the chosen values are those of this trial."""
        return trial.get("status") == "done" and _texts(trial.get("values")) == self.chosen

    @property
    def keys(self) -> list[str]:
        """The settings that were tuned."""
        return list(dict.fromkeys(key for trial in self.trials for key in _texts(trial.get("values"))))

    def ended(self, status: str) -> int:
        """How many trials ended so."""
        return sum(trial.get("status") == status for trial in self.trials)


def searches(studies: Iterable[StudyRecord]) -> list[Search]:
    """One for every contestant that was tuned."""
    return [
        Search(
            contestant=str(one.get("contestant") or UNKNOWN),
            chosen=_texts(one.get("chosen")),
            warnings=[str(warning) for warning in told] if isinstance(told := one.get("warnings"), list) else [],
            trials=[trial for trial in one["trials"] if isinstance(trial, Mapping)],
        )
        for study in studies
        for one in study.tuned
    ]


def _texts(values: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in values.items()} if isinstance(values, Mapping) else {}


def chosen_values(study: StudyRecord | None) -> dict[str, dict[str, str]]:
    """Tuned setting → contestant → the value that was chosen for it."""
    found: dict[str, dict[str, str]] = {}
    for one in searches([study] if study is not None else []):
        for key, value in one.chosen.items():
            found.setdefault(key, {})[one.contestant] = value
    return found


def trials_section(studies: Sequence[StudyRecord]) -> str:
    """HTML: what was chosen for each contestant, and every trial; empty where nothing was tuned."""
    found = searches(studies)
    if not found:
        return ""
    keys = list(dict.fromkeys(key for one in found for key in one.keys))
    header = ["", *(f"{key}, chosen" for key in keys), heading(SCORE), "trials", "stopped early", "failed", "warning"]
    lines = []
    for one in found:
        counts = [len(one.trials), one.ended("hopeless"), one.ended("failed")]
        chosen = [one.chosen.get(key, UNKNOWN) for key in keys]
        lines.append([one.contestant, *chosen, _best_score(one), *map(str, counts), "; ".join(one.warnings) or UNKNOWN])
    outcomes = table(header, lines)
    told = (
        f"Trials have a seed that no run has; the lowest {SCORE} at the end of a trial was chosen. One that was stopped early shows its last value, "
        "and could not be chosen."
    )
    trials = _trials(found, keys)
    return f'<section id="tuning"><h2>Tuning</h2><p class="soft">{escape(told)}</p>{outcomes}{trials}</section>'


def _trials(found: Sequence[Search], keys: Sequence[str]) -> str:
    """All of them; what was chosen is bold."""
    lines: list[list[str]] = []
    marked: set[tuple[int, int]] = set()
    names: dict[tuple[int, int], str] = {}
    for one in found:
        for number, trial in enumerate(one.trials, start=1):
            values, status = _texts(trial.get("values")), str(trial.get("status"))
            if one.is_best(trial):
                marked.update((len(lines), 2 + place) for place in range(len(keys) + 1))
            names[len(lines), 3 + len(keys)] = f"status {status}"
            outcome = [_score(trial), ENDED.get(status, status), str(trial.get("reason") or UNKNOWN)]
            lines.append([one.contestant, str(number), *(values.get(key, UNKNOWN) for key in keys), *outcome])
    shown = table(["", "trial", *keys, heading(SCORE), "ended", "why"], lines, marked, names=names)
    return f"<details{' open' if len(lines) <= MOST_OPEN else ''}><summary>All {len(lines)} trials</summary>{shown}</details>"


def _score(trial: Mapping[str, Any]) -> str:
    value: Any = trial.get(SCORE)
    return spread_text(float(value), None) if is_number(value) else UNKNOWN


def _best_score(one: Search) -> str:
    return next((_score(trial) for trial in one.trials if one.is_best(trial)), UNKNOWN)
