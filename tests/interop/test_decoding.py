"""Decoding gives exactly the tokens that transformers gives, and one token at a time gives the scores of the whole at once."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.bart.configuration_bart import BartConfig
from transformers.models.bart.modeling_bart import BartForConditionalGeneration
from transformers.models.gpt2.configuration_gpt2 import GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM
from transformers.models.marian.configuration_marian import MarianConfig
from transformers.models.marian.modeling_marian import MarianMTModel
from transformers.models.openai.configuration_openai import OpenAIGPTConfig
from transformers.models.openai.modeling_openai import OpenAIGPTLMHeadModel
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5ForConditionalGeneration

from interop import builders, parity
from transformer_zoo import from_pretrained
from transformer_zoo.experiments.imported import import_model
from transformer_zoo.experiments.pretrained import Pretrained
from transformer_zoo.generation.base import Continuation, Generated, Request, Translation
from transformer_zoo.generation.beam import BeamConfig
from transformer_zoo.generation.greedy import GreedyConfig
from transformer_zoo.records import SequenceInputs, TranslationInputs

PAD, START, VOCABULARY, NEW = 0, 2, 23, 9
IDS = {"pad_token_id": PAD, "eos_token_id": 1, "bos_token_id": START}
SIDES = {
    "encoder_layers": 1, "encoder_attention_heads": 3, "encoder_ffn_dim": 20,
    "decoder_layers": 2, "decoder_attention_heads": 3, "decoder_ffn_dim": 17,
}  # fmt: skip
OURS = {True: "always", False: "heuristic", "never": "never"}
"""Their `early_stopping` → ours."""


def lively(model: Any, scale: float) -> Any:
    """A model that does not write the same token again and again: its tied table is smaller, and norms do not shift."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.bias"):
                parameter.zero_()
            elif name.endswith("shared.weight"):
                parameter.mul_(scale)
    return model


def gpt2() -> Any:
    sizes = {"vocab_size": VOCABULARY, "n_embd": 18, "n_layer": 2, "n_head": 3, "n_positions": 20}
    return parity.reference(GPT2LMHeadModel, GPT2Config(**sizes, **IDS))


def gpt1() -> Any:
    sizes = {"vocab_size": VOCABULARY, "n_embd": 18, "n_layer": 2, "n_head": 3, "n_positions": 20}
    return parity.reference(OpenAIGPTLMHeadModel, OpenAIGPTConfig(**sizes, **IDS))


def llama() -> Any:
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 20, "max_position_embeddings": 20}
    return parity.reference(LlamaForCausalLM, LlamaConfig(**sizes, **heads, **IDS))


def t5() -> Any:
    # With more layers in the decoder than in the encoder their own cache is too short.
    sizes = {"vocab_size": VOCABULARY, "d_model": 18, "d_kv": 5, "d_ff": 22, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 3}
    return lively(parity.reference(T5ForConditionalGeneration, T5Config(**sizes, **IDS, decoder_start_token_id=PAD)), 0.1)


def bart() -> Any:
    sizes = {"vocab_size": VOCABULARY, "d_model": 18, "max_position_embeddings": 20}
    config = BartConfig(**sizes, **SIDES, **IDS, decoder_start_token_id=START, forced_eos_token_id=None)
    return lively(parity.reference(BartForConditionalGeneration, config), 0.3)


