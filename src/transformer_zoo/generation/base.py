"""What every way of decoding shares: the rows to continue, what comes back, and the settings common to all ways.

A model that predicts next tokens reads its prompts once (`start`) and then one token per row (`step`); its `DecodingState` holds the
caches. Decoding many rows at once gives each row the tokens it would get alone.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Protocol

import torch
from torch import Tensor

from transformer_zoo.errors import ConfigError, NumericError
from transformer_zoo.layers.packing import weights_stay
from transformer_zoo.models.base import NextTokenModel
from transformer_zoo.records import Inputs, SequenceInputs, TranslationInputs
from transformer_zoo.settings import Config, NaturalInt, Range

logger = logging.getLogger(__name__)

NEW_TOKENS = 100
"""New tokens for a prompt where the settings name no number."""
EXTRA_TOKENS = 50
"""A translation may be this many tokens longer than its source where the settings name no number (as in 2017)."""


class HasMode(Protocol):
    """A module that is either training or evaluating."""

    training: bool

    def train(self, mode: bool = True) -> Any: ...


class DecodableModel(NextTokenModel, HasMode, Protocol):
    """A model that writes one token after another."""


@dataclass(frozen=True, kw_only=True)
class Generated:
    """What was decoded for one row."""

    token_ids: list[int]
    """New tokens, without the prompt and without the end token."""
    log_probability: float
    """Natural log of the model's own probability of the new tokens, the end token included where it came; forced tokens count as certain.
    NaN where it was not asked for (`Request.probabilities`)."""
    score: float
    """What the search ranked by: the log-probability, divided by the length penalty in a beam search."""
    ended: bool
    """True where the end token came, False where the limit cut the row off."""


@dataclass(kw_only=True)
class Request(ABC):
    """Rows to decode. Without an `end` token every row runs to its limit."""

    prefixes: Sequence[Sequence[int]]
    """Per row the tokens that are given: a prompt, or the begin token of a translation. At least one token."""
    pad: int
    """Fills up shorter rows; what it is does not matter."""
    end: int | None = None
    """The token after which a row is finished."""
    forbidden: tuple[int, ...] = ()
    """Tokens that never come, such as padding."""
    forced_first: int | None = None
    """The first new token of every row, whatever the model would say (the language of a translation, say); None: the model's own."""
    forced_last: bool = False
    """Whether a row that comes to its limit has the end token there."""
    index: Sequence[int] | None = None
    """Each row's own number, the key of its random draws; None: 0, 1, 2 …"""
    window: int | None = None
    """Tokens of a row that are read at once, where that should be fewer than the model can: the length it was trained on, say, beyond which
    it has learnt no positions."""
    probabilities: bool = True
    """Whether the probability of what is written is wanted. Where it is not, greedy decoding computes only the scores that decide."""
    device: torch.device | str = "cpu"

    slides: ClassVar[bool] = False
    """Whether a row that has filled the model's window goes on from its last half."""

    def __post_init__(self) -> None:
        if any(len(prefix) == 0 for prefix in self.prefixes):
            raise ConfigError("a prompt is empty: give at least one token, or use a tokenizer with a begin token")

    def __len__(self) -> int:
        return len(self.prefixes)

    @property
    def row_index(self) -> Sequence[int]:
        return self.index if self.index is not None else range(len(self))

    def longest(self, model: NextTokenModel) -> int | None:
        """Tokens a row may hold; None: any number."""
        limits = [limit for limit in (model.max_length, self.window) if limit is not None]
        return min(limits, default=None)

    @abstractmethod
    def inputs(self, rows: Sequence[int], windows: Sequence[Sequence[int]]) -> Inputs:
        """What `model.start` reads for these rows, of whose target tokens only a window is given."""

    @abstractmethod
    def limit(self, row: int, max_new_tokens: int | None) -> int:
        """How many new tokens a row may get."""

    def left_padded(self, sequences: Sequence[Sequence[int]]) -> SequenceInputs:
        """Rows that end in the same column, so that the next token of all is read from the last one."""
        width = max(len(s) for s in sequences)
        token_ids = torch.full((len(sequences), width), self.pad, dtype=torch.int64)
        valid = torch.zeros(len(sequences), width, dtype=torch.bool)
        for i, sequence in enumerate(sequences):
            token_ids[i, width - len(sequence) :] = torch.tensor(sequence, dtype=torch.int64)
            valid[i, width - len(sequence) :] = True
        return SequenceInputs(token_ids=token_ids.to(self.device), valid=None if valid.all() else valid.to(self.device))


