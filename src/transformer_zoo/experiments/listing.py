"""What settings there are and what they mean, told from the dataclasses themselves."""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from transformer_zoo.experiments import catalog
from transformer_zoo.experiments.convert import alternatives, expected, field_types, unwrapped
from transformer_zoo.settings import OneOf
from transformer_zoo.training.settings import TrainingConfig


@dataclass(frozen=True)
class Setting:
    """One setting as `list group=choice` shows it."""

    key: str
    default: str
    """As one would type it; `required` where there is none."""
    takes: str
    """`a whole number at least 1`."""
    meaning: str


def settings_of(cls: type, given: Mapping[str, Any]) -> list[Setting]:
    """The settings of a class in its own order, with their ranges and docstrings; `given` are values that a YAML file sets."""
    types, meanings = field_types(cls), _meanings(cls)
    return [
        Setting(
            key=f.name,
            default=_shown(given[f.name]) if f.name in given else _default(f, types[f.name]),
            takes=_takes(types[f.name]),
            meaning=meanings.get(f.name, ""),
        )
        for f in fields(cls)
    ]


def settings_of_choice(group: str, path: Path) -> list[Setting]:
    """The settings of an option file; of a file that fills no slot (a size, an experiment) what it sets."""
    given = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    given |= _chosen(given.get("defaults", []))
    cls = TrainingConfig if group == "training" else catalog.options(catalog.groups().get(group, "")).get(given.get("kind", ""))
    if cls is not None:
        return settings_of(cls, given)
    return [Setting(key=key, default=_shown(value), takes="", meaning="") for key, value in _flat(given) if not key.startswith("defaults")]


def _chosen(defaults: list[Any]) -> dict[str, str]:
    """Part → option, as a file's defaults list chooses; shapes come from the size it names."""
    choices = {key.removeprefix("optional "): value for entry in defaults if isinstance(entry, dict) for key, value in entry.items()}
    shapes = dict.fromkeys(("d_model", "n_layers", "n_heads", "d_ff"), f"(from size {choices['size']})") if "size" in choices else {}
    return {key: str(value) for key, value in choices.items() if "/" not in key and key != "size"} | shapes


def _flat(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        where = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict):
            yield from _flat(value, where)
        else:
            yield where, value


def keys_of(config: Any, path: str = "") -> dict[str, Any]:
    """Every dotted key below a config with its annotation; parts and their keys included."""
    return dict(_keys(config, path))


def words_of(annotation: Any) -> list[str]:
    """The words a setting may take, where they are few."""
    words: list[str] = []
    for option in alternatives(unwrapped(annotation)[0]) if not unwrapped(annotation)[1] else [annotation]:
        base, ranges = unwrapped(option)
        words += [word for r in ranges if isinstance(r, OneOf) for word in r.words]
        words += ["true", "false"] if base is bool else ["null"] if base is type(None) else []
    return words


def _keys(config: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, annotation in field_types(type(config)).items():
        value, key = getattr(config, name), f"{path}.{name}" if path else name
        if is_dataclass(value):
            yield from _keys(value, key)
        else:
            yield key, annotation


def _takes(annotation: Any) -> str:
    slots = [getattr(unwrapped(option)[0], "slot", None) for option in alternatives(unwrapped(annotation)[0])]
    groups = [slot for slot in slots if slot]
    return f"a choice of {groups[0]} ({', '.join(catalog.options(groups[0]))})" if groups else expected(annotation)


def _shown(value: Any) -> str:
    """A value as one would type it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if value != "" else "''"


def _default(f: Any, annotation: Any) -> str:
    if f.default is not MISSING:
        return _shown(f.default)
    if f.default_factory is not MISSING:
        made = f.default_factory()
        return "its own defaults" if is_dataclass(made) else str(made)
    base = unwrapped(annotation)[0]
    return "its own defaults" if is_dataclass(base) and not getattr(base, "slot", None) else "required"


@cache
def _meanings(cls: Any) -> dict[str, str]:
    """Field → the docstring under it, those of base classes included."""
    found: dict[str, str] = {}
    for base_class in reversed(cls.__mro__):
        if "__dataclass_fields__" not in vars(base_class):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base_class)))
        except (OSError, TypeError):
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for statement, after in pairwise(body):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and isinstance(after, ast.Expr):
                text = after.value.value if isinstance(after.value, ast.Constant) else None
                if isinstance(text, str):
                    found[statement.target.id] = " ".join(text.split())
    return found
