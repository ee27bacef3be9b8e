"""The mask sampler: exact counts, specials never, the split as stated, the same for any batch composition; two rates, limits and cycles."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from objectives.masking.rows import VOCABULARY, batch, chosen, sampler
from transformer_zoo.objectives.masked_lm import MaskedLMConfig
from transformer_zoo.objectives.masking.ratio_schedules import LinearRatioConfig
from transformer_zoo.objectives.masking.sampler import MaskSampler
from transformer_zoo.objectives.masking.spans import SpanUnitConfig
from transformer_zoo.objectives.masking.units import WholeWordUnitConfig
from transformer_zoo.randomness import uniform
from transformer_zoo.records import IGNORED, TextBatch

ALL_MASK = {"mask_share": 1.0, "random_share": 0.0, "keep_share": 0.0}


def plainly(made: TextBatch, ratio: float) -> np.ndarray:
    """The sampler as it was before there were units and rates: the smallest draws of each row."""
    ids = made.token_ids.numpy()
    maskable = made.valid.numpy() & ~np.isin(ids, (0, 2, 3, 4, 5, 6))
    n_chosen = np.minimum(np.maximum(np.round(maskable.sum(axis=1) * ratio), 1), maskable.sum(axis=1))
    order = np.where(maskable, uniform(made.rows, "mask: which", ids.shape[1]), 2.0)
    return (order.argsort(axis=1).argsort(axis=1) < n_chosen[:, None]) & maskable


@settings(deadline=None)
@given(st.lists(st.integers(0, 512), min_size=1, max_size=4), st.floats(0.01, 0.95))
def test_the_count_is_exact_and_specials_are_never_chosen(lengths: list[int], ratio: float):
    made = batch(lengths)
    choice = chosen(made, mask_ratio=ratio)
    assert not choice.hidden[np.isin(made.token_ids.numpy(), (0, 4, 5))].any()
    assert choice.hidden.sum(axis=1).tolist() == [min(n, max(1, round(n * ratio))) for n in lengths]
    assert (choice.hidden == plainly(made, ratio)).all()
    assert (choice.predicted == choice.hidden).all()


def test_the_draws_of_the_default_are_what_they_have_been():
    """A change of these numbers is a change of every run."""
    digest = hashlib.sha256()
    for epoch in range(3):
        masked = MaskSampler(MaskedLMConfig(), VOCABULARY)(batch([126, 40, 1, 0], first_index=11, epoch=epoch), training=True)
        digest.update(masked.seen.numpy().tobytes() + masked.targets.numpy().tobytes())
    assert digest.hexdigest()[:16] == "ef86592b04f1ce9a"


def test_positions_are_chosen_uniformly():
    n = 20
    counts = np.zeros(n)
    for start in range(0, 4000, 200):
        counts += chosen(batch([n] * 200, first_index=start)).hidden[:, 1 : n + 1].sum(axis=0)
    assert stats.chisquare(counts).pvalue > 0.001
    assert stats.chisquare(counts * np.linspace(0.8, 1.2, n)).pvalue < 0.001  # a biased sampler is caught


def test_the_split_is_as_stated():
    made = batch([400] * 20)
    masked = sampler(mask_ratio=0.5)(made, training=True)
    hidden = torch.from_numpy(masked.predicted)
    seen = masked.seen
    assert torch.equal(masked.targets[hidden], made.token_ids[hidden])
    assert (masked.targets[~hidden] == IGNORED).all()
    assert torch.equal(seen[~hidden], made.token_ids[~hidden])
    as_mask = (seen[hidden] == 6).double().mean().item()
    kept = (seen[hidden] == made.token_ids[hidden]).double().mean().item()
    assert as_mask == pytest.approx(0.8, abs=0.02)
    assert kept == pytest.approx(0.1 + 0.1 / 43, abs=0.02)
    drawn = seen[hidden & (seen != 6) & (seen != made.token_ids)]
    assert set(drawn.tolist()) == set(range(7, 50))


def test_random_tokens_are_uniform_over_the_ordinary_ones():
    made = batch([500] * 40)
    masked = sampler(mask_ratio=0.9, mask_share=0.0, random_share=1.0, keep_share=0.0)(made, training=True)
    counts = np.bincount(masked.seen.numpy()[masked.predicted], minlength=50)
    assert counts[:7].sum() == 0
    assert stats.chisquare(counts[7:]).pvalue > 0.001


def test_in_evaluation_every_chosen_position_is_shown_as_mask():
    masked = sampler(mask_ratio=0.5, mask_share=0.0, random_share=0.5, keep_share=0.5)(batch([40]), training=False)
    assert (masked.seen[torch.from_numpy(masked.predicted)] == 6).all()


@pytest.mark.parametrize("more", [{}, {"unit": WholeWordUnitConfig()}, {"unit": SpanUnitConfig()}, {"count": "bernoulli"}], ids=str)
def test_masks_depend_on_the_sample_and_the_epoch_only(more: dict[str, object]):
    def hidden(made: TextBatch) -> np.ndarray:
        return chosen(made, mask_ratio=0.3, **more).hidden

    together = hidden(batch([40, 40, 40]))
    alone = hidden(batch([40], first_index=1))
    wider = hidden(batch([40, 58], first_index=1))
    assert (together[1] == alone[0]).all()
    assert (wider[0, :42] == alone[0]).all()
    assert (together[0] != together[1]).any()
    assert (hidden(batch([40], epoch=1)) != hidden(batch([40]))).any()


# --- two rates ------------------------------------------------------------------------------------------------------------------------


def test_hide_40_percent_and_predict_15():
    made = batch([100] * 8)
    masked = sampler(corruption_rate=0.4, prediction_rate=0.15, **ALL_MASK)(made, training=True)
    assert (masked.seen == 6).sum(dim=1).tolist() == [40] * 8
    assert (masked.targets != IGNORED).sum(dim=1).tolist() == [15] * 8
    assert (masked.seen[masked.targets != IGNORED] == 6).all()  # what is predicted is hidden
    assert torch.equal(masked.targets[masked.targets != IGNORED], made.token_ids[masked.targets != IGNORED])
    assert masked.n_predicted == 15 * 8


@pytest.mark.parametrize(
    "more", [{}, {"unit": WholeWordUnitConfig()}, {"unit": SpanUnitConfig()}, {"count": "bernoulli"}, {"max_predictions": 9}], ids=str
)
def test_equal_rates_are_one_ratio_draw_for_draw(more: dict[str, object]):
    made = batch([90, 30, 3])
    plain = sampler(mask_ratio=0.3, **more)(made, training=True)
    for rates in ({"corruption_rate": 0.3, "prediction_rate": 0.3}, {"mask_ratio": 0.3, "corruption_rate": 0.3}):
        other = sampler(**rates, **more)(made, training=True)
        assert torch.equal(plain.seen, other.seen)
        assert torch.equal(plain.targets, other.targets)


@settings(deadline=None)
@given(st.floats(0.02, 0.9), st.floats(0.02, 0.9), st.sampled_from(["exact", "bernoulli"]), st.integers(1, 200))
def test_masks_are_nested(one: float, other: float, count: str, length: int):
    low, high = sorted((one, other))
    for unit in ({}, {"unit": WholeWordUnitConfig()}, {"unit": SpanUnitConfig(of="token")}):
        made = batch([length, 7])
        choice = chosen(made, corruption_rate=high, prediction_rate=low, count=count, **unit)
        assert (choice.hidden == chosen(made, mask_ratio=high, count=count, **unit).hidden).all()
        assert (choice.predicted == chosen(made, mask_ratio=low, count=count, **unit).hidden).all()
        assert (choice.hidden | ~choice.predicted).all()


def test_coins_hide_the_share_on_average_and_never_nothing():
    hidden = chosen(batch([200] * 400), mask_ratio=0.15, count="bernoulli").hidden.sum(axis=1)
    assert hidden.mean() == pytest.approx(30, abs=4 * np.sqrt(200 * 0.15 * 0.85 / 400))
    assert hidden.std() == pytest.approx(np.sqrt(200 * 0.15 * 0.85), rel=0.15)
    assert chosen(batch([2] * 50), mask_ratio=0.02, count="bernoulli").hidden.sum(axis=1).tolist() == [1] * 50


def test_predictions_have_a_limit():
    choice = chosen(batch([500, 20]), mask_ratio=0.15, max_predictions=20)
    assert choice.hidden.sum(axis=1).tolist() == [20, 3]
    apart = chosen(batch([500, 20]), corruption_rate=0.4, prediction_rate=0.15, max_predictions=20)
    assert apart.predicted.sum(axis=1).tolist() == [20, 3]
    assert apart.hidden.sum(axis=1).tolist() == [200, 8]


# --- over training --------------------------------------------------------------------------------------------------------------------


def test_masks_repeat_after_a_cycle():
    def seen(epoch: int, cycle: int | None) -> list[int]:
        masked = sampler(epoch_cycle=cycle)(batch([90], epoch=epoch), training=True)
        return [*masked.seen.flatten().tolist(), *masked.targets.flatten().tolist()]

    assert len({tuple(seen(epoch, None)) for epoch in range(6)}) == 6  # dynamic
    assert len({tuple(seen(epoch, 1)) for epoch in range(6)}) == 1  # static
    assert [seen(epoch, 3) for epoch in range(6)] == [seen(epoch % 3, None) for epoch in range(6)]  # epoch cycle


def test_a_schedule_moves_the_ratio_and_evaluation_stays_at_the_last():
    schedule = {"mask_ratio": 0.1, "ratio_schedule": LinearRatioConfig(initial=0.5)}
    for progress, n in ((0.0, 50), (0.5, 30), (1.0, 10)):
        choice = chosen(batch([100] * 3, progress=progress), **schedule)
        assert choice.hidden.sum(axis=1).tolist() == [n] * 3
        assert choice.ratios == pytest.approx(n / 100)
    assert sampler(**schedule).choose(batch([100]), training=False).hidden.sum() == 10


def test_only_the_rate_that_is_not_given_follows_the_schedule():
    choice = chosen(batch([100], progress=0.0), mask_ratio=0.2, prediction_rate=0.15, ratio_schedule=LinearRatioConfig(initial=0.6))
    assert (choice.hidden.sum(), choice.predicted.sum()) == (60, 15)


# --- what is told ---------------------------------------------------------------------------------------------------------------------


def problems(**more: object) -> list[str]:
    return MaskedLMConfig(**more).problems()  # type: ignore[arg-type]


def test_a_split_that_does_not_sum_to_one_is_told():
    (problem,) = problems(mask_share=0.8, random_share=0.3, keep_share=0.1)
    assert problem == "mask_share=0.8 + random_share=0.3 + keep_share=0.1 is 1.2; they must sum to 1"
    assert problems(mask_share=0.7, random_share=0.2, keep_share=0.1) == []


def test_predictions_of_what_is_not_hidden_are_told():
    (problem,) = problems(corruption_rate=0.15, prediction_rate=0.4)
    assert problem == (
        "prediction_rate=0.4 is above corruption_rate=0.15, but only what is hidden can be predicted: choose a prediction_rate of at most "
        "corruption_rate"
    )
    (problem,) = problems(prediction_rate=0.4)
    assert problem.startswith("prediction_rate=0.4 is above the mask_ratio of 0.15")
    (problem,) = problems(mask_ratio=0.15, corruption_rate=0.2, ratio_schedule=LinearRatioConfig(initial=0.3))
    assert problem.startswith("the mask_ratio of 0.3 is above corruption_rate=0.2")
    assert problems(corruption_rate=0.4) == problems(corruption_rate=0.4, prediction_rate=0.15) == problems(mask_ratio=0.5, prediction_rate=0.5) == []
    (problem,) = problems(corruption_rate=0.4, prediction_rate=0.2, ratio_schedule=LinearRatioConfig())
    assert problem.startswith("corruption_rate and prediction_rate are both given, so that ratio_schedule moves nothing")


def test_all_problems_are_told_at_once():
    assert len(problems(mask_share=0.9, corruption_rate=0.15, prediction_rate=0.4)) == 2
