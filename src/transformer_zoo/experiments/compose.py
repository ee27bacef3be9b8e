"""From overrides to typed settings: Hydra's grammar and defaults lists at the door, our strict converter behind it.

Hydra composes plain nodes from the `configs/` tree; nothing is instantiated and no global state of Hydra is used, so this also works
inside somebody's running Hydra job. A plain `key=value` is forced into the tree whatever it is, so that every key and every value
reaches `convert.from_dict`, which reports all problems at once.
"""

import copy
import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra import version
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra._internal.defaults_list import DefaultsList, create_defaults_list
from hydra.core.default_element import GroupDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, OverrideType, QuotedString, ValueType
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments import catalog, config_tree
from transformer_zoo.experiments.config import EvaluateConfig, ExperimentConfig, GenerateConfig
from transformer_zoo.experiments.convert import from_dict
from transformer_zoo.experiments.hints import did_you_mean
from transformer_zoo.experiments.safety import name_problem

OF_RECIPE = ("objective", "tokenizer")
"""Groups that the model's recipe chooses where nobody else does."""

_HARMLESS = {"hydra.run.dir": ".", "hydra.output_subdir": None}
"""Settings of Hydra that ask for what is so anyway."""


_HOME = re.compile(r"^([^=]+=)~/(.*)$")
"""A path in the home folder, which shells leave alone behind an equals sign."""


@dataclass
class Composition:
    """A composed tree of plain data, before conversion."""

    tree: dict[str, Any]
    choices: dict[str, str | None]
    """Group → chosen option, as Hydra names the groups (`model/norm@model.attention.qk_norm`)."""
    overrides: list[str] = field(default_factory=list)
    """As they were given."""


def experiment(overrides: Sequence[str] = (), *, config_dirs: Sequence[str | Path] = ()) -> ExperimentConfig:
    """The settings of one training run, complete and checked.

    Raises:
        ConfigError: with every problem found, one line each.
    """
    return from_dict(ExperimentConfig, compose(overrides, config_dirs=config_dirs).tree)


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
    with _hydra_errors():
        parsed = parse(overrides)
        repository = _repository([*config_dirs], _searchpath(parsed))
        prepared = _prepared(parsed, repository)
        _mark_additions(prepared, repository, primary)
        defaults = create_defaults_list(repository, primary, prepared, prepend_hydra=False, skip_missing=False)
        tree = _merged(defaults, repository)
        open_groups = [group for group in OF_RECIPE if group in defaults.overrides.known_choices and defaults.overrides.known_choices[group] is None]
        chosen_by_recipe = [
            Override(OverrideType.CHANGE, group, ValueType.ELEMENT, name, input_line=f"{group}={name}")
            for group in open_groups
            if (name := (tree.get("recipe") or {}).get(group))
        ]
        if chosen_by_recipe:
            defaults = create_defaults_list(repository, primary, [*chosen_by_recipe, *prepared], prepend_hydra=False, skip_missing=False)
            tree = _merged(defaults, repository)
        choices = dict(defaults.overrides.known_choices)
        _check_sizes(choices, repository)
        if "recipe" in tree:
            tree["recipe"] = {"model": choices.get("model"), "size": choices.get("model/size")} | tree["recipe"]
        return Composition(tree, choices, list(overrides))


def parse(overrides: Iterable[str], *, sweeps: bool = False) -> list[Override]:
    """Parse overrides; comma lists are refused unless `sweeps` are wanted."""
    parser, parsed, problems = OverridesParser.create(), [], []
    for line in overrides:
        try:
            override = parser.parse_override(_HOME.sub(lambda found: f"{found[1]}'{Path.home()}/{found[2]}'", line))
        except HydraException as error:
            problems.append(_syntax_problem(line, error))
            continue
        if override.is_sweep_override() and not sweeps:
            values = override.get_value_string()
            problems.append(
                f"{line}: several values for one setting; write {override.get_key_element()}=[{values}] for a list, "
                f"{override.get_key_element()}='{values}' in quotes for text, or add --multirun to run each"
            )
        parsed.append(override)
    if problems:
        raise ConfigError(*problems)
    return parsed


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """The jobs of a sweep: the product over every override with several values (`a,b`, `range(1,4)`, `choice(…)`, `glob(*)`)."""
    with _hydra_errors():
        return [list(job) for job in itertools.product(*(_values(one) for one in parse(overrides, sweeps=True)))]


