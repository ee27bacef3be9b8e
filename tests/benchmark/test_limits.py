import logging

import pytest
import torch

from transformer_zoo.benchmark import limits
from transformer_zoo.benchmark.flops import training_operations
from transformer_zoo.benchmark.jobs import MASKED
from transformer_zoo.benchmark.shapes import TINY
from transformer_zoo.benchmark.suites import SuiteSettings


def test_rates_and_shares_of_a_step() -> None:
    rows = limits.measure_row(MASKED, TINY, SuiteSettings(rounds=1, quick=True))
    products = limits.products_of(MASKED, TINY)
    rates = [one for one in rows if one.row.startswith("rate of")]
    assert len(rates) == 3 * sum(product.batch == 1 for product in products), "forward and the two gradients of every product with a weight"
    (alone,) = [one for one in rows if one.row.startswith("products alone")]
    assert 0 < alone.ratio < 1
    (share,) = [one for one in rows if one.row.startswith("share of the peak")]
    expected = training_operations(products) / (share.numbers["peak_gflops"] * 1e9 * share.numbers["ours_seconds"])
    assert share.ratio == pytest.approx(expected)
    assert share.numbers["peak_gflops"] >= max(max(one.numbers["ours_gflops"], one.numbers["peer_gflops"]) for one in rates) * 0.999


def test_the_products_of_a_layer_are_what_they_say() -> None:
    torch.manual_seed(0)
    (product,) = [one for one in limits.products_of(MASKED, TINY) if (one.inner, one.columns) == (16, 48)]
    ways = limits._ways(product, torch.nn.Linear, torch.device("cpu"))
    for role, by_way in ways.items():
        ours, plain = (by_way[way].work() for way in (limits.OURS, limits.PLAIN))
        shapes = {limits.FORWARD: (32, 48), limits.D_INPUT: (32, 16), limits.D_WEIGHT: (48, 16)}
        ours = ours[0] if isinstance(ours, tuple) else ours
        assert tuple(ours.shape) == tuple(plain.shape) == shapes[role]
        if role != limits.D_INPUT:
            torch.testing.assert_close(ours, plain)


def test_an_unknown_device_is_told_as_unknown(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA X1000")
    with caplog.at_level(logging.WARNING, logger="transformer_zoo"):
        (only,) = limits._shares("r", [2.0], 10**12, 10**12, torch.device("cuda", 0), {})
    assert only.ratio == 0.5
    assert caplog.messages == ["the dense bf16 peak of NVIDIA X1000 is unknown: the share is told against the measured peak only"]
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    _, stated = limits._shares("r", [2.0], 989 * 10**12, 10**12, torch.device("cuda", 0), {})
    assert (stated.peer, stated.ratio) == ("dense bf16 peak of NVIDIA H200", 0.5)
