"""Tokenizers: special tokens in place, nothing lost that should stay, the same training twice."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models

from transformer_zoo.data.tokenizers import (
    SPECIALS,
    BPETokenizerConfig,
    ByteTokenizerConfig,
    CharTokenizerConfig,
    FileTokenizerConfig,
    Tokenizer,
    TokenizerConfig,
    UnigramTokenizerConfig,
    WordPieceTokenizerConfig,
    WordTokenizerConfig,
    compare,
)
from transformer_zoo.errors import DataError

TEXT = [
    "The quick brown fox jumps over the lazy dog, isn't it?\n\nWell-known words: Häuser, naïve, coöperate. ",
    "  Two  spaces\tand a tab;\r\nCRLF. The fox and the dog were quick; the brown dog was lazy.\n",
] * 5
TRAINED: list[TokenizerConfig] = [
    WordTokenizerConfig(),
    CharTokenizerConfig(),
    ByteTokenizerConfig(),
    WordPieceTokenizerConfig(vocab_size=120),
    BPETokenizerConfig(vocab_size=300),
    UnigramTokenizerConfig(vocab_size=80),
]
each = pytest.mark.parametrize("config", TRAINED, ids=lambda config: type(config).__name__)


@each
def test_special_tokens_come_first(config: TokenizerConfig) -> None:
    tokenizer = config.build(TEXT)
    assert [tokenizer.token(i) for i in range(7)] == list(SPECIALS)
    specials = tokenizer.vocabulary.specials
    assert (specials.pad, specials.unknown, specials.begin, specials.end, specials.cls, specials.sep, specials.mask) == tuple(range(7))
    assert max(max(ids) for ids in tokenizer.encode_batch(TEXT)) < tokenizer.vocabulary.size


@each
def test_saving_and_loading_keeps_everything(config: TokenizerConfig, tmp_path: Path) -> None:
    tokenizer = config.build(TEXT)
    tokenizer.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert again.fingerprint == tokenizer.fingerprint
    assert again.vocabulary == tokenizer.vocabulary
    assert again.encode_batch(TEXT) == tokenizer.encode_batch(TEXT)


@each
def test_sentinels_come_last_and_change_nothing_else(config: TokenizerConfig, tmp_path: Path) -> None:
    plain = config.build(TEXT)
    made = plain.with_sentinels(3)
    size = plain.vocabulary.size
    assert plain.vocabulary.sentinels == ()
    assert made.vocabulary.sentinels == (size, size + 1, size + 2)
    assert made.vocabulary.size == size + 3
    assert made.vocabulary.specials == plain.vocabulary.specials
    assert made.encode_batch(TEXT) == plain.encode_batch(TEXT)
    assert made.with_sentinels(2) is made
    assert made.encode("<extra_id_1>") == [size + 1]
    assert size + 1 not in made.encode("<extra_id_1>", specials=False)  # in a text, the characters are meant
    made.save(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "tokenizer.json").vocabulary == made.vocabulary


@each
def test_one_by_one_equals_in_batch(config: TokenizerConfig) -> None:
    tokenizer = config.build(TEXT)
    flat, lengths = tokenizer.encode_flat(TEXT)
    assert [tokenizer.encode(text) for text in TEXT] == tokenizer.encode_batch(TEXT)
    assert flat.tolist() == [i for ids in tokenizer.encode_batch(TEXT) for i in ids]
    assert lengths.tolist() == [len(ids) for ids in tokenizer.encode_batch(TEXT)]


@pytest.mark.parametrize("config", [c for c in TRAINED if not isinstance(c, UnigramTokenizerConfig)], ids=lambda config: type(config).__name__)
def test_training_is_repeatable(config: TokenizerConfig) -> None:
    """Also where counts tie, as nearly all do here."""
    texts = [" ".join(f"{a}{b}{c}{d}" for a in "abc" for b in "abc" for c in "abc" for d in "ab")]
    assert len({config.build(texts).fingerprint for _ in range(4)}) == 1


@pytest.mark.parametrize("config", [CharTokenizerConfig(), ByteTokenizerConfig(), BPETokenizerConfig(vocab_size=300)])
def test_lossless_kinds_keep_every_character(config: TokenizerConfig) -> None:
    tokenizer = config.build(TEXT)
    for text in TEXT:
        assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=40))
def test_bytes_and_bpe_know_every_text(text: str) -> None:
    for tokenizer in (BYTES, BPE):
        ids = tokenizer.encode(text, specials=False)
        assert 1 not in ids
        assert tokenizer.decode(ids) == text


BYTES, BPE = ByteTokenizerConfig().build(), BPETokenizerConfig(vocab_size=300).build(TEXT)


def test_byte_tokens_are_bytes() -> None:
    assert len(BYTES.encode("Häuser €")) == len("Häuser €".encode())
    assert BYTES.vocabulary.size == 7 + 256


def test_words_keep_apostrophes_and_hyphens_and_part_punctuation() -> None:
    tokenizer = WordTokenizerConfig().build(TEXT)
    assert [tokenizer.token(i) for i in tokenizer.encode("isn't Well-known , dog?")] == ["isn't", "Well-known", ",", "dog", "?"]
    assert tokenizer.encode("unheard") == [1]
    assert WordTokenizerConfig(lowercase=True).build(TEXT).id("The") is None


def test_char_keeps_line_ends_and_marks_what_is_new() -> None:
    tokenizer = CharTokenizerConfig().build(["a\nb \r\n"])
    assert [tokenizer.token(i) for i in tokenizer.encode("b\n a\r€")] == ["b", "\n", " ", "a", "\r", "[UNK]"]
    assert tokenizer.vocabulary.size == 7 + 5


def test_wordpiece_folds_capitals_unless_told_not_to() -> None:
    folded = WordPieceTokenizerConfig(vocab_size=120).build(TEXT)
    assert folded.encode("THE FOX") == folded.encode("the fox")
    cased = WordPieceTokenizerConfig(vocab_size=120, lowercase=False).build(TEXT)
    assert cased.encode("The") != cased.encode("the")


def test_vocab_size_is_a_limit() -> None:
    texts = [" ".join(f"word{i}" for i in range(500))]
    assert WordTokenizerConfig(vocab_size=50).build(texts).vocabulary.size == 50
    assert BPETokenizerConfig(vocab_size=280).build(texts).vocabulary.size <= 280


def test_special_tokens_spelt_in_data_are_characters() -> None:
    tokenizer = BPETokenizerConfig(vocab_size=300).build(TEXT)
    assert tokenizer.encode("a [MASK] b").count(6) == 1
    assert 6 not in tokenizer.encode_flat(["a [MASK] b"])[0].tolist()
    assert tokenizer.decode(tokenizer.encode("a [MASK] b")).split() == ["a", "b"]


def test_special_tokens_of_published_files_are_found(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Backend
    from tokenizers import models

    roberta = Backend(models.WordLevel({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "a": 5}, unk_token="<unk>"))
    gpt2 = Backend(models.WordLevel({"a": 0, "b": 1, "<|endoftext|>": 2}, unk_token="a"))
    gpt2.enable_truncation(1)
    for backend, name in ((roberta, "roberta.json"), (gpt2, "gpt2.json")):
        (tmp_path / name).write_text(backend.to_str(), encoding="utf-8")
    found = FileTokenizerConfig(path=str(tmp_path / "roberta.json")).build().vocabulary.specials
    assert (found.pad, found.unknown, found.begin, found.end, found.cls, found.sep, found.mask) == (1, 3, 0, 2, 0, 2, 4)
    found = FileTokenizerConfig(path=str(tmp_path / "gpt2.json")).build().vocabulary.specials
    assert (found.pad, found.begin, found.end, found.cls, found.mask) == (2, 2, 2, None, None)


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no tokenizer file .*nowhere\.json"):
        FileTokenizerConfig(path=str(tmp_path / "nowhere.json")).build()
    (tmp_path / "bad.json").write_text(json.dumps({"a": 1}), encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.json is no tokenizer\.json"):
        FileTokenizerConfig(path=str(tmp_path / "bad.json")).build()


def test_comparison_counts_words_bytes_and_unknowns() -> None:
    texts = ["the fox the", "dog €"]
    reports = {r.name: r for r in compare({"byte": BYTES, "word": WordTokenizerConfig().build(["the fox"])}, texts)}
    assert reports["byte"].tokens_per_word == pytest.approx((11 + 7) / 5)
    assert reports["byte"].bytes_per_token == 1.0
    assert reports["byte"].unknown_rate == 0.0
    assert reports["byte"].lossless
    assert reports["word"].tokens_per_word == 1.0
    assert reports["word"].unknown_rate == pytest.approx(2 / 5)
    assert not reports["word"].lossless
    with pytest.raises(DataError, match="no text to compare"):
        compare({"byte": BYTES}, [" "])


@each
def test_the_full_stop_of_a_text_is_known(config: TokenizerConfig) -> None:
    tokenizer = config.build([*TEXT, "one . two ."])
    assert set(tokenizer.encode(".")) & set(tokenizer.vocabulary.full_stops)


def test_a_full_stop_is_known_in_every_spelling_and_only_alone() -> None:
    spelled = {token: i for i, token in enumerate(["x", "▁.", "Ġ.", "##.", ".", "x.", "..", "!"])}
    assert sorted(Tokenizer(Backend(models.WordLevel(spelled, unk_token="x"))).vocabulary.full_stops) == [1, 2, 3, 4]
