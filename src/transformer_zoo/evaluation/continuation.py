"""One question that every layout can be asked: how many bits does the second part of a text take after its first part?"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transformer_zoo.data.stream import evaluation_batches
from transformer_zoo.errors import ConfigError, DataError, NumericError
from transformer_zoo.evaluation.base import Evaluation, EvaluationConfig, EvaluationContext, EvaluationReport
from transformer_zoo.evaluation.floor import NextWordFloor
from transformer_zoo.evaluation.loss import bits_per_byte
from transformer_zoo.generation.base import inference
from transformer_zoo.objectives.base import chosen
from transformer_zoo.records import IGNORED, Inputs, Needs, SequenceInputs, SpecialTokens, TextBatch, TranslationInputs
from transformer_zoo.settings import PositiveInt, Ratio

NAME = "continuation"
WINDOWS = Needs(batch=TextBatch, inputs=SequenceInputs, causal=False, framed=True)
"""What is read: the same windows for every model, of which the frame is taken off again."""
ORDER_SEED = 0

Asked = Iterator[tuple[Inputs, Tensor]]
"""What a model reads, and the tokens [B,T] that it is asked for there (IGNORED elsewhere)."""


@dataclass(kw_only=True)
class ContinuationConfig(EvaluationConfig):
    """Every token of the second part of a window is predicted from all that stand before it in the window, whatever the model is."""

    share: Ratio = 0.5
    """Share of a window's tokens that are predicted."""
    batch_size: PositiveInt = 64
    """Rows per forward. Results do not depend on it but for rounding."""
    max_samples: PositiveInt | None = 200
    """Look at this many windows, evenly spread over the split; null: all. An encoder takes a forward of a row for each predicted token."""

    def build(self, context: EvaluationContext) -> "Continuation":
        return Continuation(self, context)


class Continuation(Evaluation):
    """Of whole windows in which no document ends, over the same tokens for every model with the same tokenizer and `sequence_length`:

    - `continuation/loss` (nats per token) and `continuation/bits_per_byte`. For all layouts a product of conditional probabilities, and so the
      length of a code for the text. A decoder reads the row; an encoder-decoder encodes the first part and writes the second; an encoder
      is asked for one token after another, which is hidden with all behind it. No encoder was trained to be asked so.
    - `continuation/floor` and `continuation/bits_per_byte_floor`: the least that anybody can reach, on the built-in language.
    - `continuation/pseudo_loss` and `continuation/pseudo_bits_per_byte` of an encoder: the same tokens, each hidden alone. It is told what stands
      behind, so this is no probability of the text and may be below the floor.
    """

    def __init__(self, config: ContinuationConfig, context: EvaluationContext) -> None:
        needs, vocabulary = context.objective.needs(), context.data.vocabulary
        if not context.data.gives(TextBatch):
            raise ConfigError(f"evaluation={NAME} reads running text, which the run's data does not hold: use evaluation=loss")
        self.config, self.context, self.specials = config, context, vocabulary.specials
        self.ways = _ways(needs, vocabulary.specials, context.objective.language_term)
        if not self.ways:
            raise ConfigError(
                f"evaluation={NAME} asks for the rest of a text, which this model was not trained to tell: it needs objective=clm, prefix_lm, mlm or "
                "another one that hides tokens; use evaluation=loss"
            )
        self.head = next(head for head, need in needs.heads.items() if need.kind == "vocabulary")
        self.reader = context.data.reader(config.split, WINDOWS)
        self.floor = NextWordFloor.of(context.data)

    def report(self, model: nn.Module) -> EvaluationReport:
        nats = dict.fromkeys(self.ways, 0.0)
        floor, n_rows, n_tokens = (0.0 if self.floor else math.nan), 0, 0
        with inference(model):
            for batch, text in self.texts():
                first = text.shape[1] - self._predicted(text)
                scored = np.zeros(batch.token_ids.shape, dtype=bool)
                scored[:, 1 + first : -1] = True  # behind [CLS] and the first part, in front of [SEP]
                n_rows, n_tokens = n_rows + len(text), n_tokens + int(scored.sum())
                floor += self.floor(batch, scored) if self.floor else 0.0
                begins = batch.offset == 0 if batch.offset is not None else torch.zeros(len(text), dtype=torch.bool)
                for name, way in self.ways.items():
                    for rows, opened in ((text[begins], True), (text[~begins], False)):
                        nats[name] += sum(self._nats(model, *asked) for asked in way(rows, first, opened, self.config.batch_size) if len(rows))
        sums = torch.tensor([*nats.values(), floor, n_tokens, n_rows], dtype=torch.float64)
        *totals, floor, tokens, rows = self.context.total(sums).tolist()
        return self._told(dict(zip(nats, totals, strict=True)), floor, int(tokens), int(rows))

    def texts(self) -> Iterator[tuple[TextBatch, Tensor]]:
        """Whole windows in which no document ends, as they are and without their frame [B,n]."""
        whole, special = int(self.reader.sizes.max()), torch.tensor(self.specials.ids())
        for batch in self.context.guard(
            evaluation_batches(
                self.reader,
                batch_size=self.config.batch_size,
                rank=self.context.rank,
                world_size=self.context.world_size,
                max_samples=self.config.max_samples,
                seed=ORDER_SEED,
            )
        ):
            assert isinstance(batch, TextBatch)
            text = batch.token_ids[:, 1:-1]
            kept = batch.valid.all(dim=1) & ~torch.isin(text, special).any(dim=1)
            if batch.token_ids.shape[1] == whole and bool(kept.any()):
                yield _rows(batch, kept), text[kept]

    def _predicted(self, text: Tensor) -> int:
        """Tokens of a window that are predicted: at least one, never all."""
        n = text.shape[1]
        return min(max(round(n * self.config.share), 1), n - 1)

    def _nats(self, model: nn.Module, inputs: Inputs, targets: Tensor) -> float:
        predict_at, wanted = chosen(targets)
        scorer: Any = model
        with self.context.autocast():
            scores = scorer.scorer(replace(inputs, predict_at=predict_at).to(self.context.device)).heads[self.head]
            losses, _ = scores.evaluate(wanted.to(self.context.device))
        return float(losses.cpu().double().sum())

    def _told(self, nats: dict[str, float], floor: float, tokens: int, rows: int) -> EvaluationReport:
        split = self.config.split
        if not tokens:
            raise DataError(f"data.{split}: no whole window without the end of a document in it; choose a smaller data.sequence_length or more text")
        if not all(map(math.isfinite, nats.values())):
            raise NumericError(f"the {split} loss is not finite: the model diverged; train with a lower optimizer.lr or a longer warm-up")
        metrics = {}
        for name, total in nats.items():
            metrics[f"{name}loss"], metrics[f"{name}bits_per_byte"] = total / tokens, bits_per_byte(total, tokens, self.reader)
        if math.isfinite(floor):
            metrics["floor"], metrics["bits_per_byte_floor"] = floor / tokens, bits_per_byte(floor, tokens, self.reader)
        return EvaluationReport(
            metrics={f"{split}/{NAME}/{name}": value for name, value in metrics.items()},
            notes={NAME: f"{tokens} tokens, the last {tokens // rows} of each of {rows} windows"},
        )


