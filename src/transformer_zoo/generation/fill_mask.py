"""Filling masks: what a masked language model puts in the place of each `[MASK]` of a text."""

from dataclasses import dataclass

import torch

from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.errors import ConfigError
from transformer_zoo.generation.base import inference
from transformer_zoo.models.base import Model
from transformer_zoo.records import SequenceInputs

MASK = "[MASK]"
"""What stands for a hidden token in a text, whatever the tokenizer's own mask token looks like."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A token for one mask."""

    token: str
    token_id: int
    probability: float


@dataclass(frozen=True, kw_only=True)
class FilledText:
    """What a model makes of a text with masks."""

    candidates: list[list[Candidate]]
    """Per mask, in the order of the text, the likeliest tokens, the likeliest first. Masks are filled independently of each other."""
    text: str
    """The text with the likeliest token in the place of every mask."""


def fill_mask(
    model: Model, tokenizer: Tokenizer, text: str, *, top_k: int = 5, framed: bool = True, device: torch.device | str = "cpu"
) -> FilledText:
    """The `top_k` likeliest tokens for every `[MASK]` of a text. `framed`: the model was trained on rows framed by [CLS] and [SEP].

    Raises:
        ConfigError: the text has no mask, the tokenizer or the model cannot fill one, or the text is too long for the model.
    """
    specials = tokenizer.vocabulary.specials
    if specials.mask is None:
        raise ConfigError("this tokenizer has no mask token: masks are filled by models trained with masking")
    token_ids = masked_ids(tokenizer, text, specials.mask)
    places = [i for i, token in enumerate(token_ids) if token == specials.mask]
    if not places:
        raise ConfigError(f"text={text!r} has nothing to fill: put {MASK} where a token is hidden")
    if framed and specials.cls is not None and specials.sep is not None:
        token_ids, places = [specials.cls, *token_ids, specials.sep], [place + 1 for place in places]
    if model.max_length is not None and len(token_ids) > model.max_length:
        raise ConfigError(f"the text has {len(token_ids)} tokens and the model reads at most {model.max_length}: shorten it")
    inputs = SequenceInputs(token_ids=torch.tensor([token_ids], device=device), predict_at=torch.tensor(places, device=device))
    with inference(model):
        heads = model(inputs).heads
        if "vocabulary" not in heads:
            raise ConfigError("this model has no head over the vocabulary: masks are filled by models trained with masking")
        probabilities = heads["vocabulary"].logits().softmax(-1)  # [masks, V]
    best = probabilities.topk(min(top_k, probabilities.shape[-1]), dim=-1)
    candidates = [
        [Candidate(token=tokenizer.token(token), token_id=token, probability=p) for token, p in zip(ids, ps, strict=True)]
        for ids, ps in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
    for place, found in zip(places, candidates, strict=True):
        token_ids[place] = found[0].token_id
    return FilledText(candidates=candidates, text=tokenizer.decode(token_ids))


def masked_ids(tokenizer: Tokenizer, text: str, mask_id: int) -> list[int]:
    """The text's tokens with `mask_id` for every mask."""
    spelling = tokenizer.token(mask_id)
    *before, last = text.replace(spelling, MASK).split(MASK)
    return tokenizer.encode(spelling.join([*(without_joined_space(tokenizer, part) for part in before), last]))


def without_joined_space(tokenizer: Tokenizer, part: str) -> str:
    """The text in front of a mask without its last space, where the tokenizer makes that space a part of the token that follows it."""
    stripped = part.removesuffix(" ")
    if stripped == part:
        return part
    before, with_word = tokenizer.encode(stripped), tokenizer.encode(f"{stripped} a")
    joins = with_word[: len(before)] == before and len(with_word) == len(before) + 1
    return stripped if joins else part
