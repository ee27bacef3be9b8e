"""From run folders alone to tables, curves and one HTML file that opens with no network."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from transformer_zoo.errors import ConfigError, RunNotFoundError
from transformer_zoo.experiments.results import RunRecord
from transformer_zoo.reports.comparing import baseline_of, compare, comparisons_csv, comparisons_md, comparisons_tex
from transformer_zoo.reports.continuations import continuation_md, continuation_section
from transformer_zoo.reports.curve_data import data as curve_data
from transformer_zoo.reports.curves import Chart, Reference, charts, curve_files, curves
from transformer_zoo.reports.effect_files import effect_files
from transformer_zoo.reports.effects import effects_section
from transformer_zoo.reports.fairness import fairness
from transformer_zoo.reports.finding import StudyRecord, find_runs, read_study, study_of
from transformer_zoo.reports.grids import grid_md, grid_section
from transformer_zoo.reports.groups import Group, group_runs
from transformer_zoo.reports.ledgers import ledger_md, ledger_section
from transformer_zoo.reports.lengths import lengths_md, lengths_section
from transformer_zoo.reports.mask_answers import answers_md, answers_section
from transformer_zoo.reports.overview import comparison_section, fairness_section, final_values_section, runs_section, summary_section
from transformer_zoo.reports.page import page
from transformer_zoo.reports.pareto import pareto_files, pareto_section
from transformer_zoo.reports.parts import parts_section
from transformer_zoo.reports.provenance import commands_section, differences_section, studies_of, unfinished, unfinished_section
from transformer_zoo.reports.rows import Row, summarise
from transformer_zoo.reports.tables import runs_csv, summary_csv, summary_md, summary_tex
from transformer_zoo.reports.trials import chosen_values, trials_section

logger = logging.getLogger(__name__)


def report(paths: Iterable[Path], output: Path, *, title: str = "Runs", labelled: bool = False) -> Path:
    """Write one self-contained HTML file about the runs at `paths` and, beside it, `.csv` (a row per run) and `.md` (the summary). Where `output` is
    a folder, all that a study has stands there: see `study_files`.

    `paths`: run folders, studies, or folders of them; `labelled`: runs are grouped by the labels of their plans, as
    those of one study always are.
    Returns the HTML file's path. Raises RunNotFoundError where there is nothing to report, ConfigError where a file cannot be written, and, after
    everything was written, RunNotFoundError where no run has finished and ConfigError where runs of a study differ in what it did not declare.
    """
    page_file = _page_file(output)
    runs = find_runs(paths)
    study = study_of(runs)
    groups = group_runs(runs, labelled=labelled or (study is not None and not study.problem))
    fair = fairness(groups, study=study)
    if page_file == output:
        name = page_file.stem
        contents = {
            f"{name}.csv": runs_csv(runs, groups),
            f"{name}.md": f"# {title}\n\n{_markdown(summarise(groups), fair.notes, groups)}",
            page_file.name: html(title, groups),
        }
    else:
        contents = _all_files(title, runs, groups, study)
    _write(page_file.parent, contents, output)
    if not any(group.finished for group in groups):
        raise RunNotFoundError(f"report: {_how_far(runs)}, so there is nothing to compare yet; {page_file} shows how far they came")
    for note in fair.told(str(page_file)):
        logger.warning("%s", note)
    if study is not None:
        fair.refuse(str(study.path))
    return page_file


def study_files(study: Path, title: str) -> Path:
    """Write a study's `runs.csv`, `summary.{csv,md,tex}`, `comparisons.{csv,md,tex}`, pictures (`curves-*.svg`, `pareto-*.svg`,
    `factors-*.svg`) and `report.html`; returns the last."""
    runs = find_runs([study])
    _write(study, _all_files(title, runs, group_runs(runs, labelled=True), read_study(study)), study)
    return study / "report.html"


def _all_files(title: str, runs: Sequence[RunRecord], groups: Sequence[Group], study: StudyRecord | None) -> dict[str, str]:
    """Name of a file → what stands in it."""
    rows, notes = summarise(groups), fairness(groups, study=study).notes
    compared = compare(groups, baseline=baseline_of(groups, study))
    return {
        "runs.csv": runs_csv(runs, groups),
        "summary.csv": summary_csv(rows),
        "summary.md": _markdown(rows, notes, groups),
        "summary.tex": summary_tex(rows),
        "comparisons.csv": comparisons_csv(compared),
        "comparisons.md": comparisons_md(compared, groups),
        "comparisons.tex": comparisons_tex(compared),
        **curve_files(groups, charts(groups, references(groups))),
        **pareto_files(groups),
        **effect_files(groups),
        "report.html": html(title, groups),
    }


def _write(folder: Path, contents: Mapping[str, str], asked: Path) -> None:
    """`asked`: what the user knows the place as."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"report: {str(asked)!r} cannot be written ({error.strerror}); name another place with --output") from error