def factors(overrides: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Overrides with several values as key → values, each as typed; and the others."""
    varied: dict[str, list[str]] = {}
    fixed: list[str] = []
    with _hydra_errors():
        for override in parse(overrides, sweeps=True):
            if override.is_sweep_override():
                varied[override.get_key_element()] = [line.partition("=")[2] for line in _values(override)]
            else:
                fixed.append(str(override.input_line))
    return varied, fixed


# --- overrides ----------------------------------------------------------------------------------------------------------------------


def _syntax_problem(line: str, error: Exception) -> str:
    key, equals, value = line.partition("=")
    if not equals:
        return f"{line!r} is no override: write key=value or group=choice{did_you_mean(line.lstrip('+~'), config_tree.groups(config_tree.roots()))}"
    detail = str(error).split("\n")[0].rstrip(".")
    if not re.fullmatch(r"[+~]{0,2}[\w./@-]+", key):
        return f"{line!r} is no override: {key!r} is no name of a setting"
    return f"{line!r} cannot be read ({detail}); put the value in quotes: \"{key}='{value}'\""


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if isinstance(override._value, Glob):
        names = list(config_tree.options(override.key_or_group, config_tree.roots()))
        values = override._value.filter(names)
    elif override.is_discrete_sweep():
        values = list(override.sweep_string_iterator())
    else:
        raise ConfigError(f"{override.input_line}: an interval has no list of values; write them out: key=a,b,c")
    return [f"{override.get_key_element()}={value}" for value in values]


def _searchpath(parsed: list[Override]) -> list[str]:
    for override in parsed:
        if override.get_key_element().lstrip("+") == "hydra.searchpath":
            value = override.value()
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise ConfigError(f"hydra.searchpath: expected a list such as [file://my_configs], got {value!r}")
            return value
    return []


def _prepared(parsed: list[Override], repository: CachingConfigRepository) -> list[Override]:
    """Overrides as Hydra shall see them: choices of groups as they are, all values forced into the tree."""
    kept: list[Override] = []
    problems: list[str] = []
    for override in parsed:
        key = override.key_or_group
        if override.is_hydra_override():
            if key != "hydra.searchpath" and not (key in _HARMLESS and override.value() == _HARMLESS[key]):
                problems.append(f"{override.input_line}: settings of Hydra itself are not used here; run_dir=… names the folder of a run")
            continue
        if repository.group_exists(key):
            problems += _choice_problems(override, repository)
        elif "/" in key or override.package is not None:
            problems.append(f"{override.input_line}: there is no group {key!r}{did_you_mean(key, _groups(repository))}")
        elif not override.is_delete():
            override.type = OverrideType.FORCE_ADD
        kept.append(override)
    if problems:
        raise ConfigError(*problems)
    return kept


def _mark_additions(prepared: list[Override], repository: CachingConfigRepository, primary: str) -> None:
    """A choice for a place that nobody has chosen yet, such as one side of a model, is an addition, with or without its `+`."""
    placed = [override for override in prepared if override.package is not None and not override.is_delete()]
    seen = [override for override in prepared if override not in placed]
    for override in placed:
        known = create_defaults_list(repository, primary, seen, prepend_hydra=False, skip_missing=False).overrides.known_choices
        key = f"{override.key_or_group}@{override.package}"
        override.type = OverrideType.CHANGE if key in known else OverrideType.ADD
        seen.append(override)


def _choice_problems(override: Override, repository: CachingConfigRepository) -> list[str]:
    """Checks that a group's choice exists; makes numbers such as `model/size=3` names."""
    group, value = override.key_or_group, override.value()
    if override.is_delete() and value is None:
        return []
    if isinstance(value, int) and not isinstance(value, bool):
        override._value = value = str(value)
    if isinstance(override._value, QuotedString):
        override._value = value
    if override.is_force_add():
        override.type = OverrideType.ADD
    options = config_tree.ordered(repository.get_group_options(group, ObjectType.CONFIG))
    if not isinstance(value, str):
        return [f"{override.input_line}: {group} takes the name of one choice ({', '.join(options)})"]
    if any(name_problem(part) for part in value.split("/")):
        return [f"{override.input_line}: {name_problem(value)}"]
    if not repository.config_exists(f"{group}/{value}") and not (group == "model/size" and override.package is None):
        return [f"{group} has no {value!r}{did_you_mean(value, options)} (it has {', '.join(options) or 'none'})"]
    return []


def _groups(repository: CachingConfigRepository) -> list[str]:
    folders = [Path(source.path) for source in repository.get_sources() if source.scheme() == "file"]
    return sorted({*config_tree.groups(folders), *catalog.registered()})


# --- sources ------------------------------------------------------------------------------------------------------------------------


class _Files(FileConfigSource):
    """A folder of YAML files; what is wrong with one is told with its file and line."""

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path, self._normalize_file_name(config_path))
        try:
            result = super().load_config(config_path)
        except UnicodeDecodeError as error:
            line = path.read_bytes()[: error.start].count(b"\n") + 1
            raise ConfigError(f"{path}:{line}: not UTF-8 text (byte {error.start})") from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ConfigError(f"{path}:{line}: {error.problem or 'broken YAML'}") from error
        except (yaml.YAMLError, OmegaConfBaseException, OSError) as error:
            if isinstance(error, ConfigLoadError):
                raise
            raise ConfigError(f"{path}:1: {_first_line(error)}") from error
        if not isinstance(result.config, DictConfig):
            raise ConfigError(f"{path}:1: expected settings (key: value), found a {'list' if OmegaConf.is_list(result.config) else 'value'}")
        return result

    def is_config(self, config_path: str) -> bool:
        return ".." not in config_path.split("/") and super().is_config(config_path)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return [name for name in super().list(config_path, results_filter) if not name.startswith(".")]


