"""The best possible loss on the built-in language: what a reader who knows the language loses on the very tokens a model is scored on.

`best_possible` reads the held-out windows of the `loss` evaluation, prepared by the objective itself; which positions count is read from
the example, so an objective needs no entry here. `HiddenWordFloor` is told which words are hidden. A floor exists where every token is a
whole word of the language (`tokenizer=word`) and no window crosses documents.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import torch
from torch import Tensor

from transformer_zoo.data.module import DataModule
from transformer_zoo.data.pocket import PocketLanguage
from transformer_zoo.data.pocket.floors import HIDDEN, PADDING, Floors
from transformer_zoo.data.pocket_data import PocketSource
from transformer_zoo.data.stream import evaluation_examples
from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.errors import DataError
from transformer_zoo.evaluation.base import EvaluationContext
from transformer_zoo.evaluation.loss import LossConfig
from transformer_zoo.objectives.base import Objective
from transformer_zoo.records import IGNORED, Batch, Example, PairBatch, SequenceInputs, SpecialTokens, TextBatch, TranslationBatch, TranslationInputs

logger = logging.getLogger(__name__)

_NO_WORD = -3
"""A token that is no word of the language."""
_NO_MASK = -1
"""The mask token of a tokenizer that has none."""

TermSums = dict[str, tuple[float, int]]
"""Loss term → (sum of nats, how many were scored)."""


class _NoFloor(Exception):  # noqa: N818 - not an error: an answer
    """There is no floor for this data, tokenizer or objective."""


def best_possible(config: LossConfig, context: EvaluationContext) -> dict[str, float] | None:
    """The floors of the metrics `loss` and, where there are several terms, `loss/<term>`, by the names that the `loss` evaluation of the
    same settings uses. None where there is no floor: data that is not the built-in language, a tokenizer that splits words, windows
    across documents, or an objective whose best loss is not known."""
    source, objective = context.data.source, context.objective
    if not isinstance(source, PocketSource):
        return None
    measure = _MEASURES.get(objective.needs().batch)
    if measure is None:
        return None
    reader = context.data.reader(config.split, objective.needs())
    reference = _Reference(source.language, context.data.tokenizer, longest=int(reader.sizes.max()))
    totals: TermSums = {}

    def scored(view: Objective, batch: Batch) -> Example:
        example = view.prepare(batch, training=False)
        for term, (nats, count) in measure(reference, view, batch, example).items():
            before = totals.get(term, (0.0, 0))
            totals[term] = (before[0] + nats, before[1] + count)
        return example

    try:
        for view in objective.views():
            examples = evaluation_examples(reader, partial(scored, view), batch_size=config.batch_size, max_samples=config.max_samples)
            for _ in context.guard(examples):
                pass
    except _NoFloor as reason:
        logger.info("no best possible loss: %s", reason)
        return None
    except DataError as problem:
        logger.warning("no best possible loss: %s", problem)
        return None
    return _named(totals, objective.held_out_weights, config.split)


def _named(totals: Mapping[str, tuple[float, int]], weights: Mapping[str, float], split: str) -> dict[str, float] | None:
    if set(totals) != set(weights):
        return None
    means = {term: nats / count if count else 0.0 for term, (nats, count) in totals.items()}
    floors = {"loss": sum(weight * means[term] for term, weight in weights.items())}
    if len(weights) > 1:
        floors |= {f"loss/{term}": means[term] for term in weights}
    return {f"{split}/{name}": value for name, value in floors.items()}


class HiddenWordFloor:
    """The best possible loss of words that somebody else has hidden in windows of running text."""

    def __init__(self, language: PocketLanguage, tokenizer: Tokenizer) -> None:
        self._reference = _Reference(language, tokenizer)
        self._known = True

    @classmethod
    def of(cls, data: DataModule) -> Self | None:
        """None where the text is not the built-in language."""
        return cls(data.source.language, data.tokenizer) if isinstance(data.source, PocketSource) else None

    def __call__(self, batch: TextBatch, hidden: np.ndarray) -> float:
        """Nats of the `hidden` [B,T] words of a batch, added up; NaN where no floor is known, from then on for all batches."""
        if not self._known:
            return math.nan
        try:
            nats, _ = _hidden_words(self._reference, batch, batch.token_ids.masked_fill(torch.from_numpy(hidden), self._reference.mask), hidden)
            return nats
        except _NoFloor as reason:
            logger.info("no best possible loss: %s", reason)
        except DataError as problem:
            logger.warning("no best possible loss: %s", problem)
        self._known = False
        return math.nan


class NextWordFloor:
    """The best possible loss of words of running text, each given those before it in its window."""

    def __init__(self, language: PocketLanguage, tokenizer: Tokenizer) -> None:
        self._reference = _Reference(language, tokenizer)

    @classmethod
    def of(cls, data: DataModule) -> Self | None:
        """None where the text is not the built-in language."""
        return cls(data.source.language, data.tokenizer) if isinstance(data.source, PocketSource) else None

    def __call__(self, batch: TextBatch, scored: np.ndarray) -> float:
        """Nats of the `scored` [B,T] words of a batch, added up; NaN where no floor is known."""
        nothing = np.zeros_like(scored)
        try:
            segments = self._reference.segments(batch.token_ids, batch.token_ids, _inside(self._reference, batch), nothing)
            return _at(self._reference.floors.next_word(segments.truth, _cuts(batch)[0]), segments, scored)[0]
        except _NoFloor as reason:
            logger.info("no best possible loss: %s", reason)
        except DataError as problem:
            logger.warning("no best possible loss: %s", problem)
        return math.nan


@dataclass
class _Segments:
    """Rows of word symbols with the places they stand at in the batch."""

    shown: np.ndarray  # [B, L] with HIDDEN and PADDING
    truth: np.ndarray  # [B, L] without HIDDEN
    columns: np.ndarray  # [B, L] the column of each symbol in its row; 0 on padding


class _Reference:
    """The language seen through a tokenizer."""

    def __init__(self, language: PocketLanguage, tokenizer: Tokenizer, longest: int = 0) -> None:
        """`longest`: tokens of the longest row, where that matters."""
        self.longest = longest
        self.floors = Floors(language)
        self.specials: SpecialTokens = tokenizer.vocabulary.specials
        self.mask = _NO_MASK if self.specials.mask is None else self.specials.mask
        spelled = [tokenizer.token(token) for token in range(tokenizer.vocabulary.size)]
        self.source = _numbered(spelled, language.words)
        self.target = _numbered(spelled, language.target_words)
        end = self.specials.end
        if end is not None:
            self.source[end] = language.end_symbol

    def segments(self, truth: Tensor, shown: Tensor, inside: Tensor, scored: np.ndarray) -> _Segments:
        """The ordinary tokens `inside` [B, T] of rows as they are and as a model sees them, pushed to the left."""
        symbols, where = self.source[truth.numpy()], inside.numpy()
        is_mask = (shown == self.mask).numpy()
        if (symbols[where] == _NO_WORD).any():
            raise _NoFloor("tokens are no whole words")
        if (is_mask != scored)[where].any() or (shown != truth).numpy()[where & ~is_mask].any():
            raise _NoFloor("what is predicted is not what is hidden")
        order = np.argsort(~where, axis=1, kind="stable")[:, : max(int(where.sum(axis=1).max()), 1)]
        kept = np.take_along_axis(where, order, axis=1)
        words = np.where(kept, np.take_along_axis(symbols, order, axis=1), PADDING)
        hidden = kept & np.take_along_axis(is_mask, order, axis=1)
        return _Segments(shown=np.where(hidden, HIDDEN, words), truth=words, columns=np.where(kept, order, 0))


def _numbered(spelled: list[str], words: tuple[str, ...]) -> np.ndarray:
    numbers = {word: number for number, word in enumerate(words)}
    return np.array([numbers.get(token, _NO_WORD) for token in spelled], dtype=np.int64)


def scored_places(targets: Tensor, predict_at: Tensor | None, shape: Sequence[int]) -> np.ndarray:
    """[B, T] bool: at which positions of the model's rows the flat targets [N] are predicted."""
    places = torch.arange(len(targets)) if predict_at is None else predict_at
    flat = torch.zeros(shape[0] * shape[1], dtype=torch.bool)
    flat[places[targets != IGNORED]] = True
    return flat.reshape(shape).numpy()