@dataclass(kw_only=True)
class Continuation(Request):
    """Prompts that a decoder continues."""

    slides: ClassVar[bool] = True

    prefix: bool = False
    """Whether the tokens of a prompt see each other."""

    def inputs(self, rows: Sequence[int], windows: Sequence[Sequence[int]]) -> SequenceInputs:
        read = self.left_padded(windows)
        if self.prefix:
            read.prefix_length = torch.full((len(windows),), read.token_ids.shape[1], device=read.token_ids.device)
        return read

    def limit(self, row: int, max_new_tokens: int | None) -> int:
        return NEW_TOKENS if max_new_tokens is None else max_new_tokens


@dataclass(kw_only=True)
class Translation(Request):
    """Sources that an encoder-decoder translates; their `prefixes` are the begin token each, or a forced beginning."""

    sources: Sequence[Sequence[int]]
    """Per row the source tokens, the end token included."""

    def inputs(self, rows: Sequence[int], windows: Sequence[Sequence[int]]) -> TranslationInputs:
        sources = [self.sources[row] for row in rows]
        width = max(len(source) for source in sources)
        token_ids = torch.full((len(sources), width), self.pad, dtype=torch.int64)
        valid = torch.zeros(len(sources), width, dtype=torch.bool)
        for i, source in enumerate(sources):
            token_ids[i, : len(source)] = torch.tensor(source, dtype=torch.int64)
            valid[i, : len(source)] = True
        source_inputs = SequenceInputs(token_ids=token_ids.to(self.device), valid=valid.to(self.device))
        return TranslationInputs(source=source_inputs, target=self.left_padded(windows))

    def limit(self, row: int, max_new_tokens: int | None) -> int:
        return len(self.sources[row]) + EXTRA_TOKENS if max_new_tokens is None else max_new_tokens


@dataclass(kw_only=True)
class GenerationConfig(Config, ABC):
    """Base of the ways to decode."""

    slot: ClassVar[str | None] = "generation"

    max_new_tokens: Annotated[int, Range(1)] | None = None
    """New tokens a row may get, at least 1; null: 100 after a prompt, 50 more than its source in a translation."""
    min_new_tokens: NaturalInt = 0
    """New tokens before the end token may come."""
    no_repeat_ngram: NaturalInt = 0
    """No sequence of this many tokens comes twice in a row with its prompt (Paulus et al. 2018, https://arxiv.org/abs/1705.04304); 0: any may."""

    @abstractmethod
    def build(self, *, seed: int = 0) -> "Generator":
        """The decoder these settings describe; `seed` fixes its random draws, if it makes any."""


class Generator(ABC):
    """One way to decode."""

    @abstractmethod
    def generate(self, model: DecodableModel, request: Request) -> list[Generated]:
        """Decodes all rows of the request as one batch; the answers stand in the order of the rows."""


@contextmanager
def inference(model: HasMode) -> Iterator[None]:
    """No gradients and no dropout while it lasts, and weights that stay as they are; the model's mode is put back afterwards."""
    was_training = model.training
    model.train(False)
    try:
        with torch.no_grad(), weights_stay(model):
            yield
    finally:
        model.train(was_training)


