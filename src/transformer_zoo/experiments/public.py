"""Folders in the public format as models of ours."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.experiments.assemble import build_model, build_on_meta
from transformer_zoo.experiments.convert import from_dict, to_dict
from transformer_zoo.experiments.loaded import LoadedModel, wants_of
from transformer_zoo.experiments.texts import PublicTexts
from transformer_zoo.interop.base import Family
from transformer_zoo.interop.config_file import DECODING, Plain
from transformer_zoo.interop.files import read_folder
from transformer_zoo.interop.reading import PublicModel, read_model
from transformer_zoo.interop.special_ids import known_ids
from transformer_zoo.models.base import Model, ModelConfig, TransformerConfig
from transformer_zoo.records import HeadNeed
from transformer_zoo.training.precision import resolve_device
from transformer_zoo.training.weights import load_model_weights, own_tensors

logger = logging.getLogger(__name__)


def settings_from(plain: Plain) -> TransformerConfig:
    """Settings of a model from plain data, checked as those of a recipe are."""
    config = from_dict(ModelConfig, plain, "model")
    assert isinstance(config, TransformerConfig)
    return config


def skeleton(plain: Plain, heads: Mapping[str, HeadNeed]) -> Mapping[str, Tensor]:
    """Our tensors, each once, of a model with these settings and heads; they hold no memory."""
    config = settings_from(plain)
    assert config.vocab_size is not None
    return own_tensors(build_on_meta(config, config.vocab_size, heads))


def open_public(path: Path) -> PublicModel:
    """A folder in the public format, read and checked (see `read_folder` and `read_model` for what can be wrong); what is odd about it is logged."""
    model = read_model(read_folder(path), skeleton)
    for note in (*model.folder.notes, *_ids(model)[1]):
        logger.warning("%s", note)
    for remark in model.family.remarks(model.settings):
        logger.warning("%s: %s", path, remark)
    if model.unread:
        logger.warning("%s: kept, but without effect here: %s", path / "config.json", ", ".join(model.unread))
    return model


def _ids(model: PublicModel) -> tuple[dict[str, Any], list[str]]:
    folder = model.folder
    return known_ids(model.family, folder.config, folder.generation, size=model.settings["vocab_size"], folder=folder.path)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a loaded model of the public format needs besides its weights."""

    config: ModelConfig
    heads: Mapping[str, HeadNeed]
    primary: str | None
    family: Family
    tokenizer: Tokenizer | None
    ids: Mapping[str, Any]
    """Special ids as `generation_config.json` and `config.json` name them."""
    wishes: Mapping[str, Any]
    """How they wish the model to write."""


def load_public(found: PublicModel, *, device: str = "auto") -> LoadedModel:
    """A folder in the public format as a model that computes in float32."""
    path = found.folder.path
    facts = Facts(
        config=settings_from(found.settings),
        heads=found.heads,
        primary=found.primary,
        family=found.family,
        tokenizer=found.folder.tokenizer,
        ids=_ids(found)[0],
        wishes=wishes(found.folder.config, found.folder.generation),
    )
    return loaded(path, facts, found.weights(), device=device, step="", origin=f"read from {path}")


def loaded(path: Path, facts: Facts, weights: Mapping[str, Tensor], *, device: str, step: str, origin: str) -> LoadedModel:
    """A model of the public format with its weights, on its device."""
    where = resolve_device(device)
    model = filled_model(facts.config, facts.heads, weights, str(path)).to(where).eval()
    tokenizer = facts.tokenizer
    return LoadedModel(
        path=path,
        model=model,
        model_config=facts.config,
        heads=facts.heads,
        primary=facts.primary,
        tokenizer=tokenizer,
        device=where,
        step=step,
        text_form=None if tokenizer is None else PublicTexts(model=model, tokenizer=tokenizer, device=where, ids=facts.ids),
        wants=wants_of(facts.config, facts.heads),
        origin=origin,
        family=facts.family,
        ids=facts.ids,
        wishes=facts.wishes,
    )


def filled_model(config: ModelConfig, heads: Mapping[str, HeadNeed], weights: Mapping[str, Tensor], label: str) -> Model:
    """A model with these weights; torch's global generator is left as it was."""
    size = to_dict(config)["vocab_size"]
    with torch.random.fork_rng(devices=[]):
        model = build_model(config, size, heads)
    load_model_weights(model, weights, label)
    return model


def wishes(config: Mapping[str, Any], generation: Mapping[str, Any]) -> dict[str, Any]:
    """How the files wish the model to write, where that is another way than the plain one."""
    found = {key: generation.get(key, config.get(key)) for key in DECODING}
    found = {key: value for key, value in found.items() if value is not None and value != DECODING[key][0]}
    beams_only = () if "num_beams" in found else ("length_penalty", "early_stopping")
    return {key: value for key, value in found.items() if key not in beams_only}
