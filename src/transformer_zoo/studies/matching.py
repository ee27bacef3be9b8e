"""What is held equal between the models of a comparison."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from transformer_zoo.data.module import DataModule
from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.studies.cells import Compose, Contestant

Count = Callable[[ExperimentConfig], int]
"""Trainable parameters of what the settings describe."""

MEASURES = ("parameters",)


def match(
    contestants: Sequence[Contestant],
    common: Sequence[str],
    measures: Sequence[str],
    *,
    compose: Compose,
    price: Count | None = None,
    count_embeddings: bool = True,  # noqa: ARG001
    tolerance: float = 0.02,  # noqa: ARG001
) -> list[Contestant]:
    """The contestants, made equal to the first in `measures`."""
    count = price or counter()
    found: list[Contestant] = []
    for one in contestants:
        own = list(one.overrides)
        parameters = count(compose([*own, *common]))
        if "parameters" in measures and found and parameters != found[0].parameters:
            own += matching_width([*own, *common], found[0].parameters or 0, compose, count)
            parameters = count(compose([*own, *common]))
        found.append(replace(one, parameters=parameters, overrides=own))
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


def counter() -> Count:
    """Counts parameters, opening the data for its vocabulary once for all models that share data and tokenizer."""
    from transformer_zoo.experiments import assemble

    opened: dict[str, DataModule] = {}

    def count(config: ExperimentConfig) -> int:
        key = json.dumps([to_dict(config.data), to_dict(config.tokenizer), str(config.objective.needs())], default=str)
        if key not in opened:
            opened[key] = assemble.open_data(config)
        data = opened[key]
        objective = assemble.build_objective(config.objective, data, data.vocabulary)
        model = assemble.build_on_meta(config.model, data.vocabulary.size, objective.needs().heads)
        return sum(parameter.numel() for parameter in model.parameters())

    return count
