"""What crosses sections: whether model, objective, data and budget fit each other, and the parts built from each other's sizes.

Everything here that can be known from the settings alone is checked before anything is read.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from transformer_zoo.data.base import check_provides
from transformer_zoo.data.module import DataModule, build_data
from transformer_zoo.errors import ConfigError
from transformer_zoo.evaluation.base import EvaluationConfig
from transformer_zoo.evaluation.mask_grid import MaskGridConfig
from transformer_zoo.experiments.catalog import kind_of
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.layers.attention.kernels import Kernel
from transformer_zoo.layers.attention.multihead import MultiheadConfig
from transformer_zoo.models.base import Model, ModelConfig
from transformer_zoo.objectives.base import Objective, ObjectiveConfig
from transformer_zoo.records import HeadNeed, Needs, PairBatch, ReplacedTokenInputs, SequenceInputs, TextBatch, TranslationInputs, Vocabulary
from transformer_zoo.training.parallel import World

logger = logging.getLogger(__name__)

FINAL_SAMPLES = 256
"""Held-out samples of the mask grid at the end of a run, where `evaluation.max_samples` names no number."""

_INPUTS_WORDS = {
    SequenceInputs: "one sequence",
    TranslationInputs: "a source and a target",
    ReplacedTokenInputs: "one sequence to fill in and to judge",
}
_MODELS_THAT_READ = {
    SequenceInputs: "model=bert or model=gpt2",
    TranslationInputs: "a model with a decoder for the target, such as model=transformer",
    ReplacedTokenInputs: "model=electra",
}
_OBJECTIVES_THAT_GIVE = {
    SequenceInputs: "objective=mlm or objective=clm",
    TranslationInputs: "objective=translation",
    ReplacedTokenInputs: "objective=replaced_token",
}


def check(config: ExperimentConfig) -> None:
    """Refuses settings that do not fit each other, all problems at once.

    Raises:
        ConfigError: each line names both sides and the way out.
    """
    needs = config.objective.needs()
    objective, model = f"objective={kind_of(type(config.objective))}", _model_name(config)
    problems = fit_problems(config.model, needs, model=model, objective=objective)
    try:
        check_provides(config.data, needs.batch)
    except ConfigError as error:
        problems += error.problems
    problems += length_problems(config)
    if needs.batch is TextBatch and needs.inputs is TranslationInputs and config.data.packing == "document_mask":
        problems.append(
            f"{objective} has a model write what it read, which data.packing=document_mask cannot keep inside a document: choose "
            "data.packing=separate or concatenate"
        )
    if needs.reorders and config.data.packing == "document_mask":
        problems.append(
            f"{objective} moves the middle of a row to its end, which data.packing=document_mask cannot keep inside a document: choose "
            "data.packing=separate or concatenate"
        )
    if needs.progress and config.training.budget[0] == "seconds":
        problems.append(
            f"objective.ratio_schedule follows the budget by the samples drawn, which training.seconds={config.training.seconds:g} does not fix: "
            "give training.steps, tokens or epochs, or choose objective/ratio_schedule=constant"
        )
    if config.final_evaluation is not None and config.training.parallel == "fsdp":
        problems.append(
            "final_evaluation needs whole weights, which training.parallel=fsdp cuts up: leave it out and run `transformer-zoo evaluate` afterwards"
        )
    if problems:
        raise ConfigError(*problems)


def usual_final_evaluation(config: ExperimentConfig) -> EvaluationConfig | None:
    """What is measured at the end where nobody chose: the mask grid on a sample of the split, for an objective that hides tokens of running text."""
    if not config.objective.needs().hides_tokens or TextBatch not in config.data.provides():
        return None
    if config.training.parallel == "fsdp":
        logger.info("no mask grid at the end, since training.parallel=fsdp cuts up the weights: run `transformer-zoo evaluate` afterwards")
        return None
    watched = config.evaluation
    return MaskGridConfig(split=watched.split, batch_size=watched.batch_size, max_samples=watched.max_samples or FINAL_SAMPLES)


def fit_problems(model_config: ModelConfig, needs: Needs, *, model: str, objective: str) -> list[str]:
    """Why a model cannot be trained with an objective; empty where it can."""
    if model_config.accepts is not needs.inputs:
        reads, gives = _INPUTS_WORDS[model_config.accepts], _INPUTS_WORDS[needs.inputs]
        way_out = f"choose {_MODELS_THAT_READ[needs.inputs]}, or {_OBJECTIVES_THAT_GIVE[model_config.accepts]}"
        return [f"{objective} gives a model {gives}, but {model} reads {reads}: {way_out}"]
    if needs.causal and not model_config.causal:
        return [
            f"{objective} predicts the next token, but {model} is not causal and would see the answer: choose a decoder such as model=gpt2, "
            "or objective=mlm"
        ]
    if model_config.causal and needs.hides_tokens:
        return [
            f"{objective} predicts hidden tokens from both sides, but {model} is causal and sees only what stands before: "
            "choose an encoder such as model=bert, or objective=clm"
        ]
    if needs.batch is PairBatch and getattr(getattr(model_config, "embeddings", None), "n_segments", 0) == 1:
        return [
            f"{objective} reads pairs of segments, but {model} has a vector for one kind of segment only (model.embeddings.n_segments=1): "
            "choose model.embeddings.n_segments=2, or 0 so that segments are told apart by [SEP] alone"
        ]
    pooled = any(need.kind in ("pair", "sequence") for need in needs.heads.values())
    if model_config.causal and pooled and getattr(getattr(model_config, "classifier", None), "pooling", None) == "first":
        return [
            f"{objective} judges a whole text, but the first token of {model} (model.classifier.pooling=first) is causal and sees nothing of it: "
            "choose model.classifier.pooling=last or mean"
        ]
    return []


def length_problems(config: ExperimentConfig) -> list[str]:
    """Rows longer than what the model can place, windows wider than the rows."""
    length = config.data.sequence_length
    problems = config.objective.row_problems(length)
    model, longest = build_on_meta(config.model, 8, {}), config.objective.longest(length)
    if model.max_length is not None and longest > model.max_length:
        becomes = "" if longest == length else f" becomes {longest} tokens, which"
        problems.append(
            f"data.sequence_length={length}{becomes} is longer than the {model.max_length} positions of the model: "
            f"set model.max_length={longest}, or positions without a table such as model/positions=rotary"
        )
    # A model whose attention is a window by nature (or in some of its layers) just sees all of a short row.
    attention = getattr(config.model, "attention", None)
    window = attention.window if isinstance(attention, MultiheadConfig) else None
    if window is not None and window > length:
        problems.append(f"model.attention.window={window} is wider than data.sequence_length={length}: choose a window of at most {length}")
    return problems


def check_device(config: ModelConfig, device: torch.device) -> None:
    """Refuses kernels that cannot be trained on a device.

    Raises:
        ConfigError: with another kernel as the way out.
    """
    kernels = {getattr(module, "kernel", None) for module in build_on_meta(config, 8, {}).modules()}
    refusals = {kernel.refusal(device.type) for kernel in kernels if isinstance(kernel, Kernel) and device.type not in kernel.trains_on}
    if refusals:
        raise ConfigError(*sorted(refusals))


def build_model(config: ModelConfig, vocab_size: int, heads: Mapping[str, HeadNeed]) -> Model:
    """The model with the heads an objective asks for, drawn from torch's global generator."""
    return config.build(vocab_size=vocab_size, heads=heads)


