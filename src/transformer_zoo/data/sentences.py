"""Cutting running text into sentences by rules.

A sentence ends at `.`, `!`, `?` or `…`, with any closing quotes and brackets, before white space and something that can begin a
sentence; not after a known abbreviation, an initial, or inside a number. Paragraphs end sentences too.
"""

import re
from collections.abc import Iterator

from transformer_zoo.data.base import Pieces

LONGEST = 2000
"""Characters after which a sentence is cut at a space: text without full stops still has to become sentences."""
BLOCK = 100_000
"""Characters of a paragraph looked at together."""

_ABBREVIATIONS = frozenset(
    re.findall(
        r"\S+",
        """
        mr mrs ms messrs mme mlle dr prof rev hon st sr jr capt col gen lieut lt sgt maj cmdr adm gov pres sen rep esq
        vs etc eg ie e.g i.e viz cf al approx appt dept est fig figs no nos op vol vols ch chap sec pp p ed eds trans
        jan feb mar apr jun jul aug sep sept oct nov dec a.m p.m u.s u.k d.c ph.d b.a m.a m.d
        inc ltd co corp bros univ ave blvd rd mt ft bzw z.b d.h u.a usw ca evtl ggf inkl nr str hrsg vgl
        """,
    )
)
_MAY_END = frozenset(("etc", "inc", "ltd", "co", "jr", "sr", "al", "usw", "a.m", "p.m", "u.s", "u.k", "d.c", "no", "esq", "st", "corp", "p"))
"""Abbreviations that end a sentence now and then, and are taken to do so before a capital; the others never."""

_END = re.compile(r"([.!?…。！？]+)([\"'”’»)\]}]*)(\s+|(?<=[。！？])|$)")
_BEFORE = re.compile(r"[\w.\-&]*$")
_PARAGRAPH = re.compile(r"\n[^\S\n]*(?:\r?\n[^\S\n]*)+")
_LINE_END = re.compile(r"[.!?…:;。！？][\"'”’»)\]}]*\s*$")


def split_sentences(text: str) -> list[str]:
    """The sentences of one paragraph, without the white space around them; line ends inside it count as spaces."""
    text = " ".join(text.split())
    found = []
    start = 0
    for end in _END.finditer(text):
        if end.end() < len(text) and not _ends_here(text, start, end):
            continue
        sentence = text[start : end.end()].strip()
        if sentence:
            found.append(sentence)
        start = end.end()
    if rest := text[start:].strip():
        found.append(rest)
    return [part for sentence in found for part in _limited(sentence)]


def _ends_here(text: str, start: int, end: re.Match[str]) -> bool:
    after = text[end.end()]
    if after.islower():
        return False
    marks, closing, _ = end.groups()
    if marks != ".":
        return True
    if closing:
        return True
    word = _word_before(text, start, end.start())
    if not word:
        return True
    if len(word) == 1 and word.isalpha() and word.isupper() and word != "I":
        return False  # an initial
    plain = word.lower().strip(".")
    if plain in _ABBREVIATIONS - _MAY_END:
        return False
    if plain in {"no", "p"} and after.isdigit():
        return False
    if plain in {"st", "co"} and after.isupper() and word[0].isupper() == (plain == "st"):
        return False
    return not (word.isdigit() and start == end.start() - len(word))  # the number of a list item


def _word_before(text: str, start: int, stop: int) -> str:
    found = _BEFORE.search(text, max(start, stop - 24), stop)
    return found.group() if found else ""


def _limited(sentence: str) -> Iterator[str]:
    while len(sentence) > LONGEST:
        cut = sentence.rfind(" ", LONGEST // 2, LONGEST)
        cut = cut if cut > 0 else LONGEST
        yield sentence[:cut].rstrip()
        sentence = sentence[cut:].lstrip()
    if sentence:
        yield sentence


def paragraph_sentences(paragraph: str) -> list[str]:
    """The sentences of one paragraph. Lines are joined, unless they are sentences already: most of them end as one does, or the
    paragraph has several lines and none does."""
    lines = [line for line in paragraph.split("\n") if line.strip()]
    ended = sum(bool(_LINE_END.search(line)) for line in lines)
    if len(lines) > 1 and (2 * ended > len(lines) or ended == 0):
        return [sentence for line in lines for sentence in split_sentences(line)]
    return split_sentences(paragraph)


def sentences_of(pieces: Pieces) -> Pieces:
    """The sentences of each document of running text, with memory for one paragraph (of at most `BLOCK` characters)."""
    buffer = ""
    for piece in pieces:
        if piece is not None:
            buffer += piece
            if len(buffer) < BLOCK:
                continue
            *whole, buffer = _PARAGRAPH.split(buffer)
            for paragraph in whole:
                yield from paragraph_sentences(paragraph)
            if len(buffer) > BLOCK:  # a paragraph that does not end: all but its last sentence
                *done, last = split_sentences(buffer) or [""]
                yield from done
                buffer = last + (" " if buffer[-1:].isspace() else "")
            continue
        for paragraph in _PARAGRAPH.split(buffer):
            yield from paragraph_sentences(paragraph)
        buffer = ""
        yield None
