"""GPT-3's alternating dense and banded layers against GPT-Neo, its open replication.

GPT-Neo leaves out two things that GPT-3 has: the scaling of scores and the biases of queries, keys and values. The recipe is given the first by a
setting and zeros for the second; all else must be equal as it stands.
"""

import pytest
import torch
from torch import Tensor

from transformer_zoo.experiments.compose import recipe
from transformer_zoo.models.base import Model
from transformer_zoo.records import HeadNeed, SequenceInputs

VOCABULARY, B, T, WINDOW = 61, 3, 23, 4
SHAPES = [(24, 3, 44, 4), (40, 5, 36, 2), (36, 2, 20, 3)]
GAIN_AND_SHIFT = {"ln_1": "around_attention.before", "ln_2": "around_feedforward.before"}


def ours(d_model: int, n_heads: int, d_ff: int, n_layers: int, *overrides: str) -> Model:
    shape = [f"model.d_model={d_model}", f"model.n_heads={n_heads}", f"model.d_ff={d_ff}", f"model.n_layers={n_layers}", "model.max_length=40"]
    replication = [
        f"model.layers.banded.attention.window={WINDOW - 1}",
        "model.attention.scale=none",
        "model.layers.banded.attention.scale=none",
    ]
    settings = recipe("gpt3", *shape, *replication, *overrides)
    return settings.build(vocab_size=VOCABULARY, heads={"vocabulary": HeadNeed(kind="vocabulary")})


def reference(d_model: int, n_heads: int, d_ff: int, n_layers: int) -> torch.nn.Module:
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    kinds = [["global", "local"][layer % 2] for layer in range(n_layers)]
    config = GPTNeoConfig(
        vocab_size=VOCABULARY,
        hidden_size=d_model,
        num_layers=n_layers,
        num_heads=n_heads,
        intermediate_size=d_ff,
        attention_types=[[[kind], 1] for kind in kinds],
        window_size=WINDOW,
        max_position_embeddings=40,
        bos_token_id=0,
        eos_token_id=0,
        attn_implementation="eager",
    )
    torch.manual_seed(0)
    model = GPTNeoForCausalLM(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def renamed(theirs: dict[str, Tensor], n_layers: int) -> dict[str, Tensor]:
    """Their tensors under our names, with zeros for the biases that they leave out."""
    found = {"embeddings.token.weight": theirs["transformer.wte.weight"], "stack.positions.table.weight": theirs["transformer.wpe.weight"]}
    for part in ("weight", "bias"):
        found[f"stack.final_norm.{part}"] = theirs[f"transformer.ln_f.{part}"]
    for i in range(n_layers):
        there, here = f"transformer.h.{i}", f"stack.blocks.{i}"
        qkv = [theirs[f"{there}.attn.attention.{name}_proj.weight"] for name in "qkv"]
        found[f"{here}.attention.qkv.weight"] = torch.cat(qkv)
        found[f"{here}.attention.qkv.bias"] = torch.zeros(sum(len(weight) for weight in qkv))
        for part in ("weight", "bias"):
            found[f"{here}.attention.out.{part}"] = theirs[f"{there}.attn.attention.out_proj.{part}"]
            found[f"{here}.feedforward.inner.{part}"] = theirs[f"{there}.mlp.c_fc.{part}"]
            found[f"{here}.feedforward.outer.{part}"] = theirs[f"{there}.mlp.c_proj.{part}"]
            for name, mine in GAIN_AND_SHIFT.items():
                found[f"{here}.{mine}.{part}"] = theirs[f"{there}.{name}.{part}"]
    return found


def filled(model: Model, weights: dict[str, Tensor]) -> Model:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    return model.eval()


@pytest.mark.parametrize("shape", SHAPES)
def test_values_loss_and_gradients(shape: tuple[int, int, int, int]):
    theirs = reference(*shape)
    model = filled(ours(*shape), renamed(dict(theirs.named_parameters()), shape[3]))
    token_ids = torch.randint(VOCABULARY, (B, T))
    output, expected = model(SequenceInputs(token_ids=token_ids)), theirs(token_ids, output_hidden_states=True)
    torch.testing.assert_close(output.hidden, expected.hidden_states[-1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.heads["vocabulary"].logits(), expected.logits.flatten(0, 1), atol=1e-5, rtol=1e-5)
    targets = torch.randint(VOCABULARY, (B * T,))
    loss = output.heads["vocabulary"].cross_entropy(targets)
    reference_loss = torch.nn.functional.cross_entropy(expected.logits.flatten(0, 1), targets, reduction="sum")
    torch.testing.assert_close(loss, reference_loss, atol=1e-4, rtol=1e-5)
    loss.backward()
    reference_loss.backward()
    gradients = renamed({name: parameter.grad for name, parameter in theirs.named_parameters()}, shape[3])
    for name, parameter in model.named_parameters():
        if not name.endswith("qkv.bias"):
            torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-4, rtol=1e-4, msg=name)


def test_decoding_equals_the_references():
    shape = SHAPES[0]
    theirs = reference(*shape)
    model = filled(ours(*shape), renamed(dict(theirs.named_parameters()), shape[3]))
    prompt = torch.randint(1, VOCABULARY, (2, 5))
    expected = theirs.generate(prompt, max_new_tokens=12, min_new_tokens=12, do_sample=False, pad_token_id=0, attention_mask=torch.ones_like(prompt))
    scores, state = model.start(SequenceInputs(token_ids=prompt), capacity=20)
    written = []
    for _ in range(12):
        scores[:, 0] = float("-inf")  # the end token, which the reference holds back
        written.append(scores.argmax(-1))
        scores = model.step(written[-1], state)
    assert torch.equal(torch.stack(written, dim=1), expected[:, 5:])


@pytest.mark.parametrize(
    "override",
    [
        "model.norm.eps=1e-3",
        "model.feedforward.activation=gelu",
        "model.layers.banded.attention.window=5",
        "model.attention.scale=head_width",
        "model.pattern=[banded,dense]",
    ],
)
def test_every_flag_of_the_recipe_matters(override: str):
    shape = SHAPES[0]
    theirs = reference(*shape)
    model = filled(ours(*shape, override), renamed(dict(theirs.named_parameters()), shape[3]))
    token_ids = torch.randint(VOCABULARY, (B, T))
    assert (model(SequenceInputs(token_ids=token_ids)).hidden - theirs.transformer(token_ids).last_hidden_state).abs().max() > 1e-4
