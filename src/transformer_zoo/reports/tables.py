"""Tables of runs: one tidy row per run, one row per group with mean and spread over seeds; as CSV, Markdown and LaTeX."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from transformer_zoo.experiments.results import Group, RunRecord, differing_keys, higher_is_better, mean_and_deviation
from transformer_zoo.reports.svg import short_number

NO_SPREAD = "n=1, no spread"
FIRST = ("loss", "perplexity", "bits_per_byte")
TEXT_METRICS = ("bleu", "chrf")
"""Metrics of whole texts, which no tokenizer or objective changes."""
TRAINING_ONLY = (
    "objective.label_smoothing",
    "objective.mask_share",
    "objective.random_share",
    "objective.keep_share",
    "objective.epoch_cycle",
    "objective.ratio_schedule",
)
"""Settings (or sections) of an objective that held-out losses do not know of."""
SIZES = ("parameters", "steps", "tokens", "flops", "seconds", "tokens_per_second", "peak_memory_bytes")


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


def scores(groups: Sequence[Group]) -> list[str]:
    """The columns of the summary: held-out metrics, losses first; training metrics only where nothing was evaluated."""
    names = dict.fromkeys(name for group in groups for run in group.runs for name in run.final())
    held_out = [name for name in names if name.split("/")[0] in {"validation", "test"} and name.count("/") == 1]
    rank = {name: position for position, name in enumerate(FIRST)}
    return sorted(held_out, key=lambda name: (name.split("/")[0] == "test", rank.get(name.split("/")[1], len(FIRST)))) or list(names)


def summarise(groups: Sequence[Group]) -> list[Row]:
    """One row per group; groups without a finished run have NaN everywhere."""
    columns = scores(groups)
    return [
        Row(
            label=group.label,
            finished=len(group.finished),
            planned=len(group.runs),
            sizes={name: mean_and_deviation(group.sizes(name))[0] for name in SIZES},
            cells={name: mean_and_deviation(group.values(name)) for name in columns},
            task=_settings(group, "objective.", "data."),
            tokens=_settings(group, "tokenizer."),
        )
        for group in groups
    ]


def _settings(group: Group, *sections: str) -> str:
    """Some sections of the group's settings as text; what only training knows of is left out."""
    config = group.runs[0].config
    return repr(sorted((key, str(value)) for key, value in config.items() if key.startswith(sections) and not key.startswith(TRAINING_ONLY)))


def best_rows(rows: Sequence[Row]) -> dict[str, int]:
    """Column → the row with the best mean; no entry where fewer than two rows can be compared."""
    best = {}
    for name in rows[0].cells if rows else ():
        means = {number: row.cells[name][0] for number, row in enumerate(rows) if math.isfinite(row.cells[name][0])}
        if len(means) > 1 and _comparable(name, [rows[number] for number in means]):
            best[name] = (max if higher_is_better(name) else min)(means, key=means.__getitem__)
    return best


def _comparable(name: str, rows: Sequence[Row]) -> bool:
    """Whether a metric means the same in all rows: BLEU always does, bits per byte for one task, what is counted per token for one tokenizer."""
    measure = name.split("/")[-1]
    if measure in TEXT_METRICS:
        return True
    same_tokens = measure == "bits_per_byte" or len({row.tokens for row in rows}) == 1
    return same_tokens and len({row.task for row in rows}) == 1


def spread_text(mean: float, deviation: float | None) -> str:
    """`2.314 ± 0.012` with the digits the spread supports; a single value with four significant ones."""
    if not math.isfinite(mean):
        return "–" if math.isnan(mean) else str(mean)
    if not deviation:
        digits = max(0, min(6, 3 - math.floor(math.log10(abs(mean))))) if mean else 1
        return f"{mean:.{digits}f}" + (f" ± {deviation:.0f}" if deviation is not None else "")
    digits = max(0, min(6, 1 - math.floor(math.log10(deviation))))
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def size_text(value: float) -> str:
    """A size in short form, a dash where it is not known."""
    return short_number(value) if math.isfinite(value) else "–"


def count_text(row: Row) -> str:
    """`3`, `2 of 3` where runs are missing or failed, and for one the warning that nothing is known of its spread."""
    if row.finished == row.planned == 1:
        return NO_SPREAD
    finished = str(row.finished) if row.finished == row.planned else f"{row.finished} of {row.planned}"
    return f"{finished}, no spread" if row.finished == 1 else finished


