"""Scores over the vocabulary that are computed only when, where and as far as somebody needs them."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from transformer_zoo.layers.linear import linear, product
from transformer_zoo.records import IGNORED, Record

_CHUNK_ELEMENTS = {"cpu": 2**23, "cuda": 2**27}
"""Logits held at a time: enough rows for matrix products at full speed, few enough to stay near a CPU's cache."""


def _chunk_rows(n_rows: int, vocab_size: int, device: torch.device) -> int:
    return max(16, min(n_rows, _CHUNK_ELEMENTS.get(device.type, 2**24) // vocab_size))


def _compute_dtype(tensor: Tensor) -> torch.dtype:
    kind = tensor.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensor.dtype


def _weight_gradient(slope: Tensor, hidden: Tensor, *, upright: bool) -> Tensor:
    """[N,V]ᵀ · [N,D] -> [V,D]. Lying on its side it is made faster by a sixth; where there is only one, putting it upright would cost as much."""
    return slope.t() @ hidden if upright else product(hidden.t(), slope.t()).t()


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of hidden [N,D] against a vocabulary matrix [V,D]. The gradients are made in the forward pass, chunk by chunk,
    while a chunk's logits are at hand; so neither the logits [N,V] nor their gradient are ever held whole.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, smoothing: float, with_gradients: bool) -> Tensor:
        dtype, vocab_size = _compute_dtype(hidden), weight.shape[0]
        rows, matrix = hidden.to(dtype), weight.to(dtype)
        total = hidden.new_zeros((), dtype=torch.float32)
        gradients: list[Tensor] = []
        d_weight: Tensor | None = None
        d_bias = torch.zeros_like(bias, dtype=torch.float32) if with_gradients and bias is not None else None
        size = _chunk_rows(len(rows), vocab_size, rows.device)
        with torch.autocast(rows.device.type, enabled=False):
            for chunk, target in zip(rows.split(size), targets.split(size), strict=True):
                scored = (target != IGNORED).unsqueeze(1)  # [n,1]
                index = target.unsqueeze(1).where(scored, 0)
                logits = product(chunk, matrix, None if bias is None else bias.to(dtype)).float()  # [n,V]
                top = logits.amax(dim=-1, keepdim=True)
                aim = logits.gather(1, index) * (1 - smoothing)
                if smoothing:
                    aim = aim + logits.mean(dim=-1, keepdim=True) * smoothing
                powers = logits.sub_(top).exp_()
                norm = powers.sum(dim=-1, keepdim=True)
                total = total + ((norm.log() + top - aim) * scored).sum()
                if not with_gradients:
                    continue
                # The slope is powers / norm less the aim's shares. Rows are divided where they are short: before and after the products.
                slope, share = powers, scored / norm
                if smoothing:
                    slope -= norm * (smoothing / vocab_size)
                slope.scatter_add_(1, index, norm * (smoothing - 1))
                if dtype == torch.float32:
                    gradients.append(product(slope, matrix.t()).mul_(share))
                    part = _weight_gradient(slope, chunk * share, upright=torch.compiler.is_compiling() or size >= len(rows))
                else:  # in a narrow format one more rounding would tell
                    slope = (slope * share).to(dtype)
                    gradients.append(slope @ matrix)
                    part = (slope.T @ chunk).float()
                    share = share.new_ones(share.shape)
                d_weight = part if d_weight is None else d_weight.add_(part)
                if d_bias is not None:
                    d_bias += (slope.t().float() @ share).squeeze(1)
        if d_weight is not None:
            ctx.save_for_backward(torch.cat(gradients).to(hidden.dtype), d_weight.to(weight.dtype), d_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_weight, d_bias = ctx.saved_tensors
        scaled = torch.mul(d_weight, upstream, out=d_weight.new_empty(d_weight.shape))  # in the weight's own layout
        return d_hidden * upstream, scaled, None if d_bias is None else d_bias * upstream, None, None, None


@dataclass(kw_only=True)
class VocabularyScores(Record):
    """hidden · weightᵀ + bias, not yet computed."""

    hidden: Tensor  # [N, D]
    weight: Tensor  # [V, D]
    bias: Tensor | None = None  # [V]

    def logits(self) -> Tensor:
        """[N, V] float32: everything, for decoding and small uses."""
        return linear(self.hidden, self.weight, self.bias).float()

    def cross_entropy(self, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """The **sum** over targets [N] (IGNORED ones count 0) of the cross-entropy in nats, in chunks, equal to
        `F.cross_entropy(logits, targets, reduction="sum", label_smoothing=…)` in value and gradient."""
        with_gradients = torch.is_grad_enabled() and (self.hidden.requires_grad or self.weight.requires_grad)
        return _ChunkedCrossEntropy.apply(self.hidden, self.weight, self.bias, targets, label_smoothing, with_gradients)

    def sample(self, draws: Tensor) -> Tensor:
        """One token for each row [N] from its softmax: the one at which the cumulated probability passes the row's draw [N], in [0, 1)."""
        tokens = []
        size = _chunk_rows(len(self.hidden), self.weight.shape[0], self.hidden.device)
        with torch.no_grad():  # not as a decorator: the compiler cannot trace one on a method of an object made in its graph
            for hidden, draw in zip(self.hidden.split(size), draws.split(size), strict=True):
                passed = product(hidden, self.weight, self.bias).float().softmax(dim=-1).cumsum(dim=-1)  # [n,V]
                # The last sum is 1 but for rounding; a draw may be rounded up to it.
                found = torch.searchsorted(passed, draw.unsqueeze(1) * passed[:, -1:], right=True).squeeze(1)
                tokens.append(found.clamp(max=passed.shape[1] - 1))
        return torch.cat(tokens)

    @torch.no_grad()
    def evaluate(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """For each of targets [N] the cross-entropy in nats (float32) and whether the target had the highest score; 0 and False where ignored."""
        losses, correct = [], []
        size = _chunk_rows(len(self.hidden), self.weight.shape[0], self.hidden.device)
        for hidden, target in zip(self.hidden.split(size), targets.split(size), strict=True):
            logits = product(hidden, self.weight, self.bias).float()  # [n,V]
            losses.append(F.cross_entropy(logits, target, ignore_index=IGNORED, reduction="none"))
            correct.append(logits.argmax(dim=-1) == target)
        return torch.cat(losses), torch.cat(correct)
