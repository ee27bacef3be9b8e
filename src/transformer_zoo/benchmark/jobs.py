"""The two jobs of the step rows: what is learned, from which made-up tokens, and with which of our recipes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from transformer_zoo.benchmark.shapes import Shape
from transformer_zoo.objectives.base import Objective, ObjectiveConfig
from transformer_zoo.objectives.causal_lm import CausalLMConfig
from transformer_zoo.objectives.masked_lm import MaskedLMConfig
from transformer_zoo.records import IGNORED, Example, Rows, SequenceInputs, SpecialTokens, TextBatch, Vocabulary

SPECIALS = SpecialTokens(pad=0, unknown=1, begin=2, end=3, cls=4, sep=5, mask=6)
N_SPECIALS = 7


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What every side of a row trains on."""

    seen: Tensor  # [B, T] int64: what a model reads
    targets: Tensor  # [B, T] int64, IGNORED where nothing is predicted

    def to(self, device: torch.device) -> "Tokens":
        return Tokens(seen=self.seen.to(device), targets=self.targets.to(device))


@dataclass(frozen=True, kw_only=True)
class Job:
    """Something to learn."""

    name: str
    recipe: str
    """Our model for it."""
    objective: ObjectiveConfig
    transforms: bool
    """Whether the head has a projection of its own in front of the vocabulary, as BERT's."""

    def built(self, shape: Shape) -> Objective:
        return self.objective.build(vocabulary=Vocabulary(size=shape.vocab_size, specials=SPECIALS))

    def settings(self, shape: Shape, dropout: float) -> list[str]:
        """The recipe's settings at a shape: one rate for embeddings, branches and attention weights."""
        return [*shape.overrides, f"model.max_length={shape.length}", f"model.dropout={dropout}", f"model.attention.dropout={dropout}"]

    def example(self, shape: Shape) -> Example:
        """The same rows of random tokens at every call, prepared by our objective."""
        objective = self.built(shape)
        draws = torch.Generator().manual_seed(0)
        width = shape.length + objective.needs().lookahead
        ids = torch.randint(N_SPECIALS, shape.vocab_size, (shape.batch_size, width), generator=draws)
        rows = Rows(seed=0, epoch=torch.zeros(shape.batch_size, dtype=torch.int64), index=torch.arange(shape.batch_size))
        return objective.prepare(TextBatch(rows=rows, token_ids=ids, valid=torch.ones_like(ids, dtype=torch.bool)))


def tokens_of(example: Example) -> Tokens:
    """The same inputs and targets as other packages take them: a target for every position."""
    inputs = example.inputs
    assert isinstance(inputs, SequenceInputs)
    (targets,) = example.targets.values()
    flat = torch.full((inputs.token_ids.numel(),), IGNORED, dtype=torch.int64)
    scored = targets != IGNORED
    places = torch.arange(len(targets)) if inputs.predict_at is None else inputs.predict_at
    flat[places[scored]] = targets[scored]
    return Tokens(seen=inputs.token_ids, targets=flat.view_as(inputs.token_ids))


MASKED = Job(name="masked LM", recipe="bert", objective=MaskedLMConfig(), transforms=True)
CAUSAL = Job(name="causal LM", recipe="gpt2", objective=CausalLMConfig(), transforms=False)
JOBS: Sequence[Job] = (MASKED, CAUSAL)
