"""Accuracy, F1 and majority, by hand."""

import numpy as np
import pytest
import torch

from transformer_zoo.evaluation.scores import Answers, Scorer
from transformer_zoo.records import IGNORED


def answers(classes: list[int], texts: list[int] | None = None) -> Answers:
    return Answers(np.array(classes), np.array(texts or list(range(len(classes)))))


def test_classes_of_texts() -> None:
    scorer = Scorer(task="classification", names=["a", "b", "c"])
    assert scorer.scores(np.array([0, 1, 1, 2]), answers([0, 1, 2, 2])) == {"accuracy": 0.75}
    assert scorer.main({"accuracy": 0.75}) == 0.75
    assert scorer.majority(answers([2, 2, 1]), answers([2, 1, 1, 0])) == 0.25


def test_tags_that_mark_spans_are_counted_in_their_texts() -> None:
    scorer = Scorer(task="tagging", names=["O", "B-x", "I-x"])
    gold = answers([0, 1, 2, 0], [7, 7, 9, 9])  # the I-x of the second text begins a span of its own
    scores = scorer.scores(np.array([0, 1, 0, 0]), gold)
    assert scores == {"accuracy": 0.75, "f1": pytest.approx(2 * 1 / (2 + 1))}
    assert scorer.main(scores) == scores["f1"]


def test_other_tags_have_the_mean_of_their_f1() -> None:
    scorer = Scorer(task="tagging", names=["noun", "verb", "rare"])
    scores = scorer.scores(np.array([0, 0, 1, 1]), answers([0, 1, 1, 1]))
    assert scores["f1"] == pytest.approx((2 * 1 / (2 + 1) + 2 * 2 / (2 + 3)) / 2)  # a tag that is neither there nor told plays no part
    assert "macro" in scorer.f1_means


def test_answers_of_batches() -> None:
    words = Answers.of(torch.tensor([[IGNORED, 3, 1], [2, IGNORED, IGNORED]]), torch.tensor([5, 8]))
    texts = Answers.of(torch.tensor([4, 6]), torch.tensor([1, 2]))
    joined = Answers.joined([words, texts])
    assert joined.classes.tolist() == [3, 1, 2, 4, 6]
    assert joined.texts.tolist() == [5, 5, 8, 1, 2]
    assert joined.where(joined.texts == 5).classes.tolist() == [3, 1]
