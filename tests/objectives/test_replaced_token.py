"""Replaced-token detection: what is hidden and drawn, what is counted, and that evaluation is the same every time."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from contracts.builders import config
from objectives.masking.rows import VOCABULARY, batch
from transformer_zoo.layers.vocabulary_scores import VocabularyScores
from transformer_zoo.objectives.replaced_token import HEADS, ReplacedToken, ReplacedTokenConfig
from transformer_zoo.records import IGNORED, ReplacedTokenInputs, ReplacedTokenOutput

MASK = 6


def objective(**settings: float) -> ReplacedToken:
    made = ReplacedTokenConfig(**settings).build(vocabulary=VOCABULARY)
    assert isinstance(made, ReplacedToken)
    return made


def test_the_papers_settings():
    made = ReplacedTokenConfig()
    assert (made.mask_ratio, made.mask_share, made.detector_weight) == (0.15, 0.85, 50.0)
    assert objective().weights == {"generator": 1.0, "detector": 50.0}


def test_inputs_and_targets_rebuild_the_text():
    text = batch([40, 17])
    example = objective(mask_ratio=0.5).prepare(text)
    inputs = example.inputs
    assert isinstance(inputs, ReplacedTokenInputs)
    assert torch.equal(inputs.original_ids, text.token_ids)
    shown = inputs.masked.token_ids
    assert torch.equal(shown[~inputs.filled], text.token_ids[~inputs.filled])
    assert set(shown[inputs.filled].tolist()) - {MASK} <= set(text.token_ids[inputs.filled].tolist())
    scored = example.targets["generator"] != IGNORED
    assert inputs.predict_at[scored].tolist() == inputs.filled.flatten().nonzero().squeeze(1).tolist()
    assert torch.equal(example.targets["generator"][scored], text.token_ids[inputs.filled])
    assert example.counts == {"generator": 20 + round(17 * 0.5), "detector": 42 + 19}
    assert example.tokens == 61


def test_most_are_shown_as_mask_and_the_others_as_they_are():
    text = batch([400] * 10)
    inputs = objective(mask_ratio=0.5).prepare(text).inputs
    shown, truth = inputs.masked.token_ids[inputs.filled], text.token_ids[inputs.filled]
    is_mask = shown == MASK
    assert is_mask.double().mean().item() == pytest.approx(0.85, abs=0.03)
    assert torch.equal(shown[~is_mask], truth[~is_mask])  # no random tokens
    held_out = objective(mask_ratio=0.5).prepare(text, training=False).inputs
    assert (held_out.masked.token_ids[held_out.filled] == MASK).all()


def test_draws_belong_to_the_row_and_the_place():
    together = objective(mask_ratio=0.3).prepare(batch([40, 40, 40])).inputs
    alone = objective(mask_ratio=0.3).prepare(batch([40], width=60, first_index=1)).inputs
    n = int(alone.filled.sum())
    assert torch.equal(together.draws[n : 2 * n], alone.draws[:n])
    assert not torch.equal(together.draws[:n], alone.draws[:n])
    assert bool(((alone.draws >= 0) & (alone.draws <= 1)).all())


def test_sums_by_hand():
    text = batch([9, 4])
    ours = objective(mask_ratio=0.4)
    example = ours.prepare(text)
    n, (rows, length) = len(example.targets["generator"]), text.token_ids.shape
    replaced = example.inputs.filled.clone()
    replaced[0, 1:3] = torch.tensor([True, False])
    logits = torch.randn(rows, length)
    output = ReplacedTokenOutput(
        hidden=torch.zeros(rows, length, 4),
        heads={"vocabulary": VocabularyScores(hidden=torch.randn(n, 4), weight=torch.randn(50, 4)), "detector": logits},
        replaced=replaced,
    )
    found = ours.loss(output, example).sums
    valid = text.valid
    expected = F.binary_cross_entropy_with_logits(logits[valid], replaced[valid].float(), reduction="sum")
    torch.testing.assert_close(found["detector"], expected)
    targets = example.targets["generator"]
    torch.testing.assert_close(
        found["generator"], F.cross_entropy(output.heads["vocabulary"].logits(), targets, reduction="sum", ignore_index=IGNORED)
    )
    measured = ours.evaluate(output, example).sums
    flagged = (logits > 0) & valid
    assert measured["detector_accuracy"].tolist() == [int((flagged == replaced)[valid].sum()), int(valid.sum())]
    assert measured["detector_recall"].tolist() == [int((flagged & replaced).sum()), int((replaced & valid).sum())]
    assert measured["detector_precision"].tolist() == [int((flagged & replaced).sum()), int(flagged.sum())]
    assert measured["loss/detector"].tolist() == pytest.approx([expected.item(), int(valid.sum())], rel=1e-6)
    assert measured["loss/generator"][1] == example.counts["generator"]


@torch.no_grad()
def test_evaluation_is_the_same_for_any_batches_and_draws_nothing():
    torch.manual_seed(0)
    model = config("generator_pair", d_model=24, n_heads=4, max_length=64).build(vocab_size=50, heads=HEADS).eval()
    ours, rows = objective(mask_ratio=0.4), [40, 40, 40, 40]
    state = torch.get_rng_state()
    whole = ours.prepare(batch(rows), training=False)
    together = model(whole.inputs)
    for row in range(4):
        single = ours.prepare(batch([40], first_index=row), training=False)
        single.inputs = replace(single.inputs, original_ids=whole.inputs.original_ids[row : row + 1])
        single.inputs.masked.token_ids = whole.inputs.masked.token_ids[row : row + 1]
        assert torch.equal(model(single.inputs).replaced[0], together.replaced[row])
    assert torch.equal(torch.get_rng_state(), state)
    again = ours.evaluate(model(whole.inputs), whole).sums
    assert all(torch.equal(pair, ours.evaluate(together, whole).sums[name]) for name, pair in again.items())
