"""From overrides to typed settings: Hydra's grammar and defaults lists at the door, our strict converter behind it.

Hydra composes plain nodes from the `configs/` tree; nothing is instantiated and no global state of Hydra is used, so this also works
inside somebody's running Hydra job. A plain `key=value` is forced into the tree whatever it is, so that every key and every value
reaches `convert.from_dict`, which reports all problems at once.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.defaults_list import create_defaults_list
from hydra.core.override_parser.types import Override, OverrideType, ValueType

from transformer_zoo.experiments.assemble import usual_final_evaluation
from transformer_zoo.experiments.compose.overrides import mark_additions, parse, prepared, searchpath, span, values
from transformer_zoo.experiments.compose.sources import hydra_errors, repository_of
from transformer_zoo.experiments.compose.tree import check_sizes, merged
from transformer_zoo.experiments.config import EvaluateConfig, ExperimentConfig, GenerateConfig
from transformer_zoo.experiments.convert import from_dict
from transformer_zoo.experiments.spans import Span

OF_RECIPE = ("objective", "tokenizer")
"""Groups that the model's recipe chooses where nobody else does."""


@dataclass
class Composition:
    """A composed tree of plain data, before conversion."""

    tree: dict[str, Any]
    choices: dict[str, str | None]
    """Group → chosen option, as Hydra names the groups (`model/norm@model.attention.qk_norm`)."""


def experiment(overrides: Sequence[str] = (), *, config_dirs: Sequence[str | Path] = ()) -> ExperimentConfig:
    """The settings of one training run, complete and checked. Where nobody chose a final evaluation, the objective's usual one.

    Raises:
        ConfigError: with every problem found, one line each.
    """
    tree = compose(overrides, config_dirs=config_dirs).tree
    config = from_dict(ExperimentConfig, tree)
    if "final_evaluation" not in tree:
        config.final_evaluation = usual_final_evaluation(config)
    return config


def recipe(name: str, *overrides: str, config_dirs: Sequence[str | Path] = ()) -> Any:
    """The settings of a named model: `recipe("bert", "model/size=tiny", "model.dropout=0.2")`; `.build(...)` makes the module."""
    return experiment([f"model={name}", *overrides], config_dirs=config_dirs).model


def evaluation(overrides: Sequence[str] = (), *, config_dirs: Sequence[str | Path] = ()) -> EvaluateConfig:
    """The settings of one measurement of a trained model."""
    return from_dict(EvaluateConfig, compose(overrides, primary="evaluate", config_dirs=config_dirs).tree)


def generation(overrides: Sequence[str] = (), *, config_dirs: Sequence[str | Path] = ()) -> GenerateConfig:
    """The settings of one answer of a trained model."""
    return from_dict(GenerateConfig, compose(overrides, primary="generate", config_dirs=config_dirs).tree)


def compose(overrides: Sequence[str], *, primary: str = "train", config_dirs: Sequence[str | Path] = ()) -> Composition:
    """Compose `configs/<primary>.yaml` with overrides in Hydra's grammar into plain data; see `experiment` for typed settings."""
    with hydra_errors():
        parsed = parse(overrides)
        repository = repository_of(config_dirs, searchpath(parsed))
        given = prepared(parsed, repository)

        def composed(given: list[Override]) -> tuple[dict[str, Any], dict[str, str | None]]:
            defaults = create_defaults_list(repository, primary, given, prepend_hydra=False, skip_missing=False)
            return merged(defaults, repository), defaults.overrides.known_choices

        upper = [override for override in given if not _is_part_of(override, OF_RECIPE)]  # the parts of what is not chosen yet have no place
        mark_additions(upper, repository, primary)
        tree, choices = composed(upper)
        of_recipe = {group: (tree.get("recipe") or {}).get(group) for group in OF_RECIPE if choices.get(group, group) is None}
        if any(of_recipe.values()) or len(upper) < len(given):
            given = [*(_choice(group, name) for group, name in of_recipe.items() if name), *given]
            mark_additions(given, repository, primary)
            tree, choices = composed(given)
        check_sizes(choices, repository)
    if "recipe" in tree:
        tree["recipe"] = {"model": choices.get("model"), "size": choices.get("model/size")} | tree["recipe"]
    return Composition(tree=tree, choices=dict(choices))


def _is_part_of(override: Override, groups: Sequence[str]) -> bool:
    """Whether an override chooses a part of what one of the groups chooses: `objective/unit=span`."""
    return any(override.key_or_group.startswith(f"{group}/") for group in groups)


def _choice(group: str, name: str) -> Override:
    return Override(OverrideType.CHANGE, group, ValueType.ELEMENT, name, input_line=f"{group}={name}")


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """The jobs of a sweep: the product over every override with several values (`a,b`, `range(1,4)`, `choice(…)`, `glob(*)`)."""
    with hydra_errors():
        return [list(job) for job in itertools.product(*(values(one) for one in parse(overrides, sweeps=True)))]


def factors(overrides: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Overrides with several values as key → values, each as typed; and the others."""
    varied: dict[str, list[str]] = {}
    fixed: list[str] = []
    with hydra_errors():
        for override in parse(overrides, sweeps=True):
            if override.is_sweep_override():
                varied[override.get_key_element()] = [line.partition("=")[2] for line in values(override)]
            else:
                fixed.append(str(override.input_line))
    return varied, fixed


def spans(overrides: Sequence[str]) -> tuple[dict[str, Span], list[str]]:
    """Overrides with a range (`interval(…)`) as key → range; and the others."""
    found: dict[str, Span] = {}
    others: list[str] = []
    with hydra_errors():
        for override in parse(overrides, sweeps=True):
            if override.is_interval_sweep():
                found[override.get_key_element()] = span(override)
            else:
                others.append(str(override.input_line))
    return found, others
