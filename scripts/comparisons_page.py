"""Writes studies into docs/comparisons.md, with their figures: `python scripts/comparisons_page.py STUDY …`, folders that
`transformer-zoo ablate study=NAME study_dir=NAME` made; the folder's name says which part of the page is written anew."""

import sys
from pathlib import Path

from transformer_zoo.experiments.results import Group, find_runs, group_runs, study_of
from transformer_zoo.reports.comparing import baseline_of, compare, sentences
from transformer_zoo.reports.fairness import fairness
from transformer_zoo.reports.lengths import lengths_chart, lengths_md
from transformer_zoo.reports.rows import scores, summarise
from transformer_zoo.reports.svg import Interval, dot_chart, figure
from transformer_zoo.reports.tables import cell_text, heading, runs_csv, size_text

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "comparisons.md"
FIGURES = ROOT / "docs" / "figures"
RESULTS = ROOT / "benchmarks" / "results"
SHOWN = 4
"""Panels of a figure, at most."""


def main(studies: list[Path]) -> None:
    for study in studies:
        name, groups = study.resolve().name, group_runs(find_runs([study]), labelled=True)
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        text = PAGE.read_text(encoding="utf-8")
        if begin not in text or end not in text:
            raise SystemExit(f"{PAGE.name} has no place for {name}: it needs the lines {begin} and {end}")
        head, _, rest = text.partition(begin)
        PAGE.write_text(f"{head}{begin}\n\n{section(name, groups)}\n{end}{rest.partition(end)[2]}", encoding="utf-8")
        (FIGURES / f"{name}.svg").write_text(drawn(groups), encoding="utf-8")
        runs = [run for group in groups for run in group.runs]
        (RESULTS / f"study_{name}.csv").write_text(runs_csv(runs, groups), encoding="utf-8")


def measured(groups: list[Group]) -> list[str]:
    """The held-out metrics that are worth a column: what was measured of finished runs, then loss and bits per byte."""
    found = dict.fromkeys(name for group in groups for run in group.finished for name in run.measured_scores())
    return [*found, *(name for name in scores(groups) if name.split("/")[-1] in {"loss", "bits_per_byte"} and name not in found)]


def section(name: str, groups: list[Group]) -> str:
    """What was run, what was equal, the results, and what they say."""
    run = next(run for group in groups for run in group.finished)
    runs = [run for group in groups for run in group.runs]
    study = study_of(runs)
    machine, versions = run.environment.get("device", {}), run.environment.get("versions", {})
    seconds = sum(float(one.summary.get("seconds") or 0) for one in runs)
    told = f"{len(runs)} runs, {seconds / 60:.0f} minutes of training; {machine.get('name', 'a CPU')}, torch {versions.get('torch', '?')}."
    names = measured(groups)
    lines = ["| | seeds | parameters | FLOPs | " + " | ".join(heading(one) for one in names) + " |", "|---|---:|---:|---:|" + "---:|" * len(names)]
    for row in summarise(groups):
        cells = [cell_text(row, one) for one in names]
        lines.append(
            f"| {row.label} | {row.finished} | {size_text(row.sizes['parameters'])} | {size_text(row.sizes['flops'])} | {' | '.join(cells)} |"
        )
    found = compare(groups, baseline=baseline_of(groups, study))
    fair = [f"- {note}" for note in fairness(groups, study=study).notes]
    said = [f"- {sentence}" for sentence in sentences(found, groups)]
    picture = f"![Results of the study {name}](figures/{name}.svg)"
    parts = [
        told,
        "",
        *lines,
        "",
        picture,
        lengths_md(groups),
        "What was equal, and what was not:",
        "",
        *fair,
        "",
        "What chance allows to say:",
        "",
        *said,
    ]
    return "\n".join(parts) + "\n"


def drawn(groups: list[Group]) -> str:
    """The seeds of every group in each metric, and longer windows where they were measured."""
    panels, rows = [], {row.label: row for row in summarise(groups)}
    for name in measured(groups)[:SHOWN]:
        dots = []
        for colour, group in enumerate(groups):
            mean, deviation = rows[group.label].cells[name]
            if values := group.values(name):
                dots.append(Interval(label=group.label, values=values, mean=mean, deviation=deviation, colour=colour))
        panels.append((heading(name), dot_chart(dots, name=name, x_label="final value")))
    if lengths_md(groups):
        panels.append(("loss in longer windows", lengths_chart(groups)))
    return figure(panels, [group.label for group in groups])


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main([Path(word) for word in sys.argv[1:]])
