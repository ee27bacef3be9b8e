"""Values against the formulas, in steps and in shares of any budget."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_zoo.training.schedules import (
    ConstantConfig,
    CosineConfig,
    InverseSqrtConfig,
    LinearConfig,
    Moment,
    ScheduleConfig,
    WSDConfig,
)

ALL = [ConstantConfig, LinearConfig, CosineConfig, InverseSqrtConfig, WSDConfig]


def factors(schedule: ScheduleConfig, steps: int) -> list[float]:
    """Of every update of a run of `steps`."""
    return [schedule.factor(Moment(step=k, start=(k - 1) / steps, end=k / steps)) for k in range(1, steps + 1)]


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("warmup", [{"warmup_steps": 10}, {"warmup_share": 0.1, "warmup_steps": None}], ids=["steps", "share"])
def test_warmup_rises_in_a_line_to_the_peak(kind: type[ScheduleConfig], warmup: dict[str, float]) -> None:
    values = factors(kind(**warmup), 100)
    assert values[:10] == pytest.approx([k / 10 for k in range(1, 11)])
    assert max(values) == pytest.approx(1.0)
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(values[9:]))


@pytest.mark.parametrize("kind", ALL)
@given(
    st.integers(1, 10**6),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 0.99),
    st.one_of(st.none(), st.integers(0, 10**5)),
)
def test_always_a_factor(kind: type[ScheduleConfig], step: int, start: float, more: float, share: float, warmup_steps: int | None) -> None:
    end = min(1.0, start + more)
    assert 0 <= kind(warmup_share=share, warmup_steps=warmup_steps).factor(Moment(step=step, start=start, end=end)) <= 1


def test_linear() -> None:
    values = factors(LinearConfig(warmup_steps=20, final_share=0.1), 100)
    for k in range(21, 101):
        assert values[k - 1] == pytest.approx(1 - 0.9 * (k - 1 - 20) / 80)
    assert factors(LinearConfig(warmup_share=0.0), 4) == pytest.approx([1, 0.75, 0.5, 0.25])
    assert factors(LinearConfig(), 1) == [1.0]


def test_cosine() -> None:
    values = factors(CosineConfig(warmup_steps=0, final_share=0.2), 10)
    assert values == pytest.approx([0.2 + 0.4 * (1 + math.cos(math.pi * k / 10)) for k in range(10)])


@pytest.mark.parametrize("warmup", [{"warmup_steps": 40}, {"warmup_share": 0.04}], ids=["steps", "share"])
def test_inverse_sqrt_is_the_formula_of_2017(warmup: dict[str, float]) -> None:
    """d^-0.5 · min(step^-0.5, step · warmup^-1.5)"""
    d_model, values = 512, factors(InverseSqrtConfig(**warmup), 1000)
    peak = d_model**-0.5 * 40**-0.5
    paper = [d_model**-0.5 * min(step**-0.5, step * 40**-1.5) for step in range(1, 1001)]
    assert [peak * value for value in values] == pytest.approx(paper, rel=1e-9)


def test_inverse_sqrt_without_warmup() -> None:
    for none in (InverseSqrtConfig(warmup_steps=0), InverseSqrtConfig(warmup_share=0.0)):
        assert factors(none, 9) == pytest.approx([k**-0.5 for k in range(1, 10)])


def test_wsd() -> None:
    values = factors(WSDConfig(warmup_steps=10, decay_share=0.25, shape="linear"), 100)
    assert values[9:75] == pytest.approx([1.0] * 66)
    assert values[75:] == pytest.approx([1 - k / 25 for k in range(25)])
    curved = factors(WSDConfig(warmup_steps=10, decay_share=0.25, final_share=0.1), 100)
    assert curved[75:] == pytest.approx([1 - 0.9 * math.sqrt(k / 25) for k in range(25)])
    assert WSDConfig(warmup_share=0.5, decay_share=0.6).problems() == ["warmup_share=0.5 and decay_share=0.6 are more than the whole budget together"]


def test_warmup_longer_than_the_run() -> None:
    assert factors(LinearConfig(warmup_steps=50), 10) == pytest.approx([k / 50 for k in range(1, 11)])
