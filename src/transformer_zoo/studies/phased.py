"""Contestants of several phases, made equal in what all phases come to together: their steps are scaled alike, so that the shares stay."""

from collections.abc import Sequence
from dataclasses import replace

from transformer_zoo.errors import ConfigError
from transformer_zoo.studies.cells import Compose
from transformer_zoo.studies.costs import Costs, Price, pricer
from transformer_zoo.studies.groups import Group

BUDGETS = {"flops": "FLOPs", "tokens": "tokens", "predicted_tokens": "predicted tokens", "steps": "steps"}
"""What phases add up to → its name in sentences."""


def make_equal(groups: Sequence[Group], baseline: str, measures: Sequence[str], compose: Compose, price: Price | None, tolerance: float) -> None:
    """Scales the steps of every group to the first measure of the baseline, and holds it to the others.

    Raises:
        ConfigError: a budget is in seconds, or another measure comes out unequal by more than the tolerance.
    """
    price = price or pricer()
    for measure in measures:
        if measure not in BUDGETS:
            raise ConfigError(f"match={measure}: runs with phases are made equal in {', '.join(BUDGETS)}; leave {measure} out")
    costs = {group.label: [price(compose(words)) for words in (*group.phases, group.words)] for group in groups}
    for label, phases in costs.items():
        if any(one.steps is None for one in phases):
            raise ConfigError(f"match={','.join(measures)}: {label} has a budget in seconds, of which nobody knows the steps: give training.steps")
    wanted = _total(measures[0], costs[baseline])
    for group in groups:
        share = wanted / _total(measures[0], costs[group.label])
        if abs(share - 1) * max(one.steps or 0 for one in costs[group.label]) >= 0.5:  # at least one step more or less
            scaled = [replace(one, steps=float(max(1, round((one.steps or 0) * share)))) for one in costs[group.label]]
            costs[group.label] = scaled
            group.take_steps([int(one.steps or 0) for one in scaled])
        group.contestant.costs = None if group.phases else costs[group.label][0]  # one phase's costs would pass for those of all
    problems, asked = [], ",".join(measures)
    for measure in measures:
        for label, phases in costs.items():
            share = _total(measure, phases) / _total(measure, costs[baseline]) - 1
            if abs(share) > tolerance:
                problems.append(
                    f"match={asked}: {label} has {share:+.1%} {BUDGETS[measure]} of {baseline}, all phases together: leave {measure} "
                    f"out, give it more steps, or raise tolerance={tolerance:g}"
                )
    if problems:
        raise ConfigError(*problems)


def _total(measure: str, phases: Sequence[Costs]) -> float:
    return sum((one.steps or 0.0) if measure == "steps" else float(getattr(one, measure)) for one in phases)
