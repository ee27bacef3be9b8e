"""BigBird: the published pattern, computed by blocks, equal to transformers' own module in training and to the dense computation."""

import pytest
import torch
from einops import rearrange
from torch import Tensor
from transformers import BigBirdConfig as TheirConfig
from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention, BigBirdModel

from contracts.builders import attention, build, config, tokens
from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.describe import picture
from transformer_zoo.layers.attention.bigbird import BigBirdMask, random_blocks
from transformer_zoo.layers.attention.kernels import ReferenceKernel, SDPAKernel
from transformer_zoo.layers.attention.multihead import MultiheadAttention
from transformer_zoo.layers.lowering import MaskLowering
from transformer_zoo.layers.masks import Mask, MaskOperands, Padding, SameDocument
from transformer_zoo.layers.positions import Site
from transformer_zoo.records import SequenceInputs

D = 16


def theirs(n_heads: int, block: int, n_random: int, seed: int, drawn_for: int) -> BigBirdBlockSparseAttention:
    settings = TheirConfig(
        hidden_size=D, num_attention_heads=n_heads, block_size=block, num_random_blocks=n_random, max_position_embeddings=drawn_for
    )
    return BigBirdBlockSparseAttention(settings, seed=seed).train()


def ours_like(module: BigBirdBlockSparseAttention, drawn_for: int) -> MultiheadAttention:
    """Our attention with their weights; the output projection, which theirs lacks, is the identity."""
    settings = attention("bigbird", block_size=module.block_size, n_random=module.num_random_blocks, drawn_for=drawn_for)
    ours = settings.build(d_model=D, n_heads=module.num_attention_heads, layer=module.seed)
    assert isinstance(ours, MultiheadAttention)
    with torch.no_grad():
        ours.qkv.weight.copy_(torch.cat([module.query.weight, module.key.weight, module.value.weight]))
        ours.qkv.bias.copy_(torch.cat([module.query.bias, module.key.bias, module.value.bias]))
        ours.out.weight.copy_(torch.eye(D))
        ours.out.bias.zero_()
    return ours


def run_theirs(module: BigBirdBlockSparseAttention, x: Tensor, valid: Tensor) -> Tensor:
    masks = BigBirdModel.create_masks_for_block_sparse_attn(valid.float(), module.block_size)
    blocked, band, from_mask, to_mask = masks
    out, _ = module(x, band_mask=band, from_mask=from_mask, to_mask=to_mask, from_blocked_mask=blocked, to_blocked_mask=blocked)
    return out


def run_ours(module: MultiheadAttention, x: Tensor, valid: Tensor) -> Tensor:
    slots = torch.arange(x.shape[1])
    operands = MaskOperands(query_slots=slots, key_slots=slots, key_valid=valid)
    return module(x, mask=MaskLowering(operands)(Padding() & module.own_mask), positions=Site())


# length, block, random blocks, heads, layer, drawn for
SHAPES = [
    (96, 8, 3, 1, 0, 4096),
    (96, 8, 3, 4, 5, 4096),
    (48, 4, 2, 2, 1, 512),
    (200, 8, 1, 2, 3, 4096),
    (160, 4, 3, 4, 11, 4096),
    (1024, 64, 3, 2, 2, 4096),
    (1024, 64, 3, 2, 2, 1024),
    (1024, 16, 2, 4, 7, 2048),
    (3072, 64, 3, 1, 4, 4096),
]