# --- how each kind of model is asked: texts [B,n], tokens of the first part, whether a document begins with them, rows per forward -------------

Way = Callable[[Tensor, int, bool, int], Asked]


def _ways(needs: Needs, specials: SpecialTokens, term: str | None) -> dict[str, Way]:
    """By the beginning of its metrics' names; empty where the objective teaches none."""
    if needs.inputs is TranslationInputs:
        return {"": _Written(specials)} if term == "prefix_lm" else {}  # others write something else than the rest
    if needs.hides_tokens:
        return {"": _Hidden(specials, also_behind=True), "pseudo_": _Hidden(specials, also_behind=False)}
    return {"": _Read(specials, prefix=needs.prefix)} if needs.causal and needs.lookahead else {}


class _Read:
    """A decoder reads the whole row; with `prefix`, the tokens of the first part see each other."""

    def __init__(self, specials: SpecialTokens, *, prefix: bool) -> None:
        self.begin = specials.begin if specials.begin is not None else specials.cls
        self.prefix = prefix

    def __call__(self, text: Tensor, first: int, opened: bool, batch_size: int) -> Asked:
        head = int(opened and self.begin is not None)
        for rows in text.split(batch_size):
            whole = torch.cat((rows.new_full((len(rows), head), self.begin or 0), rows), dim=1)  # [B,head+n]
            targets = whole[:, 1:].clone()
            targets[:, : head + first - 1] = IGNORED
            prefix = torch.full((len(rows),), head + first) if self.prefix else None
            yield SequenceInputs(token_ids=whole[:, :-1].contiguous(), prefix_length=prefix), targets


class _Written:
    """An encoder-decoder encodes the first part and writes the second."""

    def __init__(self, specials: SpecialTokens) -> None:
        assert specials.end is not None, "the objective has checked it"
        self.end, self.pad = specials.end, specials.pad

    def __call__(self, text: Tensor, first: int, opened: bool, batch_size: int) -> Asked:
        for rows in text.split(batch_size):
            source = torch.cat((rows[:, :first], rows.new_full((len(rows), 1), self.end)), dim=1)
            target = torch.cat((rows.new_full((len(rows), 1), self.pad), rows[:, first:-1]), dim=1)
            yield TranslationInputs(source=SequenceInputs(token_ids=source), target=SequenceInputs(token_ids=target)), rows[:, first:]


class _Hidden:
    """An encoder is asked for one token after another; hidden are it and, with `also_behind`, all that follow it."""

    def __init__(self, specials: SpecialTokens, *, also_behind: bool) -> None:
        assert specials.mask is not None and specials.cls is not None and specials.sep is not None, "the objective has checked it"
        self.mask, self.cls, self.sep, self.also_behind = specials.mask, specials.cls, specials.sep, also_behind

    def __call__(self, text: Tensor, first: int, opened: bool, batch_size: int) -> Asked:
        n = text.shape[1]
        asked = torch.arange(first, n)  # [K]
        places = torch.arange(n)
        hidden = places >= asked.unsqueeze(1) if self.also_behind else places == asked.unsqueeze(1)  # [K,n]
        wanted = places == asked.unsqueeze(1)
        for row in text:
            for some in torch.arange(len(asked)).split(batch_size):
                copies = row.expand(len(some), n)
                yield (
                    SequenceInputs(token_ids=self._framed(copies.masked_fill(hidden[some], self.mask), self.cls, self.sep)),
                    self._framed(copies.masked_fill(~wanted[some], IGNORED), IGNORED, IGNORED),
                )

    @staticmethod
    def _framed(rows: Tensor, before: int, behind: int) -> Tensor:
        return torch.cat((rows.new_full((len(rows), 1), before), rows, rows.new_full((len(rows), 1), behind)), dim=1)  # [B,n+2]


def _rows(batch: TextBatch, kept: Tensor) -> TextBatch:
    """The rows of a batch that are `kept` [B]."""

    def pick(values: Tensor | None) -> Tensor | None:
        return None if values is None else values[kept]

    return TextBatch(
        rows=batch.rows, token_ids=batch.token_ids[kept], valid=batch.valid[kept], offset=pick(batch.offset), ends_document=pick(batch.ends_document)
    )
