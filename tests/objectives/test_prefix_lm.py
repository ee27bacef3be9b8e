"""Prefix language modelling: inputs and targets rebuild the text, the prefix sees itself, and nothing of the rest is seen before its turn."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.builders import build, logits
from transformer_zoo.objectives.prefix_lm import PrefixLMConfig
from transformer_zoo.records import IGNORED, Example, Rows, SequenceInputs, SpecialTokens, TextBatch, TranslationInputs, Vocabulary

PAD, BEGIN, END = 0, 2, 3
VOCABULARY = Vocabulary(size=1000, specials=SpecialTokens(pad=PAD, unknown=1, begin=BEGIN, end=END))
SOURCE = PrefixLMConfig(form="source_and_target")


def text(lengths: list[int], first_index: int = 0, width: int | None = None, vocabulary: int = 0) -> TextBatch:
    """Rows whose tokens are all different, or drawn from a small vocabulary."""
    width = width or max(lengths)
    valid = torch.arange(width) < torch.tensor(lengths).unsqueeze(1)
    token_ids = (7 + torch.arange(width)).expand(len(lengths), width)
    if vocabulary:
        token_ids = torch.randint(7, vocabulary, (len(lengths), width), generator=torch.Generator().manual_seed(0))
    rows = Rows(seed=1, epoch=torch.zeros(len(lengths), dtype=torch.int64), index=torch.arange(len(lengths)) + first_index)
    return TextBatch(rows=rows, token_ids=token_ids.masked_fill(~valid, PAD), valid=valid)


def prepared(batch: TextBatch, config: PrefixLMConfig | None = None) -> Example:
    return (config or PrefixLMConfig()).build(vocabulary=VOCABULARY).prepare(batch)


def wanted(example: Example) -> torch.Tensor:
    """[B,T] the targets at their places."""
    inputs = example.inputs
    shape = (inputs.target if isinstance(inputs, TranslationInputs) else inputs).token_ids.shape
    at, targets = inputs.predict_at, example.targets["prefix_lm"]
    found = torch.full(shape, IGNORED).flatten()
    found[at[targets != IGNORED]] = targets[targets != IGNORED]
    return found.view(shape)


@settings(deadline=None)
@given(st.lists(st.integers(2, 60), min_size=1, max_size=5), st.none() | st.floats(0.02, 0.98))
def test_one_sequence_rebuilds_the_text(lengths: list[int], target_share: float | None):
    batch = text(lengths)
    example = prepared(batch, PrefixLMConfig(target_share=target_share))
    inputs = example.inputs
    assert isinstance(inputs, SequenceInputs)
    for row, targets, prefix, n in zip(inputs.token_ids.tolist(), wanted(example).tolist(), inputs.prefix_length.tolist(), lengths, strict=True):
        assert 1 <= prefix < n
        assert row[:prefix] + targets[prefix - 1 : n - 1] == list(range(7, 7 + n))
        assert set(targets[: prefix - 1] + targets[n - 1 :]) <= {IGNORED}
        assert target_share is None or n - prefix == min(max(round(n * target_share), 1), n - 1)
    assert example.counts == {"prefix_lm": sum(lengths) - int(inputs.prefix_length.sum())}
    assert example.tokens == int(batch.valid[:, :-1].sum())


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.none() | st.floats(0.02, 0.98))
def test_source_and_target_rebuild_the_text(lengths: list[int], target_share: float | None):
    batch = text(lengths)
    example = prepared(batch, PrefixLMConfig(target_share=target_share, form="source_and_target"))
    inputs = example.inputs
    assert isinstance(inputs, TranslationInputs)
    source_valid = torch.ones_like(inputs.source.token_ids, dtype=torch.bool) if inputs.source.valid is None else inputs.source.valid
    for row, ok, read, targets, n in zip(
        inputs.source.token_ids, source_valid, inputs.target.token_ids.tolist(), wanted(example).tolist(), lengths, strict=True
    ):
        source, target = row[ok].tolist(), [one for one in targets if one != IGNORED]
        assert source[-1] == target[-1] == END
        assert source[:-1] + target[:-1] == list(range(7, 7 + n))
        assert len(source) > 1
        assert read[: len(target)] == [PAD, *target[:-1]]  # one token late
    assert example.counts == {"prefix_lm": sum(lengths) + 2 * len(lengths) - int(source_valid.sum())}


def test_the_split_is_uniform_over_all_places():
    n = 6
    splits = prepared(text([n] * 6000)).inputs.prefix_length
    counts = torch.bincount(splits, minlength=n)[1:]
    assert len(counts) == n - 1
    expected = 6000 / (n - 1)
    assert float(((counts - expected) ** 2 / expected).sum()) < 18.5  # chi-square with 4 degrees of freedom, p = 0.001
    sources = prepared(text([n] * 6000), SOURCE).inputs.source
    assert torch.equal(sources.valid.sum(dim=1) - 1, splits)  # the same place, whatever the model reads


def test_a_row_is_split_the_same_in_any_batch_and_anew_in_each_epoch():
    together = prepared(text([50, 50, 40])).inputs.prefix_length
    assert prepared(text([50], first_index=1, width=70)).inputs.prefix_length[0] == together[1]
    later = text([50, 50, 40])
    later.rows.epoch += 1
    assert not torch.equal(prepared(later).inputs.prefix_length, together)


def test_nothing_leaks_and_the_prefix_sees_itself():
    """Of every token, what changes with it: in the prefix all scores may; behind it no target up to its own."""
    model, batch = build("decoder"), text([9], vocabulary=40)
    example = prepared(batch, PrefixLMConfig(target_share=0.5))
    inputs = example.inputs
    prefix = int(inputs.prefix_length[0])
    assert prefix == 5

    def scores(ids: torch.Tensor) -> torch.Tensor:
        return logits(model, SequenceInputs(token_ids=ids, prefix_length=inputs.prefix_length))[0]

    before = scores(inputs.token_ids)
    for place in range(8):
        changed = inputs.token_ids.clone()
        changed[0, place] = (changed[0, place] - 6) % 33 + 7
        same = [bool(torch.equal(old, new)) for old, new in zip(before, scores(changed), strict=True)]
        assert same == ([False] * 8 if place < prefix else [True] * place + [False] * (8 - place))
    assert (wanted(example)[0] != IGNORED).nonzero().flatten().tolist() == list(range(prefix - 1, 8))  # each from tokens before it alone


def test_nothing_leaks_through_a_source():
    example = prepared(text([9] * 40), SOURCE)
    for source, target in zip(example.inputs.source.token_ids.tolist(), wanted(example).tolist(), strict=True):
        assert not (set(source) & set(target)) - {END}


def test_borders_of_masked_documents_and_begin_tokens_are_not_predicted():
    batch = text([8])
    batch.document_ids = torch.tensor([[0] * 5 + [1] * 3])
    batch.token_ids[0, 7] = BEGIN
    example = prepared(batch, PrefixLMConfig(target_share=0.75))
    assert example.inputs.prefix_length.tolist() == [2]
    assert wanted(example)[0].tolist() == [IGNORED, 9, 10, 11, IGNORED, 13, IGNORED]
    assert example.inputs.document_ids.tolist() == [[0] * 5 + [1] * 2]


def test_what_the_model_reads_decides_unless_it_is_said():
    assert PrefixLMConfig().fitted(TranslationInputs) == SOURCE
    assert PrefixLMConfig().fitted(SequenceInputs) == PrefixLMConfig(form="one_sequence")
    assert SOURCE.fitted(SequenceInputs) is SOURCE
    assert PrefixLMConfig().needs().prefix
    assert not SOURCE.needs().prefix
    bare = Vocabulary(size=10, specials=SpecialTokens(pad=0))
    (problem,) = SOURCE.vocabulary_problems(bare)
    assert problem.startswith("ends what is written by the end token, which the tokenizer lacks")
    assert PrefixLMConfig().vocabulary_problems(bare) == []
