"""Suite `decoding`: greedy search, and beam search of four, against `generate` of transformers. The very same weights on both sides, and the row
counts only where the very same tokens come out."""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from transformer_zoo.benchmark.peers import package
from transformer_zoo.benchmark.records import Comparison, compare
from transformer_zoo.benchmark.rounds import interleave
from transformer_zoo.benchmark.shapes import Shape, shapes
from transformer_zoo.benchmark.sides import OURS
from transformer_zoo.benchmark.suites import SuiteSettings
from transformer_zoo.generation.base import Continuation, Generator, Request, Translation
from transformer_zoo.generation.beam import BeamConfig
from transformer_zoo.generation.greedy import GreedyConfig

logger = logging.getLogger(__name__)

PEER = "generate"
TARGET = 2.0
PAD, BEGIN, END = 0, 1, 2
PROMPT, NEW, QUICK_NEW = 16, 112, 4
"""Tokens."""
BATCHES = (1, 16)
BEAMS = 4
SPREAD = 0.06
"""Deviation of random matrices: at the usual 0.02 an untrained model writes one token over and over."""
WHAT = "seconds of writing {} tokens a row after {}, the same tokens on both sides"

Write = Callable[[], list[list[int]]]


def measure(settings: SuiteSettings) -> list[Comparison]:
    """A GPT and a translator at every shape and batch, greedily; and beam search on the smallest shape."""
    found = []
    for make, name in ((gpt2, "GPT"), (marian, "translation")):
        for shape in shapes(settings.quick):
            module = make(shape)
            for batch in BATCHES:
                found += measure_row(name, module, shape, batch, 1, settings)
            if shape is shapes(settings.quick)[0]:
                found += measure_row(name, module, shape, BATCHES[-1], BEAMS, settings)
    return found


def measure_row(name: str, module: Any, shape: Shape, batch: int, beams: int, settings: SuiteSettings) -> list[Comparison]:
    """One model, batch and width of the beam."""
    how = "greedy" if beams == 1 else f"beam {beams}"
    row = f"{name}, {shape.name}, batch {batch}, {how}"
    logger.info("measuring decoding: %s", row)
    new = QUICK_NEW if settings.quick else NEW
    ids = torch.randint(3, shape.vocab_size, (batch, PROMPT), generator=torch.Generator().manual_seed(2))
    translates = name == "translation"
    ours, theirs = our_side(module, ids, new, beams, translates), peer_side(module, ids, new, beams, translates)
    written, expected = ours(), theirs()
    equal = sum(a == b for own, other in zip(written, expected, strict=True) for a, b in zip(own, other, strict=True))
    share = equal / (batch * new)
    times = interleave({OURS: ours, PEER: theirs}, rounds=settings.rounds)
    what = WHAT.format(new, f"a source of {PROMPT}" if translates else f"a prompt of {PROMPT}")
    rows = compare(times, row=row, what=what, target=TARGET if beams == 1 else None)
    return [replace(one, numbers=one.numbers | {"equal_tokens_share": share}) for one in rows]


def our_side(module: Any, ids: torch.Tensor, new: int, beams: int, translates: bool) -> Write:
    """The same weights, read from the public format."""
    from transformer_zoo.experiments.pretrained import from_pretrained

    with tempfile.TemporaryDirectory() as folder:
        module.save_pretrained(folder)
        model: Any = from_pretrained(Path(folder), device="cpu").model
    generator: Generator = GreedyConfig(max_new_tokens=new).build()
    if beams > 1:
        generator = BeamConfig(beam_size=beams, max_new_tokens=new, length_penalty=1.0, length_penalty_form="power").build()
    rows = ids.tolist()

    def write() -> list[list[int]]:
        if translates:
            request: Request = Translation(prefixes=[[BEGIN]] * len(rows), sources=rows, pad=PAD, probabilities=False)
        else:
            request = Continuation(prefixes=rows, pad=PAD, probabilities=False)
        return [list(one.token_ids) for one in generator.generate(model, request)]

    return write


def peer_side(module: Any, ids: torch.Tensor, new: int, beams: int, translates: bool) -> Write:
    """transformers' own `generate`, with its cache; it gives no probabilities either."""
    start = 1 if translates else ids.shape[1]
    options = {"early_stopping": False, "length_penalty": 1.0} if beams > 1 else {}

    def write() -> list[list[int]]:
        found = module.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, num_beams=beams, max_new_tokens=new, **options)
        tokens: list[list[int]] = found[:, start:].tolist()
        return tokens

    return write


def gpt2(shape: Shape) -> Any:
    """`GPT2LMHeadModel` with random weights that never ends by itself."""
    transformers = package("transformers")
    config = transformers.GPT2Config(
        vocab_size=shape.vocab_size,
        n_embd=shape.d_model,
        n_layer=shape.n_layers,
        n_head=shape.n_heads,
        n_inner=shape.d_ff,
        n_positions=PROMPT + NEW + 1,
        bos_token_id=BEGIN,
        eos_token_id=END,
        pad_token_id=PAD,
        attn_implementation="sdpa",
    )
    return _endless(transformers.GPT2LMHeadModel(config))


def marian(shape: Shape) -> Any:
    """`MarianMTModel`, likewise."""
    transformers = package("transformers")
    side = {"layers": shape.n_layers, "attention_heads": shape.n_heads, "ffn_dim": shape.d_ff}
    config = transformers.MarianConfig(
        **{f"{name}_{key}": value for name in ("encoder", "decoder") for key, value in side.items()},
        vocab_size=shape.vocab_size,
        d_model=shape.d_model,
        dropout=0.0,
        activation_function="swish",
        scale_embedding=True,
        max_position_embeddings=512,
        pad_token_id=PAD,
        eos_token_id=END,
        forced_eos_token_id=None,
        decoder_start_token_id=BEGIN,
        attn_implementation="sdpa",
    )
    return _endless(transformers.MarianMTModel(config))


def _endless(module: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    tables = {id(one.weight) for one in module.modules() if isinstance(one, torch.nn.Embedding)}
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 2 and id(parameter) not in tables:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * SPREAD)
    module.generation_config.eos_token_id = None
    module.generation_config.forced_eos_token_id = None
    return module.eval()
