"""Small words of help for mistyped names."""

import difflib
from collections.abc import Iterable


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like `word`, or None where none is alike."""
    found = difflib.get_close_matches(word.lower(), {c.lower(): c for c in candidates}, n=1, cutoff=0.6)
    return {c.lower(): c for c in candidates}[found[0]] if found else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing."""
    match = nearest(word, list(candidates))
    return f"; did you mean {match}?" if match else ""
