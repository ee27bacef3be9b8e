import pytest
import torch

from transformer_zoo.benchmark import sides
from transformer_zoo.benchmark.jobs import MASKED
from transformer_zoo.benchmark.peers import PEERS
from transformer_zoo.benchmark.shapes import TINY
from transformer_zoo.benchmark.sides import OURS, fastest, our_side, peer_side
from transformer_zoo.benchmark.steps import TARGETS, measure
from transformer_zoo.benchmark.suites import SuiteSettings


@pytest.mark.slow
def test_every_row_has_all_peers() -> None:
    rows = measure(SuiteSettings(rounds=1, quick=True))
    expected = [f"{job}, tiny, dropout {dropout}" for job in TARGETS for dropout in ("0.1", "0") for _ in PEERS[job]]
    assert [one.row for one in rows] == expected
    assert [one.target for one in rows[:3]] == [2.0, 1.6, None]
    assert rows[1].peer in {f"x-transformers Encoder (attn_flash={flash})" for flash in (True, False)}, "which of its attentions was faster"
    assert all(one.ratio > 0 and one.numbers["ours_parameters"] for one in rows)


def test_a_step_learns_on_either_side() -> None:
    """Both sides really train: after some steps on one batch, parameters and losses have moved."""
    device = torch.device("cpu")
    name, makers = next(iter(PEERS[MASKED.name].items()))
    theirs = peer_side(name, next(iter(makers.values())), MASKED, TINY, 0.0, device)
    losses = [float(theirs.run().detach()) for _ in range(30)]
    assert losses[-1] < losses[0]
    ours = our_side(MASKED, TINY, 0.0, device)
    sums = [float(ours.run().sums["mlm"]) for _ in range(30)]
    assert sums[-1] < sums[0]
    assert sums[0] / 4 == pytest.approx(losses[0], rel=0.05), "untrained models of the same kind lose about as much: four tokens are hidden"


def test_the_faster_variant_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sides, "interleave", lambda named, rounds: {name: [2.0, 9.0] if "True" in name else [3.0, 1.0] for name in named})
    makers = PEERS[MASKED.name]["x-transformers Encoder"]
    assert fastest("x", makers, MASKED, TINY, 0.0, torch.device("cpu")).name == "x (attn_flash=False)"


def test_our_side_is_the_recipe() -> None:
    assert our_side(MASKED, TINY, 0.0, torch.device("cpu")).name == OURS
