"""Special tokens as `config.json` and `generation_config.json` name them: checked before anything needs them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformer_zoo.errors import ConfigError
from transformer_zoo.interop.base import Family
from transformer_zoo.interop.files import CONFIG, GENERATION

KEYS = ("decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id", "bos_token_id", "eos_token_id", "pad_token_id", "bad_words_ids")
WORDS = "bad_words_ids"
"""The one key that holds sequences of tokens."""


def known_ids(
    family: Family, config: Mapping[str, Any], generation: Mapping[str, Any], *, size: int, folder: Path
) -> tuple[dict[str, Any], list[str]]:
    """Special ids by their keys, and a note on each that the vocabulary of `size` tokens does not have, which is left out: files of small models
    name them by default, and not every use of a model needs them.

    What `generation_config.json` says wins, and the family's own stand where neither has a key. What writing forces and forbids is for that file
    alone to say, where there is one.

    Raises:
        ConfigError: an id is no whole number (nor a list of them).
    """
    named = {GENERATION: generation, CONFIG: {**family.special_ids, **config}}
    forcing = ("forced_bos_token_id", "forced_eos_token_id", WORDS) if generation else ()
    found: dict[str, Any] = {}
    problems, notes = [], []
    for key in KEYS:
        files = (GENERATION,) if key in forcing else (GENERATION, CONFIG)
        file = next((file for file in files if named[file].get(key) is not None), None)
        if file is None:
            continue
        value = named[file][key]
        if not _are_ids(key, value):
            expected = "a list of lists of whole numbers" if key == WORDS else "a whole number, or a list of them"
            problems.append(f"{folder / file}: {key}={value!r} names no tokens: expected {expected}")
            continue
        kept = _within(value, size)
        if kept != value:
            notes.append(f"{folder / file}: {key}={value} is passed over, since the vocabulary has {size} tokens (0 to {size - 1})")
        if kept is not None:
            found[key] = kept
    if problems:
        raise ConfigError(*problems)
    return found, notes


def _are_ids(key: str, value: Any) -> bool:
    if key == WORDS:
        return isinstance(value, list) and all(isinstance(one, list) and all(map(_is_id, one)) for one in value)
    return _is_id(value) or (isinstance(value, list) and all(map(_is_id, value)))


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _within(value: Any, size: int) -> Any:
    """The value without ids that the vocabulary lacks (of sequences, without those that have one); None where nothing is left."""
    if isinstance(value, list):
        kept = [one for one in value if (_within(one, size) == one)]
        return kept if kept or not value else None
    return value if 0 <= value < size else None
