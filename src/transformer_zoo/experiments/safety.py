"""What must hold of names that become paths, and what must not reach a file: secrets."""

import os
import re
from pathlib import Path, PurePath
from typing import Any

from transformer_zoo.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9_=,+][A-Za-z0-9._=,+-]{0,99}")
"""A name that becomes a file or folder: no separators, no leading dot or dash."""

SECRET_SETTING = re.compile(r"(API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|API_?TOKEN|AUTH_?TOKEN|ACCESS_?TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$")
"""Settings that hold a secret; narrower than for the environment, where `training.tokens` and `mask_token` do not occur."""
SECRET_VARIABLE = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL")
MASK = "***"
_SHORTEST_SECRET = 6


def name_problem(name: str) -> str | None:
    """Why `name` may not become a file or folder; None where it may."""
    if NAME.fullmatch(name) and ".." not in name:
        return None
    return f"{name!r} is no good name: use 1 to 100 letters, digits and . _ = , + -, no '..', and no dot or dash in front"


def checked_name(name: str, what: str) -> str:
    """`name` itself, or a ConfigError that says what is wrong with this `what`."""
    if problem := name_problem(name):
        raise ConfigError(f"{what}: {problem}")
    return name


def path_problem(path: str) -> str | None:
    """Why a folder the user names for results may not be used: it may be absolute, but `..` would leave the place one looks for it."""
    parts = PurePath(path).parts
    if not parts or path.strip() != path or "\0" in path:
        return f"{path!r} is no folder"
    if ".." in parts:
        return f"{path!r} leaves its folder by '..'; give an absolute path"
    return name_problem(parts[-1])


def inside(root: Path, path: Path) -> bool:
    """Whether `path`, links resolved, lies in `root`."""
    return path.resolve().is_relative_to(root.resolve())


def masked(tree: Any) -> Any:
    """A copy of plain data for a file: values under names such as `api_key`, and values of such environment variables, become ***."""
    secrets = {value for name, value in os.environ.items() if SECRET_VARIABLE.search(name.upper()) and len(value) >= _SHORTEST_SECRET}
    return _masked(tree, secrets)


def _masked(value: Any, secrets: set[str]) -> Any:
    if isinstance(value, dict):
        return {k: MASK if _is_secret(str(k), v) else _masked(v, secrets) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item, secrets) for item in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, MASK)
        key, equals, rest = value.partition("=")
        return f"{key}={MASK}" if equals and rest and _is_secret(key.rpartition(".")[2], rest) else value
    return value


def _is_secret(key: str, value: Any) -> bool:
    return isinstance(value, str) and bool(value) and SECRET_SETTING.search(key.upper()) is not None
