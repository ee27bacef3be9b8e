"""The 2017 Transformer against PyTorch's own layers, which are post-norm with ReLU as the paper's, and against the paper's formula for embeddings."""

import math

import pytest
import torch
from torch import Tensor, nn

from transformer_zoo.experiments.compose import recipe
from transformer_zoo.models.base import Model
from transformer_zoo.records import HeadNeed, SequenceInputs, TranslationInputs

SHAPES = [(24, 3, 40, 2), (36, 4, 20, 3), (40, 5, 64, 1)]
VOCABULARY, B, S, T = 50, 3, 9, 7


def ours(d_model: int, n_heads: int, d_ff: int, n_layers: int, *overrides: str) -> Model:
    shape = [f"model.d_model={d_model}", f"model.n_heads={n_heads}", f"model.d_ff={d_ff}", f"model.n_layers={n_layers}"]
    settings = recipe("transformer", *shape, "model.dropout=0", *overrides)
    return settings.build(vocab_size=VOCABULARY, heads={"vocabulary": HeadNeed(kind="vocabulary")})


class Reference(nn.Module):
    """Embeddings times the root of the width plus sinusoids (sections 3.4 and 3.5), PyTorch's stacks without their extra final norms."""

    def __init__(self, d_model: int, n_heads: int, d_ff: int, n_layers: int) -> None:
        super().__init__()
        settings = {"d_model": d_model, "nhead": n_heads, "dim_feedforward": d_ff, "dropout": 0.0, "activation": "relu", "batch_first": True}
        self.table = nn.Parameter(torch.empty(VOCABULARY, d_model))
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(**settings), n_layers, enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**settings), n_layers)

    def embed(self, ids: Tensor) -> Tensor:
        width = self.table.shape[1]
        angles = torch.tensor([[place / 10000 ** (2 * (i // 2) / width) for i in range(width)] for place in range(ids.shape[1])], dtype=torch.float64)
        waves = torch.where(torch.arange(width) % 2 == 0, angles.sin(), angles.cos()).float()
        return self.table[ids] * math.sqrt(width) + waves

    def forward(self, source: Tensor, source_valid: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        memory = self.encoder(self.embed(source), src_key_padding_mask=~source_valid)
        future = torch.ones(target.shape[1], target.shape[1]).triu(1).bool()
        hidden = self.decoder(self.embed(target), memory, tgt_mask=future, memory_key_padding_mask=~source_valid)
        return hidden, hidden @ self.table.T


def renamed(reference: Reference) -> dict[str, Tensor]:
    """The reference's parameters under our names."""
    names = {
        "self_attn.in_proj_": "attention.qkv.", "self_attn.out_proj.": "attention.out.",
        "multihead_attn.in_proj_": "cross_attention.qkv.", "multihead_attn.out_proj.": "cross_attention.out.",
        "linear1.": "feedforward.inner.", "linear2.": "feedforward.outer.", "norm1.": "around_attention.outer.",
    }  # fmt: skip
    found = {"embeddings.token.weight": reference.table}
    for side, last in (
        ("encoder", {"norm2.": "around_feedforward.outer."}),
        ("decoder", {"norm2.": "around_cross.outer.", "norm3.": "around_feedforward.outer."}),
    ):
        for name, parameter in getattr(reference, side).named_parameters():
            for theirs, mine in (names | last).items():
                name = name.replace(theirs, mine)
            found[f"{side}.{name.replace('layers.', 'blocks.', 1)}"] = parameter
    return found


def pair(shape: tuple[int, int, int, int], *overrides: str) -> tuple[Model, Reference]:
    torch.manual_seed(0)
    model, reference = ours(*shape, *overrides), Reference(*shape)
    for parameter in reference.parameters():
        nn.init.normal_(parameter, std=0.2)
    with torch.no_grad():
        theirs = renamed(reference)
        for name, parameter in model.named_parameters():
            parameter.copy_(theirs[name])
    return model, reference


def batch() -> tuple[TranslationInputs, tuple[Tensor, Tensor, Tensor], Tensor]:
    source, target = torch.randint(VOCABULARY, (B, S)), torch.randint(VOCABULARY, (B, T))
    valid = torch.arange(S).expand(B, S) < torch.tensor([[9], [5], [2]])
    inputs = TranslationInputs(source=SequenceInputs(token_ids=source, valid=valid), target=SequenceInputs(token_ids=target))
    return inputs, (source, valid, target), torch.randint(VOCABULARY, (B * T,))


@pytest.mark.parametrize("shape", SHAPES)
def test_values_loss_and_gradients(shape: tuple[int, int, int, int]):
    model, reference = pair(shape)
    inputs, theirs, targets = batch()
    output, (hidden, scores) = model(inputs), reference(*theirs)
    torch.testing.assert_close(output.hidden, hidden, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.heads["vocabulary"].logits(), scores.flatten(0, 1), atol=1e-5, rtol=1e-5)
    loss = output.heads["vocabulary"].cross_entropy(targets)
    expected = nn.functional.cross_entropy(scores.flatten(0, 1), targets, reduction="sum")
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-5)
    loss.backward()
    expected.backward()
    gradients = {name: parameter.grad for name, parameter in renamed(reference).items()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize(
    "override",
    [
        "model.norm.eps=1e-3",
        "model.feedforward.activation=gelu",
        "model/norm_placement=pre",
        "model.embeddings.scale=false",
        "model.positions.layout=halves",
        "model.attention.scale=none",
    ],
)
def test_every_flag_of_the_recipe_matters(override: str):
    _, reference = pair(SHAPES[0])
    changed = ours(*SHAPES[0], override)
    theirs = renamed(reference)
    with torch.no_grad():
        for name, parameter in changed.named_parameters():
            parameter.copy_(
                theirs.get(
                    name.replace(".before.", ".outer."), torch.ones_like(parameter) if name.endswith("weight") else torch.zeros_like(parameter)
                )
            )
    inputs, given, _ = batch()
    assert (changed(inputs).hidden - reference(*given)[0]).abs().max() > 1e-4
