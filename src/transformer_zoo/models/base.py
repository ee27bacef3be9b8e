"""The contract of a model, and the settings that all Transformer shapes share."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from transformer_zoo.layers.attention.base import AttentionConfig
from transformer_zoo.layers.blocks import BlockCache, NormPlacementConfig, Scene
from transformer_zoo.layers.cache import Selection
from transformer_zoo.layers.embeddings import EmbeddingsConfig
from transformer_zoo.layers.feedforward import FeedforwardConfig
from transformer_zoo.layers.heads import ClassifierConfig, VocabularyHeadConfig
from transformer_zoo.layers.initialization import InitializationConfig
from transformer_zoo.layers.lowering import LoweredMask
from transformer_zoo.layers.norms import NormConfig
from transformer_zoo.layers.packing import Packing
from transformer_zoo.layers.positions import PositionsConfig
from transformer_zoo.layers.screening import Restrict
from transformer_zoo.layers.stacks import Stack, StackConfig
from transformer_zoo.layers.stepping import Step, VocabularyStep, stack_step
from transformer_zoo.models.parts import LayerConfig, Parts
from transformer_zoo.records import HeadNeed, Inputs, ModelOutput, SequenceInputs
from transformer_zoo.settings import Config, PositiveInt, Probability


@dataclass(kw_only=True)
class ModelConfig(Config):
    """A whole model."""

    slot: ClassVar[str | None] = "model"
    accepts: ClassVar[type[Inputs]]
    """The record its forward takes."""
    causal: ClassVar[bool]
    """Whether a position (of the target, where there are two sequences) sees only what stands before it."""

    def sides(self) -> dict[str, Parts]:
        """What its `encoder` and its `decoder` are made of, as far as it has them."""
        return {}

    def beside(self) -> str | None:
        """What is trained beside them, in words; None: nothing is."""
        return None

    def kept(self) -> "ModelConfig":
        """Settings of what one keeps after training: this model, unless a part of it serves training only."""
        return self

    def build(self, *, vocab_size: int, heads: Mapping[str, HeadNeed]) -> "Model":
        """The model with the heads that an objective asks for, its parameters drawn from torch's global generator."""
        raise NotImplementedError("abstract")


@dataclass(kw_only=True)
class TransformerConfig(ModelConfig):
    """What encoders, decoders and encoder-decoders have in common: a shape and a choice for every slot."""

    d_model: PositiveInt
    """Width: features of a hidden state."""
    n_layers: PositiveInt
    """Blocks in a stack (in each stack of an encoder-decoder)."""
    n_heads: PositiveInt
    """Attention heads."""
    d_ff: PositiveInt
    """Features inside the feed-forward network."""
    max_length: PositiveInt = 512
    """Tokens; the size of a learned position table. Schemes without a table have no such limit."""
    vocab_size: PositiveInt | None = None
    """Tokens of the published vocabulary; with data, the tokenizer's size wins."""
    dropout: Probability = 0.0
    """Of every residual branch and of the embeddings."""
    embeddings: EmbeddingsConfig
    """How token ids become vectors."""
    positions: PositionsConfig
    """How order is known."""
    attention: AttentionConfig
    """How tokens look at each other."""
    norm: NormConfig
    """What normalises."""
    norm_placement: NormPlacementConfig
    """Where blocks normalise."""
    feedforward: FeedforwardConfig
    """What follows attention."""
    stack: StackConfig
    """How blocks make a stack."""
    initialization: InitializationConfig
    """How parameters start."""
    vocabulary_head: VocabularyHeadConfig
    """What scores the vocabulary, where the objective asks for it."""
    classifier: ClassifierConfig
    """What gives classes, where the objective asks for it."""
    layers: dict[str, LayerConfig] = field(default_factory=dict)
    """Kinds of layer by name, where they differ from the model."""
    pattern: list[str] = field(default_factory=list)
    """The kinds of the first layers, repeated over all others; empty: all are as the model."""

    def parts(self) -> Parts:
        """The slots as they stand on the model."""
        return Parts(**{f.name: getattr(self, f.name) for f in fields(Parts)})

    def problems(self) -> list[str]:
        """Sizes that do not fit each other, all at once."""
        return self.part_problems("", self.parts()) + self.pattern_problems()

    def part_problems(self, side: str, parts: Parts) -> list[str]:
        """What does not fit in a stack of `parts`, each kind of layer told once."""
        found = parts.problems(self.d_model)
        for name, kind in self.layers.items():
            found += [f"layers.{name}: {problem}" for problem in kind.resolve(parts).problems(self.d_model) if problem not in found]
        found += self.stack.layer_problems(parts.n_layers)
        return [f"{side}: {problem}" if side else problem for problem in found]

    def pattern_problems(self) -> list[str]:
        """Kinds that the pattern names and nobody describes, or the other way round."""
        known, used = ", ".join(self.layers) or "none", set(self.pattern)
        found = [f"pattern names {name!r}, which layers does not describe (it has {known})" for name in sorted(used - self.layers.keys())]
        return found + [f"layers describes {name!r}, which pattern does not name" for name in sorted(self.layers.keys() - used)]


