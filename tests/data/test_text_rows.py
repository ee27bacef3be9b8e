"""Windows of running text, against windows cut by hand."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_data import WORDS, everything, some, wants

from transformer_zoo.data.base import Form, Source
from transformer_zoo.data.store import Store
from transformer_zoo.data.text_rows import JoinedReader, SeparateReader
from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.errors import DataError
from transformer_zoo.records import SpecialTokens, TextBatch, Vocabulary

PAD, BOS, EOS, CLS, SEP = 0, 2, 3, 4, 5


def as_rows(batch: TextBatch) -> list[list[int]]:
    return [ids[valid].tolist() for ids, valid in zip(batch.token_ids, batch.valid, strict=True)]


def ids(words: Tokenizer, *names: str) -> list[int]:
    return [words.id(name) for name in names]


documents = st.lists(st.lists(st.sampled_from(WORDS), min_size=0, max_size=12), min_size=1, max_size=8)
lenient = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def numbered() -> Iterator[int]:
    n = 0
    while True:
        yield n
        n += 1


NAMES = numbered()


@lenient
@given(docs=documents, length=st.integers(2, 9))
def test_every_token_but_the_first_of_a_document_is_predicted_once(
    given: Callable[..., Store], words: Tokenizer, docs: list[list[str]], length: int
) -> None:
    if not any(docs):
        return
    store = given([[doc] for doc in docs], name=f"a{next(NAMES)}")
    reader = SeparateReader(store, "train", words.vocabulary, wants(lookahead=1), length)
    batch = everything(reader)
    whole = [[BOS, *ids(words, *doc), EOS] for doc in docs if doc]
    expected = [document[start : start + length + 1] for document in whole for start in range(0, len(document) - 1, length)]
    assert as_rows(batch) == expected
    assert reader.lengths.tolist() == [len(row) for row in expected]
    assert batch.ends_document.tolist() == [row[-1] == EOS for row in expected]
    assert batch.offset.tolist() == [max(start - 1, 0) for document in whole for start in range(0, len(document) - 1, length)]
    assert sum(len(row) - 1 for row in expected) == reader.n_tokens
    assert bool((batch.token_ids[~batch.valid] == PAD).all())


@lenient
@given(docs=documents, length=st.integers(3, 9))
def test_masked_rows_are_framed_and_hold_every_token_once(given: Callable[..., Store], words: Tokenizer, docs: list[list[str]], length: int) -> None:
    if not any(docs):
        return
    store = given([[doc] for doc in docs], name=f"b{next(NAMES)}")
    reader = SeparateReader(store, "train", words.vocabulary, wants(framed=True), length)
    batch = everything(reader)
    inner = length - 2
    expected = [[CLS, *ids(words, *doc)[k : k + inner], SEP] for doc in docs for k in range(0, len(doc), inner)]
    assert as_rows(batch) == expected
    assert batch.offset.tolist() == [k for doc in docs for k in range(0, len(doc), inner)]
    assert batch.ends_document.tolist() == [k + inner >= len(doc) for doc in docs for k in range(0, len(doc), inner)]


@lenient
@given(docs=documents, length=st.integers(2, 9), framed=st.booleans(), masked=st.booleans())
def test_joined_documents_are_one_stream_with_special_tokens_between(
    given: Callable[..., Store], words: Tokenizer, docs: list[list[str]], length: int, framed: bool, masked: bool
) -> None:
    docs = [doc for doc in docs if doc]
    if sum(map(len, docs)) < length or (framed and length < 3):
        return
    store = given([[doc] for doc in docs], name=f"c{next(NAMES)}")
    needs = wants(framed=True) if framed else wants(lookahead=1)
    reader = JoinedReader(store, "train", words.vocabulary, needs, length, masked=masked)
    batch = everything(reader)
    stream: list[tuple[int, int]] = []  # token, number of its document
    for number, doc in enumerate(docs):
        around = ([], [SEP] if number < len(docs) - 1 else []) if framed else ([BOS], [EOS])
        stream += [(token, number) for token in [*around[0], *ids(words, *doc), *around[1]]]
    if framed:
        rows = [stream[k : k + length - 2] for k in range(0, len(stream), length - 2)]
        rows = [[(CLS, row[0][1]), *row, (SEP, row[-1][1])] for row in rows]
    else:
        rows = [stream[k : k + length + 1] for k in range(0, len(stream) - 1, length)]
    assert as_rows(batch) == [[token for token, _ in row] for row in rows]
    assert reader.lengths.tolist() == [len(row) for row in rows]
    if masked:
        found = [numbers[valid].tolist() for numbers, valid in zip(batch.document_ids, batch.valid, strict=True)]
        assert found == [[number - row[0][1] for _, number in row] for row in rows]
    else:
        assert batch.document_ids is None


def test_n_tokens_is_the_same_for_every_packing(given: Callable[..., Store], words: Tokenizer) -> None:
    store = given([[WORDS[:7]], [WORDS[7:20]], [WORDS[20:23]]])
    needs = wants(lookahead=1)
    readers = [
        SeparateReader(store, "train", words.vocabulary, needs, 5),
        JoinedReader(store, "train", words.vocabulary, needs, 5, masked=False),
        JoinedReader(store, "train", words.vocabulary, needs, 5, masked=True),
    ]
    assert [reader.n_tokens for reader in readers] == [23 + 3] * 3  # and an end token for each document
    assert {reader.n_bytes for reader in readers} == {len(" ".join(WORDS[:7] + WORDS[7:20] + WORDS[20:23])) - 2}


def test_one_token_for_begin_and_end_stands_once_between_documents(given: Callable[..., Store]) -> None:
    store = given([[["w0", "w1"]], [["w2"]]])
    both = Vocabulary(size=60, specials=SpecialTokens(pad=9, begin=9, end=9))
    batch = everything(JoinedReader(store, "train", both, wants(lookahead=1), 3, masked=False))
    assert [[9 if token == 9 else 0 for token in row] for row in as_rows(batch)] == [[9, 0, 0, 9], [9, 0, 9]]


def test_rows_depend_on_their_index_alone(given: Callable[..., Store], words: Tokenizer) -> None:
    store = given([[WORDS[:30]], [WORDS[3:9]], [WORDS[5:25]]])
    reader = JoinedReader(store, "train", words.vocabulary, wants(lookahead=1), 7, masked=True)
    whole = as_rows(everything(reader))
    order = np.array([4, 0, 4, 2])
    assert as_rows(some(reader, order)) == [whole[i] for i in order]


@pytest.mark.parametrize("amount", [1, 5, 6, 7])
def test_fewer_tokens_than_one_sequence_are_refused(given: Callable[..., Store], words: Tokenizer, amount: int) -> None:
    store = given([[WORDS[:amount]]])
    if amount < 6:
        with pytest.raises(DataError, match=rf"0 usable sequences: {amount} tokens < data.sequence_length=6"):
            JoinedReader(store, "train", words.vocabulary, wants(lookahead=1), 6, masked=False)
    else:
        assert len(JoinedReader(store, "train", words.vocabulary, wants(lookahead=1), 6, masked=False)) >= 1


def test_documents_cannot_be_joined_without_a_separator(given: Callable[..., Store]) -> None:
    bare = Vocabulary(size=60, specials=SpecialTokens(pad=0))
    with pytest.raises(DataError, match=r"data\.packing=separate"):
        JoinedReader(given([[WORDS[:9]], [WORDS[:9]]]), "train", bare, wants(lookahead=1), 4, masked=False)


def test_framing_needs_its_tokens(given: Callable[..., Store]) -> None:
    bare = Vocabulary(size=60, specials=SpecialTokens(pad=0, begin=1, end=2))
    with pytest.raises(DataError, match=r"no \[CLS\] and no \[SEP\]"):
        SeparateReader(given([[WORDS[:9]]]), "train", bare, wants(framed=True), 4)


def test_an_empty_split_is_refused(given: Callable[..., Store], words: Tokenizer) -> None:
    store = given([], Form.RUNNING)
    with pytest.raises(DataError, match="0 usable sequences"):
        SeparateReader(store, "train", words.vocabulary, wants(lookahead=1), 4)


def test_source_is_abstract_about_what_it_lacks() -> None:
    class Nothing(Source):
        fingerprint, splits = "", ()

        def training_text(self) -> Iterator[str]:
            return iter(())

    with pytest.raises(Exception, match="data=pairs or data=pocket"):
        Nothing().parallel("train")
