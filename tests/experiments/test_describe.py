"""What `describe` tells must be what is built."""

import json
from typing import Any

import pytest
import torch

from transformer_zoo.experiments import catalog, compose, config_tree
from transformer_zoo.experiments.describe import PICTURE, Description, describe, vocabulary_of
from transformer_zoo.experiments.lineage import lineage
from transformer_zoo.experiments.listing import settings_of, words_of
from transformer_zoo.settings import Config

TINY = ["model/size=tiny", "data.sequence_length=32"]


def described(*overrides: str, vocab_size: int | None = 100) -> Description:
    return describe(compose.experiment(overrides), vocab_size=vocab_size)


@pytest.mark.parametrize("model", config_tree.options("model", config_tree.roots()))
def test_parts_add_up_to_what_is_built(model: str) -> None:
    config = compose.experiment([f"model={model}", *TINY])
    found = describe(config, vocab_size=100)
    built = config.model.build(vocab_size=100, heads=config.objective.needs().heads)
    assert found.parameters.total == sum(parameter.numel() for parameter in built.parameters())
    assert sum(part.parameters for part in found.parts) == found.parameters.total
    assert found.parameters.body + sum(found.parameters.heads.values()) == found.parameters.total
    assert sum(part.operations for part in found.parts) == pytest.approx(found.operations_per_token)


def test_published_sizes_stand_without_a_tokenizer() -> None:
    found = describe(compose.experiment(["model=gpt2"]))
    assert (found.parameters.total, found.vocabulary) == (124_439_808, 50_257)
    assert found.model == "gpt2 base"


def test_operations_are_those_of_matrix_products() -> None:
    """2 per weight of a projection and token, 4·T·d for scores and mixing in each layer, 2·V·d for scores over the vocabulary."""
    found = described("model=gpt2", *TINY)
    d, d_ff, layers, length, vocabulary = 128, 512, 2, 32, 100
    attention = layers * (2 * 4 * d * d + 4 * length * d)
    by_name = {part.name: part.operations for part in found.parts}
    assert by_name["stack.blocks.*.attention"] == attention
    assert by_name["stack.blocks.*.feedforward"] == layers * 2 * 2 * d * d_ff
    assert by_name["scores over the vocabulary"] == 2 * vocabulary * d
    assert found.operations_per_token == attention + layers * 4 * d * d_ff + 2 * vocabulary * d


def test_training_costs_what_its_backward_pass_does_besides() -> None:
    """Two products for each of the forward's, where all parameters are trained and nothing is cut."""
    found = described("model=gpt2", *TINY)
    assert found.training_operations_per_token == 3 * found.operations_per_token
    pair = described("model=electra", *TINY)  # whose generator draws without a gradient
    assert pair.training_operations_per_token < 3 * pair.operations_per_token


def test_scores_that_a_generator_draws_from_count_twice() -> None:
    """Once for drawing and once for the loss, at the filled places alone: 5 of each row's 32 tokens."""
    found = described("model=electra", *TINY)
    (scores,) = [part.operations for part in found.parts if part.name == "scores over the vocabulary"]
    assert scores == 2 * 2 * 100 * 128 * 5 / 32


def test_shared_layers_count_once_and_run_often() -> None:
    plain, shared = described("model=bert", *TINY), described("model=bert", *TINY, "model/stack=shared")
    assert shared.operations_per_token == plain.operations_per_token
    assert {part.name: part.count for part in shared.parts}["stack.blocks.*.attention"] == 1
    assert shared.parameters.total < plain.parameters.total


def test_masks_are_pictures() -> None:
    (causal,) = described("model=gpt2", "model/size=tiny", "data.sequence_length=8").masks
    assert causal.rows == ["█" * (row + 1) + "·" * (7 - row) for row in range(8)]
    (window,) = described("model=bert", "model/size=tiny", "data.sequence_length=6", "model.attention.window=1").masks
    assert window.rows == ["██····", "███···", "·███··", "··███·", "···███", "····██"]
    encoder, decoder, source = described("model=transformer", "model/size=tiny", "data.sequence_length=128").masks
    assert {*"".join(encoder.rows)} == {"█"}
    assert len(decoder.rows) == len(decoder.rows[0]) == PICTURE
    assert [row[i] for i, row in enumerate(decoder.rows)] == ["▒"] * PICTURE
    assert source.name == "decoder: attention to the source"


def test_a_model_is_told_back_to_the_transformer_of_2017_in_its_own_shape() -> None:
    steps = described("model=gpt3", "model/size=125m").lineage
    assert [(step.model, step.ancestor) for step in steps] == [("gpt3", "gpt2"), ("gpt2", "gpt1"), ("gpt1", "transformer")]
    changes: list[dict[str, Any]] = [{one.key: (one.ancestor, one.here) for one in step.differences} for step in steps]
    assert changes[0]["pattern"] == ([], ["dense", "banded"])
    assert changes[0]["layers.banded"] == (None, "attention multihead (window=255)")
    assert changes[1]["norm_placement.kind"] == ("post", "pre")
    assert changes[2]["positions.kind"] == ("sinusoidal", "learned")
    assert not {"d_model", "n_layers", "n_heads", "d_ff"} & {key for change in changes for key in change}
    assert described("model=transformer", *TINY).lineage == []


