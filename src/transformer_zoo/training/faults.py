"""What to tell a person when a step cannot be done: its gradient is not finite, or the memory does not suffice."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from transformer_zoo.records import Example
from transformer_zoo.training.scored import Scored
from transformer_zoo.training.settings import TrainingConfig


def explain_not_finite(scored: Scored, examples: Sequence[Example]) -> str:
    """Where NaN or infinity first shows: in a weight, in a module's output, in a loss term, or only in a gradient."""
    for name, parameter in scored.model.named_parameters():
        if not torch.isfinite(_local(parameter)).all():
            return f"the weight {name} is not finite"
    found = _first_module(scored, examples)
    if found:
        return found
    for name, parameter in scored.model.named_parameters():
        if parameter.grad is not None and not torch.isfinite(_local(parameter.grad)).all():
            return f"the gradient of {name} is the first that is not finite"
    return "every gradient is finite, but their norm is not"


def out_of_memory(config: TrainingConfig, device: torch.device) -> str:
    """What to set, in an order that leaves the result as it is first."""
    rows = config.micro_batch_size or config.batch_size
    ways = [f"training.micro_batch_size={max(1, rows // 2)} (the same gradient in smaller pieces)"] if rows > 1 else []
    ways += [] if config.gradient_checkpointing else ["training.gradient_checkpointing=true"]
    ways += ["training.precision=bf16"] if config.precision == "fp32" else []
    return f"{device} is out of memory: set {', or '.join([*ways, 'a smaller data.sequence_length or model/size'])}"


def _first_module(scored: Scored, examples: Sequence[Example]) -> str | None:
    """Run the forward once more, watching the modules' outputs."""
    found: list[str] = []

    def watch(name: str) -> torch.utils.hooks.RemovableHandle:
        def hook(module: nn.Module, _arguments: object, output: object) -> None:
            if not found and isinstance(output, Tensor) and output.is_floating_point() and not torch.isfinite(output).all():
                found.append(f"the output of {name} ({type(module).__name__}) is the first that is not finite")

        return scored.model.get_submodule(name).register_forward_hook(hook)

    handles = [watch(name) for name, _ in scored.model.named_modules() if name]
    try:
        with torch.no_grad():
            for example in examples:
                for term, value in scored(example).sums.items():
                    if not found and not torch.isfinite(value).all():
                        found.append(f"the loss term {term} is not finite")
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor
