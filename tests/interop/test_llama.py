"""LLaMA as transformers has it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM, LlamaForSequenceClassification, LlamaModel

from interop import parity
from interop.builders import change_config
from transformer_zoo import from_pretrained
from transformer_zoo.errors import ConfigError

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "original_max_position_embeddings": 40,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}


def config(**others: Any) -> LlamaConfig:
    sizes = {"vocab_size": 37, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 22}
    return LlamaConfig(**sizes | {"max_position_embeddings": 13, "num_labels": 5, "pad_token_id": 3} | others)


@pytest.mark.parametrize("cls", [LlamaForCausalLM, LlamaForSequenceClassification, LlamaModel])
def test_every_class(cls: Any, tmp_path: Path):
    parity.check_all(parity.reference(cls, config()), tmp_path)


@pytest.mark.parametrize(
    "others",
    [
        {"hidden_size": 42, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 10, "intermediate_size": 11, "num_hidden_layers": 3},
        {"hidden_size": 20, "num_attention_heads": 5, "num_key_value_heads": 1, "attention_bias": True, "rms_norm_eps": 1e-3},
        {"num_key_value_heads": None, "mlp_bias": True, "tie_word_embeddings": True, "hidden_act": "gelu", "num_hidden_layers": 1},
        {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 100.0}},
        {"rope_parameters": LLAMA3, "head_dim": 14},
    ],
    ids=["odd", "multi-query", "tied", "linear", "llama3"],
)
def test_other_shapes(others: dict[str, Any], tmp_path: Path):
    parity.check_all(parity.reference(LlamaForCausalLM, config(**others)), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"norm.eps": 1e-2},
        {"feedforward.activation": "gelu"},
        {"norm_placement": {"kind": "sandwich"}},
        {"attention.scale": "none"},
        {"embeddings.scale": True},
        {"positions.theta": 9000.0},
        {"positions.scaling": "linear", "positions.factor": 2.0},
        {"positions.rotated_share": 0.5},
        {"vocabulary_head.scale": "d_model"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_setting_matters(changes: dict[str, Any], tmp_path: Path):
    model = parity.reference(LlamaForCausalLM, config(head_dim=8))
    parity.check_changes_matter(model, parity.saved(model, tmp_path), changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"positions.factor": 4.0},
        {"positions.original_length": 80},
        {"positions.low_frequency": 2.0},
        {"positions.high_frequency": 8.0},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_setting_of_llama3_matters(changes: dict[str, Any], tmp_path: Path):
    model = parity.reference(LlamaForCausalLM, config(rope_parameters=LLAMA3, head_dim=14))
    parity.check_changes_matter(model, parity.saved(model, tmp_path), changes)


@pytest.mark.parametrize("older", [{"rope_theta": 77.0}, {"rope_theta": 77.0, "rope_scaling": {"type": "linear", "factor": 2.0}}])
def test_keys_of_older_files(older: dict[str, Any], tmp_path: Path):
    """What a file says in the words of before is what the reference takes it for."""
    parity.saved(parity.reference(LlamaForCausalLM, config()), tmp_path)
    change_config(tmp_path, rope_parameters=..., **older)
    with parity.silent():
        model = LlamaForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    assert model.config.rope_parameters["rope_theta"] == 77.0
    ours = from_pretrained(tmp_path, device="cpu")
    batch = parity.batches(model)["right"]
    at = parity.seen(batch, torch.zeros(3, 9, 1))
    with torch.no_grad():
        torch.testing.assert_close(ours.logits(**batch)[at], model(**batch).logits[at], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "rope, told",
    [
        ({"rope_type": "yarn", "factor": 2.0}, "rope_parameters: rope_type='yarn' is not supported: expected one of default, linear, llama3"),
        ({"rope_type": "default", "partial_rotary_factor": 0.5}, "rope_parameters: partial_rotary_factor=0.5 is not supported: supported is 1.0"),
        ({"rope_type": "default", "beta": 3}, "rope_parameters: beta=3 is not supported: a setting that is not known of rope_type default"),
        ({"rope_type": "linear", "factor": -1}, "rope_parameters: factor=-1 is not supported: expected a number above 0"),
    ],
)
def test_positions_that_cannot_be_done_are_refused(rope: dict[str, Any], told: str, tmp_path: Path):
    parity.saved(parity.reference(LlamaForCausalLM, config()), tmp_path)
    change_config(tmp_path, rope_parameters=rope)
    with pytest.raises(ConfigError, match=told):
        from_pretrained(tmp_path, device="cpu")
    assert json.loads((tmp_path / "config.json").read_text())["rope_parameters"] == rope
