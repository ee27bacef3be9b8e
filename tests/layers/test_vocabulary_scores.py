"""The chunked cross-entropy equals the plain one, and never holds all logits."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_zoo.layers import vocabulary_scores
from transformer_zoo.layers.vocabulary_scores import VocabularyScores
from transformer_zoo.records import IGNORED


def leaves(n: int, vocab: int, width: int, bias: bool) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(n * vocab + width)
    made = [torch.randn(n, width, generator=generator, dtype=torch.float64), torch.randn(vocab, width, generator=generator, dtype=torch.float64)]
    made += [torch.randn(vocab, generator=generator, dtype=torch.float64)] if bias else []
    return [x.float().requires_grad_() for x in made]


@settings(deadline=None, max_examples=30)
@given(n=st.integers(1, 70), vocab=st.integers(2, 90), smoothing=st.sampled_from([0.0, 0.1, 0.5]), bias=st.booleans(), chunk=st.integers(1, 4000))
def test_equals_plain_cross_entropy_in_value_and_gradient(n: int, vocab: int, smoothing: float, bias: bool, chunk: int):
    inputs = leaves(n, vocab, 8, bias)
    targets = torch.arange(n) % vocab
    targets[::3] = IGNORED
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vocabulary_scores._CHUNK_ELEMENTS, "cpu", chunk)
        scores = VocabularyScores(hidden=inputs[0], weight=inputs[1], bias=inputs[2] if bias else None)
        loss = scores.cross_entropy(targets, smoothing) / n
        gradients = torch.autograd.grad(loss, inputs)
    plain = F.cross_entropy(scores.logits(), targets, ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing) / n
    torch.testing.assert_close(loss, plain, atol=1e-6, rtol=1e-6)
    for ours, theirs in zip(gradients, torch.autograd.grad(plain, inputs), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_all_ignored_gives_zero_and_not_nan():
    hidden, weight = leaves(4, 9, 8, False)
    loss = VocabularyScores(hidden=hidden, weight=weight).cross_entropy(torch.full((4,), IGNORED))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(hidden.grad, torch.zeros_like(hidden))


def test_evaluate_gives_each_loss_and_whether_it_was_right():
    hidden, weight = leaves(50, 9, 8, False)
    targets = torch.randint(0, 9, (50,))
    targets[3] = IGNORED
    scores = VocabularyScores(hidden=hidden, weight=weight)
    losses, correct = scores.evaluate(targets)
    torch.testing.assert_close(losses, F.cross_entropy(scores.logits(), targets, reduction="none", ignore_index=IGNORED))
    assert torch.equal(correct, scores.logits().argmax(-1) == targets)
    assert losses[3] == 0
    assert not correct[3]


def test_no_tensor_of_the_size_of_all_logits_is_made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(vocabulary_scores._CHUNK_ELEMENTS, "cpu", 1000 * 16)
    hidden, weight = leaves(320, 1000, 8, False)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, tuple | list) else [out]:
                if isinstance(tensor, torch.Tensor):
                    largest = max(largest, tensor.numel())
            return out

    with Watch():
        VocabularyScores(hidden=hidden, weight=weight).cross_entropy(torch.zeros(320, dtype=torch.int64)).backward()
    assert largest <= 16 * 1000


def test_bf16_autocast_keeps_float32_sums_and_gradients():
    hidden, weight = leaves(40, 30, 8, False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = VocabularyScores(hidden=hidden, weight=weight).cross_entropy(torch.zeros(40, dtype=torch.int64))
    loss.backward()
    assert loss.dtype == weight.grad.dtype == hidden.grad.dtype == torch.float32
    plain = VocabularyScores(hidden=hidden, weight=weight).cross_entropy(torch.zeros(40, dtype=torch.int64))
    assert loss.item() == pytest.approx(plain.item(), rel=1e-2)


def test_samples_follow_the_softmax_and_the_draws():
    scores = VocabularyScores(hidden=torch.randn(1, 8).expand(40_000, 8), weight=torch.randn(5, 8), bias=torch.randn(5))
    probabilities = scores.logits()[0].softmax(-1)
    found = scores.sample(torch.rand(40_000))
    shares = found.bincount(minlength=5) / 40_000
    torch.testing.assert_close(shares, probabilities, atol=0.01, rtol=0)
    edges = torch.cat((torch.zeros(1), probabilities.cumsum(0)[:-1]))
    few = VocabularyScores(hidden=scores.hidden[:5], weight=scores.weight, bias=scores.bias)
    assert few.sample(edges + 1e-4).tolist() == [0, 1, 2, 3, 4]
    assert few.sample(torch.ones(5)).tolist() == [4] * 5  # as a draw just below one may be rounded
    barred = VocabularyScores(hidden=torch.ones(1, 1), weight=torch.tensor([[-200.0], [0.0]]))
    assert barred.sample(torch.zeros(1)).tolist() == [1]  # what has no probability is never drawn
