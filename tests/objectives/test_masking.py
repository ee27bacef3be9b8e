"""The mask sampler: exact counts, specials never, the split as stated, the same for any batch composition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from transformer_zoo.objectives.masked_lm import MaskedLMConfig
from transformer_zoo.objectives.masking import MaskSampler, Split
from transformer_zoo.records import IGNORED, Rows, SpecialTokens, TextBatch, Vocabulary

VOCABULARY = Vocabulary(size=50, specials=SpecialTokens(pad=0, unknown=1, begin=2, end=3, cls=4, sep=5, mask=6))
BERT = Split(mask=0.8, random=0.1, keep=0.1)


def batch(lengths: list[int], width: int | None = None, first_index: int = 0, epoch: int = 0) -> TextBatch:
    """Rows [CLS] w … w [SEP] [PAD] … of the given numbers of words."""
    width = width or max(lengths) + 2
    token_ids = torch.zeros(len(lengths), width, dtype=torch.int64)
    for row, n in enumerate(lengths):
        words = 7 + (torch.arange(n) * 13 + first_index + row) % 43
        token_ids[row, : n + 2] = torch.cat((torch.tensor([4]), words, torch.tensor([5])))
    rows = Rows(seed=1, epoch=torch.full((len(lengths),), epoch), index=torch.arange(len(lengths)) + first_index)
    return TextBatch(rows=rows, token_ids=token_ids, valid=token_ids != 0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 512), min_size=1, max_size=4), st.floats(0.01, 0.95))
def test_the_count_is_exact_and_specials_are_never_chosen(lengths: list[int], ratio: float):
    made = batch(lengths)
    chosen = MaskSampler(VOCABULARY, ratio, BERT).choose(made)
    assert not chosen[np.isin(made.token_ids.numpy(), (0, 4, 5))].any()
    expected = [min(n, max(1, round(n * ratio))) for n in lengths]
    assert chosen.sum(axis=1).tolist() == expected


def test_positions_are_chosen_uniformly():
    sampler, n = MaskSampler(VOCABULARY, 0.15, BERT), 20
    counts = np.zeros(n)
    for start in range(0, 4000, 200):
        counts += sampler.choose(batch([n] * 200, first_index=start))[:, 1 : n + 1].sum(axis=0)
    assert stats.chisquare(counts).pvalue > 0.001
    assert stats.chisquare(counts * np.linspace(0.8, 1.2, n)).pvalue < 0.001  # a biased sampler is caught


def test_the_split_is_as_stated():
    sampler = MaskSampler(VOCABULARY, 0.5, BERT)
    made = batch([400] * 20)
    chosen = sampler.choose(made)
    seen, targets = sampler.hide(made, chosen, training=True)
    hidden = torch.from_numpy(chosen)
    assert torch.equal(targets[hidden], made.token_ids[hidden])
    assert (targets[~hidden] == IGNORED).all()
    assert torch.equal(seen[~hidden], made.token_ids[~hidden])
    as_mask = (seen[hidden] == 6).double().mean().item()
    kept = (seen[hidden] == made.token_ids[hidden]).double().mean().item()
    assert as_mask == pytest.approx(0.8, abs=0.02)
    assert kept == pytest.approx(0.1 + 0.1 / 43, abs=0.02)
    drawn = seen[hidden & (seen != 6) & (seen != made.token_ids)]
    assert set(drawn.tolist()) == set(range(7, 50))


def test_in_evaluation_every_chosen_position_is_shown_as_mask():
    sampler = MaskSampler(VOCABULARY, 0.5, Split(mask=0.0, random=0.5, keep=0.5))
    made = batch([40])
    chosen = sampler.choose(made)
    seen, _ = sampler.hide(made, chosen, training=False)
    assert (seen[torch.from_numpy(chosen)] == 6).all()


def test_masks_depend_on_the_sample_and_the_epoch_only():
    sampler = MaskSampler(VOCABULARY, 0.3, BERT)
    together = sampler.choose(batch([40, 40, 40]))
    alone = sampler.choose(batch([40], first_index=1))
    wider = sampler.choose(batch([40], width=60, first_index=1))
    assert (together[1] == alone[0]).all()
    assert (wider[0, :42] == alone[0]).all()
    assert (together[0] != together[1]).any()
    assert (sampler.choose(batch([40], epoch=1)) != sampler.choose(batch([40]))).any()


def test_a_split_that_does_not_sum_to_one_is_told():
    (problem,) = MaskedLMConfig(mask_share=0.8, random_share=0.3, keep_share=0.1).problems()
    assert problem == "mask_share=0.8 + random_share=0.3 + keep_share=0.1 is 1.2; they must sum to 1"
    assert MaskedLMConfig(mask_share=0.7, random_share=0.2, keep_share=0.1).problems() == []
