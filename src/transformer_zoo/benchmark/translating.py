"""Suite `translation`: training on sentence pairs of real lengths, ours in batches by token count against `MarianMTModel` with its collator
and length grouping. The same pairs, tokenised once by our tokenizer; on average as many pairs in a batch on both sides.

A round is a few steps of either side, the making of their batches included; what counts is seconds per token that is no padding (source and
target).
"""

import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from transformer_zoo.benchmark.peers import package, parameters_of
from transformer_zoo.benchmark.records import Comparison, compare
from transformer_zoo.benchmark.rounds import interleave
from transformer_zoo.benchmark.shapes import SMALL, TINY, Shape
from transformer_zoo.benchmark.sides import OURS, plain_step, trainer_step
from transformer_zoo.benchmark.steps import DROPOUTS
from transformer_zoo.benchmark.suites import SuiteSettings
from transformer_zoo.data.batching import Reader, make_rows
from transformer_zoo.data.stream import StreamState, TrainingStream
from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.errors import DataError
from transformer_zoo.experiments.config import ExperimentConfig
from transformer_zoo.records import IGNORED, TranslationBatch

logger = logging.getLogger(__name__)

PEER = "MarianMTModel"
TARGET = 2.0
TRANSLATOR = replace(SMALL, name="3+3 layers of width 256", n_layers=3, vocab_size=8000)
BATCH_TOKENS, QUICK_BATCH_TOKENS = 4096, 256
STEPS = 8
"""Of either side in a round."""
MULTI30K = "multi30k_en_de"
WHAT = "seconds of training per token that is no padding, batches made included"


@dataclass
class Counted:
    """Steps of one side, with the tokens each round read."""

    step: Callable[[], int]
    """One step; returns its tokens without padding."""
    n_steps: int
    tokens: list[int] = field(default_factory=list)

    def __call__(self) -> None:
        self.tokens.append(sum(self.step() for _ in range(self.n_steps)))

    def seconds_per_token(self, seconds: list[float]) -> list[float]:
        """Of the timed rounds, which are the last."""
        return [taken / tokens for taken, tokens in zip(seconds, self.tokens[-len(seconds) :], strict=True)]


def measure(settings: SuiteSettings) -> list[Comparison]:
    """With dropout and without."""
    return [one for dropout in DROPOUTS for one in measure_row(dropout, settings)]


def measure_row(dropout: float, settings: SuiteSettings) -> list[Comparison]:
    """One rate of dropout."""
    from transformer_zoo.experiments.assemble import build_model, open_data

    shape, device = TINY if settings.quick else TRANSLATOR, torch.device(settings.device)
    config = _experiment(shape, dropout, settings)
    data = open_data(config)
    objective = config.objective.build(vocabulary=data.vocabulary)
    reader = data.reader("train", objective.needs())
    stream = TrainingStream(reader, objective.prepare, seed=0, batch_tokens=QUICK_BATCH_TOKENS if settings.quick else BATCH_TOKENS)
    batch_size = round(len(reader) / stream.steps_per_epoch)
    row = f"{'the built-in language' if settings.quick else 'Multi30k'}, {shape.name}, dropout {dropout:g}"
    logger.info("measuring translation: %s, %d pairs a batch", row, batch_size)

    torch.manual_seed(0)
    model = build_model(config.model, data.vocabulary.size, objective.needs().heads)
    step, steps = trainer_step(model, objective, device), stream.iterate(StreamState(seed=0))

    def ours() -> int:
        item = next(steps)
        step(item)
        return sum(example.tokens for example in item.examples)

    module = marian(shape, data.tokenizer, dropout)
    peer = peer_steps(module, reader, data.tokenizer, batch_size, device)
    n_steps = 1 if settings.quick else STEPS
    sides = {OURS: Counted(ours, n_steps), PEER: Counted(lambda: next(peer), n_steps)}
    taken = interleave(sides, rounds=settings.rounds)
    times = {name: sides[name].seconds_per_token(seconds) for name, seconds in taken.items()}
    return [
        replace(one, numbers=_numbers(one, batch_size) | {"ours_parameters": parameters_of(model), "peer_parameters": parameters_of(module)})
        for one in compare(times, row=row, what=WHAT, target=TARGET)
    ]


def _numbers(one: Comparison, batch_size: int) -> dict[str, float]:
    rates = {f"{side}_tokens_per_second": 1 / one.numbers[f"{side}_seconds"] for side in ("ours", "peer")}
    return rates | {"rounds": one.numbers["rounds"], "pairs_per_batch": batch_size}


