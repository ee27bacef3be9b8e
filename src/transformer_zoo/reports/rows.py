"""One row per group of runs: sizes, metrics over seeds with their intervals, and which group, if any, is best beyond chance."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformer_zoo.experiments.results import RunRecord, higher_is_better
from transformer_zoo.reports.groups import Group, mean_and_deviation
from transformer_zoo.reports.readings import Reading, known_text, reading, same_text, same_tokenizer
from transformer_zoo.reports.statistics import Difference, Estimate, estimate, holm, paired

FIRST = ("loss", "perplexity", "bits_per_byte")
TEXT_METRICS = ("bleu", "chrf")
"""Metrics of whole texts, which no tokenizer or objective changes."""
PER_TOKEN = ("loss", "perplexity")
"""Metrics that another tokenizer changes, among those of measurements."""
OWN_LOSS = "evaluation=loss"
"""The measurement that asks every run for its own task."""
TRAINING_ONLY = (
    "objective.label_smoothing",
    "objective.mask_share",
    "objective.random_share",
    "objective.keep_share",
    "objective.epoch_cycle",
    "objective.ratio_schedule",
)
"""Settings (or sections) of an objective that held-out losses do not know of."""
SIZES = ("parameters", "steps", "tokens", "predicted_tokens", "flops", "seconds", "tokens_per_second", "peak_memory_bytes")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the summary: a group's label, how many of its runs finished, and (mean, sample deviation) for every column."""

    label: str
    finished: int
    planned: int
    sizes: dict[str, float]
    cells: dict[str, tuple[float, float | None]]
    task: str = ""
    """What is predicted on which data, as text; losses of different tasks cannot be compared."""
    tokens: str = ""
    """The tokenizer's settings as text; per-token figures of different tokenizers cannot be compared either."""
    data: str = ""
    """The settings of the data as text."""
    readings: frozenset[Reading] = frozenset()
    """What its runs read."""
    measured: Mapping[str, str] = field(default_factory=dict)
    """Metrics that were measured after the end → how, as text."""
    by_seed: Mapping[str, Mapping[Any, float]] = field(default_factory=dict)
    """Column → seed → value."""
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    """Column → its mean over seeds with its interval."""
    state: str = ""
    """What became of the runs of a group in which none finished: `failed`, `running`, `missing` …"""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What chance allows to say of one column: which row has the best mean, and which rows it is not told apart from."""

    best: int
    open: tuple[int, ...]
    """Rows that chance may put before it."""
    no_spread: bool
    """Whether some of these share fewer than two seeds with it, so that nothing is known of chance."""


def scores(groups: Sequence[Group]) -> list[str]:
    """The columns of the summary: held-out metrics, losses first; training metrics only where nothing was evaluated."""
    names = dict.fromkeys(name for group in groups for run in group.runs for name in run.final())
    held_out = [name for name in names if name.split("/")[0] in {"validation", "test"} and name.count("/") == 1]
    rank = {name: position for position, name in enumerate(FIRST)}
    return sorted(held_out, key=lambda name: (name.split("/")[0] == "test", rank.get(name.split("/")[1], len(FIRST)))) or list(names)


def summarise(groups: Sequence[Group]) -> list[Row]:
    """One row per group; groups without a finished run have NaN everywhere."""
    columns = scores(groups)
    rows = []
    for group in groups:
        values = {name: group.by_seed(name) for name in columns}
        row = Row(
            label=group.label,
            finished=len(group.finished),
            planned=len(group.runs),
            sizes={name: mean_and_deviation(group.sizes(name))[0] for name in SIZES},
            cells={name: mean_and_deviation(list(values[name].values())) for name in columns},
            task=_settings(group, "objective.", "data."),
            tokens=_settings(group, "tokenizer."),
            data=_settings(group, "data."),
            readings=frozenset(map(reading, group.finished)),
            measured={name: how for run in group.finished for name, how in _measurements(run).items()},
            by_seed=values,
            estimates={name: estimate(list(values[name].values())) for name in columns},
            state="" if group.finished else ", ".join(dict.fromkeys(run.status for run in group.runs)),
        )
        rows.append(row)
    return rows


def _settings(group: Group, *sections: str) -> str:
    """Some sections of the group's settings as text; what only training knows of is left out."""
    config = group.runs[0].config
    return repr(sorted((key, str(value)) for key, value in config.items() if key.startswith(sections) and not key.startswith(TRAINING_ONLY)))