def test_what_a_model_is_trained_to_do_and_how_it_reads_are_differences() -> None:
    (step, *_) = described("model=roberta", *TINY).lineage
    told = {one.key: (one.ancestor, one.here) for one in step.differences}
    assert (told["objective"], told["tokenizer"]) == (("mlm_nsp", "mlm"), ("wordpiece", "bpe"))
    (step, *_) = described("model=roberta", "objective=classification", "tokenizer=word", *TINY).lineage
    assert {one.key: one.here for one in step.differences}.items() >= {"objective": "classification", "tokenizer": "word"}.items()


QUICK = ("bert", "gpt2", "bart", "t5")
"""Families with a long line of ancestors between them."""


@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in config_tree.options("model", config_tree.roots())]
)
def test_every_published_size_has_its_lineage(model: str) -> None:
    for size in compose.experiment([f"model={model}"]).recipe.sizes:
        steps = lineage(compose.experiment([f"model={model}", f"model/size={size}"]))
        assert [step.ancestor for step in steps][-1:] == ([] if model == "transformer" else ["transformer"])


def test_heads_of_a_width_of_their_own_can_be_described() -> None:
    sizes = ["model.d_model=100", "model.n_heads=3", "model.n_layers=1", "model.attention.head_width=8", "data.sequence_length=32"]
    found = described("model=llama", *sizes)
    assert not {"d_model", "n_heads", "attention.head_width"} & {one.key for step in found.lineage for one in step.differences}


def test_an_override_is_a_difference_too() -> None:
    (step, *_) = described("model=roberta", "model/norm=rmsnorm", *TINY).lineage
    assert ("norm.kind", "layernorm", "rmsnorm") in [(one.key, one.ancestor, one.here) for one in step.differences]


@pytest.mark.parametrize(
    ("model", "encoder", "decoder", "layers"),
    [("bert", True, False, ["vocabulary", "nsp"]), ("gpt2", False, True, ["vocabulary"]), ("t5", True, True, ["vocabulary"])],
)
def test_the_three_questions(model: str, encoder: bool, decoder: bool, layers: list[str]) -> None:
    found = described(f"model={model}", *TINY)
    assert (found.encoder is not None, found.decoder is not None) == (encoder, decoder)
    assert [layer.name for layer in found.training_layers] == layers
    assert (found.encoder or found.decoder or "").startswith("2 layers of width 128, 2 heads, feed-forward 512; attention multihead")


def test_kinds_of_layer_are_told() -> None:
    found = described("model=modernbert", *TINY)
    assert found.encoder is not None
    assert found.encoder.endswith("layers global, local, local …; local: positions rotary, attention multihead (bias=false, window=64)")
    assert [one.layers for one in described("model=modernbert", "model/size=base", "data.sequence_length=200").masks] == [8, 14]


def test_bert_has_the_published_count_with_its_pooler() -> None:
    found = described("model=bert", "model/size=base", vocab_size=None).parameters
    assert (found.body_and_pooler, found.body) == (109_482_240, 108_891_648)
    assert found.heads == {"vocabulary": 622_650, "nsp": 592_130}
    assert found.total == 108_891_648 + 622_650 + 592_130
    assert found.embeddings == (30522 + 512 + 2) * 768


@pytest.mark.parametrize("objective", ["mlm", "nsp", "mlm_nsp", "mlm_sop", "classification", "tagging"])
def test_every_objective_can_be_described(objective: str) -> None:
    found = described("model=bert", f"objective={objective}", *TINY)
    assert list(found.parameters.heads) == list(compose.experiment([f"objective={objective}"]).objective.needs().heads)
    assert json.loads(json.dumps(found.document()))["parameters"]["total"] == found.parameters.total


def test_nothing_is_allocated_for_a_large_model() -> None:
    before = torch.random.get_rng_state()
    found = described("model=gpt2", "model/size=xl", vocab_size=None)
    assert found.parameters.total == 1_557_611_200
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_size_of_a_tokenizer_is_known_before_training() -> None:
    def sizes(*overrides: str) -> list[int]:
        made = [compose.experiment([*overrides, f"tokenizer={name}"]) for name in ("byte", "wordpiece")]
        return [vocabulary_of(config.tokenizer, config.objective.needs()) for config in made]

    assert sizes() == [263, 8000]
    assert sizes("model=t5", "objective=span_corruption") == [363, 8100]


CLASSES = [cls for slot in catalog.SLOTS.values() for cls in slot.values()]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_setting_says_what_it_means(cls: type[Config]) -> None:
    for setting in settings_of(cls, {}):
        assert setting.meaning, f"{cls.__name__}.{setting.key} has no docstring"
        assert setting.default
        assert setting.takes


def test_words_of_a_setting() -> None:
    from transformer_zoo.settings import OneOf, PositiveInt

    assert words_of(bool) == ["true", "false"]
    assert words_of(PositiveInt | None) == ["null"]
    assert words_of(int) == []
    assert OneOf("a").words == ("a",)
