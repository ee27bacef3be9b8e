"""ModernBERT as transformers has it."""

from pathlib import Path
from typing import Any

import pytest
from transformers.models.modernbert.configuration_modernbert import ModernBertConfig
from transformers.models.modernbert.modeling_modernbert import (
    ModernBertForMaskedLM,
    ModernBertForSequenceClassification,
    ModernBertForTokenClassification,
    ModernBertModel,
)

from interop import builders, parity
from transformer_zoo import from_pretrained
from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.public import open_public

CLASSES = (ModernBertForMaskedLM, ModernBertForSequenceClassification, ModernBertForTokenClassification, ModernBertModel)
STD = 0.15
"""Of the drawn weights: without a norm at its end a block's numbers grow, and with them what single precision leaves of a sum's order."""
FULL, LOCAL = "full_attention", "sliding_attention"


def config(**others: Any) -> ModernBertConfig:
    sizes = {"vocab_size": 37, "hidden_size": 18, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 22, "local_attention": 4}
    specials = {"pad_token_id": 3, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    return ModernBertConfig(**sizes | specials | {"max_position_embeddings": 13, "num_labels": 5} | others)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_class(cls: Any, tmp_path: Path):
    # A first token that is padding has no state that counts: in a window of padding nothing is seen.
    parity.check_all(parity.reference(cls, config(), std=STD), tmp_path, left=cls is not ModernBertForSequenceClassification)


@pytest.mark.parametrize(
    "others",
    [
        {"norm_bias": True, "attention_bias": True, "mlp_bias": True, "classifier_bias": True, "decoder_bias": False},
        {
            "hidden_size": 28,
            "num_attention_heads": 7,
            "intermediate_size": 11,
            "num_hidden_layers": 5,
            "layer_types": [LOCAL, FULL, FULL, LOCAL, LOCAL],
        },
        {"layer_types": [LOCAL] * 4, "local_attention": 7, "norm_eps": 1e-3, "tie_word_embeddings": False},
        {"layer_types": [FULL] * 4, "hidden_activation": "gelu_new", "classifier_activation": "relu", "mlp_dropout": 0.1},
        {"global_attn_every_n_layers": 2, "num_hidden_layers": 1, "num_attention_heads": 1},
        {"global_attn_every_n_layers": 2, "rope_parameters": {FULL: {"rope_type": "default", "rope_theta": 50.0}, LOCAL: {"rope_type": "default"}}},
    ],
    ids=["biases", "not_periodic", "local", "global", "one_layer", "theta"],
)
def test_other_shapes(others: dict[str, Any], tmp_path: Path):
    parity.check_all(parity.reference(ModernBertForMaskedLM, config(**others), std=STD), tmp_path)


@pytest.mark.parametrize("cls", [ModernBertForSequenceClassification, ModernBertForTokenClassification])
def test_other_classifiers(cls: Any, tmp_path: Path):
    others = {"classifier_pooling": "mean", "norm_bias": True, "classifier_bias": True, "classifier_activation": "silu"}
    parity.check_all(parity.reference(cls, config(**others), std=STD), tmp_path)


def test_older_keys_say_the_same(tmp_path: Path):
    others = {"rope_parameters": {FULL: {"rope_type": "default", "rope_theta": 77.0}, LOCAL: {"rope_type": "default", "rope_theta": 55.0}}}
    parity.saved(parity.reference(ModernBertForMaskedLM, config(global_attn_every_n_layers=2, **others)), tmp_path)
    new = open_public(tmp_path).settings
    builders.change_config(
        tmp_path, layer_types=..., rope_parameters=..., global_attn_every_n_layers=2, global_rope_theta=77.0, local_rope_theta=55.0
    )
    old = open_public(tmp_path).settings
    assert old == new
    assert old["pattern"] == ["global", "local"]
    assert (old["positions"]["theta"], old["layers"]["local"]["positions"]["theta"]) == (77.0, 55.0)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"layer_types": [FULL, LOCAL]}, "layer_types=.* is not supported: expected a list of 4 names, each full_attention or sliding_attention"),
        ({"layer_types": [FULL, "chunked_attention", FULL, FULL]}, "layer_types=.* is not supported"),
        (
            {"rope_parameters": {FULL: {"rope_type": "yarn", "factor": 2.0}}},
            "rope_parameters.full_attention.rope_type='yarn' is not supported: supported",
        ),
        ({"rope_parameters": {FULL: {"rope_type": "yarn", "factor": 2.0}}}, "rope_parameters.full_attention.factor=2.0 is not supported"),
        ({"rope_parameters": {"rope_theta": 3.0}}, "rope_parameters=.* is not supported: expected settings for full_attention and sliding_attention"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling=.* is not supported"),
        ({"local_attention": 1}, "local_attention=1 is not supported: expected at least 2"),
        ({"classifier_pooling": "max"}, "classifier_pooling='max' is not supported: expected one of cls, mean"),
    ],
)
def test_what_cannot_be_done_is_refused(values: dict[str, Any], told: str, tmp_path: Path):
    parity.saved(parity.reference(ModernBertForMaskedLM, config()), tmp_path)
    builders.change_config(tmp_path, **values)
    with pytest.raises(ConfigError, match=told):
        from_pretrained(tmp_path, device="cpu")


WIDER = {"kind": "multihead", "kernel": {"kind": "sdpa"}, "qk_norm": {"kind": "none"}, "bias": False, "window": 3}


@pytest.mark.parametrize(
    "changes",
    [
        {"norm.eps": 1e-2},
        {"feedforward.activation": "gelu_tanh"},
        {"vocabulary_head.activation": "gelu_tanh"},
        {"norm_placement": {"kind": "post"}},
        {"norm_placement.skip_first": False},
        {"attention.scale": "none"},
        {"embeddings.normalize": False},
        {"positions.theta": 10000.0},
        {"layers.local.positions.theta": 160000.0},
        {"layers.local.attention": WIDER},
        {"layers.local.attention": WIDER | {"window": 1}},
        {"pattern": ["global", "local"]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_setting_matters(changes: dict[str, Any], tmp_path: Path):
    model = parity.reference(ModernBertForMaskedLM, config())
    parity.check_changes_matter(model, parity.saved(model, tmp_path), changes)
