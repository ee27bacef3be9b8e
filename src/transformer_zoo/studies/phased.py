"""Runs of several phases are not made equal but held to it: their phases say how long they are, and what they come to in all is compared."""

from collections.abc import Sequence

from transformer_zoo.errors import ConfigError
from transformer_zoo.studies.cells import Cell, Compose
from transformer_zoo.studies.costs import Costs, Price, pricer

BUDGETS = {"flops": "FLOPs", "tokens": "tokens", "predicted_tokens": "predicted tokens", "steps": "steps"}
"""What phases add up to → its name in sentences."""


def check_totals(cells: Sequence[Cell], baseline: str, measures: Sequence[str], compose: Compose, price: Price | None, tolerance: float) -> None:
    """Raises ConfigError where a run, all phases together, has more or less of a measure than the baseline's by more than the tolerance."""
    price = price or pricer()
    first = {cell.label: cell for cell in reversed(cells)}
    costs = {label: [*(price(compose(phase)) for phase in cell.phases), price(cell.config)] for label, cell in first.items()}
    problems = []
    for measure in measures:
        totals = {label: _total(measure, label, phases) for label, phases in costs.items()}
        wanted = totals[baseline]
        for label, total in totals.items():
            share = total / wanted - 1
            if abs(share) > tolerance:
                problems.append(
                    f"match={measure}: {label} has {share:+.1%} {BUDGETS[measure]} of {baseline}, all phases together; runs with phases keep the "
                    f"budgets they are given: give its phases other ones, or raise tolerance={tolerance:g}"
                )
    if problems:
        raise ConfigError(*problems)


def _total(measure: str, label: str, phases: Sequence[Costs]) -> float:
    if measure not in BUDGETS or any(one.steps is None for one in phases):
        raise ConfigError(f"match={measure}: {label}: phases are compared in {', '.join(BUDGETS)}, with budgets in steps, tokens or epochs")
    return float(sum(getattr(one, measure) for one in phases))