# --- one way to measure for each kind of batch ------------------------------------------------------------------------------------


def _text(reference: _Reference, objective: Objective, batch: Batch, example: Example) -> TermSums:
    """Windows of one document: next words, or hidden ones."""
    assert isinstance(batch, TextBatch)
    term, shape = _only_language_term(objective), batch.token_ids.shape
    if isinstance(example.inputs, TranslationInputs):
        return {term: _continued(reference, batch, example.inputs)}
    if not isinstance(example.inputs, SequenceInputs):
        raise _NoFloor("the model does not read windows of text")
    if not objective.needs().causal:
        return {term: _hidden_words(reference, batch, _seen(example), scored_places(_targets(example, term), example.inputs.predict_at, shape))}
    scored = np.zeros(shape, dtype=bool)
    ahead = scored_places(_targets(example, term), example.inputs.predict_at, (shape[0], shape[1] - 1))
    scored[:, 1:] = ahead  # position t predicts the token at t + 1
    segments = reference.segments(batch.token_ids, batch.token_ids, _inside(reference, batch), np.zeros_like(scored))
    return {term: _at(reference.floors.next_word(segments.truth, _cuts(batch)[0]), segments, scored)}


def _hidden_words(reference: _Reference, batch: TextBatch, shown: Tensor, hidden: np.ndarray) -> tuple[float, int]:
    """The sum of nats of the hidden words of windows that are shown as `shown` [B,T], and their number."""
    offset, ends_document = _cuts(batch)
    segments = reference.segments(batch.token_ids, shown, _inside(reference, batch), hidden)
    return _at(reference.floors.masked_words(segments.shown, segments.truth, offset, ends_document), segments, hidden)


