"""`init_from`: which weights are taken, and what is said of those that are not."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.bert.modeling_bert import BertForPreTraining, BertModel

from interop.builders import bert, gpt2
from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.errors import CheckpointError, ConfigError, RunNotFoundError
from transformer_zoo.evaluation.loss import LossConfig
from transformer_zoo.experiments.compose import recipe
from transformer_zoo.experiments.convert import to_dict
from transformer_zoo.experiments.evaluating import evaluate_run
from transformer_zoo.experiments.imported import import_model
from transformer_zoo.experiments.initial_weights import open_start, start_from
from transformer_zoo.experiments.loaded_run import read_config
from transformer_zoo.experiments.public import open_public
from transformer_zoo.models.base import Model
from transformer_zoo.records import HeadNeed
from transformer_zoo.training.checkpoints import CheckpointStore, Identity, Snapshot

SIZES = ("model.d_model=12", "model.n_layers=2", "model.n_heads=3", "model.d_ff=20", "model.max_length=16")
CLASSES = {"classification": HeadNeed(kind="sequence", n_classes=4)}
WORDS = {"vocabulary": HeadNeed(kind="vocabulary")}


def model_of(name: str, heads: dict[str, HeadNeed], size: int, *overrides: str) -> tuple[Model, dict[str, Any]]:
    settings = recipe(name, *SIZES, *overrides)
    return settings.build(vocab_size=size, heads=heads), to_dict(settings)


def start(source: Path, name: str, heads: dict[str, HeadNeed], size: int, *overrides: str, tokenizer: Path | None = None) -> Model:
    model, settings = model_of(name, heads, size, *overrides)
    start_from(model, open_start(source), settings=settings, tokenizer=Tokenizer.load((tokenizer or source) / "tokenizer.json"))
    return model


def strange(folder: Path) -> Path:
    """A checkpoint of some other model."""
    snapshot = Snapshot(weights={"one": torch.zeros(1)}, averaged=None, optimizer={}, rng={}, state={"step": 1})
    CheckpointStore(folder / "checkpoints", Identity()).save(snapshot, is_best=True, keep_last=1)
    return folder


@pytest.fixture
def public(tmp_path: Path) -> Path:
    return bert(tmp_path / "public", BertForPreTraining)


def test_a_public_folder_and_its_import_give_the_same_start(public: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    import_model(public, tmp_path / "run")
    with caplog.at_level(logging.INFO):
        sources = (public, tmp_path / "run", tmp_path / "run" / "checkpoints" / "step-00000000")
        models = [start(source, "bert", CLASSES, 20, tokenizer=public) for source in sources]
    weights = open_public(public).weights()
    for model in models:
        body = {name: tensor for name, tensor in model.named_parameters() if not name.startswith("heads.") and name != "embeddings.token.weight"}
        assert all(torch.equal(tensor, weights[name]) for name, tensor in body.items())
        # The tokenizer has 20 words, the published table 23 rows.
        assert torch.equal(model.get_parameter("embeddings.token.weight"), weights["embeddings.token.weight"][:20])
        # The pooler of next-sentence prediction is the one that a classifier of texts goes on from.
        assert torch.equal(model.get_parameter("heads.classification.pooler.0.weight"), weights["heads.nsp.pooler.0.weight"])
    assert "has 23 rows for tokens, of which the tokenizer has 20; the others are left out" in caplog.text
    assert f"starting from the weights of {public}: 31 of the model's 33 tensors are taken" in caplog.text
    assert "left as they were drawn (2): heads.classification.classifier.bias, heads.classification.classifier.weight" in caplog.text
    assert "not used (7): heads.nsp.classifier.bias, " in caplog.text
    assert "other settings" not in caplog.text
    assert "another tokenizer" not in caplog.text


def test_a_bare_bodys_pooler_goes_on_too(tmp_path: Path):
    folder = bert(tmp_path / "bare", BertModel)
    model = start(folder, "bert", CLASSES, 20)
    assert torch.equal(model.get_parameter("heads.classification.pooler.0.bias"), open_public(folder).weights()["heads.pooler.pooler.0.bias"])


def test_what_makes_it_another_model_is_told(public: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    other = gpt2(tmp_path / "other")
    (other / "tokenizer.json").write_text((other / "tokenizer.json").read_text().replace('"king"', '"emperor"'))
    start(public, "bert", WORDS, 23, "model.norm.eps=1e-5", "model.feedforward.activation=relu", tokenizer=other)
    assert f"{public} belongs to a model with other settings: feedforward.activation: gelu there, relu here, norm.eps: 1e-12 there" in caplog.text
    assert f"{public} belongs to another tokenizer: its rows for tokens mean other tokens here" in caplog.text


def test_weights_that_do_not_fit(public: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"other shapes than the model's: .* is \[12, 20\] there and \[12, 24\] here; .* and \d more"):
        start(public, "bert", WORDS, 20, "model.d_ff=24", "model.max_length=8", "model.embeddings.n_segments=1")
    with pytest.raises(CheckpointError, match=r"none of its \d+ tensors is one of the model's; choose the model= they belong to"):
        start(strange(tmp_path / "strange"), "bert", WORDS, 20, tokenizer=public)
    with pytest.raises(RunNotFoundError, match=r"init_from=.*nothing: there is nothing there"):
        start(tmp_path / "nothing", "bert", WORDS, 20, tokenizer=public)
    (tmp_path / "empty").mkdir()
    for other, why in ((tmp_path / "empty", "there are no weights in this folder"), (public / "model.safetensors", "this is a file")):
        with pytest.raises(RunNotFoundError, match=rf"init_from=.*: {why}; looked for a run .*, a checkpoint folder .* Hugging Face format"):
            start(other, "bert", WORDS, 20, tokenizer=public)


def test_an_imported_run_has_no_data_of_its_own(public: Path, tmp_path: Path):
    import_model(public, tmp_path / "run")
    for call in (lambda: evaluate_run(tmp_path / "run", LossConfig()), lambda: read_config(tmp_path / "run")):
        with pytest.raises(ConfigError, match=r"this is an imported model, which has no data and no training settings"):
            call()
