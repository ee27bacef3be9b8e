import logging
from collections.abc import Callable
from typing import Any

import pytest

from transformer_zoo.data.tokenizers import BPETokenizerConfig, CharTokenizerConfig, Tokenizer, WordTokenizerConfig
from transformer_zoo.errors import ConfigError
from transformer_zoo.generation.base import Continuation, Generated, Generator, Request, Translation
from transformer_zoo.generation.beam import BeamConfig
from transformer_zoo.generation.greedy import GreedyConfig
from transformer_zoo.generation.text import continue_prompts, translate, translate_rows, written

TEXTS = ["the cat sat on the mat .", "the dog sat on the cat .", "a cat and a dog ran ."] * 20


class Echo(Generator):
    """Keeps the request and answers with the first row's own ids."""

    def generate(self, model: Any, request: Request) -> list[Generated]:
        self.request = request
        return [Generated(token_ids=list(row)[-2:], log_probability=0.0, score=0.0, ended=True) for row in request.prefixes]


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return WordTokenizerConfig().build(TEXTS)


def test_a_prompt_is_continued_and_decoded_as_one_text(second_order: Callable[..., Any]) -> None:
    for config in (WordTokenizerConfig(), BPETokenizerConfig(vocab_size=280), CharTokenizerConfig()):
        tokenizer = config.build(TEXTS)
        [text] = continue_prompts(second_order(3), tokenizer, ["the cat"], Echo())
        ids = tokenizer.encode("the cat")
        assert text == tokenizer.decode([*ids, *ids[-2:]])
        assert text.startswith("the cat")


def test_the_token_that_begins_a_document(words: Tokenizer) -> None:
    specials, cat, echo = words.vocabulary.specials, words.id("cat"), Echo()
    continue_prompts(None, words, ["cat", ""], echo)  # type: ignore[arg-type]
    assert echo.request.prefixes == [[cat], [specials.begin]]
    continue_prompts(None, words, ["cat", ""], echo, begins_document=True)  # type: ignore[arg-type]
    assert echo.request.prefixes == [[specials.begin, cat], [specials.begin]]
    assert isinstance(echo.request, Continuation)
    assert echo.request.end == specials.end
    assert set(echo.request.forbidden) == set(specials.ids()) - {specials.end}


def test_specials_in_a_prompt_are_characters(words: Tokenizer) -> None:
    echo = Echo()
    continue_prompts(None, words, ["cat [EOS]"], echo)  # type: ignore[arg-type]
    assert words.vocabulary.specials.end not in echo.request.prefixes[0]


def test_without_a_begin_token_an_empty_prompt_is_refused() -> None:
    from tokenizers import Tokenizer as Backend
    from tokenizers import models

    bare = Tokenizer(Backend(models.WordLevel(vocab={"a": 0, "b": 1}, unk_token="a")))
    with pytest.raises(ConfigError, match="a prompt is empty"):
        continue_prompts(None, bare, [""], Echo())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="this tokenizer has no begin and end token"):
        translate(None, bare, ["a"], Echo())  # type: ignore[arg-type]


def test_sources_end_with_the_end_token_and_are_cut_to_the_model(words: Tokenizer, second_order: Callable[..., Any], caplog: Any) -> None:
    specials, echo = words.vocabulary.specials, Echo()
    sources = ["the cat sat on the mat .", "a dog"]
    with caplog.at_level(logging.WARNING):
        translate(second_order(3, max_length=5), words, sources, echo)
    assert "1 of 2 sources are cut to the 5 tokens the model reads" in caplog.text
    assert isinstance(echo.request, Translation)
    assert echo.request.sources == [[*words.encode("the cat sat on"), specials.end], [*words.encode("a dog"), specials.end]]
    assert echo.request.prefixes == [[specials.begin]] * 2


def test_translating_text(words: Tokenizer, second_order: Callable[..., Any]) -> None:
    model = second_order(words.vocabulary.size, seed=1)
    specials = set(words.vocabulary.specials.ids())
    for config in (GreedyConfig(), BeamConfig()):
        rows = translate_rows(model, words, ["the cat", "a dog ran ."], config.build())
        assert not specials & {token for row in rows for token in row.token_ids}
        assert translate(model, words, ["the cat", "a dog ran ."], config.build()) == [words.decode(row.token_ids) for row in rows]


def test_a_model_that_fills_spans_begins_with_its_own_token_and_reads_sentinels(words: Tokenizer, second_order: Callable[..., Any]) -> None:
    tokenizer, echo = words.with_sentinels(3), Echo()
    specials, (first, second, _) = tokenizer.vocabulary.specials, tokenizer.vocabulary.sentinels
    source = "the <extra_id_0> sat [MASK]"
    translate(second_order(3), tokenizer, [source], echo, start="pad", reads_specials=True)
    assert isinstance(echo.request, Translation)
    assert echo.request.prefixes == [[specials.pad]]
    the, sat = words.encode("the sat")
    assert echo.request.sources == [[the, first, sat, specials.mask, specials.end]]
    assert not {first, second} & set(echo.request.forbidden)
    translate(second_order(3), tokenizer, [source], echo)
    assert first not in echo.request.sources[0]  # a text to translate means the characters


def test_sentinels_are_spelled_out_in_what_is_written(words: Tokenizer) -> None:
    tokenizer = words.with_sentinels(3)
    first, second, _ = tokenizer.vocabulary.sentinels
    the, cat, sat = words.encode("the cat sat")
    assert written(tokenizer, [first, the, cat, second, sat]) == "<extra_id_0> the cat <extra_id_1> sat"
    assert written(tokenizer, [the, cat]) == "the cat"
    assert written(tokenizer, []) == ""


def test_sentinels_in_a_prompt_are_tokens_where_they_were_learnt(words: Tokenizer) -> None:
    tokenizer, echo = words.with_sentinels(3), Echo()
    first, second, third = tokenizer.vocabulary.sentinels
    the, sat = words.encode("the sat")
    prompt = "<extra_id_0> the <extra_id_1> sat <extra_id_2>"
    [text] = continue_prompts(None, tokenizer, [prompt], echo, reads_sentinels=True)  # type: ignore[arg-type]
    assert echo.request.prefixes == [[first, the, second, sat, third]]
    assert text == f"{prompt} sat <extra_id_2>"  # the echo's last two
    continue_prompts(None, tokenizer, [prompt], echo)  # type: ignore[arg-type]
    assert first not in echo.request.prefixes[0]


def test_a_prompt_is_a_prefix_where_that_was_learnt(words: Tokenizer) -> None:
    echo = Echo()
    continue_prompts(None, words, ["the cat sat", "a"], echo, prefix=True)  # type: ignore[arg-type]
    prompts = echo.request.prefixes
    inputs: Any = echo.request.inputs([0, 1], prompts)
    assert inputs.token_ids.shape == (2, 3)
    assert inputs.prefix_length.tolist() == [3, 3]  # slots, padding on the left included
    continue_prompts(None, words, ["the cat sat"], echo)  # type: ignore[arg-type]
    plain: Any = echo.request.inputs([0], prompts[:1])
    assert plain.prefix_length is None
