"""The benchmark on real text measures what it says, cut to two steps."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "real_text.py"


def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("real_text", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.data
@pytest.mark.slow
def test_a_measurement_is_complete(data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRANSFORMER_ZOO_DATA", str(data_folder))
    monkeypatch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path))
    result = benchmark().measure("shakespeare", ["training.steps=2", "model.n_layers=1", "model.d_model=16", "model.d_ff=16"])
    assert result["command"] == "python benchmarks/real_text.py shakespeare training.steps=2 model.n_layers=1 model.d_model=16 model.d_ff=16"
    assert result["steps"] == 2
    assert 3 < result["metrics"]["validation/loss"] < 6
    assert result["machine"]["threads"] == 1
    assert result["curve"][-1]["step"] == 2
    assert result["samples"]


def test_kept_results_make_a_table():
    table = benchmark().table()
    assert "test/bleu" in table
    assert "validation/nsp_accuracy" in table
