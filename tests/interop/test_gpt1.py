"""GPT-1 as transformers has it."""

from pathlib import Path
from typing import Any

import pytest
from transformers.models.openai.configuration_openai import OpenAIGPTConfig
from transformers.models.openai.modeling_openai import (
    OpenAIGPTDoubleHeadsModel,
    OpenAIGPTForSequenceClassification,
    OpenAIGPTLMHeadModel,
    OpenAIGPTModel,
)

from interop import parity
from transformer_zoo import from_pretrained
from transformer_zoo.errors import ConfigError


def config(**others: Any) -> OpenAIGPTConfig:
    sizes = {"vocab_size": 37, "n_embd": 18, "n_layer": 2, "n_head": 3, "n_positions": 13, "num_labels": 5, "pad_token_id": 3}
    return OpenAIGPTConfig(**sizes | others)


@pytest.mark.parametrize("cls", [OpenAIGPTLMHeadModel, OpenAIGPTForSequenceClassification, OpenAIGPTModel])
def test_every_class(cls: Any, tmp_path: Path):
    parity.check_all(parity.reference(cls, config()), tmp_path)


@pytest.mark.parametrize(
    "others",
    [
        {"n_embd": 35, "n_head": 7, "n_layer": 3},
        {"afn": "silu", "layer_norm_epsilon": 1e-3, "n_head": 1},
        {"afn": "relu", "tie_word_embeddings": False, "n_layer": 1, "resid_pdrop": 0.2, "embd_pdrop": 0.2},
    ],
    ids=["odd", "silu", "untied"],
)
def test_other_shapes(others: dict[str, Any], tmp_path: Path):
    parity.check_all(parity.reference(OpenAIGPTLMHeadModel, config(**others)), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"norm.eps": 1e-2},
        {"feedforward.activation": "gelu"},
        {"norm_placement": {"kind": "pre"}},
        {"attention.scale": "none"},
        {"embeddings.scale": True},
        {"positions.offset": 1, "max_length": 12},
        {"vocabulary_head.scale": "d_model"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_setting_matters(changes: dict[str, Any], tmp_path: Path):
    model = parity.reference(OpenAIGPTLMHeadModel, config())
    parity.check_changes_matter(model, parity.saved(model, tmp_path), changes)


def test_a_model_with_two_heads_is_refused(tmp_path: Path):
    parity.saved(parity.reference(OpenAIGPTDoubleHeadsModel, config()), tmp_path)
    with pytest.raises(ConfigError, match="architectures='OpenAIGPTDoubleHeadsModel' is not supported: classes that can be read are OpenAIGPTLMHead"):
        from_pretrained(tmp_path, device="cpu")
