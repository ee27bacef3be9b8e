"""A next-token model small enough to enumerate, behind the same contract as the real ones."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from transformer_zoo.layers.attention.kernels import SDPAConfig
from transformer_zoo.layers.attention.multihead import MultiheadConfig
from transformer_zoo.layers.blocks import PreNormConfig
from transformer_zoo.layers.embeddings import TokenEmbeddingsConfig
from transformer_zoo.layers.feedforward import DenseConfig
from transformer_zoo.layers.heads import ClassifierConfig, LMHeadConfig
from transformer_zoo.layers.initialization import NormalConfig
from transformer_zoo.layers.norms import LayerNormConfig, NoNormConfig
from transformer_zoo.layers.positions import (
    LearnedConfig,
    PositionsConfig,
    RotaryConfig,
    T5Config,
)
from transformer_zoo.layers.stacks import PlainStackConfig
from transformer_zoo.models.decoder import DecoderConfig
from transformer_zoo.models.encoder_decoder import EncoderDecoderConfig
from transformer_zoo.records import HeadNeed, SequenceInputs, TranslationInputs

torch.set_num_threads(1)


class FakeState:
    def __init__(self, tokens: Tensor, valid: Tensor, source: Tensor, capacity: int) -> None:
        self.tokens, self.valid, self.source, self.capacity = tokens, valid, source, capacity

    @property
    def length(self) -> int:
        return self.tokens.shape[1]

    def select(self, rows: Tensor) -> None:
        self.tokens, self.valid, self.source = self.tokens[rows], self.valid[rows], self.source[rows]

    def spread(self, fan: int) -> None:
        self.select(torch.arange(len(self.tokens)).repeat_interleave(fan))


class SecondOrderModel(nn.Module):
    """The next token depends on the last two tokens and, in translation, on the sum of the source: a table of random logits."""

    def __init__(self, vocabulary: int, max_length: int | None = None, seed: int = 0, sharpness: float = 2.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.table = sharpness * torch.randn(7, vocabulary + 1, vocabulary, vocabulary, generator=generator)
        self.vocabulary = vocabulary
        self.max_length = max_length
        self.rows_read: list[int] = []
        self.modes: list[bool] = []

    def logits(self, state: FakeState) -> Tensor:
        assert state.length <= state.capacity
        real = state.valid.sum(1)
        assert self.max_length is None or int(real.max()) <= self.max_length
        self.rows_read.append(len(real))
        self.modes.append(self.training)
        before = state.tokens[:, -2] if state.length > 1 else torch.full_like(real, self.vocabulary)
        before = torch.where(real > 1, before, self.vocabulary)
        return self.table[state.source % 7, before, state.tokens[:, -1]]

    def start(self, inputs: SequenceInputs | TranslationInputs, *, capacity: int) -> tuple[Tensor, FakeState]:
        source = torch.zeros(len(getattr(inputs, "token_ids", inputs.source.token_ids if isinstance(inputs, TranslationInputs) else ())))
        target = inputs
        if isinstance(inputs, TranslationInputs):
            assert inputs.source.valid is not None
            source, target = (inputs.source.token_ids * inputs.source.valid).sum(1), inputs.target
        assert isinstance(target, SequenceInputs)
        valid = target.valid if target.valid is not None else torch.ones_like(target.token_ids, dtype=torch.bool)
        assert bool(valid[:, -1].all()), "prompts are padded on the left"
        state = FakeState(target.token_ids, valid, source.long(), capacity)
        return self.logits(state), state

    def step(self, token_ids: Tensor, state: FakeState) -> Tensor:
        state.tokens = torch.cat([state.tokens, token_ids[:, None]], dim=1)
        state.valid = torch.cat([state.valid, torch.ones_like(token_ids, dtype=torch.bool)[:, None]], dim=1)
        return self.logits(state)

    def likeliest(self, token_ids: Tensor, state: FakeState, restrict: Callable[[Tensor], Tensor]) -> Tensor:
        return restrict(self.step(token_ids, state)).argmax(-1)

    def log_probability(self, prefix: list[int], new: list[int], source: list[int] | None = None) -> float:
        """log p of the new tokens, by the table alone."""
        tokens, total = [self.vocabulary, *prefix], 0.0
        row = sum(source or []) % 7
        for token in new:
            total += float(self.table[row, tokens[-2], tokens[-1]].log_softmax(-1)[token])
            tokens.append(token)
        return total


@pytest.fixture
def second_order() -> Callable[..., Any]:
    return SecondOrderModel


SPECIALS = 7
VOCABULARY = 23


def real_model(kind: str, positions: PositionsConfig, max_length: int = 20) -> Any:
    """A tiny decoder or encoder-decoder with weights large enough to make up its mind."""
    shape = {"decoder": DecoderConfig, "encoder_decoder": EncoderDecoderConfig}[kind]
    config = shape(
        d_model=16,
        n_layers=2,
        n_heads=2,
        d_ff=32,
        max_length=max_length,
        embeddings=TokenEmbeddingsConfig(),
        positions=positions,
        attention=MultiheadConfig(kernel=SDPAConfig(), qk_norm=NoNormConfig()),
        norm=LayerNormConfig(),
        norm_placement=PreNormConfig(),
        feedforward=DenseConfig(),
        stack=PlainStackConfig(),
        initialization=NormalConfig(std=0.7),
        vocabulary_head=LMHeadConfig(tied=False),
        classifier=ClassifierConfig(),
    )
    torch.manual_seed(0)
    return config.build(vocab_size=VOCABULARY, heads={"vocabulary": HeadNeed(kind="vocabulary")})


@pytest.fixture(params=[LearnedConfig, RotaryConfig, T5Config], ids=lambda c: c.__name__)
def positions(request: pytest.FixtureRequest) -> PositionsConfig:
    return request.param()


@pytest.fixture
def decoder(positions: PositionsConfig) -> Any:
    return real_model("decoder", positions)


@pytest.fixture(params=["decoder", "encoder_decoder"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(kind: str, positions: PositionsConfig) -> Any:
    return real_model(kind, positions)
