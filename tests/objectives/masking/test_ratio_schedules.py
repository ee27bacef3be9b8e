"""Schedules of the mask ratio: their shapes, ends and means."""

import numpy as np
import pytest
import torch

from transformer_zoo.objectives.masking.ratio_schedules import (
    ConstantRatioConfig,
    CosineRatioConfig,
    LinearRatioConfig,
    RatioScheduleConfig,
    StepsRatioConfig,
    UniformRatioConfig,
)
from transformer_zoo.records import Rows

PLACES = np.linspace(0, 1, 1001)


def rows(n: int, progress: np.ndarray | None = None) -> Rows:
    told = None if progress is None else torch.from_numpy(progress)
    return Rows(seed=0, epoch=torch.zeros(n, dtype=torch.int64), index=torch.arange(n), progress=told)


@pytest.mark.parametrize(
    ("schedule", "mean"),
    [
        (ConstantRatioConfig(), 0.15),
        (LinearRatioConfig(initial=0.3), 0.225),
        (CosineRatioConfig(initial=0.3), 0.225),
        (StepsRatioConfig(ratios_before=[0.6, 0.3], borders=[0.25, 0.5]), (0.6 + 0.3 + 2 * 0.15) / 4),
        (UniformRatioConfig(low=0.1, high=0.5), 0.3),
    ],
    ids=repr,
)
def test_means_are_the_area_under_the_schedule(schedule: RatioScheduleConfig, mean: float):
    ratios = schedule.ratios(0.15, rows(len(PLACES), PLACES if schedule.follows_budget else None))
    assert ratios.mean() == pytest.approx(mean, abs=0.01)
    low, high = schedule.bounds(0.15)
    assert low - 1e-12 <= ratios.min() <= ratios.max() <= high + 1e-12


def test_they_end_at_mask_ratio():
    for schedule in (LinearRatioConfig(initial=0.4), CosineRatioConfig(initial=0.4), StepsRatioConfig()):
        assert schedule.at(0.15, np.array([1.0]))[0] == pytest.approx(0.15)
        assert schedule.at(0.15, np.array([0.0]))[0] == pytest.approx(schedule.bounds(0.15)[1])
    assert CosineRatioConfig(initial=0.4).at(0.2, np.array([0.5]))[0] == pytest.approx(0.3)
    assert LinearRatioConfig(initial=0.1).at(0.5, np.array([0.25]))[0] == pytest.approx(0.2)


def test_uniform_is_one_ratio_a_sample_whatever_the_batch():
    schedule = UniformRatioConfig(low=0.2, high=0.8)
    ratios = schedule.ratios(0.15, rows(4000))
    assert ratios.std() == pytest.approx(0.6 / np.sqrt(12), rel=0.05)
    assert schedule.ratios(0.15, rows(10)).tolist() == ratios[:10].tolist()


def test_what_is_wrong_is_told():
    few, order = StepsRatioConfig(ratios_before=[0.3], borders=[0.5, 0.4]).problems()
    assert few == "ratios_before has 1 and borders 2 entries: give one ratio for every border"
    assert order == "borders=[0.5, 0.4] do not ascend"
    assert UniformRatioConfig(low=0.5, high=0.5).problems() == ["low=0.5 is not below high=0.5"]
    assert StepsRatioConfig().problems() == UniformRatioConfig().problems() == []
