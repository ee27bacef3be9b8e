"""Replaced-token detection: tell the tokens of a text from those that a generator put in their place."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer_zoo.objectives.base import Objective, ObjectiveConfig, chosen, sums
from transformer_zoo.objectives.masking import MaskSampler, Split
from transformer_zoo.randomness import uniform
from transformer_zoo.records import (
    Batch,
    Example,
    HeadNeed,
    LossReport,
    MetricReport,
    ModelOutput,
    Needs,
    ReplacedTokenInputs,
    ReplacedTokenOutput,
    TextBatch,
    TokenBatch,
    Vocabulary,
)
from transformer_zoo.settings import NonNegativeFloat, Ratio, Share

GENERATOR, DETECTOR = "generator", "detector"
HEADS = {"vocabulary": HeadNeed(kind="vocabulary"), "detector": HeadNeed(kind="detector")}


@dataclass(kw_only=True)
class ReplacedTokenConfig(ObjectiveConfig):
    """Tell which tokens a generator has put in, which itself learns as a masked language model (Clark et al. 2020,
    https://arxiv.org/abs/2003.10555)."""

    mask_ratio: Ratio = 0.15
    """Share of a row's ordinary tokens that the generator fills in (the paper's large models: 0.25)."""
    mask_share: Share = 0.85
    """Of these, the share that the generator sees as [MASK]; it sees the others as they are."""
    detector_weight: NonNegativeFloat = 50.0
    """Weight of the detector's term beside the generator's 1."""

    def needs(self) -> Needs:
        return Needs(batch=TextBatch, inputs=ReplacedTokenInputs, causal=False, heads=HEADS, framed=True)

    def build(self, *, vocabulary: Vocabulary, n_classes: int | None = None) -> Objective:
        return ReplacedToken(self, vocabulary)


class ReplacedToken(Objective):
    """Terms `generator`, over the tokens it fills in, and `detector`, over every token but padding. A token that the generator guessed right
    counts as the text's own.

    Which token is taken from the generator's distribution is fixed by one number for each filled place, drawn for the row like its mask. So
    an evaluation gives the same figures every time, and training is the same for any batch composition.
    """

    language_term = GENERATOR
    rewrites_tokens = True

    def __init__(self, config: ReplacedTokenConfig, vocabulary: Vocabulary) -> None:
        self.weights = {GENERATOR: 1.0, DETECTOR: config.detector_weight}
        self._needs = config.needs()
        self.sampler = MaskSampler(vocabulary, config.mask_ratio, Split(mask=config.mask_share, random=0.0, keep=1 - config.mask_share))

    def needs(self) -> Needs:
        return self._needs

    def prepare(self, batch: Batch, *, training: bool = True) -> Example:
        assert isinstance(batch, TokenBatch)
        filled = self.sampler.choose(batch)  # [B,T]
        seen, targets = self.sampler.hide(batch, filled, training=training)  # [B,T] each
        predict_at, flat_targets = chosen(targets)
        draws = torch.from_numpy(uniform(batch.rows, "replaced token: which", filled.shape[1])).flatten()  # [B·T]
        inputs = ReplacedTokenInputs(
            masked=batch.sequence(seen),
            original_ids=batch.token_ids,
            filled=torch.from_numpy(filled),
            draws=draws[predict_at].float(),
            predict_at=predict_at,
        )
        n_tokens = int(batch.valid.sum())
        return Example(
            inputs=inputs,
            targets={GENERATOR: flat_targets, DETECTOR: batch.valid},
            counts={GENERATOR: int(filled.sum()), DETECTOR: n_tokens},
            tokens=n_tokens,
        )

    def loss(self, output: ModelOutput, example: Example) -> LossReport:
        losses, _, _ = self._detected(output, example)
        return LossReport(sums={GENERATOR: output.heads["vocabulary"].cross_entropy(example.targets[GENERATOR]), DETECTOR: losses.sum()})

    def evaluate(self, output: ModelOutput, example: Example) -> MetricReport:
        n_filled, n_tokens = example.counts[GENERATOR], example.counts[DETECTOR]
        guesses, right = output.heads["vocabulary"].evaluate(example.targets[GENERATOR])
        losses, flagged, replaced = self._detected(output, example)
        n_wrong, n_found = (flagged != replaced).sum(), (flagged & replaced).sum()
        return MetricReport(
            sums={
                f"loss/{GENERATOR}": sums(guesses.cpu().double().sum(), n_filled),
                f"{GENERATOR}_accuracy": sums(right.sum(), n_filled),
                f"loss/{DETECTOR}": sums(losses.cpu().double().sum(), n_tokens),
                f"{DETECTOR}_accuracy": sums(n_tokens - n_wrong, n_tokens),
                f"{DETECTOR}_recall": sums(n_found, int(replaced.sum())),
                f"{DETECTOR}_precision": sums(n_found, int(flagged.sum())),
            }
        )

    def _detected(self, output: ModelOutput, example: Example) -> tuple[Tensor, Tensor, Tensor]:
        """Of every token [B,T]: its loss in nats, whether it is taken for a replaced one, whether it is one; 0 and False on padding."""
        assert isinstance(output, ReplacedTokenOutput)
        valid, logits = example.targets[DETECTOR], output.heads["detector"].float()
        losses = F.binary_cross_entropy_with_logits(logits, output.replaced.to(logits.dtype), reduction="none")
        return losses * valid, (logits > 0) & valid, output.replaced & valid
