"""Components from a researcher's own package.

A plugin is a module whose import (or whose named function) calls `transformer_zoo.register`. Three ways lead to it, all in the
user's own hands: an installed package's entry point in the group `transformer_zoo.plugins`, `--plugin my_lab.attention`, and the
environment variable TRANSFORMER_ZOO_PLUGINS (names separated by commas). A YAML file can never name one.
"""

import importlib
import logging
import os
import re
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from transformer_zoo.errors import ConfigError

logger = logging.getLogger(__name__)

GROUP = "transformer_zoo.plugins"
VARIABLE = "TRANSFORMER_ZOO_PLUGINS"
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?")

_loaded: list[str] = []


def loaded() -> list[str]:
    """Names of the plugins that were read, in order; a run records them."""
    return list(_loaded)


def load(names: Sequence[str] = ()) -> list[str]:
    """Read installed plugins, those of the environment variable and `names`, each once, before anything is composed."""
    installed = [entry.value for entry in metadata.entry_points(group=GROUP)]
    variable = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    for name in [*installed, *variable, *names]:
        if name not in _loaded:
            _read(name)
            _loaded.append(name)
    return loaded()


def require(names: Iterable[str], owner: str) -> None:
    """Raise where `owner` (a run) was made with plugins that are not loaded now."""
    missing = [name for name in names if name not in _loaded]
    if missing:
        wanted = " ".join(f"--plugin {name}" for name in missing)
        raise ConfigError(f"{owner} was made with the plugin {', '.join(missing)}, which is not loaded: add {wanted}")


def _read(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"plugin {name!r}: name a module, for example my_lab.attention, or a function of it, my_lab.attention:register")
    module_name, _, function = name.partition(":")
    _make_importable()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and module_name.split(".")[0] == error.name.split(".")[0]:
            raise ConfigError(f"plugin {name!r}: there is no module {error.name!r} (searched {Path.cwd()} and the Python path)") from error
        raise ConfigError(f"plugin {name!r} cannot be imported: {error}") from error
    except ConfigError:
        raise
    except Exception as error:  # a plugin is somebody else's code: whatever it raises is told in one line
        raise ConfigError(f"plugin {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    if function:
        register = getattr(module, function, None)
        if not callable(register):
            raise ConfigError(f"plugin {name!r}: {module_name} has no function {function!r}")
        register()
    logger.debug("plugin %s", name)


def _make_importable() -> None:
    """A plugin may lie in the current folder, also when the console command started us."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
