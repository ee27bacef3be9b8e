"""Where the figures of a report come from: settings that differ, what did not finish, and the commands that repeat it."""

import json
import shlex
from collections.abc import Sequence
from html import escape
from typing import Any

from transformer_zoo.experiments.results import STUDY_FILE, RunRecord
from transformer_zoo.reports.finding import StudyRecord, read_study
from transformer_zoo.reports.groups import Group, differing_keys
from transformer_zoo.reports.page import table
from transformer_zoo.reports.tables import code_text

PROGRAM = "transformer-zoo"
MANY_GROUPS = 6
"""From here on settings are columns and groups are lines."""
STUDY_COMMANDS = ("compare", "ablate")
OWN_PLACE = ("run_dir", "name")
"""Overrides that say only where a run is kept."""


def studies_of(runs: Sequence[RunRecord]) -> list[StudyRecord]:
    """Every study that one of the runs lies in."""
    folders = dict.fromkeys(parent for run in runs for parent in list(run.path.resolve().parents)[:2] if (parent / STUDY_FILE).is_file())
    return [study for folder in folders if (study := read_study(folder)) is not None]


# --- settings -----------------------------------------------------------------------------------------------------------------------------


def differences(groups: Sequence[Group]) -> dict[str, list[str]]:
    """Setting → its value in every group, for those that are not the same everywhere; groups whose settings are not known have a dash."""
    known = [group for group in groups if _known(group)]
    keys = differing_keys([group.runs[0] for group in known])
    return {key: [_value(group.runs[0], key) if _known(group) else "–" for group in groups] for key in keys}


def _known(group: Group) -> bool:
    return bool(group.runs[0].config.keys() - {"seed"})


def _value(run: RunRecord, key: str) -> str:
    if key not in run.config:
        return "–"
    value: Any = run.config[key]
    return value if isinstance(value, str) else json.dumps(value, default=str)


def differences_section(groups: Sequence[Group]) -> str:
    """HTML; empty for a single group."""
    if len(groups) < 2:
        return ""
    found, labels = differences(groups), [group.label for group in groups]
    if not found:
        shown = "<p>The groups differ in no setting.</p>"
    elif len(groups) < MANY_GROUPS:
        shown = table(["setting", *labels], [[key, *values] for key, values in found.items()])
    else:
        shown = table(["", *found], [[label, *(values[place] for values in found.values())] for place, label in enumerate(labels)])
    told = "Only settings that are not the same in all groups; the seed and places apart."
    return f'<section id="settings"><h2>Settings that differ</h2><p class="soft">{told}</p>{shown}</section>'


# --- runs that the tables leave out -------------------------------------------------------------------------------------------------------


def unfinished(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs that the tables leave out."""
    return [run for run in runs if run.status != "done"]


def unfinished_section(runs: Sequence[RunRecord]) -> str:
    """HTML: which, how they ended, and why; empty where all finished."""
    left_out = unfinished(runs)
    if not left_out:
        return ""
    shown = table(
        ["run", "group", "seed", "status", "reason"],
        [[run.path.name, run.label, _seed(run), run.status, run.reason or "–"] for run in left_out],
        names={(line, 3): f"status {run.status}" for line, run in enumerate(left_out)},
    )
    return f'<section id="unfinished"><h2>Not finished, and not in the tables</h2>{shown}</section>'


def _seed(run: RunRecord) -> str:
    return "–" if run.seed is None else str(run.seed)


# --- commands -----------------------------------------------------------------------------------------------------------------------------


def study_commands(runs: Sequence[RunRecord], studies: Sequence[StudyRecord]) -> list[str]:
    """What to type to repeat all of it: by the plans, else by what the runs of a study remember of how they were started."""
    found = [shlex.join([PROGRAM, *words]) for words in (study.command for study in studies) if words]
    if not found:
        remembered = [[str(word) for word in run.environment.get("command") or []][1:] for run in runs]
        found = [shlex.join([PROGRAM, *words]) for words in remembered if words and words[0] in STUDY_COMMANDS]
    return list(dict.fromkeys(found))


def run_command(run: RunRecord) -> str:
    """What to type to repeat one run, wherever it is kept; empty where its folder does not tell."""
    words = [word for word in run.overrides if word.lstrip("+~").split("=")[0] not in OWN_PLACE]
    return shlex.join([PROGRAM, "train", *words]) if words else ""


def commands_section(groups: Sequence[Group], studies: Sequence[StudyRecord]) -> str:
    """HTML: the command of the study, and of every run."""
    runs = [run for group in groups for run in group.runs]
    whole = "".join(_command(text) for text in study_commands(runs, studies))
    single = "".join(f"<li><span>{escape(_title(run))}</span>{_command(text)}</li>" for run in runs if (text := run_command(run)))
    if not whole and not single:
        return ""
    told = "" if not single else f'<details><summary>Each run</summary><ul class="commands">{single}</ul></details>'
    return f'<section id="commands"><h2>Repeat it</h2>{whole}{told}</section>'


def _title(run: RunRecord) -> str:
    """A run's folder and the code that trained it."""
    return " · ".join(part for part in (run.path.name, code_text(run)) if part)


def _command(text: str) -> str:
    return f'<pre class="command"><code>{escape(text)}</code></pre>'
