"""Hydra's own `--multirun`, with any launcher that Hydra has a plugin for: `launcher=hydra/NAME` of a study starts it, in a process of its own.

What is swept are files that describe jobs (`studies.jobs.Job`), so that settings are composed where a job runs, as everywhere else, and Hydra is
asked for nothing but to bring the jobs to their machines.
"""

import json
import sys
from pathlib import Path
from typing import Any


def job(settings: Any) -> None:
    """What a launcher calls, here or on another machine. What came of the job stands in its file."""
    from transformer_zoo.studies.jobs import perform

    outcome = perform(json.loads(Path(settings.job).read_text(encoding="utf-8")))
    if outcome["stopped_by"]:
        sys.exit(outcome["exit_code"])  # goes through Hydra's hands, so that no other job is begun


def main() -> None:
    """Read the words of the command line as Hydra does."""
    import hydra

    from transformer_zoo.studies.jobs import end_with_parent

    end_with_parent()
    hydra.main(version_base="1.3", config_path=None)(job)()


if __name__ == "__main__":
    from transformer_zoo.cli import multirun  # so that other machines find `job` by its name

    multirun.main()
