"""Tokenizers: a small wrapper around the `tokenizers` library, and settings for each kind that can be trained.

Every trained tokenizer has the special tokens [PAD] [UNK] [BOS] [EOS] [CLS] [SEP] [MASK] as ids 0 to 6.
"""

import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from transformer_zoo.data.word_spelling import word_spelling
from transformer_zoo.errors import DataError
from transformer_zoo.records import SpecialTokens, Vocabulary
from transformer_zoo.settings import Config, PositiveInt, Range

# The library warns on standard error when a process forks after it has used threads, unless this is set. Our workers never tokenise.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

SPECIALS = ("[PAD]", "[UNK]", "[BOS]", "[EOS]", "[CLS]", "[SEP]", "[MASK]")

_SPELLINGS: dict[str, tuple[str, ...]] = {
    "pad": ("[PAD]", "<pad>", "<|pad|>", "<|padding|>"),
    "unknown": ("[UNK]", "<unk>"),
    "begin": ("[BOS]", "<bos>", "<s>", "<|begin_of_text|>", "<|startoftext|>", "<|endoftext|>"),
    "end": ("[EOS]", "<eos>", "</s>", "<|end_of_text|>", "<|endoftext|>"),
    "cls": ("[CLS]", "<cls>", "<s>"),
    "sep": ("[SEP]", "<sep>", "</s>"),
    "mask": ("[MASK]", "<mask>"),
}
"""How published tokenizers spell their special tokens."""

FULL_STOPS = (".", "##.", "▁.", "Ġ.")
"""A full stop by itself, in the spellings of tokenizers that mark where words begin or go on."""

SENTINEL = "<extra_id_{}>"
"""How the tokens that stand for missing spans are spelled, as T5's."""


