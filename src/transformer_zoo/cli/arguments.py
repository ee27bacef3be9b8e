"""The command line as typed: flags anywhere, everything else words in order."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.hints import did_you_mean


@dataclass(frozen=True)
class Flag:
    """An option that begins with dashes."""

    name: str
    help: str
    short: str | None = None
    value: str | None = None
    """What its value is called; None: it takes none."""
    many: bool = False
    """Whether it takes all words up to the next flag, or to `--`."""


COMMON = (
    Flag("--help", "show this help", short="-h"),
    Flag("--debug", "show tracebacks and debugging messages"),
    Flag("--plugin", "import a module that registers components of your own (may be repeated)", value="MODULE"),
)
"""Flags of every command."""


@dataclass
class Arguments:
    """What a command was called with."""

    words: list[str] = field(default_factory=list)
    """Overrides, paths, names: all that is no flag."""
    flags: dict[str, list[str]] = field(default_factory=dict)
    """Flag → its values; an empty list for a flag without."""

    def has(self, flag: str) -> bool:
        return flag in self.flags

    def value(self, flag: str) -> str | None:
        """The last value of a flag."""
        return self.flags[flag][-1] if self.flags.get(flag) else None

    @property
    def config_dirs(self) -> list[Path]:
        return [Path(folder) for folder in self.flags.get("--config-dir", [])]

    def take(self, key: str) -> str | None:
        """Removes `key=value` from the words and gives the value as typed, with no grammar; a repeated key is an error."""
        found = [word for word in self.words if word.startswith(f"{key}=")]
        if len(found) > 1:
            raise ConfigError(f"{key}= is given {len(found)} times: {' and '.join(found)}")
        self.words = [word for word in self.words if not word.startswith(f"{key}=")]
        return found[0].partition("=")[2] if found else None


def parse(words: Sequence[str], flags: Sequence[Flag]) -> Arguments:
    """Words behind the command; `--` ends the flags.

    Raises:
        ConfigError: an unknown flag, or one without the value it takes.
    """
    known = {name: flag for flag in flags for name in (flag.name, flag.short) if name}
    arguments, rest = Arguments(), list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            arguments.words += rest
            break
        if not word.startswith("-") or word == "-":
            arguments.words.append(word)
            continue
        name, equals, value = word.partition("=")
        flag = known.get(name)
        if flag is None:
            raise ConfigError(f"there is no flag {name}{did_you_mean(name, known)}; --help shows them")
        values = arguments.flags.setdefault(flag.name, [])
        if flag.value is None:
            if equals:
                raise ConfigError(f"{name} takes no value, got {value!r}")
            continue
        if not equals:
            if not rest or (flag.many and rest[0].startswith("-")):
                raise ConfigError(f"{name} needs a value: {name} {flag.value}")
            value = rest.pop(0)
        values.append(value)
        while flag.many and not equals and rest and not rest[0].startswith("-"):
            values.append(rest.pop(0))
    return arguments


def command_in(words: Sequence[str], flags: Sequence[Flag], commands: Mapping[str, object]) -> tuple[str | None, list[str]]:
    """The first word that is no flag, and all other words; flags may stand in front of the command too."""
    takes_value = {name for flag in flags if flag.value for name in (flag.name, flag.short) if name}
    position = 0
    while position < len(words):
        word = words[position]
        if not word.startswith("-") or word in commands:
            return word, [*words[:position], *words[position + 1 :]]
        position += 2 if word in takes_value else 1
    return None, list(words)


def is_first_process() -> bool:
    """Whether this process speaks for all: torchrun numbers them in RANK; alone there is none."""
    return os.environ.get("RANK", "0") == "0"
