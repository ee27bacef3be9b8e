"""Whether a comparison is fair: what was equal in all runs, what was not, what nobody declared, and what else a reader must know."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.results import RunRecord
from transformer_zoo.reports.differing import NOT_TOLD, Undeclared, difference, fact, setting, values_text
from transformer_zoo.reports.finding import StudyRecord, study_folder
from transformer_zoo.reports.groups import DATA, Group, differing_keys
from transformer_zoo.reports.readings import TEXT, TOKENIZER, known_text, other_texts, other_tokenizers, reading, same_text
from transformer_zoo.reports.rows import scores
from transformer_zoo.reports.tables import code_text, size_text
from transformer_zoo.reports.trials import Search, searches

MEASURES = {
    "parameters": "parameters",
    "flops": "training FLOPs",
    "tokens": "training tokens",
    "predicted_tokens": "predicted tokens",
    "steps": "steps",
    "seconds": "seconds of training",
}
"""Size or cost → its name in sentences."""
EQUAL = 0.005
"""Sizes are called equal within this share; those that were matched within the tolerance of the match."""
MACHINE_DEPENDENT = ("seconds",)
"""Differences up to a quarter are the machine's."""
CONSEQUENCES = {
    "objective": "their losses measure different things",
    "tokenizer": "compare bits per byte, not losses per token",
    "data": "they were not tested on the same text, and no metric is compared",
}
SAME_TEXT = "the text is the same, read in other ways"
NOBODY = "Settings that differ, which no study declared"
MOST_LISTED = 12
"""So many differing settings are listed with their values; of more only the number is told."""
MOST_NAMED = 4
MOST_LETTERS, MOST_LINES = 240, 8
"""Of a line on the terminal, and of such lines."""


@dataclass(frozen=True, kw_only=True)
class Fairness:
    """Sentences for the head of a report."""

    equal: list[str] = field(default_factory=list)
    unequal: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    undeclared: list[Undeclared] = field(default_factory=list)
    """What the study would have had to declare."""
    unasked: list[Undeclared] = field(default_factory=list)
    """Settings that differ where there is no study to declare them."""

    @property
    def notes(self) -> list[str]:
        """All of it, the gravest first."""
        refused = [f"Not declared by the study, and not the same in all runs: {one}." for one in self.undeclared]
        return [*refused, *self.warnings, *self.unequal, *self.equal]

    def told(self, page: str) -> list[str]:
        """What a reader must not miss, for the terminal, in short lines: warnings, and settings that differ with nobody having declared them.
        `page`: where all of it is told."""
        lines = [line if len(line) <= MOST_LETTERS else f"{line[:MOST_LETTERS]} … (the whole is told in {page})" for line in self.warnings]
        more = [f"{len(lines) - MOST_LINES} more warnings are told in {page}."] if len(lines) > MOST_LINES else []
        return [*lines[:MOST_LINES], *more, *self._unasked(page)]

    def _unasked(self, page: str) -> list[str]:
        if not self.unasked:
            return []
        whole = f"{NOBODY}: {'; '.join(map(str, self.unasked))}."
        named = _named([one.key for one in self.unasked])
        short = f"{len(self.unasked)} settings differ, which no study declared ({named}); all with their values in {page}."
        return [whole if len(self.unasked) <= MOST_NAMED and len(whole) <= 2 * MOST_LETTERS else short]

    def refuse(self, where: str) -> None:
        """Raises ConfigError, in one line, where runs of a study differ in what it did not declare."""
        if self.undeclared:
            more = f"; and {len(self.undeclared) - MOST_LISTED} more" if len(self.undeclared) > MOST_LISTED else ""
            listed = "; ".join(map(str, self.undeclared[:MOST_LISTED])) + more
            raise ConfigError(
                f"report: the runs of {where} differ in what the study did not declare: {listed}; the tables were written and say so, but compare "
                "only runs that agree: train the others anew, or report them on their own"
            )


