"""Objectives whose targets are classes: of a pair of segments, of a text, of every word."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer_zoo.objectives.base import Objective, ObjectiveConfig, sums
from transformer_zoo.records import (
    IGNORED,
    Batch,
    Example,
    HeadNeed,
    LabelledBatch,
    LossReport,
    MetricReport,
    ModelOutput,
    Needs,
    PairBatch,
    SequenceInputs,
    TaggedBatch,
    TokenBatch,
    Vocabulary,
)


class ClassObjective(Objective):
    """Cross-entropy of one head's logits [B,C] or [B,T,C] against the batch's field of classes [B] or [B,T]."""

    def __init__(self, term: str, field: str, needs: Needs) -> None:
        self.term, self.field, self._needs = term, field, needs
        self.weights = {term: 1.0}

    def needs(self) -> Needs:
        return self._needs

    def prepare(self, batch: Batch, *, training: bool = True) -> Example:
        assert isinstance(batch, TokenBatch)
        classes: Tensor = getattr(batch, self.field)
        inputs = batch.sequence()
        if classes.dim() == 1:  # the first token stands for the row; where attention is a window, it sees all (Longformer)
            inputs.global_positions = torch.zeros_like(batch.valid)
            inputs.global_positions[:, 0] = True
        return Example(
            inputs=inputs,
            targets={self.term: classes},
            counts={self.term: int((classes != IGNORED).sum())},
            tokens=int(batch.valid.sum()),
        )

    def loss(self, output: ModelOutput, example: Example) -> LossReport:
        logits, targets = self._flat(output, example)
        return LossReport(sums={self.term: F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")})

    def evaluate(self, output: ModelOutput, example: Example) -> MetricReport:
        logits, targets = self._flat(output, example)
        losses = F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none").cpu().double()
        correct, count = (logits.argmax(dim=-1) == targets).sum(), example.counts[self.term]
        return MetricReport(sums={f"loss/{self.term}": sums(losses.sum(), count), f"{self.term}_accuracy": sums(correct, count)})

    def _flat(self, output: ModelOutput, example: Example) -> tuple[Tensor, Tensor]:
        logits: Tensor = output.heads[self.term].float()
        return logits.flatten(0, -2), example.targets[self.term].flatten()  # [B(·T),C], [B(·T)]


@dataclass(kw_only=True)
class NextSentenceConfig(ObjectiveConfig):
    """Tell whether segment B follows segment A (Devlin et al. 2019, https://arxiv.org/abs/1810.04805)."""

    def needs(self) -> Needs:
        heads = {"nsp": HeadNeed(kind="pair", n_classes=2)}
        return Needs(batch=PairBatch, inputs=SequenceInputs, causal=False, heads=heads, framed=True)

    def build(self, *, vocabulary: Vocabulary, n_classes: int | None = None) -> Objective:
        return ClassObjective("nsp", "is_next", self.needs())


@dataclass(kw_only=True)
class SentenceOrderConfig(ObjectiveConfig):
    """Tell whether two segments that stand together in a document are in their order or swapped (Lan et al. 2020,
    https://arxiv.org/abs/1909.11942): topic alone, which tells most random segments apart, says nothing here."""

    def needs(self) -> Needs:
        heads = {"sop": HeadNeed(kind="pair", n_classes=2)}
        return Needs(batch=PairBatch, inputs=SequenceInputs, causal=False, heads=heads, framed=True, consecutive=True)

    def build(self, *, vocabulary: Vocabulary, n_classes: int | None = None) -> Objective:
        return ClassObjective("sop", "is_next", self.needs())


@dataclass(kw_only=True)
class ClassificationConfig(ObjectiveConfig):
    """Tell the class of a text."""

    def needs(self) -> Needs:
        heads = {"classification": HeadNeed(kind="sequence")}
        return Needs(batch=LabelledBatch, inputs=SequenceInputs, causal=False, heads=heads, framed=True)

    def build(self, *, vocabulary: Vocabulary, n_classes: int | None = None) -> Objective:
        return ClassObjective("classification", "labels", _with_classes(self.needs(), n_classes))


@dataclass(kw_only=True)
class TaggingConfig(ObjectiveConfig):
    """Tell the tag of every word."""

    def needs(self) -> Needs:
        heads = {"tagging": HeadNeed(kind="token")}
        return Needs(batch=TaggedBatch, inputs=SequenceInputs, causal=False, heads=heads, framed=True)

    def build(self, *, vocabulary: Vocabulary, n_classes: int | None = None) -> Objective:
        return ClassObjective("tagging", "tags", _with_classes(self.needs(), n_classes))


def _with_classes(needs: Needs, n_classes: int | None) -> Needs:
    heads = {name: replace(need, n_classes=n_classes) for name, need in needs.heads.items()}
    return replace(needs, heads=heads)
