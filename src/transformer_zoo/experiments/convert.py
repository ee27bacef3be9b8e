"""Between plain data (what YAML holds) and settings dataclasses: `from_dict` and `to_dict`.

`from_dict` is strict: unknown keys, wrong types, numbers out of range, missing values and unknown kinds are all found in one pass
and reported together, each with its dotted path. A node of a slot carries a `kind`, looked up in the catalog; nothing else decides
which class is built. `from_dict(type(c), to_dict(c)) == c` for every config.
"""

import math
import re
import types
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments import catalog
from transformer_zoo.experiments.hints import did_you_mean, nearest
from transformer_zoo.settings import Config, OneOf, Range

ConfigT = TypeVar("ConfigT")

_WRONG: Any = object()
"""Stands for a value that could not be read; the problem is noted already."""

_EXPONENT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")
"""Numbers such as 1e-3, which YAML 1.1 reads as text."""


def from_dict(cls: type[ConfigT], data: Any, path: str = "") -> ConfigT:
    """Build the settings `cls` (a dataclass, or the base class of a slot) from plain data found at the dotted `path`.

    Raises:
        ConfigError: with every problem found, one line each.
    """
    reader = _Reader()
    config = reader.node(cls, data, path)
    if problems := reader.all_problems():
        raise ConfigError(*problems)
    return config


