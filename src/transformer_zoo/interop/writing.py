"""A model of ours as tensors under their names."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from transformer_zoo.errors import CheckpointError, ConfigError
from transformer_zoo.interop.base import Family
from transformer_zoo.interop.config_file import Plain
from transformer_zoo.interop.reading import listed
from transformer_zoo.interop.tensors import link, to_theirs


def their_tensors(
    family: Family,
    settings: Plain,
    ours: Mapping[str, Tensor],
    *,
    prefixed: bool,
    dtype: str = "float32",
    dtypes: Mapping[str, str] | None = None,
    extras: Collection[str] | None = None,
    idle: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Everything that stands in their file. `dtype` is the type of all but those that `dtypes` names; `extras` are the copies and constants that are
    written (None: those that usually are), `idle` copies that nothing reads and that hold other numbers.

    Raises:
        ConfigError: a tensor of ours has no place in the format.
        CheckpointError: the format has one tensor where ours has two that differ.
    """
    links, left = link(family.rules(settings), ours)
    if left:
        raise ConfigError(f"the format of model_type {family.model_type} has no place for {listed(left)}")
    tensors, clashes = to_theirs(links, ours)
    if clashes:
        raise CheckpointError(f"several heads fill {listed(clashes)} with different numbers; the format has it once: export a model with one of them")
    copies = [copy for copy in family.copies(settings) if copy.of in tensors]
    constants = {name: tensor for name, tensor in family.constants(settings).items() if prefixed or name.startswith(family.prefix)}
    more = {copy.theirs: tensors[copy.of].clone() for copy in copies} | constants
    chosen = {copy.theirs for copy in copies if copy.written} | constants.keys() if extras is None else extras
    tensors |= {name: more[name] for name in chosen} | dict(idle or {})
    typed = {name: tensor.to(getattr(torch, (dtypes or {}).get(name, dtype))) for name, tensor in tensors.items()}
    return {name if prefixed else name.removeprefix(family.prefix): tensor for name, tensor in typed.items()}
