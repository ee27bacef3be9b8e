"""Beam search with a length penalty, over any model that predicts next tokens."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from einops import rearrange
from torch import Tensor

from transformer_zoo.generation.base import (
    Constraints,
    DecodableModel,
    Generated,
    GenerationConfig,
    Generator,
    Request,
    checked,
    fixed_limits,
    inference,
    without_gaps,
)
from transformer_zoo.layers.choosing import topmost
from transformer_zoo.settings import NonNegativeFloat, OneOf, PositiveInt

IMPOSSIBLE = float("-inf")


@dataclass(kw_only=True)
class BeamConfig(GenerationConfig):
    """Keeps the best few hypotheses of every row; a finished one is ranked by log-probability divided by its length penalty."""

    beam_size: PositiveInt = 4
    """Hypotheses kept per row; 1 is greedy decoding."""
    length_penalty: NonNegativeFloat = 0.6
    """Exponent alpha of the length penalty: 0 prefers short answers, more prefers longer ones."""
    length_penalty_form: Annotated[str, OneOf("gnmt", "power")] = "gnmt"
    """`gnmt`: ((5 + length) / 6)^alpha, as in the 2017 Transformer (https://arxiv.org/abs/1609.08144); `power`: length^alpha, as in
    transformers. The length counts new tokens, the end token included. They also part at a row's limit: with `gnmt` a hypothesis that is cut off
    there is an answer only where none has finished, with `power` it competes with the finished ones by its score."""
    early_stopping: Annotated[str, OneOf("always", "heuristic", "never")] = "heuristic"
    """When a row with `beam_size` finished hypotheses stops. `always`: at once. `heuristic`: when no running hypothesis, at its present
    length, beats the worst finished one. `never`: when none could even at the most favourable length. (`True`, `False` and "never" in
    transformers.)"""

    def build(self, *, seed: int = 0) -> "BeamSearch":
        return BeamSearch(self)


def length_penalty(form: str, alpha: float) -> Callable[[int | Tensor], float | Tensor]:
    """The penalty as a function of the number of new tokens."""
    if form == "gnmt":
        return lambda length: ((5 + length) / 6) ** alpha
    return lambda length: length**alpha


@dataclass
class _Beams:
    """The search's tensors; all are cut down together as rows finish. A: active rows, k: beam size, L: most new tokens."""

    rows: Tensor  # [A] the row of the request
    limits: Tensor  # [A] new tokens each may get
    scores: Tensor  # [A, k] log-probabilities of the running hypotheses, -inf where there is none
    tokens: Tensor  # [A, k, L] their new tokens
    finished_scores: Tensor  # [A, k] penalised, descending, -inf where there is none
    finished_log_p: Tensor  # [A, k]
    finished_tokens: Tensor  # [A, k, L]
    finished_lengths: Tensor  # [A, k] the end token included
    finished_ended: Tensor  # [A, k] False where the limit cut one off

    def select(self, keep: Tensor) -> None:
        for name, value in vars(self).items():
            setattr(self, name, value[keep])


class BeamSearch(Generator):
    """Every step extends each running hypothesis by every token and looks at the best 2k of a row: those that end and rank among the
    first k are put among the finished ones, the best k that do not end go on. So with k ended hypotheses among the 2k there are still k
    to go on with. A row whose limit comes before anything finished answers with its running hypotheses."""

    def __init__(self, config: BeamConfig) -> None:
        self.config = config
        self.penalty = length_penalty(config.length_penalty_form, config.length_penalty)
        self.cut_off_competes = config.length_penalty_form == "power"

    def generate(self, model: DecodableModel, request: Request) -> list[Generated]:
        return [hypotheses[0] for hypotheses in self.search(model, request)]

    def search(self, model: DecodableModel, request: Request) -> list[list[Generated]]:
        """Per row up to `beam_size` hypotheses, the best first."""
        limits = fixed_limits(model, request, self.config.max_new_tokens)
        answers: list[list[Generated]] = [[] for _ in range(len(request))]
        if not answers:
            return answers
        k, longest = self.config.beam_size, max(limits)
        beams = self._start(limits, k, longest, request.device)
        constraints = Constraints(request=request, min_new_tokens=self.config.min_new_tokens, no_repeat_ngram=self.config.no_repeat_ngram)
        capacity = max(len(prefix) for prefix in request.prefixes) + longest
        with inference(model):
            logits, state = model.start(request.inputs(range(len(request)), request.prefixes), capacity=capacity)
            state.spread(k)
            logits = checked(logits).repeat_interleave(k, dim=0)
            for length in range(1, longest + 1):
                parents = self._advance(beams, self._log_probabilities(logits, beams, constraints, length), length, request.end)  # [A, k]
                done = self._done(beams, length)
                for place in done.nonzero().squeeze(1).tolist():
                    answers[int(beams.rows[place])] = self._answer(beams, place, length)
                if bool(done.all()):
                    break
                keep = without_gaps(~done)
                flat = parents + k * torch.arange(len(parents), device=parents.device)[:, None]
                if len(keep) < len(parents):
                    beams.select(keep)
                state.select(rearrange(flat[keep], "a k -> (a k)"))
                logits = model.step(rearrange(beams.tokens[:, :, length - 1], "a k -> (a k)"), state)
        return answers

    def _start(self, limits: list[int], k: int, longest: int, device: torch.device | str) -> _Beams:
        rows = len(limits)
        scores = torch.full((rows, k), IMPOSSIBLE, device=device)
        scores[:, 0] = 0.0  # all k are the same prompt: only one may branch
        empty = torch.full((rows, k), IMPOSSIBLE, device=device)
        tokens = torch.zeros(rows, k, longest, dtype=torch.int64, device=device)
        lengths = torch.zeros(rows, k, dtype=torch.int64, device=device)
        return _Beams(
            rows=torch.arange(rows, device=device),
            limits=torch.tensor(limits, device=device),
            scores=scores,
            tokens=tokens,
            finished_scores=empty,
            finished_log_p=empty.clone(),
            finished_tokens=tokens.clone(),
            finished_lengths=lengths,
            finished_ended=torch.zeros_like(lengths, dtype=torch.bool),
        )

    def _log_probabilities(self, logits: Tensor, beams: _Beams, constraints: Constraints, length: int) -> Tensor:
        """[A·k, V] float32, -inf for tokens that may not come now."""
        limits = beams.limits.repeat_interleave(beams.scores.shape[1])  # [A·k]
        prefixes = constraints.request.prefixes

        def rows() -> list[list[int]]:
            written = zip(beams.rows.tolist(), beams.tokens[:, :, : length - 1].tolist(), strict=True)
            return [[*prefixes[row], *tokens] for row, hypotheses in written for tokens in hypotheses]

        return constraints(logits.float().log_softmax(-1), torch.full_like(limits, length - 1), limits, rows)

    def _advance(self, beams: _Beams, log_p: Tensor, length: int, end: int | None) -> Tensor:
        """Extends the running hypotheses by one token; [A, k] which of the old ones each new one extends."""
        k, vocabulary = beams.scores.shape[1], log_p.shape[-1]
        # The best of a row are among the best of each of its hypotheses.
        own, token = topmost(log_p, min(2 * k, vocabulary))  # [A·k, N]
        candidates = rearrange(beams.scores, "a k -> a k 1") + rearrange(own, "(a k) n -> a k n", k=k)
        best, place = rearrange(candidates, "a k n -> a (k n)").topk(min(2 * k, candidates[0].numel()), dim=-1)  # [A, 2k] descending
        parent, token = place // own.shape[1], rearrange(token, "(a k) n -> a (k n)", k=k).gather(1, place)
        ends = token == end if end is not None else torch.zeros_like(token, dtype=torch.bool)

        stops = ends | (beams.limits <= length)[:, None] if self.cut_off_competes else ends
        self._finish(beams, best.masked_fill(~stops, IMPOSSIBLE)[:, :k], parent[:, :k], token[:, :k], ends[:, :k], length)

        order = ends.int().argsort(dim=-1, stable=True)[:, :k]  # those that go on first, the best of them first
        beams.scores = best.masked_fill(ends, IMPOSSIBLE).gather(1, order)
        parent, token = parent.gather(1, order), token.gather(1, order)
        beams.tokens = _gathered(beams.tokens, parent)
        beams.tokens[:, :, length - 1] = token
        return parent

    def _finish(self, beams: _Beams, log_p: Tensor, parent: Tensor, token: Tensor, ends: Tensor, length: int) -> None:
        """Puts candidates [A, k] that end now (log_p above -inf) among the finished hypotheses and keeps the best k of all."""
        if not bool((log_p > IMPOSSIBLE).any()):
            return
        scores = torch.cat([beams.finished_scores, log_p / self.penalty(length)], dim=1)  # [A, 2k]
        beams.finished_scores, chosen = scores.topk(beams.scores.shape[1], dim=-1)
        beams.finished_log_p = torch.cat([beams.finished_log_p, log_p], dim=1).gather(1, chosen)
        lengths = torch.cat([beams.finished_lengths, torch.full_like(parent, length)], dim=1)
        beams.finished_lengths = lengths.gather(1, chosen)
        beams.finished_ended = torch.cat([beams.finished_ended, ends], dim=1).gather(1, chosen)
        tokens = _gathered(beams.tokens, parent)
        tokens[:, :, length - 1] = token
        beams.finished_tokens = _gathered(torch.cat([beams.finished_tokens, tokens], dim=1), chosen)

    def _done(self, beams: _Beams, length: int) -> Tensor:
        """[A] rows that can stop: at their limit, with nothing left to extend, or as `early_stopping` says."""
        worst = beams.finished_scores[:, -1]  # -inf until k have finished
        best_running = beams.scores[:, 0]
        over = (beams.limits <= length) | (best_running == IMPOSSIBLE)
        if self.config.early_stopping == "always":
            return over | (worst > IMPOSSIBLE)
        reach: int | Tensor = beams.limits if self.config.early_stopping == "never" else length
        return over | (worst >= best_running / self.penalty(reach))

    def _answer(self, beams: _Beams, place: int, length: int) -> list[Generated]:
        finished = [
            Generated(token_ids=tokens[: count - ended], log_probability=log_p, score=score, ended=ended)
            for tokens, count, ended, log_p, score in zip(
                beams.finished_tokens[place].tolist(),
                beams.finished_lengths[place].tolist(),
                beams.finished_ended[place].tolist(),
                beams.finished_log_p[place].tolist(),
                beams.finished_scores[place].tolist(),
                strict=True,
            )
            if score > IMPOSSIBLE
        ]
        if finished:
            return finished
        penalty = float(self.penalty(length))
        return [
            Generated(token_ids=tokens[:length], log_probability=log_p, score=log_p / penalty, ended=False)
            for tokens, log_p in zip(beams.tokens[place].tolist(), beams.scores[place].tolist(), strict=True)
            if log_p > IMPOSSIBLE
        ]


def _gathered(tokens: Tensor, places: Tensor) -> Tensor:
    """Hypotheses [A, k', L] at places [A, k] of the second axis."""
    return tokens.gather(1, places[:, :, None].expand(-1, -1, tokens.shape[-1]))
