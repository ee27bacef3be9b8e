"""Linear probes of every layer (Alain & Bengio 2016, https://arxiv.org/abs/1610.01644): what can be read off the hidden states by a linear
classifier, while the model stays as it is."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transformer_zoo.data.batching import Reader
from transformer_zoo.data.stream import evaluation_examples
from transformer_zoo.errors import ConfigError, DataError, NumericError
from transformer_zoo.evaluation.annotated import AnnotatedEvaluationConfig, open_annotated
from transformer_zoo.evaluation.base import Evaluation, EvaluationContext, EvaluationReport
from transformer_zoo.evaluation.hidden_states import layer_states
from transformer_zoo.evaluation.linear_probe import LinearProbe, require_scikit_learn
from transformer_zoo.evaluation.scores import Answers, Scorer
from transformer_zoo.generation.base import inference
from transformer_zoo.layers.heads import Pooling, pool
from transformer_zoo.layers.stacks import Stack
from transformer_zoo.randomness import permutation
from transformer_zoo.records import IGNORED, Batch, Example, SequenceInputs, TokenBatch, TranslationBatch
from transformer_zoo.settings import NaturalInt, PositiveFloat, PositiveInt, Ratio

logger = logging.getLogger(__name__)

FEWEST = 2
"""Texts of a class, or tags, that a probe needs."""


@dataclass(kw_only=True)
class ProbeConfig(AnnotatedEvaluationConfig):
    """Frozen linear probes of every layer on annotated data: how much of a class or a tag can be read off the hidden states. An encoder-decoder is
    probed in its encoder, a pair of models in the one that is kept."""

    max_samples: PositiveInt | None = 4000
    """Texts of the training split to fit on, and of the evaluated split to score on, each evenly spread; null: all. Their features are held in
    memory: layers · width · 4 bytes for every text, or for every word in tagging."""
    pooling: Pooling = "mean"
    """What stands for a text in classification: the mean over its tokens, special ones apart; its row's first token, which is [CLS] where rows are
    framed; or its last token. In tagging a word is its first token."""
    C: PositiveFloat = 1.0
    """Weight of the data against the L2 penalty, as scikit-learn counts it."""
    max_iterations: PositiveInt = 1000
    """Steps of the solver after which a probe is taken as it is, which is logged."""
    selection_share: Ratio = 0.2
    """Share of the training texts that probes are not fitted on: they choose the best layer."""
    random_weights: bool = False
    """Whether a model like the run's with newly drawn weights is probed too, in the same way: what the run has learned is what it tells beyond that
    one, since random vectors for words already tell which words a text has."""
    seed: NaturalInt = 0
    """Fixes which texts choose the layer, and the newly drawn weights."""

    def build(self, context: EvaluationContext) -> "ProbeEvaluation":
        return ProbeEvaluation(self, context)


@dataclass(frozen=True)
class _Features:
    """The hidden states `layers` (n + 1 of [N,D] float32) of what is to be told."""

    layers: list[np.ndarray]
    answers: Answers


class ProbeEvaluation(Evaluation):
    """For every layer, 0 (the embeddings) to the last, a logistic regression is fitted on a part of the training split and scored on `split`:

    - `probe/layer_<n>/accuracy` and, in tagging, `probe/layer_<n>/f1`;
    - `probe/best_layer`, the one that scored best on the rest of the training split (in tagging by F1), so that nothing is chosen by the figures
      that are reported; `probe/accuracy` and `probe/f1` are that layer's;
    - `probe/majority`, the accuracy of always saying what training has most of;
    - `probe/random_weights/…`, if asked for: accuracy, F1 and best layer of newly drawn weights.

    With several processes each does all of it.
    """

    def __init__(self, config: ProbeConfig, context: EvaluationContext) -> None:
        require_scikit_learn()
        self.config, self.context = config, context
        needs = context.objective.needs()
        self.annotated = open_annotated(config, context.data)
        self.training = self.annotated.reader("train", framed=needs.framed)
        self.held_out = self.annotated.reader(config.split, framed=needs.framed)
        self.scorer = Scorer(task=self.annotated.task, names=self.annotated.names)
        self.untrained = context.untrained if config.random_weights else None
        if config.random_weights and context.untrained is None:
            raise ConfigError("evaluation.random_weights draws a finished run's model anew: transformer-zoo evaluate run=RUN evaluation=probe")
        self.begins = needs.batch is not TranslationBatch
        """Whether rows as the run was trained on begin with the begin token; the sources of translations do not."""

    def report(self, model: nn.Module) -> EvaluationReport:
        best, by_layer, note = self._probed(model)
        metrics: dict[str, float] = dict(best)
        if self.untrained is not None:
            metrics |= {
                f"random_weights/{name}": value for name, value in self._probed(self.untrained(self.config.seed))[0].items() if name != "majority"
            }
        metrics |= {f"layer_{layer}/{name}": value for layer, scores in enumerate(by_layer) for name, value in scores.items()}
        return EvaluationReport(metrics={f"{self.config.split}/probe/{name}": value for name, value in metrics.items()}, notes={"probe": note})

    def _probed(self, model: nn.Module) -> tuple[dict[str, float], list[dict[str, float]], str]:
        """The figures of the best layer, those of every layer, and a note."""
        stack = self._stack(model)
        training, held_out = self._features(model, stack, self.training), self._features(model, stack, self.held_out)
        fitted = self._fitted(training.answers)
        self._check_classes(training.answers.where(fitted))
        chosen_by: list[float] = []
        by_layer: list[dict[str, float]] = []
        for layer, (states, unseen) in enumerate(zip(training.layers, held_out.layers, strict=True)):
            probe = LinearProbe(states[fitted], training.answers.classes[fitted], strength=self.config.C, max_iterations=self.config.max_iterations)
            if not probe.converged:
                logger.warning("the probe of layer %d did not converge: raise evaluation.max_iterations, or lower evaluation.C", layer)
            chosen_by.append(self.scorer.main(self.scorer.scores(probe.tell(states[~fitted]), training.answers.where(~fitted))))
            by_layer.append(self.scorer.scores(probe.tell(unseen), held_out.answers))
        best = int(np.argmax(chosen_by))  # the lowest of equals
        majority = self.scorer.majority(training.answers.where(fitted), held_out.answers)
        return by_layer[best] | {"best_layer": best, "majority": majority}, by_layer, self._note(fitted, held_out.answers)

    def _stack(self, model: Any) -> Stack:
        """The stack that reads texts, if rows fit it."""
        stack: Stack | None = next(iter(model.stacks()), None)
        if stack is None:
            raise ConfigError("evaluation=probe reads the layers of a stack of blocks, and this model has none: use evaluation=fine_tune")
        length = self.annotated.module.config.sequence_length
        if stack.max_length is not None and length > stack.max_length:
            raise ConfigError(
                f"evaluation.data.sequence_length={length} is longer than the {stack.max_length} positions of the model: choose at most "
                f"{stack.max_length}"
            )
        longest, known = int(max(self.training.sizes.max(), self.held_out.sizes.max())), self.context.data.config.sequence_length
        if longest > known:
            logger.warning(
                "texts of up to %d tokens are read, longer than the run's own rows of %d: evaluation.data.sequence_length cuts them",
                longest,
                known,
            )
        return stack

    # --- features ------------------------------------------------------------------------------------------------------------------

    def _features(self, model: Any, stack: Stack, reader: Reader) -> _Features:
        """Every layer's states of a split, batch by batch, in an order that does not depend on the size of batches."""
        config, context = self.config, self.context
        layers: list[list[np.ndarray]] = []
        answers: list[Answers] = []
        examples = evaluation_examples(reader, self._prepare, batch_size=config.batch_size, max_samples=config.max_samples)
        with inference(model), layer_states(stack) as states:
            for example in context.guard(examples):
                answers.append(Answers.of(example.targets["classes"], example.targets["text"]))
                example = example.to(context.device)
                with context.autocast():
                    model.read(example.inputs)
                layers.append([self._taken(state, example).float().cpu().numpy() for state in states])
        told = Answers.joined(answers)
        if not len(told.classes):
            raise DataError(
                f"{self.annotated.label}: no text has a word that is a token of its own, so there is nothing to tag: use another tokenizer"
            )
        joined = [np.concatenate(parts) for parts in zip(*layers, strict=True)]  # n + 1 of [N,D]
        for layer, array in enumerate(joined):
            if not np.isfinite(array).all():
                raise NumericError(f"hidden states of layer {layer} are not finite: the model diverged")
        return _Features(joined, told)

    def _prepare(self, batch: Batch) -> Example:
        """Rows as the run was trained on; `ordinary` [B,T] are the tokens of the text itself."""
        assert isinstance(batch, TokenBatch)
        inputs = batch.sequence()
        known = self.annotated.module.vocabulary.specials
        specials = torch.tensor([token for token in known.ids() if token != known.unknown])  # an unknown word is a word
        ordinary = batch.valid & ~torch.isin(batch.token_ids, specials)  # [B,T]
        classes = self.annotated.classes(batch)
        if not self.begins:
            inputs = SequenceInputs(token_ids=inputs.token_ids[:, 1:], valid=None if inputs.valid is None else inputs.valid[:, 1:])
            ordinary, classes = ordinary[:, 1:], classes if classes.dim() == 1 else classes[:, 1:]
        targets = {"classes": classes, "ordinary": ordinary, "text": batch.rows.index}
        return Example(inputs=inputs, targets=targets, counts={}, tokens=int(batch.valid.sum()))

    def _taken(self, state: Tensor, example: Example) -> Tensor:
        """[B,T,D] -> [B,D] of texts, or [N,D] of words."""
        classes = example.targets["classes"]
        if classes.dim() == 2:
            return state[classes != IGNORED]
        return pool(state, example.targets["ordinary"], self.config.pooling)

    # --- fitting -------------------------------------------------------------------------------------------------------------------

    def _fitted(self, answers: Answers) -> np.ndarray:
        """[N] bool: what probes are fitted on; all words of a text on one side."""
        texts = np.unique(answers.texts)
        order = permutation(self.config.seed, "probe: selection", 0, len(texts))
        n_kept = max(1, round(self.config.selection_share * len(texts)))
        return ~np.isin(answers.texts, texts[order[:n_kept]])

    def _check_classes(self, answers: Answers) -> None:
        """A class of texts that is hardly there is a mistake; a rare tag is not."""
        counts = np.bincount(answers.classes, minlength=len(self.scorer.names))
        label, n = self.annotated.label, len(np.unique(answers.texts))
        way_out = "give more training texts, or raise evaluation.max_samples"
        if self.annotated.task == "classification" and counts.min() < FEWEST:
            rare = int(counts.argmin())
            raise DataError(
                f"{label}: the class {self.scorer.names[rare]!r} has {counts[rare]} of the {n} texts that probes are fitted on, and needs at least "
                f"{FEWEST}: {way_out}"
            )
        if (counts > 0).sum() < FEWEST:
            raise DataError(
                f"{label}: the words of the {n} texts that probes are fitted on have {(counts > 0).sum()} kinds of tags, and need at least "
                f"{FEWEST}: {way_out}"
            )

    def _note(self, fitted: np.ndarray, held_out: Answers) -> str:
        from sklearn import __version__

        tagging = self.annotated.task == "tagging"
        unit = "words by their first tokens" if tagging else f"texts ({self.config.pooling} of their tokens)"
        f1 = f"; f1 of {self.scorer.f1_means}" if tagging else ""
        return (
            f"{self.annotated.task} with {len(self.scorer.names)} classes; fitted on {fitted.sum()} {unit}, layer chosen on {(~fitted).sum()}, "
            f"scored on {len(held_out.classes)}{f1}; C={self.config.C:g}, scikit-learn {__version__}"
        )
