"""What layouts make of the same question, the rest of a text, as the `continuation` evaluation measured it of finished runs."""

from collections.abc import Sequence

from transformer_zoo.experiments.results import RunRecord
from transformer_zoo.reports.groups import Group, mean_and_deviation
from transformer_zoo.reports.page import table
from transformer_zoo.reports.svg import Interval, dot_chart
from transformer_zoo.reports.tables import md, spread_text

BITS, FLOOR, PSEUDO = "bits_per_byte", "bits_per_byte_floor", "pseudo_bits_per_byte"
COLUMNS = {BITS: "bits per byte", PSEUDO: "each token hidden alone"}
BEST_POSSIBLE = "best possible"
ROUNDING = 1e-9
EXPLAINED = (
    "Bits per byte of the second half of the same held-out windows, each token given what stands before it in its window: for every layout the "
    "length of a code for the text, though an encoder was never trained to be asked so. Each token hidden alone: an encoder is told what stands "
    "behind, too, so that figure is no probability of the text and is not to be compared with the others."
)


def of_run(run: RunRecord) -> dict[str, float]:
    """The measures of a run by their last words; empty where it was not measured."""
    told = [*(measured.get("metrics") or {} for measured in run.measured.values()), run.final()]
    return {
        name.rpartition("/")[2]: float(value)
        for metrics in told
        for name, value in metrics.items()
        if name.split("/")[1:2] == ["continuation"] and name.count("/") == 2
    }


def by_group(groups: Sequence[Group], measure: str) -> dict[str, list[float]]:
    """Label → the values of the finished runs; groups without one are left out."""
    told = {group.label: [of_run(run)[measure] for run in group.finished if measure in of_run(run)] for group in groups}
    return {label: values for label, values in told.items() if values}


def floor(groups: Sequence[Group]) -> float | None:
    """The best possible value, where all measured runs tell the same."""
    found = [value for values in by_group(groups, FLOOR).values() for value in values]
    n_measured = sum(map(len, by_group(groups, BITS).values()))
    return found[0] if found and len(found) == n_measured and max(found) - min(found) < ROUNDING else None


def lines(groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table."""
    columns = [measure for measure in COLUMNS if by_group(groups, measure)]
    best, told = floor(groups), {measure: by_group(groups, measure) for measure in columns}
    header = ["", COLUMNS[BITS], *(["above the best possible"] if best is not None else []), *(COLUMNS[one] for one in columns if one != BITS)]
    rows = []
    for label, values in told[BITS].items():
        mean, deviation = mean_and_deviation(values)
        above = [spread_text(mean - best, deviation)] if best is not None else []
        rest = [spread_text(*mean_and_deviation(told[one][label])) if label in told[one] else "–" for one in columns if one != BITS]
        rows.append([label, spread_text(mean, deviation), *above, *rest])
    if best is not None:
        rows.append([BEST_POSSIBLE, spread_text(best, None), *("–" for _ in header[2:])])
    return header, rows


def continuation_md(groups: Sequence[Group]) -> str:
    """A Markdown table, empty where nothing was measured."""
    if not by_group(groups, BITS):
        return ""
    header, rows = lines(groups)
    told = [f"| {' | '.join(header)} |", "|---|" + "---:|" * (len(header) - 1), *(f"| {' | '.join([md(row[0]), *row[1:]])} |" for row in rows)]
    return "\n".join(["", "## The rest of a text", "", *told, "", EXPLAINED]) + "\n"


def continuation_chart(groups: Sequence[Group]) -> str:
    """Every run and the mean of its group, with the best possible value drawn in."""
    rows = []
    for colour, (label, values) in enumerate(by_group(groups, BITS).items()):
        mean, deviation = mean_and_deviation(values)
        rows.append(Interval(label=label, values=values, mean=mean, deviation=deviation, colour=colour))
    best = floor(groups)
    return dot_chart(rows, name="bits per byte", x_label="bits per byte", reference=None if best is None else (BEST_POSSIBLE, best))


def continuation_section(groups: Sequence[Group]) -> str:
    """Chart and table for a report, empty where nothing was measured."""
    if not by_group(groups, BITS):
        return ""
    shown = table(*lines(groups))
    figure = f'<div class="grid-of-charts"><figure>{continuation_chart(groups)}</figure></div>'
    return f'<section><h2>The rest of a text</h2><p class="soft">{EXPLAINED}</p>{figure}{shown}</section>'
