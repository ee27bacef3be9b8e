"""What runs tell of their training besides metrics: the ledgers of their summaries, side by side."""

from collections.abc import Sequence

from transformer_zoo.experiments.results import RunRecord, is_number
from transformer_zoo.reports.groups import Group, mean_and_deviation
from transformer_zoo.reports.page import table
from transformer_zoo.reports.tables import size_text, spread_text

COSTS = ("tokens", "flops")
"""What training cost, by the names of `summary.json`; told behind a ledger."""


def ledger_lines(groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """Names of all that is told, and for every group with a finished run its label and the means over its runs; nothing where nobody tells."""
    names = list(dict.fromkeys(name for group in groups for run in group.finished for name in _told(run)))
    lines = []
    for group in groups if names else ():
        cells = []
        for name in names:
            values = [told[name] for told in map(_told, group.finished) if name in told]
            mean, deviation = mean_and_deviation(values)
            cells.append(size_text(mean) if all(value == int(value) for value in values) else spread_text(mean, deviation))
        if group.finished:
            lines.append([group.label, *cells])
    return names, lines


def _told(run: RunRecord) -> dict[str, float]:
    """A run's ledger and, behind it, what training cost; nothing where it has no ledger."""
    costs = {name: float(run.summary[name]) for name in COSTS if is_number(run.summary.get(name))}
    return run.ledger | costs if run.ledger else {}


def ledger_section(groups: Sequence[Group]) -> str:
    """HTML; empty where nobody tells anything."""
    names, lines = ledger_lines(groups)
    return f"<section><h2>Over the whole training</h2>{table(['', *names], lines)}</section>" if lines else ""


def ledger_md(groups: Sequence[Group]) -> str:
    """The same as a Markdown table, turned: a line for every name."""
    names, lines = ledger_lines(groups)
    if not lines:
        return ""
    labels = [line[0].replace("|", "\\|") for line in lines]
    head = [f"| over the whole training | {' | '.join(labels)} |", f"|---|{'---:|' * len(labels)}"]
    rows = [f"| {name} | {' | '.join(line[number] for line in lines)} |" for number, name in enumerate(names, 1)]
    return "\n" + "\n".join([*head, *rows]) + "\n"
