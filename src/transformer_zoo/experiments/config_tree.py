"""The `configs/` folders as what they are: groups (folders) of options (YAML files), each described by its first comment line.

Reads file names and first lines only, so that help, `list` and completion answer without importing anything heavy.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
ORDER = ("tiny", "mini", "small", "medium", "base", "large")
"""Sizes in the order of their sizes; all other options are sorted by name."""


def own_root() -> Path:
    """The folder `configs/` that belongs to this code: inside an installed package, else beside `src/`."""
    for candidate in (_PACKAGE / "configs", _PACKAGE.parents[1] / "configs"):
        if (candidate / "train.yaml").is_file():
            return candidate
    raise FileNotFoundError(f"no configs/ folder beside {_PACKAGE}: reinstall transformer-zoo")


def roots(config_dirs: Sequence[str | Path] = ()) -> list[Path]:
    """The folders searched for options, first match first: our own, then the user's."""
    return [own_root(), *(Path(folder).absolute() for folder in config_dirs)]


def groups(folders: Sequence[Path]) -> list[str]:
    """Every group that has options, for example `model/positions`."""
    found = {
        Path(current).relative_to(folder).as_posix()
        for folder in folders
        for current, _, files in os.walk(folder)
        if Path(current) != folder and any(_is_option(name) for name in files)
    }
    return sorted(found)


def options(group: str, folders: Sequence[Path]) -> dict[str, str]:
    """The options of a group with their descriptions, small sizes first."""
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted((folder / group).glob("*.yaml")):
            found.setdefault(path.stem, description(path))
    return {name: found[name] for name in ordered(found)}


def ordered(names: Iterable[str]) -> list[str]:
    """Sizes from small to large, then the rest by name."""
    return sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def description(path: Path) -> str:
    """The first comment line of a file that says something."""
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                text = line.strip().removeprefix("#").strip()
                if line.startswith("#") and text and not text.startswith("@package"):
                    return text
                if text and not line.startswith("#"):
                    return ""
    except (OSError, UnicodeDecodeError):
        return "(cannot be read)"
    return ""


def _is_option(name: str) -> bool:
    return name.endswith(".yaml") and not name.startswith(".")
