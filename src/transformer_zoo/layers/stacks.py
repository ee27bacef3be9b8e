"""Stacks: which block runs when."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from transformer_zoo.layers.blocks import Block, BlockCache, Scene
from transformer_zoo.layers.masks import LoweredMask, MaskLowering, MaskOperands
from transformer_zoo.layers.positions import Positions
from transformer_zoo.settings import Config


@dataclass(kw_only=True)
class StackConfig(Config):
    """How blocks are made into a stack."""

    slot: ClassVar[str | None] = "model/stack"

    def schedule(self, n_layers: int) -> list[int]:
        """For each layer in execution order the number of the block that runs there."""
        raise NotImplementedError("abstract")


@dataclass(kw_only=True)
class PlainStackConfig(StackConfig):
    """Every layer has parameters of its own."""

    def schedule(self, n_layers: int) -> list[int]:
        return list(range(n_layers))


@dataclass(kw_only=True)
class SharedStackConfig(StackConfig):
    """All layers share the parameters of one (ALBERT, Lan et al. 2020, https://arxiv.org/abs/1909.11942)."""

    def schedule(self, n_layers: int) -> list[int]:
        return [0] * n_layers


class Stack(nn.Module):
    """Runs blocks in the order of a schedule; owns the positions and the final norm.

    `build_block` makes block i; a schedule may name a block more than once.
    """

    def __init__(self, *, schedule: list[int], build_block: Callable[[], Block], positions: Positions, final_norm: nn.Module) -> None:
        super().__init__()
        self.order = schedule
        self.blocks = nn.ModuleList(build_block() for _ in range(max(schedule) + 1))
        self.positions = positions
        self.final_norm = final_norm
        self.recomputes = False
        """Gradient checkpointing: blocks are run again in the backward pass instead of keeping their activations."""

    def schedule(self) -> Iterator[Block]:
        """Blocks in execution order."""
        for number in self.order:
            block = self.blocks[number]
            assert isinstance(block, Block)
            yield block

    def forward(
        self,
        x: Tensor,
        *,
        operands: MaskOperands,
        query_index: Tensor,
        key_index: Tensor,
        memory: Tensor | None = None,
        memory_mask: LoweredMask | None = None,
        caches: list[BlockCache] | None = None,
    ) -> Tensor:
        """[B,T,D] -> [B,T,D]. Indices are positions, [T] or [B,T] for queries and [S] or [B,S] for keys, cached ones included."""
        keys = [self.positions.site_key(layer) for layer in range(len(self.order))]
        sites = {key: self.positions.site(key, query_index, key_index) for key in set(keys)}
        scene = Scene(lower=MaskLowering(operands), sites=sites, memory=memory, memory_mask=memory_mask)
        for layer, block in enumerate(self.schedule()):
            if self.recomputes and self.training and caches is None:
                x = checkpoint(block, x, scene, keys[layer], use_reentrant=False)
            else:
                x = block(x, scene, keys[layer], None if caches is None else caches[layer])
        return self.final_norm(x)
