"""The entry of `transformer-zoo`: finds the command, runs it, and turns errors into one line and an exit code."""

import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from transformer_zoo import __version__
from transformer_zoo.cli import arguments as command_line
from transformer_zoo.cli import completion, help
from transformer_zoo.cli.arguments import is_first_process
from transformer_zoo.cli.commands import COMMANDS, Command
from transformer_zoo.errors import ConfigError, StoppedError, ZooError
from transformer_zoo.experiments.hints import did_you_mean

INTERRUPTED = 130
UNEXPECTED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == [completion.HIDDEN]:
        return completion.answer(words[1:])
    debug = "--debug" in words
    try:
        return _run(words, debug)
    except KeyboardInterrupt:
        return _failed("stopped", INTERRUPTED, debug)
    except BrokenPipeError:
        # The reader of our output is gone (`| head`); nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except StoppedError as error:
        return _failed(str(error), error.stopped_exit_code, debug)
    except ZooError as error:
        return _failed(str(error), error.exit_code, debug)
    except Exception as error:  # noqa: BLE001 - whatever else happens is our fault, and still ends in one line
        hint = "" if debug else " (a fault of ours: run again with --debug for the traceback)"
        return _failed(f"{type(error).__name__}: {_one_line(error)}{hint}", UNEXPECTED, debug)


def _run(words: Sequence[str], debug: bool) -> int:
    every_flag = [flag for command in COMMANDS.values() for flag in command.flags]
    name, rest = command_line.command_in(words, every_flag, COMMANDS)
    if name is None:
        return _without_command(rest)
    command = COMMANDS.get(name)
    if command is None:
        raise ConfigError(_unknown_command(name))
    if "--help" in rest or "-h" in rest:
        print(help.of_command(command))
        return 0
    parsed = command_line.parse(rest, command.flags)
    with _messages(debug):
        _load_plugins(command, parsed)
        return command.run(parsed)


def _without_command(words: Sequence[str]) -> int:
    if "--version" in words:
        print(f"transformer-zoo {__version__}")
        return 0
    flags = command_line.parse(words, (*command_line.COMMON, command_line.Flag("--version", "")))
    print(help.overview())
    return 0 if flags.has("--help") or not words else ConfigError.exit_code


def _unknown_command(name: str) -> str:
    if "=" in name:
        return f"{name}: name a command first, for example: transformer-zoo train {name}"
    return f"there is no command {name!r}{did_you_mean(name, COMMANDS)} (there are {', '.join(COMMANDS)})"


def _load_plugins(command: Command, parsed: command_line.Arguments) -> None:
    """Plugins come before anything is composed; a `list` without any stays free of heavy imports."""
    from transformer_zoo.experiments import plugins

    if command.takes_overrides or parsed.has("--plugin"):
        plugins.load(parsed.flags.get("--plugin", []))


@contextmanager
def _messages(debug: bool) -> Iterator[None]:
    """Messages go to standard error; standard output is for results. Under torchrun only the first process tells how it goes."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s" if debug else "%(message)s"))
    package = logging.getLogger("transformer_zoo")
    level = package.level
    package.addHandler(handler)
    package.setLevel(logging.DEBUG if debug else logging.INFO if is_first_process() else logging.WARNING)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no message"


def _failed(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    for line in message.splitlines() or ["failed"]:
        print(f"transformer-zoo: {line}", file=sys.stderr)
    return code
