"""T5 and T5 1.1 as transformers has them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration, T5Model

from interop import parity
from interop.builders import change_config, change_weights
from transformer_zoo import from_pretrained
from transformer_zoo.errors import CheckpointError, ConfigError
from transformer_zoo.experiments.public import open_public


def config(**others: Any) -> T5Config:
    sizes = {"vocab_size": 37, "d_model": 18, "d_kv": 5, "d_ff": 22, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 3}
    positions = {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 11}
    return T5Config(**sizes | positions | {"decoder_start_token_id": 0} | others)


def reference(cls: Any, **others: Any) -> Any:
    return parity.reference(cls, config(**others), std=0.2)  # scores are not divided by the root of the width


@pytest.mark.parametrize("cls", [T5ForConditionalGeneration, T5Model])
@pytest.mark.parametrize("kind", ["relu", "gated-gelu"])
def test_every_class(cls: Any, kind: str, tmp_path: Path):
    parity.check_all(reference(cls, feed_forward_proj=kind), tmp_path)
    assert open_public(tmp_path / "theirs").family.recipe(open_public(tmp_path / "theirs").settings) == {"relu": "t5"}.get(kind, "t5_v1_1")


@pytest.mark.parametrize(
    "others",
    [
        {"d_model": 35, "num_heads": 7, "d_kv": 6, "d_ff": 11, "num_layers": 3, "num_decoder_layers": 1, "layer_norm_epsilon": 1e-3},
        {"feed_forward_proj": "gated-silu", "num_heads": 1, "relative_attention_num_buckets": 12, "relative_attention_max_distance": 7},
        {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        {"feed_forward_proj": "gelu", "dropout_rate": 0.2, "pad_token_id": 3},
    ],
    ids=["odd", "silu", "unscaled", "gelu"],
)
def test_other_shapes(others: dict[str, Any], tmp_path: Path):
    model = reference(T5ForConditionalGeneration, **others)
    assert model.config.scale_decoder_outputs == ("tie_word_embeddings" not in others)
    parity.check_all(model, tmp_path)


@pytest.mark.parametrize("said", [True, False])
def test_a_head_of_its_own_is_seen_in_the_tensors(said: bool, tmp_path: Path):
    """Published files of version 1.1: a head beside the table, with copies of the table; whatever is said of ties, the reference keeps it."""
    fresh = reference(T5ForConditionalGeneration, feed_forward_proj="gated-gelu")
    parity.saved(fresh, tmp_path / "theirs")
    head = torch.randn(37, 18, generator=torch.Generator().manual_seed(3))
    change_weights(tmp_path / "theirs", lambda found: _with_copies(found) | {"lm_head.weight": head})
    change_config(tmp_path / "theirs", tie_word_embeddings=said, scale_decoder_outputs=..., dense_act_fn=..., is_gated_act=...)
    with parity.silent():
        model = T5ForConditionalGeneration.from_pretrained(tmp_path / "theirs", attn_implementation="eager").eval()
    assert model.config.scale_decoder_outputs == said
    parity.check_outputs(model, from_pretrained(tmp_path / "theirs", device="cpu"))
    parity.check_round_trip(model, tmp_path / "theirs", tmp_path)
    parity.check_written(tmp_path / "theirs")


def _with_copies(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return found | {f"{side}.embed_tokens.weight": found["shared.weight"].clone() for side in ("encoder", "decoder")}


def test_a_file_that_kept_another_name_of_the_table(tmp_path: Path):
    model = reference(T5ForConditionalGeneration)
    parity.saved(model, tmp_path)
    change_weights(tmp_path, lambda found: {"lm_head.weight" if name == "shared.weight" else name: one for name, one in found.items()})
    parity.check_outputs(model, from_pretrained(tmp_path, device="cpu"))


def test_another_table_for_one_side_is_refused(tmp_path: Path):
    parity.saved(reference(T5ForConditionalGeneration), tmp_path)
    change_weights(tmp_path, lambda found: found | {"decoder.embed_tokens.weight": found["shared.weight"] + 1})
    with pytest.raises(CheckpointError, match=r"decoder\.embed_tokens\.weight must equal shared\.weight"):
        from_pretrained(tmp_path, device="cpu")


@pytest.mark.parametrize(
    "changes",
    [
        {"norm.eps": 1e-2},
        {"feedforward.activation": "gelu"},
        {"norm_placement": {"kind": "sandwich"}},
        {"attention.scale": "head_width"},
        {"embeddings.scale": True},
        {"positions.max_distance": 5},
        {"vocabulary_head.scale": "none"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_setting_matters(changes: dict[str, Any], tmp_path: Path):
    model = reference(T5ForConditionalGeneration, feed_forward_proj="gated-gelu")
    parity.check_changes_matter(model, parity.saved(model, tmp_path), changes)


def test_a_target_must_be_given(tmp_path: Path):
    ours = from_pretrained(parity.saved(reference(T5Model), tmp_path), device="cpu")
    with pytest.raises(ConfigError, match="decoder_input_ids is missing"):
        ours.hidden(torch.tensor([[4, 5]]))
    assert "T5Model" in json.loads((tmp_path / "config.json").read_text())["architectures"]
