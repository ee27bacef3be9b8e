import json
from pathlib import Path

import numpy as np
import pytest

from transformer_zoo.benchmark import whole_run
from transformer_zoo.benchmark.commands import Surroundings
from transformer_zoo.benchmark.suites import SuiteSettings
from transformer_zoo.benchmark.whole_run import PEER, Sides, job_of
from transformer_zoo.data.batching import make_rows
from transformer_zoo.errors import DataError
from transformer_zoo.experiments import assemble
from transformer_zoo.experiments.compose import experiment

pytest.importorskip("accelerate")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path / "cache"))


@pytest.mark.slow
def test_both_sides_train_in_their_processes() -> None:
    (row,) = whole_run.measure(SuiteSettings(rounds=1, quick=True, threads=1))
    assert (row.peer, row.target) == (PEER, 2.5)
    assert row.numbers["ours_seconds"] > 0
    assert row.numbers["ours_last_loss"] == pytest.approx(row.numbers["peer_last_loss"], rel=0.1), "untrained models lose about as much"


def test_the_peer_gets_the_rows_and_sizes_of_ours(tmp_path: Path) -> None:
    from datasets import load_from_disk

    job = job_of(SuiteSettings(quick=True))
    Sides(job, tmp_path, "cpu", Surroundings())
    told = json.loads((tmp_path / "job.json").read_text())
    config = experiment(job.words("cpu"))
    data = assemble.open_data(config)
    rows, indices = load_from_disk(told["rows"]), np.arange(3)
    batch = data.reader("train", config.objective.needs()).batch(indices, make_rows(0, indices * 0, indices))
    assert len(rows) == job.steps * job.shape.batch_size
    assert [rows[i]["input_ids"] for i in range(3)] == batch.token_ids.tolist()
    assert rows[0]["special_tokens_mask"] == [int(token in data.vocabulary.specials.ids()) for token in rows[0]["input_ids"]]
    assert (told["model"]["vocab_size"], told["steps"], told["warmup_steps"]) == (data.vocabulary.size, 2, 1)
    model = config.model
    assert [told["model"][name] for name in ("hidden_size", "num_hidden_layers", "intermediate_size")] == [model.d_model, model.n_layers, model.d_ff]
    assert (config.training.batch_size, config.optimizer.lr) == (told["batch_size"], told["learning_rate"])


def test_without_books_it_says_so() -> None:
    with pytest.raises(DataError, match="name the folder that holds it by data=DIR"):
        job_of(SuiteSettings())
