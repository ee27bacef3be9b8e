"""GPT-2 as transformers has it."""

from pathlib import Path
from typing import Any

import pytest
from transformers.models.gpt2.configuration_gpt2 import GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2ForSequenceClassification, GPT2ForTokenClassification, GPT2LMHeadModel, GPT2Model

from interop import parity

CLASSES = (GPT2LMHeadModel, GPT2ForSequenceClassification, GPT2ForTokenClassification, GPT2Model)


def config(**others: Any) -> GPT2Config:
    sizes = {"vocab_size": 37, "n_embd": 18, "n_layer": 2, "n_head": 3, "n_positions": 13, "num_labels": 5}
    return GPT2Config(**sizes | {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3} | others)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class(cls: Any, tmp_path: Path):
    parity.check_all(parity.reference(cls, config()), tmp_path)


@pytest.mark.parametrize(
    "others",
    [
        {"n_embd": 35, "n_head": 7, "n_inner": 11, "n_layer": 3},
        {"activation_function": "gelu", "layer_norm_epsilon": 1e-3, "n_head": 1},
        {"activation_function": "relu", "tie_word_embeddings": False, "n_layer": 1},
        {"scale_attn_weights": False, "reorder_and_upcast_attn": True},
    ],
    ids=["odd", "exact", "untied", "unscaled"],
)
def test_other_shapes(others: dict[str, Any], tmp_path: Path):
    parity.check_all(parity.reference(GPT2LMHeadModel, config(**others)), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"norm.eps": 1e-2},
        {"feedforward.activation": "gelu"},
        {"norm_placement": {"kind": "post"}},
        {"attention.scale": "none"},
        {"embeddings.scale": True},
        {"positions.offset": 1, "max_length": 12},
        {"vocabulary_head.scale": "d_model"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_setting_matters(changes: dict[str, Any], tmp_path: Path):
    model = parity.reference(GPT2LMHeadModel, config())
    parity.check_changes_matter(model, parity.saved(model, tmp_path), changes)
