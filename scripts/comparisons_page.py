"""Writes studies into docs/comparisons.md, with their figures and results: `python scripts/comparisons_page.py STUDY …`, folders that
`transformer-zoo ablate study=architectures` (positions, paired, or one of them on books) made.

The text around the marks stays; between the marks of a study everything is written anew from its folder.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from transformer_zoo.reports.comparing import baseline_of, compare, comparisons_md, meaningful
from transformer_zoo.reports.continuations import BITS, by_group, continuation_chart, continuation_md
from transformer_zoo.reports.fairness import fairness
from transformer_zoo.reports.finding import StudyRecord, find_runs, read_study
from transformer_zoo.reports.groups import Group, group_runs, mean_and_deviation
from transformer_zoo.reports.lengths import by_group as lengths_of
from transformer_zoo.reports.lengths import lengths_chart, lengths_md
from transformer_zoo.reports.svg import Interval, dot_chart, figure
from transformer_zoo.reports.tables import heading, md, runs_csv, size_text, spread_text

ROOT = Path(__file__).parents[1]
NAMES = ("architectures", "architectures_books", "positions", "positions_books", "paired", "paired_books")
COSTS = ("parameters", "flops", "tokens", "predicted_tokens", "seconds")
MOST_PANELS = 4
SAID_BY_LOSS = ("perplexity", "bits_per_byte")
INSIDE = re.compile(r"(?<=,)/[^,\"]*/(?=runs/)")
"""Begins a path into a study that was moved since: where it was kept is nobody else's business."""
PLACE = "study_dir="
"""Begins the word that says the same."""


def main(studies: Sequence[Path], root: Path = ROOT) -> None:
    page = root / "docs" / "comparisons.md"
    text = page.read_text(encoding="utf-8")
    for study in studies:
        record = read_study(study)
        if record is None:
            raise SystemExit(f"{study}: this is no study (it has no study.yaml)")
        name = name_of(record)
        groups = group_runs(find_runs([study]), labelled=True)
        if not any(group.finished for group in groups):
            raise SystemExit(f"{study}: no run is finished")
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if begin not in text or end not in text:
            raise SystemExit(f"{page} has no marks {begin} … {end}")
        picture = root / "docs" / "figures" / f"comparison_{name}.svg"
        picture.write_text(drawn(groups), encoding="utf-8")
        kept = root / "benchmarks" / "results" / f"study_{name}.csv"
        runs = runs_csv([run for group in groups for run in group.runs], groups)
        kept.write_text(INSIDE.sub("", runs), encoding="utf-8")
        head, _, rest = text.partition(begin)
        text = f"{head}{begin}\n\n{section(name, record, groups)}\n{end}{rest.partition(end)[2]}"
    page.write_text(text, encoding="utf-8")


def name_of(record: StudyRecord) -> str:
    """Which study of `configs/study/` it is, by the command that repeats it."""
    found = [word.removeprefix("study=") for word in record.command if word.startswith("study=")]
    if not found or found[0] not in NAMES:
        raise SystemExit(f"{record.path}: its command names none of {', '.join(NAMES)}")
    return found[0]


