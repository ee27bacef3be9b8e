"""Position schemes against their formulas."""

import math

import pytest
import torch

from transformer_zoo.layers.positions import (
    AlibiConfig,
    LearnedConfig,
    PositionShape,
    RotaryConfig,
    SinusoidalConfig,
    T5Config,
    alibi_slopes,
    t5_buckets,
)

SHAPE = PositionShape(d_model=6, embedding_width=6, n_heads=4, head_width=8, max_length=32, causal=True)


def test_sinusoidal_values_are_the_papers():
    added = SinusoidalConfig().build(SHAPE).embed(torch.zeros(1, 5, 6), torch.arange(5))
    for position in range(5):
        for i in range(3):
            angle = position / 10000 ** (2 * i / 6)
            assert added[0, position, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert added[0, position, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_rotary_scores_depend_on_distance_only(share: float):
    positions = RotaryConfig(rotated_share=share).build(SHAPE)
    q, k = torch.randn(1, 4, 1, 8), torch.randn(1, 4, 1, 8)

    def score(query_at: int, key_at: int) -> torch.Tensor:
        turned_q, _ = positions.site(0, torch.tensor([query_at]), torch.tensor([query_at])).rotate(q, q)
        _, turned_k = positions.site(0, torch.tensor([key_at]), torch.tensor([key_at])).rotate(k, k)
        return (turned_q * turned_k).sum(-1)

    torch.testing.assert_close(score(5, 2), score(13, 10), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(score(5, 2), score(5, 4), atol=1e-3)
    assert score(0, 0).allclose((q * k).sum(-1))


def test_rotary_refuses_an_odd_number_of_features():
    (problem,) = RotaryConfig().head_problems(7)
    assert "7 of 7 features" in problem
    assert RotaryConfig().head_problems(8) == []
    assert RotaryConfig(rotated_share=0.1).head_problems(8)


def test_alibi_slopes_are_the_papers():
    torch.testing.assert_close(alibi_slopes(8), torch.tensor([2.0**-i for i in range(1, 9)]))
    six = alibi_slopes(6).tolist()  # the four of a power of two, then every second of the next power's
    assert six == pytest.approx([2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3])
    bias = AlibiConfig().build(SHAPE).site(0, torch.arange(3), torch.arange(3)).bias
    assert bias is not None
    assert bias[0, 0, 2, 0].item() == pytest.approx(-2 * 2**-2)


def test_t5_buckets_follow_the_reference():
    transformers = pytest.importorskip("transformers")
    bucket = transformers.models.t5.modeling_t5.T5Attention._relative_position_bucket
    distance = torch.arange(-300, 300)
    for causal in (True, False):
        ours = t5_buckets(distance, causal=causal, n_buckets=32, max_distance=128)
        assert torch.equal(ours, bucket(distance, bidirectional=not causal, num_buckets=32, max_distance=128))


def test_t5_settings_that_make_no_buckets_are_refused():
    assert T5Config(n_buckets=32, max_distance=10).problems()
    assert T5Config(n_buckets=30, max_distance=128).problems()
    assert not T5Config().problems()


def test_learned_positions_begin_behind_the_offset():
    positions = LearnedConfig(offset=2).build(SHAPE)
    assert positions.table.weight.shape == (34, 6)
    assert torch.equal(positions.embed(torch.zeros(1, 3, 6), torch.arange(3))[0], positions.table.weight[2:5])
    assert torch.equal(positions.embed(torch.zeros(1, 1, 6), torch.tensor([[-1]]))[0, 0], positions.table.weight[1])


def test_sinusoidal_halves_are_the_same_waves_in_another_order():
    x, index = torch.zeros(1, 5, 6), torch.arange(5)
    interleaved = SinusoidalConfig().build(SHAPE).embed(x, index)
    halves = SinusoidalConfig(layout="halves").build(SHAPE).embed(x, index)
    assert torch.equal(halves, interleaved[..., [0, 2, 4, 1, 3, 5]])
