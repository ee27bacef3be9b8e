"""Suites `quality_books` and `quality_translation`: what a model has learned after a fixed time from scratch. The experiments are trained as they
stand: masked words on the books for eighteen minutes, and English to German captions for twenty."""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformer_zoo.benchmark.records import Comparison
from transformer_zoo.benchmark.suites import SuiteSettings
from transformer_zoo.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One experiment with the figure that counts."""

    row: str
    experiment: str
    folder: str
    """Of the real text, in the data folder."""
    figure: str
    """The metric of `evaluate`."""
    unit: str
    wanted: float
    smaller_is_better: bool


BOOKS = Job(
    row="masked words on the books, 18 minutes",
    experiment="books_mlm",
    folder="books",
    figure="validation/loss",
    unit="nats held out",
    wanted=5.5,
    smaller_is_better=True,
)

TRANSLATION = Job(
    row="Multi30k English to German, 20 minutes",
    experiment="multi30k_twenty_minutes",
    folder="multi30k_en_de",
    figure="test/bleu",
    unit="BLEU",
    wanted=38.0,
    smaller_is_better=False,
)
WHAT = "{} after training from scratch; the ratio to what is wanted"
SPLITS = ("train", "validation", "test")


def measure_books(settings: SuiteSettings) -> list[Comparison]:
    """One run."""
    return [measure_job(BOOKS, settings)]


def measure_translation(settings: SuiteSettings) -> list[Comparison]:
    """One run."""
    return [measure_job(TRANSLATION, settings)]


def measure_job(job: Job, settings: SuiteSettings) -> Comparison:
    """Trains one experiment and evaluates its best checkpoint."""
    from transformer_zoo.experiments.compose import experiment
    from transformer_zoo.experiments.run import train

    logger.info("training experiment=%s", job.experiment)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / job.experiment
        words = [f"experiment={job.experiment}", f"run_dir='{path}'", f"device={settings.device}", *_data(job, settings)]
        if settings.threads is not None:
            words.append(f"training.threads={settings.threads}")
        summary = train(experiment(words), words).summary
        value = _FIGURES[job.figure](path)
    ratio = job.wanted / value if job.smaller_is_better else value / job.wanted
    numbers = {key: float(summary[key]) for key in ("steps", "tokens", "seconds", "parameters")}
    return Comparison(
        row=job.row,
        what=WHAT.format(job.figure),
        ours=f"{value:.4g} {job.unit}",
        peer=f"{job.wanted:g} {job.unit}",
        ratio=ratio,
        low=ratio,
        high=ratio,
        target=1.0,
        numbers=numbers | {job.figure: value, "rounds": 1},
    )


def _data(job: Job, settings: SuiteSettings) -> list[str]:
    """The experiment's files, or the built-in language for a quick look."""
    if settings.quick:
        form = ["data=pocket", "data.n_documents=60", "data.n_held_out=10", "tokenizer.vocab_size=300"]
        return [*form, "training.seconds=null", "training.steps=2", "model.d_model=16", "model.n_heads=2"]
    place = (settings.data or Path()) / job.folder
    if settings.data is None or not place.is_dir():
        raise DataError(
            f"experiment={job.experiment} reads the folder {job.folder}: name the folder that holds it by data=DIR or TRANSFORMER_ZOO_DATA"
        )
    return [f"data.{split}='{place / split}.jsonl.gz'" for split in SPLITS]


def _held_out_loss(path: Path) -> float:
    """Nats per hidden token over the whole validation split."""
    from transformer_zoo.evaluation.loss import LossConfig
    from transformer_zoo.experiments.evaluating import evaluate_run

    return float(evaluate_run(path, LossConfig())["metrics"]["validation/loss"])


def _bleu(path: Path) -> float:
    """Of the test split, by beam search."""
    from transformer_zoo.evaluation.bleu import BleuConfig
    from transformer_zoo.experiments.evaluating import evaluate_run

    return float(evaluate_run(path, BleuConfig(split="test"))["metrics"]["test/bleu"])


_FIGURES: dict[str, Callable[[Path], float]] = {"validation/loss": _held_out_loss, "test/bleu": _bleu}
