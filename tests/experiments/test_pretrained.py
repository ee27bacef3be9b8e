"""`from_pretrained`: plain calls on tensors and texts, for runs, imports and public folders."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer as Backend
from transformers.models.bert.modeling_bert import BertForMaskedLM, BertForSequenceClassification, BertForTokenClassification
from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel
from transformers.models.longformer.configuration_longformer import LongformerConfig
from transformers.models.longformer.modeling_longformer import LongformerForMaskedLM

import transformer_zoo
from interop import parity
from interop.builders import WORDS, bert, gpt2
from transformer_zoo.errors import ConfigError, DataError, RunNotFoundError
from transformer_zoo.experiments.compose import experiment
from transformer_zoo.experiments.imported import import_model
from transformer_zoo.experiments.loaded_run import load_run
from transformer_zoo.experiments.pretrained import Pretrained
from transformer_zoo.experiments.run import train

IDS = torch.tensor([[2, 5, 7, 3], [2, 6, 3, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("public")
    bert(root / "bert")
    gpt2(root / "gpt2")
    import_model(root / "bert", root / "bert_run")
    return root


@pytest.fixture
def ours(folders: Path) -> Pretrained:
    return transformer_zoo.from_pretrained(folders / "bert", device="cpu")


@pytest.fixture
def writer(folders: Path) -> Pretrained:
    return transformer_zoo.from_pretrained(folders / "gpt2", device="cpu")


def theirs(cls: Any, folder: Path) -> Any:
    with parity.silent():
        return cls.from_pretrained(folder, attn_implementation="eager").eval()


# --- tensors ------------------------------------------------------------------------------------------------------------------------


def test_masks_may_be_numbers_or_booleans(ours: Pretrained):
    expected = ours.logits(IDS, MASK)
    assert expected.shape == (2, 4, len(WORDS) + 3)
    assert torch.equal(ours.logits(IDS, MASK.bool()), expected)
    assert torch.equal(ours.logits(IDS.int(), MASK.to(torch.uint8)), expected)
    assert torch.equal(ours.logits(IDS, MASK.float()), expected)
    assert torch.equal(ours.logits(IDS, MASK.half()), expected)
    assert not torch.allclose(ours.logits(IDS)[1], expected[1], atol=1e-4)


def test_padding_changes_nothing_on_either_side(writer: Pretrained, ours: Pretrained):
    for model in (writer, ours):
        alone = model.hidden(torch.tensor([[2, 6, 3]]))
        torch.testing.assert_close(model.hidden(IDS, MASK)[1:, :3], alone, atol=1e-6, rtol=1e-6)
    left = torch.tensor([[0, 2, 6, 3]])
    with torch.no_grad():
        expected = theirs(GPT2LMHeadModel, writer.loaded.path)(left, attention_mask=torch.tensor([[0, 1, 1, 1]])).logits
    torch.testing.assert_close(writer.logits(left, torch.tensor([[False, True, True, True]]))[:, 1:], expected[:, 1:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("cls", "shape"), [(BertForSequenceClassification, (2, 2)), (BertForTokenClassification, (2, 4, 2))])
def test_classes_of_texts_and_of_tokens(cls: Any, shape: tuple[int, ...], tmp_path: Path):
    found = transformer_zoo.from_pretrained(bert(tmp_path, cls)).logits(IDS, MASK)
    assert found.shape == shape


def test_calls_track_no_gradients_and_drop_nothing_but_the_model_can(ours: Pretrained):
    ours.model.train()
    assert torch.equal(ours.logits(IDS), ours.logits(IDS))
    assert not ours.logits(IDS).requires_grad
    assert ours.model.training
    ours.model.eval()
    output = ours.model(ours.inputs(IDS, MASK))
    output.heads["vocabulary"].logits().sum().backward()
    gradient = ours.model.get_parameter("embeddings.token.weight").grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_ids": [[1, 2]]}, "input_ids is of the type list: expected a tensor of whole numbers"),
        ({"input_ids": IDS.float()}, r"input_ids is a tensor of torch\.float32: expected a tensor of whole numbers"),
        ({"input_ids": IDS[0]}, r"input_ids has the shape \[4\]: expected \[batch, length\]"),
        ({"input_ids": IDS[:, :0]}, r"input_ids has the shape \[2, 0\]"),
        ({"input_ids": IDS + 20}, r"input_ids\[0, 1\] is 25, but the vocabulary has 23 tokens: expected 0 to 22"),
        ({"input_ids": IDS - 1}, r"input_ids\[1, 3\] is -1, but the vocabulary has 23 tokens"),
        ({"input_ids": IDS.repeat(1, 5)}, "input_ids has rows of 20 tokens, but the model reads at most 16"),
        ({"attention_mask": MASK[:1]}, r"attention_mask has the shape \[1, 4\], but input_ids has \[2, 4\]"),
        ({"attention_mask": MASK * 0.5}, r"attention_mask holds 0\.5: expected only 0 and 1"),
        ({"attention_mask": MASK / 0}, r"attention_mask holds inf: expected only 0 and 1"),
        ({"attention_mask": MASK * 1j}, r"attention_mask is a tensor of torch\.complex64: expected a tensor of 0 and 1"),
        ({"attention_mask": MASK * 3}, "attention_mask holds 3: expected only 0 and 1"),
        ({"token_type_ids": MASK + 1}, r"token_type_ids\[0, 0\] is 2, but the model knows 2 kinds of segment"),
        ({"token_type_ids": MASK.T}, r"token_type_ids has the shape \[4, 2\]"),
        ({"global_attention_mask": MASK}, "global_attention_mask is given, but this model has no attention with global tokens: leave it out"),
        ({"decoder_input_ids": IDS}, "decoder_input_ids is given, but this model reads one sequence only"),
    ],
)
def test_arguments_that_are_wrong(ours: Pretrained, arguments: dict[str, Any], message: str):
    for call in (ours.logits, ours.hidden):
        with pytest.raises(ConfigError, match=message):
            call(**{"input_ids": IDS} | arguments)


def test_a_model_with_global_tokens_checks_their_mask(tmp_path: Path):
    sizes = {"vocab_size": 23, "hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 20, "attention_window": 4}
    folder = parity.saved(parity.reference(LongformerForMaskedLM, LongformerConfig(**sizes, max_position_embeddings=16)), tmp_path / "model")
    model = transformer_zoo.from_pretrained(folder, device="cpu")
    assert model.logits(IDS, global_attention_mask=MASK.float()).shape == (2, 4, 23)
    with pytest.raises(ConfigError, match=r"global_attention_mask has the shape \[2, 2\], but input_ids has \[2, 4\]"):
        model.logits(IDS, global_attention_mask=MASK[:, :2])


def test_a_model_without_segments_takes_none(writer: Pretrained):
    with pytest.raises(ConfigError, match="token_type_ids is given, but this model knows no segments"):
        writer.logits(IDS, MASK, MASK)


# --- texts --------------------------------------------------------------------------------------------------------------------------


def test_texts_become_vectors_whatever_else_is_in_the_batch(ours: Pretrained, writer: Pretrained):
    texts = ["the king sleeps", "a dog", "the old queen loves a small dog in the garden", "her king"]
    for model in (ours, writer):
        found = model.embed(texts, batch_size=3)
        assert found.shape == (4, 12)
        alone = torch.cat([model.embed([text]) for text in texts])
        torch.testing.assert_close(found, alone, atol=1e-6, rtol=1e-6)
    backend = Backend.from_file(str(ours.loaded.path / "tokenizer.json"))
    ids = torch.tensor([backend.encode(texts[0]).ids])
    with torch.no_grad():
        hidden = theirs(BertForMaskedLM, ours.loaded.path).bert(ids).last_hidden_state
    torch.testing.assert_close(ours.embed(texts)[0], hidden[0].mean(dim=0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.embed(texts, pooling="cls")[0], hidden[0, 0], atol=1e-5, rtol=1e-5)
    assert ours.embed([]).shape == (0, 12)
    for model, wrong, message in (
        (ours, {"pooling": "max"}, "pooling='max': choose mean or cls"),
        (writer, {"pooling": "cls"}, "pooling='cls' takes the first token, which in a causal model sees nothing"),
        (ours, {"texts": "the king"}, "texts: give a list of texts"),
        (ours, {"texts": 3}, "texts: give a list of texts"),
        (ours, {"texts": ["the king", 3]}, "text=3: expected a text"),
        (ours, {"batch_size": 0}, "batch_size=0: expected a whole number at least 1"),
        (ours, {"batch_size": 1.5}, "batch_size=1.5: expected a whole number at least 1"),
        (writer, {"texts": [""]}, "the text '' has no tokens"),
        (ours, {"texts": ["the " * 20]}, "a text has 22 tokens and the model reads at most 16"),
    ):
        with pytest.raises(ConfigError, match=message):
            model.embed(**{"texts": texts} | wrong)


def test_masks_are_filled_with_what_their_model_finds_likeliest(ours: Pretrained):
    found = ours.fill_mask("the [MASK] sleeps", top_k=3)
    with torch.no_grad():
        scores = theirs(BertForMaskedLM, ours.loaded.path)(torch.tensor([[2, 5, 4, 9, 3]])).logits[0, 2].softmax(-1)
    best = scores.topk(3)
    assert [one.token_id for one in found.candidates[0]] == best.indices.tolist()
    torch.testing.assert_close(torch.tensor([one.probability for one in found.candidates[0]]), best.values)
    for wrong, message in (
        ({"top_k": 0}, "top_k=0: expected a whole number at least 1"),
        ({"top_k": True}, "top_k=True: expected a whole number at least 1"),
        ({"text": 3}, "text=3: expected a text"),
    ):
        with pytest.raises(ConfigError, match=message):
            ours.fill_mask(**{"text": "the [MASK]"} | wrong)
    with pytest.raises(ConfigError, match=r"use fill_mask"):
        ours.generate("the king")


def test_a_decoder_continues_as_theirs(writer: Pretrained):
    ids = torch.tensor([[5, 7]])  # the king
    model = theirs(GPT2LMHeadModel, writer.loaded.path)
    for own, other in (
        ({}, {}),
        (
            {"beam_size": 3, "length_penalty": 1.0, "length_penalty_form": "power", "early_stopping": "heuristic"},
            {"num_beams": 3, "length_penalty": 1.0, "early_stopping": False},
        ),
    ):
        expected = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, **other)
        text = " ".join(WORDS[token] for token in expected[0].tolist() if 5 <= token < len(WORDS))
        assert writer.generate("the king", max_new_tokens=6, **own) == text
    sampled = [writer.generate("the king", max_new_tokens=6, temperature=0.9, top_k=5, seed=seed) for seed in (1, 1, 2, 3)]
    assert sampled[0] == sampled[1]
    assert len(set(sampled)) > 1
    for wrong, message in (
        ({"beam_size": 2, "top_k": 3}, "beam_size belong to beam search and top_k to sampling"),
        ({"beam_size": 0}, "generation.beam_size: expected a whole number at least 1, got 0"),
        ({"early_stopping": "soon", "beam_size": 2}, "generation.early_stopping: expected one of always, heuristic, never"),
    ):
        with pytest.raises(ConfigError, match=message):
            writer.generate("the king", **wrong)
    with pytest.raises(ConfigError, match=r"text=3: expected a text"):
        writer.generate(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"use generate"):
        writer.fill_mask("the [MASK]")


def test_without_a_tokenizer_only_tensors_are_read(folders: Path, tmp_path: Path):
    bare = bert(tmp_path / "bare")
    (bare / "tokenizer.json").unlink()
    model = transformer_zoo.from_pretrained(bare)
    assert model.tokenizer is None
    assert model.logits(IDS).shape == (2, 4, 23)
    for call in (lambda: model.embed(["a"]), lambda: model.fill_mask("a [MASK]")):
        with pytest.raises(DataError, match=r"this model came without a tokenizer\.json, so it reads token ids only"):
            call()


# --- where models come from ---------------------------------------------------------------------------------------------------------


def test_an_imported_run_is_the_same_model(folders: Path, ours: Pretrained):
    run = transformer_zoo.from_pretrained(str(folders / "bert_run"), device="cpu")
    assert torch.equal(run.logits(IDS, MASK), ours.logits(IDS, MASK))
    assert run.fill_mask("the [MASK]") == ours.fill_mask("the [MASK]")


def test_a_run_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRANSFORMER_ZOO_CACHE", str(tmp_path / "cache"))
    small = ["model/size=tiny", "model.d_model=16", "model.n_heads=2", "model.d_ff=16", "tokenizer=word", "device=cpu", "data.n_documents=40"]
    small += ["data.n_held_out=4", "data.sequence_length=32", "training.batch_size=8", "training.steps=2"]
    for name, shape in (("bert", (2, 4)), ("gpt2", (2, 4)), ("electra", (2,)), ("transformer", (2, 3))):
        path = tmp_path / name
        train(experiment([f"model={name}", *small, f"run_dir='{path}'"]))
        model = transformer_zoo.from_pretrained(path, device="cpu")
        target = {"decoder_input_ids": IDS[:, :3]} if name == "transformer" else {}
        assert model.logits(IDS, MASK, **target).shape[: len(shape)] == shape
        assert model.embed(["a king", "the queen sleeps"]).shape == (2, 16)
        if name in ("bert", "electra"):
            assert len(model.fill_mask("a [MASK] .", top_k=2).candidates[0]) == 2
        else:
            assert isinstance(model.generate("a king", max_new_tokens=3), str)
        if name == "bert":
            torch.testing.assert_close(model.logits(IDS), load_run(path).model(model.inputs(IDS)).heads["vocabulary"].logits().view(2, 4, -1))
        if name == "transformer":
            with pytest.raises(ConfigError, match="decoder_input_ids is missing: this model reads a source"):
                model.logits(IDS)
            with pytest.raises(ConfigError, match="decoder_input_ids has 1 rows, but input_ids has 2"):
                model.logits(IDS, decoder_input_ids=IDS[:1])


def test_nothing_there(tmp_path: Path):
    with pytest.raises(RunNotFoundError, match=r"nothing: there is no model there \(no config\.yaml, imported\.yaml or config\.json"):
        transformer_zoo.from_pretrained(tmp_path / "nothing")
    with pytest.raises(RunNotFoundError, match="there is no model there"):
        transformer_zoo.from_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="path=None: expected the folder of a model, as a text or a Path"):
        transformer_zoo.from_pretrained(None)  # type: ignore[arg-type]


def test_a_public_folder_has_no_checkpoints_to_choose_from(folders: Path):
    with pytest.raises(ConfigError, match=r"checkpoint='step-3': .*bert is a folder in the Hugging Face format, which has no checkpoints: leave it"):
        transformer_zoo.from_pretrained(folders / "bert", checkpoint="step-3")
