import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from contracts import builders
from data.pocket.enumeration import Enumeration, masked_by_enumeration
from data.pocket.tiny_language import tiny_grammar
from transformer_zoo.data import pocket_data
from transformer_zoo.data.batching import make_rows
from transformer_zoo.data.module import build_data
from transformer_zoo.data.pocket import PocketLanguage
from transformer_zoo.data.pocket.floors import HIDDEN
from transformer_zoo.data.pocket_data import PocketDataConfig
from transformer_zoo.data.tokenizers import CharTokenizerConfig, WordTokenizerConfig
from transformer_zoo.errors import ConfigError, DataError, NumericError
from transformer_zoo.evaluation.base import EvaluationContext
from transformer_zoo.evaluation.mask_grid import MaskGrid, MaskGridConfig, fingerprints, hexadecimal, n_hidden
from transformer_zoo.objectives.causal_lm import CausalLMConfig
from transformer_zoo.objectives.classes import NextSentenceConfig
from transformer_zoo.objectives.combined import CombinedConfig, MaskedOrderConfig, MaskedPairsConfig
from transformer_zoo.objectives.masked_lm import MaskedLMConfig
from transformer_zoo.objectives.replaced_token import ReplacedTokenConfig
from transformer_zoo.objectives.span_corruption import SpanCorruptionConfig
from transformer_zoo.objectives.translation import TranslationConfig
from transformer_zoo.records import HeadNeed, ModelOutput, Rows, SequenceInputs

Make = Callable[..., EvaluationContext]
RATIOS = ["0.15", "0.3", "0.4", "0.5", "0.8"]
HIDING = [MaskedLMConfig(), MaskedLMConfig(mask_ratio=0.5), MaskedPairsConfig(), MaskedOrderConfig(), ReplacedTokenConfig()]
HIDING += [CombinedConfig(parts={"hidden": MaskedLMConfig(), "next": NextSentenceConfig()})]


def grid(here: EvaluationContext, **settings: Any) -> MaskGrid:
    evaluation = MaskGridConfig(**settings).build(here)
    assert isinstance(evaluation, MaskGrid)
    return evaluation


def hashes(evaluation: MaskGrid, model: Any) -> list[str]:
    return [part["positions_sha256"] for part in evaluation.report(model).parts.values()]


def seen_by(evaluation: MaskGrid, model: Any) -> list[torch.Tensor]:
    """The token ids of every forward."""
    inputs: list[torch.Tensor] = []
    handle = model.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0].token_ids.clone()))
    evaluation.report(model)
    handle.remove()
    return inputs


def only(index: int) -> Rows:
    return make_rows(0, np.array([0]), np.array([index]))


def small_encoder(vocab_size: int) -> Any:
    torch.manual_seed(1)
    settings = builders.config("encoder", max_length=64)
    return settings.build(vocab_size=vocab_size, heads={"vocabulary": HeadNeed(kind="vocabulary")}).eval()


# --- what is hidden ---------------------------------------------------------------------------------------------------------------


