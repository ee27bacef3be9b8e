"""ELECTRA as transformers has it: the discriminator and the generator are two files."""

from pathlib import Path
from typing import Any

import pytest
from transformers.models.electra.configuration_electra import ElectraConfig
from transformers.models.electra.modeling_electra import (
    ElectraForMaskedLM,
    ElectraForPreTraining,
    ElectraForSequenceClassification,
    ElectraForTokenClassification,
    ElectraModel,
)

from interop import parity

CLASSES = (ElectraForPreTraining, ElectraForMaskedLM, ElectraForSequenceClassification, ElectraForTokenClassification, ElectraModel)


def config(**others: Any) -> ElectraConfig:
    sizes = {"vocab_size": 37, "embedding_size": 7, "hidden_size": 18, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 22}
    return ElectraConfig(**sizes | {"max_position_embeddings": 13, "num_labels": 5} | others)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class(cls: Any, tmp_path: Path):
    parity.check_all(parity.reference(cls, config()), tmp_path, segments=2)


@pytest.mark.parametrize("cls", CLASSES[:3])
@pytest.mark.parametrize(
    "others",
    [
        {"hidden_size": 35, "embedding_size": 35, "num_attention_heads": 7, "intermediate_size": 11, "num_hidden_layers": 3, "pad_token_id": 4},
        {"hidden_act": "relu", "layer_norm_eps": 1e-3, "type_vocab_size": 1, "classifier_dropout": 0.3, "tie_word_embeddings": False},
    ],
    ids=["equal_widths", "relu_untied"],
)
def test_other_shapes(cls: Any, others: dict[str, Any], tmp_path: Path):
    model = parity.reference(cls, config(**others))
    parity.check_all(model, tmp_path, segments=model.config.type_vocab_size)


@pytest.mark.parametrize(
    ("cls", "changes"),
    [
        (ElectraForPreTraining, {"norm.eps": 1e-2}),
        (ElectraForPreTraining, {"feedforward.activation": "gelu_tanh"}),
        (ElectraForPreTraining, {"classifier.activation": "gelu_tanh"}),
        (ElectraForSequenceClassification, {"classifier.activation": "tanh"}),
        (ElectraForMaskedLM, {"vocabulary_head.activation": "gelu_tanh"}),
        (ElectraForMaskedLM, {"norm_placement": {"kind": "pre"}}),
        (ElectraForMaskedLM, {"attention.scale": "none"}),
        (ElectraForMaskedLM, {"embeddings.normalize": False}),
        (ElectraForMaskedLM, {"positions.offset": 1, "max_length": 12}),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
def test_every_setting_matters(cls: Any, changes: dict[str, Any], tmp_path: Path):
    model = parity.reference(cls, config())
    parity.check_changes_matter(model, parity.saved(model, tmp_path), changes)
