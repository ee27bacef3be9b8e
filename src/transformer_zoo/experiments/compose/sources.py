"""Where options are found: folders of YAML files, packages, and what plugins have registered. Hydra's view of them, with errors of ours."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra import version
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments import catalog, config_tree
from transformer_zoo.experiments.hints import did_you_mean


class Files(FileConfigSource):
    """A folder of YAML files; what is wrong with one is told with its file and line."""

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path, self._normalize_file_name(config_path))
        try:
            result = super().load_config(config_path)
        except UnicodeDecodeError as error:
            line = path.read_bytes()[: error.start].count(b"\n") + 1
            raise ConfigError(f"{path}:{line}: not UTF-8 text (byte {error.start})") from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ConfigError(f"{path}:{line}: {error.problem or 'broken YAML'}") from error
        except (yaml.YAMLError, OmegaConfBaseException, OSError) as error:
            if isinstance(error, ConfigLoadError):
                raise
            raise ConfigError(f"{path}:1: {_first_line(error)}") from error
        if not isinstance(result.config, DictConfig):
            raise ConfigError(f"{path}:1: expected settings (key: value), found a {'list' if OmegaConf.is_list(result.config) else 'value'}")
        return result

    def is_config(self, config_path: str) -> bool:
        return ".." not in config_path.split("/") and super().is_config(config_path)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return [name for name in super().list(config_path, results_filter) if not name.startswith(".")]


class Plugins(ConfigSource):
    """Components that plugins have registered and that no YAML file describes: the option is just its kind."""

    @staticmethod
    def scheme() -> str:
        return "plugins"

    def load_config(self, config_path: str) -> ConfigResult:
        name = config_path.removesuffix(".yaml").rpartition("/")[2]
        return ConfigResult(provider=self.provider, path="plugins://", config=OmegaConf.create({"kind": name}), header={"package": None})

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return config_path in _offered_by_plugins()

    def is_config(self, config_path: str) -> bool:
        group, _, name = config_path.removesuffix(".yaml").rpartition("/")
        return name in _offered_by_plugins().get(group, ())

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return [] if results_filter == ObjectType.GROUP else sorted(_offered_by_plugins().get(config_path, ()))


def _offered_by_plugins() -> dict[str, list[str]]:
    """Group → names, other groups that fill the same slot included."""
    return {group: list(catalog.registered().get(slot, ())) for group, slot in catalog.groups().items()}


class _Repository(ConfigRepository):
    """Hydra's view of the search path, made without its registry of plugins."""

    def __init__(self, sources: list[ConfigSource]) -> None:
        self.sources = sources

    def initialize_sources(self, config_search_path: Any) -> None:
        raise AssertionError("the sources are given")


def repository_of(config_dirs: Sequence[str | Path], searchpath: Sequence[str]) -> CachingConfigRepository:
    """Our own `configs/`, then the user's folders and packages in their order, then plugins; the first match wins."""
    sources: list[ConfigSource] = [Files("main", str(config_tree.own_root()))]
    for folder in map(str, (*config_dirs, *searchpath)):
        if folder.startswith("pkg://"):
            sources.append(_package(folder))
            continue
        path = Path(folder.removeprefix("file://")).absolute()
        if not path.is_dir():
            raise ConfigError(f"the configuration folder {path} is not there")
        sources.append(Files("searchpath", str(path)))
    return CachingConfigRepository(_Repository([*sources, Plugins("plugins", "plugins://")]))


def _package(folder: str) -> ConfigSource:
    source = ImportlibResourcesConfigSource("searchpath", folder)
    try:
        available = source.available()
    except (ImportError, ValueError, TypeError):
        available = False
    if not available:
        raise ConfigError(f"the configuration package {folder} is not there: give pkg://my_package.configs, installed and with an __init__.py")
    return source


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextmanager
def hydra_errors() -> Iterator[None]:
    """Hydra at its current behaviour whatever the surrounding program uses, its errors as one line each."""
    base = version.VersionBase.instance()
    before = base.getbase()
    version.setbase("1.3")
    try:
        yield
    except MissingConfigException as error:
        wanted = error.missing_cfg_file or ""
        group, _, name = wanted.rpartition("/")
        options = list(error.options or ())
        where = _first_line(error).partition(": Could not")[0] if "In '" in str(error) else ""
        message = f"{group} has no {name!r}{did_you_mean(name, options)} (it has {', '.join(options) or 'none'})" if group else _first_line(error)
        raise ConfigError(f"{where}: {message}" if where else message) from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        if unused := re.search(r"Could not override '([^']+)'", str(error)):
            raise ConfigError(f"{unused[1]}=…: nothing that is chosen here has a place for a choice of {unused[1].partition('@')[0]}") from error
        raise ConfigError(" ".join(line.strip() for line in str(error).splitlines() if line.strip())) from error
    finally:
        base.version_base = before
