"""Suite `end_to_end`: `transformer-zoo train` against a script around Hugging Face's Trainer, whole processes over the same masked-LM job.

Both read what was prepared before: we our store, the script a data set on disk that holds rows as our reader gives them. Same tokenizer, sizes,
dropout, batches, steps, learning rate, warm-up, clipping and logging; neither evaluates on the way. We measure one batch at the end, and save.
"""

import json
import logging
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from transformer_zoo.benchmark.commands import PROGRAM, Surroundings, seconds_of
from transformer_zoo.benchmark.peers import package
from transformer_zoo.benchmark.records import Comparison, compare
from transformer_zoo.benchmark.rounds import interleave
from transformer_zoo.benchmark.shapes import SMALL, TINY, Shape
from transformer_zoo.benchmark.sides import OURS
from transformer_zoo.benchmark.suites import SuiteSettings
from transformer_zoo.data.batching import Reader, make_rows
from transformer_zoo.data.module import DataModule
from transformer_zoo.errors import DataError
from transformer_zoo.records import SpecialTokens, TokenBatch

logger = logging.getLogger(__name__)

PEER = "Hugging Face Trainer"
TARGET = 2.5
SCRIPT = "transformer_zoo.benchmark.hugging_face_training"
DROPOUT, LEARNING_RATE = 0.1, 1e-3


