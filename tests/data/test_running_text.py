"""Streams of pieces: slices, documents and pieces for the tokenizer, wherever the pieces happen to be cut."""

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from transformer_zoo.data.running_text import SEPARATORS, divided, recut, sliced, without_blank
from transformer_zoo.data.tokenizers import BPETokenizerConfig, UnigramTokenizerConfig, WordPieceTokenizerConfig

some_text = st.text(alphabet="ab \n\r\t", max_size=40)


def joined(stream: list[str | None]) -> list[str]:
    """The documents of a stream, put together."""
    documents, current = [], None
    for piece in stream:
        if piece is None:
            assert current is not None, "the end of a document that did not begin"
            documents.append(current)
            current = None
        else:
            assert piece, "an empty piece"
            current = (current or "") + piece
    assert current is None, "a document did not end"
    return documents


def in_pieces(text: str, cuts: list[int]) -> list[str | None]:
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [*[text[a:b] for a, b in pairwise(edges)], None]


@given(some_text, st.lists(st.integers(0, 100)))
def test_documents_between_blank_lines(text: str, cuts: list[int]) -> None:
    expected = [block.strip() for block in re.split(r"\n(?:[ \t\r]*\n)+", text.replace("\r\n", "\n"))]
    found = joined(list(divided(iter(in_pieces(text, cuts)), SEPARATORS["blank_line"])))
    assert [doc.strip() for doc in found] == [block for block in expected if block]


@given(some_text, st.lists(st.integers(0, 100)))
def test_documents_of_one_line(text: str, cuts: list[int]) -> None:
    expected = [line.strip() for line in text.replace("\r\n", "\n").split("\n")]
    found = joined(list(divided(iter(in_pieces(text, cuts)), SEPARATORS["line"])))
    assert [doc.strip() for doc in found] == [line for line in expected if line]


def test_a_line_end_is_not_part_of_a_line() -> None:
    assert joined(list(divided(iter(["ab  c\r\n", "\r\nd\n", None]), SEPARATORS["line"]))) == ["ab  c", "d"]


@given(st.lists(st.text(alphabet="abc", max_size=6), max_size=5), st.integers(0, 30), st.integers(0, 30))
def test_a_slice_and_the_rest_are_the_whole(docs: list[str], start: int, more: int) -> None:
    def stream() -> list[str | None]:
        return [piece for doc in docs for piece in ([doc, None] if doc else [None])]

    text = "".join(docs)
    parts = [list(sliced(iter(stream()), a, b)) for a, b in ((0, start), (start, start + more), (start + more, None))]
    assert "".join("".join(joined(part)) for part in parts) == text
    assert "".join(joined(parts[1])) == text[start : start + more]


@given(st.text(alphabet="ab \n", min_size=1, max_size=60), st.lists(st.integers(0, 100)), st.integers(1, 9))
def test_recutting_loses_nothing_and_cuts_before_spaces(text: str, cuts: list[int], size: int) -> None:
    pieces = list(recut(iter(in_pieces(text, cuts)), size))
    assert joined(pieces) == [text]
    whole = [piece for piece in pieces if piece]
    assert all(len(piece) <= size for piece in whole[:-1])
    for a, b in pairwise(whole):
        assert (b[0].isspace() and not a[-1].isspace()) or len(a) == size


def test_pieces_give_the_tokens_of_the_whole() -> None:
    text = "The quick  brown fox\n\njumps over   the lazy dog, isn't it? " * 40
    for config in (BPETokenizerConfig(vocab_size=320), WordPieceTokenizerConfig(vocab_size=90), UnigramTokenizerConfig(vocab_size=60)):
        tokenizer = config.build([text])
        for size in (5, 17, 64, 300):
            pieces = [piece for piece in recut(iter([text, None]), max(size, 8)) if piece is not None]
            assert tokenizer.encode_flat(pieces)[0].tolist() == tokenizer.encode(text), size


def test_blank_documents_are_none() -> None:
    stream = [" \n", "\t", None, None, " \n", "x", " ", None]
    assert joined(list(without_blank(iter(stream)))) == [" \nx "]
