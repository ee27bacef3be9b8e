"""The mask grid: loss and accuracy at several ratios of hidden tokens, on masks that are the same for every model.

A loss that each run takes at the ratio it was trained with says nothing about another ratio. Here every held-out sample has one random
order of the tokens that may be hidden, and the mask at ratio r is the first r · n of them, all shown as [MASK]. So a mask holds every
smaller one, and all models that share tokenizer, data and sequence length are asked for the same tokens, which a hash of them shows.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from transformer_zoo.data.batching import Reader
from transformer_zoo.evaluation.base import Evaluation, EvaluationConfig, EvaluationContext, EvaluationReport
from transformer_zoo.evaluation.floor import HiddenWordFloor
from transformer_zoo.evaluation.hidden_text import HiddenText
from transformer_zoo.generation.base import inference
from transformer_zoo.objectives.corruption import ranks
from transformer_zoo.randomness import uniform
from transformer_zoo.records import TextBatch
from transformer_zoo.settings import Ratio

NAME = "mask_grid"
LIMBS = 16
"""A SHA-256 in pieces of 16 bits, of which float64 adds billions exactly."""


@dataclass(kw_only=True)
class MaskGridConfig(EvaluationConfig):
    """Loss, accuracy and bits per byte at several ratios of hidden tokens, on the same masks for every model."""

    ratios: list[Ratio] = field(default_factory=lambda: [0.15, 0.3, 0.4, 0.5, 0.8])
    """Shares of each row's ordinary tokens that are hidden: round(ratio · tokens) of them, at least one."""

    def problems(self) -> list[str]:
        """A grid has ratios, each once."""
        if not self.ratios:
            return ["ratios is empty; give at least one, such as [0.15]"]
        return [f"ratios names {ratio} twice" for ratio in dict.fromkeys(self.ratios) if self.ratios.count(ratio) > 1]

    def build(self, context: EvaluationContext) -> "MaskGrid":
        return MaskGrid(self, context)


class MaskGrid(Evaluation):
    """For each ratio, under `<split>/mask_grid/<ratio>/`:

    - `loss`: mean cross-entropy of a hidden token, in nats; `accuracy`: the share of them that the model says right; `predicted`: how many.
    - `bits_per_byte`: the loss in bits per byte of the text that the hidden tokens stand for, which is the same share of the split's UTF-8
      bytes as of its tokens. So it is loss / ln 2 · tokens of the split / bytes of the split, and does not depend on how long tokens are.
    - `floor`: the best possible loss on exactly these masks, on the built-in language in whole words and `packing=separate`.

    The notes hold `positions_sha256` for each ratio: equal where, and only where, the same tokens were hidden.
    """

    def __init__(self, config: MaskGridConfig, context: EvaluationContext) -> None:
        self.config, self.context = config, context
        self.text = HiddenText(NAME, config, context)
        self.floor = HiddenWordFloor.of(context.data)

    @property
    def reader(self) -> Reader:
        """The held-out samples."""
        return self.text.reader

    def report(self, model: nn.Module) -> EvaluationReport:
        ratios = self.config.ratios
        sums = torch.zeros(len(ratios), 3 + 1 + LIMBS, dtype=torch.float64)  # scores, floor, hash
        with inference(model):
            for batch in self.text.batches():
                for row, hidden in zip(sums, self.masks(batch), strict=True):
                    row[:3] += self.text.score(model, batch.sequence(), hidden)
                    row[3] += self.floor(batch, hidden) if self.floor is not None else 0.0
                    row[4:] += torch.from_numpy(fingerprints(batch, hidden))
        total = self.context.total(sums)
        return self._told({str(ratio): row for ratio, row in zip(ratios, total, strict=True)})

    def masks(self, batch: TextBatch) -> list[np.ndarray]:
        """For each ratio which positions [B,T] are hidden."""
        maskable = self.text.maskable(batch)  # [B,T]
        place = ranks(np.where(maskable, uniform(batch.rows, "mask grid: order", maskable.shape[1]), 2.0))  # the order of each row
        n_maskable = maskable.sum(axis=1)
        return [maskable & (place < n_hidden(n_maskable, ratio)[:, None]) for ratio in self.config.ratios]

    def _told(self, rows: dict[str, torch.Tensor]) -> EvaluationReport:
        metrics: dict[str, float] = {}
        notes: dict[str, str] = {}
        grid: dict[str, dict[str, Any]] = {}
        for ratio, row in rows.items():
            scores = self.text.summary(row[:3])
            found = {"loss": scores.loss, "accuracy": scores.accuracy, "bits_per_byte": scores.bits_per_byte, "predicted": scores.predicted}
            if self.floor is not None and bool(row[3].isfinite()):
                found["floor"] = float(row[3]) / scores.predicted
            place = f"{self.config.split}/{NAME}/{ratio}"
            metrics |= {f"{place}/{name}": value for name, value in found.items()}
            positions = hexadecimal(row[4:].tolist())
            notes[f"{place}/positions_sha256"] = positions
            grid[ratio] = {**found, "positions_sha256": positions}
        return EvaluationReport(metrics=metrics, notes=notes, parts=grid)


def n_hidden(n_maskable: np.ndarray, ratio: float) -> np.ndarray:
    """[B]: how many of a row's tokens a ratio hides; at least one where there is one."""
    return np.minimum(np.maximum(np.round(n_maskable * ratio), 1), n_maskable)


# --- the hash -----------------------------------------------------------------------------------------------------------------------


def fingerprints(batch: TextBatch, hidden: np.ndarray) -> np.ndarray:
    """[16] float64: the sum over rows of the SHA-256 of (sample, number of positions, positions, the tokens there), in pieces of 16 bits. A
    sum, so that neither the order of samples nor who added them up matters."""
    total = np.zeros(LIMBS)
    for index, ids, places in zip(batch.rows.index.tolist(), batch.token_ids.numpy(), hidden, strict=True):
        positions = np.flatnonzero(places)
        words = np.concatenate([[index, len(positions)], positions, ids[positions]]).astype("<i8")
        total += np.frombuffer(hashlib.sha256(words.tobytes()).digest(), dtype=">u2")
    return total


def hexadecimal(pieces: Sequence[float]) -> str:
    """The sum of hashes, modulo 2^256, as 64 hexadecimal digits."""
    return f"{sum(int(piece) << 16 * (LIMBS - 1 - place) for place, piece in enumerate(pieces)) % 2**256:064x}"
