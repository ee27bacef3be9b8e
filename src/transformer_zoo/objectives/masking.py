"""Choosing what to hide."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from transformer_zoo.objectives.maskable import Maskable
from transformer_zoo.randomness import uniform, uniform_at, whole
from transformer_zoo.records import IGNORED, TokenBatch, Vocabulary


@dataclass(frozen=True)
class Split:
    """How chosen positions are shown; the three sum to one."""

    mask: float
    random: float
    keep: float


class MaskSampler:
    """Chooses an exact share of each row's ordinary tokens (at least one, where there is one), specials and padding never."""

    def __init__(self, vocabulary: Vocabulary, ratio: float, split: Split) -> None:
        assert vocabulary.specials.mask is not None, "the assembly refuses a tokenizer without a mask token"
        self.ratio, self.split, self.mask_id = ratio, split, vocabulary.specials.mask
        self.maskable = Maskable(vocabulary)

    def choose(self, batch: TokenBatch) -> np.ndarray:
        """[B,T] bool: which positions are predicted."""
        maskable = self.maskable(batch)
        n_maskable = maskable.sum(axis=1)
        n_chosen = np.minimum(np.maximum(np.round(n_maskable * self.ratio), 1), n_maskable)
        order = np.where(maskable, uniform(batch.rows, "mask: which", maskable.shape[1]), 2.0)
        ranks = order.argsort(axis=1).argsort(axis=1)
        return (ranks < n_chosen[:, None]) & maskable

    def hide(self, batch: TokenBatch, chosen: np.ndarray, *, training: bool) -> tuple[Tensor, Tensor]:
        """What the model sees [B,T] and the targets [B,T]. In evaluation every chosen position is shown as [MASK], so that losses do not depend on
        the split a model was trained with."""
        seen = batch.token_ids.numpy().copy()
        targets = np.where(chosen, seen, IGNORED)
        if not training:
            seen[chosen] = self.mask_id
            return torch.from_numpy(seen), torch.from_numpy(targets)
        row, place = np.nonzero(chosen)
        how = uniform_at(batch.rows, "mask: how", row, place)  # [N]
        masked = how < self.split.mask
        seen[row[masked], place[masked]] = self.mask_id
        replaced = ~masked & (how < self.split.mask + self.split.random)
        row, place = row[replaced], place[replaced]
        drawn = whole(uniform_at(batch.rows, "mask: random token", row, place), len(self.maskable.ordinary_ids))
        seen[row, place] = self.maskable.ordinary_ids[drawn]
        return torch.from_numpy(seen), torch.from_numpy(targets)
