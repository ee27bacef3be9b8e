"""A run folder read back: its settings, and the model it came to."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import yaml

from transformer_zoo.data.module import DataModule, build_data
from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.errors import ConfigError, RunNotFoundError
from transformer_zoo.evaluation.base import EvaluationContext
from transformer_zoo.experiments import assemble
from transformer_zoo.experiments.catalog import kind_of
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import from_dict
from transformer_zoo.experiments.imported import is_imported
from transformer_zoo.experiments.loaded import LoadedModel, wants_of
from transformer_zoo.experiments.texts import OwnTexts
from transformer_zoo.interop.families import FAMILIES
from transformer_zoo.interop.files import is_public
from transformer_zoo.models.base import Model
from transformer_zoo.objectives.base import Objective
from transformer_zoo.records import TranslationBatch, TranslationInputs
from transformer_zoo.training.precision import Precision, resolve_device
from transformer_zoo.training.setup import load_weights


@dataclass(kw_only=True)
class LoadedRun(LoadedModel):
    """A run read back: its settings, tokenizer and model with the weights it ended with."""

    config: ExperimentConfig
    tokenizer: Tokenizer

    def kept(self) -> "LoadedRun":
        """The same with the part of the model that one keeps after training, and its heads."""
        model = self.model.kept
        heads = {name: need for name, need in self.heads.items() if name in model.all_heads()}
        return replace(self, model=model, model_config=self.model_config.kept(), heads=heads, primary=next(iter(heads), None))

    def context(self) -> tuple[DataModule, Objective]:
        """The run's data and objective, opened anew."""
        needs = self.config.objective.needs()
        data = build_data(self.config.data, self.config.tokenizer, needs=needs, cache_dir=assemble.cache_folder(), tokenizer=self.tokenizer)
        return data, assemble.build_objective(self.config.objective, data, data.vocabulary)

    def untrained(self, seed: int) -> Model:
        """The same model with weights drawn anew; torch's global generator is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = assemble.build_model(self.model_config, self.tokenizer.vocabulary.size, self.heads)
        return model.to(self.device).eval()

    def evaluation_context(self) -> EvaluationContext:
        """What evaluations of it work on."""
        data, objective = self.context()
        precision = Precision(self.config.training.precision, self.device)
        return EvaluationContext(data=data, objective=objective, device=self.device, autocast=precision.autocast)


def read_config(path: Path) -> ExperimentConfig:
    """The settings of a run folder, as data: rebuilt through the catalog, nothing imported.

    Raises:
        RunNotFoundError: there is no run at `path`.
    """
    file = path / "config.yaml"
    if is_imported(path):
        raise ConfigError(
            f"run={path}: this is an imported model, which has no data and no training settings of its own; train from its weights with "
            f"init_from={path} and measure that run"
        )
    if not file.is_file() and is_public(path):
        raise RunNotFoundError(f"run={path}: this is a folder in the Hugging Face format and no run: `transformer-zoo import {path} RUN` makes one")
    if not file.is_file():
        raise RunNotFoundError(f"run={path}: there is no run there (no {file.absolute()}); `transformer-zoo train` makes one under runs/")
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not readable as YAML ({' '.join(str(error).split())})") from error
    return from_dict(ExperimentConfig, data)


def load_run(path: Path, *, device: str = "auto", checkpoint: str = "best") -> LoadedRun:
    """A run's model with the weights of its best (or `latest`, or a named) checkpoint.

    Raises:
        RunNotFoundError: there is no run at `path`.
        CheckpointError: it has no whole checkpoint.
    """
    config = read_config(path)
    where = resolve_device(device)
    tokenizer = Tokenizer.load(path / "tokenizer.json")
    n_classes = None
    needs = config.objective.needs()
    if any(need.waits_for_classes for need in needs.heads.values()):
        data = build_data(config.data, config.tokenizer, needs=needs, cache_dir=assemble.cache_folder(), tokenizer=tokenizer)
        n_classes = len(data.label_names or data.tag_names or [])
    objective = config.objective.build(vocabulary=tokenizer.vocabulary, n_classes=n_classes)
    heads = objective.needs().heads
    model = assemble.build_model(config.model, tokenizer.vocabulary.size, heads)
    source = load_weights(model, path, which=checkpoint)
    model = model.to(where).eval()
    return LoadedRun(
        path=path,
        config=config,
        tokenizer=tokenizer,
        model=model,
        model_config=config.model,
        heads=heads,
        primary=next(iter(heads), None),
        device=where,
        step=source.name,
        text_form=OwnTexts(
            model=model,
            tokenizer=tokenizer,
            device=where,
            framed=needs.framed,
            ends_sources=needs.inputs is TranslationInputs,
            begins_document=config.data.packing == "separate",  # rows then begin where documents do; elsewhere a row begins anywhere
            window=config.data.sequence_length,
            start=needs.start,
            reads_specials=needs.batch is not TranslationBatch,  # a text with [MASK] or sentinels in it
            reads_sentinels=needs.sentinels > 0,
            prefix=needs.prefix,
        ),
        wants=wants_of(config.model, heads),
        origin=f"trained with objective={kind_of(type(config.objective))}",
        family=next((family for family in FAMILIES.values() if config.recipe.model in family.recipes), None),
        ids={"pad_token_id": tokenizer.vocabulary.specials.pad},
    )
