"""Overrides as typed, in Hydra's grammar: parsed, checked against the groups there are, and prepared for composing."""

import re
from collections.abc import Iterable
from pathlib import Path

from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, OverrideType, QuotedString
from hydra.errors import HydraException

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments import catalog, config_tree
from transformer_zoo.experiments.hints import did_you_mean
from transformer_zoo.experiments.safety import name_problem
from transformer_zoo.experiments.spans import LOGARITHMIC_FROM, Span

_HARMLESS = {"hydra.run.dir": ".", "hydra.output_subdir": None}
"""Settings of Hydra that ask for what is so anyway."""

_FUNCTIONS = ("interval", "range", "choice", "glob", "tag", "int", "float", "str", "bool", "shuffle", "sort")
"""Of Hydra's grammar."""

_HOME = re.compile(r"^([^=]+=)~/(.*)$")
"""A path in the home folder, which shells leave alone behind an equals sign."""


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


def values(override: Override) -> list[str]:
    """An override once for each of its values, as one would type it."""
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


def span(override: Override) -> Span:
    """The range of an override such as `key=interval(1,10)`; `tag(log,…)` and `tag(linear,…)` say how to go through it, `int(…)` that it is whole."""
    sweep = override.value()
    assert isinstance(sweep, IntervalSweep) and sweep.start is not None and sweep.end is not None
    low, high = float(sweep.start), float(sweep.end)
    if not low < high:
        raise ConfigError(f"{override.input_line}: a range goes from the smaller to the larger number, got {low:g} and {high:g}")
    if sweep.tags - {"log", "linear"} or len(sweep.tags) > 1:
        raise ConfigError(f"{override.input_line}: a range is tagged log or linear, got {', '.join(sorted(sweep.tags))}")
    if "log" in sweep.tags and low <= 0:
        raise ConfigError(f"{override.input_line}: a range by orders of magnitude begins above 0, got {low:g}")
    wide = low > 0 and high / low >= LOGARITHMIC_FROM
    return Span(
        low=low,
        high=high,
        logarithmic="log" in sweep.tags or (wide and not sweep.tags),
        whole=isinstance(sweep.start, int) and isinstance(sweep.end, int),
    )


def searchpath(parsed: list[Override]) -> list[str]:
    """What `hydra.searchpath=[…]` adds to the folders searched for options."""
    for override in parsed:
        if override.get_key_element().lstrip("+") == "hydra.searchpath":
            value = override.value()
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise ConfigError(f"hydra.searchpath: expected a list such as [file://my_configs], got {value!r}")
            return value
    return []


def prepared(parsed: list[Override], repository: CachingConfigRepository) -> list[Override]:
    """Overrides as Hydra shall see them: choices of groups checked, its own settings left out."""
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
        kept.append(override)
    if problems:
        raise ConfigError(*problems)
    return kept


def mark_additions(prepared: list[Override], repository: CachingConfigRepository, primary: str) -> None:
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


def _syntax_problem(line: str, error: Exception) -> str:
    key, equals, value = line.partition("=")
    if not equals:
        return f"{line!r} is no override: write key=value or group=choice{did_you_mean(line.lstrip('+~'), config_tree.groups(config_tree.roots()))}"
    if "/" in key and "." in key and "@" not in key:
        return f"{line!r} is no override: a slash chooses a part (model/norm=rmsnorm), dots set its values: {key.replace('/', '.')}={value}"
    call = re.match(r"(\w+)\(", value)
    if call and (call[1] in _FUNCTIONS or did_you_mean(call[1], _FUNCTIONS)):
        if call[1] == "interval":
            return f"{line!r} cannot be read: a range is {key}=interval(LOW,HIGH) with two numbers, such as interval(1e-4,1e-2)"
        if call[1] not in _FUNCTIONS:
            return f"{line!r} cannot be read: there is no {call[1]}(…){did_you_mean(call[1], _FUNCTIONS)}"
    detail = str(error).split("\n")[0].rstrip(".")
    if not re.fullmatch(r"[+~]{0,2}[\w./@-]+", key):
        return f"{line!r} is no override: {key!r} is no name of a setting"
    return f"{line!r} cannot be read ({detail}); put the value in quotes: \"{key}='{value}'\""
