"""Marian as transformers has it."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.marian.configuration_marian import MarianConfig
from transformers.models.marian.modeling_marian import MarianModel, MarianMTModel

from interop import parity
from interop.builders import change_config, change_weights
from transformer_zoo import from_pretrained
from transformer_zoo.errors import CheckpointError, ConfigError
from transformer_zoo.experiments.exporting import export_model
from transformer_zoo.experiments.imported import import_model

SIDES = {
    "encoder_layers": 2, "encoder_attention_heads": 3, "encoder_ffn_dim": 22,
    "decoder_layers": 3, "decoder_attention_heads": 2, "decoder_ffn_dim": 17,
}  # fmt: skip
IDS = {"pad_token_id": 36, "eos_token_id": 0, "decoder_start_token_id": 36, "forced_eos_token_id": 0}


def config(**others: Any) -> MarianConfig:
    sizes = {"vocab_size": 37, "d_model": 18, "max_position_embeddings": 13, "activation_function": "swish", "scale_embedding": True}
    return MarianConfig(**sizes | SIDES | IDS | others)


def reference(cls: Any, **others: Any) -> Any:
    """With the sinusoids as they are, and a bias of the scores, which is no parameter there."""
    model = parity.reference(cls, config(**others))
    body = getattr(model, "model", model)
    for side in (body.encoder, body.decoder):
        side.embed_positions.weight.copy_(side.embed_positions.create_weight())
    if hasattr(model, "final_logits_bias"):
        model.final_logits_bias.copy_(torch.randn(1, 37, generator=torch.Generator().manual_seed(4)))
    return model


@pytest.mark.parametrize("cls", [MarianMTModel, MarianModel])
def test_every_class(cls: Any, tmp_path: Path):
    parity.check_all(reference(cls), tmp_path)


@pytest.mark.parametrize(
    "others",
    [
        {"d_model": 35, "encoder_attention_heads": 7, "decoder_attention_heads": 5, "encoder_layers": 3, "decoder_layers": 1},
        {"activation_function": "relu", "scale_embedding": False, "activation_dropout": 0.2, "attention_dropout": 0.1, "dropout": 0.3},
        {"share_encoder_decoder_embeddings": False, "activation_function": "gelu"},
        {"share_encoder_decoder_embeddings": False, "tie_word_embeddings": False},
    ],
    ids=["odd", "relu", "two-tables", "three-tables"],
)
def test_other_shapes(others: dict[str, Any], tmp_path: Path):
    parity.check_all(reference(MarianMTModel, **others), tmp_path)


def test_short_tables(tmp_path: Path):
    model = reference(MarianMTModel, max_position_embeddings=9)
    parity.check_round_trip(model, parity.saved(model, tmp_path / "theirs"), tmp_path)


def test_older_files_hold_the_sinusoids(tmp_path: Path):
    model = reference(MarianMTModel)
    parity.saved(model, tmp_path / "theirs")
    tables = {f"model.{side}.embed_positions.weight": model.model.encoder.embed_positions.weight.clone() for side in ("encoder", "decoder")}
    change_weights(tmp_path / "theirs", lambda found: found | tables)
    parity.check_round_trip(model, tmp_path / "theirs", tmp_path)
    change_weights(tmp_path / "theirs", lambda found: found | {name: table + 0.01 for name, table in tables.items()})
    with pytest.raises(CheckpointError, match=r"encoder\.embed_positions\.weight holds other numbers than the constant"):
        from_pretrained(tmp_path / "theirs", device="cpu")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sinusoids_of_half_precision(dtype: torch.dtype, tmp_path: Path):
    import_model(parity.saved(reference(MarianModel).to(dtype), tmp_path / "theirs"), tmp_path / "run")
    told = export_model(tmp_path / "run", tmp_path / "out")["checks"]["transformers"]
    assert f"the file holds constants rounded to {str(dtype).removeprefix('torch.')}, and transformers computes with these" in told
    allowed, difference = re.findall(r"within (\S+) \(largest difference (\S+)\)", told)[0]
    assert 1e-5 < float(difference) < float(allowed) < 0.05


def test_a_file_without_a_bias(tmp_path: Path):
    model = reference(MarianMTModel)
    parity.saved(model, tmp_path / "theirs")
    change_weights(tmp_path / "theirs", lambda found: {name: one for name, one in found.items() if name != "final_logits_bias"})
    model.final_logits_bias.zero_()
    parity.check_outputs(model, from_pretrained(tmp_path / "theirs", device="cpu"))
    parity.check_round_trip(model, tmp_path / "theirs", tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"norm.eps": 1e-2},
        {"feedforward.activation": "gelu"},
        {"norm_placement": {"kind": "pre"}},
        {"attention.scale": "none"},
        {"embeddings.scale": False},
        {"embeddings.normalize": True},
        {"positions.layout": "interleaved"},
        {"positions.base": 9000.0},
        {"decoder.n_heads": 6},
        {"vocabulary_head.scale": "d_model"},
        {"vocabulary_head.bias": False},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_setting_matters(changes: dict[str, Any], tmp_path: Path):
    model = reference(MarianMTModel)
    parity.check_changes_matter(model, parity.saved(model, tmp_path), changes)


@pytest.mark.parametrize(
    "values, told",
    [
        ({"decoder_vocab_size": 40}, "decoder_vocab_size=40 is not supported: supported is 37"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings=false is not supported: supported is true"),
        ({"static_position_embeddings": False}, "static_position_embeddings=false is not supported"),
    ],
)
def test_what_cannot_be_done_is_refused(values: dict[str, Any], told: str, tmp_path: Path):
    parity.saved(reference(MarianMTModel), tmp_path)
    change_config(tmp_path, **values)
    with pytest.raises(ConfigError, match=told):
        from_pretrained(tmp_path, device="cpu")
