"""Where a model starts that does not start from random numbers: a run, an import, a checkpoint, or a folder in the public format."""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.errors import CheckpointError, DataError, RunNotFoundError
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.experiments.imported import FILE, is_imported, read_imported
from transformer_zoo.experiments.public import open_public, settings_from
from transformer_zoo.interop.files import CONFIG, is_public
from transformer_zoo.interop.reading import listed
from transformer_zoo.models.base import Model
from transformer_zoo.training.checkpoints import MANIFEST, config_differences, find_checkpoint, read_manifest, read_weights
from transformer_zoo.training.weights import load_model_weights, own_tensors

logger = logging.getLogger(__name__)

OF_VOCABULARY = ("embeddings.token.weight", "target_embeddings.token.weight", "heads.vocabulary.weight", "heads.vocabulary.bias")
"""Tensors with a row for every token."""
ONLY_TRAINING = ("initialization", "vocab_size", "classifier", "vocabulary_head", "attention.kernel")
"""Settings that may differ from those the weights were made with: the rest decides what the model computes."""
_POOLER = re.compile(r"heads\.\w+\.(pooler\..+)")


@dataclass(kw_only=True)
class Start:
    """Weights to start from, found and checked; they are read when they are asked for."""

    source: Path
    """As `init_from` names it."""
    label: str
    settings: Mapping[str, Any] | None
    """Of the model they belong to, where known."""
    tokenizer: Tokenizer | None
    weights: Callable[[], dict[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a model took of the weights it starts from."""

    source: str
    taken: list[str]
    """The model's tensors that are from there."""
    drawn: list[str]
    """The model's tensors that were drawn anew."""
    unused: list[str]
    """Tensors from there that the model has no place for."""


def open_start(source: Path) -> Start:
    """Finds the weights of a run, an imported run, a checkpoint folder, or a folder in the public format; reads nothing big.

    Raises:
        RunNotFoundError: there is nothing at `source`, or none of these.
        ConfigError, DataError: the folder's settings or its tokenizer cannot be read.
        CheckpointError: there is no whole checkpoint, or the folder's weights are wrong.
    """
    if not source.exists():
        raise RunNotFoundError(f"init_from={source}: there is nothing there (looked for {source.absolute()})")
    if is_public(source):
        found = open_public(source)
        settings = to_dict(settings_from(found.settings))
        return Start(source=source, label=str(source), settings=settings, tokenizer=found.folder.tokenizer, weights=found.weights)
    is_checkpoint = (source / MANIFEST).is_file()
    if not is_checkpoint and not any((source / name).exists() for name in ("checkpoints", "config.yaml", FILE)):
        kind = "this is a file" if source.is_file() else "there are no weights in this folder"
        raise RunNotFoundError(
            f"init_from={source}: {kind}; looked for a run (a folder with checkpoints/), a checkpoint folder (with {MANIFEST}) "
            f"and a folder in the Hugging Face format (with {CONFIG})"
        )
    path = source if is_checkpoint else find_checkpoint(source)
    read_manifest(path)
    run = source.absolute().parents[1] if is_checkpoint else source
    return Start(source=source, label=str(path), settings=_settings(run), tokenizer=_tokenizer(run), weights=partial(read_weights, path))


def start_from(model: Model, start: Start, *, settings: Mapping[str, Any], tokenizer: Tokenizer, part: str | None = None) -> Taken:
    """Gives a model the weights of `start` as far as they have the same names; logs and returns what was taken and what was not. A pooler stands
    under any head; rows of tokens that the same tokenizer does not have are left out. `settings` are the model's own, as plain data. `part`
    takes the weights under one name alone, such as the `discriminator` of a model made of two.

    Raises:
        CheckpointError: the weights cannot be read, none fits, or one of them has another shape.
    """
    found, source = start.weights(), start.source
    if part is not None:
        found = _part(start.label, found, part)
        start = replace(start, settings=None)  # those of the whole say nothing about a part
    own = own_tensors(model)
    poolers = _poolers(own, found)
    weights = _cut_to(tokenizer.vocabulary.size, start, found, tokenizer) | {name: found[other] for name, other in poolers.items()}
    taken = [name for name in own if name in weights]
    if not taken:
        raise CheckpointError(f"init_from={source}: none of its {len(weights)} tensors is one of the model's; choose the model= they belong to")
    shapes = [
        f"{name} is {list(weights[name].shape)} there and {list(own[name].shape)} here" for name in taken if weights[name].shape != own[name].shape
    ]
    if shapes:
        raise CheckpointError(
            f"init_from={source}: its tensors have other shapes than the model's: {'; '.join(shapes[:5])}"
            + (f" and {len(shapes) - 5} more" if len(shapes) > 5 else "")
            + "; give the model the same sizes and the tokenizer of those weights"
        )
    load_model_weights(model, weights, start.label, strict=False)
    drawn, unused = sorted(own.keys() - weights.keys()), sorted(found.keys() - own.keys() - set(poolers.values()))
    logger.info("starting from the weights of %s: %d of the model's %d tensors are taken", start.label, len(taken), len(own))
    if drawn:
        logger.info("left as they were drawn (%d): %s", len(drawn), ", ".join(drawn))
    if unused:
        logger.info("not used (%d): %s", len(unused), ", ".join(unused))
    _warn(start, settings, tokenizer)
    return Taken(source=start.label, taken=taken, drawn=drawn, unused=unused)


def _part(label: str, weights: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """One part of the weights, under the names they have in it."""
    found = {name.removeprefix(f"{part}."): tensor for name, tensor in weights.items() if name.startswith(f"{part}.")}
    if not found:
        parts = sorted({name.partition(".")[0] for name in weights})
        raise CheckpointError(f"{label} holds no part {part!r}: it has {', '.join(parts)}")
    return found


def _cut_to(size: int, start: Start, weights: Mapping[str, Tensor], tokenizer: Tokenizer) -> dict[str, Tensor]:
    """The weights; where their vocabulary has more rows than the same tokenizer has tokens (published ones often do), without those rows."""
    table = weights.get("embeddings.token.weight")
    if table is None or len(table) <= size or start.tokenizer is None or not start.tokenizer.reads_like(tokenizer):
        return dict(weights)
    logger.info("%s has %d rows for tokens, of which the tokenizer has %d; the others are left out", start.label, len(table), size)
    rows = len(table)
    return {name: tensor[:size].clone() if name in OF_VOCABULARY and len(tensor) == rows else tensor for name, tensor in weights.items()}


def _poolers(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, str]:
    """For every tensor of the model's poolers that the weights have under another head's name, that name."""
    theirs = {match[1]: name for name in weights if (match := _POOLER.fullmatch(name))}
    return {name: theirs[match[1]] for name in own if name not in weights and (match := _POOLER.fullmatch(name)) and match[1] in theirs}


def _warn(start: Start, settings: Mapping[str, Any], tokenizer: Tokenizer) -> None:
    """What makes the same weights another model, or the same ids other tokens."""
    if start.settings is not None:
        different = [
            f"{key}: {there} there, {here} here"
            for key, there, here in config_differences(start.settings, settings)
            if not key.endswith("dropout") and not any(key == free or key.startswith(f"{free}.") for free in ONLY_TRAINING)
        ]
        if different:
            logger.warning("%s belongs to a model with other settings: %s", start.label, listed(different))
    if start.tokenizer is not None and not start.tokenizer.reads_like(tokenizer):
        logger.warning(
            "%s belongs to another tokenizer: its rows for tokens mean other tokens here (tokenizer=file takes a tokenizer.json)", start.label
        )


def _settings(run: Path) -> Mapping[str, Any] | None:
    """The model's settings of a run or an imported run."""
    if is_imported(run):
        return to_dict(read_imported(run).model)
    try:
        found = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        return dict(found["model"])
    except (OSError, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        return None  # weights can be taken without knowing


def _tokenizer(run: Path) -> Tokenizer | None:
    try:
        return Tokenizer.load(run / "tokenizer.json")
    except DataError:
        return None
