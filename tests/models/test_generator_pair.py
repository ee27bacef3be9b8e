"""ELECTRA's two encoders: what they share, what the second one reads, and where gradients go."""

from typing import Any

import pytest
import torch
from torch import Tensor

from contracts.builders import VOCAB, attention, config, tokens
from transformer_zoo.experiments import catalog
from transformer_zoo.models.generator_pair import GeneratorPair, GeneratorPairConfig, filled_in
from transformer_zoo.objectives.replaced_token import HEADS
from transformer_zoo.records import ReplacedTokenInputs, SequenceInputs

MASK, WIDTH = 6, 12
SETTINGS = {"d_model": 24, "n_heads": 4, "generator_fraction": 0.5, "vocabulary_head": "mlm"}


def build(**choices: Any) -> GeneratorPair:
    torch.manual_seed(0)
    made = config("generator_pair", **(SETTINGS | choices)).build(vocab_size=VOCAB, heads=HEADS)
    assert isinstance(made, GeneratorPair)
    return made


def inputs(draws: float = 0.5, valid: Tensor | None = None, length: int = 10, rows: int = 3) -> ReplacedTokenInputs:
    """Every third token is filled in; `predict_at` is filled up to 64."""
    original = tokens(rows=rows)[:, :length]
    filled = (torch.arange(length) % 3 == 1).expand(rows, length)
    places = filled.flatten().nonzero().squeeze(1)
    return ReplacedTokenInputs(
        masked=SequenceInputs(token_ids=original.masked_fill(filled, MASK), valid=valid),
        original_ids=original,
        filled=filled,
        draws=torch.full((64,), draws),
        predict_at=torch.cat((places, torch.zeros(64 - len(places), dtype=torch.int64))),
    )


def test_the_generator_shares_every_embedding_but_its_projection():
    model = build(embeddings=catalog.options("model/embeddings")["token"](n_segments=2, normalize=True))
    ours, theirs = model.discriminator, model.generator
    assert theirs.embeddings.token is ours.embeddings.token
    assert theirs.embeddings.segment is ours.embeddings.segment
    assert theirs.embeddings.norm is ours.embeddings.norm
    assert theirs.stack.positions.table is ours.stack.positions.table
    assert theirs.heads["vocabulary"].weight is ours.embeddings.token.weight
    assert theirs.embeddings.projection.weight.shape == (WIDTH, 24)
    assert len(theirs.stack.blocks) == len(ours.stack.blocks)


def test_the_discriminator_reads_the_text_with_what_the_generator_drew():
    model, record, read = build().eval(), inputs(), []
    model.discriminator.embeddings.register_forward_pre_hook(lambda module, arguments: read.append(arguments[0]))
    output = model(record)
    (seen,) = read
    scores = model.generator(SequenceInputs(token_ids=record.masked.token_ids)).heads["vocabulary"].logits().softmax(-1)
    expected = [int((row.cumsum(0) <= 0.5).sum()) for row in scores.view(3, 10, -1)[record.filled]]
    assert seen[record.filled].tolist() == expected
    assert torch.equal(seen[~record.filled], record.original_ids[~record.filled])
    assert torch.equal(output.replaced, seen != record.original_ids)
    assert output.replaced.any()


def test_a_right_guess_counts_as_original():
    model, record = build().eval(), inputs()
    scores = model.generator(SequenceInputs(token_ids=record.masked.token_ids)).heads["vocabulary"].logits().softmax(-1)
    passed = scores.cumsum(-1).view(3, 10, -1)
    truth = record.original_ids.unsqueeze(-1)
    middle = (passed - scores.view(3, 10, -1) / 2).gather(-1, truth).squeeze(-1)  # a draw that falls on the true token
    record.draws[: int(record.filled.sum())] = middle[record.filled]
    assert not model(record).replaced.any()


def test_tokens_fill_places_in_their_order():
    places = torch.tensor([[True, False, True], [False, False, True]])
    found = filled_in(torch.zeros(2, 3, dtype=torch.int64), places, torch.tensor([7, 8, 9, 5, 5]))
    assert found.tolist() == [[7, 0, 8], [0, 0, 9]]
    assert filled_in(torch.ones(1, 2, dtype=torch.int64), torch.zeros(1, 2, dtype=torch.bool), torch.tensor([5])).tolist() == [[1, 1]]


def test_the_detector_teaches_the_generator_nothing_but_what_they_share():
    model = build().train()
    model(inputs()).heads["detector"].sum().backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
    assert not [name for name in reached if name.startswith("generator")]
    assert "discriminator.embeddings.token.weight" in reached


@pytest.mark.parametrize("positions", list(catalog.options("model/positions")))
def test_every_parameter_learns_with_any_positions(positions: str):
    model = build(positions=positions).train()
    output = model(inputs())
    (output.heads["vocabulary"].cross_entropy(tokens(2).flatten().repeat(3)[:64]) + output.heads["detector"].square().sum()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_padding_is_invisible():
    model = build().eval()
    valid = torch.arange(10).expand(2, 10) < torch.tensor([[10], [6]])
    together = model(inputs(valid=valid, rows=2))
    short = inputs(length=6, rows=2)
    alone = model(short)
    torch.testing.assert_close(together.heads["detector"][1, :6], alone.heads["detector"][1], atol=2e-5, rtol=1e-4)


def test_what_does_not_fit_the_generator_is_told():
    made = config("generator_pair", d_model=24, n_heads=2, generator_fraction=0.5, attention=attention(n_kv_heads=2))
    assert isinstance(made, GeneratorPairConfig)
    (problem,) = made.problems()
    assert problem == "generator (d_model=12 by generator_fraction=0.5): n_heads=1 is not divisible by attention.n_kv_heads=2; choose one of 1"
    assert config("generator_pair", d_model=24, n_heads=2, generator_fraction=0.5).problems() == []
