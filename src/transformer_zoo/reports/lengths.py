"""Loss in longer windows than were trained on, as the `lengths` evaluation measured it of finished runs."""

import re
from collections.abc import Sequence
from html import escape

from transformer_zoo.experiments.results import RunRecord
from transformer_zoo.reports.groups import Group, mean_and_deviation
from transformer_zoo.reports.page import table
from transformer_zoo.reports.svg import Series, line_chart
from transformer_zoo.reports.tables import spread_text

_LOSS = re.compile(r"(\w+)/lengths/(\d+)/loss")
NOT_MEASURED = "–"


def losses(run: RunRecord) -> dict[int, float]:
    """Multiple of the trained length → loss in nats per token; empty where it was not measured."""
    found = [(_LOSS.fullmatch(name), value) for measured in run.measured.values() for name, value in (measured.get("metrics") or {}).items()]
    return {int(match[2]): float(value) for match, value in found if match}


def by_group(groups: Sequence[Group]) -> dict[str, dict[int, list[float]]]:
    """Label → multiple → the losses of the finished runs; groups without a measurement are left out."""
    told: dict[str, dict[int, list[float]]] = {}
    for group in groups:
        for run in group.finished:
            for multiple, loss in losses(run).items():
                told.setdefault(group.label, {}).setdefault(multiple, []).append(loss)
    return told


def _lines(told: dict[str, dict[int, list[float]]]) -> tuple[list[int], list[list[str]]]:
    multiples = sorted({multiple for values in told.values() for multiple in values})
    cells = [
        [label, *(spread_text(*mean_and_deviation(values[multiple])) if multiple in values else NOT_MEASURED for multiple in multiples)]
        for label, values in told.items()
    ]
    return multiples, cells


def lengths_md(groups: Sequence[Group]) -> str:
    """A Markdown table, empty where nothing was measured."""
    told = by_group(groups)
    if not told:
        return ""
    multiples, cells = _lines(told)
    lines = ["", "## Loss in longer windows than trained on", "", "| | " + " | ".join(f"{multiple}×" for multiple in multiples) + " |"]
    lines += ["|---|" + "---:|" * len(multiples), *("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in cells)]
    lines += ["", "The same tokens at every length, in nats; –: the model has no positions for that length."]
    return "\n".join(lines) + "\n"


def lengths_chart(groups: Sequence[Group], name: str = "loss over length") -> str:
    """Mean and spread of the loss over the length, as a static SVG."""
    series = []
    for colour, (label, values) in enumerate(by_group(groups).items()):
        summed = [(multiple, *mean_and_deviation(values[multiple])) for multiple in sorted(values)]
        spread = [deviation or 0.0 for *_, deviation in summed]
        series.append(
            Series(
                label=label,
                points=[(float(multiple), mean) for multiple, mean, _ in summed],
                colour=colour,
                spread=spread if any(spread) else None,
            )
        )
    return line_chart(series, name=name, x_label="length, as a multiple of the trained one")


def lengths_section(groups: Sequence[Group]) -> str:
    """Chart and table for a report, empty where nothing was measured."""
    told = by_group(groups)
    if not told:
        return ""
    multiples, cells = _lines(told)
    legend = "".join(f'<li><i class="c{i % 8}"></i>{escape(label)}</li>' for i, label in enumerate(told))
    shown = table(["", *(f"{multiple}× the trained length" for multiple in multiples)], cells)
    return (
        '<section><h2>Longer than trained</h2><p class="soft">The same held-out tokens in windows of growing length; loss in nats per token. '
        f"–: the model has no positions for that length.</p>"
        f'<ul class="legend">{legend}</ul><div class="grid-of-charts"><figure>{lengths_chart(groups)}</figure></div>{shown}</section>'
    )
