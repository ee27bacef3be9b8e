"""A model's weights as plain named tensors: tied ones once, sharded ones whole."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from transformer_zoo.errors import CheckpointError
from transformer_zoo.training.parallel import full_tensor, like_shard


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers as they are in the model, each tensor once, under its first name."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor
    return found


def model_weights(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, on the CPU, each tensor under its first name. With sharded parameters every process must ask."""
    return {name: full_tensor(tensor.detach()).cpu().contiguous() for name, tensor in own_tensors(model).items()}


@torch.no_grad()
def load_model_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str, *, strict: bool = True) -> list[str]:
    """Copy weights into a model in place; returns what did not fit, one line each (empty when strict).

    Raises:
        CheckpointError: strict, and a tensor is missing, left over or of another shape.
    """
    own = own_tensors(model)
    misfits = [f"{name}: not in the file" for name in own.keys() - weights.keys()]
    misfits += [f"{name}: not in the model" for name in weights.keys() - own.keys()]
    fitting = [name for name in own if name in weights]  # in the model's order, so that all processes cut their shards in step
    misfits += [
        f"{name}: {list(weights[name].shape)} in the file, {list(own[name].shape)} in the model"
        for name in fitting
        if weights[name].shape != own[name].shape
    ]
    if misfits and strict:
        shown = "; ".join(sorted(misfits)[:5]) + (f"; and {len(misfits) - 5} more" if len(misfits) > 5 else "")
        raise CheckpointError(f"{source} does not fit the model: {shown}")
    for name in fitting:
        if weights[name].shape == own[name].shape:
            own[name].copy_(like_shard(weights[name].to(own[name].dtype), own[name]))
    return sorted(misfits)
