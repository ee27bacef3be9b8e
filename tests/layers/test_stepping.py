"""A stack resolved into plain functions computes what the stack computes, whatever it is made of."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from transformer_zoo.experiments.compose import recipe
from transformer_zoo.layers.feedforward import DenseFeedforward
from transformer_zoo.layers.packing import Packing
from transformer_zoo.layers.stepping import VocabularyStep, resolved
from transformer_zoo.models.base import Model
from transformer_zoo.records import HeadNeed, SequenceInputs, TranslationInputs

VOCABULARY, WIDE = 61, 264
"""Wide enough that weights are packed."""
RECIPES = [
    ("gpt2",),
    ("gpt2", "model/norm_placement=sandwich"),
    ("gpt2", "model/attention/kernel=reference", "model/positions=alibi"),
    ("gpt3", "model.layers.banded.attention.window=2"),
    ("llama", "model.attention.n_kv_heads=2", "model/attention/qk_norm=layernorm"),
    ("t5",),
    ("t5_v1_1",),
    ("bart",),
    ("transformer",),
    ("marian",),
]


def built(*words: str) -> Model:
    sizes = {"n_layers": 2, "d_model": WIDE, "n_heads": 4, "d_ff": 272, "max_length": 24, "dropout": 0}
    settings = recipe(words[0], *(f"model.{key}={value}" for key, value in sizes.items()), *words[1:])
    torch.manual_seed(0)
    return settings.build(vocab_size=VOCABULARY, heads={"vocabulary": HeadNeed(kind="vocabulary")}).eval()


def inputs(model: Model, ids: Tensor, valid: Tensor | None) -> SequenceInputs | TranslationInputs:
    if len(list(model.stacks())) == 1:
        return SequenceInputs(token_ids=ids, valid=valid)
    source = SequenceInputs(token_ids=ids.flip(1), valid=None if valid is None else valid.flip(1))
    return TranslationInputs(source=source, target=SequenceInputs(token_ids=ids[:, -1:]))


def written(model: Model, n_rows: int, padded: bool) -> list[Tensor]:
    """Logits of five steps, rows coming and going between them."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(VOCABULARY, (n_rows, 6), generator=generator)
    valid = torch.arange(6) >= torch.arange(n_rows).unsqueeze(1) % 5 if padded else None
    logits, state = model.start(inputs(model, ids, valid), capacity=12)
    found, n_now = [logits], n_rows
    for step in range(5):
        found.append(model.step(torch.randint(VOCABULARY, (n_now,), generator=generator), state))
        if step == 1:
            state.spread(2)
            n_now *= 2
        if step == 2 and n_rows > 2:
            state.select(torch.tensor([5, 4, 2, 3]))  # the pairs of the third and the second row, one of them turned round
            n_now = 4
    return found


@pytest.mark.parametrize(("n_rows", "padded"), [(1, False), (3, True), (5, False)])
@pytest.mark.parametrize("words", RECIPES, ids=" ".join)
def test_equals_the_stack_as_it_is(words: tuple[str, ...], n_rows: int, padded: bool):
    model = built(*words)
    lean = written(model, n_rows, padded)
    for stack in model.stacks():
        stack.blocks[0].register_forward_hook(lambda module, args, output: None)  # a stack with hooks runs as it always does
    for ours, plain in zip(lean, written(model, n_rows, padded), strict=True):
        torch.testing.assert_close(ours, plain, atol=2e-4, rtol=1e-4)


def test_hooks_fire_at_every_token():
    model = built("gpt2")
    seen: list[int] = []
    model.get_submodule("stack.blocks.1.feedforward.inner").register_forward_hook(lambda module, args, output: seen.append(args[0].shape[1]))
    _, state = model.start(SequenceInputs(token_ids=torch.zeros(2, 3, dtype=torch.int64)), capacity=6)
    for _ in range(3):
        model.step(torch.zeros(2, dtype=torch.int64), state)
    assert seen == [3, 1, 1, 1]


def test_what_is_not_listed_runs_as_it_is():
    class Doubled(DenseFeedforward):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    feedforward = built("gpt2").get_submodule("stack.blocks.0.feedforward")
    feedforward.__class__ = Doubled
    x = torch.randn(3, WIDE)
    with torch.no_grad():
        assert torch.equal(resolved(feedforward, Packing())(x), feedforward(x))


def test_a_hook_on_a_projection_fires_where_its_activation_would_be_joined_to_it():
    feedforward = built("gpt2").get_submodule("stack.blocks.0.feedforward")
    assert isinstance(feedforward, DenseFeedforward)
    seen: list[int] = []
    feedforward.inner.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    x = torch.randn(3, WIDE)
    with torch.no_grad():
        torch.testing.assert_close(resolved(feedforward, Packing())(x), feedforward(x))
    assert seen == [3, 3]


@pytest.mark.parametrize("words", [("gpt2",), ("gpt2", "model/vocabulary_head=mlm"), ("t5",)], ids=" ".join)
def test_scores_are_the_heads(words: tuple[str, ...]):
    head = built(*words).heads["vocabulary"]
    x = torch.randn(3, WIDE)
    with torch.no_grad():
        torch.testing.assert_close(
            VocabularyStep(head, Packing()).scores(x), head(x.unsqueeze(1), valid=None, predict_at=None).logits(), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("make", [nn.Identity, lambda: nn.LayerNorm(WIDE), lambda: nn.RMSNorm(WIDE)])
def test_modules_of_pytorch_are_resolved(make: Callable[[], nn.Module]):
    module, x = make(), torch.randn(3, WIDE)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
        torch.testing.assert_close(resolved(module, Packing())(x), module(x))
