"""Span corruption: what is read and what is written make up the text, nothing lost and nothing told twice."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_zoo.objectives.combined import CombinedConfig
from transformer_zoo.objectives.masked_lm import MaskedLMConfig
from transformer_zoo.objectives.masking.sampler import MaskSampler
from transformer_zoo.objectives.span_corruption import SpanCorruption, SpanCorruptionConfig
from transformer_zoo.objectives.translation import TranslationConfig
from transformer_zoo.records import IGNORED, Example, Rows, SpecialTokens, TextBatch, TranslationInputs, Vocabulary

PAD, END, FIRST = 0, 3, 7
SENTINELS = tuple(range(999, 899, -1))  # in falling order, as T5's
VOCABULARY = Vocabulary(size=1000, specials=SpecialTokens(pad=PAD, unknown=1, begin=2, end=END), sentinels=SENTINELS)


def text(lengths: list[int], first_index: int = 0, width: int | None = None) -> TextBatch:
    """Rows whose tokens are all different."""
    width = width or max(lengths)
    valid = torch.arange(width) < torch.tensor(lengths).unsqueeze(1)
    token_ids = (FIRST + torch.arange(width)).expand(len(lengths), width).masked_fill(~valid, PAD)
    rows = Rows(seed=1, epoch=torch.zeros(len(lengths), dtype=torch.int64), index=torch.arange(len(lengths)) + first_index)
    return TextBatch(rows=rows, token_ids=token_ids, valid=valid)


def prepared(batch: TextBatch, **settings: float) -> Example:
    objective = SpanCorruptionConfig(**settings).build(vocabulary=VOCABULARY)
    assert isinstance(objective, SpanCorruption)
    return objective.prepare(batch)


def read_and_written(example: Example) -> list[tuple[list[int], list[int]]]:
    """Of each row the tokens read and the tokens to write, taken from where the model takes them."""
    inputs = example.inputs
    assert isinstance(inputs, TranslationInputs)
    source, target = inputs.source, inputs.target
    valid = torch.ones_like(source.token_ids, dtype=torch.bool) if source.valid is None else source.valid
    assert (source.token_ids[~valid] == PAD).all()
    wanted = torch.full(target.token_ids.shape, IGNORED).flatten()
    scored = example.targets["span_corruption"] != IGNORED
    wanted[inputs.predict_at[scored]] = example.targets["span_corruption"][scored]
    wanted = wanted.view(target.token_ids.shape)
    for row, seen in zip(wanted, target.token_ids, strict=True):
        n = int((row != IGNORED).sum())
        assert (row[:n] != IGNORED).all()
        assert seen.tolist()[:n] == [PAD, *row[: n - 1].tolist()]  # one token late, from the padding token on
    return [(row[ok].tolist(), want[want != IGNORED].tolist()) for row, ok, want in zip(source.token_ids, valid, wanted, strict=True)]


def rebuilt(read: list[int], written: list[int]) -> list[int]:
    """The text from both, by the sentinels."""
    assert read[-1] == written[-1] == END
    spans: dict[int, list[int]] = {}
    for token in written[:-1]:
        if token in SENTINELS:
            spans[token] = []
            last = token
        else:
            spans[last].append(token)
    assert list(spans) == list(SENTINELS[: len(spans)])
    assert [token for token in read if token in SENTINELS] == list(spans)
    assert all(spans.values())
    return [token for one in read[:-1] for token in spans.get(one, [one])]


@settings(deadline=None)
@given(st.lists(st.integers(1, 80), min_size=1, max_size=4), st.floats(0.02, 0.9), st.floats(1, 6))
def test_both_sides_rebuild_the_text(lengths: list[int], density: float, mean_span: float):
    batch = text(lengths)
    example = prepared(batch, density=density, mean_span=mean_span)
    sides = read_and_written(example)
    for (read, written), length, row in zip(sides, lengths, batch.token_ids.tolist(), strict=True):
        assert rebuilt(read, written) == row[:length]
        assert not set(read) & set(written) & set(row[:length])  # nothing that is to be written is read
        assert (len(read), len(written)) == SpanCorruptionConfig(density=density, mean_span=mean_span).lengths(length)
    assert example.counts == {"span_corruption": sum(len(written) for _, written in sides)}
    assert example.tokens == sum(len(read) + len(written) for read, written in sides)


def test_the_papers_lengths():
    config = SpanCorruptionConfig()
    assert (config.density, config.mean_span, config.sentinels) == (0.15, 3.0, 100)
    assert config.lengths(568) == (512, 114)
    assert config.lengths(569) == (513, 114)
    assert config.longest(568) == 512
    inputs = prepared(text([568, 568])).inputs
    assert inputs.source.token_ids.shape == (2, 512)
    assert inputs.target.token_ids.shape == (2, 114)
    assert inputs.source.valid is None


def test_a_row_is_the_same_in_any_batch_and_in_evaluation():
    together = read_and_written(prepared(text([50, 50, 90])))
    assert read_and_written(prepared(text([50], first_index=1, width=70)))[0] == together[1]
    assert together[0] != together[1]
    objective = SpanCorruptionConfig().build(vocabulary=VOCABULARY)
    assert read_and_written(objective.prepare(text([50, 50, 90]), training=False)) == together


def test_no_perplexity_is_told_of_sentinels():
    assert SpanCorruptionConfig().build(vocabulary=VOCABULARY).language_term is None


def test_what_does_not_fit_is_told():
    assert SpanCorruptionConfig().row_problems(568) == []
    (problem,) = SpanCorruptionConfig(sentinels=20).row_problems(568)
    assert problem.startswith("data.sequence_length=568 gives 28 missing spans, more than objective.sentinels=20: choose shorter rows")
    bare = Vocabulary(size=10, specials=SpecialTokens(pad=0), sentinels=(8, 9))
    few, end = SpanCorruptionConfig().vocabulary_problems(bare)
    assert few.startswith("marks missing spans by 100 sentinel tokens (<extra_id_0>, <extra_id_1> …), of which the tokenizer has 2: train")
    assert end.startswith("ends what is written by the end token, which the tokenizer lacks")
    assert SpanCorruptionConfig().vocabulary_problems(VOCABULARY) == []


def test_masking_never_shows_or_hides_a_sentinel():
    vocabulary = Vocabulary(size=40, specials=SpecialTokens(pad=0, mask=6), sentinels=tuple(range(10, 40)))
    sampler = MaskSampler(MaskedLMConfig(mask_ratio=0.9, mask_share=0.0, random_share=1.0, keep_share=0.0), vocabulary)
    batch = text([30], width=30)
    masked = sampler(batch, training=True)
    assert set(batch.token_ids[torch.from_numpy(masked.predicted)].tolist()) <= {7, 8, 9}
    assert set(masked.seen[torch.from_numpy(masked.predicted)].tolist()) <= set(range(10))


def test_what_makes_its_own_inputs_cannot_be_combined():
    made = CombinedConfig(parts={"spans": SpanCorruptionConfig(), "translation": TranslationConfig()})
    (problem,) = made.problems()
    assert problem == "parts cannot be combined, since what a model reads is made by spans and by translation alone; train them one after another"
    assert CombinedConfig(parts={"spans": SpanCorruptionConfig()}).problems() == []
    assert CombinedConfig(parts={"one": MaskedLMConfig()}).problems() == []
