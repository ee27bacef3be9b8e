"""How well classes of texts or tags of words were told: accuracy, F1, and what is had by always saying the same."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
from torch import Tensor

from transformer_zoo.evaluation.spans import marks_spans, span_f1
from transformer_zoo.records import IGNORED


@dataclass(frozen=True)
class Answers:
    """What was to be told: `classes` [N] of texts, or of words one text after another, with the number `texts` [N] of the text each belongs to."""

    classes: np.ndarray
    texts: np.ndarray

    @classmethod
    def of(cls, classes: Tensor, texts: Tensor) -> Self:
        """From a batch: `classes` [B] of texts or [B,T] of words, IGNORED where none begins, and the numbers `texts` [B]."""
        asked = classes.cpu().numpy()
        numbers = np.broadcast_to(texts.cpu().numpy().reshape(-1, *[1] * (asked.ndim - 1)), asked.shape)
        return cls(asked[asked != IGNORED], numbers[asked != IGNORED])

    @classmethod
    def joined(cls, parts: Iterable["Answers"]) -> Self:
        """Those of several batches, one after another."""
        parts = list(parts)
        return cls(np.concatenate([part.classes for part in parts]), np.concatenate([part.texts for part in parts]))

    def where(self, kept: np.ndarray) -> "Answers":
        """Those where `kept` [N] is True."""
        return Answers(self.classes[kept], self.texts[kept])


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """Scores what was told for one task with classes of these names."""

    task: str
    names: Sequence[str]

    @property
    def f1_means(self) -> str:
        """What the F1 of tagging is the F1 of, in words."""
        return "spans (kind, start and end right)" if marks_spans(self.names) else "tags, their mean (macro)"

    def scores(self, told: np.ndarray, answers: Answers) -> dict[str, float]:
        """`accuracy` and, for tagging, `f1`, both in [0, 1]; `told` [N]."""
        found = {"accuracy": float((told == answers.classes).mean())}
        if self.task == "tagging":
            found["f1"] = self._f1(told, answers)
        return found

    def main(self, scores: dict[str, float]) -> float:
        """The figure by which one chooses: F1 where there is one, since most words may have the same tag."""
        return scores.get("f1", scores["accuracy"])

    def majority(self, training: Answers, answers: Answers) -> float:
        """The accuracy of always saying the class that training has most of."""
        commonest = int(np.bincount(training.classes).argmax())
        return float((answers.classes == commonest).mean())

    def _f1(self, told: np.ndarray, answers: Answers) -> float:
        if marks_spans(self.names):
            borders = [0, *(np.flatnonzero(np.diff(answers.texts)) + 1).tolist(), len(told)]
            rows = [([self.names[i] for i in answers.classes[a:b]], [self.names[i] for i in told[a:b]]) for a, b in pairwise(borders)]
            return span_f1([gold for gold, _ in rows], [predicted for _, predicted in rows])
        each = []
        for number in np.union1d(answers.classes, told):
            right = int(((told == number) & (answers.classes == number)).sum())
            each.append(2 * right / int((told == number).sum() + (answers.classes == number).sum()))
        return float(np.mean(each))
