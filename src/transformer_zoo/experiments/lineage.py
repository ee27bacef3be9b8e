"""Where a model comes from: what it changed in its ancestor, that in its own, and so on back to the 2017 Transformer."""

from dataclasses import dataclass, field
from typing import Any

from transformer_zoo.experiments import words
from transformer_zoo.experiments.catalog import kind_of
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.experiments.results import flatten

OF_SIZE = {"d_model", "n_layers", "n_heads", "d_ff", *(f"attention.{name}" for name in words.SIZES)}
"""Settings that belong to a size and say nothing of an architecture."""


@dataclass(frozen=True)
class Difference:
    """One setting of a model that its ancestor has otherwise, or what it is trained to do, or how it reads text."""

    key: str
    ancestor: Any
    here: Any


@dataclass(frozen=True)
class Step:
    """One generation."""

    model: str
    ancestor: str
    differences: list[Difference] = field(default_factory=list)


def lineage(config: ExperimentConfig) -> list[Step]:
    """The steps back from `config`, nearest first; empty for a model without ancestor."""
    from transformer_zoo.experiments.compose import experiment

    steps: list[Step] = []
    here, name = config, config.recipe.model or config.recipe.name
    while (ancestor := here.recipe.ancestor) is not None:
        there = experiment([f"model={ancestor}"])
        steps.append(Step(model=name, ancestor=ancestor, differences=[*differences(here.model, there.model), *other_training(here, there)]))
        here, name = there, ancestor
    return steps


def other_training(here: ExperimentConfig, there: ExperimentConfig) -> list[Difference]:
    """Another objective, another kind of tokenizer."""
    pairs = {"objective": (there.objective, here.objective), "tokenizer": (there.tokenizer, here.tokenizer)}
    kinds = {key: (kind_of(type(before)), kind_of(type(now))) for key, (before, now) in pairs.items()}
    return [Difference(key, before, now) for key, (before, now) in kinds.items() if before != now]


def differences(here_model: Any, there_model: Any) -> list[Difference]:
    """Settings that two models have otherwise; the settings of a part stand aside where already its kind differs."""
    here, there = _told(here_model), _told(there_model)
    keys = [key for key in [*here, *(key for key in there if key not in here)] if key not in OF_SIZE]
    found = [Difference(key, there.get(key), here.get(key)) for key in keys if here.get(key) != there.get(key)]
    other_kinds = {one.key.removesuffix("kind") for one in found if one.key == "kind" or one.key.endswith(".kind")}
    return [one for one in found if (one.key in here and one.key in there) or one.key.rpartition(".")[0] + "." not in other_kinds | {"."}]


def _told(model: Any) -> dict[str, Any]:
    """Settings by dotted key; a kind of layer is one line in words."""
    settings = flatten(to_dict(model))
    kinds = {f"layers.{name}": words.differing(kind) or "as the model" for name, kind in getattr(model, "layers", {}).items()}
    return {key: value for key, value in settings.items() if not key.startswith("layers.")} | kinds