def _cuts(batch: TextBatch) -> tuple[np.ndarray, np.ndarray]:
    """Where windows were cut from their documents: words in front [B], and whether they end with the document [B]."""
    if batch.offset is None or batch.ends_document is None:
        raise _NoFloor("windows cross documents; use data.packing=separate")
    return batch.offset.numpy(), batch.ends_document.numpy()


def _inside(reference: _Reference, batch: TextBatch) -> Tensor:
    """[B,T] bool: the words of windows."""
    return batch.valid & ~_is(batch.token_ids, _frame(reference.specials))


def _continued(reference: _Reference, batch: TextBatch, inputs: TranslationInputs) -> tuple[float, int]:
    """The rest of each window after a first part that was read, and the end token behind it: in a window as long as any it says nothing; in a
    shorter one the document ends there. What the place of the split tells about the window's length, up to 0.01 nats a token, is not counted."""
    offset, _ = _cuts(batch)
    source, target, end = inputs.source, inputs.target, reference.specials.end
    assert target.valid is not None
    assert end is not None
    n_read = (source.valid.sum(dim=1) if source.valid is not None else torch.full((len(batch.valid),), source.token_ids.shape[1])) - 1  # [B]
    lengths, column = batch.valid.sum(dim=1), torch.arange(batch.valid.shape[1] + 1)
    whole = torch.cat((batch.token_ids, batch.token_ids[:, :1]), dim=1)  # [B,T+1]
    whole = whole.where(column != lengths.unsqueeze(1), torch.tensor(end))
    reads = torch.cat((source.token_ids, source.token_ids[:, :1]), dim=1)[:, : int(n_read.max())]
    in_front = column < n_read.unsqueeze(1)  # [B,T+1]
    if (reads != whole[:, : reads.shape[1]])[in_front[:, : reads.shape[1]]].any() or (target.valid.sum(dim=1) != lengths - n_read + 1).any():
        raise _NoFloor("what is written does not continue what is read")
    ended = lengths < reference.longest
    segments = reference.segments(whole, whole, column < (lengths + ended).unsqueeze(1), np.zeros(whole.shape, dtype=bool))
    losses = reference.floors.next_word(segments.truth, offset)
    nats, _ = _at(losses, segments, (~in_front & (column <= lengths.unsqueeze(1))).numpy())
    return nats, int(target.valid.sum())


