"""A recipe's size is the paper's, to the last parameter."""

import pytest

from transformer_zoo.experiments.assemble import build_on_meta
from transformer_zoo.experiments.compose import recipe
from transformer_zoo.records import HeadNeed

BODY: dict[str, HeadNeed] = {}
POOLED = {"nsp": HeadNeed(kind="pair", n_classes=2)}


def count(model: str, size: str, heads: dict[str, HeadNeed]) -> int:
    config = recipe(model, f"model/size={size}")
    return sum(p.numel() for p in build_on_meta(config, config.vocab_size, heads).parameters())


@pytest.mark.parametrize(("size", "width", "published"), [("base", 768, 109_482_240), ("large", 1024, 335_141_888)])
def test_bert_with_pooler(size: str, width: int, published: int):
    assert count("bert", size, POOLED) - (2 * width + 2) == published  # without the classifier of two classes


@pytest.mark.parametrize(
    ("size", "published"), [("base", 124_439_808), ("small", 124_439_808), ("medium", 354_823_168), ("large", 774_030_080), ("xl", 1_557_611_200)]
)
def test_gpt2(size: str, published: int):
    assert count("gpt2", size, BODY) == published
    assert count("gpt2", size, {"vocabulary": HeadNeed(kind="vocabulary")}) == published  # the head is tied


@pytest.mark.parametrize(("size", "published"), [("base", 63_082_496), ("big", 214_245_376)])
def test_transformer(size: str, published: int):
    assert count("transformer", size, BODY) == published
