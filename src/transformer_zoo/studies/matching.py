"""What is held equal between the models of a comparison."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.studies.cells import Compose, Contestant
from transformer_zoo.studies.costs import Price, pricer

Count = Callable[[ExperimentConfig], int]
"""Trainable parameters of what the settings describe."""

MEASURES = ("parameters",)


def match(
    contestants: Sequence[Contestant],
    common: Sequence[str],
    measures: Sequence[str],
    *,
    compose: Compose,
    price: Price | None = None,
    count_embeddings: bool = True,  # noqa: ARG001
    tolerance: float = 0.02,  # noqa: ARG001
) -> list[Contestant]:
    """The contestants, made equal to the first in `measures`."""
    price = price or pricer()
    found: list[Contestant] = []
    for one in contestants:
        own = list(one.overrides)
        costs = price(compose([*own, *common]))
        if "parameters" in measures and found and costs.parameters != found[0].parameters:
            own += matching_width([*own, *common], found[0].parameters or 0, compose, lambda config: price(config).parameters)
            costs = price(compose([*own, *common]))
        found.append(replace(one, parameters=costs.parameters, overrides=own, costs=costs))
    return found


def matching_width(overrides: Sequence[str], parameters: int, compose: Compose, count: Count) -> list[str]:
    """Overrides of `d_model` and `d_ff` that bring a model closest to a number of parameters; layers, heads and d_ff : d_model stay."""
    model: Any = compose(overrides).model
    if not all(hasattr(model, name) for name in ("d_model", "d_ff", "n_heads")):
        raise ConfigError(f"match=parameters: {overrides[0]} has no d_model, d_ff and n_heads to fit; leave match out or set its size yourself")
    unit, ratio = 2 * model.n_heads, model.d_ff / model.d_model  # whole, even head widths, as rotary positions need

    def at(units: int) -> list[str]:
        return [f"model.d_model={units * unit}", f"model.d_ff={max(1, round(units * unit * ratio))}"]

    def size(units: int) -> int:
        return count(compose([*overrides, *at(units)]))

    low, high = 1, 2
    while size(high) < parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) < parameters else (low, middle)
    return at(min((low, high), key=lambda units: abs(size(units) - parameters)))
