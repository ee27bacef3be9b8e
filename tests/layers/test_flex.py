"""FlexAttention equals the formula; on a CPU it only runs forward, and says so."""

import pytest
import torch

from contracts.builders import attention, build, config, inputs, tokens
from transformer_zoo.errors import ConfigError
from transformer_zoo.experiments.assemble import check_device
from transformer_zoo.layers.attention.bigbird import BigBirdMask
from transformer_zoo.layers.attention.flex import FlexConfig, FlexKernel
from transformer_zoo.layers.attention.kernels import ReferenceKernel
from transformer_zoo.layers.lowering import LoweredMask, MaskLowering, given
from transformer_zoo.layers.masks import Causal, Everything, GlobalTokens, Mask, MaskOperands, Padding, Prefix, SameDocument, Window
from transformer_zoo.records import SequenceInputs

T = 140
MASKS: dict[str, Mask] = {
    "all": Everything(),
    "causal": Causal(),
    "padded": Padding(),
    "packed": Padding() & SameDocument() & Causal(),
    "prefix": Causal() | Prefix(),
    "window": Padding() & (Window(9, 3) | GlobalTokens()),
    "blocks": Padding() & BigBirdMask(block_size=8, n_random=2, n_heads=4, seed=1),
    "blocks twice": BigBirdMask(block_size=64, n_random=3, n_heads=4, seed=2),
}


def lowered(mask: Mask, length: int, device: str = "cpu") -> LoweredMask:
    slots = torch.arange(length, device=device)
    valid = slots < torch.tensor([[length], [0]], device=device)  # the second row sees nothing
    documents = (slots // torch.tensor([[50], [20]], device=device)).long()
    is_global = slots == torch.tensor([[70], [3]], device=device)
    operands = MaskOperands(
        query_slots=slots,
        key_slots=slots,
        key_valid=valid,
        query_documents=documents,
        key_documents=documents,
        prefix_length=torch.tensor([0, 30], device=device),
        query_global=is_global,
        key_global=is_global,
    )
    return MaskLowering(operands)(mask)


@pytest.mark.parametrize("n_kv_heads", [4, 2])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("name", list(MASKS))
def test_flex_equals_the_formula(name: str, biased: bool, n_kv_heads: int):
    length = 1024 if name == "blocks twice" else T
    mask = lowered(MASKS[name], length)
    q, k, v = (torch.randn(2, n, length, 16) for n in (4, n_kv_heads, n_kv_heads))
    bias = torch.randn(1, 4, length, length) if biased else None
    ours, reference = (kernel(q, k, v, mask=mask, bias=bias, scale=0.3, dropout=0.0) for kernel in (FlexKernel(), ReferenceKernel()))
    torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)
    if "Padding" in repr(MASKS[name]):
        assert torch.equal(ours[1], torch.zeros_like(ours[1]))


def test_a_dense_mask_is_taken_as_it_is():
    q, k, v = (torch.randn(2, 4, n, 16) for n in (5, 9, 9))
    for shape in ((2, 1), (1, 4), (1, 1)):
        mask = given(torch.rand(*shape, 5, 9) < 0.6)
        ours, reference = (kernel(q, k, v, mask=mask, bias=None, scale=0.3, dropout=0.0) for kernel in (FlexKernel(), ReferenceKernel()))
        torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-5)


def test_block_masks_are_made_once(monkeypatch: pytest.MonkeyPatch):
    from transformer_zoo.layers.attention import flex

    made = []
    make = flex.create_block_mask
    monkeypatch.setattr(flex, "create_block_mask", lambda *given, **named: made.append(1) or make(*given, **named))
    choice = attention(window=3)
    choice.kernel = FlexConfig()
    model = build("encoder", attention=choice, n_layers=4)
    with torch.no_grad():
        model(inputs("encoder", tokens()))
    assert len(made) == 1


def test_a_whole_decoder_runs_and_decodes():
    choice = attention(window=3)
    plain = build("decoder", attention=choice)
    choice.kernel = FlexConfig()
    model = build("decoder", attention=choice)
    with torch.no_grad():
        torch.testing.assert_close(model(inputs("decoder", tokens())).hidden, plain(inputs("decoder", tokens())).hidden, atol=1e-5, rtol=1e-4)
    (got, state), (expected, other) = (one.start(inputs("decoder", tokens()[:, :4]), capacity=10) for one in (model, plain))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.step(tokens()[:, 4], state), plain.step(tokens()[:, 4], other), atol=1e-5, rtol=1e-4)


REFUSAL = r"model/attention/kernel=flex trains on cuda only, and this is cpu: choose model/attention/kernel=sdpa"


def test_training_on_a_cpu_is_refused_before_anything_is_read():
    choice = attention()
    choice.kernel = FlexConfig()
    with pytest.raises(ConfigError, match=REFUSAL):
        check_device(config("encoder", attention=choice), torch.device("cpu"))
    check_device(config("encoder", attention=choice), torch.device("cuda"))
    check_device(config("encoder"), torch.device("cpu"))
    with pytest.raises(ConfigError, match=REFUSAL):
        build("encoder", attention=choice)(inputs("encoder", tokens()))


def test_dropout_of_weights_is_refused():
    choice = attention(dropout=0.1)
    assert choice.shape_problems(24, 3) == []
    choice.kernel = FlexConfig()
    (problem,) = choice.shape_problems(24, 3)
    assert problem == "attention.dropout=0.1 with a kernel that drops nothing: set it to 0, or choose model/attention/kernel=sdpa"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside torch
@pytest.mark.slow
def test_packed_documents_of_any_length_are_compiled_as_one_graph():
    """The mask is made in the graph, and no tensor of all pairs is asked for."""
    choice = attention()
    plain = build("decoder", attention=choice, max_length=160)
    choice.kernel = FlexConfig()
    model = build("decoder", attention=choice, max_length=160)
    graphs = []
    torch.compiler.reset()
    compiled = torch.compile(model, backend=lambda graph, _: graphs.append(graph) or graph, fullgraph=True)
    with torch.no_grad():
        for length in (130, 140, 150, 131):
            documents = (torch.arange(length) > torch.tensor([[40], [70], [90]])).long()
            record = SequenceInputs(token_ids=tokens(length=length), document_ids=documents)
            torch.testing.assert_close(compiled(record).hidden, plain(record).hidden, atol=1e-5, rtol=1e-4)
    torch.compiler.reset()
    assert len(graphs) == 2, "a first length, and all others"
