"""What the runs of a study may differ in, and what they do differ in: nothing may vary that nobody meant to vary."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments import config_tree
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import from_dict, to_dict
from transformer_zoo.experiments.hints import did_you_mean
from transformer_zoo.experiments.results import flatten, is_identity
from transformer_zoo.objectives.base import ObjectiveConfig
from transformer_zoo.studies.recipe import BUDGET_KEYS, key_of

COMPLETE = "experiment"
"""Group of complete experiments: choosing between them declares nothing, since they differ in whatever their authors liked."""
SIZE = "model/size"
OF_MODEL = ("objective", "tokenizer")
"""Groups that the model's recipe chooses where nobody else does."""


def touched(word: str, config_dirs: Sequence[str | Path] = ()) -> set[str]:
    """The dotted settings, or sections of them, that an override sets; of a choice, all that it chooses and sets."""
    choice, _, value = word.lstrip("+~").partition("=")
    group, _, package = choice.partition("@")
    folders = config_tree.roots(config_dirs)
    if package:
        return {package.replace("/", ".")}
    if not any((folder / group).is_dir() for folder in folders):
        return {choice.replace("/", ".")}
    if group == SIZE:
        files = [found for folder in folders for found in (folder / SIZE, *(folder / "model" / "sizes").glob("*"))]
        own = {f"model.{key}" for folder in files for key in _content(folder / f"{value}.yaml")[1]}
        return {_dotted(SIZE), *own}
    path = next((found for folder in folders if (found := folder / group / f"{value}.yaml").is_file()), None)
    is_global, content, chosen = (False, {}, []) if path is None else _read(path)
    if not is_global:
        return {_dotted(group)}
    return {*content, *(key for one in chosen for key in touched(one, config_dirs))}


def yielding(overrides: Sequence[str], typed: Sequence[str], config_dirs: Sequence[str | Path] = ()) -> list[str]:
    """The words of a study that give way to what is typed: those for the same setting, and those under a choice that is typed, since the choice shall
    hold as it is. A size stays with another model, as every model has it."""
    taken = {key for word in typed for key in touched(word, config_dirs)}
    exact = {key_of(word) for word in typed}
    found = []
    for word in overrides:
        key = key_of(word)
        own = _dotted(key.partition("@")[2] or key)
        if key in exact or own in taken or (key != SIZE and _is_under(own, taken)):
            found.append(word)
    return found


def declared_by(words: Iterable[str], shared: Sequence[str], config_dirs: Sequence[str | Path] = ()) -> set[str]:
    """What runs may differ in that choose some of `words` each, beside what they share: what the words set, and what follows from that."""
    keys: set[str] = set()
    for word in words:
        if key_of(word) != COMPLETE:
            keys |= touched(word, config_dirs)
    if keys & BUDGET_KEYS:
        keys |= BUDGET_KEYS  # a run has one; another one takes its place
    fixed = {key_of(word).partition("@")[0] for word in shared}
    if "model" in keys:
        keys |= {group for group in OF_MODEL if group not in fixed}
    if keys & {"model", "objective"} and "final_evaluation" not in fixed:
        keys.add("final_evaluation")
    return keys


def declared_sections(words: Iterable[str], configs: Iterable[ExperimentConfig]) -> list[str]:
    """The settings and sections that `declare` names, dotted.

    Raises:
        ConfigError: no run has one of that name.
    """
    found = [_dotted(word) for word in words]
    if not found:
        return []
    keys = {key for config in configs for key in _settings(config)}
    known = sorted({".".join(key.split(".")[:n]) for key in keys for n in range(1, key.count(".") + 2)})
    problems = [f"declare={word}: no run has such a setting{did_you_mean(word, known)}" for word in found if word not in known]
    if problems:
        raise ConfigError(*problems)
    return found


def undeclared(runs: Mapping[str, ExperimentConfig], baseline: str, declared: Iterable[str]) -> list[str]:
    """One line for every setting in which runs (label → settings) differ from the baseline without leave, with the values."""
    reference, allowed = runs[baseline], set(declared)
    problems: dict[str, str] = {}
    base = _settings(reference)
    for label, config in runs.items():
        own = _settings(config)
        for key in dict.fromkeys([*base, *own]):
            if own.get(key) == base.get(key) or key in problems or _is_under(key, allowed):
                continue
            problems[key] = (
                f"{key} is {_shown(base, key)} in {baseline} and {_shown(own, key)} in {label}, and nobody said that it may differ: set it for all "
                f"of them, or declare={key} if it is meant"
            )
    return list(problems.values())


def following(configs: Iterable[ExperimentConfig]) -> set[str]:
    """Settings that nobody gave and that follow from the model: those that an objective leaves open and decides for the model it is given."""
    found: dict[str, set[str]] = {}
    for config in configs:
        values = flatten(to_dict(config.objective))
        for key in _fitted(config):
            found.setdefault(key, set()).add(str(values[key.removeprefix("objective.")]))
    return {key for key, values in found.items() if len(values) > 1}


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    return {key: value for key, value in flatten(to_dict(config)).items() if is_identity(key)}


def _shown(settings: Mapping[str, Any], key: str) -> str:
    value = settings.get(key)
    return "not there" if key not in settings else "null" if value is None else str(value)


def _is_under(key: str, sections: set[str]) -> bool:
    parts = key.split(".")
    return any(".".join(parts[:n]) in sections for n in range(1, len(parts) + 1))


def _fitted(config: ExperimentConfig) -> set[str]:
    """Settings that the objective left open and decided for the model it was given: taken back, they come out the same."""
    decided = {key: value for key, value in flatten(to_dict(config.objective)).items() if value is not None}
    candidates = _null_by_default(config.objective) & decided.keys()
    if not candidates:
        return set()
    again = from_dict(ObjectiveConfig, _without(to_dict(config.objective), candidates)).fitted(config.model.accepts)
    found = flatten(to_dict(again))
    return {f"objective.{key}" for key in candidates if found.get(key) == decided[key]}


def _null_by_default(config: Any, path: str = "") -> set[str]:
    found: set[str] = set()
    for one in fields(config):
        value = getattr(config, one.name)
        if one.default is None:
            found.add(f"{path}{one.name}")
        parts = {one.name: value} if is_dataclass(value) else value if isinstance(value, dict) else {}
        prefix = path if is_dataclass(value) else f"{path}{one.name}."
        for name, part in parts.items():
            found |= _null_by_default(part, f"{prefix}{name}.") if is_dataclass(part) else set()
    return found


def _without(tree: Mapping[str, Any], keys: set[str], path: str = "") -> dict[str, Any]:
    """The tree with null for some of its dotted keys."""
    return {
        name: None if f"{path}{name}" in keys else _without(value, keys, f"{path}{name}.") if isinstance(value, dict) else value
        for name, value in tree.items()
    }


def _dotted(group: str) -> str:
    return group.replace("/", ".")


def _read(path: Path) -> tuple[bool, dict[str, Any], list[str]]:
    """Whether an option's file sets things anywhere; its settings by dotted key; and the choices it makes, as one would type them."""
    is_global, content = _content(path)
    defaults = content.pop("defaults", [])
    chosen = []
    for entry in defaults if isinstance(defaults, list) else []:
        for key, value in entry.items() if isinstance(entry, dict) else []:
            group = key.split()[-1].lstrip("/")
            if isinstance(value, str):
                chosen.append(f"{group}={value}")
    return is_global, flatten(content), chosen


def _content(path: Path) -> tuple[bool, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        data = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False, {}  # whatever is wrong with it is told when it is composed
    return "@package _global_" in text.partition("\n")[0], data if isinstance(data, dict) else {}
