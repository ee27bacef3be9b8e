"""One tree of plain data from a defaults list and value overrides."""

import copy
from collections.abc import Collection, Iterator
from typing import Any

from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.defaults_list import DefaultsList
from hydra.core.default_element import GroupDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments import catalog, config_tree
from transformer_zoo.training.settings import BUDGETS


def merged(defaults: DefaultsList, repository: CachingConfigRepository) -> dict[str, Any]:
    """The tree that a defaults list and value overrides make, resolved, with sizes and recipe where they belong."""
    composed = OmegaConf.create()
    for default in defaults.defaults:
        assert default.config_path is not None
        loaded = repository.load_config(default.config_path)
        assert loaded is not None
        package = default.package or ""
        part = OmegaConf.create()
        if package:
            OmegaConf.update(part, package, loaded.config, merge=False)
        else:
            part = copy.deepcopy(loaded.config)
        for place, kept in _other_choices(default.config_path, package, loaded, defaults):
            _take_away(part, place, kept)
        composed.merge_with(part)
    _give_way(composed, defaults.config_overrides)
    for override in defaults.config_overrides:
        _apply(composed, override)
    tree: Any = OmegaConf.to_container(composed, resolve=True, throw_on_missing=False)
    return _settled(tree)


def _other_choices(config_path: str, package: str, loaded: ConfigResult, defaults: DefaultsList) -> Iterator[tuple[str, set[str]]]:
    """Places for which this file chose a part that somebody else has replaced, and the settings that every choice there has.

    Only those still hold for the new part. So a recipe's `norm: {eps: 1e-12}` is gone with `model/norm=rmsnorm`, instead of an unknown or
    wrongly meant setting, and an experiment's `data: {sequence_length: 64}` stays with another `data=`.
    """
    choices = defaults.overrides.known_choices
    for given in loaded.defaults_list or ():
        if not isinstance(given, GroupDefault) or not isinstance(given.value, str) or "${" in given.value:
            continue
        entry = copy.copy(given)
        entry.parent_base_dir = entry.parent_package = None
        entry.update_parent(config_path.rpartition("/")[0], package)
        key = entry.get_override_key()
        if key in choices and choices[key] != entry.value and entry.get_group_path() in catalog.groups():
            yield entry.get_final_package(), catalog.common_settings(entry.get_group_path())


def _take_away(tree: DictConfig, key: str, kept: Collection[str] = ()) -> bool:
    """Removes a dotted key, or all below it but what is `kept`; whether it was there."""
    parent_key, _, leaf = key.rpartition(".")
    parent = OmegaConf.select(tree, parent_key) if parent_key else tree
    if not isinstance(parent, DictConfig) or leaf not in parent:
        return False
    node = parent[leaf]
    rest = {name: node[name] for name in kept if name in node} if isinstance(node, DictConfig) else {}
    if rest:
        parent[leaf] = rest
    else:
        del parent[leaf]
    return True


def _give_way(tree: DictConfig, overrides: list[Override]) -> None:
    """A budget that is typed takes the place of the one in an experiment's file: `training.steps=2` ends its `seconds: 1800`."""
    budgets = {f"training.{name}" for name in BUDGETS}
    if budgets & {override.key_or_group for override in overrides if not override.is_delete() and override.value() is not None}:
        for key in budgets:
            _take_away(tree, key)


def _apply(tree: DictConfig, override: Override) -> None:
    """Forces a value into the tree, with `+` or without: whether it may be there is the converter's to say."""
    key = override.key_or_group
    if not override.is_delete():
        OmegaConf.update(tree, key, override.value(), merge=True, force_add=True)
    elif not _take_away(tree, key):
        raise ConfigError(f"{override.input_line}: there is no {key} to take away")


def _settled(tree: dict[str, Any]) -> dict[str, Any]:
    """A model's `size` node gives the shapes that nobody else gave; its `recipe` node is about the experiment."""
    model = tree.get("model")
    if isinstance(model, dict):
        if isinstance(model.get("recipe"), dict):
            tree["recipe"] = {**model.pop("recipe"), **(tree.get("recipe") or {})}
        _give_shapes(model)
    return tree


def _give_shapes(node: dict[str, Any]) -> None:
    size = node.pop("size", None)
    if isinstance(size, dict):
        for key, value in size.items():
            node.setdefault(key, value)
    elif size is not None:
        node["size"] = size
    for child in node.values():
        if isinstance(child, dict):
            _give_shapes(child)


def check_sizes(choices: dict[str, str | None], repository: CachingConfigRepository) -> None:
    """Refuses a size that neither the generic sizes nor the model's family know.

    Raises:
        ConfigError: naming the sizes there are.
    """
    name = choices.get("model/size")
    if name is None:
        return
    generic = repository.get_group_options("model/size", ObjectType.CONFIG)
    families = [key.partition("@")[0] for key in choices if key.startswith("model/sizes/")]
    own = [option for family in families if repository.group_exists(family) for option in repository.get_group_options(family, ObjectType.CONFIG)]
    if name not in {*generic, *own}:
        raise ConfigError(f"{choices.get('model')} has no size {name}; it has {', '.join(config_tree.ordered({*generic, *own}))}")