def heading(name: str) -> str:
    """`validation/loss` with an arrow that says which way is better."""
    return f"{name} {'↑' if higher_is_better(name) else '↓'}"


def runs_csv(runs: Sequence[RunRecord], groups: Sequence[Group]) -> str:
    """One row per run: what differs, how it ended, its sizes, and the final and best value of every metric."""
    group_of = {id(run): group.label for group in groups for run in group.runs}
    keys = differing_keys([run for run in runs if run.config.keys() - {"seed"}])
    metrics = list(dict.fromkeys(name for run in runs for name in run.final()))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    best = [f"best {name}" for name in metrics]
    writer.writerow(["run", "group", "seed", "status", "reason", *keys, *SIZES, *metrics, *best])
    for run in runs:
        final = run.final()
        settings = [run.config.get(key) for key in keys]
        sizes = [run.summary.get(name) for name in SIZES]
        values = [[final.get(name) for name in metrics], [run.best(name) for name in metrics]]
        writer.writerow([run.path.name, group_of[id(run)], run.seed, run.status, run.reason, *settings, *sizes, *values[0], *values[1]])
    return text.getvalue()


def summary_csv(rows: Sequence[Row]) -> str:
    """One row per group, mean and sample deviation in columns of their own (empty where there is no spread)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = list(rows[0].cells) if rows else []
    writer.writerow(["group", "n", "planned", *SIZES, *(f"{name} {part}" for name in columns for part in ("mean", "sd"))])
    for row in rows:
        sizes = ["" if math.isnan(value) else value for value in row.sizes.values()]
        cells = ["" if value is None or math.isnan(value) else value for pair in row.cells.values() for value in pair]
        writer.writerow([row.label, row.finished, row.planned, *sizes, *cells])
    return text.getvalue()


def summary_md(rows: Sequence[Row], notes: Sequence[str] = (), unfinished: Sequence[RunRecord] = ()) -> str:
    """A Markdown table, best means in bold, followed by the notes and by the runs that did not finish."""
    columns = list(rows[0].cells) if rows else []
    best = best_rows(rows)
    lines = ["| | n | parameters | " + " | ".join(heading(name) for name in columns) + " | tokens/s |"]
    lines.append("|---|---|---:|" + "---:|" * (len(columns) + 1))
    for number, row in enumerate(rows):
        cells = [spread_text(*row.cells[name]) for name in columns]
        cells = [f"**{cell}**" if best.get(name) == number else cell for name, cell in zip(columns, cells, strict=True)]
        label = row.label.replace("|", "\\|")
        speed = size_text(row.sizes["tokens_per_second"])
        lines.append(f"| {label} | {count_text(row)} | {size_text(row.sizes['parameters'])} | {' | '.join(cells)} | {speed} |")
    lines += ["", "Mean ± sample standard deviation over seeds; bold: best mean."]
    lines += ["", *(f"- {note}" for note in notes)] if notes else []
    if unfinished:
        lines += ["", "Not finished, and not in the table:", ""]
        lines += [f"- `{run.path.name}` ({run.label}): {run.status}{f', {run.reason}' if run.reason else ''}" for run in unfinished]
    return "\n".join(lines) + "\n"


_TEX = str.maketrans({"_": r"\_", "&": r"\&", "%": r"\%", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\~{}", "^": r"\^{}"})


def _tex(text: str) -> str:
    plain = text.replace("\\", r"\textbackslash ").translate(_TEX)
    return plain.replace("±", r"$\pm$").replace("–", "--").replace("↑", r"$\uparrow$").replace("↓", r"$\downarrow$")


def summary_tex(rows: Sequence[Row]) -> str:
    """The same table for LaTeX with booktabs."""
    columns = list(rows[0].cells) if rows else []
    best = best_rows(rows)
    lines = [r"% needs \usepackage{booktabs}", rf"\begin{{tabular}}{{lrr{'r' * len(columns)}}}", r"\toprule"]
    lines += [" & ".join(["", "n", "parameters", *(_tex(heading(name)) for name in columns)]) + r" \\", r"\midrule"]
    for number, row in enumerate(rows):
        cells = [_tex(spread_text(*row.cells[name])) for name in columns]
        cells = [rf"\textbf{{{cell}}}" if best.get(name) == number else cell for name, cell in zip(columns, cells, strict=True)]
        lines.append(" & ".join([_tex(row.label), _tex(count_text(row)), size_text(row.sizes["parameters"]), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"
