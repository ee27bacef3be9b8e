"""Phrases that the data marks: as spans of characters, or as words whose tags begin (B-) and continue (I-) them."""

from collections.abc import Sequence

import numpy as np

from transformer_zoo.data.batching import Reader
from transformer_zoo.data.rows import BadRecordError, Record
from transformer_zoo.records import MarkedTextBatch, Rows, TextBatch

Spans = list[tuple[int, int]]
"""First and last + 1 character of each phrase; none overlap."""


def given_spans(record: Record, field: str, length: int) -> Spans:
    """The field's list of [begin, end] in a text of `length` characters, in their order.

    Raises:
        BadRecordError: they are none, lie outside of the text or overlap.
    """
    value = record.get(field)
    if not isinstance(value, list) or not all(map(_is_span, value)):
        raise record.problem(field, "spans_field", value, "a list of [begin, end]")
    spans = sorted((begin, end) for begin, end in value)
    borders = [border for span in spans for border in span]
    if any(begin >= end for begin, end in spans) or borders != sorted(borders) or (borders and (borders[0] < 0 or borders[-1] > length)):
        raise BadRecordError(f"{record.place}: the spans of {field!r} overlap, are empty or lie outside of the text's {length} characters: {spans}")
    return spans


def _is_span(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(end, int) and not isinstance(end, bool) for end in value)


def tagged_spans(words: Sequence[str], tags: Sequence[str]) -> Spans:
    """The runs of words of which the first has a tag B-… (or I-… where none goes before) and the others I-… of the same name, in
    `" ".join(words)`."""
    spans: Spans = []
    place, inside = 0, ""
    for word, tag in zip(words, tags, strict=True):
        kind, _, name = tag.partition("-")
        end = place + len(word)
        if kind == "I" and inside == name:
            spans[-1] = (spans[-1][0], end)
        elif kind in ("B", "I") and name:
            spans.append((place, end))
        inside = name if kind in ("B", "I") else ""
        place = end + 1
    return spans


def continuing(spans: Spans, places: Sequence[tuple[int, int]]) -> np.ndarray:
    """[tokens] bool: which tokens, at the characters `places`, go on with the phrase of the token in front. A token belongs to the phrase in which
    its last character lies: many begin with the space in front."""
    begins = np.array([begin for begin, _ in spans], dtype=np.int64)
    ends = np.array([end for _, end in spans], dtype=np.int64)
    last = np.array([end - 1 for _, end in places], dtype=np.int64)
    number = np.searchsorted(begins, last, side="right") - 1
    inside = number >= 0
    inside[inside] = last[inside] < ends[number[inside]]
    number[~inside] = -1
    goes_on = np.zeros(len(last), dtype=bool)
    goes_on[1:] = (number[1:] >= 0) & (number[1:] == number[:-1])
    return goes_on


class MarkedReader(Reader):
    """Windows of text with the marks of their tokens, which a second reader cuts from their own column in the same way."""

    def __init__(self, text: Reader, marks: Reader) -> None:
        self._text, self._marks = text, marks
        self.sizes, self.n_tokens, self.n_bytes = text.sizes, text.n_tokens, text.n_bytes

    def batch(self, indices: np.ndarray, rows: Rows) -> MarkedTextBatch:
        made, marks = self._text.batch(indices, rows), self._marks.batch(indices, rows)
        assert isinstance(made, TextBatch)
        assert isinstance(marks, TextBatch)
        return MarkedTextBatch(**vars(made), continues=marks.token_ids == 1)  # arbitrary at special tokens
