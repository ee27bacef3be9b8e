"""Filling in the middle: next tokens of texts whose middle was moved to the end."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from transformer_zoo.objectives.base import Objective, ObjectiveConfig, sums
from transformer_zoo.objectives.causal_lm import next_tokens
from transformer_zoo.objectives.corruption import packed
from transformer_zoo.objectives.reconstruction import ending_problems
from transformer_zoo.objectives.token_prediction import HEAD, HEADS, TokenPrediction
from transformer_zoo.randomness import uniform, whole
from transformer_zoo.records import IGNORED, Batch, Example, MetricReport, ModelOutput, Needs, SequenceInputs, TextBatch, TokenBatch, Vocabulary
from transformer_zoo.settings import Range, Share

TERM, SECTIONS = "fill_in_the_middle", "sections"
N_SENTINELS = 3
"""<PRE>, <SUF> and <MID>."""
ADDED = N_SENTINELS + 1
"""Tokens that a row gets: these and the end token."""
BEGIN, PREFIX, MIDDLE, SUFFIX, PLAIN = range(5)
PSM, SPM = (
    # The place in a row of the sections begin, prefix, middle and suffix, and of <PRE>, <SUF>, <MID> and the end token.
    np.array([[0, 2, 6, 4], [1, 3, 5, 7]]),
    np.array([[0, 5, 6, 3], [1, 2, 4, 7]]),
)


@dataclass(kw_only=True)
class FillInTheMiddleConfig(ObjectiveConfig):
    """Predict every next token of rows of which a share was cut at two random places and put together anew, the middle last (Bavarian et al.
    2022, https://arxiv.org/abs/2207.14255): `<PRE> prefix <SUF> suffix <MID> middle <end>` (PSM), or with the suffix first
    `<PRE> <SUF> suffix <MID> prefix middle <end>` (SPM, the paper's second variant). The three marks are the tokenizer's first sentinels,
    <extra_id_0> to <extra_id_2>. What is cut is a row, whichever documents stand in it, and between tokens; it becomes four tokens longer than
    `data.sequence_length`."""

    fim_rate: Annotated[float, Range(0, 1, open_minimum=True)] = 0.5
    """Share of rows that are cut; the others are read as they are."""
    spm_share: Share = 0.5
    """Of the rows that are cut, the share in which the suffix comes first."""

    def needs(self) -> Needs:
        return Needs(batch=TextBatch, inputs=SequenceInputs, causal=True, heads=HEADS, lookahead=1, sentinels=N_SENTINELS, reorders=True)

    def longest(self, sequence_length: int) -> int:
        return sequence_length + ADDED

    def vocabulary_problems(self, vocabulary: Vocabulary) -> list[str]:
        found = []
        if len(vocabulary.sentinels) < N_SENTINELS:
            found.append(
                f"marks prefix, suffix and middle by {N_SENTINELS} sentinel tokens (<extra_id_0>, <extra_id_1>, <extra_id_2>), of which the "
                f"tokenizer has {len(vocabulary.sentinels)}: train a tokenizer, or choose another tokenizer.path"
            )
        return found + ending_problems(vocabulary)

    def build(self, *, vocabulary: Vocabulary, n_classes: int | None = None) -> Objective:
        return FillInTheMiddle(self, vocabulary)


class FillInTheMiddle(TokenPrediction):
    """Term `fill_in_the_middle`, over every token, the marks included, as in the paper; so the loss is none per token of text, and no perplexity
    and no bits per byte are told from it. Held-out rows are cut like the others; two metrics tell them apart: `left_to_right_loss`, of rows that
    were not cut, and `middle_loss`, of middles and the end tokens behind them. What begins a document stays in front."""

    rewrites_tokens = True

    def __init__(self, config: FillInTheMiddleConfig, vocabulary: Vocabulary) -> None:
        assert vocabulary.specials.end is not None, "the assembly refuses a tokenizer without an end token"
        super().__init__(TERM, config.needs())
        self.language_term = None
        self.rate, self.spm_share, self.vocabulary = config.fim_rate, config.spm_share, vocabulary
        self.marks = np.array([*vocabulary.sentinels[:N_SENTINELS], vocabulary.specials.end])

    def prepare(self, batch: Batch, *, training: bool = True) -> Example:
        assert isinstance(batch, TokenBatch)
        ids, valid, sections = self.rearranged(batch)
        rows = TokenBatch(rows=batch.rows, token_ids=torch.from_numpy(ids), valid=torch.from_numpy(valid))
        example = next_tokens(rows, self.vocabulary, TERM)
        behind, at = torch.from_numpy(sections)[:, 1:].flatten(), example.inputs.predict_at
        example.targets[SECTIONS] = behind if at is None else behind[at]
        return example

    def rearranged(self, batch: TokenBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows [B,W] of at most four tokens more than the batch's: ids, validity and the section of each token."""
        ids, valid = batch.token_ids.numpy(), batch.valid.numpy()  # [B,T+1] each
        n_rows, width = ids.shape
        begin, end = self.vocabulary.specials.begin, valid.sum(axis=1)
        head = (ids[:, 0] == begin).astype(np.int64) if begin is not None else np.zeros(n_rows, dtype=np.int64)
        cuts = head[:, None] + np.sort(whole(uniform(batch.rows, "fim: cuts", 2), (np.maximum(end - head, 0) + 1)[:, None]), axis=1)
        coin, order = uniform(batch.rows, "fim: whether and how", 2).T
        cut = (coin < self.rate)[:, None]  # [B,1]
        column = np.arange(width)
        sections = (column >= head[:, None]).astype(np.int64) + (column >= cuts[:, :1]) + (column >= cuts[:, 1:])  # BEGIN, PREFIX, MIDDLE, SUFFIX
        places = np.where((order < self.spm_share)[:, None, None], SPM, PSM)  # [B,2,4]
        of_tokens = np.where(cut, np.take_along_axis(places[:, 0], sections, axis=1), 0)
        keys = np.concatenate([of_tokens, places[:, 1]], axis=1) * width + np.append(column, np.zeros(ADDED, dtype=np.int64))
        chosen = np.argsort(keys, axis=1, kind="stable")

        def put(of_tokens: np.ndarray, of_marks: np.ndarray) -> np.ndarray:
            whole_rows = np.concatenate([of_tokens, np.broadcast_to(of_marks, (n_rows, ADDED))], axis=1)
            return np.take_along_axis(whole_rows, chosen, axis=1)

        keep = put(valid, cut)
        packed_ids, packed_valid = packed(put(ids, self.marks), keep, self.vocabulary.specials.pad)
        told = put(np.where(cut, sections, PLAIN), np.array([BEGIN, BEGIN, BEGIN, MIDDLE]))
        return packed_ids, packed_valid, packed(told, keep, BEGIN)[0]

    def evaluate(self, output: ModelOutput, example: Example) -> MetricReport:
        targets, sections = example.targets[TERM], example.targets[SECTIONS]
        losses, correct = output.heads[HEAD].evaluate(targets)
        count = example.counts[TERM]
        told = {f"loss/{TERM}": sums(losses.cpu().double().sum(), count), f"{TERM}_accuracy": sums(correct.sum(), count)}
        named = {"middle_loss": MIDDLE} | ({"left_to_right_loss": PLAIN} if self.rate < 1 else {})
        for name, section in named.items():
            inside = (sections == section) & (targets != IGNORED)
            told[name] = sums(losses[inside].cpu().double().sum(), int(inside.sum()))
        return MetricReport(sums=told)
