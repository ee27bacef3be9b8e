"""The sampler of masks: chooses, shows and counts."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from transformer_zoo.objectives.maskable import Maskable
from transformer_zoo.objectives.masking.config import MaskingConfig
from transformer_zoo.objectives.masking.ledger import tally
from transformer_zoo.objectives.masking.pieces import Order
from transformer_zoo.randomness import uniform, uniform_at, whole
from transformer_zoo.records import IGNORED, Rows, TokenBatch, Vocabulary


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which tokens of a batch are hidden, and which of these are predicted."""

    hidden: np.ndarray  # [B,T] bool
    predicted: np.ndarray  # [B,T] bool, a part of `hidden`
    ratios: np.ndarray  # [B] shares to hide, as they were asked for
    n_ordinary: np.ndarray  # [B] tokens that might have been hidden


@dataclass(frozen=True, kw_only=True)
class Masked:
    """A batch with tokens hidden."""

    seen: Tensor  # [B,T] int64: what a model is shown
    targets: Tensor  # [B,T] int64: what is predicted, IGNORED elsewhere
    predicted: np.ndarray  # [B,T] bool
    n_predicted: int
    ledger: dict[str, float]
    """Sums for the run's ledger."""


class MaskSampler:
    """Hides tokens of a batch as the settings say; a pure function of the batch and its rows.

    In evaluation the ratio is `mask_ratio` whatever the schedule, and every hidden token is shown as [MASK], so that losses do not depend on the
    split a model was trained with.
    """

    def __init__(self, config: MaskingConfig, vocabulary: Vocabulary) -> None:
        assert vocabulary.specials.mask is not None, "the assembly refuses a tokenizer without a mask token"
        self.config, self.mask_id = config, vocabulary.specials.mask
        self.maskable = Maskable(vocabulary)
        self.unit = config.unit.build(vocabulary)
        self._special = np.zeros(vocabulary.size, dtype=bool)
        self._special[[i for i in (*vocabulary.specials.ids(), *vocabulary.sentinels) if i != vocabulary.specials.unknown]] = True

    def __call__(self, batch: TokenBatch, *, training: bool) -> Masked:
        """Choose and show."""
        return self.show(batch, self.choose(batch, training=training), training=training)

    # --- choosing ------------------------------------------------------------------------------------------------------------------

    def choose(self, batch: TokenBatch, *, training: bool) -> Choice:
        """Which tokens are hidden and which predicted. The predicted ones come first in the order in which tokens are hidden, so that with equal
        rates they are the same, and a longer list begins with the shorter one."""
        config, maskable, rows = self.config, self.maskable(batch), self._rows(batch.rows)
        ratios = config.ratio_schedule.ratios(config.mask_ratio, rows) if training else np.full(len(maskable), config.mask_ratio)
        n_ordinary = maskable.sum(axis=1)
        pieces = self.unit.pieces(batch, rows, maskable)
        order = Order(pieces, None if pieces.wholes is None else uniform(rows, "mask: border", 1)[:, 0])
        corruption = ratios if config.corruption_rate is None else np.full_like(ratios, config.corruption_rate)
        prediction = ratios if config.prediction_rate is None else np.full_like(ratios, config.prediction_rate)
        predicted = hidden = order.first(order.rounded(self._counts(order, n_ordinary, prediction), config.max_predictions))
        if not np.array_equal(corruption, prediction):
            more = order.first(order.rounded(self._counts(order, n_ordinary, corruption), None))
            hidden = np.where((corruption == prediction)[:, None], predicted, more)  # a row's mask is its own affair
        return Choice(hidden=hidden, predicted=predicted, ratios=corruption, n_ordinary=n_ordinary)

    def _rows(self, rows: Rows) -> Rows:
        """The rows whose masks these get."""
        cycle = self.config.epoch_cycle
        return rows if cycle is None else replace(rows, epoch=rows.epoch % cycle)

    def _counts(self, order: Order, n_ordinary: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """[B] int64: how many tokens of each row a rate [B] asks for; at least one of a row that has any."""
        counts = np.round(n_ordinary * rates) if self.config.count == "exact" else order.below(rates)
        return np.minimum(np.maximum(counts, 1), n_ordinary).astype(np.int64)

    # --- showing -------------------------------------------------------------------------------------------------------------------

    def show(self, batch: TokenBatch, choice: Choice, *, training: bool) -> Masked:
        """What a model sees of the batch, what it must say, and what was done."""
        config, rows, ids, valid = self.config, self._rows(batch.rows), batch.token_ids.numpy(), batch.valid.numpy()
        seen, targets = ids.copy(), np.where(choice.predicted, ids, IGNORED)
        row, place = np.nonzero(choice.hidden)
        n_hidden = n_as_mask = len(row)
        n_as_random = 0
        n_specials = int((self._special[ids[row, place]] | ~valid[row, place]).sum())
        if training:
            how = uniform_at(rows, "mask: how", row, place)  # [N]
            as_mask = how < config.mask_share
            seen[row[as_mask], place[as_mask]] = self.mask_id
            replaced = ~as_mask & (how < config.mask_share + config.random_share)
            n_as_mask, n_as_random = int(as_mask.sum()), int(replaced.sum())
            self._put_random(seen, rows, row[replaced], place[replaced])
        else:
            seen[row, place] = self.mask_id
        n_predicted = choice.predicted.sum(axis=1)
        ledger = tally(
            ratios=choice.ratios,
            valid=valid,
            n_ordinary=choice.n_ordinary,
            n_predicted=n_predicted,
            n_specials=n_specials,
            n_as_mask=n_as_mask,
            n_as_random=n_as_random,
            n_as_is=n_hidden - n_as_mask - n_as_random,
        )
        return Masked(
            seen=torch.from_numpy(seen),
            targets=torch.from_numpy(targets),
            predicted=choice.predicted,
            n_predicted=int(n_predicted.sum()),
            ledger=ledger,
        )

    def _put_random(self, seen: np.ndarray, rows: Rows, row: np.ndarray, place: np.ndarray) -> None:
        """Put ordinary tokens, all equally likely, at places [N]."""
        drawn = whole(uniform_at(rows, "mask: random token", row, place), len(self.maskable.ordinary_ids))
        seen[row, place] = self.maskable.ordinary_ids[drawn]