def marian() -> Any:
    sizes = {"vocab_size": VOCABULARY, "d_model": 18, "max_position_embeddings": 20}
    model = parity.reference(MarianMTModel, MarianConfig(**sizes, **SIDES, **IDS, decoder_start_token_id=PAD, forced_eos_token_id=None))
    for side in (model.model.encoder, model.model.decoder):
        side.embed_positions.weight.copy_(side.embed_positions.create_weight())
    model = lively(model, 0.3)
    ids = torch.randint(3, VOCABULARY, (20, 9), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        model.final_logits_bias.copy_(-model(input_ids=ids, decoder_input_ids=ids.flip(0)).logits.mean((0, 1)))  # no token is likelier everywhere
    return model


MODELS = {"gpt2": gpt2, "gpt1": gpt1, "llama": llama, "t5": t5, "bart": bart, "marian": marian}


@dataclass
class Pair:
    """A model of theirs, the same as ours, and rows for both."""

    theirs: Any
    ours: Pretrained
    rows: list[list[int]]
    end: int
    """The token that ends a row: one that comes early in some greedy rows and never in others."""

    @property
    def model(self) -> Any:
        return self.ours.model

    @property
    def translates(self) -> bool:
        return bool(self.theirs.config.is_encoder_decoder)

    @property
    def start(self) -> int:
        return int(self.theirs.config.decoder_start_token_id)

    def inputs(self) -> dict[str, Tensor]:
        """Prompts padded on the left, sources on the right."""
        width = max(map(len, self.rows))
        ids, mask = torch.full((len(self.rows), width), PAD), torch.zeros(len(self.rows), width, dtype=torch.int64)
        for i, row in enumerate(self.rows):
            place = slice(0, len(row)) if self.translates else slice(width - len(row), width)
            ids[i, place], mask[i, place] = torch.tensor(row), 1
        return {"input_ids": ids, "attention_mask": mask}

    def request(self, **others: Any) -> Request:
        fields = {"pad": PAD, "end": self.end} | others
        if self.translates:
            return Translation(prefixes=[[self.start]] * len(self.rows), sources=self.rows, **fields)
        return Continuation(prefixes=self.rows, **fields)

    def reference(self, **settings: Any) -> list[tuple[list[int], bool]]:
        """New tokens of each row without the end token, and whether it came."""
        written = self.theirs.generate(**self.inputs(), do_sample=False, **{"max_new_tokens": NEW, "eos_token_id": self.end} | settings)
        new = written[:, 1 if self.translates else max(map(len, self.rows)) :].tolist()
        return [(row[: row.index(self.end)], True) if self.end in row else (row, False) for row in new]

    def check(self, settings: Any, *, request: Request | None = None, **theirs: Any) -> list[Generated]:
        """Ours with these settings gives what theirs gives; ours are returned."""
        found = settings.build().generate(self.model, request or self.request())
        assert [(row.token_ids, row.ended) for row in found] == self.reference(**theirs)
        return found


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    theirs = MODELS[request.param]()
    folder = parity.saved(theirs, tmp_path_factory.mktemp(request.param))
    generator = torch.Generator().manual_seed(5)
    rows = [torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() for length in (7, 3, 1, 5, 7, 2, 4, 6)]
    theirs.generation_config.eos_token_id = None
    found = Pair(theirs, from_pretrained(folder, device="cpu"), rows, end=-1)
    free = [tokens for tokens, _ in found.reference(eos_token_id=None)]
    found.end = min(range(3, VOCABULARY), key=lambda token: abs(sum(token in row for row in free) - len(free) / 2))
    return found


def test_greedy(pair: Pair):
    found = pair.check(GreedyConfig(max_new_tokens=NEW), num_beams=1)
    assert {row.ended for row in found} == {True, False}, "rows that end and rows that do not"


def test_a_beam_of_one_is_greedy(pair: Pair):
    pair.check(BeamConfig(beam_size=1, max_new_tokens=NEW, length_penalty=1.0, length_penalty_form="power"), num_beams=1)


@pytest.mark.parametrize("early_stopping", list(OURS))
@pytest.mark.parametrize("beams, penalty", [(2, 1.0), (4, 0.0), (4, 2.5)])
def test_beam_search(pair: Pair, beams: int, penalty: float, early_stopping: bool | str):
    settings = BeamConfig(
        beam_size=beams,
        max_new_tokens=NEW,
        length_penalty=penalty,
        length_penalty_form="power",
        early_stopping=OURS[early_stopping],
    )
    pair.check(settings, num_beams=beams, length_penalty=penalty, early_stopping=early_stopping)


def test_limits(pair: Pair):
    """Rows that may not end at first, tokens that never come, sequences that do not come twice."""
    written = [token for tokens, _ in pair.reference() for token in tokens]
    common = max(set(written), key=written.count)
    shared = {"max_new_tokens": NEW, "min_new_tokens": 4, "no_repeat_ngram": 2}
    theirs = {"min_new_tokens": 4, "no_repeat_ngram_size": 2, "bad_words_ids": [[PAD], [common]]}
    request = pair.request(forbidden=(PAD, common))
    pair.check(GreedyConfig(**shared), request=request, num_beams=1, **theirs)
    beam = BeamConfig(**shared, beam_size=3, length_penalty=1.0, length_penalty_form="power")
    pair.check(beam, request=request, num_beams=3, **theirs)


def test_forced_tokens(pair: Pair):
    """The first token of a translation and the last one of a row."""
    first = (3 if pair.end != 3 else 4) if pair.translates else None  # theirs is forced where a row has one token, which a prompt has seldom
    theirs = {"forced_bos_token_id": first, "forced_eos_token_id": pair.end}
    request = pair.request(forced_first=first, forced_last=True)
    found = pair.check(GreedyConfig(max_new_tokens=NEW), request=request, num_beams=1, **theirs)
    assert all(row.ended for row in found)
    beam = BeamConfig(beam_size=3, max_new_tokens=NEW, length_penalty=1.0, length_penalty_form="power", early_stopping="never")
    found = pair.check(beam, request=request, num_beams=3, early_stopping="never", **theirs)
    assert first is None or all(row.token_ids[0] == first for row in found)


@torch.no_grad()
def test_token_by_token_gives_the_scores_of_the_whole(pair: Pair):
    """Each row alone in one forward, and all of them together, padded, one token after another."""
    written = torch.randint(3, VOCABULARY, (len(pair.rows), NEW), generator=torch.Generator().manual_seed(6))
    request = pair.request()
    logits, state = pair.model.start(request.inputs(range(len(request)), request.prefixes), capacity=7 + NEW)
    steps = [logits, *(pair.model.step(written[:, i], state) for i in range(NEW))]
    for i, row in enumerate(pair.rows):
        tokens = torch.tensor([[*request.prefixes[i], *written[i].tolist()]])
        target = SequenceInputs(token_ids=tokens)
        record = TranslationInputs(source=SequenceInputs(token_ids=torch.tensor([row])), target=target) if pair.translates else target
        whole = pair.model(record).heads["vocabulary"].logits()[-NEW - 1 :]
        torch.testing.assert_close(torch.stack([step[i] for step in steps]), whole, atol=1e-5, rtol=1e-5)


def texts(folder: Path, **generation: Any) -> Pretrained:
    """A BART with words for its tokens, and wishes of how it should write."""
    builders.word_tokenizer(folder, framed=False)
    sizes = {"vocab_size": len(builders.WORDS), "d_model": 18, "max_position_embeddings": 20}
    ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3}
    model = lively(parity.reference(BartForConditionalGeneration, BartConfig(**sizes, **SIDES, **ids, forced_eos_token_id=None)), 0.3)
    parity.saved(model, folder)
    (folder / "generation_config.json").write_text(json.dumps(ids | generation))
    return from_pretrained(folder, device="cpu")


