"""Every experiment file composes as it is, and runs two steps on a small model and the built-in language."""

from pathlib import Path

import pytest
import torch

from transformer_zoo.experiments import catalog, compose, config_tree
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.experiments.convert import from_dict, to_dict

EXPERIMENTS = list(config_tree.options("experiment", [config_tree.own_root()]))
SMALL = [
    "model/size=tiny",
    "data=pocket",
    "data.n_documents=24",
    "data.n_held_out=6",
    "data.sequence_length=32",
    "tokenizer=word",
    "training.steps=2",
    "training.batch_size=4",
    "training.batch_tokens=null",
    "training.micro_batch_size=2",
    "training.average_last=null",
    "device=cpu",
]
PEAK_BERT = {"lr": 1e-4, "beta1": 0.9, "beta2": 0.999, "eps": 1e-6, "weight_decay": 0.01}


@pytest.fixture(autouse=True)
def one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_it_composes_and_survives_the_round_trip(name: str) -> None:
    config = compose.experiment([f"experiment={name}"])
    assert config.name == name
    assert from_dict(ExperimentConfig, to_dict(config)) == config


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_it_runs_two_steps(name: str, tmp_path: Path) -> None:
    from transformer_zoo.experiments.run import train

    overrides = [f"experiment={name}", *SMALL, f"run_dir={tmp_path / 'run'}"]
    config = compose.experiment(overrides)
    if config.final_evaluation is not None:
        config.final_evaluation.max_samples = 4
    result = train(config, overrides)
    assert result.summary["status"] == "done"
    assert result.summary["steps"] == 2
    assert result.summary["predicted_tokens"] > 0
    assert catalog.kind_of(type(config.data)) == "pocket"


def test_paper_settings_are_the_papers() -> None:
    bert = compose.experiment(["experiment=bert_paper"])
    assert PEAK_BERT.items() <= to_dict(bert.optimizer).items()
    assert (bert.schedule.warmup_steps, bert.training.steps, bert.training.batch_size) == (10_000, 1_000_000, 256)
    transformer = compose.experiment(["experiment=transformer_paper"])
    assert transformer.optimizer.lr == pytest.approx(512**-0.5 * 4000**-0.5, rel=1e-4)
    assert (transformer.schedule.warmup_steps, transformer.training.average_last) == (4000, 5)
