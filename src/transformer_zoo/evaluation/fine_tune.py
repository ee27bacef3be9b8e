"""A short fine-tuning on annotated data: what a run's weights are worth as a start."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from transformer_zoo.data.stream import evaluation_examples
from transformer_zoo.errors import ConfigError
from transformer_zoo.evaluation.annotated import AnnotatedEvaluationConfig, open_annotated
from transformer_zoo.evaluation.base import Evaluation, EvaluationContext, EvaluationReport, FineTuning
from transformer_zoo.evaluation.scores import Answers, Scorer
from transformer_zoo.generation.base import inference
from transformer_zoo.objectives.base import ObjectiveConfig
from transformer_zoo.objectives.classes import ClassificationConfig, TaggingConfig
from transformer_zoo.records import IGNORED, Batch, Example, TokenBatch
from transformer_zoo.settings import PositiveFloat, PositiveInt

OBJECTIVE_OF: dict[str, type[ObjectiveConfig]] = {"classification": ClassificationConfig, "tagging": TaggingConfig}


@dataclass(kw_only=True)
class FineTuneConfig(AnnotatedEvaluationConfig):
    """Trains all weights and a new head for a few steps on annotated data, in a folder that is gone afterwards, and scores the end of it."""

    steps: PositiveInt = 500
    """Optimiser steps; the learning rate rises over the first 6% and falls to 0. No step is chosen by what is scored."""
    batch_size: PositiveInt = 32
    """Texts per step, and per forward when scoring."""
    lr: PositiveFloat = 3e-4
    """Peak learning rate of AdamW; published models of 100 million parameters and more want 2e-5 to 5e-5."""
    seeds: PositiveInt = 1
    """How often, with seeds 0, 1, …, which fix the new head, the order and dropout."""

    def build(self, context: EvaluationContext) -> "FineTuneEvaluation":
        return FineTuneEvaluation(self, context)


class FineTuneEvaluation(Evaluation):
    """`fine_tune/accuracy` and, in tagging, `fine_tune/f1` on `split`: the mean over seeds, and `fine_tune/seed_<n>/…` each; `fine_tune/majority` is
    the accuracy of always saying what training has most of."""

    def __init__(self, config: FineTuneConfig, context: EvaluationContext) -> None:
        if context.fine_tune is None:
            raise ConfigError("evaluation=fine_tune trains a copy of a finished run: transformer-zoo evaluate run=RUN evaluation=fine_tune")
        self.config, self.context, self.train = config, context, context.fine_tune
        self.annotated = open_annotated(config, context.data)
        self.reader = self.annotated.reader("train", framed=True)
        self.annotated.reader(config.split, framed=True)  # refuses a split that is not there
        self.scorer = Scorer(task=self.annotated.task, names=self.annotated.names)

    def report(self, model: nn.Module) -> EvaluationReport:
        config = self.config
        by_seed = [self._scores(seed) for seed in range(config.seeds)]
        metrics = {name: float(np.mean([scores[name] for scores in by_seed])) for name in by_seed[0]}
        if config.seeds > 1:
            metrics |= {f"seed_{seed}/{name}": value for seed, scores in enumerate(by_seed) for name, value in scores.items() if name != "majority"}
        f1 = f"; f1 of {self.scorer.f1_means}" if self.annotated.task == "tagging" else ""
        note = (
            f"{self.annotated.task} with {len(self.scorer.names)} classes; {config.steps} steps of {config.batch_size} of {len(self.reader)} texts, "
            f"lr {config.lr:g}, {config.seeds} {'seed' if config.seeds == 1 else 'seeds'}{f1}"
        )
        return EvaluationReport(metrics={f"{config.split}/fine_tune/{name}": value for name, value in metrics.items()}, notes={"fine_tune": note})

    def _scores(self, seed: int) -> dict[str, float]:
        """One fine-tuning, and what it tells right of the split."""
        config = self.config
        model, context = self.train(
            FineTuning(
                data=config.data,
                objective=OBJECTIVE_OF[self.annotated.task](),
                steps=config.steps,
                batch_size=config.batch_size,
                lr=config.lr,
                seed=seed,
            )
        )
        told, answers = self._told(model, context)
        return self.scorer.scores(told, answers) | {"majority": self.scorer.majority(self._training_answers(), answers)}

    def _told(self, model: Any, context: EvaluationContext) -> tuple[np.ndarray, Answers]:
        """What a fine-tuned model says [N] of the split, and what is right."""
        config, objective = self.config, context.objective
        (term,) = objective.weights
        reader = context.data.reader(config.split, objective.needs())
        told: list[np.ndarray] = []
        answers: list[Answers] = []

        def prepared(batch: Batch) -> Example:
            example = objective.prepare(batch, training=False)
            example.targets["text"] = batch.rows.index
            return example

        examples = evaluation_examples(reader, prepared, batch_size=config.batch_size, max_samples=config.max_samples)
        with inference(model):
            for example in self.context.guard(examples):
                answers.append(Answers.of(example.targets[term], example.targets["text"]))
                example = example.to(context.device)
                with context.autocast():
                    logits = model(example.inputs).heads[term].float()  # [B,C] or [B,T,C]
                told.append(logits.argmax(dim=-1)[example.targets[term] != IGNORED].cpu().numpy())
        return np.concatenate(told), Answers.joined(answers)

    def _training_answers(self) -> Answers:
        def prepared(batch: Batch) -> Example:
            assert isinstance(batch, TokenBatch)
            targets = {"classes": self.annotated.classes(batch), "text": batch.rows.index}
            return Example(inputs=batch.sequence(), targets=targets, counts={}, tokens=0)

        examples = evaluation_examples(self.reader, prepared, batch_size=1024)
        return Answers.joined(Answers.of(example.targets["classes"], example.targets["text"]) for example in examples)
