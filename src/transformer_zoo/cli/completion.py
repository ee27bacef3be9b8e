"""Tab completion: scripts for shells, and the answers they ask for.

Commands, groups and options come from the `configs/` tree alone, in the time Python needs to start; only keys and their values import
the settings themselves.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from transformer_zoo.benchmark.suites import SUITES
from transformer_zoo.cli.arguments import Arguments, command_in
from transformer_zoo.cli.commands import COMMANDS, Command
from transformer_zoo.errors import ConfigError, ZooError
from transformer_zoo.experiments import config_tree
from transformer_zoo.experiments.hints import did_you_mean

HIDDEN = "_complete"
"""The word by which scripts ask; what follows is the line up to the cursor, word by word."""

ROOT_KEYS = ("seed", "device", "run_dir", "init_from", "init_part", "resume", "name")
"""Settings that stand in no group."""

_BASH = """_transformer_zoo() {
    local IFS=$'\\n'
    COMPREPLY=($("${COMP_WORDS[0]}" _complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
# A setting such as key=value is one word, not three.
COMP_WORDBREAKS=${COMP_WORDBREAKS//[=@:]/}
complete -o nospace -o default -F _transformer_zoo transformer-zoo
"""
SCRIPTS = {"bash": _BASH, "zsh": "autoload -U +X bashcompinit && bashcompinit\n" + _BASH}


def script(arguments: Arguments) -> int:
    """`transformer-zoo completion bash` prints what the shell must read."""
    shell = arguments.words[0] if len(arguments.words) == 1 else ""
    if shell not in SCRIPTS:
        raise ConfigError(f"completion {' '.join(arguments.words)}: name one of {', '.join(SCRIPTS)}{did_you_mean(shell, SCRIPTS)}")
    print(SCRIPTS[shell], end="")
    return 0


def answer(words: Sequence[str]) -> int:
    """Prints what can stand in place of the last word, one per line; stays silent rather than disturb the line being typed."""
    try:
        found = candidates(words[:-1], words[-1] if words else "")
    except (ZooError, OSError):
        found = []
    print("\n".join(found))
    return 0


def candidates(before: Sequence[str], word: str) -> list[str]:
    """What `word` can become after the words `before`; settings end in `=`, everything complete in a space."""
    every_flag = [flag for command in COMMANDS.values() for flag in command.flags]
    name, _ = command_in(before, every_flag, COMMANDS)
    command = COMMANDS.get(name or "")
    if name is None:
        return _starting(word, [f"{known} " for known in [*COMMANDS, "--help", "--version"]])
    if command is None:
        return []
    if word.startswith("-"):
        return _starting(word, [f"{flag.name} " for flag in command.flags])
    if command.name == "list":
        return _list_words(word)
    if command.name == "completion":
        return _starting(word, [f"{shell} " for shell in SCRIPTS])
    if command.name == "benchmark":
        return _benchmark_words(command, word)
    return _setting(command, before, word) if command.takes_overrides else []


def _setting(command: Command, before: Sequence[str], word: str) -> list[str]:
    key, equals, value = word.partition("=")
    if not equals:
        own = [f"{name}=" for name in (*command.keys, *ROOT_KEYS)]
        groups = [f"{group}=" for group in config_tree.groups(config_tree.roots()) if not group.startswith("model/sizes/")]
        prefix = word[: len(word) - len(word.lstrip("+~"))]
        found = _starting(word, [prefix + name for name in (*own, *groups)])
        return _sections(found, word) if "." not in word else found or _keys(before, word)
    if key == "run":
        return _starting(word, [f"run={path.parent} " for path in sorted(Path("runs").glob("*/config.yaml"))])
    group = key.lstrip("+~").partition("@")[0]
    done, comma, _ = value.rpartition(",")
    options = _sizes(before) if group == "model/size" else list(config_tree.options(group, config_tree.roots()))
    return _starting(word, [f"{key}={done}{comma}{option} " for option in options]) or _values(before, key, word)


def _list_words(word: str) -> list[str]:
    group, equals, _ = word.partition("=")
    if equals:
        return _starting(word, [f"{group}={option} " for option in config_tree.options(group, config_tree.roots())])
    return _starting(word, [f"{group} " for group in config_tree.groups(config_tree.roots())])


def _benchmark_words(command: Command, word: str) -> list[str]:
    key, equals, value = word.partition("=")
    if not equals:
        return _starting(word, ["table ", *(f"{name}=" for name in command.keys)])
    done, comma, _ = value.rpartition(",")
    return _starting(word, [f"suite={done}{comma}{suite} " for suite in SUITES]) if key == "suite" else []


def _sections(found: list[str], word: str) -> list[str]:
    """One step at a time, as with folders: `model=` before `model/positions=`; what lies deeper only where nothing else does."""
    near = [one for one in found if one.count("/") <= word.count("/")]
    return near or found


def _sizes(before: Sequence[str]) -> list[str]:
    """Generic sizes and those of the chosen model's family."""
    model = next((word.partition("=")[2] for word in before if word.startswith("model=")), "")
    folders = config_tree.roots()
    return config_tree.ordered({*config_tree.options("model/size", folders), *config_tree.options(f"model/sizes/{model}", folders)})


def _keys(before: Sequence[str], word: str) -> list[str]:
    prefix = word[: len(word) - len(word.lstrip("+~"))]
    return _starting(word, [f"{prefix}{key}=" for key in _settings(before)])


def _values(before: Sequence[str], key: str, word: str) -> list[str]:
    """The words a setting may take."""
    from transformer_zoo.experiments.listing import words_of

    kinds = _settings(before)
    return _starting(word, [f"{key}={value} " for value in words_of(kinds[key])]) if key in kinds else []


def _settings(before: Sequence[str]) -> dict[str, object]:
    """Every dotted key of what has been chosen so far, with its type; falls back to the defaults where that is wrong."""
    from transformer_zoo.experiments.compose import experiment
    from transformer_zoo.experiments.listing import keys_of

    groups = config_tree.groups(config_tree.roots())
    chosen = [word for word in before if word.partition("=")[0].lstrip("+~").partition("@")[0] in groups]
    try:
        return keys_of(experiment(chosen))
    except ConfigError:
        return keys_of(experiment())


def _starting(word: str, words: Iterable[str]) -> list[str]:
    return [one for one in words if one.startswith(word)]
