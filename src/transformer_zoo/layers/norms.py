"""Normalisation layers."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from transformer_zoo.settings import Config, PositiveFloat


@dataclass(kw_only=True)
class NormConfig(Config):
    """What normalises a vector of features."""

    slot: ClassVar[str | None] = "model/norm"

    def build(self, width: int) -> nn.Module:
        """A module [..., width] -> [..., width]."""
        raise NotImplementedError("abstract")


@dataclass(kw_only=True)
class LayerNormConfig(NormConfig):
    """Layer normalisation (Ba et al. 2016, https://arxiv.org/abs/1607.06450)."""

    eps: PositiveFloat = 1e-5
    """Added to the variance."""
    bias: bool = True
    """Whether a learned shift follows the learned gain."""

    def build(self, width: int) -> nn.LayerNorm:
        return nn.LayerNorm(width, eps=self.eps, bias=self.bias)


@dataclass(kw_only=True)
class RMSNormConfig(NormConfig):
    """Root-mean-square normalisation without mean and shift (Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467)."""

    eps: PositiveFloat = 1e-6
    """Added to the mean square."""

    def build(self, width: int) -> nn.RMSNorm:
        return nn.RMSNorm(width, eps=self.eps)


@dataclass(kw_only=True)
class NoNormConfig(NormConfig):
    """No normalisation."""

    def build(self, width: int) -> nn.Identity:
        return nn.Identity()