def checked(logits: Tensor) -> Tensor:
    """The logits as they are, unless a model gone wrong left no distribution in them; −inf is a token it excludes."""
    if bool(logits.log_softmax(-1).isnan().any()):
        raise NumericError("the model's scores for the next token are not finite: its weights are damaged or its training diverged")
    return logits


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """Which tokens may come now."""

    request: Request
    min_new_tokens: int
    no_repeat_ngram: int

    def __call__(self, scores: Tensor, taken: Tensor, limits: Tensor, rows: Callable[[], Sequence[Sequence[int]]]) -> Tensor:
        """Scores [A, V], with −inf for tokens that may not come and 0 for one that must. Each row has `taken` [A] new tokens of at most `limits` [A];
        `rows` gives all its tokens so far."""
        if not self.binding:
            return scores
        request, scores = self.request, scores.clone()
        if request.forbidden:
            scores[:, list(request.forbidden)] = float("-inf")
        if request.end is not None and self.min_new_tokens:
            scores[:, request.end] = scores[:, request.end].masked_fill(taken < self.min_new_tokens, float("-inf"))
        if self.no_repeat_ngram:
            for row, tokens in enumerate(rows()):
                scores[row, list(completing(tokens, self.no_repeat_ngram))] = float("-inf")
        for token, there in self._forced(taken, limits):
            scores[there] = float("-inf")
            scores[there, token] = 0.0
        return scores

    @property
    def binding(self) -> bool:
        """Whether there is any."""
        ends = self.request.end is not None and (self.min_new_tokens > 0 or self.request.forced_last)
        return ends or self.request.forced_first is not None or bool(self.request.forbidden) or self.no_repeat_ngram > 0

    def is_forced(self, taken: Tensor, limits: Tensor) -> Tensor:
        """[A] whether a row's next token is no choice."""
        found = torch.zeros_like(taken, dtype=torch.bool)
        for _, there in self._forced(taken, limits):
            found = found | there
        return found

    def _forced(self, taken: Tensor, limits: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Tokens that must come, and the rows [A] in which they must; where there are two, the later one."""
        if self.request.forced_first is not None:
            yield self.request.forced_first, taken == 0
        if self.request.forced_last and self.request.end is not None:
            yield self.request.end, taken == limits - 1


def without_gaps(keep: Tensor) -> Tensor:
    """[M] the rows that are kept of [A], each at its own place where that is among the first M; rows from behind fill the gaps."""
    if bool(keep.all()):
        return torch.arange(len(keep), device=keep.device)
    n_kept = int(keep.sum())
    rows = torch.arange(n_kept, device=keep.device)
    rows[~keep[:n_kept]] = keep[n_kept:].nonzero().squeeze(1) + n_kept
    return rows


def completing(tokens: Sequence[int], n: int) -> set[int]:
    """What would complete a sequence of `n` tokens that has come already."""
    last = list(tokens[len(tokens) - n + 1 :])
    return {tokens[i + n - 1] for i in range(len(tokens) - n + 1) if list(tokens[i : i + n - 1]) == last}


def fitting_window(tokens: Sequence[int], max_length: int | None) -> list[int]:
    """What a model of this length reads of the tokens: all of them, or, where they are too many, the last half of its length."""
    if max_length is None or len(tokens) <= max_length:
        return list(tokens)
    return list(tokens[-max(1, max_length // 2) :])


def fixed_limits(model: DecodableModel, request: Request, max_new_tokens: int | None) -> list[int]:
    """New tokens per row where rows cannot go on past the model's longest input.

    Raises:
        ConfigError: a prompt alone is longer than that.
    """
    limits = [request.limit(row, max_new_tokens) for row in range(len(request))]
    longest = request.longest(model)
    if longest is None:
        return limits
    room = [longest - len(prefix) + 1 for prefix in request.prefixes]  # the last token is chosen, not read
    if min(room, default=1) < 1:
        most = max(len(prefix) for prefix in request.prefixes)
        raise ConfigError(f"a prompt has {most} tokens and the model reads at most {longest}: shorten the prompt")
    cut = sum(limit > space for limit, space in zip(limits, room, strict=True))
    if cut and max_new_tokens is not None:
        logger.warning("%d of %d rows may get fewer than %d new tokens: the model holds %d", cut, len(room), max_new_tokens, longest)
    return [min(limit, space) for limit, space in zip(limits, room, strict=True)]
