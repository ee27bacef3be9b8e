"""Suite `startup`: how long a user waits for help, and for the first step of a run whose data is prepared."""

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from transformer_zoo.benchmark.commands import PROGRAM, Surroundings, seconds_of
from transformer_zoo.benchmark.records import Comparison, quartiles
from transformer_zoo.benchmark.sides import OURS
from transformer_zoo.benchmark.suites import SuiteSettings
from transformer_zoo.errors import DataError

logger = logging.getLogger(__name__)

HELP_SECONDS, START_SECONDS = 0.5, 6.0
EXPERIMENT = "books_mlm"
FIRST_STEP = "step 1 ("
"""How the log line of the first step begins."""


def measure(settings: SuiteSettings) -> list[Comparison]:
    """Both rows, each in fresh processes."""
    around = Surroundings(threads=settings.threads, data=settings.data)
    seconds_of([*PROGRAM, "--help"], around)  # compiles the modules, where they were not yet
    shown = [seconds_of([*PROGRAM, "--help"], around) for _ in range(settings.rounds)]
    with tempfile.TemporaryDirectory() as folder:
        words = training_words(settings)
        logger.info("preparing the data, where that was not done yet")
        started = starts(lambda number: first_step(words, Path(folder) / f"run-{number}", around), settings.rounds)
    return [
        against(HELP_SECONDS, shown, row="--help", what="seconds of `transformer-zoo --help`"),
        against(START_SECONDS, started, row="second start", what="seconds from the command to the log line of the first step, all data prepared"),
    ]


def starts(start: Callable[[int], float], rounds: int) -> list[float]:
    """Seconds of every start but the first, which prepares."""
    return [start(number) for number in range(rounds + 1)][1:]


def first_step(words: Sequence[str], run: Path, around: Surroundings) -> float:
    """Seconds to the first step of a run of its own."""
    return seconds_of([*PROGRAM, "train", *words, f"run_dir='{run}'"], around, until=FIRST_STEP)


def training_words(settings: SuiteSettings) -> list[str]:
    """What to train: the books, or a little of the built-in language for a quick look.

    Raises:
        DataError: the books are not there.
    """
    if settings.quick:
        return ["model=bert", "model/size=tiny", "data=pocket", "training.steps=2", "evaluation.max_samples=4"]
    if settings.data is None or not (settings.data / "books").is_dir():
        raise DataError("suite startup starts on the folder books: name the folder that holds it by data=DIR or TRANSFORMER_ZOO_DATA")
    return [f"experiment={EXPERIMENT}", f"device={settings.device}"]


def against(limit: float, seconds: Sequence[float], *, row: str, what: str) -> Comparison:
    """Seconds as a share of the most they may be: above 1 they are fewer."""
    low, ratio, high = quartiles([limit / taken for taken in seconds])
    return Comparison(
        row=row,
        what=what,
        ours=OURS,
        peer=f"{limit:g} s",
        ratio=ratio,
        low=low,
        high=high,
        target=1.0,
        numbers={"ours_seconds": limit / ratio, "peer_seconds": limit, "rounds": len(seconds)},
    )
