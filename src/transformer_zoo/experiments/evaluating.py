"""Evaluations of a run that is there."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from transformer_zoo.evaluation.base import EvaluationConfig, EvaluationContext, FineTuning
from transformer_zoo.experiments.fine_tuning import fine_tuning
from transformer_zoo.experiments.loaded_run import LoadedRun, load_run
from transformer_zoo.experiments.run import train
from transformer_zoo.models.base import Model


def evaluate_run(path: Path, evaluation: EvaluationConfig, *, device: str = "auto", checkpoint: str = "best") -> dict[str, Any]:
    """`{"metrics": …, "notes": …}` of one evaluation of a run, and its parts by their names; the same to the last digit every time."""
    run = load_run(path, device=device, checkpoint=checkpoint)
    context = run.evaluation_context()
    context.untrained, context.fine_tune = run.untrained, partial(_fine_tuned, run)
    report = evaluation.build(context).report(run.model)
    return {"metrics": report.metrics, "notes": report.notes, **report.parts}


def _fine_tuned(run: LoadedRun, wanted: FineTuning) -> tuple[Model, EvaluationContext]:
    """A copy of a run's model trained on; its folder does not outlive it."""
    with tempfile.TemporaryDirectory(prefix="fine-tuning-") as folder:
        config, start = fine_tuning(wanted, run.config, run.kept(), Path(folder))
        train(config, start=start)
        tuned = load_run(Path(folder), device=config.device, checkpoint="latest")
        return tuned.model, tuned.evaluation_context()
