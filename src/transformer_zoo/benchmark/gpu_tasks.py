"""What the suite `gpu` trains: public architectures at their published sizes, over made-up text that is stored and read as real text is."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from transformer_zoo.benchmark.flops import Product, stack, vocabulary
from transformer_zoo.benchmark.jobs import N_SPECIALS, SPECIALS
from transformer_zoo.benchmark.shapes import TINY, Shape
from transformer_zoo.data.store import Store, StoreWriter, open_or_build
from transformer_zoo.data.stream import TrainingStream
from transformer_zoo.data.text_rows import JoinedReader
from transformer_zoo.models.base import Model, TransformerConfig
from transformer_zoo.objectives.base import Objective, ObjectiveConfig
from transformer_zoo.objectives.causal_lm import CausalLMConfig
from transformer_zoo.objectives.masked_lm import MaskedLMConfig
from transformer_zoo.objectives.span_corruption import SpanCorruptionConfig
from transformer_zoo.records import IGNORED, Example, SequenceInputs, TranslationInputs, Vocabulary

N_SENTINELS, TINY_SENTINELS = 100, 8
N_DOCUMENTS, N_BATCHES = 200, 20
"""Of the made-up text."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A model, what it learns, and in which batches."""

    row: str
    recipe: str
    objective: ObjectiveConfig
    shape: Shape
    dropout: float
    utilisation: float | None
    """The share of the device's peak that is asked for."""
    packed: bool = False
    """Documents do not see each other."""
    kernel: str = "sdpa"

    @property
    def vocabulary(self) -> Vocabulary:
        """Without a tokenizer; the last tokens are the sentinels, where the objective has some."""
        size, n = self.shape.vocab_size, self.objective.needs().sentinels
        return Vocabulary(size=size, specials=SPECIALS, sentinels=tuple(range(size - n, size)))

    def quick(self) -> "Task":
        """The same in miniature, to see that everything works."""
        objective = replace(self.objective, sentinels=TINY_SENTINELS) if isinstance(self.objective, SpanCorruptionConfig) else self.objective
        return replace(self, shape=replace(TINY, length=24), objective=objective)

    def built(self) -> Objective:
        return self.objective.build(vocabulary=self.vocabulary)

    def config(self) -> TransformerConfig:
        """Our recipe at this size."""
        from transformer_zoo.experiments.compose import recipe

        words = [*self.shape.overrides, f"model.dropout={self.dropout}", f"model.attention.dropout={self.dropout}"]
        longest = self.objective.longest(self.shape.length)
        made: TransformerConfig = recipe(self.recipe, *words, f"model.max_length={longest}", f"model/attention/kernel={self.kernel}")
        return made

    def model(self) -> Model:
        """The same weights at every call."""
        torch.manual_seed(0)
        return self.config().build(vocab_size=self.shape.vocab_size, heads=self.built().needs().heads)

    def stream(self, folder: Path, *, n_workers: int = 0) -> TrainingStream:
        """Steps without end."""
        needs = self.objective.needs()
        reader = JoinedReader(self._made_up(folder), "train", self.vocabulary, needs, self.shape.length, masked=self.packed)
        return TrainingStream(reader, self.built().prepare, seed=0, batch_size=self.shape.batch_size, n_workers=n_workers)

    def _made_up(self, folder: Path) -> Store:
        def build(writer: StoreWriter) -> None:
            count = N_BATCHES * self.shape.batch_size * self.shape.length
            ends = np.linspace(0, count, N_DOCUMENTS + 1).astype(np.int64)
            text = np.random.default_rng(0).integers(N_SPECIALS, self.shape.vocab_size - self.objective.needs().sentinels, count)
            writer.column("train.tokens", np.uint16)(text)
            writer.column("train.documents", np.int64)(ends)
            writer.facts["train"] = {"n_tokens": count, "n_bytes": count, "n_documents": N_DOCUMENTS}

        return open_or_build(folder, f"{self.recipe}-{self.shape.length}-{self.shape.vocab_size}", build)

    def products(self, example: Example) -> list[Product]:
        """The matrix products of a forward pass over one example."""
        shape, scored = self.shape, int(next(iter(example.counts.values())))
        predicts = self.recipe == "bert"
        layers = partial(stack, n_layers=shape.n_layers, d_model=shape.d_model, d_ff=shape.d_ff, n_heads=shape.n_heads)
        head = vocabulary(d_model=shape.d_model, vocab_size=shape.vocab_size, scored=scored, transform=predicts)
        if isinstance(example.inputs, TranslationInputs):
            (n_rows, read), written = example.inputs.source.token_ids.shape, example.inputs.target.token_ids.shape[1]
            return layers(n_rows=n_rows, length=read) + layers(n_rows=n_rows, length=written, memory=read) + head
        assert isinstance(example.inputs, SequenceInputs)
        n_rows, length = example.inputs.token_ids.shape
        return layers(n_rows=n_rows, length=length, predicted=scored if predicts else None) + head


def rows_of(example: Example) -> list[dict[str, Tensor]]:
    """The same rows as other trainers take them: `input_ids` and `labels`, a label for every position, IGNORED where nothing is predicted."""
    inputs = example.inputs
    read, written = (inputs.source, inputs.target) if isinstance(inputs, TranslationInputs) else (inputs, inputs)
    assert isinstance(read, SequenceInputs)
    assert isinstance(written, SequenceInputs)
    (targets,) = example.targets.values()
    labels = torch.full((written.token_ids.numel(),), IGNORED)
    scored = targets != IGNORED
    places = torch.arange(len(targets)) if inputs.predict_at is None else inputs.predict_at
    labels[places[scored]] = targets[scored]
    return [{"input_ids": ids, "labels": row} for ids, row in zip(read.token_ids, labels.view_as(written.token_ids), strict=True)]


BASE = Shape(name="base", n_layers=12, d_model=768, n_heads=12, vocab_size=30522)
BERT_128 = Task(
    row="BERT-base at 128",
    recipe="bert",
    objective=MaskedLMConfig(),
    shape=replace(BASE, length=128, batch_size=256),
    dropout=0.1,
    utilisation=None,
)
BERT_512 = replace(BERT_128, row="BERT-base at 512", shape=replace(BASE, length=512, batch_size=64), utilisation=0.4)
GPT2 = Task(
    row="GPT-2 124M at 1024",
    recipe="gpt2",
    objective=CausalLMConfig(),
    shape=replace(BASE, vocab_size=50304, length=1024, batch_size=32),
    dropout=0.0,
    utilisation=0.4,
)
T5 = Task(
    row="T5-base, 512 read and 114 written",
    recipe="t5",
    objective=SpanCorruptionConfig(sentinels=N_SENTINELS),
    shape=replace(BASE, vocab_size=32128, length=568, batch_size=64),
    dropout=0.1,
    utilisation=0.4,
)
PACKED = replace(GPT2, row="GPT-2 124M at 1024, packed documents", packed=True, kernel="auto", utilisation=None)
TASKS = (BERT_128, BERT_512, GPT2, T5)
