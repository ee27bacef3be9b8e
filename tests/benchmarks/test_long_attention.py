"""The benchmark of attention at length measures what it says, on short rows; what it kept is what the documentation shows."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).parents[2]
FILE = ROOT / "benchmarks" / "long_attention.py"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("long_attention", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "long_attention", module)
    spec.loader.exec_module(module)
    return module


def test_every_attention_runs_forward_and_backward(benchmark: ModuleType):
    times = benchmark.measure_times(64, 1)
    assert list(times) == list(benchmark.ATTENTIONS)
    assert all(0 < one["fastest"] <= one["forward"] + one["backward"] for one in times.values())
    one = benchmark.layer("longformer", 64)
    one.backward(one.forward())
    assert one.x.grad is not None
    assert int(one.operands.query_global.sum()) == 2


def test_the_two_windows_compute_the_same(benchmark: ModuleType):
    band, all_pairs = (benchmark.layer(name, 1600) for name in ("window", "window, all pairs"))
    torch.testing.assert_close(band.forward(), all_pairs.forward(), atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the high-water mark")
def test_memory_is_that_of_a_process_of_its_own(benchmark: ModuleType):
    mebibytes = 4 * 2048 * benchmark.WIDTH * 4 / 2**20  # the input, queries, keys and values alone
    assert mebibytes < benchmark.measure_memory("full", 2048) < 100 * mebibytes


def test_replacing_random_blocks_changes_the_output(benchmark: ModuleType):
    assert 0.05 < benchmark.evaluation_difference(1024) < 1


def test_the_page_shows_what_was_kept(benchmark: ModuleType):
    kept = json.loads(benchmark.RESULT.read_text())
    page = (ROOT / "docs" / "long_attention.md").read_text()
    assert benchmark.table(kept) in page
    assert benchmark.FIGURE.read_text() == benchmark.drawing(kept)
    assert kept["rounds"] >= 7
    assert f"{kept['bigbird_evaluation_difference']:.0%}" in page
