"""One question for all layouts: the second part of a window after its first."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from contracts import builders
from transformer_zoo.data.pocket import PocketLanguage
from transformer_zoo.data.pocket.floors import Floors
from transformer_zoo.errors import ConfigError, DataError
from transformer_zoo.evaluation.base import EvaluationContext
from transformer_zoo.evaluation.continuation import Continuation, ContinuationConfig
from transformer_zoo.objectives.base import ObjectiveConfig
from transformer_zoo.objectives.causal_lm import CausalLMConfig
from transformer_zoo.objectives.denoising import DenoisingConfig
from transformer_zoo.objectives.masked_lm import MaskedLMConfig
from transformer_zoo.objectives.prefix_lm import PrefixLMConfig
from transformer_zoo.objectives.translation import TranslationConfig
from transformer_zoo.records import HeadNeed, SequenceInputs, TranslationInputs

Make = Callable[..., EvaluationContext]
LAYOUTS: dict[str, tuple[str, ObjectiveConfig]] = {
    "decoder": ("decoder", CausalLMConfig()),
    "prefix decoder": ("decoder", PrefixLMConfig(form="one_sequence")),
    "encoder-decoder": ("encoder_decoder", PrefixLMConfig(form="source_and_target")),
    "encoder": ("encoder", MaskedLMConfig()),
}


def evaluation(here: EvaluationContext, **settings: Any) -> Continuation:
    made = ContinuationConfig(**settings).build(here)
    assert isinstance(made, Continuation)
    return made


def small(shape: str, vocab_size: int) -> Any:
    torch.manual_seed(1)
    return builders.config(shape, max_length=64).build(vocab_size=vocab_size, heads={"vocabulary": HeadNeed(kind="vocabulary")}).eval()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_knowing_nothing_costs_every_layout_the_same(context: Make, uniform: Callable[..., Any], layout: str) -> None:
    here = context(LAYOUTS[layout][1], sequence_length=24)
    report = evaluation(here, max_samples=None).report(uniform(here.data.vocabulary.size))
    told = {name.removeprefix("validation/continuation/"): value for name, value in report.metrics.items()}
    assert told["loss"] == pytest.approx(math.log(here.data.vocabulary.size), rel=1e-6)
    n_tokens, n_rows = (int(word) for word in report.notes["continuation"].split() if word.isdigit() and word != "11")
    assert n_tokens == 11 * n_rows > 0, "22 words between [CLS] and [SEP], for every layout"
    texts = [text for text in here.data.source.documents("validation") if text is not None]
    words, n_bytes = sum(len(text.split()) for text in texts), sum(len(text.encode()) for text in texts)
    assert told["bits_per_byte"] == pytest.approx(told["loss"] / math.log(2) * words / n_bytes, rel=1e-6)
    assert ("pseudo_loss" in told) is (layout == "encoder")


def test_all_layouts_are_asked_for_the_same_tokens_with_the_same_floor(context: Make, uniform: Callable[..., Any]) -> None:
    told = set()
    for _, objective in LAYOUTS.values():
        here = context(objective, sequence_length=24)
        report = evaluation(here).report(uniform(here.data.vocabulary.size))
        told.add((report.notes["continuation"], report.metrics["validation/continuation/floor"]))
    assert len(told) == 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_equal_to_one_forward_for_each_token(context: Make, layout: str) -> None:
    """Each token is scored by a forward of its own that is shown nothing from that token on."""
    shape, objective = LAYOUTS[layout]
    here = context(objective, sequence_length=16)
    model, specials = small(shape, here.data.vocabulary.size), here.data.vocabulary.specials
    begin, end, pad, cls, sep, mask = (int(getattr(specials, name)) for name in ("begin", "end", "pad", "cls", "sep", "mask"))
    made = evaluation(here, max_samples=6, batch_size=3)
    losses = []
    for batch, text in made.texts():
        for row, offset in zip(text.tolist(), batch.offset.tolist(), strict=True):
            head = [begin] if offset == 0 else []
            for place in range(7, 14):
                if shape == "encoder":
                    shown: Any = SequenceInputs(token_ids=torch.tensor([[cls, *row[:place], *[mask] * (14 - place), sep]]))
                    at = place + 1
                elif shape == "decoder":
                    prefix = torch.tensor([len(head) + 7]) if layout == "prefix decoder" else None
                    shown, at = SequenceInputs(token_ids=torch.tensor([[*head, *row[:place]]]), prefix_length=prefix), len(head) + place - 1
                else:
                    source, target = [[*row[:7], end]], [[pad, *row[7:place]]]
                    shown = TranslationInputs(
                        source=SequenceInputs(token_ids=torch.tensor(source)), target=SequenceInputs(token_ids=torch.tensor(target))
                    )
                    at = place - 7
                with torch.no_grad():
                    logits = model(shown).heads["vocabulary"].logits()[at]
                losses.append(float(torch.nn.functional.cross_entropy(logits, torch.tensor(row[place]))))
    assert len(losses) >= 14
    assert made(model)["validation/continuation/loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_an_encoder_that_sees_what_stands_behind_is_scored_apart(context: Make) -> None:
    here = context(MaskedLMConfig(), sequence_length=16)
    model, specials = small("encoder", here.data.vocabulary.size), here.data.vocabulary.specials
    made = evaluation(here, max_samples=6)
    losses = []
    for _, text in made.texts():
        for row in text:
            for place in range(7, 14):
                shown = torch.cat((torch.tensor([specials.cls]), row, torch.tensor([specials.sep])))[None].clone()
                shown[0, place + 1] = int(specials.mask or -1)
                with torch.no_grad():
                    logits = model(SequenceInputs(token_ids=shown)).heads["vocabulary"].logits()[place + 1]
                losses.append(float(torch.nn.functional.cross_entropy(logits, row[place])))
    found = made(model)
    assert found["validation/continuation/pseudo_loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["validation/continuation/pseudo_loss"] != pytest.approx(found["validation/continuation/loss"], rel=1e-5)


def test_the_floor_is_that_of_the_language(context: Make, uniform: Callable[..., Any]) -> None:
    here = context(CausalLMConfig(), sequence_length=16)
    made, floors = evaluation(here, max_samples=10), Floors(PocketLanguage())
    losses = []
    for batch, text in made.texts():
        for row, offset in zip(text, batch.offset, strict=True):
            symbols = floors.language.symbols([here.data.tokenizer.token(int(token)) for token in row])
            losses += floors.next_word(symbols[None], np.array([int(offset)]))[0][7:].tolist()
    found = made(uniform(here.data.vocabulary.size))
    assert found["validation/continuation/floor"] == pytest.approx(np.mean(losses), rel=1e-9)
    both = [found[f"validation/continuation/{name}"] for name in ("bits_per_byte_floor", "bits_per_byte")]
    assert both[0] / both[1] == pytest.approx(np.mean(losses) / math.log(here.data.vocabulary.size), rel=1e-6)


def test_joined_documents_have_no_floor_and_no_window_with_the_end_of_one(context: Make, uniform: Callable[..., Any]) -> None:
    here = context(CausalLMConfig(), sequence_length=16, packing="concatenate")
    made = evaluation(here, max_samples=None)
    found = made(uniform(here.data.vocabulary.size))
    assert set(found) == {"validation/continuation/loss", "validation/continuation/bits_per_byte"}
    special = torch.tensor(here.data.vocabulary.specials.ids())
    assert not any(torch.isin(text, special).any() for _, text in made.texts())


def test_what_cannot_be_asked_is_said(context: Make, uniform: Callable[..., Any]) -> None:
    for objective in (DenoisingConfig(), TranslationConfig()):
        with pytest.raises(ConfigError, match="was not trained to tell: it needs objective=clm, prefix_lm, mlm"):
            evaluation(context(objective, sequence_length=24))
    here = context(CausalLMConfig(), sequence_length=16)
    made = evaluation(here, max_samples=1)
    made.reader.sizes[0] = 15  # the one window that is looked at is not whole
    with pytest.raises(DataError, match=r"data\.validation: no whole window without the end of a document"):
        made(uniform(here.data.vocabulary.size))
