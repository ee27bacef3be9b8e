"""BigBird as transformers has it.

The reference draws its random blocks in training only, in evaluation it takes the first ones: long rows are compared in its training mode without
dropout. A reference that has read a short row attends in full from then on, so each test of long rows makes its own.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.big_bird.configuration_big_bird import BigBirdConfig
from transformers.models.big_bird.modeling_big_bird import (
    BigBirdForMaskedLM,
    BigBirdForPreTraining,
    BigBirdForSequenceClassification,
    BigBirdForTokenClassification,
    BigBirdModel,
)

from interop import builders, parity
from transformer_zoo import from_pretrained
from transformer_zoo.errors import ConfigError

CLASSES = (BigBirdForMaskedLM, BigBirdForPreTraining, BigBirdForSequenceClassification, BigBirdForTokenClassification, BigBirdModel)


def config(**others: Any) -> BigBirdConfig:
    sizes = {"vocab_size": 37, "hidden_size": 18, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 22, "block_size": 2}
    dropouts = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    specials = {"bos_token_id": 1, "eos_token_id": 2, "sep_token_id": 3}
    return BigBirdConfig(**sizes | dropouts | specials | {"max_position_embeddings": 40, "num_labels": 5, "num_random_blocks": 1} | others)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class(cls: Any, tmp_path: Path):
    parity.check_all(parity.reference(cls, config()), tmp_path, segments=2)


@pytest.mark.parametrize(
    "others",
    [
        {"hidden_size": 35, "num_attention_heads": 7, "intermediate_size": 11, "num_hidden_layers": 3, "use_bias": False, "rescale_embeddings": True},
        {"attention_type": "original_full", "hidden_act": "relu", "layer_norm_eps": 1e-3, "pad_token_id": 4, "type_vocab_size": 1},
        {"tie_word_embeddings": False, "num_hidden_layers": 1, "classifier_dropout": 0.3, "hidden_dropout_prob": 0.2},
    ],
    ids=["no_biases", "full", "untied"],
)
def test_other_shapes(others: dict[str, Any], tmp_path: Path):
    model = parity.reference(BigBirdForMaskedLM, config(**others))
    parity.check_all(model, tmp_path, segments=model.config.type_vocab_size)


@pytest.mark.parametrize(
    ("others", "length"),
    [({}, 32), ({"num_random_blocks": 2, "block_size": 3, "num_hidden_layers": 3}, 33), ({"use_bias": False}, 29)],
    ids=["even", "odd", "not_of_blocks"],
)
def test_long_rows_see_the_same_random_blocks(others: dict[str, Any], length: int, tmp_path: Path):
    model = parity.reference(BigBirdForMaskedLM, config(**others)).train()
    ours = from_pretrained(parity.saved(model, tmp_path), device="cpu")
    batches = parity.batches(model, segments=2, length=length)
    for name in ("plain", "right", "segments"):
        batch = batches[name]
        with torch.no_grad():
            expected = model(**batch).logits
        at = parity.seen(batch, expected)
        torch.testing.assert_close(
            ours.logits(**batch)[at], expected[at], atol=parity.OUTPUT, rtol=parity.OUTPUT, msg=lambda text, n=name: f"{n}: {text}"
        )
    assert model.bert.attention_type == "block_sparse"
    parity.check_gradients(model, tmp_path, length=length)


def test_what_is_not_known_is_refused(tmp_path: Path):
    parity.saved(parity.reference(BigBirdForMaskedLM, config()), tmp_path)
    builders.change_config(tmp_path, attention_type="dilated")
    with pytest.raises(ConfigError, match="attention_type='dilated' is not supported: expected one of block_sparse, original_full"):
        from_pretrained(tmp_path, device="cpu")


@pytest.mark.parametrize("kind, told", [("block_sparse", 1), ("original_full", 0)])
def test_that_evaluation_keeps_random_blocks_is_told(kind: str, told: int, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    parity.saved(parity.reference(BigBirdForMaskedLM, config(attention_type=kind)), tmp_path)
    from_pretrained(tmp_path, device="cpu")
    assert caplog.text.count("where transformers sees the first block in their stead (docs/long_attention.md)") == told


def test_the_pooler_has_its_own_activation(tmp_path: Path):
    model = parity.reference(BigBirdModel, config())
    ours = from_pretrained(parity.saved(model, tmp_path), device="cpu")
    batch = parity.batches(model)["right"]
    with torch.no_grad():
        expected, found = model(**batch).pooler_output, ours.model(ours.inputs(**batch)).heads["pooler"]
    torch.testing.assert_close(found, expected, atol=parity.OUTPUT, rtol=parity.OUTPUT)


@pytest.mark.parametrize(
    "changes",
    [
        {"norm.eps": 1e-2},
        {"feedforward.activation": "gelu"},
        {"vocabulary_head.activation": "gelu"},
        {"norm_placement": {"kind": "pre"}},
        {"attention.scale": "none"},
        {"attention.block_size": 3},
        {"attention.n_random": 2},
        {"attention.attention_type": "original_full"},
        {"embeddings.normalize": False},
        {"embeddings.scale": True},
        {"positions.offset": 1, "max_length": 39},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_setting_matters(changes: dict[str, Any], tmp_path: Path):
    model = parity.reference(BigBirdForMaskedLM, config()).train()
    parity.check_changes_matter(model, parity.saved(model, tmp_path), changes, length=32)