def section(name: str, record: StudyRecord, groups: Sequence[Group]) -> str:
    """All that is told of one study."""
    finished = [group for group in groups if group.finished]
    n_seeds = sorted({len(group.finished) for group in finished})
    run = finished[0].finished[0]
    machine = (run.environment.get("device") or {}).get("name", "a CPU")
    version = (run.environment.get("versions") or {}).get("torch", "?")
    seconds = sum(cost for group in finished for one in group.finished if (cost := one.size("seconds")) is not None)
    planned, done = sum(len(group.runs) for group in groups), sum(len(group.finished) for group in groups)
    seeds = f"{n_seeds[0]} seed{'' if n_seeds == [1] else 's'}" if len(n_seeds) == 1 else f"{n_seeds[0]} to {n_seeds[-1]} seeds"
    fair = fairness(groups, study=record)
    missed = [note for note in fair.warnings if note.startswith("Matched in")]
    sizes = [f"- {note}" for note in [*missed, *(note for note in fair.unequal if note.startswith("Not equal"))]]
    meant = "Meant to be equal" if missed else "Made equal"
    equal = f"{meant}: {', '.join(record.matched)} (within {record.tolerance:.0%})." if record.matched else "Nothing was made equal."
    told = [
        f"`transformer-zoo {' '.join(word for word in record.command if not word.startswith(PLACE))}`",
        "",
        f"{done} of {planned} runs, {seeds}; {equal} Training took {seconds / 60:.0f} minutes of runs in all on {machine}, torch {version}.",
        "",
        *([*sizes, ""] if sizes else []),
        *table(finished),
        "",
        f"![{name}](figures/comparison_{name}.svg)",
    ]
    compared = compare(finished, told_of(finished), baseline=baseline_of(finished, record))
    parts = "".join([continuation_md(finished), lengths_md(finished), comparisons_md(compared, finished)])
    kept = f"Every run: `benchmarks/results/study_{name}.csv`."
    return "\n".join(told) + "\n" + parts.replace("\n## ", "\n#### ") + f"\n{kept}\n"


def table(groups: Sequence[Group]) -> list[str]:
    """Scores and costs, a row per group: costs with those of earlier phases."""
    columns, costs = told_of(groups), [name for name in COSTS if all(group.sizes(name) for group in groups)]
    header = ["", *map(heading, columns), *(name.replace("_", " ") for name in costs)]
    rows = []
    for group in groups:
        told = [spread_text(*mean_and_deviation(values)) if (values := group.values(name)) else "–" for name in columns]
        rows.append([md(group.label), *told, *(size_text(mean_and_deviation(group.sizes(name))[0]) for name in costs)])
    return [f"| {' | '.join(line)} |" for line in (header, ["---", *["---:"] * (len(header) - 1)], *rows)]


def told_of(groups: Sequence[Group]) -> list[str]:
    """The metrics that at least two groups have and that mean the same there, each once: with one tokenizer perplexity and bits per byte say what the
    loss says, and every further comparison makes the others harder to tell from chance."""
    names = [name for name in meaningful(groups) if sum(bool(group.values(name)) for group in groups) > 1]
    return [name for name in names if not (name.rpartition("/")[2] in SAID_BY_LOSS and f"{name.partition('/')[0]}/loss" in names)]


def drawn(groups: Sequence[Group]) -> str:
    """The rest of a text with the best possible value, longer windows, and the scores that mean the same in all groups, measurements first."""
    finished = [group for group in groups if group.finished]
    panels = [("bits per byte, from left to right ↓", continuation_chart(finished))] if by_group(finished, BITS) else []
    panels += [("nats per token in longer windows ↓", lengths_chart(finished))] if lengths_of(finished) else []
    measured = {name for group in finished for run in group.finished for name in run.measured_scores()}
    names = [name for name in told_of(finished) if "continuation_" not in name and "lengths_" not in name]
    names.sort(key=lambda name: name not in measured)
    panels += [(heading(name), scored(finished, name)) for name in names]
    if not panels:
        raise SystemExit(f"{finished[0].finished[0].path.parents[1]}: no metric means the same in all groups")
    return figure(panels[:MOST_PANELS], [group.label for group in finished])


def scored(groups: Sequence[Group], metric: str) -> str:
    """Every run's value and the mean of its group."""
    rows = []
    for colour, group in enumerate(groups):
        values = group.values(metric)
        mean, deviation = mean_and_deviation(values)
        rows.append(Interval(label=group.label, values=values, mean=mean, deviation=deviation, colour=colour))
    return dot_chart(rows, name=metric, x_label=metric)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main([Path(word) for word in sys.argv[1:]])