class Tokenizer:
    """Text to token ids and back. `specials=True` reads the spelling of a special token in the text as that token; data preparation
    passes False, because a text that happens to contain `[SEP]` means the characters."""

    def __init__(self, backend: Backend, specials: Mapping[str, str] | None = None) -> None:
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._named = dict(specials or {})

    @classmethod
    def load(cls, path: Path | str, *, specials: Mapping[str, str] | None = None) -> Self:
        """Read a `tokenizer.json`. `specials` spells special tokens by role (pad, unknown, begin, end, cls, sep, mask) that the usual spellings do
        not find.

        Raises:
            DataError: the file is missing or no tokenizer.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError(f"there is no tokenizer file {path.absolute()} (current folder: {Path.cwd()})")
        try:
            return cls(Backend.from_str(path.read_text(encoding="utf-8")), specials)
        except Exception as problem:  # the library raises bare Exception
            raise DataError(f"{path.absolute()} is no tokenizer.json: {problem}") from problem

    def save(self, path: Path | str) -> None:
        """Write a `tokenizer.json`."""
        Path(path).write_text(self._backend.to_str(), encoding="utf-8")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the tokenizer's JSON."""
        return hashlib.sha256(self._backend.to_str().encode()).hexdigest()

    def reads_like(self, other: "Tokenizer") -> bool:
        """Whether both give every text the same ids; what a template puts around a text aside."""
        mine, theirs = (one._settings | {"post_processor": None} for one in (self, other))
        return mine == theirs

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Its size and special tokens; a tokenizer file without padding pads with its end or unknown token, which `valid` hides."""
        tokens = self._backend.get_vocab(with_added_tokens=True)
        if not tokens:
            raise DataError("the tokenizer has no tokens")
        named = {role: (self._named[role],) if role in self._named else () for role in _SPELLINGS}
        found = {role: next((tokens[s] for s in (*named[role], *usual) if s in tokens), None) for role, usual in _SPELLINGS.items()}
        pad = next((i for i in (found.pop("pad"), found["end"], found["unknown"]) if i is not None), 0)
        spelled = itertools.takewhile(tokens.__contains__, map(SENTINEL.format, itertools.count()))
        specials, sentinels = SpecialTokens(pad=pad, **found), tuple(tokens[s] for s in spelled)
        return Vocabulary(
            size=max(tokens.values()) + 1,
            specials=specials,
            sentinels=sentinels,
            full_stops=tuple(tokens[s] for s in FULL_STOPS if s in tokens),
            words=word_spelling(self._settings, tokens, {*specials.ids(), *sentinels}),
        )

    @property
    def _settings(self) -> dict[str, Any]:
        """The tokenizer's JSON."""
        settings: dict[str, Any] = json.loads(self._backend.to_str())
        return settings

    def with_sentinels(self, count: int) -> "Tokenizer":
        """The same tokenizer with at least `count` tokens that stand for missing spans; new ones go behind all others."""
        if len(self.vocabulary.sentinels) >= count:
            return self
        backend = Backend.from_str(self._backend.to_str())
        backend.add_special_tokens([SENTINEL.format(i) for i in range(count)])
        return Tokenizer(backend, self._named)

    def encode(self, text: str, *, specials: bool = True) -> list[int]:
        """Token ids of a text; nothing is added."""
        self._backend.encode_special_tokens = not specials
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def encode_whole(self, text: str) -> list[int]:
        """Token ids of a text with what the tokenizer's own template puts around it, such as [CLS] and [SEP]; published tokenizers have one."""
        self._backend.encode_special_tokens = False
        ids: list[int] = self._backend.encode(text, add_special_tokens=True).ids
        return ids

    def encode_batch(self, texts: Sequence[str], *, specials: bool = True) -> list[list[int]]:
        """Token ids of several texts, on all cores; nothing is added."""
        self._backend.encode_special_tokens = not specials
        return [encoding.ids for encoding in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_flat(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """For preparing data: all token ids one after another, and the number of tokens of each text."""
        encoded = self.encode_batch(texts, specials=False)
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
        return np.fromiter(itertools.chain.from_iterable(encoded), dtype=np.uint32, count=int(lengths.sum())), lengths

    def encode_places(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Token ids and the (first, last + 1) character of each token, for tagging."""
        self._backend.encode_special_tokens = True
        return [(encoding.ids, encoding.offsets) for encoding in self._backend.encode_batch(list(texts), add_special_tokens=False)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids, without special tokens."""
        text: str = self._backend.decode([int(i) for i in ids], skip_special_tokens=True)
        return text

    def token(self, token_id: int) -> str:
        """The spelling of a token."""
        return self._backend.id_to_token(int(token_id)) or f"<{token_id}>"

    def id(self, token: str) -> int | None:
        """The id of a token, or None."""
        found: int | None = self._backend.token_to_id(token)
        return found

    @property
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        """The smallest type that holds its ids."""
        return np.uint16 if self.vocabulary.size <= 2**16 else np.uint32


# --- settings -------------------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class TokenizerConfig(Config):
    """Base of all tokenizer settings."""

    slot: ClassVar[str | None] = "tokenizer"
    trained: ClassVar[bool] = True
    """Whether `build` needs text."""
    grows: ClassVar[bool] = True
    """Whether tokens that an objective asks for are added."""

    train_characters: PositiveInt = 20_000_000
    """Train on at most this many characters of the training text, spread evenly over it."""

    def build(self, texts: Iterable[str]) -> Tokenizer:
        """Train on texts, or load."""
        raise NotImplementedError


def _trained(backend: Backend, trainer: Any, texts: Iterable[str]) -> Tokenizer:
    backend.train_from_iterator(texts, trainer)
    return Tokenizer(backend)


_WORD = Regex(r"\w+(?:['’\-]\w+)*|[^\w\s]")


@dataclass(kw_only=True)
class WordTokenizerConfig(TokenizerConfig):
    """Whole words and single punctuation marks; words outside the vocabulary become [UNK]. Lossless but for spaces."""

    vocab_size: Annotated[int, Range(8)] = 30_000
    """Tokens at most, special tokens included; the most frequent stay."""
    min_frequency: PositiveInt = 1
    """Words seen less often become [UNK]."""
    lowercase: bool = False
    """Fold capitals."""

    def build(self, texts: Iterable[str]) -> Tokenizer:
        backend = Backend(models.WordLevel(unk_token="[UNK]"))
        if self.lowercase:
            backend.normalizer = normalizers.Lowercase()
        backend.pre_tokenizer = pre_tokenizers.Split(_WORD, behavior="removed", invert=True)
        trainer = trainers.WordLevelTrainer(
            vocab_size=self.vocab_size, min_frequency=self.min_frequency, special_tokens=list(SPECIALS), show_progress=False
        )
        return _trained(backend, trainer, texts)


@dataclass(kw_only=True)
class CharTokenizerConfig(TokenizerConfig):
    """Single characters, line ends and spaces included; characters outside the vocabulary become [UNK]."""

    vocab_size: Annotated[int, Range(8)] = 10_000
    """Tokens at most, special tokens included; the most frequent stay."""

    def build(self, texts: Iterable[str]) -> Tokenizer:
        backend = Backend(models.WordLevel(unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
        backend.decoder = decoders.Fuse()
        trainer = trainers.WordLevelTrainer(vocab_size=self.vocab_size, special_tokens=list(SPECIALS), show_progress=False)
        return _trained(backend, trainer, texts)


@dataclass(kw_only=True)
class ByteTokenizerConfig(TokenizerConfig):
    """The 256 bytes of UTF-8: nothing is unknown, nothing is lost."""

    trained: ClassVar[bool] = False

    def build(self, texts: Iterable[str] = ()) -> Tokenizer:
        tokens = [*SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
        backend = Backend(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=[]))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.decoder = decoders.ByteLevel()
        backend.add_special_tokens(list(SPECIALS))
        return Tokenizer(backend)


@dataclass(kw_only=True)
class WordPieceTokenizerConfig(TokenizerConfig):
    """BERT's subwords (https://arxiv.org/abs/1609.08144): words are split at punctuation and spelt from the longest known pieces."""

    vocab_size: Annotated[int, Range(8)] = 8_000
    """Tokens at most, special tokens included."""
    lowercase: bool = True
    """Fold capitals and strip accents, as BERT's uncased models do."""

    def _backend(self, model: Any) -> Backend:
        backend = Backend(model)
        backend.normalizer = normalizers.BertNormalizer(lowercase=self.lowercase)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece()
        return backend

    def build(self, texts: Iterable[str]) -> Tokenizer:
        texts = list(texts)
        # The library numbers the alphabet in the order of a hash table, different every time, and breaks ties by number. Naming the
        # alphabet beforehand makes training repeatable; a first pass over the words finds it.
        words = self._backend(models.WordLevel(unk_token="[UNK]"))
        words.train_from_iterator(texts, trainers.WordLevelTrainer(vocab_size=2**31, show_progress=False))
        spelt = words.get_vocab()
        alphabet = sorted({c for word in spelt for c in word[:1]}) + sorted({f"##{c}" for word in spelt for c in word[1:]})
        trained = self._backend(models.WordPiece(unk_token="[UNK]"))
        named = [*SPECIALS, *alphabet]
        trained.train_from_iterator(
            texts, trainers.WordPieceTrainer(vocab_size=max(self.vocab_size, len(named)), special_tokens=named, show_progress=False)
        )
        backend = self._backend(models.WordPiece(vocab=trained.get_vocab(), unk_token="[UNK]"))
        backend.add_special_tokens(list(SPECIALS))
        return Tokenizer(backend)


@dataclass(kw_only=True)
class BPETokenizerConfig(TokenizerConfig):
    """Byte-level byte-pair encoding (GPT-2's; https://arxiv.org/abs/1508.07909): nothing is unknown, nothing is lost."""

    vocab_size: Annotated[int, Range(263)] = 8_000
    """Tokens at most; 263 are the special tokens and the bytes."""

    def build(self, texts: Iterable[str]) -> Tokenizer:
        backend = Backend(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocab_size,
            special_tokens=list(SPECIALS),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        return _trained(backend, trainer, texts)


@dataclass(kw_only=True)
class UnigramTokenizerConfig(TokenizerConfig):
    """Subwords from a unigram language model (https://arxiv.org/abs/1804.10959). Spaces are kept as one mark before each word; the
    library's training is not repeatable in the last digits of its scores, so keep the trained file."""

    vocab_size: Annotated[int, Range(8)] = 8_000
    """Tokens at most, special tokens included."""

    def build(self, texts: Iterable[str]) -> Tokenizer:
        backend = Backend(models.Unigram())
        backend.normalizer = normalizers.NFKC()
        # Without the first split the mark would be set on whole paragraphs, and training would take thirty times as long.
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
        backend.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=self.vocab_size, special_tokens=list(SPECIALS), unk_token="[UNK]", show_progress=False)
        backend.train_from_iterator(texts, trainer)
        # The library does not read back all digits it writes; a few of them survive every reading and writing.
        data = json.loads(backend.to_str())
        data["model"]["vocab"] = [[token, round(score, 6)] for token, score in data["model"]["vocab"]]
        return Tokenizer(Backend.from_str(json.dumps(data)))


@dataclass(kw_only=True)
class FileTokenizerConfig(TokenizerConfig):
    """A `tokenizer.json` made elsewhere; its special tokens are found by their usual spellings."""

    trained: ClassVar[bool] = False
    grows: ClassVar[bool] = False

    path: str
    """The file, relative to the folder the command is started in."""

    def build(self, texts: Iterable[str] = ()) -> Tokenizer:
        return Tokenizer.load(Path(self.path).expanduser())


# --- comparing ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TokenizerReport:
    """One line of the comparison table."""

    name: str
    vocabulary: int
    tokens_per_word: float
    """Words are what stands between spaces."""
    unknown_rate: float
    """Share of tokens that are the unknown token."""
    bytes_per_token: float
    """UTF-8 bytes of text per token."""
    lossless: bool
    """Whether decoding gives back every text."""


def compare(tokenizers: dict[str, Tokenizer], texts: Sequence[str]) -> list[TokenizerReport]:
    """What each tokenizer makes of the same texts.

    Raises:
        DataError: the texts hold no word.
    """
    words = sum(len(text.split()) for text in texts)
    size = sum(len(text.encode()) for text in texts)
    if not words:
        raise DataError("there is no text to compare tokenizers on")
    reports = []
    for name, tokenizer in tokenizers.items():
        encoded = tokenizer.encode_batch(texts, specials=False)
        tokens = sum(map(len, encoded))
        unknown = tokenizer.vocabulary.specials.unknown
        reports.append(
            TokenizerReport(
                name=name,
                vocabulary=tokenizer.vocabulary.size,
                tokens_per_word=tokens / words,
                unknown_rate=sum(ids.count(unknown) for ids in encoded) / max(tokens, 1) if unknown is not None else 0.0,
                bytes_per_token=size / max(tokens, 1),
                lossless=all(tokenizer.decode(ids) == text for ids, text in zip(encoded, texts, strict=True)),
            )
        )
    return reports


def settings_key(config: TokenizerConfig) -> str:
    """The settings as one line, for the key under which a trained tokenizer is kept."""
    return json.dumps([type(config).__name__, vars(config)], sort_keys=True)
