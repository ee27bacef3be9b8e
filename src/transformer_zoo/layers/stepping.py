"""One token at a time without the overhead of many tokens.

A step of one token per row computes so little that calling modules takes longer than what they compute. So a stack is resolved once per decoding
into plain functions of one token per row, [B, D] -> [B, D'], that hold weights and caches and call PyTorch at once. What is not listed here (an
attention or a feed-forward network of another package), and a stack with hooks, runs as it always does.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from transformer_zoo.layers.activations import Function, same
from transformer_zoo.layers.attention.multihead import MultiheadAttention
from transformer_zoo.layers.blocks import Block, BlockCache, Residual, Scene, SiteKey
from transformer_zoo.layers.cache import AttentionCache
from transformer_zoo.layers.choosing import likeliest
from transformer_zoo.layers.feedforward import DenseFeedforward, GatedFeedforward
from transformer_zoo.layers.heads import VocabularyHead
from transformer_zoo.layers.linear import Linear
from transformer_zoo.layers.lowering import LoweredMask
from transformer_zoo.layers.masks import Mask
from transformer_zoo.layers.packing import Packing
from transformer_zoo.layers.positions import Site
from transformer_zoo.layers.screening import Restrict, Screen
from transformer_zoo.layers.stacks import Stack

Attend = Callable[[Tensor, LoweredMask, Site], Tensor]
Step = Callable[[Tensor, Scene], Tensor]


def stack_step(stack: Stack, caches: list[BlockCache], packing: Packing) -> Step:
    """The stack as a function of one token per row [B, D], which appends to the caches; `caches` are the blocks' in order of execution."""
    make = _block_in_full if any(map(_is_hooked, stack.modules())) else _block
    masks: dict[Mask, Mask] = {}  # equal ones as one object, which is found again by its identity
    blocks = [
        make(block, masks.setdefault(block.mask, block.mask), cache, key, packing)
        for block, cache, key in zip(stack.schedule(), caches, stack.site_keys, strict=True)
    ]
    final = resolved(stack.final_norm, packing)

    def step(x: Tensor, scene: Scene) -> Tensor:
        for block in blocks:
            x = block(x, scene)
        return final(x)

    return step


class VocabularyStep:
    """A vocabulary head for one token per row."""

    def __init__(self, head: nn.Module, packing: Packing) -> None:
        self._enter: Function = same
        self._screen: Screen | None = None
        if type(head) is not VocabularyHead:
            self._product: Function = lambda x: head(x.unsqueeze(1), valid=None, predict_at=None).logits()
            return
        transform, scale = resolved(head.transform, packing), head.scale
        self._enter = transform if scale == 1.0 else lambda x: transform(x) * scale
        self._product = packing.product(head.weight, head.bias)
        self._screen = packing.screen(head.weight, head.bias)

    def scores(self, hidden: Tensor) -> Tensor:
        """Hidden states [B, D] -> logits [B, V] float32."""
        return self._product(self._enter(hidden)).float()

    def likeliest(self, hidden: Tensor, restrict: Restrict) -> Tensor:
        """[B] the token with the highest logit of those that `restrict` leaves, by as few exact logits as decide it."""
        x = self._enter(hidden)
        found = None if self._screen is None else self._screen(x, restrict)
        return likeliest(restrict(self._product(x).float())) if found is None else found


def resolved(module: nn.Module, packing: Packing) -> Function:
    """A module that treats every token alike, as a function of one token per row."""
    make = _RESOLVERS.get(type(module))
    if make is None or _is_hooked(module):
        return module
    function: Function = make(module, packing)
    return function


def _is_hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _block_in_full(block: Block, _: Mask, cache: BlockCache, key: SiteKey, __: Packing) -> Step:
    return lambda x, scene: block(x.unsqueeze(1), scene, key, cache).squeeze(1)


def _block(block: Block, mask: Mask, cache: BlockCache, key: SiteKey, packing: Packing) -> Step:
    attend = _attention(block.attention, cache.own, packing)
    enter, leave = _residual(block.around_attention, packing)
    feedforward = resolved(block.feedforward, packing)
    enter_feedforward, leave_feedforward = _residual(block.around_feedforward, packing)

    def own(x: Tensor, scene: Scene) -> Tensor:
        return leave(x, attend(enter(x), scene.lower(mask), scene.sites[key]))

    def last(x: Tensor) -> Tensor:
        return leave_feedforward(x, feedforward(enter_feedforward(x)))

    if block.cross_attention is None or block.around_cross is None:
        return lambda x, scene: last(own(x, scene))
    look = _attention(block.cross_attention, cache.memory, packing)
    enter_cross, leave_cross = _residual(block.around_cross, packing)
    nowhere = Site()

    def across(x: Tensor, scene: Scene) -> Tensor:
        assert scene.memory_mask is not None
        return leave_cross(x, look(enter_cross(x), scene.memory_mask, nowhere))

    return lambda x, scene: last(across(own(x, scene), scene))


