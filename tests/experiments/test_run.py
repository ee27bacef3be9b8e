"""A run from settings to a folder, gone on with, and read back."""

import json
import logging
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from transformer_zoo.errors import CheckpointError, ConfigError, DataError, RunNotFoundError
from transformer_zoo.evaluation.loss import LossConfig
from transformer_zoo.experiments import assemble
from transformer_zoo.experiments.compose import experiment
from transformer_zoo.experiments.costs import costs_of
from transformer_zoo.experiments.evaluating import evaluate_run
from transformer_zoo.experiments.loaded_run import load_run, read_config
from transformer_zoo.experiments.run import RunResult, train

SMALL = (
    *("model/size=tiny", "model.d_model=16", "model.n_heads=2", "model.d_ff=16", "tokenizer=word", "device=cpu"),
    *("data.n_documents=40", "data.n_held_out=4", "data.sequence_length=32", "training.batch_size=8", "training.steps=4"),
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def run(path: Path, *overrides: str) -> RunResult:
    given = [*SMALL, *overrides, f"run_dir='{path}'"]
    return train(experiment(given), given)


def weights(path: Path, step: int = 4) -> dict[str, torch.Tensor]:
    return load_file(path / "checkpoints" / f"step-{step:08d}" / "model.safetensors")


def test_a_run_folder_is_complete_without_any_tracker(tmp_path: Path):
    result = run(tmp_path / "one", "model=bert")
    for name in ("config.yaml", "overrides.txt", "environment.json", "metrics.jsonl", "summary.json", "status.json", "train.log", "tokenizer.json"):
        assert (tmp_path / "one" / name).stat().st_size > 0, name
    summary = json.loads((tmp_path / "one" / "summary.json").read_text())
    assert summary == result.summary
    assert summary["status"] == "done"
    assert summary["steps"] == 4
    config = experiment([*SMALL, "model=bert"])
    assert summary["flops"] == 4 * costs_of(config, assemble.open_data(config)).flops_per_step
    assert {"validation/loss", "validation/mlm_accuracy", "validation/nsp_accuracy", "validation/bits_per_byte"} <= set(summary["metrics"]["final"])
    kept = yaml.safe_load((tmp_path / "one" / "config.yaml").read_text())
    assert kept["model"]["positions"]["kind"] == "learned"
    facts = json.loads((tmp_path / "one" / "environment.json").read_text())
    assert facts["matrix_products"] in ("oneDNN", "BLAS")
    assert len({facts["text_fingerprint"], facts["data_fingerprint"], facts["tokenizer_fingerprint"]}) == 3
    assert facts["compilation"]["compiled"] is False
    assert facts["compilation"]["reason"].startswith("training.compile=auto compiles on CUDA only")
    (ran,) = facts["attention_kernels"]
    assert ran["attention"] == "stack: self-attention"
    assert ran["kernel"].startswith("sdpa: ")
    lines = [json.loads(line) for line in (tmp_path / "one" / "metrics.jsonl").read_text().splitlines()]
    assert all({"step", "tokens", "seconds"} <= set(line) for line in lines)


def test_a_run_says_which_kernels_ran_and_what_would_be_faster(tmp_path: Path):
    def ran(*overrides: str) -> list[str]:
        run(tmp_path / "one", "model=gpt2", "data.packing=separate", *overrides)
        facts = json.loads((tmp_path / "one" / "environment.json").read_text())
        return [one["kernel"] for one in facts["attention_kernels"]]

    assert ran("model.attention.dropout=0", "model/positions=t5", "training.steps=2") == ["sdpa: own, dense mask and score bias with a gradient"]
    log = (tmp_path / "one" / "train.log").read_text()
    assert "INFO transformer_zoo.experiments.run: stack: self-attention (layers 0-1): sdpa: own, dense mask" in log
    assert log.count("WARNING transformer_zoo.experiments.run: stack: self-attention: PyTorch's fused kernel has no gradient for a learned") == 1
    # The same run started once more takes no step; what its steps ran by stays.
    assert ran("model.attention.dropout=0", "model/positions=t5", "training.steps=2") == ["sdpa: own, dense mask and score bias with a gradient"]
    assert (tmp_path / "one" / "train.log").read_text().count("sdpa: own") == log.count("sdpa: own")


@pytest.mark.parametrize("model", ["bert", "gpt2", "transformer"])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(model: str, tmp_path: Path):
    run(tmp_path / "parts", f"model={model}", "training.steps=2", "schedule=constant")
    with pytest.raises(CheckpointError, match=r"holds a run with other settings \(.*schedule\.kind: constant before, linear now"):
        run(tmp_path / "parts", f"model={model}")
    assert read_config(tmp_path / "parts").training.steps == 2  # nothing was written over
    run(tmp_path / "straight", f"model={model}", "schedule=constant")
    run(tmp_path / "parts", f"model={model}", "schedule=constant", "training.n_workers=1")
    straight, parts = weights(tmp_path / "straight"), weights(tmp_path / "parts")
    assert all(torch.equal(straight[name], parts[name]) for name in straight)


def test_a_finished_run_is_not_repeated(tmp_path: Path):
    run(tmp_path / "one", "model=gpt2")
    before = weights(tmp_path / "one")
    lines = (tmp_path / "one" / "metrics.jsonl").read_text()
    run(tmp_path / "one", "model=gpt2")
    assert (tmp_path / "one" / "metrics.jsonl").read_text() == lines
    assert all(torch.equal(tensor, weights(tmp_path / "one")[name]) for name, tensor in before.items())


def test_evaluating_twice_gives_the_same_to_the_last_digit_and_what_training_said(tmp_path: Path):
    result = run(tmp_path / "one", "model=gpt2")
    first, second = (evaluate_run(tmp_path / "one", LossConfig()) for _ in range(2))
    assert first == second
    assert first["metrics"]["validation/loss"] == result.summary["metrics"]["best"]["validation/loss"]


def test_weights_of_another_run_are_a_start(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    run(tmp_path / "one", "model=bert")
    with caplog.at_level(logging.INFO):
        run(tmp_path / "two", "model=bert", "objective=mlm", f"init_from='{tmp_path / 'one'}'", "optimizer.lr=1e-12")
    assert "starting from the weights of" in caplog.text
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    torch.testing.assert_close(two["embeddings.token.weight"], one["embeddings.token.weight"])
    assert "heads.nsp.classifier.weight" in caplog.text  # what was left over is named


def test_a_part_of_another_model_is_a_start(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """ELECTRA's discriminator is a BERT and goes on as one."""
    run(tmp_path / "pair", "model=electra")
    start = f"init_from='{tmp_path / 'pair'}'"
    with caplog.at_level(logging.INFO):
        run(tmp_path / "one", "model=bert", "objective=classification", start, "init_part=discriminator", "optimizer.lr=1e-12")
    pair, one = weights(tmp_path / "pair"), weights(tmp_path / "one")
    body = [name for name in one if not name.startswith("heads.")]
    assert len(body) > 20
    for name in body:
        torch.testing.assert_close(one[name], pair[f"discriminator.{name}"])
    assert "heads.detector" in caplog.text  # what was left over is named
    with pytest.raises(CheckpointError, match=r"holds no part 'encoder': it has discriminator, generator"):
        run(tmp_path / "two", "model=bert", "objective=classification", start, "init_part=encoder")
    with pytest.raises(ConfigError, match=r"init_part=discriminator is a part of nothing: name a run by init_from"):
        run(tmp_path / "three", "model=bert", "init_part=discriminator")


def test_what_is_measured_at_the_end(tmp_path: Path):
    result = run(tmp_path / "one", "model=transformer", "evaluation@final_evaluation=bleu", "final_evaluation.max_samples=4")
    assert 0 <= result.summary["metrics"]["final"]["validation/bleu"] <= 100
    assert "version:" in " ".join(result.notes.values())


def test_runs_that_cannot_begin_say_why_and_leave_a_status(tmp_path: Path):
    with pytest.raises(DataError, match=r"missing\.txt"):
        run(tmp_path / "one", "model=gpt2", "data=text", "~data.n_documents", "~data.n_held_out", "data.train=missing.txt")
    assert json.loads((tmp_path / "one" / "status.json").read_text())["status"] == "failed"
    with pytest.raises(ConfigError, match=r"objective=clm"):
        run(tmp_path / "two", "model=bert", "objective=clm")
    assert not (tmp_path / "two").exists()


def test_a_run_that_is_not_there(tmp_path: Path):
    with pytest.raises(RunNotFoundError, match="there is no run there"):
        load_run(tmp_path / "nothing")


def test_a_run_holds_settings_as_data_only(tmp_path: Path):
    """A kind that the catalog does not know, or a `_target_`, is refused; nothing is imported for it."""
    run(tmp_path / "one", "model=gpt2")
    file = tmp_path / "one" / "config.yaml"
    tree = yaml.safe_load(file.read_text())
    tree["model"]["positions"] = {"_target_": "os.system", "command": "touch canary"}
    file.write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=r"model\.positions"):
        load_run(tmp_path / "one")


@pytest.mark.parametrize(
    ("model", "objective", "message"),
    [
        ("t5", "span_corruption", r"^objective=span_corruption marks missing spans by 100 sentinel .* the tokenizer has 0: train a t"),
        ("gpt2", "fill_in_the_middle", r"^objective=fill_in_the_middle marks prefix, suffix and middle by 3 .* the tokenizer has 0: train a t"),
        ("t5", "ul2", r"objective=mixture has a part 'x_64', which marks .*objective.parts.x_64.sentinels\n(.*\n)*.* its modes R, S, X by"),
    ],
)
def test_a_tokenizer_file_without_sentinels_is_refused_before_data_is_read(
    model: str, objective: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run(tmp_path / "plain", "model=gpt2", "training.steps=1")
    given = [word for word in SMALL if not word.startswith("tokenizer")]
    overrides = [*given, f"model={model}", f"objective={objective}", "tokenizer=file", f"tokenizer.path={tmp_path / 'plain' / 'tokenizer.json'}"]
    overrides += [f"run_dir='{tmp_path / 'spans'}'"]
    monkeypatch.setattr("transformer_zoo.experiments.run.build_data", lambda *_, **__: pytest.fail("data was opened"))
    with pytest.raises(ConfigError, match=message):
        train(experiment(overrides), overrides)
