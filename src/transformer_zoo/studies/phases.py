"""Runs that consist of phases: each goes on from the weights of the one before, also from one layout to another.

The earlier phases of a run stand inside its folder, `phases/1`, `phases/2` …, each a whole run. A finished phase is not repeated, a stopped
one goes on from its checkpoint. What matched stands in `started_from.json` of the phase that was started.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from transformer_zoo.experiments.results import PHASES, read_run
from transformer_zoo.studies.cells import Compose, Train, quoted

logger = logging.getLogger(__name__)


def train_phases(phases: Sequence[Sequence[str]], path: Path, train: Train, compose: Compose) -> list[str]:
    """Trains what is missing of `phases` (the overrides of each) below `path`.

    Returns the overrides by which the last phase, the run itself, goes on from there. Raises what training raises.
    """
    start: list[str] = []
    for number, words in enumerate(phases, start=1):
        folder = path / PHASES / str(number)
        if read_run(folder).status != "done":
            logger.info("phase %d of %d: %s", number, len(phases) + 1, folder)
            overrides = [*words, *start, f"run_dir={quoted(str(folder))}", "final_evaluation=null"]
            train(compose(overrides), overrides)
        start = [f"init_from={quoted(str(folder))}"]
    return start
