import pytest
import torch
from tokenizers import Tokenizer as Backend
from tokenizers import models
from torch import Tensor, nn

from transformer_zoo.data.tokenizers import (
    BPETokenizerConfig,
    CharTokenizerConfig,
    Tokenizer,
    TokenizerConfig,
    UnigramTokenizerConfig,
    WordPieceTokenizerConfig,
    WordTokenizerConfig,
)
from transformer_zoo.errors import ConfigError
from transformer_zoo.generation.fill_mask import fill_mask, masked_ids
from transformer_zoo.layers.vocabulary_scores import VocabularyScores
from transformer_zoo.records import ModelOutput, SequenceInputs

TEXTS = ["the cat sat on the mat .", "the dog sat on the cat .", "a cat and a dog ran ."] * 20


class Copier(nn.Module):
    """Predicts at every position the token to its left (probability 0.6) or the one before that (0.3)."""

    def __init__(self, vocabulary: int, max_length: int | None = None) -> None:
        super().__init__()
        self.vocabulary, self.max_length = vocabulary, max_length
        self.seen: list[list[int]] = []

    def forward(self, inputs: SequenceInputs) -> ModelOutput:
        assert not self.training
        assert inputs.predict_at is not None
        self.seen = inputs.token_ids.tolist()
        rest = 0.1 / (self.vocabulary - 2)
        p = torch.full((len(inputs.predict_at), self.vocabulary), rest)
        for row, place in zip(p, inputs.predict_at.tolist(), strict=True):
            row[inputs.token_ids[0, place - 1]], row[inputs.token_ids[0, place - 2]] = 0.6, 0.3
        return ModelOutput(hidden=p, heads={"vocabulary": VocabularyScores(hidden=p.log(), weight=torch.eye(self.vocabulary))})


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return WordTokenizerConfig().build(TEXTS)


def test_each_mask_gets_candidates_with_probabilities(words: Tokenizer) -> None:
    model = Copier(words.vocabulary.size)
    filled = fill_mask(model, words, "the cat [MASK] on the [MASK] .", top_k=2)
    assert [[c.token for c in mask] for mask in filled.candidates] == [["cat", "the"], ["the", "on"]]
    assert [[c.probability for c in mask] for mask in filled.candidates] == [pytest.approx([0.6, 0.3])] * 2
    assert [[words.token(c.token_id) for c in mask] for mask in filled.candidates] == [["cat", "the"], ["the", "on"]]
    assert filled.text == "the cat cat on the the ."
    assert [words.token(i) for i in model.seen[0]] == ["[CLS]", "the", "cat", "[MASK]", "on", "the", "[MASK]", ".", "[SEP]"]
    assert model.training, "the mode is put back"
    fill_mask(model, words, "the cat [MASK] on", framed=False)
    assert [words.token(i) for i in model.seen[0]] == ["the", "cat", "[MASK]", "on"]


def test_more_candidates_than_tokens(words: Tokenizer) -> None:
    [mask] = fill_mask(Copier(words.vocabulary.size), words, "the cat [MASK]", top_k=1000).candidates
    assert len(mask) == words.vocabulary.size
    assert sum(c.probability for c in mask) == pytest.approx(1)


@pytest.mark.parametrize(
    "config",
    [
        WordTokenizerConfig(),
        WordPieceTokenizerConfig(vocab_size=60),
        BPETokenizerConfig(vocab_size=300),
        UnigramTokenizerConfig(vocab_size=40),
        CharTokenizerConfig(),
    ],
    ids=lambda c: type(c).__name__,
)
def test_what_stands_around_a_mask_is_what_training_sees(config: TokenizerConfig) -> None:
    tokenizer = config.build(TEXTS)
    mask, hidden = tokenizer.vocabulary.specials.mask, "a" if isinstance(config, CharTokenizerConfig) else "cat"
    assert mask is not None
    whole = tokenizer.encode(f"the dog and {hidden} ran .")
    ids = masked_ids(tokenizer, "the dog and [MASK] ran .", mask)
    place = ids.index(mask)
    assert ids[:place] == whole[:place]
    assert ids[place + 1 :] == whole[place + 1 - len(ids) :]
    assert tokenizer.decode(whole[place : place + 1 + len(whole) - len(ids)]).strip() == hidden


@pytest.mark.parametrize(
    ("text", "limit", "message"),
    [
        ("the cat sat", None, r"text='the cat sat' has nothing to fill: put \[MASK\] where a token is hidden"),
        ("the cat [MASK]", 4, "the text has 5 tokens and the model reads at most 4: shorten it"),
    ],
)
def test_what_cannot_be_filled_is_refused(words: Tokenizer, text: str, limit: int | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fill_mask(Copier(words.vocabulary.size, limit), words, text)


def test_models_and_tokenizers_without_masks_are_refused(words: Tokenizer) -> None:
    class Headless(Copier):
        def forward(self, inputs: SequenceInputs) -> ModelOutput:
            hidden: Tensor = torch.zeros(1)
            return ModelOutput(hidden=hidden)

    with pytest.raises(ConfigError, match="no head over the vocabulary"):
        fill_mask(Headless(words.vocabulary.size), words, "the [MASK]")

    maskless = Tokenizer(Backend(models.WordLevel(vocab={"a": 0}, unk_token="a")))
    with pytest.raises(ConfigError, match="no mask token"):
        fill_mask(Copier(2), maskless, "a [MASK]")