def fairness(
    groups: Sequence[Group], declared: Sequence[str] | None = None, matched: Sequence[str] = (), *, study: StudyRecord | None = None
) -> Fairness:
    """What was held equal between the groups and what was not, one sentence each.

    `declared`: the settings (or sections) that runs may differ in, None where no study says so: then every difference is listed. `matched`: what
    was made equal. `study` stands for both, and for its baseline.
    """
    if study is not None:
        declared, matched = study.declared, study.matched
    tolerance = StudyRecord.tolerance if study is None else study.tolerance
    runs = [run for group in groups for run in group.runs if run.config.keys() - {"seed"}]
    of = {id(run): group.label for group in groups for run in group.runs}
    fair = Fairness()
    _sizes(fair, groups, matched, tolerance)
    _settings(fair, runs, of, declared)
    _facts(fair, runs, of, declared)
    _kernels(fair, groups)
    _tuning(fair, searches([study] if study is not None else []))
    _missing(fair, groups, study)
    return fair


def _sizes(fair: Fairness, groups: Sequence[Group], matched: Sequence[str], tolerance: float) -> None:
    """Parameters, FLOPs, tokens … of the finished groups."""
    finished = [group for group in groups if group.finished]
    if len(finished) < 2:
        return
    for name, unit in MEASURES.items():
        means = [statistics.fmean(sizes) for group in finished if (sizes := group.sizes(name))]
        if len(means) < len(finished):
            if name in matched:
                fair.warnings.append(f"Matched in {unit}, but not all runs tell how many there were.")
            continue
        low, high = min(means), max(means)
        if high - low <= EQUAL * high:
            fair.equal.append(f"Equal {unit}: {size_text(high)}.")
        elif name in matched and high - low <= tolerance * high:
            fair.equal.append(f"Matched {unit}: {size_text(low)} to {size_text(high)}, within {tolerance:.3g}.")
        elif name in matched:
            fair.warnings.append(f"Matched in {unit}, but not equal within {tolerance:.3g}: {size_text(low)} to {size_text(high)}.")
        elif name not in MACHINE_DEPENDENT or high > 1.25 * low:
            fair.unequal.append(f"Not equal: {unit}, {size_text(low)} to {size_text(high)}.")


def _settings(fair: Fairness, runs: Sequence[RunRecord], of: Mapping[int, str], declared: Sequence[str] | None) -> None:
    """The settings in which any two runs differ, and what follows."""
    keys = differing_keys(runs)
    readings = [reading(run) for run in runs]
    for section, consequence in CONSEQUENCES.items():
        found = [key for key in keys if key.split(".")[0] == section]
        if not found:
            continue
        if section == "data" and declared is None and not known_text(readings):
            if not other_texts(readings):
                fair.warnings.insert(0, f"The groups differ in data ({_named(found)}): {consequence}.")
            continue
        fair.unequal.append(f"The groups differ in {section}: {SAME_TEXT if section == 'data' and known_text(readings) else consequence}.")
    if declared is not None:
        meant = [key for key in keys if _covered(key, declared)]
        if meant:
            fair.unequal.append(f"Settings that differ, as declared: {', '.join(meant)}.")
        fair.undeclared.extend(difference(key, runs, of, setting(key)) for key in keys if key not in meant)
    elif keys:
        fair.unasked.extend(difference(key, runs, of, setting(key)) for key in keys)
        listed = "; ".join(map(str, fair.unasked[:MOST_LISTED]))
        more = f"; and {len(keys) - MOST_LISTED} more" if len(keys) > MOST_LISTED else ""
        fair.unequal.append(f"{NOBODY}: {listed}{more}.")


