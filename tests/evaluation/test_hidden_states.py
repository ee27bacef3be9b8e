"""Layers are numbered from the embeddings, and nothing stays behind."""

import pytest
import torch

from contracts.builders import VOCAB, build, config, tokens
from transformer_zoo.evaluation.hidden_states import layer_states
from transformer_zoo.layers.masks import MaskOperands
from transformer_zoo.layers.stacks import PlainStackConfig, SharedStackConfig
from transformer_zoo.models.base import Model, slots
from transformer_zoo.records import HeadNeed, ReplacedTokenInputs, SequenceInputs


def seen(model: Model, text: SequenceInputs) -> list[torch.Tensor]:
    with torch.no_grad(), layer_states(next(model.stacks())) as states:
        model.read(text)
        model.read(text)  # a second forward begins anew
    return states


@pytest.mark.parametrize("stack", [PlainStackConfig(), SharedStackConfig()], ids=["plain", "shared"])
@pytest.mark.parametrize("placement", ["pre", "post"])
def test_what_enters_and_what_leaves_every_layer(stack: object, placement: str) -> None:
    model = build("encoder", n_layers=3, stack=stack, norm_placement=placement)
    text = SequenceInputs(token_ids=tokens())
    states = seen(model, text)
    with torch.no_grad():
        places = slots(0, text.token_ids.shape[1], text.token_ids)
        x = model.embeddings(text.token_ids, None, places, model.stack.positions)
        expected = [x]
        scene = model.stack.scene(MaskOperands(query_slots=places, key_slots=places), places, places)
        for layer, block in enumerate(model.stack.schedule()):
            expected.append(block(expected[-1], scene, model.stack.site_keys[layer]))
        expected[-1] = model.stack.final_norm(expected[-1])
    assert len(states) == 4  # one block three times over in the shared stack
    for state, wanted in zip(states, expected, strict=True):
        torch.testing.assert_close(state, wanted)
    assert len({float(state.sum()) for state in states}) == 4


def test_nothing_stays_behind() -> None:
    model = build("encoder")
    with pytest.raises(RuntimeError, match="on the way"), layer_states(model.stack):
        raise RuntimeError("on the way")
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("shape", ["encoder", "decoder"])
def test_a_text_is_read_as_in_training(shape: str) -> None:
    model, text = build(shape), SequenceInputs(token_ids=tokens())
    torch.testing.assert_close(seen(model, text)[-1], model(text).hidden.detach())


def test_an_encoder_decoder_is_read_in_its_encoder() -> None:
    model, text = build("encoder_decoder"), SequenceInputs(token_ids=tokens())
    states = seen(model, text)
    assert len(states) == len(model.encoder.order) + 1
    torch.testing.assert_close(states[-1], model.encode(text).detach())


def test_of_a_pair_the_discriminator_reads() -> None:
    torch.manual_seed(0)
    needs = {"vocabulary": HeadNeed(kind="vocabulary"), "detector": HeadNeed(kind="detector")}
    pair = config("generator_pair").build(vocab_size=VOCAB, heads=needs).eval()
    ids = tokens()
    nothing_filled = ReplacedTokenInputs(
        masked=SequenceInputs(token_ids=ids),
        original_ids=ids,
        filled=torch.zeros_like(ids, dtype=torch.bool),
        draws=torch.zeros(1),
        predict_at=torch.zeros(1, dtype=torch.int64),
    )
    torch.testing.assert_close(seen(pair, SequenceInputs(token_ids=ids))[-1], pair(nothing_filled).hidden.detach())
