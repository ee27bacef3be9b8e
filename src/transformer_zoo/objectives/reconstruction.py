"""What objectives share that have an encoder-decoder write a text of which it read a spoilt copy."""

import numpy as np
import torch

from transformer_zoo.objectives.base import chosen
from transformer_zoo.objectives.token_prediction import TokenPrediction
from transformer_zoo.records import IGNORED, Example, Needs, SequenceInputs, TranslationInputs, Vocabulary


class Reconstruction(TokenPrediction):
    """One term: the cross-entropy of every token written."""

    rewrites_tokens = True

    def __init__(self, term: str, needs: Needs, vocabulary: Vocabulary) -> None:
        super().__init__(term, needs)
        self.start: int = getattr(vocabulary.specials, needs.start)

    def example(self, source: tuple[np.ndarray, np.ndarray], target: tuple[np.ndarray, np.ndarray]) -> Example:
        """Ids and validity, [B,S] each and [B,T] each; the decoder reads the target one token late."""
        (source_ids, source_valid), (target_ids, target_valid) = ([torch.from_numpy(array) for array in side] for side in (source, target))
        predict_at, targets = chosen(target_ids.masked_fill(~target_valid, IGNORED))
        first = torch.full_like(target_ids[:, :1], self.start)
        inputs = TranslationInputs(
            source=SequenceInputs(token_ids=source_ids, valid=None if bool(source_valid.all()) else source_valid),
            target=SequenceInputs(token_ids=torch.cat((first, target_ids[:, :-1]), dim=1), valid=target_valid),
            predict_at=predict_at,
        )
        count = int(target_valid.sum())
        return Example(inputs=inputs, targets={self.term: targets}, counts={self.term: count}, tokens=int(source_valid.sum()) + count)


def ending_problems(vocabulary: Vocabulary) -> list[str]:
    """What it means that a tokenizer has no token that ends a text."""
    if vocabulary.specials.end is not None:
        return []
    return ["ends what is written by the end token, which the tokenizer lacks: train a tokenizer, or choose another tokenizer.path"]
