"""Replaced-token detection: tell the tokens of a text from those that a generator put in their place."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from transformer_zoo.objectives.base import Objective, chosen, sums
from transformer_zoo.objectives.masking.config import MaskingConfig
from transformer_zoo.objectives.masking.ledger import LEDGER
from transformer_zoo.objectives.masking.sampler import MaskSampler
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
    TokenBatch,
    Vocabulary,
)
from transformer_zoo.settings import NonNegativeFloat, Share

GENERATOR, DETECTOR = "generator", "detector"
HEADS = {"vocabulary": HeadNeed(kind="vocabulary"), "detector": HeadNeed(kind="detector")}


@dataclass(kw_only=True)
class ReplacedTokenConfig(MaskingConfig):
    """Tell which tokens a generator has put in, which itself learns as a masked language model (Clark et al. 2020,
    https://arxiv.org/abs/2003.10555; its large models hide 0.25)."""

    mask_share: Share = 0.85
    """Of the hidden tokens, the share that the generator sees as [MASK]."""
    random_share: Share = 0.0
    """Of the hidden tokens, the share that the generator sees as a random ordinary token."""
    keep_share: Share = 0.15
    """Of the hidden tokens, the share that the generator sees as they are."""
    detector_weight: NonNegativeFloat = 50.0
    """Weight of the detector's term beside the generator's 1."""

    def needs(self) -> Needs:
        return self.text_needs(ReplacedTokenInputs, HEADS)

    def build(self, *, vocabulary: Vocabulary, n_classes: int | None = None) -> Objective:
        return ReplacedToken(self, vocabulary)


class ReplacedToken(Objective):
    """Terms `generator`, over the tokens it fills in, and `detector`, over every token but padding. A token that the generator guessed right
    counts as the text's own. What is hidden but not predicted is not filled in: the detector reads the text there.

    Which token is taken from the generator's distribution is fixed by one number for each filled place, drawn for the row like its mask. So
    an evaluation gives the same figures every time, and training is the same for any batch composition.
    """

    language_term = GENERATOR
    rewrites_tokens = True
    ledger = LEDGER

    def __init__(self, config: ReplacedTokenConfig, vocabulary: Vocabulary) -> None:
        self.weights = {GENERATOR: 1.0, DETECTOR: config.detector_weight}
        self._needs = config.needs()
        self.sampler = MaskSampler(config, vocabulary)

    def needs(self) -> Needs:
        return self._needs

    def prepare(self, batch: Batch, *, training: bool = True) -> Example:
        assert isinstance(batch, TokenBatch)
        masked = self.sampler(batch, training=training)
        predict_at, flat_targets = chosen(masked.targets)
        draws = torch.from_numpy(uniform(batch.rows, "replaced token: which", masked.seen.shape[1])).flatten()  # [B·T]
        inputs = ReplacedTokenInputs(
            masked=batch.sequence(masked.seen),
            original_ids=batch.token_ids,
            filled=torch.from_numpy(masked.predicted),
            draws=draws[predict_at].float(),
            predict_at=predict_at,
        )
        n_tokens = int(batch.valid.sum())
        return Example(
            inputs=inputs,
            targets={GENERATOR: flat_targets, DETECTOR: batch.valid},
            counts={GENERATOR: masked.n_predicted, DETECTOR: n_tokens},
            tokens=n_tokens,
            ledger=masked.ledger,
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
