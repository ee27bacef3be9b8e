"""From run folders alone to tables, curves and one HTML file that opens with no network."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path

from transformer_zoo.experiments.results import AXES, Group, RunRecord, differing_keys, find_runs, group_runs, mean_and_deviation
from transformer_zoo.reports.grids import grid_md, grid_section
from transformer_zoo.reports.ledgers import ledger_md, ledger_section
from transformer_zoo.reports.lengths import lengths_md, lengths_section
from transformer_zoo.reports.mask_answers import answers_md, answers_section
from transformer_zoo.reports.page import page, table
from transformer_zoo.reports.svg import Interval, Series, dot_chart, line_chart
from transformer_zoo.reports.tables import (
    Row,
    best_rows,
    count_text,
    heading,
    runs_csv,
    scores,
    size_text,
    spread_text,
    summarise,
    summary_csv,
    summary_md,
    summary_tex,
)

MOST_POINTS = 240
"""A longer curve is averaged down to about this many points, so that the page stays small."""


def report(paths: Iterable[Path], output: Path, *, title: str = "Runs", labelled: bool = False) -> Path:
    """Write one self-contained HTML file about the runs at `paths` and, beside it, `.csv` (a row per run) and `.md` (the summary).

    `paths`: run folders, studies, or folders of them; `labelled`: runs of a study are grouped by the labels of its plan.
    Returns the HTML file's path. Raises RunNotFoundError where there is nothing to report.
    """
    runs = find_runs(paths)
    groups = group_runs(runs, labelled=labelled)
    rows, notes = summarise(groups), fairness(groups)
    output = output if output.suffix == ".html" else output / "report.html"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.with_suffix(".csv").write_text(runs_csv(runs, groups), encoding="utf-8")
    output.with_suffix(".md").write_text(f"# {title}\n\n{_markdown(rows, notes, groups)}", encoding="utf-8")
    output.write_text(page(title, sections(groups)), encoding="utf-8")
    return output


def study_files(study: Path, title: str) -> Path:
    """Write a study's `runs.csv`, `summary.{csv,md,tex}` and `report.html`; returns the last."""
    runs = find_runs([study])
    groups = group_runs(runs, labelled=True)
    rows, notes = summarise(groups), fairness(groups)
    contents = {
        "runs.csv": runs_csv(runs, groups),
        "summary.csv": summary_csv(rows),
        "summary.md": _markdown(rows, notes, groups),
        "summary.tex": summary_tex(rows),
        "report.html": page(title, sections(groups)),
    }
    for name, content in contents.items():
        (study / name).write_text(content, encoding="utf-8")
    return study / "report.html"


def _markdown(rows: Sequence[Row], notes: Sequence[str], groups: Sequence[Group]) -> str:
    runs = [run for group in groups for run in group.runs]
    return summary_md(rows, notes, unfinished(runs)) + grid_md(groups) + answers_md(groups) + lengths_md(groups) + ledger_md(groups)


