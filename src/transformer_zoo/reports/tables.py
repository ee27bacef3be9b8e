"""Tables of runs: one tidy row per run, one row per group with mean, spread and interval over seeds; as CSV, Markdown and LaTeX."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

from transformer_zoo.experiments.results import RunRecord, higher_is_better
from transformer_zoo.reports.groups import Group, differing_keys
from transformer_zoo.reports.rows import SIZES, Row, best_rows, verdict_notes
from transformer_zoo.reports.statistics import Estimate
from transformer_zoo.reports.svg import short_number

NO_SPREAD = "n=1, no spread"
UNKNOWN = "–"
INTERVAL = "95% interval"
METRIC = "/"
"""Stands in the name of a metric behind what was measured (`validation/loss`); without it a name tells of the last step alone, such as `lr`."""
LEGEND = (
    "Mean ± sample standard deviation over seeds, and the 95% interval of the mean (Student's t below 20 runs, bootstrap-t from 20 on); bold: better "
    "than every other group beyond chance (paired by seed, Holm-adjusted over all comparisons of the table)."
)


def spread_text(mean: float, deviation: float | None) -> str:
    """`2.314 ± 0.012` with the digits the spread supports; a single value with four significant ones."""
    if not math.isfinite(mean):
        return UNKNOWN if math.isnan(mean) else str(mean)
    if not deviation:
        digits = max(0, min(6, 3 - math.floor(math.log10(abs(mean))))) if mean else 1
        return f"{mean:.{digits}f}" + (f" ± {deviation:.0f}" if deviation is not None else "")
    digits = max(0, min(6, 1 - math.floor(math.log10(deviation))))
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def interval_text(estimate: Estimate | None) -> str:
    """`2.29 to 2.34` with the digits its width supports; a dash where there is none."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return UNKNOWN
    width = estimate.high - estimate.low
    digits = max(0, min(6, 1 - math.floor(math.log10(width)))) if width > 0 else 4
    return f"{estimate.low:.{digits}f} to {estimate.high:.{digits}f}"


def cell_text(row: Row, name: str) -> str:
    """A metric of a group: mean and spread; what became of the runs where none finished, `not measured` where they lack it."""
    mean, deviation = row.cells[name]
    if math.isnan(mean) and not row.by_seed.get(name):
        return row.state or "not measured"
    return spread_text(mean, deviation)


def size_text(value: float) -> str:
    """A size in short form, a dash where it is not known."""
    return short_number(value) if math.isfinite(value) else UNKNOWN


def count_text(row: Row) -> str:
    """`3`, `2 of 3` where runs are missing or failed, and for one the warning that nothing is known of its spread."""
    if row.finished == row.planned == 1:
        return NO_SPREAD
    finished = str(row.finished) if row.finished == row.planned else f"{row.finished} of {row.planned}"
    return f"{finished}, no spread" if row.finished == 1 else finished


def heading(name: str) -> str:
    """`validation/loss` with an arrow that says which way is better."""
    return f"{name} {'↑' if higher_is_better(name) else '↓'}"


