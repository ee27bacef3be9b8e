from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_zoo.generation.base import Continuation
from transformer_zoo.generation.greedy import GreedyConfig
from transformer_zoo.generation.sampling import SamplingConfig, drawn, kept_probabilities, uniform_draws

PROMPTS = [[3], [1, 2, 4], [2, 2], [4, 1, 3, 3, 2], [1]]


def sampled(model: Any, prompts: list[list[int]], index: list[int], seed: int = 1, **settings: Any) -> list[list[int]]:
    request = Continuation(prefixes=prompts, pad=0, end=5, index=index)
    return [row.token_ids for row in SamplingConfig(max_new_tokens=12, **settings).build(seed=seed).generate(model, request)]


def test_a_row_draws_the_same_whatever_stands_beside_it(second_order: Callable[..., Any]) -> None:
    model = second_order(6, sharpness=0.5)
    together = sampled(model, PROMPTS, [10, 11, 12, 13, 14])
    assert together == [sampled(model, [p], [10 + i])[0] for i, p in enumerate(PROMPTS)]
    assert together == sampled(model, PROMPTS[::-1], [14, 13, 12, 11, 10])[::-1]
    windowed = second_order(6, sharpness=0.5, max_length=5)
    assert sampled(windowed, PROMPTS, [10, 11, 12, 13, 14]) == [sampled(windowed, [p], [10 + i])[0] for i, p in enumerate(PROMPTS)]


def test_seed_and_row_number_change_the_draws(second_order: Callable[..., Any]) -> None:
    model = second_order(6, sharpness=0.1)
    first = sampled(model, [[1]], [0])
    assert first == sampled(model, [[1]], [0])
    assert first != sampled(model, [[1]], [1])
    assert first != sampled(model, [[1]], [0], seed=2)


def test_nothing_is_drawn_from_the_global_generator(second_order: Callable[..., Any]) -> None:
    state = torch.get_rng_state()
    sampled(second_order(6), PROMPTS, list(range(5)))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-4}])
def test_the_narrowest_settings_are_greedy(second_order: Callable[..., Any], settings: dict[str, Any]) -> None:
    model = second_order(6)
    request = Continuation(prefixes=PROMPTS, pad=0, end=5)
    greedy = [row.token_ids for row in GreedyConfig(max_new_tokens=12).build().generate(model, request)]
    assert sampled(model, PROMPTS, list(range(5)), **settings) == greedy


def test_draws_follow_the_distribution(second_order: Callable[..., Any]) -> None:
    model = second_order(5, sharpness=1.0)
    request = Continuation(prefixes=[[1, 2]] * 20_000, pad=0)
    rows = SamplingConfig(max_new_tokens=1, temperature=0.7).build(seed=3).generate(model, request)
    shares = np.bincount([row.token_ids[0] for row in rows], minlength=5) / len(rows)
    expected = (model.table[0, 1, 2] / 0.7).softmax(-1).numpy()
    assert np.abs(shares - expected).max() < 4 * 0.5 / np.sqrt(len(rows))


def test_draws_of_later_steps_are_independent() -> None:
    draws = uniform_draws(0, torch.arange(4000).repeat_interleave(2), torch.tensor([0, 1]).repeat(4000)).view(-1, 2)
    assert abs(float(torch.corrcoef(draws.T)[0, 1])) < 0.05
    assert float(draws.min()) >= 0
    assert float(draws.max()) < 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-6, 6), min_size=1, max_size=12),
    st.one_of(st.none(), st.integers(1, 15)),
    st.floats(0.01, 1.0),
    st.floats(0, 1, exclude_max=True),
)
def test_filters_keep_the_likeliest_and_only_kept_tokens_are_drawn(logits: list[float], top_k: int | None, top_p: float, draw: float) -> None:
    scores = torch.tensor([logits], dtype=torch.float64)
    kept = kept_probabilities(scores, top_k, top_p)[0]
    count = int((kept > 0).sum())
    assert 1 <= count <= min(len(logits), top_k or len(logits))
    chosen, left = scores[0][kept > 0], scores[0][kept == 0]
    assert not len(left) or float(chosen.min()) >= float(left.max()) - 1e-12  # closer ones have the same probability
    full = scores[0].topk(min(len(logits), top_k or len(logits))).values.softmax(-1)
    assert float(kept.sum()) >= min(top_p, 1.0) - 1e-9  # enough mass …
    assert count == 1 or float(full[: count - 1].sum()) < top_p + 1e-9  # … and no token more than needed
    token = int(drawn(kept[None], torch.tensor([draw], dtype=torch.float64)))
    assert kept[token] > 0


def test_drawn_at_the_edges() -> None:
    probabilities = torch.tensor([[0.0, 0.25, 0.0, 0.5, 0.0]]).double()
    low, edge, high = (int(drawn(probabilities, torch.tensor([u]).double())) for u in (0.0, 1 / 3 + 1e-12, 1 - 1e-16))
    assert (low, edge, high) == (1, 3, 3)
