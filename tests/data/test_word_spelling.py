"""Words told from the spelling of tokens: as the text has them, for every kind of tokenizer."""

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers

from data.test_tokenizers import TEXT
from transformer_zoo.data.tokenizers import (
    BPETokenizerConfig,
    ByteTokenizerConfig,
    CharTokenizerConfig,
    Tokenizer,
    TokenizerConfig,
    UnigramTokenizerConfig,
    WordPieceTokenizerConfig,
    WordTokenizerConfig,
)
from transformer_zoo.objectives.masking.words import Words

SENTENCE = "The quickest foxes, isn't it? Häuser (naïve) 42nd"
WORDS = ["The", "quickest", "foxes", ",", "isn", "'", "t", "it", "?", "Häuser", "(", "naïve", ")", "42nd"]


def words_of(tokenizer: Tokenizer, text: str) -> list[str]:
    """The words as the spelling divides the text."""
    spelling = tokenizer.vocabulary.words
    assert spelling is not None
    ids = np.array([tokenizer.encode(text)])
    numbers = Words(tokenizer.vocabulary, spelling).numbers(ids, np.ones(ids.shape, dtype=bool))[0]
    return [tokenizer.decode(ids[0][numbers == number]).strip() for number in range(numbers.max() + 1)]


@pytest.mark.parametrize(
    "config",
    [
        WordPieceTokenizerConfig(vocab_size=140, lowercase=False),
        BPETokenizerConfig(vocab_size=300),
        UnigramTokenizerConfig(vocab_size=80),
        ByteTokenizerConfig(),
        CharTokenizerConfig(),
    ],
    ids=lambda config: type(config).__name__,
)
def test_words_are_those_of_the_text(config: TokenizerConfig) -> None:
    tokenizer = config.build([*TEXT, SENTENCE] * 3)
    found = [word for word in words_of(tokenizer, SENTENCE) if word]
    assert len(tokenizer.encode(SENTENCE)) > len(found)
    wanted = WORDS if not isinstance(config, BPETokenizerConfig) else [word for word in WORDS if word not in "'t"] + ["'t"]
    assert sorted(found) == sorted(wanted)


def test_tokens_of_the_word_tokenizer_are_words() -> None:
    tokenizer = WordTokenizerConfig().build(TEXT)
    assert len(words_of(tokenizer, "The fox, isn't it?")) == len(tokenizer.encode("The fox, isn't it?"))


def test_the_space_in_front_belongs_to_the_word_and_lines_and_runs_of_spaces_do_not() -> None:
    tokenizer = BPETokenizerConfig(vocab_size=263).build(TEXT)  # bytes alone
    spelling = tokenizer.vocabulary.words
    assert spelling is not None
    ids = np.array([tokenizer.encode("a b\nc  d")])
    numbers = Words(tokenizer.vocabulary, spelling).numbers(ids, np.ones(ids.shape, dtype=bool))[0]
    assert numbers.tolist() == [0, 1, 1, 2, 3, 4, 5, 5]  # a | _b | line end | c | _ | _d


def test_words_that_end_with_a_mark() -> None:
    spelled = {token: i for i, token in enumerate(["lo", "w", "er", "low</w>", "er</w>", "a</w>"])}
    tokenizer = Tokenizer(Backend(models.BPE(vocab=spelled, merges=[], end_of_word_suffix="</w>")))
    spelling = tokenizer.vocabulary.words
    assert spelling is not None
    ids = np.array([[0, 1, 4, 3, 5, 0, 4]])
    assert Words(tokenizer.vocabulary, spelling).numbers(ids, np.ones(ids.shape, dtype=bool)).tolist() == [[0, 0, 0, 1, 2, 3, 3]]


def test_a_spelling_without_marks_tells_nothing() -> None:
    backend = Backend(models.BPE(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")]))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    assert Tokenizer(backend).vocabulary.words is None
    backend.decoder = decoders.ByteLevel()
    assert Tokenizer(backend).vocabulary.words is not None


def test_specials_and_sentinels_continue_nothing() -> None:
    tokenizer = BPETokenizerConfig(vocab_size=300).build(TEXT).with_sentinels(3)
    spelling = tokenizer.vocabulary.words
    assert spelling is not None
    assert not {*tokenizer.vocabulary.specials.ids(), *tokenizer.vocabulary.sentinels} & {*spelling.continues, *spelling.closes}