def unfinished(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs that the tables leave out."""
    return [run for run in runs if run.status != "done"]


def fairness(groups: Sequence[Group]) -> list[str]:
    """What was held equal between the groups and what was not, one sentence each."""
    finished = [group for group in groups if group.finished]
    notes = []
    if len(finished) > 1:
        for name, unit in (("parameters", "parameters"), ("tokens", "training tokens"), ("seconds", "seconds of training")):
            means = [statistics.fmean(group.sizes(name)) for group in finished if group.sizes(name)]
            if len(means) < len(finished):
                continue
            low, high = min(means), max(means)
            if high - low <= 0.005 * high:
                notes.append(f"Equal {unit}: {size_text(high)}.")
            elif name != "seconds" or high > 1.25 * low:
                notes.append(f"Not equal: {unit}, {size_text(low)} to {size_text(high)}.")
        differing = differing_keys([group.finished[0] for group in finished])
        for section, consequence in (
            ("objective", "their losses measure different things"),
            ("tokenizer", "compare bits per byte, not losses per token"),
            ("data", "they were not tested on the same text"),
        ):
            if any(key.split(".")[0] == section for key in differing):
                notes.append(f"The groups differ in {section}: {consequence}.")
        notes += _kernel_notes(finished)
    notes += [f"Not measured, {run.label} seed {run.seed}: {run.failure}." for group in groups for run in group.finished if run.failure]
    if any(len(group.finished) == 1 for group in groups):
        notes.append("A group with one run says nothing about spread (n=1, no spread); train more seeds before trusting a difference.")
    return notes


def _kernel_notes(finished: Sequence[Group]) -> list[str]:
    """Whether the groups were computed by the same kernels; nothing where some did not tell."""
    of = {group.label: sorted({kernel for run in group.finished for kernel in run.kernels}) for group in finished}
    if not all(of.values()):
        return []
    if len({tuple(kernels) for kernels in of.values()}) == 1:
        return [f"The same kernels throughout ({'; '.join(next(iter(of.values())))})."]
    told = " | ".join(f"{label}: {'; '.join(kernels)}" for label, kernels in of.items())
    return [f"The groups ran by different kernels, so that seconds and tokens/s compare these too: {told}."]


def sections(groups: Sequence[Group]) -> str:
    """The parts of a report: summary, what did not finish, mask grid and what it says, the ledger of training, curves, final values, all runs."""
    runs = [run for group in groups for run in group.runs]
    rows = summarise(groups)
    parts = [_summary(rows, fairness(groups), len(runs)), _unfinished(unfinished(runs)), grid_section(groups), answers_section(groups)]
    parts += [lengths_section(groups), ledger_section(groups), curves(groups), _intervals(groups), _run_list(groups)]
    return "\n".join(part for part in parts if part)


def _summary(rows: Sequence[Row], notes: Sequence[str], n_runs: int) -> str:
    columns = list(rows[0].cells)
    lines = [
        [row.label, count_text(row), size_text(row.sizes["parameters"])]
        + [spread_text(*row.cells[name]) for name in columns]
        + [size_text(row.sizes["tokens_per_second"])]
        for row in rows
    ]
    best = {(row, columns.index(name) + 3) for name, row in best_rows(rows).items()}
    shown = table(["", "n", "parameters", *(heading(name) for name in columns), "tokens/s"], lines, best)
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return (
        f'<section><p class="soft">{n_runs} run{"s" if n_runs != 1 else ""} in {len(rows)} group{"s" if len(rows) != 1 else ""}; '
        f"final values, mean ± sample standard deviation over seeds; bold: best mean.</p>{shown}<ul>{listed}</ul></section>"
    )


def _unfinished(runs: Sequence[RunRecord]) -> str:
    if not runs:
        return ""
    items = ""
    for run in runs:
        reason = f", {run.reason}" if run.reason else ""
        items += f"<li><code>{escape(run.path.name)}</code> ({escape(run.label)}): <b>{escape(run.status)}</b>{escape(reason)}</li>"
    return f"<section><h2>Not finished, and not in the table</h2><ul>{items}</ul></section>"


def mean_curve(runs: Sequence[RunRecord], metric: str, axis: str) -> tuple[list[tuple[float, float]], list[float] | None]:
    """Mean and spread of a metric over the runs at the steps that all of them measured; the spread is None for a single run."""
    by_step = [
        {line["step"]: (line[AXES[axis]], line[metric]) for line in run.history if metric in line and AXES[axis] in line and "step" in line}
        for run in runs
    ]
    by_step = [points for points in by_step if points]
    if not by_step:
        return [], None
    common = sorted(set.intersection(*(set(points) for points in by_step)))
    points = [(statistics.fmean(p[s][0] for p in by_step), statistics.fmean(p[s][1] for p in by_step)) for s in common]
    if len(by_step) == 1:
        return _thinned(points), None
    spread = [statistics.stdev([p[s][1] for p in by_step]) for s in common]
    both = [(x, sd) for (x, _), sd in zip(points, spread, strict=True)]
    return _thinned(points), [sd for _, sd in _thinned(both)]


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    size = math.ceil(len(points) / MOST_POINTS)
    chunks = [points[start : start + size] for start in range(0, len(points), max(size, 1))]
    return [(statistics.fmean(x for x, _ in chunk), statistics.fmean(y for _, y in chunk)) for chunk in chunks]


def curves(groups: Sequence[Group], references: dict[str, tuple[str, float]] | None = None) -> str:
    """Every metric over steps, tokens and seconds; the reader chooses the axis. `references`: metric → (name, value) of a line to draw."""
    measured = dict.fromkeys(name for group in groups for run in group.runs for line in run.history for name in line)
    names = [name for name in scores(groups) if name in measured]
    names = [name for name in ("train/loss",) if name in measured and name not in names] + names
    figures = [_figure(groups, name, (references or {}).get(name)) for name in names]
    figures = [figure for figure in figures if figure]
    if not figures:
        return ""
    legend = "".join(f'<li><i class="c{i % 8}"></i>{escape(group.label)}</li>' for i, group in enumerate(groups))
    return f'<section><h2>Curves</h2>{axis_choice()}<ul class="legend">{legend}</ul><div class="grid-of-charts">{"".join(figures)}</div></section>'


def axis_choice() -> str:
    """Buttons that choose what the charts of their section are drawn over; no script is needed."""
    choices = "".join(
        f'<input type="radio" name="axis" id="axis-{axis}"{" checked" if axis == "steps" else ""}><label for="axis-{axis}">{axis}</label>'
        for axis in AXES
    )
    return f'<p class="choices soft">over {choices}</p>'


def by_axis(draw: Callable[[str], str]) -> str:
    """A chart over each axis, of which the page shows the chosen one."""
    return "".join(f'<div class="by-{axis}">{draw(axis)}</div>' for axis in AXES)


def _figure(groups: Sequence[Group], metric: str, reference: tuple[str, float] | None) -> str:
    def lines(axis: str) -> list[Series]:
        series = []
        for colour, group in enumerate(groups):
            points, spread = mean_curve(group.finished or group.runs, metric, axis)
            if points:
                series.append(Series(label=group.label, points=points, colour=colour, spread=spread, dashed=not group.finished))
        return series

    if not any(len(one.points) > 1 for one in lines("steps")):
        return ""
    charts = by_axis(lambda axis: line_chart(lines(axis), name=f"{metric} over {axis}", x_label=axis, reference=reference))
    return f"<figure><h3>{escape(heading(metric))}</h3>{charts}</figure>"


def _intervals(groups: Sequence[Group]) -> str:
    if len(groups) < 2:
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
    return f'<section><h2>Final values</h2><div class="grid-of-charts">{"".join(figures)}</div></section>' if figures else ""


def _run_list(groups: Sequence[Group]) -> str:
    columns, lines = scores(groups), []
    for group in groups:
        for run in group.runs:
            final = run.final()
            values = [spread_text(final.get(name, math.nan), None) for name in columns]
            seconds = run.summary.get("seconds")
            taken, kernels = f"{seconds:.0f}" if seconds is not None else "–", "; ".join(run.kernels) or "–"
            lines.append([run.path.name, group.label, str(run.seed), run.status, *values, taken, kernels])
    shown = table(["run", "group", "seed", "status", *(heading(name) for name in columns), "seconds", "kernels"], lines)
    return f"<section><h2>All runs</h2>{shown}</section>"
