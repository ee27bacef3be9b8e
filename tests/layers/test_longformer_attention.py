"""Longformer: equal to transformers' own module, with ragged global tokens and padding."""

import pytest
import torch
from torch import Tensor
from transformers import LongformerConfig as TheirConfig
from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

from contracts.builders import B, T, attention, build, inputs, tokens
from transformer_zoo.layers.attention.kernels import ReferenceConfig
from transformer_zoo.layers.attention.longformer import LongformerAttention, LongformerConfig
from transformer_zoo.layers.attention.multihead import MultiheadAttention
from transformer_zoo.layers.lowering import MaskLowering
from transformer_zoo.layers.masks import MaskOperands, Padding
from transformer_zoo.layers.positions import Site
from transformer_zoo.records import SequenceInputs

D, HEADS = 24, 3


def theirs(window: int) -> LongformerSelfAttention:
    settings = TheirConfig(
        hidden_size=D, num_attention_heads=HEADS, num_hidden_layers=1, attention_window=[2 * window], attention_probs_dropout_prob=0.0
    )
    return LongformerSelfAttention(settings, layer_id=0)


def ours_like(module: LongformerSelfAttention, window: int) -> LongformerAttention:
    """Our attention with their weights; the output projection, which theirs lacks, is the identity."""
    settings = attention("longformer", window=window)
    ours = settings.build(d_model=D, n_heads=HEADS)
    assert isinstance(ours, LongformerAttention)
    local, own = (module.query, module.key, module.value), (module.query_global, module.key_global, module.value_global)
    with torch.no_grad():
        for fused, parts in ((ours.qkv, local), (ours.qkv_global, own)):
            fused.weight.copy_(torch.cat([part.weight for part in parts]))
            fused.bias.copy_(torch.cat([part.bias for part in parts]))
        ours.out.weight.copy_(torch.eye(D))
        ours.out.bias.zero_()
    return ours


def run_theirs(module: LongformerSelfAttention, x: Tensor, valid: Tensor, is_global: Tensor) -> Tensor:
    """Padded to a multiple of the window, as their model does it, with -10000 at padding and 10000 at global tokens."""
    size = 2 * module.one_sided_attn_window_size
    spare = -x.shape[1] % size
    x = torch.cat((x, torch.randn(len(x), spare, D)), dim=1)
    mask = torch.where(is_global & valid, 10000.0, torch.where(valid, 0.0, -10000.0))
    mask = torch.cat((mask, torch.full((len(x), spare), -10000.0)), dim=1)
    out = module(x, mask, is_index_masked=mask < 0, is_index_global_attn=mask > 0, is_global_attn=bool((mask > 0).any()))[0]
    return out[:, : out.shape[1] - spare]


def run_ours(module: LongformerAttention, x: Tensor, valid: Tensor, is_global: Tensor | None) -> Tensor:
    slots = torch.arange(x.shape[1])
    operands = MaskOperands(query_slots=slots, key_slots=slots, key_valid=valid, query_global=is_global, key_global=is_global)
    return module(x, mask=MaskLowering(operands)(Padding() & module.own_mask), positions=Site())


def globals_of(length: int, slots: list[list[int]]) -> Tensor:
    chosen = torch.zeros(len(slots), length, dtype=torch.bool)
    for row, places in enumerate(slots):
        chosen[row, places] = True
    return chosen


RAGGED = [[0], [], [0, 7, 30]]


CASES = [
    (45, 4, RAGGED),
    (64, 8, RAGGED),
    (401, 4, RAGGED),
    (390, 2, [[], [], []]),
    (451, 3, [[450], [0, 1, 2], []]),
]


@pytest.mark.parametrize(("length", "window", "slots"), CASES)
def test_equal_to_transformers(length: int, window: int, slots: list[list[int]]):
    module = theirs(window)
    ours = ours_like(module, window)
    x, is_global = torch.randn(3, length, D), globals_of(length, slots)
    valid = torch.arange(length) < torch.tensor([[length], [length - 11], [31]])
    valid |= is_global
    weights = torch.randn(3, length, D) * valid.unsqueeze(-1)
    found = []
    for run, one in ((run_theirs, module), (run_ours, ours)):
        leaf = x.clone().requires_grad_()
        out = run(one, leaf, valid, is_global)
        (out * weights).sum().backward()
        found.append((out[valid], leaf.grad))
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    for fused, parts in ((ours.qkv, ("query", "key", "value")), (ours.qkv_global, ("query_global", "key_global", "value_global"))):
        gradients = [getattr(module, part).weight.grad for part in parts]
        expected = torch.cat([torch.zeros(D, D) if g is None else g for g in gradients])
        torch.testing.assert_close(fused.weight.grad, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("length", [30, 411])
def test_the_kernel_does_not_matter(length: int):
    module = ours_like(theirs(4), 4)
    settings = LongformerConfig(kernel=ReferenceConfig(), qk_norm=attention().qk_norm, window=4)
    reference = settings.build(d_model=D, n_heads=HEADS)
    reference.load_state_dict(module.state_dict())
    x, is_global = torch.randn(3, length, D), globals_of(length, [[0], [], [0, 7, 29]])
    valid = torch.ones(3, length, dtype=torch.bool)
    torch.testing.assert_close(run_ours(module, x, valid, is_global), run_ours(reference, x, valid, is_global), atol=1e-5, rtol=1e-5)


def test_without_global_tokens_it_is_a_window():
    module = ours_like(theirs(4), 4)
    plain = attention(window=4).build(d_model=D, n_heads=HEADS)
    plain.load_state_dict({name: p for name, p in module.state_dict().items() if "global" not in name})
    x, valid = torch.randn(2, 411, D), torch.ones(2, 411, dtype=torch.bool)
    torch.testing.assert_close(run_ours(module, x, valid, None), run_ours(plain, x, valid, None))


def test_every_parameter_is_in_every_graph():
    """As training on several devices demands; with global tokens in the batch they get a gradient that is not zero."""
    for is_global in (None, torch.arange(T).eq(2).expand(B, T)):
        model = build("encoder", attention=attention("longformer", window=2)).train()
        model(SequenceInputs(token_ids=tokens(), global_positions=is_global)).heads["vocabulary"].cross_entropy(tokens(2).flatten()).backward()
        gradients = [p.grad for name, p in model.named_parameters() if "qkv_global" in name]
        assert len(gradients) == 4
        assert all(g is not None and bool(g.abs().sum() > 0) == (is_global is not None) for g in gradients)


def test_positions_turn_and_bias_global_rows_too():
    """With rotary positions or a bias, one global token that sees all equals plain attention's row with the same projections."""
    for positions in ("rotary", "alibi"):
        model = build("encoder", attention=attention("longformer", window=1), positions=positions, n_layers=1)
        full = build("encoder", attention=attention(), positions=positions, n_layers=1)
        state = model.state_dict()
        full.load_state_dict({name: p for name, p in state.items() if "global" not in name})
        for name, p in full.named_parameters():
            if ".qkv." in name:
                p.data.copy_(state[name.replace("qkv", "qkv_global")])
        is_global = torch.arange(T).eq(4).expand(B, T)
        ours = model(SequenceInputs(token_ids=tokens(), global_positions=is_global)).hidden[:, 4]
        torch.testing.assert_close(ours, full(inputs("encoder", tokens())).hidden[:, 4], atol=1e-5, rtol=1e-5)


def test_to_a_memory_it_is_plain():
    crossing = attention("longformer").build_cross(d_model=D, n_heads=HEADS)
    assert type(crossing) is MultiheadAttention
