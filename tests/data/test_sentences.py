"""Cutting text into sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_zoo.data.sentences import BLOCK, LONGEST, sentences_of, split_sentences

CASES = [
    ("One. Two! Three? Four… Five", ["One.", "Two!", "Three?", "Four…", "Five"]),
    ('He said: "Stop!" Then he left.', ['He said: "Stop!"', "Then he left."]),
    ('"Why?" she asked. "Because."', ['"Why?" she asked.', '"Because."']),
    ("Mr. Smith and Dr. J. R. Jones met Mrs. Gray.", ["Mr. Smith and Dr. J. R. Jones met Mrs. Gray."]),
    ("It cost 3.50 dollars, i.e. nothing. See Fig. 4 on p. 12.", ["It cost 3.50 dollars, i.e. nothing.", "See Fig. 4 on p. 12."]),
    ("They sold apples, pears, etc. Nobody came.", ["They sold apples, pears, etc.", "Nobody came."]),
    ("He lives in the U.S. Army camp. She is at No. 10.", None),
    ("It is I. You know me.", ["It is I.", "You know me."]),
    ("wait... what? yes.", ["wait... what? yes."]),
    ("1. First item. 2. Second item.", ["1. First item.", "2. Second item."]),
    ("(It rained.) We stayed.", ["(It rained.)", "We stayed."]),
    ("„Komm!“ Er ging z. B. nach Haus. Ende.", None),
    ("It was late.\n\tHe slept.", ["It was late.", "He slept."]),
    ("", []),
    ("   ", []),
    ("你好。再见！", ["你好。", "再见！"]),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_cases(text: str, expected: list[str] | None) -> None:
    found = split_sentences(text)
    if expected is not None:
        assert found == expected
    assert " ".join(found).replace(" ", "") == "".join(text.split())


@given(st.text(alphabet='ab.?! "\n\tMrX1', max_size=200))
def test_nothing_but_white_space_is_lost(text: str) -> None:
    assert "".join("".join(s.split()) for s in split_sentences(text)) == "".join(text.split())


def test_endless_sentences_are_cut() -> None:
    for text in ("word " * 2000, "x" * 10_000):
        found = split_sentences(text)
        assert max(map(len, found)) <= LONGEST
        assert "".join(found).replace(" ", "") == text.replace(" ", "")


def sentences(*pieces: str | None) -> list[str | None]:
    return list(sentences_of(iter(pieces)))


def test_paragraphs_end_sentences_and_lines_do_not() -> None:
    assert sentences("A heading\n\nIt was\nlate. He\nslept.", None) == ["A heading", "It was late.", "He slept.", None]


def test_lines_that_are_sentences_stay_apart() -> None:
    assert sentences("The dog runs .\nthe cat sleeps .\nit is late", None) == ["The dog runs .", "the cat sleeps .", "it is late", None]
    assert sentences("the dog runs\nthe cat sleeps", None) == ["the dog runs", "the cat sleeps", None]


def test_pieces_may_be_cut_anywhere() -> None:
    text = "It was late. He slept.\n\nShe did not! Why?\r\n \r\nThe end."
    whole = sentences(text, None)
    assert whole == ["It was late.", "He slept.", "She did not!", "Why?", "The end.", None]
    for k in range(len(text)):
        assert sentences(text[:k], text[k:], None) == whole


def test_a_paragraph_without_end_is_given_in_parts() -> None:
    text = "It was late. " * (BLOCK // 6)
    assert sentences(text[: len(text) // 2], text[len(text) // 2 :], None) == ["It was late."] * (BLOCK // 6) + [None]
