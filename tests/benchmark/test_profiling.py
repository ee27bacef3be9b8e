import subprocess
import sys
from pathlib import Path

import pytest
import torch

from transformer_zoo.benchmark.profiling import _times, breakdown, families, family_of, table
from transformer_zoo.experiments.compose import experiment

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "profile.py"


@pytest.mark.parametrize(
    ("names", "family"),
    [
        (["aten::addmm", "aten::linear"], "matrix products"),
        (["mkldnn::_linear_pointwise"], "matrix products"),
        (["aten::mm", "_ChunkedCrossEntropy"], "matrix products"),
        (["aten::exp_", "_ChunkedCrossEntropy"], "loss"),
        (["aten::bmm", "aten::matmul"], "attention"),
        (["aten::copy_", "aten::scaled_dot_product_attention"], "attention"),
        (["aten::bernoulli_", "aten::dropout", "aten::scaled_dot_product_attention"], "dropout"),
        (["aten::mul", "Optimizer.step#AdamW.step"], "optimiser"),
        (["aten::native_layer_norm_backward", "NativeLayerNormBackward0"], "normalisation"),
        (["aten::gelu_backward"], "activation"),
        (["aten::copy_", "aten::clone"], "copies"),
        (["aten::add_"], "elementwise"),
        (["something"], "other"),
    ],
)
def test_family(names: list[str], family: str) -> None:
    assert family_of(names) == family


def test_an_operation_is_recorded_with_what_it_runs_inside() -> None:
    x = torch.ones(100, 100)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded, torch.profiler.record_function("Optimizer.step#X"):
        x * x
    found = {names[0]: family_of(names) for names, _ in _times(recorded.events(), on_device=False)}
    assert found["aten::mul"] == "optimiser"


def test_shares_add_up() -> None:
    found = families([(["aten::mm"], 3000.0), (["aten::addmm"], 3000.0), (["aten::gelu"], 2000.0)], steps=2)
    assert [(one.name, one.milliseconds, one.share) for one in found] == [("matrix products", 3.0, 0.75), ("activation", 1.0, 0.25)]
    assert found[0].largest == (("aten::mm", 1.5), ("aten::addmm", 1.5))
    assert table(found).splitlines()[-1] == "| all | 4.0 | 100% | |"


@pytest.mark.parametrize(("model", "objective"), [("bert", "mlm"), ("gpt2", "clm"), ("transformer", "translation")])
def test_a_step_of_any_shape_is_told_apart(model: str, objective: str) -> None:
    sizes = ["model.d_model=32", "model.n_layers=1", "model.n_heads=2", "model.d_ff=64", "data.sequence_length=16"]
    found = breakdown(experiment([f"model={model}", f"objective={objective}", *sizes]), batch_size=2, vocab_size=64, steps=1)
    named = {one.name for one in found}
    assert {"matrix products", "attention", "normalisation", "activation", "loss", "optimiser"} <= named
    assert sum(one.share for one in found) == pytest.approx(1)


@pytest.mark.slow
def test_the_script_is_no_stand_in_for_the_standard_librarys_profile(tmp_path: Path) -> None:
    sizes = ["model.d_model=32", "model.n_layers=1", "model.n_heads=2", "model.d_ff=64", "data.sequence_length=16"]
    words = ["model=gpt2", *sizes, "batch_size=2", "vocab_size=64", "steps=1", "threads=1"]
    told = subprocess.run([sys.executable, str(SCRIPT), *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("| family | ms | share |")