@dataclass(frozen=True, kw_only=True)
class Job:
    """What both sides train."""

    shape: Shape
    steps: int
    data: list[str]
    """Where our side finds its text."""

    @property
    def warmup_steps(self) -> int:
        return max(1, self.steps // 10)

    def words(self, device: str) -> list[str]:
        """Our side's settings, but the run folder."""
        return [
            "model=bert",
            *self.shape.overrides,
            f"model.max_length={self.shape.length}",
            f"model.dropout={DROPOUT}",
            f"model.attention.dropout={DROPOUT}",
            "objective=mlm",
            *self.data,
            f"data.sequence_length={self.shape.length}",
            "data.packing=concatenate",
            "tokenizer=wordpiece",
            f"tokenizer.vocab_size={self.shape.vocab_size}",
            "optimizer=adamw",
            f"optimizer.lr={LEARNING_RATE}",
            "schedule=linear",
            f"schedule.warmup_steps={self.warmup_steps}",
            f"training.steps={self.steps}",
            f"training.batch_size={self.shape.batch_size}",
            "training.log_every=10",
            f"training.evaluate_every={self.steps + 1}",
            f"evaluation.max_samples={self.shape.batch_size}",
            "final_evaluation=null",
            f"device={device}",
        ]


def job_of(settings: SuiteSettings) -> Job:
    """The books at the small shape; a little of the built-in language for a quick look.

    Raises:
        DataError: the books are not there.
    """
    if settings.quick:
        return Job(shape=replace(TINY, length=32, vocab_size=300), steps=2, data=["data=pocket", "data.n_documents=60", "data.n_held_out=10"])
    books = (settings.data or Path()) / "books"
    if settings.data is None or not books.is_dir():
        raise DataError("suite end_to_end trains on the folder books: name the folder that holds it by data=DIR or TRANSFORMER_ZOO_DATA")
    files = [f"data.{split}='{books / split}.jsonl.gz'" for split in ("train", "validation", "test")]
    return Job(shape=replace(SMALL, vocab_size=8000), steps=150, data=["data=text", *files])


def measure(settings: SuiteSettings) -> list[Comparison]:
    """One row."""
    package("transformers")
    package("accelerate")
    job, around = job_of(settings), Surroundings(threads=settings.threads, data=settings.data)
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(job, Path(folder), settings.device, around)
        times = interleave({OURS: sides.ours, PEER: sides.peer}, rounds=settings.rounds, warm_up=0 if settings.quick else 1)
        (row,) = compare(times, row="masked LM on the books", what="seconds of a whole training process on prepared data", target=TARGET)
        tokens = job.steps * job.shape.batch_size * job.shape.length
        rates = {f"{side}_tokens_per_second": tokens / row.numbers[f"{side}_seconds"] for side in ("ours", "peer")}
        return [replace(row, numbers=row.numbers | rates | {"steps": job.steps} | sides.losses())]


class Sides:
    """Both sides over one job, prepared when this is built. Each call is a fresh process that trains from scratch."""

    def __init__(self, job: Job, folder: Path, device: str, around: Surroundings) -> None:
        from transformer_zoo.experiments import assemble
        from transformer_zoo.experiments.compose import experiment

        self.job, self.folder, self.device, self.around = job, folder, device, around
        self.number = 0
        logger.info("preparing the data, where that was not done yet")
        config = experiment(job.words(device))
        data = assemble.open_data(config)
        data.tokenizer.save(folder / "tokenizer.json")
        write_rows(data.reader("train", config.objective.needs()), data.vocabulary.specials, folder / "rows", most=job.steps * job.shape.batch_size)
        self.script = folder / "job.json"
        self.script.write_text(json.dumps(self._script(data)), encoding="utf-8")

    def _script(self, data: DataModule) -> dict[str, Any]:
        shape = self.job.shape
        return {
            "rows": str(self.folder / "rows"),
            "tokenizer": str(self.folder / "tokenizer.json"),
            "output": str(self.folder / "peer"),
            "model": {
                "vocab_size": data.vocabulary.size,
                "hidden_size": shape.d_model,
                "num_hidden_layers": shape.n_layers,
                "num_attention_heads": shape.n_heads,
                "intermediate_size": shape.d_ff,
                "max_position_embeddings": shape.length,
                "hidden_dropout_prob": DROPOUT,
                "attention_probs_dropout_prob": DROPOUT,
            },
            "learning_rate": LEARNING_RATE,
            "batch_size": shape.batch_size,
            "steps": self.job.steps,
            "warmup_steps": self.job.warmup_steps,
            "cpu": self.device == "cpu",
        }

    def ours(self) -> float:
        """`transformer-zoo train`."""
        self.number += 1
        return seconds_of([*PROGRAM, "train", *self.job.words(self.device), f"run_dir='{self._run}'"], self.around)

    def peer(self) -> float:
        """The script."""
        return seconds_of([sys.executable, "-m", SCRIPT, str(self.script)], self.around)

    @property
    def _run(self) -> Path:
        return self.folder / f"run-{self.number}"

    def losses(self) -> dict[str, float]:
        """The training loss that either side logged last: whether both learned about as much."""
        from transformer_zoo.training.metrics import read_metrics

        own = [line["train/loss"] for line in read_metrics(self._run / "metrics.jsonl") if "train/loss" in line]
        log = json.loads((self.folder / "peer" / "log.json").read_text(encoding="utf-8"))
        theirs = [line["loss"] for line in log if "loss" in line] or [line["train_loss"] for line in log if "train_loss" in line]
        return {"ours_last_loss": own[-1], "peer_last_loss": theirs[-1]} if own and theirs else {}


def write_rows(reader: Reader, specials: SpecialTokens, folder: Path, *, most: int) -> None:
    """The first rows of a reader as a data set of the `datasets` library, with the columns that scripts keep after tokenising and packing."""
    import datasets

    indices = np.arange(min(most, len(reader)))
    batch = reader.batch(indices, make_rows(0, np.zeros_like(indices), indices))
    assert isinstance(batch, TokenBatch)
    ids = [row[valid].tolist() for row, valid in zip(batch.token_ids, batch.valid, strict=True)]
    special = frozenset(specials.ids())
    columns = {
        "input_ids": ids,
        "attention_mask": [[1] * len(row) for row in ids],
        "special_tokens_mask": [[int(token in special) for token in row] for row in ids],
    }
    datasets.Dataset.from_dict(columns).save_to_disk(str(folder))
