from pathlib import Path

import pytest
import torch

from transformer_zoo.benchmark.jobs import MASKED
from transformer_zoo.benchmark.suites import SuiteSettings
from transformer_zoo.benchmark.trainer_loop import PEER, QUICK, BareLoop, OwnTrainer, measure, stream_of


def test_a_row_for_each_shape() -> None:
    (row,) = measure(SuiteSettings(rounds=2, quick=True))
    assert (row.row, row.peer, row.target) == ("masked LM, tiny", PEER, 0.97)
    assert row.ratio > 0
    assert row.numbers["overhead_ms"] == pytest.approx(1000 * (row.numbers["ours_seconds"] - row.numbers["peer_seconds"]), abs=50)


def test_both_sides_train_on_the_same(tmp_path: Path) -> None:
    """After a round both models are equal: the same batches, the same clipping, the same updates."""
    (work,) = QUICK
    objective, stream = MASKED.built(work.shape), stream_of(work.shape, tmp_path)
    ours = OwnTrainer(work, objective, stream, torch.device("cpu"), tmp_path)
    bare = BareLoop(work, objective, stream, torch.device("cpu"))
    start = [parameter.detach().clone() for parameter in bare.model.parameters()]
    bare.round()
    ours.round()
    for before, one, two in zip(start, bare.model.parameters(), ours.model.parameters(), strict=True):
        assert not torch.equal(before, one)
        torch.testing.assert_close(one, two, rtol=0, atol=1e-6)
