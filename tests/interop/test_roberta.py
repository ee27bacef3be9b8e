"""RoBERTa as transformers has it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.roberta.configuration_roberta import RobertaConfig
from transformers.models.roberta.modeling_roberta import (
    RobertaForMaskedLM,
    RobertaForSequenceClassification,
    RobertaForTokenClassification,
    RobertaModel,
)

from interop import parity
from transformer_zoo import from_pretrained

CLASSES = (RobertaForMaskedLM, RobertaForSequenceClassification, RobertaForTokenClassification, RobertaModel)


def config(**others: Any) -> RobertaConfig:
    sizes = {"vocab_size": 37, "hidden_size": 18, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 22}
    return RobertaConfig(**sizes | {"max_position_embeddings": 13, "type_vocab_size": 1, "num_labels": 5} | others)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class(cls: Any, tmp_path: Path):
    parity.check_all(parity.reference(cls, config()), tmp_path)


@pytest.mark.parametrize(
    "others",
    [
        {"hidden_size": 35, "num_attention_heads": 7, "intermediate_size": 11, "num_hidden_layers": 3, "type_vocab_size": 2, "pad_token_id": 0},
        {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3, "pad_token_id": 3, "max_position_embeddings": 14},
        {"hidden_act": "relu", "tie_word_embeddings": False, "num_hidden_layers": 1, "classifier_dropout": 0.3},
    ],
    ids=["odd", "tanh", "untied"],
)
def test_other_shapes(others: dict[str, Any], tmp_path: Path):
    model = parity.reference(RobertaForMaskedLM, config(**others))
    parity.check_all(model, tmp_path, segments=model.config.type_vocab_size)


@pytest.mark.parametrize("pad", [0, 1, 4])
def test_positions_count_tokens_that_are_not_padding(pad: int, tmp_path: Path):
    # Padding tokens in the middle, seen or not, do not count either.
    model = parity.reference(RobertaForMaskedLM, config(pad_token_id=pad, max_position_embeddings=16))
    ours = from_pretrained(parity.saved(model, tmp_path), device="cpu")
    ids = torch.tensor([[5, pad, 6, pad, pad, 7, 8], [pad, 9, 10, 11, pad, 12, pad]])
    for mask in (torch.ones_like(ids), (ids != pad).long()):
        with torch.no_grad():
            expected = model(input_ids=ids, attention_mask=mask).logits
        found = ours.logits(ids, mask)
        torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], atol=parity.OUTPUT, rtol=parity.OUTPUT)


@pytest.mark.parametrize(
    "changes",
    [
        {"norm.eps": 1e-2},
        {"feedforward.activation": "gelu_tanh"},
        {"vocabulary_head.activation": "gelu_tanh"},
        {"norm_placement": {"kind": "pre"}},
        {"attention.scale": "none"},
        {"embeddings.normalize": False},
        {"positions.offset": 1, "max_length": 12},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_setting_matters(changes: dict[str, Any], tmp_path: Path):
    model = parity.reference(RobertaForMaskedLM, config())
    parity.check_changes_matter(model, parity.saved(model, tmp_path), changes)