class Model(nn.Module, ABC):
    """Inputs record -> ModelOutput. Heads are named as the objective names them."""

    heads: nn.ModuleDict

    @abstractmethod
    def forward(self, inputs: Any) -> ModelOutput:
        """Runs the model; heads run on the last hidden states."""

    @abstractmethod
    def stacks(self) -> Iterator[Stack]:
        """Every stack of blocks, the one that reads texts first."""

    def read(self, text: SequenceInputs) -> Tensor:
        """The hidden states [B,T,D] of a text, as the first of its stacks gives them."""
        hidden: Tensor = self(replace(text, only_predicted=False)).hidden
        return hidden

    @property
    def max_length(self) -> int | None:
        """The longest sequence, in tokens, that its positions can place; None: any."""
        return min((stack.max_length for stack in self.stacks() if stack.max_length is not None), default=None)

    def all_heads(self) -> dict[str, nn.Module]:
        """Every head by the objective's name for it."""
        return dict(self.heads.items())

    @property
    def scorer(self) -> "Model":
        """The model whose heads score the vocabulary: this one, unless it is made of several."""
        return self

    @property
    def kept(self) -> "Model":
        """The model one keeps after training, as its settings' `kept` describes it."""
        return self

    def set_gradient_checkpointing(self, on: bool) -> None:
        """Whether training recomputes blocks in the backward pass (less memory, about a third more time)."""
        for stack in self.stacks():
            stack.recomputes = on

    def run_heads(self, hidden: Tensor, *, valid: Tensor | None, predict_at: Tensor | None, last_at: Tensor | None = None) -> dict[str, Any]:
        """What every head makes of hidden states [B,T,D]."""
        return {name: head(hidden, valid=valid, predict_at=predict_at, last_at=last_at) for name, head in self.heads.items()}


class Writer(Model):
    """A model that writes one token after another (`NextTokenModel`)."""

    @torch.no_grad()
    def step(self, token_ids: Tensor, state: "DecodingState") -> Tensor:
        """Appends one token per row, ids [B]; returns the next token's logits [B,V]."""
        return self._vocabulary(state).scores(self._read(token_ids.unsqueeze(1), state))

    @torch.no_grad()
    def likeliest(self, token_ids: Tensor, state: "DecodingState", restrict: Restrict) -> Tensor:
        """Appends one token per row, ids [B]; returns the likeliest next one [B] of those that `restrict` leaves. Faster than all logits."""
        return self._vocabulary(state).likeliest(self._read(token_ids.unsqueeze(1), state), restrict)

    @abstractmethod
    def _read(self, token_ids: Tensor, state: "DecodingState") -> Tensor:
        """Appends tokens [B,t]; the hidden states [B,D] of each row's last."""

    def _logits(self, hidden: Tensor) -> Tensor:
        """[B,D] -> [B,V] by the vocabulary head as it is."""
        return self.heads["vocabulary"](hidden.unsqueeze(1), valid=None, predict_at=None).logits()

    def _vocabulary(self, state: "DecodingState") -> VocabularyStep:
        if state.vocabulary is None:
            state.vocabulary = VocabularyStep(self.heads["vocabulary"], state.packing)
        return state.vocabulary

    def _through(self, stack: Stack, x: Tensor, scene: Scene, state: "DecodingState") -> Tensor:
        """One token per row [B,D] through a stack."""
        if state.run is None:
            state.run = stack_step(stack, state.caches, state.packing)
        return state.run(x, scene)


@dataclass
class DecodingState:
    """What a model remembers between two tokens; rows stand for sequences being written."""

    caches: list[BlockCache]
    packing: Packing
    """Weights laid out for steps."""
    capacity: int
    length: int
    """Slots used, padding included."""
    positions: Tensor  # [B, capacity] int64: the position of every slot
    valid: Tensor | None = None  # [B, capacity] bool; None: no padding
    memory_valid: Tensor | None = None  # [B / fan, S] bool; None: no padding or no memory
    fan: int = 1
    """Neighbouring rows that look at one memory."""
    memory_mask: LoweredMask | None = None
    """What may be seen of the memory, kept from token to token; None: not made yet."""
    run: Step | None = None
    """The stack as a function of one token; None: not made yet."""
    vocabulary: VocabularyStep | None = None
    """The vocabulary head for one token; None: not made yet."""

    def select(self, rows: Tensor) -> None:
        """Keeps or reorders rows [M]; where several look at one memory, they stay together."""
        sentences = Selection.of(rows[:: self.fan] // self.fan, len(self.positions) // self.fan)
        self._select_own(rows)
        for cache in self.caches:
            cache.memory.select(sentences)
        if self.memory_valid is not None:
            self.memory_valid, self.memory_mask = self.memory_valid[sentences.rows], None

    def spread(self, fan: int) -> None:
        """Puts `fan` equal rows in the place of each, which look at its memory together."""
        self._select_own(torch.arange(len(self.positions), device=self.positions.device).repeat_interleave(fan))
        self.fan *= fan

    def _select_own(self, rows: Tensor) -> None:
        selection = Selection.of(rows, len(self.positions))
        for cache in self.caches:
            cache.own.select(selection)
        self.positions = self.positions[rows]
        self.valid = None if self.valid is None else self.valid[rows]


class NextTokenModel(Protocol):
    """A model that writes one token after another."""

    @property
    def max_length(self) -> int | None: ...

    def start(self, inputs: Any, *, capacity: int) -> tuple[Tensor, DecodingState]:
        """Reads prompts (left-padded) or sources with target prefixes; logits [B,V] of the next token, and the state."""
        ...

    def step(self, token_ids: Tensor, state: DecodingState) -> Tensor:
        """Appends tokens [B]; logits [B,V] of the next."""
        ...

    def likeliest(self, token_ids: Tensor, state: Any, restrict: Restrict) -> Tensor:
        """Appends tokens [B]; the likeliest next ones [B] of those that `restrict` leaves: what has the highest of restrict(logits)."""
        ...


def slots(start: int, end: int, like: Tensor) -> Tensor:
    """[end - start] int64: places start to end on the device of `like`."""
    return torch.arange(start, end, device=like.device)
