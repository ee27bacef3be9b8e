"""What `describe` tells must be what is built."""

import json
from typing import Any

import pytest
import torch

from transformer_zoo.experiments import catalog, compose
from transformer_zoo.experiments.describe import PICTURE, Description, describe, vocabulary_of
from transformer_zoo.experiments.listing import settings_of, words_of
from transformer_zoo.settings import Config

TINY = ["model/size=tiny", "data.sequence_length=32"]


def described(*overrides: str, vocab_size: int | None = 100) -> Description:
    return describe(compose.experiment(overrides), vocab_size=vocab_size)


@pytest.mark.parametrize("model", ["bert", "gpt2", "transformer", "electra"])
def test_parts_add_up_to_what_is_built(model: str) -> None:
    config = compose.experiment([f"model={model}", *TINY])
    found = describe(config, vocab_size=100)
    built = config.model.build(vocab_size=100, heads=config.objective.needs().heads)
    assert found.parameters == sum(parameter.numel() for parameter in built.parameters())
    assert sum(part.parameters for part in found.parts) == found.parameters
    assert sum(part.operations for part in found.parts) == pytest.approx(found.operations_per_token)


def test_published_sizes_stand_without_a_tokenizer() -> None:
    found = describe(compose.experiment(["model=gpt2"]))
    assert (found.parameters, found.vocabulary) == (124_439_808, 50_257)
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


def test_scores_that_a_generator_draws_from_count_twice() -> None:
    """Once for drawing and once for the loss, at the filled places alone: 5 of each row's 32 tokens."""
    found = described("model=electra", *TINY)
    (scores,) = [part.operations for part in found.parts if part.name == "scores over the vocabulary"]
    assert scores == 2 * 2 * 100 * 128 * 5 / 32


def test_shared_layers_count_once_and_run_often() -> None:
    plain, shared = described("model=bert", *TINY), described("model=bert", *TINY, "model/stack=shared")
    assert shared.operations_per_token == plain.operations_per_token
    assert {part.name: part.count for part in shared.parts}["stack.blocks.*.attention"] == 1
    assert shared.parameters < plain.parameters


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


def test_the_ancestor_is_compared_at_the_same_size() -> None:
    found = described("model=gpt2", *TINY)
    changes: dict[str, Any] = {one.key: (one.ancestor, one.here) for one in found.differences}
    assert found.ancestor == "transformer"
    assert changes["norm_placement.kind"] == ("post", "pre")
    assert changes["positions.kind"] == ("sinusoidal", "learned")
    assert "d_model" not in changes
    assert described("model=transformer", *TINY).differences == []


@pytest.mark.parametrize("objective", ["mlm", "nsp", "mlm_nsp", "classification", "tagging"])
def test_every_objective_can_be_described(objective: str) -> None:
    found = described("model=bert", f"objective={objective}", *TINY)
    assert found.heads == list(compose.experiment([f"objective={objective}"]).objective.needs().heads)
    assert json.loads(json.dumps(found.document()))["parameters"] == found.parameters


def test_nothing_is_allocated_for_a_large_model() -> None:
    before = torch.random.get_rng_state()
    found = described("model=gpt2", "model/size=xl", vocab_size=None)
    assert found.parameters == 1_557_611_200
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_size_of_a_tokenizer_is_known_before_training() -> None:
    sizes = {name: vocabulary_of(compose.experiment([f"tokenizer={name}"]).tokenizer) for name in ("byte", "wordpiece")}
    assert sizes == {"byte": 263, "wordpiece": 8000}


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
