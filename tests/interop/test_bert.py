"""BERT as transformers has it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import (
    BertForMaskedLM,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)

from interop import parity
from transformer_zoo import from_pretrained

CLASSES = (BertForMaskedLM, BertForNextSentencePrediction, BertForPreTraining, BertForSequenceClassification, BertForTokenClassification, BertModel)


def config(**others: Any) -> BertConfig:
    sizes = {"vocab_size": 37, "hidden_size": 18, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 22}
    return BertConfig(**sizes | {"max_position_embeddings": 13, "num_labels": 5} | others)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class(cls: Any, tmp_path: Path):
    parity.check_all(parity.reference(cls, config()), tmp_path, segments=2)


@pytest.mark.parametrize(
    "others",
    [
        {"hidden_size": 35, "num_attention_heads": 7, "intermediate_size": 11, "num_hidden_layers": 3, "type_vocab_size": 3},
        {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3, "type_vocab_size": 1, "pad_token_id": 4},
        {"hidden_act": "relu", "tie_word_embeddings": False, "num_hidden_layers": 1},
        {"hidden_act": "silu", "num_attention_heads": 1, "classifier_dropout": 0.3, "hidden_dropout_prob": 0.2},
    ],
    ids=["odd", "tanh", "untied", "silu"],
)
def test_other_shapes(others: dict[str, Any], tmp_path: Path):
    model = parity.reference(BertForMaskedLM, config(**others))
    parity.check_all(model, tmp_path, segments=model.config.type_vocab_size)


@pytest.mark.parametrize(
    "changes",
    [
        {"norm.eps": 1e-2},
        {"feedforward.activation": "gelu_tanh"},
        {"vocabulary_head.activation": "gelu_tanh"},
        {"norm_placement": {"kind": "pre"}},
        {"attention.scale": "none"},
        {"embeddings.normalize": False},
        {"embeddings.scale": True},
        {"positions.offset": 1, "max_length": 12},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_setting_matters(changes: dict[str, Any], tmp_path: Path):
    model = parity.reference(BertForMaskedLM, config())
    parity.check_changes_matter(model, parity.saved(model, tmp_path), changes)


def test_our_class_1_says_that_the_second_segment_follows(tmp_path: Path):
    model = parity.reference(BertForNextSentencePrediction, config())
    ours = from_pretrained(parity.saved(model, tmp_path), device="cpu")
    batch = parity.batches(model)["plain"]
    with torch.no_grad():
        theirs, mine = model(**batch).logits, ours.model(ours.inputs(**batch)).heads["nsp"]
    torch.testing.assert_close(mine[:, 1], theirs[:, 0], atol=1e-5, rtol=1e-5)  # theirs says 0
