"""What every model promises, for every choice of every slot."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from contracts.builders import SHAPES, SWAPPED, B, S, T, attention, build, config, inputs, logits, tokens
from transformer_zoo.layers.attention.kernels import ReferenceConfig
from transformer_zoo.layers.blocks import PreNormConfig
from transformer_zoo.layers.embeddings import TokenEmbeddingsConfig
from transformer_zoo.layers.norms import RMSNormConfig
from transformer_zoo.layers.positions import LearnedConfig, RotaryConfig, SinusoidalConfig
from transformer_zoo.layers.stacks import SharedStackConfig
from transformer_zoo.models.base import Model
from transformer_zoo.models.parts import LayerConfig, SideConfig
from transformer_zoo.records import HeadNeed, SequenceInputs, TranslationInputs

ATTENTIONS = {
    "multihead": attention(),
    "grouped": attention(n_kv_heads=1),
    "window": attention(window=3),
    "wide": attention(head_width=10, bias=False),
    "unscaled": attention(scale="none"),
    "reference": attention(),
    "longformer": attention("longformer", window=2),
    "bigbird": attention("bigbird", block_size=1, n_random=1),
}
ATTENTIONS["reference"].kernel = ReferenceConfig()
PATTERN = {
    "layers": {"far": LayerConfig(), "near": LayerConfig(attention=attention(window=2), positions=RotaryConfig(theta=100.0), norm=RMSNormConfig())},
    "pattern": ["near", "far"],
}
OTHERS = {
    "pattern": PATTERN,
    "offset": {"positions": LearnedConfig(offset=2)},
    "halves": {"positions": SinusoidalConfig(layout="halves")},
    "skip_first": {"norm_placement": PreNormConfig(skip_first=True, final_dropout=True)},
    "groups": {"stack": SharedStackConfig(n_groups=2)},
}
CHOICES = [dict([swap]) for swap in SWAPPED] + [{"attention": chosen} for chosen in ATTENTIONS.values()] + list(OTHERS.values())
NAMES = [f"{slot}={name}" for slot, name in SWAPPED] + [f"attention={name}" for name in ATTENTIONS] + list(OTHERS)
CAUSAL = [shape for shape in SHAPES if shape != "encoder"]
WHOLE = {"attention=bigbird"}
"""What a token sees depends on the whole length: not for decoders, and a row alone is another row than one that is padded."""


def every_choice(*shapes: str, but: frozenset[str] = frozenset()) -> pytest.MarkDecorator:
    """Every choice in each of these shapes."""
    cases = [(shape, name, choice) for name, choice in zip(NAMES, CHOICES, strict=True) for shape in shapes if name not in but]
    kept = [pytest.param(shape, choice, id=f"{shape}-{name}") for shape, name, choice in cases if shape == "encoder" or name not in WHOLE]
    return pytest.mark.parametrize(("shape", "choice"), kept)


@every_choice(*CAUSAL)
def test_the_future_is_invisible(shape: str, choice: dict):
    model, token_ids = build(shape, **choice), tokens()
    changed = token_ids.clone()
    changed[:, 6:] = tokens(1)[:, 6:]
    before, after = logits(model, inputs(shape, token_ids)), logits(model, inputs(shape, changed))
    assert torch.equal(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:], atol=1e-3)


@every_choice(*SHAPES, but=frozenset(WHOLE))
def test_padding_is_invisible(shape: str, choice: dict):
    """A row gives the same values alone as in a batch whose longer rows force it to be padded, whatever the padding holds."""
    model, token_ids = build(shape, **choice), tokens()
    valid = torch.arange(T).expand(B, T) < torch.tensor([[10], [6], [1]])
    if shape == "encoder_decoder":
        source, source_valid = tokens(9, B, S), torch.arange(S).expand(B, S) < torch.tensor([[9], [4], [1]])
        padded = TranslationInputs(
            source=SequenceInputs(token_ids=source, valid=source_valid), target=SequenceInputs(token_ids=token_ids, valid=valid)
        )
    else:
        padded = SequenceInputs(token_ids=token_ids, valid=valid)
    together = logits(model, padded)
    for row, length in enumerate((10, 6, 1)):
        alone = SequenceInputs(token_ids=token_ids[row : row + 1, :length])
        record = alone
        if shape == "encoder_decoder":
            record = TranslationInputs(source=SequenceInputs(token_ids=source[row : row + 1, : (9, 4, 1)[row]]), target=alone)
        torch.testing.assert_close(together[row, :length], logits(model, record)[0], atol=2e-5, rtol=1e-4)


@every_choice("encoder", "decoder")
def test_packed_documents_do_not_see_each_other(shape: str, choice: dict):
    model, token_ids = build(shape, **choice), tokens()
    documents = (torch.arange(T) >= 4).long().expand(B, T)
    changed = token_ids.clone()
    changed[:, :4] = tokens(1)[:, :4]
    before = logits(model, SequenceInputs(token_ids=token_ids, document_ids=documents))
    after = logits(model, SequenceInputs(token_ids=changed, document_ids=documents))
    assert torch.equal(before[:, 4:], after[:, 4:])
    assert not torch.allclose(before[:, :4], after[:, :4], atol=1e-3)


@every_choice(*CAUSAL)
def test_decoding_with_a_cache_equals_the_full_forward(shape: str, choice: dict):
    model, token_ids = build(shape, **choice), tokens()
    full = logits(model, inputs(shape, token_ids))
    got, state = model.start(inputs(shape, token_ids[:, :4]), capacity=T)
    steps = [got] + [model.step(token_ids[:, t], state) for t in range(4, T)]
    torch.testing.assert_close(torch.stack(steps, dim=1), full[:, 3:], atol=2e-5, rtol=1e-4)


@every_choice(*CAUSAL)
def test_left_padded_prompts_continue_as_alone(shape: str, choice: dict):
    model, token_ids = build(shape, **choice), tokens()
    padding = torch.tensor([0, 2, 4])
    valid = torch.arange(6).expand(B, 6) >= padding.unsqueeze(1)
    record = inputs(shape, token_ids[:, :6])
    (record.target if isinstance(record, TranslationInputs) else record).valid = valid
    first, state = model.start(record, capacity=T)
    second = model.step(token_ids[:, 6], state)
    for row in range(B):
        alone = inputs(shape, token_ids)
        ids = token_ids[row : row + 1, int(padding[row]) : 7]
        if isinstance(alone, TranslationInputs):
            alone = TranslationInputs(source=SequenceInputs(token_ids=alone.source.token_ids[row : row + 1]), target=SequenceInputs(token_ids=ids))
        else:
            alone = SequenceInputs(token_ids=ids)
        expected = logits(model, alone)[0]
        torch.testing.assert_close(first[row], expected[-2], atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(second[row], expected[-1], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", CAUSAL)
def test_selected_rows_go_on_as_what_they_were(shape: str):
    model, token_ids = build(shape), tokens()
    _, state = model.start(inputs(shape, token_ids[:, :5]), capacity=T)
    rows = torch.tensor([2, 0, 0, 1])
    state.select(rows)
    got = model.step(token_ids[rows, 5], state)
    torch.testing.assert_close(got, logits(model, inputs(shape, token_ids))[rows, 5], atol=2e-5, rtol=1e-4)


@every_choice(*SHAPES)
def test_every_parameter_gets_a_gradient(shape: str, choice: dict):
    model = build(shape, **choice).train()
    output = model(inputs(shape, tokens()))
    output.heads["vocabulary"].cross_entropy(tokens(2).flatten()).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A key's bias shifts all scores of a query alike and cancels in the softmax; it shares a tensor with those of queries and values.
    # No token of this batch is global.
    unused = {"segment", "qkv_global"} | ({"positions.table"} if choice.get("positions") == "none" else set())
    assert [name for name in missing if not any(part in name for part in unused)] == []


@every_choice(*SHAPES)
def test_saved_weights_come_back_bit_for_bit(shape: str, choice: dict, tmp_path):
    model, record = build(shape, **choice), inputs(shape, tokens())
    save_file({name: p.detach().clone() for name, p in model.named_parameters()}, tmp_path / "model.safetensors")
    torch.manual_seed(1)
    other = config(shape, **choice).build(vocab_size=40, heads={"vocabulary": HeadNeed(kind="vocabulary")}).eval()
    missing, unexpected = other.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=False)
    assert not unexpected
    assert all(name in dict(other.named_parameters(remove_duplicate=False)) for name in missing)  # tied copies
    assert torch.equal(logits(model, record), logits(other, record))


@every_choice(*SHAPES)
def test_one_batch_can_be_learned(shape: str, choice: dict):
    model, record, targets = build(shape, **choice).train(), inputs(shape, tokens()), tokens(2).flatten()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = model(record).heads["vocabulary"].cross_entropy(targets) / len(targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1


@every_choice(*SHAPES)
def test_gradient_checkpointing_changes_nothing(shape: str, choice: dict):
    record, targets, found = inputs(shape, tokens()), tokens(2).flatten(), []
    for on in (False, True):
        model: Model = build(shape, **choice).train()
        model.set_gradient_checkpointing(on)
        loss = model(record).heads["vocabulary"].cross_entropy(targets)
        found.append([loss, *torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], allow_unused=True)])
    for plain, recomputed in zip(*found, strict=True):
        assert plain is recomputed is None or torch.equal(plain, recomputed)


@pytest.mark.parametrize("shape", ["encoder", "decoder"])
def test_scores_are_computed_only_where_asked(shape: str):
    model, token_ids = build(shape), tokens()
    everywhere = logits(model, SequenceInputs(token_ids=token_ids)).flatten(0, 1)
    predict_at = torch.tensor([0, 7, 23, 7])
    some = model(SequenceInputs(token_ids=token_ids, predict_at=predict_at)).heads["vocabulary"].logits()
    torch.testing.assert_close(some, everywhere[predict_at])


def test_a_prefix_is_seen_by_all_and_only_the_prefix():
    model, token_ids = build("decoder"), tokens()
    prefix = torch.tensor([4, 4, 4])
    changed = token_ids.clone()
    changed[:, 3] = (token_ids[:, 3] - 6) % 33 + 7
    before = logits(model, SequenceInputs(token_ids=token_ids, prefix_length=prefix))
    after = logits(model, SequenceInputs(token_ids=changed, prefix_length=prefix))
    assert not torch.allclose(before[:, 0], after[:, 0], atol=1e-4)
    later = token_ids.clone()
    later[:, 5] = (token_ids[:, 5] - 6) % 33 + 7
    assert torch.equal(before[:, :5], logits(model, SequenceInputs(token_ids=later, prefix_length=prefix))[:, :5])


@every_choice("decoder")
def test_decoding_from_a_prompt_that_is_a_prefix_equals_the_full_forward(shape: str, choice: dict):
    """Rows padded on the left, so that a prefix counts slots."""
    model, token_ids = build(shape, **choice), tokens()
    padding = torch.tensor([0, 2, 4])
    valid = torch.arange(6).expand(B, 6) >= padding.unsqueeze(1)
    prompts = SequenceInputs(token_ids=token_ids[:, :6], valid=valid, prefix_length=torch.full((B,), 6))
    first, state = model.start(prompts, capacity=T)
    second = model.step(token_ids[:, 6], state)
    for row, pad in enumerate(padding.tolist()):
        alone = SequenceInputs(token_ids=token_ids[row : row + 1, pad:7], prefix_length=torch.tensor([6 - pad]))
        expected = logits(model, alone)[0]
        torch.testing.assert_close(first[row], expected[-2], atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(second[row], expected[-1], atol=2e-5, rtol=1e-4)


def test_a_window_with_global_tokens():
    model = build("encoder", attention=attention(window=1), n_layers=1, positions="none")
    token_ids = tokens(rows=1)
    far = token_ids.clone()
    far[0, 9] = (token_ids[0, 9] - 6) % 33 + 7
    assert torch.equal(logits(model, SequenceInputs(token_ids=token_ids))[0, :8], logits(model, SequenceInputs(token_ids=far))[0, :8])
    is_global = torch.zeros(1, T, dtype=torch.bool)
    is_global[0, 0] = True
    before = logits(model, SequenceInputs(token_ids=token_ids, global_positions=is_global))
    after = logits(model, SequenceInputs(token_ids=far, global_positions=is_global))
    assert not torch.allclose(before[0, 0], after[0, 0], atol=1e-4)
    assert torch.equal(before[0, 1:8], after[0, 1:8])


def test_shared_layers_are_one_set_of_parameters():
    plain, shared = build("encoder", n_layers=6), build("encoder", n_layers=6, stack="shared")
    assert len(shared.stack.blocks) == 1
    assert len(list(shared.stack.schedule())) == 6
    assert sum(p.numel() for p in shared.stack.blocks.parameters()) * 6 == sum(p.numel() for p in plain.stack.blocks.parameters())


@pytest.mark.parametrize(
    ("kind", "n_classes", "shape_of"), [("pair", 2, (B, 2)), ("sequence", 5, (B, 5)), ("token", 4, (B, T, 4)), ("detector", None, (B, T))]
)
def test_heads_that_give_classes(kind: str, n_classes: int | None, shape_of: tuple):
    model = config("encoder").build(vocab_size=40, heads={"it": HeadNeed(kind=kind, n_classes=n_classes)})
    assert "vocabulary" not in model.heads
    assert model(SequenceInputs(token_ids=tokens())).heads["it"].shape == shape_of


def test_kinds_of_layer_follow_the_pattern():
    model = build("encoder", n_layers=5, **PATTERN)
    kinds = ["near" if isinstance(block.around_attention.before, torch.nn.RMSNorm) else "far" for block in model.stack.schedule()]
    assert kinds == ["near", "far", "near", "far", "near"]
    shared = build("encoder", n_layers=5, stack="shared", **PATTERN)
    assert [list(shared.stack.blocks).index(block) for block in shared.stack.schedule()] == [0, 1, 0, 1, 0]


def test_layers_of_a_group_share_their_parameters():
    model = build("encoder", n_layers=6, stack=SharedStackConfig(n_groups=3))
    assert [list(model.stack.blocks).index(block) for block in model.stack.schedule()] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("shape", ["encoder", "decoder"])
def test_explicit_positions_are_where_tokens_stand(shape: str):
    model, token_ids = build(shape), tokens()
    counted = SequenceInputs(token_ids=token_ids, positions=torch.arange(T).expand(B, T))
    assert torch.equal(logits(model, SequenceInputs(token_ids=token_ids)), logits(model, counted))
    moved = SequenceInputs(token_ids=token_ids, positions=torch.arange(3, T + 3).expand(B, T))
    assert not torch.allclose(logits(model, counted), logits(model, moved), atol=1e-3)


def test_padding_may_stand_in_front_where_it_is_said():
    model, token_ids = build("decoder", positions="none"), tokens()
    valid = torch.arange(T).expand(B, T) >= torch.tensor([[0], [2], [5]])
    padded = logits(model, SequenceInputs(token_ids=token_ids, valid=valid, any_padding=True))
    for row, start in enumerate((0, 2, 5)):
        alone = logits(model, SequenceInputs(token_ids=token_ids[row : row + 1, start:]))
        torch.testing.assert_close(padded[row, start:], alone[0], atol=2e-5, rtol=1e-4)


def test_the_two_sides_may_differ_in_heads_and_widths():
    model = build("encoder_decoder", encoder=SideConfig(n_heads=4, d_ff=20), decoder=SideConfig(n_layers=3))
    assert [block.attention.n_heads for stack in model.stacks() for block in stack.schedule()] == [4, 4, 3, 3, 3]
    assert [stack.blocks[0].feedforward.inner.out_features for stack in model.stacks()] == [20, 40]
    assert logits(model, inputs("encoder_decoder", tokens())).shape == (B, T, 40)


def test_shared_embeddings_share_the_table_alone():
    normed = TokenEmbeddingsConfig(normalize=True)
    shared = build("encoder_decoder", embeddings=normed)
    assert shared.embeddings.token is shared.target_embeddings.token
    assert shared.embeddings.norm is not shared.target_embeddings.norm
    apart = build("encoder_decoder", embeddings=normed, share_embeddings=False)
    assert apart.embeddings.token is not apart.target_embeddings.token
