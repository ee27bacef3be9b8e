"""Longformer as transformers has it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.longformer.configuration_longformer import LongformerConfig
from transformers.models.longformer.modeling_longformer import (
    LongformerForMaskedLM,
    LongformerForSequenceClassification,
    LongformerForTokenClassification,
    LongformerModel,
)

from interop import builders, parity
from transformer_zoo import from_pretrained
from transformer_zoo.errors import ConfigError

CLASSES = (LongformerForMaskedLM, LongformerForSequenceClassification, LongformerForTokenClassification, LongformerModel)
LENGTH, GLOBAL = 17, (0, 5)


def config(**others: Any) -> LongformerConfig:
    sizes = {"vocab_size": 37, "hidden_size": 18, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 22}
    return LongformerConfig(**sizes | {"max_position_embeddings": 30, "type_vocab_size": 1, "num_labels": 5, "attention_window": 4} | others)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class(cls: Any, tmp_path: Path):
    # Where a caller names tokens that see all, a first token that is padding has no state that counts.
    parity.check_all(parity.reference(cls, config()), tmp_path, length=LENGTH, left=cls is not CLASSES[1], sees_all=GLOBAL)


@pytest.mark.parametrize(
    "others",
    [
        {
            "hidden_size": 35,
            "num_attention_heads": 7,
            "intermediate_size": 11,
            "num_hidden_layers": 3,
            "attention_window": [4, 12, 6],
            "pad_token_id": 0,
        },
        {"num_hidden_layers": 4, "attention_window": [4, 8, 4, 8], "hidden_act": "gelu_new", "layer_norm_eps": 1e-3, "type_vocab_size": 2},
        {"hidden_act": "relu", "tie_word_embeddings": False, "num_hidden_layers": 1, "pad_token_id": 4},
    ],
    ids=["three_windows", "by_turns", "untied"],
)
@pytest.mark.parametrize("sees_all", [(), GLOBAL], ids=["window", "global"])
def test_other_shapes(others: dict[str, Any], sees_all: tuple[int, ...], tmp_path: Path):
    model = parity.reference(LongformerForMaskedLM, config(**others))
    parity.check_all(model, tmp_path, segments=model.config.type_vocab_size, length=LENGTH, sees_all=sees_all)


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_first_token_of_a_text_to_be_classified_sees_all(side: str, tmp_path: Path):
    model = parity.reference(LongformerForSequenceClassification, config())
    ours = from_pretrained(parity.saved(model, tmp_path), device="cpu")
    batch = parity.batches(model, length=LENGTH)[side]
    none = torch.zeros_like(batch["input_ids"])
    with torch.no_grad():
        expected, other = model(**batch).logits, model(**batch, global_attention_mask=none).logits
    torch.testing.assert_close(ours.logits(**batch), expected, atol=parity.OUTPUT, rtol=parity.OUTPUT)
    torch.testing.assert_close(ours.logits(**batch, global_attention_mask=none), other, atol=parity.OUTPUT, rtol=parity.OUTPUT)
    assert (expected - other).abs().max() > parity.DIFFERENT


@pytest.mark.parametrize("windows", [3, 0, [4], [4, 5], "wide"])
def test_windows_that_cannot_be_are_refused(windows: Any, tmp_path: Path):
    parity.saved(parity.reference(LongformerForMaskedLM, config()), tmp_path)
    builders.change_config(tmp_path, attention_window=windows)
    with pytest.raises(ConfigError, match=r"attention_window=.* is not supported: expected an even number above 0, or a list of 2 such numbers"):
        from_pretrained(tmp_path, device="cpu")


@pytest.mark.parametrize(
    "changes",
    [
        {"norm.eps": 1e-2},
        {"feedforward.activation": "gelu_tanh"},
        {"vocabulary_head.activation": "gelu_tanh"},
        {"norm_placement": {"kind": "pre"}},
        {"attention.scale": "none"},
        {"attention.window": 1},
        {"attention.window": 3},
        {"embeddings.normalize": False},
        {"positions.offset": 1, "max_length": 29},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_setting_matters(changes: dict[str, Any], tmp_path: Path):
    model = parity.reference(LongformerForMaskedLM, config())
    parity.check_changes_matter(model, parity.saved(model, tmp_path), changes, length=LENGTH)