@pytest.mark.parametrize(("length", "block", "n_random", "n_heads", "layer", "drawn_for"), SHAPES)
def test_equal_to_transformers_in_training(length: int, block: int, n_random: int, n_heads: int, layer: int, drawn_for: int):
    module = theirs(n_heads, block, n_random, layer, drawn_for)
    ours = ours_like(module, drawn_for)
    x = torch.randn(2, length, D)
    valid = torch.arange(length) < torch.tensor([[length], [length - block - 3]])
    weights = torch.randn(2, length, D) * valid.unsqueeze(-1)
    found = []
    for run, one in ((run_theirs, module), (run_ours, ours)):
        leaf = x.clone().requires_grad_()
        out = run(one, leaf, valid)
        (out * weights).sum().backward()
        found.append((out[valid], leaf.grad))
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    their_gradient = torch.cat([module.query.weight.grad, module.key.weight.grad, module.value.weight.grad])
    torch.testing.assert_close(ours.qkv.weight.grad, their_gradient, atol=1e-4, rtol=1e-4)


def test_the_special_lengths_repeat_the_last_block():
    """Otherwise the parity above would say nothing on keys that count twice."""
    assert (BigBirdMask(block_size=64, n_heads=2, seed=2, length=1024).counts() > 1).any()
    assert (BigBirdMask(block_size=64, n_heads=2, seed=2, drawn_for=1024, length=1024).counts() > 1).any()
    assert not (BigBirdMask(block_size=64, n_heads=2, seed=2, length=2048).counts() > 1).any()


MASKS: dict[str, Mask] = {
    "plain": BigBirdMask(block_size=4, n_random=2, n_heads=4, seed=1),
    "padded": Padding() & BigBirdMask(block_size=4, n_random=2, n_heads=4, seed=1),
    "documents": Padding() & SameDocument() & BigBirdMask(block_size=4, n_random=1, n_heads=4),
    "no random blocks": Padding() & BigBirdMask(block_size=4, n_random=0, n_heads=4),
    "twice": Padding() & BigBirdMask(block_size=64, n_random=3, n_heads=4, seed=2),
}


@pytest.mark.parametrize("n_kv_heads", [4, 2])
@pytest.mark.parametrize(("name", "length"), [(name, length) for name in MASKS for length in ((60, 61, 63) if name != "twice" else (1000, 1024))])
def test_blocks_equal_the_dense_mask(name: str, length: int, n_kv_heads: int):
    """Values and gradients, also where the last block is not full."""
    slots = torch.arange(length)
    documents = (slots // torch.tensor([[23], [length]])).long()
    valid = slots < torch.tensor([[length], [length - 9]])
    operands = MaskOperands(query_slots=slots, key_slots=slots, key_valid=valid, query_documents=documents, key_documents=documents)
    mask = MaskLowering(operands)(MASKS[name])
    tensors = [torch.randn(2, n, length, 8) for n in (4, n_kv_heads, n_kv_heads)]
    found = []
    for kernel in (SDPAKernel(), ReferenceKernel()):
        leaves = [x.clone().requires_grad_() for x in tensors]
        out = kernel(*leaves, mask=mask, bias=None, scale=0.4, dropout=0.0)
        if isinstance(kernel, SDPAKernel):
            assert "dense" not in mask._known
        found.append((out, *torch.autograd.grad(out.square().sum(), leaves)))
    for ours, reference in zip(*found, strict=True):
        torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)


def test_a_bias_is_added_to_counts():
    mask = MaskLowering(MaskOperands(query_slots=torch.arange(1024), key_slots=torch.arange(1024)))(MASKS["twice"])
    q, k, v = (torch.randn(1, 4, 1024, 8) for _ in range(3))
    bias = torch.randn(1, 4, 1024, 1024)
    ours, reference = (kernel(q, k, v, mask=mask, bias=bias, scale=0.4, dropout=0.0) for kernel in (SDPAKernel(), ReferenceKernel()))
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)
    without = SDPAKernel()(q, k, v, mask=mask, bias=None, scale=0.4, dropout=0.0)
    zero = SDPAKernel()(q, k, v, mask=mask, bias=bias * 0, scale=0.4, dropout=0.0)
    torch.testing.assert_close(zero, without, atol=1e-5, rtol=1e-5)


