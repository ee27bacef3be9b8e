"""What a run's weights are worth on other data: probed, and fine-tuned for a moment."""

import hashlib
from pathlib import Path

import pytest
import torch

from transformer_zoo.data.labelled_data import LabelledDataConfig
from transformer_zoo.data.pocket_data import PocketDataConfig
from transformer_zoo.errors import ConfigError
from transformer_zoo.evaluation.base import FineTuning
from transformer_zoo.evaluation.fine_tune import FineTuneConfig
from transformer_zoo.evaluation.probe import ProbeConfig
from transformer_zoo.experiments import evaluating
from transformer_zoo.experiments.compose import experiment
from transformer_zoo.experiments.evaluating import evaluate_run
from transformer_zoo.experiments.loaded_run import load_run
from transformer_zoo.experiments.run import train
from transformer_zoo.objectives.classes import TaggingConfig

SMALL = (
    *("model/size=tiny", "model.d_model=64", "model.n_heads=2", "model.d_ff=128", "model.dropout=0", "model.attention.dropout=0"),
    *("tokenizer=word", "device=cpu", "data.n_documents=800", "data.n_held_out=40", "data.sequence_length=48", "training.batch_size=32"),
    *("optimizer.lr=3e-3", "evaluation.max_samples=8", "training.evaluate_every=1000"),
)
TOPICS = PocketDataConfig(n_documents=400, n_held_out=150, sequence_length=32)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def run(path: Path, *overrides: str) -> Path:
    given = [*SMALL, *overrides, f"run_dir='{path}'"]
    return train(experiment(given), given).path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("runs") / "bert", "model=bert", "objective=mlm", "training.steps=600")


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_a_trained_run_tells_more_than_newly_drawn_weights_and_those_more_than_chance(trained: Path):
    """Parts of speech: many words have one only, the others are told by their neighbours."""
    found = evaluate_run(trained, ProbeConfig(task="tagging", max_samples=400, random_weights=True))["metrics"]
    assert found["validation/probe/random_weights/accuracy"] > found["validation/probe/majority"] + 0.3
    assert found["validation/probe/accuracy"] > found["validation/probe/random_weights/accuracy"] + 0.02
    assert {f"validation/probe/layer_{layer}/{name}" for layer in (0, 1, 2) for name in ("accuracy", "f1")} <= set(found)


def test_newly_drawn_weights_are_those_of_their_seed(trained: Path):
    loaded = load_run(trained)
    state = torch.get_rng_state()
    first, again, other = (loaded.untrained(seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    name = "embeddings.token.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])
    assert not torch.equal(first[name], loaded.model.state_dict()[name])


def test_fine_tuning_beats_the_majority_and_leaves_the_run_alone(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = files(trained)
    found = evaluate_run(trained, FineTuneConfig(data=TOPICS, steps=150, lr=3e-3, seeds=2))
    metrics = found["metrics"]
    assert files(trained) == before
    assert list(tmp_path.iterdir()) == []
    assert metrics["validation/fine_tune/accuracy"] > metrics["validation/fine_tune/majority"] + 0.2
    seeds = [metrics[f"validation/fine_tune/seed_{seed}/accuracy"] for seed in (0, 1)]
    assert metrics["validation/fine_tune/accuracy"] == pytest.approx(sum(seeds) / 2)
    assert "150 steps of 32 of 400 texts" in found["notes"]["fine_tune"]


@pytest.mark.slow
def test_fine_tuning_begins_with_the_weights_that_are_evaluated(trained: Path):
    """At a learning rate of next to nothing the body stays what it was, and twice the figures are the same."""
    wanted = FineTuning(data=TOPICS, objective=TaggingConfig(), steps=1, batch_size=8, lr=1e-12, seed=0)
    tuned, _ = evaluating._fine_tuned(load_run(trained), wanted)
    own = dict(load_run(trained).model.named_parameters())
    body = {name: parameter for name, parameter in tuned.named_parameters() if "heads" not in name}
    assert body
    for name, parameter in body.items():
        assert torch.allclose(parameter, own[name], rtol=0, atol=1e-9), name
    settings = FineTuneConfig(data=TOPICS, task="tagging", steps=1, lr=1e-12, max_samples=100)
    first, second = (evaluate_run(trained, settings)["metrics"] for _ in range(2))
    assert first == second
    assert set(first) == {f"validation/fine_tune/{name}" for name in ("accuracy", "f1", "majority")}


@pytest.mark.parametrize(
    ("model", "objective"),
    [
        pytest.param("gpt2", "clm", marks=pytest.mark.slow),
        pytest.param("electra", "replaced_token", marks=pytest.mark.slow),
        pytest.param("albert", "mlm", marks=pytest.mark.slow),
    ],
    ids=["decoder", "pair", "shared layers"],
)
def test_other_shapes(model: str, objective: str, tmp_path: Path):
    path = run(tmp_path / "run", f"model={model}", f"objective={objective}", "training.steps=2")
    probed = evaluate_run(path, ProbeConfig(data=TOPICS, max_samples=100))["metrics"]
    assert "validation/probe/layer_2/accuracy" in probed and "validation/probe/layer_3/accuracy" not in probed
    tuned = evaluate_run(path, FineTuneConfig(data=TOPICS, task="tagging", steps=40, lr=3e-3))["metrics"]
    assert tuned["validation/fine_tune/accuracy"] > tuned["validation/fine_tune/majority"] + 0.1


@pytest.mark.slow
def test_an_encoder_decoder_is_probed_and_not_fine_tuned(tmp_path: Path):
    path = run(tmp_path / "run", "model=transformer", "training.steps=1")
    assert "validation/probe/layer_2/accuracy" in evaluate_run(path, ProbeConfig(max_samples=100))["metrics"]
    with pytest.raises(
        ConfigError, match=r"evaluation=fine_tune puts a head of classes on an encoder or a decoder, and .*run holds an encoder-decoder"
    ):
        evaluate_run(path, FineTuneConfig(data=TOPICS, steps=1))


def test_while_a_run_is_trained_its_probes_may_be_measured_but_nothing_is_fine_tuned(tmp_path: Path):
    given = ("model=bert", "objective=mlm", "training.steps=1")
    final = train(experiment([*SMALL, *given, "evaluation@final_evaluation=probe", f"run_dir='{tmp_path / 'one'}'"])).summary["metrics"]["final"]
    assert final["validation/probe/accuracy"] > final["validation/probe/majority"]
    with pytest.raises(ConfigError, match="evaluation=fine_tune trains a copy of a finished run: transformer-zoo evaluate run=RUN"):
        train(experiment([*SMALL, *given, "evaluation@final_evaluation=fine_tune", f"run_dir='{tmp_path / 'two'}'"]))


@pytest.mark.data
@pytest.mark.slow
def test_reviews_and_entities(trained: Path, data_folder: Path):
    def files_of(name: str) -> LabelledDataConfig:
        return LabelledDataConfig(
            train=str(data_folder / name / "train.jsonl"), validation=str(data_folder / name / "validation.jsonl"), sequence_length=32
        )

    reviews = evaluate_run(trained, ProbeConfig(data=files_of("sst2"), max_samples=300))
    assert reviews["notes"]["probe"].startswith("classification with 2 classes; fitted on 240 texts")
    entities = evaluate_run(trained, ProbeConfig(data=files_of("wnut17"), max_samples=300))
    assert entities["notes"]["probe"].startswith("tagging with 13 classes")
    assert entities["metrics"]["validation/probe/majority"] > 0.9
    assert 0 <= entities["metrics"]["validation/probe/f1"] < entities["metrics"]["validation/probe/accuracy"]
