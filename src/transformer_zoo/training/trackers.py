"""Trackers: where metrics go besides the run's own files. `metrics.jsonl` is always written; a tracker that fails costs one warning."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from transformer_zoo.errors import ConfigError, MissingExtraError
from transformer_zoo.settings import Config, OneOf

logger = logging.getLogger(__name__)


class Tracker:
    """`start`, `log`, `finish`. This one keeps nothing."""

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        """Begin (or go on with) the run in the folder `run`. `config` is plain data with secrets masked."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Metrics of one step."""

    def finish(self, status: str) -> None:
        """The run is done, failed or preempted."""


@dataclass(kw_only=True)
class TrackerConfig(Config):
    """Where metrics go besides the run's own files."""

    slot: ClassVar[str | None] = "tracker"

    def build(self) -> Tracker:
        """Raises MissingExtraError where its package is not installed; touches nothing else."""
        raise NotImplementedError("abstract")


@dataclass(kw_only=True)
class JSONLConfig(TrackerConfig):
    """The run's own files only: `metrics.jsonl`, `summary.json`."""

    def build(self) -> Tracker:
        return Tracker()


class Guarded(Tracker):
    """Passes everything on until the other fails for the first time; then says so once and lets the run go on without it."""

    def __init__(self, name: str, tracker: Tracker) -> None:
        self.name, self.tracker, self.works = name, tracker, True

    def _call(self, action: Callable[[], None]) -> None:
        if not self.works:
            return
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever a tracker does, the training goes on
            self.works = False
            why = str(error).strip().splitlines()
            logger.warning("%s failed and is left out from here on (%s); metrics.jsonl is complete", self.name, why[0] if why else repr(error))

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        self._call(lambda: self.tracker.start(run, config))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._call(lambda: self.tracker.log(step, values))

    def finish(self, status: str) -> None:
        self._call(lambda: self.tracker.finish(status))


@dataclass(kw_only=True)
class TensorBoardConfig(TrackerConfig):
    """TensorBoard event files in the run folder's `tensorboard/`."""

    def build(self) -> Tracker:
        try:
            import tensorboard  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("tensorboard", "tensorboard", "tracker=tensorboard") from error
        return Guarded("tensorboard", TensorBoard())


class TensorBoard(Tracker):
    """One scalar per metric."""

    writer: Any

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(log_dir=str(run / "tensorboard"))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def finish(self, status: str) -> None:
        self.writer.close()


@dataclass(kw_only=True)
class WandbConfig(TrackerConfig):
    """Weights & Biases; offline unless asked, so that it needs no account and never prompts."""

    project: str = "transformer-zoo"
    """Project the run is filed under."""
    entity: str | None = None
    """User or team; null is the account's own."""
    mode: Annotated[str, OneOf("offline", "online")] = "offline"
    """`offline` writes into the run folder, to be sent by `wandb sync`; `online` needs an API key (WANDB_API_KEY or `wandb login`)."""

    def build(self) -> Tracker:
        if self.mode == "online" and not _has_key():
            raise ConfigError("tracker.mode=online needs an API key: set WANDB_API_KEY, run `wandb login`, or use tracker.mode=offline")
        return Guarded("wandb", Wandb(self))


class Wandb(Tracker):
    """The package is imported at `start`, after the run's own files are open."""

    run: Any

    def __init__(self, config: WandbConfig) -> None:
        self.config = config

    def start(self, run: Path, config: Mapping[str, Any]) -> None:
        import wandb

        settings = wandb.Settings(init_timeout=20, silent=True, console="off")
        self.run = wandb.init(
            project=self.config.project,
            entity=self.config.entity,
            mode="online" if self.config.mode == "online" else "offline",
            name=run.name,
            id=run.name[-64:],
            resume="allow" if self.config.mode == "online" else None,
            dir=str(run),
            config=dict(config),
            settings=settings,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def finish(self, status: str) -> None:
        self.run.finish(exit_code=0 if status == "done" else 1)


def _has_key() -> bool:
    """Whether a key is at hand, without asking for one."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return "wandb" in netrc.read_text()
    except OSError:
        return False
