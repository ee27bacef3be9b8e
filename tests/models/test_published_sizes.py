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


@pytest.mark.parametrize(("size", "published"), [("small", 13_483_008), ("base", 108_891_648), ("large", 334_092_288)])
def test_electra_discriminator(size: str, published: int):
    config = recipe("electra", f"model/size={size}")
    width = config.d_model
    bare, judging = (build_on_meta(config, config.vocab_size, heads).discriminator for heads in (BODY, {"it": HeadNeed(kind="detector")}))
    assert sum(p.numel() for p in bare.parameters()) == published
    assert sum(p.numel() for p in judging.parameters()) == published + width * (width + 1) + width + 1


def test_electra_small_with_the_dense_layer_of_its_head():
    detector = build_on_meta(recipe("electra", "model/size=small"), 30_522, {"it": HeadNeed(kind="detector")}).discriminator
    last = detector.heads["it"].detector
    assert sum(p.numel() for p in detector.parameters()) - sum(p.numel() for p in last.parameters()) == 13_548_800


@pytest.mark.parametrize(("size", "width", "n_heads", "d_ff"), [("small", 64, 1, 256), ("base", 256, 4, 1024), ("large", 256, 4, 1024)])
def test_electra_generator(size: str, width: int, n_heads: int, d_ff: int):
    config = recipe("electra", f"model/size={size}").generator()
    assert (config.d_model, config.n_heads, config.d_ff) == (width, n_heads, d_ff)


@pytest.mark.parametrize(("size", "published"), [("base", 63_082_496), ("big", 214_245_376)])
def test_transformer(size: str, published: int):
    assert count("transformer", size, BODY) == published
