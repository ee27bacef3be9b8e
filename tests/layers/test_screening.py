"""The token that a screen finds is the one with the highest score in float32, whatever half the bytes say."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from transformer_zoo.layers import screening
from transformer_zoo.layers.linear import has_onednn
from transformer_zoo.layers.packing import Packing
from transformer_zoo.layers.screening import Screen

pytestmark = pytest.mark.skipif(
    not (has_onednn() and Screen.gains(torch.empty(2**13, 2**10, device="meta"))), reason="no screens without oneDNN and instructions for bfloat16"
)
VOCABULARY, WIDTH = 1000, 64  # the last block of 64 is short


def everything(scores: Tensor) -> Tensor:
    return scores


def rough(seed: int, n_rows: int, spread: float) -> tuple[Tensor, Tensor]:
    """Rows of a weight in bundles that differ by less than bfloat16 can tell, of uneven length; and hidden states."""
    generator = torch.Generator().manual_seed(seed)
    bundles = torch.randn(VOCABULARY // 8, 1, WIDTH, generator=generator)
    weight = bundles * (1 + spread * torch.randn(VOCABULARY // 8, 8, WIDTH, generator=generator))
    weight = weight.flatten(0, 1) * torch.rand(VOCABULARY, 1, generator=generator).add(0.5)
    return weight, torch.randn(n_rows, WIDTH, generator=generator)


@settings(deadline=None, max_examples=80)
@given(seed=st.integers(0, 10**6), n_rows=st.sampled_from([1, 2, 5, 16]), spread=st.sampled_from([1e-4, 1e-3, 1e-2]), shifted=st.booleans())
def test_finds_what_float32_finds(seed: int, n_rows: int, spread: float, shifted: bool):
    weight, x = rough(seed, n_rows, spread)
    bias = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(seed)) if shifted else None
    found = Screen(weight, bias)(x, everything)
    assert found is not None
    exact = x.double() @ weight.double().t() + (0 if bias is None else bias.double())
    rounding = WIDTH * 2.0**-23 * x.norm(dim=-1) * weight.norm(dim=1).max()
    assert bool((exact.gather(1, found.unsqueeze(1)).squeeze(1) >= exact.amax(-1) - rounding).all())


def test_the_bounds_are_needed_and_hold():
    """Among many draws half the bytes often name another token; a screen never does."""
    wrong = 0
    for seed in range(40):
        weight, x = rough(seed, 16, 1e-3)
        exact = (x.double() @ weight.double().t()).argmax(-1)
        wrong += int(((x.bfloat16() @ weight.bfloat16().t()).float().argmax(-1) != exact).sum())
        assert torch.equal(Screen(weight, None)(x, everything), exact)
    assert wrong > 10


def test_the_first_of_equal_tokens():
    weight, x = rough(3, 4, 1e-2)
    best = (x @ weight.t()).argmax(-1)
    weight = torch.cat((weight, weight[best]))  # each row's likeliest token once more, behind
    assert Screen(weight, None)(x, everything).tolist() == best.tolist()


@pytest.mark.parametrize("shifted", [False, True])
def test_forbidden_tokens_never_come_and_one_that_must_does(shifted: bool):
    weight, x = rough(4, 6, 1e-3)
    screen = Screen(weight, torch.linspace(-3, 3, VOCABULARY) if shifted else None)
    free = screen(x, everything)

    def restrict(scores: Tensor) -> Tensor:
        scores = scores.clone()
        scores[:, free.unique()] = -math.inf
        scores[2] = -math.inf
        scores[2, 7] = 0.0
        return scores

    logits = x @ weight.t() + (0 if screen.bias is None else screen.bias)
    assert screen(x, restrict).tolist() == restrict(logits).argmax(-1).tolist()
    assert screen(x, restrict)[2] == 7


NOTHING: list[tuple[str, Callable[[Tensor], Tensor]]] = [
    ("not finite", lambda x: x.index_fill(0, torch.tensor(1), math.nan)),
    ("all scores alike", torch.zeros_like),
    ("many rows", lambda x: x.repeat(20, 1)),
    ("another format", lambda x: x.double()),
]


@pytest.mark.parametrize(("_", "change"), NOTHING, ids=[name for name, _ in NOTHING])
def test_answers_nothing_where_it_cannot_decide(_: str, change: Callable[[Tensor], Tensor]):
    weight, x = rough(5, 4, 1e-3)
    screen = Screen(weight, None)
    assert screen(x, everything) is not None
    assert screen(change(x), everything) is None


def test_nothing_is_decided_where_no_token_may_come():
    weight, x = rough(6, 2, 1e-3)
    assert Screen(weight, None)(x, lambda scores: torch.full_like(scores, -math.inf)) is None


def test_a_model_screens_its_large_vocabulary_once_and_small_ones_never(monkeypatch: pytest.MonkeyPatch):
    packing, weight = Packing(), torch.randn(VOCABULARY, WIDTH)
    assert packing.screen(weight, None) is None
    monkeypatch.setattr(screening, "_LARGE", 1)
    assert packing.screen(weight, None) is packing.screen(weight, None) is not None
    assert packing.screen(weight.double(), None) is None
    with torch.autocast("cpu"):
        assert packing.screen(weight, None) is None