def csv_text(lines: Iterable[Sequence[Any]]) -> str:
    """CSV with unknown numbers left empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for line in lines:
        writer.writerow(["" if value is None or (isinstance(value, float) and math.isnan(value)) else value for value in line])
    return text.getvalue()


def runs_csv(runs: Sequence[RunRecord], groups: Sequence[Group]) -> str:
    """One row per run: what differs, how it ended, its sizes with those of earlier phases, its code, the final and best value of every
    metric, and what it tells of its whole training."""
    group_of = {id(run): group.label for group in groups for run in group.runs}
    keys = differing_keys([run for run in runs if run.config.keys() - {"seed"}])
    factors = list(dict.fromkeys(name for run in runs for name in run.levels if name not in keys))
    metrics = list(dict.fromkeys(name for run in runs for name in run.final() if METRIC in name))
    ledgers = {name for run in runs for name in run.ledger}
    improving = [name for name in metrics if name not in ledgers]
    best = [f"best {name}" for name in improving]
    lines: list[list[Any]] = [["run", "group", "seed", "status", "reason", "code", *factors, *keys, *SIZES, *metrics, *best]]
    for run in runs:
        final = run.final()
        lines.append(
            [run.path.name, group_of[id(run)], run.seed, run.status, run.reason or run.failure, code_text(run)]
            + [run.levels.get(name) for name in factors]
            + [run.config.get(key) for key in keys]
            + [run.size(name) for name in SIZES]
            + [final.get(name) for name in metrics]
            + [run.best(name) for name in improving]
        )
    return csv_text(lines)


def code_text(run: RunRecord) -> str:
    """Version and commit of the code that trained a run, `changed` where files differed from it; empty where the run does not tell."""
    versions, code = run.environment.get("versions"), run.environment.get("code")
    version = versions.get("transformer-zoo") if isinstance(versions, dict) else None
    commit = code.get("commit") if isinstance(code, dict) else None
    changed = "changed" if isinstance(code, dict) and code.get("changed") else None
    return " ".join(str(part)[:12] for part in (version, commit, changed) if part)


def summary_csv(rows: Sequence[Row]) -> str:
    """One row per group; of every metric the mean, sample deviation, interval and number of seeds (empty where there is no spread)."""
    columns = list(rows[0].cells) if rows else []
    parts = ("mean", "sd", "low", "high", "n")
    lines: list[list[Any]] = [["group", "n", "planned", "state", *SIZES, *(f"{name} {part}" for name in columns for part in parts)]]
    for row in rows:
        line: list[Any] = [row.label, row.finished, row.planned, row.state, *(row.sizes.get(name) for name in SIZES)]
        for name in columns:
            found = row.estimates.get(name)
            line += [*row.cells[name], *((found.low, found.high, found.n) if found else (None, None, None))]
        lines.append(line)
    return csv_text(lines)


def summary_md(rows: Sequence[Row], notes: Sequence[str] = (), unfinished: Sequence[RunRecord] = ()) -> str:
    """A Markdown table, what is best beyond chance in bold, followed by the notes and by the runs that did not finish."""
    columns = list(rows[0].cells) if rows else []
    best = best_rows(rows)
    headings = " | ".join(f"{heading(name)} | {INTERVAL}" for name in columns)
    lines = [f"| | n | parameters | {headings} | tokens/s |", "|---|---|---:|" + "---:|" * (2 * len(columns) + 1)]
    for number, row in enumerate(rows):
        cells = [cell_text(row, name) for name in columns]
        cells = [f"**{cell}**" if best.get(name) == number else cell for name, cell in zip(columns, cells, strict=True)]
        both = " | ".join(f"{cell} | {interval_text(row.estimates.get(name))}" for name, cell in zip(columns, cells, strict=True))
        sizes = {name: size_text(row.sizes.get(name, math.nan)) for name in ("parameters", "tokens_per_second")}
        lines.append(f"| {md(row.label)} | {count_text(row)} | {sizes['parameters']} | {both} | {sizes['tokens_per_second']} |")
    lines += ["", LEGEND]
    told = [*verdict_notes(rows), *notes]
    lines += ["", *(f"- {note}" for note in told)] if told else []
    if unfinished:
        lines += ["", "Not finished, and not in the table:", ""]
        lines += [f"- `{run.path.name}` ({run.label}): {run.status}{f', {run.reason}' if run.reason else ''}" for run in unfinished]
    return "\n".join(lines) + "\n"


def md(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return text.replace("|", "\\|")


_TEX = str.maketrans({"_": r"\_", "&": r"\&", "%": r"\%", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\~{}", "^": r"\^{}"})
_SIGNS = {"±": r"$\pm$", "–": "--", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "−": "$-$", "Δ": r"$\Delta$", "<": r"$<$", ">": r"$>$"}


def tex(text: str) -> str:
    """Text for LaTeX."""
    plain = "".join(r"\textbackslash{}" if letter == "\\" else letter.translate(_TEX) for letter in text)
    for sign, written in _SIGNS.items():
        plain = plain.replace(sign, written)
    return plain


def booktabs(header: Sequence[str], lines: Sequence[Sequence[str]], note: str = "") -> str:
    """A LaTeX table with booktabs; cells are LaTeX already, the first column is text."""
    text = [r"% needs \usepackage{booktabs}", *([f"% {note}"] if note else [])]
    text += [rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", r"\toprule", " & ".join(header) + r" \\", r"\midrule"]
    text += [" & ".join(line) + r" \\" for line in lines]
    return "\n".join([*text, r"\bottomrule", r"\end{tabular}"]) + "\n"


def summary_tex(rows: Sequence[Row]) -> str:
    """The same table for LaTeX with booktabs."""
    columns = list(rows[0].cells) if rows else []
    best = best_rows(rows)
    header = ["", "n", "parameters", *(tex(part) for name in columns for part in (heading(name), INTERVAL))]
    lines = []
    for number, row in enumerate(rows):
        line = [tex(row.label), tex(count_text(row)), size_text(row.sizes.get("parameters", math.nan))]
        for name in columns:
            cell = tex(cell_text(row, name))
            line += [rf"\textbf{{{cell}}}" if best.get(name) == number else cell, tex(interval_text(row.estimates.get(name)))]
        lines.append(line)
    return booktabs(header, lines, LEGEND)