def _residual(residual: Residual, packing: Packing) -> tuple[Function, Callable[[Tensor, Tensor], Tensor]]:
    """What comes before the branch's body, and what joins its output to its input."""
    before, after, outer = (resolved(part, packing) for part in (residual.before, residual.after, residual.outer))
    if after is same and outer is same:
        return before, torch.add
    return before, lambda x, y: outer(x + after(y))


def _attention(module: nn.Module, cache: AttentionCache, packing: Packing) -> Attend:
    if type(module) is not MultiheadAttention:
        return lambda x, mask, site: module(x.unsqueeze(1), None, mask=mask, positions=site, cache=cache).squeeze(1)
    out, kernel, scale = resolved(module.out, packing), module.kernel, module.scale
    heads, width = module.n_heads, module.head_width
    query_norm, key_norm = resolved(module.query_norm, packing), resolved(module.key_norm, packing)

    def merged(q: Tensor, k: Tensor, v: Tensor, mask: LoweredMask, bias: Tensor | None) -> Tensor:
        mixed = kernel(q, k, v, mask=mask, bias=bias, scale=scale, dropout=0.0)  # [B,H,1,E]
        return out(mixed.reshape(q.shape[0], heads * width))

    if cache.fixed:
        weight, bias = module.qkv.weight, module.qkv.bias
        query = packing.product(weight[: module.query_width], None if bias is None else bias[: module.query_width])

        def look(x: Tensor, mask: LoweredMask, _: Site) -> Tensor:
            keys, values = cache.read()
            fan = x.shape[0] // keys.shape[0]  # rows that look at one memory are its queries: it is read once for all of them
            q = query_norm(query(x).view(x.shape[0], heads, 1, width))
            if fan == 1:
                return merged(q, keys, values, mask, None)
            q = q.view(keys.shape[0], fan, heads, width).transpose(1, 2)  # [B·F,H,1,E] -> [B,H,F,E]
            mixed = kernel(q, keys, values, mask=mask, bias=None, scale=scale, dropout=0.0)
            return out(mixed.transpose(1, 2).reshape(x.shape[0], heads * width))

        return look

    fused, parts = resolved(module.qkv, packing), [features // width for features in (module.query_width, module.key_width, module.key_width)]

    def attend(x: Tensor, mask: LoweredMask, site: Site) -> Tensor:
        # With one token a head's features stand side by side already: [B,H·E] is [B,H,1,E].
        q, k, v = fused(x).view(x.shape[0], -1, 1, width).split(parts, dim=1)
        q, k = site.rotate(query_norm(q), key_norm(k))
        k, v = cache.append(k, v)
        return merged(q, k, v, mask, site.bias)

    return attend


def _linear(module: Linear, packing: Packing) -> Function:
    return packing.product(module.weight, module.bias)


def _layer_norm(module: nn.LayerNorm, _: Packing) -> Function:
    shape, weight, bias, eps = module.normalized_shape, module.weight, module.bias, module.eps
    return lambda x: torch.layer_norm(x, shape, weight, bias, eps)


def _dense(module: DenseFeedforward, packing: Packing) -> Function:
    activation, outer = module.activation, resolved(module.outer, packing)
    if type(module.inner) is Linear and not _is_hooked(module.inner):
        activated = packing.product(module.inner.weight, module.inner.bias, activation)
        return lambda x: outer(activated(x))
    inner = resolved(module.inner, packing)
    return lambda x: outer(activation(inner(x)))


def _gated(module: GatedFeedforward, packing: Packing) -> Function:
    both, activation, outer = resolved(module.gate_and_inner, packing), module.activation, resolved(module.outer, packing)

    def feedforward(x: Tensor) -> Tensor:
        gate, inner = both(x).chunk(2, dim=-1)
        return outer(activation(gate) * inner)

    return feedforward


_RESOLVERS: dict[type[nn.Module], Callable[[Any, Packing], Function]] = {
    nn.Identity: lambda *_: same,
    nn.LayerNorm: _layer_norm,
    Linear: _linear,
    DenseFeedforward: _dense,
    GatedFeedforward: _gated,
}
"""By exact type: a subclass may compute something else."""
