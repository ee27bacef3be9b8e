"""Sentence pairs: every one must be what BERT's recipe could have made, and the shares must be right."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tiny_data import WORDS, everything, some, wants

from transformer_zoo.data.base import Form
from transformer_zoo.data.pairs import PairReader
from transformer_zoo.data.store import Store
from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.errors import DataError
from transformer_zoo.records import PairBatch

CLS, SEP = 4, 5


def corpus(n_documents: int = 12, seed: int = 0) -> list[list[list[str]]]:
    """Documents whose sentences can be told apart: sentence k of document d begins with words d and k."""
    rng = np.random.default_rng(seed)
    return [
        [[f"w{d}", f"w{k}", *[str(w) for w in rng.choice(WORDS, rng.integers(1, 9))]] for k in range(int(rng.integers(3, 30)))]
        for d in range(n_documents)
    ]


def reader(store: Store, words: Tokenizer, length: int = 32, short_pairs: float = 0.1) -> PairReader:
    return PairReader(store, "train", words.vocabulary, wants(PairBatch, framed=True), length, short_pairs=short_pairs)


def test_segments_are_whole_stretches_of_their_documents(given: Callable[..., Store], words: Tokenizer) -> None:
    docs = corpus()
    made = everything(reader(given(docs, Form.SENTENCES), words))
    flat = [[words.id(w) for sentence in doc for w in sentence] for doc in docs]
    starts = [np.concatenate([[0], np.cumsum([len(s) for s in doc])]) for doc in docs]
    assert made.token_ids.shape[1] <= 32
    for row in range(len(made.token_ids)):
        ids = made.token_ids[row][made.valid[row]].tolist()
        kinds = made.segment_ids[row][made.valid[row]].tolist()
        assert ids[0] == CLS and ids[-1] == SEP and kinds == sorted(kinds)
        border = kinds.index(1)
        assert ids[border - 1] == SEP and ids.count(SEP) == 2
        places = []
        for segment, origin in zip((ids[1 : border - 1], ids[border:-1]), made.origin[row].tolist(), strict=True):
            assert segment
            sentence, front, at_end = origin
            found = [
                d
                for d in range(len(docs))
                if sentence < len(docs[d]) and flat[d][starts[d][sentence] + front : starts[d][sentence] + front + len(segment)] == segment
            ]
            assert found, "the segment stands nowhere where its origin says"
            stop = starts[found[0]][sentence] + front + len(segment)
            assert not at_end or any(stop in starts[d] for d in found)
            places.append((set(found), sentence, front, len(segment)))
        if made.is_next[row]:
            both = places[0][0] & places[1][0]
            assert both, "B is from another document"
            d = next(iter(both))
            ends = starts[d][places[0][1]] + places[0][2] + places[0][3]
            assert places[1][1] > places[0][1] and starts[d][places[1][1]] >= ends


def test_half_of_the_pairs_follow_and_rows_are_full(given: Callable[..., Store], words: Tokenizer) -> None:
    rows = reader(given(corpus(30), Form.SENTENCES), words, 40)
    made = [everything(rows, epoch=epoch) for epoch in range(12)]
    is_next = torch.cat([m.is_next for m in made]).double()
    assert abs(is_next.mean().item() - 0.5) < 0.06  # 1,500 pairs or so; a document's last sentence has no next one
    lengths = torch.cat([m.valid.sum(1) for m in made]).double()
    assert lengths.median() > 36 and lengths.max() == 40
    assert 0.05 < (lengths < 25).double().mean() < 0.35


def test_short_pairs_can_be_switched_off(given: Callable[..., Store], words: Tokenizer) -> None:
    store = given(corpus(30), Form.SENTENCES)
    lengths = [torch.cat([everything(reader(store, words, 40, share), epoch=e).valid.sum(1) for e in range(4)]) for share in (0.0, 1.0)]
    assert lengths[0].double().mean() > lengths[1].double().mean() + 5


def test_every_epoch_cuts_anew_and_the_same_epoch_the_same(given: Callable[..., Store], words: Tokenizer) -> None:
    rows = reader(given(corpus(), Form.SENTENCES), words)
    one, again, other = (everything(rows, epoch=epoch) for epoch in (0, 0, 1))
    assert torch.equal(one.token_ids, again.token_ids)
    assert one.token_ids.shape != other.token_ids.shape or not torch.equal(one.token_ids, other.token_ids)
    picked = some(rows, [7, 3, 7])
    for row, index in enumerate([7, 3, 7]):
        n = int(picked.valid[row].sum())
        assert torch.equal(picked.token_ids[row, :n], one.token_ids[index, :n]) and not one.valid[index, n:].any()


def test_all_places_of_a_document_are_drawn_about_equally_often(given: Callable[..., Store], words: Tokenizer) -> None:
    doc = [[f"w{k}"] * 4 for k in range(40)]
    rows = reader(given([doc, [["w1"], ["w2"]]], Form.SENTENCES), words, 35, 0.0)
    seen = np.zeros(len(doc))
    for epoch in range(150):
        made = everything(rows, epoch=epoch)
        for origin, is_next, valid in zip(made.origin.tolist(), made.is_next.tolist(), made.valid, strict=True):
            if is_next:
                seen[origin[0][0] : origin[0][0] + int(valid.sum() - 3) // 4] += 1
    inner = seen[4:-4]
    assert inner.min() > 0.6 * inner.mean() and seen[0] > 0.5 * inner.mean()


def test_tokens_are_cut_from_both_ends_of_the_longer_segment(given: Callable[..., Store], words: Tokenizer) -> None:
    docs = [[["w1"] * 60, ["w2"] * 3], [["w3"] * 60, ["w4"] * 4]]
    rows = reader(given(docs, Form.SENTENCES), words, 32, 0.0)
    fronts = []
    for epoch in range(60):
        made = everything(rows, epoch=epoch)
        assert int(made.valid.sum(1).max()) == 32
        for row in range(len(made.is_next)):
            segment = made.segment_ids[row][made.valid[row]]
            a, b = int((segment == 0).sum()) - 2, int((segment == 1).sum()) - 1
            assert a + b <= 29 and (min(a, b) >= 14 or min(a, b) <= 4)
            if a > 20:
                fronts.append(int(made.origin[row, 0, 1]))
    assert 10 < np.mean(fronts) < 24 and np.std(fronts) > 1  # about half of the 34 or 35 that go


def test_a_single_document_gives_pairs_too(given: Callable[..., Store], words: Tokenizer) -> None:
    rows = reader(given([[[f"w{k}"] * 3 for k in range(30)]], Form.SENTENCES), words, 20, 0.0)
    made = [everything(rows, epoch=epoch) for epoch in range(30)]
    seen = set()
    for batch in made:
        for ids, kinds, valid, is_next in zip(batch.token_ids, batch.segment_ids, batch.valid, batch.is_next.tolist(), strict=True):
            a, b = ids[valid & (kinds == 0)][1:-1].tolist(), ids[valid & (kinds == 1)][:-1].tolist()
            follows = words.id(f"w{int(words.token(a[-1])[1:]) + 1}")
            if is_next:
                assert b[0] in (a[-1], follows)
            else:
                assert b[0] != follows or a[-1] == b[0]
                seen.add(b[0])
    assert len(seen) > 20  # from everywhere in the document


@pytest.mark.parametrize(
    ("docs", "message"),
    [
        ([[["w1", "w2"]], [["w3"]]], "no document has two sentences"),
        ([], "no document has two sentences"),
        ([[["w1"], ["w2"]]], "one document of two sentences"),
    ],
)
def test_text_without_sentence_pairs_is_refused(given: Callable[..., Store], words: Tokenizer, docs: list[list[list[str]]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        reader(given(docs, Form.SENTENCES), words)


def test_rows_too_short_for_two_segments_are_refused(given: Callable[..., Store], words: Tokenizer) -> None:
    with pytest.raises(DataError, match="give at least 5"):
        reader(given(corpus(), Form.SENTENCES), words, 4)


def ordered(store: Store, words: Tokenizer, length: int = 32, short_pairs: float = 0.1) -> PairReader:
    return PairReader(store, "train", words.vocabulary, wants(PairBatch, framed=True, consecutive=True), length, short_pairs=short_pairs)


def test_sentence_order_keeps_pairs_together_and_swaps_half(given: Callable[..., Store], words: Tokenizer) -> None:
    docs = [*corpus(20), [["w1", "w2", "w3"]]]  # the last has a single sentence and can give no pair
    rows = ordered(given(docs, Form.SENTENCES), words, 64)
    flat = [[words.id(w) for sentence in doc for w in sentence] for doc in docs]
    starts = [np.concatenate([[0], np.cumsum([len(s) for s in doc])]) for doc in docs]
    in_order = []
    for epoch in range(20):
        made = everything(rows, epoch=epoch)
        for row in range(len(made.token_ids)):
            ids, kinds = made.token_ids[row][made.valid[row]].tolist(), made.segment_ids[row][made.valid[row]].tolist()
            border = kinds.index(1)
            segments, origins = [ids[1 : border - 1], ids[border:-1]], made.origin[row].tolist()
            if not made.is_next[row]:
                segments, origins = segments[::-1], origins[::-1]
            (first, front, _), (second, behind, _) = origins
            assert second > first
            found = [
                d
                for d in range(len(docs) - 1)
                if second < len(docs[d])
                and flat[d][starts[d][first] + front :][: len(segments[0])] == segments[0]
                and flat[d][starts[d][second] + behind :][: len(segments[1])] == segments[1]
                and starts[d][first] + front + len(segments[0]) <= starts[d][second]
            ]
            assert found, "the segments do not follow each other in one document"
            in_order.append(int(made.is_next[row]))
    assert len(in_order) >= 1000
    assert abs(np.mean(in_order) - 0.5) < 0.05


def test_sentence_order_takes_two_sentences_even_where_one_is_long_or_the_last(given: Callable[..., Store], words: Tokenizer) -> None:
    rows = ordered(given([[["w1"] * 60, ["w2"] * 60], [["w3"], ["w4"], ["w5"] * 50]], Form.SENTENCES), words, 16, 0.0)
    for epoch in range(20):
        made = everything(rows, epoch=epoch)
        for ids, kinds, valid in zip(made.token_ids, made.segment_ids, made.valid, strict=True):
            a, b = set(ids[valid & (kinds == 0)][1:-1].tolist()), set(ids[valid & (kinds == 1)][:-1].tolist())
            assert a and b and not a & b


def test_sentence_order_asks_for_two_sentences_only(given: Callable[..., Store], words: Tokenizer) -> None:
    rows = ordered(given([[["w1"], ["w2"]]], Form.SENTENCES, "two"), words)
    made = [tuple(everything(rows, epoch=epoch).token_ids[0].tolist()) for epoch in range(30)]
    one, two = words.id("w1"), words.id("w2")
    assert set(made) == {(CLS, one, SEP, two, SEP), (CLS, two, SEP, one, SEP)}
    with pytest.raises(DataError, match="no document has two sentences"):
        ordered(given([[["w1"]]], Form.SENTENCES, "one"), words)
