"""Trained runs as public folders: what transformers makes of them, what the format refuses, and that nothing half-written stays."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoTokenizer
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForPreTraining, BertForSequenceClassification, BertForTokenClassification
from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from interop import parity
from interop.builders import bert
from transformer_zoo import from_pretrained
from transformer_zoo.errors import CheckpointError, ConfigError
from transformer_zoo.experiments import exporting
from transformer_zoo.experiments.compose import experiment
from transformer_zoo.experiments.exporting import export_model
from transformer_zoo.experiments.imported import import_model
from transformer_zoo.experiments.run import train

SMALL = ["model/size=tiny", "model.d_model=16", "model.n_heads=2", "model.d_ff=20", "tokenizer=word", "device=cpu", "data.n_documents=40"]
SMALL += ["data.n_held_out=4", "data.sequence_length=32", "training.batch_size=8", "training.steps=3"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def trained(path: Path, *overrides: str) -> Path:
    train(experiment([*SMALL, *overrides, f"run_dir='{path}'"]))
    return path


def theirs(cls: Any, folder: Path) -> Any:
    with parity.silent():
        return cls.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.mark.parametrize(
    ("overrides", "cls"),
    [
        (["model=bert"], BertForPreTraining),
        (["model=bert", "objective=classification", "model.norm.eps=1e-4"], BertForSequenceClassification),
        (["model=bert", "objective=tagging", "model.feedforward.activation=relu"], BertForTokenClassification),
        (["model=gpt2", "model.max_length=40"], GPT2LMHeadModel),
        (["model=gpt2", "model.vocabulary_head.tied=false"], GPT2LMHeadModel),
    ],
    ids=["pretraining", "classes", "tags", "gpt2", "untied"],
)
def test_a_run_in_transformers(overrides: list[str], cls: Any, tmp_path: Path):
    run = trained(tmp_path / "run", *overrides)
    told = export_model(run, tmp_path / "out")
    assert told["architectures"] == [cls.__name__]
    assert told["checks"]["weights"].endswith("tensors bitwise equal")
    assert told["checks"]["transformers"].startswith("scores equal within 1e-05")
    ours, model = from_pretrained(run, device="cpu"), theirs(cls, tmp_path / "out")
    ids = torch.randint(8, 60, (3, 9))
    ids[1, 6:] = 0
    mask = ids.ne(0)
    with torch.no_grad():
        expected = parity.their_scores(model(ids, attention_mask=mask.long()))
    assert expected is not None
    torch.testing.assert_close(ours.logits(ids, mask), expected, atol=1e-5, rtol=1e-5)
    read = from_pretrained(tmp_path / "out", device="cpu")
    assert torch.equal(read.logits(ids, mask), ours.logits(ids, mask))
    assert read.loaded.texts.token_ids("a king sleeps .") == ours.loaded.texts.token_ids("a king sleeps .")


@pytest.mark.parametrize(
    "cls, config",
    [
        (BertForPreTraining, BertConfig(vocab_size=40, hidden_size=64, num_hidden_layers=8, num_attention_heads=4, intermediate_size=128)),
        (T5ForConditionalGeneration, T5Config(vocab_size=40, d_model=64, d_kv=16, num_heads=4, num_layers=6, d_ff=128)),  # its norms ask for float32
    ],
    ids=["bert", "t5"],
)
def test_large_weights_do_not_fail_for_rounding(cls: Any, config: Any, tmp_path: Path):
    model = cls(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    import_model(parity.saved(model, tmp_path / "theirs"), tmp_path / "run")
    assert "equal" in export_model(tmp_path / "run", tmp_path / "out")["checks"]["transformers"]


def test_the_tokenizer_frames_as_training_did(tmp_path: Path):
    export_model(trained(tmp_path / "bert", "model=bert"), tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    one, other = tokenizer.convert_ids_to_tokens([20, 30])
    found = tokenizer(f"{one} {other}", other)
    assert tokenizer.convert_ids_to_tokens(found["input_ids"]) == ["[CLS]", one, other, "[SEP]", other, "[SEP]"]
    assert found["token_type_ids"] == [0, 0, 0, 0, 1, 1]
    assert (tokenizer.mask_token, tokenizer.pad_token, tokenizer.eos_token, tokenizer.model_max_length) == ("[MASK]", "[PAD]", "[EOS]", 512)
    export_model(trained(tmp_path / "gpt2", "model=gpt2"), tmp_path / "writes")
    generation = json.loads((tmp_path / "writes" / "generation_config.json").read_text())
    assert generation == {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    assert not (tmp_path / "out" / "generation_config.json").exists()


def test_classes_keep_their_names(tmp_path: Path):
    export_model(trained(tmp_path / "run", "model=bert", "objective=classification"), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["id2label"]["0"] == "farm"
    assert config["label2id"]["farm"] == 0
    assert len(config["id2label"]) == 8


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=bert", "model/positions=rotary"], r"the format of model_type bert cannot express model\.positions\.kind=rotary \(it has learned\)"),
        (["model=bert", "model/norm=rmsnorm"], r"cannot express model\.norm\.kind=rmsnorm \(it has layernorm\)"),
        (["model=gpt2", "model/norm_placement=post"], r"cannot express model\.norm_placement\.kind=post \(it has pre\)"),
        (["model=gpt2", "model.attention.n_kv_heads=1"], r"cannot express model\.attention\.n_kv_heads=1 \(it has 2\)"),
        (["model=bert", "model/stack=shared"], r"cannot express model\.stack\.kind=shared \(it has plain\)"),
        (["model=bert", "model.vocabulary_head.activation=relu"], r"model\.vocabulary_head\.activation=relu \(it has gelu\)"),
        (["model=transformer"], r"model=transformer cannot be written: transformers has no class for the 2017 Transformer"),
    ],
)
def test_what_the_format_cannot_express(overrides: list[str], message: str, tmp_path: Path):
    run = trained(tmp_path / "run", *overrides, "training.steps=1")
    with pytest.raises(ConfigError, match=message) as told:
        export_model(run, tmp_path / "out")
    assert "\n" not in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_matters_in_training_only_is_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    run = trained(tmp_path / "run", "model=bert", "model.feedforward.dropout=0.2", "model/initialization=xavier", "model/attention/kernel=reference")
    with caplog.at_level(logging.WARNING):
        export_model(run, tmp_path / "out")
    assert "the format has no place for model.feedforward.dropout=0.2; it matters in training only" in caplog.text


def test_an_export_that_does_not_pass_its_checks_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = bert(tmp_path / "model")
    import_model(folder, tmp_path / "run")
    write = exporting.write_weights
    monkeypatch.setattr(exporting, "write_weights", lambda path, tensors: write(path, {name: tensor * 2 for name, tensor in tensors.items()}))
    with pytest.raises(CheckpointError, match="read again, what was written differs in "):
        export_model(tmp_path / "run", tmp_path / "out")
    monkeypatch.setattr(exporting, "write_weights", write)
    monkeypatch.setattr(exporting, "reference_output", lambda *_: torch.zeros(2, 12, 23))
    with pytest.raises(CheckpointError, match=r"transformers\.BertForMaskedLM gives scores that differ by"):
        export_model(tmp_path / "run", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "run"]


def test_an_import_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = bert(tmp_path / "model")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transformer_zoo.training.io.write_bytes", full)
    with pytest.raises(CheckpointError, match="the disk is full"):
        import_model(folder, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_places_that_are_taken(tmp_path: Path):
    folder = bert(tmp_path / "model")
    (tmp_path / "file").write_text("x")
    for target in (folder, tmp_path / "file"):
        with pytest.raises(ConfigError, match="there is something already; choose another name, or remove it"):
            import_model(folder, target)
    (tmp_path / "empty").mkdir()
    import_model(folder, tmp_path / "empty")
    with pytest.raises(ConfigError, match="there is something already"):
        export_model(tmp_path / "empty", folder)


def test_a_damaged_record_is_told(tmp_path: Path):
    import_model(bert(tmp_path / "model"), tmp_path / "run")
    file = tmp_path / "run" / "imported.yaml"
    record = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(record | {"heads": 3}))
    with pytest.raises(ConfigError, match=r"imported\.yaml: heads: expected named parts"):
        from_pretrained(tmp_path / "run")
    file.write_text("{")
    with pytest.raises(ConfigError, match=r"imported\.yaml: not readable as YAML"):
        from_pretrained(tmp_path / "run")