def _named(names: Sequence[str]) -> str:
    """`a, b, c, d and 3 more`."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _facts(fair: Fairness, runs: Sequence[RunRecord], of: Mapping[int, str], declared: Sequence[str] | None) -> None:
    """What `environment.json` tells of the runs: text, tokenizer, code, libraries, device."""
    told = [run for run in runs if run.environment]
    if len(told) < 2:
        return
    if len(told) < len(runs):
        fair.warnings.append(f"{len(runs) - len(told)} of {len(runs)} runs do not tell of their data, code and machine (no environment.json).")
    _data(fair, told, of, declared)
    code = difference("code", told, of, _code)
    if len(code.values) > 1:
        if declared is None:
            fair.warnings.append(f"Different code trained the runs: {values_text(code.values)}.")
        else:
            fair.undeclared.append(code)
    elif "changed" in code.values[0][0]:
        fair.warnings.append("Files differed from the commit that the runs name, so that what trained them may not have been the same.")
    same = []
    for name, value_of in FACTS.items():
        found = difference(name, told, of, value_of)
        if len(found.values) > 1:
            fair.unequal.append(f"Not the same {name}: {values_text(found.values)}.")
        elif found.values[0][0] != NOT_TOLD:
            same.append(name)
    if len(told) == len(runs) and same:
        fair.equal.append(f"The same {', '.join(same)} throughout.")


def _data(fair: Fairness, told: Sequence[RunRecord], of: Mapping[int, str], declared: Sequence[str] | None) -> None:
    """What they read: the same text through the same tokenizer, or what is not known to be so."""
    readings = [reading(run) for run in told]
    meant = declared is None or any(key.split(".")[0] == "data" for key in declared)
    tokenizers = difference("tokenizer", told, of, fact(TOKENIZER))
    if len(tokenizers.values) > 1:
        fair.unequal.append(f"Not the same tokenizer: {values_text(tokenizers.values)}.")
    texts = [difference("data", [told[number] for number in part], of, _read_text) for part in other_texts(readings)]
    if texts:
        listed = _studies(told, other_texts(readings)) or "; ".join(values_text(one.values) for one in texts)
        fair.warnings.insert(0, f"Studies of different data: {listed}: no metric is compared.")
        if not meant:
            fair.undeclared.extend(texts)
    others = [difference("tokenizer", [told[number] for number in part], of, fact(TOKENIZER)) for part in other_tokenizers(readings)]
    if others:
        lost = "nothing that is counted per token is compared" if same_text(readings) else "no metric is compared"
        listed = "; ".join(values_text(one.values) for one in others)
        fair.warnings.insert(0, f"Other tokenizers by the same settings, so that other text or another file made them: {listed}: {lost}.")
        if not meant:
            fair.undeclared.extend(others)
    if not texts and len(tokenizers.values) == 1:
        fair.equal.append("The same data and the same tokenizer (by their fingerprints).")
    elif not texts and known_text(readings):
        fair.equal.append("The same text (by its fingerprint).")


def _studies(runs: Sequence[RunRecord], parts: Sequence[Sequence[int]]) -> str:
    """`one, two | three`: the studies by the text they read; empty where that is not a difference between studies."""
    read: dict[str, set[str]] = {}
    for number in [number for part in parts for number in part]:
        folder = study_folder(runs[number])
        read.setdefault(folder.name if folder else "", set()).add(_read_text(runs[number]))
    if len(read) < 2 or "" in read or any(len(texts) > 1 for texts in read.values()):
        return ""
    by_text: dict[str, list[str]] = {}
    for study, texts in read.items():
        by_text.setdefault(texts.pop(), []).append(study)
    return " | ".join(map(_named, by_text.values()))


def _read_text(run: RunRecord) -> str:
    """The text alone where the run tells of it, the text as its tokenizer read it otherwise."""
    return fact(TEXT if run.environment.get(TEXT) else DATA)(run)


def _kernels(fair: Fairness, groups: Sequence[Group]) -> None:
    """Whether the groups were computed by the same kernels; nothing where some did not tell."""
    of = {group.label: sorted({kernel for run in group.finished for kernel in run.kernels}) for group in groups if group.finished}
    if len(of) < 2 or not all(of.values()):
        return
    if len({tuple(kernels) for kernels in of.values()}) == 1:
        fair.equal.append(f"The same kernels throughout ({'; '.join(next(iter(of.values())))}).")
        return
    told = " | ".join(f"{label}: {'; '.join(kernels)}" for label, kernels in of.items())
    fair.unequal.append(f"The groups ran by different kernels, so that seconds and tokens/s compare these too: {told}.")


def _tuning(fair: Fairness, found: Sequence[Search]) -> None:
    """Whether all contestants got as many trials, and where the best value lay at an end of what was tried."""
    fair.warnings.extend(f"Tuning, {warning}." for one in found for warning in one.warnings)
    counts = {len(one.trials) for one in found}
    keys = ", ".join(dict.fromkeys(key for one in found for key in one.keys))
    if len(counts) == 1:
        fair.equal.append(f"Tuned with as many trials each ({counts.pop()}): {keys}.")
    elif counts:
        told = "; ".join(f"{one.contestant}: {len(one.trials)}" for one in found)
        fair.warnings.append(f"Not tuned with as many trials each ({told}): {keys}.")


def _missing(fair: Fairness, groups: Sequence[Group], study: StudyRecord | None) -> None:
    """Runs, metrics and seeds that are not there, or twice."""
    finished = [group for group in groups if group.finished]
    if study is not None and study.problem:
        fair.warnings.append(f"{study.problem}; what the study planned and declared is not known.")
    if not finished:
        fair.warnings.append("No run has finished: there is nothing to compare yet.")
    if study is not None and study.baseline is not None and finished and study.baseline not in [group.label for group in finished]:
        how = "has no finished run" if study.baseline in [group.label for group in groups] else "is not among these runs"
        fair.warnings.append(f"The baseline {study.baseline} {how}: nothing is compared with it.")
    for group in groups:
        if group.finished and len(group.finished) < len(group.runs):
            fair.warnings.append(f"{group.label}: {len(group.finished)} of {len(group.runs)} runs finished, its figures are of these alone.")
        seeds = [run.seed for run in group.finished if run.seed is not None]
        twice = sorted({str(seed) for seed in seeds if seeds.count(seed) > 1})
        if twice:
            fair.warnings.append(
                f"{group.label}: several runs with seed {', '.join(twice)} count as one, since a repetition tells nothing of chance."
            )
    for name in scores(finished):
        lacking = [f"{group.label} seed {run.seed}" for group in finished for run in group.finished if name not in run.final()]
        if lacking:
            finished_runs = sum(len(group.finished) for group in finished)
            told = ", ".join(lacking) if len(lacking) <= MOST_NAMED else f"{len(lacking)} of {finished_runs} runs"
            fair.warnings.append(f"{name} is missing from {told}.")
    fair.warnings.extend(f"Not measured, {run.label} seed {run.seed}: {run.failure}." for group in groups for run in group.finished if run.failure)
    seeds_of = {group.label: {str(run.seed) for run in group.finished} for group in finished}
    if len({frozenset(seeds) for seeds in seeds_of.values()}) > 1:
        told = "; ".join(f"{label}: {', '.join(sorted(seeds))}" for label, seeds in seeds_of.items())
        fair.warnings.append(f"Not the same seeds ({told}): only runs with the same seed are compared.")
    if any(len(group.finished) == 1 for group in groups):
        fair.warnings.append("A group with one run says nothing about spread (n=1, no spread); train more seeds before trusting a difference.")


# --- what runs tell of themselves ----------------------------------------------------------------------------------------------------------


def _covered(key: str, declared: Sequence[str]) -> bool:
    """Whether a setting is one that was declared, or lies in a section that was."""
    return any(key == name or key.startswith(f"{name}.") for name in declared)


def _code(run: RunRecord) -> str:
    return code_text(run) or NOT_TOLD


def _libraries(run: RunRecord) -> str:
    versions = run.environment.get("versions")
    if not isinstance(versions, dict):
        return NOT_TOLD
    return ", ".join(f"{name} {version}" for name, version in versions.items() if name != "transformer-zoo")


def _device(run: RunRecord) -> str:
    device: Any = run.environment.get("device")
    return str(device.get("name") or device.get("type")) if isinstance(device, dict) else NOT_TOLD


FACTS: dict[str, Callable[[RunRecord], str]] = {
    "library versions": _libraries,
    "device": _device,
    "number of threads": fact("threads"),
    "processes": fact("world_size"),
}
"""What may differ between machines → how a run tells it."""
