"""Sends a report to where a group looks at its runs: the table of all runs and the page."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from transformer_zoo.errors import ConfigError
from transformer_zoo.reports.frames import load_runs

if TYPE_CHECKING:
    import pandas as pd

PROJECT = "transformer-zoo"
"""Where it is filed unless WANDB_PROJECT says otherwise."""

Publish = Callable[["pd.DataFrame", Path], None]
"""Takes the table of runs and the file of the page."""


def publish(where: str, paths: Iterable[Path], page: Path) -> None:
    """Send the table of the runs at `paths` and their report `page` (an HTML file) to `where`, a name of `PLACES`.

    Raises ConfigError where there is no such place or it is not set up; the files on this machine are complete either way.
    """
    if where not in PLACES:
        raise ConfigError(f"--publish {where}: expected {' or '.join(PLACES)}")
    PLACES[where](load_runs(paths), page)


def _wandb(runs: "pd.DataFrame", page: Path) -> None:
    """One run of the job type `report` with the table `runs`, and the page as a panel and as an artifact."""
    import wandb

    mode = os.environ.get("WANDB_MODE", "online")
    if mode == "online" and not _has_key():
        raise ConfigError(
            f"--publish wandb: W&B is not set up here: set WANDB_API_KEY, run `wandb login`, or set WANDB_MODE=offline; the report is in {page}"
        )
    try:
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            job_type="report",
            name=page.resolve().parent.name,
            dir=str(page.parent),
            settings=wandb.Settings(init_timeout=30, silent=True, console="off"),
        )
        artifact = wandb.Artifact(name="report", type="report")
        artifact.add_file(str(page))
        run.log({"runs": wandb.Table(dataframe=runs), "report": wandb.Html(page.read_text(encoding="utf-8"), inject=False)})
        run.log_artifact(artifact)
        run.finish()
    except Exception as error:
        why = " ".join(str(error).split()) or repr(error)
        raise ConfigError(f"--publish wandb failed ({why}); the report is in {page}") from error


def _has_key() -> bool:
    """Whether a key is at hand, without asking for one."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return "wandb" in Path(os.environ.get("NETRC", "~/.netrc")).expanduser().read_text(encoding="utf-8")
    except OSError:
        return False


PLACES: Mapping[str, Publish] = {"wandb": _wandb}
