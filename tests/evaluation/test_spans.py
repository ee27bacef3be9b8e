"""Spans in tags, by hand."""

import pytest

from transformer_zoo.evaluation.spans import marks_spans, span_f1, spans


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("", set()),
        ("O O", set()),
        ("B-a", {("a", 0, 1)}),
        ("O B-a I-a I-a O", {("a", 1, 4)}),
        ("B-a B-a", {("a", 0, 1), ("a", 1, 2)}),
        ("B-a I-b I-b", {("a", 0, 1), ("b", 1, 3)}),
        ("I-a I-a O I-b", {("a", 0, 2), ("b", 3, 4)}),
        ("B-a O I-a", {("a", 0, 1), ("a", 2, 3)}),
        ("B-of-art I-of-art", {("of-art", 0, 2)}),
    ],
)
def test_spans(tags: str, found: set[tuple[str, int, int]]) -> None:
    assert spans(tags.split()) == found


def test_a_span_counts_whole_or_not_at_all() -> None:
    gold = [["B-a", "I-a", "O", "B-b"], ["B-b", "O"]]
    told = [["B-a", "O", "O", "B-b"], ["B-a", "O"]]  # too short; right; of another kind
    assert span_f1(gold, told) == pytest.approx(2 * 1 / (3 + 3))
    assert span_f1(gold, gold) == 1.0
    assert span_f1([["O"]], [["O"]]) == 0.0


def test_which_tags_mark_spans() -> None:
    assert marks_spans(["O", "B-a", "I-a"])
    assert not marks_spans(["O", "I-a"])
    assert not marks_spans(["noun", "verb"])
    assert not marks_spans(["O", "B-a", "E-a"])
