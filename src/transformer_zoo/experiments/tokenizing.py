"""Tokenizers on their own: trained on an experiment's text and saved, or compared on held-out text."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformer_zoo.data.base import Source
from transformer_zoo.data.module import obtain_tokenizer
from transformer_zoo.data.tokenizers import compare as reports_on
from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments import catalog
from transformer_zoo.experiments.assemble import cache_folder
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import field_types

COMPARED = ("word", "char", "byte", "wordpiece", "bpe", "unigram")
"""What is compared where nothing is named."""
CHARACTERS = 2_000_000
"""Held-out text read for a comparison, at most."""


def train(config: ExperimentConfig, output: Path) -> Path:
    """Trains the experiment's tokenizer on its training text and writes it to `output` (a file, or a folder for `tokenizer.json`)."""
    path = output / "tokenizer.json" if output.suffix != ".json" else output
    if path.exists():
        raise ConfigError(f"output={path}: there is a tokenizer already; choose another name, or remove it")
    cache = cache_folder()
    tokenizer = obtain_tokenizer(config.tokenizer, config.data.open(cache), cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(path)
    return path


def compare(contestants: Sequence[tuple[str, ExperimentConfig]]) -> list[dict[str, Any]]:
    """A row per tokenizer: each trained on the training text, all measured on the same held-out text."""
    if len({name for name, _ in contestants}) < len(contestants):
        raise ConfigError(f"tokenizer={','.join(name for name, _ in contestants)}: name every tokenizer once")
    cache = cache_folder()
    source = contestants[0][1].data.open(cache)
    tokenizers = {name: obtain_tokenizer(config.tokenizer, source, cache) for name, config in contestants}
    return [asdict(report) for report in reports_on(tokenizers, _held_out(source))]


def fitting(overrides: Sequence[str], name: str, contestants: Sequence[str]) -> list[str]:
    """The overrides without those of tokenizer settings that only other contestants have (a byte tokenizer has no `vocab_size`)."""
    options = catalog.options("tokenizer")
    own = set(field_types(options[name])) if name in options else set()
    others = {key for other in contestants if other in options for key in field_types(options[other])} - own
    return [word for word in overrides if word.partition("=")[0].lstrip("+") not in {f"tokenizer.{key}" for key in others}]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text, numbers to four digits."""
    heads = list(rows[0])
    cells = [[head.replace("_", " ") for head in heads], *([_cell(row[head]) for head in heads] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
    aligned = ([cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))] for line in cells)
    return "\n".join("  ".join(line).rstrip() for line in aligned)


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)


def _held_out(source: Source) -> list[str]:
    """Held-out text in pieces: running text, or both sides of parallel sentences."""
    split = "validation" if "validation" in source.splits else source.splits[-1]
    try:
        pieces = [piece for piece in _at_most(source.documents(split)) if piece]
    except ConfigError:
        pieces = list(_at_most(text for pair in source.parallel(split) for text in pair))
    return pieces


def _at_most(pieces: Iterator[str | None]) -> Iterator[str]:
    size = 0
    for piece in pieces:
        if size >= CHARACTERS:
            return
        size += len(piece or "")
        yield piece or ""
