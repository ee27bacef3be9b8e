"""`transformer-zoo list`: groups, the choices of a group, the settings of a choice."""

import json
import shutil
import textwrap
from typing import Any

from transformer_zoo.cli.arguments import Arguments
from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments import config_tree
from transformer_zoo.experiments.hints import did_you_mean


def show(arguments: Arguments) -> int:
    """Prints what can be chosen, one line each; `--json` as one document."""
    if len(arguments.words) > 1:
        raise ConfigError(f"list {' '.join(arguments.words)}: name one group, or none")
    word = arguments.words[0] if arguments.words else ""
    group, equals, choice = word.strip("/").partition("=")
    if not word:
        document: Any = {"groups": _groups(arguments)}
    elif equals:
        document = {"group": group, "choice": choice, "settings": _settings(arguments, group, choice)}
    else:
        document = {"group": group, "choices": _choices(arguments, group), "groups": _below(arguments, group)}
    print(json.dumps(document, indent=2, ensure_ascii=False) if arguments.has("--json") else _text(document))
    return 0


def _groups(arguments: Arguments) -> dict[str, list[str]]:
    folders = config_tree.roots(arguments.config_dirs)
    return {group: list(_options(arguments, group)) for group in sorted({*config_tree.groups(folders), *_of_plugins(arguments)})}


def _choices(arguments: Arguments, group: str) -> dict[str, str]:
    found = _options(arguments, group)
    if not found:
        groups = _groups(arguments)
        raise ConfigError(f"there is no group {group!r}{did_you_mean(group, groups)} (there are {', '.join(groups)})")
    return found


def _options(arguments: Arguments, group: str) -> dict[str, str]:
    plugins = dict.fromkeys(_of_plugins(arguments).get(group, []), "(from a plugin)")
    return plugins | config_tree.options(group, config_tree.roots(arguments.config_dirs))


def _of_plugins(arguments: Arguments) -> dict[str, list[str]]:
    """What plugins have added, asked only where one was named: the catalog behind it imports everything."""
    if not arguments.has("--plugin"):
        return {}
    from transformer_zoo.experiments import catalog

    return {slot: list(entries) for slot, entries in catalog.registered().items()}


def _below(arguments: Arguments, group: str) -> list[str]:
    return [other for other in _groups(arguments) if other.startswith(f"{group}/")]


def _settings(arguments: Arguments, group: str, choice: str) -> list[dict[str, str]]:
    choices = _choices(arguments, group)
    if choice not in choices:
        raise ConfigError(f"{group} has no {choice!r}{did_you_mean(choice, choices)} (it has {', '.join(choices)})")
    from transformer_zoo.experiments import catalog
    from transformer_zoo.experiments.listing import settings_of, settings_of_choice

    folders = config_tree.roots(arguments.config_dirs)
    path = next((found for folder in folders if (found := folder / group / f"{choice}.yaml").is_file()), None)
    if path is None:
        return [vars(setting) for setting in settings_of(catalog.options(group)[choice], {})]
    return [vars(setting) for setting in settings_of_choice(group, path)]


def _text(document: dict[str, Any]) -> str:
    if "settings" in document:
        return "\n".join(_setting_lines(document["settings"])) or "no settings"
    if "choices" in document:
        lines = _columns(document["choices"])
        if document["groups"]:
            lines += ["", f"groups below: {', '.join(document['groups'])}"]
        return "\n".join(lines)
    return "\n".join([*_columns({group: ", ".join(names) for group, names in document["groups"].items()}), "", "list GROUP tells more"])


def _columns(rows: dict[str, str]) -> list[str]:
    width = max(map(len, rows), default=0)
    room = max(40, shutil.get_terminal_size((200, 24)).columns - width - 2)
    return [f"{name:<{width}}  {textwrap.shorten(text, room, placeholder=' …')}" for name, text in rows.items()]


def _setting_lines(settings: list[dict[str, str]]) -> list[str]:
    heads = [f"{setting['key']}={setting['default']}" for setting in settings]
    width = max(map(len, heads), default=0)
    takes = [f"Takes {setting['takes']}." if setting["takes"] else "" for setting in settings]
    texts = [f"{setting['meaning']} {take}".strip() for setting, take in zip(settings, takes, strict=True)]
    return [f"{head:<{width}}  {text}".rstrip() for head, text in zip(heads, texts, strict=True)]
