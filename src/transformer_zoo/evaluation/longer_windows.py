"""Does a decoder gain from more text than it was trained on? The same held-out tokens, read in windows of growing length (the question of
Press et al. 2022, https://arxiv.org/abs/2108.12409)."""

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from transformer_zoo.data.batching import Reader
from transformer_zoo.data.stream import evaluation_batches
from transformer_zoo.errors import ConfigError, DataError
from transformer_zoo.evaluation.base import Evaluation, EvaluationConfig, EvaluationContext, EvaluationReport
from transformer_zoo.evaluation.loss import bits_per_byte
from transformer_zoo.generation.base import inference
from transformer_zoo.objectives.base import Objective
from transformer_zoo.records import Example, Rows, TextBatch
from transformer_zoo.settings import PositiveInt

NAME = "lengths"


@dataclass(kw_only=True)
class LengthsConfig(EvaluationConfig):
    """Loss in windows of one, two, four … times the trained length, over the same tokens each time."""

    multiples: list[PositiveInt] = field(default_factory=lambda: [1, 2, 4])
    """Lengths as multiples of `data.sequence_length`; each must divide the largest."""
    batch_size: PositiveInt = 16
    """Windows of the largest length per forward; of shorter ones as many more. Results do not depend on it but for rounding."""

    def problems(self) -> list[str]:
        """Multiples into which the longest windows cannot be cut."""
        if not self.multiples:
            return ["multiples is empty: give at least one, such as [1,2,4]"]
        longest = max(self.multiples)
        return [
            f"multiples={self.multiples}: {multiple} does not divide {longest}, so that the same tokens cannot be read in windows of both"
            for multiple in self.multiples
            if longest % multiple
        ]

    def build(self, context: EvaluationContext) -> "Lengths":
        return Lengths(self, context)


class Lengths(Evaluation):
    """`lengths/<m>/loss` in nats per token, `/perplexity` and `/bits_per_byte` of windows `m` times as long as those of the training. The windows of
    the largest length are cut into shorter ones, so that every length predicts the very same tokens; only whole windows are read. A length
    for which the model has no positions is left out and named in the notes."""

    def __init__(self, config: LengthsConfig, context: EvaluationContext) -> None:
        self.config, self.context = config, context
        needs = context.objective.needs()
        if needs.batch is not TextBatch or not needs.lookahead or context.data.config.packing == "separate":
            raise ConfigError(
                f"evaluation={NAME} reads running text from left to right: it needs a run with objective=clm on data.packing=concatenate "
                "(rows that end where documents do cannot be made longer)"
            )
        self.trained = context.data.config.sequence_length
        self.longest = max(config.multiples)
        longer = replace(context.data.config, sequence_length=self.longest * self.trained)
        self.reader: Reader = context.data.beside(longer).reader(config.split, needs)
        if int(self.reader.sizes.max()) < self.longest * self.trained + 1:
            raise DataError(f"data.{config.split} has no {self.longest * self.trained} tokens in a row, which evaluation.multiples asks for")

    def report(self, model: nn.Module) -> EvaluationReport:
        limit = getattr(model, "max_length", None)
        metrics, notes = {}, {}
        for multiple in self.config.multiples:
            length = multiple * self.trained
            if limit is not None and length > limit:
                notes[f"{NAME}/{multiple}"] = f"not measured: the model has positions for {limit} tokens, not for {length}"
                continue
            nats, count = self._total(model, multiple)
            loss = nats / count
            place = f"{self.config.split}/{NAME}/{multiple}"
            metrics[f"{place}/loss"], metrics[f"{place}/perplexity"] = loss, math.exp(min(loss, 700.0))
            metrics[f"{place}/bits_per_byte"] = bits_per_byte(nats, count, self.reader)
            notes[NAME] = f"{int(count)} tokens at every length; trained at {self.trained}"
        if not metrics:
            raise ConfigError(
                f"evaluation={NAME}: the model has positions for {limit} tokens and was trained at {self.trained}; choose smaller multiples"
            )
        return EvaluationReport(metrics=metrics, notes=notes)

    def _total(self, model: nn.Module, multiple: int) -> tuple[float, float]:
        """Nats and predicted tokens of all whole windows."""
        context, config = self.context, self.config
        parts, length = self.longest // multiple, multiple * self.trained
        total = torch.zeros(2, dtype=torch.float64)

        batches = evaluation_batches(
            self.reader, batch_size=config.batch_size, rank=context.rank, world_size=context.world_size, max_samples=config.max_samples
        )
        with inference(model):
            for batch in context.guard(batches):
                windows = cut(batch, parts, length)
                if len(windows.token_ids):
                    example = context.objective.prepare(windows, training=False)
                    total += self._scored(model, context.objective, example.to(context.device))
        nats, count = context.total(total).tolist()
        return nats, count

    def _scored(self, model: nn.Module, objective: Objective, example: Example) -> Tensor:
        with self.context.autocast():
            report = objective.evaluate(model(example.inputs), example)
        return report.sums[f"loss/{objective.language_term}"].to("cpu", torch.float64)


def cut(batch: TextBatch, parts: int, length: int) -> TextBatch:
    """Rows of parts · length + 1 tokens as `parts` rows each of length + 1, which overlap by one; rows that are not whole are left out."""
    whole = batch.valid.all(dim=1) if batch.token_ids.shape[1] == parts * length + 1 else torch.zeros(len(batch.token_ids), dtype=torch.bool)

    def windows(values: Tensor) -> Tensor:
        return values[whole].unfold(1, length + 1, length).flatten(0, 1).contiguous()  # [B, parts · length + 1] -> [B · parts, length + 1]

    rows, documents = batch.rows, batch.document_ids
    return TextBatch(
        rows=Rows(seed=rows.seed, epoch=rows.epoch[whole].repeat_interleave(parts), index=rows.index[whole].repeat_interleave(parts)),
        token_ids=windows(batch.token_ids),
        valid=windows(batch.valid),
        document_ids=None if documents is None else windows(documents),
    )