def test_each_mask_holds_the_smaller_ones_and_an_exact_share(context: Make, uniform: Callable[..., Any]) -> None:
    here = context(MaskedLMConfig(), sequence_length=24)
    evaluation = grid(here, batch_size=7)
    specials = torch.tensor(here.data.vocabulary.specials.ids())
    for batch in evaluation.text.batches():
        masks = evaluation.masks(batch)
        ordinary = (batch.valid & ~torch.isin(batch.token_ids, specials)).numpy()
        for ratio, mask, larger in zip(RATIOS, masks, [*masks[1:], ordinary], strict=True):
            assert (larger | ~mask).all()
            assert (mask.sum(axis=1) == [max(1, round(float(ratio) * n)) for n in ordinary.sum(axis=1).tolist()]).all()
    # all of them are shown as [MASK], all other tokens as they are
    model = uniform(here.data.vocabulary.size)
    shown = seen_by(evaluation, model)
    originals = [batch.token_ids for batch in evaluation.text.batches()]
    masks = [mask for batch in evaluation.text.batches() for mask in evaluation.masks(batch)]
    assert len(shown) == len(masks) == 5 * len(originals)
    for number, (seen, mask) in enumerate(zip(shown, masks, strict=True)):
        assert torch.equal(seen, originals[number // 5].masked_fill(torch.from_numpy(mask), int(here.data.vocabulary.specials.mask or -1)))


def test_a_row_of_few_tokens_still_asks_for_one() -> None:
    assert n_hidden(np.array([0, 1, 2, 3, 10]), 0.15).tolist() == [0, 1, 1, 1, 2]
    assert n_hidden(np.array([0, 1, 2, 3, 10]), 0.8).tolist() == [0, 1, 2, 2, 8]


def test_every_position_is_as_likely(context: Make) -> None:
    """Of full rows of ten words, three are hidden each: χ² of the ten shares, whose covariance is that of drawing without replacement. Above 33.7
    is one draw in ten thousand, at nine degrees of freedom."""
    here = context(MaskedLMConfig(), n_documents=200, sequence_length=12)
    evaluation = grid(here, ratios=[0.3], split="train")
    full = [batch for batch in evaluation.text.batches() if batch.token_ids.shape[1] == 12 and bool(batch.valid.all())]
    masks = np.concatenate([evaluation.masks(batch)[0] for batch in full])[:, 1:-1]
    assert len(masks) > 900
    assert (masks.sum(axis=1) == 3).all()
    assert len(masks) * ((masks.mean(axis=0) - 0.3) ** 2).sum() / (0.3 * 0.7) * 9 / 10 < 33.7


def test_the_same_tokens_are_asked_for_whatever_the_model_was_trained_to_do(context: Make, pocket: Any, uniform: Callable[..., Any]) -> None:
    here = context(MaskedLMConfig())
    model = uniform(here.data.vocabulary.size)
    first = hashes(grid(here), model)
    assert len(set(first)) == 5
    for objective in HIDING:
        assert hashes(grid(context(objective)), model) == first, objective
    assert hashes(grid(here, batch_size=3), model) == first
    assert hashes(grid(here, ratios=[0.3, 0.15]), model) == [first[1], first[0]]
    for other in (grid(here, max_samples=5), grid(here, split="test"), grid(context(MaskedLMConfig(), sequence_length=47))):
        assert not set(hashes(other, model)) & set(first)


def test_a_hash_tells_texts_of_the_same_lengths_apart(context: Make) -> None:
    """Windows of joined documents are all of one length, whatever the text: the tokens that are hidden must tell."""
    evaluation = grid(context(MaskedLMConfig()), max_samples=4, ratios=[0.3])
    for batch in evaluation.text.batches():
        (mask,) = evaluation.masks(batch)
        first, where = fingerprints(batch, mask), torch.from_numpy(mask)
        for changed, same in ((where, False), (~where, True)):
            other = replace(batch, token_ids=batch.token_ids.where(~changed, batch.token_ids + 1))
            assert np.array_equal(fingerprints(other, mask), first) == same


def test_a_hash_of_one_window_is_its_sha256(context: Make) -> None:
    evaluation = grid(context(MaskedLMConfig()), max_samples=1, ratios=[0.5])
    (batch,) = evaluation.text.batches()
    (mask,) = evaluation.masks(batch)
    (positions,) = np.nonzero(mask[0])
    words = [int(batch.rows.index[0]), len(positions), *positions.tolist(), *batch.token_ids[0][positions].tolist()]
    plain = hashlib.sha256(b"".join(word.to_bytes(8, "little") for word in words))
    assert hexadecimal(fingerprints(batch, mask).tolist()) == plain.hexdigest()
    twice = (2 * int(plain.hexdigest(), 16)) % 2**256
    assert hexadecimal((2 * fingerprints(batch, mask)).tolist()) == f"{twice:064x}"


def test_several_processes_find_the_same(context: Make) -> None:
    here = context(MaskedLMConfig())
    model = small_encoder(here.data.vocabulary.size)
    alone = grid(here, batch_size=5).report(model)
    parts: list[torch.Tensor] = []
    for rank in (0, 1):
        grid(replace(here, rank=rank, world_size=2, total=lambda values: parts.append(values) or values), batch_size=5).report(model)
    together = grid(replace(here, world_size=2, total=lambda values: parts[0] + parts[1]), batch_size=5).report(model)
    assert together.notes == alone.notes
    assert together.metrics == pytest.approx(alone.metrics, rel=1e-6)


# --- what is measured -------------------------------------------------------------------------------------------------------------


def test_what_knowing_nothing_costs(context: Make, uniform: Callable[..., Any]) -> None:
    here = context(MaskedLMConfig())
    size, stop = here.data.vocabulary.size, here.data.tokenizer.id(".")
    report = grid(here).report(uniform(size))
    bits = math.log2(size) * grid(here).reader.n_tokens / grid(here).reader.n_bytes
    assert list(report.parts) == RATIOS
    for ratio, part in report.parts.items():
        assert part["loss"] == pytest.approx(math.log(size), rel=1e-6)
        assert part["bits_per_byte"] == pytest.approx(bits, rel=1e-6)
        assert {f"validation/mask_grid/{ratio}/{name}": part[name] for name in part if name != "positions_sha256"}.items() <= report.metrics.items()
        assert report.notes[f"validation/mask_grid/{ratio}/positions_sha256"] == part["positions_sha256"]
    assert len(report.metrics) == 5 * 5
    evaluation = grid(here, ratios=[0.5])
    batches = list(evaluation.text.batches())
    hidden = torch.cat([batch.token_ids[torch.from_numpy(evaluation.masks(batch)[0])] for batch in batches])
    (part,) = evaluation.report(uniform(size, favourite=stop)).parts.values()
    assert part["predicted"] == len(hidden)
    assert part["accuracy"] == pytest.approx(float((hidden == stop).double().mean()), abs=1e-12)


def test_a_model_is_scored_on_its_hidden_tokens_alone(context: Make) -> None:
    here = context(MaskedLMConfig(), sequence_length=20)
    model = small_encoder(here.data.vocabulary.size)
    evaluation = grid(here, batch_size=6, ratios=[0.3])
    (part,) = evaluation.report(model).parts.values()
    losses = []
    for batch in evaluation.text.batches():
        hidden = torch.from_numpy(evaluation.masks(batch)[0])
        for ids, valid, mask in zip(batch.token_ids, batch.valid, hidden, strict=True):
            length = int(valid.sum())
            shown = ids.masked_fill(mask, int(here.data.vocabulary.specials.mask or -1))[None, :length]
            with torch.no_grad():
                output: ModelOutput = model(SequenceInputs(token_ids=shown))
            logits = output.heads["vocabulary"].logits()
            losses += torch.nn.functional.cross_entropy(logits, ids[:length], reduction="none")[mask[:length]].tolist()
    assert part["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert part["predicted"] == len(losses)


def test_the_same_twice_to_the_last_digit(context: Make) -> None:
    here = context(MaskedLMConfig())
    model = small_encoder(here.data.vocabulary.size)
    assert grid(here).report(model) == grid(here).report(model)


def test_a_generator_is_measured_like_a_model_of_its_own(context: Make) -> None:
    """ELECTRA's generator hides tokens; its detector has no say."""
    here = context(ReplacedTokenConfig())
    torch.manual_seed(0)
    pair = builders.config("generator_pair", max_length=64, positions="sinusoidal")
    model: Any = pair.build(vocab_size=here.data.vocabulary.size, heads=here.objective.needs().heads).eval()
    assert grid(here, max_samples=6).report(model).metrics == grid(here, max_samples=6).report(model.generator).metrics


# --- the best possible ------------------------------------------------------------------------------------------------------------


def test_the_floor_is_the_sum_over_all_paths(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, uniform: Callable[..., Any]) -> None:
    """The whole evaluation on a language of a few words, against a plain enumeration of what may have been hidden."""
    tiny = PocketLanguage(tiny_grammar())
    monkeypatch.setattr(pocket_data, "PocketLanguage", lambda: tiny)
    paths, objective = Enumeration(tiny), MaskedLMConfig()
    config = PocketDataConfig(n_documents=20, n_held_out=30, sequence_length=7)
    data = build_data(config, WordTokenizerConfig(), needs=objective.needs(), cache_dir=tmp_path)
    evaluation = grid(EvaluationContext(data=data, objective=objective.build(vocabulary=data.vocabulary)), max_samples=25, batch_size=8)
    report = evaluation.report(uniform(data.vocabulary.size))
    ending = paths.matrix[:, paths.end]
    sums, ended = {ratio: [0.0, 0] for ratio in RATIOS}, 0
    for batch in evaluation.text.batches():
        assert batch.offset is not None
        assert batch.ends_document is not None
        for ratio, masks in zip(RATIOS, evaluation.masks(batch), strict=True):
            for ids, valid, mask, offset, ends in zip(batch.token_ids, batch.valid, masks, batch.offset.tolist(), batch.ends_document, strict=True):
                length = int(valid.sum())
                truth = tiny.symbols([data.tokenizer.token(int(token)) for token in ids[1 : length - 1]]).tolist()
                row = [HIDDEN if hide else word for hide, word in zip(mask[1 : length - 1], truth, strict=True)]
                losses = masked_by_enumeration(paths, paths.at_offset(offset), row, truth, ending if ends else 1 - ending)
                sums[ratio][0] += sum(losses.values())
                sums[ratio][1] += len(losses)
                ended += bool(ends)
    assert 0 < ended < 25 * 5
    for ratio, (nats, count) in sums.items():
        assert report.parts[ratio]["predicted"] == count
        assert report.metrics[f"validation/mask_grid/{ratio}/floor"] == pytest.approx(nats / count, rel=1e-9)


def test_no_model_is_better_than_the_best_possible(context: Make, uniform: Callable[..., Any]) -> None:
    """Not one that knows how often each word comes, nor one that knows nothing; and hiding more never helps the best."""
    here = context(MaskedLMConfig())
    frequent = uniform(here.data.vocabulary.size)
    reader = here.data.reader("train", here.objective.needs())
    batches = [reader.batch(np.array([i]), only(i)).token_ids.flatten() for i in range(len(reader))]
    frequent.bias = torch.bincount(torch.cat(batches), minlength=here.data.vocabulary.size).float().add(0.1).log()
    floors = []
    for model in (frequent, uniform(here.data.vocabulary.size)):
        parts = grid(here).report(model).parts
        assert all(0 < part["floor"] < part["loss"] for part in parts.values())
        floors = [part["floor"] for part in parts.values()]
    assert floors == sorted(floors)


def test_there_is_no_floor_across_documents_or_in_parts_of_words(context: Make, uniform: Callable[..., Any]) -> None:
    for here in (context(MaskedLMConfig(), packing="concatenate"), context(MaskedLMConfig(), CharTokenizerConfig())):
        report = grid(here, ratios=[0.15], max_samples=4).report(uniform(here.data.vocabulary.size))
        assert not any(name.endswith("floor") for name in report.metrics)
        assert "floor" not in report.parts["0.15"]


# --- what cannot be -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "objective", [CausalLMConfig(), NextSentenceConfig(), TranslationConfig(), SpanCorruptionConfig()], ids=lambda o: type(o).__name__
)
def test_models_that_predict_no_hidden_tokens_are_refused(context: Make, objective: Any) -> None:
    with pytest.raises(ConfigError, match=r"^evaluation=mask_grid hides tokens, and this model was not trained to .*: use evaluation=loss$"):
        MaskGridConfig().build(context(objective))


def test_data_without_running_text_and_splits_that_are_not_there_are_refused(context: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    here = context(MaskedLMConfig())
    with pytest.raises(DataError, match="there is no split 'nowhere'"):
        MaskGridConfig(split="nowhere").build(here)
    monkeypatch.setattr(PocketDataConfig, "provides", lambda self: frozenset())
    with pytest.raises(ConfigError, match=r"^evaluation=mask_grid reads running text, which the run's data does not hold: use evaluation=loss$"):
        MaskGridConfig().build(here)


def test_a_model_gone_wrong_is_an_error(context: Make, uniform: Callable[..., Any]) -> None:
    here = context(MaskedLMConfig())
    model = uniform(here.data.vocabulary.size)
    model.bias[0] = float("nan")
    with pytest.raises(NumericError, match="the validation loss on hidden tokens is nan: the model diverged"):
        grid(here).report(model)