def _page_file(output: Path) -> Path:
    """Where the page goes: the file itself, or `report.html` in a folder. What looks like a file of another kind is refused."""
    if output.suffix == ".html":
        return output
    if output.suffix and not output.is_dir():
        raise ConfigError(f"report: {str(output)!r} is neither a folder nor a page, whose name ends in .html; name another place with --output")
    return output / "report.html"


def _how_far(runs: Sequence[RunRecord]) -> str:
    """`none of the 3 runs has finished (2 failed, 1 running)`."""
    ended = [run.status for run in runs]
    counts = ", ".join(f"{ended.count(status)} {status}" for status in dict.fromkeys(ended))
    return f"none of the {len(runs)} runs has finished ({counts})" if len(runs) > 1 else f"the run has not finished ({counts[2:]})"


def _markdown(rows: Sequence[Row], notes: Sequence[str], groups: Sequence[Group]) -> str:
    runs = [run for group in groups for run in group.runs]
    compared = compare(groups, baseline=baseline_of(groups, study_of(runs)))
    measured = grid_md(groups) + answers_md(groups) + continuation_md(groups) + lengths_md(groups) + ledger_md(groups)
    return summary_md(rows, notes, unfinished(runs)) + comparisons_md(compared, groups) + measured


def html(title: str, groups: Sequence[Group]) -> str:
    """The whole page."""
    found = charts(groups, references(groups))
    return page(title, sections(groups, found), curve_data(groups, found))


def sections(groups: Sequence[Group], found: Sequence[Chart] = ()) -> str:
    """The parts of a report; `found`: its curves."""
    runs = [run for group in groups for run in group.runs]
    study = study_of(runs)
    studies = studies_of(runs)
    parts = [
        fairness_section(fairness(groups, study=study), len(runs), len(groups)),
        summary_section(groups, chosen_values(study)),
        comparison_section(groups, baseline_of(groups, study)),
        unfinished_section(runs),
        trials_section(studies),
        curves(groups, found),
        pareto_section(groups),
        effects_section(groups),
        final_values_section(groups),
        grid_section(groups),
        answers_section(groups),
        continuation_section(groups),
        lengths_section(groups),
        ledger_section(groups),
        parts_section(groups, studies),
        differences_section(groups),
        runs_section(groups),
        commands_section(groups, studies),
    ]
    return "\n".join(part for part in parts if part)


def references(groups: Sequence[Group]) -> dict[str, Reference]:
    """The best possible value of a metric, where all finished runs tell the same one as `SPLIT/floor` (of the loss) or `SPLIT/METRIC_floor`."""
    finals = [run.final() for group in groups for run in group.finished]
    found: dict[str, Reference] = {}
    for name in dict.fromkeys(name for final in finals for name in final if name.count("/") == 1 and name.endswith("floor")):
        split, _, measure = name.partition("/")
        metric = f"{split}/{measure.removesuffix('_floor') if measure != 'floor' else 'loss'}"
        values = [final[name] for final in finals if name in final]
        if len(values) == len(finals) and math.isfinite(values[0]) and all(math.isclose(value, values[0], rel_tol=1e-6) for value in values):
            found[metric] = ("best possible", values[0])
    return found