def to_dict(config: Any) -> dict[str, Any]:
    """Plain data with every field written out and a `kind` on every node of a slot."""
    kind = {"kind": catalog.kind_of(type(config))} if isinstance(config, Config) and config.slot is not None else {}
    return kind | {f.name: _plain(getattr(config, f.name)) for f in fields(config)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_dict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def field_types(cls: type) -> dict[str, Any]:
    """The annotations of a settings class by field, with their ranges."""
    return _field_types(cls)


@cache
def _field_types(cls: Any) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {f.name: hints[f.name] for f in fields(cls)}


def unwrapped(annotation: Any) -> tuple[Any, list[Any]]:
    """An annotation without `Annotated`, and the ranges it carried."""
    ranges: list[Any] = []
    while get_origin(annotation) is Annotated:
        annotation, *found = get_args(annotation)
        ranges += found
    return annotation, ranges


def alternatives(annotation: Any) -> list[Any]:
    """The members of a union, or the one type itself."""
    return list(get_args(annotation)) if get_origin(annotation) in (Union, types.UnionType) else [annotation]


def expected(annotation: Any) -> str:
    """What an annotation asks for, in words: `a whole number at least 1`."""
    annotation, ranges = unwrapped(annotation)
    words = [r for r in ranges if isinstance(r, OneOf)]
    if words:
        return str(words[0])
    if len(alternatives(annotation)) > 1:
        return " or ".join(expected(option) for option in alternatives(annotation))
    limits = "".join(f" {r}" for r in ranges)
    origin = get_origin(annotation) or annotation
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path", type(None): "null"}
    if origin is list:
        return f"a list of {expected(get_args(annotation)[0])}"
    if origin is dict:
        return "named parts (a mapping)"
    return names.get(origin, "settings (a mapping)") + limits


def described(value: Any) -> str:
    """A value as an error shows it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {value!r}"
    if isinstance(value, dict):
        return f"a mapping with the keys {', '.join(map(str, value)) or '(none)'}"
    return f"a list of {len(value)}" if isinstance(value, list) else str(value)


def _is_plain(annotation: Any) -> bool:
    """Whether a field holds settings that fill no slot: all their fields can have defaults."""
    return isinstance(annotation, type) and is_dataclass(annotation) and getattr(annotation, "slot", None) is None


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


class _Reader:
    """Reads one tree of plain data and keeps every problem it meets."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.unknown: list[tuple[str, str, type, str]] = []  # path, key, the class that lacks it, what the node is
        self.known_paths: list[str] = []

    def wrong(self, path: str, message: str) -> Any:
        self.problems.append(f"{path}: {message}" if path else message)
        return _WRONG

    def all_problems(self) -> list[str]:
        """Every problem; unknown keys get their hint only now, when all known paths have been seen."""
        return [self._unknown_key(*unknown) for unknown in self.unknown] + self.problems

    def _unknown_key(self, path: str, key: str, cls: type, owner: str) -> str:
        siblings = list(field_types(cls))
        sibling = nearest(key, siblings)
        slot = getattr(cls, "slot", None) or ""
        others = [f"{slot}={name}" for name, option in catalog.options(slot).items() if key in field_types(option)]
        leaves = {known.rpartition(".")[2]: known for known in reversed(self.known_paths)}
        elsewhere = leaves.get(key) or leaves.get(nearest(key, leaves) or "")
        if others:
            hint = f"; {' and '.join(others)} {'has' if len(others) == 1 else 'have'} it"
        elif guess := _joined(path, sibling) if sibling else elsewhere:
            hint = f"; did you mean {guess}?"
        else:
            hint = f"; it has {', '.join(siblings)}" if siblings else ""
        return f"{_joined(path, key)}: {owner} has no setting {key!r}{hint}"

    # --- nodes ---------------------------------------------------------------------------------------------------------------------

    def node(self, cls: type, data: Any, path: str) -> Any:
        """A settings dataclass from a mapping; for a slot the `kind` decides which."""
        slot = getattr(cls, "slot", None)
        if not isinstance(data, dict):
            hint = self._how_to_choose(cls, slot, path, data) if slot else ""
            return self.wrong(path, f"expected settings (a mapping), got {described(data)}{hint}")
        data = dict(data)
        if slot:
            chosen = self._chosen(cls, slot, data, path)
            if chosen is _WRONG:
                return _WRONG
            cls = chosen
        return self._fields(cls, data, path)

    def _how_to_choose(self, cls: type, slot: str, path: str, data: Any) -> str:
        names = [name for name, option in catalog.options(slot).items() if issubclass(option, cls)]
        group = slot if path == slot.replace("/", ".") or not path else f"+{slot}@{path}"
        name = data if data in names else "|".join(names) or "…"
        return f"; choose with {group}={name}"

    def _chosen(self, cls: type, slot: str, data: dict[Any, Any], path: str) -> Any:
        choices = {name: option for name, option in catalog.options(slot).items() if issubclass(option, cls)}
        kind = data.pop("kind", "???")
        if kind == "???":
            if len(choices) == 1:
                return next(iter(choices.values()))
            return self.wrong(path, f"nothing is chosen for {slot}{self._how_to_choose(cls, slot, path, None)}")
        if not isinstance(kind, str) or kind not in choices:
            hint = did_you_mean(str(kind), choices)
            return self.wrong(_joined(path, "kind"), f"{slot} has no {kind!r}{hint} (it has {', '.join(choices) or 'none'})")
        return choices[kind]

    def _fields(self, cls: type, data: dict[Any, Any], path: str) -> Any:
        annotations = field_types(cls)
        self.known_paths += [_joined(path, name) for name in annotations]
        for key in data.keys() - annotations.keys():
            kind = f" ({catalog.kind_of(cls)})" if path and getattr(cls, "slot", None) else ""
            owner = f"{path}{kind}" if path else "the configuration"
            self.unknown.append((path, str(key), cls, owner))
        values: dict[str, Any] = {}
        before = len(self.problems)
        for f in fields(cls):
            where = _joined(path, f.name)
            if f.name not in data or data[f.name] == "???":
                has_default = f.default is not MISSING or f.default_factory is not MISSING
                if f.name not in data and not has_default and _is_plain(annotations[f.name]):
                    values[f.name] = self.node(annotations[f.name], {}, where)
                elif f.name in data or not has_default:
                    self._missing(annotations[f.name], where)
                continue
            values[f.name] = self.value(annotations[f.name], data[f.name], where)
        wrong = [name for name, value in values.items() if value is _WRONG]
        if len(self.problems) == before and not wrong:
            config = cls(**values)
            self._check_together(config, path)
            return config
        defaults = {f.name for f in fields(cls) if f.default is not MISSING or f.default_factory is not MISSING}
        sound = {name: value for name, value in values.items() if value is not _WRONG}
        single = wrong and len(self.problems) == before + len(wrong) and not any(isinstance(data[name], dict) for name in wrong)
        if single and sound.keys() | defaults >= annotations.keys():  # what is wrong with the others taken together is told in the same go
            self._check_together(cls(**sound), path, apart_from=wrong)
        return _WRONG

    def _check_together(self, config: Any, path: str, apart_from: Sequence[str] = ()) -> None:
        """What is wrong with settings that are right one by one; `apart_from`: problems that name one of these settings are left out."""
        check = getattr(config, "problems", None)
        for problem in check() if check else ():
            if not any(name in problem for name in apart_from):
                self.wrong(path, problem)

    def _missing(self, annotation: Any, path: str) -> None:
        base, _ = unwrapped(annotation)
        slot = getattr(base, "slot", None)
        if slot:
            self.wrong(path, f"nothing is chosen for {slot}{self._how_to_choose(base, slot, path, None)}")
        else:
            self.wrong(path, f"a value is needed here: set {path}=… ({expected(annotation)})")

    # --- values --------------------------------------------------------------------------------------------------------------------

    def value(self, annotation: Any, data: Any, path: str) -> Any:
        base, ranges = unwrapped(annotation)
        options = alternatives(base)
        if len(options) > 1:
            return self._one_of(annotation, options, data, path)
        if isinstance(base, type) and (is_dataclass(base) or issubclass(base, Config)):
            return self.node(base, data, path)
        origin = get_origin(base) or base
        if origin is list:
            return self._list(base, data, path)
        if origin is dict:
            return self._dict(base, data, path)
        if base is Any:
            return data
        value = _scalar(base, data)
        if value is _WRONG or not all(r.holds(value) for r in ranges if isinstance(r, Range | OneOf)):
            words = [word for r in ranges if isinstance(r, OneOf) for word in r.words]
            hint = did_you_mean(data, words) if isinstance(data, str) else ""
            return self.wrong(path, f"expected {expected(annotation)}, got {described(data)}{hint}")
        return value

    def _one_of(self, annotation: Any, options: list[Any], data: Any, path: str) -> Any:
        """A union: null where it is allowed, else the first member that can hold the value."""
        if data is None and type(None) in options:
            return None
        options = [option for option in options if option is not type(None)]
        if len(options) == 1:
            note = len(self.problems)
            value = self.value(options[0], data, path)
            if len(self.problems) == note + 1 and type(None) in alternatives(unwrapped(annotation)[0]) and "expected" in self.problems[-1]:
                self.problems[-1] = self.problems[-1].replace(expected(options[0]), expected(annotation), 1)
            return value
        for option in options:
            attempt = _Reader()
            value = attempt.value(option, data, path)
            if value is not _WRONG and not attempt.all_problems():
                return value
        return self.wrong(path, f"expected {expected(annotation)}, got {described(data)}")

    def _list(self, annotation: Any, data: Any, path: str) -> Any:
        if not isinstance(data, list | tuple):
            return self.wrong(path, f"expected {expected(annotation)}, got {described(data)}; write it as [a,b]")
        (item,) = get_args(annotation)
        values = [self.value(item, value, f"{path}[{i}]") for i, value in enumerate(data)]
        return _WRONG if any(value is _WRONG for value in values) else values

    def _dict(self, annotation: Any, data: Any, path: str) -> Any:
        if not isinstance(data, dict):
            return self.wrong(path, f"expected {expected(annotation)}, got {described(data)}")
        _, item = get_args(annotation)
        values = {str(key): self.value(item, value, _joined(path, str(key))) for key, value in data.items()}
        return _WRONG if any(value is _WRONG for value in values.values()) else values


def _scalar(base: Any, data: Any) -> Any:
    """`data` as bool, int, float, text or path; `_WRONG` where that would lose or invent something."""
    if isinstance(data, str) and base in (int, float) and _EXPONENT.fullmatch(data.strip()):
        data = float(data)
    number = isinstance(data, int | float) and not isinstance(data, bool)
    if base is bool:
        return data if isinstance(data, bool) else _WRONG
    if base is int:
        whole = number and math.isfinite(data) and int(data) == data
        return int(data) if whole else _WRONG
    if base is float:
        return float(data) if number and math.isfinite(data) else _WRONG
    if base in (str, Path):
        if isinstance(data, int) and not isinstance(data, bool):
            data = str(data)
        return base(data) if isinstance(data, str | Path) else _WRONG
    if base is type(None):
        return None if data is None else _WRONG
    raise TypeError(f"a setting cannot have the type {base!r}")
