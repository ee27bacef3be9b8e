"""Sampling with temperature, top-k and top-p (nucleus sampling, Holtzman et al. 2020, https://arxiv.org/abs/1904.09751)."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from transformer_zoo.generation.base import GenerationConfig
from transformer_zoo.generation.greedy import StepwiseGenerator
from transformer_zoo.layers.choosing import likeliest
from transformer_zoo.randomness import hash_words, purpose_key
from transformer_zoo.settings import NonNegativeFloat, Range


@dataclass(kw_only=True)
class SamplingConfig(GenerationConfig):
    """Draws each token from the model's own distribution, sharpened by temperature and cut by top-k and top-p."""

    temperature: NonNegativeFloat = 1.0
    """Divides the logits: below 1 sharpens, above 1 flattens, 0 takes the likeliest token."""
    top_k: Annotated[int, Range(1)] | None = None
    """Draw among this many likeliest tokens; null: among all."""
    top_p: Annotated[float, Range(0, 1, open_minimum=True)] = 1.0
    """Draw among the fewest likeliest tokens whose probabilities (after temperature and top_k) add up to this; 1: among all."""

    def build(self, *, seed: int = 0) -> "Sampler":
        return Sampler(self, seed=seed)


class Sampler(StepwiseGenerator):
    """Draws are a function of the seed, the row's number and the count of its new tokens: what else is decoded beside it, and in which
    order, changes nothing."""

    def __init__(self, config: SamplingConfig, *, seed: int) -> None:
        super().__init__(config)
        self.temperature = config.temperature
        self.top_k = config.top_k
        self.top_p = config.top_p
        self.seed = seed

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0

    def choose(self, logits: Tensor, index: Tensor, step: Tensor) -> Tensor:
        if self.is_greedy:
            return likeliest(logits)
        wide = logits if logits.device.type != "mps" else logits.cpu()  # no float64 there
        probabilities = kept_probabilities(wide.double() / self.temperature, self.top_k, self.top_p)  # [A, V]
        draws = uniform_draws(self.seed, index, step).to(wide.device)  # [A] in [0, 1)
        return drawn(probabilities, draws).to(logits.device)


def kept_probabilities(logits: Tensor, top_k: int | None, top_p: float) -> Tensor:
    """[A, V] probabilities over what top-k and then top-p leave, not normalised again after top-p; 0 elsewhere."""
    if top_k is not None and top_k < logits.shape[-1]:
        values, places = logits.topk(top_k, dim=-1)
        logits = torch.full_like(logits, float("-inf")).scatter(-1, places, values)
    probabilities = logits.softmax(-1)
    if top_p < 1:
        values, places = probabilities.sort(dim=-1, descending=True, stable=True)
        before = values.cumsum(-1) - values  # mass of what is likelier: the first token always stays
        values = values.masked_fill(before >= top_p, 0.0)
        probabilities = torch.zeros_like(probabilities).scatter(-1, places, values)
    return probabilities


def uniform_draws(seed: int, index: Tensor, step: Tensor) -> Tensor:
    """[A] float64 in [0, 1), fixed by (seed, index, step)."""
    bits = hash_words(seed, purpose_key("sampling"), index.cpu().numpy(), step.cpu().numpy())
    return torch.from_numpy((bits >> 11).astype("float64") * 2.0**-53)


def drawn(probabilities: Tensor, draws: Tensor) -> Tensor:
    """[A] the token at which the cumulated probabilities [A, V] pass `draws` times their sum; one with probability 0 is never drawn."""
    cumulated = probabilities.cumsum(-1)
    target = draws[:, None] * cumulated[:, -1:]
    tokens = torch.searchsorted(cumulated, target, right=True).squeeze(-1)
    last = (probabilities > 0).int().cumsum(-1).argmax(-1)  # the last one possible, should rounding push a draw past the sum
    return torch.minimum(tokens, last)
