"""What holds for every tokenizer, length, ratio and unit: how much is hidden lies in a stated interval, places are uniform, and a sample's mask is
the same however it is reached."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from data.test_tokenizers import TEXT, TRAINED
from objectives.masking.rows import VOCABULARY, as_batch, batch, sampler
from transformer_zoo.data.batching import Reader
from transformer_zoo.data.stream import StreamState, TrainingStream
from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.objectives.masked_lm import MaskedLMConfig
from transformer_zoo.objectives.masking.lengths import FixedLengthsConfig, HarmonicLengthsConfig, PoissonLengthsConfig
from transformer_zoo.objectives.masking.pieces import OUTSIDE, Pieces
from transformer_zoo.objectives.masking.ratio_schedules import LinearRatioConfig, UniformRatioConfig
from transformer_zoo.objectives.masking.sampler import MaskSampler
from transformer_zoo.objectives.masking.spans import SpanUnitConfig
from transformer_zoo.objectives.masking.units import TokenUnit, TokenUnitConfig, Unit, UnitConfig, WholeWordUnitConfig
from transformer_zoo.objectives.masking.words import Words
from transformer_zoo.randomness import uniform
from transformer_zoo.records import Batch, Example, Rows, SequenceInputs, TextBatch, TokenBatch

TOKENIZERS: list[Tokenizer] = [config.build(TEXT) for config in TRAINED]
TEXTS = [np.array([token for text in TEXT for token in tokenizer.encode(text)] * 6) for tokenizer in TOKENIZERS]
UNITS: list[UnitConfig] = [
    TokenUnitConfig(),
    WholeWordUnitConfig(),
    SpanUnitConfig(),
    SpanUnitConfig(of="token", lengths=PoissonLengthsConfig()),
    SpanUnitConfig(of="token", lengths=FixedLengthsConfig()),
    SpanUnitConfig(lengths=HarmonicLengthsConfig(max_length=5), context=6),
]


def row_of(number: int, start: int, length: int) -> TextBatch:
    """[CLS] `length` tokens of the tokenizer's text [SEP]."""
    specials = TOKENIZERS[number].vocabulary.specials
    assert specials.cls is not None
    assert specials.sep is not None
    ids = TEXTS[number][start : start + length]
    return as_batch(torch.from_numpy(np.concatenate(([specials.cls], ids, [specials.sep])))[None], first_index=start)


def longest_word(number: int, made: TextBatch, maskable: np.ndarray) -> int:
    vocabulary = TOKENIZERS[number].vocabulary
    assert vocabulary.words is not None
    numbers = Words(vocabulary, vocabulary.words).numbers(made.token_ids.numpy(), maskable)
    return int(np.bincount(numbers[maskable]).max())


@settings(deadline=None, max_examples=120)
@given(
    st.integers(0, len(TOKENIZERS) - 1), st.integers(0, 400), st.integers(1, 512), st.floats(0.01, 0.95), st.sampled_from(UNITS),
    st.sampled_from(["exact", "bernoulli"]),
)  # fmt: skip
def test_the_realised_rate_lies_in_its_interval(number: int, start: int, length: int, ratio: float, unit: UnitConfig, count: str):
    """Exact: the rounded share; with words, less than the row's longest word away from it. Bernoulli: within six standard deviations, units being as
    long as they can be; and one unit at least."""
    made, vocabulary = row_of(number, start, length), TOKENIZERS[number].vocabulary
    one = MaskSampler(MaskedLMConfig(mask_ratio=ratio, unit=unit, count=count), vocabulary)
    masked = one(made, training=True)
    maskable = one.maskable(made)
    n, hidden = int(maskable.sum()), int(masked.predicted.sum())
    of_words = not isinstance(unit, TokenUnitConfig) and getattr(unit, "of", "word") == "word"
    slack = longest_word(number, made, maskable) - 1 if of_words else 0
    if count == "exact":
        wanted = min(n, max(1, round(n * ratio)))
        assert wanted - slack <= hidden <= wanted + slack
    else:
        longest = (slack + 1) * (unit.lengths.longest * unit.context if isinstance(unit, SpanUnitConfig) else 1)
        deviation = np.sqrt(n * longest * ratio * (1 - ratio))
        assert n * ratio - 6 * deviation - longest <= hidden <= n * ratio + 6 * deviation + longest
    assert 1 <= hidden <= n
    assert not masked.predicted[~maskable].any()
    ledger = masked.ledger
    assert (ledger["masking specials"], ledger["masking unpredicted"]) == (0, 0)
    assert ledger["masking predicted"] == ledger["masking selected"] == hidden
    assert ledger["masking ordinary"] == n
    seen, truth = masked.seen.numpy()[masked.predicted], made.token_ids.numpy()[masked.predicted]
    assert (seen == vocabulary.specials.mask).sum() == ledger["masking as mask"]
    assert (seen == truth).sum() >= ledger["masking as is"]
    assert ledger["masking as mask"] + ledger["masking as random"] + ledger["masking as is"] == hidden


