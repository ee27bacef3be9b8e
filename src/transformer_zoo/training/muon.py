"""Muon: momentum made orthogonal."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from transformer_zoo.training.plain_optimizer import PlainOptimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration: as steep at zero as can be."""
EPS = 1e-7

SCALINGS: dict[str, Callable[[int, int], float]] = {
    "original": lambda rows, columns: math.sqrt(max(1, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
}
"""How lr grows with a matrix's shape."""


class Muon(PlainOptimizer):
    """The numbers and the state of `torch.optim.Muon` (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) over matrices."""

    def __init__(
        self, matrices: Sequence[Tensor], *, lr: float, weight_decay: float, momentum: float, nesterov: bool, ns_steps: int, adjust_lr_fn: str
    ) -> None:
        settings = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov}
        super().__init__([{"params": list(matrices)}], settings | {"ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn})

    @torch.no_grad()
    def step(self) -> None:
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                if matrix not in self.state:
                    self.state[matrix] = {"momentum_buffer": torch.zeros_like(matrix.grad, memory_format=torch.preserve_format)}
                buffer = self.state[matrix]["momentum_buffer"]
                buffer.lerp_(matrix.grad, 1 - group["momentum"])
                direction = matrix.grad.lerp(buffer, group["momentum"]) if group["nesterov"] else buffer
                rate = group["lr"] * SCALINGS[group["adjust_lr_fn"]](*matrix.shape)
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(orthogonal(direction, group["ns_steps"]), alpha=-rate)


def orthogonal(matrix: Tensor, n_steps: int) -> Tensor:
    """Nearly U Vᵀ of a matrix U S Vᵀ [rows, columns], by Newton–Schulz iterations in bf16: singular values come to lie between about 0.5 and 1.5."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.bfloat16().T if tall else matrix.bfloat16()
    x = x / x.norm().clamp(min=EPS)
    for _ in range(n_steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
