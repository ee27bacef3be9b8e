"""Suite `gpu_quality`: what a model has learned on a CUDA device after a fixed time from scratch. A character GPT on Tiny Shakespeare for less than
a minute, and masked words on the books for ten minutes at several depths."""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformer_zoo.benchmark.records import Comparison
from transformer_zoo.benchmark.sides import OURS
from transformer_zoo.benchmark.suites import SuiteSettings
from transformer_zoo.errors import ConfigError, DataError
from transformer_zoo.training.precision import resolve_device

logger = logging.getLogger(__name__)

BEST, LOSS = "best", "validation/loss"
SHAKESPEARE_LOSS, SHAKESPEARE_SECONDS = 1.4697, 60.0
"""Nats a character: what https://github.com/karpathy/nanoGPT tells of the same sizes in its README, after about three minutes on an A100."""
WHAT = "the best held-out loss after training from scratch, and the seconds that took"
DEPTHS = (4, 8, 12)
BOOKS_SECONDS = 600
BOOKS_ONLY = 5.5
"""Nats at 15% masked that a small model must reach on two cores in eighteen minutes; here it is but a mark to compare with."""
SPLITS = ("train", "validation", "test")
QUICK = ("data=pocket", "data.n_documents=60", "data.n_held_out=10", "data.sequence_length=32", "model.n_layers=1", "model.d_model=16")
QUICK_RUN = ("model.n_heads=2", "model.d_ff=32", "training.seconds=null", "training.steps=2", "training.batch_size=8", "training.n_workers=0")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One experiment to train."""

    row: str
    experiment: str
    folder: str
    """Of its text, in the data folder."""
    words: tuple[str, ...] = ()
    """What is set otherwise than the experiment says."""
    text: tuple[str, ...] = ()
    """Settings of data by file."""
    quick: tuple[str, ...] = ()


SHAKESPEARE = Run(row="characters of Tiny Shakespeare", experiment="shakespeare_gpt_gpu", folder="tinyshakespeare", text=("data.train=input.txt",))
BOOKS = Run(
    row="masked words on the books, {} layers, ten minutes",
    experiment="books_mlm",
    folder="books",
    words=(f"training.seconds={BOOKS_SECONDS}", "training.batch_size=128", "training.n_workers=4"),
    text=tuple(f"data.{split}={split}.jsonl.gz" for split in SPLITS),
    quick=("tokenizer.vocab_size=300",),
)


def measure(settings: SuiteSettings) -> list[Comparison]:
    """Shakespeare, then the books at every depth.

    Raises:
        ConfigError: the device is none of CUDA.
        DataError: the texts are not there.
    """
    if resolve_device(settings.device).type != "cuda" and not settings.quick:
        raise ConfigError(f"suite=gpu_quality needs a CUDA device, and device={settings.device} is none: run it where there is one, with device=cuda")
    return [*shakespeare(settings), *(books(depth, settings) for depth in DEPTHS)]


def shakespeare(settings: SuiteSettings) -> list[Comparison]:
    """The best validation loss on the way, and the time."""
    loss, numbers = trained(SHAKESPEARE, (), settings)
    best = once(SHAKESPEARE.row, f"a loss of {SHAKESPEARE_LOSS} nats a character", SHAKESPEARE_LOSS / loss, 1.0, numbers)
    return [best, once(f"{SHAKESPEARE.row}, time", "one minute", SHAKESPEARE_SECONDS / numbers["seconds"], 1.0, numbers)]


def books(depth: int, settings: SuiteSettings) -> Comparison:
    """One depth."""
    loss, numbers = trained(BOOKS, () if settings.quick else (f"model.n_layers={depth}",), settings)
    return once(BOOKS.row.format(depth), f"a held-out loss of {BOOKS_ONLY} nats", BOOKS_ONLY / loss, None, numbers)


def once(row: str, peer: str, ratio: float, target: float | None, numbers: dict[str, float]) -> Comparison:
    """What was measured a single time."""
    return Comparison(row=row, what=WHAT, ours=OURS, peer=peer, ratio=ratio, low=ratio, high=ratio, target=target, numbers=numbers)


def trained(run: Run, more: Sequence[str], settings: SuiteSettings) -> tuple[float, dict[str, float]]:
    """Trains an experiment; the best held-out loss, with what else is known of the run."""
    from transformer_zoo.experiments.compose import experiment
    from transformer_zoo.experiments.run import train

    logger.info("training experiment=%s %s", run.experiment, " ".join(more))
    with tempfile.TemporaryDirectory() as folder:
        words = [f"experiment={run.experiment}", f"run_dir='{Path(folder) / 'run'}'", f"device={settings.device}", *run.words, *more]
        words += [*QUICK, *QUICK_RUN, *run.quick] if settings.quick else text_of(run, settings)
        summary = train(experiment(words), words).summary
    loss = float(summary["metrics"][BEST][LOSS])
    numbers = {key: float(summary[key]) for key in ("steps", "tokens", "seconds", "parameters", "tokens_per_second")}
    return loss, numbers | {LOSS: loss, "rounds": 1.0}


def text_of(run: Run, settings: SuiteSettings) -> list[str]:
    """The experiment's files.

    Raises:
        DataError: they are not there.
    """
    place = (settings.data or Path()) / run.folder
    if settings.data is None or not place.is_dir():
        raise DataError(
            f"experiment={run.experiment} reads the folder {run.folder}: name the folder that holds it by data=DIR or TRANSFORMER_ZOO_DATA"
        )
    return [f"{key}='{place / name}'" for key, name in (word.split("=") for word in run.text)]
