"""Decoding token by token: the loop that greedy decoding and sampling share, and greedy decoding itself."""

import logging
import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from transformer_zoo.generation.base import (
    Constraints,
    DecodableModel,
    Generated,
    GenerationConfig,
    Generator,
    Request,
    checked,
    fitting_window,
    fixed_limits,
    inference,
    without_gaps,
)
from transformer_zoo.layers.choosing import likeliest

logger = logging.getLogger(__name__)


@dataclass
class _Row:
    """A row on its way."""

    tokens: list[int]
    """Prompt and new tokens."""
    limit: int
    new: int = 0
    log_probability: float = 0.0
    ended: bool = field(default=False)


class StepwiseGenerator(Generator):
    """Chooses one next token per row at a time, until the end token or the row's limit.

    A row that has filled the model's window is read again from its last half and goes on (`Request.slides`), so a prompt's
    continuation may be longer than the model's longest input; every row does so at its own length, whatever stands beside it.
    """

    def __init__(self, config: GenerationConfig) -> None:
        self.max_new_tokens = config.max_new_tokens
        self.min_new_tokens = config.min_new_tokens
        self.no_repeat_ngram = config.no_repeat_ngram

    @property
    @abstractmethod
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always chosen, so that a model may look for that one alone."""

    @abstractmethod
    def choose(self, logits: Tensor, index: Tensor, step: Tensor) -> Tensor:
        """The next token [A] of each row from its logits [A, V] (−inf: forbidden), its number [A] and its count of new tokens [A]."""

    def generate(self, model: DecodableModel, request: Request) -> list[Generated]:
        if request.slides:
            limits = [request.limit(row, self.max_new_tokens) for row in range(len(request))]
            self._say_what_slides(request.longest(model), request, limits)
        else:
            limits = fixed_limits(model, request, self.max_new_tokens)
        rows = [_Row(tokens=list(prefix), limit=limit) for prefix, limit in zip(request.prefixes, limits, strict=True)]
        waiting = list(range(len(rows)))
        with inference(model):
            while waiting:
                self._fill_window(model, request, rows, waiting)
                waiting = [i for i in waiting if not rows[i].ended and rows[i].new < rows[i].limit]
        return [
            Generated(token_ids=row.tokens[len(prefix) :], log_probability=row.log_probability, score=row.log_probability, ended=row.ended)
            for row, prefix in zip(rows, request.prefixes, strict=True)
        ]

    def _say_what_slides(self, longest: int | None, request: Request, limits: list[int]) -> None:
        if longest is None:
            return
        kept = max(1, longest // 2)
        most = max((len(prefix) for prefix in request.prefixes), default=0)
        if most > longest:
            logger.warning("a prompt has %d tokens and the model reads at most %d: only its last %d are read", most, longest, kept)
        if any(len(prefix) + limit - 1 > longest for prefix, limit in zip(request.prefixes, limits, strict=True)):
            logger.info("beyond %d tokens a row goes on from the last %d", longest, kept)

    def _fill_window(self, model: DecodableModel, request: Request, rows: list[_Row], chosen: Sequence[int]) -> None:
        """Reads what fits of the chosen rows and decodes until each has ended, met its limit or filled the model's window."""
        longest = request.longest(model)
        windows = [fitting_window(rows[i].tokens, longest) for i in chosen]
        room = [rows[i].limit - rows[i].new for i in chosen]
        if longest is not None:
            room = [min(space, longest - len(w) + 1) for space, w in zip(room, windows, strict=True)]
        device = request.device
        constraints = Constraints(request=request, min_new_tokens=self.min_new_tokens, no_repeat_ngram=self.no_repeat_ngram)
        limits = torch.tensor([rows[i].limit for i in chosen], device=device)  # [A]
        index = torch.tensor([request.row_index[i] for i in chosen], device=device)  # [A]
        step = torch.tensor([rows[i].new for i in chosen], device=device)  # [A]
        left = torch.tensor(room, device=device)  # [A] tokens each active row may choose here
        written = _Written([rows[i] for i in chosen], max(room), device)
        log_probability = torch.full((len(chosen),), 0.0 if request.probabilities else math.nan, device=device)  # [A] of what is chosen here

        def restrict(scores: Tensor) -> Tensor:
            return constraints(scores, step, limits, written.so_far)

        only_likeliest = self.is_greedy and not request.probabilities
        logits, state = model.start(request.inputs(chosen, windows), capacity=max(len(w) for w in windows) + max(room))
        logits = checked(logits)
        tokens = torch.empty_like(step)  # [A] the latest
        next_limit = min(room)
        for taken in range(1, max(room) + 1):
            if taken > 1 and only_likeliest:
                tokens = model.likeliest(tokens, state, restrict)  # [A]
            else:
                logits = logits if taken == 1 else model.step(tokens, state)
                tokens = self.choose(restrict(logits), index, step)  # [A]
            if request.probabilities:
                chances = logits.log_softmax(-1).gather(1, tokens[:, None]).squeeze(1)
                forced = constraints.is_forced(step, limits) if constraints.binding else None
                log_probability = log_probability + (chances if forced is None else chances.masked_fill(forced, 0.0))
            written.add(tokens)
            step = step + 1
            ends = None if request.end is None else tokens == request.end  # [A]
            if taken == next_limit or (ends is not None and bool(ends.any())):
                ends = torch.zeros_like(tokens, dtype=torch.bool) if ends is None else ends
                goes_on = (left > taken) & ~ends
                written.close((~goes_on).nonzero().squeeze(1), ends, log_probability)
                going = without_gaps(goes_on)
                if len(going) == 0:
                    break
                state.select(going)
                written.select(going)
                tokens, index, log_probability = tokens[going], index[going], log_probability[going]
                step, left, limits = step[going], left[going], limits[going]
                next_limit = int(left.min())