def _experiment(shape: Shape, dropout: float, settings: SuiteSettings) -> ExperimentConfig:
    from transformer_zoo.experiments.compose import experiment

    words = [
        "model=marian",
        *shape.overrides,
        f"model.dropout={dropout}",
        f"model.attention.dropout={dropout}",
        "objective=translation",
        "objective.label_smoothing=0",  # Marian's own loss has none
        "tokenizer=bpe",
    ]
    if settings.quick:
        return experiment([*words, "data=pocket", "data.n_documents=60", "data.n_held_out=10", "tokenizer.vocab_size=300"])
    folder = (settings.data or Path()) / MULTI30K
    if settings.data is None or not folder.is_dir():
        raise DataError(
            f"suite translation reads {MULTI30K}/train.jsonl.gz: name the folder that holds {MULTI30K} by data=DIR or TRANSFORMER_ZOO_DATA"
        )
    files = [f"data.{split}='{folder / split}.jsonl.gz'" for split in ("train", "validation")]
    return experiment([*words, "data=pairs", *files, f"tokenizer.vocab_size={shape.vocab_size}"])


# --- Marian -------------------------------------------------------------------------------------------------------------------------


def marian(shape: Shape, tokenizer: Tokenizer, dropout: float) -> Any:
    """`MarianMTModel` at a shape."""
    transformers, vocabulary = package("transformers"), tokenizer.vocabulary
    side = {"layers": shape.n_layers, "attention_heads": shape.n_heads, "ffn_dim": shape.d_ff}
    config = transformers.MarianConfig(
        **{f"{name}_{key}": value for name in ("encoder", "decoder") for key, value in side.items()},
        vocab_size=vocabulary.size,
        d_model=shape.d_model,
        dropout=dropout,
        attention_dropout=dropout,
        activation_dropout=0.0,
        activation_function="swish",
        scale_embedding=True,
        max_position_embeddings=512,
        pad_token_id=vocabulary.specials.pad,
        eos_token_id=vocabulary.specials.end,
        forced_eos_token_id=vocabulary.specials.end,
        decoder_start_token_id=vocabulary.specials.begin,
        use_cache=False,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    return transformers.MarianMTModel(config)


def features(reader: Reader) -> list[dict[str, list[int]]]:
    """Every pair of a reader as `transformers` takes it: both sides end with the end token, nothing is padded."""
    found = []
    for indices in np.array_split(np.arange(len(reader)), -(-len(reader) // 256)):
        batch = reader.batch(indices, make_rows(0, np.zeros(len(indices), dtype=np.int64), indices))
        assert isinstance(batch, TranslationBatch)
        for source, source_valid, target, target_valid in zip(
            batch.source_ids, batch.source_valid, batch.target_ids, batch.target_valid, strict=True
        ):
            found.append({"input_ids": source[source_valid].tolist(), "labels": target[target_valid][1:].tolist()})
    return found


def peer_steps(module: Any, reader: Reader, tokenizer: Tokenizer, batch_size: int, device: torch.device) -> Iterator[int]:
    """Training steps over epochs without end; yields each step's tokens."""
    step = plain_step(module, device)
    for batch in grouped_batches(features(reader), tokenizer, module, batch_size):
        tokens = int(batch["attention_mask"].sum()) + int((batch["labels"] != IGNORED).sum())
        moved = {key: value.to(device) for key, value in batch.items()}

        def loss(moved: dict[str, Tensor] = moved) -> Tensor:
            found: Tensor = module(**moved).loss
            return found

        step(loss)
        yield tokens


def grouped_batches(pairs: list[dict[str, list[int]]], tokenizer: Tokenizer, module: Any, batch_size: int) -> Iterator[dict[str, Tensor]]:
    """Batches as Hugging Face's Trainer makes them with length grouping: `LengthGroupedSampler` and `DataCollatorForSeq2Seq`."""
    transformers, trainer_parts = package("transformers"), package("transformers.trainer_pt_utils")
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder) / "tokenizer.json")
        named = transformers.PreTrainedTokenizerFast(tokenizer_file=str(Path(folder) / "tokenizer.json"), pad_token="[PAD]", eos_token="[EOS]")
    collator = transformers.DataCollatorForSeq2Seq(named, model=module)
    draws = torch.Generator().manual_seed(0)
    sampler = trainer_parts.LengthGroupedSampler(batch_size, lengths=[len(pair["input_ids"]) for pair in pairs], generator=draws)
    loader: DataLoader[Any] = DataLoader(pairs, batch_size=batch_size, sampler=sampler, collate_fn=collator, generator=draws)  # type: ignore[arg-type]
    while True:
        yield from loader
