"""AdamW around torch's own update, without the machinery that makes `torch.optim.Optimizer` load the compiler at its first use."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw


class AdamW:
    """The numbers and the state of `torch.optim.AdamW` (Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101).

    `torch.optim.Optimizer` imports `torch._dynamo` when it is built, which costs every start of a run more than a second. `groups` are
    dictionaries of `params` (leaves that need gradients) and `weight_decay`; `fused` says which of torch's kernels updates them.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], *, lr: float, betas: tuple[float, float], eps: float, fused: bool) -> None:
        self.param_groups: list[dict[str, Any]] = [{"lr": lr, "betas": betas, "eps": eps, "fused": fused, **group} for group in groups]
        self.state: dict[Tensor, dict[str, Tensor]] = {}

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

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, or fill them with zeros."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none:
                    parameter.grad = None
                elif parameter.grad is not None:
                    parameter.grad.zero_()

    def state_dict(self) -> dict[str, Any]:
        """As torch's: `state` by running number, `param_groups` with those numbers."""
        numbers = {id(p): number for number, p in enumerate(p for group in self.param_groups for p in group["params"])}
        return {
            "state": {numbers[id(parameter)]: state for parameter, state in self.state.items()},
            "param_groups": [{**group, "params": [numbers[id(p)] for p in group["params"]]} for group in self.param_groups],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state, this class's or that of `torch.optim.AdamW`, over the same parameters in the same groups."""
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            assert len(group["params"]) == len(saved["params"]), "the state belongs to other parameters"
            group.update({key: saved[key] for key in ("lr", "betas", "eps", "weight_decay")})
            for parameter, number in zip(group["params"], saved["params"], strict=True):
                if number in state_dict["state"]:
                    self._load(parameter, state_dict["state"][number], group["fused"])

    def _load(self, parameter: Tensor, saved: dict[str, Tensor], fused: bool) -> None:
        self.state[parameter] = {
            "step": torch.as_tensor(saved["step"], dtype=torch.float32).to(parameter.device if fused else "cpu", copy=True),
            **{key: saved[key].to(parameter.device, parameter.dtype, copy=True) for key in ("exp_avg", "exp_avg_sq")},
        }