class LeftUnit(Unit):
    """Planted: places further to the left are taken a little sooner."""

    def pieces(self, batch: TokenBatch, rows: Rows, maskable: np.ndarray) -> Pieces:
        draws = uniform(rows, "mask: which", maskable.shape[1]) ** (1.1 - 0.2 * np.arange(maskable.shape[1]) / maskable.shape[1])
        return Pieces(keys=np.where(maskable, draws, OUTSIDE), single=True)


def counts_by_place(unit: Unit, n: int = 16, n_rows: int = 60_000) -> np.ndarray:
    one, counts, own = sampler(mask_ratio=0.25), np.zeros(n), np.arange(6000) % n
    one.unit = unit
    for start in range(0, n_rows, 6000):
        hidden = one.choose(batch([n] * 6000, first_index=start), training=True).hidden[:, 1 : n + 1]
        counts += np.bincount(own[hidden[np.arange(6000), own]], minlength=n)  # one place of each row: those of a row hang together
    return counts


def test_places_are_uniform_and_a_biased_sampler_is_caught():
    assert stats.chisquare(counts_by_place(TokenUnit())).pvalue > 0.001
    assert stats.chisquare(counts_by_place(LeftUnit())).pvalue < 0.001


# --- the same mask however a sample is reached ------------------------------------------------------------------------------------------


class Sentences(Reader):
    """Sample i is a row of 3 to 40 tokens."""

    def __init__(self) -> None:
        self.sizes = np.array([5 + i * 7 % 38 for i in range(29)])[:, None]
        self.n_tokens = self.n_bytes = int(self.sizes.sum())

    def batch(self, indices: np.ndarray, rows: Rows) -> TextBatch:
        made = batch([int(self.sizes[i, 0]) - 2 for i in indices])
        return replace(made, rows=rows)


CONFIGS = [
    MaskedLMConfig(),
    MaskedLMConfig(ratio_schedule=LinearRatioConfig(initial=0.6), unit=WholeWordUnitConfig(), epoch_cycle=2),
    MaskedLMConfig(ratio_schedule=UniformRatioConfig(), unit=SpanUnitConfig(), count="bernoulli"),
]
MODES = [{"batch_size": 6}, {"batch_tokens": 200}]


def masks(config: MaskedLMConfig, mode: dict[str, int], *, steps: int = 12, resume_at: int = 0, **more: int) -> list[tuple[int, ...]]:
    """Of every row in its order: epoch, index and what the model sees and says, padding left out."""
    one = MaskSampler(config, VOCABULARY)

    def prepare(made: Batch) -> Example:
        assert isinstance(made, TokenBatch)
        masked = one(made, training=True)
        inputs = SequenceInputs(token_ids=torch.where(made.valid, masked.seen, 0), valid=made.valid)
        return Example(inputs=inputs, targets={"t": masked.targets, "e": made.rows.epoch, "i": made.rows.index}, counts={}, tokens=0)

    stream = TrainingStream(Sentences(), prepare, seed=3, budget=("steps", 12.0), **{**mode, **more})  # type: ignore[arg-type]
    state = stream.initial_state()
    for _ in range(resume_at):
        state = stream.after(state)
    return list(rows_of(stream, state, steps - resume_at))


def rows_of(stream: TrainingStream, state: StreamState, steps: int) -> Iterator[tuple[int, ...]]:
    for number, step in enumerate(stream.iterate(state), 1):
        for example in [] if step.filler else step.examples:
            assert isinstance(example.inputs, SequenceInputs)
            assert example.inputs.valid is not None
            for row, valid in enumerate(example.inputs.valid):
                seen, said = example.inputs.token_ids[row][valid].tolist(), example.targets["t"][row][valid].tolist()
                yield (int(example.targets["e"][row]), int(example.targets["i"][row]), *seen, *said)
        if number == steps:
            return


@pytest.mark.parametrize("config", CONFIGS, ids=["plain", "schedule", "uniform"])
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_masks_are_the_same_for_any_workers_processes_and_after_resume(config: MaskedLMConfig, mode: dict[str, int]):
    whole = masks(config, mode)
    assert len(whole) > 60
    assert masks(config, mode, n_workers=2) == whole
    assert masks(config, mode, micro_batch_size=2) == whole
    ranks = [masks(config, mode, rank=rank, world_size=2) for rank in (0, 1)]
    assert sorted(ranks[0] + ranks[1]) == sorted(whole)
    assert masks(config, mode, resume_at=5) == whole[-len(masks(config, mode, resume_at=5)) :]
