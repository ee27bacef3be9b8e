"""Help texts, made from the table of commands."""

from collections.abc import Sequence

from transformer_zoo.cli.arguments import Flag
from transformer_zoo.cli.commands import COMMANDS, Command

PROGRAM = "transformer-zoo"


def overview() -> str:
    """What `transformer-zoo --help` shows."""
    width = max(map(len, COMMANDS))
    lines = [
        "Compose any Transformer from small parts, train it with any objective, and trust the comparison.",
        "",
        f"usage: {PROGRAM} COMMAND [group=choice …] [key=value …] [flags]",
        "",
        *(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()),
        "",
        f"  {PROGRAM} COMMAND --help   explains one command, with examples",
        f"  {PROGRAM} --version        prints the version",
        "",
        "examples:",
        f"  {PROGRAM} train model=gpt2 model/size=tiny data=pocket training.seconds=60",
        f"  {PROGRAM} list model/positions",
        f"  {PROGRAM} describe model=bert model/positions=rotary",
    ]
    return "\n".join(lines)


def of_command(command: Command) -> str:
    """What `transformer-zoo COMMAND --help` shows."""
    lines = [
        f"{command.name}: {command.summary}",
        "",
        f"usage: {PROGRAM} {command.name} {command.usage}",
        "",
        command.explanation,
        "",
        "examples:",
        *(f"  {PROGRAM} {example}" for example in command.examples),
        "",
        "flags:",
        *_flag_lines(command.flags),
    ]
    return "\n".join(lines)


def _flag_lines(flags: Sequence[Flag]) -> list[str]:
    names = [", ".join(name for name in (flag.short, flag.name) if name) + (f" {flag.value}" if flag.value else "") for flag in flags]
    width = max(map(len, names))
    return [f"  {name:<{width}}  {flag.help}" for name, flag in zip(names, flags, strict=True)]
