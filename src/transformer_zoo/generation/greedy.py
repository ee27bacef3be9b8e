"""Decoding token by token: the loop that greedy decoding and sampling share, and greedy decoding itself."""

import logging
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

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
from transformer_zoo.generation.choosing import likeliest

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
        left = torch.tensor(room, device=device)  # [A] tokens each active row may still choose here
        index = torch.tensor([request.row_index[i] for i in chosen], device=device)  # [A]
        step = torch.tensor([rows[i].new for i in chosen], device=device)  # [A]
        active = torch.arange(len(chosen), device=device)  # [A] their places among the chosen
        steps = max(room)
        new = torch.zeros(len(chosen), steps, dtype=torch.int64, device=device)
        log_probability = torch.zeros(len(chosen), device=device)
        taken = torch.zeros(len(chosen), dtype=torch.int64, device=device)
        ended = torch.zeros(len(chosen), dtype=torch.bool, device=device)

        logits, state = model.start(request.inputs(chosen, windows), capacity=max(len(w) for w in windows) + steps)
        logits = checked(logits)
        for at in range(steps):
            so_far = partial(_so_far, rows, chosen, active, new[:, :at])
            tokens = self.choose(constraints(logits, step, limits, so_far), index, step)  # [A]
            chances = logits.log_softmax(-1).gather(1, tokens[:, None]).squeeze(1)
            if constraints.binding:
                chances = chances.masked_fill(constraints.is_forced(step, limits), 0.0)
            log_probability[active] += chances
            new[active, at] = tokens
            taken[active] += 1
            step, left = step + 1, left - 1
            is_end = tokens == request.end if request.end is not None else torch.zeros_like(tokens, dtype=torch.bool)
            ended[active] = is_end
            going = without_gaps((left > 0) & ~is_end)
            if len(going) == 0:
                break
            if len(going) < len(active):
                state.select(going)
                active, tokens, index = active[going], tokens[going], index[going]
                step, left, limits = step[going], left[going], limits[going]
            logits = model.step(tokens, state)

        columns = zip(new.tolist(), taken.tolist(), ended.tolist(), log_probability.tolist(), strict=True)
        for i, (ids, count, is_over, log_p) in zip(chosen, columns, strict=True):
            rows[i].tokens += ids[: count - is_over]
            rows[i].new += count
            rows[i].ended = is_over
            rows[i].log_probability += log_p


def _so_far(rows: Sequence[_Row], chosen: Sequence[int], active: Tensor, new: Tensor) -> list[list[int]]:
    """All tokens of each active row: those it had, and its new ones, a row of `new` [n, t]."""
    return [[*rows[chosen[i]].tokens, *more] for i, more in zip(active.tolist(), new[active].tolist(), strict=True)]


@dataclass(kw_only=True)
class GreedyConfig(GenerationConfig):
    """The likeliest token, again and again."""

    def build(self, *, seed: int = 0) -> "Greedy":
        return Greedy(self)


class Greedy(StepwiseGenerator):
    """Takes the likeliest next token; the lowest id where several are equally likely."""

    def choose(self, logits: Tensor, index: Tensor, step: Tensor) -> Tensor:
        return likeliest(logits)
