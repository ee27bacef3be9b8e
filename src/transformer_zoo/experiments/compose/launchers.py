"""The launchers that Hydra finds plugins for."""

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path

GROUP = "hydra/launcher"


def hydra_launchers() -> list[str]:
    """Their names, sorted."""
    loader = ConfigLoaderImpl(config_search_path=create_config_search_path(search_path_dir=None))
    names: list[str] = loader.get_group_options(GROUP)
    return sorted(names)
