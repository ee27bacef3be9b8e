"""How parameters start."""

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from transformer_zoo.settings import Config, PositiveFloat


@dataclass(kw_only=True)
class InitializationConfig(Config):
    """The law of the first weights. Gains start at 1, biases and shifts at 0."""

    slot: ClassVar[str | None] = "model/initialization"

    def matrix(self, weight: Tensor) -> None:
        """Fills a projection [out, in] in place."""
        raise NotImplementedError("abstract")

    def query(self, weight: Tensor, head_width: int) -> None:
        """Fills the projection of the queries [H·E, in] in place."""
        self.matrix(weight)

    def table(self, weight: Tensor) -> None:
        """Fills an embedding table [rows, width] in place."""
        raise NotImplementedError("abstract")

    def bias_table(self, weight: Tensor, d_model: int) -> None:
        """Fills a table of learned score biases [buckets, H] in place."""
        self.table(weight)

    def position_table(self, weight: Tensor) -> None:
        """Fills a table of positions [length, width] in place."""
        self.table(weight)

    def residual_factor(self, n_branches: int) -> float:
        """Factor on the last projection of each of a stack's `n_branches` residual branches."""
        return 1.0


@dataclass(kw_only=True)
class NormalConfig(InitializationConfig):
    """Normal with one deviation for all weights (GPT-1, GPT-2)."""

    std: PositiveFloat = 0.02
    """Deviation of projections and tables."""
    position_std: PositiveFloat | None = None
    """Deviation of position tables where it differs (GPT-2: 0.01); null: `std`."""
    scale_residual: bool = False
    """Whether the last projection of each residual branch is divided by the root of their number (GPT-2)."""

    def matrix(self, weight: Tensor) -> None:
        nn.init.normal_(weight, std=self.std)

    def table(self, weight: Tensor) -> None:
        nn.init.normal_(weight, std=self.std)

    def position_table(self, weight: Tensor) -> None:
        nn.init.normal_(weight, std=self.position_std or self.std)

    def residual_factor(self, n_branches: int) -> float:
        return 1 / math.sqrt(n_branches) if self.scale_residual else 1.0


@dataclass(kw_only=True)
class TruncatedNormalConfig(InitializationConfig):
    """Normal, redrawn beyond two deviations (BERT)."""

    std: PositiveFloat = 0.02
    """Deviation before truncation."""
    scale_residual: bool = False
    """Whether the last projection of each residual branch is divided by the root of their number (Megatron, ModernBERT)."""

    def matrix(self, weight: Tensor) -> None:
        truncated_normal(weight, self.std)

    def table(self, weight: Tensor) -> None:
        self.matrix(weight)

    def residual_factor(self, n_branches: int) -> float:
        return 1 / math.sqrt(n_branches) if self.scale_residual else 1.0


@dataclass(kw_only=True)
class FanInConfig(InitializationConfig):
    """Normal of deviation fan-in^-0.5; queries, whose scores are not scaled, smaller by the root of the head width, and tables of deviation 1
    (T5, Raffel et al. 2020, https://arxiv.org/abs/1910.10683, in its authors' code)."""

    def matrix(self, weight: Tensor) -> None:
        nn.init.normal_(weight, std=weight.shape[1] ** -0.5)

    def query(self, weight: Tensor, head_width: int) -> None:
        nn.init.normal_(weight, std=(weight.shape[1] * head_width) ** -0.5)

    def table(self, weight: Tensor) -> None:
        nn.init.normal_(weight, std=1.0)

    def bias_table(self, weight: Tensor, d_model: int) -> None:
        nn.init.normal_(weight, std=d_model**-0.5)


@dataclass(kw_only=True)
class XavierConfig(InitializationConfig):
    """Glorot's uniform for projections (https://proceedings.mlr.press/v9/glorot10a.html), normal of deviation width^-0.5 for tables: the usual
    ports of the 2017 Transformer."""

    def matrix(self, weight: Tensor) -> None:
        nn.init.xavier_uniform_(weight)

    def table(self, weight: Tensor) -> None:
        nn.init.normal_(weight, std=weight.shape[1] ** -0.5)


@torch.no_grad()
def truncated_normal(weight: Tensor, std: float) -> None:
    """Fills a tensor in place with normal numbers of deviation `std`; those beyond two deviations are drawn again until none is left.

    The numbers of `nn.init.trunc_normal_`, which looks at the whole tensor again after each drawing, to the bit.
    """
    if weight.is_meta:
        return
    low, high = (weight.new_tensor(limit, device="cpu").item() for limit in (-2 * std, 2 * std))
    values = weight.normal_(0.0, std).view(-1)
    beyond = (values - values.clamp(low, high)).nonzero().squeeze(1)
    fresh = torch.empty_like(weight)
    while len(beyond):
        drawn = fresh.normal_(0.0, std).view(-1)[beyond]
        values[beyond] = drawn
        beyond = beyond[(drawn < low) | (drawn > high)]


@runtime_checkable
class Initializable(Protocol):
    """A module whose parameters are more than plain projections and tables: fused, residual, positional."""

    def initialize(self, law: InitializationConfig, residual_factor: float) -> None:
        """Draws its own parameters, after the projections and tables inside it were drawn."""


@torch.no_grad()
def initialize(model: nn.Module, law: InitializationConfig, *, n_branches: int) -> None:
    """Draws every parameter of `model` by `law`: plain projections and tables first, then what a module wants otherwise."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            law.matrix(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            law.table(module.weight)
    for module in model.modules():
        if isinstance(module, Initializable):
            module.initialize(law, law.residual_factor(n_branches))
