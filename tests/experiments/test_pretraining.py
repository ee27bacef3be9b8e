"""Every way of pretraining learns something of the built-in language in a few steps."""

from pathlib import Path

import pytest

from transformer_zoo.experiments.compose import experiment
from transformer_zoo.experiments.config import GenerateConfig
from transformer_zoo.experiments.evaluating import evaluate_run
from transformer_zoo.experiments.generate import generate
from transformer_zoo.experiments.run import train
from transformer_zoo.training.metrics import read_metrics

SMALL = (
    *("model/size=tiny", "model.d_model=32", "model.n_heads=2", "model.d_ff=64", "model.dropout=0", "tokenizer=word", "device=cpu"),
    *("data.n_documents=300", "data.n_held_out=10", "data.sequence_length=48", "training.batch_size=16", "training.threads=1"),
    *("training.log_every=1", "optimizer.lr=1e-2", "schedule=constant"),
)


@pytest.mark.parametrize(
    ("objective", "model", "terms", "given"),
    [
        pytest.param("replaced_token", "electra", ("generator", "detector"), {"text": "the [MASK] ."}, marks=pytest.mark.slow),
        ("mlm_sop", "albert", ("mlm",), {"text": "the [MASK] ."}),
        pytest.param("span_corruption", "t5", ("span_corruption",), {"source": "the <extra_id_0> ."}, marks=pytest.mark.slow),
        pytest.param("denoising", "bart", ("denoising",), {"source": "the [MASK] ."}, marks=pytest.mark.slow),
        ("prefix_lm", "gpt2", ("prefix_lm",), {"prompt": "the"}),
        pytest.param("prefix_lm", "t5", ("prefix_lm",), {"source": "the"}, marks=pytest.mark.slow),
        ("fill_in_the_middle", "gpt2", ("fill_in_the_middle",), {"prompt": "<extra_id_0> the <extra_id_1> . <extra_id_2>"}),
        pytest.param("ul2", "t5", ("mixture",), {"source": "<extra_id_101> the"}, marks=pytest.mark.slow),
    ],
)
def test_the_loss_falls(
    objective: str, model: str, terms: tuple[str, ...], given: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path / "cache"))
    overrides = [f"model={model}", f"objective={objective}", *SMALL, "training.steps=40", f"run_dir='{tmp_path / 'run'}'"]
    result = train(experiment(overrides), overrides)
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "train/loss" in line]
    for name in [f"train/loss/{term}" if f"train/loss/{term}" in lines[0] else "train/loss" for term in terms]:
        first, last = (sum(line[name] for line in part) / len(part) for part in (lines[:5], lines[-5:]))
        assert last < first - 0.05, f"{name} went from {first} to {last}"
    evaluation = experiment(overrides).evaluation
    first, second = (evaluate_run(tmp_path / "run", evaluation)["metrics"] for _ in range(2))
    assert first == second
    assert first["validation/loss"] == result.summary["metrics"]["best"]["validation/loss"]
    found = generate(tmp_path / "run", given, GenerateConfig())
    assert found.get("masks") or found.get("texts") or isinstance(found["translation"], str)