def _measurements(run: RunRecord) -> dict[str, str]:
    """Metrics that were measured after the end → the words that asked for it."""
    return {name: repr(run.measured[one].get("words")) for one in run.measured for name in run.scores_of(one)}


# --- what may be compared, and what is best -----------------------------------------------------------------------------------------------


def comparable(name: str, rows: Sequence[Row]) -> bool:
    """Whether a metric means the same in all rows.

    Nothing does on different data. BLEU does otherwise, so does what the same words measured after the end; bits per byte for one task, what is
    counted per token for one tokenizer.
    """
    read = frozenset(one for row in rows for one in row.readings)
    if not same_text(read):
        return False
    measure, one_data = name.split("/")[-1], len({row.data for row in rows}) == 1
    if measure in TEXT_METRICS:
        return one_data or known_text(read)
    one_tokenizer = len({row.tokens for row in rows}) == 1 and same_tokenizer(read)
    how = {row.measured.get(name, OWN_LOSS) for row in rows}
    if len(how) == 1 and OWN_LOSS not in next(iter(how)):
        return one_data and (one_tokenizer or not measure.endswith(PER_TOKEN))
    return (one_tokenizer or measure == "bits_per_byte") and len({row.task for row in rows}) == 1


def verdicts(rows: Sequence[Row]) -> dict[str, Verdict]:
    """Column → what may be said of its best mean; no entry where fewer than two rows can be compared."""
    columns = {}
    for name in rows[0].cells if rows else ():
        known = {number: row.by_seed.get(name, {}) for number, row in enumerate(rows) if math.isfinite(row.cells[name][0])}
        if comparable(name, [rows[number] for number in known]):
            columns[name] = known
    return judged(columns)


def judged(columns: Mapping[str, Mapping[int, Mapping[Any, float]]]) -> dict[str, Verdict]:
    """Column → row → seed → value: what may be said of the best mean of each column with at least two rows.

    The best is compared with every other row over the seeds that both have; the p-values are adjusted (Holm) for all these comparisons together.
    """
    best: dict[str, int] = {}
    differences: dict[tuple[str, int], Difference | None] = {}
    for name, rows in columns.items():
        means = {number: mean for number, values in rows.items() if values and math.isfinite(mean := statistics.fmean(values.values()))}
        if len(means) < 2:
            continue
        best[name] = first = (max if higher_is_better(name) else min)(means, key=means.__getitem__)
        for other in sorted(means.keys() - {first}):
            differences[name, other] = paired(rows[other], rows[first])
    adjusted = holm([None if difference is None else difference.p for difference in differences.values()])
    still_open: dict[str, list[int]] = {name: [] for name in best}
    no_spread = set()
    for ((name, other), difference), p in zip(differences.items(), adjusted, strict=True):
        if difference is None or difference.p is None:
            no_spread.add(name)
        if difference is None or not difference.told_apart(p):
            still_open[name].append(other)
    return {name: Verdict(best=first, open=tuple(still_open[name]), no_spread=name in no_spread) for name, first in best.items()}


def best_rows(rows: Sequence[Row]) -> dict[str, int]:
    """Column → the row that is better than every other one beyond chance; no entry where there is none."""
    return {name: verdict.best for name, verdict in verdicts(rows).items() if not verdict.open}


def verdict_notes(rows: Sequence[Row]) -> list[str]:
    """For the columns in which nothing is marked, why: one sentence for those with the same reason."""
    columns: dict[str, list[str]] = {}
    for name, verdict in verdicts(rows).items():
        if not verdict.open:
            continue
        others = ", ".join(rows[number].label for number in verdict.open)
        if verdict.no_spread:
            reason = f"nothing can be said of chance between {rows[verdict.best].label} (best mean) and {others}: they share fewer than two seeds"
        else:
            reason = f"no difference beyond chance between {rows[verdict.best].label} (best mean) and {others}"
        columns.setdefault(reason, []).append(name)
    return [f"{', '.join(names)}: {reason}." for reason, names in columns.items()]
