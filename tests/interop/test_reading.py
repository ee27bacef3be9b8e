"""What may differ between files of one model: types, shards, old names, missing prefixes, further heads, copies and buffers."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.models.bert.modeling_bert import BertForMaskedLM, BertForPreTraining, BertModel
from transformers.models.gpt2.modeling_gpt2 import GPT2Model

from interop import parity
from interop.builders import bert, change_config, change_weights, gpt2
from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.exporting import export_model
from transformer_zoo.experiments.imported import import_model, read_imported
from transformer_zoo.experiments.pretrained import Pretrained, from_pretrained

IDS = torch.tensor([[2, 5, 4, 7, 3]])


def opened(folder: Path) -> Pretrained:
    return from_pretrained(folder, device="cpu")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("build", [bert, gpt2])
def test_half_precision_computes_in_float32_and_comes_back_bitwise(build: Any, dtype: torch.dtype, tmp_path: Path):
    folder = build(tmp_path / "model")
    norms = ("LayerNorm", "ln_")
    change_weights(folder, lambda ts: {name: t if any(norm in name for norm in norms) else t.to(dtype) for name, t in ts.items()})
    assert opened(folder).logits(IDS).dtype == torch.float32
    import_model(folder, tmp_path / "run")
    assert read_imported(tmp_path / "run").dtype == str(dtype).removeprefix("torch.")
    export_model(tmp_path / "run", tmp_path / "out")
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(tensor.dtype == after[name].dtype and torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_shards_are_one_model(tmp_path: Path):
    folder = bert(tmp_path / "model")
    expected = opened(folder).logits(IDS)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    for file, own in parts.items():
        save_file({name: tensors[name] for name in own}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {name: file for file, own in parts.items() for name in own}}))
    assert torch.equal(opened(folder).logits(IDS), expected)


def test_old_spellings_buffers_and_copies(tmp_path: Path):
    folder = bert(tmp_path / "model")
    expected = opened(folder).logits(IDS)

    def older(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        named = {n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t for n, t in tensors.items()}
        copies = {"cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"].clone()}
        return named | copies | {"bert.embeddings.position_ids": torch.arange(16).unsqueeze(0)}

    change_weights(folder, older)
    assert torch.equal(opened(folder).logits(IDS), expected)


def test_public_gpt2_has_no_prefix_and_masks_as_buffers(tmp_path: Path):
    folder = gpt2(tmp_path / "model")
    expected = opened(folder).logits(IDS)

    def as_published(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()} | {"h.0.attn.bias": torch.ones(1, 1, 16, 16)}

    change_weights(folder, as_published)
    assert torch.equal(opened(folder).logits(IDS), expected)
    import_model(folder, tmp_path / "run")
    export_model(tmp_path / "run", tmp_path / "out")
    assert set(load_file(tmp_path / "out" / "model.safetensors")) == set(load_file(folder / "model.safetensors")) - {"h.0.attn.bias"}


def test_public_bert_says_masked_lm_and_holds_more(tmp_path: Path):
    folder = bert(tmp_path / "model", BertForPreTraining)
    change_config(folder, architectures=["BertForMaskedLM"])
    ours = opened(folder)
    assert list(ours.loaded.heads) == ["vocabulary", "nsp"]
    assert ours.logits(IDS).shape == (1, 5, 23)
    import_model(folder, tmp_path / "run")
    export_model(tmp_path / "run", tmp_path / "out")
    assert set(load_file(tmp_path / "out" / "model.safetensors")) == set(load_file(folder / "model.safetensors"))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]


@pytest.mark.parametrize(
    ("cls", "build", "heads"),
    [
        (BertForPreTraining, bert, ["vocabulary", "nsp"]),
        (BertForMaskedLM, bert, ["vocabulary"]),
        (BertModel, bert, ["pooler"]),
        (GPT2Model, gpt2, ["vocabulary"]),
    ],
)
def test_without_architectures_the_tensors_tell(cls: Any, build: Any, heads: list[str], tmp_path: Path):
    folder = build(tmp_path / "model", cls)
    change_config(folder, architectures=...)
    assert list(opened(folder).loaded.heads) == heads


def test_a_bare_body_has_hidden_states_and_a_pooler_but_no_logits(tmp_path: Path):
    folder = bert(tmp_path / "model", BertModel)
    ours = opened(folder)
    assert list(ours.loaded.heads) == ["pooler"]
    reference = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        expected = reference(IDS)
        pooled = ours.model(ours.inputs(IDS)).heads["pooler"]
    torch.testing.assert_close(ours.hidden(IDS), expected.last_hidden_state, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pooled, expected.pooler_output, atol=1e-5, rtol=1e-5)
    with pytest.raises(ConfigError, match=r"holds a bare body without a head, so there are no logits: use hidden"):
        ours.logits(IDS)


def test_code_that_comes_with_a_model_is_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = bert(tmp_path / "model")
    change_config(folder, auto_map={"AutoModel": "modeling_evil.Evil"}, my_own_key=3, id2label={"0": "yes", "1": "no"}, task_specific_params={"a": 1})
    (folder / "modeling_evil.py").write_text("raise SystemExit('this must never run')")
    with caplog.at_level(logging.WARNING):
        import_model(folder, tmp_path / "run")
    assert "auto_map names code that comes with the model; it is not run" in caplog.text
    assert "kept, but without effect here: my_own_key" in caplog.text
    export_model(tmp_path / "run", tmp_path / "out")
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "auto_map" not in written
    assert written == {key: value for key, value in json.loads((folder / "config.json").read_text()).items() if key != "auto_map"}
    assert not list((tmp_path / "out").glob("*.py"))


def test_missing_keys_have_the_defaults_of_the_format(tmp_path: Path):
    from transformers.models.bert.configuration_bert import BertConfig

    model = parity.reference(
        BertForMaskedLM, BertConfig(vocab_size=23, hidden_size=12, num_attention_heads=3, num_hidden_layers=2, intermediate_size=20)
    )
    folder = parity.saved(model, tmp_path / "model")
    expected = opened(folder).logits(IDS)
    for key in ("hidden_act", "layer_norm_eps", "max_position_embeddings", "type_vocab_size", "tie_word_embeddings", "position_embedding_type"):
        change_config(folder, **{key: ...})
    assert torch.equal(opened(folder).logits(IDS), expected)


@pytest.mark.parametrize(
    ("values", "pad", "end"), [({"pad_token_id": 999}, None, 3), ({"pad_token_id": -1}, None, 3), ({"eos_token_id": [50256, 3]}, 0, [3])]
)
def test_special_ids_beyond_the_vocabulary_are_told_and_passed_over(
    values: dict[str, Any], pad: int | None, end: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = gpt2(tmp_path / "model")
    (folder / "generation_config.json").unlink(missing_ok=True)
    change_config(folder, **values)
    import_model(folder, tmp_path / "run")
    ((key, value),) = values.items()
    told = f"{folder / 'config.json'}: {key}={value} is passed over, since the vocabulary has 23 tokens (0 to 22)"
    assert caplog.text.count(told) == 1
    for path in (folder, tmp_path / "run"):
        ours = opened(path)
        assert (ours.loaded.pad, ours.loaded.ids["eos_token_id"]) == (pad, end)
        assert ours.embed(["the king", "a small dog"]).shape == (2, 12)
        assert ours.generate("the king", max_new_tokens=2).startswith("the king")


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_numbers_that_are_not_finite_are_told(value: float, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = bert(tmp_path / "model")
    import_model(folder, tmp_path / "whole")
    assert "not finite" not in caplog.text
    names = ("bert.encoder.layer.0.output.dense.bias", "bert.encoder.layer.1.output.dense.bias")
    change_weights(folder, lambda ts: ts | {name: ts[name].index_fill(0, torch.tensor([1]), value) for name in names})
    import_model(folder, tmp_path / "run")
    told = f"{folder / 'model.safetensors'}: {names[0]} holds numbers that are not finite (NaN or infinity)"
    assert caplog.text.count("not finite") == caplog.text.count(told) == 1


def test_special_tokens_that_the_vocabulary_lacks_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = bert(tmp_path / "model")
    (folder / "tokenizer_config.json").write_text(json.dumps({"mask_token": "<hidden>", "pad_token": "[PAD]"}))
    import_model(folder, tmp_path / "run")
    assert f"{folder}: the tokenizer's mask token is named '<hidden>', which its vocabulary does not have" in caplog.text
    assert "'[PAD]'" not in caplog.text


def test_special_tokens_with_spellings_of_their_own(tmp_path: Path):
    folder = bert(tmp_path / "model")
    (folder / "tokenizer_config.json").write_text(json.dumps({"mask_token": {"content": "garden"}, "pad_token": "dog"}))
    specials = opened(folder).loaded.texts.tokenizer.vocabulary.specials
    assert (specials.mask, specials.pad, specials.cls) == (19, 14, 2)
    import_model(folder, tmp_path / "run")
    assert opened(tmp_path / "run").loaded.texts.tokenizer.vocabulary.specials == specials
