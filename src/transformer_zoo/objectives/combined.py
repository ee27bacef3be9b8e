"""Several objectives on the same batch, weighted."""

from dataclasses import dataclass, field, replace
from typing import Self

from transformer_zoo.objectives.base import Objective, ObjectiveConfig
from transformer_zoo.objectives.classes import NextSentenceConfig, SentenceOrderConfig
from transformer_zoo.objectives.masked_lm import MaskedLMConfig
from transformer_zoo.records import (
    Batch,
    Example,
    Inputs,
    LossReport,
    MetricReport,
    ModelOutput,
    Needs,
    PairBatch,
    SequenceInputs,
    TextBatch,
    Vocabulary,
)
from transformer_zoo.settings import NonNegativeFloat


@dataclass(kw_only=True)
class CombinedConfig(ObjectiveConfig):
    """A weighted sum of objectives that read the same batch with one forward."""

    parts: dict[str, ObjectiveConfig]
    """The objectives, by any name."""
    part_weights: dict[str, float] = field(default_factory=dict)
    """The weight of each part, by the same names; 1 where none is given."""

    def problems(self) -> list[str]:
        """Parts must be able to share a batch and a forward."""
        problems = [
            f"part_weights names {name!r}, which is no part; parts are {', '.join(self.parts)}"
            for name in self.part_weights
            if name not in self.parts
        ]
        if not self.parts:
            return [*problems, "parts is empty; give at least one objective"]
        problems += [
            f"the part {name!r} is a mixture, which has forwards of its own and cannot be combined: put what is here into its parts"
            for name, part in self.parts.items()
            if part.takes_turns
        ]
        return problems + shared_problems({name: part.needs() for name, part in self.parts.items()})

    def fitted(self, accepts: type[Inputs]) -> Self:
        return replace(self, parts={name: part.fitted(accepts) for name, part in self.parts.items()})

    def needs(self) -> Needs:
        return shared_needs([part.needs() for part in self.parts.values()])

    def longest(self, sequence_length: int) -> int:
        return max(part.longest(sequence_length) for part in self.parts.values())

    def row_problems(self, sequence_length: int) -> list[str]:
        return [
            problem.replace("objective.", f"objective.parts.{name}.")
            for name, part in self.parts.items()
            for problem in part.row_problems(sequence_length)
        ]

    def vocabulary_problems(self, vocabulary: Vocabulary) -> list[str]:
        return [problem for part in self.parts.values() for problem in part.vocabulary_problems(vocabulary)]

    def build(self, *, vocabulary: Vocabulary, n_classes: int | None = None) -> Objective:
        parts = {name: part.build(vocabulary=vocabulary, n_classes=n_classes) for name, part in self.parts.items()}
        return Combined(parts, {name: self.part_weights.get(name, 1.0) for name in parts})


@dataclass(kw_only=True)
class MaskedPairsConfig(MaskedLMConfig):
    """Masked language modelling and next-sentence prediction together: BERT's pretraining (https://arxiv.org/abs/1810.04805)."""

    nsp_weight: NonNegativeFloat = 1.0
    """Weight of the next-sentence term beside the masked term's 1."""

    def problems(self) -> list[str]:
        return [*super().problems(), *pair_problems(self)]

    def needs(self) -> Needs:
        return shared_needs([super().needs(), NextSentenceConfig().needs()])

    def build(self, *, vocabulary: Vocabulary, n_classes: int | None = None) -> Objective:
        parts = {"mlm": super().build(vocabulary=vocabulary), "nsp": NextSentenceConfig().build(vocabulary=vocabulary)}
        return Combined(parts, {"mlm": 1.0, "nsp": self.nsp_weight})


@dataclass(kw_only=True)
class MaskedOrderConfig(MaskedLMConfig):
    """Masked language modelling and sentence order together: ALBERT's pretraining (https://arxiv.org/abs/1909.11942)."""

    sop_weight: NonNegativeFloat = 1.0
    """Weight of the sentence-order term beside the masked term's 1."""

    def problems(self) -> list[str]:
        return [*super().problems(), *pair_problems(self)]

    def needs(self) -> Needs:
        return shared_needs([super().needs(), SentenceOrderConfig().needs()])

    def build(self, *, vocabulary: Vocabulary, n_classes: int | None = None) -> Objective:
        parts = {"mlm": super().build(vocabulary=vocabulary), "sop": SentenceOrderConfig().build(vocabulary=vocabulary)}
        return Combined(parts, {"mlm": 1.0, "sop": self.sop_weight})


