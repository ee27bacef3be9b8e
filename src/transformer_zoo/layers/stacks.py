"""Stacks: which block runs when."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from transformer_zoo.layers.blocks import Block, BlockCache, Scene
from transformer_zoo.layers.lowering import LoweredMask, MaskLowering
from transformer_zoo.layers.masks import MaskOperands
from transformer_zoo.layers.positions import Positions
from transformer_zoo.settings import Config, PositiveInt


@dataclass(kw_only=True)
class StackConfig(Config):
    """How blocks are made into a stack."""

    slot: ClassVar[str | None] = "model/stack"

    def schedule(self, n_layers: int) -> list[int]:
        """For each layer in execution order the number of the block that runs there."""
        raise NotImplementedError("abstract")

    def layer_problems(self, n_layers: int) -> list[str]:
        """What does not fit this number of layers."""
        return []


@dataclass(kw_only=True)
class PlainStackConfig(StackConfig):
    """Every layer has parameters of its own."""

    def schedule(self, n_layers: int) -> list[int]:
        return list(range(n_layers))


@dataclass(kw_only=True)
class SharedStackConfig(StackConfig):
    """Neighbouring layers share the parameters of one (ALBERT, Lan et al. 2020, https://arxiv.org/abs/1909.11942). Where the model has several
    kinds of layer, each kind has parameters of its own."""

    n_groups: PositiveInt = 1
    """Sets of parameters; each serves an equal number of layers, one after another."""

    def layer_problems(self, n_layers: int) -> list[str]:
        if self.n_groups <= n_layers:
            return []
        return [f"stack.n_groups={self.n_groups} is more than n_layers={n_layers}: choose at most {n_layers}"]

    def schedule(self, n_layers: int) -> list[int]:
        return [layer * self.n_groups // n_layers for layer in range(n_layers)]


class Stack(nn.Module):
    """Runs blocks in the order of a schedule; owns the positions and the final norm.

    `build_block` makes block i; a schedule may name a block more than once. `kinds` names for each layer the kind it is of, "" where it is
    as the model; `positions_of` holds the schemes of kinds that place tokens in their own way.
    """

    def __init__(
        self,
        *,
        schedule: list[int],
        build_block: Callable[[int], Block],
        kinds: list[str],
        positions: Positions,
        positions_of: Mapping[str, Positions],
        final_norm: nn.Module,
    ) -> None:
        super().__init__()
        self.order = schedule
        self.blocks = nn.ModuleList(build_block(number) for number in range(max(schedule) + 1))
        self.positions = positions
        self.positions_of = nn.ModuleDict(positions_of)
        self.schemes = [kind if kind in positions_of else "" for kind in kinds]
        """For each layer the name of its position scheme; "" is the stack's own."""
        self.site_keys = [(name, self.scheme(name).site_key(layer)) for layer, name in enumerate(self.schemes)]
        """For each layer the site it shares with others."""
        self.final_norm = final_norm
        self.recomputes = False
        """Gradient checkpointing: blocks are run again in the backward pass instead of keeping their activations."""

    def schedule(self) -> Iterator[Block]:
        """Blocks in execution order."""
        for number in self.order:
            block = self.blocks[number]
            assert isinstance(block, Block)
            yield block

    def scheme(self, name: str) -> Positions:
        """The position scheme of a kind of layer; the stack's own for ""."""
        found = self.positions_of[name] if name else self.positions
        assert isinstance(found, Positions)
        return found

    @property
    def max_length(self) -> int | None:
        """The longest sequence that every layer's positions can place; None: any."""
        limits = [self.scheme(name).max_length for name in {"", *self.schemes}]
        return min((limit for limit in limits if limit is not None), default=None)

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
        at: Tensor | None = None,
    ) -> Tensor:
        """[B,T,D] -> [B,T,D]. Indices are positions, [T] or [B,T] for queries and [S] or [B,S] for keys, cached ones included. With `at`, flat
        positions [N] in B·T, only what comes out there, [1,N,D]: what the last block computes after attention it computes there only."""
        return self.run(x, self.scene(operands, query_index, key_index, memory=memory, memory_mask=memory_mask), caches=caches, at=at)

    def scene(
        self,
        operands: MaskOperands,
        query_index: Tensor,
        key_index: Tensor,
        *,
        memory: Tensor | None = None,
        memory_mask: LoweredMask | None = None,
    ) -> Scene:
        """What all blocks see in one forward."""
        sites = {key: self.scheme(key[0]).site(key[1], query_index, key_index) for key in dict.fromkeys(self.site_keys)}
        # What has a gradient is not shared by layers that are computed again in the backward pass.
        return Scene(
            lower=MaskLowering(operands, keeps_graph=not (self.recomputes and self.training)), sites=sites, memory=memory, memory_mask=memory_mask
        )

    def run(self, x: Tensor, scene: Scene, *, caches: list[BlockCache] | None = None, at: Tensor | None = None) -> Tensor:
        """[B,T,D] -> [B,T,D], or [1,N,D] `at` flat positions, in a scene that is made."""
        for layer, block in enumerate(self.schedule()):
            here = at if layer == len(self.order) - 1 else None
            if self.recomputes and self.training and caches is None:
                x = checkpoint(block, x, scene, self.site_keys[layer], None, here, use_reentrant=False)
            else:
                x = block(x, scene, self.site_keys[layer], None if caches is None else caches[layer], here)
        return self.final_norm(x)
