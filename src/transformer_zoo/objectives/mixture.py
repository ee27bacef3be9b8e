"""Several objectives that take turns: each batch is given to one of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch

from transformer_zoo.objectives.base import Objective, ObjectiveConfig
from transformer_zoo.objectives.combined import shared_needs
from transformer_zoo.objectives.marking import marked
from transformer_zoo.randomness import uniform
from transformer_zoo.records import (
    Batch,
    Example,
    Inputs,
    LossReport,
    MetricReport,
    ModelOutput,
    Needs,
    Rows,
    SequenceInputs,
    TextBatch,
    TranslationInputs,
    Vocabulary,
)
from transformer_zoo.settings import PositiveFloat

TERM = "mixture"


@dataclass(kw_only=True)
class MixtureConfig(ObjectiveConfig):
    """Objectives over batches: every batch is given to one part, drawn by weight. A batch is what one forward reads, a micro-batch of one
    process; its first row (seed, epoch, number in the split) decides. So the parts take the same turns for any number of workers, after every
    restart, and for any number of processes as long as these cut a step into the same micro-batches. A row counts the same whichever part reads
    it."""

    takes_turns: ClassVar[bool] = True

    parts: dict[str, ObjectiveConfig]
    """The objectives, by any name. They must read the same kind of batch and of model."""
    part_weights: dict[str, PositiveFloat] = field(default_factory=dict)
    """How often each part is drawn in proportion to the others, by the same names; 1 where none is given."""
    modes: dict[str, str] = field(default_factory=dict)
    """The mode of a part, by the same names: each mode has a token, a sentinel behind those of the parts, that is put in front of what is read (UL2's
    paradigm tokens, Tay et al. 2022, https://arxiv.org/abs/2205.05131). Parts without one, all where this is empty, read no such token."""

    def problems(self) -> list[str]:
        """Parts must be able to share data and a model."""
        if not self.parts:
            return ["parts is empty; give at least one objective"]
        known = ", ".join(self.parts)
        found = [
            f"{key} names {name!r}, which is no part; parts are {known}"
            for key, names in (("part_weights", self.part_weights), ("modes", self.modes))
            for name in names
            if name not in self.parts
        ]
        found += [f"the part name {name!r} holds a '/', which divides names of metrics: choose another" for name in self.parts if "/" in name]
        found += [
            f"the part {name!r} is a mixture itself: put its parts here, with their weights" for name, part in self.parts.items() if part.takes_turns
        ]
        needs = {name: part.needs() for name, part in self._settled().items()}
        if self.modes and any(need.inputs not in (SequenceInputs, TranslationInputs) for need in needs.values()):
            found.append("modes puts a token in front of what is read, which parts that have a generator fill in a text cannot have: leave it out")
        return found + mixing_problems(needs)

    def fitted(self, accepts: type[Inputs]) -> Self:
        return replace(self, parts={name: part.fitted(accepts) for name, part in self.parts.items()})

    def needs(self) -> Needs:
        needs = [part.needs() for part in self._settled().values()]
        return replace(
            shared_needs(needs),
            sentinels=self._first_mode + len(self._mode_names),
            reorders=any(need.reorders for need in needs),
            prefix=all(need.prefix for need in needs),
        )

    def longest(self, sequence_length: int) -> int:
        return max(part.longest(sequence_length) for part in self._settled().values()) + (1 if self.modes else 0)

    def row_problems(self, sequence_length: int) -> list[str]:
        return [
            problem.replace("objective.", f"objective.parts.{name}.")
            for name, part in self._settled().items()
            for problem in part.row_problems(sequence_length)
        ]

    def vocabulary_problems(self, vocabulary: Vocabulary) -> list[str]:
        found = [
            f"has a part {name!r}, which {problem.replace('objective.', f'objective.parts.{name}.')}"
            for name, part in self._settled().items()
            for problem in part.vocabulary_problems(vocabulary)
        ]
        n_sentinels = self.needs().sentinels
        if self.modes and len(vocabulary.sentinels) < n_sentinels:
            found.append(
                f"marks its modes {', '.join(self._mode_names)} by sentinel tokens up to <extra_id_{n_sentinels - 1}>, of which the tokenizer has "
                f"{len(vocabulary.sentinels)}: train a tokenizer, choose another tokenizer.path, or leave objective.modes out"
            )
        return found

    def build(self, *, vocabulary: Vocabulary, n_classes: int | None = None) -> Objective:
        parts = {name: part.build(vocabulary=vocabulary, n_classes=n_classes) for name, part in self._settled().items()}
        tokens = dict(zip(self._mode_names, vocabulary.sentinels[self._first_mode :], strict=False))
        return Mixture(
            self.needs(),
            parts,
            weights={name: self.part_weights.get(name, 1.0) for name in parts},
            marks={name: tokens[mode] for name, mode in self.modes.items()},
        )

    @property
    def _mode_names(self) -> list[str]:
        """Each mode once, in the order of the parts."""
        return list(dict.fromkeys(self.modes[name] for name in self.parts if name in self.modes))

    @property
    def _first_mode(self) -> int:
        """The number of the first sentinel that no part uses."""
        return max(part.needs().sentinels for part in self.parts.values())

    def _settled(self) -> dict[str, ObjectiveConfig]:
        """The parts, those that leave it to the model to decide what it reads doing as the others."""
        fixed = [part.needs().inputs for part in self.parts.values() if part.fitted(SequenceInputs) == part.fitted(TranslationInputs)]
        return {name: part.fitted(fixed[0]) for name, part in self.parts.items()} if fixed else self.parts


def mixing_problems(needs: Mapping[str, Needs]) -> list[str]:
    """Why objectives cannot take turns with the same data and model, all reasons at once."""

    def heads(need: Needs) -> str:
        return " and ".join(sorted(need.heads))

    asked: list[tuple[str, dict[str, Any]]] = [
        ("read batches of", {name: need.batch.__name__ for name, need in needs.items() if need.batch is not TextBatch}),
        ("give a model", {name: need.inputs.__name__ for name, need in needs.items()}),
        ("need models with causal =", {name: need.causal for name, need in needs.items()}),
        ("need the heads", {name: heads(need) for name, need in needs.items()}),
        ("read rows with [CLS] and [SEP] =", {name: need.framed for name, need in needs.items()}),
        ("look ahead by", {name: need.lookahead for name, need in needs.items()}),
        ("read pairs that are swapped =", {name: need.consecutive for name, need in needs.items() if need.batch is not TextBatch}),
        ("need the collocations", {name: need.collocations for name, need in needs.items() if need.collocations is not None}),
        ("start what is written by the token", {name: need.start for name, need in needs.items() if need.inputs is TranslationInputs}),
    ]
    return [
        f"parts cannot take turns, since they {what} different kinds ({', '.join(f'{name}: {value}' for name, value in values.items())}); "
        "train them one after another"
        for what, values in asked
        if len(set(values.values())) > 1
    ]


class Mixture(Objective):
    """Trains by one term, `mixture`: the weighted means of a batch's part, times its rows, over the rows of the step. So of several batches in a step
    each row counts the same, and weights are shares of the rows. Beside it, with the weight 0, the terms of every part are told as `<part>/<term>`.

    On held-out samples every part is measured on all of them, so that figures do not hang on who drew what. The held-out loss is Σ share · loss of
    each part, and so is the training loss to be expected.
    """

    def __init__(self, needs: Needs, parts: dict[str, Objective], *, weights: dict[str, float], marks: dict[str, int]) -> None:
        self.parts, self.marks, self._needs = parts, marks, needs
        total = sum(weights.values())
        self.shares = {name: weight / total for name, weight in weights.items()}
        self._held_out_weights = {
            f"{name}/{term}": self.shares[name] * weight for name, part in parts.items() for term, weight in part.weights.items()
        }
        self.weights = {TERM: 1.0} | dict.fromkeys(self._held_out_weights, 0.0)
        self.rewrites_tokens = True
        self.ledger = {name: told for part in parts.values() for name, told in part.ledger.items()}
        self._stand_ins = {name: next(other for other in parts if parts[other].scores_like(part)) for name, part in parts.items()}

    def needs(self) -> Needs:
        return self._needs

    def views(self) -> list[Objective]:
        return [PartOfMixture(self, name) for name in self.parts]

    def shares_of_views(self) -> list[float]:
        return list(self.shares.values())

    @property
    def predicted_terms(self) -> list[str]:
        return [term for view in self.views() for term in view.predicted_terms]

    @property
    def held_out_weights(self) -> dict[str, float]:
        return self._held_out_weights

    def drawn(self, rows: Rows) -> str:
        """The part that a batch of these rows is given to."""
        first = Rows(seed=rows.seed, epoch=rows.epoch[:1], index=rows.index[:1])
        reached = np.cumsum(list(self.shares.values()))
        place = int(np.searchsorted(reached, uniform(first, "mixture: part", 1)[0, 0], side="right"))
        return list(self.parts)[min(place, len(reached) - 1)]

    def prepare(self, batch: Batch, *, training: bool = True) -> Example:
        return self.example(self.drawn(batch.rows), batch, training=training)

    def example(self, name: str, batch: Batch, *, training: bool) -> Example:
        """What one part makes of a batch. Its counts carry its name. Beside its targets stands a matrix: for each of its terms a scale, and at
        which place of all terms it is told. The matrix is called after the first part with the same loss: so a compiled graph serves them all."""
        part, n_rows = self.parts[name], len(batch.rows.index)
        made = part.prepare(batch, training=training)
        places = list(self._held_out_weights)
        matrix = torch.zeros(len(part.weights), 1 + len(places))
        for row, (term, weight) in zip(matrix, part.weights.items(), strict=True):
            row[0] = n_rows * weight / max(1, made.counts[term])
            row[1 + places.index(f"{name}/{term}")] = 1.0
        mark = self.marks.get(name)
        return replace(
            made,
            inputs=made.inputs if mark is None else marked(made.inputs, mark),
            targets=made.targets | {f"{TERM}/{self._stand_ins[name]}": matrix},
            counts={TERM: n_rows} | {f"{name}/{term}": count for term, count in made.counts.items()},
            tokens=made.tokens + (0 if mark is None else n_rows),
        )

    def loss(self, output: ModelOutput, example: Example) -> LossReport:
        key = next(key for key in example.targets if key.startswith(f"{TERM}/"))
        part, matrix = self.parts[key.removeprefix(f"{TERM}/")], example.targets[key]
        found = part.loss(output, example).sums
        sums = torch.stack([found[term] for term in part.weights])  # [K] of the part's terms
        told = sums.detach() @ matrix[:, 1:]  # all terms
        return LossReport(sums={TERM: (sums * matrix[:, 0]).sum()} | dict(zip(self._held_out_weights, told.unbind(), strict=True)))

    def evaluate(self, output: ModelOutput, example: Example) -> MetricReport:
        (name,) = {term.partition("/")[0] for term in example.counts if term != TERM}
        return PartOfMixture(self, name).evaluate(output, example)


class PartOfMixture(Objective):
    """One part, as the mixture names and marks it."""

    def __init__(self, mixture: Mixture, name: str) -> None:
        self.mixture, self.name, self.part = mixture, name, mixture.parts[name]
        self.weights = {f"{name}/{term}": weight for term, weight in self.part.weights.items()}
        term = self.part.language_term
        self.language_term = None if term is None or name in mixture.marks else f"{name}/{term}"
        self.rewrites_tokens = self.part.rewrites_tokens

    def needs(self) -> Needs:
        return self.part.needs()

    def prepare(self, batch: Batch, *, training: bool = True) -> Example:
        return self.mixture.example(self.name, batch, training=training)

    def loss(self, output: ModelOutput, example: Example) -> LossReport:
        return LossReport(sums={f"{self.name}/{term}": total for term, total in self.part.loss(output, example).sums.items()})

    def evaluate(self, output: ModelOutput, example: Example) -> MetricReport:
        own = replace(example, counts={term.removeprefix(f"{self.name}/"): count for term, count in example.counts.items()})
        return MetricReport(sums={self._named(name): pair for name, pair in self.part.evaluate(output, own).sums.items()})

    def _named(self, metric: str) -> str:
        head, slash, term = metric.partition("/")
        return f"{head}/{self.name}/{term}" if slash else f"{self.name}/{metric}"
