"""Decoders that classify a text by its last token."""

import torch
from torch import Tensor

from transformer_zoo.interop.base import Family


class LastTokenFamily(Family):
    """What decoders share: the token that is classified is the last one whose id is not the padding token's."""

    def last_at(self, token_ids: Tensor, pad: int | None) -> Tensor | None:
        """[B]. A row of nothing but padding is classified by its first token, as there. Without a padding token a mask is all there is to go by."""
        if pad is None:
            return None
        places = torch.arange(token_ids.shape[1], device=token_ids.device)  # [T]
        return (places * (token_ids != pad)).argmax(dim=1)