def _pairs(reference: _Reference, objective: Objective, batch: Batch, example: Example) -> TermSums:
    """Two segments: hidden words, and whether the second follows the first."""
    assert isinstance(batch, PairBatch)
    assert batch.origin is not None
    if objective.needs().consecutive:
        raise _NoFloor("the best possible loss on swapped pairs is not known")
    language = objective.language_term
    shape = batch.token_ids.shape
    scored = np.zeros(shape, dtype=bool)
    if language is not None:
        scored = scored_places(_targets(example, language), example.inputs.predict_at, shape)
    ordinary = batch.valid & ~_is(batch.token_ids, _frame(reference.specials))
    first, second = (
        reference.segments(batch.token_ids, _seen(example), ordinary & (batch.segment_ids == number), scored & (batch.segment_ids == number).numpy())
        for number in (0, 1)
    )
    origin = batch.origin.numpy()
    floor = reference.floors.pair(first.shown, second.shown, first.truth, second.truth, origin[:, 0], origin[:, 1])
    sums: TermSums = {}
    if language is not None:
        parts = [_at(losses, segments, scored) for losses, segments in ((floor.first, first), (floor.second, second))]
        sums[language] = (sum(nats for nats, _ in parts), sum(count for _, count in parts))
    for term in objective.weights:
        if term != language and torch.equal(_targets(example, term), batch.is_next):
            answers = floor.is_next[np.arange(len(origin)), batch.is_next.numpy()]
            sums[term] = (float(answers.sum()), len(answers))
    return sums


def _translations(reference: _Reference, objective: Objective, batch: Batch, example: Example) -> TermSums:
    """Target words after their source sentence. Every target word is scored, and its end, which costs nothing."""
    assert isinstance(batch, TranslationBatch)
    term = _only_language_term(objective)
    total = 0.0
    sides = [(batch.source_ids, batch.source_valid, reference.source), (batch.target_ids, batch.target_valid, reference.target)]
    rows = [
        [table[ids[valid & ~_is(ids, [*_frame(reference.specials), reference.specials.end])].numpy()] for ids, valid in zip(*side, strict=True)]
        for *side, table in sides
    ]
    for source, target in zip(*rows, strict=True):
        if (source == _NO_WORD).any() or (target == _NO_WORD).any():
            raise _NoFloor("tokens are no whole words")
        total += float(reference.floors.translation(source, target).sum())
    return {term: (total, example.counts[term])}


_MEASURES: dict[type[Batch], Callable[[_Reference, Objective, Batch, Example], TermSums]] = {
    TextBatch: _text,
    PairBatch: _pairs,
    TranslationBatch: _translations,
}


def _targets(example: Example, term: str) -> Tensor:
    """A term's targets; those of a mixture's part stand under the part's own name for it."""
    return example.targets[term.rpartition("/")[2]]


def _only_language_term(objective: Objective) -> str:
    term = objective.language_term
    if term is None or set(objective.weights) != {term}:
        raise _NoFloor("the objective has terms whose best loss is not known")
    return term


def _seen(example: Example) -> Tensor:
    """The tokens the model is shown."""
    tokens: Tensor = example.inputs.token_ids  # type: ignore[attr-defined]
    return tokens


def _frame(specials: SpecialTokens) -> list[int | None]:
    """Special tokens that are no symbol of the language: all but the end of a document."""
    return [specials.pad, specials.begin, specials.cls, specials.sep]


def _is(token_ids: Tensor, tokens: list[int | None]) -> Tensor:
    return torch.isin(token_ids, torch.tensor([token for token in tokens if token is not None]))


def _at(losses: np.ndarray, segments: _Segments, scored: np.ndarray) -> tuple[float, int]:
    """The losses [B, L] of symbols that stand at scored places, summed, and their number."""
    counted = np.take_along_axis(scored, segments.columns, axis=1) & (segments.truth != PADDING)
    return float(losses[counted].sum()), int(counted.sum())
