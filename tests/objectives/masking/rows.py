"""Rows of words to hide, and a tokenizer that spells words of several tokens."""

import numpy as np
import torch

from transformer_zoo.objectives.masked_lm import MaskedLMConfig
from transformer_zoo.objectives.masking.sampler import Choice, MaskSampler
from transformer_zoo.records import Rows, SpecialTokens, TextBatch, Vocabulary, WordSpelling

N_BEGIN = 30
"""Tokens from 7 on that begin a word; the others continue one."""
VOCABULARY = Vocabulary(
    size=50,
    specials=SpecialTokens(pad=0, unknown=1, begin=2, end=3, cls=4, sep=5, mask=6),
    words=WordSpelling(continues=tuple(range(7 + N_BEGIN, 50))),
)


def batch(lengths: list[int], width: int | None = None, first_index: int = 0, epoch: int = 0, progress: float | None = None) -> TextBatch:
    """Rows [CLS] w … w [SEP] [PAD] … of the given numbers of ordinary tokens."""
    width = width or max(lengths) + 2
    token_ids = torch.zeros(len(lengths), width, dtype=torch.int64)
    for row, n in enumerate(lengths):
        words = 7 + (torch.arange(n) * 13 + first_index + row) % 43
        token_ids[row, : n + 2] = torch.cat((torch.tensor([4]), words, torch.tensor([5])))
    return as_batch(token_ids, first_index, epoch, progress)


def as_batch(token_ids: torch.Tensor, first_index: int = 0, epoch: int = 0, progress: float | None = None) -> TextBatch:
    """Rows of ids with padding 0, numbered from `first_index` on."""
    n = len(token_ids)
    rows = Rows(
        seed=1,
        epoch=torch.full((n,), epoch),
        index=torch.arange(n) + first_index,
        progress=None if progress is None else torch.full((n,), progress, dtype=torch.float64),
    )
    return TextBatch(rows=rows, token_ids=token_ids, valid=token_ids != 0)


def words_of(n_words: int, n_tokens: int, n_rows: int, first_index: int = 0) -> TextBatch:
    """Rows of `n_words` words of `n_tokens` tokens each."""
    word = torch.tensor([7] + [49] * (n_tokens - 1))
    row = torch.cat((torch.tensor([4]), word.repeat(n_words), torch.tensor([5])))
    return as_batch(row.repeat(n_rows, 1), first_index)


def sampler(vocabulary: Vocabulary = VOCABULARY, **settings: object) -> MaskSampler:
    return MaskSampler(MaskedLMConfig(**settings), vocabulary)  # type: ignore[arg-type]


def chosen(made: TextBatch, **settings: object) -> Choice:
    return sampler(**settings).choose(made, training=True)


def runs(hidden: np.ndarray) -> list[int]:
    """Lengths of the runs of True in a row."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], hidden.astype(int), [0]))))
    return (edges[1::2] - edges[::2]).tolist()
