"""Putting one token in front of what a model reads, after everything else about it was decided."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from transformer_zoo.records import Inputs, SequenceInputs, TranslationInputs


def marked(inputs: Inputs, token: int) -> Inputs:
    """The same with `token` in front of the sequence, or of the source where there are two."""
    return _MARKERS[type(inputs)](inputs, token)


def _in_front(values: Tensor | None, value: int) -> Tensor | None:
    """[B,T] -> [B,T+1]."""
    return None if values is None else torch.cat((torch.full_like(values[:, :1], value), values), dim=1)


def _longer(sequence: SequenceInputs, token: int) -> SequenceInputs:
    """All that stands at positions moves by one; the new token belongs to the first segment and the first document, and to the prefix."""
    n_rows, width = sequence.token_ids.shape
    at = torch.arange(n_rows * width) if sequence.predict_at is None else sequence.predict_at
    ids = _in_front(sequence.token_ids, token)
    assert ids is not None
    return replace(
        sequence,
        token_ids=ids,
        valid=_in_front(sequence.valid, 1),
        positions=None if sequence.positions is None else _in_front(sequence.positions + 1, 0),
        segment_ids=_in_front(sequence.segment_ids, 0),
        document_ids=_in_front(sequence.document_ids, 0),
        prefix_length=None if sequence.prefix_length is None else sequence.prefix_length + 1,
        last_at=None if sequence.last_at is None else sequence.last_at + 1,
        global_positions=_in_front(sequence.global_positions, 0),
        predict_at=at + at // width + 1,
    )


def _source(inputs: TranslationInputs, token: int) -> TranslationInputs:
    return replace(inputs, source=replace(_longer(inputs.source, token), predict_at=None))


_MARKERS: dict[type[Inputs], Callable[..., Inputs]] = {SequenceInputs: _longer, TranslationInputs: _source}
