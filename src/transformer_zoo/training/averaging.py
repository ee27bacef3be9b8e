"""Averages of weights: a running one (EMA), and the mean of the last checkpoints."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from transformer_zoo.training.parallel import full_tensor, like_shard


class AveragedWeights:
    """A second set of a model's parameters that can take the place of the first. Buffers are the model's own."""

    def __init__(self, model: nn.Module) -> None:
        self._own = dict(model.named_parameters())
        self._tensors: dict[str, Tensor] = {name: parameter.detach().clone() for name, parameter in self._own.items()}

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over saved weights, whole ones on the CPU."""
        for name, tensor in self._tensors.items():
            tensor.copy_(like_shard(weights[name], tensor))

    def whole(self) -> dict[str, Tensor]:
        """The tensors whole and on the CPU. With sharded parameters every process must ask."""
        return {name: full_tensor(tensor).cpu() for name, tensor in self._tensors.items()}

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange them with the model's parameters, in place; twice is as before, to the bit."""
        for name, parameter in self._own.items():
            kept = parameter.detach().clone()
            parameter.copy_(self._tensors[name])
            self._tensors[name].copy_(kept)


class RunningAverage(AveragedWeights):
    """Exponential moving average.

    The memory grows with the first steps, min(decay, (1 + step) / (10 + step)), so that the start is soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model)
        self.decay = decay

    @torch.no_grad()
    def update(self, step: int, skipped: Tensor | None = None) -> None:
        """Take in the weights after update number `step` (from 1); none of them where the number `skipped` is 1."""
        share: Any = 1 - min(self.decay, (1 + step) / (10 + step))
        if skipped is not None:
            share = share * (1 - skipped)
        for name, parameter in self._own.items():
            self._tensors[name].lerp_(parameter, share)


def mean_weights(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several sets of weights, added in float64; tensors that are not floating point are the last set's."""
    mean: dict[str, Tensor] = {}
    for name, value in states[-1].items():
        if value.is_floating_point():
            total = torch.zeros(value.shape, dtype=torch.float64)
            for state in states:
                total += state[name].double()
            mean[name] = (total / len(states)).to(value.dtype)
        else:
            mean[name] = value
    return mean