def pair_problems(config: MaskedLMConfig) -> list[str]:
    """Why masks cannot be drawn on pairs of segments."""
    batch = MaskedLMConfig.needs(config).batch
    if batch is TextBatch:
        return []
    return [f"unit reads {batch.__name__}, which holds no pairs of segments: choose objective=mlm, or another objective/unit such as whole_word"]


class Combined(Objective):
    """The parts' terms side by side."""

    def __init__(self, parts: dict[str, Objective], weights: dict[str, float]) -> None:
        self.parts = list(parts.values())
        rewriting = [part for part in self.parts if part.rewrites_tokens]
        assert len(rewriting) <= 1, "two parts cannot both rewrite the tokens of one forward"
        self.first = (rewriting or self.parts)[0]
        self.rewrites_tokens = bool(rewriting)
        self.language_term = next((part.language_term for part in self.parts if part.language_term), None)
        self.weights = {term: weights[name] * weight for name, part in parts.items() for term, weight in part.weights.items()}
        self.ledger = {name: told for part in self.parts for name, told in part.ledger.items()}

    def needs(self) -> Needs:
        return shared_needs([part.needs() for part in self.parts])

    def prepare(self, batch: Batch, *, training: bool = True) -> Example:
        example = self.first.prepare(batch, training=training)
        for part in self.parts:
            if part is not self.first:
                other = part.prepare(batch, training=training)
                example.targets |= other.targets
                example.counts |= other.counts
                example.ledger |= other.ledger
        return example

    def loss(self, output: ModelOutput, example: Example) -> LossReport:
        return LossReport(sums={term: total for part in self.parts for term, total in part.loss(output, example).sums.items()})

    def evaluate(self, output: ModelOutput, example: Example) -> MetricReport:
        return MetricReport(sums={name: pair for part in self.parts for name, pair in part.evaluate(output, example).sums.items()})


def shared_needs(needs: list[Needs]) -> Needs:
    """What several objectives ask together. Running text is the least demand: any richer batch holds tokens too."""
    batch = next((need.batch for need in needs if need.batch is not TextBatch), TextBatch)
    heads = {name: head for need in needs for name, head in need.heads.items()}
    return replace(
        needs[0],
        batch=batch,
        heads=heads,
        consecutive=any(need.consecutive for need in needs),
        collocations=next((need.collocations for need in needs if need.collocations is not None), None),
        progress=any(need.progress for need in needs),
    )


def shared_problems(needs: dict[str, Needs]) -> list[str]:
    """Why objectives cannot share one batch and one forward."""
    problems = []
    for label, values in (
        ("read batches of", {name: need.batch.__name__ for name, need in needs.items() if need.batch is not TextBatch}),
        ("need models with causal =", {name: str(need.causal) for name, need in needs.items()}),
        ("read pairs that are swapped =", {name: str(need.consecutive) for name, need in needs.items() if need.batch is PairBatch}),
        ("need the collocations", {name: str(need.collocations) for name, need in needs.items() if need.collocations is not None}),
        ("look ahead by", {name: str(need.lookahead) for name, need in needs.items()}),
    ):
        if len(set(values.values())) > 1:
            listed = ", ".join(f"{name}: {value}" for name, value in values.items())
            problems.append(f"parts cannot be combined, since they {label} different kinds ({listed}); train them one after another")
    choosing = [name for name, need in needs.items() if need.inputs is SequenceInputs and "vocabulary" in need.heads]
    if len(choosing) > 1:
        problems.append(
            f"parts cannot be combined, since {' and '.join(choosing)} each choose which tokens are seen and which are predicted: let them take "
            "turns in objective=mixture"
        )
    alone = [name for name, need in needs.items() if need.inputs is not SequenceInputs]
    if alone and len(needs) > 1:
        problems.append(f"parts cannot be combined, since what a model reads is made by {' and by '.join(alone)} alone; train them one after another")
    return problems
