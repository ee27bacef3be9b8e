import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pytest
import torch

from transformer_zoo.benchmark import memory
from transformer_zoo.benchmark.jobs import CAUSAL, Job
from transformer_zoo.benchmark.shapes import TINY, Shape
from transformer_zoo.benchmark.sides import OURS
from transformer_zoo.benchmark.suites import SuiteSettings

SETTINGS = SuiteSettings(rounds=1, quick=True, threads=1)


@pytest.mark.slow
def test_a_fresh_process_tells_what_a_step_took() -> None:
    """Weights, gradients and two moments in float32 are the least that a model needs; a wider one needs more."""
    narrow, wide = (replace(TINY, d_model=width, vocab_size=8192) for width in (64, 256))
    taken = [memory.in_fresh_process(CAUSAL, OURS, shape, SETTINGS) for shape in (narrow, wide)]
    narrow_bytes, wide_bytes = (one["peak"] - one["base"] for one in taken)
    assert wide_bytes > 16 * 8192 * 256
    assert narrow_bytes < wide_bytes / 2
    assert all(one["base"] > 50e6 for one in taken), "the libraries are loaded before"


def test_half_the_memory_is_a_ratio_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(job: Job, name: str, shape: Shape, settings: SuiteSettings) -> dict[str, float]:
        return {"base": 100.0, "peak": 150.0 if name == OURS else 200.0}

    monkeypatch.setattr(memory, "in_fresh_process", told)
    rows = memory.measure_row(CAUSAL, TINY, SETTINGS)
    assert [(one.row, one.ratio, one.target) for one in rows[:2]] == [
        ("causal LM, tiny", 2.0, 2.0),
        ("causal LM, tiny, the whole process", pytest.approx(4 / 3), None),
    ]
    assert rows[0].numbers == {"ours_bytes": 50.0, "peer_bytes": 100.0, "rounds": 1}
    assert [one.target for one in rows if "torch.nn" in one.peer] == [None, None]


def growth_after_a_reset() -> float:
    device = torch.device("cpu")
    big = torch.ones(8_000_000)
    del big
    base = memory.reset_peak(device)
    kept = torch.ones(8_000_000)
    return (memory.peak_bytes(device) - base) / kept.nbytes


def test_the_peak_is_reset() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:  # one that keeps no freed memory
        assert pool.submit(growth_after_a_reset).result() > 0.9