def build_on_meta(config: ModelConfig, vocab_size: int, heads: Mapping[str, HeadNeed]) -> Model:
    """The same without memory or time: for counting and describing."""
    with torch.device("meta"), _Undrawn():
        return build_model(config, vocab_size, heads)


class _Undrawn(TorchFunctionMode):
    """Passes over drawing numbers: a tensor without memory has none, and torch would load its compiler for them."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWS:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        return func(*args, **kwargs)


_DRAWS = frozenset((Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_, nn.init.trunc_normal_))


def build_objective(config: ObjectiveConfig, data: DataModule, vocabulary: Vocabulary) -> Objective:
    """The objective for the data's vocabulary and classes.

    Raises:
        ConfigError: the tokenizer lacks a special token that the objective needs, or the data has no classes.
    """
    needs, problems = config.needs(), vocabulary_problems(config, vocabulary)
    kinds = {need.kind for need in needs.heads.values() if need.waits_for_classes}
    names = data.label_names if "sequence" in kinds else data.tag_names if "token" in kinds else None
    if kinds & {"sequence", "token"} and not names:
        problems.append(f"objective={kind_of(type(config))} needs classes, and the data names none: use data=labelled or data=pocket")
    if problems:
        raise ConfigError(*problems)
    if needs.collocations is not None:
        vocabulary = replace(vocabulary, collocations=data.collocations(needs))
    return config.build(vocabulary=vocabulary, n_classes=len(names) if names else None)


def vocabulary_problems(config: ObjectiveConfig, vocabulary: Vocabulary) -> list[str]:
    """What an objective misses in a tokenizer."""
    needs, specials, name = config.needs(), vocabulary.specials, f"objective={kind_of(type(config))}"
    way_out = "train a tokenizer, or choose another tokenizer.path"
    problems = []
    if needs.hides_tokens and specials.mask is None:
        problems.append(f"{name} hides tokens, but the tokenizer has no mask token: {way_out}")
    if needs.framed and (specials.cls is None or specials.sep is None):
        problems.append(f"{name} frames rows by [CLS] and [SEP], which the tokenizer lacks: {way_out}")
    return problems + [f"{name} {problem}" for problem in config.vocabulary_problems(vocabulary)]


def check_tokenizer(config: ExperimentConfig) -> None:
    """Refuses a tokenizer that lacks what the objective needs, where that is known before any text is read: where it is not trained.

    Raises:
        ConfigError: with all that it lacks.
        DataError: its file is missing or no tokenizer.
    """
    if config.tokenizer.trained:
        return
    tokenizer = config.tokenizer.build(())
    if config.tokenizer.grows:
        tokenizer = tokenizer.with_sentinels(config.objective.needs().sentinels)
    if problems := vocabulary_problems(config.objective, tokenizer.vocabulary):
        raise ConfigError(*problems)


def open_data(config: ExperimentConfig) -> DataModule:
    """The experiment's data and tokenizer, prepared where they were not yet."""
    return build_data(config.data, config.tokenizer, needs=config.objective.needs(), seed=config.seed, cache_dir=cache_folder())


def cache_folder() -> Path:
    """Where prepared data is kept: `TRANSFORMER_ZOO_CACHE`, else `transformer_zoo` in the user's cache folder."""
    named = os.environ.get("TRANSFORMER_ZOO_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transformer_zoo"


def parameter_count(config: ExperimentConfig) -> int:
    """Parameters of the model with the objective's heads and the tokenizer's vocabulary, each tied tensor once."""
    data = open_data(config)
    objective = build_objective(config.objective, data, data.vocabulary)
    model = build_on_meta(config.model, data.vocabulary.size, objective.needs().heads)
    return sum(parameter.numel() for parameter in model.parameters())


def world() -> World:
    """The processes of this run, as torchrun describes them."""
    return World.from_environment()


def _model_name(config: ExperimentConfig) -> str:
    return f"model={config.recipe.model or kind_of(type(config.model))}"