def test_short_sequences_see_all():
    """Up to (5 + 2 · 3) blocks."""
    mask = BigBirdMask(block_size=4, n_heads=2)
    for length, full in ((44, True), (45, False)):
        slots = torch.arange(length)
        lowered = MaskLowering(MaskOperands(query_slots=slots, key_slots=slots))(mask)
        assert (lowered.operands is None) == full


def test_layers_and_heads_draw_different_blocks():
    def draw(seed: int) -> list[list[list[int]]]:
        return random_blocks(40, block_size=8, n_random=3, n_heads=2, seed=seed, drawn_for=4096)

    first, second = draw(0)
    assert first != second
    assert draw(1) != [first, second]
    assert all(len(set(row)) == 3 for row in first + second)


def test_every_special_length_has_a_pattern():
    """Where blocks are too large for the published draw, which fails there, the rule of all other lengths holds."""
    for length, block in ((4096, 256), (3072, 256), (4096, 128), (1024, 32)):
        drawn = random_blocks(length // block, block_size=block, n_random=3, n_heads=1, seed=0, drawn_for=4096)
        assert [len(row) for row in drawn[0]] == [3] * (length // block - 2)


def test_it_is_refused_where_it_would_have_to_look_back_only():
    for shape in ("decoder", "encoder_decoder"):
        with pytest.raises(ConfigError, match=r"attention=bigbird cannot be causal.*attention\.attention_type=original_full"):
            config(shape, attention=attention("bigbird")).build(vocab_size=9, heads={})
        config(shape, attention=attention("bigbird", attention_type="original_full")).build(vocab_size=9, heads={})
    config("encoder", attention=attention("bigbird")).build(vocab_size=9, heads={})


def test_its_picture_is_that_of_the_first_head():
    mask = BigBirdMask(block_size=1, n_random=1, n_heads=3, seed=4)
    rows = picture(mask, 12)
    assert rows[0] == rows[-1] == "█" * 12
    blocks = random_blocks(12, block_size=1, n_random=1, n_heads=3, seed=4, drawn_for=4096)[0]
    for i, row in enumerate(rows[1:-1], start=1):
        assert [j for j, cell in enumerate(row) if cell == "█"] == sorted({0, i - 1, i, i + 1, 11, *blocks[i - 1]})


def test_full_attention_has_the_same_parameters():
    sparse, full = (attention("bigbird", attention_type=kind).build(d_model=D, n_heads=2) for kind in ("block_sparse", "original_full"))
    assert {n: p.shape for n, p in sparse.named_parameters()} == {n: p.shape for n, p in full.named_parameters()}
    x = torch.randn(1, 20, D)
    full.load_state_dict(sparse.state_dict())
    slots = torch.arange(20)
    mask = MaskLowering(MaskOperands(query_slots=slots, key_slots=slots))(full.own_mask)
    q, k, v = rearrange(full.qkv(x), "b t (three h e) -> three b h t e", three=3, h=2)
    expected = full.out(rearrange(torch.softmax(q @ k.mT * 8**-0.5, dim=-1) @ v, "b h t e -> b t (h e)"))
    torch.testing.assert_close(full(x, mask=mask, positions=Site()), expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside torch
@pytest.mark.slow
def test_a_compiler_does_not_trace_the_draws():
    model = build("encoder", attention=attention("bigbird", block_size=2, n_random=1), max_length=64, n_layers=1)
    record = SequenceInputs(token_ids=tokens(length=40))
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(record).hidden, model(record).hidden)


def test_what_stands_in_padding_does_not_matter():
    model = build("encoder", attention=attention("bigbird", block_size=2, n_random=1), max_length=64)
    token_ids, valid = tokens(length=41), torch.arange(41) < torch.tensor([[41], [30], [3]])
    before, after = (model(SequenceInputs(token_ids=ids, valid=valid)).hidden for ids in (token_ids, token_ids.where(valid, tokens(1, length=41))))
    assert torch.equal(before[valid], after[valid])
