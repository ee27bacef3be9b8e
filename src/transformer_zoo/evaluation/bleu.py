"""BLEU of translations (Papineni et al. 2002, https://aclanthology.org/P02-1040), as sacrebleu computes it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import nn

from transformer_zoo.errors import ConfigError
from transformer_zoo.evaluation.base import Evaluation, EvaluationConfig, EvaluationContext, EvaluationReport
from transformer_zoo.generation.base import DecodableModel, inference
from transformer_zoo.generation.beam import BeamConfig
from transformer_zoo.generation.text import translate
from transformer_zoo.records import TranslationBatch
from transformer_zoo.settings import NonNegativeFloat, OneOf, PositiveInt


@dataclass(kw_only=True)
class BleuConfig(EvaluationConfig):
    """Translates the split by beam search and compares with the raw references: detokenised, cased, with sacrebleu's signature."""

    beam_size: PositiveInt = 4
    """Hypotheses kept per sentence; 1 is greedy decoding."""
    length_penalty: NonNegativeFloat = 0.6
    """Exponent of the 2017 Transformer's length penalty."""
    max_new_tokens: PositiveInt | None = None
    """Tokens a translation may have; null: 50 more than its source."""
    tokenize: Annotated[str, OneOf("13a", "intl", "char", "zh", "none")] = "13a"
    """How sacrebleu splits words; 13a is its default, to be used for comparisons."""
    lowercase: bool = False
    """Whether case is ignored."""

    def build(self, context: EvaluationContext) -> "BleuEvaluation":
        return BleuEvaluation(self, context)


class BleuEvaluation(Evaluation):
    """`bleu` of the split, in [0, 100]. With several processes each translates its share, and the counts of n-grams are added up."""

    def __init__(self, config: BleuConfig, context: EvaluationContext) -> None:
        needs = context.objective.needs()
        if needs.batch is not TranslationBatch:
            raise ConfigError("evaluation=bleu needs a model trained with objective=translation: use evaluation=loss")
        self.config, self.context = config, context
        context.data.reader(config.split, needs)  # refuses a split that is not there
        beam = BeamConfig(beam_size=config.beam_size, length_penalty=config.length_penalty, max_new_tokens=config.max_new_tokens)
        self._generator = beam.build()
        self._pairs: list[tuple[str, str]] | None = None

    def report(self, model: nn.Module) -> EvaluationReport:
        pairs = self._raw_pairs()
        from sacrebleu.metrics import BLEU

        bleu = BLEU(tokenize=self.config.tokenize, lowercase=self.config.lowercase, force=True)  # force: no warnings about tokenised text
        hypotheses, references = [""], [""]  # adds nothing, and gives a process without a share its zeros
        decodable: Any = model
        with inference(decodable):  # of all batches together, so that weights are packed once
            for places, texts in self._translated(decodable, pairs):
                hypotheses += texts
                references += [pairs[place][1] for place in places]
        own = bleu.corpus_score(hypotheses, [references])
        counted = torch.tensor([*own.counts, *own.totals, own.sys_len, own.ref_len], dtype=torch.float64)
        *ngrams, sys_len, ref_len = (int(value) for value in self.context.total(counted).tolist())
        correct, total = ngrams[: len(own.counts)], ngrams[len(own.counts) :]
        score = BLEU.compute_bleu(correct=correct, total=total, sys_len=sys_len, ref_len=ref_len, smooth_method="exp").score
        return EvaluationReport(metrics={f"{self.config.split}/bleu": score}, notes={"bleu": str(bleu.get_signature())})

    def _raw_pairs(self) -> list[tuple[str, str]]:
        if self._pairs is None:
            pairs = list(self.context.data.source.parallel(self.config.split))
            wanted = self.config.max_samples
            chosen = range(len(pairs)) if wanted is None or wanted >= len(pairs) else np.linspace(0, len(pairs) - 1, wanted).astype(int).tolist()
            self._pairs = [pairs[place] for place in chosen]
        return self._pairs

    def _translated(self, model: DecodableModel, pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[list[int], list[str]]]:
        """This process's share, sentences of like length side by side."""
        order = sorted(range(len(pairs)), key=lambda place: (len(pairs[place][0]), place))[self.context.rank :: self.context.world_size]
        batches = [order[start : start + self.config.batch_size] for start in range(0, len(order), self.config.batch_size)]
        tokenizer, device = self.context.data.tokenizer, self.context.device
        for places in self.context.guard(batches):
            with self.context.autocast():
                sources = [pairs[place][0] for place in places]
                yield places, translate(model, tokenizer, sources, self._generator, index=places, device=device)