class _Plugins(ConfigSource):
    """Components that plugins have registered and that no YAML file describes: the option is just its kind."""

    @staticmethod
    def scheme() -> str:
        return "plugins"

    def load_config(self, config_path: str) -> ConfigResult:
        name = config_path.removesuffix(".yaml").rpartition("/")[2]
        return ConfigResult(provider=self.provider, path="plugins://", config=OmegaConf.create({"kind": name}), header={"package": None})

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path in _offered_by_plugins()

    def is_config(self, config_path: str) -> bool:
        group, _, name = config_path.removesuffix(".yaml").rpartition("/")
        return name in _offered_by_plugins().get(group, ())

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return [] if results_filter == ObjectType.GROUP else sorted(_offered_by_plugins().get(config_path, ()))


def _offered_by_plugins() -> dict[str, list[str]]:
    """Group → names, other groups that fill the same slot included."""
    return {group: list(catalog.registered().get(slot, ())) for group, slot in catalog.groups().items()}


class _Repository(ConfigRepository):
    """Hydra's view of the search path, made without its registry of plugins."""

    def __init__(self, sources: list[ConfigSource]) -> None:
        self.sources = sources

    def initialize_sources(self, config_search_path: Any) -> None:
        raise AssertionError("the sources are given")


def _repository(config_dirs: Sequence[str | Path], searchpath: Sequence[str]) -> CachingConfigRepository:
    sources: list[ConfigSource] = [_Files("main", str(config_tree.own_root()))]
    for folder in [*map(str, config_dirs), *searchpath]:
        if folder.startswith("pkg://"):
            sources.append(ImportlibResourcesConfigSource("searchpath", folder))
            continue
        path = Path(folder.removeprefix("file://")).absolute()
        if not path.is_dir():
            raise ConfigError(f"the configuration folder {path} is not there")
        sources.append(_Files("searchpath", str(path)))
    return CachingConfigRepository(_Repository([*sources, _Plugins("plugins", "plugins://")]))


# --- composing ----------------------------------------------------------------------------------------------------------------------


def _merged(defaults: DefaultsList, repository: CachingConfigRepository) -> dict[str, Any]:
    """The tree that a defaults list and value overrides make, resolved, with sizes and recipe where they belong."""
    merged = OmegaConf.create()
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
        merged.merge_with(part)
    for override in defaults.config_overrides:
        _apply(merged, override)
    tree: Any = OmegaConf.to_container(merged, resolve=True, throw_on_missing=False)
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


def _apply(merged: DictConfig, override: Override) -> None:
    key = override.key_or_group
    if not override.is_delete():
        OmegaConf.update(merged, key, override.value(), merge=True, force_add=True)
    elif not _take_away(merged, key):
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


def _check_sizes(choices: dict[str, str | None], repository: CachingConfigRepository) -> None:
    name = choices.get("model/size")
    if name is None:
        return
    generic = repository.get_group_options("model/size", ObjectType.CONFIG)
    families = [key.partition("@")[0] for key in choices if key.startswith("model/sizes/")]
    own = [option for family in families if repository.group_exists(family) for option in repository.get_group_options(family, ObjectType.CONFIG)]
    if name not in {*generic, *own}:
        raise ConfigError(f"{choices.get('model')} has no size {name}; it has {', '.join(config_tree.ordered({*generic, *own}))}")


# --- errors and state ---------------------------------------------------------------------------------------------------------------


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextmanager
def _hydra_errors() -> Iterator[None]:
    """Hydra at its current behaviour whatever the surrounding program uses, its errors as one line each."""
    base = version.VersionBase.instance()
    before = base.getbase()
    version.setbase("1.3")
    try:
        yield
    except MissingConfigException as error:
        wanted = error.missing_cfg_file or ""
        group, _, name = wanted.rpartition("/")
        options = list(error.options or ())
        where = _first_line(error).partition(": Could not")[0] if "In '" in str(error) else ""
        message = f"{group} has no {name!r}{did_you_mean(name, options)} (it has {', '.join(options) or 'none'})" if group else _first_line(error)
        raise ConfigError(f"{where}: {message}" if where else message) from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        if unused := re.search(r"Could not override '([^']+)'", str(error)):
            raise ConfigError(f"{unused[1]}=…: nothing that is chosen here has a place for a choice of {unused[1].partition('@')[0]}") from error
        raise ConfigError(" ".join(line.strip() for line in str(error).splitlines() if line.strip())) from error
    finally:
        base.version_base = before
