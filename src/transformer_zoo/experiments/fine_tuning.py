"""The experiment that a short fine-tuning of a finished run is: its settings, and the weights it starts from."""

from dataclasses import replace
from pathlib import Path

from transformer_zoo.data.tokenizers import FileTokenizerConfig
from transformer_zoo.errors import ConfigError
from transformer_zoo.evaluation.base import FineTuning
from transformer_zoo.evaluation.loss import LossConfig
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.experiments.initial_weights import Start
from transformer_zoo.experiments.loaded import LoadedModel
from transformer_zoo.models.base import ModelConfig
from transformer_zoo.records import SequenceInputs
from transformer_zoo.training.optimizers import AdamWConfig
from transformer_zoo.training.schedules import LinearConfig
from transformer_zoo.training.settings import TrainingConfig
from transformer_zoo.training.trackers import JSONLConfig
from transformer_zoo.training.weights import model_weights

EVALUATED = 64
"""Texts of the one evaluation that every run ends with; what is reported is measured afterwards."""


def fine_tuning(wanted: FineTuning, config: ExperimentConfig, loaded: LoadedModel, run_dir: Path) -> tuple[ExperimentConfig, Start]:
    """What to train in `run_dir` to fine-tune the model of a run with the settings `config`. `loaded` is the part of it that one keeps.

    Raises:
        ConfigError: the model reads no single texts.
    """
    model = judging(loaded.model_config)
    if model.accepts is not SequenceInputs:
        raise ConfigError(
            f"evaluation=fine_tune puts a head of classes on an encoder or a decoder, and {loaded.path} holds an encoder-decoder: "
            "use evaluation=probe, which reads its encoder"
        )
    experiment = replace(
        config,
        model=model,
        objective=wanted.objective,
        data=wanted.data or config.data,
        tokenizer=FileTokenizerConfig(path=str(loaded.path / "tokenizer.json")),
        optimizer=AdamWConfig(lr=wanted.lr),
        schedule=LinearConfig(),
        training=TrainingConfig(
            steps=wanted.steps,
            batch_size=wanted.batch_size,
            log_every=wanted.steps,
            evaluate_every=wanted.steps,
            precision=config.training.precision,
            threads=config.training.threads,
        ),
        evaluation=LossConfig(max_samples=EVALUATED),
        final_evaluation=None,
        tracker=JSONLConfig(),
        seed=wanted.seed,
        device=loaded.device.type,
        run_dir=str(run_dir),
        init_from=None,
        init_part=None,
        resume="never",
    )
    start = Start(
        source=loaded.path,
        label=str(loaded.path),
        settings=to_dict(loaded.model_config),
        tokenizer=loaded.tokenizer,
        weights=lambda: model_weights(loaded.model),
    )
    return experiment, start


def judging(config: ModelConfig) -> ModelConfig:
    """The model with a head for texts where it can see them: the first token of a causal model sees nothing."""
    classifier = getattr(config, "classifier", None)
    if config.causal and classifier is not None and classifier.pooling == "first":
        return replace(config, classifier=replace(classifier, pooling="last"))  # type: ignore[call-arg]
    return config
