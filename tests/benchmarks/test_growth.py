"""The benchmark of growth measures what it says, on small sizes; what it kept is what the documentation shows."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from transformer_zoo.benchmark import growing
from transformer_zoo.benchmark.growing import CURVES, Curve, Place, exponent, measure
from transformer_zoo.benchmark.shapes import TINY

ROOT = Path(__file__).parents[2]
FILE = ROOT / "benchmarks" / "growth.py"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("growth", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "growth", module)
    spec.loader.exec_module(module)
    return module


def test_an_exponent_is_the_slope_in_logarithms():
    points = [1, 2, 4, 8, 16]
    assert exponent(points, [3.0 * point**1.5 for point in points]) == pytest.approx(1.5)
    constant = [100.0 + point**2 for point in points]
    assert exponent(points, constant, upper=True) > 1.5 * exponent(points, constant) > 0
    assert exponent(points, [1, 1, 4, 8, 16], upper=True) == pytest.approx(1.0)  # the last three


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.key)
def test_every_point_can_be_built(curve: Curve):
    model, _ = growing.built(curve.place(curve.points[0]), meta=True)
    assert sum(parameter.numel() for parameter in model.parameters()) > 0


def test_operations_grow_as_theory_says():
    by_key = {curve.key: curve for curve in CURVES}

    def slope(key: str, *chosen: int) -> float:
        curve = by_key[key]
        points = chosen or curve.points[:3]
        return exponent(points, [growing.operations(curve.place(point)) for point in points])

    assert 1 < slope("width") < 2
    assert slope("depth") == pytest.approx(1, abs=0.4)  # the last layer goes on with the predicted tokens alone
    assert 1.05 < slope("length: full") < 2
    assert slope("length: full") == pytest.approx(slope("length: ALiBi"))
    # Predicted places come in multiples of 64: of these lengths they do by themselves.
    assert slope("length: window", 1280, 2560, 5120) == pytest.approx(1, abs=0.01)
    assert slope("batch") == pytest.approx(1, abs=0.05)
    assert slope("accumulation") == pytest.approx(0, abs=0.05)


def test_a_curve_is_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(growing, "measure_memory", lambda curve, at_once: [float(at_once)] * len(curve.points))

    def rows(n: int) -> Place:
        return Place(shape=replace(TINY, batch_size=n), settings=("model/positions=t5",), micro_batches=2)

    curve = Curve(axis="batch", name="batch", points=(2, 4), place=rows, seconds="1", memory="1")
    (found,) = measure([curve], rounds=1, at_once=3)
    assert found.curve == "batch"
    assert len(found.seconds) == 2
    assert min(found.seconds) > 0
    assert found.bytes == [3.0, 3.0]
    assert found.kernels == ["sdpa: own, score bias with a gradient"] * 2
    assert found.operations[1] > found.operations[0]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the high-water mark")
@pytest.mark.slow
def test_memory_is_that_of_a_process_of_its_own():
    small, large = growing.measure_memory(next(replace(curve, points=(64, 256)) for curve in CURVES if curve.key == "width"), at_once=1)
    weights = 4 * 4 * 2 * 12 * 256**2  # in single precision: weights, gradients and AdamW's two moments of two layers
    assert weights < large < 20 * weights
    assert small < large


@pytest.mark.slow
def test_the_module_of_that_name_is_the_standard_library_s():
    """`benchmarks/profile.py` must not be found first by the scripts beside it."""
    code = "import runpy, sys; sys.path.insert(0, 'benchmarks'); runpy.run_path('benchmarks/{}.py'); import profile; profile.run"
    for script in ("growth", "long_attention", "real_text"):
        subprocess.run([sys.executable, "-c", code.format(script)], check=True, cwd=ROOT)


def test_the_page_shows_what_was_kept(benchmark: ModuleType):
    kept = json.loads(benchmark.RESULT.read_text(encoding="utf-8"))
    page = benchmark.PAGE.read_text(encoding="utf-8")
    assert benchmark.paged(page, kept) == page, "write it anew: python benchmarks/growth.py page"
    assert list(kept) == list(benchmark.AXES)
    for axis in benchmark.AXES:
        assert (benchmark.FIGURES / f"growth_{axis}.svg").read_text(encoding="utf-8") == benchmark.drawing(kept, axis)
        assert f"(figures/growth_{axis}.svg)" in page
        for curve in benchmark.curves_of(axis):
            assert kept[axis]["curves"][curve.key]["points"] == list(curve.points)


def test_every_curve_has_its_line(benchmark: ModuleType):
    curves = {
        curve.key: {
            "points": [1, 2, 4, 8],
            "seconds": [1.0, 2.0, 4.0, 8.0],
            "bytes": [1.0, 1.0, 1.0, 1.0],
            "operations": [1.0, 4.0, 16.0, 64.0],
            "kernels": ["sdpa: flash, no mask", "sdpa: flash, band"],
        }
        for curve in CURVES
        if curve.axis == "length"
    }
    lines = benchmark.table({"length": {"curves": curves}}).splitlines()
    assert len(lines) == 2 + 5
    assert lines[2].startswith("| length: full | 1 … 8 tokens of one row | 1.00, **1.00** | 2.00 | ")
    assert lines[2].endswith(" | 0.00, **0.00** | 1: no tensor of all pairs is made | sdpa: flash, no mask<br>sdpa: flash, band |")
