"""Encoders trained here, as transformers reads what is written of them."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from interop import parity
from transformer_zoo import from_pretrained
from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.compose import experiment
from transformer_zoo.experiments.exporting import export_model
from transformer_zoo.experiments.run import train
from transformer_zoo.interop.files import read_json

SMALL = ["model/size=tiny", "model.n_heads=2", "model.d_ff=20", "tokenizer=word", "device=cpu", "data.n_documents=40", "data.n_held_out=4"]
SMALL += ["data.sequence_length=32", "training.batch_size=4", "training.steps=2"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["model=roberta", "model.d_model=16", "model.max_length=40"], "RobertaForMaskedLM"),
        (["model=albert"], "AlbertForPreTraining"),  # whose tables are as wide as its tiny layers
        (["model=modernbert", "model.d_model=20"], "ModernBertForMaskedLM"),
        (["model=electra", "model.d_model=16"], "ElectraForPreTraining"),
        (["model=longformer", "model.d_model=16", "objective=classification"], "LongformerForSequenceClassification"),
        (["model=bigbird", "model.d_model=16", "objective=mlm_nsp", "model.max_length=64"], "BigBirdForPreTraining"),
    ],
    ids=["roberta", "albert", "modernbert", "electra", "longformer", "bigbird"],
)
def test_a_run_in_transformers(overrides: list[str], name: str, tmp_path: Path):
    train(experiment([*SMALL, *overrides, f"run_dir='{tmp_path / 'run'}'"]))
    told = export_model(tmp_path / "run", tmp_path / "out")
    assert told["architectures"] == [name]
    assert told["checks"]["transformers"].startswith("scores equal within 1e-05")
    cls: Any = getattr(transformers, name)
    with parity.silent():
        model = cls.from_pretrained(tmp_path / "out", attn_implementation="eager").eval()
    ids = torch.randint(8, 60, (3, 9))
    ids[1, 6:] = model.config.pad_token_id
    batch = {"input_ids": ids, "attention_mask": (ids != model.config.pad_token_id).long()}
    with torch.no_grad():
        expected = parity.their_scores(model(**batch))
    assert expected is not None
    at = parity.seen(batch, expected)
    ours = from_pretrained(tmp_path / "run", device="cpu")
    scores = ours.logits(**batch) if name != "ElectraForPreTraining" else from_pretrained(tmp_path / "out", device="cpu").logits(**batch)
    torch.testing.assert_close(scores[at], expected[at], atol=parity.OUTPUT, rtol=parity.OUTPUT)


def test_positions_begin_behind_the_padding_token(tmp_path: Path):
    # Ours is 0, RoBERTa's own is 1: the table loses a row that no token has, and the model stays the same.
    train(experiment([*SMALL, "model=roberta", "model.d_model=16", "model.max_length=40", f"run_dir='{tmp_path / 'run'}'"]))
    export_model(tmp_path / "run", tmp_path / "out")
    config = read_json(tmp_path / "out" / "config.json", ConfigError)
    assert (config["pad_token_id"], config["max_position_embeddings"]) == (0, 41)
    ours, theirs = from_pretrained(tmp_path / "run", device="cpu").model, from_pretrained(tmp_path / "out", device="cpu").model
    table = "stack.positions.table.weight"
    assert torch.equal(ours.get_parameter(table)[1:], theirs.get_parameter(table))
