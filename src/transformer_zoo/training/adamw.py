"""AdamW around torch's own update."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from transformer_zoo.training.plain_optimizer import PlainOptimizer


class AdamW(PlainOptimizer):
    """The numbers and the state of `torch.optim.AdamW` (Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101).

    `groups` are dictionaries of `params` and `weight_decay`; `fused` says which of torch's kernels updates them.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], *, lr: float, betas: tuple[float, float], eps: float, fused: bool) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "fused": fused})

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        self._update(None)

    def step_unless(self, skip: Tensor) -> None:
        """The same, but where the number `skip` is 1 (it is 0 or 1, float32 on the parameters' device) all stays as it is. The host need not know
        which it is. Only the fused kernel can do that."""
        self._update(skip)

    @torch.no_grad()
    def _update(self, skip: Tensor | None) -> None:
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            states = [self._state_of(parameter, group["fused"]) for parameter in parameters]
            beta1, beta2 = group["betas"]
            adamw(
                parameters,
                [parameter.grad for parameter in parameters],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                [state["step"] for state in states],
                foreach=not group["fused"],
                fused=group["fused"],
                found_inf=skip,
                amsgrad=False,
                beta1=beta1,
                beta2=beta2,
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                maximize=False,
            )

    def _state_of(self, parameter: Tensor, fused: bool) -> dict[str, Tensor]:
        if parameter not in self.state:
            self.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device if fused else "cpu"),
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }
        return self.state[parameter]

    def _taken_over(self, parameter: Tensor, saved: dict[str, Tensor], group: dict[str, Any]) -> dict[str, Tensor]:
        return {
            "step": torch.as_tensor(saved["step"], dtype=torch.float32).to(parameter.device if group["fused"] else "cpu", copy=True),
            **{key: saved[key].to(parameter.device, parameter.dtype, copy=True) for key in ("exp_avg", "exp_avg_sq")},
        }
