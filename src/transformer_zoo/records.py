"""The records that cross floors: what data hands to objectives, objectives to models, and models back.

Axis letters: B batch, T target positions, S source positions, D width, V vocabulary, N chosen positions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

IGNORED = -100
"""The target of a position that is not scored."""


def _moved(value: Any, move: Any) -> Any:
    if isinstance(value, Tensor):
        return move(value)
    if isinstance(value, Record):
        return value.map_tensors(move)
    if isinstance(value, dict):
        return {key: _moved(item, move) for key, item in value.items()}
    return value


@dataclass(kw_only=True)
class Record:
    """A plain bundle of tensors that can be moved as one."""

    def map_tensors(self, move: Any) -> Self:
        """A copy whose every tensor, also in nested records and dicts, went through `move`."""
        return type(self)(**{f.name: _moved(getattr(self, f.name), move) for f in fields(self)})

    def to(self, device: torch.device | str, *, non_blocking: bool = True) -> Self:
        """A copy on `device`. On the way to a CUDA device the host does not wait: the copy is made from pinned memory while it goes on."""
        pins = non_blocking and torch.device(device).type == "cuda"

        def move(tensor: Tensor) -> Tensor:
            source = tensor.pin_memory() if pins and tensor.device.type == "cpu" and not tensor.is_pinned() else tensor
            return source.to(device, non_blocking=non_blocking)

        return self.map_tensors(move)

    def pin_memory(self) -> Self:
        """Called by a DataLoader with `pin_memory=True`."""
        return self.map_tensors(lambda tensor: tensor.pin_memory())


# --- data → objectives ----------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Rows(Record):
    """Which samples the rows of a batch are: the key of all randomness drawn for them."""

    seed: int
    epoch: Tensor  # [B] int64; a batch may straddle two epochs
    index: Tensor  # [B] int64, the sample's number in its split
    progress: Tensor | None = None  # [B] float64, share of the budget spent when the sample is drawn; None in evaluation and where nobody asks


@dataclass(kw_only=True)
class Batch(Record):
    """Base of all batches."""

    rows: Rows


@dataclass(kw_only=True)
class TokenBatch(Batch):
    """One sequence of tokens a row."""

    token_ids: Tensor  # [B, T] int64, padded at the end
    valid: Tensor  # [B, T] bool, False on padding
    segment_ids: Tensor | None = None  # [B, T] int64; None: all of one kind
    document_ids: Tensor | None = None  # [B, T] int64: which of the packed documents; None where documents do not matter

    def sequence(self, token_ids: Tensor | None = None) -> "SequenceInputs":
        """What a model reads, with `token_ids` [B, T] in the place of the batch's own. `valid` is dropped where nothing is padded, so that
        attention needs no mask."""
        return SequenceInputs(
            token_ids=self.token_ids if token_ids is None else token_ids,
            valid=None if bool(self.valid.all()) else self.valid,
            segment_ids=self.segment_ids,
            document_ids=self.document_ids,
        )


@dataclass(kw_only=True)
class TextBatch(TokenBatch):
    """Windows of running text. With `lookahead` 1 a row holds T+1 tokens, so that inputs and next tokens can be cut from it."""

    offset: Tensor | None = None  # [B] int64: place of the row's first ordinary token in its document
    ends_document: Tensor | None = None  # [B] bool: the row's last token is its document's last


@dataclass(kw_only=True)
class MarkedTextBatch(TextBatch):
    """Windows of text in which phrases are marked."""

    continues: Tensor  # [B, T] bool: the token goes on with the phrase of the token in front


@dataclass(kw_only=True)
class PairBatch(TokenBatch):
    """Two segments a row, `[CLS] A [SEP] B [SEP]`. `origin` (B, 2, 3) tells where each segment was cut: number of its first sentence in
    the document, tokens cut in front of it, and 1 where it ends with the end of a sentence (0 where tokens were cut there)."""

    segment_ids: Tensor  # [B, T] int64, 0 for [CLS] A [SEP], 1 for B [SEP], 0 on padding
    is_next: Tensor  # [B] int64: 1 where B follows A in its document, 0 where it is from elsewhere or, in a swapped pair, goes before A
    origin: Tensor | None = None  # [B, 2, 3] int64


@dataclass(kw_only=True)
class TranslationBatch(Batch):
    """Parallel sentences. Source rows end with the end token; target rows begin with the begin token and end with the end token."""

    source_ids: Tensor  # [B, S] int64
    source_valid: Tensor  # [B, S] bool
    target_ids: Tensor  # [B, T+1] int64
    target_valid: Tensor  # [B, T+1] bool


@dataclass(kw_only=True)
class LabelledBatch(TokenBatch):
    """One text and one class a row, `[CLS] text [SEP]`."""

    labels: Tensor  # [B] int64


@dataclass(kw_only=True)
class TaggedBatch(TokenBatch):
    """One text a row with a tag for every word, set at the word's first token and IGNORED elsewhere."""

    tags: Tensor  # [B, T] int64


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """Ids of the special tokens; a tokenizer without one has None there."""

    pad: int
    unknown: int | None = None
    begin: int | None = None
    end: int | None = None
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None

    def ids(self) -> tuple[int, ...]:
        """Every special id once, in ascending order."""
        return tuple(sorted({getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}))


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What an objective must know of a tokenizer."""

    size: int
    specials: SpecialTokens
    sentinels: tuple[int, ...] = ()
    """Tokens that can stand for missing spans, in their order."""
    full_stops: tuple[int, ...] = ()
    """Tokens that are a full stop and nothing else."""
    words: "WordSpelling | None" = None
    """How words are spelt; None: the tokenizer does not tell."""
    collocations: "Collocations | None" = None
    """Runs of tokens that belong together, where they were asked for and learned from text."""


@dataclass(frozen=True, kw_only=True)
class WordSpelling:
    """Which tokens make a word together: one that continues goes with the token in front of it, unless that one closes its word."""

    continues: tuple[int, ...] = ()
    """Tokens that may continue a word."""
    closes: tuple[int, ...] = ()
    """Tokens behind which a word cannot go on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Collocations:
    """Runs of tokens that belong together: length → their hashes (`hash_words` of the tokens) as uint64, ascending."""

    by_length: Mapping[int, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class CollocationNeed:
    """Which collocations are learned from the training text."""

    size: int
    """Most there may be."""
    min_count: int
    """How often one must have been seen."""
    longest: int
    """Tokens of the longest."""


# --- objectives → models --------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Inputs(Record):
    """Base of what models accept. `predict_at`: flat positions [N] in B·T at which vocabulary heads run; None: everywhere."""

    predict_at: Tensor | None = None


@dataclass(kw_only=True)
class SequenceInputs(Inputs):
    """One sequence a row: for encoders and decoders."""

    token_ids: Tensor  # [B, T] int64
    valid: Tensor | None = None  # [B, T] bool; None: no padding
    any_padding: bool = False
    """Padding may stand anywhere in a row; otherwise it stands at the end, where a causal model never looks."""
    positions: Tensor | None = None  # [B, T] int64: where each token stands; None: 0, 1, 2 …
    segment_ids: Tensor | None = None  # [B, T] int64
    document_ids: Tensor | None = None  # [B, T] int64: positions of different documents do not see each other
    prefix_length: Tensor | None = None  # [B] int64: leading positions that all may see (prefix mask)
    last_at: Tensor | None = None  # [B] int64: the token that stands for a text of which the last is taken; None: the last that is no padding
    global_positions: Tensor | None = None  # [B, T] bool: tokens that see and are seen by all (global mask)
    only_predicted: bool = False
    """Whether nobody asks for hidden states but at `predict_at`: an encoder all of whose heads score the vocabulary then computes no others after its
    last attention."""


@dataclass(kw_only=True)
class ReplacedTokenInputs(Inputs):
    """A text of which a generator fills in some tokens before a detector reads it. `predict_at` lists the filled positions in their order."""

    masked: SequenceInputs  # what the generator reads
    original_ids: Tensor  # [B, T] int64: the text itself
    filled: Tensor  # [B, T] bool: which tokens the generator fills in
    draws: Tensor  # [N] float32 in [0, 1), one for each of `predict_at`: which token of the generator's distribution is taken


@dataclass(kw_only=True)
class TranslationInputs(Inputs):
    """Source and shifted target: for encoder-decoders. `predict_at` refers to the target."""

    source: SequenceInputs
    target: SequenceInputs


@dataclass(kw_only=True)
class Example(Record):
    """One prepared micro-batch: `counts` holds one denominator per loss term, known before the model runs."""

    inputs: Inputs
    targets: dict[str, Tensor]
    counts: dict[str, int]
    tokens: int
    """Tokens the model reads, without padding."""
    ledger: dict[str, float] = field(default_factory=dict)
    """What the objective tells of the example besides: named sums, which a run adds up."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What an objective asks of data and model."""

    batch: type[Batch]
    inputs: type[Inputs]
    causal: bool
    heads: Mapping[str, "HeadNeed"] = field(default_factory=dict)
    lookahead: int = 0
    """Tokens a row carries beyond `sequence_length` (1: next-token prediction)."""
    framed: bool = False
    """Rows are framed by the tokenizer's [CLS] and [SEP]."""
    consecutive: bool = False
    """The segments of every pair follow each other in their document, and half of the pairs are swapped."""
    sentinels: int = 0
    """Tokens that stand for missing spans, which a tokenizer that is trained must have."""
    start: str = "begin"
    """The special token that a decoder of targets reads before it has written anything."""
    prefix: bool = False
    """The tokens of a prompt see each other."""
    reorders: bool = False
    """Tokens of a row change places, whichever document they belong to."""
    collocations: CollocationNeed | None = None
    """The vocabulary must hold these, learned from the training text."""
    progress: bool = False
    """The rows of training batches say which share of the budget is spent, which needs a budget that is not in seconds."""

    @property
    def hides_tokens(self) -> bool:
        """Whether a head over the vocabulary predicts hidden tokens from both sides."""
        return not self.causal and any(need.kind == "vocabulary" for need in self.heads.values())


@dataclass(frozen=True, kw_only=True)
class HeadNeed:
    """A head an objective wants: `kind` is `vocabulary`, `detector` (one logit for every token), `pooler` (one vector for a sequence), or one that
    gives `n_classes` classes: `pair`, `sequence` or `token`."""

    kind: str
    n_classes: int | None = None

    @property
    def waits_for_classes(self) -> bool:
        """Whether only the data will say how many classes there are."""
        return self.kind in ("pair", "sequence", "token") and self.n_classes is None


# --- models → objectives --------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class ModelOutput(Record):
    """What a forward returns: the last hidden states and what each head made of them."""

    hidden: Tensor  # [B, T, D]; [1, N, D] where nothing was asked but `only_predicted`
    heads: dict[str, Any] = field(default_factory=dict)
    """By head name: a `VocabularyScores` for kind `vocabulary`, a logits tensor for the others."""


@dataclass(kw_only=True)
class ReplacedTokenOutput(ModelOutput):
    """The detector's hidden states and the heads of both models."""

    replaced: Tensor  # [B, T] bool: where the detector read another token than the text has


@dataclass(kw_only=True)
class LossReport(Record):
    """One differentiable **sum** per named term; the trainer divides by the step's global counts and weighs."""

    sums: dict[str, Tensor]


@dataclass(kw_only=True)
class MetricReport(Record):
    """Held-out sums: metric name → (sum, count) as float64 tensors of shape [2]; means are taken after adding over batches."""

    sums: dict[str, Tensor]