def test_a_text_begins_and_ends_as_the_files_say(tmp_path: Path):
    """What their files force is forced in texts too: the first token, and the end at the limit."""
    source, ids = "the old king sleeps", torch.tensor([[5, 6, 7, 9]])
    for i, forced in enumerate(({}, {"forced_bos_token_id": 12}, {"forced_eos_token_id": 3, "bad_words_ids": [[0], [14]]})):
        ours = texts(tmp_path / str(i), **forced)
        with parity.silent():
            theirs = BartForConditionalGeneration.from_pretrained(tmp_path / str(i), attn_implementation="eager").eval()
        written = theirs.generate(input_ids=ids, max_new_tokens=6, do_sample=False, num_beams=1)[0, 1:].tolist()
        assert ours.generate(source, max_new_tokens=6) == " ".join(builders.WORDS[token] for token in written if token not in (0, 2, 3))
        assert forced.get("forced_bos_token_id") in (None, written[0])


@pytest.mark.parametrize("has_file", [True, False])
@pytest.mark.parametrize("forced", [3, None, ...])
def test_what_is_forced_by_older_files(forced: Any, has_file: bool, tmp_path: Path):
    """What config.json says of it holds where there is no generation_config.json."""
    texts(tmp_path)
    builders.change_config(tmp_path, forced_eos_token_id=forced)
    builders.change_weights(tmp_path, lambda found: found | {"final_logits_bias": torch.eye(len(builders.WORDS))[3:4] * -100})  # never ends by itself
    if not has_file:
        (tmp_path / "generation_config.json").unlink()
    with parity.silent():
        theirs = BartForConditionalGeneration.from_pretrained(tmp_path, attn_implementation="eager").eval()
    written = theirs.generate(input_ids=torch.tensor([[5, 6, 7, 9]]), max_new_tokens=6, do_sample=False, num_beams=1)[0, 1:].tolist()
    assert (written[-1] == 3) is (forced == 3 and not has_file)
    ours = from_pretrained(tmp_path, device="cpu")
    assert ours.generate("the old king sleeps", max_new_tokens=6) == " ".join(builders.WORDS[token] for token in written if token not in (0, 2, 3))


def test_wishes_that_are_not_done_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    ours = texts(tmp_path, num_beams=4, length_penalty=2.0, no_repeat_ngram_size=3, repetition_penalty=1.2, early_stopping=False, max_length=20)
    ours.generate("the king", max_new_tokens=3, beam_size=4)
    (told,) = [record.getMessage() for record in caplog.records if "wishes" in record.getMessage()]
    assert told == (
        f"{tmp_path} wishes length_penalty=2.0, no_repeat_ngram_size=3, repetition_penalty=1.2, which is not done by itself; "
        "the settings for it are length_penalty, no_repeat_ngram"
    )
    caplog.clear()
    ours.generate("the king", max_new_tokens=3, beam_size=4, length_penalty=2.0, length_penalty_form="power", no_repeat_ngram=3)
    assert [record.getMessage() for record in caplog.records] == [f"{tmp_path} wishes repetition_penalty=1.2, which is not done by itself"]
    caplog.clear()
    imported = tmp_path / "run"
    import_model(tmp_path, imported)
    from_pretrained(imported, device="cpu").generate("the king", max_new_tokens=3)
    assert f"{imported} wishes num_beams=4, length_penalty=2.0, no_repeat_ngram_size=3" in caplog.text