class _Written:
    """What is written in one window, put into the rows as they close."""

    def __init__(self, rows: list[_Row], length: int, device: torch.device | str) -> None:
        self.rows = rows
        """Those that are active, in the model's order."""
        self.new = torch.zeros(len(rows), length, dtype=torch.int64, device=device)
        self.length = 0
        """Of what is written of `new`."""

    def add(self, tokens: Tensor) -> None:
        """One more [A]."""
        self.new[:, self.length] = tokens
        self.length += 1

    def so_far(self) -> list[list[int]]:
        """All tokens of each active row."""
        return [[*row.tokens, *new] for row, new in zip(self.rows, self.new[:, : self.length].tolist(), strict=True)]

    def close(self, places: Tensor, ends: Tensor, log_probability: Tensor) -> None:
        """The rows at `places` get what was written; where one `ends`, its last token is no part of it."""
        facts = zip(places.tolist(), self.new[places, : self.length].tolist(), ends[places].tolist(), log_probability[places].tolist(), strict=True)
        for place, new, is_end, log_p in facts:
            row = self.rows[place]
            row.tokens += new[: len(new) - is_end]
            row.new += len(new)
            row.ended = is_end
            row.log_probability += log_p

    def select(self, places: Tensor) -> None:
        """Only the rows at `places` stay active, in that order."""
        self.rows = [self.rows[i] for i in places.tolist()]
        self.new = self.new[places]


@dataclass(kw_only=True)
class GreedyConfig(GenerationConfig):
    """The likeliest token, again and again."""

    def build(self, *, seed: int = 0) -> "Greedy":
        return Greedy(self)


class Greedy(StepwiseGenerator):
    """Takes the likeliest next token; the lowest id where several are equally likely."""

    @property
    def is_greedy(self) -> bool:
        return True

    def choose(self, logits: Tensor, index: Tensor, step: Tensor) -> Tensor:
        return likeliest(logits)
