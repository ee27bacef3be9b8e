"""What runs read: their text and their tokenizer, by the fingerprints that they kept, and whether it was the same."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from transformer_zoo.experiments.results import RunRecord
from transformer_zoo.reports.groups import DATA

TEXT, TOKENIZER = "text_fingerprint", "tokenizer_fingerprint"
"""Keys of `environment.json` beside `DATA`, the text as the run's tokenizer reads it: the text alone (older runs do not tell), and the tokenizer."""
ADDING = ("kind", "sentinels", "modes")
"""Settings of an objective, at any depth, on which hang the tokens that it adds to a tokenizer."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one run read; what it does not tell is empty."""

    asked: str = ""
    """The settings that make text and tokenizer. The same settings for the same text make the same tokenizer."""
    text: str = ""
    data: str = ""
    tokenizer: str = ""


def reading(run: RunRecord) -> Reading:
    """As its settings and its `environment.json` tell."""
    told = {key: str(run.environment.get(key) or "") for key in (TEXT, DATA, TOKENIZER)}
    return Reading(asked=_asked(run), text=told[TEXT], data=told[DATA], tokenizer=told[TOKENIZER])


def _asked(run: RunRecord) -> str:
    sections = {key: value for key, value in run.config.items() if key.startswith(("data.", "tokenizer."))}
    added = {key: value for key, value in run.config.items() if key.startswith("objective.") and key.rpartition(".")[2] in ADDING}
    return repr(sorted((key, str(value)) for key, value in (sections | added).items()))


def other_texts(runs: Sequence[Reading]) -> list[list[int]]:
    """Sets of runs (by number) that are known to have read different text: by the text itself, or else since one tokenizer makes one fingerprint of
    one text."""
    telling = [number for number, one in enumerate(runs) if one.text]
    by_text = [telling] if len({runs[number].text for number in telling}) > 1 else []
    others = _parts([(one.tokenizer, number) for number, one in enumerate(runs) if one.tokenizer and one.data])
    by_data = [part for part in others if len({runs[number].data for number in part}) > 1 and not set(part) <= set(telling)]
    return by_text + by_data


def other_tokenizers(runs: Sequence[Reading]) -> list[list[int]]:
    """Sets of runs (by number) whose tokenizers differ though nothing that was asked for explains it: the text they learned from, or their file, was
    not the same. Where texts are known to differ, these explain it."""
    found = []
    for part in _parts([(one.asked, number) for number, one in enumerate(runs) if one.tokenizer]):
        known = all(runs[number].text for number in part)
        found += _parts([(runs[number].text, number) for number in part]) if known else [part]
    return [part for part in found if len({runs[number].tokenizer for number in part}) > 1]


def same_text(runs: Iterable[Reading]) -> bool:
    """Whether no two are known to have read different text; a tokenizer that differs for no reason is taken to have learned from other text,
    unless the text is known."""
    told = list(dict.fromkeys(runs))
    unexplained = any(not told[number].text for part in other_tokenizers(told) for number in part)
    return not other_texts(told) and not unexplained


def known_text(runs: Iterable[Reading]) -> bool:
    """Whether all are known to have read the same text."""
    texts = {one.text for one in runs}
    return len(texts) == 1 and "" not in texts


def same_tokenizer(runs: Iterable[Reading]) -> bool:
    """Whether the tokenizers are the same as far as the settings are."""
    return not other_tokenizers(list(dict.fromkeys(runs)))


def _parts(numbers: Iterable[tuple[str, int]]) -> list[list[int]]:
    parts: dict[str, list[int]] = {}
    for key, number in numbers:
        parts.setdefault(key, []).append(number)
    return list(parts.values())
