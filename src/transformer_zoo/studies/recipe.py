"""Named studies: the files of `configs/study/`, each a question with what is varied, what all runs share, and what is measured at the end."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments import config_tree
from transformer_zoo.experiments.convert import from_dict
from transformer_zoo.experiments.hints import did_you_mean
from transformer_zoo.settings import Config, PositiveFloat, PositiveInt
from transformer_zoo.studies.measuring import Measurement
from transformer_zoo.training.settings import BUDGETS

GROUP = "study"
BUDGET_KEYS = {f"training.{name}" for name in BUDGETS}
"""Of which a run has one."""


@dataclass(kw_only=True)
class Variant(Config):
    """One way to make a choice: overrides that only make sense together."""

    overrides: list[str] = field(default_factory=list)
    """What its runs set; of a run with phases, in its last one."""
    phases: list[list[str]] = field(default_factory=list)
    """The overrides of each phase before the last, which goes on from its weights."""


@dataclass(kw_only=True)
class StudyRecipe(Config):
    """What `study=NAME` stands for. What is typed beside it comes after it and wins."""

    values: dict[str, list[str]] = field(default_factory=dict)
    """Setting → its values, each combined with everything else that varies."""
    variants: dict[str, dict[str, Variant]] = field(default_factory=dict)
    """Name of a choice → name of each of its variants → the overrides that make it, as a list or with the phases before."""
    zip: list[list[str]] = field(default_factory=list)
    """Settings of `values` whose values go together, first with first."""
    drop: list[str] = field(default_factory=list)
    """Overrides that each take one part from the full model, alone."""
    samples: PositiveInt | None = None
    """Random search: how many combinations are drawn; null: all are run."""
    tune: list[str] = field(default_factory=list)
    """Settings of `values` whose best value is looked for, for every contestant, instead of being varied."""
    trials: PositiveInt | None = None
    """Trials of each contestant where it is tuned; null: every value once, or ten in a range."""
    match: list[str] = field(default_factory=list)
    """What is made equal between contestants (parameters, flops, tokens, predicted_tokens, steps, seconds)."""
    count_embeddings: bool = True
    """Whether the embeddings are in the account where parameters are made equal."""
    tolerance: PositiveFloat = 0.02
    """The largest share by which contestants may differ in what was made equal."""
    baseline: str | None = None
    """Label of what everything is compared to; null: the first."""
    declare: list[str] = field(default_factory=list)
    """Settings, or sections of them, in which runs may differ beside what is varied."""
    overrides: list[str] = field(default_factory=list)
    """What all runs share."""
    measurements: dict[str, Measurement] = field(default_factory=dict)
    """What is measured of every finished run, by name."""
    seeds: PositiveInt = 1
    """Runs of every cell, with seeds that are the same in all cells."""


def study_recipe(name: str, config_dirs: Sequence[str | Path] = ()) -> StudyRecipe:
    """The study of that name from our own `configs/study/` or the user's folders.

    Raises:
        ConfigError: there is none, or its file is wrong.
    """
    folders = config_tree.roots(config_dirs)
    path = next((found for folder in folders if (found := folder / GROUP / f"{name}.yaml").is_file()), None)
    if path is None:
        names = list(config_tree.options(GROUP, folders))
        raise ConfigError(f"study has no {name!r}{did_you_mean(name, names)} (it has {', '.join(names) or 'none'})")
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable as YAML ({' '.join(str(error).split())})") from error
    try:
        return from_dict(StudyRecipe, _as_text(data))
    except ConfigError as error:
        raise ConfigError(*(f"{path}: {problem}" for problem in error.problems)) from None


def _as_text(data: Any) -> Any:
    """Values of settings as somebody would type them (YAML has read 0.15 as a number), and variants that are mere lists in full."""
    if not isinstance(data, dict):
        return data
    values, variants = data.get("values"), data.get("variants")
    told = dict(data)
    if isinstance(values, dict):
        told["values"] = {key: list(map(_typed, found)) if isinstance(found, list) else found for key, found in values.items()}
    if isinstance(variants, dict):
        told["variants"] = {
            name: {variant: {"overrides": made} if isinstance(made, list) else made for variant, made in choices.items()}
            if isinstance(choices, dict)
            else choices
            for name, choices in variants.items()
        }
    return told


def _typed(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)


def without(overrides: Sequence[str], typed: Sequence[str]) -> list[str]:
    """The overrides of a study that nobody has typed anew; a budget that is typed takes the place of the study's."""
    keys = {key_of(word) for word in typed}
    if keys & BUDGET_KEYS:
        keys |= BUDGET_KEYS
    return [word for word in overrides if key_of(word) not in keys]


def key_of(word: str) -> str:
    """What an override sets or chooses."""
    return word.lstrip("+~").partition("=")[0]
