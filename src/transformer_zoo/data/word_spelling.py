"""Which tokens of a tokenizer make a word together, told from how it spells them.

Tokenizers mark where words begin (`Ġ` in byte-level BPE, `▁` in SentencePiece), where they go on (`##` in WordPiece) or where they end (`</w>`).
Where a mark leaves punctuation attached (`Ġdog` `,`), and where every character is a token, a word is a run of letters and digits, and everything
else is a piece of its own. In byte-level and SentencePiece tokenizers the space in front of a word belongs to it.
"""

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

from transformer_zoo.records import WordSpelling

SPACE = "▁"
"""SentencePiece's mark in front of words."""
_BYTE_LEVEL = "ByteLevel"


def word_spelling(settings: Mapping[str, Any], tokens: Mapping[str, int], specials: Collection[int]) -> WordSpelling | None:
    """How the tokenizer of these `tokenizer.json` settings spells words; None where that cannot be told. `tokens`: spelling → id."""
    model = settings["model"]
    ordinary = {token: i for token, i in sorted(tokens.items(), key=itemgetter(1)) if i not in specials}
    if mark := model.get("continuing_subword_prefix"):
        return WordSpelling(continues=tuple(i for token, i in ordinary.items() if token.startswith(mark) and token != mark))
    if mark := model.get("end_of_word_suffix"):
        ends = tuple(i for token, i in ordinary.items() if token.endswith(mark))
        return WordSpelling(continues=tuple(ordinary.values()), closes=ends)
    parts = _kinds(settings.get("pre_tokenizer")) | _kinds(settings.get("decoder"))
    if _BYTE_LEVEL in parts:
        return _by_characters([(_text_of_bytes(token), i) for token, i in ordinary.items()], opening=" ")
    if any(token.startswith(SPACE) for token in ordinary):
        return _by_characters([(token.replace(SPACE, " "), i) for token, i in ordinary.items()], opening=" ")
    if model["type"] == "WordLevel":  # single characters, or whole words
        return _by_characters(list(ordinary.items())) if "Fuse" in parts else WordSpelling()
    return None


def _kinds(part: Mapping[str, Any] | None) -> set[str]:
    """The types of a pre-tokenizer or decoder, and of those it is a sequence of."""
    if part is None:
        return set()
    inner = [*part.get("pretokenizers", ()), *part.get("decoders", ())]
    return {part["type"]}.union(*map(_kinds, inner))


def _by_characters(ordinary: Sequence[tuple[str, int]], opening: str | None = None) -> WordSpelling:
    """A token that begins with a letter or digit goes on with a word; one that ends with another character closes it, but for one that is `opening`
    and nothing else: it is the beginning of the word behind it."""
    return WordSpelling(
        continues=tuple(i for text, i in ordinary if text and _in_word(text[0])),
        closes=tuple(i for text, i in ordinary if text != opening and not (text and _in_word(text[-1]))),
    )


@cache
def _in_word(character: str) -> bool:
    """Letters, digits, the marks upon them, and parts of characters that a token cuts."""
    return character.isalnum() or character == "_" or character == "\ufffd" or unicodedata.category(character)[0] == "M"


@cache
def _byte_of() -> dict[str, int]:
    """The byte behind each letter of the byte-level alphabet: printable ones stand for themselves, the others follow from 256 on in their order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


def _text_of_bytes(token: str) -> str:
    """A byte-level token as text; bytes that are no whole character become U+FFFD."""
    letters = _byte_of()
    if token.isascii():
        return token
    if not all(letter in letters for letter in token):
        return token
    return bytes(letters[letter] for letter in token).decode("utf-8", "replace")
