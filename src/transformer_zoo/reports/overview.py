"""The head of a report: what was held equal, the summary, what chance allows to say, and the list of all runs."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from transformer_zoo.experiments.results import RunRecord
from transformer_zoo.reports.comparing import HEADINGS, compare, comparison_cells, explained, sentences
from transformer_zoo.reports.fairness import Fairness
from transformer_zoo.reports.groups import Group, mean_and_deviation
from transformer_zoo.reports.page import table
from transformer_zoo.reports.rows import best_rows, scores, summarise, verdict_notes
from transformer_zoo.reports.svg import Interval, dot_chart
from transformer_zoo.reports.tables import (
    INTERVAL,
    LEGEND,
    UNKNOWN,
    cell_text,
    code_text,
    count_text,
    heading,
    interval_text,
    size_text,
    spread_text,
)

MANY_GROUPS, MOST_ROWS = 8, 30
"""From so many groups on, long lists are folded; of more than this many groups no dots are drawn."""
RUN_SIZES = {
    "parameters": "parameters",
    "flops": "FLOPs",
    "tokens": "tokens",
    "tokens_per_second": "tokens/s",
    "peak_memory_bytes": "memory (bytes)",
    "seconds": "seconds",
}
"""Sizes in the list of runs → their headings."""


def fairness_section(fair: Fairness, n_runs: int, n_groups: int) -> str:
    """What was equal, what was not, and what a reader must know, in three frames."""
    kinds = (
        ("undeclared", "Not declared, and not the same", [str(one) for one in fair.undeclared]),
        ("warnings", "Mind", fair.warnings),
        ("equal", "Equal", fair.equal),
        ("unequal", "Not equal", fair.unequal),
    )
    frames = "".join(
        f'<div class="{name}"><h3>{title}</h3><ul class="many">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul></div>'
        for name, title, notes in kinds
        if notes
    )
    counted = f"{n_runs} run{'' if n_runs == 1 else 's'} in {n_groups} group{'' if n_groups == 1 else 's'}."
    return f'<section id="fairness"><h2>Fairness</h2><p class="soft">{counted}</p><div class="fairness">{frames}</div></section>'


def summary_section(groups: Sequence[Group], chosen: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """A line for every group: size, metrics with spread and interval, speed. `chosen`: tuned setting → group → the value that was chosen."""
    tuned = chosen or {}
    rows = summarise(groups)
    columns = list(rows[0].cells)
    told = [name for name in columns if any(interval_text(row.estimates.get(name)) != UNKNOWN for row in rows)]
    best, marked, lines = best_rows(rows), set(), []
    for number, row in enumerate(rows):
        line = [row.label, *(values.get(row.label, UNKNOWN) for values in tuned.values()), count_text(row), size_text(row.sizes["parameters"])]
        for name in columns:
            if best.get(name) == number:
                marked.add((number, len(line)))
            line += [cell_text(row, name), *([interval_text(row.estimates.get(name))] if name in told else [])]
        lines.append([*line, size_text(row.sizes["tokens_per_second"])])
    headings = [part for name in columns for part in (heading(name), *([INTERVAL] if name in told else []))]
    shown = table(["", *(f"{key}, tuned" for key in tuned), "n", "parameters", *headings, "tokens/s"], lines, marked)
    notes = verdict_notes(rows)
    return f'<section id="summary"><h2>Summary</h2><p class="soft">Final values. {escape(LEGEND)}</p>{shown}{_listed(notes, len(groups))}</section>'


def _listed(notes: Sequence[str], n_groups: int) -> str:
    """Sentences; folded where they speak of many groups."""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    if not items:
        return ""
    return f"<ul>{items}</ul>" if n_groups < MANY_GROUPS else f"<details><summary>In words</summary><ul>{items}</ul></details>"


def comparison_section(groups: Sequence[Group], baseline: str | None = None) -> str:
    """Differences to the baseline (None: the first group that finished), with what chance allows to say; empty where nothing can be compared."""
    found = compare(groups, baseline=baseline)
    if not found:
        return ""
    shown = table(HEADINGS, [comparison_cells(one) for one in found], {(line, 3) for line, one in enumerate(found) if one.beyond_chance})
    told = _listed(sentences(found, groups), len(groups))
    title = f"Differences to {escape(found[0].baseline)}"
    return f'<section id="differences"><h2>{title}</h2><p class="soft">{escape(explained(found))}</p>{shown}{told}</section>'


def final_values_section(groups: Sequence[Group]) -> str:
    """Every run's final values as rings around the means of their groups; empty for a single group, and for very many."""
    if not 1 < len(groups) <= MOST_ROWS:
        return ""
    figures = []
    for name in scores(groups):
        rows = [
            Interval(label=group.label, values=group.values(name), mean=mean, deviation=deviation, colour=colour)
            for colour, group in enumerate(groups)
            for mean, deviation in [mean_and_deviation(group.values(name))]
        ]
        if sum(math.isfinite(row.mean) for row in rows) > 1:
            figures.append(f"<figure><h3>{escape(heading(name))}</h3>{dot_chart(rows, name=name, x_label='final value')}</figure>")
    if not figures:
        return ""
    return f'<section id="values"><h2>Final values</h2><div class="grid-of-charts">{"".join(figures)}</div></section>'


def runs_section(groups: Sequence[Group]) -> str:
    """A line for every run."""
    columns = scores(groups)
    lines: list[list[str]] = []
    names: dict[tuple[int, int], str] = {}
    for group in groups:
        for run in group.runs:
            names[len(lines), 3] = f"status {run.status}"
            lines.append(_run_line(run, group.label, columns))
    shown = table(
        ["run", "group", "seed", "status", *(heading(name) for name in columns), *RUN_SIZES.values(), "kernels", "code"], lines, names=names
    )
    return f'<section id="runs"><h2>All runs</h2>{shown}</section>'


def _run_line(run: RunRecord, label: str, columns: Sequence[str]) -> list[str]:
    final = run.final()
    values = [spread_text(final.get(name, math.nan), None) for name in columns]
    sizes = [size_text(math.nan if (size := run.size(name)) is None else size) for name in RUN_SIZES]
    seed = UNKNOWN if run.seed is None else str(run.seed)
    return [run.path.name, label, seed, run.status, *values, *sizes, "; ".join(run.kernels) or UNKNOWN, code_text(run) or UNKNOWN]
