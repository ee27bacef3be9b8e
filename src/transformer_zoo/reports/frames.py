"""Runs as a pandas data frame: the rows of `runs.csv`, for those who go on in Python."""

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from transformer_zoo.reports.finding import find_runs, study_of
from transformer_zoo.reports.groups import group_runs
from transformer_zoo.reports.tables import runs_csv

if TYPE_CHECKING:
    import pandas as pd

WORDS = ("run", "group", "status", "reason", "code")
"""Columns that are text whatever they look like."""


def load_runs(path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> "pd.DataFrame":
    """One row for every run at `path` (a run folder, a study, a folder of them, or several), also for those that failed or are missing.

    Columns: `path`, `run`, `group` (runs that differ in the seed alone share it), `seed`, `status`, `reason`, `code`; then every setting
    that differs, sizes and costs (`parameters`, `flops`, `tokens`, `seconds`, `peak_memory_bytes` in bytes …), the final value of every metric, and
    `best NAME` for the best it ever had. What is not known is NaN.

    Raises:
        RunNotFoundError: there is nothing at a path, or no run in it.
    """
    import pandas as pd

    paths = [path] if isinstance(path, str | os.PathLike) else list(path)
    runs = find_runs(Path(one) for one in paths)
    study = study_of(runs)
    groups = group_runs(runs, labelled=study is not None and not study.problem)
    frame = pd.read_csv(io.StringIO(runs_csv(runs, groups)), dtype=dict.fromkeys(WORDS, str), keep_default_na=False, na_values=[""])
    places = pd.Series([str(run.path) for run in runs], name="path")
    return pd.concat([places, frame.fillna({"reason": "", "code": ""})], axis=1)
