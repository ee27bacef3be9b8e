"""Named spans in sequences of tags (`B-loc I-loc O`), and the F1 of spans that are found whole."""

from collections.abc import Iterable, Sequence

Span = tuple[str, int, int]
"""Kind, first place, last place + 1."""


def marks_spans(names: Iterable[str]) -> bool:
    """Whether tags are O, B-… and I-…, with a B- among them."""
    found = set(names)
    return all(name == "O" or name[:2] in ("B-", "I-") for name in found) and any(name.startswith("B-") for name in found)


def spans(tags: Sequence[str]) -> set[Span]:
    """The spans of one sequence. An I- that continues nothing of its kind begins a span, as in the scoring of CoNLL
    (Tjong Kim Sang & De Meulder 2003, https://aclanthology.org/W03-0419)."""
    found: set[Span] = set()
    kind, start = "", 0
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        if prefix == "I" and name == kind:
            continue
        if kind:
            found.add((kind, start, place))
        kind, start = ("" if prefix == "O" else name), place
    return found


def span_f1(gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> float:
    """2 · right / (gold + predicted) over the spans of all sequences, in [0, 1]; 0 where there are none. Right: the same kind, start and end."""
    right = total = 0
    for true, told in zip(gold, predicted, strict=True):
        true_spans, told_spans = spans(true), spans(told)
        right += len(true_spans & told_spans)
        total += len(true_spans) + len(told_spans)
    return 2 * right / total if total else 0.0
