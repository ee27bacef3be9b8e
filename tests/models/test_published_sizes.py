"""A recipe's size is the paper's, to the last parameter (the table of counts: shapes multiplied out, checked against the papers)."""

import pytest

from transformer_zoo.experiments.assemble import build_on_meta
from transformer_zoo.experiments.compose import experiment, recipe
from transformer_zoo.experiments.config_tree import options, roots
from transformer_zoo.records import HeadNeed

BODY: dict[str, HeadNeed] = {}
POOLED = {"nsp": HeadNeed(kind="pair", n_classes=2)}
SCORED = {"vocabulary": HeadNeed(kind="vocabulary")}

WITH_POOLER = {
    "bert": {"base": 109_482_240, "large": 335_141_888},
    "roberta": {"base": 124_645_632, "large": 355_359_744},
    "longformer": {"base": 148_659_456, "large": 434_600_960},
    "bigbird": {"base": 127_468_800, "large": 359_123_968},
    "albert": {"base": 11_683_584, "large": 17_683_968, "xlarge": 58_724_864, "xxlarge": 222_595_584},
}
WITHOUT_HEAD = {
    "gpt1": {"base": 116_534_784},
    "gpt2": {"small": 124_439_808, "medium": 354_823_168, "large": 774_030_080, "xl": 1_557_611_200},
    "gpt3": {
        "125m": 125_226_240, "350m": 355_871_744, "760m": 760_300_032, "1.3b": 1_315_723_264,
        "2.7b": 2_651_553_280, "6.7b": 6_658_404_352, "13b": 12_853_386_240, "175b": 174_604_259_328,
    },
    "t5": {"small": 60_506_624, "base": 222_903_552, "large": 737_668_096, "3b": 2_851_598_336, "11b": 11_307_321_344},
    "modernbert": {"base": 149_014_272, "large": 394_781_696},
    "transformer": {"base": 63_082_496, "big": 214_245_376},
    "bart": {"base": 139_420_416, "large": 406_291_456},
}  # fmt: skip
WITH_HEAD = {
    "gpt2": {"small": 124_439_808},  # tied
    "llama": {"7b": 6_738_415_616, "13b": 13_015_864_320, "33b": 32_528_943_616, "65b": 65_285_660_672, "70b": 68_976_648_192},
    "t5_v1_1": {"small": 76_961_152, "base": 247_577_856, "large": 783_150_080, "xl": 2_849_757_184, "xxl": 11_135_332_352},
    "modernbert": {"base": 149_655_232, "large": 395_881_664},
}


def flat(table: dict[str, dict[str, int]]) -> list[tuple[str, str, int]]:
    return [(model, size, count) for model, sizes in table.items() for size, count in sizes.items()]


def count(model: str, size: str, heads: dict[str, HeadNeed]) -> int:
    config = recipe(model, f"model/size={size}")
    return sum(p.numel() for p in build_on_meta(config, config.vocab_size, heads).parameters())


@pytest.mark.parametrize(("model", "size", "published"), flat(WITH_POOLER))
def test_bodies_with_a_pooler(model: str, size: str, published: int):
    width = recipe(model, f"model/size={size}").d_model
    assert count(model, size, POOLED) - (2 * width + 2) == published  # without the classifier of two classes


@pytest.mark.parametrize(("model", "size", "published"), flat(WITHOUT_HEAD))
def test_bodies(model: str, size: str, published: int):
    assert count(model, size, BODY) == published


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


@pytest.mark.parametrize(("model", "size", "published"), flat(WITH_HEAD))
def test_models_that_score_the_vocabulary(model: str, size: str, published: int):
    assert count(model, size, SCORED) == published


@pytest.mark.parametrize("model", options("model", roots()))
def test_every_size_a_paper_names_is_checked_or_generic(model: str):
    checked = {**WITH_POOLER, **WITHOUT_HEAD, **WITH_HEAD}
    sizes = experiment([f"model={model}"]).recipe.sizes
    assert sizes
    for size in sizes:
        recipe(model, f"model/size={size}")
    if model in checked:
        assert set(sizes) <= {size for table in (WITH_POOLER, WITHOUT_HEAD, WITH_HEAD) for size in table.get(model, {})}
