"""Suite `prepare`: reading, tokenising, packing and storing the books against bare `encode_batch` of the same tokenizer.

The bare side has its text in memory already, cut into pieces as we cut them, and throws the result away. Both run in a fresh process in every
round, on all cores. The peak memory of the whole process is measured while all the books are prepared.
"""

import gzip
import itertools
import json
import logging
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from transformer_zoo.benchmark.memory import peak_bytes, reset_peak
from transformer_zoo.benchmark.records import Comparison, compare
from transformer_zoo.benchmark.sides import OURS
from transformer_zoo.benchmark.suites import SuiteSettings
from transformer_zoo.data.running_text import recut, texts
from transformer_zoo.errors import DataError

logger = logging.getLogger(__name__)

BARE = "encode_batch"
BOOKS = "books"
CHARACTERS, QUICK_CHARACTERS = 20_000_000, 20_000
"""Of the books in every round."""
VOCAB_SIZE, QUICK_VOCAB_SIZE = 8000, 300
BATCH = 64
"""Pieces that the bare side encodes at once, a megabyte."""
TARGET = 0.85
MOST_BYTES = 1e9
CPU = torch.device("cpu")


def measure(settings: SuiteSettings) -> list[Comparison]:
    """Speed on a part of the books, and memory on all of them."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        part, whole = place / "part.jsonl.gz", _books(settings)
        n_characters = excerpt(whole, part, QUICK_CHARACTERS if settings.quick else CHARACTERS)
        tokenizer = place / "tokenizer.json"
        _fresh(train_tokenizer, part, tokenizer, QUICK_VOCAB_SIZE if settings.quick else VOCAB_SIZE)
        logger.info("measuring the preparation of %.1f million characters", n_characters / 1e6)
        times: dict[str, list[float]] = {OURS: [], BARE: []}
        for number in range(settings.rounds):
            times[OURS].append(_fresh(prepare, part, tokenizer, place / f"cache {number}")["seconds"])
            times[BARE].append(_fresh(encode_bare, part, tokenizer))
        (speed,) = compare(times, row="the books", what="seconds of preparing against bare encoding", target=TARGET)
        rates = {f"{side}_characters_per_second": n_characters / speed.numbers[f"{side}_seconds"] for side in ("ours", "peer")}
        logger.info("measuring the memory of preparing all books")
        peak = _fresh(prepare, part if settings.quick else whole, tokenizer, place / "cache")
    return [replace(speed, numbers=speed.numbers | rates), _memory(peak)]


def _memory(peak: dict[str, float]) -> Comparison:
    ratio = MOST_BYTES / peak["bytes"]
    return Comparison(
        row="the books, peak memory",
        what="1 GB / peak memory of the whole process while all books are prepared, so 1 means a gigabyte",
        ours=OURS,
        peer="1 GB",
        ratio=ratio,
        low=ratio,
        high=ratio,
        target=1.0,
        numbers={"ours_bytes": peak["bytes"], "ours_seconds": peak["seconds"], "rounds": 1},
    )


def _books(settings: SuiteSettings) -> Path:
    file = (settings.data or Path()) / BOOKS / "train.jsonl.gz"
    if settings.data is None or not file.is_file():
        raise DataError(f"suite prepare reads {BOOKS}/train.jsonl.gz: name the folder that holds {BOOKS} by data=DIR or TRANSFORMER_ZOO_DATA")
    return file


def excerpt(whole: Path, part: Path, n_characters: int) -> int:
    """Writes the first documents, the last one cut; returns the characters written."""
    written = 0
    with gzip.open(whole, "rt", encoding="utf-8") as source, gzip.open(part, "wt", encoding="utf-8") as target:
        for line in source:
            text = json.loads(line)["text"][: n_characters - written]
            target.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            written += len(text)
            if written >= n_characters:
                break
    return written


def _fresh(work: Any, *arguments: Any) -> Any:
    """`work(*arguments)` in a new interpreter."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _experiment(file: Path, *words: str) -> Any:
    from transformer_zoo.experiments.compose import experiment

    return experiment(["model=bert", "model/size=tiny", "objective=mlm", "data=text", f"data.train='{file}'", "data.validation_share=0.01", *words])


def train_tokenizer(file: Path, path: Path, vocab_size: int) -> None:
    """A WordPiece of the text, kept in a file."""
    from transformer_zoo.experiments.assemble import open_data

    with tempfile.TemporaryDirectory() as cache:
        os.environ["TRANSFORMER_ZOO_CACHE"] = cache
        open_data(_experiment(file, "tokenizer=wordpiece", f"tokenizer.vocab_size={vocab_size}")).tokenizer.save(path)


def prepare(file: Path, tokenizer: Path, cache: Path) -> dict[str, float]:
    """Prepares a file into an empty cache: seconds, and the bytes of this process at their peak."""
    from transformer_zoo.experiments.assemble import open_data

    os.environ["TRANSFORMER_ZOO_CACHE"] = str(cache)
    config = _experiment(file, "tokenizer=file", f"tokenizer.path='{tokenizer}'")
    reset_peak(CPU)
    start = time.perf_counter()
    data = open_data(config)
    data.reader("train", config.objective.needs())
    return {"seconds": time.perf_counter() - start, "bytes": peak_bytes(CPU)}


def encode_bare(file: Path, tokenizer: Path) -> float:
    """Seconds of the library alone."""
    from tokenizers import Tokenizer

    with gzip.open(file, "rt", encoding="utf-8") as source:
        documents = [json.loads(line)["text"] for line in source]
    pieces = list(texts(recut(itertools.chain.from_iterable((text, None) for text in documents))))
    backend = Tokenizer.from_file(str(tokenizer))
    start = time.perf_counter()
    for first in range(0, len(pieces), BATCH):
        backend.encode_batch(pieces[first : first + BATCH], add_special_tokens=False)
    return time.perf_counter() - start
