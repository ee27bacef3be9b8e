"""Position-wise feed-forward networks."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from transformer_zoo.layers.activations import ACTIVATIONS, Activation
from transformer_zoo.layers.dropout import Dropout
from transformer_zoo.layers.initialization import InitializationConfig
from transformer_zoo.layers.linear import Linear
from transformer_zoo.settings import Config, Probability


@dataclass(kw_only=True)
class FeedforwardConfig(Config):
    """What follows attention in a block."""

    slot: ClassVar[str | None] = "model/feedforward"

    def build(self, *, d_model: int, d_ff: int) -> nn.Module:
        """A module [B, T, D] -> [B, T, D]."""
        raise NotImplementedError("abstract")


@dataclass(kw_only=True)
class DenseConfig(FeedforwardConfig):
    """Two projections with an activation between (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.3)."""

    activation: Activation = "gelu"
    """Between the two projections; `gelu` is the exact form, `gelu_tanh` its approximation."""
    bias: bool = True
    """Whether both projections have a bias."""
    dropout: Probability = 0.0
    """Of the activations."""

    def build(self, *, d_model: int, d_ff: int) -> "DenseFeedforward":
        return DenseFeedforward(self, d_model=d_model, d_ff=d_ff)


class DenseFeedforward(nn.Module):
    """outer(activation(inner(x)))."""

    def __init__(self, config: DenseConfig, *, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.inner = Linear(d_model, d_ff, bias=config.bias)
        self.outer = Linear(d_ff, d_model, bias=config.bias)
        self.activation = ACTIVATIONS[config.activation]
        self.dropout = Dropout(config.dropout)

    def initialize(self, law: InitializationConfig, residual_factor: float) -> None:
        self.outer.weight.mul_(residual_factor)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.dropout(self.activation(self.inner(x))))  # [B,T,D] -> [B,T,F] -> [B,T,D]


@dataclass(kw_only=True)
class GatedConfig(FeedforwardConfig):
    """A gated linear unit: SwiGLU with `silu`, GEGLU with `gelu` (Shazeer 2020, https://arxiv.org/abs/2002.05202)."""

    activation: Activation = "silu"
    """Of the gate."""
    bias: bool = False
    """Whether the projections have a bias."""
    dropout: Probability = 0.0
    """Of the gated activations."""

    def build(self, *, d_model: int, d_ff: int) -> "GatedFeedforward":
        return GatedFeedforward(self, d_model=d_model, d_ff=d_ff)


class GatedFeedforward(nn.Module):
    """outer(activation(gate(x)) · inner(x)); gate and inner are one matrix product."""

    def __init__(self, config: GatedConfig, *, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.gate_and_inner = Linear(d_model, 2 * d_ff, bias=config.bias)
        self.outer = Linear(d_ff, d_model, bias=config.bias)
        self.activation = ACTIVATIONS[config.activation]
        self.dropout = Dropout(config.dropout)

    def initialize(self, law: InitializationConfig, residual_factor: float) -> None:
        for part in self.gate_and_inner.weight.chunk(2):
            law.matrix(part)
        self.outer.weight.mul_(residual_factor)

    def forward(self, x: Tensor) -> Tensor:
        gate, inner = self.gate_and_inner(x).chunk(2, dim=-1)  # [B,T,D] -> 2 x [B,T,F]
        return self.outer(self.dropout(self.activation(gate) * inner))  # [B,T,F] -> [B,T,D]
