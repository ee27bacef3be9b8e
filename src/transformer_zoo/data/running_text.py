"""Streams of running text, piece by piece: slicing, dividing into documents, cutting for the tokenizer. Memory stays bounded."""

import re
from collections.abc import Iterator

from transformer_zoo.data.base import Pieces

PIECE = 16_384
"""Characters encoded at once: long enough to be efficient, short enough to share between cores."""

SEPARATORS = {"blank_line": re.compile(r"\n(?:[^\S\n]*\n)+"), "line": re.compile(r"\n")}
"""What stands between documents inside a text file."""


def count_characters(pieces: Pieces) -> int:
    """The length of a stream."""
    return sum(len(piece) for piece in pieces if piece is not None)


def sliced(pieces: Pieces, start: int, stop: int | None) -> Pieces:
    """The characters from `start` to `stop` of a stream; a document that is cut ends there."""
    place, inside = 0, False
    for piece in pieces:
        if piece is None:
            if inside:
                yield None
            inside = False
            continue
        part = piece[max(start - place, 0) : None if stop is None else max(stop - place, 0)]
        place += len(piece)
        if part:
            yield part
            inside = True
        if stop is not None and place >= stop:
            break
    if inside:
        yield None


def divided(pieces: Pieces, separator: re.Pattern[str]) -> Pieces:
    """Each document cut into several at a separator; `\\r\\n` counts as `\\n`, and white space at the edges is dropped."""
    rest, inside = "", False  # white space whose meaning the next piece decides; whether something of the document was given
    for piece in pieces:
        text = (rest + (piece or "")).replace("\r\n", "\n")
        body = text.rstrip()
        rest = text[len(body) :] if piece is not None else ""
        for i, block in enumerate(separator.split(body)):
            if i and inside:
                yield None
                inside = False
            block = block if inside else block.lstrip()
            if block:
                yield block
                inside = True
        if piece is None and inside:
            yield None
            inside = False


def without_blank(pieces: Pieces) -> Pieces:
    """Documents that are more than white space."""
    held: list[str] = []
    inside = False
    for piece in pieces:
        if piece is None:
            if inside:
                yield None
            held, inside = [], False
        elif inside:
            yield piece
        elif not piece or piece.isspace():
            held += [piece] if piece else []
        else:
            yield from held
            yield piece
            held, inside = [], True


def recut(pieces: Pieces, size: int = PIECE) -> Pieces:
    """The same documents in pieces of at most about `size` characters. A cut falls before white space, so that no word is cut and most
    tokenizers make of the pieces what they would make of the whole; only a word longer than a piece is cut itself."""
    rest = ""
    for piece in pieces:
        if piece is None:
            if rest:
                yield rest
            rest = ""
            yield None
            continue
        text, start = rest + piece, 0
        while len(text) - start > size:
            stop = _before_space(text, start, start + size)
            yield text[start:stop]
            start = stop
        rest = text[start:]


def _before_space(text: str, start: int, stop: int) -> int:
    cut = max(text.rfind(" ", start + 1, stop), text.rfind("\n", start + 1, stop))
    while cut > start and text[cut - 1].isspace():
        cut -= 1
    return cut if cut > start else stop


def texts(pieces: Pieces) -> Iterator[str]:
    """The pieces without the ends of documents."""
    return (piece for piece in pieces if piece is not None)
