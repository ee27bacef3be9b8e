"""The analytic counts against PyTorch's own counter."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from transformer_zoo.benchmark.flops import (
    FEEDFORWARD,
    PROJECTIONS,
    SCORES,
    VOCABULARY,
    by_part,
    forward_operations,
    stack,
    training_operations,
    vocabulary,
)
from transformer_zoo.benchmark.jobs import JOBS, MASKED, SPECIALS, Job, tokens_of
from transformer_zoo.benchmark.limits import products_of
from transformer_zoo.benchmark.peers import hugging_face_bert, hugging_face_gpt2
from transformer_zoo.benchmark.shapes import Shape
from transformer_zoo.experiments.compose import recipe
from transformer_zoo.experiments.operations import count_forward

SHAPE = Shape(name="test", n_layers=2, d_model=64, n_heads=4, vocab_size=320, length=48, batch_size=3)
CLOSE = 0.02


def counted(work: Callable[[], Any]) -> int:
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return counter.get_total_flops()


def everywhere(shape: Shape, transform: bool) -> list[Any]:
    body = stack(n_layers=shape.n_layers, d_model=shape.d_model, d_ff=shape.d_ff, n_heads=shape.n_heads, n_rows=shape.batch_size, length=shape.length)
    return body + vocabulary(d_model=shape.d_model, vocab_size=shape.vocab_size, scored=shape.batch_size * shape.length, transform=transform)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.recipe)
def test_our_models_score_only_what_is_predicted(job: Job) -> None:
    """A forward pass; the chosen positions are a multiple of 64, to which they would be filled."""
    shape = Shape(name="test", n_layers=2, d_model=64, n_heads=4, vocab_size=320, length=64, batch_size=32)
    example = job.example(shape)
    with torch.device("meta"):
        model = recipe(job.recipe, *job.settings(shape, 0.0)).build(vocab_size=shape.vocab_size, heads=job.built(shape).needs().heads).eval()
    found = count_forward(model, example.to("meta").inputs)[""]
    assert forward_operations(products_of(job, shape)) == pytest.approx(found, rel=CLOSE)
    scored = next(iter(example.counts.values()))
    assert scored == (32 * round(0.15 * 64) if job is MASKED else 32 * 64)


@pytest.mark.parametrize(("maker", "transform"), [(hugging_face_bert, True), (hugging_face_gpt2, False)])
def test_training_is_three_forwards(maker: Any, transform: bool) -> None:
    peer, tokens = maker(SHAPE, 0.0), tokens_of(JOBS[0].example(SHAPE))
    found = counted(lambda: peer.loss(tokens).backward())
    assert training_operations(everywhere(SHAPE, transform)) == pytest.approx(found, rel=CLOSE)


def test_cross_attention_reads_a_memory() -> None:
    transformers = pytest.importorskip("transformers")
    sides = {f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 256))}
    config = transformers.MarianConfig(
        vocab_size=320, d_model=64, **sides, use_cache=False, pad_token_id=SPECIALS.pad, decoder_start_token_id=SPECIALS.begin
    )
    model = transformers.MarianMTModel(config)
    source, target = torch.full((3, 40), 9), torch.full((3, 24), 9)

    def forward() -> Tensor:
        logits: Tensor = model(input_ids=source, decoder_input_ids=target).logits
        return logits

    sizes = {"n_layers": 2, "d_model": 64, "d_ff": 256, "n_heads": 4, "n_rows": 3}
    products = stack(**sizes, length=40) + stack(**sizes, length=24, memory=40) + vocabulary(d_model=64, vocab_size=320, scored=3 * 24)
    assert forward_operations(products) == pytest.approx(counted(forward), rel=CLOSE)


def test_by_part_in_numbers() -> None:
    products = stack(n_layers=3, d_model=8, d_ff=32, n_heads=2, n_rows=5, length=7, gated=True) + vocabulary(d_model=8, vocab_size=100, scored=4)
    tokens = 5 * 7
    assert by_part(products) == {
        PROJECTIONS: 3 * 2 * tokens * 4 * 8 * 8,
        SCORES: 3 * 2 * 2 * 5 * 7 * 7 * 8,
        FEEDFORWARD: 3 * 2 * tokens * 3 * 8 * 32,
        VOCABULARY: 2 * 4 * 8 * 100,
    }
