"""BART as transformers has it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers.models.bart.configuration_bart import BartConfig
from transformers.models.bart.modeling_bart import BartForConditionalGeneration, BartModel

from interop import parity
from interop.builders import change_config, change_weights
from transformer_zoo import from_pretrained
from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.exporting import export_model
from transformer_zoo.experiments.imported import import_model

SIDES = {
    "encoder_layers": 2, "encoder_attention_heads": 3, "encoder_ffn_dim": 22,
    "decoder_layers": 3, "decoder_attention_heads": 2, "decoder_ffn_dim": 17,
}  # fmt: skip


def config(**others: Any) -> BartConfig:
    return BartConfig(**{"vocab_size": 37, "d_model": 18, "max_position_embeddings": 13} | SIDES | others)


def biased(model: Any) -> Any:
    """With a bias of the scores, which is no parameter there."""
    model.final_logits_bias.copy_(torch.randn(1, 37, generator=torch.Generator().manual_seed(4)))
    return model


@pytest.mark.parametrize("cls", [BartForConditionalGeneration, BartModel])
def test_every_class(cls: Any, tmp_path: Path):
    parity.check_all(parity.reference(cls, config()), tmp_path)


@pytest.mark.parametrize(
    "others",
    [
        {"d_model": 35, "encoder_attention_heads": 7, "decoder_attention_heads": 5, "encoder_layers": 3, "decoder_layers": 1},
        {"activation_function": "relu", "scale_embedding": True, "activation_dropout": 0.2, "attention_dropout": 0.1, "dropout": 0.3},
        {"activation_function": "gelu_new", "pad_token_id": 4, "decoder_start_token_id": 5, "encoder_attention_heads": 1},
    ],
    ids=["odd", "scaled", "tanh"],
)
def test_other_shapes(others: dict[str, Any], tmp_path: Path):
    parity.check_all(parity.reference(BartForConditionalGeneration, config(**others)), tmp_path)


def test_a_bias_of_the_scores(tmp_path: Path):
    """Most files hold zeros, for which there is no parameter here; numbers are one."""
    model = biased(parity.reference(BartForConditionalGeneration, config()))
    parity.check_all(model, tmp_path)
    assert from_pretrained(tmp_path / "theirs", device="cpu").model.get_parameter("heads.vocabulary.bias").abs().max() > 0
    plain = parity.saved(parity.reference(BartForConditionalGeneration, config()), tmp_path / "plain")
    assert "heads.vocabulary.bias" not in dict(from_pretrained(plain, device="cpu").model.named_parameters())


def test_half_precision_stays(tmp_path: Path):
    """Every tensor keeps its type on the way through, the constants too."""
    parity.saved(parity.reference(BartForConditionalGeneration, config()), tmp_path / "theirs")
    change_weights(tmp_path / "theirs", lambda found: {name: one.half() for name, one in found.items()})
    import_model(tmp_path / "theirs", tmp_path / "run")
    export_model(tmp_path / "run", tmp_path / "out")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("theirs", "out"))
    assert {name: one.dtype for name, one in before.items()} == {name: one.dtype for name, one in after.items()}
    assert all(torch.equal(one, after[name]) for name, one in before.items())


def test_older_files_with_copies_come_back_as_they_were(tmp_path: Path):
    model = parity.reference(BartForConditionalGeneration, config())
    parity.saved(model, tmp_path / "theirs")
    copies = ("lm_head.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")
    change_weights(tmp_path / "theirs", lambda found: found | {name: found["model.shared.weight"].clone() for name in copies})
    parity.check_round_trip(model, tmp_path / "theirs", tmp_path)


def test_a_head_of_its_own_is_seen_in_the_tensors(tmp_path: Path):
    parity.saved(parity.reference(BartForConditionalGeneration, config()), tmp_path / "theirs")
    change_weights(tmp_path / "theirs", lambda found: found | {"lm_head.weight": found["model.shared.weight"].flip(0)})
    with parity.silent():
        model = BartForConditionalGeneration.from_pretrained(tmp_path / "theirs", attn_implementation="eager").eval()
    parity.check_outputs(model, from_pretrained(tmp_path / "theirs", device="cpu"))
    parity.check_round_trip(model, tmp_path / "theirs", tmp_path)


@pytest.mark.parametrize("cls", [BartForConditionalGeneration, BartModel])
def test_without_a_target_the_source_is_shifted(cls: Any, tmp_path: Path):
    model = parity.reference(cls, config(decoder_start_token_id=7))
    ours = from_pretrained(parity.saved(model, tmp_path), device="cpu")
    batch = {name: one for name, one in parity.batches(model)["right"].items() if name != "decoder_input_ids"}
    with torch.no_grad():
        output = model(**batch)
    if cls is BartModel:
        torch.testing.assert_close(ours.hidden(**batch), output.last_hidden_state, atol=1e-5, rtol=1e-5)
    else:
        torch.testing.assert_close(ours.logits(**batch), output.logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"norm.eps": 1e-2},
        {"feedforward.activation": "gelu_tanh"},
        {"norm_placement": {"kind": "pre"}},
        {"attention.scale": "none"},
        {"embeddings.normalize": False},
        {"embeddings.scale": True},
        {"positions.offset": 1, "max_length": 14},
        {"decoder.n_heads": 6},
        {"vocabulary_head.scale": "d_model"},
        {"vocabulary_head.bias": False},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_setting_matters(changes: dict[str, Any], tmp_path: Path):
    model = biased(parity.reference(BartForConditionalGeneration, config()))
    parity.check_changes_matter(model, parity.saved(model, tmp_path), changes)


@pytest.mark.parametrize(
    "values, told",
    [
        ({"tie_word_embeddings": False}, "tie_word_embeddings=false is not supported: supported is true"),
        ({"normalize_before": True}, "normalize_before=true is not supported"),
        ({"num_hidden_layers": 5}, "num_hidden_layers=5 is not supported: supported is 2"),
        ({"architectures": ["BartForSequenceClassification"]}, "classes that can be read are BartForConditionalGeneration, BartModel"),
    ],
)
def test_what_cannot_be_done_is_refused(values: dict[str, Any], told: str, tmp_path: Path):
    parity.saved(parity.reference(BartForConditionalGeneration, config()), tmp_path)
    change_config(tmp_path, **values)
    with pytest.raises(ConfigError, match=told):
        from_pretrained(tmp_path, device="cpu")
